//! The view of one memory.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ocm_record::{BodyError, Kind, MemoryId, RecordId, VerifiedRecord};
use serde_json::Value;

use crate::apply::Misfit;
use crate::conflict::{Conflict, TakeError, conflicts, take};
use crate::differ::{PatchError, diff};
use crate::edit::{Edit, EditError};
use crate::history::{HistoryEntry, history};
use crate::limits;
use crate::merge::merge_patch;
use crate::past::{PastLimit, Pasts};
use crate::path::Path;
use crate::records::{Arrival, Records};
use crate::render::View;
use crate::tree::Node;

/// Why a record has no effect: it is an empty change, alike on every node, and no fault that any
/// verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// Its body is not here: forgotten, or still to be fetched.
    #[error("the body is missing")]
    BodyMissing,
    /// Its body matches its hash and is not a body.
    #[error("the body is malformed: {0}")]
    Body(BodyError),
    /// Its content is no list of edits.
    #[error("the edits are malformed: {0}")]
    Edits(EditError),
    /// Its past is beyond a limit.
    #[error(transparent)]
    Limit(PastLimit),
    /// An edit does not fit the content at the heads that the record names.
    #[error("edit {edit} does not fit: {misfit}")]
    Misfit {
        /// Which, from 0.
        edit: usize,
        /// What is wrong with it.
        misfit: Misfit,
    },
}

/// Why a memory has no view. Its records are untouched, and other memories are not concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A panic was caught. The memory stays without a view until its records change.
    #[error("rendering panicked: {0}")]
    Panicked(String),
    /// Automerge refused a change that this node made itself.
    #[error("automerge refused a change: {0}")]
    Automerge(String),
    /// More than [`limits::RECORDS`], or [`limits::BYTES`] in them.
    #[error(
        "the memory is too large to be shown: at most {} records with {} bytes in all are",
        limits::RECORDS,
        limits::BYTES
    )]
    TooLarge,
    /// A record that does not belong here was passed; none of the call's records was taken.
    #[error("record {record} is no change of memory {memory}")]
    Foreign {
        /// The record.
        record: RecordId,
        /// The memory of the others.
        memory: MemoryId,
    },
}

impl From<automerge::AutomergeError> for RenderError {
    fn from(error: automerge::AutomergeError) -> Self {
        Self::Automerge(error.to_string())
    }
}

/// Runs what touches Automerge.
fn guarded<T, E: From<RenderError>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a message".into());
        Err(RenderError::Panicked(text.chars().take(200).collect()).into())
    })
}

/// The view of one memory: a function of the set of its records, in whatever order and portions
/// they came.
///
/// It keeps the records it was made of. After an error of [`Document::add`] the reading methods
/// return that error, until a later `add` succeeds.
#[derive(Debug, Clone)]
pub struct Document {
    memory: Option<MemoryId>,
    records: Records,
    pasts: Pasts,
    view: Result<View, RenderError>,
}

