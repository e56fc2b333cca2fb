//! A tree whose nodes are in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocm_record::RecordId;

use super::node::{Node, NodeNumber};
use super::update::{Changes, PastTheEnd, Update};
use super::{Nodes, Root, Tree};
use crate::set::Span;

/// A set of ids in memory. Insertion, removal, sums and positions each cost O(log n); an id takes
/// 40 to 90 bytes.
pub type SumTree = Tree<InMemory>;

/// Nodes that are kept in memory.
#[derive(Debug, Clone, Default)]
pub struct InMemory(BTreeMap<NodeNumber, Arc<Node>>);

/// The tree does not fit together: a fault of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node {0} of the tree is missing, or does not fit its place")]
pub struct TreeError(pub NodeNumber);

impl Nodes for InMemory {
    type Error = TreeError;

    fn node(&self, number: NodeNumber) -> Result<Arc<Node>, TreeError> {
        self.0.get(&number).cloned().ok_or(TreeError(number))
    }

    fn misfit(&self, number: NodeNumber) -> TreeError {
        TreeError(number)
    }
}

impl InMemory {
    fn write(&mut self, nodes: BTreeMap<NodeNumber, Option<Node>>) {
        for (number, node) in nodes {
            match node {
                Some(node) => self.0.insert(number, Arc::new(node)),
                None => self.0.remove(&number),
            };
        }
    }
}

impl Default for SumTree {
    fn default() -> Self {
        Self { root: Root::EMPTY, nodes: InMemory::default() }
    }
}

impl SumTree {
    /// Inserts an id; whether it was new.
    ///
    /// # Errors
    /// When no record can have this id; the set is as before.
    pub fn insert(&mut self, id: RecordId) -> Result<bool, PastTheEnd> {
        if id >= Span::end() {
            return Err(PastTheEnd(id));
        }
        Ok(self.update(|update| update.insert(&id)))
    }

    /// Removes an id; whether it was there.
    pub fn remove(&mut self, id: &RecordId) -> bool {
        self.update(|update| update.remove(id))
    }

    fn update(
        &mut self,
        change: impl FnOnce(&mut Update<&InMemory>) -> Result<bool, TreeError>,
    ) -> bool {
        let mut update = Update::new(self.root, &self.nodes);
        #[expect(clippy::expect_used, reason = "the nodes are this tree's own")]
        let changed = change(&mut update).expect("a tree in memory fits together");
        let Changes { root, nodes } = update.finish();
        self.root = root;
        self.nodes.write(nodes);
        changed
    }

    /// All ids in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = RecordId> {
        self.list(Span::all(), usize::MAX).into_iter().flatten()
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (Root, impl Nodes<Error = TreeError> + '_, usize) {
        (self.root, &self.nodes, self.nodes.0.len())
    }
}

/// Ids that no record can have are left out.
impl FromIterator<RecordId> for SumTree {
    fn from_iter<I: IntoIterator<Item = RecordId>>(ids: I) -> Self {
        let mut set = Self::default();
        for id in ids {
            // Past the end: no record has it.
            let _ = set.insert(id);
        }
        set
    }
}
