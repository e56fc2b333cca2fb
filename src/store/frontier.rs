//! What the store must still hold when it is opened again.
//!
//! A damaged engine may open *shorter* than it was, without an error. So every commit writes, under
//! its number and in its own batch, a summary of everything in the store; and a small file outside
//! the engine names a commit and its summary. At open the store must have reached that commit, and
//! agree with the file about it. An audit then counts what is really there against the newest
//! summary.
//!
//! The file is written after the engine was synced, at bounded intervals: what was committed after
//! it last was, is guarded by the engine's checksums and the audit alone.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ocm_node::layout;
use ocm_node::storage::{Key, Value};
use ocm_sync::Sum;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::backend::{Backend, Direction, StoreError};
use super::disk;
use super::survey::{Missed, survey};

/// Keys that begin with this byte are the store's own.
pub const RESERVED: u8 = 0;

const SUMMARY: u8 = b'f';
const MAGIC: &str = "ocm/1 frontier, layout 3";

/// A commit, and what the store holds with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frontier {
    /// Number of the commit, from 1; 0 is an empty store.
    pub commit: u64,
    /// Records: their number, and the sum of their ids.
    pub records: Sum,
    /// All entries but the store's own: their number, and the sum of the hashes of key and value.
    pub entries: Sum,
}

impl Frontier {
    /// Takes account of one key: what was under it, and what is now.
    pub(super) fn replace(&mut self, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) {
        let record = layout::record_of(key).map_or(Sum::EMPTY, |(_, _, id)| Sum::of(&id));
        if let Some(value) = before {
            self.records = self.records.minus(&record);
            self.entries = self.entries.minus(&entry(key, value));
        }
        if let Some(value) = after {
            self.records = self.records.plus(&record);
            self.entries = self.entries.plus(&entry(key, value));
        }
    }
}

/// The share of one entry in [`Frontier::entries`].
fn entry(key: &[u8], value: &[u8]) -> Sum {
    let mut hash = Sha256::new();
    hash.update((key.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(value);
    let mut sum = [0; 40];
    sum[..32].copy_from_slice(&hash.finalize());
    Sum { count: 1, sum }
}

/// The key of a commit's summary.
pub(super) fn summary_key(commit: u64) -> Key {
    let mut key = vec![RESERVED, SUMMARY];
    key.extend_from_slice(&commit.to_be_bytes());
    key
}

/// The summary of a commit, as stored under [`summary_key`].
pub(super) fn summary_value(frontier: &Frontier) -> Value {
    let mut value = Vec::with_capacity(96);
    for sum in [&frontier.records, &frontier.entries] {
        value.extend_from_slice(&sum.count.to_be_bytes());
        value.extend_from_slice(&sum.sum);
    }
    value
}

fn parse_summary(key: &[u8], value: &[u8]) -> Option<Frontier> {
    let commit = u64::from_be_bytes(*key.strip_prefix(&[RESERVED, SUMMARY])?.first_chunk()?);
    let (records, entries) = value.split_at_checked(48)?;
    let sum = |bytes: &[u8]| {
        let (count, sum) = bytes.split_first_chunk::<8>()?;
        Some(Sum { count: u64::from_be_bytes(*count), sum: sum.try_into().ok()? })
    };
    Some(Frontier { commit, records: sum(records)?, entries: sum(entries)? })
}

/// Where the frontier is kept, outside the engine.
pub trait FrontierPlace: Send + 'static {
    /// What was saved last; `None` when nothing ever was.
    ///
    /// # Errors
    /// [`FrontierError::Unreadable`].
    fn load(&self) -> Result<Option<Frontier>, FrontierError>;

    /// Replaces what was saved, durably.
    ///
    /// # Errors
    /// What the operating system says; the store is then poisoned.
    fn save(&self, frontier: &Frontier) -> io::Result<()>;
}

/// The frontier in a file of a few lines of text, with a checksum.
#[derive(Debug, Clone)]
pub struct FrontierFile(pub PathBuf);

impl FrontierFile {
    fn write(frontier: &Frontier) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let Frontier { commit, records, entries } = frontier;
        let text = format!(
            "{MAGIC}\ncommit {commit}\nrecords {} {}\nentries {} {}\n",
            records.count,
            hex(&records.sum),
            entries.count,
            hex(&entries.sum)
        );
        let check = hex(&Sha256::digest(text.as_bytes()));
        format!("{text}check {check}\n")
    }

    fn parse(text: &str) -> Option<Frontier> {
        let mut lines = text.lines();
        if lines.next()? != MAGIC {
            return None;
        }
        let commit = lines.next()?.strip_prefix("commit ")?.parse().ok()?;
        let sum = |line: &str, name: &str| {
            let (count, sum) = line.strip_prefix(name)?.split_once(' ')?;
            let mut bytes = [0; 40];
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::from_str_radix(sum.get(2 * at..2 * at + 2)?, 16).ok()?;
            }
            Some(Sum { count: count.parse().ok()?, sum: bytes })
        };
        let records = sum(lines.next()?, "records ")?;
        let entries = sum(lines.next()?, "entries ")?;
        let frontier = Frontier { commit, records, entries };
        // The only text that stands for this frontier: checks the checksum, and everything else.
        (Self::write(&frontier) == text).then_some(frontier)
    }

    fn unreadable(path: &Path, cause: String) -> FrontierError {
        FrontierError::Unreadable { path: path.to_owned(), cause }
    }
}

