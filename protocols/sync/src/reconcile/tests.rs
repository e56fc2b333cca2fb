use std::collections::BTreeSet;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::tree::{SumTree, TreeError};

/// A record's id at a time, with a hash as random as real ones.
fn id(time: u64, n: u64) -> RecordId {
    RecordId::from_parts(
        Time(time),
        Sha256::digest([time.to_be_bytes(), n.to_be_bytes()].concat()).into(),
    )
}

/// Ids in bursts: some milliseconds with one record, some with many.
fn ids(seed: u64, n: u64) -> BTreeSet<RecordId> {
    (0..n).map(|i| id((1_700_000_000_000 + i / (1 + i % 7) * 350) << 16, seed ^ i)).collect()
}

fn tree(ids: &BTreeSet<RecordId>) -> SumTree {
    ids.iter().copied().collect()
}

fn storage(ids: &BTreeSet<RecordId>) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    for id in ids {
        storage.insert(id.time().0, Id::from_byte_array(id.hash())).unwrap();
    }
    storage.seal().unwrap();
    storage
}

struct Run {
    need: BTreeSet<RecordId>,
    have: BTreeSet<RecordId>,
    found: usize,
    rounds: u32,
    bytes: usize,
    first: (usize, usize),
}

fn run(ours: &SumTree, theirs: &SumTree, our_limit: usize, their_limit: usize) -> Run {
    let (initiator, mut message) = Initiator::start(ours, our_limit).unwrap();
    let mut run = Run {
        need: BTreeSet::new(),
        have: BTreeSet::new(),
        found: 0,
        rounds: 0,
        bytes: 0,
        first: (message.len(), 0),
    };
    loop {
        run.rounds += 1;
        assert!(run.rounds < 2000, "no end in sight");
        assert!(message.len() <= our_limit);
        let answer = respond(theirs, &message, their_limit).unwrap();
        assert!(answer.len() <= their_limit);
        run.bytes += message.len() + answer.len();
        if run.rounds == 1 {
            run.first.1 = answer.len();
        }
        let step = initiator.step(ours, &answer).unwrap();
        assert!(step.have.len() <= limits::HAVES);
        run.found += step.need.len() + step.have.len();
        run.need.extend(step.need);
        for span in step.missing {
            assert_eq!(ours.list(span, 1).unwrap(), []);
            let missing = theirs.list(span, usize::MAX).unwrap();
            assert!(!missing.is_empty());
            run.found += missing.len();
            run.need.extend(missing);
        }
        run.have.extend(step.have);
        match step.reply {
            Some(reply) => message = reply,
            None => return run,
        }
    }
}

fn assert_exact(run: &Run, ours: &BTreeSet<RecordId>, theirs: &BTreeSet<RecordId>) {
    assert!(run.need.iter().eq(theirs.difference(ours)));
    assert!(run.have.iter().eq(ours.difference(theirs)));
}

/// How two sets are drawn: how many ids, of how many times, of which how many in a hundred are in
/// both.
fn drawn() -> impl Strategy<Value = (u64, u64, u64, u64)> {
    let times = prop_oneof![Just(3u64), Just(1 << 40), Just(10_000_000)];
    let shares = prop_oneof![Just(0u64), Just(2), Just(20), Just(98), Just(100)];
    (0u64..1200, times, shares, any::<u64>())
}

