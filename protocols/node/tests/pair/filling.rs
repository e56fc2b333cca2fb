//! Newcomers, and who serves them.

use ipld_core::ipld::Ipld;
use ocm_node::{Command, Input};
use ocm_space::Access;

use crate::rig::{NOW, Rig, connect, talk, thousands};

#[test]
fn what_one_peer_is_serving_is_not_taken_from_another() {
    let (mut full, mut other, mut empty) = (Rig::new(1), Rig::new(3), Rig::new(2));
    let space = thousands(&mut full, 8);
    other.command(Command::Join { space });
    let records = full.export(space);
    for records in records.chunks(1000) {
        other.command(Command::Import { space: None, records: records.to_vec() });
    }
    empty.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut full, &mut empty, now);
    // Some pages are stored, and as many as may be are under way.
    while empty.export(space).len() < 1000 {
        talk(&mut full, &mut empty, &mut now, 50);
    }
    empty.verifies = false;
    talk(&mut full, &mut empty, &mut now, 1000);
    let jobs = empty.jobs.len();
    assert!(jobs > 0 && empty.export(space).len() < 6000);
    connect(&mut other, &mut empty, now);
    talk(&mut other, &mut empty, &mut now, 20_000);
    assert!(other.pushed > 0, "it tries");
    assert_eq!(empty.jobs.len(), jobs, "nothing that it pushed was taken");
}

#[test]
fn a_newcomer_is_not_pushed_what_it_asks_for() {
    let (mut full, mut empty) = (Rig::new(1), Rig::new(2));
    let space = thousands(&mut full, 8);
    empty.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut full, &mut empty, now);
    talk(&mut full, &mut empty, &mut now, 20_000);
    assert_eq!(empty.export(space), full.export(space));
    // Before the peer has asked for anything, a page may be on its way.
    assert!(full.pushed <= 1024, "{} records were pushed, too", full.pushed);
}

#[test]
fn a_newcomer_catches_up_from_two_and_then_compares_with_all() {
    let mut rigs: Vec<Rig> = (1..=6).map(Rig::new).collect();
    let space = rigs[0].create(Access::Open);
    let edits = Ipld::List(Vec::new());
    for _ in 0..300 {
        let change = |edits| Command::Change { space, memory: None, deps: Vec::new(), edits };
        rigs[0].command(change(edits.clone()));
    }
    let records = rigs[0].export(space);
    for rig in &mut rigs[1..] {
        rig.command(Command::Join { space });
    }
    for rig in &mut rigs[1..5] {
        rig.command(Command::Import { space: None, records: records.clone() });
    }
    // The last has nothing, and meets all others at once.
    let mut now = NOW;
    let (last, others) = rigs.split_last_mut().unwrap();
    others.iter_mut().for_each(|other| connect(last, other, now));
    let most = converse(&mut rigs, &mut now, 15_000);
    assert!((1..=ocm_node::limits::SESSIONS_PER_SPACE).contains(&most), "{most} sessions at once");
    assert_eq!(rigs[5].export(space), records);
    let snapshot = rigs[5].node.snapshot();
    for other in &rigs[..5] {
        let state = snapshot.parity(space, other.peer).expect("it was compared with");
        assert!(state.equal_since_ms.is_some() && state.ours == snapshot.spaces[0].parity);
    }
}

/// Carries what all of them say to each other, one tick every 50 ms. Gives the most sessions that
/// one of them had at once.
fn converse(rigs: &mut [Rig], now: &mut u64, millis: u64) -> usize {
    let end = *now + millis;
    let mut most = 0;
    while *now < end {
        for from in 0..rigs.len() {
            for (peer, request, bytes) in std::mem::take(&mut rigs[from].sent) {
                let to = rigs.iter().position(|rig| rig.peer == peer).unwrap();
                // The number of a request names its channel, with who asked.
                let (asker, channel) = (rigs[from].peer, request * 16 + from as u64);
                rigs[to].give(*now, Input::Request { peer: asker, channel, bytes });
            }
        }
        for at in 0..rigs.len() {
            for (channel, bytes) in std::mem::take(&mut rigs[at].answered) {
                let to = (channel % 16) as usize;
                rigs[to].give(*now, Input::Response { request: channel / 16, bytes });
            }
        }
        *now += 50;
        for rig in rigs.iter_mut() {
            rig.give(*now, Input::Tick);
            most = most.max(rig.node.snapshot().sessions);
        }
    }
    most
}
