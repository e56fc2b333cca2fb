//! A node that is killed while it receives a large space goes on where it was.
//!
//! 50,000 records by default; `OCM_RESUME_RECORDS=1000000 cargo test --test federation resume` takes
//! a million, in some five minutes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::PATIENCE;
use crate::process::{Client, Process};

/// Memories of one request.
const BATCH: u64 = 500;

fn records() -> u64 {
    std::env::var("OCM_RESUME_RECORDS").map_or(50_000, |text| text.parse().unwrap())
}

fn post(client: &Client, path: &str, body: &Value) -> Value {
    let (status, answer) = client.ask("POST", path, Some(body)).unwrap();
    assert!((200..300).contains(&status), "{path}: {answer}");
    answer
}

fn fill(client: &Client, space: &str, count: u64) {
    for begin in (0..count).step_by(BATCH as usize) {
        let item = |n| json!({"content": {"title": format!("n {n}"), "text": "x".repeat(200)}});
        let items: Vec<Value> = (begin..count.min(begin + BATCH)).map(item).collect();
        let answer = post(client, "/v1/memories:batch", &json!({"space": space, "items": items}));
        assert_eq!(answer["failed"], json!(0), "{answer}");
    }
}

/// Bytes of anti-entropy that a node has sent.
fn sent(client: &Client) -> f64 {
    let metrics = client.text("/metrics");
    let line = metrics.lines().find(|line| {
        line.starts_with("ocm_sync_bytes_total") && line.contains("direction=\"sent\"")
    });
    line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Waits until so many content records of a space are stored, and tells how many are.
fn until_stored(client: &Client, space: &str, count: u64) -> u64 {
    let patience = PATIENCE.max(Duration::from_millis(count));
    let began = Instant::now();
    loop {
        let held = client.get(&format!("/v1/spaces/{space}"));
        let stored = held["records"]["content"].as_u64().unwrap();
        if stored >= count {
            return stored;
        }
        assert!(began.elapsed() < patience, "{stored} of {count} are stored");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn join(dir: &TempDir, invitation: &Value) -> (Process, Client) {
    let mut process = Process::spawn(dir.path());
    let (client, _) = process.until_ready(dir.path());
    post(&client, "/v1/spaces/join", &json!({"invitation": invitation["invitation"]}));
    (process, client)
}

#[test]
fn a_kill_at_half_of_a_large_transfer_fetches_almost_nothing_again() {
    let count = records();
    let dirs = [(); 3].map(|()| TempDir::new().unwrap());
    let mut sender = Process::spawn(dirs[0].path());
    let (full, _) = sender.until_ready(dirs[0].path());
    let space = post(&full, "/v1/spaces", &json!({"name": "large", "read": "open"}));
    let space = space["id"].as_str().unwrap();
    fill(&full, space, count);
    let invitation = full.get(&format!("/v1/spaces/{space}/invitation"));

    // What it takes to send all of it.
    let before = sent(&full);
    let (mut process, client) = join(&dirs[1], &invitation);
    until_stored(&client, space, count);
    process.kill();
    let whole = sent(&full) - before;

    let (mut process, client) = join(&dirs[2], &invitation);
    let stored = until_stored(&client, space, count / 2);
    process.kill();
    assert!(stored < count, "it was killed on its way");
    // Where it was to be found is known to it.
    let mut process = Process::spawn(dirs[2].path());
    let (client, _) = process.until_ready(dirs[2].path());
    until_stored(&client, space, count);
    let again = sent(&full) - before - 2.0 * whole;

    // Pages that were on their way are lost, in a small space more than one part of twenty.
    let pages = ocm_sync::limits::PAGES_IN_FLIGHT as usize + 1;
    let on_the_way = (pages * ocm_sync::limits::PAGE_RECORDS) as f64 / count as f64;
    eprintln!(
        "{count} records, killed at {stored}: {:.1} % of {whole} bytes were sent again",
        100.0 * again / whole
    );
    assert!(again < whole * f64::max(0.05, on_the_way), "{again} of {whole} bytes were sent again");
}
