//! Properties over arbitrary histories of grants: the order of arrival makes no difference, and
//! every proof proves.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use ocm_record::{Kind, RecordId, VerifiedRecord};
use ocm_space::{Access, Grant, Policy, Role, SpaceState};
use proptest::prelude::*;

use crate::fixture::{Camp, NOW, did, draft, key, sign};

/// How many people there are; the first owner is 1.
const PEOPLE: u8 = 6;
const KINDS: [u64; 9] = [2, 3, 4, 5, 6, 7, 8, 9, 64];

/// One grant: by whom, what, when, on what, and whether its body parses.
#[derive(Debug, Clone)]
struct Step {
    by: u8,
    grant: Grant,
    millis: u64,
    rests_on: Vec<prop::sample::Index>,
    void: bool,
}

prop_compose! {
    fn step()(
        by in 1..=PEOPLE,
        to in 1..=PEOPLE,
        role in prop_oneof![3 => Just(0), 4 => 0..5usize],
        key_of in prop::option::weighted(0.2, 1..=PEOPLE),
        kinds in prop::option::weighted(
            0.2, prop::collection::vec(prop::sample::select(&KINDS[..]), 0..4)),
        expires in prop::option::weighted(0.2, NOW..NOW + 2000),
        millis in NOW + 1..NOW + 1000,
        rests_on in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        void in prop::bool::weighted(0.1),
    ) -> Step {
        let grant = Grant {
            to: did(to),
            role: Role::ALL[role],
            key: key_of.map(|n| key(n).public()),
            kinds: kinds.map(|kinds| kinds.into_iter().map(Kind).collect()),
            expires,
        };
        Step { by, grant, millis, rests_on, void }
    }
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![Just(Access::Open), Just(Access::Members)]
}

/// The space that these steps make: what has no right is left out, as admission would.
fn history(policy: Policy, steps: &[Step]) -> (Camp, Vec<VerifiedRecord>) {
    let mut camp = Camp::new(policy);
    let mut all = vec![camp.genesis.clone()];
    for step in steps {
        let by = key(step.by).public();
        let proof = camp.state.proof(&did(step.by), &by, Kind::GRANT, step.millis);
        let mut auth = proof.unwrap_or_default();
        auth.extend(step.rests_on.iter().map(|index| index.get(&all).id()));
        let content = if step.void { Ipld::Null } else { step.grant.to_ipld() };
        let record = sign(draft(camp.space(), Kind::GRANT, &auth, step.millis), step.by, content);
        if camp.state.authorise(&record).is_ok() && all.iter().all(|r| r.id() != record.id()) {
            camp.state.insert(&record);
            all.push(record);
        }
    }
    (camp, all)
}

type Answers = (Vec<Option<Role>>, Vec<bool>, Vec<Vec<RecordId>>, Vec<Option<Vec<RecordId>>>);

/// Everything that a state answers.
fn answers(state: &SpaceState) -> (Answers, Vec<ocm_space::Member>, Policy) {
    let people: Vec<u8> = (1..=PEOPLE + 1).collect();
    let proofs = people.iter().flat_map(|n| {
        [NOW, NOW + 1500].into_iter().flat_map(move |millis| {
            KINDS.map(|kind| state.proof(&did(*n), &key(*n).public(), Kind(kind), millis))
        })
    });
    let answers = (
        people.iter().map(|n| state.role(&did(*n))).collect(),
        people.iter().map(|n| state.may_read(&did(*n))).collect(),
        people.iter().map(|n| state.proof_of_membership(&did(*n))).collect(),
        proofs.collect(),
    );
    (answers, state.members(), state.policy())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_arrival_makes_no_difference(
        write in access(),
        read in access(),
        steps in prop::collection::vec(step(), 0..14),
        seed in any::<prop::sample::Index>(),
    ) {
        let (camp, all) = history(Policy { write, read }, &steps);
        let expected = answers(&camp.state);
        let mut orders = vec![all.clone(); 3];
        orders[0].reverse();
        orders[1].sort_by_key(VerifiedRecord::id);
        // A third order, and every record twice.
        orders[2].rotate_left(seed.index(all.len()));
        orders[2].sort_by_key(|r| r.id().hash()[seed.index(32)]);
        orders[2].extend(all.iter().cloned());
        let trials: Vec<_> = (1..=PEOPLE)
            .flat_map(|n| all.iter().map(move |r| (n, r.id())))
            .map(|(n, auth)| {
                sign(draft(camp.space(), Kind::CHANGE, &[auth], NOW + 1200), n, Ipld::Null)
            })
            .collect();
        for order in orders {
            let mut state = SpaceState::new(camp.space());
            for record in &order {
                state.insert(record);
            }
            prop_assert_eq!(answers(&state), expected.clone());
            for record in all.iter().chain(&trials) {
                prop_assert_eq!(state.authorise(record), camp.state.authorise(record));
            }
        }
    }

    /// What has arrived besides the closure of a record's `auth` makes no difference to it.
    #[test]
    fn a_verdict_rests_on_the_closure_alone(
        steps in prop::collection::vec(step(), 0..14), author in 1..=PEOPLE,
    ) {
        let (camp, all) = history(Policy::default(), &steps);
        let by_id: BTreeMap<_, _> = all.iter().map(|r| (r.id(), r)).collect();
        for record in &all {
            let draft = draft(camp.space(), Kind::CHANGE, &[record.id()], NOW + 1200);
            let change = sign(draft, author, Ipld::Null);
            let mut state = SpaceState::new(camp.space());
            state.insert(&camp.genesis);
            let mut open = vec![record.id()];
            while let Some(id) = open.pop() {
                state.insert(by_id[&id]);
                open.extend(&by_id[&id].header().auth);
            }
            prop_assert_eq!(state.authorise(&change), camp.state.authorise(&change));
        }
    }

    #[test]
    fn a_proof_always_authorises(
        write in access(),
        steps in prop::collection::vec(step(), 0..14),
        millis in NOW + 1..NOW + 2000,
    ) {
        let (camp, _) = history(Policy { write, ..Policy::default() }, &steps);
        for n in 1..=PEOPLE + 1 {
            for kind in KINDS.map(Kind) {
                let proof = camp.state.proof(&did(n), &key(n).public(), kind, millis);
                let auth = proof.clone().unwrap_or_default();
                let record = sign(draft(camp.space(), kind, &auth, millis), n, Ipld::Null);
                prop_assert_eq!(camp.state.authorise(&record).is_ok(), proof.is_some());
            }
        }
    }

    #[test]
    fn a_proof_of_membership_gives_a_fresh_node_the_same_role(
        steps in prop::collection::vec(step(), 0..14),
    ) {
        let (camp, all) = history(Policy::default(), &steps);
        let by_id: BTreeMap<_, _> = all.iter().map(|r| (r.id(), r)).collect();
        for n in 1..=PEOPLE + 1 {
            let mut fresh = SpaceState::new(camp.space());
            for id in camp.state.proof_of_membership(&did(n)) {
                prop_assert_eq!(fresh.authorise(by_id[&id]), Ok(()), "each after what it needs");
                fresh.insert(by_id[&id]);
            }
            prop_assert_eq!(fresh.role(&did(n)), camp.state.role(&did(n)));
            prop_assert_eq!(fresh.may_read(&did(n)), camp.state.may_read(&did(n)));
        }
    }
}
