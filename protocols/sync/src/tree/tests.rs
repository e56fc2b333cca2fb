use std::collections::{BTreeMap, BTreeSet};

use ocm_record::Time;
use proptest::prelude::*;

use super::*;

fn id(time: u64, hash: u8) -> RecordId {
    RecordId::from_parts(Time(time), [hash; 32])
}

/// What the sums and bounds inside must be, checked node by node. Returns the levels.
fn check(tree: &SumTree) -> u8 {
    let (root, nodes, kept) = tree.parts();
    let Some(top) = root.node else {
        assert_eq!(kept, 0);
        return 0;
    };
    let mut seen = 0;
    let sum = check_node(&nodes, top, root.levels, true, &mut seen).0;
    assert_eq!(sum, root.sum);
    assert_eq!(seen, kept, "a node that nothing leads to");
    root.levels
}

/// The sum of what is below a node, and its ids.
fn check_node<N: Nodes<Error = TreeError>>(
    nodes: &N,
    number: NodeNumber,
    levels: u8,
    is_root: bool,
    seen: &mut usize,
) -> (Sum, Vec<RecordId>) {
    *seen += 1;
    let node = nodes.node(number).unwrap();
    assert!(node.len() <= node.capacity());
    assert_eq!(Node::decode(&node.encode()).as_ref(), Some(&*node));
    match &*node {
        Node::Leaf(ids) => {
            assert_eq!(levels, 0, "all leaves at one depth");
            assert!(ids.is_sorted_by(|a, b| a < b));
            (node.sum(), ids.clone())
        }
        Node::Branch(children) => {
            assert!(!children.is_empty() && (!is_root || children.len() > 1));
            let mut all = Vec::new();
            for (i, child) in children.iter().enumerate() {
                let (sum, ids) = check_node(nodes, child.node, levels - 1, false, seen);
                assert_eq!(child.sum, sum);
                let high = children.get(i + 1).map(|next| next.low);
                for id in &ids {
                    assert!(child.low <= *id && high.is_none_or(|high| *id < high));
                }
                all.extend(ids);
            }
            (node.sum(), all)
        }
    }
}

/// A tree kept as bytes, as a store keeps it.
#[derive(Default)]
struct Kept {
    root: Option<Root>,
    nodes: BTreeMap<NodeNumber, Vec<u8>>,
}

impl Nodes for Kept {
    type Error = TreeError;

    fn node(&self, number: NodeNumber) -> Result<Arc<Node>, TreeError> {
        let bytes = self.nodes.get(&number).ok_or(TreeError(number))?;
        Node::decode(bytes).map(Arc::new).ok_or(TreeError(number))
    }

    fn misfit(&self, number: NodeNumber) -> TreeError {
        TreeError(number)
    }
}

impl Kept {
    fn root(&self) -> Root {
        self.root.unwrap_or(Root::EMPTY)
    }

    fn write(&mut self, changes: Changes) {
        self.root = Some(changes.root);
        for (number, node) in changes.nodes {
            match node {
                Some(node) => self.nodes.insert(number, node.encode()),
                None => self.nodes.remove(&number),
            };
        }
    }
}

fn naive_sum(ids: &BTreeSet<RecordId>, span: Span) -> Sum {
    ids.iter().filter(|id| span.contains(id)).fold(Sum::EMPTY, |sum, id| sum.plus(&Sum::of(id)))
}

