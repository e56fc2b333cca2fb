//! `ocm devnet load`: writes memories at a rate, and measures how soon every node has each.
//!
//! Writers speak to the nodes' API, several to each node, so that one slow answer does not hold up
//! the rate. Who has a memory, and since when, is heard from the live feed of every node: its
//! `record` event follows the sync of the disk there. Times are taken here, by one clock, and so
//! include the way of the event to this process.

mod arrivals;
mod report;

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value as Json, json};

use self::arrivals::Arrivals;
pub(super) use self::report::Report;
use super::error::{DevnetError, Missing};
use super::interrupt::Interrupt;
use super::process::Standing;
use super::state::Devnet;
use super::wait::Node;
use crate::client::ClientError;

/// Memories of one load, at most: each takes some hundred bytes here.
const MOST: u64 = 1_000_000;
/// Writers to each node, at most.
const WRITERS: usize = 16;
/// Writers in all, at most.
const ALL_WRITERS: usize = 128;
/// How long memories may take to reach another node once nothing more is written, while none does.
const DRAIN: Duration = Duration::from_secs(30);
/// Between two looks at what has arrived.
const LOOK: Duration = Duration::from_millis(20);
/// Between two lines of progress.
const TELL: Duration = Duration::from_millis(500);

/// How much is written.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// Memories a second, over all nodes, from 1 to 100000
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// For how many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Bytes of each memory's text, at most 50000
    #[arg(
        long, value_name = "B", default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(0..=50_000)
    )]
    pub size: u32,
}

/// One memory that a node acknowledged.
struct Written {
    id: String,
    acknowledged: Instant,
}

/// What the writers share.
struct Writing<'a> {
    args: &'a LoadArgs,
    total: u64,
    began: Instant,
    interrupt: &'a Interrupt,
    space: &'a str,
    text: String,
    written: Mutex<Vec<Written>>,
    failures: Mutex<(u64, Option<String>)>,
}

/// Writes to a devnet whose nodes all run, and measures. After a signal, what was measured until
/// then.
///
/// # Errors
/// When a node does not run, its feed cannot be heard, or the load is past a limit.
pub(super) fn load(
    devnet: &Devnet,
    args: &LoadArgs,
    interrupt: &Interrupt,
) -> Result<Report, DevnetError> {
    let total = u64::from(args.rate) * u64::from(args.seconds);
    if total > MOST {
        return Err(DevnetError::Load(format!(
            "{} a second for {} seconds are {total} memories, a load has at most {MOST}: give a \
             lower --rate or fewer --seconds",
            args.rate, args.seconds
        )));
    }
    let space = devnet.spaces.shared.as_deref().ok_or_else(|| {
        DevnetError::Load("the devnet has no shared space: `ocm devnet up` did not end well".into())
    })?;
    let nodes = (0..devnet.nodes.len())
        .map(|index| match devnet.node(index)?.standing(&devnet.executable) {
            Standing::Ours => Node::of(devnet, index, None),
            Standing::Stranger | Standing::Gone => Err(DevnetError::NotRunning(index)),
        })
        .collect::<Result<Vec<Node>, DevnetError>>()?;
    drive(&nodes, space, args, interrupt)
}

