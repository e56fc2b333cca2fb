//! How much lies in a record's own past.

use std::collections::{BTreeMap, BTreeSet};

use ocm_record::{RecordId, VerifiedRecord};

use crate::limits;
use crate::records::Records;

/// Which limit on its own past a record is beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PastLimit {
    /// Past [`limits::PAST_CHANGES`].
    #[error("more than {max} changes lead to it: begin a new memory", max = limits::PAST_CHANGES)]
    Changes,
    /// Past [`limits::PAST_BYTES`].
    #[error("more than {max} bytes of changes lead to it: begin a new memory", max = limits::PAST_BYTES)]
    Bytes,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Past {
    changes: u64,
    bytes: u64,
}

impl Past {
    fn with(self, record: &VerifiedRecord) -> Self {
        // The size that the header tells, which stays when the body is erased.
        Self {
            changes: self.changes + 1,
            bytes: self.bytes.saturating_add(record.header().size.into()),
        }
    }

    fn check(self) -> Result<Self, PastLimit> {
        if self.changes > limits::PAST_CHANGES {
            Err(PastLimit::Changes)
        } else if self.bytes > limits::PAST_BYTES {
            Err(PastLimit::Bytes)
        } else {
            Ok(self)
        }
    }
}

/// What lies in the past of each record, itself included. Nothing is counted record by record
/// while the whole memory is within the limits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pasts {
    total: Past,
    counted: BTreeMap<RecordId, Result<Past, PastLimit>>,
}

impl Pasts {
    /// Takes note of records that are in the set now and were not before.
    pub(crate) fn add<'a>(&mut self, new: impl IntoIterator<Item = &'a VerifiedRecord>) {
        self.total = new.into_iter().fold(self.total, Past::with);
    }

    /// Counts where it must. To be called after [`Self::add`], before [`Self::check`].
    pub(crate) fn count(&mut self, records: &Records) {
        if self.total.check().is_ok() {
            return;
        }
        for record in records.iter() {
            if !self.counted.contains_key(&record.id()) {
                let past = self.past(records, record);
                self.counted.insert(record.id(), past);
            }
        }
    }

    /// The limit that a record is beyond, if any.
    pub(crate) fn check(&self, id: &RecordId) -> Option<PastLimit> {
        self.counted.get(id).and_then(|past| past.err())
    }

    fn past(&self, records: &Records, record: &VerifiedRecord) -> Result<Past, PastLimit> {
        let deps = records.deps(&record.id());
        let mut before = Past::default();
        for dep in &deps {
            // A past holds the pasts of all it names: it is beyond the limit with any of them.
            before = self.counted.get(dep).copied().unwrap_or(Ok(before))?;
        }
        if deps.len() > 1 {
            before = closure(records, deps)?;
        }
        before.with(record).check()
    }
}

/// Counts everything that `from` leads to, up to the limits.
fn closure(records: &Records, from: Vec<RecordId>) -> Result<Past, PastLimit> {
    let mut seen: BTreeSet<RecordId> = from.iter().copied().collect();
    let mut open = from;
    let mut past = Past::default();
    while let Some(record) = open.pop().and_then(|id| records.get(&id)) {
        past = past.with(record).check()?;
        open.extend(records.deps(&record.id()).into_iter().filter(|dep| seen.insert(*dep)));
    }
    Ok(past)
}
