//! What is missing at open, and `--accept-loss`.

use std::io::Write as _;
use std::sync::Mutex;

use ocm_node::storage::{Key, ReadError, Value};

use super::super::backend::Direction;
use super::super::faulty::{Faults, FaultyBackend};
use super::super::frontier::summary_key;
use super::*;

/// A store in memory of `n` commits, closed in order.
fn filled(n: u64) -> (MemoryDisk, MemoryFrontier) {
    let (disk, place) = (MemoryDisk::new(), MemoryFrontier::default());
    let mut rig = Rig::new(open_memory(&disk, &place, OpenOptions::default()).unwrap());
    for n in 0..n {
        rig.commit(record(n, 20)).unwrap();
    }
    rig.store.close().unwrap();
    (disk, place)
}

/// The store is refused, for a cause that `expected` knows; the flag opens it, and after that it
/// opens without.
fn refused_then_accepted(
    disk: &MemoryDisk,
    place: &MemoryFrontier,
    expected: impl Fn(&FrontierError) -> bool,
) {
    let error = match open_memory(disk, place, OpenOptions::default()).unwrap_err() {
        OpenError::Frontier(error) => error,
        other => panic!("{other}"),
    };
    assert!(expected(&error), "{error}");
    assert!(error.to_string().contains("--accept-loss"), "{error}");
    let accepting = OpenOptions { accept_loss: true, ..OpenOptions::default() };
    let opened = open_memory(disk, place, accepting).unwrap();
    let sets = opened.repairs.iter().filter(|repair| repair.contains("sets were made again"));
    assert_eq!(opened.repairs.len(), 2 + sets.count(), "{:?}", opened.repairs);
    assert_eq!(opened.repairs.last().unwrap(), "what is made from records was made again");
    let mut rig = Rig::new(opened);
    let commit = rig.commit(record(1000, 20)).unwrap();
    rig.store.close().unwrap();
    let opened = open_memory(disk, place, OpenOptions::default()).unwrap();
    assert_eq!(opened.frontier.commit, commit);
    assert!(opened.store.reader().get(&record_key(1000)).unwrap().is_some());
}

#[test]
fn a_store_that_lost_its_newest_commits_is_refused() {
    let (_, place) = filled(5);
    let (disk, _) = filled(3);
    refused_then_accepted(&disk, &place, |error| {
        let FrontierError::Shorter { found, found_records, expected, expected_records } = error
        else {
            return false;
        };
        (*found, *found_records, *expected, *expected_records) == (3, 3, 5, 5)
    });
}

#[test]
fn an_emptied_store_is_refused() {
    let (_, place) = filled(5);
    refused_then_accepted(&MemoryDisk::new(), &place, |error| {
        matches!(error, FrontierError::Shorter { found: 0, expected: 5, .. })
    });
}

#[test]
fn a_store_of_another_history_is_refused() {
    let (disk, _) = filled(5);
    let (other, place) = (MemoryDisk::new(), MemoryFrontier::default());
    let mut rig = Rig::new(open_memory(&other, &place, OpenOptions::default()).unwrap());
    rig.commit(record(77, 20)).unwrap();
    rig.store.close().unwrap();
    refused_then_accepted(&disk, &place, |error| {
        matches!(error, FrontierError::Disagrees { commit: 1, newest: 5 })
    });
}

#[test]
fn a_missing_frontier_file_is_refused() {
    let (disk, _) = filled(5);
    refused_then_accepted(&disk, &MemoryFrontier::default(), |error| {
        matches!(error, FrontierError::Missing { commit: 5, records: 5 })
    });
}

#[test]
fn an_entry_that_vanished_or_changed_inside_is_noticed_by_the_audit() {
    let (disk, place) = filled(5);
    assert!(disk.lose(&record_key(2)));
    let lax = OpenOptions { audit: Audit::Never, ..OpenOptions::default() };
    drop(open_memory(&disk, &place, lax).unwrap());
    refused_then_accepted(&disk, &place, |error| {
        matches!(error, FrontierError::Incomplete { found: 7, expected: 8 })
    });

    let (disk, place) = filled(5);
    assert!(disk.lose(&record_key(2)));
    let mut stale = Batch::new();
    stale.put(record_key(2), *b"an older value");
    let engine = MemoryBackend::open(disk.clone());
    engine.apply(&stale).unwrap();
    engine.flush().unwrap();
    refused_then_accepted(&disk, &place, |error| {
        error.to_string().contains("not as they were written")
            && matches!(error, FrontierError::Incomplete { found: 8, expected: 8 })
    });
}

