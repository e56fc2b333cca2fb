//! Memories written by their owner: one by one, by many clients at once, from a file; and how soon a
//! peer has them.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ocm::config::Environment;
use ocm::handle::Status;
use ocm::runtime::{NodeFlags, Running};
use ocm_node::{Command, Reply};
use ocm_record::{SigningKey, SpaceId};
use ocm_space::{Access, Policy};
use serde_json::json;
use tempfile::TempDir;

use crate::bare;
use crate::http::{Http, WRITE};
use crate::process::{Part, say, wait_for_the_end};
use crate::table::Table;
use crate::times::Times;
use crate::transfer::{config, runtime, tell};

/// Memories that are imported.
const IMPORTED: usize = 100_000;
/// Clients that write at once.
const CLIENTS: usize = 64;
/// Memories that they write.
const WRITTEN: usize = 20_000;
/// Memories that are written one after the other.
const SINGLE: usize = 1000;

/// A process that is a node with a space, begun here or joined where `seeds` lead. It says where
/// its API is, the space, and where it listens.
pub(crate) fn node(dir: &Path, seeds: &str, joined: Option<SpaceId>) {
    runtime().block_on(async {
        let node = Running::start(&config(dir, seeds, true), NodeFlags::default()).await.unwrap();
        let policy = Policy { write: Access::Members, read: Access::Open };
        let command = match joined {
            Some(space) => Command::Join { space },
            None => Command::CreateSpace { name: "scale".into(), policy },
        };
        let Reply::Space(space) = tell(node.handle(), command).await else { panic!() };
        let mut status = node.handle().watch();
        let ready = |status: &Arc<Status>| {
            let held = status.core.spaces.iter().find(|held| held.id == space);
            !status.network.listen.is_empty()
                && held.is_some_and(|held| held.parity.authority.count > 0)
        };
        let listen = status.wait_for(ready).await.unwrap().network.listen[0].clone();
        say(&format!("{} {space} {listen}/p2p/{}", node.api, node.peer));
        tokio::task::spawn_blocking(wait_for_the_end).await.unwrap();
        node.stop().await.unwrap();
    });
}

/// A node in a process of its own.
struct Node {
    part: Part,
    dir: TempDir,
    api: String,
    space: String,
    listen: String,
}

impl Node {
    fn start(joined: Option<&Node>) -> Self {
        let dir = TempDir::new().unwrap();
        let at = dir.path().to_str().unwrap();
        let mut part = match joined {
            Some(other) => Part::start(&["node", at, &other.listen, &other.space]),
            None => Part::start(&["node", at]),
        };
        let line = part.line();
        let [api, space, listen] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (api, space, listen) = (api.to_owned(), space.to_owned(), listen.to_owned());
        Self { part, dir, api, space, listen }
    }

    async fn connect(&self) -> Http {
        Http::connect(&self.api, self.dir.path()).await
    }

    /// What begins a memory with some 300 bytes of content.
    fn memory(&self, n: usize) -> String {
        json!({"space": self.space, "content": content(n)}).to_string()
    }
}

fn content(n: usize) -> serde_json::Value {
    let kind = ["note", "sighting", "delivery"][n % 3];
    json!({
        "title": format!("observation {n}"),
        "type": kind,
        "tags": [format!("t{}", n % 50)],
        "text": "x".repeat(200),
    })
}

pub(crate) fn rows(table: &mut Table) {
    if table.wants("latency") {
        latency(table);
    }
    if table.wants("writes") {
        writes(table);
    }
    if table.wants("import") {
        import(table);
    }
}

/// From the acknowledgement of one node until another has answered with the memory.
fn latency(table: &mut Table) {
    let (trips, flushes) = (bare::round_trips(SINGLE), bare::commits(1, SINGLE).0);
    let a = Node::start(None);
    let b = Node::start(Some(&a));
    let times = runtime().block_on(async {
        let (mut writer, mut reader) = (a.connect().await, b.connect().await);
        let mut feed = b.connect().await.listen().await;
        let mut times = Vec::new();
        for n in 0..SINGLE {
            let id = writer.write(&a.memory(n)).await;
            let acknowledged = Instant::now();
            while feed.memory().await != id {}
            let (status, _) = reader.send("GET", &format!("/v1/memories/{id}"), "").await;
            assert_eq!(status, 200);
            times.push(acknowledged.elapsed());
        }
        Times::of(times)
    });
    let (median, late) = (times.median(), times.within(0.99));
    table.row(
        "one more memory: acknowledged on a node until durable and read on its peer",
        &format!("{:.2} ms", trips.median() + flushes.median()),
        &format!("{median:.2} ms (p99 {late:.1} ms)"),
        "5 ms",
        median <= 5.0,
    );
    b.part.end();
    a.part.end();
}

/// Writes so many memories with so many clients, to a node or to what answers in its place, each
/// waiting for its acknowledgement before it writes the next; how long each waited, and how long
/// all of it took.
async fn write(node: &Node, api: &str, clients: usize, count: usize) -> (Times, Duration) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(Http::connect(api, node.dir.path()).await);
    }
    // Made before the clock runs.
    let bodies: Arc<[String]> = (0..count).step_by(97).map(|n| node.memory(n)).collect();
    let began = Instant::now();
    let clients = connections.into_iter().map(|mut client| {
        let (next, bodies) = (next.clone(), bodies.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return times;
                }
                let began = Instant::now();
                let body = &bodies[n % bodies.len()];
                let (status, _) = client.send("POST", WRITE, body).await;
                times.push(began.elapsed());
                assert_eq!(status, 201);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.unwrap());
    }
    (Times::of(times), began.elapsed())
}

