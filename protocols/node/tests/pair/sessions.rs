//! Sessions and comparisons that went wrong or came late.

use ipld_core::ipld;
use ipld_core::ipld::Ipld;
use ocm_memory::{Edit, Path, encode_edits};
use ocm_node::{Command, Event, Input, Output, Reply};
use ocm_record::{to_canonical, verify_batch};
use ocm_space::Access;
use ocm_sync::Request;

use crate::rig::{NOW, Rig, connect, connected, talk};

#[test]
fn a_peer_that_answers_nothing_loses_the_connection_after_the_third_request() {
    let (mut full, mut stalled) = (Rig::new(1), Rig::new(2));
    full.create(Access::Open);
    let mut now = NOW;
    connect(&mut full, &mut stalled, now);
    let fail = |rig: &mut Rig, now: u64, timed_out: bool| {
        let (_, request, _) = rig.sent.pop().unwrap();
        rig.node.handle(Input::RequestFailed { request, timed_out }, now, &rig.disk).unwrap()
    };
    let ends = |outputs: &[Output]| {
        outputs.iter().any(|output| matches!(output, Output::Disconnect { .. }))
    };
    let next = |rig: &mut Rig, now: &mut u64| {
        rig.sent.clear();
        while rig.sent.is_empty() {
            *now += 1000;
            rig.give(*now, Input::Tick);
        }
    };
    // What never went out is no fault of the peer's, and an answer makes up for what went before.
    for _ in 0..5 {
        next(&mut full, &mut now);
        assert!(!ends(&fail(&mut full, now, false)));
    }
    for _ in 0..2 {
        next(&mut full, &mut now);
        assert!(!ends(&fail(&mut full, now, true)));
    }
    talk(&mut full, &mut stalled, &mut now, 10_000);
    for count in 1..=3 {
        now += 700_000;
        next(&mut full, &mut now);
        assert_eq!(ends(&fail(&mut full, now, true)), count == 3, "{count}");
    }
}

#[test]
fn a_verdict_of_an_earlier_session_is_none_to_the_next() {
    let (mut full, mut empty, space, mut now) = connected();
    empty.verifies = false;
    talk(&mut full, &mut empty, &mut now, 2000);
    assert!(!empty.jobs.is_empty(), "a page is being verified");
    // The connection goes and comes; a new session has asked its first question.
    empty.give(now, Input::Disconnected(full.peer));
    full.give(now, Input::Disconnected(empty.peer));
    full.sent.clear();
    full.answered.clear();
    empty.sent.clear();
    connect(&mut full, &mut empty, now);
    while empty.node.snapshot().sessions == 0 {
        talk(&mut full, &mut empty, &mut now, 50);
        assert!(now < NOW + 20_000, "no session begins");
    }
    let (job, records) = empty.jobs.remove(0);
    empty.give(now, Input::Verified { job, results: verify_batch(records) });
    empty.verifies = true;
    talk(&mut full, &mut empty, &mut now, 20_000);
    assert_eq!(empty.faults(), 0, "an honest peer is blamed");
    assert_eq!(empty.export(space), full.export(space));
}

#[test]
fn a_copy_without_its_body_does_not_mask_the_whole_one() {
    let (mut writer, mut reader) = (Rig::new(1), Rig::new(2));
    let space = writer.create(Access::Open);
    let edits = Ipld::List(Vec::new());
    let change = |memory, deps| Command::Change { space, memory, deps, edits: edits.clone() };
    let Reply::Record { id, memory } = writer.command(change(None, vec![])) else { panic!() };
    writer.command(change(memory, vec![id]));
    let all = writer.export(space);
    let [genesis, first, second] = &all[..] else { panic!("{}", all.len()) };
    reader.command(Command::Join { space });
    reader.command(Command::Import { space: None, records: vec![genesis.clone()] });
    let hear = |bytes: &[u8]| Input::Gossip {
        peer: writer.peer,
        message: 1,
        space,
        bytes: bytes.to_vec(),
    };
    reader.give(NOW, hear(&strip(second)));
    reader.give(NOW, hear(second));
    reader.give(NOW, hear(first));
    assert_eq!(reader.export(space), all);
}

/// The same record without its body.
fn strip(record: &[u8]) -> Vec<u8> {
    let Ok(Ipld::List(parts)) = ocm_record::from_canonical::<Ipld>(record) else { panic!() };
    to_canonical(&ipld!([(parts[0].clone()), (parts[1].clone()), null]))
}