impl FrontierPlace for FrontierFile {
    fn load(&self) -> Result<Option<Frontier>, FrontierError> {
        let text = match std::fs::read(&self.0) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Self::unreadable(&self.0, error.to_string())),
        };
        match Self::parse(&text) {
            Some(frontier) => Ok(Some(frontier)),
            None if !text.starts_with(MAGIC) => {
                let cause = "another version of this program wrote it, or something else did";
                Err(Self::unreadable(&self.0, cause.to_owned()))
            }
            None => Err(Self::unreadable(&self.0, "its checksum does not fit".to_owned())),
        }
    }

    fn save(&self, frontier: &Frontier) -> io::Result<()> {
        disk::replace_file(&self.0, Self::write(frontier).as_bytes())
    }
}

/// The frontier in memory, for a store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryFrontier(Arc<Mutex<Option<Frontier>>>);

impl FrontierPlace for MemoryFrontier {
    fn load(&self) -> Result<Option<Frontier>, FrontierError> {
        Ok(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn save(&self, frontier: &Frontier) -> io::Result<()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(*frontier);
        Ok(())
    }
}

/// Why the node must not start on this store as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrontierError {
    /// The store lost its newest commits.
    #[error(
        "the store is shorter than it was: it ends at commit {found} with {found_records} records, \
         and it had reached commit {expected} with {expected_records}. Restore a backup, or start \
         once with --accept-loss and fetch what is missing from peers"
    )]
    Shorter {
        /// The store's newest commit.
        found: u64,
        /// Records as of that.
        found_records: u64,
        /// The commit that the frontier file names.
        expected: u64,
        /// Records as of that.
        expected_records: u64,
    },
    /// The store says otherwise about the commit that the file names.
    #[error(
        "the store and its frontier file disagree about commit {commit} (the store ends at \
         {newest}): one of them was altered, or comes from elsewhere. Restore both from one backup, \
         or start once with --accept-loss"
    )]
    Disagrees {
        /// The commit.
        commit: u64,
        /// The store's newest commit.
        newest: u64,
    },
    /// The store has commits, and the frontier file is gone.
    #[error(
        "the frontier file is missing, and the store holds {commit} commits with {records} records: \
         whether it holds all cannot be told. Put the file back, or start once with --accept-loss"
    )]
    Missing {
        /// The store's newest commit.
        commit: u64,
        /// Records as of that.
        records: u64,
    },
    /// The frontier file cannot be read.
    #[error(
        "the frontier file {} cannot be read: {cause}. Restore it, or start once with --accept-loss",
        .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The audit counted something else than the newest summary says.
    #[error(
        "the store is damaged inside: {found} of {expected} entries are there{}. Restore a backup, \
         or start once with --accept-loss and fetch what is missing from peers",
        if .found == .expected { ", and some are not as they were written" } else { "" }
    )]
    Incomplete {
        /// Entries counted.
        found: u64,
        /// Entries that the newest summary names.
        expected: u64,
    },
    /// Records are missing, or there are others than were written.
    #[error(
        "the store is damaged inside: it holds {found} records, and {expected} were written{}. \
         Restore a backup, or start once with --accept-loss and fetch what is missing from peers",
        if .found == .expected { ", others" } else { "" }
    )]
    Records {
        /// Records found.
        found: u64,
        /// Records that the newest summary names.
        expected: u64,
    },
    /// Something in the engine cannot be read.
    #[error(
        "the store is damaged inside in {places} places, {readable} entries could be read: {cause}. Restore a backup, or \
         start once with --accept-loss and fetch what is missing from peers"
    )]
    Broken {
        /// What the engine said of the first place.
        cause: String,
        /// Ranges of entries that cannot be read.
        places: usize,
        /// Entries read until then.
        readable: u64,
    },
    /// The engine cannot read its own summaries.
    #[error(
        "the store's summaries cannot be read: {0}. Restore a backup, or start once with --accept-loss"
    )]
    Store(#[from] StoreError),
}

/// Entries of a store that is audited at every open: some tens of thousands of records, read in a
/// second or less.
pub const AUDIT_ENTRIES: u64 = 50_000;

/// Whether everything is read at open, and counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Audit {
    /// Nothing is. A loss inside the store that leaves its newest commit in place is noticed when
    /// the lost entries are read.
    Never,
    /// Only where the store has at most [`AUDIT_ENTRIES`].
    #[default]
    Small,
    /// Everything, however long it takes.
    Whole,
}

