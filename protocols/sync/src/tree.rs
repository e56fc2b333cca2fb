//! The ordered set in memory: a B+ tree whose every branch knows the sums of its children.

use std::convert::Infallible;

use ocm_record::RecordId;

use crate::set::{OrderedSet, Span, Sum};

/// Ids in a leaf.
const LEAF: usize = 64;
/// Children of a branch.
const BRANCH: usize = 32;

/// A set of ids in memory. Insertion, removal, sums and positions each cost O(log n); an id takes
/// 40 to 90 bytes.
#[derive(Debug, Clone, Default)]
pub struct SumTree {
    root: Node,
    sum: Sum,
}

/// The id lies past the end of every range, so no reconciliation could ever reach it. Admission
/// refuses such records: a caller that sees this skipped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id {0} has the time 2^64-1, which no record can have: reject the record")]
pub struct PastTheEnd(pub RecordId);

#[derive(Debug, Clone)]
enum Node {
    Leaf(Vec<RecordId>),
    Branch(Vec<Child>),
}

#[derive(Debug, Clone)]
struct Child {
    /// At most the lowest id below, and above every id of the child before.
    low: RecordId,
    sum: Sum,
    node: Node,
}

impl Default for Node {
    fn default() -> Self {
        Self::Leaf(Vec::new())
    }
}

/// The child in which `id` belongs.
fn place(children: &[Child], id: &RecordId) -> usize {
    children.partition_point(|child| child.low <= *id).saturating_sub(1)
}

/// Where to cut a node that has grown too large. What grows at its end is cut there, which leaves
/// full nodes behind where ids come in their order.
fn cut_point(len: usize, grown_at: usize) -> usize {
    if grown_at + 1 == len { len - 1 } else { len / 2 }
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(ids) => ids.len(),
            Self::Branch(children) => children.len(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Leaf(_) => LEAF,
            Self::Branch(_) => BRANCH,
        }
    }

    fn sum(&self) -> Sum {
        match self {
            Self::Leaf(ids) => ids.iter().fold(Sum::EMPTY, |sum, id| sum.plus(&Sum::of(id))),
            Self::Branch(children) => {
                children.iter().fold(Sum::EMPTY, |sum, child| sum.plus(&child.sum))
            }
        }
    }

    /// Cuts off everything from `at` on.
    fn split_off(&mut self, at: usize) -> Option<Child> {
        let (low, node) = match self {
            Self::Leaf(ids) => (ids.get(at).copied()?, Self::Leaf(ids.split_off(at))),
            Self::Branch(children) => (children.get(at)?.low, Self::Branch(children.split_off(at))),
        };
        Some(Child { low, sum: node.sum(), node })
    }

    /// Inserts an id. `None` when it was there; else what had to be split off, if anything.
    fn insert(&mut self, id: &RecordId) -> Option<Option<Child>> {
        let grown_at = match self {
            Self::Leaf(ids) => {
                let at = ids.binary_search(id).err()?;
                ids.insert(at, *id);
                at
            }
            Self::Branch(children) => {
                let at = place(children, id);
                let child = children.get_mut(at)?;
                let split = child.node.insert(id)?;
                child.low = child.low.min(*id);
                child.sum = child.sum.plus(&Sum::of(id));
                let Some(split) = split else { return Some(None) };
                child.sum = child.sum.minus(&split.sum);
                children.insert(at + 1, split);
                at + 1
            }
        };
        if self.len() <= self.capacity() {
            return Some(None);
        }
        Some(self.split_off(cut_point(self.len(), grown_at)))
    }

    /// Removes an id; whether it was there.
    fn remove(&mut self, id: &RecordId) -> bool {
        match self {
            Self::Leaf(ids) => match ids.binary_search(id) {
                Ok(at) => {
                    ids.remove(at);
                    true
                }
                Err(_) => false,
            },
            Self::Branch(children) => {
                let at = place(children, id);
                let Some(child) = children.get_mut(at) else { return false };
                if !child.node.remove(id) {
                    return false;
                }
                child.sum = child.sum.minus(&Sum::of(id));
                if child.node.len() < child.node.capacity() / 4 {
                    merge_with_neighbour(children, at);
                }
                true
            }
        }
    }
}

