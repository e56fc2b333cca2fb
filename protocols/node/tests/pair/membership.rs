//! Who is served, and how a right is shown.

use ocm_node::{Command, Input};
use ocm_record::{SignedRecord, SigningKey, SpaceId};
use ocm_space::Access;
use ocm_sync::{Request, Response, space_tag};
use serde_bytes::ByteBuf;

use crate::rig::{NOW, Rig, connect, talk};

#[test]
fn who_shared_an_empty_space_learns_nothing_once_it_is_filled() {
    let (mut owner, mut member, mut stranger) = (Rig::new(1), Rig::new(2), Rig::new(3));
    let space = owner.create(Access::Members);
    owner.grant(space, member.did);
    member.command(Command::Join { space });
    stranger.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut member, &mut stranger, now);
    talk(&mut member, &mut stranger, &mut now, 2000);
    assert!(member.shares(&stranger, space), "nothing is here that could be kept from anyone");
    member.command(Command::Import { space: None, records: owner.export(space) });
    talk(&mut member, &mut stranger, &mut now, 30_000);
    assert!(member.holds(space));
    assert!(!stranger.holds(space));
    assert!(!member.shares(&stranger, space));
}

/// An owner, a member that has the records up to its grant, and a newcomer that has none: its grant
/// is with the owner alone.
fn members() -> (Rig, Rig, Rig, SpaceId) {
    let (mut owner, mut old, mut new) = (Rig::new(1), Rig::new(2), Rig::new(3));
    let space = owner.create(Access::Members);
    owner.grant(space, old.did);
    old.command(Command::Join { space });
    old.command(Command::Import { space: None, records: owner.export(space) });
    owner.grant(space, new.did);
    new.command(Command::Join { space });
    (owner, old, new, space)
}

#[test]
fn a_right_is_presented_once_it_is_durable_however_slow_the_disk() {
    let (owner, mut old, mut new, space) = members();
    let mut now = NOW;
    connect(&mut old, &mut new, now);
    talk(&mut old, &mut new, &mut now, 2000);
    // The newcomer takes in what shows that both are members, and its disk sleeps.
    new.flushes = false;
    new.give(
        now,
        Input::Command {
            ticket: 0,
            command: Command::Import { space: None, records: owner.export(space) },
        },
    );
    talk(&mut old, &mut new, &mut now, 3000);
    assert!(!old.shares(&new, space));
    new.flushes = true;
    talk(&mut old, &mut new, &mut now, 3000);
    assert!(old.shares(&new, space) && new.shares(&old, space));
    assert_eq!(old.export(space), owner.export(space));
}

#[test]
fn a_proof_that_was_lost_or_came_too_soon_is_presented_again() {
    let (owner, mut old, mut new, space) = members();
    new.command(Command::Import { space: None, records: owner.export(space) });
    let mut now = NOW;
    connect(&mut old, &mut new, now);
    let mut lost = 0;
    while lost < 2 {
        talk(&mut old, &mut new, &mut now, 50);
        let is_push = |bytes: &[u8]| matches!(Request::decode(bytes), Ok(Request::Push { .. }));
        if let Some(at) = new.sent.iter().position(|(_, _, bytes)| is_push(bytes)) {
            let (_, request, _) = new.sent.remove(at);
            let unknown = Response::Unknown.encode().unwrap();
            new.give(
                now,
                match lost {
                    0 => Input::RequestFailed { request, timed_out: true },
                    _ => Input::Response { request, bytes: unknown },
                },
            );
            lost += 1;
        }
        assert!(now < NOW + 20_000, "nothing was presented");
    }
    assert!(!old.shares(&new, space));
    talk(&mut old, &mut new, &mut now, 15_000);
    assert_eq!(old.export(space), owner.export(space));
}

#[test]
fn a_stranger_who_floods_with_proofs_is_told_what_every_stranger_is_told() {
    let (mut member, mut stranger) = (Rig::new(1), Rig::new(2));
    let space = member.create(Access::Members);
    let mut false_space = Rig::new(3);
    let other = false_space.create(Access::Members);
    let mut now = NOW;
    connect(&mut member, &mut stranger, now);
    // Both hellos, so that the nonces are known here.
    let nonce = |rig: &Rig| {
        rig.sent.iter().find_map(|(_, _, bytes)| match Request::decode(bytes) {
            Ok(Request::Hello(hello)) => Some(hello.nonce),
            _ => None,
        })
    };
    let (ours, theirs) = (nonce(&member).unwrap(), nonce(&stranger).unwrap());
    talk(&mut member, &mut stranger, &mut now, 500);
    let (from, to) = (stranger.peer.to_bytes(), member.peer.to_bytes());
    let tag = space_tag(&from, &to, &theirs, &ours, &space);
    let mut genesis = false_space.export(other);
    let records = vec![ByteBuf::from(genesis.remove(0))];
    let bytes = Request::Push { tag, records }.encode().unwrap();
    // Of the wrong space, so decided at once; a forged one of the right space would be verified.
    member.verifies = false;
    for channel in 0..10 {
        let forged = forge(&member.export(space)[0], channel as u8);
        let records = vec![ByteBuf::from(forged)];
        let push = Request::Push { tag, records }.encode().unwrap();
        member
            .give(now, Input::Request { peer: stranger.peer, channel: 100 + channel, bytes: push });
    }
    member.give(now, Input::Request { peer: stranger.peer, channel: 200, bytes });
    let told: Vec<Response> =
        member.answered.iter().map(|(_, bytes)| Response::decode(bytes).unwrap()).collect();
    assert!(!told.is_empty());
    assert!(told.iter().all(|response| *response == Response::Unknown), "{told:?}");
}

/// A grant of the same space that nobody signed.
fn forge(genesis: &[u8], salt: u8) -> Vec<u8> {
    let space = SignedRecord::decode(genesis).unwrap().space();
    let draft = ocm_record::Draft {
        space,
        kind: ocm_record::Kind::GRANT,
        memory: None,
        author: None,
        boot: ocm_record::Boot::from_bytes([salt; 16]),
        seq: 1,
        prev: None,
        deps: vec![],
        auth: vec![],
        time: ocm_record::Time::from_millis(NOW + 1),
    };
    draft.sign(&SigningKey::from_seed(&[9; 32]), vec![salt]).unwrap().encode()
}

#[test]
fn a_member_denied_because_its_right_was_not_known_yet_presents_it_again() {
    let (mut owner, mut b, mut c) = (Rig::new(1), Rig::new(2), Rig::new(3));
    let space = owner.create(Access::Members);
    owner.grant(space, c.did);
    b.command(Command::Join { space });
    b.command(Command::Import { space: None, records: owner.export(space) });
    c.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut b, &mut c, now);
    // What b pushes tells who may know of the space; that b may, it has not heard itself yet.
    c.verifies = false;
    talk(&mut b, &mut c, &mut now, 2000);
    assert!(!c.jobs.is_empty() && c.shares(&b, space));
    owner.grant(space, b.did);
    b.command(Command::Import { space: None, records: owner.export(space) });
    let push = |bytes: &[u8]| matches!(Request::decode(bytes), Ok(Request::Push { .. }));
    b.sent.retain(|(_, _, bytes)| !push(bytes));
    talk(&mut b, &mut c, &mut now, 2000);
    c.verifies = true;
    c.work(now);
    assert!(c.holds(space) && !c.shares(&b, space));
    talk(&mut b, &mut c, &mut now, 30_000);
    assert!(c.shares(&b, space) && b.shares(&c, space));
    assert_eq!(c.export(space), owner.export(space));
}
