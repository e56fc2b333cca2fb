//! The seam between reconciliation and whatever keeps the ids.

use ocm_record::{RecordId, Time};
use sha2::{Digest, Sha256};

/// The sum of a part of a set: how many ids, and their 32-byte hashes added up as little-endian
/// integers modulo 2^256, as in negentropy protocol version 1. Sums form a group: what was added
/// can be taken away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Number of ids.
    pub count: u64,
    /// The hashes' sum, 32 bytes little-endian.
    pub sum: [u8; 32],
}

impl Sum {
    /// The sum of no ids.
    pub const EMPTY: Self = Self { count: 0, sum: [0; 32] };

    /// The sum of one id.
    #[must_use]
    pub fn of(id: &RecordId) -> Self {
        Self { count: 1, sum: id.hash() }
    }

    /// This and `other` together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        let mut carry = false;
        for (a, b) in self.sum.as_chunks_mut::<8>().0.iter_mut().zip(other.sum.as_chunks::<8>().0) {
            let (sum, c1) = u64::from_le_bytes(*a).overflowing_add(u64::from_le_bytes(*b));
            let (sum, c2) = sum.overflowing_add(u64::from(carry));
            carry = c1 | c2;
            *a = sum.to_le_bytes();
        }
        self.count = self.count.wrapping_add(other.count);
        self
    }

    /// This without `other`.
    #[must_use]
    pub fn minus(mut self, other: &Self) -> Self {
        let mut borrow = false;
        for (a, b) in self.sum.as_chunks_mut::<8>().0.iter_mut().zip(other.sum.as_chunks::<8>().0) {
            let (rest, b1) = u64::from_le_bytes(*a).overflowing_sub(u64::from_le_bytes(*b));
            let (rest, b2) = rest.overflowing_sub(u64::from(borrow));
            borrow = b1 | b2;
            *a = rest.to_le_bytes();
        }
        self.count = self.count.wrapping_sub(other.count);
        self
    }

    /// What stands for the ids on the wire: the first 16 bytes of SHA-256 over the sum and the
    /// count as a varint (`protocols/README.md`, section 10).
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut hash = Sha256::new_with_prefix(self.sum);
        let mut count = Vec::with_capacity(10);
        crate::reconcile::write_varint(&mut count, self.count);
        hash.update(&count);
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&hash.finalize()[..16]);
        fingerprint
    }
}

/// A range of ids: from `from` on, and below `to`. Empty when `to` is not above `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first id that can lie in it.
    pub from: RecordId,
    /// The first id past it.
    pub to: RecordId,
}

impl Span {
    /// Every id that a record can have.
    #[must_use]
    pub fn all() -> Self {
        Self { from: RecordId::MIN, to: Self::end() }
    }

    /// The first id that no record can have: time 2^64-1, the infinity of reconciliation.
    #[must_use]
    pub fn end() -> RecordId {
        RecordId::from_parts(Time(u64::MAX), [0; 32])
    }

    /// Whether `id` lies in it.
    #[must_use]
    pub fn contains(&self, id: &RecordId) -> bool {
        (self.from..self.to).contains(id)
    }
}

/// A set of record ids in their order, which knows the sum of any range without visiting it.
///
/// Positions count ids from the lowest, from 0. Trees behind this seam split by count and never by
/// key, so that made-up times unbalance nothing. All methods see one unchanging set as long as the
/// borrow lasts.
pub trait OrderedSet {
    /// Why the set cannot be read: nothing, for a set in memory.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The sum of all ids below `bound`; its count is the position of `bound`.
    ///
    /// # Errors
    /// When the set cannot be read.
    fn before(&self, bound: &RecordId) -> Result<Sum, Self::Error>;

    /// The id at a position, `None` past the last.
    ///
    /// # Errors
    /// When the set cannot be read.
    fn at(&self, position: u64) -> Result<Option<RecordId>, Self::Error>;

    /// The first ids of a range in ascending order, `limit` at most.
    ///
    /// # Errors
    /// When the set cannot be read.
    fn list(&self, span: Span, limit: usize) -> Result<Vec<RecordId>, Self::Error>;

    /// Whether `id` is in the set.
    ///
    /// # Errors
    /// When the set cannot be read.
    fn contains(&self, id: &RecordId) -> Result<bool, Self::Error>;

    /// The number of ids.
    ///
    /// # Errors
    /// When the set cannot be read.
    fn len(&self) -> Result<u64, Self::Error> {
        Ok(self.before(&Span::end())?.count)
    }

    /// Whether there are no ids.
    ///
    /// # Errors
    /// When the set cannot be read.
    fn is_empty(&self) -> Result<bool, Self::Error> {
        Ok(self.len()? == 0)
    }

    /// The sum of a range.
    ///
    /// # Errors
    /// When the set cannot be read.
    fn sum(&self, span: Span) -> Result<Sum, Self::Error> {
        if span.to <= span.from {
            return Ok(Sum::EMPTY);
        }
        Ok(self.before(&span.to)?.minus(&self.before(&span.from)?))
    }

    /// The id at a position counted from the start of a range, `None` when the range has no such.
    ///
    /// # Errors
    /// When the set cannot be read.
    fn select(&self, span: Span, position: u64) -> Result<Option<RecordId>, Self::Error> {
        let Some(position) = self.before(&span.from)?.count.checked_add(position) else {
            return Ok(None);
        };
        Ok(self.at(position)?.filter(|id| *id < span.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_form_a_group(a: [u8; 32], b: [u8; 32], n: u32, m: u32) {
            let a = Sum { count: u64::from(n), sum: a };
            let b = Sum { count: u64::from(m), sum: b };
            prop_assert_eq!(a.plus(&b), b.plus(&a));
            prop_assert_eq!(a.plus(&b).minus(&b), a);
            prop_assert_eq!(a.minus(&a), Sum::EMPTY);
        }
    }

    #[test]
    fn carries_run_through_every_lane_and_out_of_the_last() {
        let one = {
            let mut one = [0; 32];
            one[0] = 1;
            Sum { count: 1, sum: one }
        };
        let all = Sum { count: 1, sum: [0xff; 32] };
        assert_eq!(all.plus(&one), Sum { count: 2, sum: [0; 32] });
        assert_eq!(Sum { count: 2, sum: [0; 32] }.minus(&one), all);
    }
}
