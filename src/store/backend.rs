//! The seam under the store: what a key-value engine must do to carry it.

use ocm_node::storage::{Batch, Key, ReadError, Value};
use thiserror::Error;

/// Bytes of a value, at most. A record takes 62 KiB and a little; an engine may keep larger values
/// in side files whose durability it does not promise.
pub const VALUE_BYTES: usize = 64 * 1024;

/// Bytes of a key, at most.
pub const KEY_BYTES: usize = 512;

/// An ordered key-value engine with atomic batches.
///
/// One thread writes (`apply`, `flush`, `close`); any number read at the same time. After an error
/// from `apply` or `flush` nothing is known about what was written since the last good `flush`, and
/// nothing more may be written.
pub trait Backend: Send + Sync + 'static {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the entry is damaged, else [`StoreError::Io`] or
    /// [`StoreError::Closed`].
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError>;

    /// The first `limit` entries with `from <= key < to` in the given direction. While `apply` runs
    /// an answer may contain a part of its batch.
    ///
    /// # Errors
    /// As [`Backend::get`]; an answer is never shortened by damage.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Value)>, StoreError>;

    /// Writes the batch: after a crash, all of it is there or nothing.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] before anything is written; any other poisons the store.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Makes everything applied so far survive a power cut.
    ///
    /// # Errors
    /// Any poisons the store.
    fn flush(&self) -> Result<(), StoreError>;

    /// Gives up files and locks. Every later call fails with [`StoreError::Closed`]; closing again
    /// does nothing.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the engine cannot end in order.
    fn close(&self) -> Result<(), StoreError>;
}

/// Which end of a range to begin at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key upwards.
    Ascending,
    /// From the largest key downwards.
    Descending,
}

/// What can go wrong in an engine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{action}: {cause}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        cause: String,
    },
    /// A checksum does not fit, or the engine found its own structure broken.
    #[error("{action}: damaged: {cause}")]
    Corrupt {
        /// What was being done.
        action: &'static str,
        /// What the engine found.
        cause: String,
    },
    /// The engine's structure is broken: it gave up, or panicked. What else can be read is unknown.
    #[error("{action}: the engine gave up: {cause}")]
    Broken {
        /// What was being done.
        action: &'static str,
        /// The engine's last words.
        cause: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A key or a value is over its limit; nothing was written.
    #[error("a {what} of {bytes} bytes is over the limit of {limit}: split it")]
    TooLarge {
        /// `key` or `value`.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// [`KEY_BYTES`] or [`VALUE_BYTES`].
        limit: usize,
    },
}

impl StoreError {
    /// An error of the operating system while doing `action`.
    #[allow(clippy::needless_pass_by_value)]
    pub fn io(action: &'static str, error: std::io::Error) -> Self {
        Self::Io { action, cause: error.to_string() }
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } | StoreError::Broken { .. } => {
                ReadError::Corrupt(error.to_string())
            }
            _ => ReadError::Io(error.to_string()),
        }
    }
}

/// Checks the sizes of every key and value of a batch.
///
/// # Errors
/// [`StoreError::TooLarge`] names the first that is over its limit.
pub fn check_sizes(batch: &Batch) -> Result<(), StoreError> {
    for (key, value) in &batch.writes {
        let value = value.as_ref().map_or(0, Vec::len);
        for (what, bytes, limit) in [("key", key.len(), KEY_BYTES), ("value", value, VALUE_BYTES)] {
            if bytes > limit {
                return Err(StoreError::TooLarge { what, bytes, limit });
            }
        }
    }
    Ok(())
}
