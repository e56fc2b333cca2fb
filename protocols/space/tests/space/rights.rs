//! Who may write what.

use ipld_core::ipld::Ipld;
use ocm_record::{Did, Draft, Kind, RecordId, SpaceId, Time};
use ocm_space::{Access, Denial, Grant, Policy, Refusal, Role, SpaceState, limits};

use crate::fixture::{
    Camp, NOT_PERMITTED, NOW, OWNER, did, draft, genesis, grant, key, members_only, open, sign,
    sign_genesis, with,
};

/// Kinds with a name, and some without: below 64, at it, far above.
const KINDS: [u64; 14] = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 63, 64, 1000, u64::MAX];
const UNKNOWN: [u64; 6] = [0, 10, 63, 64, 1000, u64::MAX];

/// Kinds that another version may permit where this one cannot tell: claims and forgets.
const HELD: [u64; 2] = [6, 7];

/// What each role may write, from the specification and not from the code.
fn table(role: Role) -> Vec<u64> {
    match role {
        Role::Owner => KINDS.to_vec(),
        Role::Writer => [&[4, 5, 8][..], &UNKNOWN].concat(),
        Role::Agent => vec![4],
        Role::Reader => vec![8],
        Role::Relay => vec![],
    }
}

/// Whether a record of each kind by `by`, with this `auth`, may stand.
fn may(camp: &mut Camp, by: u8, auth: &[RecordId]) -> Vec<u64> {
    let allowed = |kind: &u64| {
        let record = camp.record(by, Kind(*kind), auth);
        let verdict = camp.state.authorise(&record);
        let held = matches!(verdict, Err(Denial::Unsupported(_))) && HELD.contains(kind);
        assert!(verdict.is_ok() || verdict == NOT_PERMITTED || held, "{kind}: {verdict:?}");
        verdict.is_ok()
    };
    KINDS.iter().copied().filter(allowed).collect()
}

#[test]
fn every_role_and_every_kind() {
    let everyone = [4, 6, 8];
    for policy in [members_only(), open()] {
        for role in Role::ALL {
            let mut camp = Camp::new(policy);
            let by = camp.admit(OWNER, &[], &grant(2, role));
            let mut expected = table(role);
            if policy.write == Access::Open {
                expected.extend(everyone);
                expected.sort_unstable();
                expected.dedup();
            }
            let mut sorted = may(&mut camp, 2, &[by]);
            sorted.sort_unstable();
            expected.sort_unstable();
            assert_eq!(sorted, expected, "{role} under {policy:?}");
            let stranger: &[u64] = if policy.write == Access::Open { &everyone } else { &[] };
            assert_eq!(may(&mut camp, 3, &[by]), stranger, "a grant is no one else's");
            assert_eq!(may(&mut camp, 2, &[]), stranger, "a grant not named is no grant");
            assert_eq!(may(&mut camp, OWNER, &[]), KINDS, "an owner needs no grant");
        }
    }
}

#[test]
fn reading_alone_opens_no_writing() {
    let mut camp = Camp::new(Policy { write: Access::Members, read: Access::Open });
    assert!(camp.state.may_read(&did(9)));
    assert!(may(&mut camp, 9, &[]).is_empty());
    let mut camp = Camp::new(Policy { write: Access::Open, read: Access::Members });
    assert!(!camp.state.may_read(&did(9)));
    assert_eq!(may(&mut camp, 9, &[]), [4, 6, 8]);
}

