//! Two sets of a million ids find out in what they differ.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use ocm::store::{OpenOptions, Store, Unobserved};
use ocm_node::layout::{self, SpaceNumber};
use ocm_node::sets;
use ocm_node::storage::Batch;
use ocm_record::{RecordId, Set, Time};
use ocm_sync::{Initiator, limits::RECONCILE_BYTES, respond};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;

use crate::table::Table;

const IDS: u64 = 1_000_000;
const SPACE: SpaceNumber = SpaceNumber(0);
/// Runs of which the quickest counts: the first read from the disk.
const RUNS: usize = 20;

/// The `n`th id: times rise, hashes have no order.
fn id(n: u64) -> RecordId {
    RecordId::of_header(Time::from_millis(1_700_000_000_000 + n), &n.to_le_bytes())
}

/// A store that holds a set, and nothing of its records but their ids.
struct Side {
    store: Store,
    _dir: TempDir,
}

impl Side {
    fn new(holds: impl Fn(u64) -> bool) -> Self {
        let dir = TempDir::new().unwrap();
        let store =
            Store::open(dir.path(), OpenOptions::default(), Arc::new(Unobserved)).unwrap().store;
        let (to, mut acks) = unbounded_channel();
        let all: Vec<u64> = (0..IDS).filter(|n| holds(*n)).collect();
        for part in all.chunks(10_000) {
            let mut batch = Batch::new();
            for n in part {
                batch.put(layout::record(SPACE, Set::Content, &id(*n)), Vec::new());
            }
            store.submit(0, batch, &to).unwrap();
            acks.blocking_recv().unwrap().result.unwrap();
        }
        Self { store, _dir: dir }
    }
}

struct Took {
    found: usize,
    rounds: u32,
    bytes: usize,
    time: Duration,
}

/// What this thread has used of its core: others' work does not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// One conversation, both sides in turn.
fn ours(asker: &Side, answerer: &Side) -> Took {
    let (asker, answerer) = (asker.store.reader(), answerer.store.reader());
    let (asker, answerer) = (asker.moment(), answerer.moment());
    let began = cpu_time();
    let set = || sets::open(&asker, SPACE, Set::Content).unwrap();
    let (initiator, first) = Initiator::start(&set(), RECONCILE_BYTES);
    let mut took = Took { found: 0, rounds: 0, bytes: 0, time: Duration::ZERO };
    let mut message = Some(first);
    while let Some(asked) = message {
        let theirs = sets::open(&answerer, SPACE, Set::Content).unwrap();
        let answer = respond(&theirs, &asked, RECONCILE_BYTES).unwrap();
        let step = initiator.step(&set(), &answer).unwrap();
        took.rounds += 1;
        took.bytes += asked.len() + answer.len();
        took.found += step.need.len() + step.have.len();
        for span in step.missing {
            took.found += theirs.list(span, usize::MAX).unwrap().len();
        }
        message = step.reply;
    }
    took.time = cpu_time() - began;
    took
}

fn vector(holds: impl Fn(u64) -> bool) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    for id in (0..IDS).filter(|n| holds(*n)).map(id) {
        storage.insert(id.time().0, Id::from_byte_array(id.hash())).unwrap();
    }
    storage.seal().unwrap();
    storage
}

fn theirs(asker: &NegentropyStorageVector, answerer: &NegentropyStorageVector) -> Took {
    let began = cpu_time();
    let mut one = Negentropy::borrowed(asker, 0).unwrap();
    let mut message = Some(one.initiate().unwrap());
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let mut took = Took { found: 0, rounds: 0, bytes: 0, time: Duration::ZERO };
    while let Some(asked) = message {
        let mut other = Negentropy::borrowed(answerer, 0).unwrap();
        let answer = other.reconcile(&asked).unwrap();
        took.rounds += 1;
        took.bytes += asked.len() + answer.len();
        message = one.reconcile_with_ids(&answer, &mut have, &mut need).unwrap();
    }
    took.found = have.len() + need.len();
    took.time = cpu_time() - began;
    took
}

fn quickest(run: impl Fn() -> Took) -> Took {
    (0..RUNS).map(|_| run()).min_by_key(|took| took.time).unwrap()
}

fn text(took: &Took) -> String {
    let time = took.time.as_secs_f64() * 1000.0;
    format!("{} rounds, {} bytes, {time:.3} ms of CPU", took.rounds, took.bytes)
}

/// Whether a side has the `n`th id.
type Holds<'a> = &'a dyn Fn(u64) -> bool;

/// So many of the ids, in no order: those with the lowest hashes.
fn scattered(count: usize) -> HashSet<u64> {
    let mut all: Vec<_> = (0..IDS).map(|n| (id(n).hash(), n)).collect();
    all.select_nth_unstable(count);
    all[..count].iter().map(|(_, n)| *n).collect()
}

pub(crate) fn rows(table: &mut Table) {
    if !table.wants("reconcile") {
        return;
    }
    let scattered = scattered(1000);
    let (whole, whole_vector) = (Side::new(|_| true), vector(|_| true));
    let pairs: [(&str, usize, Option<Holds<'_>>); 3] = [
        ("two equal sets of 1,000,000", 0, None),
        ("1,000,000, 100 recent differences", 100, Some(&|n| n < IDS - 100)),
        ("1,000,000, 1,000 scattered differences", 1000, Some(&|n| !scattered.contains(&n))),
    ];
    for (what, differences, holds) in pairs {
        let other_vector = holds.map_or_else(|| whole_vector.clone(), vector);
        let reference = quickest(|| theirs(&other_vector, &whole_vector));
        let other = holds.map(Side::new);
        let figure = quickest(|| ours(other.as_ref().unwrap_or(&whole), &whole));
        assert_eq!((reference.found, figure.found), (differences, differences));
        let (rounds, bytes, time) = match differences {
            0 => (1, 400, 0.1),
            100 => (3, 6000, 1.0),
            _ => (5, reference.bytes, 20.0),
        };
        let holds = figure.rounds <= rounds
            && figure.bytes <= bytes
            && figure.time.as_secs_f64() * 1000.0 <= time;
        table.row(
            &format!("reconcile {what}"),
            &text(&reference),
            &text(&figure),
            &format!("{rounds} rounds, {bytes} bytes, {time} ms of CPU"),
            holds,
        );
    }
}
