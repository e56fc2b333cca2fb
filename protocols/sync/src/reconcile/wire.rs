//! The bytes of reconciliation messages.

use ocm_record::{RecordId, Time};

use crate::limits;
use crate::set::Span;

/// The first byte of a negentropy version 1 message: lists hold bare hashes.
pub(super) const NEGENTROPY_1: u8 = 0x61;
/// The first byte of a message in whose conversation the responder's lists carry times.
pub(super) const WITH_TIMES: u8 = 0xe1;

const SKIP: u64 = 0;
const FINGERPRINT: u64 = 1;
const LIST: u64 = 2;

/// Bytes kept free at the end of a frame for a skip to a whole id (10 + 1 + 32 + 1) and the
/// fingerprint of the rest (1 + 1 + 1 + 16).
const RESERVE: usize = 64;
/// Bytes around a list at most: a skip, a bound, the mode and the count.
const LIST_FRAMING: usize = 44 + 43 + 1 + 3;
/// Ranges kept free likewise: a skip and a list, a skip and the fingerprint of the rest.
const RESERVED_RANGES: usize = 4;

/// Why bytes are no reconciliation message. The peer is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The first byte names no form that is understood, or another than this conversation's.
    #[error(
        "a reconciliation message begins with 0x61 or 0xe1, like the one it answers; this begins with {0:#04x}"
    )]
    Form(u8),
    /// Longer than any message may be.
    #[error("a reconciliation message has at most {max} bytes, this has {0}", max = limits::RECONCILE_BYTES)]
    Long(usize),
    /// Ends inside a range.
    #[error("the reconciliation message ends inside a range")]
    Short,
    /// An integer that is longer than it need be, or than 64 bits.
    #[error("a varint in the reconciliation message is not the shortest, or exceeds 64 bits")]
    Varint,
    /// A bound below the one before it, past infinity, or with an id of more than 32 bytes.
    #[error("a bound in the reconciliation message is out of order or not well formed")]
    Bound,
    /// A mode that this version does not know.
    #[error("a range in the reconciliation message has the unknown mode {0}")]
    Mode(u64),
    /// A listed id lies outside its range, or after a higher one.
    #[error("a listed id is out of order or outside its range")]
    Listed,
    /// More ranges than one message may have.
    #[error("a reconciliation message has at most {max} ranges", max = limits::RANGES)]
    Ranges,
    /// More listed ids than one message may have.
    #[error("a reconciliation message lists at most {max} ids", max = limits::LISTED_IDS)]
    Ids,
}

/// What a range says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing more to say.
    Skip,
    /// The fingerprint of the ids in it.
    Fingerprint([u8; 16]),
    /// The ids in it; the time where it was given.
    List(Vec<([u8; 32], Option<Time>)>),
}

/// One range of a message. It begins where the one before it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    /// The first id past it.
    pub(super) to: RecordId,
    /// What it says.
    pub(super) mode: Mode,
}

/// A message being read, range by range.
pub(super) struct Message<'a> {
    form: u8,
    rest: &'a [u8],
    bound: RecordId,
    ranges: usize,
    ids: usize,
}

