//! Opening the engine, and what `--accept-loss` does when it is damaged. Trees of sums that are
//! damaged are no loss: the store is then copied without them, and they are made again.
//!
//! Nothing is ever removed: a damaged engine or snapshot is renamed, and what can be read of it is
//! copied into a new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocm_node::storage::Batch;
use ocm_node::{layout, sets};

use super::backend::{Backend, Direction, StoreError};
use super::frontier::{
    self, Audit, Checked, Frontier, FrontierError, FrontierFile, FrontierPlace, RESERVED,
    newest_summary, summary_key, summary_value,
};
use super::reader::StoreReader;
use super::sled::{SledBackend, SledOpenError};
use super::survey::{Gap, survey};
use super::{OpenError, OpenOptions, disk};

/// Bytes copied per batch while salvaging.
const COPY_BYTES: usize = 1024 * 1024;

type Found = (Arc<dyn Backend>, Checked, Vec<String>);

/// Opens sled in `engine` and compares it with what it must hold.
pub(super) fn open(
    engine: &Path,
    place: &FrontierFile,
    options: OpenOptions,
) -> Result<Found, OpenError> {
    let mut repairs = Vec::new();
    let fail = |source| OpenError::Io { directory: engine.to_owned(), source };
    let fresh = salvaged_path(engine);
    if !engine.exists() && fresh.exists() {
        // A salvage was cut short between its two renames, after its copy was complete.
        fs::rename(&fresh, engine).map_err(fail)?;
        disk::sync_directory(engine.parent().unwrap_or(Path::new("."))).map_err(fail)?;
        repairs.push("a repair that was cut short was completed".to_owned());
    }
    let mut backend = Arc::new(match SledBackend::open(engine, options.cache_bytes) {
        Ok(backend) => backend,
        Err(SledOpenError::Snapshot { file, bytes }) if options.accept_loss => {
            let aside = set_aside(&file, "damaged").map_err(fail)?;
            repairs.push(format!(
                "the damaged snapshot ({bytes} bytes) was set aside as {}",
                aside.display()
            ));
            match SledBackend::open(engine, options.cache_bytes) {
                Err(SledOpenError::Damaged { cause, .. }) => {
                    replace_engine(engine, options, &cause, &mut repairs)?
                }
                other => other?,
            }
        }
        Err(SledOpenError::Damaged { cause, .. }) if options.accept_loss => {
            replace_engine(engine, options, &cause, &mut repairs)?
        }
        Err(error) => return Err(error.into()),
    });
    if options.accept_loss {
        let (_, missed) = frontier::count(&*backend).map_err(OpenError::Repair)?;
        if !missed.gaps.is_empty() {
            backend = salvage(engine, options, &backend, Copied::Readable, &mut repairs)?.into();
        }
    } else if let Some(newest) = without_trees(&backend) {
        let copied = Copied::WithoutTrees(newest);
        backend = salvage(engine, options, &backend, copied, &mut repairs)?.into();
    }
    let backend: Arc<dyn Backend> = backend;
    let checked = check(&*backend, place, options, &mut repairs)?;
    Ok((backend, checked, repairs))
}

/// Compares the store with what it must hold; when the loss is accepted, takes what is there for
/// what must be there.
pub(super) fn check(
    backend: &dyn Backend,
    place: &dyn FrontierPlace,
    options: OpenOptions,
    repairs: &mut Vec<String>,
) -> Result<Checked, OpenError> {
    let audit = if options.accept_loss { Audit::Whole } else { options.audit };
    let error = match frontier::check(backend, place, audit) {
        Ok(checked) => return Ok(checked),
        Err(error) if options.accept_loss => error,
        Err(error) => return Err(error.into()),
    };
    let saved = place.load().ok().flatten().unwrap_or_default();
    let found = newest_summary(backend).ok().flatten().unwrap_or_default();
    let (_, missed) = frontier::count(backend).map_err(OpenError::Repair)?;
    if !missed.gaps.is_empty() {
        return Err(error.into());
    }
    // What is made from records may be lost in part: it is all made again.
    let mut mark = Batch::new();
    mark.put(layout::unfinished(), Vec::new());
    backend.apply(&mark).map_err(OpenError::Repair)?;
    let (counted, _) = frontier::count(backend).map_err(OpenError::Repair)?;
    let commit = saved.commit.max(found.commit) + 1;
    let frontier = Frontier { commit, ..counted };
    let mut batch = Batch::new();
    for (key, _) in backend
        .scan(&[RESERVED], &[RESERVED + 1], usize::MAX, Direction::Ascending)
        .map_err(OpenError::Repair)?
    {
        batch.delete(key);
    }
    batch.put(summary_key(commit), summary_value(&frontier));
    backend.apply(&batch).and_then(|()| backend.flush()).map_err(OpenError::Repair)?;
    repairs.push(format!("a loss was accepted: {error}"));
    Ok(Checked { frontier, oldest: commit, audited: true })
}

/// Renames `path` to a name of its own beside it.
fn set_aside(path: &Path, word: &str) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parent = path.parent().unwrap_or(Path::new("."));
    // A set-aside snapshot must not look like one to the engine.
    let name = name.strip_prefix("snap.").map_or(name.clone(), |rest| format!("old-snap.{rest}"));
    for n in 1u32.. {
        let aside = parent.join(format!("{name}.{word}-{n}"));
        if !aside.exists() {
            fs::rename(path, &aside)?;
            disk::sync_directory(parent)?;
            return Ok(aside);
        }
    }
    Err(io::Error::other("no name is free to set the damaged file aside"))
}

