//! Records that wait for what they build on.

use std::collections::{BTreeMap, BTreeSet};

use ocm_record::{RecordId, VerifiedRecord};

use crate::limits;
use crate::origin::Origin;

/// One record that waits.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) record: VerifiedRecord,
    pub(crate) origin: Origin,
    size: usize,
    missing: Vec<RecordId>,
}

/// A bounded buffer: per peer and in all, in records and bytes; the oldest go first, and come
/// again by anti-entropy.
#[derive(Debug, Default)]
pub(crate) struct HoldBuffer {
    next: u64,
    bytes: usize,
    held: BTreeMap<u64, Held>,
    by_id: BTreeMap<RecordId, u64>,
    waiting: BTreeMap<RecordId, BTreeSet<u64>>,
    by_source: BTreeMap<Origin, BTreeSet<u64>>,
}

impl HoldBuffer {
    /// Keeps a record until what is missing is here.
    pub(crate) fn insert(
        &mut self,
        record: VerifiedRecord,
        origin: Origin,
        missing: Vec<RecordId>,
    ) {
        if self.by_id.contains_key(&record.id()) || missing.is_empty() {
            return;
        }
        let number = self.next;
        self.next += 1;
        let size = record.header_bytes().len() + record.body_bytes().map_or(0, <[u8]>::len);
        self.bytes += size;
        self.by_id.insert(record.id(), number);
        for id in &missing {
            self.waiting.entry(*id).or_default().insert(number);
        }
        self.by_source.entry(origin.source()).or_default().insert(number);
        let source = origin.source();
        self.held.insert(number, Held { record, origin, size, missing });
        while self.by_source.get(&source).is_some_and(|of| of.len() > limits::HELD_PER_PEER) {
            let oldest = self.by_source.get(&source).and_then(|of| of.first().copied());
            self.remove(oldest);
        }
        while self.held.len() > limits::HELD_RECORDS || self.bytes > limits::HELD_BYTES {
            let oldest = self.held.keys().next().copied();
            self.remove(oldest);
        }
    }

    /// Takes out everything that waited for `id`.
    pub(crate) fn release(&mut self, id: &RecordId) -> Vec<Held> {
        let numbers = self.waiting.get(id).cloned().unwrap_or_default();
        numbers.into_iter().filter_map(|number| self.remove(Some(number))).collect()
    }

    pub(crate) fn contains(&self, id: &RecordId) -> bool {
        self.by_id.contains_key(id)
    }

    /// Records held.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every held record with what it waits for.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&VerifiedRecord, &[RecordId])> {
        self.held.values().map(|held| (&held.record, held.missing.as_slice()))
    }

    fn remove(&mut self, number: Option<u64>) -> Option<Held> {
        let number = number?;
        let held = self.held.remove(&number)?;
        self.bytes -= held.size;
        self.by_id.remove(&held.record.id());
        for id in &held.missing {
            if let Some(numbers) = self.waiting.get_mut(id) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.waiting.remove(id);
                }
            }
        }
        let source = held.origin.source();
        if let Some(numbers) = self.by_source.get_mut(&source) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(held)
    }
}