/// A large store is read through only when that is asked for; what is missing of its records shows
/// once its sets are counted.
#[test]
fn a_large_store_is_audited_when_asked() {
    let (disk, place) = (MemoryDisk::new(), MemoryFrontier::default());
    let mut rig = Rig::new(open_memory(&disk, &place, OpenOptions::default()).unwrap());
    let mut batch = Batch::new();
    for n in 0..super::super::frontier::AUDIT_ENTRIES {
        batch.put([&[1][..], &n.to_be_bytes()].concat(), [7]);
    }
    rig.commit(batch).unwrap();
    for n in 0..5 {
        rig.commit(record(n, 20)).unwrap();
    }
    rig.store.close().unwrap();
    let opened = open_memory(&disk, &place, OpenOptions::default()).unwrap();
    assert!(!opened.audited && opened.repairs.is_empty());
    drop(opened);
    assert!(disk.lose(&record_key(2)));
    assert!(open_memory(&disk, &place, OpenOptions::default()).is_ok(), "nobody looked");
    let whole = OpenOptions { audit: Audit::Whole, ..OpenOptions::default() };
    let error = open_memory(&disk, &place, whole).unwrap_err();
    assert!(matches!(error, OpenError::Frontier(FrontierError::Incomplete { .. })), "{error}");
    // Made again, the sets hold what is there, and that is not what was written.
    alter(&MemoryBackend::open(disk.clone()), layout::set_head(SpaceNumber(1), Set::Content), None);
    let error = open_memory(&disk, &place, OpenOptions::default()).unwrap_err();
    let missing = FrontierError::Records { found: 4, expected: 5 };
    assert!(matches!(&error, OpenError::Frontier(found) if *found == missing), "{error}");
    let accepting = OpenOptions { accept_loss: true, ..OpenOptions::default() };
    let opened = open_memory(&disk, &place, accepting).unwrap();
    assert!(opened.audited && opened.repairs.len() == 2, "{:?}", opened.repairs);
    assert_eq!(sets::total(&opened.store.reader()).unwrap().count, 4);
}

/// What is done to a store, in words and in deed.
type Spoil<'a> = (&'static str, &'a dyn Fn(&MemoryBackend));

/// The sets are made again when their entries are gone, damaged, or of other records.
#[test]
fn sets_that_do_not_fit_the_records_are_made_again() {
    let (space, set) = (SpaceNumber(1), Set::Content);
    let spoil: [Spoil<'_>; 4] = [
        ("a missing head", &|engine| alter(engine, layout::set_head(space, set), None)),
        ("a damaged head", &|engine| alter(engine, layout::set_head(space, set), Some(vec![7]))),
        ("a head of other records", &|engine| {
            let empty = MemoryBackend::open(filled(3).0);
            let head = empty.get(&layout::set_head(space, set)).unwrap();
            alter(engine, layout::set_head(space, set), head);
        }),
        ("nothing left", &|engine| {
            alter(engine, layout::set_head(space, set), None);
            for number in 0..40 {
                alter(engine, layout::set_node(space, set, number), None);
            }
        }),
    ];
    let lax = OpenOptions { audit: Audit::Never, ..OpenOptions::default() };
    for (what, spoil) in spoil {
        let (disk, place) = filled(700);
        let expected = sets::total(&open_memory(&disk, &place, lax).unwrap().store.reader());
        spoil(&MemoryBackend::open(disk.clone()));
        let opened = open_memory(&disk, &place, lax).unwrap();
        assert_eq!(opened.repairs, ["the sets were made again from 700 records"], "{what}");
        let reader = opened.store.reader();
        assert_eq!(sets::total(&reader), expected, "{what}");
        assert_eq!(records(&reader), (0..700).collect::<Vec<_>>());
        drop(opened);
        let again = open_memory(&disk, &place, lax).unwrap();
        assert!(again.repairs.is_empty(), "{what}: {:?}", again.repairs);
    }
}

