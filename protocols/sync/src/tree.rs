//! The ordered set as a B+ tree of sums: every branch knows the sums of its children, so that the
//! sum and the count of any range cost O(log n).
//!
//! A tree is a [`Root`] and nodes that are found by their numbers, wherever they are kept
//! ([`Nodes`]). [`Tree`] reads it; [`Update`] changes it, and says at its end which nodes became
//! what. [`SumTree`] keeps the nodes in memory. Trees split by count and never by key, so that
//! made-up times unbalance nothing.

mod memory;
mod node;
#[cfg(test)]
mod tests;
mod update;
mod walk;

use std::sync::Arc;

use ocm_record::RecordId;

pub use self::memory::{InMemory, SumTree, TreeError};
pub use self::node::{Child, Node, NodeNumber};
pub use self::update::{Changes, PastTheEnd, Update};
pub(crate) use self::walk::Walk;
use crate::set::{Span, Sum};

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

/// A set of record ids in their order, which knows the sum of any range without visiting it. What
/// is read of it is one unchanging set as long as it is borrowed.
///
/// Every method fails when the nodes on its way cannot be read.
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

    /// The sum of the whole set.
    #[must_use]
    pub fn total(&self) -> Sum {
        self.root.sum
    }

    /// The number of ids.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.root.sum.count
    }

    /// Whether there are no ids.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[cfg(test)]
    pub(crate) fn nodes(&self) -> &N {
        &self.nodes
    }

    /// A way through it, from the first id on.
    pub(crate) fn walk(&self) -> Walk<'_, N> {
        Walk::new(self.root, &self.nodes)
    }

    /// The sum of all ids below `bound`.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn before(&self, bound: &RecordId) -> Result<Sum, N::Error> {
        self.walk().before(bound)
    }

    /// The first ids of a range in ascending order, `limit` at most.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn list(&self, span: Span, limit: usize) -> Result<Vec<RecordId>, N::Error> {
        self.walk().list(span, limit)
    }

    /// Whether `id` is in the set.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn contains(&self, id: &RecordId) -> Result<bool, N::Error> {
        self.walk().contains(id)
    }

    /// The id at a position counted from the lowest, from 0; `None` past the last.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn at(&self, position: u64) -> Result<Option<RecordId>, N::Error> {
        self.walk().at(position)
    }

    /// The last id.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn last(&self) -> Result<Option<RecordId>, N::Error> {
        match self.len().checked_sub(1) {
            Some(last) => self.walk().at(last),
            None => Ok(None),
        }
    }
}
