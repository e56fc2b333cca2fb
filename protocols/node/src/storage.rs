//! What the core asks of a store: reads that may fail, and writes handed over as one batch.
//!
//! The core never writes. It fills a [`Batch`], gives it to the shell, and learns later that it is
//! durable. A [`Reader`] shows only what is durable, so that whatever is read may be served and
//! published; what the core has handed over and not yet seen acknowledged is for the core to
//! remember.

use ocm_record::Set;
use thiserror::Error;

use crate::layout::SpaceNumber;

/// A key: its first byte names what lies under it, integers in it are big-endian.
pub type Key = Vec<u8>;

/// A value.
pub type Value = Vec<u8>;

/// Writes that become durable together or not at all.
///
/// Where a key occurs twice, the later write counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Key and new value, in order; `None` deletes the key, which need not exist.
    pub writes: Vec<(Key, Option<Value>)>,
}

impl Batch {
    /// An empty batch. Submitted as it is, it writes nothing and is acknowledged when everything
    /// submitted before it is durable.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        self.writes.push((key.into(), Some(value.into())));
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl Into<Key>) {
        self.writes.push((key.into(), None));
    }

    /// Adds everything in `later` after what is here.
    pub fn append(&mut self, later: Batch) {
        self.writes.extend(later.writes);
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The number of writes.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The store as a whole cannot be read: the disk fails, or the store is closed. Stop, and start
    /// again.
    #[error("the store cannot be read: {0}")]
    Io(String),
    /// What is asked for is damaged on disk. The rest can be read: report it, fetch the record
    /// again from a peer, and go on.
    #[error("the store is damaged at what was read: {0}")]
    Corrupt(String),
    /// A set of a space is damaged, and can be made again from the records: delete its head, close
    /// the store, and open it again.
    #[error("the {set:?} set of space number {} cannot be read: {cause}", .space.0)]
    Set {
        /// The space.
        space: SpaceNumber,
        /// Which of its sets.
        set: Set,
        /// What is wrong.
        cause: String,
    },
}

/// The read side of a store.
///
/// Every answer is of one moment: a batch is seen whole or not at all, within one call. Ranges are
/// half-open, `from` included and `to` not; an empty or reversed range gives nothing. Two calls may
/// see different moments.
pub trait Reader {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when this entry is damaged, [`ReadError::Io`] when nothing can be
    /// read.
    fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError>;

    /// The first `limit` entries of the range, ascending.
    ///
    /// # Errors
    /// As [`Reader::get`], when any of the entries is damaged: an answer is never shortened.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, ReadError>;

    /// The last `limit` entries of the range, descending.
    ///
    /// # Errors
    /// As [`Reader::scan`].
    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, ReadError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_knows_its_size() {
        let mut first = Batch::new();
        assert!(first.is_empty());
        first.put(*b"key", *b"value");
        let mut second = Batch::new();
        second.delete(*b"gone");
        first.append(second);
        assert_eq!((first.len(), first.bytes()), (2, 12));
    }
}
