//! What a change may build on, who may write what, and places in logs.

use ipld_core::ipld::Ipld;
use ocm_node::{Command, CommandError, Hold, Refuse, Reject, Reply, Verdict, view};
use ocm_record::{Header, Kind, Malformed, RecordId, Time, VerifiedRecord, VerifyError};
use ocm_space::{Genesis, Refusal, Role};

use crate::host::*;
use crate::peer::*;
use crate::scribe::*;

const OTHER_MEMORY: Verdict = Verdict::Refuse(Refuse::OtherMemory);
const NOT_PERMITTED: Verdict = Verdict::Refuse(Refuse::Authority(Refusal::NotPermitted));
const DESCENDANT: Verdict = Verdict::Refuse(Refuse::Descendant);

#[test]
fn what_a_change_may_build_on() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let grant = scribe.grant(OWNER, 2, Role::Writer, &[]);
    let one = scribe.start(OWNER, &[]);
    let two = scribe.start(OWNER, &[]);
    // Content of a kind that nobody knows belongs to its memory like a change.
    let parts = Parts { memory: one.memory(), deps: vec![one.id()], ..Parts::default() };
    let later = scribe.write(OWNER, Kind(64), Ipld::Null, parts);
    for record in [&grant, &one, &two, &later] {
        host.accept(record);
    }
    let nowhere = RecordId::from_parts(Time::from_millis(NOW - 2 * DAY), [3; 32]);
    let (g, a, b, l) = (grant.id(), one.id(), two.id(), later.id());
    let genesis = scribe.space.0;
    let of_one = one.memory();
    let hold = |ids: &[RecordId]| Verdict::Hold(Hold::Dependency(ids.to_vec()));
    let table = [
        ("starts a memory", None, vec![], Verdict::Accept),
        ("starts one and knows a grant", None, vec![g], Verdict::Accept),
        ("starts one upon content", None, vec![a], OTHER_MEMORY),
        ("starts one upon content and a grant", None, vec![g, a], OTHER_MEMORY),
        ("goes on", of_one, vec![a], Verdict::Accept),
        ("goes on, knowing a grant and the genesis", of_one, vec![g, a, genesis], Verdict::Accept),
        ("goes on upon an unknown kind", of_one, vec![l], Verdict::Accept),
        ("names nothing of its memory", of_one, vec![g], OTHER_MEMORY),
        ("names another memory alone", of_one, vec![b], OTHER_MEMORY),
        ("names another memory, too", of_one, vec![a, b], OTHER_MEMORY),
        ("names what is not here", of_one, vec![nowhere], hold(&[nowhere])),
        ("names what is here and what is not", of_one, vec![a, nowhere], hold(&[nowhere])),
        ("names another memory and what is not here", of_one, vec![b, nowhere], hold(&[nowhere])),
    ];
    for (name, memory, deps, expected) in table {
        let parts = Parts { memory, deps, ..Parts::default() };
        let record = scribe.write(OWNER, Kind::CHANGE, title(name), parts);
        assert_eq!(host.judge(&record.encode()), expected, "{name}");
        assert_eq!(host.stores(&record), expected.stands(), "{name}");
    }
    // The same on the disk as on its way to it: all in one import.
    let mut fresh = scribe.host(OWNER);
    let start = scribe.start(OWNER, &[]);
    let other = scribe.start(OWNER, &[]);
    let next = scribe.change(OWNER, &start, &[]);
    let deps = vec![start.id(), other.id()];
    let parts = Parts { memory: start.memory(), deps, ..Parts::default() };
    let mixed = scribe.write(OWNER, Kind::CHANGE, title("mixed"), parts);
    let all = [&mixed, &next, &start, &other];
    let verdicts = fresh.import(all.iter().map(|record| record.encode()).collect());
    assert_eq!(verdicts, [OTHER_MEMORY, Verdict::Accept, Verdict::Accept, Verdict::Accept]);
}