/// Writes to these nodes, and measures.
pub(super) fn drive(
    nodes: &[Node],
    space: &str,
    args: &LoadArgs,
    interrupt: &Interrupt,
) -> Result<Report, DevnetError> {
    let arrivals = Arrivals::listen(nodes, space)?;
    let before = nodes.iter().map(report::Use::of).collect::<Result<Vec<_>, DevnetError>>()?;
    let writing = Writing {
        args,
        total: u64::from(args.rate) * u64::from(args.seconds),
        began: Instant::now(),
        interrupt,
        space,
        text: "x".repeat(args.size as usize),
        written: Mutex::default(),
        failures: Mutex::default(),
    };
    let nexts: Vec<AtomicU64> = (0..nodes.len() as u64).map(AtomicU64::new).collect();
    let mut progress = Progress::new();
    let took = std::thread::scope(|scope| {
        let each = (ALL_WRITERS / nodes.len()).clamp(1, WRITERS);
        let writing = &writing;
        let writers: Vec<_> = nodes
            .iter()
            .zip(&nexts)
            .flat_map(|(node, next)| std::iter::repeat_n((node, next), each))
            .map(|(node, next)| scope.spawn(|| writing.write(node, next, nodes.len() as u64)))
            .collect();
        // The last memory is due before the end: a load lasts as long as was asked for.
        let end = writing.began + Duration::from_secs(args.seconds.into());
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished)
            || (Instant::now() < end && interrupt.times() == 0)
        {
            progress.tell(writing, &arrivals);
            std::thread::sleep(LOOK);
        }
        writing.began.elapsed()
    });
    let cpu: Vec<_> = nodes.iter().map(report::processor_time_of).collect();
    drop(progress);
    let Writing { written, failures, .. } = writing;
    let written = written.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missing = arrivals.drain(&written, DRAIN, LOOK, interrupt);
    let reach = arrivals.reach(&written);
    let lagged = arrivals.lagged();
    let untimed = if lagged > 0 { ask_for(nodes, &missing, interrupt) } else { 0 };
    let lacking = arrivals.lacking(&missing, nodes);
    let after = nodes.iter().zip(cpu).map(|(node, cpu)| {
        let now = report::Use::of(node)?;
        Ok(report::Use { cpu, ..now })
    });
    let after = after.collect::<Result<Vec<_>, DevnetError>>()?;
    Ok(Report::new(
        args,
        report::Measured {
            took,
            written: written.len() as u64,
            failures,
            reach,
            everywhere: arrivals.everywhere() + untimed,
            untimed,
            lagged,
            interrupted: interrupt.times() > 0,
        },
        nodes.iter().map(Node::index).zip(before.into_iter().zip(after)),
        if lagged > 0 { Vec::new() } else { lacking },
    ))
}

/// How many of these memories every node has after all, whose events were lost; until a signal.
fn ask_for(nodes: &[Node], missing: &[String], interrupt: &Interrupt) -> u64 {
    let has = |node: &Node, id: &str| node.get(&format!("/v1/memories/{id}")).is_ok();
    let everywhere =
        |id: &&String| nodes.iter().all(|node| interrupt.times() == 0 && has(node, id));
    missing.iter().filter(everywhere).count() as u64
}

impl Writing<'_> {
    /// Writes to a node what falls to it, each memory when it is due, or at once when it is late.
    fn write(&self, node: &Node, next: &AtomicU64, nodes: u64) {
        let until = self.began + Duration::from_secs(self.args.seconds.into());
        loop {
            let number = next.fetch_add(nodes, Ordering::Relaxed);
            if number >= self.total {
                return;
            }
            let due =
                self.began + Duration::from_secs_f64(number as f64 / f64::from(self.args.rate));
            while Instant::now() < due && self.interrupt.times() == 0 {
                std::thread::sleep(due.saturating_duration_since(Instant::now()).min(LOOK));
            }
            if Instant::now() >= until || self.interrupt.times() > 0 {
                return;
            }
            let content =
                json!({"type": "load", "title": format!("load {number}"), "text": self.text});
            let body = json!({"space": self.space, "content": content});
            match node.write(&body) {
                Ok(id) => {
                    let written = Written { id, acknowledged: Instant::now() };
                    lock(&self.written).push(written);
                }
                Err(error) => {
                    let mut failures = lock(&self.failures);
                    failures.0 += 1;
                    failures.1.get_or_insert(format!("node {}: {error}", node.index()));
                    drop(failures);
                    // Whoever says no is not asked again at once.
                    std::thread::sleep(LOOK);
                }
            }
        }
    }
}

impl Node {
    /// Writes a memory; its id.
    fn write(&self, body: &Json) -> Result<String, ClientError> {
        let answer = self.try_post("/v1/memories", body)?;
        Ok(answer.json()["id"].as_str().unwrap_or_default().to_owned())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line at a terminal that shows how far it is.
struct Progress {
    shown: bool,
    told: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal(), told: Instant::now() }
    }

    fn tell(&mut self, writing: &Writing<'_>, arrivals: &Arrivals) {
        if self.shown && self.told.elapsed() >= TELL {
            self.told = Instant::now();
            let (written, everywhere) = (lock(&writing.written).len(), arrivals.everywhere());
            // It is only for show.
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[Kload: {written} of {} written, {everywhere} everywhere",
                writing.total
            );
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            // As above.
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Report {
    /// What did not come about: memories that did not reach every node.
    pub(super) fn late(&self) -> Option<DevnetError> {
        let missing: Vec<Missing> = self
            .lacking
            .iter()
            .map(|(node, what)| Missing { node: *node, what: what.clone() })
            .collect();
        if self.interrupted || self.arrived == self.written {
            return None;
        }
        Some(DevnetError::Late {
            phase: "every node has every memory",
            seconds: DRAIN.as_secs_f64(),
            missing,
        })
    }
}