impl Document {
    /// Renders a memory from its records: changes (kind 4) of one memory, in any order, repeated
    /// or not. What they depend on and is not among them counts as an authority record.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn build(records: impl IntoIterator<Item = VerifiedRecord>) -> Result<Self, RenderError> {
        let mut document = Self {
            memory: None,
            records: Records::default(),
            pasts: Pasts::default(),
            view: Ok(View::new()),
        };
        document.add(records)?;
        Ok(document)
    }

    /// Adds records, in any order. The result is what [`Document::build`] makes of all of them;
    /// the cost is that of the new records, save when one comes late (an earlier one names it,
    /// its body was missing, or it is the twin of an earlier one): then all are rendered again.
    ///
    /// # Errors
    /// [`RenderError`]. The records are kept, except after [`RenderError::Foreign`].
    pub fn add(
        &mut self,
        records: impl IntoIterator<Item = VerifiedRecord>,
    ) -> Result<(), RenderError> {
        let mut new: Vec<VerifiedRecord> = records.into_iter().collect();
        new.sort_by_key(VerifiedRecord::id);
        self.check_memory(&new)?;

        let mut again = self.view.is_err();
        let mut appended = Vec::new();
        for record in new {
            let arrival = self.records.insert(record.clone());
            again |= match arrival {
                Arrival::Known | Arrival::Appended => false,
                Arrival::TwinOf(earlier) => {
                    self.view.as_ref().is_ok_and(|view| view.contains(&earlier))
                }
                Arrival::Late => true,
            };
            if arrival != Arrival::Known {
                appended.push(record);
            }
        }
        if again {
            self.render_anew()
        } else {
            self.pasts.add(&appended);
            self.render(&appended.iter().map(VerifiedRecord::id).collect())
        }
    }

    fn check_memory(&mut self, new: &[VerifiedRecord]) -> Result<(), RenderError> {
        let Some(memory) = self.memory.or_else(|| new.iter().find_map(VerifiedRecord::memory))
        else {
            return match new.first() {
                None => Ok(()),
                Some(odd) => {
                    let memory = MemoryId(odd.id());
                    Err(RenderError::Foreign { record: odd.id(), memory })
                }
            };
        };
        let foreign = |record: &&VerifiedRecord| {
            record.header().kind != Kind::CHANGE || record.memory() != Some(memory)
        };
        match new.iter().find(foreign) {
            Some(record) => Err(RenderError::Foreign { record: record.id(), memory }),
            None => {
                self.memory = Some(memory);
                Ok(())
            }
        }
    }

    fn render_anew(&mut self) -> Result<(), RenderError> {
        self.records = std::mem::take(&mut self.records).rebuilt();
        self.pasts = Pasts::default();
        self.pasts.add(self.records.iter());
        self.view = Ok(View::new());
        self.render(&self.records.iter().map(VerifiedRecord::id).collect())
    }

    fn render(&mut self, new: &BTreeSet<RecordId>) -> Result<(), RenderError> {
        self.pasts.count(&self.records);
        let Self { records, pasts, view, .. } = self;
        let rendered = match view {
            Ok(view) => guarded(|| view.render(records, pasts, new)),
            Err(error) => Err(error.clone()),
        };
        if let Err(error) = &rendered {
            self.view = Err(error.clone());
        }
        rendered
    }

    /// The view, while there is one.
    fn view(&self) -> Result<&View, RenderError> {
        self.view.as_ref().map_err(Clone::clone)
    }

    /// The memory; `None` while there is no record.
    #[must_use]
    pub fn memory(&self) -> Option<MemoryId> {
        self.memory
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.len() == 0
    }

    /// The content: a JSON object. Texts are strings, counters integers, bytes
    /// `{"/": {"bytes": "<base64 without padding>"}}`. Of concurrent values one is shown, the
    /// same on every node.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn content(&self) -> Result<Value, RenderError> {
        Ok(self.tree()?.to_json())
    }

    pub(crate) fn tree(&self) -> Result<Node, RenderError> {
        let view = self.view()?;
        guarded(|| Ok(Node::read(&view.doc)))
    }

    /// The records that no other record of the memory names, oldest first.
    #[must_use]
    pub fn heads(&self) -> Vec<RecordId> {
        self.records.heads().collect()
    }

    /// What a new record of this memory names in `deps`: its heads, and of more than
    /// [`limits::HEADS`] the newest. Sorted.
    #[must_use]
    pub fn deps_for_edit(&self) -> Vec<RecordId> {
        let mut newest: Vec<RecordId> = self.records.heads().rev().take(limits::HEADS).collect();
        newest.reverse();
        newest
    }

    /// The records without effect, oldest first, each with the reason.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn voids(&self) -> Result<Vec<(RecordId, Void)>, RenderError> {
        let void = |(id, rendered): (&RecordId, &crate::render::Rendered)| {
            rendered.outcome.as_ref().err().map(|void| (*id, void.clone()))
        };
        Ok(self.view()?.iter().filter_map(void).collect())
    }

    /// How many places with several concurrent values a later edit made one, over all records.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn resolved(&self) -> Result<u64, RenderError> {
        Ok(self.view()?.iter().filter_map(|(_, rendered)| rendered.outcome.as_ref().ok()).sum())
    }

    /// Who changed what, when, in which record: oldest first.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn history(&self) -> Result<Vec<HistoryEntry>, RenderError> {
        Ok(history(&self.records, self.view()?))
    }

    /// The places where several different values stand, written concurrently, in the order of
    /// their paths. Inside concurrent lists and maps only the shown one is looked into.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn conflicts(&self) -> Result<Vec<Conflict>, RenderError> {
        let view = self.view()?;
        guarded(|| Ok(conflicts(&self.records, view)?.iter().map(Conflict::from).collect()))
    }

    /// The edits that put the values which `record` wrote in the place of those that conflict
    /// with them: at `path`, or, without one, wherever it wrote one of several values.
    ///
    /// # Errors
    /// [`TakeError`].
    pub fn take(&self, path: Option<&Path>, record: RecordId) -> Result<Vec<Edit>, TakeError> {
        let view = self.view()?;
        guarded(|| take(&conflicts(&self.records, view)?, path, record))
    }

    /// The edits that turn the content into what a JSON merge patch (RFC 7396) makes of it: none
    /// for what stays equal, splices for collaborative texts, and for lists deletions and
    /// insertions around what stays. The top-level key `text` becomes collaborative text.
    ///
    /// # Errors
    /// [`PatchError`]. The size of the record's body is for the caller to check.
    pub fn patch(&self, patch: &Value) -> Result<Vec<Edit>, PatchError> {
        let current = self.tree()?;
        let target = merge_patch(&current.to_json(), patch);
        diff(&current, &target)
    }
}

#[cfg(test)]
mod vectors;