fn two_sets(
    (n, times, share, seed): (u64, u64, u64, u64),
) -> (BTreeSet<RecordId>, BTreeSet<RecordId>) {
    let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
    for i in 0..n {
        let draw = u64::from_be_bytes(id(seed, i).hash()[..8].try_into().unwrap());
        let id = id(draw % times, i);
        let both = draw.rotate_left(20) % 100 < share;
        if both || draw >> 63 == 0 {
            ours.insert(id);
        }
        if both || draw >> 63 == 1 {
            theirs.insert(id);
        }
    }
    (ours, theirs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn exactly_the_differences_are_found(
        drawn in drawn(),
        limits in (4096usize..9000, 4096usize..9000),
    ) {
        let (ours, theirs) = two_sets(drawn);
        let (our_tree, their_tree) = (tree(&ours), tree(&theirs));
        for (our_limit, their_limit) in [(limits::FRAME_BYTES, limits::FRAME_BYTES), limits] {
            let run = run(&our_tree, &their_tree, our_limit, their_limit);
            assert_exact(&run, &ours, &theirs);
            let ids = ours.len() + theirs.len();
            prop_assert!(run.rounds <= 4 + ids as u32 / 20, "{} rounds for {ids} ids", run.rounds);
            let differences = run.need.len() + run.have.len();
            prop_assert!(
                run.found <= 2 * differences,
                "{} reports of {differences} differences",
                run.found
            );
            if our_limit == limits::FRAME_BYTES {
                prop_assert_eq!(run.found, differences, "once each, where no frame is full");
            }
        }
    }

    #[test]
    fn the_same_messages_as_negentropy_in_both_roles(drawn in drawn()) {
        let (ours, theirs) = two_sets(drawn);
        let (our_tree, their_tree) = (tree(&ours), tree(&theirs));
        let (our_storage, their_storage) = (storage(&ours), storage(&theirs));
        let mut reference = Negentropy::borrowed(&our_storage, 0).unwrap();
        let (initiator, mut message) =
            Initiator::start_as(wire::NEGENTROPY_1, &our_tree, limits::FRAME_BYTES).unwrap();
        prop_assert_eq!(&reference.initiate().unwrap(), &message);
        let (mut found, mut expected) = (Found::default(), (Vec::new(), Vec::new()));
        loop {
            let answer = respond(&their_tree, &message, limits::FRAME_BYTES).unwrap();
            let mut responder = Negentropy::borrowed(&their_storage, 0).unwrap();
            prop_assert_eq!(&responder.reconcile(&message).unwrap(), &answer);
            let step = initiator.compare(&our_tree, &answer).unwrap();
            let next =
                reference.reconcile_with_ids(&answer, &mut expected.0, &mut expected.1).unwrap();
            prop_assert_eq!(&next, &step.reply);
            found.need.extend(step.need);
            found.have.extend(step.have);
            match step.reply {
                Some(reply) => message = reply,
                None => break,
            }
        }
        let need: BTreeSet<_> = found.need.iter().map(|(hash, _)| *hash).collect();
        prop_assert_eq!(need, theirs.difference(&ours).map(RecordId::hash).collect());
        prop_assert_eq!(
            expected.1.iter().map(|id| id.to_bytes()).collect::<BTreeSet<_>>(),
            theirs.difference(&ours).map(RecordId::hash).collect::<BTreeSet<_>>()
        );
        let have: BTreeSet<_> = found.have.into_iter().collect();
        prop_assert!(have.iter().eq(ours.difference(&theirs)));
    }

    #[test]
    fn no_message_panics_or_answers_past_the_limit(
        form in prop::sample::select(vec![wire::NEGENTROPY_1, wire::WITH_TIMES]),
        bytes in prop::collection::vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..400),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let set = tree(&ids(1, 500));
        let (initiator, first) = Initiator::start(&set, 4096).unwrap();
        let answer = respond(&tree(&ids(2, 400)), &first, 4096).unwrap();
        let mutate = |mut message: Vec<u8>| {
            for (at, byte) in &flips {
                let at = at.index(message.len());
                message[at] = *byte;
            }
            message
        };
        for message in [[vec![form], bytes].concat(), mutate(first), mutate(answer)] {
            if let Ok(answer) = respond(&set, &message, 4096) {
                prop_assert!(answer.len() <= 4096);
            }
            if let Ok(Step { reply: Some(reply), .. }) = initiator.step(&set, &message) {
                prop_assert!(reply.len() <= 4096);
            }
        }
    }
}

#[test]
fn interoperates_with_negentropy_over_limited_frames() {
    let (ours, theirs) = (ids(1, 6000), ids(2, 5000));
    let shared = ids(3, 20_000);
    let (ours, theirs) = (&ours | &shared, &theirs | &shared);
    let (our_tree, their_storage) = (tree(&ours), storage(&theirs));
    let (initiator, mut message) =
        Initiator::start_as(wire::NEGENTROPY_1, &our_tree, 5000).unwrap();
    let (mut need, mut have) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let mut responder = Negentropy::borrowed(&their_storage, 4500).unwrap();
        let answer = responder.reconcile(&message).unwrap();
        let found = initiator.compare(&our_tree, &answer).unwrap();
        need.extend(found.need.iter().map(|(hash, _)| *hash));
        have.extend(found.have);
        match found.reply {
            Some(reply) => message = reply,
            None => break,
        }
    }
    assert_eq!(need, theirs.difference(&ours).map(RecordId::hash).collect());
    assert!(have.iter().eq(ours.difference(&theirs)));

    let mut reference = Negentropy::borrowed(&their_storage, 4500).unwrap();
    let mut message = reference.initiate().unwrap();
    let (mut need, mut have) = (Vec::new(), Vec::new());
    loop {
        let answer = respond(&our_tree, &message, 5000).unwrap();
        match reference.reconcile_with_ids(&answer, &mut have, &mut need).unwrap() {
            Some(reply) => message = reply,
            None => break,
        }
    }
    let hashes = |ids: Vec<Id>| ids.into_iter().map(Id::to_bytes).collect::<BTreeSet<_>>();
    assert_eq!(hashes(need), ours.difference(&theirs).map(RecordId::hash).collect());
    assert_eq!(hashes(have), theirs.difference(&ours).map(RecordId::hash).collect());
}

