//! The ordered set as a B+ tree of sums: every branch knows the sums of its children, so that the
//! sum and the count of any range cost O(log n).
//!
//! A tree is a [`Root`] and nodes that are found by their numbers, wherever they are kept
//! ([`Nodes`]). [`Tree`] reads it; [`Update`] changes it, and says at its end which nodes became
//! what. [`SumTree`] keeps the nodes in memory.

mod memory;
mod node;
#[cfg(test)]
mod tests;
mod update;

use std::sync::Arc;

use ocm_record::RecordId;

pub use self::memory::{SumTree, TreeError};
pub use self::node::{Child, Node, NodeNumber};
pub use self::update::{Changes, PastTheEnd, Update};
use crate::set::{OrderedSet, Span, Sum};

/// Where a tree begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// The uppermost node; none of an empty tree that never had one.
    pub node: Option<NodeNumber>,
    /// Levels of branches above the leaves, at most [`Root::LEVELS`].
    pub levels: u8,
    /// The number of the next new node. Numbers are never used again, so that new nodes lie behind
    /// all others.
    pub next: NodeNumber,
    /// The sum of the whole set.
    pub sum: Sum,
}

impl Root {
    /// The empty tree.
    pub const EMPTY: Self = Self { node: None, levels: 0, next: 0, sum: Sum::EMPTY };
    /// No tree has more levels: a branch has at least two children when it is made.
    pub const LEVELS: u8 = 64;
}

/// Where the nodes of a tree are kept.
pub trait Nodes {
    /// Why a node cannot be had.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The node of this number.
    ///
    /// # Errors
    /// When it cannot be read, or is missing.
    fn node(&self, number: NodeNumber) -> Result<Arc<Node>, Self::Error>;

    /// What is wrong when a node does not fit its place in the tree.
    fn misfit(&self, number: NodeNumber) -> Self::Error;
}

impl<N: Nodes + ?Sized> Nodes for &N {
    type Error = N::Error;

    fn node(&self, number: NodeNumber) -> Result<Arc<Node>, Self::Error> {
        (**self).node(number)
    }

    fn misfit(&self, number: NodeNumber) -> Self::Error {
        (**self).misfit(number)
    }
}

/// A tree that is read.
#[derive(Debug, Clone, Copy)]
pub struct Tree<N> {
    root: Root,
    nodes: N,
}

impl<N: Nodes> Tree<N> {
    /// The tree that begins at `root`, among `nodes` that do not change while it is read.
    pub const fn new(root: Root, nodes: N) -> Self {
        Self { root, nodes }
    }

    /// Follows the tree down from its root: `down` chooses a child of each branch, or none.
    fn descend(
        &self,
        mut down: impl FnMut(&[Child]) -> Option<usize>,
    ) -> Result<Option<Arc<Node>>, N::Error> {
        let Some(mut number) = self.root.node else { return Ok(None) };
        for _ in 0..self.root.levels {
            let node = self.nodes.node(number)?;
            let Node::Branch(children) = &*node else { return Err(self.nodes.misfit(number)) };
            let Some(at) = down(children) else { return Ok(None) };
            number = children.get(at).ok_or_else(|| self.nodes.misfit(number))?.node;
        }
        Ok(Some(self.leaf(number)?))
    }

    fn leaf(&self, number: NodeNumber) -> Result<Arc<Node>, N::Error> {
        let node = self.nodes.node(number)?;
        match &*node {
            Node::Leaf(_) => Ok(node),
            Node::Branch(_) => Err(self.nodes.misfit(number)),
        }
    }

    /// The last id.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn last(&self) -> Result<Option<RecordId>, N::Error> {
        match self.root.sum.count.checked_sub(1) {
            Some(last) => self.at(last),
            None => Ok(None),
        }
    }

    /// Adds the ids of a span below a node, until there are `limit`.
    fn collect(
        &self,
        number: NodeNumber,
        levels: u8,
        span: Span,
        limit: usize,
        found: &mut Vec<RecordId>,
    ) -> Result<(), N::Error> {
        let node = self.nodes.node(number)?;
        match (&*node, levels.checked_sub(1)) {
            (Node::Leaf(ids), None) => {
                let first = ids.partition_point(|id| *id < span.from);
                let inside = ids[first..].iter().take_while(|id| **id < span.to);
                found.extend(inside.take(limit - found.len()));
            }
            (Node::Branch(children), Some(below)) => {
                let first = node::place(children, &span.from);
                for child in children[first..].iter().take_while(|child| child.low < span.to) {
                    if found.len() >= limit {
                        break;
                    }
                    self.collect(child.node, below, span, limit, found)?;
                }
            }
            _ => return Err(self.nodes.misfit(number)),
        }
        Ok(())
    }
}

impl<N: Nodes> OrderedSet for Tree<N> {
    type Error = N::Error;

    fn before(&self, bound: &RecordId) -> Result<Sum, N::Error> {
        if *bound >= Span::end() {
            return Ok(self.root.sum);
        }
        let mut sum = Sum::EMPTY;
        let leaf = self.descend(|children| {
            let at = node::place(children, bound);
            sum = children[..at].iter().fold(sum, |sum, child| sum.plus(&child.sum));
            Some(at)
        })?;
        let ids = leaf.as_deref().map_or(&[][..], Node::ids);
        let below = &ids[..ids.partition_point(|id| id < bound)];
        Ok(below.iter().fold(sum, |sum, id| sum.plus(&Sum::of(id))))
    }

    fn at(&self, mut position: u64) -> Result<Option<RecordId>, N::Error> {
        let leaf = self.descend(|children| {
            children.iter().position(|child| {
                let inside = position < child.sum.count;
                position -= if inside { 0 } else { child.sum.count };
                inside
            })
        })?;
        let ids = leaf.as_deref().map_or(&[][..], Node::ids);
        Ok(usize::try_from(position).ok().and_then(|at| ids.get(at).copied()))
    }

    fn list(&self, span: Span, limit: usize) -> Result<Vec<RecordId>, N::Error> {
        let mut found = Vec::new();
        if let Some(node) = self.root.node {
            self.collect(node, self.root.levels, span, limit, &mut found)?;
        }
        Ok(found)
    }

    fn contains(&self, id: &RecordId) -> Result<bool, N::Error> {
        let leaf = self.descend(|children| Some(node::place(children, id)))?;
        Ok(leaf.is_some_and(|leaf| leaf.ids().binary_search(id).is_ok()))
    }
}
