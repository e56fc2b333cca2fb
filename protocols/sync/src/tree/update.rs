//! Changing a tree: which nodes become what.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocm_record::RecordId;

use super::node::{Child, Node, NodeNumber, place};
use super::{Nodes, Root};
use crate::set::{Span, Sum};

/// The id lies past the end of every range, so no reconciliation could ever reach it. Admission
/// refuses such records: a caller that sees this skipped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id {0} has the time 2^64-1, which no record can have: reject the record")]
pub struct PastTheEnd(pub RecordId);

/// Changes to a tree whose nodes are kept elsewhere. Nothing is changed there: the nodes that
/// [`Update::finish`] gives are to be written, all of them and the root together.
#[derive(Debug)]
pub struct Update<N> {
    root: Root,
    nodes: N,
    /// Nodes that are no longer as they are kept; `None` where there is none any more.
    changed: BTreeMap<NodeNumber, Option<Node>>,
}

/// What an [`Update`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Where the tree begins now.
    pub root: Root,
    /// The nodes that changed; `None` for those to be removed.
    pub nodes: BTreeMap<NodeNumber, Option<Node>>,
}

/// Where to cut a node that has grown too large. What grows at its end is cut near there, which
/// leaves fuller nodes behind where ids come in their order.
///
/// Leaves are cut before the id whose hash is the lowest of those in the middle, or in the latter
/// half: so that the leaves of two sets that differ here and there begin at the same ids elsewhere,
/// and are compared without being read.
fn cut_point(node: &Node, grown_at: usize) -> usize {
    let len = node.len();
    let at_end = grown_at + 1 == len;
    match node {
        Node::Leaf(ids) => {
            let window = if at_end { len / 2..len } else { len / 4..len - len / 4 };
            window.min_by_key(|at| ids[*at].hash()).unwrap_or(len / 2)
        }
        Node::Branch(_) if at_end => len - 1,
        Node::Branch(_) => len / 2,
    }
}

impl<N: Nodes> Update<N> {
    /// Begins to change the tree that begins at `root`.
    pub const fn new(root: Root, nodes: N) -> Self {
        Self { root, nodes, changed: BTreeMap::new() }
    }

    /// Inserts an id; whether it was new. One that no record can have ([`PastTheEnd`]) never is.
    ///
    /// # Errors
    /// When the tree cannot be read; the update is then to be dropped.
    pub fn insert(&mut self, id: &RecordId) -> Result<bool, N::Error> {
        if *id >= Span::end() {
            return Ok(false);
        }
        let Some(top) = self.root.node else {
            self.root.node = Some(self.add(Node::Leaf(vec![*id])));
            self.root.sum = Sum::of(id);
            return Ok(true);
        };
        let Some(split) = self.insert_below(top, self.root.levels, id)? else { return Ok(false) };
        self.root.sum = self.root.sum.plus(&Sum::of(id));
        if let Some(split) = split {
            let sum = self.root.sum.minus(&split.sum);
            let left = Child { low: RecordId::MIN, sum, node: top };
            self.root.node = Some(self.add(Node::Branch(vec![left, split])));
            self.root.levels += 1;
        }
        Ok(true)
    }

    /// Removes an id; whether it was there.
    ///
    /// # Errors
    /// When the tree cannot be read; the update is then to be dropped.
    pub fn remove(&mut self, id: &RecordId) -> Result<bool, N::Error> {
        let Some(mut top) = self.root.node else { return Ok(false) };
        if !self.remove_below(top, self.root.levels, id)? {
            return Ok(false);
        }
        self.root.sum = self.root.sum.minus(&Sum::of(id));
        while self.root.levels > 0 {
            let node = self.take(top)?;
            let Node::Branch(children) = &node else { return Err(self.nodes.misfit(top)) };
            let [only] = children[..] else {
                self.put(top, node);
                break;
            };
            self.drop_node(top);
            top = only.node;
            self.root.levels -= 1;
            self.root.node = Some(top);
        }
        Ok(true)
    }

    /// What is to be written.
    pub fn finish(self) -> Changes {
        Changes { root: self.root, nodes: self.changed }
    }

    fn add(&mut self, node: Node) -> NodeNumber {
        let number = self.root.next;
        self.root.next += 1;
        self.put(number, node);
        number
    }

    fn put(&mut self, number: NodeNumber, node: Node) {
        self.changed.insert(number, Some(node));
    }

    fn drop_node(&mut self, number: NodeNumber) {
        self.changed.insert(number, None);
    }

