//! Views: memories as people read them.
//!
//! The signed records are the truth; everything here is made from them and can be thrown away.
//! Two kinds of view exist:
//!
//! - A **row** per memory, kept in the store with an index of the terms that occur in the rows, is
//!   what lists and filters read. It is made off the
//!   path of admission: every batch that stores records lists their memories, and
//!   [`Views::settle`] makes the rows and takes the list away with the last of them. A crash in
//!   between leaves the list.
//! - A **reading** of one memory, never kept: all its records are read, checked and rendered
//!   again for every answer.
//!
//! Whatever reads, verifies or renders runs on a blocking thread. Edits start from a reading, so
//! they live here too.

mod count;
mod edit;
mod error;
mod find;
mod index;
mod list;
mod read;
mod row;
mod settle;
mod term;
mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ocm_node::storage::Reader;
use tokio::sync::Mutex;

pub use count::Count;
pub use error::ViewError;
pub use find::{MemoryPlace, RecordPlace};
pub use list::{Filter, Item, Page};
pub use read::{Reading, StoredRecord};
pub use row::Row;
pub use term::Area;

use crate::handle::Handle;

/// Limits of views.
pub mod limits {
    /// How far ahead of this node's clock the records may be that an edit builds on: ten years, in
    /// milliseconds. An edit is later than all it builds on, and so is all that its author writes
    /// next: more would let one record take the times from a node that it needs for its own. A
    /// clock that is only wrong is seldom wrong by as much, and what it wrote is built on.
    pub const BUILD_ON_AHEAD_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1000;
    /// Memories rendered in one batch: with rows of 40 KiB, what one batch of the store may have.
    pub const SETTLE_MEMORIES: usize = 256;
    /// Items of one page of a list, at most.
    pub const PAGE: usize = 500;
    /// Rows, and blocks of the index, that one page of a list looks at. A page that has looked at
    /// that many ends, full or not, with the cursor to go on from; and so does a count.
    pub const PAGE_LOOKS: usize = 20_000;
    /// How long a list waits for rows that are due.
    pub const LIST_WAIT: std::time::Duration = std::time::Duration::from_secs(2);
    /// Ids that are named when a prefix is not unique.
    pub const CANDIDATES: usize = 5;
    /// Looks at a few records each that the search for a prefix takes.
    pub const PREFIX_LOOKS: usize = 1000;
    /// Characters after the `v` of an id's shortest prefix.
    pub const PREFIX_CHARS: usize = 4;
    /// How long rows wait for a peer that is serving large parts of a space.
    pub const FILLED_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);
    /// Rows below which they are not worth a second core.
    pub const ROWS_A_CORE: usize = 32;
    /// How long records are gathered before their rows are made.
    pub const GATHERED_FOR: std::time::Duration = std::time::Duration::from_millis(100);
    /// Lists that [`super::Views::unrendered`] counts in one space.
    pub const UNRENDERED_LISTS: usize = 4096;
    /// Characters of the reason that a row keeps.
    pub const CAUSE_CHARS: usize = 300;
}

/// Locks that edits share: two edits of one memory always meet at the same one, and then the
/// second builds on the first instead of beside it.
const STRIPES: usize = 64;

/// The views of a node. Cloning is cheap; all clones are one.
#[derive(Clone)]
pub struct Views(Arc<Inner>);

struct Inner {
    handle: Handle,
    /// Held while rows are made.
    settling: Mutex<()>,
    /// Held from reading a memory until the edit made on it is durable.
    edits: [Mutex<()>; STRIPES],
    resolved: AtomicU64,
}

impl Views {
    /// The views of the node behind this handle, of which there may be no others: what makes rows
    /// rests on being alone. [`Views::run`] keeps them up to date.
    #[must_use]
    pub(crate) fn new(handle: Handle) -> Self {
        Self(Arc::new(Inner {
            handle,
            settling: Mutex::new(()),
            edits: std::array::from_fn(|_| Mutex::new(())),
            resolved: AtomicU64::new(0),
        }))
    }

    /// How many concurrent values later edits have made one, in the rows made by this process:
    /// only ever grows.
    #[must_use]
    pub fn resolved(&self) -> u64 {
        self.0.resolved.load(Ordering::Relaxed)
    }

    fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// Runs something that reads or computes for long away from the async threads.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&(dyn Reader + Send + Sync)) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        let reader = self.handle().reader().clone();
        match tokio::task::spawn_blocking(move || work(&*reader)).await {
            Ok(result) => result,
            Err(error) => Err(ViewError::Aborted(error.to_string())),
        }
    }
}

#[cfg(test)]
pub(crate) mod harness;
#[cfg(test)]
mod tests;
