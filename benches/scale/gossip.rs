//! Many nodes in one process, connected over loopback TCP, and how soon all of them have a record
//! that one of them writes; beside bare gossipsub between as many peers with the same connections.
//!
//! The nodes are whole: network stack, core, admission, API. Their stores are in memory: on one disk
//! that fifty of them share, its syncs would be what is measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use ipld_core::ipld::Ipld;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, MessageId, ValidationMode};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};
use ocm::handle::Status;
use ocm::runtime::{NodeFlags, Running};
use ocm_memory::{create_edits, encode_edits};
use ocm_node::{Command, Event, Reply};
use ocm_space::{Access, Policy};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::process::{Part, own_cpu, say};
use crate::table::Table;
use crate::times::Times;
use crate::transfer::{config, runtime, tell};

/// Records a second.
const RATE: u64 = 20;
/// Records that are written before any is measured, until every mesh stands.
const WARM: u64 = 5 * RATE;
/// Records that are measured.
const RECORDS: u64 = 15 * RATE;
/// How long a record may take before it counts as lost.
const LOST: Duration = Duration::from_secs(30);

/// The peers that one dials: those at distances 1, 2, 4, … on a ring.
fn dialled(index: usize, count: usize) -> impl Iterator<Item = usize> {
    let distances = std::iter::successors(Some(1), |distance| Some(distance * 2));
    distances.take_while(move |distance| *distance <= count / 2).map(move |d| (index + d) % count)
}

/// When each of so many had each record, by its number.
#[derive(Clone)]
struct Arrivals {
    count: usize,
    seen: Arc<Mutex<BTreeMap<u64, (usize, Instant)>>>,
}

impl Arrivals {
    fn new(count: usize) -> Self {
        Self { count, seen: Arc::default() }
    }

