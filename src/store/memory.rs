//! An engine in memory that forgets like a disk: what was not flushed is lost in a crash.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ocm_node::storage::{Batch, Key, Value};

use super::backend::{Backend, Direction, StoreError, check_sizes};

/// The medium: it outlives the engines opened on it, as a disk outlives a process.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<RwLock<Content>>);

#[derive(Debug, Default)]
struct Content {
    /// What a read sees.
    now: BTreeMap<Key, Value>,
    /// Applied and not flushed, oldest first: what a crash loses, batch by batch.
    volatile: Vec<Batch>,
    /// What a crash leaves.
    durable: BTreeMap<Key, Value>,
}

impl MemoryDisk {
    /// An empty medium.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: of the batches that were not flushed the first `kept` stay, whole; the others
    /// are gone. (A disk may have written some of them by itself, in order.)
    pub fn crash(&self, kept: usize) {
        let mut content = self.write();
        let Content { now, volatile, durable } = &mut *content;
        for batch in volatile.drain(..).take(kept) {
            merge(durable, &batch);
        }
        now.clone_from(durable);
    }

    /// The number of batches that a crash would lose.
    pub fn volatile(&self) -> usize {
        self.read().volatile.len()
    }

    /// Removes a key from the medium behind the engine's back, as damage does.
    pub fn lose(&self, key: &[u8]) -> bool {
        let mut content = self.write();
        content.durable.remove(key);
        content.now.remove(key).is_some()
    }

    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn merge(into: &mut BTreeMap<Key, Value>, batch: &Batch) {
    for (key, value) in &batch.writes {
        match value {
            Some(value) => into.insert(key.clone(), value.clone()),
            None => into.remove(key),
        };
    }
}

/// An engine on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryBackend {
    disk: MemoryDisk,
    open: RwLock<bool>,
}

impl MemoryBackend {
    /// Opens the engine on `disk`.
    pub fn open(disk: MemoryDisk) -> Self {
        Self { disk, open: RwLock::new(true) }
    }

    fn check_open(&self) -> Result<(), StoreError> {
        let open = *self.open.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if open { Ok(()) } else { Err(StoreError::Closed) }
    }
}

impl Backend for MemoryBackend {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.check_open()?;
        Ok(self.disk.read().now.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Value)>, StoreError> {
        self.check_open()?;
        if from >= to {
            return Ok(Vec::new());
        }
        let content = self.disk.read();
        let range = content
            .now
            .range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
            .map(|(key, value)| (key.clone(), value.clone()));
        Ok(match direction {
            Direction::Ascending => range.take(limit).collect(),
            Direction::Descending => range.rev().take(limit).collect(),
        })
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.check_open()?;
        check_sizes(batch)?;
        let mut content = self.disk.write();
        merge(&mut content.now, batch);
        content.volatile.push(batch.clone());
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.check_open()?;
        let mut content = self.disk.write();
        let Content { volatile, durable, .. } = &mut *content;
        for batch in volatile.drain(..) {
            merge(durable, &batch);
        }
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        *self.open.write().unwrap_or_else(std::sync::PoisonError::into_inner) = false;
        Ok(())
    }
}