/// What was found at open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// Where the store stands.
    pub(super) frontier: Frontier,
    /// The oldest commit whose summary is stored.
    pub(super) oldest: u64,
    /// Whether everything was read.
    pub(super) audited: bool,
}

/// Compares the store with what it must hold.
pub(super) fn check(
    backend: &dyn Backend,
    place: &dyn FrontierPlace,
    audit: Audit,
) -> Result<Checked, FrontierError> {
    let saved = place.load()?;
    let newest = newest_summary(backend)?;
    let found = newest.unwrap_or_default();
    match saved {
        None if newest.is_some() => {
            let Frontier { commit, records, .. } = found;
            return Err(FrontierError::Missing { commit, records: records.count });
        }
        None => {}
        Some(saved) if found.commit < saved.commit => {
            return Err(FrontierError::Shorter {
                found: found.commit,
                found_records: found.records.count,
                expected: saved.commit,
                expected_records: saved.records.count,
            });
        }
        Some(saved) if summary_at(backend, saved.commit)? != Some(saved) => {
            return Err(FrontierError::Disagrees { commit: saved.commit, newest: found.commit });
        }
        Some(_) => {}
    }
    let audited = match audit {
        Audit::Never => false,
        Audit::Small => found.entries.count <= AUDIT_ENTRIES,
        Audit::Whole => true,
    };
    if audited {
        let (counted, missed) = count(backend)?;
        // To go on would end at the first write beside what cannot be read.
        if let Some(gap) = missed.gaps.first() {
            let (cause, places) = (gap.cause.clone(), missed.gaps.len());
            return Err(FrontierError::Broken { cause, places, readable: counted.entries.count });
        }
        if (counted.records, counted.entries) != (found.records, found.entries) {
            return Err(FrontierError::Incomplete {
                found: counted.entries.count,
                expected: found.entries.count,
            });
        }
    }
    let oldest = saved.unwrap_or_default().commit;
    Ok(Checked { frontier: found, oldest, audited })
}

/// Sums what is really there besides the store's own entries, as of commit 0, and walks those, too.
pub(super) fn count(backend: &dyn Backend) -> Result<(Frontier, Missed), StoreError> {
    let mut counted = Frontier::default();
    let missed = survey(backend, &[RESERVED], &[0xff; 1024], |key, value| {
        if key.first() != Some(&RESERVED) {
            counted.replace(key, None, Some(value));
        }
        Ok(())
    })?;
    Ok((counted, missed))
}

/// The newest summary in the store.
pub(super) fn newest_summary(backend: &dyn Backend) -> Result<Option<Frontier>, StoreError> {
    let (from, to) = ([RESERVED, SUMMARY], [RESERVED, SUMMARY + 1]);
    let last = backend.scan(&from, &to, 1, Direction::Descending)?;
    last.first().map_or(Ok(None), |(key, value)| match parse_summary(key, value) {
        Some(frontier) => Ok(Some(frontier)),
        None => Err(StoreError::Corrupt {
            action: "read of the newest summary",
            cause: "it is not a summary".to_owned(),
        }),
    })
}

fn summary_at(backend: &dyn Backend, commit: u64) -> Result<Option<Frontier>, StoreError> {
    if commit == 0 {
        return Ok(Some(Frontier::default()));
    }
    let key = summary_key(commit);
    Ok(backend.get(&key)?.and_then(|value| parse_summary(&key, &value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Frontier {
        Frontier {
            commit: 77,
            records: Sum { count: 5, sum: [7; 40] },
            entries: Sum { count: 9, sum: [0xab; 40] },
        }
    }

    #[test]
    fn the_file_comes_back_and_every_altered_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let place = FrontierFile(dir.path().join("frontier"));
        assert_eq!(place.load().unwrap(), None);
        place.save(&sample()).unwrap();
        assert_eq!(place.load().unwrap(), Some(sample()));
        let good = std::fs::read(&place.0).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&place.0, &bad).unwrap();
            let error = place.load().unwrap_err();
            assert!(error.to_string().contains("--accept-loss"), "{error}");
            std::fs::write(&place.0, &good[..at]).unwrap();
            assert!(place.load().is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_summary_comes_back() {
        let frontier = sample();
        let parsed = parse_summary(&summary_key(77), &summary_value(&frontier));
        assert_eq!(parsed, Some(frontier));
        assert_eq!(parse_summary(&summary_key(77), &[0; 79]), None);
    }

    proptest! {
        #[test]
        fn what_is_replaced_leaves_no_trace(
            keys in prop::collection::vec((any::<[u8; 2]>(), any::<[u8; 3]>()), 1..20),
        ) {
            let mut frontier = Frontier::default();
            for (key, value) in &keys {
                frontier.replace(key, None, Some(value));
                frontier.replace(key, Some(value), Some(b"other"));
            }
            for (key, _) in &keys {
                frontier.replace(key, Some(b"other"), None);
            }
            prop_assert_eq!(frontier, Frontier::default());
        }
    }
}
