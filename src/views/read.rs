//! One memory, or one record, read and checked again for one answer.

use std::collections::BTreeSet;

use ocm_memory::{Conflict, Document, HistoryEntry, RenderError, Void};
use ocm_node::layout;
use ocm_node::storage::{ReadError, Reader};
use ocm_node::view::{Damaged, MemoryRecords, read_memory, read_verified};
use ocm_record::{Did, Kind, RecordId, Set, SignedRecord, Time, VerifiedRecord};
use ocm_space::{Denial, SpaceState};
use serde_json::Value;

use super::{MemoryPlace, RecordPlace, ViewError, Views, limits};

/// The stored records of a memory, and what they make.
pub(super) struct Assembly {
    place: MemoryPlace,
    /// Whole and signed, of this memory, whatever their kind.
    pub(super) records: Vec<VerifiedRecord>,
    pub(super) damaged: Vec<Damaged>,
    pub(super) document: Result<Document, RenderError>,
    /// What is wrong with what is stored, in words; empty when nothing is.
    pub(super) faults: Vec<String>,
}

impl Assembly {
    pub(super) fn read(store: &dyn Reader, place: &MemoryPlace) -> Result<Self, ReadError> {
        Self::of(place, read_memory(store, place.number, &place.memory))
    }

    /// What was read of a memory.
    pub(super) fn of(
        place: &MemoryPlace,
        read: Result<MemoryRecords, ReadError>,
    ) -> Result<Self, ReadError> {
        let mut faults = Vec::new();
        let read = match read {
            Err(ReadError::Corrupt(cause)) => {
                faults.push(cause);
                MemoryRecords::default()
            }
            other => other?,
        };
        let mut damaged = read.damaged;
        let mut records = read.records;
        records.retain(|record| {
            let here = record.memory() == Some(place.memory) && record.space() == place.space;
            if !here {
                let cause = "the record stored in its place is of another memory".to_owned();
                damaged.push(Damaged { id: record.id(), cause });
            }
            here
        });
        faults.extend(damaged.iter().map(Damaged::to_string));
        faults.extend(
            records
                .iter()
                .filter(|record| record.body_bytes().is_none())
                .map(|record| format!("the body of record {} is missing", record.id())),
        );
        // Kinds unknown here may belong to the memory, and have no effect on it.
        let changes = records.iter().filter(|record| record.header().kind == Kind::CHANGE);
        let document = if read.too_large {
            Err(RenderError::TooLarge)
        } else {
            Document::build(changes.cloned())
        };
        Ok(Self { place: *place, records, damaged, document, faults })
    }

    /// What an edit at this time builds on: everything but records more than
    /// [`limits::BUILD_ON_AHEAD_MS`] ahead. What those wrote stays beside the edit, as concurrent.
    /// A memory that itself begins so far ahead has nothing else, and is built on whole.
    pub(super) fn into_document_to_edit(self, now_ms: u64) -> Result<Document, RenderError> {
        let last = now_ms.saturating_add(limits::BUILD_ON_AHEAD_MS);
        let early = |record: &&VerifiedRecord| record.time().millis() <= last;
        if self.document.is_err()
            || self.place.memory.0.time().millis() > last
            || self.records.iter().all(|record| early(&record))
        {
            return self.document;
        }
        let changes = self.records.iter().filter(|record| record.header().kind == Kind::CHANGE);
        Document::build(changes.filter(early).cloned())
    }

    /// Whether there is nothing that could be shown as a memory.
    pub(super) fn is_empty(&self) -> bool {
        self.damaged.is_empty()
            && self.faults.is_empty()
            && !self.records.iter().any(|record| record.header().kind == Kind::CHANGE)
    }

    /// How many records are stored, whole or not.
    pub(super) fn count(&self) -> usize {
        self.records.len() + self.damaged.len()
    }

    /// Who began the memory.
    pub(super) fn author(&self) -> Option<Did> {
        let first = self.records.iter().find(|record| record.id() == self.place.memory.0);
        first.map(VerifiedRecord::author)
    }

    /// The time of the latest record.
    pub(super) fn updated(&self) -> Time {
        let whole = self.records.iter().map(VerifiedRecord::id);
        let damaged = self.damaged.iter().map(|damaged| damaged.id);
        whole
            .chain(damaged)
            .chain([self.place.memory.0])
            .map(|id| id.time())
            .max()
            .unwrap_or_default()
    }

