//! The hold buffer: what waits, how much of it, and what goes first.

use ocm_node::{Hold, Verdict, limits};
use ocm_record::{Kind, RecordId, VerifiedRecord};
use ocm_space::Role;

use crate::host::*;
use crate::peer::*;
use crate::scribe::*;

/// `count` changes that build on `start`.
fn orphans(scribe: &mut Scribe, start: &VerifiedRecord, count: usize) -> Vec<VerifiedRecord> {
    (0..count).map(|_| scribe.change(OWNER, start, &[])).collect()
}

fn encoded(records: &[VerifiedRecord]) -> Vec<Vec<u8>> {
    records.iter().map(VerifiedRecord::encode).collect()
}

#[test]
fn one_peer_holds_so_many_and_its_oldest_go() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let start = scribe.start(OWNER, &[]);
    let past = 10;
    let flood = orphans(&mut scribe, &start, limits::HELD_PER_PEER + past);
    let [loud, quiet] = [2, 3].map(|n| {
        let grant = scribe.grant(OWNER, n, Role::Reader, &[]);
        host.accept(&grant);
        Peer::connect(&mut host, n)
    });
    let kept = orphans(&mut scribe, &start, 3);
    assert_eq!(quiet.push(&mut host, scribe.space, &encoded(&kept)).len(), 3);
    for page in flood.chunks(500) {
        loud.push(&mut host, scribe.space, &encoded(page));
        assert!(host.node.snapshot().held.0 <= limits::HELD_PER_PEER + 3);
    }
    assert_eq!(host.node.snapshot().held.0, limits::HELD_PER_PEER + 3);
    host.accept(&start);
    assert_eq!(host.node.snapshot().held, (0, 0));
    assert!(kept.iter().all(|record| host.stores(record)), "the other peer lost nothing");
    let (gone, there) = flood.split_at(past);
    assert!(gone.iter().all(|record| !host.stores(record)), "the oldest went");
    assert!(there.iter().all(|record| host.stores(record)));
    // They come again.
    assert!(host.import(encoded(gone)).iter().all(|verdict| *verdict == Verdict::Accept));
}

#[test]
fn so_many_are_held_in_all() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let start = scribe.start(OWNER, &[]);
    let peers = limits::HELD_RECORDS / 1000 + 1;
    let mut sent = Vec::new();
    for n in 0..peers {
        let author = 2 + u8::try_from(n).unwrap();
        let grant = scribe.grant(OWNER, author, Role::Reader, &[]);
        host.accept(&grant);
        let peer = Peer::connect(&mut host, author);
        let flood = orphans(&mut scribe, &start, 1000);
        for page in flood.chunks(500) {
            peer.push(&mut host, scribe.space, &encoded(page));
            assert!(host.node.snapshot().held.0 <= limits::HELD_RECORDS);
        }
        sent.extend(flood);
    }
    assert_eq!(host.node.snapshot().held.0, limits::HELD_RECORDS);
    host.accept(&start);
    let (gone, there) = sent.split_at(sent.len() - limits::HELD_RECORDS);
    assert!(!gone.is_empty() && gone.iter().all(|record| !host.stores(record)));
    assert!(there.iter().all(|record| host.stores(record)));
}

#[test]
fn so_many_bytes_are_held_in_all() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let start = scribe.start(OWNER, &[]);
    let text = "x".repeat(60_000);
    let count = limits::HELD_BYTES / text.len() + 5;
    let large: Vec<_> = (0..count)
        .map(|_| {
            let parts =
                Parts { memory: start.memory(), deps: vec![start.id()], ..Parts::default() };
            scribe.write(OWNER, Kind::CHANGE, title(&text), parts)
        })
        .collect();
    for record in &large {
        assert!(matches!(host.judge(&record.encode()), Verdict::Hold(_)));
        assert!(host.node.snapshot().held.1 <= limits::HELD_BYTES);
    }
    let (held, bytes) = host.node.snapshot().held;
    assert!(held < count && bytes > limits::HELD_BYTES - 70_000, "{held}, {bytes}");
    host.accept(&start);
    let (gone, there) = large.split_at(count - held);
    assert!(gone.iter().all(|record| !host.stores(record)), "the oldest went");
    assert!(there.iter().all(|record| host.stores(record)));
    assert_eq!(host.node.snapshot().held, (0, 0));
}

#[test]
fn what_waits_for_several_stands_when_the_last_is_here() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let grant = scribe.grant(OWNER, 2, Role::Writer, &[]);
    let start = scribe.start(OWNER, &[]);
    let left = scribe.change(OWNER, &start, &[]);
    let right = scribe.change(OWNER, &start, &[]);
    let parts = Parts {
        memory: start.memory(),
        deps: vec![left.id(), right.id()],
        auth: vec![grant.id()],
        ..Parts::default()
    };
    let join = scribe.write(2, Kind::CHANGE, title("join"), parts);
    let missing = |ids: &[&VerifiedRecord]| {
        let mut ids: Vec<RecordId> = ids.iter().map(|record| record.id()).collect();
        ids.sort_unstable();
        ids
    };
    let authority = Verdict::Hold(Hold::Authority(missing(&[&grant])));
    assert_eq!(host.judge(&join.encode()), authority);
    assert_eq!(host.node.snapshot().held.0, 1);
    assert!(matches!(host.judge(&join.encode()), Verdict::Hold(_)), "held already");
    assert_eq!(host.node.snapshot().held.0, 1);
    assert_eq!(host.space(scribe.space).held, 1);
    for record in [&grant, &start, &left] {
        host.accept(record);
        assert!(!host.stores(&join));
        assert_eq!(host.node.snapshot().held.0, 1);
    }
    host.accept(&right);
    assert!(host.stores(&join));
    assert_eq!(host.node.snapshot().held, (0, 0));
}

#[test]
fn only_what_waits_for_records_is_kept() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let start = scribe.start(OWNER, &[]);
    let elsewhere = Scribe::named("elsewhere", CLOSED);
    let limited = {
        let ipld_core::ipld::Ipld::Map(mut map) = grant(2, Role::Writer).to_ipld() else {
            panic!("a map")
        };
        map.insert("max_records".into(), ipld_core::ipld::Ipld::Integer(3));
        let content = ipld_core::ipld::Ipld::Map(map);
        scribe.write(OWNER, Kind::GRANT, content, Parts::default())
    };
    let bodyless = start.encode_without_body();
    for bytes in [bodyless, elsewhere.genesis.encode(), limited.encode(), forged(&start)] {
        assert!(!host.judge(&bytes).stands());
        assert_eq!(host.node.snapshot().held, (0, 0));
    }
    let unsupported = host.judge(&limited.encode());
    assert!(matches!(unsupported, Verdict::Hold(Hold::Unsupported(_))), "{unsupported:?}");
}
