//! Processes that are killed while they write, and two that want one directory.
//!
//! 50 kills by default; `OCM_KILLS=200 cargo test --test federation kill` kills 200 times, and
//! `OCM_KILL_SEED` chooses other moments.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Client, Process, run_to_end};

const WRITERS: usize = 4;

/// A memory as it was acknowledged last. `n` may be higher in the store: an edit that was under
/// way may have been written without being acknowledged.
#[derive(Debug, Clone, PartialEq)]
struct Acknowledged {
    id: String,
    title: String,
    n: u64,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Writes memories and edits them, until the process does not answer any more. Each
/// acknowledgement is told at once.
fn write(client: &Client, space: &str, name: &str, tell: impl Fn(Acknowledged)) {
    for memory in 0.. {
        let title = format!("{name}-{memory}");
        let content = json!({"title": title, "n": 0, "text": "x".repeat(200)});
        let body = json!({"space": space, "content": content});
        let Some((status, answer)) = client.ask("POST", "/v1/memories", Some(&body)) else {
            return;
        };
        assert_eq!(status, 201, "{answer}");
        let id = answer["id"].as_str().unwrap().to_owned();
        tell(Acknowledged { id: id.clone(), title: title.clone(), n: 0 });
        for n in 1..=2 {
            let path = format!("/v1/memories/{id}");
            let Some((status, answer)) = client.ask("PATCH", &path, Some(&json!({"n": n}))) else {
                return;
            };
            assert_eq!(status, 200, "{answer}");
            tell(Acknowledged { id: id.clone(), title: title.clone(), n });
        }
    }
}

fn check(client: &Client, acknowledged: &[Acknowledged]) {
    for expected in acknowledged {
        let memory = client.get(&format!("/v1/memories/{}", expected.id));
        let content = &memory["content"];
        assert_eq!(memory["verified"], json!(true), "{memory}");
        assert_eq!(content["title"], json!(expected.title), "{memory}");
        assert_eq!(content["text"].as_str().map(str::len), Some(200), "{memory}");
        assert!(content["n"].as_u64().unwrap() >= expected.n, "{expected:?}: {memory}");
    }
}

/// Lets several clients write until a drawn moment, and kills. Returns what was acknowledged.
fn write_and_kill(
    process: &mut Process,
    client: &Client,
    space: &str,
    round: u64,
    rng: &mut ChaCha20Rng,
) -> Vec<Acknowledged> {
    let (tell, told) = channel();
    let acknowledgements = rng.next_u64() % 120;
    let moment = Duration::from_micros(rng.next_u64() % 10_000);
    let mut acknowledged = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (tell, client) = (tell.clone(), client.clone());
            let name = format!("{round}-{writer}");
            scope.spawn(move || {
                // The other end waits until every writer is gone.
                write(&client, space, &name, |acknowledged| tell.send(acknowledged).unwrap());
            });
        }
        drop(tell);
        let mut acknowledged: Vec<Acknowledged> =
            told.iter().take(usize::try_from(acknowledgements).unwrap()).collect();
        match told.recv_timeout(moment) {
            Ok(one) => acknowledged.push(one),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("nobody writes any more"),
        }
        process.kill();
        acknowledged.extend(told.iter());
        acknowledged
    });
    // Of each memory the last acknowledgement counts.
    acknowledged.reverse();
    acknowledged.sort_by(|a, b| a.id.cmp(&b.id).then(b.n.cmp(&a.n)));
    acknowledged.dedup_by(|a, b| a.id == b.id);
    acknowledged
}

fn create_space(client: &Client) -> String {
    let (status, space) =
        client.ask("POST", "/v1/spaces", Some(&json!({"name": "kills"}))).unwrap();
    assert_eq!(status, 201, "{space}");
    space["id"].as_str().unwrap().to_owned()
}

/// Starts it; now and then it is killed while it does, too.
fn start(dir: &Path, rng: &mut ChaCha20Rng) -> (Process, Client) {
    while rng.next_u64().is_multiple_of(8) {
        let mut process = Process::spawn(dir);
        std::thread::sleep(Duration::from_micros(rng.next_u64() % 100_000));
        process.kill();
    }
    let mut process = Process::spawn(dir);
    let (client, _) = process.until_ready(dir);
    (process, client)
}

#[test]
fn kills_during_writes_lose_nothing_acknowledged() {
    let kills = number("OCM_KILLS", 50);
    let seed = number("OCM_KILL_SEED", 1);
    eprintln!("OCM_KILLS={kills} OCM_KILL_SEED={seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let dir = TempDir::new().unwrap();
    let (mut process, mut client) = start(dir.path(), &mut rng);
    let space = create_space(&client);
    let identity = |client: &Client| {
        let status = client.get("/status");
        (status["did"].clone(), status["peer_id"].clone())
    };
    let own = identity(&client);
    let mut all = Vec::new();
    for round in 0..kills {
        let acknowledged = write_and_kill(&mut process, &client, &space, round, &mut rng);
        (process, client) = start(dir.path(), &mut rng);
        check(&client, &acknowledged);
        all.extend(acknowledged);
    }
    assert_eq!(identity(&client), own);
    assert!(all.len() as u64 >= kills, "only {} memories were written", all.len());
    check(&client, &all);
    let held = client.get(&format!("/v1/spaces/{space}"));
    assert!(held["memories"].as_u64().unwrap() >= all.len() as u64, "{held}");
    assert_eq!(held["equivocations"], json!(0), "each start has a boot of its own");
    eprintln!("{kills} kills, {} memories, none lost", all.len());
}

#[test]
fn a_second_process_is_refused_and_names_the_first() {
    let dir = TempDir::new().unwrap();
    let mut first = Process::spawn(dir.path());
    let (client, _) = first.until_ready(dir.path());
    let (status, said) = run_to_end(dir.path());
    assert!(!status.success());
    assert!(said.contains(&format!("process {} owns", first.pid())), "{said}");
    assert!(said.contains("ocm stop"), "it says what to do: {said}");

    // The first goes on, and stops in good order when it is told to.
    let space = create_space(&client);
    let body = json!({"space": space, "content": {"title": "still here"}});
    let (status, memory) = client.ask("POST", "/v1/memories", Some(&body)).unwrap();
    assert_eq!(status, 201);
    let stopped: Option<(u16, Value)> = client.ask("POST", "/v1/stop", None);
    assert!(stopped.is_none_or(|(status, _)| status == 202));
    assert!(first.until_ended().success());
    let mut second = Process::spawn(dir.path());
    let (client, _) = second.until_ready(dir.path());
    let read = client.get(&format!("/v1/memories/{}", memory["id"].as_str().unwrap()));
    assert_eq!(read["content"], json!({"title": "still here"}));
}