#[test]
fn named_kinds_narrow_a_role_and_widen_only_an_agents() {
    let mut camp = Camp::new(members_only());
    let named = |role, kinds: &[u64]| Grant {
        kinds: Some(kinds.iter().copied().map(Kind).collect()),
        ..grant(2, role)
    };
    let narrow = camp.admit(OWNER, &[], &named(Role::Writer, &[4, 2, 6]));
    assert_eq!(may(&mut camp, 2, &[narrow]), [4], "2 and 6 are no writer's");
    let none = camp.admit(OWNER, &[], &named(Role::Writer, &[]));
    assert!(may(&mut camp, 2, &[none]).is_empty());
    let agent = camp.admit(OWNER, &[], &named(Role::Agent, &[7, 64]));
    assert_eq!(may(&mut camp, 2, &[agent]), [64], "and not 4 unless it is named");
    let power = camp.admit(OWNER, &[], &named(Role::Agent, &[2, 3, 4]));
    assert_eq!(may(&mut camp, 2, &[power]), [4], "no agent gives or takes roles");
    let owner = camp.admit(OWNER, &[], &named(Role::Owner, &[2, 4]));
    assert_eq!(may(&mut camp, 2, &[owner]), [2, 4]);
    assert_eq!(may(&mut camp, 2, &[narrow, agent]), [4, 64], "grants add up");
}

#[test]
fn a_key_in_a_grant_only_restricts() {
    let mut camp = Camp::new(members_only());
    let own = Grant { key: Some(key(2).public()), ..grant(2, Role::Writer) };
    let own = camp.admit(OWNER, &[], &own);
    assert_eq!(may(&mut camp, 2, &[own]), table_sorted(Role::Writer));
    let others = Grant { key: Some(key(3).public()), ..grant(2, Role::Writer) };
    let others = camp.admit(OWNER, &[], &others);
    assert!(may(&mut camp, 2, &[others]).is_empty(), "not by the DID's own key");
    assert!(may(&mut camp, 3, &[others]).is_empty(), "not by the key under its own DID");
}

fn table_sorted(role: Role) -> Vec<u64> {
    let mut kinds = table(role);
    kinds.sort_unstable();
    kinds
}

#[test]
fn a_grant_expires_at_the_records_own_time() {
    let mut camp = Camp::new(members_only());
    let until = NOW + 5000;
    let by = camp.admit(OWNER, &[], &Grant { expires: Some(until), ..grant(2, Role::Writer) });
    let at = |time: Time| {
        let draft = Draft { time, ..draft(camp.space(), Kind::CHANGE, &[by], until) };
        camp.state.authorise(&sign(draft, 2, Ipld::Null))
    };
    assert_eq!(at(Time::from_millis(until - 1)), Ok(()));
    let last = Time(Time::from_millis(until + 1).0 - 1);
    assert_eq!(at(last), Ok(()), "the millisecond itself, whatever the counter");
    assert_eq!(at(Time::from_millis(until + 1)), NOT_PERMITTED);
}

#[test]
fn who_may_grant() {
    let mut camp = Camp::new(open());
    for role in [Role::Writer, Role::Agent, Role::Reader, Role::Relay] {
        let by = camp.admit(OWNER, &[], &grant(2, role));
        let record = camp.grant_of(2, &[by], grant(3, Role::Reader).to_ipld());
        assert_eq!(camp.state.authorise(&record), NOT_PERMITTED, "{role}");
    }
    let record = camp.grant_of(9, &[], grant(9, Role::Owner).to_ipld());
    assert_eq!(camp.state.authorise(&record), NOT_PERMITTED, "not even in an open space");

    let owner = camp.admit(OWNER, &[], &grant(4, Role::Owner));
    let record = camp.grant_of(4, &[], grant(5, Role::Writer).to_ipld());
    assert_eq!(camp.state.authorise(&record), NOT_PERMITTED, "without its auth");
    let second = camp.admit(4, &[owner], &grant(5, Role::Owner));
    let third = camp.admit(5, &[second], &grant(6, Role::Writer));
    assert_eq!(may(&mut camp, 6, &[third]), {
        let mut kinds = [table(Role::Writer), vec![6]].concat();
        kinds.sort_unstable();
        kinds
    });
}

/// A right that lies further back in the closure of `auth` counts as one that is named.
#[test]
fn the_closure_of_auth_counts() {
    let mut camp = Camp::new(members_only());
    let writer = camp.admit(OWNER, &[], &grant(2, Role::Writer));
    let later = camp.admit(OWNER, &[writer], &grant(3, Role::Reader));
    let change = camp.record(2, Kind::CHANGE, &[later]);
    assert_eq!(camp.state.authorise(&change), Ok(()));
}

