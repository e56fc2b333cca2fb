//! Reading what is stored: records and the records of a memory, checked again as they are read.

use ocm_record::{MemoryId, RecordId, Set, SignedRecord, VerifiedRecord};

use crate::layout::{self, SpaceNumber};
use crate::storage::{ReadError, Reader};

/// Most records of one memory that are read: more than can have an effect
/// (`protocols/README.md`, section 9), so that twins beyond the limit cost nothing.
pub const MEMORY_RECORDS: usize = 20_000;

/// A stored record that is not what its key says: to be fetched again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored record {id} is damaged: {cause}")]
pub struct Damaged {
    /// Which record.
    pub id: RecordId,
    /// What is wrong with the bytes.
    pub cause: String,
}

/// Checks stored bytes again: form, id, body hash and signature.
///
/// # Errors
/// When the bytes are not the record `id`, whole and signed.
pub fn read_verified(bytes: &[u8], id: &RecordId) -> Result<VerifiedRecord, Damaged> {
    let damaged = |cause: String| Damaged { id: *id, cause };
    let signed = SignedRecord::decode(bytes).map_err(|e| damaged(e.to_string()))?;
    if signed.id() != *id {
        return Err(damaged(format!("the bytes are those of {}", signed.id())));
    }
    signed.verify().map_err(|e| damaged(e.to_string()))
}

/// The records of a memory, as stored: those that are whole, and those that are damaged.
#[derive(Debug, Default)]
pub struct MemoryRecords {
    /// Checked again, in the order of their ids.
    pub records: Vec<VerifiedRecord>,
    /// What could not be read.
    pub damaged: Vec<Damaged>,
}

/// Reads the records of a memory and checks each again.
///
/// # Errors
/// When the store as a whole cannot be read.
pub fn read_memory(
    store: &dyn Reader,
    space: SpaceNumber,
    memory: &MemoryId,
) -> Result<MemoryRecords, ReadError> {
    let (from, to) = layout::memory_records(space, memory);
    let mut read = MemoryRecords::default();
    let mut signed = Vec::new();
    for (key, _) in store.scan(&from, &to, MEMORY_RECORDS)? {
        let Some(id) = layout::last_id(&key) else { continue };
        let bytes = match store.get(&layout::record(space, Set::Content, &id)) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                read.damaged.push(Damaged { id, cause: "the record is gone".into() });
                continue;
            }
            Err(ReadError::Corrupt(cause)) => {
                read.damaged.push(Damaged { id, cause });
                continue;
            }
            Err(error) => return Err(error),
        };
        match SignedRecord::decode(&bytes) {
            Ok(record) if record.id() == id => signed.push(record),
            Ok(other) => read
                .damaged
                .push(Damaged { id, cause: format!("the bytes are those of {}", other.id()) }),
            Err(error) => read.damaged.push(Damaged { id, cause: error.to_string() }),
        }
    }
    let ids: Vec<_> = signed.iter().map(SignedRecord::id).collect();
    for (id, verdict) in ids.into_iter().zip(ocm_record::verify_batch(signed)) {
        match verdict {
            Ok(record) => read.records.push(record),
            Err(error) => read.damaged.push(Damaged { id, cause: error.to_string() }),
        }
    }
    Ok(read)
}
