//! The store: what is acknowledged survives a power cut, and what is lost is noticed.
//!
//! ```text
//! submit ─▶ bounded queue ─▶ writer thread: gather a group ─▶ apply ─▶ flush, sync ─▶ acknowledge
//!                                             │ one atomic batch, with a summary      │
//! readers ◀── what is durable, and only that ◀┴───────────────────────────────────────┘
//! ```
//!
//! - **Durable before acknowledged.** An [`Ack`] follows the sync; a reader sees a batch no earlier.
//! - **Whole or not at all.** A batch is never half there, neither after a crash nor to a reader.
//! - **One writer, one process.** [`DirectoryLock`] names the process that has the directory.
//! - **The first write error is the last write.** The store is then poisoned; the process ends with
//!   an error and its next start is the recovery.
//! - **Loss is noticed.** See [`frontier`]; `--accept-loss` is the way past it.
//!
//! A store's directory holds `lock`, `frontier`, and the engine's own directory `sled`; what is
//! damaged and set aside stays as `sled.damaged-N`. Everything is readable by the owner alone.
//!
//! Keys belong to the caller, except those that begin with [`frontier::RESERVED`]. What follows
//! from the keys of records ([`ocm_node::sets`]) is written with them, and made again at open where
//! it does not fit them. Where it cannot be read, and all else can, the store is copied without it:
//! no loss, and none to be accepted.

pub mod backend;
pub mod disk;
pub mod faulty;
pub mod frontier;
pub mod lock;
pub mod memory;
pub mod reader;
mod repair;
pub mod sled;
mod survey;
pub mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use futures::executor::block_on;
use ocm_node::layout::SpaceNumber;
use ocm_node::sets::Writes;
use ocm_node::storage::{Batch, ReadError};
use ocm_node::{derived, sets};
use ocm_record::Set;
use thiserror::Error;
use tokio::sync::mpsc::unbounded_channel;

pub use self::backend::{Backend, KEY_BYTES, StoreError, VALUE_BYTES};
pub use self::disk::disk_free;
pub use self::frontier::{
    Audit, Frontier, FrontierError, FrontierFile, FrontierPlace, MemoryFrontier,
};
pub use self::lock::{DirectoryLock, LockError};
pub use self::reader::{Moment, StoreReader};
pub use self::sled::SledOpenError;
pub use self::writer::{Ack, AckSender, CloseError, Commit, Observer, Poisoned, Unobserved};

use self::frontier::Checked;
use self::writer::{Job, Shared, Writer};

/// Batches that may wait to be committed.
pub const QUEUE_BATCHES: usize = 1024;
/// Bytes of keys and values that may wait to be committed.
pub const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of keys and values in one batch, at most.
pub const BATCH_BYTES: usize = 16 * 1024 * 1024;

const FRONTIER_FILE: &str = "frontier";
const ENGINE_DIRECTORY: &str = "sled";

/// How to open a store.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// Start although something is missing or damaged: keep what can be read, and say what was
    /// done. Damaged files are set aside, never removed. For one start at a time, by the operator's
    /// wish (`--accept-loss`).
    pub accept_loss: bool,
    /// Whether every entry is read at open.
    pub audit: Audit,
    /// Bytes of pages that the engine keeps in memory; resident memory is a few times this.
    pub cache_bytes: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { accept_loss: false, audit: Audit::default(), cache_bytes: sled::CACHE_BYTES }
    }
}

/// An open store, and how it was found.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Where it stood, before anything was made again.
    pub frontier: Frontier,
    /// Whether everything in it was read.
    pub audited: bool,
    /// What was mended to open it, for the log: one line each.
    pub repairs: Vec<String>,
}

impl Opened {
    /// Makes the sets again from the records, unless they sum up to what the frontier says.
    fn check_sets(&mut self, observer: Arc<dyn Observer>) -> Result<(), OpenError> {
        let records = self.frontier.records;
        let reader = self.store.reader();
        match sets::total(&reader) {
            Ok(total) if total == records => return Ok(()),
            Ok(_) | Err(ReadError::Set { .. }) => {}
            Err(error) => return Err(OpenError::Sets(error.to_string())),
        }
        let store = &self.store;
        sets::rebuild(&reader, move |writes, counted| {
            observer.rebuilding(counted, records.count);
            store.write(writes)
        })
        .map_err(|error| OpenError::Sets(error.to_string()))?;
        let found = sets::total(&reader).map_err(|error| OpenError::Sets(error.to_string()))?;
        if found != records {
            let (found, expected) = (found.count, records.count);
            return Err(FrontierError::Records { found, expected }.into());
        }
        self.repairs.push(format!("the sets were made again from {} records", records.count));
        Ok(())
    }

