//! The row of a memory: what a list shows of it, kept in the store.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ocm_memory::{RenderError, Summary, first_content};
use ocm_node::layout::SpaceNumber;
use ocm_node::storage::{ReadError, Reader};
use ocm_node::view::{MemoryRecords, read_memories};
use ocm_record::{Did, MemoryId, SpaceId, Time, from_canonical, to_canonical};
use serde::{Deserialize, Serialize};

use super::MemoryPlace;
use super::limits::CAUSE_CHARS;
use super::read::Assembly;

/// The row of a memory. At most some 40 KiB, since all its texts are cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Who began the memory; `None` while the record that begins it cannot be read.
    pub author: Option<Did>,
    /// What its content says of itself; empty when it cannot be rendered.
    pub summary: Summary,
    /// The time of its latest record.
    pub updated: Time,
    /// How many records it has, damaged ones included.
    pub records: u64,
    /// How many of them no other one names.
    pub heads: u64,
    /// In how many places several concurrent values stand.
    pub conflicts: u64,
    /// How many concurrent values later edits made one.
    pub resolved: u64,
    /// Why the row does not show the whole memory: what is damaged, or cannot be rendered.
    pub cause: Option<String>,
}

impl Row {
    /// The bytes in the store.
    pub(super) fn encode(&self) -> Vec<u8> {
        to_canonical(self)
    }

    /// Reads a row back; `None` when the bytes are none, and it is to be made again.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        from_canonical(bytes).ok()
    }

    /// Makes the row of a memory from its records; `None` when nothing of it is here. A memory
    /// that cannot be rendered has a row that says so.
    pub(super) fn make(store: &dyn Reader, place: &MemoryPlace) -> Result<Option<Self>, ReadError> {
        Ok(Self::of(&Assembly::read(store, place)?))
    }

    /// Makes the rows of many memories of a space; those of which nothing is here are left out.
    pub(super) fn make_all(
        store: &dyn Reader,
        space: SpaceId,
        number: SpaceNumber,
        memories: &[MemoryId],
    ) -> Result<Vec<(MemoryId, Self)>, ReadError> {
        let mut rows = Vec::with_capacity(memories.len());
        let mut rest = memories;
        while !rest.is_empty() {
            for read in read_memories(store, number, rest) {
                let Some((memory, others)) = rest.split_first() else { break };
                rest = others;
                let place = MemoryPlace { space, number, memory: *memory };
                let row = match read.as_ref().ok().and_then(|read| Self::of_first(&place, read)) {
                    Some(row) => Some(row),
                    None => Self::of(&Assembly::of(&place, read)?),
                };
                rows.extend(row.map(|row| (*memory, row)));
            }
        }
        Ok(rows)
    }

    /// The row of a memory that is one record, whole and plain.
    fn of_first(place: &MemoryPlace, read: &MemoryRecords) -> Option<Self> {
        let [first] = &read.records[..] else { return None };
        let here = (first.space(), first.id()) == (place.space, place.memory.0);
        if !here || read.too_large || !read.damaged.is_empty() {
            return None;
        }
        Some(Self {
            author: Some(first.author()),
            summary: Summary::of(&first_content(first)?),
            updated: first.time(),
            records: 1,
            heads: 1,
            conflicts: 0,
            resolved: 0,
            cause: None,
        })
    }

    fn of(assembly: &Assembly) -> Option<Self> {
        if assembly.is_empty() {
            return None;
        }
        let shown = catch_unwind(AssertUnwindSafe(|| Shown::of(assembly)))
            .unwrap_or_else(|_| Err(RenderError::Panicked("while the row was made".into())));
        let (shown, failure) = match shown {
            Ok(shown) => (shown, None),
            Err(error) => (Shown::default(), Some(error.to_string())),
        };
        let cause = failure.or_else(|| assembly.faults.first().cloned());
        Some(Self {
            author: assembly.author(),
            summary: shown.summary,
            updated: assembly.updated(),
            records: assembly.count() as u64,
            heads: shown.heads,
            conflicts: shown.conflicts,
            resolved: shown.resolved,
            cause: cause.map(|cause| cause.chars().take(CAUSE_CHARS).collect()),
        })
    }
}

#[cfg(test)]
impl Row {
    /// A row without anything in it.
    pub(super) fn for_test() -> Self {
        Self {
            author: None,
            summary: Summary::default(),
            updated: Time::default(),
            records: 1,
            heads: 1,
            conflicts: 0,
            resolved: 0,
            cause: None,
        }
    }
}

#[derive(Default)]
struct Shown {
    summary: Summary,
    heads: u64,
    conflicts: u64,
    resolved: u64,
}

impl Shown {
    fn of(assembly: &Assembly) -> Result<Self, RenderError> {
        let document = assembly.document.as_ref().map_err(Clone::clone)?;
        let summary = Summary::of(&document.content()?);
        let heads = document.heads().len() as u64;
        // Nothing is concurrent with a record that is alone.
        if assembly.records.len() == 1 {
            return Ok(Self { summary, heads, ..Self::default() });
        }
        let conflicts = document.conflicts()?.len() as u64;
        Ok(Self { summary, heads, conflicts, resolved: document.resolved()? })
    }
}