/// A record that was lost unnoticed leaves its set when that shows, and counts once when it comes
/// again.
#[test]
fn a_lost_record_that_comes_again_counts_once() {
    let (disk, place) = filled(5);
    let lax = OpenOptions { audit: Audit::Never, ..OpenOptions::default() };
    assert!(disk.lose(&record_key(2)));
    let mut rig = Rig::new(open_memory(&disk, &place, lax).unwrap());
    let mut forget = Batch::new();
    forget.delete(record_key(2));
    rig.commit(forget).unwrap();
    assert_eq!(sets::total(&rig.store.reader()).unwrap().count, 4);
    assert_eq!(rig.store.close().unwrap().records.count, 4);
    let mut rig = Rig::new(open_memory(&disk, &place, lax).unwrap());
    rig.commit(record(2, 20)).unwrap();
    assert_eq!(rig.store.close().unwrap().records.count, 5);
    let opened = open_memory(&disk, &place, lax).unwrap();
    assert!(opened.repairs.is_empty(), "{:?}", opened.repairs);
    assert_eq!(records(&opened.store.reader()), (0..5).collect::<Vec<_>>());
}

/// A set that cannot be read when it is to be changed ends the process; the next start mends it.
#[test]
fn a_damaged_node_ends_the_process_and_is_made_again() {
    let (disk, place) = filled(700);
    let lax = OpenOptions { audit: Audit::Never, ..OpenOptions::default() };
    for number in 0..40 {
        let node = layout::set_node(SpaceNumber(1), Set::Content, number);
        alter(&MemoryBackend::open(disk.clone()), node, None);
    }
    let mut rig = Rig::new(open_memory(&disk, &place, lax).unwrap());
    let poisoned = rig.commit(record(700, 20)).unwrap_err();
    assert!(poisoned.to_string().contains("made again at the next start"), "{poisoned}");
    drop(rig);
    let opened = open_memory(&disk, &place, lax).unwrap();
    assert_eq!(opened.repairs, ["the sets were made again from 700 records"]);
    let mut rig = Rig::new(opened);
    rig.commit(record(700, 20)).unwrap();
    assert_eq!(sets::total(&rig.store.reader()).unwrap().count, 701);
}

/// An engine whose flushes wait for a lock.
#[derive(Debug)]
struct Slow(MemoryBackend, Arc<Mutex<()>>);

impl Backend for Slow {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.0.get(key)
    }
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Value)>, StoreError> {
        self.0.scan(from, to, limit, direction)
    }
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.0.apply(batch)
    }
    fn flush(&self) -> Result<(), StoreError> {
        let _open = self.1.lock().unwrap();
        self.0.flush()
    }
    fn close(&self) -> Result<(), StoreError> {
        self.0.close()
    }
}

/// A set that is found damaged when it is read is taken out of service ahead of what waits, be the
/// queue full or empty.
#[test]
fn a_set_is_given_up_ahead_of_a_full_queue() {
    let lax = OpenOptions { audit: Audit::Never, ..OpenOptions::default() };
    for full in [true, false] {
        let (disk, place) = filled(10);
        let gate = Arc::new(Mutex::new(()));
        let backend = Arc::new(Slow(MemoryBackend::open(disk.clone()), gate.clone()));
        let opened = Store::open_on(backend, Box::new(place.clone()), lax, Arc::new(Unobserved));
        let mut rig = Rig::new(opened.unwrap());
        let closed = gate.lock().unwrap();
        let mut submitted = 0;
        while full && rig.submit(record(10 + submitted, 20)).is_ok() {
            submitted += 1;
        }
        assert_eq!(submitted as usize, if full { QUEUE_BATCHES } else { 0 });
        let (space, set) = (SpaceNumber(1), Set::Content);
        let error = ReadError::Set { space, set, cause: "a node is missing".into() };
        rig.store.give_up(space, set, error);
        drop(closed);
        let acks: Vec<Ack> = (0..submitted).map(|_| rig.acks.blocking_recv().unwrap()).collect();
        let durable = acks.iter().filter(|ack| ack.result.is_ok()).count() as u64;
        assert!(!full || durable < submitted, "only what was being written went before");
        let closing = rig.store.close().unwrap_err().to_string();
        assert!(closing.contains("made again at the next start"), "{closing}");
        let opened = open_memory(&disk, &place, lax).unwrap();
        let records = 10 + durable;
        assert_eq!(opened.repairs, [format!("the sets were made again from {records} records")]);
        assert_eq!(sets::total(&opened.store.reader()).unwrap().count, records);
    }
}