    /// Makes everything else again that is made from records, where a loss was accepted.
    fn check_derived(&mut self) -> Result<(), OpenError> {
        let reader = self.store.reader();
        let fail = |error: ReadError| OpenError::Derived(error.to_string());
        if derived::is_unfinished(&reader).map_err(fail)? {
            derived::rebuild(&reader, |writes| self.store.write(writes)).map_err(fail)?;
            self.repairs.push("what is made from records was made again".to_owned());
        }
        Ok(())
    }
}

/// Why a store does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Root would leave files there that the owner cannot read.
    #[error(
        "the store in {} belongs to user {owner}, and what root writes there that user could not read: \
         do this as that user (`sudo -u '#{owner}' …`)", .directory.display()
    )]
    Owner {
        /// The directory.
        directory: PathBuf,
        /// The number of its user.
        owner: u32,
    },
    /// The engine does not open.
    #[error(transparent)]
    Engine(#[from] SledOpenError),
    /// Something is missing.
    #[error(transparent)]
    Frontier(#[from] FrontierError),
    /// The sets of the spaces did not fit the records, and could not be made again.
    #[error(
        "the sets of the store cannot be made again from its records: {0}; restore a backup, or start once with --accept-loss"
    )]
    Sets(String),
    /// What else is made from records could not be made again.
    #[error(
        "what is made from the records of the store cannot be made again: {0}; start once more with --accept-loss"
    )]
    Derived(String),
    /// A repair failed; what was set aside is still there.
    #[error("the repair of the store failed: {0}; nothing was removed")]
    Repair(#[source] StoreError),
    /// The operating system refused.
    #[error("cannot use the store's directory {}: {source}", .directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The store. Share it in an [`Arc`]; dropping it closes it.
#[derive(Debug)]
pub struct Store {
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
    reader: StoreReader,
    thread: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<DirectoryLock>>,
}

impl Store {
    /// Opens the store in `directory`, which is made when absent, and takes hold of it for this
    /// process. Blocks: for as long as reading the whole store takes, when auditing.
    ///
    /// # Errors
    /// See [`OpenError`]; each names the remedy.
    pub fn open(
        directory: &Path,
        options: OpenOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<Opened, OpenError> {
        let fail = |source| OpenError::Io { directory: directory.to_owned(), source };
        disk::create_directory(directory).map_err(fail)?;
        if let Some(owner) = disk::owner_beside_root(directory).map_err(fail)? {
            return Err(OpenError::Owner { directory: directory.to_owned(), owner });
        }
        let lock = DirectoryLock::acquire(directory)?;
        let place = FrontierFile(directory.join(FRONTIER_FILE));
        let engine = directory.join(ENGINE_DIRECTORY);
        let (backend, checked, repairs) = repair::open(&engine, &place, options)?;
        Self::start(backend, Box::new(place), checked, repairs, observer, Some(lock))
    }

    /// Opens a store on any engine, with its frontier kept in `place`.
    ///
    /// # Errors
    /// [`OpenError::Frontier`] as [`Store::open`].
    pub fn open_on(
        backend: Arc<dyn Backend>,
        place: Box<dyn FrontierPlace>,
        options: OpenOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<Opened, OpenError> {
        let mut repairs = Vec::new();
        let checked = repair::check(&*backend, &*place, options, &mut repairs)?;
        Self::start(backend, place, checked, repairs, observer, None)
    }

    fn start(
        backend: Arc<dyn Backend>,
        place: Box<dyn FrontierPlace>,
        checked: Checked,
        repairs: Vec<String>,
        observer: Arc<dyn Observer>,
        lock: Option<DirectoryLock>,
    ) -> Result<Opened, OpenError> {
        let fail = |source| OpenError::Io { directory: PathBuf::new(), source };
        // From now on a missing file means that it was removed, and a file is never older than what
        // was found here.
        place.save(&checked.frontier).map_err(fail)?;
        let (jobs, queue) = sync_channel(QUEUE_BATCHES + 1);
        let reader = StoreReader::new(backend.clone());
        let writer = Writer::new(backend, place, &checked, reader.clone(), observer.clone(), queue);
        let shared = writer.shared.clone();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run())
            .map_err(fail)?;
        let (thread, lock) = (Mutex::new(Some(thread)), Mutex::new(lock));
        let store = Self { jobs, shared, reader, thread, lock };
        let Checked { frontier, audited, .. } = checked;
        let mut opened = Opened { store, frontier, audited, repairs };
        opened.check_sets(observer)?;
        opened.check_derived()?;
        Ok(opened)
    }

    /// Writes and waits until it is durable.
    fn write(&self, writes: Writes) -> Result<(), ReadError> {
        let fail = |cause: String| ReadError::Io(cause);
        let (to, mut acks) = unbounded_channel();
        self.submit(0, Batch { writes }, &to).map_err(|error| fail(error.to_string()))?;
        match block_on(acks.recv()).map(|ack| ack.result) {
            Some(Ok(_)) => Ok(()),
            Some(Err(poisoned)) => Err(fail(poisoned.to_string())),
            None => Err(fail("the store ended".to_owned())),
        }
    }

    /// A handle for reading.
    pub fn reader(&self) -> StoreReader {
        self.reader.clone()
    }

    /// Queues `batch`; never waits. Its [`Ack`], with `ticket`, is sent to `to` when it is durable.
    /// Batches are committed in the order of submission. A batch that is empty is acknowledged when
    /// all before it are durable.
    ///
    /// # Errors
    /// See [`SubmitError`]; then nothing of the batch is written and no [`Ack`] follows.
    pub fn submit(&self, ticket: u64, batch: Batch, to: &AckSender) -> Result<(), SubmitError> {
        if let Some(poisoned) = self.shared.poison.get() {
            return Err(SubmitError::Poisoned(poisoned.clone()));
        }
        backend::check_sizes(&batch)?;
        let bytes = batch.bytes();
        if bytes > BATCH_BYTES {
            return Err(SubmitError::BatchTooLarge { bytes });
        }
        let own = |key: &[u8]| key.first().is_none_or(|first| *first == frontier::RESERVED);
        if batch.writes.iter().any(|(key, _)| own(key)) {
            return Err(SubmitError::Reserved);
        }
        let waiting = self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting_bytes = self.shared.waiting_bytes.fetch_add(bytes, Ordering::SeqCst);
        let refuse = || {
            self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
            self.shared.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
        };
        if waiting >= QUEUE_BATCHES || waiting_bytes.saturating_add(bytes) > QUEUE_BYTES {
            refuse();
            return Err(SubmitError::Full { batch: Box::new(batch), waiting, waiting_bytes });
        }
        match self.jobs.try_send(Job::Write { ticket, batch, bytes, to: to.clone() }) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Job::Write { batch, .. })) => {
                refuse();
                Err(SubmitError::Full { batch: Box::new(batch), waiting, waiting_bytes })
            }
            Err(_) => {
                refuse();
                Err(SubmitError::Closed)
            }
        }
    }

    /// Takes a set that was found damaged out of service, ahead of all that waits: it is made again
    /// from the records at the next start. Nothing else is written any more, so that this process
    /// must end: what waits is never acknowledged.
    pub fn give_up(&self, space: SpaceNumber, set: Set, error: ReadError) {
        // The first is enough: the next start finds the others.
        let _ = self.shared.damaged.set((space, set, error));
        // Wakes the thread, which waits for nothing where the queue is full. A store that has ended
        // writes no more in any case.
        let _ = self.submit(0, Batch::new(), &unbounded_channel().0);
    }

    /// Batches submitted and not yet acknowledged.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// The failure that poisoned the store: the process must end with an error.
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.shared.poison.get().cloned()
    }

    /// Commits what was submitted before, saves the frontier, and gives up files and lock. Reads
    /// and writes fail from then on. Blocks until all that is done.
    ///
    /// # Errors
    /// See [`CloseError`]; files and lock are given up in any case.
    pub fn close(&self) -> Result<Frontier, CloseError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = thread.take() else { return Err(CloseError::Closed) };
        let (reply, closed) = sync_channel(1);
        let result = match self.jobs.send(Job::Close(reply)) {
            Ok(()) => closed.recv().unwrap_or(Err(CloseError::Closed)),
            Err(_) => Err(CloseError::Closed),
        };
        // A panic on that thread was turned into poison, or shows as a missing reply.
        let _ = running.join();
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        result
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Whoever needs to know calls `close`.
        let _ = self.close();
    }
}

/// Why a batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// Too much waits to be committed. Hold the batch back, take acknowledgements, try again.
    #[error(
        "{waiting} batches of {waiting_bytes} bytes wait for the disk (limits: {QUEUE_BATCHES} and \
         {QUEUE_BYTES}): try again when some are acknowledged"
    )]
    Full {
        /// The batch, given back.
        batch: Box<Batch>,
        /// Batches that wait.
        waiting: usize,
        /// Their bytes.
        waiting_bytes: usize,
    },
    /// A write failed before.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A key or value is over its limit.
    #[error(transparent)]
    EntryTooLarge(#[from] StoreError),
    /// The batch is over [`BATCH_BYTES`].
    #[error("a batch of {bytes} bytes is over the limit of {BATCH_BYTES}: submit it in parts")]
    BatchTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A key is empty, or begins with the byte that the store keeps for itself.
    #[error(
        "a key is empty or begins with byte {}, which the store keeps for itself",
        frontier::RESERVED
    )]
    Reserved,
}
