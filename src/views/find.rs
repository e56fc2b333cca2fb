//! From the beginning of an id to the one thing it names: seeks in key ranges, never a walk over
//! everything.

use std::collections::BTreeSet;

use ocm_node::layout::{self, SpaceEntry, SpaceNumber};
use ocm_node::limits::SPACES;
use ocm_node::storage::{ReadError, Reader};
use ocm_record::{MemoryId, RecordId, Set, SignedRecord, SpaceId, from_canonical};

use super::limits;
use super::{ViewError, Views};

/// A memory, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlace {
    /// Its space.
    pub space: SpaceId,
    /// The space's number in the store.
    pub number: SpaceNumber,
    /// The memory.
    pub memory: MemoryId,
}

/// A record, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace {
    /// Its space.
    pub space: SpaceId,
    /// The space's number in the store.
    pub number: SpaceNumber,
    /// The set it stands in.
    pub set: Set,
    /// The record.
    pub record: RecordId,
}

/// All ids that begin with a text, as a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) text: String,
    low: RecordId,
    high: RecordId,
}

impl Prefix {
    pub(super) fn parse(text: &str) -> Result<Self, ViewError> {
        let wrong = || ViewError::NoId(text.chars().take(80).collect());
        let digits = text.strip_prefix('v').ok_or_else(wrong)?;
        if !(limits::PREFIX_CHARS..RecordId::TEXT_LEN).contains(&digits.len()) {
            return Err(wrong());
        }
        let padded = |with: char| {
            let mut padded = text.to_owned();
            padded.extend(std::iter::repeat_n(with, RecordId::TEXT_LEN - text.len()));
            padded.parse().map_err(|_| wrong())
        };
        Ok(Self { text: text.to_owned(), low: padded('0')?, high: padded('v')? })
    }

    fn contains(&self, id: &RecordId) -> bool {
        (self.low..=self.high).contains(id)
    }

    /// The only one of these, or why there is none.
    fn only<T: Copy>(
        self,
        what: &'static str,
        found: &[T],
        id: impl Fn(&T) -> RecordId,
    ) -> Result<T, ViewError> {
        match found {
            [] => Err(ViewError::NotFound { what, prefix: self.text }),
            [only] => Ok(*only),
            many => Err(ViewError::Ambiguous {
                what,
                prefix: self.text,
                candidates: many.iter().take(limits::CANDIDATES).map(id).collect(),
            }),
        }
    }
}

/// The spaces in the store, in the order they came.
pub(super) fn spaces(store: &dyn Reader) -> Result<Vec<(SpaceId, SpaceNumber)>, ReadError> {
    let (from, to) = layout::spaces();
    let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
        let corrupt = || ReadError::Corrupt(format!("the space at key {key:02x?}"));
        let number = layout::number_of(&key).ok_or_else(corrupt)?;
        let entry: SpaceEntry = from_canonical(&value).map_err(|_| corrupt())?;
        Ok((entry.id, number))
    };
    store.scan(&from, &to, SPACES)?.into_iter().map(entry).collect()
}

pub(super) fn number_of(store: &dyn Reader, space: SpaceId) -> Result<SpaceNumber, ViewError> {
    let found = spaces(store)?.into_iter().find(|(id, _)| *id == space);
    found.map(|(_, number)| number).ok_or(ViewError::NoSpace(space))
}

