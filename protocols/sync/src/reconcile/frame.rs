//! A message being written, range by range, within its limits.

use ocm_record::RecordId;

use super::wire::{FORM, LIST, SKIP, SPLIT, SUM};
use crate::limits;
use crate::set::{Span, Sum};

/// Bytes of a bound and its mode, at most.
const RANGE: usize = 10 + 1 + 32 + 1;
/// Bytes of a range with a sum, at most.
const SUM_RANGE: usize = RANGE + 10 + 40;
/// Bytes of a range with a list, at most, and of each id in it.
const LIST_RANGE: usize = RANGE + 3;
const LISTED: usize = 10 + 32;
/// What is always kept free: a skip, and the sum of everything behind it.
const RESERVED_BYTES: usize = RANGE + SUM_RANGE;
const RESERVED_RANGES: usize = 2;

/// A message being written. Each method skips to its range, and writes nothing where that has no
/// room beside what is kept free for [`Frame::close`].
pub(super) struct Frame {
    bytes: Vec<u8>,
    limit: usize,
    bound: RecordId,
    ranges: usize,
    ids: usize,
}

impl Frame {
    /// An empty message of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.clamp(limits::RECONCILE_BYTES_MIN, limits::RECONCILE_BYTES);
        Self { bytes: vec![FORM], limit, bound: RecordId::MIN, ranges: 0, ids: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges == 0
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len() + RESERVED_BYTES)
    }

    fn ranges_left(&self) -> usize {
        limits::RANGES.saturating_sub(self.ranges + RESERVED_RANGES)
    }

    /// The sums for which there is room, behind a skip.
    pub(super) fn room_for_sums(&self) -> u64 {
        let bytes = self.room().saturating_sub(RANGE) / SUM_RANGE;
        bytes.min(self.ranges_left().saturating_sub(1)) as u64
    }

    /// The ids for which there is room in one list, behind a skip.
    pub(super) fn room_for_ids(&self) -> u64 {
        if self.ranges_left() < 2 {
            return 0;
        }
        let bytes = self.room().saturating_sub(RANGE + LIST_RANGE) / LISTED;
        bytes.min(limits::LISTED_IDS.saturating_sub(self.ids)) as u64
    }

    fn bound(&mut self, to: &RecordId, mode: u64) {
        if *to == Span::end() {
            write_varint(&mut self.bytes, 0);
            write_varint(&mut self.bytes, 0);
        } else {
            let hash = &to.as_bytes()[8..];
            let prefix = hash.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let delta = to.time().0.saturating_sub(self.bound.time().0);
            write_varint(&mut self.bytes, delta.saturating_add(1));
            write_varint(&mut self.bytes, prefix as u64);
            self.bytes.extend_from_slice(&hash[..prefix]);
        }
        write_varint(&mut self.bytes, mode);
        self.bound = *to;
        self.ranges += 1;
    }

    fn skip_to(&mut self, to: &RecordId) {
        if self.bound < *to {
            self.bound(to, SKIP);
        }
    }

    /// Says the sum of a range.
    pub(super) fn sum(&mut self, span: &Span, sum: &Sum) {
        self.skip_to(&span.from);
        self.bound(&span.to, SUM);
        write_varint(&mut self.bytes, sum.count);
        self.bytes.extend_from_slice(&sum.sum);
    }

    /// Lists the ids of a range.
    pub(super) fn list(&mut self, span: &Span, ids: &[RecordId]) {
        self.skip_to(&span.from);
        self.bound(&span.to, LIST);
        write_varint(&mut self.bytes, ids.len() as u64);
        let mut last = span.from.time().0;
        for id in ids {
            write_varint(&mut self.bytes, id.time().0.saturating_sub(last));
            last = id.time().0;
            self.bytes.extend_from_slice(&id.as_bytes()[8..]);
        }
        self.ids += ids.len();
    }

    /// Asks for a range in so many parts.
    pub(super) fn split(&mut self, span: &Span, parts: u64) {
        self.skip_to(&span.from);
        self.bound(&span.to, SPLIT);
        write_varint(&mut self.bytes, parts);
    }

    /// Ends a message that has no more room: everything from `from` on is one range, of the sum
    /// `rest`.
    pub(super) fn close(&mut self, from: RecordId, rest: &Sum) {
        self.sum(&Span { from, to: Span::end() }, rest);
    }
}

pub(super) fn varint_len(value: u64) -> usize {
    (64 - value.leading_zeros() as usize).div_ceil(7).max(1)
}

/// Writes an unsigned integer in base 128, the highest digit first, the high bit set on all
/// bytes but the last.
pub(crate) fn write_varint(out: &mut Vec<u8>, value: u64) {
    for place in (0..varint_len(value)).rev() {
        let more = if place > 0 { 0x80 } else { 0 };
        out.push((value >> (7 * place)) as u8 & 0x7f | more);
    }
}