fn agree(tree: &SumTree, model: &BTreeSet<RecordId>, spans: &[Span]) {
    check(tree);
    assert!(tree.iter().eq(model.iter().copied()));
    assert_eq!(tree.total(), naive_sum(model, Span::all()));
    assert_eq!(tree.len(), model.len() as u64);
    assert_eq!(tree.last().unwrap(), model.last().copied());
    // One way through the tree answers as each question on its own.
    let mut walk = tree.walk();
    for (position, id) in model.iter().enumerate() {
        assert_eq!(walk.at(position as u64).unwrap(), Some(*id));
        assert!(walk.contains(id).unwrap());
        assert_eq!(walk.before(id).unwrap().count, position as u64);
    }
    assert_eq!(walk.at(model.len() as u64).unwrap(), None);
    let before = |bound| Span { from: RecordId::MIN, to: bound };
    for span in spans {
        for bound in [span.from, span.to] {
            assert_eq!(tree.before(&bound).unwrap(), naive_sum(model, before(bound)));
            assert_eq!(walk.before(&bound).unwrap(), naive_sum(model, before(bound)));
        }
        let inside: Vec<_> = model.iter().filter(|id| span.contains(id)).copied().collect();
        assert_eq!(tree.list(*span, usize::MAX).unwrap(), inside);
        let some = inside.len() / 2;
        assert_eq!(walk.list(*span, some).unwrap(), inside[..some]);
    }
    let len = model.len() as u64;
    for slack in [0, 1, 10, len / 3] {
        for want in (slack + 1..len.saturating_sub(slack)).step_by(1 + model.len() / 13) {
            let (bound, sum) = walk.cut(want, slack).unwrap();
            assert_eq!(sum, naive_sum(model, before(bound)), "{want} {slack}");
            assert!(sum.count.abs_diff(want) <= slack, "{} {want} {slack}", sum.count);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn like_a_plain_set(
        steps in prop::collection::vec((0u64..60, 0u8..20, prop::bool::weighted(0.65)), 0..3000),
        spans in prop::collection::vec(((0u64..61, 0u8..20), (0u64..61, 0u8..20)), 1..12),
    ) {
        let mut tree = SumTree::default();
        let mut model = BTreeSet::new();
        for (time, hash, insert) in steps {
            let id = id(time, hash);
            if insert {
                prop_assert_eq!(tree.insert(id).unwrap(), model.insert(id));
            } else {
                prop_assert_eq!(tree.remove(&id), model.remove(&id));
            }
        }
        let mut spans: Vec<Span> = spans
            .iter()
            .map(|(from, to)| Span { from: id(from.0, from.1), to: id(to.0, to.1) })
            .collect();
        spans.push(Span::all());
        agree(&tree, &model, &spans);
    }
}

#[test]
fn deep_trees_keep_their_shape_in_any_order_of_growth_and_decay() {
    let n = 20_000u64;
    let ascending: Vec<u64> = (0..n).collect();
    let descending: Vec<u64> = (0..n).rev().collect();
    // 7919 is prime to n, so this visits every number once.
    let scattered: Vec<u64> = (0..n).map(|i| i * 7919 % n).collect();
    for (grow, decay) in [
        (&ascending, &descending),
        (&ascending, &ascending),
        (&descending, &scattered),
        (&scattered, &ascending),
    ] {
        let mut tree = SumTree::default();
        for time in grow {
            assert!(tree.insert(id(*time, 1)).unwrap());
            assert!(!tree.insert(id(*time, 1)).unwrap(), "a second time changes nothing");
        }
        assert!(check(&tree) <= 4);
        assert_eq!(tree.walk().at(12_345).unwrap(), Some(id(12_345, 1)));
        assert_eq!(tree.before(&id(12_345, 0)).unwrap().count, 12_345);
        for time in &decay[..decay.len() - 10] {
            assert!(tree.remove(&id(*time, 1)));
        }
        assert_eq!(tree.len(), 10);
        assert_eq!(check(&tree), 0, "one leaf is left");
        for time in &decay[decay.len() - 10..] {
            assert!(tree.remove(&id(*time, 1)));
        }
        assert_eq!(tree.total(), Sum::EMPTY);
    }
}

#[test]
fn an_id_at_infinity_is_refused() {
    let mut tree = SumTree::default();
    assert_eq!(tree.insert(id(u64::MAX, 3)), Err(PastTheEnd(id(u64::MAX, 3))));
    assert!(tree.insert(id(u64::MAX - 1, 255)).unwrap());
    assert_eq!(tree.total().count, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Many changes at once, some of them never written: what is kept is what was written.
    #[test]
    fn updates_are_written_as_a_whole_or_left(
        batches in prop::collection::vec(
            (
                prop::collection::vec(((0u64..400, 0u8..4), prop::bool::weighted(0.6)), 0..400),
                prop::bool::weighted(0.7),
            ),
            0..12,
        ),
    ) {
        let mut kept = Kept::default();
        let mut model = BTreeSet::new();
        for (changes, written) in batches {
            let mut after = model.clone();
            let mut update = Update::new(kept.root(), &kept);
            for ((time, hash), insert) in changes {
                let id = id(time, hash);
                if insert {
                    prop_assert_eq!(update.insert(&id).unwrap(), after.insert(id));
                } else {
                    prop_assert_eq!(update.remove(&id).unwrap(), after.remove(&id));
                }
            }
            let changes = update.finish();
            if written {
                kept.write(changes);
                model = after;
            }
            let tree = Tree::new(kept.root(), &kept);
            let ids: Vec<_> = model.iter().copied().collect();
            prop_assert_eq!(tree.list(Span::all(), usize::MAX).unwrap(), ids.clone());
            prop_assert_eq!(tree.last().unwrap(), ids.last().copied());
            prop_assert_eq!(tree.len(), model.len() as u64);
            if let Some(top) = kept.root().node {
                let mut seen = 0;
                let (sum, below) = check_node(&kept, top, kept.root().levels, true, &mut seen);
                prop_assert_eq!((sum, below), (kept.root().sum, ids));
                prop_assert_eq!(seen, kept.nodes.len());
            }
        }
    }
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let mut kept = Kept::default();
    let mut update = Update::new(kept.root(), &kept);
    for time in 0..500 {
        assert!(update.insert(&id(time, 0)).unwrap());
    }
    kept.write(update.finish());
    let mut update = Update::new(kept.root(), &kept);
    for time in 0..500 {
        assert!(!update.insert(&id(time, 0)).unwrap());
        assert!(!update.remove(&id(time, 1)).unwrap());
    }
    assert_eq!(update.finish().nodes, BTreeMap::new());
}

#[test]
fn a_tree_that_does_not_fit_together_is_an_error() {
    let mut kept = Kept::default();
    let mut update = Update::new(kept.root(), &kept);
    for time in 0..5000 {
        update.insert(&id(time, 0)).unwrap();
    }
    kept.write(update.finish());
    let root = kept.root();
    let top = root.node.unwrap();
    assert!(root.levels > 1);
    let reads = |kept: &Kept, root: Root| {
        let tree = Tree::new(root, kept);
        let sums = tree.before(&id(17, 0)).is_ok() && tree.walk().at(17).is_ok();
        let lists = tree.contains(&id(17, 0)).is_ok() && tree.list(Span::all(), 100).is_ok();
        assert_eq!(sums, lists);
        sums && Update::new(root, kept).insert(&id(17, 1)).is_ok()
    };
    assert!(reads(&kept, root));
    assert!(!reads(&kept, Root { levels: root.levels - 1, ..root }));
    assert!(!reads(&kept, Root { levels: root.levels + 1, ..root }));
    // A branch that leads to itself.
    let Node::Branch(mut children) = Arc::unwrap_or_clone(kept.node(top).unwrap()) else {
        panic!("the top is a branch")
    };
    children[0].node = top;
    let whole = kept.nodes.insert(top, Node::Branch(children).encode()).unwrap();
    assert!(!reads(&kept, root));
    for damaged in [&[][..], &[2], &[0, 1], &[1], &whole[..whole.len() - 1]] {
        kept.nodes.insert(top, damaged.to_vec());
        assert!(!reads(&kept, root), "{damaged:?}");
    }
    kept.nodes.remove(&top);
    assert!(!reads(&kept, root));
}
