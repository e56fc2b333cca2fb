//! The side that asks: it compares what the other describes with its own set.

use ocm_record::RecordId;

use super::frame::Frame;
use super::wire::{Message, Mode, Side};
use super::{LISTED_AT_ONCE, ReconcileError};
use crate::limits;
use crate::set::{Span, Sum, successor};
use crate::tree::{Nodes, Tree, Walk};

/// Ids read from the set at a time.
const BATCH: usize = 256;
/// Parts that a round asks for at least, while there is something to split: a few differences are
/// found in few rounds, for some 3 KiB each.
const PARTS_AT_LEAST: u64 = 64;
/// Parts of a round up to which small ranges are split so far that the next round lists them.
const FEW_PARTS: u64 = 512;
/// Ids up to which a range is then small, and up to which it is listed.
const SMALL: u64 = 256;
const LISTED_AT_LAST: u64 = 32;
/// Ranges of which the set has nothing, up to which they are asked for as they are. Where there are
/// more, the small ones are listed: their ids are then fetched together.
const GAPS: usize = 8;

/// The side that asks. It keeps nothing between the rounds: what is left to compare lies in the
/// messages.
#[derive(Debug, Clone)]
pub struct Initiator {
    frame_limit: usize,
    infers: bool,
}

/// What one round brought. Where messages are cut short by their limits, a difference that was found
/// and not removed since can be found again in a later round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Ids that the peer has and the set lacks, ascending.
    pub need: Vec<RecordId>,
    /// Those of them that are inferred from sums, ascending: the peer never named them, and may turn
    /// out not to have them ([`Initiator::exact`]).
    pub inferred: Vec<RecordId>,
    /// Ids in the set that the peer lacks, ascending; at most [`limits::HAVES`] and one for each
    /// range of a message, the rest in later rounds.
    pub have: Vec<RecordId>,
    /// Ranges of which the set has nothing and the peer something, ascending: to be asked for as
    /// they are, without a list.
    pub missing: Vec<Span>,
    /// What to send next; `None` when everything has been compared.
    pub reply: Option<Vec<u8>>,
}

impl Initiator {
    /// Begins: the initiator, and the first message. `frame_limit` bounds the bytes of every
    /// message; it is held between [`limits::RECONCILE_BYTES_MIN`] and [`limits::RECONCILE_BYTES`].
    #[must_use]
    pub fn start<N: Nodes>(set: &Tree<N>, frame_limit: usize) -> (Self, Vec<u8>) {
        let mut frame = Frame::new(frame_limit);
        frame.close(RecordId::MIN, &set.total());
        (Self { frame_limit, infers: true }, frame.into_bytes())
    }

    /// The same, but nothing is inferred from sums: every id that it finds was listed, or is in our
    /// set. For a second pass, when the peer did not have what was inferred: somebody made ids
    /// whose sums look like another id. It costs some four times the bytes.
    #[must_use]
    pub fn exact(self) -> Self {
        Self { infers: false, ..self }
    }

    /// Whether it infers nothing.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        !self.infers
    }

    /// Takes the peer's answer. The set may have changed since the last round: what was added or
    /// removed meanwhile may be found or missed.
    ///
    /// # Errors
    /// When the message is malformed or the set cannot be read.
    pub fn step<N: Nodes>(
        &self,
        set: &Tree<N>,
        message: &[u8],
    ) -> Result<Step, ReconcileError<N::Error>> {
        let mut message = Message::read(Side::Responder, message)?;
        let mut round = Round {
            set,
            infers: self.infers,
            ends: set.walk(),
            lists: set.walk(),
            end: (RecordId::MIN, Sum::EMPTY),
            need: Vec::new(),
            inferred: Vec::new(),
            have: Vec::new(),
            open: Vec::new(),
            told: 0,
            cut: None,
        };
        // What follows a cut is only checked: it comes again in the next rounds.
        while let Some(range) = message.next_range()? {
            if round.cut.is_none() {
                round.take(range.span, range.mode).map_err(ReconcileError::Set)?;
            }
        }
        round.finish(self.frame_limit).map_err(ReconcileError::Set)
    }
}

/// A range whose sums differ; several beside each other, of which nothing is here.
struct Open {
    span: Span,
    ours: u64,
    theirs: u64,
}

/// One answer being compared.
struct Round<'a, N> {
    set: &'a Tree<N>,
    infers: bool,
    /// Goes from one end of a range to the next; the last one, and the sum of all ids below it.
    ends: Walk<'a, N>,
    end: (RecordId, Sum),
    lists: Walk<'a, N>,
    need: Vec<RecordId>,
    inferred: Vec<RecordId>,
    have: Vec<RecordId>,
    open: Vec<Open>,
    /// Ranges whose sums were told.
    told: usize,
    /// Where it had to stop.
    cut: Option<RecordId>,
}

