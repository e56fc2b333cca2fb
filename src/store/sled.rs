//! The engine on disk: sled 0.34, made durable.
//!
//! What sled leaves to its caller, and is done here:
//! - its `flush` starts writing and does not wait for the disk: each is followed by `sync_data` on
//!   its file, and by a sync of any side file it made;
//! - it syncs no directory and not its `conf`: done at open;
//! - an error while it writes in the background is kept aside, and `flush` may not mention it, or
//!   wait for ever: it is asked for after every write, and a watcher wakes a `flush` that waits in
//!   vain;
//! - it may panic on what it finds in a damaged file, after a million tries that take seconds: a
//!   panic becomes an error, and a store that panics while it is audited is refused;
//! - its lock outlives it by a moment: opening waits for that, for a bounded time.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ocm_node::storage::{Batch, Key, Value};
use thiserror::Error;

use super::backend::{Backend, Direction, StoreError, check_sizes};
use super::disk::{self, FILE_MODE};

/// Bytes of pages that sled keeps in memory, unless told otherwise. Its own default is 1 GiB.
pub const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// How long opening waits for the lock of an engine that this process has just closed.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How often a `flush` that has not returned is checked for a write error.
const WATCH_EVERY: Duration = Duration::from_millis(250);

const DATA_FILE: &str = "db";
const SIDE_FILES: &str = "blobs";

/// Why the engine does not open.
#[derive(Debug, Error)]
pub enum SledOpenError {
    /// The operating system refused.
    #[error("cannot open the store in {}: {cause}; check that the directory is yours and that its disk works", .directory.display())]
    Io {
        /// The engine's directory.
        directory: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// Another engine holds the file, and did not let go within [`LOCK_WAIT`].
    #[error(
        "the store in {} is still locked after {waited:?}: another process has it open; stop it",
        .directory.display()
    )]
    Locked {
        /// The engine's directory.
        directory: PathBuf,
        /// How long it was tried.
        waited: Duration,
    },
    /// A snapshot (an index of the data file, written at each open) is empty, cut short or altered.
    #[error(
        "the snapshot {} of the store is damaged ({bytes} bytes): move that file away and start \
         again; it is rebuilt from the data file, and what should then be missing is noticed",
        .file.display()
    )]
    Snapshot {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The data file or the engine's settings are damaged beyond what the engine can open.
    #[error(
        "the store in {} is damaged: {cause}; restore a backup, or move that directory away, start \
         with --accept-loss, and fetch the records again from peers",
        .directory.display()
    )]
    Damaged {
        /// The engine's directory.
        directory: PathBuf,
        /// What the engine found.
        cause: String,
    },
}

/// A sled database in a directory of its own.
#[derive(Debug)]
pub struct SledBackend {
    db: RwLock<Option<Arc<::sled::Db>>>,
    /// Our own handle on sled's data file, to sync it.
    data: File,
    side_directory: PathBuf,
    /// Names of the side files known to be durable.
    side_files: Mutex<BTreeSet<std::ffi::OsString>>,
    watcher: Mutex<Option<Watcher>>,
    waiting: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl SledBackend {
    /// Opens the engine in `directory`, which is made when absent. The caller holds the lock of the
    /// directory above it.
    ///
    /// # Errors
    /// See [`SledOpenError`]; each says what to do.
    pub fn open(directory: &Path, cache_bytes: u64) -> Result<Self, SledOpenError> {
        let fail = |error: io::Error| SledOpenError::Io {
            directory: directory.to_owned(),
            cause: error.to_string(),
        };
        disk::create_directory(directory).map_err(fail)?;
        disk::create_directory(&directory.join(SIDE_FILES)).map_err(fail)?;
        check_snapshots(directory)?;
        let db = Arc::new(open_sled(directory, cache_bytes)?);
        make_durable(directory).map_err(fail)?;
        let data = File::open(directory.join(DATA_FILE)).map_err(fail)?;
        let side_directory = directory.join(SIDE_FILES);
        let waiting = Arc::new(AtomicBool::new(false));
        let watcher = watch(&db, &waiting).map_err(fail)?;
        let backend = Self {
            db: RwLock::new(Some(db)),
            data,
            side_directory,
            side_files: Mutex::default(),
            watcher: Mutex::new(Some(watcher)),
            waiting,
        };
        backend.sync_side_files().map_err(fail)?;
        Ok(backend)
    }

    fn db(&self) -> Result<Arc<::sled::Db>, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        db.clone().ok_or(StoreError::Closed)
    }

