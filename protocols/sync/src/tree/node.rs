//! The nodes of a tree, and their bytes.

use ocm_record::RecordId;

use crate::set::{Sum, shortest_bound};

/// Ids in a leaf, at most: what one more id writes anew stays small.
pub(super) const LEAF: usize = 64;
/// Children of a branch, at most.
pub(super) const BRANCH: usize = 32;

const ID_BYTES: usize = 40;
const CHILD_BYTES: usize = ID_BYTES + 8 + 40 + 8;

/// Names a node of one tree.
pub type NodeNumber = u64;

/// A node of a tree.
///
/// Its bytes: 0, then ids of 40 bytes; or 1, then children of 96 bytes: low, count, sum of 40 bytes,
/// number. Integers have 8 bytes, big-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Ids, ascending.
    Leaf(Vec<RecordId>),
    /// Parts of the set, ascending; at least one.
    Branch(Vec<Child>),
}

/// A part of the set, below a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// At most the lowest id in it, and above every id of the part before: when it is made, the
    /// bound with the fewest bytes on the wire.
    pub low: RecordId,
    /// Its sum.
    pub sum: Sum,
    /// Its uppermost node.
    pub node: NodeNumber,
}

/// The child in which `id` belongs.
pub(super) fn place(children: &[Child], id: &RecordId) -> usize {
    children.partition_point(|child| child.low <= *id).saturating_sub(1)
}

impl Node {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(ids) => ids.len(),
            Self::Branch(children) => children.len(),
        }
    }

    pub(super) const fn capacity(&self) -> usize {
        match self {
            Self::Leaf(_) => LEAF,
            Self::Branch(_) => BRANCH,
        }
    }

    pub(super) fn sum(&self) -> Sum {
        match self {
            Self::Leaf(ids) => ids.iter().fold(Sum::EMPTY, |sum, id| sum.plus(&Sum::of(id))),
            Self::Branch(children) => {
                children.iter().fold(Sum::EMPTY, |sum, child| sum.plus(&child.sum))
            }
        }
    }

    /// Cuts off everything from `at` on: the rest, and a bound between the two.
    pub(super) fn split_off(&mut self, at: usize) -> Option<(RecordId, Self)> {
        Some(match self {
            Self::Leaf(ids) => {
                let low = match (ids.get(..at)?.last(), ids.get(at)?) {
                    (Some(last), next) => shortest_bound(last, next),
                    (None, first) => *first,
                };
                (low, Self::Leaf(ids.split_off(at)))
            }
            Self::Branch(children) => (children.get(at)?.low, Self::Branch(children.split_off(at))),
        })
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Leaf(ids) => {
                let mut bytes = Vec::with_capacity(1 + ids.len() * ID_BYTES);
                bytes.push(0);
                ids.iter().for_each(|id| bytes.extend_from_slice(id.as_bytes()));
                bytes
            }
            Self::Branch(children) => {
                let mut bytes = Vec::with_capacity(1 + children.len() * CHILD_BYTES);
                bytes.push(1);
                for Child { low, sum, node } in children {
                    bytes.extend_from_slice(low.as_bytes());
                    bytes.extend_from_slice(&sum.count.to_be_bytes());
                    bytes.extend_from_slice(&sum.sum);
                    bytes.extend_from_slice(&node.to_be_bytes());
                }
                bytes
            }
        }
    }

    /// Reads what [`Self::encode`] wrote; `None` when the bytes are no node.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, bytes) = bytes.split_first()?;
        match form {
            0 => {
                let (ids, rest) = bytes.as_chunks::<ID_BYTES>();
                let ids: Vec<_> = ids.iter().map(|id| RecordId::from_bytes(*id)).collect();
                (rest.is_empty() && ids.is_sorted_by(|a, b| a < b)).then_some(Self::Leaf(ids))
            }
            1 => {
                let (children, rest) = bytes.as_chunks::<CHILD_BYTES>();
                let children: Vec<_> = children.iter().map(Child::decode).collect();
                let sound = rest.is_empty()
                    && !children.is_empty()
                    && children.is_sorted_by(|a, b| a.low < b.low);
                sound.then_some(Self::Branch(children))
            }
            _ => None,
        }
    }
}

impl Child {
    fn decode(bytes: &[u8; CHILD_BYTES]) -> Self {
        let (mut low, mut count, mut sum, mut node) = ([0; ID_BYTES], [0; 8], [0; 40], [0; 8]);
        low.copy_from_slice(&bytes[..40]);
        count.copy_from_slice(&bytes[40..48]);
        sum.copy_from_slice(&bytes[48..88]);
        node.copy_from_slice(&bytes[88..]);
        let sum = Sum { count: u64::from_be_bytes(count), sum };
        Self { low: RecordId::from_bytes(low), sum, node: u64::from_be_bytes(node) }
    }
}
