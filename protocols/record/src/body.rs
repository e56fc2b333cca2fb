//! The body: what a header commits to by hash.

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::cbor::{NotCanonical, from_canonical, to_canonical};
use crate::id::RecordId;
use crate::limits;

/// Random bytes at the start of a body: they keep the hash that outlives an erased body from
/// confirming a guess at what it said.
pub const SALT_LEN: usize = 16;

/// A body: salt, lineage, content (`protocols/README.md`, section 4).
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// Random bytes, drawn by the author.
    pub salt: [u8; SALT_LEN],
    /// Records this was derived from or is evidence for.
    pub lineage: Vec<RecordId>,
    /// A list of edits in a change (kind 4), a map in the other kinds.
    pub content: Ipld,
}

/// Why a body that matches its hash says nothing. No ground for a verdict: such a record is
/// admitted and has no effect, alike on every node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not canonical, or not an array of salt, lineage, content.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// More lineage than a body may carry.
    #[error("a body names at most {max} records as its lineage, this names {0}", max = limits::LINEAGE)]
    Lineage(usize),
}

#[derive(Serialize, Deserialize)]
struct Wire(ByteArray<SALT_LEN>, Vec<RecordId>, Ipld);

impl Body {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        to_canonical(&Wire(ByteArray::new(self.salt), self.lineage.clone(), self.content.clone()))
    }

    /// Reads a body.
    ///
    /// # Errors
    /// When the bytes are not a body: the record that carries them has no effect.
    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let Wire(salt, lineage, content) = from_canonical(bytes)?;
        if lineage.len() > limits::LINEAGE {
            return Err(BodyError::Lineage(lineage.len()));
        }
        Ok(Self { salt: salt.into_array(), lineage, content })
    }
}