    /// What is wrong with the right of the records to stand, and with what they build on.
    fn check_rights(&self, store: &dyn Reader) -> Result<Vec<String>, ReadError> {
        let mut faults = Vec::new();
        let known: BTreeSet<RecordId> = self
            .records
            .iter()
            .map(VerifiedRecord::id)
            .chain(self.damaged.iter().map(|damaged| damaged.id))
            .collect();
        if !known.contains(&self.place.memory.0) {
            faults.push(format!(
                "record {}, which begins the memory, is not stored",
                self.place.memory
            ));
        }
        let named = self.records.iter().flat_map(|record| &record.header().deps);
        let missing: BTreeSet<&RecordId> = named.filter(|dep| !known.contains(*dep)).collect();
        for dep in missing {
            let key = layout::record(self.place.number, Set::Authority, dep);
            if store.get(&key)?.is_none() {
                faults.push(format!("record {dep}, which others build on, is not stored"));
            }
        }
        let place = (self.place.space, self.place.number);
        faults.extend(check_authority(store, place, &self.records)?);
        Ok(faults)
    }
}

/// Reads the authority records that these rest on, checks each as it is stored, and judges all
/// anew. The right of a record is a function of the closure of its `auth`, so nothing else is
/// needed.
fn check_authority(
    store: &dyn Reader,
    (space, number): (ocm_record::SpaceId, layout::SpaceNumber),
    records: &[VerifiedRecord],
) -> Result<Vec<String>, ReadError> {
    let mut faults = Vec::new();
    let mut state = SpaceState::new(space);
    let mut authority = Vec::new();
    let mut seen: BTreeSet<RecordId> =
        records.iter().flat_map(|record| &record.header().auth).copied().chain([space.0]).collect();
    let mut open: Vec<RecordId> = seen.iter().copied().collect();
    while let Some(id) = open.pop() {
        let read = match store.get(&layout::record(number, Set::Authority, &id)) {
            Ok(Some(bytes)) => read_verified(&bytes, &id).map_err(|damaged| damaged.to_string()),
            Ok(None) => Err(format!("the authority record {id} is not stored")),
            Err(ReadError::Corrupt(cause)) => {
                Err(format!("the stored record {id} is damaged: {cause}"))
            }
            Err(error) => return Err(error),
        };
        match read {
            Ok(record) => {
                open.extend(record.header().auth.iter().filter(|id| seen.insert(**id)));
                state.insert(&record);
                authority.push(record);
            }
            Err(fault) => faults.push(fault),
        }
    }
    for record in authority.iter().chain(records) {
        if let Err(denial) = state.authorise(record) {
            let id = record.id();
            faults.push(match denial {
                Denial::Missing(_) => {
                    format!("the authority that record {id} rests on cannot be checked")
                }
                Denial::Unsupported(what) => {
                    format!("record {id} needs {what}, which this version does not check")
                }
                Denial::Refused(refusal) => format!("record {id} may not stand: {refusal}"),
            });
        }
    }
    Ok(faults)
}

/// A memory, read and checked for one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Where it lies.
    pub place: MemoryPlace,
    /// Who began it; `None` while the record that begins it cannot be read.
    pub author: Option<Did>,
    /// A JSON object; `None` when the memory cannot be rendered.
    pub content: Option<Value>,
    /// The records that no other one names, oldest first.
    pub heads: Vec<RecordId>,
    /// Why this is not verified; `None` means that each stored record of the memory was whole,
    /// signed, and authorised by authority records that were so too, just now.
    pub cause: Option<String>,
    /// The time of its latest record.
    pub updated: Time,
    /// How many records it has, damaged ones included.
    pub records: u64,
    /// Who wrote them, sorted.
    pub authors: Vec<Did>,
    /// The records without effect, oldest first.
    pub voids: Vec<(RecordId, Void)>,
    /// In how many places several concurrent values stand.
    pub conflicts: u64,
}

impl Reading {
    pub(super) fn of(store: &dyn Reader, place: &MemoryPlace) -> Result<Self, ViewError> {
        let assembly = Assembly::read(store, place)?;
        if assembly.is_empty() {
            return Err(ViewError::NoMemory(place.memory));
        }
        let rights = assembly.check_rights(store)?;
        let mut causes = [assembly.faults.as_slice(), rights.as_slice()].concat();
        let mut reading = Self {
            place: *place,
            author: assembly.author(),
            content: None,
            heads: Vec::new(),
            cause: None,
            updated: assembly.updated(),
            records: assembly.count() as u64,
            authors: assembly
                .records
                .iter()
                .map(VerifiedRecord::author)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            voids: Vec::new(),
            conflicts: 0,
        };
        if let Err(error) = assembly.document.and_then(|document| reading.show(&document)) {
            causes.insert(0, error.to_string());
        }
        reading.cause = name_first(causes);
        Ok(reading)
    }

