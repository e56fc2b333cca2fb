//! What can go wrong with views and edits.

use ocm_memory::{PatchError, TakeError};
use ocm_node::CommandError;
use ocm_node::storage::ReadError;
use ocm_record::{MemoryId, RecordId, SpaceId};

use crate::handle::Stopping;

/// Why a view cannot be shown, or an edit not be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ViewError {
    /// The text is no id and no prefix of one.
    #[error("{0:?} is no id: an id is `v` and 64 characters of 0-9 a-v; its beginning will do, with at least {min} characters after the `v`", min = super::limits::PREFIX_CHARS)]
    NoId(String),
    /// Nothing here has that id.
    #[error("no {what} with an id that begins with {prefix} is held here")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// The text that was given.
        prefix: String,
    },
    /// Several have an id that begins so.
    #[error("several {what} have an id that begins with {prefix}: give more of it")]
    Ambiguous {
        /// What was looked for.
        what: &'static str,
        /// The text that was given.
        prefix: String,
        /// Some of them.
        candidates: Vec<RecordId>,
    },
    /// Too many records have an id that begins so to look at them all.
    #[error("too many records have an id that begins with {0}: give more of it")]
    TooShort(String),
    /// The memory has no change that could be read.
    #[error("memory {0} is not held here")]
    NoMemory(MemoryId),
    /// The space is not held here.
    #[error("space {0} is not held here: join it first, or see `ocm space list`")]
    NoSpace(SpaceId),
    /// The content or the patch makes no edits.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The value cannot be taken.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// The edits do not fit into one record.
    #[error(
        "the change has {size} bytes, at most {limit} fit into one record: split it, or keep large content in an attachment"
    )]
    TooLarge {
        /// Bytes of the body.
        size: usize,
        /// What they may be.
        limit: usize,
    },
    /// The core would not write the record.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store cannot be written: the node is about to stop.
    #[error("the store cannot be written: {0}")]
    Write(String),
    /// Work ended before its result: a fault in this program.
    #[error("the work was ended before its result: {0}")]
    Aborted(String),
    /// The node is stopping.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}
