//! What is said about sets of ids: sums, and ranges.

use ocm_record::{RecordId, Time};

/// The sum of a part of a set: how many ids, and their values added up modulo 2^320. Sums form a
/// group: what was added can be taken away again, and what is left of two sums that differ by one
/// id is that id ([`Sum::only_beyond`]).
///
/// The *value* of an id is a number of 40 bytes, little-endian: its hash, and above that its time
/// plus the square of the hash's first 8 bytes (little-endian, modulo 2^64). The square makes the
/// sums of two ids and of a third that was taken away look like no id: its time is nowhere near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// Number of ids.
    pub count: u64,
    /// The sum of their values, 40 bytes little-endian.
    pub sum: [u8; 40],
}

impl Default for Sum {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// What hides a time in a value: the square of the first 8 bytes of the hash.
fn mask(lane: u64) -> u64 {
    lane.wrapping_mul(lane)
}

impl Sum {
    /// The sum of no ids.
    pub const EMPTY: Self = Self { count: 0, sum: [0; 40] };

    /// The sum of one id.
    #[must_use]
    pub fn of(id: &RecordId) -> Self {
        let mut sum = [0; 40];
        let [first, .., last] = sum.as_chunks_mut::<8>().0 else { return Self::EMPTY };
        let [time, hash, ..] = id.as_bytes().as_chunks::<8>().0 else { return Self::EMPTY };
        *first = *hash;
        let time = u64::from_be_bytes(*time).wrapping_add(mask(u64::from_le_bytes(*hash)));
        *last = time.to_le_bytes();
        sum[8..32].copy_from_slice(&id.as_bytes()[16..]);
        Self { count: 1, sum }
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

    /// The one id that the set of this sum has beyond that of `other`, if that is all in which they
    /// differ, and the id lies in `span`. What differs in more ids gives an id here once in
    /// 2^64 / (times in `span`) cases, unless somebody made the ids so on purpose.
    #[must_use]
    pub fn only_beyond(&self, other: &Self, span: &Span) -> Option<RecordId> {
        let rest = self.minus(other);
        if rest.count != 1 {
            return None;
        }
        let (hash, time) = rest.sum.split_first_chunk::<32>()?;
        let mask = mask(u64::from_le_bytes(*hash.first_chunk()?));
        let time = u64::from_le_bytes(*time.first_chunk()?).wrapping_sub(mask);
        Some(RecordId::from_parts(Time(time), *hash)).filter(|id| span.contains(id))
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

/// The bound with the fewest bytes between two ids that follow each other: above `last`, and not
/// above `next`. The time of `next` alone where the times differ, else as much of its hash as tells
/// the two apart.
pub(crate) fn shortest_bound(last: &RecordId, next: &RecordId) -> RecordId {
    if last.time() != next.time() {
        return RecordId::from_parts(next.time(), [0; 32]);
    }
    let (low, high) = (last.hash(), next.hash());
    let shared = low.iter().zip(&high).take_while(|(a, b)| a == b).count();
    let prefix = (shared + 1).min(32);
    let mut hash = [0; 32];
    hash[..prefix].copy_from_slice(&high[..prefix]);
    RecordId::from_parts(next.time(), hash)
}

/// The lowest id above this one; itself when there is none.
#[must_use]
pub fn successor(id: &RecordId) -> RecordId {
    let mut bytes = *id.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (next, carried) = byte.overflowing_add(1);
        *byte = next;
        if !carried {
            return RecordId::from_bytes(bytes);
        }
    }
    *id
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(bytes: [u8; 40], n: u32) -> Sum {
        Sum { count: u64::from(n), sum: bytes }
    }

    fn any_id() -> impl Strategy<Value = RecordId> {
        (0u64..1 << 20, any::<[u8; 32]>())
            .prop_map(|(time, hash)| RecordId::from_parts(Time(time), hash))
    }

    proptest! {
        #[test]
        fn sums_form_a_group(a in any::<[u8; 40]>(), b in any::<[u8; 40]>(), n: u32, m: u32) {
            let (a, b) = (sum(a, n), sum(b, m));
            prop_assert_eq!(a.plus(&b), b.plus(&a));
            prop_assert_eq!(a.plus(&b).minus(&b), a);
            prop_assert_eq!(a.minus(&a), Sum::EMPTY);
        }

        #[test]
        fn one_id_more_is_that_id(ids in prop::collection::vec(any_id(), 1..20)) {
            let of = |ids: &[RecordId]| ids.iter().fold(Sum::EMPTY, |sum, id| sum.plus(&Sum::of(id)));
            let (rest, all) = (of(&ids[1..]), of(&ids));
            let span = Span { from: RecordId::MIN, to: RecordId::from_parts(Time(1 << 20), [0; 32]) };
            prop_assert_eq!(all.only_beyond(&rest, &span), Some(ids[0]));
            prop_assert_eq!(rest.only_beyond(&all, &span), None);
            prop_assert_eq!(all.only_beyond(&all, &span), None);
            let below = Span { from: RecordId::MIN, to: ids[0] };
            prop_assert_eq!(all.only_beyond(&rest, &below), None, "not in the range");
        }

        /// Two more and one less: the count is that of one id more.
        #[test]
        fn what_differs_in_more_looks_like_no_id(a in any_id(), b in any_id(), c in any_id()) {
            prop_assume!(a != c && b != c);
            let span = Span { from: RecordId::MIN, to: RecordId::from_parts(Time(1 << 20), [0; 32]) };
            let more = Sum::of(&a).plus(&Sum::of(&b));
            prop_assert_eq!(more.only_beyond(&Sum::of(&c), &span), None);
        }
    }

    #[test]
    fn carries_run_through_every_lane_and_out_of_the_last() {
        let one = {
            let mut one = [0; 40];
            one[0] = 1;
            sum(one, 1)
        };
        let all = sum([0xff; 40], 1);
        assert_eq!(all.plus(&one), sum([0; 40], 2));
        assert_eq!(sum([0; 40], 2).minus(&one), all);
    }

    #[test]
    fn the_shortest_bound_parts_two_ids() {
        let id = |time, hash: [u8; 2]| {
            let mut whole = [0; 32];
            whole[..2].copy_from_slice(&hash);
            RecordId::from_parts(Time(time), whole)
        };
        for (last, next, bound) in [
            (id(1, [9, 9]), id(2, [7, 0]), id(2, [0, 0])),
            (id(1, [1, 9]), id(1, [2, 3]), id(1, [2, 0])),
            (id(1, [1, 1]), id(1, [1, 2]), id(1, [1, 2])),
        ] {
            assert_eq!(shortest_bound(&last, &next), bound);
            assert!(last < bound && bound <= next);
        }
    }
}
