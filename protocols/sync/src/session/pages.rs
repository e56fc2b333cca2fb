//! Pages of records that a peer gives, sorted out.

use std::collections::BTreeSet;

use ocm_record::{Malformed, RecordId, SignedRecord};
use serde_bytes::ByteBuf;

use super::{Failure, Session};
use crate::limits;
use crate::message::Page;
use crate::set::{Span, successor};

impl Session {
    /// Sorts out a page: what was asked for goes to admission, the rest of what was asked is asked
    /// again, and anything else ends the session once the good part is admitted.
    pub(super) fn take_page(&mut self, asked: Vec<RecordId>, page: &Page) -> Vec<SignedRecord> {
        let mut open: BTreeSet<RecordId> = asked.iter().copied().collect();
        let mut records = Vec::with_capacity(page.records.len());
        let mut unreadable = 0;
        for bytes in &page.records {
            match SignedRecord::decode(bytes) {
                Ok(record) if record.kind().set() == self.set && open.remove(&record.id()) => {
                    records.push(record);
                }
                Ok(record) => self.end = Some(Failure::NotAsked(record.id())),
                // No fault of the sender's, but which id it settles cannot be told.
                Err(Malformed::Version(_)) => unreadable += 1,
                Err(e) => self.end = Some(Failure::Malformed(e)),
            }
        }
        let (mut absent, mut misled) = (0, 0);
        for id in &page.absent {
            if !open.remove(id) {
                self.end = Some(Failure::NotAsked(*id));
            } else if self.inferred.binary_search(id).is_ok() {
                misled += 1;
            } else {
                absent += 1;
            }
        }
        // Pages come in the order of the ids, so the first that are open are the likeliest.
        for _ in 0..unreadable {
            open.pop_first();
        }
        if open.len() == asked.len() && self.end.is_none() {
            self.end = Some(Failure::Stalled);
        }
        for id in asked.into_iter().rev().filter(|id| open.contains(id)) {
            self.need.push_front(id);
        }
        let tally = self.tally();
        tally.unreadable += unreadable;
        tally.absent += absent;
        tally.misled += misled;
        if tally.misled > limits::SESSION_MISLED {
            // Somebody made ids for this: the exact pass, which comes next, infers nothing.
            self.inferred.clear();
            self.need.clear();
            self.reply = None;
        }
        let all_absent = self.outcome.authority.absent + self.outcome.content.absent;
        if all_absent > limits::SESSION_ABSENT && self.end.is_none() {
            self.end = Some(Failure::Absent(all_absent));
        }
        records
    }

    /// Sorts out a page of a range: what lies in it, in its order, goes to admission; the rest of
    /// the range is asked for next; anything else ends the session once the good part is admitted.
    pub(super) fn take_range(
        &mut self,
        span: Span,
        page: &[ByteBuf],
        next: Option<RecordId>,
    ) -> Vec<SignedRecord> {
        let mut records = Vec::with_capacity(page.len());
        let mut from = span.from;
        for bytes in page {
            match SignedRecord::decode(bytes) {
                Ok(record) if record.kind().set() == self.set => {
                    let id = record.id();
                    if !(Span { from, to: span.to }).contains(&id) {
                        self.end = Some(Failure::NotAsked(id));
                        break;
                    }
                    from = successor(&id);
                    records.push(record);
                }
                Ok(record) => self.end = Some(Failure::NotAsked(record.id())),
                // No fault of the sender's.
                Err(Malformed::Version(_)) => self.tally().unreadable += 1,
                Err(e) => self.end = Some(Failure::Malformed(e)),
            }
        }
        // An honest peer has something of a range that it was found to differ in.
        self.barren += u32::from(records.is_empty());
        if self.barren > limits::SESSION_BARREN {
            self.end.get_or_insert(Failure::Stalled);
        }
        match next {
            None => {}
            Some(next)
                if page.is_empty() || next < from.max(successor(&span.from)) || next >= span.to =>
            {
                self.end.get_or_insert(Failure::Stalled);
            }
            Some(next) => self.missing.push_front(Span { from: next, to: span.to }),
        }
        records
    }
}
