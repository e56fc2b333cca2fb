//! The side that answers: it describes its set.

use ocm_record::{RecordId, Time};

use super::frame::Frame;
use super::wire::{Message, Mode, Side};
use super::{LISTED_AT_ONCE, ReconcileError};
use crate::set::{Span, Sum};
use crate::tree::{Nodes, Tree, Walk};

/// Parts into which a range is described that is only known to differ. The last of them is halved
/// again and again: what differs is most often new.
const PARTS: u64 = 16;

/// Answers one message of an initiator, from the set and the message alone. The answer is at most
/// `frame_limit` bytes, held between [`RECONCILE_BYTES_MIN`](crate::limits::RECONCILE_BYTES_MIN)
/// and [`RECONCILE_BYTES`](crate::limits::RECONCILE_BYTES); what finds no room comes in later
/// rounds.
///
/// It reads at most as many nodes of the set as a path has, for each range of the message and of
/// the answer, and one more for each id listed.
///
/// # Errors
/// When the message is malformed or the set cannot be read.
pub fn respond<N: Nodes>(
    set: &Tree<N>,
    message: &[u8],
    frame_limit: usize,
) -> Result<Vec<u8>, ReconcileError<N::Error>> {
    let mut message = Message::read(Side::Initiator, message)?;
    let mut answer = Answer::new(set, Frame::new(frame_limit));
    let mut is_full = false;
    while let Some(range) = message.next_range()? {
        if !is_full {
            is_full = !answer.take(range.span, &range.mode).map_err(ReconcileError::Set)?;
        }
    }
    Ok(answer.into_bytes())
}

pub(super) struct Answer<'a, N> {
    set: &'a Tree<N>,
    frame: Frame,
    /// Goes from one end of a range to the next.
    ends: Walk<'a, N>,
    /// Follows through the ranges that are described.
    parts: Walk<'a, N>,
}

impl<'a, N: Nodes> Answer<'a, N> {
    pub(super) fn new(set: &'a Tree<N>, frame: Frame) -> Self {
        Self { set, frame, ends: set.walk(), parts: set.walk() }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.frame.into_bytes()
    }

    /// Answers one range. False when there was no more room, and the answer is complete.
    pub(super) fn take(&mut self, span: Span, mode: &Mode) -> Result<bool, N::Error> {
        if span.from == span.to {
            return Ok(true);
        }
        let (before, parts, theirs) = match mode {
            Mode::Skip | Mode::List(_) => return Ok(true),
            Mode::Sum(theirs) => (self.ends.before(&span.from)?, None, Some(theirs)),
            Mode::Split(parts) => (self.ends.before(&span.from)?, Some(*parts), None),
        };
        let until = self.ends.before(&span.to)?;
        let ours = until.minus(&before);
        if theirs == Some(&ours) {
            return Ok(true);
        }
        let listed = parts.unwrap_or(2 * PARTS).max(LISTED_AT_ONCE);
        // What is open at its ends takes two ranges more.
        let room = self.frame.room_for_sums().saturating_sub(2);
        let room_for_ids = self.frame.room_for_ids();
        let must_list = ours.count <= LISTED_AT_ONCE;
        if ours.count <= listed && ours.count <= room_for_ids {
            let ids = self.parts.list(span, usize::try_from(room_for_ids).unwrap_or(usize::MAX))?;
            self.frame.list(&span, &ids);
        } else if room < 2 || must_list {
            self.frame.close(span.from, &self.set.total().minus(&before));
            return Ok(false);
        } else if theirs.is_some_and(|theirs| theirs.count.abs_diff(ours.count) == 1) {
            // They may well differ in one id alone.
            self.describe(span, &before, &until, &[])?;
        } else {
            let cuts = match parts {
                Some(parts) => even_cuts(ours.count, parts.clamp(2, room)),
                None => recent_cuts(ours.count, room),
            };
            self.describe(span, &before, &until, &cuts)?;
        }
        Ok(true)
    }

    /// Says the sums of the parts between cuts, which ascend. What is open at an end is closed where
    /// the set ends: in sums of a range without end any id would seem to lie.
    fn describe(
        &mut self,
        mut span: Span,
        before: &Sum,
        until: &Sum,
        cuts: &[Cut],
    ) -> Result<(), N::Error> {
        let mut below = *before;
        if span.from == RecordId::MIN
            && let Some(first) = self.parts.at(before.count)?
        {
            let to = RecordId::from_parts(first.time(), [0; 32]);
            self.empty(Span { to, ..span });
            span.from = to;
        }
        let to = span.to;
        if to == Span::end()
            && let Some(last) = until.count.checked_sub(1)
            && let Some(last) = self.ends.at(last)?
        {
            span.to = RecordId::from_parts(Time(last.time().0.saturating_add(1)), [0; 32]);
        }
        for cut in cuts {
            let want = before.count.saturating_add(cut.at);
            let (bound, upto) = self.parts.cut(want, cut.slack)?;
            // Nothing else happens, but in a tree whose sums are wrong.
            if span.from < bound && bound < span.to {
                self.frame.sum(&Span { to: bound, ..span }, &upto.minus(&below));
                (span.from, below) = (bound, upto);
            }
        }
        self.frame.sum(&span, &until.minus(&below));
        self.empty(Span { from: span.to, to });
        Ok(())
    }

    /// Says that there is nothing in a range.
    fn empty(&mut self, span: Span) {
        if span.from < span.to {
            self.frame.list(&span, &[]);
        }
    }
}

/// Where a range is to be cut: at a position in it, give or take some. Cuts never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    at: u64,
    slack: u64,
}

impl Cut {
    /// At a position beside which parts of about `part` ids lie.
    fn beside(at: u64, part: u64) -> Self {
        Self { at, slack: part / 4 }
    }
}

/// Cuts `count` ids into parts of about the same size; into single ids where there are too few.
fn even_cuts(count: u64, parts: u64) -> Vec<Cut> {
    let parts = parts.min(count).max(1);
    let (each, more) = (count / parts, count % parts);
    (1..parts).map(|part| Cut::beside(part * each + part.min(more), each)).collect()
}

/// Cuts `count` ids into [`PARTS`] of about the same size, and the last of them into halves as long
/// as they are no list, or as there is room for `sums` in all.
fn recent_cuts(count: u64, sums: u64) -> Vec<Cut> {
    let mut cuts = even_cuts(count, PARTS.min(sums));
    let mut tail = cuts.last().map_or(count, |cut| count - cut.at);
    while tail >= 2 * LISTED_AT_ONCE && (cuts.len() as u64) < sums - 1 {
        tail /= 2;
        cuts.push(Cut::beside(count - tail, tail));
    }
    cuts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cuts_leave_something_between_them(count in 2u64..100_000, parts in 2u64..5000) {
            for cuts in [even_cuts(count, parts), recent_cuts(count, parts)] {
                prop_assert!((cuts.len() as u64) < parts);
                let mut last = 0;
                for Cut { at, slack } in cuts {
                    prop_assert!(last < at - slack);
                    last = at + slack;
                }
                prop_assert!(last < count);
            }
        }
    }
}