#[test]
fn equal_sets_cost_one_small_round_trip() {
    for n in [0, 1, 31, 32, 1000, 30_000] {
        let ids = ids(7, n);
        let set = tree(&ids);
        let run = run(&set, &set, limits::FRAME_BYTES, limits::FRAME_BYTES);
        assert_eq!(run.rounds, 1);
        assert_exact(&run, &ids, &ids);
        if n >= 32 {
            assert!(run.bytes <= 400, "{} bytes", run.bytes);
            assert_eq!(run.first.1, 1);
        }
    }
}

#[test]
fn a_recent_difference_costs_what_it_is() {
    let old = ids(1, 50_000);
    let latest = old.last().unwrap().time().0;
    let recent: BTreeSet<_> = (0..100).map(|i| id(latest + (i << 24), i)).collect();
    let new = &old | &recent;
    let run = run(&tree(&old), &tree(&new), limits::FRAME_BYTES, limits::FRAME_BYTES);
    assert_exact(&run, &old, &new);
    assert!(run.rounds <= 4, "{} rounds", run.rounds);
    assert!(run.bytes <= 10_000, "{} bytes", run.bytes);
}

#[test]
fn an_empty_side_is_filled_and_an_empty_peer_is_found_out_in_steps() {
    let all = ids(1, 10_000);
    let (full, empty) = (tree(&all), SumTree::new());
    let pulled = run(&empty, &full, limits::FRAME_BYTES, limits::FRAME_BYTES);
    assert_exact(&pulled, &BTreeSet::new(), &all);
    assert_eq!(pulled.rounds, 1, "everything is missing: no list is needed");
    let pushed = run(&full, &empty, limits::FRAME_BYTES, limits::FRAME_BYTES);
    assert_exact(&pushed, &all, &BTreeSet::new());
    assert!(pushed.rounds > 2, "a round finds at most {} ids", limits::HAVES);
}

#[test]
fn a_set_that_grows_between_the_rounds_still_ends() {
    let (mut ours, theirs) = (ids(1, 3000), ids(2, 3000));
    let (initiator, mut message) = Initiator::start(&tree(&ours), 4096).unwrap();
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds < 200);
        let answer = respond(&tree(&theirs), &message, 4096).unwrap();
        let step = initiator.step(&tree(&ours), &answer).unwrap();
        ours.extend(step.need);
        for span in step.missing {
            ours.extend(theirs.iter().filter(|id| span.contains(id)));
        }
        ours.insert(id(rounds << 30, rounds));
        match step.reply {
            Some(reply) => message = reply,
            None => break,
        }
    }
    assert!(theirs.is_subset(&ours));
}

#[test]
fn the_answer_must_have_the_form_of_the_question() {
    let set = tree(&ids(1, 10));
    let (initiator, _) = Initiator::start(&set, 4096).unwrap();
    assert_eq!(
        initiator.step(&set, &[wire::NEGENTROPY_1]),
        Err(ReconcileError::Wire(WireError::Form(0x61)))
    );
    assert_eq!(initiator.step(&set, &[]), Err(ReconcileError::Wire(WireError::Short)));
}

/// A set that cannot be read.
struct Broken;

#[derive(Debug, PartialEq, Eq, Clone, thiserror::Error)]
#[error("broken")]
struct IsBroken;

impl OrderedSet for Broken {
    type Error = IsBroken;
    fn before(&self, _: &RecordId) -> Result<Sum, IsBroken> {
        Err(IsBroken)
    }
    fn at(&self, _: u64) -> Result<Option<RecordId>, IsBroken> {
        Err(IsBroken)
    }
    fn list(&self, _: Span, _: usize) -> Result<Vec<RecordId>, IsBroken> {
        Err(IsBroken)
    }
    fn contains(&self, _: &RecordId) -> Result<bool, IsBroken> {
        Err(IsBroken)
    }
}

#[test]
fn a_set_that_cannot_be_read_is_not_the_peers_fault() {
    assert_eq!(Initiator::start(&Broken, 4096).err(), Some(IsBroken));
    let (_, message) = Initiator::start::<SumTree>(&SumTree::new(), 4096).unwrap();
    assert_eq!(respond(&Broken, &message, 4096), Err(ReconcileError::Set(IsBroken)));
    let malformed: Result<_, ReconcileError<TreeError>> = respond(&SumTree::new(), &[1], 4096);
    assert_eq!(malformed, Err(ReconcileError::Wire(WireError::Form(1))));
}
