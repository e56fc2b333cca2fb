//! What is kept of comparisons.

use ipld_core::ipld;
use ocm_node::{Command, Input, layout};
use ocm_record::Did;
use ocm_sync::Comparison;

use crate::rig::{Rig, connected, talk};

#[test]
fn what_was_stated_outlasts_the_peer_and_the_process() {
    let (mut a, mut b, space, mut now) = connected();
    talk(&mut a, &mut b, &mut now, 20_000);
    let kept = |rig: &Rig| rig.node.snapshot().parity(space, b.peer).cloned();
    let before = kept(&a).unwrap();
    assert!(before.equal_since_ms.is_some() && before.audit.unwrap().passed);
    a.give(now, Input::Disconnected(b.peer));
    assert_eq!(kept(&a), Some(before.clone()), "who is away is shown");
    let (disk, did) = (std::mem::take(&mut a.disk), b.did);
    let mut again = Rig::open(1, disk);
    let after = kept(&again).unwrap();
    assert_eq!(after, before, "and so it is after a restart");
    let Did::Key(key) = did else { panic!() };
    assert_eq!(after.stated.verify(&key, space, &b.peer, &again.peer), Ok(after.theirs));
    // Something is written while the peer is away: the difference begins then.
    again.grant(space, did);
    let state = kept(&again).unwrap();
    assert!(
        state.differs_since_ms.is_some() && state.ours != again.node.snapshot().spaces[0].parity
    );
    let mut again = Rig::open(1, std::mem::take(&mut again.disk));
    let state = kept(&again).unwrap();
    assert!(state.differs_since_ms.is_some(), "a restart forgets no difference");
    // A kept statement of which a bit flipped is no statement.
    let number = again.disk.spaces()[&space];
    let mut disk = std::mem::take(&mut again.disk);
    let entry = disk.durable.get_mut(&layout::parity(number, &b.peer)).unwrap();
    let at = entry.windows(64).position(|part| part == after.stated.signature().as_bytes());
    entry[at.unwrap()] ^= 1;
    assert_eq!(kept(&Rig::open(1, disk)), None);
}

/// Where records are written all the time no comparison may ever meet both with the same; what was
/// there when a session began is settled all the same when it ends.
#[test]
fn a_difference_is_no_older_than_the_last_session_that_settled_all_before_it() {
    let (mut a, mut b, space, mut now) = connected();
    talk(&mut a, &mut b, &mut now, 5000);
    let begun = now;
    let age = |rig: &Rig, now| {
        now - rig.node.snapshot().spaces[0].differs_since_ms.expect("something was just written")
    };
    let write = |rig: &mut Rig, now| {
        let (memory, deps, edits) = (None, Vec::new(), ipld!([]));
        let command = Command::Change { space, memory, deps, edits };
        rig.give(now, Input::Command { ticket: 0, command });
    };
    while now < begun + 60_000 {
        write(&mut a, now);
        talk(&mut a, &mut b, &mut now, 50);
        let state = b.node.snapshot().parity(space, a.peer).cloned().unwrap();
        if now > begun + 2000 {
            assert_ne!(state.comparison, Comparison::Equal, "no comparison meets them equal");
        }
    }
    assert!(age(&a, now) < 15_000 && age(&b, now) < 15_000, "{} {}", age(&a, now), age(&b, now));
    // What cannot reach the other side stays a difference, whatever else is settled.
    b.verifies = false;
    let cut = now;
    while now < cut + 60_000 {
        write(&mut a, now);
        talk(&mut a, &mut b, &mut now, 50);
    }
    assert!(age(&a, now) > 45_000 && age(&b, now) > 45_000);
}
