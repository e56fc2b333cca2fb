//! A hash of a set that follows insertions and removals.

use ocm_record::RecordId;
use sha2::{Digest, Sha256};

/// LtHash (Lewi et al., "Securing Update Propagation with Homomorphic Hashing", 2019): each member
/// gives a row of 16-bit lanes, and the set's hash is their sum, lane by lane, modulo 2^16. The
/// order of arrival leaves no trace, and members cannot be chosen to make two sets collide as they
/// can with plain sums.
///
/// The protocol's width is 1,024 lanes ([`SetHash`]); narrower ones are for tests, and hashes of
/// different widths are not comparable. Specified in `protocols/README.md`, section 10.
#[derive(Clone, PartialEq, Eq)]
pub struct LtHash<const LANES: usize>(Box<[u16; LANES]>);

/// The width that the protocol uses: 2 KiB.
pub type SetHash = LtHash<1024>;

/// The bytes are no LtHash of this width: the state they were read from is damaged and is to be
/// built again from the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a set hash of this width has {expected} bytes, this has {found}: rebuild it")]
pub struct LtHashError {
    /// Bytes a hash of this width has.
    pub expected: usize,
    /// Bytes there were.
    pub found: usize,
}

impl<const LANES: usize> Default for LtHash<LANES> {
    fn default() -> Self {
        Self(Box::new([0; LANES]))
    }
}

impl<const LANES: usize> LtHash<LANES> {
    /// The hash of the empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn combine(&mut self, id: &RecordId, with: fn(u16, u16) -> u16) {
        let mut output = blake3::Hasher::new().update(id.as_bytes()).finalize_xof();
        // Many blocks at once are made side by side.
        let mut block = [0; 1024];
        for lanes in self.0.chunks_mut(block.len() / 2) {
            output.fill(&mut block);
            for (lane, bytes) in lanes.iter_mut().zip(block.as_chunks::<2>().0) {
                *lane = with(*lane, u16::from_le_bytes(*bytes));
            }
        }
    }

    /// Adds a member. To be called once for each: a set hash counts.
    pub fn add(&mut self, id: &RecordId) {
        self.combine(id, u16::wrapping_add);
    }

    /// Takes away a member that was added.
    pub fn remove(&mut self, id: &RecordId) {
        self.combine(id, u16::wrapping_sub);
    }

    /// Adds all members of a set that has none in common with this.
    pub fn merge(&mut self, other: &Self) {
        for (lane, more) in self.0.iter_mut().zip(other.0.iter()) {
            *lane = lane.wrapping_add(*more);
        }
    }

    /// SHA-256 of the lanes: what peers compare.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }

    /// The lanes, little-endian, two bytes each.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 2 * LANES];
        for (bytes, lane) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(self.0.iter()) {
            *bytes = lane.to_le_bytes();
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the length is another.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LtHashError> {
        if bytes.len() != 2 * LANES {
            return Err(LtHashError { expected: 2 * LANES, found: bytes.len() });
        }
        let mut hash = Self::default();
        for (lane, bytes) in hash.0.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *lane = u16::from_le_bytes(*bytes);
        }
        Ok(hash)
    }
}

impl<const LANES: usize> std::fmt::Debug for LtHash<LANES> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digest = self.digest();
        write!(
            f,
            "LtHash<{LANES}>({:02x}{:02x}{:02x}{:02x}…)",
            digest[0], digest[1], digest[2], digest[3]
        )
    }
}

#[cfg(test)]
mod tests {
    use ocm_record::Time;
    use proptest::prelude::*;

    use super::*;
    use crate::tree::SumTree;

    fn id(n: u64) -> RecordId {
        RecordId::from_parts(Time(n), [n as u8; 32])
    }

    #[test]
    fn the_lanes_are_the_extendable_output_of_blake3() {
        let mut hash = SetHash::new();
        hash.add(&id(7));
        let mut lanes = [0; 2048];
        blake3::Hasher::new().update(id(7).as_bytes()).finalize_xof().fill(&mut lanes);
        assert_eq!(hash.to_bytes(), lanes);
        assert_eq!(hash.digest(), <[u8; 32]>::from(Sha256::digest(lanes)));
    }

    proptest! {
        #[test]
        fn the_order_leaves_no_trace(ids in prop::collection::btree_set(0u64..1000, 0..40), cut: prop::sample::Index) {
            let ids: Vec<u64> = ids.into_iter().collect();
            let mut forward = SetHash::new();
            ids.iter().for_each(|n| forward.add(&id(*n)));
            let mut backward = SetHash::new();
            backward.add(&id(2000));
            ids.iter().rev().for_each(|n| backward.add(&id(*n)));
            prop_assert_ne!(&forward, &backward);
            backward.remove(&id(2000));
            prop_assert_eq!(&forward, &backward);

            let (left, right) = ids.split_at(cut.index(ids.len() + 1));
            let mut merged = SetHash::new();
            left.iter().for_each(|n| merged.add(&id(*n)));
            let mut other = SetHash::new();
            right.iter().for_each(|n| other.add(&id(*n)));
            merged.merge(&other);
            prop_assert_eq!(&forward, &merged);
            prop_assert_eq!(SetHash::from_bytes(&forward.to_bytes()), Ok(forward));
        }
    }

    #[test]
    fn sets_of_equal_sums_are_told_apart() {
        let hash = |last: u8| {
            let mut hash = [0; 32];
            hash[31] = last;
            RecordId::from_parts(Time(5), hash)
        };
        let (one, other) = ([hash(1), hash(4)], [hash(2), hash(3)]);
        let sum = |ids: [RecordId; 2]| ids.into_iter().collect::<SumTree>().total();
        assert_eq!(sum(one), sum(other), "built to collide");
        let narrow = |ids: &[RecordId]| {
            let mut set = LtHash::<4>::new();
            ids.iter().for_each(|id| set.add(id));
            set.digest()
        };
        assert_ne!(narrow(&one), narrow(&other));
    }

    #[test]
    fn another_length_is_refused() {
        assert_eq!(
            SetHash::from_bytes(&[0; 2047]),
            Err(LtHashError { expected: 2048, found: 2047 })
        );
    }
}
