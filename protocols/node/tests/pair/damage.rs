//! Records that a disk damaged or lost.

use ipld_core::ipld;
use ipld_core::ipld::Ipld;
use ocm_node::storage::{Batch, Key, ReadError, Reader, Value};
use ocm_node::{Command, Event, Reply, derived, layout};
use ocm_record::{Did, MemoryId, Set, SignedRecord, SigningKey};
use ocm_space::Access;

use crate::disk::Disk;
use crate::rig::{NOW, Rig, connect, talk, thousands};

#[test]
fn a_damaged_grant_comes_again_and_is_no_twin_of_itself() {
    let (mut owner, mut reader) = (Rig::new(1), Rig::new(2));
    let space = owner.create(Access::Open);
    owner.grant(space, reader.did);
    reader.command(Command::Join { space });
    let records = owner.export(space);
    reader.command(Command::Import { space: None, records: records.clone() });
    let number = reader.disk.spaces()[&space];
    let grant = SignedRecord::decode(&records[1]).unwrap().id();
    let mut disk = std::mem::take(&mut reader.disk);
    // A bit of a stored record flips.
    let at = layout::record(number, ocm_record::Set::Authority, &grant);
    *disk.durable.get_mut(&at).unwrap().last_mut().unwrap() ^= 1;
    let mut reader = Rig::open(2, disk);
    assert_ne!(reader.export(space), records);
    let mut now = NOW;
    connect(&mut owner, &mut reader, now);
    talk(&mut owner, &mut reader, &mut now, 5000);
    assert_eq!(reader.export(space), records);
    assert_eq!(reader.node.snapshot().spaces[0].tallies.equivocations, 0);
}

/// A record that vanished beneath its set is not served as if it had never been: it leaves the set,
/// and comes again.
#[test]
fn a_lost_record_leaves_its_set_and_comes_again() {
    for fetched_by_range in [true, false] {
        let (mut whole, mut lossy, mut late) = (Rig::new(1), Rig::new(2), Rig::new(3));
        let space = whole.create(Access::Open);
        let edits = Ipld::List(Vec::new());
        let mut ids = Vec::new();
        for _ in 0..40 {
            let deps = Vec::new();
            let change = Command::Change { space, memory: None, deps, edits: edits.clone() };
            let Reply::Record { id, .. } = whole.command(change) else { panic!() };
            ids.push(id);
        }
        let records = whole.export(space);
        for rig in [&mut lossy, &mut late] {
            rig.command(Command::Join { space });
        }
        lossy.command(Command::Import { space: None, records: records.clone() });
        if !fetched_by_range {
            // It lacks only a few, which are listed and fetched by their ids.
            let most: Vec<_> = (0..records.len()).filter(|n| n % 9 != 4).collect();
            let most = most.into_iter().map(|n| records[n].clone()).collect();
            late.command(Command::Import { space: None, records: most });
        }
        let number = lossy.disk.spaces()[&space];
        let lost = SignedRecord::decode(&records[4]).unwrap().id();
        // The disk loses a stored record; what was made of it stays.
        let at = layout::record(number, ocm_record::Set::Content, &lost);
        lossy.disk.durable.remove(&at).unwrap();
        let mut now = NOW;
        connect(&mut lossy, &mut late, now);
        talk(&mut lossy, &mut late, &mut now, 30_000);
        let damaged = |event: &Event| matches!(event, Event::Damaged { id } if *id == lost);
        assert!(lossy.events.iter().any(damaged));
        assert_eq!(lossy.node.snapshot().spaces[0].parity.content.count, 39);
        assert_eq!(late.export(space), lossy.export(space), "the rest arrives");
        connect(&mut whole, &mut lossy, now);
        talk(&mut whole, &mut lossy, &mut now, 30_000);
        assert_eq!(lossy.export(space), records);
        assert_eq!(lossy.node.snapshot().spaces[0].tallies.memories, 40, "counted once");
    }
}

/// A whole page of records that vanished in a row is passed over, and whoever serves is not blamed.
#[test]
fn a_page_of_lost_records_is_no_breach() {
    let (mut lossy, mut late) = (Rig::new(1), Rig::new(2));
    let space = lossy.create(Access::Open);
    let many = ocm_sync::limits::PAGE_RECORDS + 80;
    for _ in 0..many {
        let (deps, edits) = (Vec::new(), Ipld::List(Vec::new()));
        lossy.command(Command::Change { space, memory: None, deps, edits });
    }
    let number = lossy.disk.spaces()[&space];
    let ids = lossy.disk.ids(number, ocm_record::Set::Content);
    for id in ids.iter().take(many - 30) {
        lossy.disk.durable.remove(&layout::record(number, ocm_record::Set::Content, id)).unwrap();
    }
    late.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut lossy, &mut late, now);
    talk(&mut lossy, &mut late, &mut now, 60_000);
    assert_eq!(late.faults(), 0, "an honest peer is blamed");
    assert_eq!(late.node.snapshot().spaces[0].parity.content.count, 30);
    assert_eq!(late.export(space), lossy.export(space));
}

