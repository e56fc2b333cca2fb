//! Range-based set reconciliation (`protocols/README.md`, section 10).
//!
//! The messages are those of negentropy protocol version 1 (Hoyte, "Range-Based Set
//! Reconciliation"), with a record's time as timestamp and its 32-byte hash as id, and with one
//! addition. There a list holds bare hashes, of which the receiver cannot tell the times, and so
//! not the ids. A conversation whose messages begin with [`wire::WITH_TIMES`] in place of
//! [`wire::NEGENTROPY_1`] is the same in all else, but each hash in a list *of the responder* is
//! preceded by a varint: its time less the time before it in the list, or less the time of the
//! range's lower bound for the first. The responder answers each form in kind. In this form a
//! range of which the initiator has nothing is not listed at all ([`Step::missing`]), and a list that
//! is short beside what the responder has is answered with fingerprints.

mod wire;

use std::collections::BTreeMap;

use ocm_record::{RecordId, Time};

use crate::limits;
use crate::set::{OrderedSet, Span, Sum};
pub use wire::WireError;
use wire::{Frame, Message, Mode, Range};
pub(crate) use wire::{successor, write_varint};

/// Ranges into which a range that differs is split.
const BUCKETS: u64 = 16;
/// Ids read from the set at a time.
const BATCH: usize = 256;

/// Why a round of reconciliation came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError<E: std::error::Error> {
    /// The peer's message is not one: end the session, the peer is at fault.
    #[error(transparent)]
    Wire(WireError),
    /// Our own set cannot be read.
    #[error("the set cannot be read: {0}")]
    Set(#[source] E),
}

impl<E: std::error::Error> From<WireError> for ReconcileError<E> {
    fn from(e: WireError) -> Self {
        Self::Wire(e)
    }
}

/// The side that asks. It keeps nothing between the rounds but its limit: what is left to compare
/// lies in the messages.
#[derive(Debug, Clone)]
pub struct Initiator {
    form: u8,
    frame_limit: usize,
}

/// What one round brought. Where frames are cut short by their limit, a difference that was found
/// and not removed since can be found again in a later round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Ids that the peer listed and the set lacks, ascending within each range.
    pub need: Vec<RecordId>,
    /// Ids in the set that the peer lacks; at most [`limits::HAVES`], the rest in later rounds.
    pub have: Vec<RecordId>,
    /// Ranges of which the set has nothing and the peer something, ascending: to be asked for as
    /// they are, without a list.
    pub missing: Vec<Span>,
    /// What to send next; `None` when everything has been compared.
    pub reply: Option<Vec<u8>>,
}

impl Initiator {
    /// Begins: the initiator, and the first message. `frame_limit` bounds the bytes of every
    /// message; it is held between [`limits::FRAME_BYTES_MIN`] and [`limits::FRAME_BYTES`].
    ///
    /// # Errors
    /// When the set cannot be read.
    pub fn start<S: OrderedSet + ?Sized>(
        set: &S,
        frame_limit: usize,
    ) -> Result<(Self, Vec<u8>), S::Error> {
        Self::start_as(wire::WITH_TIMES, set, frame_limit)
    }

    fn start_as<S: OrderedSet + ?Sized>(
        form: u8,
        set: &S,
        frame_limit: usize,
    ) -> Result<(Self, Vec<u8>), S::Error> {
        let mut frame = Frame::new(form, frame_limit);
        let sum = set.before(&Span::end())?;
        split(set, &mut frame, Span::all(), &Sum::EMPTY, &sum, Lists::Bare)?;
        Ok((Self { form, frame_limit }, frame.into_bytes()))
    }

    /// Takes the peer's answer. The set may have changed since the last round: what was added or
    /// removed meanwhile may be found or missed.
    ///
    /// # Errors
    /// When the message is malformed or the set cannot be read.
    pub fn step<S: OrderedSet + ?Sized>(
        &self,
        set: &S,
        message: &[u8],
    ) -> Result<Step, ReconcileError<S::Error>> {
        let found = self.compare(set, message)?;
        let need = found
            .need
            .into_iter()
            .filter_map(|(hash, time)| time.map(|time| RecordId::from_parts(time, hash)))
            .collect();
        Ok(Step { need, have: found.have, missing: found.missing, reply: found.reply })
    }

