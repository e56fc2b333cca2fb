//! What is missing at open, and `--accept-loss`.

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
    assert_eq!(opened.repairs.len(), 1, "{:?}", opened.repairs);
    let before = opened.frontier;
    let mut rig = Rig::new(opened);
    assert_eq!(rig.commit(record(1000, 20)).unwrap(), before.commit + 1);
    rig.store.close().unwrap();
    let opened = open_memory(disk, place, OpenOptions::default()).unwrap();
    assert_eq!(opened.frontier.commit, before.commit + 1);
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
    let lax = OpenOptions { audit: false, ..OpenOptions::default() };
    drop(open_memory(&disk, &place, lax).unwrap());
    refused_then_accepted(&disk, &place, |error| {
        matches!(error, FrontierError::Incomplete { found: 5, expected: 6 })
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
            && matches!(error, FrontierError::Incomplete { found: 6, expected: 6 })
    });
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
