//! A fresh node receives a whole space from another.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ocm::config::{Config, Environment, Overrides};
use ocm::handle::{Handle, Status};
use ocm::runtime::{NodeFlags, Running};
use ocm::views::Filter;
use ocm_node::{Command, Reply, Verdict};
use ocm_record::{Did, SpaceId};
use ocm_space::{Access, Grant, Policy, Role};
use tempfile::TempDir;

use crate::fill::{self, Log};
use crate::floor;
use crate::process::{Part, disk, read_line, say, wait_for_the_end};
use crate::table::Table;

/// Records of one import.
const IMPORT: usize = 1000;

pub(crate) fn config(dir: &Path, seeds: &str, online: bool) -> Config {
    let flags = Overrides::new()
        .set("data_dir", dir.to_str().unwrap())
        .set("network.enable_network_calls", if online { "true" } else { "false" })
        .set("network.port", "0")
        .set("network.bind_address", "127.0.0.1")
        .set("network.mdns", "false")
        .set("network.beacon", "false")
        .set("network.quic", "false")
        .set("network.seed_peers", seeds)
        .set("api.listen", "127.0.0.1:0");
    let none: [(&str, &str); 0] = [];
    Config::load(&flags, &Environment::from_iter(none)).unwrap().config
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Fills a node's directory with a space of so many memories.
fn fill(dir: &Path, count: usize) -> SpaceId {
    runtime().block_on(async {
        let node = Running::start(&config(dir, "", false), NodeFlags::default()).await.unwrap();
        let handle = node.handle();
        let policy = Policy { write: Access::Members, read: Access::Open };
        let command = Command::CreateSpace { name: "scale".into(), policy };
        let Reply::Space(space) = tell(handle, command).await else { panic!() };
        let to = Did::from(fill::author().public());
        let grant = Grant { to, role: Role::Writer, key: None, kinds: None, expires: None };
        let Reply::Record { id, .. } = tell(handle, Command::Grant { space, grant }).await else {
            panic!()
        };
        let mut log = Log::new(space, vec![id]);
        let mut left = count;
        while left > 0 {
            let records: Vec<_> =
                log.by_ref().take(IMPORT.min(left)).map(|record| record.encode()).collect();
            left -= records.len();
            match tell(handle, Command::Import { space: None, records }).await {
                Reply::Imported(verdicts) => {
                    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Accept));
                }
                other => panic!("{other:?}"),
            }
        }
        // Whoever serves is to do nothing else meanwhile.
        node.views().settle(space).await.unwrap();
        node.stop().await.unwrap();
        space
    })
}

pub(crate) async fn tell(handle: &Handle, command: Command) -> Reply {
    handle.command(command).await.unwrap().unwrap()
}

/// A process that serves what lies in a directory.
pub(crate) fn serve(dir: &Path) {
    runtime().block_on(async {
        let node = Running::start(&config(dir, "", true), NodeFlags::default()).await.unwrap();
        let mut status = node.handle().watch();
        let listens = |status: &Arc<Status>| !status.network.listen.is_empty();
        let listen = status.wait_for(listens).await.unwrap().network.listen[0].clone();
        say(&format!("{listen}/p2p/{}", node.peer));
        tokio::task::spawn_blocking(wait_for_the_end).await.unwrap();
        node.stop().await.unwrap();
    });
}

/// A process that knows nothing yet, and receives a space; then it waits until all of it can be
/// listed.
pub(crate) fn receive(dir: &Path, from: &str, space: SpaceId, count: u64) {
    runtime().block_on(async {
        let node = Running::start(&config(dir, from, true), NodeFlags::default()).await.unwrap();
        let mut status = node.handle().watch();
        let began = Instant::now();
        tell(node.handle(), Command::Join { space }).await;
        let whole = |status: &Arc<Status>| {
            let held = status.core.spaces.iter().find(|held| held.id == space);
            held.is_some_and(|held| held.parity.content.count == count)
        };
        status.wait_for(whole).await.unwrap();
        say(&began.elapsed().as_secs_f64().to_string());
        let listed = tokio::task::spawn_blocking(|| read_line().is_some()).await.unwrap();
        if listed {
            let began = Instant::now();
            let views = node.views();
            views.settle(space).await.unwrap();
            let all = || Filter { space: Some(space), limit: 50, ..Filter::default() };
            assert_eq!(views.list(all()).await.unwrap().items.len(), 50);
            let counted = views.count(all()).await.unwrap();
            assert_eq!((counted.count, counted.complete, counted.unrendered), (count, true, 0));
            say(&began.elapsed().as_secs_f64().to_string());
            let nothing = || Filter { tag: Some("no such tag".into()), ..all() };
            let began = Instant::now();
            assert_eq!(views.list(nothing()).await.unwrap().items, []);
            say(&(began.elapsed().as_secs_f64() * 1000.0).to_string());
            tokio::task::spawn_blocking(wait_for_the_end).await.unwrap();
        }
        node.stop().await.unwrap();
    });
}

/// A process that only starts, and idles.
pub(crate) fn idle(dir: &Path) {
    runtime().block_on(async {
        let began = Instant::now();
        let node = Running::start(&config(dir, "", true), NodeFlags::default()).await.unwrap();
        say(&began.elapsed().as_secs_f64().to_string());
        tokio::task::spawn_blocking(wait_for_the_end).await.unwrap();
        node.stop().await.unwrap();
    });
}

/// What one transfer took.
pub(crate) struct Took {
    pub(crate) seconds: f64,
    pub(crate) receiver_mb: f64,
    pub(crate) sender_mb: f64,
    pub(crate) bytes_per_record: f64,
}

