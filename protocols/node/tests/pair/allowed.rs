//! A node that does not speak to everyone.

use std::collections::BTreeSet;

use ipld_core::ipld::Ipld;
use ocm_node::{Allowed, Command, GossipVerdict, Input, Output, Settings, limits};
use ocm_space::Access;
use ocm_sync::{Refusal, Request, Response};

use crate::rig::{NOW, Rig, connect, talk};

/// One that speaks to these, and owns an open space with a memory in it.
fn choosy(allowed: Allowed) -> (Rig, ocm_record::SpaceId) {
    let mut rig = Rig::new(1);
    rig.node.set_settings(Settings { allowed: Some(allowed), ..Settings::default() });
    let space = rig.create(Access::Open);
    rig.command(Command::Begin { space, memories: vec![Ipld::List(Vec::new())] });
    (rig, space)
}

fn by_did(rig: &Rig) -> Allowed {
    Allowed { dids: BTreeSet::from([rig.did]), ..Allowed::default() }
}

fn by_peer(rig: &Rig) -> Allowed {
    Allowed { peers: BTreeSet::from([rig.peer]), ..Allowed::default() }
}

/// What it does at an input, but for what it disconnects; and whom, and why.
fn given(rig: &mut Rig, now: u64, input: Input) -> (Vec<Output>, Vec<String>) {
    let outputs = rig.node.handle(input, now, &rig.disk).unwrap();
    let mut reasons = Vec::new();
    let mut others = Vec::new();
    for output in outputs {
        match output {
            Output::Disconnect { reason, .. } => reasons.push(reason.to_string()),
            other => others.push(other),
        }
    }
    (others, reasons)
}

#[test]
fn who_is_on_the_list_by_did_or_by_peer_id_is_spoken_to() {
    for list in [by_did, by_peer] {
        let mut friend = Rig::new(2);
        let (mut node, space) = choosy(list(&friend));
        friend.command(Command::Join { space });
        let mut now = NOW;
        connect(&mut node, &mut friend, now);
        talk(&mut node, &mut friend, &mut now, 2 * limits::PROVE_MS);
        assert_eq!(friend.export(space), node.export(space));
    }
}

#[test]
fn another_is_sent_away_by_its_did_and_gets_nothing_before() {
    let mut stranger = Rig::new(3);
    let (mut node, space) = choosy(by_did(&Rig::new(2)));
    stranger.command(Command::Join { space });
    node.give(NOW, Input::Connected(stranger.peer));
    stranger.give(NOW, Input::Connected(node.peer));

    let asks = Request::Spaces { tags: Vec::new() }.encode().unwrap();
    node.give(NOW, Input::Request { peer: stranger.peer, channel: 7, bytes: asks });
    let (_, answer) = node.answered.pop().unwrap();
    let refused = Response::Refused { reason: Refusal::HELLO };
    assert_eq!(Response::decode(&answer).unwrap(), refused, "nothing is served before its hello");
    let record = node.export(space).pop().unwrap();
    node.give(NOW, Input::Gossip { peer: stranger.peer, message: 1, space, bytes: record });
    assert_eq!(node.judged.pop(), Some(GossipVerdict::Ignore), "it is not heard either");

    let (_, _, hello) = stranger.sent.pop().unwrap();
    let hello = Input::Request { peer: stranger.peer, channel: 8, bytes: hello };
    let (_, reasons) = given(&mut node, NOW, hello);
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].contains(&stranger.did.to_string()), "{reasons:?}");
    let asks = Request::Spaces { tags: Vec::new() }.encode().unwrap();
    node.give(NOW, Input::Request { peer: stranger.peer, channel: 9, bytes: asks });
    let (_, answer) = node.answered.pop().unwrap();
    assert_eq!(Response::decode(&answer).unwrap(), refused, "nor after it");
}

#[test]
fn who_proves_nothing_is_sent_away_in_time() {
    let (mut node, _) = choosy(by_did(&Rig::new(2)));
    let silent = Rig::new(3).peer;
    node.give(NOW, Input::Connected(silent));
    let (mut now, mut reasons) = (NOW, Vec::new());
    while reasons.is_empty() && now < NOW + 2 * limits::PROVE_MS {
        now = node.node.next_deadline().unwrap().max(now + 1);
        reasons = given(&mut node, now, Input::Tick).1;
    }
    assert_eq!(now, NOW + limits::PROVE_MS);
    assert!(reasons[0].contains("has proved no DID"), "{reasons:?}");
}

#[test]
fn where_only_peer_ids_are_listed_nobody_else_is_waited_for() {
    let (mut node, _) = choosy(by_peer(&Rig::new(2)));
    let stranger = Rig::new(3).peer;
    let (_, reasons) = given(&mut node, NOW, Input::Connected(stranger));
    assert_eq!(reasons.len(), 1);
    assert!(node.node.snapshot().peers.is_empty());
}