/// The same where a new node would lie: the engine cannot write beside what it cannot read.
#[test]
fn a_set_that_has_no_place_to_grow_ends_the_process_and_is_made_again() {
    let (disk, place) = filled(700);
    let lax = OpenOptions { audit: Audit::Never, ..OpenOptions::default() };
    let (from, to) = layout::all_set_nodes();
    let nodes =
        MemoryBackend::open(disk.clone()).scan(&from, &to, 1, Direction::Descending).unwrap();
    let beyond = [&nodes[0].0[..], &[0]].concat();
    let faults = Arc::new(Faults::default());
    *faults.damaged.lock().unwrap() = Some((beyond, to));
    let backend = FaultyBackend::new(MemoryBackend::open(disk.clone()), faults);
    let opened =
        Store::open_on(Arc::new(backend), Box::new(place.clone()), lax, Arc::new(Unobserved));
    let mut rig = Rig::new(opened.unwrap());
    let mut grown = 700;
    let poisoned = loop {
        match rig.commit(record(grown, 20)) {
            Ok(_) => grown += 1,
            Err(poisoned) => break poisoned,
        }
        assert!(grown < 1000, "no new node was needed");
    };
    assert!(poisoned.to_string().contains("made again at the next start"), "{poisoned}");
    drop(rig);
    let opened = open_memory(&disk, &place, lax).unwrap();
    assert_eq!(opened.repairs, [format!("the sets were made again from {grown} records")]);
    assert_eq!(records(&opened.store.reader()), (0..grown).collect::<Vec<_>>());
}

fn alter(engine: &MemoryBackend, key: Key, value: Option<Value>) {
    engine.apply(&Batch { writes: vec![(key, value)] }).unwrap();
    engine.flush().unwrap();
}

#[test]
fn the_frontier_may_lag_and_its_summary_is_kept_until_it_moves() {
    let (disk, place) = (MemoryDisk::new(), MemoryFrontier::default());
    let mut rig = Rig::new(open_memory(&disk, &place, OpenOptions::default()).unwrap());
    let early = MemoryFrontier::default();
    for n in 0..400 {
        rig.commit(record(n, 20)).unwrap();
        if n == 300 {
            early.save(&place.load().unwrap().unwrap()).unwrap();
        }
    }
    rig.store.close().unwrap();
    let saved = early.load().unwrap().unwrap();
    assert!(saved.commit <= 301 && saved.commit >= 301 - 64, "{saved:?}");
    let engine = MemoryBackend::open(disk.clone());
    let summaries = (0..=400).filter(|n| engine.get(&summary_key(*n)).unwrap().is_some()).count();
    assert!(summaries <= 2 * 64 + 1, "old summaries are removed: {summaries}");
    assert_eq!(place.load().unwrap().unwrap().commit, 400);
    drop(open_memory(&disk, &place, OpenOptions::default()).unwrap());
}

#[test]
fn the_frontier_is_saved_soon_after_the_last_commit() {
    let (disk, place) = (MemoryDisk::new(), MemoryFrontier::default());
    let mut rig = Rig::new(open_memory(&disk, &place, OpenOptions::default()).unwrap());
    rig.commit(record(1, 20)).unwrap();
    assert_eq!(place.load().unwrap().unwrap().commit, 0);
    let started = std::time::Instant::now();
    while place.load().unwrap().unwrap().commit == 0 {
        assert!(started.elapsed().as_secs() < 20, "never saved");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn root_opens_no_other_users_store() {
    if !rustix::process::geteuid().is_root() {
        // Straight to the stream: the test runner keeps to itself what `eprintln!` says.
        let _ = writeln!(std::io::stderr(), "skipped: a store of another user: only root could");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    open_sled(&store).unwrap().store.close().unwrap();
    std::os::unix::fs::chown(&store, Some(65_534), None).unwrap();
    let told = open_sled(&store).err().unwrap().to_string();
    assert!(told.contains("user 65534") && told.contains("sudo -u"), "{told}");
    std::os::unix::fs::chown(&store, Some(0), None).unwrap();
    assert!(open_sled(&store).is_ok());
}