/// A disk that is read while it is written.
struct Written(std::cell::RefCell<Disk>);

impl Reader for Written {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        self.0.borrow().get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, ReadError> {
        self.0.borrow().scan(from, to, limit)
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, ReadError> {
        self.0.borrow().scan_back(from, to, limit)
    }
}

#[test]
fn what_is_made_from_records_is_made_again_when_it_is_lost() {
    let mut rig = Rig::new(1);
    let space = thousands(&mut rig, 1);
    rig.create(Access::Members);
    let number = rig.disk.spaces()[&space];
    let memories: Vec<_> = rig.disk.ids(number, Set::Content).into_iter().collect();
    for id in memories.iter().step_by(100) {
        let edits = ipld!([[0, ["n"], 7]]);
        let memory = Some(MemoryId(*id));
        rig.command(Command::Change { space, memory, deps: vec![*id], edits });
    }
    // One place in a log holds two records.
    rig.grant(space, Did::from(SigningKey::from_seed(&[9; 32]).public()));
    let state = rig.node.snapshot().spaces.into_iter().find(|held| held.id == space).unwrap();
    let writer = SigningKey::from_seed(&[9; 32]);
    let auth = state.state.proof(
        &Did::from(writer.public()),
        &writer.public(),
        ocm_record::Kind::CHANGE,
        NOW,
    );
    let twin = |salt: u8| {
        let draft = ocm_record::Draft {
            space,
            kind: ocm_record::Kind::CHANGE,
            memory: None,
            author: None,
            boot: ocm_record::Boot::from_bytes([4; 16]),
            seq: 1,
            prev: None,
            deps: vec![],
            auth: auth.clone().unwrap(),
            time: ocm_record::Time::from_millis(NOW + 5),
        };
        draft.sign(&writer, vec![salt]).unwrap().encode()
    };
    rig.command(Command::Import { space: None, records: vec![twin(1), twin(2)] });

    let whole = rig.disk.durable.clone();
    let kept = |entries: &std::collections::BTreeMap<Key, Value>| {
        let lists = |key: &Key| matches!(key[0], b'd' | b'v' | b'i');
        let kept = entries.iter().filter(|(key, _)| !lists(key));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(whole.keys().filter(|key| key[0] == b'e').count(), 1);
    for cut in [1, 3, 6, 9, usize::MAX] {
        let mut disk = Disk::default();
        disk.durable.clone_from(&whole);
        // Every third of what is no record and no set is lost, and the names of the spaces are.
        let mut nth = 0;
        disk.durable.retain(|key, _| {
            nth += 1;
            matches!(key[0], b'r' | b'h' | b'n') || (key[0] != b's' && nth % 3 > 0)
        });
        disk.durable.insert(layout::row(number, &MemoryId(memories[0])), vec![1]);
        let store = Written(disk.into());
        let left = std::cell::Cell::new(cut);
        let mut apply = |writes: ocm_node::sets::Writes| {
            left.set(left.get().checked_sub(1).ok_or(ReadError::Io("cut short".into()))?);
            let mut disk = store.0.borrow_mut();
            disk.submit(0, Batch { writes });
            disk.flush(1);
            Ok(())
        };
        let first: Result<(), ReadError> = derived::rebuild(&store, &mut apply);
        assert_eq!(first.is_err(), cut < usize::MAX);
        assert_eq!(derived::is_unfinished(&store), Ok(first.is_err()));
        left.set(usize::MAX);
        derived::rebuild(&store, apply).unwrap();
        assert_eq!(derived::is_unfinished(&store), Ok(false));
        let disk = store.0.into_inner();
        assert_eq!(kept(&disk.durable), kept(&whole));
        let (from, to) = layout::all_dirty(number);
        let due: std::collections::BTreeSet<MemoryId> = disk
            .durable
            .range(from..to)
            .flat_map(|(_, list)| layout::dirty_memories(list))
            .collect();
        assert_eq!(due.len(), memories.len() + 2);
        assert!(!disk.durable.keys().any(|key| key[0] == b'v'));
    }
}
