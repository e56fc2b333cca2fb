//! The read side: exactly what is durable, while the writer is at work beneath it.
//!
//! Between writing a group of batches and the end of its flush the engine shows what a crash may
//! still take back. So the writer first notes what lay under every key it is about to touch, in the
//! *veil*, and lifts the veil when the group is durable. A read looks through the veil at the
//! engine: it sees the group whole or not at all, and never waits for a flush.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ocm_node::storage::{Key, ReadError, Reader, Value};

use super::backend::{Backend, Direction, StoreError};

/// What lay under the keys that are being written; `None` where nothing did.
type Veil = BTreeMap<Key, Option<Value>>;

/// A handle for reading, cheap to clone and to share between threads.
#[derive(Clone)]
pub struct StoreReader {
    backend: Arc<dyn Backend>,
    veil: Arc<RwLock<Veil>>,
}

impl std::fmt::Debug for StoreReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreReader").finish_non_exhaustive()
    }
}

impl StoreReader {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, veil: Arc::default() }
    }

    /// Hides what is about to be written under these keys, until [`StoreReader::unveil`].
    pub(super) fn veil(&self, before: Veil) {
        *self.veil.write().unwrap_or_else(PoisonError::into_inner) = before;
    }

    /// Shows what was written.
    pub(super) fn unveil(&self) {
        self.veil(Veil::new());
    }

    /// The store as it is now, for as long as this is held: several reads are then of one moment.
    /// Commits wait meanwhile, so hold it for milliseconds and never while waiting for anything.
    pub fn moment(&self) -> Moment<'_> {
        let veil = self.veil.read().unwrap_or_else(PoisonError::into_inner);
        Moment { backend: &*self.backend, veil }
    }
}

impl Reader for StoreReader {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        self.moment().get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, ReadError> {
        self.moment().scan(from, to, limit)
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, ReadError> {
        self.moment().scan_back(from, to, limit)
    }
}

/// The store as it was when [`StoreReader::moment`] was called.
pub struct Moment<'a> {
    backend: &'a dyn Backend,
    veil: RwLockReadGuard<'a, Veil>,
}

impl Moment<'_> {
    fn read_range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Value)>, StoreError> {
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        let inside = (Bound::Included(from), Bound::Excluded(to));
        let hidden: Vec<_> = self.veil.range::<[u8], _>(inside).collect();
        if hidden.is_empty() {
            return self.backend.scan(from, to, limit, direction);
        }
        // Each hidden key takes the place of at most one entry, so that enough remain.
        let wanted = limit.saturating_add(hidden.len());
        let below = self.backend.scan(from, to, wanted, direction)?;
        let mut merged: BTreeMap<Key, Value> =
            below.into_iter().filter(|(key, _)| !self.veil.contains_key(key)).collect();
        for (key, before) in hidden {
            if let Some(value) = before {
                merged.insert(key.clone(), value.clone());
            }
        }
        Ok(match direction {
            Direction::Ascending => merged.into_iter().take(limit).collect(),
            Direction::Descending => merged.into_iter().rev().take(limit).collect(),
        })
    }
}

impl Reader for Moment<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        match self.veil.get(key) {
            Some(before) => Ok(before.clone()),
            None => Ok(self.backend.get(key)?),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, ReadError> {
        Ok(self.read_range(from, to, limit, Direction::Ascending)?)
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, ReadError> {
        Ok(self.read_range(from, to, limit, Direction::Descending)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::{MemoryBackend, MemoryDisk};
    use super::*;
    use ocm_node::storage::Batch;
    use proptest::prelude::*;

    proptest! {
        /// Whatever a half-written group did below, a veiled read is the read before it.
        #[test]
        fn a_veiled_read_is_the_read_before(
            old in prop::collection::btree_map(0u8..40, any::<u8>(), 0..30),
            new in prop::collection::btree_map(0u8..40, any::<Option<u8>>(), 0..30),
            applied in 0usize..30,
            (from, to) in (0u8..45, 0u8..45),
            limit in 0usize..12,
        ) {
            let backend = Arc::new(MemoryBackend::open(MemoryDisk::new()));
            let mut batch = Batch::new();
            for (key, value) in &old {
                batch.put([*key], [*value]);
            }
            backend.apply(&batch).unwrap();
            let reader = StoreReader::new(backend.clone());
            let read = |reader: &StoreReader| (
                reader.scan(&[from], &[to], limit).unwrap(),
                reader.scan_back(&[from], &[to], limit).unwrap(),
                (0..40).map(|key| reader.get(&[key]).unwrap()).collect::<Vec<_>>(),
            );
            let before = read(&reader);
            reader.veil(
                new.keys().map(|key| (vec![*key], old.get(key).map(|value| vec![*value]))).collect(),
            );
            let mut batch = Batch::new();
            for (key, value) in new.iter().take(applied) {
                batch.writes.push((vec![*key], value.map(|value| vec![value])));
            }
            backend.apply(&batch).unwrap();
            prop_assert_eq!(read(&reader), before);
            reader.unveil();
            for (key, value) in new.iter().take(applied) {
                prop_assert_eq!(reader.get(&[*key]).unwrap(), value.map(|value| vec![value]));
            }
        }
    }
}