    fn show(&mut self, document: &Document) -> Result<(), RenderError> {
        self.heads = document.heads();
        self.voids = document.voids()?;
        self.conflicts = document.conflicts()?.len() as u64;
        self.content = Some(document.content()?);
        Ok(())
    }
}

/// The first of several causes, and how many more there are.
fn name_first(causes: Vec<String>) -> Option<String> {
    let more = causes.len().saturating_sub(1);
    let first = causes.into_iter().next()?;
    Some(if more == 0 { first } else { format!("{first} (and {more} more)") })
}

/// One record as it is stored.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    /// Where it lies.
    pub place: RecordPlace,
    /// What it says it is for; `None` when its bytes are no record.
    pub kind: Option<Kind>,
    /// The record, when its bytes are whole and signed.
    pub record: Option<VerifiedRecord>,
    /// Why it is not verified; `None` means whole, signed and authorised, just now.
    pub cause: Option<String>,
}

impl Views {
    /// Reads a memory: every stored record of it is read and checked again.
    ///
    /// # Errors
    /// When it is not held here, or the store as a whole cannot be read. Damage is no error: see
    /// [`Reading::cause`].
    pub async fn read(&self, place: MemoryPlace) -> Result<Reading, ViewError> {
        self.off_thread(move |store| Reading::of(store, &place)).await
    }

    /// Who changed what in a memory, oldest first, and the records of it that are damaged.
    ///
    /// # Errors
    /// When it is not held here or cannot be rendered, or the store cannot be read.
    pub async fn history(
        &self,
        place: MemoryPlace,
    ) -> Result<(Vec<HistoryEntry>, Vec<Damaged>), ViewError> {
        self.off_thread(move |store| {
            let assembly = Assembly::read(store, &place)?;
            if assembly.is_empty() {
                return Err(ViewError::NoMemory(place.memory));
            }
            let document = assembly.document.map_err(ocm_memory::PatchError::from)?;
            let history = document.history().map_err(ocm_memory::PatchError::from)?;
            Ok((history, assembly.damaged))
        })
        .await
    }

    /// The places of a memory in which several concurrent values stand.
    ///
    /// # Errors
    /// As [`Self::history`].
    pub async fn conflicts(&self, place: MemoryPlace) -> Result<Vec<Conflict>, ViewError> {
        self.off_thread(move |store| {
            let assembly = Assembly::read(store, &place)?;
            if assembly.is_empty() {
                return Err(ViewError::NoMemory(place.memory));
            }
            let document = assembly.document.map_err(ocm_memory::TakeError::from)?;
            Ok(document.conflicts().map_err(ocm_memory::TakeError::from)?)
        })
        .await
    }

    /// Reads a record and checks it again.
    ///
    /// # Errors
    /// When it is not stored, or the store as a whole cannot be read. Damage is no error: see
    /// [`StoredRecord::cause`].
    pub async fn record(&self, place: RecordPlace) -> Result<StoredRecord, ViewError> {
        self.off_thread(move |store| {
            let mut read = StoredRecord { place, kind: None, record: None, cause: None };
            let bytes = match store.get(&layout::record(place.number, place.set, &place.record)) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => {
                    let (what, prefix) = ("records", place.record.to_string());
                    return Err(ViewError::NotFound { what, prefix });
                }
                Err(ReadError::Corrupt(cause)) => {
                    read.cause = Some(cause);
                    return Ok(read);
                }
                Err(error) => return Err(error.into()),
            };
            let stored = layout::unseal(&bytes).map(SignedRecord::decode);
            read.kind = stored.and_then(Result::ok).map(|record| record.kind());
            match read_verified(&bytes, &place.record) {
                Err(damaged) => read.cause = Some(damaged.to_string()),
                Ok(record) => {
                    let mut causes = Vec::new();
                    if record.body_bytes().is_none() {
                        causes.push("its body is missing".to_owned());
                    }
                    if (record.space(), record.set()) != (place.space, place.set) {
                        causes.push("it is stored in the place of another set".to_owned());
                    }
                    let space = (place.space, place.number);
                    causes.extend(check_authority(store, space, std::slice::from_ref(&record))?);
                    read.cause = name_first(causes);
                    read.record = Some(record);
                }
            }
            Ok(read)
        })
        .await
    }
}