    fn compare<S: OrderedSet + ?Sized>(
        &self,
        set: &S,
        message: &[u8],
    ) -> Result<Found, ReconcileError<S::Error>> {
        let mut message = Message::read(message)?;
        if message.form() != self.form {
            return Err(WireError::Form(message.form()).into());
        }
        let mut found = Found::default();
        let mut frame = Frame::new(self.form, self.frame_limit);
        let mut position = Position::default();
        while let Some(range) = message.next_range(message.form() == wire::WITH_TIMES)? {
            let (span, before, until) = position.advance(set, &range)?;
            match range.mode {
                Mode::Skip => {}
                Mode::Fingerprint(theirs) => {
                    let ours = until.minus(&before);
                    // In an empty range there is nothing to differ in.
                    if ours.fingerprint() == theirs || span.to <= span.from {
                        continue;
                    }
                    if ours == Sum::EMPTY && self.form == wire::WITH_TIMES {
                        found.missing.push(span);
                    } else if !split(set, &mut frame, span, &before, &until, Lists::Bare)
                        .map_err(ReconcileError::Set)?
                    {
                        close(set, &mut frame, span.from)?;
                        break;
                    }
                }
                Mode::List(theirs) => {
                    if let Some(cut) = found.take_list(set, span, theirs)? {
                        close(set, &mut frame, cut)?;
                        break;
                    }
                }
            }
        }
        // What follows is only checked: its ranges come again in the next rounds.
        while message.next_range(message.form() == wire::WITH_TIMES)?.is_some() {}
        found.reply = (!frame.is_empty()).then(|| frame.into_bytes());
        Ok(found)
    }
}

/// Answers one message of an initiator, from the set and the message alone. The answer is at most
/// `frame_limit` bytes, held between [`limits::FRAME_BYTES_MIN`] and [`limits::FRAME_BYTES`]; what
/// finds no room comes in later rounds.
///
/// # Errors
/// When the message is malformed or the set cannot be read.
pub fn respond<S: OrderedSet + ?Sized>(
    set: &S,
    message: &[u8],
    frame_limit: usize,
) -> Result<Vec<u8>, ReconcileError<S::Error>> {
    let mut message = Message::read(message)?;
    let lists = if message.form() == wire::WITH_TIMES { Lists::Timed } else { Lists::Bare };
    let mut frame = Frame::new(message.form(), frame_limit);
    let mut position = Position::default();
    while let Some(range) = message.next_range(false)? {
        let (span, before, until) = position.advance(set, &range)?;
        let fits = match range.mode {
            Mode::Skip => true,
            Mode::Fingerprint(theirs) if until.minus(&before).fingerprint() == theirs => true,
            Mode::Fingerprint(_) => {
                split(set, &mut frame, span, &before, &until, lists).map_err(ReconcileError::Set)?
            }
            // A list of it all would be long: fingerprints tell where the asker has nothing.
            Mode::List(theirs)
                if lists == Lists::Timed && is_long(until.minus(&before).count, theirs.len()) =>
            {
                split(set, &mut frame, span, &before, &until, lists).map_err(ReconcileError::Set)?
            }
            Mode::List(_) => {
                if let Some(cut) = list(set, &mut frame, span, lists)? {
                    close(set, &mut frame, cut)?;
                    break;
                }
                true
            }
        };
        if !fits {
            close(set, &mut frame, span.from)?;
            break;
        }
    }
    while message.next_range(false)?.is_some() {}
    Ok(frame.into_bytes())
}

/// Whether a range of `ours` ids is answered with fingerprints, although the asker listed its own.
const fn is_long(ours: u64, theirs: usize) -> bool {
    ours > 16 * BUCKETS && ours > 4 * theirs as u64
}

/// How ids are written in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lists {
    Bare,
    Timed,
}

/// The end of the last range that was read, and the sum of everything below it.
struct Position {
    bound: RecordId,
    before: Sum,
}

impl Default for Position {
    fn default() -> Self {
        Self { bound: RecordId::MIN, before: Sum::EMPTY }
    }
}

impl Position {
    /// The span of the next range, with the sums below its two ends.
    fn advance<S: OrderedSet + ?Sized>(
        &mut self,
        set: &S,
        range: &Range,
    ) -> Result<(Span, Sum, Sum), ReconcileError<S::Error>> {
        let span = Span { from: self.bound, to: range.to };
        let before = self.before;
        self.before = set.before(&range.to).map_err(ReconcileError::Set)?;
        self.bound = range.to;
        Ok((span, before, self.before))
    }
}