    fn arrived(&self, number: u64) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap();
        let (count, last) = seen.entry(number).or_insert((0, now));
        *count += 1;
        *last = now;
    }

    /// Waits for the measured ones; how long each took until all had it.
    async fn times(&self, written: &[Instant]) -> Times {
        let until = Instant::now() + LOST;
        let measured = WARM..WARM + RECORDS;
        loop {
            let seen = self.seen.lock().unwrap().clone();
            let whole = |number: u64| seen.get(&number).filter(|(count, _)| *count == self.count);
            let ends: Option<Vec<Instant>> =
                measured.clone().map(|number| Some(whole(number)?.1)).collect();
            if let Some(ends) = ends {
                let begins = &written[WARM as usize..];
                return Times::of(ends.iter().zip(begins).map(|(end, at)| *end - *at).collect());
            }
            assert!(Instant::now() < until, "not every record reached everyone");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Writes at the rate, by one after the other; when each was written.
async fn write<F: Future<Output = ()>>(mut write: impl FnMut(u64) -> F) -> Vec<Instant> {
    let mut due = tokio::time::interval(Duration::from_millis(1000 / RATE));
    let mut written = Vec::new();
    for number in 0..WARM + RECORDS {
        due.tick().await;
        written.push(Instant::now());
        write(number).await;
    }
    written
}

/// Says how long records took until all had them, and the microseconds of processor time that each of
/// so many nodes used for each record since this process had used so many seconds.
fn tell_times(times: &Times, count: usize, cpu_before: f64) {
    let cpu = (own_cpu() - cpu_before) * 1e6 / (count as u64 * (WARM + RECORDS)) as f64;
    say(&format!("{} {} {} {cpu}", times.median(), times.within(0.99), times.within(1.0)));
}

/// A process with so many nodes.
pub(crate) fn nodes(dir: &Path, count: usize) {
    runtime().block_on(async {
        let mut nodes: Vec<Running> = Vec::new();
        let mut listens: Vec<String> = Vec::new();
        for index in 0..count {
            // Those before it listen already; the others dial it.
            let seeds: Vec<String> = (0..index)
                .filter(|other| {
                    dialled(index, count).any(|to| to == *other)
                        || dialled(*other, count).any(|to| to == index)
                })
                .map(|other| listens[other].clone())
                .collect();
            let mut config = config(&dir.join(index.to_string()), &seeds.join(","), true);
            config.database.backend = ocm::config::Backend::Memory;
            let node = Running::start(&config, NodeFlags::default()).await.unwrap();
            let mut status = node.handle().watch();
            let ready = |status: &Arc<Status>| !status.network.listen.is_empty();
            listens.push(status.wait_for(ready).await.unwrap().network.listen[0].clone());
            nodes.push(node);
        }
        let policy = Policy { write: Access::Open, read: Access::Open };
        let command = Command::CreateSpace { name: "gossip".into(), policy };
        let Reply::Space(space) = tell(nodes[0].handle(), command).await else { panic!() };
        for node in &nodes[1..] {
            tell(node.handle(), Command::Join { space }).await;
        }
        for node in &nodes {
            let mut status = node.handle().watch();
            let joined = |status: &Arc<Status>| {
                let held = status.core.spaces.iter().find(|held| held.id == space);
                held.is_some_and(|held| held.parity.authority.count == 1)
            };
            status.wait_for(joined).await.unwrap();
        }

        let arrivals = Arrivals::new(count);
        let before = own_cpu();
        let (ids, mut numbers) = mpsc::unbounded_channel();
        for node in &nodes {
            let (mut feed, ids) = (node.handle().feed(), ids.clone());
            tokio::spawn(async move {
                while let Ok(numbered) = feed.recv().await {
                    if let Event::Record { memory: Some(memory), .. } = numbered.event {
                        let _ = ids.send((memory, Instant::now()));
                    }
                }
            });
        }
        // A record's number is known when its writer is answered, which may be later than it is
        // heard of.
        let known = Arc::new(Mutex::new(BTreeMap::new()));
        let written = write(|number| {
            let node = nodes[number as usize % count].handle().clone();
            let known = known.clone();
            async move {
                let content = json!({"title": format!("record {number}"), "text": "x".repeat(250)});
                let edits: Ipld = encode_edits(&create_edits(&content).unwrap());
                let (memory, deps) = (None, Vec::new());
                let command = Command::Change { space, memory, deps, edits };
                let Reply::Record { memory, .. } = tell(&node, command).await else { panic!() };
                known.lock().unwrap().insert(memory.unwrap(), number);
            }
        })
        .await;
        let until = Instant::now() + LOST;
        let mut left = count * (WARM + RECORDS) as usize;
        while left > 0 {
            let next = tokio::time::timeout_at(until.into(), numbers.recv()).await;
            let (memory, at) = next.expect("not every record reached everyone").unwrap();
            let number = known.lock().unwrap()[&memory];
            let mut seen = arrivals.seen.lock().unwrap();
            let (had, last) = seen.entry(number).or_insert((0, at));
            (*had, *last) = (*had + 1, at.max(*last));
            left -= 1;
        }
        tell_times(&arrivals.times(&written).await, count, before);
        for node in nodes {
            node.stop().await.unwrap();
        }
    });
}

fn swarm() -> Swarm<gossipsub::Behaviour> {
    // As the nodes', but for the verdicts and what invalid messages cost.
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .heartbeat_interval(Duration::from_secs(1))
        .heartbeat_initial_delay(Duration::from_millis(200))
        .history_length(10)
        .history_gossip(3)
        .duplicate_cache_time(Duration::from_secs(120))
        // An anonymous message has no other name than its content.
        .message_id_fn(|message| MessageId::new(&message.data[..8]))
        .build()
        .unwrap();
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| {
            gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config).unwrap()
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(LOST * 100))
        .build()
}

/// A process with so many bare peers.
pub(crate) fn bare(count: usize) {
    runtime().block_on(async {
        let topic = IdentTopic::new("bare");
        let arrivals = Arrivals::new(count);
        let mut swarms = Vec::new();
        let mut listens: Vec<Multiaddr> = Vec::new();
        for _ in 0..count {
            let mut swarm = swarm();
            swarm.behaviour_mut().subscribe(&topic).unwrap();
            swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
            listens.push(loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    break address;
                }
            });
            swarms.push(swarm);
        }
        let mut writers = Vec::new();
        for (index, mut swarm) in swarms.into_iter().enumerate() {
            for to in dialled(index, count) {
                swarm.dial(listens[to].clone()).unwrap();
            }
            let (to, mut publish) = mpsc::unbounded_channel::<u64>();
            let (topic, arrivals) = (topic.clone(), arrivals.clone());
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        Some(number) = publish.recv() => {
                            // Of the size of the nodes' records.
                            let mut data = vec![7; 600];
                            data[..8].copy_from_slice(&number.to_be_bytes());
                            // Before the mesh stands there may be nobody to send to.
                            let _ = swarm.behaviour_mut().publish(topic.clone(), data);
                            arrivals.arrived(number);
                        }
                        event = swarm.select_next_some() => {
                            if let SwarmEvent::Behaviour(gossipsub::Event::Message { message, .. }) = event {
                                let number = message.data[..8].try_into().unwrap();
                                arrivals.arrived(u64::from_be_bytes(number));
                            }
                        }
                    }
                }
            });
            writers.push(to);
        }
        let before = own_cpu();
        let written = write(|number| {
            writers[number as usize % count].send(number).unwrap();
            std::future::ready(())
        })
        .await;
        tell_times(&arrivals.times(&written).await, count, before);
    });
}

/// Median, p99 and the longest, in milliseconds, and microseconds of processor time for each node and
/// record.
fn measure(args: &[&str]) -> [f64; 4] {
    let mut part = Part::start(args);
    let line = part.line();
    let mut figures = line.split(' ').map(|figure| figure.parse().unwrap());
    let figures = std::array::from_fn(|_| figures.next().unwrap());
    part.end();
    figures
}

pub(crate) fn rows(table: &mut Table) {
    if !table.wants("gossip") {
        return;
    }
    for count in [20, 50] {
        let dir = TempDir::new().unwrap();
        let text = count.to_string();
        let [bare_median, bare_late, _, bare_cpu] = measure(&["gossip-bare", &text]);
        let [median, late, most, cpu] = measure(&["gossip", dir.path().to_str().unwrap(), &text]);
        let share = late / bare_late;
        table.row(
            &format!("gossip, {count} nodes in one process, until all have a record"),
            &format!(
                "p50 {bare_median:.1} ms, p99 {bare_late:.1} ms ({bare_cpu:.0} µs of processor time \
                 for each node and record)"
            ),
            &format!(
                "p50 {median:.1} ms, p99 {late:.1} ms, {share:.1} of it (max {most:.1} ms; {cpu:.0} µs)"
            ),
            "p99 2 times it",
            share <= 2.0,
        );
    }
}