/// As [`write`], to a process that answers at once what the node answers.
fn write_nowhere(node: &Node, clients: usize, count: usize) -> (Times, Duration) {
    runtime().block_on(async {
        let memory = node.memory(0);
        let (status, answer) = node.connect().await.send("POST", WRITE, &memory).await;
        assert_eq!(status, 201);
        let mut bare = Part::start(&["http", std::str::from_utf8(&answer).unwrap()]);
        let api = bare.line();
        let written = write(node, &api, clients, count).await;
        bare.end();
        written
    })
}

fn writes(table: &mut Table) {
    let flush = bare::commits(1, SINGLE).0.median();
    let node = Node::start(None);
    let trip = write_nowhere(&node, 1, SINGLE).0.median();
    let (times, _) = runtime().block_on(write(&node, &node.api, 1, SINGLE));
    let (median, late) = (times.median(), times.within(0.99));
    let (share, of_both) = (median / flush, median / (flush + trip));
    table.row(
        "a local write by the API, one client",
        &format!("{flush:.2} ms for a bare flush and sync; {trip:.2} ms for a bare HTTP request"),
        &format!(
            "{median:.2} ms, {share:.1} times (p99 {late:.1} ms); {of_both:.1} times flush and request"
        ),
        "2 times",
        share <= 2.0,
    );
    node.part.end();

    let groups = WRITTEN / CLIENTS;
    let (group, group_cpu) = bare::commits(CLIENTS, groups);
    let bare_rate = CLIENTS as f64 / (group.mean() / 1000.0);
    let signed = bare::signatures(CLIENTS);
    let node = Node::start(None);
    let (_, took) = write_nowhere(&node, CLIENTS, WRITTEN);
    let requests = WRITTEN as f64 / took.as_secs_f64();
    let before = node.part.cpu();
    let (times, took) = runtime().block_on(write(&node, &node.api, CLIENTS, WRITTEN));
    let rate = WRITTEN as f64 / took.as_secs_f64();
    let cpu = (node.part.cpu() - before) * 1e6 / WRITTEN as f64;
    let (share, late) = (rate / bare_rate, times.within(0.99));
    // Requests take all cores; signatures could.
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    // Bare groups wait for the disk meanwhile, so that only their processor time counts.
    let bound = cores / (cores / requests + 1.0 / signed + group_cpu / WRITTEN as f64);
    table.row(
        "local writes by the API, 64 clients",
        &format!(
            "{bare_rate:.0}/s in bare groups of 64; {requests:.0}/s bare HTTP requests by the same \
             clients; {signed:.0}/s signed and verified on a core; the processor time of all three allows {bound:.0}/s"
        ),
        &format!(
            "{rate:.0}/s, {share:.2} of bare groups, {:.2} of what all three allow; p99 {late:.0} ms \
             ({cpu:.0} µs of processor time each)",
            rate / bound
        ),
        "0.5 of it, p99 50 ms",
        share >= 0.5 && late <= 50.0,
    );
    node.part.end();
}

/// Signatures a second on one core, of as many bytes as a header has.
fn signing() -> f64 {
    let (key, count) = (SigningKey::from_seed(&[7; 32]), 20_000);
    let mut header = [7; 260];
    let began = Instant::now();
    for n in 0..count {
        header[..8].copy_from_slice(&u64::to_le_bytes(n));
        std::hint::black_box(key.sign(std::hint::black_box(&header)));
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// What `ocm import` does, command line and all.
fn import(table: &mut Table) {
    let signing = signing();
    let node = Node::start(None);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for n in 0..IMPORTED {
        writeln!(file, "{}", content(n)).unwrap();
    }
    file.flush().unwrap();
    let dir = node.dir.path().to_str().unwrap();
    let lines = file.path().to_str().unwrap();
    let (api, space) = (node.api.as_str(), node.space.as_str());
    let args = ["ocm", "import", lines, "--data-dir", dir, "--api", api, "--space", space];
    let args = args.iter().map(Into::into);
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut io = ocm::cli::Io {
        input: &mut std::io::empty(),
        output: &mut output,
        errors: &mut errors,
        terminal: false,
        pause: &mut std::thread::sleep,
    };
    let none: [(&str, &str); 0] = [];
    let before = node.part.cpu();
    let began = Instant::now();
    let exit = ocm::cli::run(args, &Environment::from_iter(none), &mut io);
    let rate = IMPORTED as f64 / began.elapsed().as_secs_f64();
    let cpu = (node.part.cpu() - before) * 1e6 / IMPORTED as f64;
    assert_eq!(exit, ocm::cli::Exit::Done, "{}", String::from_utf8_lossy(&errors));
    assert!(output.starts_with(format!("{IMPORTED} memories written").as_bytes()));
    table.row(
        "import of 100,000 memories by `ocm import`",
        &format!("{signing:.0}/s for signing alone"),
        &format!("{rate:.0}/s ({cpu:.0} µs of processor time each)"),
        "15000/s",
        rate >= 15_000.0,
    );
    node.part.end();
}