impl<'a> Message<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() > limits::RECONCILE_BYTES {
            return Err(WireError::Long(bytes.len()));
        }
        match bytes.split_first() {
            Some((&form @ (NEGENTROPY_1 | WITH_TIMES), rest)) => {
                Ok(Self { form, rest, bound: RecordId::MIN, ranges: 0, ids: 0 })
            }
            Some((form, _)) => Err(WireError::Form(*form)),
            None => Err(WireError::Short),
        }
    }

    pub(super) fn form(&self) -> u8 {
        self.form
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value: u64 = 0;
        for place in 0.. {
            let [byte] = self.take::<1>()?;
            if (place == 0 && byte == 0x80) || value > u64::MAX >> 7 {
                return Err(WireError::Varint);
            }
            value = value << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(value)
    }

    fn bound(&mut self) -> Result<RecordId, WireError> {
        let time = self.varint()?;
        let length = self.varint()?;
        let length = usize::try_from(length).ok().filter(|n| *n <= 32).ok_or(WireError::Bound)?;
        let (prefix, rest) = self.rest.split_at_checked(length).ok_or(WireError::Short)?;
        self.rest = rest;
        let bound = if time == 0 {
            if length > 0 {
                return Err(WireError::Bound);
            }
            Span::end()
        } else {
            let time = self.bound.time().0.checked_add(time - 1).ok_or(WireError::Bound)?;
            let mut hash = [0; 32];
            hash[..length].copy_from_slice(prefix);
            // Infinity has one form.
            Some(RecordId::from_parts(Time(time), hash))
                .filter(|bound| *bound < Span::end())
                .ok_or(WireError::Bound)?
        };
        // An empty range does no harm, and other implementations may send one at the end.
        if bound < self.bound { Err(WireError::Bound) } else { Ok(bound) }
    }

    fn list(&mut self, span: Span, timed: bool) -> Result<Mode, WireError> {
        let count = self.varint()?;
        let least = if timed { 33 } else { 32 };
        let count = usize::try_from(count)
            .ok()
            .filter(|n| *n <= self.rest.len() / least)
            .ok_or(WireError::Short)?;
        self.ids += count;
        if self.ids > limits::LISTED_IDS {
            return Err(WireError::Ids);
        }
        let mut ids = Vec::with_capacity(count);
        let mut low = span.from;
        for _ in 0..count {
            if timed {
                let time = self.varint()?;
                let time = low.time().0.checked_add(time).ok_or(WireError::Listed)?;
                let hash = self.take()?;
                let id = RecordId::from_parts(Time(time), hash);
                if id < low || id >= span.to || (!ids.is_empty() && id == low) {
                    return Err(WireError::Listed);
                }
                low = id;
                ids.push((hash, Some(Time(time))));
            } else {
                ids.push((self.take()?, None));
            }
        }
        Ok(Mode::List(ids))
    }

    /// The next range, `None` at the end. `timed` tells whether lists carry times.
    pub(super) fn next_range(&mut self, timed: bool) -> Result<Option<Range>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.ranges += 1;
        if self.ranges > limits::RANGES {
            return Err(WireError::Ranges);
        }
        let to = self.bound()?;
        let mode = match self.varint()? {
            SKIP => Mode::Skip,
            FINGERPRINT => Mode::Fingerprint(self.take()?),
            LIST => self.list(Span { from: self.bound, to }, timed)?,
            other => return Err(WireError::Mode(other)),
        };
        self.bound = to;
        Ok(Some(Range { to, mode }))
    }
}

/// A message being written, range by range.
pub(super) struct Frame {
    bytes: Vec<u8>,
    limit: usize,
    at: Mark,
}

/// A place in a frame to which it can be set back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    len: usize,
    ranges: usize,
    bound: RecordId,
}

