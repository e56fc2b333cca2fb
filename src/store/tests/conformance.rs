//! One suite for every engine, and for the store on every engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::backend::Direction::{Ascending, Descending};
use super::super::faulty::{Faults, FaultyBackend};
use super::super::sled::{CACHE_BYTES, SledBackend};
use super::*;

/// Opens the engine again on what an earlier one left.
type Reopen<'a> = &'a dyn Fn() -> Arc<dyn Backend>;

fn on_memory(suite: fn(Reopen<'_>)) {
    let disk = MemoryDisk::new();
    suite(&|| Arc::new(MemoryBackend::open(disk.clone())));
}

fn on_sled(suite: fn(Reopen<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    suite(&|| Arc::new(SledBackend::open(&dir.path().join("sled"), CACHE_BYTES).unwrap()));
}

fn engine_suite(reopen: Reopen<'_>) {
    let engine = reopen();
    assert_eq!(engine.get(b"\x01a").unwrap(), None);
    let mut batch = Batch::new();
    for key in [&b"\x01c"[..], b"\x01a", b"\x01b", b"\x01bb", b"\x02", b"\x03"] {
        batch.put(key, [key, b"!"].concat());
    }
    batch.put(*b"\x01b", *b"later");
    batch.put(*b"\x03", *b"dropped");
    batch.delete(*b"\x03");
    batch.delete(*b"\x04never");
    engine.apply(&batch).unwrap();

    let check = |engine: &dyn Backend| {
        assert_eq!(engine.get(b"\x01b").unwrap().unwrap(), b"later");
        assert_eq!(engine.get(b"\x03").unwrap(), None);
        let keys = |from: &[u8], to: &[u8], limit, direction| {
            let found = engine.scan(from, to, limit, direction).unwrap();
            found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let all = [&b"\x01a"[..], b"\x01b", b"\x01bb", b"\x01c"];
        assert_eq!(keys(b"\x01", b"\x02", 99, Ascending), all);
        assert_eq!(keys(b"\x01a", b"\x01bb", 99, Ascending), all[..2], "half-open");
        assert_eq!(keys(b"\x01", b"\x02", 2, Ascending), all[..2]);
        assert_eq!(keys(b"\x01", b"\x02", 2, Descending), [all[3], all[2]]);
        assert_eq!(keys(b"\x01b", b"\x01c", 99, Descending), [all[2], all[1]]);
        assert!(keys(b"\x01", b"\x02", 0, Ascending).is_empty());
        assert!(keys(b"\x02", b"\x01", 9, Ascending).is_empty(), "reversed");
        assert!(keys(b"\x01a", b"\x01a", 9, Descending).is_empty(), "empty");
    };
    check(&*engine);
    engine.flush().unwrap();

    let mut large = Batch::new();
    large.put(*b"\x05fits", vec![7; VALUE_BYTES]);
    engine.apply(&large).unwrap();
    for (key, value) in [(vec![5; 3], VALUE_BYTES + 1), (vec![5; KEY_BYTES + 1], 1)] {
        let mut over = Batch::new();
        over.put(*b"\x05other", *b"x");
        over.put(key, vec![7; value]);
        let error = engine.apply(&over).unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    }
    assert_eq!(engine.get(b"\x05other").unwrap(), None, "nothing of a refused batch");
    engine.flush().unwrap();
    engine.close().unwrap();
    engine.close().unwrap();
    assert_eq!(engine.get(b"\x01a").unwrap_err(), StoreError::Closed);
    assert_eq!(engine.scan(b"\x01", b"\x02", 1, Ascending).unwrap_err(), StoreError::Closed);
    assert_eq!(engine.apply(&batch).unwrap_err(), StoreError::Closed);
    assert_eq!(engine.flush().unwrap_err(), StoreError::Closed);
    drop(engine);

    let engine = reopen();
    check(&*engine);
    assert_eq!(engine.get(b"\x05fits").unwrap().unwrap(), vec![7; VALUE_BYTES]);
    engine.close().unwrap();
}

#[test]
fn engine_on_memory() {
    on_memory(engine_suite);
}

#[test]
fn engine_on_sled() {
    on_sled(engine_suite);
}

fn store_suite(reopen: Reopen<'_>) {
    let place = MemoryFrontier::default();
    let open = || {
        let options = OpenOptions::default();
        Store::open_on(reopen(), Box::new(place.clone()), options, Arc::new(Unobserved)).unwrap()
    };
    let opened = open();
    assert_eq!(opened.frontier, Frontier::default());
    let mut rig = Rig::new(opened);
    let reader = rig.store.reader();
    let tickets: Vec<u64> = (0..300).map(|n| rig.submit(record(n, 64)).unwrap()).collect();
    let mut last = 0;
    for ticket in tickets {
        let ack = rig.acks.blocking_recv().unwrap();
        let commit = ack.result.unwrap();
        assert_eq!(ack.ticket, ticket, "in the order of submission");
        assert!(commit == last || commit == last + 1, "commit {commit} after {last}");
        last = commit;
        let key = record_key(ticket - 1);
        assert!(reader.get(&key).unwrap().is_some(), "an acknowledged batch is visible");
    }
    assert!(last >= 3, "a group has at most 128 batches");
    assert_eq!(rig.commit(Batch::new()).unwrap(), last, "an empty batch commits nothing");
    assert_eq!(rig.store.waiting(), 0);
    assert_eq!(records(&reader), (0..300).collect::<Vec<_>>());
    let (from, to) = layout::all_records();
    let newest = reader.scan_back(&from, &to, 2).unwrap();
    assert_eq!(
        newest.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(),
        [record_key(299), record_key(298)]
    );

    let mut reserved = Batch::new();
    reserved.put([0, 9], [1]);
    assert_eq!(rig.submit(reserved).unwrap_err(), SubmitError::Reserved);
    let mut nameless = Batch::new();
    nameless.put([], [1]);
    assert_eq!(rig.submit(nameless).unwrap_err(), SubmitError::Reserved);
    let mut large = Batch::new();
    for n in 0..=BATCH_BYTES / VALUE_BYTES {
        large.put(record_key(n as u64), vec![0; VALUE_BYTES]);
    }
    let error = rig.submit(large).unwrap_err();
    assert!(matches!(error, SubmitError::BatchTooLarge { .. }), "{error}");

    let mut delete = Batch::new();
    delete.delete(record_key(7));
    assert_eq!(rig.commit(delete).unwrap(), last + 1);
    let entries = reader.scan(&[1], &[255], usize::MAX).unwrap().len() as u64;
    assert_eq!(sets::total(&reader).unwrap().count, 299, "the set follows the records");
    let frontier = rig.store.close().unwrap();
    assert_eq!((frontier.commit, frontier.records.count), (last + 1, 299));
    assert_eq!(frontier.entries.count, entries, "records, the shared entry, and the set");
    assert_eq!(rig.store.close(), Err(CloseError::Closed));
    assert_eq!(rig.submit(record(1, 9)).unwrap_err(), SubmitError::Closed);
    assert!(reader.get(&record_key(1)).is_err());

    let opened = open();
    assert_eq!(opened.frontier, frontier);
    assert!(opened.repairs.is_empty());
    let reader = opened.store.reader();
    assert_eq!(records(&reader), (0..300).filter(|n| *n != 7).collect::<Vec<_>>());
}

#[test]
fn store_on_memory() {
    on_memory(store_suite);
}

#[test]
fn store_on_sled() {
    on_sled(store_suite);
}

/// An engine whose flush waits until it is let through.
struct Gate {
    inner: MemoryBackend,
    open: Mutex<std::sync::mpsc::Receiver<()>>,
    flushing: AtomicU64,
}

impl Backend for Gate {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        direction: super::super::backend::Direction,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.inner.scan(from, to, limit, direction)
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.inner.apply(batch)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.flushing.fetch_add(1, Ordering::SeqCst);
        // Ends when the test has dropped its end, too.
        let _ = self.open.lock().unwrap().recv();
        self.inner.flush()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<Commit>>);

impl Observer for Seen {
    fn committed(&self, commit: &Commit) {
        self.0.lock().unwrap().push(commit.clone());
    }
}

#[test]
fn nothing_is_seen_or_acknowledged_before_its_flush_and_waiting_batches_share_the_next() {
    let (let_through, open) = std::sync::mpsc::channel();
    let gate = Arc::new(Gate {
        inner: MemoryBackend::open(MemoryDisk::new()),
        open: Mutex::new(open),
        flushing: AtomicU64::new(0),
    });
    let seen = Arc::new(Seen::default());
    let place = Box::new(MemoryFrontier::default());
    let opened = Store::open_on(gate.clone(), place, OpenOptions::default(), seen.clone()).unwrap();
    let mut rig = Rig::new(opened);
    let reader = rig.store.reader();
    rig.submit(record(1, 16)).unwrap();
    while gate.flushing.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(gate.get(&record_key(1)).unwrap().is_some(), "the engine has it");
    assert_eq!(reader.get(&record_key(1)).unwrap(), None, "readers do not");
    assert!(records(&reader).is_empty());
    assert!(rig.acks.try_recv().is_err());
    for n in 2..=6 {
        rig.submit(record(n, 16)).unwrap();
    }
    assert_eq!(rig.store.waiting(), 6);
    let_through.send(()).unwrap();
    assert_eq!(rig.acks.blocking_recv().unwrap(), Ack { ticket: 1, result: Ok(1) });
    assert_eq!(records(&reader), [1]);
    let_through.send(()).unwrap();
    for ticket in 2..=6 {
        assert_eq!(rig.acks.blocking_recv().unwrap(), Ack { ticket, result: Ok(2) });
    }
    assert_eq!(records(&reader), [1, 2, 3, 4, 5, 6]);
    drop(let_through);
    rig.store.close().unwrap();
    let commits = seen.0.lock().unwrap();
    let shape: Vec<_> = commits.iter().map(|c| (c.number, c.batches, c.writes)).collect();
    // Records and the entry that they share; the set's head and its one node.
    assert_eq!(shape, [(1, 1, 2 + 2), (2, 5, 6 + 2)]);
    assert!(commits.iter().all(|c| c.flush <= c.commit));
}

#[test]
fn a_full_queue_gives_the_batch_back() {
    let (let_through, open) = std::sync::mpsc::channel();
    let gate = Gate {
        inner: MemoryBackend::open(MemoryDisk::new()),
        open: Mutex::new(open),
        flushing: AtomicU64::new(0),
    };
    let place = Box::new(MemoryFrontier::default());
    let options = OpenOptions::default();
    let opened = Store::open_on(Arc::new(gate), place, options, Arc::new(Unobserved)).unwrap();
    let mut rig = Rig::new(opened);
    for n in 0..QUEUE_BATCHES as u64 {
        rig.submit(record(n, 16)).unwrap();
    }
    match rig.submit(record(9999, 16)).unwrap_err() {
        SubmitError::Full { batch, waiting, .. } => {
            assert_eq!((*batch, waiting), (record(9999, 16), QUEUE_BATCHES));
        }
        other => panic!("{other}"),
    }
    drop(let_through);
    for _ in 0..QUEUE_BATCHES {
        rig.acks.blocking_recv().unwrap().result.unwrap();
    }
    rig.commit(record(9999, 16)).unwrap();
}

#[test]
fn damage_on_the_read_side_is_told_from_a_failing_disk() {
    let faults = Arc::new(Faults::default());
    let engine = FaultyBackend::new(MemoryBackend::open(MemoryDisk::new()), faults.clone());
    let reader = StoreReader::new(Arc::new(engine));
    faults.read.store(1, Ordering::SeqCst);
    let error = reader.get(b"\x01").unwrap_err();
    assert!(matches!(error, ocm_node::storage::ReadError::Corrupt(_)), "{error}");
    let error = reader.scan(b"\x01", b"\x02", 9).unwrap_err();
    assert!(matches!(error, ocm_node::storage::ReadError::Corrupt(_)), "{error}");
}