#[test]
fn both_sides_learn_that_they_are_equal_when_one_caught_up_meanwhile() {
    let (mut a, mut b, space, mut now) = connected();
    talk(&mut a, &mut b, &mut now, 5000);
    let equal = |rig: &Rig| {
        let snapshot = rig.node.snapshot();
        let parity = snapshot.parity(space, snapshot.peers[0].peer);
        parity.is_some_and(|parity| {
            parity.equal_since_ms.is_some() && parity.ours == snapshot.spaces[0].parity
        })
    };
    assert!(equal(&a) && equal(&b));
    // The two are apart in one grant. b asks, and before the answer comes it has the grant, too.
    b.node.handle(Input::Tick, now, &b.disk).unwrap();
    a.grant(space, Rig::new(3).did);
    a.sent.clear();
    b.give(now, Input::Command { ticket: 0, command: Command::Sync { space: Some(space) } });
    let (_, request, question) = b.sent.pop().unwrap();
    assert!(matches!(Request::decode(&question), Ok(Request::Parity { .. })));
    b.command(Command::Import { space: None, records: a.export(space) });
    b.sent.clear();
    a.give(now, Input::Request { peer: b.peer, channel: request, bytes: question });
    let (_, bytes) = a.answered.pop().unwrap();
    b.give(now, Input::Response { request, bytes });
    assert!(equal(&b) && !equal(&a), "b has heard, a has not");
    let differs = |rig: &Rig| rig.node.snapshot().spaces[0].differs_since_ms;
    assert_eq!((differs(&a), differs(&b)), (Some(NOW), None), "since the grant was written");
    talk(&mut a, &mut b, &mut now, 1500);
    assert!(equal(&a) && equal(&b), "and a hears it soon");
    assert_eq!((differs(&a), differs(&b)), (None, None));
}

#[test]
fn a_session_that_lasts_too_long_makes_room_for_another() {
    let (mut full, mut empty, space, mut now) = connected();
    // The peer answers, and what it sends is verified for ever.
    empty.verifies = false;
    talk(&mut full, &mut empty, &mut now, 2000);
    assert_eq!(empty.node.snapshot().sessions, 1);
    let overdue = NOW + 2000 + ocm_node::limits::SESSION_MS;
    assert!(empty.node.next_deadline().is_some_and(|at| at <= overdue));
    empty.give(overdue, Input::Tick);
    assert_eq!(empty.node.snapshot().sessions, 0);
    let ended = |event: &Event| matches!(event, Event::SessionEnded { outcome: "continued", .. });
    assert!(empty.events.iter().any(ended));
    empty.verifies = true;
    now = overdue;
    talk(&mut full, &mut empty, &mut now, 20_000);
    assert_eq!(empty.export(space), full.export(space));
}

#[test]
fn a_clock_that_is_set_back_delays_nothing() {
    let (mut a, mut b, _, mut now) = connected();
    talk(&mut a, &mut b, &mut now, 5000);
    a.sent.clear();
    let before = now - 24 * 60 * 60 * 1000;
    let asks = |a: &Rig| {
        let parity = |bytes: &[u8]| matches!(Request::decode(bytes), Ok(Request::Parity { .. }));
        a.sent.iter().any(|(_, _, bytes)| parity(bytes))
    };
    let mut waited = 0;
    while !asks(&a) {
        waited += 1000;
        assert!(waited <= 2 * ocm_node::limits::INTERVAL_MAX_MS, "no comparison");
        a.give(before + waited, Input::Tick);
    }
}

#[test]
fn what_was_written_while_a_session_moved_nothing_is_not_left_until_the_longest_pause() {
    let (mut owner, mut member) = (Rig::new(1), Rig::new(2));
    let space = owner.create(Access::Members);
    owner.grant(space, member.did);
    member.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut owner, &mut member, now);
    // They are equal for so long that they compare every ten minutes.
    talk(&mut owner, &mut member, &mut now, 3 * 600_000);
    assert!(member.holds(space));

    // The member is slow: what it is sent waits, and is sent again in a session.
    let write = |owner: &mut Rig, now| {
        let edit = Edit::Set { path: Path::key("text"), value: Ipld::String("x".into()) };
        let memories = vec![encode_edits(&[edit])];
        owner.give(now, Input::Command { ticket: 0, command: Command::Begin { space, memories } });
    };
    member.verifies = false;
    write(&mut owner, now);
    talk(&mut owner, &mut member, &mut now, 2000);
    // It takes no more meanwhile.
    for _ in 0..3 {
        write(&mut owner, now);
        talk(&mut owner, &mut member, &mut now, 100);
    }
    member.verifies = true;
    member.work(now);
    talk(&mut owner, &mut member, &mut now, 20_000);
    assert_eq!(owner.export(space).len(), 6);
    assert_eq!(member.export(space), owner.export(space));
}
