use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ocm_record::{RecordId, Time};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::limits;
use crate::set::{Span, Sum};
use crate::tree::{Node, NodeNumber, Nodes, Root, SumTree, Tree, TreeError};

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

#[derive(Debug)]
struct Run {
    need: BTreeSet<RecordId>,
    have: BTreeSet<RecordId>,
    found: usize,
    rounds: u32,
    bytes: usize,
}

fn run(ours: &SumTree, theirs: &SumTree, our_limit: usize, their_limit: usize) -> Run {
    run_as(Initiator::start(ours, our_limit), ours, theirs, our_limit, their_limit)
}

fn run_as(
    (initiator, mut message): (Initiator, Vec<u8>),
    ours: &SumTree,
    theirs: &SumTree,
    our_limit: usize,
    their_limit: usize,
) -> Run {
    let mut run =
        Run { need: BTreeSet::new(), have: BTreeSet::new(), found: 0, rounds: 0, bytes: 0 };
    loop {
        run.rounds += 1;
        assert!(run.rounds < 2000, "no end in sight");
        assert!(message.len() <= our_limit);
        let answer = respond(theirs, &message, their_limit).unwrap();
        assert!(answer.len() <= their_limit);
        run.bytes += message.len() + answer.len();
        let step = initiator.step(ours, &answer).unwrap();
        assert!(step.have.len() <= limits::HAVES + limits::RANGES);
        assert!(step.need.is_sorted() && step.have.is_sorted());
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

/// With messages as long as may be.
fn run_wide(ours: &SumTree, theirs: &SumTree) -> Run {
    run(ours, theirs, limits::RECONCILE_BYTES, limits::RECONCILE_BYTES)
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
        for (our_limit, their_limit) in
            [(limits::RECONCILE_BYTES, limits::RECONCILE_BYTES), limits]
        {
            let start = Initiator::start(&our_tree, our_limit);
            let exact = (start.0.clone().exact(), start.1.clone());
            for start in [start, exact] {
                let run = run_as(start, &our_tree, &their_tree, our_limit, their_limit);
                assert_exact(&run, &ours, &theirs);
                let ids = ours.len() + theirs.len();
                prop_assert!(run.rounds <= 6 + ids as u32 / 20, "{} rounds, {ids} ids", run.rounds);
                let differences = run.need.len() + run.have.len();
                prop_assert!(
                    run.found <= 2 * differences,
                    "{} reports of {differences} differences",
                    run.found
                );
                if our_limit == limits::RECONCILE_BYTES {
                    prop_assert_eq!(run.found, differences, "once each, where no message is full");
                }
            }
        }
    }

    #[test]
    fn no_message_panics_or_answers_past_the_limit(
        bytes in prop::collection::vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..400),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let set = tree(&ids(1, 500));
        let (initiator, first) = Initiator::start(&set, 4096);
        let answer = respond(&tree(&ids(2, 400)), &first, 4096).unwrap();
        let second = initiator.step(&set, &answer).unwrap().reply.unwrap();
        let mutate = |mut message: Vec<u8>| {
            for (at, byte) in &flips {
                let at = at.index(message.len());
                message[at] = *byte;
            }
            message
        };
        for message in [[vec![0xe1], bytes].concat(), mutate(first), mutate(second), mutate(answer)] {
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
fn equal_sets_cost_one_small_round_trip() {
    for n in [0, 1, 31, 32, 1000, 30_000] {
        let ids = ids(7, n);
        let set = tree(&ids);
        let run = run_wide(&set, &set);
        assert_eq!(run.rounds, 1);
        assert_exact(&run, &ids, &ids);
        assert!(run.bytes <= 50, "{} bytes", run.bytes);
    }
}

/// However the trees came to their shapes.
#[test]
fn one_difference_is_told_by_two_sums() {
    let all = ids(3, 5000);
    let theirs = tree(&all);
    for gone in [0, 1, 2500, 4999] {
        let mut ours = all.clone();
        let gone = *all.iter().nth(gone).unwrap();
        ours.remove(&gone);
        let (ours, without): (SumTree, _) = (ours.iter().rev().copied().collect(), ours);
        for (one, other, its, others) in
            [(&ours, &theirs, &without, &all), (&theirs, &ours, &all, &without)]
        {
            let run = run_wide(one, other);
            assert_exact(&run, its, others);
            assert_eq!(run.rounds, 1);
            assert!(run.bytes <= 130, "{} bytes", run.bytes);
        }
    }
}

#[test]
fn a_recent_difference_costs_what_it_is() {
    let old = ids(1, 50_000);
    let latest = old.last().unwrap().time().0;
    let recent: BTreeSet<_> = (0..100).map(|i| id(latest + (i << 24), i)).collect();
    let new = &old | &recent;
    for (ours, theirs) in [(&old, &new), (&new, &old)] {
        let run = run_wide(&tree(ours), &tree(theirs));
        assert_exact(&run, ours, theirs);
        assert!(run.rounds <= 3, "{} rounds", run.rounds);
        assert!(run.bytes <= 6000, "{} bytes", run.bytes);
    }
}

/// Differences here and there, on one side or on both: what they cost follows their number.
#[test]
fn scattered_differences_cost_what_they_are() {
    let all = ids(1, 50_000);
    for (every, both) in [(50, false), (500, false), (50, true), (500, true)] {
        let draw = |id: &RecordId| id.hash()[0] as u64 | (id.hash()[1] as u64) << 8;
        let (lacks, other) =
            (|id: &RecordId| draw(id) % every == 1, |id: &RecordId| id.hash()[2] & 1);
        let ours = all.iter().filter(|id| !lacks(id) || (both && other(id) == 1));
        let theirs = all.iter().filter(|id| !(lacks(id) && both && other(id) == 1));
        let (ours, theirs): (BTreeSet<_>, BTreeSet<_>) =
            (ours.copied().collect(), theirs.copied().collect());
        let run = run_wide(&tree(&ours), &tree(&theirs));
        assert_exact(&run, &ours, &theirs);
        let each = run.bytes / run.found;
        assert!(run.rounds <= 7, "{} rounds for 1 in {every}", run.rounds);
        assert!(each <= 200, "{each} bytes for each difference, 1 in {every}, {both}");
    }
}

#[test]
fn an_empty_side_is_filled_and_an_empty_peer_is_found_out_in_steps() {
    let all = ids(1, 10_000);
    let (full, empty) = (tree(&all), SumTree::default());
    let pulled = run_wide(&empty, &full);
    assert_exact(&pulled, &BTreeSet::new(), &all);
    assert_eq!(pulled.rounds, 1, "everything is missing: no list is needed");
    let pushed = run_wide(&full, &empty);
    assert_exact(&pushed, &all, &BTreeSet::new());
    assert!(pushed.rounds > 2, "a round finds at most {} ids", limits::HAVES);
}

#[test]
fn a_set_that_grows_between_the_rounds_still_ends() {
    let (mut ours, theirs) = (ids(1, 3000), ids(2, 3000));
    let (initiator, mut message) = Initiator::start(&tree(&ours), 4096);
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

/// Ids made on purpose: the sums of two and of a third differ by what looks like a fourth, which
/// nobody has. Only who infers nothing finds them all.
#[test]
fn ids_made_to_look_like_another_are_found_by_an_exact_pass() {
    let near = |time: u64, first: u8, rest: u8| {
        let mut hash = [rest; 32];
        hash[..8].copy_from_slice(&[first; 8]);
        RecordId::from_parts(Time((1_700_000_000_000 << 16) + time), hash)
    };
    // The first and the third begin alike, so that the masks of the times cancel out.
    let (a, b, c) = (near(10, 5, 3), near(20, 9, 4), near(12, 5, 2));
    let span = Span { from: RecordId::MIN, to: id(1_700_000_000_001 << 16, 0) };
    let nobodys = Sum::of(&a).plus(&Sum::of(&b)).only_beyond(&Sum::of(&c), &span).unwrap();
    let all = ids(1, 40);
    let (ours, theirs) = (&all | &BTreeSet::from([c]), &all | &BTreeSet::from([a, b]));
    let (our_tree, their_tree) = (tree(&ours), tree(&theirs));
    let inferred = run_wide(&our_tree, &their_tree);
    assert_eq!(inferred.need, BTreeSet::from([nobodys]));
    let (initiator, first) = Initiator::start(&our_tree, limits::RECONCILE_BYTES);
    let exact = (initiator.exact(), first);
    let run =
        run_as(exact, &our_tree, &their_tree, limits::RECONCILE_BYTES, limits::RECONCILE_BYTES);
    assert_exact(&run, &ours, &theirs);
}

/// A tree that counts how often one of its nodes is read.
struct Counting {
    nodes: BTreeMap<NodeNumber, Arc<Node>>,
    reads: Cell<usize>,
}

impl Nodes for Counting {
    type Error = TreeError;

    fn node(&self, number: NodeNumber) -> Result<Arc<Node>, TreeError> {
        self.reads.set(self.reads.get() + 1);
        self.nodes.get(&number).cloned().ok_or(TreeError(number))
    }

    fn misfit(&self, number: NodeNumber) -> TreeError {
        TreeError(number)
    }
}

fn counting(ids: &BTreeSet<RecordId>) -> (Tree<Counting>, usize) {
    let nodes = Counting { nodes: BTreeMap::new(), reads: Cell::new(0) };
    let mut update = crate::tree::Update::new(Root::EMPTY, nodes);
    ids.iter().for_each(|id| assert!(update.insert(id).unwrap()));
    let changes = update.finish();
    let nodes = changes.nodes.into_iter().filter_map(|(n, node)| Some((n, Arc::new(node?))));
    let nodes = Counting { nodes: nodes.collect(), reads: Cell::new(0) };
    let path = usize::from(changes.root.levels) + 1;
    (Tree::new(changes.root, nodes), path)
}

/// The work of an answer is bounded, whatever is asked.
#[test]
fn an_answer_reads_no_more_than_its_ranges_cost() {
    let all = ids(1, 30_000);
    let (set, path) = counting(&all);
    let spread: Vec<RecordId> = all.iter().copied().step_by(8).collect();
    let ask = |mode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = vec![0xe1];
        let mut last = 0;
        for id in &spread {
            frame::write_varint(&mut bytes, id.time().0 - last + 1);
            last = id.time().0;
            bytes.push(0);
            mode(&mut bytes);
        }
        bytes
    };
    let sums = |bytes: &mut Vec<u8>| bytes.extend([vec![1, 7], vec![9; 40]].concat());
    let splits = |bytes: &mut Vec<u8>| bytes.extend([3, 0x8f, 0xff, 0x7f]);
    let whole = [&[0xe1, 0, 0, 3][..], &[0x8f, 0xff, 0xff, 0x7f]].concat();
    let lists = [&[0xe1, 0, 0, 3][..], &[0xa0, 0x00]].concat();
    for asked in [ask(&sums), ask(&splits), whole, lists] {
        let mut message = wire::Message::read(wire::Side::Initiator, &asked).unwrap();
        let ranges = std::iter::from_fn(|| message.next_range().unwrap()).count();
        set_reads(&set, 0);
        let answer = respond(&set, &asked, limits::RECONCILE_BYTES).unwrap();
        let reads = set_reads(&set, 0);
        let mut message = wire::Message::read(wire::Side::Responder, &answer).unwrap();
        let (mut told, mut listed) = (0, 0);
        while let Some(range) = message.next_range().unwrap() {
            told += 1;
            listed += if let wire::Mode::List(ids) = range.mode { ids.len() } else { 0 };
        }
        assert!(told > 0 && reads > 0);
        assert!(
            reads <= path * (ranges + told) + listed,
            "{reads} reads, {ranges} {told} {listed}"
        );
        // Beside each other they share their ways.
        assert!(reads <= 2 * (all.len() / 30), "{reads} reads of a tree of fewer nodes");
    }
}

fn set_reads(set: &Tree<Counting>, reads: usize) -> usize {
    set.nodes().reads.replace(reads)
}

/// Nodes that cannot be read.
struct Broken;

#[derive(Debug, PartialEq, Eq, Clone, thiserror::Error)]
#[error("broken")]
struct IsBroken;

impl Nodes for Broken {
    type Error = IsBroken;
    fn node(&self, _: NodeNumber) -> Result<Arc<Node>, IsBroken> {
        Err(IsBroken)
    }
    fn misfit(&self, _: NodeNumber) -> IsBroken {
        IsBroken
    }
}

#[test]
fn a_set_that_cannot_be_read_is_not_the_peers_fault() {
    let sum = Sum { count: 50, sum: [1; 40] };
    let broken = Tree::new(Root { node: Some(3), levels: 1, next: 4, sum }, Broken);
    let (_, message) = Initiator::start(&SumTree::default(), 4096);
    assert_eq!(respond(&broken, &message, 4096), Err(ReconcileError::Set(IsBroken)));
    let malformed: Result<_, ReconcileError<TreeError>> = respond(&SumTree::default(), &[1], 4096);
    assert_eq!(malformed, Err(ReconcileError::Wire(WireError::Form(1))));
    let (initiator, _) = Initiator::start(&broken, 4096);
    let answer = respond(&tree(&ids(1, 9)), &message, 4096).unwrap();
    assert_eq!(initiator.step(&broken, &answer), Err(ReconcileError::Set(IsBroken)));
    let empty = initiator.step(&SumTree::default(), &[]);
    assert_eq!(empty, Err(ReconcileError::Wire(WireError::Short)));
}