#[test]
fn what_is_refused_is_refused_with_all_that_builds_on_it() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let stranger = scribe.start(3, &[]);
    let child = scribe.change(OWNER, &stranger, &[]);
    let grandchild = scribe.change(OWNER, &child, &[]);
    let grant = scribe.grant(3, 4, Role::Writer, &[]);
    let granted = scribe.start(4, &[grant.id()]);
    let owner = scribe.start(OWNER, &[grant.id()]);
    // Held first, so that the refusal has to reach them.
    let hold = |id| Verdict::Hold(Hold::Dependency(vec![id]));
    assert_eq!(host.judge(&child.encode()), hold(stranger.id()));
    assert_eq!(host.judge(&grandchild.encode()), hold(child.id()));
    assert!(matches!(host.judge(&granted.encode()), Verdict::Hold(Hold::Authority(_))));
    assert_eq!(host.judge(&stranger.encode()), NOT_PERMITTED);
    assert_eq!(host.judge(&grant.encode()), NOT_PERMITTED);
    assert_eq!(host.node.snapshot().held, (0, 0));
    for record in [&child, &grandchild, &granted, &owner] {
        assert_eq!(host.judge(&record.encode()), DESCENDANT);
    }
    assert_eq!(host.ids(scribe.space), [scribe.space.0]);
    let snapshot = host.node.snapshot();
    assert_eq!(snapshot.admissions[&("refuse", "descendant")], 7, "three released, four judged");
    assert!(snapshot.refused.iter().all(|entry| entry.verdict == "refuse" && entry.id.is_some()));
}

#[test]
fn a_space_begins_once() {
    let scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let other = Scribe::named("another", CLOSED);
    assert_eq!(host.judge(&other.genesis.encode()), Verdict::Hold(Hold::UnknownSpace));
    // It cannot claim to be of a space.
    let header = Header { space: scribe.space, ..other.genesis.header().clone() };
    let bytes = signed(OWNER, &header, other.genesis.body_bytes());
    let verdict = host.judge(&bytes);
    assert!(matches!(verdict, Verdict::Reject(Reject::Malformed(Malformed::Rule(_)))));
    // Nor be sent as one of it.
    let peer = Peer::connect(&mut host, OWNER);
    let message = other.genesis.encode();
    let (verdict, _) = host.gossip(peer.id, scribe.space, message);
    assert_eq!(verdict, ocm_node::GossipVerdict::Reject);
    // A node that waits for it refuses it when its author is not the first owner.
    let stolen =
        Genesis { name: "stolen".into(), nonce: [1; 32], policy: CLOSED, owners: vec![did(OWNER)] };
    let stolen = sign(genesis_draft(), 2, stolen.to_ipld(), 1);
    host.join(stolen.space());
    let verdict = host.judge(&stolen.encode());
    assert_eq!(verdict, Verdict::Refuse(Refuse::Authority(Refusal::Genesis)));
    assert_eq!(host.ids(scribe.space), [scribe.space.0]);
    assert_eq!(host.ids(stolen.space()), []);
}

/// A record whose header these parts are, signed by `by`.
fn signed(by: u8, header: &Header, body: Option<&[u8]>) -> Vec<u8> {
    let bytes = |part: &[u8]| Ipld::Bytes(part.to_vec());
    let header = header.encode();
    let signature = key(by).sign(&header);
    ocm_record::to_canonical(&Ipld::List(vec![
        bytes(&header),
        bytes(signature.as_bytes()),
        body.map_or(Ipld::Null, bytes),
    ]))
}

#[test]
fn what_the_bytes_prove_is_rejected() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let record = scribe.start(OWNER, &[]);
    let wrong = |error| Verdict::Reject(Reject::Unverified(error));
    assert_eq!(host.judge(&forged(&record)), wrong(VerifyError::Signature));
    let body = garbled(&record, *record.signature().as_bytes(), Some(b"another"));
    assert_eq!(host.judge(&body), wrong(VerifyError::Body));
    for bytes in [vec![], vec![0x80], [record.encode(), vec![0]].concat(), vec![0; 70_000]] {
        assert!(matches!(host.judge(&bytes), Verdict::Reject(Reject::Malformed(_))));
    }
    // Another version is no fault of anyone.
    let text = |text: &str| Ipld::String(text.into());
    let bytes = |part: &[u8]| Ipld::Bytes(part.to_vec());
    let header = ocm_record::to_canonical(&Ipld::List(vec![text("ocm/2"), text("new")]));
    let later =
        ocm_record::to_canonical(&Ipld::List(vec![bytes(&header), bytes(&[0; 64]), Ipld::Null]));
    assert!(matches!(host.judge(&later), Verdict::Hold(Hold::Unsupported(_))));
    // A copy that was worthless is known again, and the true record is not mistaken for it.
    assert_eq!(host.judge(&forged(&record)), wrong(VerifyError::Signature));
    assert_eq!(host.judge(&record.encode()), Verdict::Accept);
    for copy in [forged(&record), body] {
        assert_eq!(host.judge(&copy), Verdict::Duplicate);
    }
    assert!(host.stores(&record));
}