    /// Syncs side files that appeared since the last time, and their directory. Sled makes one when
    /// a page outgrows a quarter of its segment.
    fn sync_side_files(&self) -> io::Result<()> {
        let mut known = self.side_files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = BTreeSet::new();
        let mut fresh = false;
        for entry in fs::read_dir(&self.side_directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if !known.contains(&name) {
                match File::open(entry.path()) {
                    Ok(file) => file.sync_all()?,
                    // Sled removed it meanwhile: it is no longer needed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                fresh = true;
            }
            present.insert(name);
        }
        if fresh {
            disk::sync_directory(&self.side_directory)?;
        }
        *known = present;
        Ok(())
    }
}

impl Backend for SledBackend {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let db = self.db()?;
        guarded("read", || db.get(key).map(|found| found.map(|value| value.to_vec())))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Value)>, StoreError> {
        let db = self.db()?;
        if from >= to {
            return Ok(Vec::new());
        }
        let copy = |(key, value): (::sled::IVec, ::sled::IVec)| (key.to_vec(), value.to_vec());
        guarded("scan", || {
            let range = db.range(from..to).map(|entry| entry.map(copy));
            match direction {
                Direction::Ascending => range.take(limit).collect(),
                Direction::Descending => range.rev().take(limit).collect(),
            }
        })
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        check_sizes(batch)?;
        let db = self.db()?;
        let mut writes = ::sled::Batch::default();
        for (key, value) in &batch.writes {
            match value {
                Some(value) => writes.insert(key.as_slice(), value.as_slice()),
                None => writes.remove(key.as_slice()),
            }
        }
        guarded("write", || {
            db.apply_batch(writes)?;
            db.context.global_error()
        })
    }

    fn flush(&self) -> Result<(), StoreError> {
        let db = self.db()?;
        self.waiting.store(true, Ordering::SeqCst);
        let flushed = guarded("flush", || {
            db.flush()?;
            db.context.global_error()
        });
        self.waiting.store(false, Ordering::SeqCst);
        flushed?;
        self.sync_side_files().map_err(|e| StoreError::io("sync of the side files", e))?;
        self.data.sync_data().map_err(|e| StoreError::io("sync of the data file", e))
    }

    fn close(&self) -> Result<(), StoreError> {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Watcher { stop, thread }) = watcher {
            stop.store(true, Ordering::SeqCst);
            thread.thread().unpark();
            // It only watches: if it panicked there is nothing to undo.
            let _ = thread.join();
        }
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        guarded("close", || {
            drop(db);
            Ok(())
        })
    }
}

impl Drop for SledBackend {
    fn drop(&mut self) {
        // Whoever needs to know calls `close`.
        let _ = self.close();
    }
}

/// Runs a call into sled; its errors and panics become ours.
fn guarded<T>(
    action: &'static str,
    call: impl FnOnce() -> Result<T, ::sled::Error>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(::sled::Error::Io(error))) => Err(StoreError::io(action, error)),
        Ok(Err(error)) => Err(StoreError::Corrupt { action, cause: error.to_string() }),
        Err(panic) => Err(StoreError::Broken { action, cause: panic_text(&*panic) }),
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it panicked without a message".to_owned())
}

