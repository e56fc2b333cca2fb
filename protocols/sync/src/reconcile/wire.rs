//! The bytes of reconciliation messages, as they are read.

use ocm_record::{RecordId, Time};

use crate::limits;
use crate::set::{Span, Sum};

/// The first byte of every message.
pub(super) const FORM: u8 = 0xe1;

pub(super) const SKIP: u64 = 0;
pub(super) const SUM: u64 = 1;
pub(super) const LIST: u64 = 2;
pub(super) const SPLIT: u64 = 3;

/// Why bytes are no reconciliation message. The peer is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The first byte names no form that is understood.
    #[error("a reconciliation message begins with 0xe1, this begins with {0:#04x}")]
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
    /// A mode that this version does not know, or not on this side.
    #[error("a range in the reconciliation message has the mode {0}, which its sender cannot use")]
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

/// Who wrote a message: the modes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Initiator,
    Responder,
}

/// What is said about a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing more.
    Skip,
    /// The sum of the ids in it.
    Sum(Sum),
    /// The ids in it, ascending; only the responder's.
    List(Vec<RecordId>),
    /// To be described in so many parts; only the initiator's.
    Split(u64),
}

/// One range of a message. It begins where the one before it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    /// Its bounds.
    pub(super) span: Span,
    /// What is said about it.
    pub(super) mode: Mode,
}

/// A message being read, range by range.
pub(super) struct Message<'a> {
    side: Side,
    rest: &'a [u8],
    bound: RecordId,
    ranges: usize,
    ids: usize,
}

impl<'a> Message<'a> {
    pub(super) fn read(side: Side, bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() > limits::RECONCILE_BYTES {
            return Err(WireError::Long(bytes.len()));
        }
        match bytes.split_first() {
            Some((&FORM, rest)) => Ok(Self { side, rest, bound: RecordId::MIN, ranges: 0, ids: 0 }),
            Some((form, _)) => Err(WireError::Form(*form)),
            None => Err(WireError::Short),
        }
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
        if bound < self.bound { Err(WireError::Bound) } else { Ok(bound) }
    }

    fn list(&mut self, span: Span) -> Result<Mode, WireError> {
        let count = self.varint()?;
        let count = usize::try_from(count)
            .ok()
            .filter(|n| *n <= self.rest.len() / 33)
            .ok_or(WireError::Short)?;
        self.ids += count;
        if self.ids > limits::LISTED_IDS {
            return Err(WireError::Ids);
        }
        let mut ids: Vec<RecordId> = Vec::with_capacity(count);
        let mut time = span.from.time().0;
        for _ in 0..count {
            time = time.checked_add(self.varint()?).ok_or(WireError::Listed)?;
            let id = RecordId::from_parts(Time(time), self.take()?);
            if !span.contains(&id) || ids.last().is_some_and(|last| *last >= id) {
                return Err(WireError::Listed);
            }
            ids.push(id);
        }
        Ok(Mode::List(ids))
    }