/// Writes the own side of a range that differs: its ids when they are few, else fingerprints of 16
/// parts of equal count. False, with nothing written, when there is no room.
fn split<S: OrderedSet + ?Sized>(
    set: &S,
    frame: &mut Frame,
    span: Span,
    before: &Sum,
    until: &Sum,
    lists: Lists,
) -> Result<bool, S::Error> {
    let mark = frame.mark();
    let count = until.count.saturating_sub(before.count);
    frame.skip_to(&span.from);
    if count < 2 * BUCKETS {
        let ids = set.list(span, 2 * BUCKETS as usize)?;
        frame.list(&span, &ids, lists == Lists::Timed);
    } else {
        let (each, more) = (count / BUCKETS, count % BUCKETS);
        let mut position = before.count;
        let mut below = *before;
        for bucket in 0..BUCKETS {
            position += each + u64::from(bucket < more);
            let (bound, prefix, upto) = if bucket + 1 == BUCKETS {
                (span.to, frame.prefix_of(&span.to), *until)
            } else {
                match (set.at(position - 1)?, set.at(position)?) {
                    (Some(last), Some(next)) => {
                        let (bound, prefix) = wire::shortest_bound(&last, &next);
                        (bound, prefix, set.before(&bound)?)
                    }
                    // The set gave a larger sum than it has ids: end the split here.
                    _ => (span.to, frame.prefix_of(&span.to), *until),
                }
            };
            frame.fingerprint(&bound, prefix, &upto.minus(&below).fingerprint());
            below = upto;
            if bound == span.to {
                break;
            }
        }
    }
    let fits = frame.fits();
    if !fits {
        frame.reset(mark);
    }
    Ok(fits)
}

/// Writes the ids of a range as far as there is room; where it had to stop, if it had to.
fn list<S: OrderedSet + ?Sized>(
    set: &S,
    frame: &mut Frame,
    span: Span,
    lists: Lists,
) -> Result<Option<RecordId>, ReconcileError<S::Error>> {
    let mut room = frame.room_for_list();
    let mut ids: Vec<RecordId> = Vec::new();
    let mut rest = span;
    let mut last = span.from.time();
    loop {
        let batch = set.list(rest, BATCH).map_err(ReconcileError::Set)?;
        let full = batch.len() == BATCH;
        for id in batch {
            let bytes = wire::listed_len(last, &id, lists == Lists::Timed);
            if bytes > room {
                if !ids.is_empty() {
                    frame.skip_to(&span.from);
                    frame.list(&Span { from: span.from, to: id }, &ids, lists == Lists::Timed);
                }
                return Ok(Some(if ids.is_empty() { span.from } else { id }));
            }
            room -= bytes;
            last = id.time();
            ids.push(id);
        }
        match ids.last() {
            Some(last) if full => rest.from = wire::successor(last),
            _ => break,
        }
    }
    let mark = frame.mark();
    frame.skip_to(&span.from);
    frame.list(&span, &ids, lists == Lists::Timed);
    if frame.fits() {
        Ok(None)
    } else {
        frame.reset(mark);
        Ok(Some(span.from))
    }
}

/// Ends a frame that has no more room: everything from `from` on is one fingerprint, which the
/// other side finds to differ.
fn close<S: OrderedSet + ?Sized>(
    set: &S,
    frame: &mut Frame,
    from: RecordId,
) -> Result<(), ReconcileError<S::Error>> {
    let rest = set.sum(Span { from, to: Span::end() }).map_err(ReconcileError::Set)?;
    frame.skip_to(&from);
    frame.fingerprint(&Span::end(), 0, &rest.fingerprint());
    Ok(())
}

/// What one answer showed. The time is unknown where lists are bare.
#[derive(Debug, Default)]
struct Found {
    need: Vec<([u8; 32], Option<Time>)>,
    have: Vec<RecordId>,
    missing: Vec<Span>,
    reply: Option<Vec<u8>>,
}

impl Found {
    /// Compares the peer's list of a range with the set. Returns where it stopped, when the peer
    /// lacks more ids than one round may find.
    fn take_list<S: OrderedSet + ?Sized>(
        &mut self,
        set: &S,
        span: Span,
        theirs: Vec<([u8; 32], Option<Time>)>,
    ) -> Result<Option<RecordId>, ReconcileError<S::Error>> {
        let order = theirs.clone();
        let mut theirs: BTreeMap<[u8; 32], Option<Time>> = theirs.into_iter().collect();
        let mut rest = span;
        let mut cut = None;
        'own: loop {
            let batch = set.list(rest, BATCH).map_err(ReconcileError::Set)?;
            for id in &batch {
                if theirs.remove(&id.hash()).is_some() {
                    continue;
                }
                if self.have.len() >= limits::HAVES {
                    cut = Some(*id);
                    break 'own;
                }
                self.have.push(*id);
            }
            match batch.last() {
                Some(last) if batch.len() == BATCH => rest.from = wire::successor(last),
                _ => break,
            }
        }
        for (hash, time) in order {
            // Past the cut the range is compared again, and what is needed there is found then.
            let is_past = match (time, cut) {
                (Some(time), Some(cut)) => RecordId::from_parts(time, hash) >= cut,
                _ => false,
            };
            if !is_past && theirs.remove(&hash).is_some() {
                self.need.push((hash, time));
            }
        }
        Ok(cut)
    }
}

#[cfg(test)]
mod tests;