    /// A node, taken out to be changed and put back.
    fn take(&mut self, number: NodeNumber) -> Result<Node, N::Error> {
        match self.changed.remove(&number) {
            Some(Some(node)) => Ok(node),
            Some(None) => Err(self.nodes.misfit(number)),
            None => Ok(Arc::unwrap_or_clone(self.nodes.node(number)?)),
        }
    }

    /// Inserts an id below a node. `None` when it was there; else what had to be split off.
    fn insert_below(
        &mut self,
        number: NodeNumber,
        levels: u8,
        id: &RecordId,
    ) -> Result<Option<Option<Child>>, N::Error> {
        let kept = self.changed.contains_key(&number);
        let mut node = self.take(number)?;
        let grown_at = match (&mut node, levels.checked_sub(1)) {
            (Node::Leaf(ids), None) => match ids.binary_search(id) {
                Ok(_) => {
                    // What is as it was is not written again.
                    if kept {
                        self.put(number, node);
                    }
                    return Ok(None);
                }
                Err(at) => {
                    ids.insert(at, *id);
                    at
                }
            },
            (Node::Branch(children), Some(below)) => {
                let at = place(children, id);
                let Some(child) = children.get_mut(at) else {
                    return Err(self.nodes.misfit(number));
                };
                let Some(split) = self.insert_below(child.node, below, id)? else {
                    if kept {
                        self.put(number, node);
                    }
                    return Ok(None);
                };
                child.low = child.low.min(*id);
                child.sum = child.sum.plus(&Sum::of(id));
                match split {
                    None => 0,
                    Some(split) => {
                        child.sum = child.sum.minus(&split.sum);
                        children.insert(at + 1, split);
                        at + 1
                    }
                }
            }
            _ => return Err(self.nodes.misfit(number)),
        };
        let split = if node.len() > node.capacity() {
            let at = cut_point(&node, grown_at);
            node.split_off(at)
        } else {
            None
        };
        self.put(number, node);
        Ok(Some(split.map(|(low, rest)| {
            let sum = rest.sum();
            Child { low, sum, node: self.add(rest) }
        })))
    }

    /// Removes an id below a node; whether it was there.
    fn remove_below(
        &mut self,
        number: NodeNumber,
        levels: u8,
        id: &RecordId,
    ) -> Result<bool, N::Error> {
        let kept = self.changed.contains_key(&number);
        let mut node = self.take(number)?;
        let found = match (&mut node, levels.checked_sub(1)) {
            (Node::Leaf(ids), None) => match ids.binary_search(id) {
                Ok(at) => {
                    ids.remove(at);
                    true
                }
                Err(_) => false,
            },
            (Node::Branch(children), Some(below)) => {
                let at = place(children, id);
                let Some(child) = children.get_mut(at) else {
                    return Err(self.nodes.misfit(number));
                };
                let found = self.remove_below(child.node, below, id)?;
                if found {
                    child.sum = child.sum.minus(&Sum::of(id));
                    self.merge(children, at)?;
                }
                found
            }
            _ => return Err(self.nodes.misfit(number)),
        };
        if found || kept {
            self.put(number, node);
        }
        Ok(found)
    }

    /// Joins a child that has become small with the one beside it, and cuts the two evenly again
    /// when they are too large for one.
    fn merge(&mut self, children: &mut Vec<Child>, at: usize) -> Result<(), N::Error> {
        let small = self.take(children[at].node)?;
        let is_small = small.len() < small.capacity() / 4;
        self.put(children[at].node, small);
        let left = if at + 1 < children.len() { at } else { at.saturating_sub(1) };
        if !is_small || left + 1 >= children.len() {
            return Ok(());
        }
        let right = children.remove(left + 1);
        let more = self.take(right.node)?;
        let child = &mut children[left];
        let mut node = self.take(child.node)?;
        match (&mut node, more) {
            (Node::Leaf(ids), Node::Leaf(more)) => ids.extend(more),
            (Node::Branch(inner), Node::Branch(more)) => inner.extend(more),
            _ => return Err(self.nodes.misfit(right.node)),
        }
        child.sum = child.sum.plus(&right.sum);
        let half = node.len() / 2;
        match (node.len() > node.capacity()).then(|| node.split_off(half)).flatten() {
            Some((low, rest)) => {
                let sum = rest.sum();
                child.sum = child.sum.minus(&sum);
                self.put(child.node, node);
                self.put(right.node, rest);
                children.insert(left + 1, Child { low, sum, node: right.node });
            }
            None => {
                self.put(child.node, node);
                self.drop_node(right.node);
            }
        }
        Ok(())
    }
}