/// Joins a child that has become small with the one beside it, and cuts the two evenly again when
/// they are too large for one.
fn merge_with_neighbour(children: &mut Vec<Child>, at: usize) {
    let left = if at + 1 < children.len() { at } else { at.saturating_sub(1) };
    if left + 1 >= children.len() {
        return;
    }
    let right = children.remove(left + 1);
    let Some(child) = children.get_mut(left) else { return };
    match (&mut child.node, right.node) {
        (Node::Leaf(ids), Node::Leaf(more)) => ids.extend(more),
        (Node::Branch(inner), Node::Branch(more)) => inner.extend(more),
        // All leaves lie at one depth.
        (_, node) => {
            children.insert(left + 1, Child { node, ..right });
            return;
        }
    }
    child.sum = child.sum.plus(&right.sum);
    if child.node.len() > child.node.capacity() {
        let half = child.node.len() / 2;
        if let Some(split) = child.node.split_off(half) {
            child.sum = child.sum.minus(&split.sum);
            children.insert(left + 1, split);
        }
    }
}

impl SumTree {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts an id; whether it was new.
    ///
    /// # Errors
    /// When no record can have this id; the set is as before.
    pub fn insert(&mut self, id: RecordId) -> Result<bool, PastTheEnd> {
        if id >= Span::end() {
            return Err(PastTheEnd(id));
        }
        let Some(split) = self.root.insert(&id) else { return Ok(false) };
        self.sum = self.sum.plus(&Sum::of(&id));
        if let Some(split) = split {
            let left = std::mem::take(&mut self.root);
            let left = Child { low: RecordId::MIN, sum: self.sum.minus(&split.sum), node: left };
            self.root = Node::Branch(vec![left, split]);
        }
        Ok(true)
    }

    /// Removes an id; whether it was there.
    pub fn remove(&mut self, id: &RecordId) -> bool {
        let found = self.root.remove(id);
        if found {
            self.sum = self.sum.minus(&Sum::of(id));
        }
        loop {
            match &mut self.root {
                Node::Branch(children) if children.len() == 1 => {
                    if let Some(only) = children.pop() {
                        self.root = only.node;
                    }
                }
                _ => return found,
            }
        }
    }

    /// The sum of the whole set.
    #[must_use]
    pub fn total(&self) -> Sum {
        self.sum
    }

    /// All ids in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = RecordId> + '_ {
        let mut open: Vec<&Node> = vec![&self.root];
        let mut leaf: std::slice::Iter<'_, RecordId> = [].iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(id) = leaf.next() {
                    return Some(*id);
                }
                match open.pop()? {
                    Node::Leaf(ids) => leaf = ids.iter(),
                    Node::Branch(children) => {
                        open.extend(children.iter().rev().map(|child| &child.node));
                    }
                }
            }
        })
    }
}

impl OrderedSet for SumTree {
    type Error = Infallible;

    fn before(&self, bound: &RecordId) -> Result<Sum, Infallible> {
        if *bound >= Span::end() {
            return Ok(self.sum);
        }
        let mut sum = Sum::EMPTY;
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(ids) => {
                    let at = ids.partition_point(|id| id < bound);
                    return Ok(ids[..at].iter().fold(sum, |sum, id| sum.plus(&Sum::of(id))));
                }
                Node::Branch(children) => {
                    let at = place(children, bound);
                    for child in &children[..at] {
                        sum = sum.plus(&child.sum);
                    }
                    node = &children[at].node;
                }
            }
        }
    }

    fn at(&self, mut position: u64) -> Result<Option<RecordId>, Infallible> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(ids) => {
                    return Ok(usize::try_from(position).ok().and_then(|at| ids.get(at).copied()));
                }
                Node::Branch(children) => {
                    let mut inside = None;
                    for child in children {
                        if position < child.sum.count {
                            inside = Some(&child.node);
                            break;
                        }
                        position -= child.sum.count;
                    }
                    let Some(inside) = inside else { return Ok(None) };
                    node = inside;
                }
            }
        }
    }

    fn list(&self, span: Span, limit: usize) -> Result<Vec<RecordId>, Infallible> {
        let mut found = Vec::new();
        let mut open: Vec<&Node> = vec![&self.root];
        while let Some(node) = open.pop() {
            match node {
                Node::Leaf(ids) => {
                    let first = ids.partition_point(|id| *id < span.from);
                    for id in &ids[first..] {
                        if found.len() >= limit || *id >= span.to {
                            return Ok(found);
                        }
                        found.push(*id);
                    }
                }
                Node::Branch(children) => {
                    let first = place(children, &span.from);
                    let inside = children[first..].iter().rev();
                    open.extend(inside.filter(|c| c.low < span.to).map(|child| &child.node));
                }
            }
        }
        Ok(found)
    }

    fn contains(&self, id: &RecordId) -> Result<bool, Infallible> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(ids) => return Ok(ids.binary_search(id).is_ok()),
                Node::Branch(children) => node = &children[place(children, id)].node,
            }
        }
    }
}