impl Frame {
    pub(super) fn new(form: u8, limit: usize) -> Self {
        let limit = limit.clamp(limits::FRAME_BYTES_MIN, limits::FRAME_BYTES);
        Self { bytes: vec![form], limit, at: Mark { len: 1, ranges: 0, bound: RecordId::MIN } }
    }

    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == 1
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { len: self.bytes.len(), ..self.at }
    }

    pub(super) fn reset(&mut self, mark: Mark) {
        self.bytes.truncate(mark.len);
        self.at = mark;
    }

    /// Whether there is still room to end the frame.
    pub(super) fn fits(&self) -> bool {
        self.bytes.len() + RESERVE <= self.limit
            && self.at.ranges + RESERVED_RANGES <= limits::RANGES
    }

    /// Bytes that the ids of one more list may take.
    pub(super) fn room_for_list(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len() + RESERVE + LIST_FRAMING)
    }

    fn bound(&mut self, to: &RecordId, prefix: usize) {
        if *to == Span::end() {
            write_varint(&mut self.bytes, 0);
            write_varint(&mut self.bytes, 0);
        } else {
            let delta = to.time().0.saturating_sub(self.at.bound.time().0);
            write_varint(&mut self.bytes, delta.saturating_add(1));
            write_varint(&mut self.bytes, prefix as u64);
            self.bytes.extend_from_slice(&to.hash()[..prefix]);
        }
        self.at.bound = *to;
        self.at.ranges += 1;
    }

    /// How many bytes of an id's hash a bound at exactly this place needs.
    pub(super) fn prefix_of(&self, bound: &RecordId) -> usize {
        bound.hash().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    }

    /// Says that everything up to `to` needs no more words.
    pub(super) fn skip_to(&mut self, to: &RecordId) {
        if self.at.bound < *to {
            self.bound(to, self.prefix_of(to));
            write_varint(&mut self.bytes, SKIP);
        }
    }

    pub(super) fn fingerprint(&mut self, to: &RecordId, prefix: usize, fingerprint: &[u8; 16]) {
        self.bound(to, prefix);
        write_varint(&mut self.bytes, FINGERPRINT);
        self.bytes.extend_from_slice(fingerprint);
    }

    /// Lists the ids of a range, of which the caller knows that there is room for them.
    pub(super) fn list(&mut self, span: &Span, ids: &[RecordId], timed: bool) {
        self.bound(&span.to, self.prefix_of(&span.to));
        write_varint(&mut self.bytes, LIST);
        write_varint(&mut self.bytes, ids.len() as u64);
        let mut last = span.from.time().0;
        for id in ids {
            if timed {
                write_varint(&mut self.bytes, id.time().0.saturating_sub(last));
                last = id.time().0;
            }
            self.bytes.extend_from_slice(&id.hash());
        }
    }
}

/// Bytes that an id takes in a list after one of the time `last`.
pub(super) fn listed_len(last: Time, id: &RecordId, timed: bool) -> usize {
    32 + if timed { varint_len(id.time().0.saturating_sub(last.0)) } else { 0 }
}

/// The bound with the fewest bytes between two ids that follow each other, and how many bytes of
/// hash it needs.
pub(super) fn shortest_bound(last: &RecordId, next: &RecordId) -> (RecordId, usize) {
    if last.time() != next.time() {
        return (RecordId::from_parts(next.time(), [0; 32]), 0);
    }
    let (low, high) = (last.hash(), next.hash());
    let shared = low.iter().zip(&high).take_while(|(a, b)| a == b).count();
    let prefix = (shared + 1).min(32);
    let mut hash = [0; 32];
    hash[..prefix].copy_from_slice(&high[..prefix]);
    (RecordId::from_parts(next.time(), hash), prefix)
}

