//! Reading what is stored: records and the records of a memory, checked again as they are read.

use ocm_memory::limits;
use ocm_record::{MemoryId, RecordId, Set, SignedRecord, VerifiedRecord};

use crate::layout::{self, SpaceNumber};
use crate::storage::{ReadError, Reader};

/// Records of a memory that are read at once.
const PAGE: usize = 1024;

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

/// A content record as stored, read and not yet verified, and its size.
fn read_signed(
    store: &dyn Reader,
    space: SpaceNumber,
    id: &RecordId,
) -> Result<Result<(SignedRecord, usize), Damaged>, ReadError> {
    let damaged = |cause: String| Ok(Err(Damaged { id: *id, cause }));
    let bytes = match store.get(&layout::record(space, Set::Content, id)) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return damaged("the record is gone".into()),
        Err(ReadError::Corrupt(cause)) => return damaged(cause),
        Err(error) => return Err(error),
    };
    match SignedRecord::decode(&bytes) {
        Ok(record) if record.id() == *id => Ok(Ok((record, bytes.len()))),
        Ok(other) => damaged(format!("the bytes are those of {}", other.id())),
        Err(error) => damaged(error.to_string()),
    }
}

/// The changes of a memory, as stored: those that are whole, and those that are damaged.
#[derive(Debug, Default)]
pub struct MemoryRecords {
    /// Checked again, in the order of their ids.
    pub records: Vec<VerifiedRecord>,
    /// What could not be read.
    pub damaged: Vec<Damaged>,
    /// Whether there are more than [`limits::RECORDS`], or more than
    /// [`limits::BYTES`] in them: the first of them were read.
    pub too_large: bool,
}

/// Reads the records of a memory, those of kinds without an effect on its content among them, and
/// checks each again, up to a limit ([`MemoryRecords::too_large`]).
///
/// # Errors
/// When the store as a whole cannot be read.
pub fn read_memory(
    store: &dyn Reader,
    space: SpaceNumber,
    memory: &MemoryId,
) -> Result<MemoryRecords, ReadError> {
    let (mut from, to) = layout::memory_records(space, memory);
    let mut read = MemoryRecords::default();
    let mut signed = Vec::new();
    let mut bytes = 0;
    'pages: loop {
        let page = store.scan(&from, &to, PAGE)?;
        let Some((last, _)) = page.last() else { break };
        from = [last.as_slice(), &[0]].concat();
        for id in page.iter().filter_map(|(key, _)| layout::last_id(key)) {
            if signed.len() + read.damaged.len() >= limits::RECORDS || bytes >= limits::BYTES {
                read.too_large = true;
                break 'pages;
            }
            match read_signed(store, space, &id)? {
                Ok((record, size)) => {
                    bytes += size;
                    signed.push(record);
                }
                Err(damaged) => read.damaged.push(damaged),
            }
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
