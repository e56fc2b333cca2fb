//! Crashes and failing disks, on the engine in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use ocm_node::storage::{Key, Value};
use proptest::prelude::*;

use super::super::faulty::{Faults, FaultyBackend};
use super::*;

fn open_faulty(
    disk: &MemoryDisk,
    place: &MemoryFrontier,
    faults: &Arc<Faults>,
) -> Result<Opened, OpenError> {
    let engine = FaultyBackend::new(MemoryBackend::open(disk.clone()), faults.clone());
    let options = OpenOptions::default();
    Store::open_on(Arc::new(engine), Box::new(place.clone()), options, Arc::new(Unobserved))
}

#[test]
fn the_first_failure_poisons_and_the_next_start_recovers() {
    type Fault = fn(&Faults) -> &AtomicU64;
    let cases: [(&str, Fault); 4] = [
        ("apply: injected", |faults| &faults.apply),
        ("short write", |faults| &faults.half_apply),
        ("flush: injected", |faults| &faults.flush),
        ("panic: injected panic", |faults| &faults.panic),
    ];
    for (cause, fault) in cases {
        let (disk, place) = (MemoryDisk::new(), MemoryFrontier::default());
        let faults = Arc::new(Faults::default());
        fault(&faults).store(3, Ordering::SeqCst);
        let mut rig = Rig::new(open_faulty(&disk, &place, &faults).unwrap());
        rig.commit(record(1, 20)).unwrap();
        rig.commit(record(2, 20)).unwrap();
        let poisoned = rig.commit(record(3, 20)).unwrap_err();
        assert!(poisoned.cause.contains(cause), "{cause}: {poisoned}");
        assert!(poisoned.to_string().contains("restart the node"));
        assert_eq!(rig.store.poisoned(), Some(poisoned.clone()));
        let error = rig.submit(record(4, 20)).unwrap_err();
        assert_eq!(error, SubmitError::Poisoned(poisoned.clone()));
        let reader = rig.store.reader();
        assert_eq!(records(&reader), [1, 2], "{cause}: readers see what is durable");
        assert_eq!(reader.get(b"\x02newest").unwrap().unwrap(), 2u64.to_be_bytes());
        assert_eq!(rig.store.close(), Err(CloseError::Poisoned(poisoned)));
        disk.crash(0);
        let opened = open_memory(&disk, &place, OpenOptions::default()).unwrap();
        assert_eq!(records(&opened.store.reader()), [1, 2], "{cause}");
        let mut rig = Rig::new(opened);
        rig.commit(record(3, 20)).unwrap();
    }
}

#[test]
fn batches_queued_behind_a_failure_fail_too() {
    let (disk, place) = (MemoryDisk::new(), MemoryFrontier::default());
    let faults = Arc::new(Faults::default());
    faults.flush.store(1, Ordering::SeqCst);
    let mut rig = Rig::new(open_faulty(&disk, &place, &faults).unwrap());
    let mut submitted = 0;
    for n in 0..500 {
        match rig.submit(record(n, 20)) {
            Ok(_) => submitted += 1,
            Err(SubmitError::Poisoned(_)) => break,
            Err(other) => panic!("{other}"),
        }
    }
    for _ in 0..submitted {
        rig.acks.blocking_recv().unwrap().result.unwrap_err();
    }
    assert_eq!(rig.store.waiting(), 0);
}

fn batches() -> impl Strategy<Value = Vec<Vec<(u8, Option<u8>)>>> {
    prop::collection::vec(prop::collection::vec((any::<u8>(), any::<Option<u8>>()), 1..6), 1..40)
}

fn content(reader: &StoreReader) -> BTreeMap<Key, Value> {
    reader.scan(&[1], &[2], usize::MAX).unwrap().into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// After a crash at any flush, with any number of unflushed groups surviving it, the store holds
    /// the first batches whole: all that were acknowledged, and maybe some more.
    #[test]
    fn a_crash_keeps_what_was_acknowledged_and_no_half_batch(
        batches in batches(),
        failing in 1u64..12,
        kept in 0usize..3,
    ) {
        let (disk, place) = (MemoryDisk::new(), MemoryFrontier::default());
        let faults = Arc::new(Faults::default());
        faults.flush.store(failing, Ordering::SeqCst);
        let mut rig = Rig::new(open_faulty(&disk, &place, &faults).unwrap());
        let mut states = vec![BTreeMap::new()];
        let mut submitted = 0;
        for (n, batch) in batches.iter().enumerate() {
            let mut writes = Batch::new();
            let mut state = states[n].clone();
            for (key, value) in batch {
                let key = vec![1, *key];
                match value {
                    Some(value) => state.insert(key.clone(), vec![*value]),
                    None => state.remove(&key),
                };
                writes.writes.push((key, value.map(|value| vec![value])));
            }
            states.push(state);
            if rig.submit(writes).is_err() {
                break;
            }
            submitted += 1;
        }
        let mut acknowledged = 0;
        for _ in 0..submitted {
            if rig.acks.blocking_recv().unwrap().result.is_ok() {
                acknowledged += 1;
            }
        }
        prop_assert_eq!(&content(&rig.store.reader()), &states[acknowledged]);
        drop(rig);
        disk.crash(kept);
        let opened = open_memory(&disk, &place, OpenOptions::default()).unwrap();
        let found = content(&opened.store.reader());
        prop_assert!(
            states[acknowledged..].contains(&found),
            "{acknowledged} acknowledged, found {found:?}"
        );
    }
}