/// Whatever order they come in, and however many, garbage copies change nothing.
#[test]
fn a_garbage_copy_hides_no_record() {
    let mut scribe = Scribe::new(CLOSED);
    let start = scribe.start(OWNER, &[]);
    let held = scribe.change(OWNER, &start, &[]);
    let garbage = |record: &VerifiedRecord, n: u8| {
        let body = vec![n; record.body_bytes().unwrap().len()];
        garbled(record, *record.signature().as_bytes(), Some(&body))
    };
    for reversed in [false, true] {
        let mut host = scribe.host(OWNER);
        let mut batch =
            vec![forged(&start), garbage(&start, 1), start.encode(), garbage(&start, 2)];
        if reversed {
            batch.reverse();
        }
        let verdicts = host.import(batch);
        let accepted: Vec<_> = verdicts.iter().filter(|v| **v == Verdict::Accept).collect();
        assert_eq!(accepted.len(), 1, "{verdicts:?}");
        assert!(verdicts.iter().filter(|v| matches!(v, Verdict::Reject(_))).count() == 3);
        assert!(host.stores(&start));
    }
    // Nor of one that is held, before it or after it.
    let mut host = scribe.host(OWNER);
    assert!(matches!(host.judge(&forged(&held)), Verdict::Reject(_)));
    assert!(matches!(host.judge(&held.encode()), Verdict::Hold(_)));
    host.judge(&garbage(&held, 1));
    host.judge(&forged(&held));
    host.accept(&start);
    assert!(host.stores(&held));
}

#[test]
fn unknown_kinds_are_admitted_by_role() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let start = scribe.start(OWNER, &[]);
    host.accept(&start);
    let roles = [(2, Role::Owner), (3, Role::Writer), (4, Role::Agent), (5, Role::Reader)];
    let mut grants: Vec<(u8, bool, VerifiedRecord)> = roles
        .into_iter()
        .map(|(to, role)| {
            let may = matches!(role, Role::Owner | Role::Writer);
            (to, may, scribe.grant(OWNER, to, role, &[]))
        })
        .collect();
    grants.push((6, false, scribe.grant(OWNER, 6, Role::Relay, &[])));
    let named = ocm_space::Grant { kinds: Some(vec![Kind(10), Kind(64)]), ..grant(7, Role::Agent) };
    grants.push((7, true, scribe.grant_of(OWNER, &named, &[])));
    for (by, may, grant) in grants {
        host.accept(&grant);
        for kind in [10, 64] {
            let parts = Parts {
                memory: start.memory(),
                deps: vec![start.id()],
                auth: vec![grant.id()],
                ..Parts::default()
            };
            let record = scribe.write(by, Kind(kind), Ipld::Null, parts);
            let expected = if may { Verdict::Accept } else { NOT_PERMITTED };
            assert_eq!(host.judge(&record.encode()), expected, "author {by}, kind {kind}");
        }
    }
    // They have no effect on what a memory shows, and count in the sets.
    let number = host.space(scribe.space).number;
    let memory = start.memory().unwrap();
    let read = view::read_memory(&host.disk, number, &memory).unwrap();
    let changes = read.records.iter().filter(|record| record.header().kind == Kind::CHANGE);
    assert_eq!((changes.count(), read.records.len()), (1, 4));
    let parity = host.space(scribe.space).parity;
    assert_eq!((parity.authority.count, parity.content.count), (1 + 6 + 3, 1 + 3));
}