impl<N: Nodes> Round<'_, N> {
    fn before(&mut self, bound: &RecordId) -> Result<Sum, N::Error> {
        if self.end.0 != *bound {
            self.end = (*bound, self.ends.before(bound)?);
        }
        Ok(self.end.1)
    }

    /// Compares one range.
    fn take(&mut self, span: Span, mode: Mode) -> Result<(), N::Error> {
        let theirs = match mode {
            _ if span.from == span.to => return Ok(()),
            Mode::Skip | Mode::Split(_) => return Ok(()),
            Mode::List(theirs) => return self.compare(span, &theirs),
            Mode::Sum(theirs) if theirs.count == 0 => return self.compare(span, &[]),
            Mode::Sum(theirs) => theirs,
        };
        let before = self.before(&span.from)?;
        let ours = self.before(&span.to)?.minus(&before);
        self.told += 1;
        if ours == theirs {
            return Ok(());
        }
        // In a range without end any id would seem to lie.
        if self.infers && span.from > RecordId::MIN && span.to < Span::end() {
            if let Some(id) = theirs.only_beyond(&ours, &span) {
                self.need.push(id);
                self.inferred.push(id);
                return Ok(());
            }
            if let Some(id) = ours.only_beyond(&theirs, &span)
                && self.lists.contains(&id)?
            {
                self.have.push(id);
                return Ok(());
            }
        }
        match self.open.last_mut() {
            Some(last) if last.ours + ours.count == 0 && last.span.to == span.from => {
                last.span.to = span.to;
                last.theirs = last.theirs.saturating_add(theirs.count);
            }
            _ => self.open.push(Open { span, ours: ours.count, theirs: theirs.count }),
        }
        Ok(())
    }

    /// Compares the ids that the peer has in a range with those that are here.
    fn compare(&mut self, span: Span, theirs: &[RecordId]) -> Result<(), N::Error> {
        let mut theirs = theirs.iter().copied().peekable();
        let mut rest = span;
        loop {
            let ours = self.lists.list(rest, BATCH)?;
            for id in &ours {
                while let Some(lacked) = theirs.next_if(|theirs| theirs < id) {
                    self.need.push(lacked);
                }
                if theirs.next_if_eq(id).is_none() {
                    if self.have.len() >= limits::HAVES {
                        self.cut = Some(*id);
                        return Ok(());
                    }
                    self.have.push(*id);
                }
            }
            match ours.last() {
                Some(last) if ours.len() == BATCH => rest.from = successor(last),
                _ => break,
            }
        }
        self.need.extend(theirs);
        Ok(())
    }

    /// Asks on for what is open.
    fn finish(mut self, frame_limit: usize) -> Result<Step, N::Error> {
        let mut frame = Frame::new(frame_limit);
        let mut missing = Vec::new();
        let plan = Plan::of(&self.open, self.told);
        // Each split is answered by its parts, and a skip to it.
        let mut room = frame.room_for_sums().min(limits::RANGES as u64 / 2).max(2);
        let mut room_in_answer = (limits::RANGES - 4) as u64;
        for open in &self.open {
            if plan.is_gap(open) {
                missing.push(open.span);
                continue;
            }
            let parts = plan.parts(open).min((limits::RANGES / 2) as u64);
            if room == 0 || parts + 1 > room_in_answer {
                self.cut = Some(open.span.from);
                break;
            }
            frame.split(&open.span, parts);
            room -= 1;
            room_in_answer -= parts + 1;
        }
        if let Some(cut) = self.cut {
            let rest = self.set.total().minus(&self.lists.before(&cut)?);
            frame.close(cut, &rest);
            self.need.retain(|id| *id < cut);
            self.inferred.retain(|id| *id < cut);
            self.have.retain(|id| *id < cut);
        }
        Ok(Step {
            need: self.need,
            inferred: self.inferred,
            have: self.have,
            missing,
            reply: (!frame.is_empty()).then(|| frame.into_bytes()),
        })
    }
}

/// Into how many parts ranges are to be split, such that most of the parts differ in one id or none.
struct Plan {
    /// Hardly a range is equal, so that the differences in each are many.
    is_dense: bool,
    /// Ranges of which nothing is here are so many that small ones are listed.
    lists_gaps: bool,
    /// There is so little to split that small ranges are to end in lists.
    is_ending: bool,
    /// By how much there are too few parts.
    stretch: u64,
}

impl Plan {
    fn of(open: &[Open], told: usize) -> Self {
        let is_dense = open.len() * 10 >= told * 9 && open.len() > 2;
        let lists_gaps = open.iter().filter(|open| open.ours == 0).count() > GAPS;
        let mut plan = Self { is_dense, lists_gaps, is_ending: false, stretch: 1 };
        plan.is_ending = plan.total(open) <= FEW_PARTS;
        plan.stretch = (PARTS_AT_LEAST / plan.total(open).max(1)).max(1);
        plan
    }

    fn total(&self, open: &[Open]) -> u64 {
        open.iter().filter(|open| !self.is_gap(open)).map(|open| self.parts(open)).sum()
    }

    /// Whether nothing of the range is here, and it is asked for as it is.
    fn is_gap(&self, open: &Open) -> bool {
        open.ours == 0 && !(self.lists_gaps && open.theirs <= 4 * LISTED_AT_ONCE)
    }

    /// The parts into which a range is to be split; as many as there are ids means their list.
    fn parts(&self, open: &Open) -> u64 {
        let &Open { ours, theirs, .. } = open;
        // Ids of the one side that are alone part those of the other into so many gaps.
        let gaps = 2 * ours.min(theirs) + 2;
        let differences =
            ours.abs_diff(theirs).max(if self.is_dense { 8 } else { 2 }).min(gaps.max(2));
        let (listed, least) = match self.is_ending {
            true if theirs <= SMALL => (LISTED_AT_LAST, theirs.div_ceil(LISTED_AT_LAST)),
            _ => (LISTED_AT_ONCE, 0),
        };
        let parts = (differences + differences / 4 + 2).max(least) * self.stretch;
        if theirs <= listed || theirs <= parts * 2 { theirs } else { parts }
    }
}