/// The lowest id above this one; itself when there is none.
pub(crate) fn successor(id: &RecordId) -> RecordId {
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

fn varint_len(value: u64) -> usize {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_one(bytes: &[u8]) -> Result<Range, WireError> {
        let message = [&[NEGENTROPY_1], bytes].concat();
        Message::read(&message)?.next_range(false).map(Option::unwrap)
    }

    proptest! {
        #[test]
        fn varints_are_read_as_written(value: u64, small in 0u64..200_000) {
            for value in [value, small] {
                let mut bytes = vec![NEGENTROPY_1];
                write_varint(&mut bytes, value);
                prop_assert_eq!(bytes.len() - 1, varint_len(value));
                let mut message = Message::read(&bytes).unwrap();
                prop_assert_eq!(message.varint(), Ok(value));
                prop_assert!(message.rest.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            form in prop::sample::select(vec![NEGENTROPY_1, WITH_TIMES]),
            bytes in prop::collection::vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..300),
            timed: bool,
        ) {
            let bytes = [vec![form], bytes].concat();
            let mut message = Message::read(&bytes).unwrap();
            let mut last = RecordId::MIN;
            while let Ok(Some(range)) = message.next_range(timed) {
                prop_assert!(last <= range.to);
                last = range.to;
            }
        }
    }

    #[test]
    fn only_the_shortest_varint_is_read() {
        for bytes in
            [&[0x80, 0x01][..], &[0x83, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]]
        {
            assert_eq!(read_one(bytes), Err(WireError::Varint));
        }
        let largest = [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        let bytes = [&[NEGENTROPY_1], &largest[..]].concat();
        assert_eq!(Message::read(&bytes).unwrap().varint(), Ok(u64::MAX));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: &[(&[u8], WireError)] = &[
            (&[1], WireError::Short),
            (&[1, 33], WireError::Bound),
            (&[0, 1, 9], WireError::Bound),
            (&[1, 2, 9], WireError::Short),
            (&[1, 0, 3], WireError::Mode(3)),
            (&[1, 0, 1, 7, 7], WireError::Short),
            (&[0, 0, 2, 1, 7, 7], WireError::Short),
            (&[0, 0, 2, 0xc0, 0x80, 0x80, 0x80, 0x00], WireError::Short),
        ];
        for (bytes, error) in cases {
            assert_eq!(read_one(bytes).as_ref(), Err(error), "{bytes:?}");
        }
        assert_eq!(Message::read(&[]).err(), Some(WireError::Short));
        assert_eq!(Message::read(&[0x62]).err(), Some(WireError::Form(0x62)));
        assert_eq!(
            Message::read(&vec![0x61; limits::RECONCILE_BYTES + 1]).err(),
            Some(WireError::Long(limits::RECONCILE_BYTES + 1))
        );
    }

    #[test]
    fn bounds_must_not_descend() {
        let descending = [NEGENTROPY_1, 9, 1, 5, 0, 1, 1, 4, 0];
        let mut message = Message::read(&descending).unwrap();
        message.next_range(false).unwrap();
        assert_eq!(message.next_range(false), Err(WireError::Bound));
        let past_infinity = [NEGENTROPY_1, 0, 0, 0, 1, 1, 1, 0];
        let mut message = Message::read(&past_infinity).unwrap();
        message.next_range(false).unwrap();
        assert_eq!(message.next_range(false), Err(WireError::Bound));
    }

    #[test]
    fn a_timed_list_lies_in_its_range_and_ascends() {
        let list = |ids: &[(u8, u8)]| {
            let mut bytes = vec![WITH_TIMES, 5, 0, SKIP as u8, 5, 0, LIST as u8, ids.len() as u8];
            for (delta, hash) in ids {
                bytes.push(*delta);
                bytes.extend([*hash; 32]);
            }
            let mut message = Message::read(&bytes).unwrap();
            message.next_range(true).unwrap();
            message.next_range(true)
        };
        assert!(list(&[(0, 1), (0, 2), (3, 1)]).is_ok(), "times 4, 4 and 7 in 4..8");
        assert_eq!(list(&[(4, 1)]), Err(WireError::Listed), "time 8");
        assert_eq!(list(&[(0, 2), (0, 1)]), Err(WireError::Listed));
        assert_eq!(list(&[(0, 2), (0, 2)]), Err(WireError::Listed));
    }

    #[test]
    fn a_message_of_skips_without_end_is_cut_off() {
        let bytes = [vec![NEGENTROPY_1], [1, 0, 0].repeat(limits::RANGES + 1)].concat();
        let mut message = Message::read(&bytes).unwrap();
        let error = std::iter::from_fn(|| message.next_range(false).transpose())
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error, WireError::Ranges);
    }

    #[test]
    fn the_shortest_bound_parts_two_ids() {
        let id = |time, hash: [u8; 2]| {
            let mut whole = [0; 32];
            whole[..2].copy_from_slice(&hash);
            RecordId::from_parts(Time(time), whole)
        };
        for (last, next, prefix) in [
            (id(1, [9, 9]), id(2, [0, 0]), 0),
            (id(1, [1, 9]), id(1, [2, 0]), 1),
            (id(1, [1, 1]), id(1, [1, 2]), 2),
        ] {
            let (bound, bytes) = shortest_bound(&last, &next);
            assert!(last < bound && bound <= next);
            assert_eq!(bytes, prefix);
        }
    }
}