#[test]
fn a_change_without_its_body_is_held_until_it_comes_whole() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let start = scribe.start(OWNER, &[]);
    let next = scribe.change(OWNER, &start, &[]);
    let held = Verdict::Hold(Hold::Body);
    assert_eq!(host.judge(&start.encode_without_body()), held);
    assert!(matches!(host.judge(&next.encode()), Verdict::Hold(Hold::Dependency(_))));
    assert_eq!(host.judge(&start.encode_without_body()), held);
    assert_eq!(host.ids(scribe.space).len(), 1);
    // Both copies at once: the whole one counts.
    let verdicts = host.import(vec![start.encode_without_body(), start.encode()]);
    assert!(verdicts.iter().all(Verdict::stands), "{verdicts:?}");
    assert!(host.stores(&start) && host.stores(&next));
    assert_eq!(host.judge(&start.encode_without_body()), Verdict::Duplicate);
    assert!(host.stores(&start), "the stripped copy took nothing away");
    // What has no right, or misses something, is not held for its body.
    let stranger = scribe.start(3, &[]);
    assert_eq!(host.judge(&stranger.encode_without_body()), NOT_PERMITTED);
}

#[test]
fn both_of_two_records_in_one_place_are_kept_and_counted() {
    let mut scribe = Scribe::new(CLOSED);
    let mut twin = |text: &str, seq| {
        let place = Some((9, seq));
        scribe.write(OWNER, Kind::CHANGE, title(text), Parts { place, ..Parts::default() })
    };
    let records = [twin("a", 5), twin("b", 5), twin("c", 6), twin("d", 5)];
    let other = sign_in_place(&mut scribe, 2);
    let bytes = || records.iter().map(VerifiedRecord::encode);
    let mut one_by_one = scribe.host(OWNER);
    bytes().for_each(|bytes| assert_eq!(one_by_one.judge(&bytes), Verdict::Accept));
    let mut at_once = scribe.host(OWNER);
    at_once.import(bytes().rev().collect());
    for host in [&mut one_by_one, &mut at_once] {
        assert_eq!(host.space(scribe.space).tallies.equivocations, 2);
        assert!(records.iter().all(|record| host.stores(record)));
        bytes().for_each(|bytes| assert_eq!(host.judge(&bytes), Verdict::Duplicate));
        assert_eq!(host.judge(&other.encode()), NOT_PERMITTED, "another key, another log");
        assert_eq!(host.space(scribe.space).tallies.equivocations, 2);
        assert_eq!(host.space(scribe.space).tallies.memories, 4);
    }
    let mut again = at_once.reopen(2);
    assert_eq!(again.space(scribe.space).tallies.equivocations, 2);
    let third = {
        let place = Some((9, 6));
        scribe.write(OWNER, Kind::CHANGE, title("e"), Parts { place, ..Parts::default() })
    };
    again.accept(&third);
    assert_eq!(again.space(scribe.space).tallies.equivocations, 3);
}

/// The same boot and seq, by another key.
fn sign_in_place(scribe: &mut Scribe, by: u8) -> VerifiedRecord {
    let parts = Parts { place: Some((9, 5)), ..Parts::default() };
    scribe.write(by, Kind::CHANGE, title("other key"), parts)
}

#[test]
fn records_written_here_form_one_log_for_each_process() {
    let mut host = Host::new(OWNER);
    let create = Command::CreateSpace { name: "camp".into(), policy: CLOSED };
    let Ok(Reply::Space(space)) = host.command(create) else { panic!("no space") };
    let change = |space| Command::Change { space, memory: None, deps: vec![], edits: title("x") };
    let write = |host: &mut Host| match host.command(change(space)) {
        Ok(Reply::Record { id, .. }) => id,
        other => panic!("{other:?}"),
    };
    let read = |host: &Host, id: RecordId| {
        let number = host.space(space).number;
        [ocm_record::Set::Authority, ocm_record::Set::Content]
            .iter()
            .find_map(|set| host.disk.0.get(&ocm_node::layout::record(number, *set, &id)))
            .map(|value| ocm_node::view::read_verified(value, &id).unwrap())
            .unwrap()
    };
    let mut log = vec![space.0, write(&mut host), write(&mut host)];
    // What is not admitted takes no place.
    let nowhere = RecordId::from_parts(Time::from_millis(NOW - DAY), [3; 32]);
    let orphan = Command::Change {
        space,
        memory: Some(ocm_record::MemoryId(nowhere)),
        deps: vec![nowhere],
        edits: title("orphan"),
    };
    assert!(matches!(host.command(orphan), Err(CommandError::NotAdmitted(_))));
    assert_eq!(host.node.snapshot().held, (0, 0), "what is written here is never held");
    let Ok(Reply::Record { id, .. }) =
        host.command(Command::Grant { space, grant: grant(2, Role::Writer) })
    else {
        panic!("no grant")
    };
    log.push(id);
    log.push(write(&mut host));
    let boot = host.node.snapshot().boot;
    for (at, id) in log.iter().enumerate() {
        let header = read(&host, *id).header().clone();
        assert_eq!(header.boot, boot);
        assert_eq!(header.seq, at as u64 + 1);
        assert_eq!(header.prev, at.checked_sub(1).map(|before| log[before]));
    }
    assert!(log.is_sorted_by(|a, b| a.time() < b.time()));
    let mut again = host.reopen(2);
    let id = write(&mut again);
    let header = read(&again, id).header().clone();
    assert_ne!(header.boot, boot);
    assert_eq!((header.seq, header.prev), (1, None));
    let next = write(&mut again);
    assert_eq!(read(&again, next).header().prev, Some(id));
    assert_eq!(again.space(space).tallies.equivocations, 0);
}