#[test]
fn what_is_not_here_is_missing() {
    let mut camp = Camp::new(members_only());
    let writer = camp.grant_of(OWNER, &[], grant(2, Role::Writer).to_ipld());
    let later = camp.grant_of(OWNER, &[writer.id()], grant(3, Role::Reader).to_ipld());
    let nowhere = camp.grant_of(OWNER, &[], grant(4, Role::Reader).to_ipld()).id();
    let missing = |ids: &[RecordId]| Err(Denial::Missing(ids.to_vec()));

    let change = camp.record(2, Kind::CHANGE, &[nowhere, later.id()]);
    assert_eq!(camp.state.authorise(&change), missing(&[later.id(), nowhere]));
    let by_owner = camp.record(OWNER, Kind::CHANGE, &[nowhere]);
    assert_eq!(camp.state.authorise(&by_owner), missing(&[nowhere]), "an owner's auth, too");

    let mut state = SpaceState::new(camp.space());
    assert_eq!(state.authorise(&change), missing(&[camp.space().0]), "the genesis first");
    state.insert(&later);
    state.insert(&camp.genesis);
    let change = camp.record(2, Kind::CHANGE, &[later.id()]);
    assert_eq!(state.authorise(&change), missing(&[writer.id()]), "what `auth` rests on");
    state.insert(&writer);
    assert_eq!(state.authorise(&change), Ok(()));
}

#[test]
fn the_closure_is_limited_exactly() {
    let mut camp = Camp::new(members_only());
    let mut last = camp.admit(OWNER, &[], &grant(2, Role::Writer));
    for _ in 1..limits::AUTH_CLOSURE {
        last = camp.admit(OWNER, &[last], &grant(3, Role::Writer));
    }
    let within = camp.record(2, Kind::CHANGE, &[last]);
    assert_eq!(camp.state.authorise(&within), Ok(()), "a closure of 1,024");
    let last = camp.admit(OWNER, &[last], &grant(4, Role::Writer));
    let too_deep = Err(Denial::Refused(Refusal::AuthorityTooDeep));
    for (by, kind) in [(2, Kind::CHANGE), (4, Kind::CHANGE), (OWNER, Kind::GRANT)] {
        let record = camp.record(by, kind, &[last]);
        assert_eq!(camp.state.authorise(&record), too_deep);
    }
    assert_eq!(camp.state.proof(&did(4), &key(4).public(), Kind::CHANGE, NOW), None);
    let proof = camp.state.proof_of_membership(&did(4));
    assert_eq!(proof.len(), limits::AUTH_CLOSURE + 2, "to be a member needs no further record");
}

#[test]
fn what_this_version_cannot_judge_is_held() {
    let mut camp = Camp::new(members_only());
    let plain = || grant(2, Role::Agent).to_ipld();
    let fields = [
        ("boot", Ipld::Bytes(vec![7; 16])),
        ("max_records", Ipld::Integer(10)),
        ("max_bytes", Ipld::Integer(10)),
        ("max_bytes", Ipld::Null),
    ];
    for (field, value) in fields {
        let record = camp.grant_of(OWNER, &[], with(plain(), field, value.clone()));
        assert_eq!(camp.state.authorise(&record), Err(Denial::Unsupported(field)));
        let record = camp.grant_of(8, &[], with(plain(), field, value));
        assert_eq!(camp.state.authorise(&record), NOT_PERMITTED, "no right in any version");
    }
    let record = camp.grant_of(OWNER, &[], with(plain(), "colour", Ipld::Null));
    assert_eq!(camp.state.authorise(&record), Ok(()), "an unknown key is ignored");

    let plc: Did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz".parse().unwrap();
    for author in [plc, did(3)] {
        let draft = draft(camp.space(), Kind::CHANGE, &[], NOW + 1);
        let record = sign(Draft { author: Some(author), ..draft }, OWNER, Ipld::Null);
        assert!(matches!(camp.state.authorise(&record), Err(Denial::Unsupported(_))));
    }
}