/// A directory with a space of so many memories, and what it took to send it to a fresh node. With
/// `listed`, also the seconds until all could be listed there, and the milliseconds that a list
/// takes for which nothing is found.
fn transfer(count: usize, listed: bool) -> (TempDir, Took, Option<(f64, f64)>) {
    let (full, fresh) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let began = Instant::now();
    let space = fill(full.path(), count);
    eprintln!("filled with {count} records in {:.1} s", began.elapsed().as_secs_f64());
    let mut sender = Part::start(&["serve", full.path().to_str().unwrap()]);
    let address = sender.line();
    let into = fresh.path().to_str().unwrap();
    let mut receiver =
        Part::start(&["receive", into, &address, &space.to_string(), &count.to_string()]);
    let seconds: f64 = receiver.line().parse().unwrap();
    let took = Took {
        seconds,
        receiver_mb: receiver.peak(),
        sender_mb: sender.peak(),
        bytes_per_record: disk(&fresh.path().join("store")) as f64 / count as f64,
    };
    eprintln!(
        "{count} records took {seconds:.1} s; processor time: receiver {:.1} s, sender {:.1} s",
        receiver.cpu(),
        sender.cpu()
    );
    let listed = listed.then(|| {
        receiver.tell("list");
        (receiver.line().parse().unwrap(), receiver.line().parse().unwrap())
    });
    receiver.end();
    sender.end();
    (full, took, listed)
}

/// Seconds until a node is ready, and what it takes in memory when it has nothing to do, in MB.
fn started(dir: &Path) -> (f64, f64) {
    let mut node = Part::start(&["idle", dir.to_str().unwrap()]);
    let seconds = node.line().parse().unwrap();
    // What its start set off is over when it has used no processor time for a second.
    let mut before = node.cpu();
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let now = node.cpu();
        if now - before < 0.02 {
            break;
        }
        before = now;
    }
    let memory = node.resident();
    node.end();
    (seconds, memory)
}

pub(crate) fn rows(table: &mut Table) {
    let thousands = table.wants("transfer").then(|| hundred_thousand(table));
    if table.wants("empty") {
        let (_, memory) = started(TempDir::new().unwrap().path());
        table.row(
            "an empty node's memory",
            "",
            &format!("{memory:.0} MB"),
            "40 MB",
            memory <= 40.0,
        );
    }
    if table.wants("million") {
        million(
            table,
            &thousands
                .unwrap_or_else(|| middle((0..3).map(|_| transfer(100_000, false).1).collect())),
        );
    }
}

/// The run of three that took neither longest nor shortest, with the most memory of any.
fn middle(mut runs: Vec<Took>) -> Took {
    assert_eq!(runs.len(), 3);
    runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let most = |memory: fn(&Took) -> f64| runs.iter().map(memory).fold(0.0, f64::max);
    let (receiver_mb, sender_mb) = (most(|run| run.receiver_mb), most(|run| run.sender_mb));
    Took { receiver_mb, sender_mb, ..runs.swap_remove(1) }
}

fn hundred_thousand(table: &mut Table) -> Took {
    let count = 100_000;
    let (floors, runs) = (0..3).map(|_| (floor::measure(count), transfer(count, false).1)).unzip();
    let (floor, took) = (middle(floors), middle(runs));
    let rate = |took: &Took| count as f64 / took.seconds;
    let share = rate(&took) / rate(&floor);
    table.row(
        "transfer of 100,000 records to a fresh node, the middle of three",
        &format!("{:.0}/s", rate(&floor)),
        &format!("{:.0}/s, {share:.2} of it", rate(&took)),
        "0.75 of it",
        share >= 0.75,
    );
    table.row(
        "the same, receiver's peak memory",
        &format!("{:.0} MB", floor.receiver_mb),
        &format!("{:.0} MB (sender {:.0} MB)", took.receiver_mb, took.sender_mb),
        "160 MB",
        took.receiver_mb <= 160.0,
    );
    let share = took.bytes_per_record / floor.bytes_per_record;
    table.row(
        "the same, disk per record",
        &format!("{:.0} bytes", floor.bytes_per_record),
        &format!("{:.0} bytes, {share:.2} of it", took.bytes_per_record),
        "1.5 of it",
        share <= 1.5,
    );
    took
}

fn million(table: &mut Table, thousands: &Took) {
    let (full, took, listed) = transfer(1_000_000, true);
    let share = took.seconds / thousands.seconds;
    table.row(
        "transfer of 1,000,000 records",
        &format!("{:.1} s for 100,000", thousands.seconds),
        &format!("{:.1} s, {share:.1} times", took.seconds),
        "11 times",
        share <= 11.0,
    );
    let most = took.receiver_mb.max(took.sender_mb);
    table.row(
        "the same, peak memory",
        "",
        &format!("{:.0} MB, sender {:.0} MB", took.receiver_mb, took.sender_mb),
        "192 MB",
        most <= 192.0,
    );
    if let Some((seconds, milliseconds)) = listed {
        table.row(
            "the same, until all can be listed and counted",
            "",
            &format!("{seconds:.0} s after they arrived"),
            "120 s",
            seconds <= 120.0,
        );
        table.row(
            "the same, a list by a tag that none has",
            "",
            &format!("{milliseconds:.0} ms"),
            "100 ms",
            milliseconds <= 100.0,
        );
    }
    let (seconds, memory) = started(full.path());
    table.row(
        "a node with 1,000,000 records: start to ready",
        "",
        &format!("{seconds:.2} s"),
        "2 s",
        seconds <= 2.0,
    );
    table.row("the same, idle memory", "", &format!("{memory:.0} MB"), "128 MB", memory <= 128.0);
}
