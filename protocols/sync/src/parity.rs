//! Are two replicas of a space equal?

use serde::{Deserialize, Serialize};

use crate::lthash::SetHash;
use crate::message::Hash;

/// What one replica stores of one set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(u64, Hash)", into = "(u64, Hash)")]
pub struct SetDigest {
    /// Number of records.
    pub count: u64,
    /// [`LtHash::digest`](crate::LtHash::digest) of their ids.
    pub digest: [u8; 32],
}

/// What one replica stores of a space, uncut: counts and digests, not what is shown of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(SetDigest, SetDigest, u64)", into = "(SetDigest, SetDigest, u64)")]
pub struct Parity {
    /// The authority set.
    pub authority: SetDigest,
    /// The content set.
    pub content: SetDigest,
    /// Records whose body is not stored.
    pub missing_bodies: u64,
}

impl From<(u64, Hash)> for SetDigest {
    fn from((count, digest): (u64, Hash)) -> Self {
        Self { count, digest: digest.into_array() }
    }
}

impl From<SetDigest> for (u64, Hash) {
    fn from(set: SetDigest) -> Self {
        (set.count, Hash::new(set.digest))
    }
}

impl From<(SetDigest, SetDigest, u64)> for Parity {
    fn from((authority, content, missing_bodies): (SetDigest, SetDigest, u64)) -> Self {
        Self { authority, content, missing_bodies }
    }
}

impl From<Parity> for (SetDigest, SetDigest, u64) {
    fn from(parity: Parity) -> Self {
        (parity.authority, parity.content, parity.missing_bodies)
    }
}

impl Parity {
    /// What shows that a statement is false, whatever its maker stores: one set has one digest and
    /// one count.
    #[must_use]
    pub fn contradiction(&self, ours: &Self) -> Option<Contradiction> {
        let empty = SetHash::new().digest();
        let of = |theirs: &SetDigest, ours: &SetDigest| {
            let same = theirs.digest == ours.digest && theirs.count != ours.count;
            let nothing = (theirs.count == 0) != (theirs.digest == empty);
            (same || nothing).then_some(Contradiction)
        };
        of(&self.authority, &ours.authority).or_else(|| of(&self.content, &ours.content))
    }
}

/// The counts and digests of a statement cannot belong to the same sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its statement of parity contradicts itself: its counts are not those of its digests")]
pub struct Contradiction;

/// How two replicas compare. Counts tell how far apart they are at least: sets of one size can
/// differ too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Both sets are equal, and so is the number of missing bodies.
    Equal,
    /// The authority sets differ; nothing is stated about the content, because what belongs in it
    /// may hang on the difference.
    AuthorityDiffers {
        /// Authority records here.
        ours: u64,
        /// Authority records there.
        theirs: u64,
    },
    /// The authority sets are equal and the content sets differ.
    ContentDiffers {
        /// Content records here.
        ours: u64,
        /// Content records there.
        theirs: u64,
    },
    /// Both sets are equal, but one side lacks bodies that the other may have.
    BodiesDiffer {
        /// Missing here.
        ours: u64,
        /// Missing there.
        theirs: u64,
    },
}

/// Compares what two replicas store. Says nothing about a peer that lies: one that echoes our own
/// digests is equal to us by this. Between peers that support different kinds the result is to be
/// shown as not comparable.
#[must_use]
pub fn compare(ours: &Parity, theirs: &Parity) -> Comparison {
    if ours.authority != theirs.authority {
        let (ours, theirs) = (ours.authority.count, theirs.authority.count);
        Comparison::AuthorityDiffers { ours, theirs }
    } else if ours.content != theirs.content {
        let (ours, theirs) = (ours.content.count, theirs.content.count);
        Comparison::ContentDiffers { ours, theirs }
    } else if ours.missing_bodies != theirs.missing_bodies {
        let (ours, theirs) = (ours.missing_bodies, theirs.missing_bodies);
        Comparison::BodiesDiffer { ours, theirs }
    } else {
        Comparison::Equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_are_not_those_of_their_digests_are_told() {
        let empty = SetDigest { count: 0, digest: SetHash::new().digest() };
        let set = |count| SetDigest { count, digest: [4; 32] };
        let ours = Parity { authority: set(3), content: set(3), missing_bodies: 0 };
        let lies = |theirs: Parity| theirs.contradiction(&ours).is_some();
        assert!(!lies(ours));
        assert!(!lies(Parity { content: empty, ..ours }));
        assert!(!lies(Parity { content: SetDigest { count: 3, digest: [5; 32] }, ..ours }));
        assert!(lies(Parity { content: set(4), ..ours }));
        assert!(lies(Parity { authority: set(2), ..ours }));
        assert!(lies(Parity { content: SetDigest { count: 1, ..empty }, ..ours }));
        assert!(lies(Parity { authority: SetDigest { count: 0, digest: [4; 32] }, ..ours }));
    }

    #[test]
    fn content_is_compared_only_under_equal_authority() {
        let set = |count, byte| SetDigest { count, digest: [byte; 32] };
        let ours = Parity { authority: set(2, 1), content: set(9, 2), missing_bodies: 0 };
        assert_eq!(compare(&ours, &ours), Comparison::Equal);
        let other_authority = Parity { authority: set(2, 7), content: set(1, 1), ..ours };
        assert_eq!(
            compare(&ours, &other_authority),
            Comparison::AuthorityDiffers { ours: 2, theirs: 2 }
        );
        let other_content = Parity { content: set(8, 3), missing_bodies: 1, ..ours };
        assert_eq!(
            compare(&ours, &other_content),
            Comparison::ContentDiffers { ours: 9, theirs: 8 }
        );
        let other_bodies = Parity { missing_bodies: 1, ..ours };
        assert_eq!(compare(&ours, &other_bodies), Comparison::BodiesDiffer { ours: 0, theirs: 1 });
    }
}