#[cfg(test)]
impl FromIterator<RecordId> for SumTree {
    fn from_iter<I: IntoIterator<Item = RecordId>>(ids: I) -> Self {
        let mut tree = Self::new();
        for id in ids {
            tree.insert(id).unwrap();
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ocm_record::Time;
    use proptest::prelude::*;

    use super::*;

    fn id(time: u64, hash: u8) -> RecordId {
        RecordId::from_parts(Time(time), [hash; 32])
    }

    /// What the sums and bounds inside must be, checked node by node. Returns the depth.
    fn check(node: &Node, is_root: bool) -> usize {
        assert!(node.len() <= node.capacity());
        match node {
            Node::Leaf(ids) => {
                assert!(ids.is_sorted_by(|a, b| a < b));
                0
            }
            Node::Branch(children) => {
                assert!(!children.is_empty() && (!is_root || children.len() > 1));
                let mut depths = BTreeSet::new();
                for (i, child) in children.iter().enumerate() {
                    assert_eq!(child.sum, child.node.sum());
                    let ids = SumTree { root: child.node.clone(), sum: child.sum };
                    let high = children.get(i + 1).map(|next| next.low);
                    for id in ids.iter() {
                        assert!(child.low <= id && high.is_none_or(|high| id < high));
                    }
                    depths.insert(check(&child.node, false));
                }
                assert_eq!(depths.len(), 1, "all leaves at one depth");
                depths.first().unwrap() + 1
            }
        }
    }

    fn naive_sum(ids: &BTreeSet<RecordId>, span: Span) -> Sum {
        ids.iter().filter(|id| span.contains(id)).fold(Sum::EMPTY, |sum, id| sum.plus(&Sum::of(id)))
    }

    fn agree(tree: &SumTree, model: &BTreeSet<RecordId>, spans: &[Span]) {
        check(&tree.root, true);
        assert!(tree.iter().eq(model.iter().copied()));
        assert_eq!(tree.total(), naive_sum(model, Span::all()));
        assert_eq!(tree.len().unwrap(), model.len() as u64);
        for (position, id) in model.iter().enumerate() {
            assert_eq!(tree.at(position as u64).unwrap(), Some(*id));
            assert!(tree.contains(id).unwrap());
        }
        assert_eq!(tree.at(model.len() as u64).unwrap(), None);
        for span in spans {
            assert_eq!(tree.sum(*span).unwrap(), naive_sum(model, *span));
            let inside: Vec<_> = model.iter().filter(|id| span.contains(id)).copied().collect();
            assert_eq!(tree.list(*span, usize::MAX).unwrap(), inside);
            let some = inside.len() / 2;
            assert_eq!(tree.list(*span, some).unwrap(), inside[..some]);
            assert_eq!(tree.select(*span, some as u64).unwrap(), inside.get(some).copied());
            assert_eq!(tree.select(*span, inside.len() as u64).unwrap(), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn like_a_plain_set(
            steps in prop::collection::vec((0u64..60, 0u8..20, prop::bool::weighted(0.65)), 0..3000),
            spans in prop::collection::vec(((0u64..61, 0u8..20), (0u64..61, 0u8..20)), 1..12),
        ) {
            let mut tree = SumTree::new();
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
            let mut tree = SumTree::new();
            for time in grow {
                assert!(tree.insert(id(*time, 1)).unwrap());
                assert!(!tree.insert(id(*time, 1)).unwrap(), "a second time changes nothing");
            }
            assert!(check(&tree.root, true) <= 4);
            assert_eq!(tree.at(12_345).unwrap(), Some(id(12_345, 1)));
            assert_eq!(tree.before(&id(12_345, 0)).unwrap().count, 12_345);
            for time in &decay[..decay.len() - 10] {
                assert!(tree.remove(&id(*time, 1)));
            }
            assert_eq!(tree.len().unwrap(), 10);
            assert_eq!(check(&tree.root, true), 0, "one leaf is left");
            for time in &decay[decay.len() - 10..] {
                assert!(tree.remove(&id(*time, 1)));
            }
            assert_eq!(tree.total(), Sum::EMPTY);
        }
    }

    #[test]
    fn an_id_at_infinity_is_refused() {
        let mut tree = SumTree::new();
        assert_eq!(tree.insert(id(u64::MAX, 3)), Err(PastTheEnd(id(u64::MAX, 3))));
        assert!(tree.insert(id(u64::MAX - 1, 255)).unwrap());
        assert_eq!(tree.sum(Span::all()).unwrap().count, 1);
    }
}
