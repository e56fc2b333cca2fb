//! Records that are whole but for their signature.

use crate::header::{Header, Kind};
use crate::id::{MemoryId, RecordId, SpaceId};
use crate::key::SigningKey;
use crate::limits;
use crate::record::{Malformed, SignedRecord};

/// A record that only its signature is missing from. No id covers a signature, so that records of
/// one log can name each other, one after the other, before any of them is signed: what decides
/// is quick, and what computes can be done later, elsewhere, on several cores.
#[derive(Debug, Clone)]
pub struct UnsignedRecord {
    id: RecordId,
    header: Header,
    header_bytes: Vec<u8>,
    body: Vec<u8>,
}

impl UnsignedRecord {
    pub(crate) fn new(header: Header, body: Vec<u8>) -> Result<Self, Malformed> {
        let header_bytes = header.encode();
        let (bytes, limit) = (header_bytes.len(), limits::HEADER_BYTES);
        if bytes > limit {
            return Err(Malformed::Size { what: "the header", bytes, limit });
        }
        let id = RecordId::of_header(header.time, &header_bytes);
        Ok(Self { id, header, header_bytes, body })
    }

    /// The id that the record will have.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// The space it belongs to; a genesis belongs to the space it begins.
    #[must_use]
    pub fn space(&self) -> SpaceId {
        if self.header.space == SpaceId::GENESIS { SpaceId(self.id) } else { self.header.space }
    }

    /// The memory it belongs to; for a change that starts one, that memory.
    #[must_use]
    pub fn memory(&self) -> Option<MemoryId> {
        match (self.header.kind, self.header.memory) {
            (Kind::CHANGE, None) => Some(MemoryId(self.id)),
            (_, memory) => memory,
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of its header and body.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.header_bytes.len() + self.body.len()
    }

    /// Signs it. With another key than the one it was prepared for, the result verifies nowhere.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedRecord {
        let signature = key.sign(&self.header_bytes);
        SignedRecord::assemble(self.id, self.header, &self.header_bytes, signature, &self.body)
    }
}