/// A body that is no grant stands and does nothing.
#[test]
fn a_grant_that_does_not_parse_has_no_effect() {
    let mut camp = Camp::new(members_only());
    let full = || grant(2, Role::Writer).to_ipld();
    let bad = [
        Ipld::Null,
        Ipld::List(vec![]),
        with(full(), "to", Ipld::String("did:web:example.org".into())),
        with(full(), "to", Ipld::Null),
        with(full(), "role", Ipld::String("king".into())),
        with(full(), "role", Ipld::String("Owner".into())),
        with(full(), "key", Ipld::Bytes(vec![1; 31])),
        with(full(), "kinds", Ipld::Integer(4)),
        with(full(), "kinds", Ipld::List(vec![Ipld::Integer(-4)])),
        with(full(), "kinds", Ipld::List(vec![Ipld::Integer(4); limits::KINDS + 1])),
        with(full(), "expires", Ipld::Integer(-1)),
        with(full(), "expires", Ipld::Null),
    ];
    for content in bad {
        let record = camp.grant_of(OWNER, &[], content.clone());
        assert_eq!(camp.state.authorise(&record), Ok(()), "{content:?}");
        camp.state.insert(&record);
        assert!(may(&mut camp, 2, &[record.id()]).is_empty(), "{content:?}");
    }
    assert_eq!(camp.state.role(&did(2)), None);
    let most = with(full(), "kinds", Ipld::List(vec![Ipld::Integer(4); limits::KINDS]));
    let record = camp.grant_of(OWNER, &[], most);
    camp.state.insert(&record);
    assert_eq!(may(&mut camp, 2, &[record.id()]), [4]);
}

#[test]
fn only_its_first_owner_begins_a_space() {
    let refused = Err(Denial::Refused(Refusal::Genesis));
    let two = genesis(members_only(), &[1, 2]).to_ipld();
    for (by, content, expected) in [
        (1, two.clone(), Ok(())),
        (2, two.clone(), refused.clone()),
        (3, two.clone(), refused.clone()),
        (1, Ipld::Null, refused.clone()),
        (1, with(two.clone(), "nonce", Ipld::Bytes(vec![0; 31])), refused.clone()),
        (1, with(two.clone(), "owners", Ipld::List(vec![])), refused.clone()),
        (1, with(two.clone(), "policy", Ipld::Null), refused.clone()),
        (1, with(two, "colour", Ipld::Null), Ok(())),
    ] {
        let record = sign_genesis(by, content);
        let mut state = SpaceState::new(record.space());
        assert_eq!(state.authorise(&record), expected);
        state.insert(&record);
        assert_eq!(state.genesis().is_some(), expected.is_ok());
    }
    let draft = draft(SpaceId::GENESIS, Kind::GENESIS, &[], NOW);
    let plc: Did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz".parse().unwrap();
    let mut owned = genesis(members_only(), &[1]);
    owned.owners = vec![plc];
    let record = sign(Draft { author: Some(plc), ..draft }, 1, owned.to_ipld());
    assert_eq!(SpaceState::new(record.space()).authorise(&record), refused);
}

#[test]
fn a_record_of_another_space_has_no_right_here() {
    let mut here = Camp::new(open());
    let mut there = Camp::new(members_only());
    assert_ne!(here.space(), there.space());
    for record in [there.record(OWNER, Kind::CHANGE, &[]), there.genesis.clone()] {
        assert_eq!(here.state.authorise(&record), NOT_PERMITTED);
    }
    let grant = there.grant_of(OWNER, &[], grant(2, Role::Owner).to_ipld());
    here.state.insert(&grant);
    here.state.insert(&there.genesis);
    assert_eq!(here.state.role(&did(2)), None);
    assert_eq!(here.state.policy(), open());
    let change = here.record(OWNER, Kind::CHANGE, &[]);
    here.state.insert(&change);
    let named = here.record(OWNER, Kind::CHANGE, &[change.id()]);
    assert!(
        matches!(here.state.authorise(&named), Err(Denial::Missing(_))),
        "content is no authority"
    );
}