#[test]
fn a_clock_far_ahead_is_not_followed() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let far = scribe.write(
        OWNER,
        Kind::CHANGE,
        title("far"),
        Parts { ahead: 400 * DAY, ..Parts::default() },
    );
    let near = scribe.write(
        OWNER,
        Kind::CHANGE,
        title("near"),
        Parts { ahead: 60_000, ..Parts::default() },
    );
    host.accept(&far);
    host.accept(&near);
    let mut write = |deps: Vec<RecordId>, memory| {
        let edits = title("mine");
        match host.command(Command::Change { space: scribe.space, memory, deps, edits }) {
            Ok(Reply::Record { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    };
    let mine = write(vec![], None);
    assert!(mine.time() > near.time(), "a minute ahead is followed");
    assert!(mine.time().millis() < NOW + DAY);
    let upon = write(vec![far.id()], far.memory());
    assert!(upon.time() > far.time(), "what builds on it comes after it");
    // The log goes on after it, as the form of a record demands; the next process does not.
    let mut again = host.reopen(2);
    let edits = title("mine");
    let space = scribe.space;
    match again.command(Command::Change { space, memory: None, deps: vec![], edits }) {
        Ok(Reply::Record { id, .. }) => assert!(id.time().millis() < NOW + DAY),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_that_cannot_be_carried_out_says_why() {
    let scribe = Scribe::new(CLOSED);
    let change = |space| Command::Change { space, memory: None, deps: vec![], edits: title("x") };
    let mut host = Host::new(2);
    let unknown = Err(CommandError::UnknownSpace(scribe.space));
    assert_eq!(host.command(change(scribe.space)), unknown);
    host.join(scribe.space);
    assert_eq!(host.command(change(scribe.space)), Err(CommandError::EmptySpace(scribe.space)));
    host.accept(&scribe.genesis);
    let denied = Err(CommandError::NotPermitted { did: did(2), kind: "change" });
    assert_eq!(host.command(change(scribe.space)), denied);
    let long = Command::CreateSpace { name: "x".repeat(129), policy: CLOSED };
    assert!(matches!(host.command(long), Err(CommandError::Invalid(_))));
    let many = Command::Import {
        space: None,
        records: vec![vec![]; ocm_node::limits::IMPORT_RECORDS + 1],
    };
    assert!(matches!(host.command(many), Err(CommandError::Invalid(_))));
    assert_eq!(host.ids(scribe.space), [scribe.space.0]);
    assert_eq!(host.node.snapshot().spaces.len(), 1);
}

/// A stripped copy that waits for a right keeps the whole one out, and goes when the right is
/// here: nothing is left.
#[test]
fn a_stripped_copy_that_waits_hides_no_whole_one() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let grant = scribe.grant(OWNER, 2, Role::Writer, &[]);
    let start = scribe.start(2, &[grant.id()]);
    assert!(matches!(host.judge(&start.encode_without_body()), Verdict::Hold(_)));
    assert!(matches!(host.judge(&start.encode()), Verdict::Hold(_)));
    host.accept(&grant);
    assert!(host.stores(&start));
}
