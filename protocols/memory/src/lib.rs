//! From edits to Automerge changes to a view, and from a JSON patch to edits.
//!
//! The rules are specified in `protocols/README.md`, sections 4 and 7. This crate imports no
//! clock, no socket and no source of randomness.
//!
//! ```text
//! JSON, JSON merge patch ──create_edits, Document::patch──▶ edits ──▶ body of a signed record
//!
//! VerifiedRecords of one memory ──Document::build, add──▶ Document ──▶ content, history,
//!   each one Automerge change, at exactly the heads it names           conflicts, voids
//! ```
//!
//! The signed records are the truth; a [`Document`] is a view that can be thrown away and built
//! again. Its content is a function of the *set* of records: every order of arrival gives the
//! same. A record that cannot take effect is *void* as a whole: it stays in its place, changes
//! nothing, and is listed with the reason.
//!
//! Automerge is only ever given what this crate made out of verified records, and a panic inside
//! it ends the rendering of one memory, with [`RenderError::Panicked`], and nothing else.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod apply;
mod conflict;
mod differ;
mod document;
mod edit;
mod first;
mod history;
mod merge;
mod past;
mod path;
mod records;
mod render;
mod run;
mod summary;
mod text;
mod tree;
mod value;

pub use apply::Misfit;
pub use conflict::{Conflict, ConflictValue, TakeError};
pub use differ::{PatchError, create_edits};
pub use document::{Document, RenderError, Void};
pub use edit::{Edit, EditError, check_edits, decode_edits, encode_edits};
pub use first::{content_of, first_content};
pub use history::HistoryEntry;
pub use merge::merge_patch;
pub use past::PastLimit;
pub use path::{Path, Step};
pub use summary::{Place, Summary};

/// Limits of a memory, fixed by the protocol (`protocols/README.md`, section 9): every node must
/// draw them alike, so none is configuration. A record past one of them is void.
pub mod limits {
    /// Edits in one record.
    pub const EDITS: usize = 1_000;
    /// Steps of a path.
    pub const PATH_STEPS: usize = 16;
    /// Levels of lists and maps in a value; a number or a text has none.
    pub const VALUE_DEPTH: usize = 16;
    /// What one increment may add or take away: 2^32. Sums of 64 bits then cannot overflow,
    /// however many increments meet.
    pub const INCREMENT: i64 = 1 << 32;
    /// Characters that the splices of one record may delete: each costs as much as an inserted
    /// one, and would otherwise cost its author nothing. To remove more, begin a new text.
    pub const DELETED_CHARS: u64 = 16_384;
    /// Changes in a record's past, with itself.
    pub const PAST_CHANGES: u64 = 10_000;
    /// Bytes of bodies in a record's past, with its own: 8 MiB.
    pub const PAST_BYTES: u64 = 8 * 1024 * 1024;
    /// Records of one memory that are rendered: twice what the past of one record may hold. A
    /// memory with more, made of concurrent changes without end, is shown as too large.
    pub const RECORDS: usize = 20_000;
    /// Bytes of the records of one memory that are rendered: 32 MiB.
    pub const BYTES: usize = 32 * 1024 * 1024;
    /// Heads that a new record names: the newest ones.
    pub const HEADS: usize = ocm_record::limits::DEPS;
}