/// Where the copy of a damaged engine is made.
fn salvaged_path(engine: &Path) -> PathBuf {
    engine.with_extension("new")
}

/// Sets an engine aside that does not open, and begins an empty one.
fn replace_engine(
    engine: &Path,
    options: OpenOptions,
    cause: &str,
    repairs: &mut Vec<String>,
) -> Result<SledBackend, OpenError> {
    let aside = set_aside(engine, "damaged")
        .map_err(|source| OpenError::Io { directory: engine.to_owned(), source })?;
    repairs.push(format!(
        "the store could not be opened ({cause}) and was set aside as {}; it begins empty",
        aside.display()
    ));
    Ok(SledBackend::open(engine, options.cache_bytes)?)
}

/// The newest summary of a store that is damaged in trees of sums alone, and there is reason to
/// look: a set was given up, or the store is small enough to be audited.
fn without_trees(backend: &Arc<SledBackend>) -> Option<Frontier> {
    let newest = newest_summary(&**backend).ok()??;
    let reader = StoreReader::new(backend.clone());
    let is_given_up = !sets::total(&reader).is_ok_and(|total| total == newest.records);
    if !is_given_up && newest.entries.count > frontier::AUDIT_ENTRIES {
        return None;
    }
    let (from, to) = layout::all_set_nodes();
    let nodes = survey(&**backend, &from, &to, |_, _| Ok(())).ok()?;
    if nodes.gaps.is_empty() {
        return None;
    }
    let (_, missed) = frontier::count(&**backend).ok()?;
    // What can be read at the lower end shows that nothing before it is damaged.
    let begins = |gap: &Gap| gap.from >= from || backend.get(&from).is_ok();
    let inside = |gap: &Gap| begins(gap) && gap.to <= to;
    (!missed.broken && missed.gaps.iter().all(inside)).then_some(newest)
}

/// What of a damaged engine is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// Whatever can be read.
    Readable,
    /// Everything but the sets, of which this is the newest summary; they are made again.
    WithoutTrees(Frontier),
}

impl Copied {
    fn takes(self, key: &[u8]) -> bool {
        let of_set = layout::set_of(key).or_else(|| layout::set_of_node(key));
        self == Self::Readable || of_set.is_none()
    }
}

/// Copies a damaged engine into a new one, and puts that in its place.
fn salvage(
    engine: &Path,
    options: OpenOptions,
    damaged: &SledBackend,
    what: Copied,
    repairs: &mut Vec<String>,
) -> Result<SledBackend, OpenError> {
    let fail = |source| OpenError::Io { directory: engine.to_owned(), source };
    let fresh_path = salvaged_path(engine);
    if fresh_path.exists() {
        // Left by a salvage that was cut short; it holds nothing that is not in the damaged one.
        fs::remove_dir_all(&fresh_path).map_err(fail)?;
    }
    let fresh = SledBackend::open(&fresh_path, options.cache_bytes)?;
    let mut batch = Batch::new();
    let mut bytes = 0;
    let mut copied = 0u64;
    let missed = survey(damaged, &[RESERVED], &[0xff; 1024], |key, value| {
        if !what.takes(key) {
            return Ok(());
        }
        batch.put(key, value);
        bytes += key.len() + value.len();
        copied += 1;
        if bytes >= COPY_BYTES {
            bytes = 0;
            fresh.apply(&std::mem::take(&mut batch))?;
        }
        Ok::<_, StoreError>(())
    })
    .map_err(OpenError::Repair)?;
    fresh.apply(&batch).map_err(OpenError::Repair)?;
    if let Copied::WithoutTrees(newest) = what {
        let (counted, _) = frontier::count(&fresh).map_err(OpenError::Repair)?;
        if counted.records != newest.records {
            let (found, expected) = (counted.records.count, newest.records.count);
            return Err(FrontierError::Records { found, expected }.into());
        }
        // What was there, less the sets.
        let frontier = Frontier { commit: newest.commit + 1, ..counted };
        let mut batch = Batch::new();
        batch.put(summary_key(frontier.commit), summary_value(&frontier));
        fresh.apply(&batch).map_err(OpenError::Repair)?;
    }
    fresh.flush().map_err(OpenError::Repair)?;
    fresh.close().map_err(OpenError::Repair)?;
    damaged.close().map_err(OpenError::Repair)?;
    let aside = set_aside(engine, "damaged").map_err(fail)?;
    fs::rename(&fresh_path, engine).map_err(fail)?;
    disk::sync_directory(engine.parent().unwrap_or(Path::new("."))).map_err(fail)?;
    let (places, aside) = (missed.gaps.len(), aside.display());
    repairs.push(match what {
        Copied::Readable => format!(
            "{places} damaged places: {copied} readable entries were copied to a new store, the \
             damaged one was set aside as {aside}"
        ),
        Copied::WithoutTrees(_) => format!(
            "{places} damaged places, all of them in the sets: everything else ({copied} entries) \
             was copied to a new store, the damaged one was set aside as {aside}"
        ),
    });
    Ok(SledBackend::open(engine, options.cache_bytes)?)
}
