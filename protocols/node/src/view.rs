//! Reading what is stored: records and the records of a memory, checked again as they are read.

use ocm_memory::limits;
use ocm_record::{MemoryId, RecordId, Set, SignedRecord, VerifiedRecord};

use crate::layout::{self, SpaceNumber};
use crate::storage::{ReadError, Reader};

/// Records of a memory that are read at once.
const PAGE: usize = 1024;

/// Bytes of records that [`read_memories`] reads at once.
pub const READ_BYTES: usize = 4 * 1024 * 1024;

/// A stored record that is not what its key says: to be fetched again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored record {id} is damaged: {cause}")]
pub struct Damaged {
    /// Which record.
    pub id: RecordId,
    /// What is wrong with the bytes.
    pub cause: String,
}

/// Checks a stored value again: seal, form, id, body hash and signature.
///
/// # Errors
/// When the value is not that of the record `id`, whole and signed.
pub fn read_verified(value: &[u8], id: &RecordId) -> Result<VerifiedRecord, Damaged> {
    let damaged = |cause: String| Damaged { id: *id, cause };
    unsealed(value, id)?.verify().map_err(|e| damaged(e.to_string()))
}

/// The record in a stored value: of this id, its signature not checked again.
fn unsealed(value: &[u8], id: &RecordId) -> Result<SignedRecord, Damaged> {
    let damaged = |cause: String| Damaged { id: *id, cause };
    let Some(bytes) = layout::unseal(value) else {
        return Err(damaged("its bytes are not those that were stored".into()));
    };
    let signed = SignedRecord::decode(bytes).map_err(|e| damaged(e.to_string()))?;
    if signed.id() != *id {
        return Err(damaged(format!("the bytes are those of {}", signed.id())));
    }
    Ok(signed)
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
    Ok(unsealed(&bytes, id).map(|record| (record, bytes.len())))
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

/// The records of a memory as they are read: not verified yet.
#[derive(Default)]
struct Unverified {
    bytes: usize,
    signed: Vec<SignedRecord>,
    damaged: Vec<Damaged>,
    too_large: bool,
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
    let mut read = read_memories(store, space, std::slice::from_ref(memory));
    read.pop().unwrap_or_else(|| Ok(MemoryRecords::default()))
}

/// As [`read_memory`], of the first of many memories of a space: of one at least, and of so many
/// that their records exceed [`READ_BYTES`] by one memory's at most. Their signatures are checked
/// together, which costs less than one by one.
pub fn read_memories(
    store: &dyn Reader,
    space: SpaceNumber,
    memories: &[MemoryId],
) -> Vec<Result<MemoryRecords, ReadError>> {
    let mut all = Vec::new();
    let mut read = Vec::with_capacity(memories.len());
    let mut bytes = 0;
    for memory in memories {
        if bytes >= READ_BYTES {
            break;
        }
        read.push(read_unverified(store, space, memory).map(|unverified| {
            let Unverified { signed, damaged, too_large, bytes: more } = unverified;
            bytes += more;
            let ids: Vec<_> = signed.iter().map(SignedRecord::id).collect();
            all.extend(signed);
            (ids, MemoryRecords { records: Vec::new(), damaged, too_large })
        }));
    }
    let mut verdicts = ocm_record::verify_batch(all).into_iter();
    let mut check = |(ids, mut read): (Vec<_>, MemoryRecords)| {
        for (id, verdict) in ids.into_iter().zip(&mut verdicts) {
            match verdict {
                Ok(record) => read.records.push(record),
                Err(error) => read.damaged.push(Damaged { id, cause: error.to_string() }),
            }
        }
        read
    };
    read.into_iter().map(|read| read.map(&mut check)).collect()
}

fn read_unverified(
    store: &dyn Reader,
    space: SpaceNumber,
    memory: &MemoryId,
) -> Result<Unverified, ReadError> {
    let (mut from, to) = layout::memory_records(space, memory);
    let mut read = Unverified::default();
    // What begins the memory has no mark.
    let first = &memory.0;
    match store.get(&layout::record(space, Set::Content, first)) {
        Ok(None) => {}
        Ok(Some(value)) => match unsealed(&value, first) {
            // A record in the middle of another memory begins none.
            Ok(record) if !record.begins_memory() => {}
            Ok(record) => {
                read.bytes += value.len();
                read.signed.push(record);
            }
            Err(damaged) => read.damaged.push(damaged),
        },
        Err(ReadError::Corrupt(cause)) => read.damaged.push(Damaged { id: *first, cause }),
        Err(error) => return Err(error),
    }
    loop {
        let page = store.scan(&from, &to, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(read) };
        from = [last.as_slice(), &[0]].concat();
        for id in page.iter().filter_map(|(key, _)| layout::last_id(key)) {
            if read.signed.len() + read.damaged.len() >= limits::RECORDS
                || read.bytes >= limits::BYTES
            {
                read.too_large = true;
                return Ok(read);
            }
            match read_signed(store, space, &id)? {
                Ok((record, size)) => {
                    read.bytes += size;
                    read.signed.push(record);
                }
                Err(damaged) => read.damaged.push(damaged),
            }
        }
    }
}