    /// The next range, `None` at the end.
    pub(super) fn next_range(&mut self) -> Result<Option<Range>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.ranges += 1;
        if self.ranges > limits::RANGES {
            return Err(WireError::Ranges);
        }
        let span = Span { from: self.bound, to: self.bound()? };
        let mode = match (self.varint()?, self.side) {
            (SKIP, _) => Mode::Skip,
            (SUM, _) => Mode::Sum(Sum { count: self.varint()?, sum: self.take()? }),
            (LIST, Side::Responder) => self.list(span)?,
            (SPLIT, Side::Initiator) => Mode::Split(self.varint()?),
            (other, _) => return Err(WireError::Mode(other)),
        };
        self.bound = span.to;
        Ok(Some(Range { span, mode }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::{varint_len, write_varint};
    use super::Side::{Initiator, Responder};
    use super::*;

    fn read_one(side: Side, bytes: &[u8]) -> Result<Range, WireError> {
        let message = [&[FORM], bytes].concat();
        Message::read(side, &message)?.next_range().map(Option::unwrap)
    }

    proptest! {
        #[test]
        fn varints_are_read_as_written(value: u64, small in 0u64..200_000) {
            for value in [value, small] {
                let mut bytes = vec![FORM];
                write_varint(&mut bytes, value);
                prop_assert_eq!(bytes.len() - 1, varint_len(value));
                let mut message = Message::read(Initiator, &bytes).unwrap();
                prop_assert_eq!(message.varint(), Ok(value));
                prop_assert!(message.rest.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            side in prop::sample::select(vec![Initiator, Responder]),
            bytes in prop::collection::vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..300),
        ) {
            let bytes = [vec![FORM], bytes].concat();
            let mut message = Message::read(side, &bytes).unwrap();
            let mut last = RecordId::MIN;
            while let Ok(Some(range)) = message.next_range() {
                prop_assert_eq!(last, range.span.from);
                prop_assert!(last <= range.span.to);
                last = range.span.to;
            }
        }
    }

    #[test]
    fn only_the_shortest_varint_is_read() {
        for bytes in
            [&[0x80, 0x01][..], &[0x83, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]]
        {
            assert_eq!(read_one(Initiator, bytes), Err(WireError::Varint));
        }
        let largest = [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        let bytes = [&[FORM], &largest[..]].concat();
        assert_eq!(Message::read(Initiator, &bytes).unwrap().varint(), Ok(u64::MAX));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: &[(Side, &[u8], WireError)] = &[
            (Initiator, &[1], WireError::Short),
            (Initiator, &[1, 33], WireError::Bound),
            (Initiator, &[0, 1, 9], WireError::Bound),
            (Initiator, &[1, 2, 9], WireError::Short),
            (Initiator, &[1, 0, 4], WireError::Mode(4)),
            (Initiator, &[1, 0, 2, 0], WireError::Mode(2)),
            (Responder, &[1, 0, 3, 5], WireError::Mode(3)),
            (Initiator, &[1, 0, 1, 7, 7], WireError::Short),
            (Responder, &[0, 0, 2, 1, 7, 7], WireError::Short),
            (Responder, &[0, 0, 2, 0xc0, 0x80, 0x80, 0x80, 0x00], WireError::Short),
        ];
        for (side, bytes, error) in cases {
            assert_eq!(read_one(*side, bytes).as_ref(), Err(error), "{bytes:?}");
        }
        assert_eq!(Message::read(Initiator, &[]).err(), Some(WireError::Short));
        assert_eq!(Message::read(Initiator, &[0x62]).err(), Some(WireError::Form(0x62)));
        assert_eq!(
            Message::read(Initiator, &vec![FORM; limits::RECONCILE_BYTES + 1]).err(),
            Some(WireError::Long(limits::RECONCILE_BYTES + 1))
        );
    }

    #[test]
    fn bounds_must_not_descend() {
        for bytes in [&[FORM, 9, 1, 5, 0, 1, 1, 4, 0], &[FORM, 0, 0, 0, 1, 1, 1, 0, 0][..]] {
            let mut message = Message::read(Initiator, bytes).unwrap();
            message.next_range().unwrap();
            assert_eq!(message.next_range(), Err(WireError::Bound));
        }
    }

    #[test]
    fn a_list_lies_in_its_range_and_ascends() {
        let list = |ids: &[(u8, u8)]| {
            let mut bytes = vec![FORM, 5, 0, SKIP as u8, 5, 0, LIST as u8, ids.len() as u8];
            for (delta, hash) in ids {
                bytes.push(*delta);
                bytes.extend([*hash; 32]);
            }
            let mut message = Message::read(Responder, &bytes).unwrap();
            message.next_range().unwrap();
            message.next_range()
        };
        assert!(list(&[(0, 1), (0, 2), (3, 1)]).is_ok(), "times 4, 4 and 7 in 4..8");
        assert_eq!(list(&[(4, 1)]), Err(WireError::Listed), "time 8");
        assert_eq!(list(&[(0, 2), (0, 1)]), Err(WireError::Listed));
        assert_eq!(list(&[(0, 2), (0, 2)]), Err(WireError::Listed));
    }

    #[test]
    fn a_message_of_skips_without_end_is_cut_off() {
        let bytes = [vec![FORM], [1, 0, 0].repeat(limits::RANGES + 1)].concat();
        let mut message = Message::read(Initiator, &bytes).unwrap();
        let error =
            std::iter::from_fn(|| message.next_range().transpose()).find_map(Result::err).unwrap();
        assert_eq!(error, WireError::Ranges);
    }
}