fn open_sled(directory: &Path, cache_bytes: u64) -> Result<::sled::Db, SledOpenError> {
    let started = Instant::now();
    loop {
        let config = ::sled::Config::new().path(directory).cache_capacity(cache_bytes);
        let cause = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(::sled::Error::Io(error))) => {
                let cause = error.to_string();
                if !cause.contains("could not acquire lock") {
                    return Err(SledOpenError::Io { directory: directory.to_owned(), cause });
                }
                if started.elapsed() >= LOCK_WAIT {
                    let waited = started.elapsed();
                    return Err(SledOpenError::Locked { directory: directory.to_owned(), waited });
                }
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            Ok(Err(error)) => {
                // A snapshot whose checksum is wrong ends here too, and it is the one thing that
                // can be set aside without loss.
                if let Some((file, bytes)) = newest_snapshot(directory)
                    && !snapshot_fits(&file)
                {
                    return Err(SledOpenError::Snapshot { file, bytes });
                }
                error.to_string()
            }
            Err(panic) => panic_text(&*panic),
        };
        return Err(SledOpenError::Damaged { directory: directory.to_owned(), cause });
    }
}

/// A snapshot ends with the length of its content (8 bytes) and a CRC-32 (4 bytes): at most that is
/// none.
const SNAPSHOT_TRAILER: u64 = 12;

fn snapshots(directory: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("snap.")
        })
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len())))
        .collect();
    found.sort();
    found
}

fn newest_snapshot(directory: &Path) -> Option<(PathBuf, u64)> {
    snapshots(directory).pop()
}

fn check_snapshots(directory: &Path) -> Result<(), SledOpenError> {
    // A crash while a snapshot was written leaves `snap.….generating`, which sled would take for the
    // newest one. It was never in use.
    for (file, _) in snapshots(directory) {
        if file.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&file).map_err(|error| SledOpenError::Io {
                directory: directory.to_owned(),
                cause: format!("{}: {error}", file.display()),
            })?;
        }
    }
    match newest_snapshot(directory) {
        Some((file, bytes)) if bytes <= SNAPSHOT_TRAILER => {
            Err(SledOpenError::Snapshot { file, bytes })
        }
        _ => Ok(()),
    }
}

/// Whether the checksum at the end of a snapshot is right.
fn snapshot_fits(file: &Path) -> bool {
    let Ok(bytes) = fs::read(file) else { return false };
    let Some((content, trailer)) = bytes.split_last_chunk::<12>() else { return false };
    let [.., a, b, c, d] = *trailer;
    crc32(content) == u32::from_le_bytes([a, b, c, d])
}

/// CRC-32 (IEEE), as sled computes it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

/// Makes what sled created at open private and durable: settings, snapshot, names.
fn make_durable(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let file = File::open(entry.path())?;
            file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
            file.sync_all()?;
        }
    }
    disk::sync_directory(&directory.join(SIDE_FILES))?;
    disk::sync_directory(directory)
}

/// Starts the thread that wakes a `flush` when a write in the background has failed: sled records
/// the error without waking who waits for that write, and a second `flush` does the waking.
fn watch(db: &Arc<::sled::Db>, waiting: &Arc<AtomicBool>) -> io::Result<Watcher> {
    let stop = Arc::new(AtomicBool::new(false));
    let (db, waiting, ended) = (Arc::downgrade(db), waiting.clone(), stop.clone());
    let thread = std::thread::Builder::new().name("store-watch".to_owned()).spawn(move || {
        while !ended.load(Ordering::SeqCst) {
            std::thread::park_timeout(WATCH_EVERY);
            if !waiting.load(Ordering::SeqCst) {
                continue;
            }
            let Some(db) = db.upgrade() else { return };
            if db.context.global_error().is_err() {
                // The error itself is returned to the one that waits.
                let _ = guarded("flush", || db.flush());
            }
        }
    })?;
    Ok(Watcher { stop, thread })
}
