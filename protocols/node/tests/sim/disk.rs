//! A disk that keeps what was flushed and forgets the rest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ocm_node::BatchId;
use ocm_node::layout::{self, SpaceEntry, SpaceNumber};
use ocm_node::storage::{Batch, Key, ReadError, Reader, Value};
use ocm_record::{RecordId, Set, SpaceId};
use ocm_sync::Sum;

/// What was flushed, and the batches on their way in their order.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) durable: BTreeMap<Key, Value>,
    queue: VecDeque<(BatchId, Batch)>,
}

impl Disk {
    pub(crate) fn submit(&mut self, batch: BatchId, writes: Batch) {
        self.queue.push_back((batch, writes));
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Makes the oldest batches durable. Gives their names and the records that they wrote.
    pub(crate) fn flush(&mut self, batches: usize) -> (Vec<BatchId>, Vec<(Key, Value)>) {
        let (mut names, mut records) = (Vec::new(), Vec::new());
        for _ in 0..batches.min(self.queue.len()) {
            let Some((name, batch)) = self.queue.pop_front() else { break };
            names.push(name);
            let sets = ocm_node::sets::follow(&batch.writes, self).unwrap().0;
            for (key, value) in batch.writes.into_iter().chain(sets) {
                match value {
                    Some(value) => {
                        if key[0] == b'r' {
                            let record = layout::unseal(&value).expect("a record is sealed");
                            records.push((key.clone(), record.to_vec()));
                        }
                        self.durable.insert(key, value);
                    }
                    None => {
                        let before = self.durable.remove(&key);
                        if let (Some(bytes), Some((_, _, id))) = (before, layout::record_of(&key)) {
                            let whole = ocm_node::view::read_verified(&bytes, &id).is_ok();
                            assert!(!whole, "nothing deletes a record but a damaged one");
                        }
                    }
                }
            }
        }
        (names, records)
    }

    /// Power is lost: what was not flushed is gone.
    pub(crate) fn crash(&mut self) {
        self.queue.clear();
    }

    pub(crate) fn spaces(&self) -> BTreeMap<SpaceId, SpaceNumber> {
        let (from, to) = layout::spaces();
        self.durable
            .range(from..to)
            .map(|(key, value)| {
                let entry: SpaceEntry = ocm_record::from_canonical(value).unwrap();
                (entry.id, layout::number_of(key).unwrap())
            })
            .collect()
    }

    pub(crate) fn ids(&self, space: SpaceNumber, set: Set) -> BTreeSet<RecordId> {
        let (from, to) = layout::records(space, set);
        self.durable.range(from..to).map(|(key, _)| layout::last_id(key).unwrap()).collect()
    }

    /// The bytes of a record, whichever set it is in.
    pub(crate) fn record(&self, space: SpaceNumber, id: &RecordId) -> Option<&[u8]> {
        let value = [Set::Authority, Set::Content]
            .into_iter()
            .find_map(|set| self.durable.get(&layout::record(space, set, id)))?;
        Some(layout::unseal(value).unwrap())
    }

    pub(crate) fn holds(&self, space: &SpaceId, id: &RecordId) -> bool {
        self.spaces().get(space).is_some_and(|number| self.record(*number, id).is_some())
    }

    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        self.durable.contains_key(key)
    }

    /// The sum of the sets, and of the records that are there.
    pub(crate) fn sums(&self) -> (Sum, Sum) {
        let records = self.durable.range(vec![b'r']..vec![b's']).map(|(key, _)| key);
        let found = records.map(|key| Sum::of(&layout::last_id(key).unwrap()));
        let found = found.fold(Sum::EMPTY, |sum, one| sum.plus(&one));
        (ocm_node::sets::total(self).unwrap(), found)
    }

    fn range(&self, from: &[u8], to: &[u8]) -> impl DoubleEndedIterator<Item = (Key, Value)> {
        let to = if to < from { from } else { to };
        self.durable
            .range(from.to_vec()..to.to_vec())
            .map(|(key, value)| (key.clone(), value.clone()))
    }
}

impl Reader for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        Ok(self.durable.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, ReadError> {
        Ok(self.range(from, to).take(limit).collect())
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, ReadError> {
        Ok(self.range(from, to).rev().take(limit).collect())
    }
}