/// The first few memories of a space whose ids begin so: those that a stored record begins, and those
/// that others belong to. Most records begin a memory; where many in a row do not, the search ends,
/// and the prefix is too short to tell.
fn memories_between(
    store: &dyn Reader,
    number: SpaceNumber,
    prefix: &Prefix,
) -> Result<Vec<MemoryId>, ViewError> {
    let mut found = BTreeSet::new();
    let (mut from, _) = layout::memory_records(number, &MemoryId(prefix.low));
    let (_, to) = layout::memory_records(number, &MemoryId(prefix.high));
    while found.len() <= limits::CANDIDATES {
        // One key tells of a memory; then go on behind the last of its keys.
        let next = store.scan(&from, &to, 1)?;
        let Some(memory) = next.first().and_then(|(key, _)| layout::memory_of(key)) else { break };
        found.insert(memory);
        from = layout::memory_records(number, &memory).1;
    }
    let mut from = layout::record(number, Set::Content, &prefix.low);
    let mut to = layout::record(number, Set::Content, &prefix.high);
    to.push(0);
    for _ in 0..limits::PREFIX_LOOKS {
        let records = store.scan(&from, &to, limits::CANDIDATES + 1)?;
        let last = records.last().filter(|_| found.len() <= limits::CANDIDATES);
        let Some((last, _)) = last else { return Ok(found.into_iter().collect()) };
        from = [last.as_slice(), &[0]].concat();
        found.extend(records.iter().filter_map(|(key, value)| {
            // What is damaged may have begun one.
            let record = layout::unseal(value).and_then(|bytes| SignedRecord::decode(bytes).ok());
            let begins = record.is_none_or(|record| record.begins_memory());
            layout::last_id(key).filter(|_| begins).map(MemoryId)
        }));
    }
    Err(ViewError::TooShort(prefix.text.clone()))
}

impl Views {
    /// Whether the store can be read at all: one small look at it.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn check_store(&self) -> Result<(), ViewError> {
        self.off_thread(|store| Ok(spaces(store).map(drop)?)).await
    }

    /// The memory whose id is this text or, alone among all memories held here, begins with it.
    ///
    /// # Errors
    /// [`ViewError::NoId`], [`ViewError::NotFound`], [`ViewError::Ambiguous`], or the store's.
    pub async fn resolve_memory(&self, text: &str) -> Result<MemoryPlace, ViewError> {
        let prefix = Prefix::parse(text)?;
        self.off_thread(move |store| {
            let mut found = Vec::new();
            for (space, number) in spaces(store)? {
                found.extend(
                    memories_between(store, number, &prefix)?
                        .into_iter()
                        .map(|memory| MemoryPlace { space, number, memory }),
                );
            }
            prefix.only("memories", &found, |place| place.memory.0)
        })
        .await
    }

    /// The record whose id is this text or, alone among all records held here, begins with it.
    ///
    /// # Errors
    /// As [`Self::resolve_memory`].
    pub async fn resolve_record(&self, text: &str) -> Result<RecordPlace, ViewError> {
        let prefix = Prefix::parse(text)?;
        self.off_thread(move |store| {
            let mut found = Vec::new();
            for (space, number) in spaces(store)? {
                for set in [Set::Authority, Set::Content] {
                    let from = layout::record(number, set, &prefix.low);
                    let mut to = layout::record(number, set, &prefix.high);
                    to.push(0);
                    let records = store.scan(&from, &to, limits::CANDIDATES + 1)?;
                    found.extend(
                        records
                            .iter()
                            .filter_map(|(key, _)| layout::last_id(key))
                            .map(|record| RecordPlace { space, number, set, record }),
                    );
                }
            }
            prefix.only("records", &found, |place| place.record)
        })
        .await
    }

    /// The space whose id is this text or, alone among all spaces held here, begins with it.
    ///
    /// # Errors
    /// As [`Self::resolve_memory`].
    pub async fn resolve_space(&self, text: &str) -> Result<SpaceId, ViewError> {
        let prefix = Prefix::parse(text)?;
        // A whole id is most often that of a space that is shown.
        if let Ok(space) = text.parse::<SpaceId>()
            && self.handle().status().core.spaces.iter().any(|held| held.id == space)
        {
            return Ok(space);
        }
        self.off_thread(move |store| {
            let mut found: Vec<SpaceId> = spaces(store)?.into_iter().map(|(id, _)| id).collect();
            found.retain(|id| prefix.contains(&id.0));
            prefix.only("spaces", &found, |space| space.0)
        })
        .await
    }
}
