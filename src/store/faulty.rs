//! An engine that fails on command, to prove what the store does when a disk does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ocm_node::storage::{Batch, Key, Value};

use super::backend::{Backend, Direction, StoreError};

/// Which calls fail, counted from 1 over the life of the engine; 0 means none.
#[derive(Debug, Default)]
pub struct Faults {
    /// This `apply` fails and writes nothing.
    pub apply: AtomicU64,
    /// This `apply` writes the first half of its batch, then fails.
    pub half_apply: AtomicU64,
    /// This `flush` fails.
    pub flush: AtomicU64,
    /// This `apply` panics.
    pub panic: AtomicU64,
    /// Every read fails as damaged from this one on.
    pub read: AtomicU64,
    /// The keys from the first to the second, excluded, cannot be read.
    pub damaged: Mutex<Option<(Key, Key)>>,
    applied: AtomicU64,
    flushed: AtomicU64,
    reads: AtomicU64,
}

impl Faults {
    fn due(at: &AtomicU64, now: u64) -> bool {
        at.load(Ordering::SeqCst) == now
    }
}

/// Wraps an engine and fails where [`Faults`] says.
#[derive(Debug)]
pub struct FaultyBackend<B> {
    inner: B,
    faults: Arc<Faults>,
}

impl<B: Backend> FaultyBackend<B> {
    /// Wraps `inner`; the faults may be set at any time.
    pub fn new(inner: B, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    fn check_read(&self) -> Result<(), StoreError> {
        let now = self.faults.reads.fetch_add(1, Ordering::SeqCst) + 1;
        let from = self.faults.read.load(Ordering::SeqCst);
        if from != 0 && now >= from {
            return Err(StoreError::Corrupt { action: "read", cause: "injected".to_owned() });
        }
        Ok(())
    }
}

fn injected(action: &'static str) -> StoreError {
    StoreError::Io { action, cause: "injected".to_owned() }
}

impl<B: Backend> Backend for FaultyBackend<B> {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.check_read()?;
        let damaged = self.faults.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if damaged.as_ref().is_some_and(|(from, to)| from.as_slice() <= key && key < to.as_slice())
        {
            return Err(StoreError::Corrupt { action: "read", cause: "injected".to_owned() });
        }
        self.inner.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Value)>, StoreError> {
        self.check_read()?;
        self.inner.scan(from, to, limit, direction)
    }

    #[allow(clippy::panic)]
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let now = self.faults.applied.fetch_add(1, Ordering::SeqCst) + 1;
        if Faults::due(&self.faults.apply, now) {
            return Err(injected("apply"));
        }
        if Faults::due(&self.faults.half_apply, now) {
            let mut half = batch.clone();
            half.writes.truncate(batch.len().div_ceil(2));
            self.inner.apply(&half)?;
            return Err(injected("apply (short write)"));
        }
        if Faults::due(&self.faults.panic, now) {
            panic!("injected panic");
        }
        self.inner.apply(batch)
    }

    fn flush(&self) -> Result<(), StoreError> {
        let now = self.faults.flushed.fetch_add(1, Ordering::SeqCst) + 1;
        if Faults::due(&self.faults.flush, now) {
            return Err(injected("flush"));
        }
        self.inner.flush()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}
