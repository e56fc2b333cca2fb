//! Who is a member, and how that is shown to others.

use std::collections::{BTreeMap, BTreeSet};

use ocm_record::{Kind, RecordId, SpaceId, VerifiedRecord};
use ocm_space::{Access, Grant, Policy, Role, SpaceState};

use crate::fixture::{
    Camp, NOW, OWNER, did, draft, genesis, grant, key, members_only, open, sign, sign_genesis,
};

#[test]
fn nobody_reads_before_the_genesis_is_here() {
    for policy in [members_only(), open()] {
        let mut camp = Camp::new(policy);
        let reader = camp.grant_of(OWNER, &[], grant(2, Role::Reader).to_ipld());
        let mut state = SpaceState::new(camp.space());
        assert_eq!(state.policy(), members_only());
        for n in [OWNER, 2, 3] {
            assert!(!state.may_read(&did(n)));
            assert_eq!(state.proof(&did(n), &key(n).public(), Kind::CHANGE, NOW), None);
            assert!(state.proof_of_membership(&did(n)).is_empty());
        }
        state.insert(&camp.genesis);
        state.insert(&reader);
        let read = [OWNER, 2, 3].map(|n| state.may_read(&did(n)));
        assert_eq!(read, [true, true, policy.read == Access::Open]);
    }
}

#[test]
fn every_role_reads_and_the_strongest_counts() {
    let mut camp = Camp::new(members_only());
    for (n, role) in (10..).zip(Role::ALL) {
        camp.admit(OWNER, &[], &grant(n, role));
        assert!(camp.state.may_read(&did(n)));
        assert_eq!(camp.state.role(&did(n)), Some(role));
    }
    assert_eq!(camp.state.role(&did(OWNER)), Some(Role::Owner));
    assert_eq!(camp.state.role(&did(9)), None);
    for (role, strongest) in
        [(Role::Reader, Role::Reader), (Role::Relay, Role::Reader), (Role::Writer, Role::Writer)]
    {
        camp.admit(OWNER, &[], &grant(2, role));
        assert_eq!(camp.state.role(&did(2)), Some(strongest));
    }
}

#[test]
fn members_are_named_with_who_made_them_so() {
    let genesis = sign_genesis(1, genesis(Policy::default(), &[1, 2]).to_ipld());
    let mut state = SpaceState::new(genesis.space());
    state.insert(&genesis);
    let by_second = Grant { expires: Some(NOW + 9), ..grant(3, Role::Agent) };
    let draft = draft(genesis.space(), Kind::GRANT, &[], NOW + 1);
    let record = sign(draft, 2, by_second.to_ipld());
    state.authorise(&record).unwrap();
    state.insert(&record);
    let members: Vec<_> =
        state.members().into_iter().map(|m| (m.did, m.role, m.by, m.granter, m.expires)).collect();
    assert_eq!(
        members,
        [
            (did(1), Role::Owner, genesis.id(), did(1), None),
            (did(2), Role::Owner, genesis.id(), did(1), None),
            (did(3), Role::Agent, record.id(), did(2), Some(NOW + 9)),
        ]
    );
}

/// Plays a proof to a node that knows nothing but the name of the space: each record is admitted
/// on what came before it.
fn play(
    space: SpaceId,
    proof: &[RecordId],
    all: &BTreeMap<RecordId, VerifiedRecord>,
) -> SpaceState {
    let mut fresh = SpaceState::new(space);
    for id in proof {
        fresh.authorise(&all[id]).unwrap();
        fresh.insert(&all[id]);
    }
    fresh
}

/// Grants rest on grants whose time is later than theirs, so the order of ids is the wrong one.
#[test]
fn a_proof_of_membership_suffices_in_its_order() {
    let genesis = sign_genesis(OWNER, genesis(members_only(), &[OWNER]).to_ipld());
    let space = genesis.space();
    let make = |by: u8, auth: &[RecordId], to: u8, role: Role, millis: u64| {
        sign(draft(space, Kind::GRANT, auth, millis), by, grant(to, role).to_ipld())
    };
    let first = make(OWNER, &[], 2, Role::Owner, NOW + 900);
    let aside = make(OWNER, &[], 7, Role::Reader, NOW + 950);
    let second = make(2, &[first.id()], 3, Role::Owner, NOW + 800);
    let third = make(3, &[first.id(), aside.id(), second.id()], 4, Role::Writer, NOW + 700);
    let weak = make(OWNER, &[], 4, Role::Reader, NOW + 100);
    let unneeded = make(OWNER, &[], 8, Role::Writer, NOW + 50);
    let records = [&genesis, &first, &aside, &second, &third, &weak, &unneeded];
    let all: BTreeMap<_, _> = records.map(|r| (r.id(), r.clone())).into();
    let mut state = SpaceState::new(space);
    for record in all.values() {
        state.insert(record);
    }

    let proof = state.proof_of_membership(&did(4));
    assert_eq!(proof[0], space.0);
    assert_eq!(*proof.last().unwrap(), third.id(), "the grant of the strongest role");
    let named: BTreeSet<_> = proof.iter().copied().collect();
    assert_eq!(named.len(), proof.len(), "each once");
    assert_eq!(
        named,
        [&genesis, &first, &aside, &second, &third].map(|r| r.id()).into(),
        "all that it rests on, and nothing else"
    );
    for n in [OWNER, 2, 3, 4, 7, 8] {
        let proof = state.proof_of_membership(&did(n));
        assert_eq!(play(space, &proof, &all).role(&did(n)), state.role(&did(n)), "{n}");
    }
    assert_eq!(state.proof_of_membership(&did(OWNER)), [space.0]);
    assert!(state.proof_of_membership(&did(9)).is_empty());
}

#[test]
fn a_proof_passes_over_grants_that_do_not_serve() {
    let mut camp = Camp::new(members_only());
    let (who, key_of) = (did(2), key(2).public());
    let other = Grant { key: Some(key(3).public()), ..grant(2, Role::Writer) };
    camp.admit(OWNER, &[], &other);
    camp.admit(OWNER, &[], &Grant { expires: Some(NOW), ..grant(2, Role::Writer) });
    camp.admit(OWNER, &[], &grant(2, Role::Reader));
    assert_eq!(camp.state.proof(&who, &key_of, Kind::CHANGE, NOW + 1), None);
    let good = camp.admit(OWNER, &[], &grant(2, Role::Agent));
    assert_eq!(camp.state.proof(&who, &key_of, Kind::CHANGE, NOW + 1), Some(vec![good]));
    assert_eq!(camp.state.proof(&who, &key_of, Kind::GRANT, NOW + 1), None);
    let borrowed = camp.state.proof(&who, &key(3).public(), Kind::CHANGE, NOW + 1);
    assert_eq!(borrowed, None, "a key speaks for no other DID");
    let borrowed = camp.state.proof(&did(OWNER), &key_of, Kind::CHANGE, NOW + 1);
    assert_eq!(borrowed, None, "an owner's DID, neither");
}
