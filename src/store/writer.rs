//! The one thread that writes: batches from a bounded queue, committed in groups.
//!
//! A group becomes one atomic batch of the engine, is flushed, becomes visible to readers, and only
//! then is each of its batches acknowledged. While a group is flushed the next one gathers, so that
//! a slow disk makes larger groups.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ocm_node::layout::SpaceNumber;
use ocm_node::storage::{Batch, Key, ReadError, Value};
use ocm_node::{layout, sets};
use ocm_record::Set;
use ocm_sync::Sum;
use thiserror::Error;
use tokio::sync::mpsc::UnboundedSender;

use super::backend::{Backend, StoreError};
use super::frontier::{Checked, Frontier, FrontierPlace, summary_key, summary_value};
use super::reader::StoreReader;
use super::sled::panic_text;

/// Batches in one group, at most.
pub const GROUP_BATCHES: usize = 128;
/// Bytes of keys and values past which a group takes no further batch.
pub const GROUP_BYTES: usize = 2 * 1024 * 1024;
/// Commits after which the frontier is saved.
pub const FRONTIER_COMMITS: u64 = 64;
/// Time after which the frontier is saved, when there was a commit.
pub const FRONTIER_INTERVAL: Duration = Duration::from_secs(1);
/// Old summaries that one commit removes, at most.
const PRUNED: u64 = 256;

/// What fails where a set cannot be read.
const UPDATE: &str = "update of a set";

/// The answer to one submitted batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The number that its submitter gave it.
    pub ticket: u64,
    /// The commit that made it durable. Commits are numbered in order; batches committed together
    /// share one.
    pub result: Result<u64, Poisoned>,
}

/// Where acknowledgements go, in the order of submission. Its receiver must be read: nothing
/// bounds what waits in it but the pace of the submitter.
pub type AckSender = UnboundedSender<Ack>;

/// A write failed, and what is on disk since the last acknowledgement is not known. Nothing more is
/// written: end the process with an error; the next start is the recovery.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the store failed and takes no more writes: {cause}; restart the node")]
pub struct Poisoned {
    /// The first failure.
    pub cause: String,
}

/// Told of what the writer does, on its thread: must be quick.
pub trait Observer: Send + Sync + 'static {
    /// A group is durable.
    fn committed(&self, _commit: &Commit) {}
    /// The store is poisoned, for this cause.
    fn poisoned(&self, _cause: &str) {}
    /// At open, the sets are being made again from the records; so many of them are counted.
    fn rebuilding(&self, _counted: u64, _of: u64) {}
}

/// An observer of nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// One commit, measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its number.
    pub number: u64,
    /// Batches in it.
    pub batches: usize,
    /// Keys written.
    pub writes: usize,
    /// Bytes of keys and values written.
    pub bytes: usize,
    /// From the moment the group was complete to its acknowledgement.
    pub commit: Duration,
    /// The part of it that the flush to disk took.
    pub flush: Duration,
    /// Batches still waiting in the queue.
    pub waiting: usize,
}

/// What the queue carries.
#[derive(Debug)]
pub(super) enum Job {
    Write { ticket: u64, batch: Batch, bytes: usize, to: AckSender },
    Close(SyncSender<Result<Frontier, CloseError>>),
}

/// Why a store did not end in order. Everything acknowledged is durable all the same.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CloseError {
    /// A write failed before.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The engine failed to end.
    #[error("the store did not close in order: {0}")]
    Engine(StoreError),
    /// It is closed already, or its thread is gone.
    #[error("the store is closed already")]
    Closed,
}

/// Seen by the writer and by those who submit.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) waiting: AtomicUsize,
    pub(super) waiting_bytes: AtomicUsize,
    pub(super) poison: OnceLock<Poisoned>,
    /// A set that is to be given up before anything else is written, and why.
    pub(super) damaged: OnceLock<(SpaceNumber, Set, ReadError)>,
}

pub(super) struct Writer {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) place: Box<dyn FrontierPlace>,
    pub(super) reader: StoreReader,
    pub(super) shared: Arc<Shared>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) jobs: Receiver<Job>,
    pub(super) frontier: Frontier,
    /// The frontier saved last, and since when it has been behind.
    pub(super) saved: u64,
    pub(super) behind: Option<Instant>,
    /// Commits whose summaries are stored begin here.
    pub(super) oldest: u64,
}

/// A batch in the group at hand.
struct Member {
    ticket: u64,
    bytes: usize,
    to: AckSender,
}

impl Writer {
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        place: Box<dyn FrontierPlace>,
        checked: &Checked,
        reader: StoreReader,
        observer: Arc<dyn Observer>,
        jobs: Receiver<Job>,
    ) -> Self {
        Self {
            backend,
            place,
            reader,
            shared: Arc::default(),
            observer,
            jobs,
            frontier: checked.frontier,
            saved: checked.frontier.commit,
            behind: None,
            oldest: checked.oldest.max(1),
        }
    }

    /// Works until the store is closed, or nobody is left to submit.
    pub(super) fn run(mut self) {
        loop {
            let job = match self.behind {
                Some(since) => {
                    let due = FRONTIER_INTERVAL.saturating_sub(since.elapsed());
                    match self.jobs.recv_timeout(due) {
                        Ok(job) => job,
                        Err(RecvTimeoutError::Timeout) => {
                            self.save_frontier();
                            continue;
                        }
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
                None => match self.jobs.recv() {
                    Ok(job) => job,
                    Err(_) => break,
                },
            };
            if let Some(reply) = self.take_group(job) {
                let closed = self.close();
                // Whoever asked may have stopped waiting.
                let _ = reply.send(closed);
                return;
            }
        }
        let _ = self.close();
    }

    /// Commits the group that begins with `job`; a request to close ends it and is returned.
    fn take_group(&mut self, job: Job) -> Option<SyncSender<Result<Frontier, CloseError>>> {
        let mut group = Batch::new();
        let mut members = Vec::new();
        let mut bytes_in_group = 0;
        let mut close = None;
        let mut next = Some(job);
        while let Some(job) = next {
            match job {
                Job::Write { ticket, batch, bytes, to } => {
                    bytes_in_group += bytes;
                    group.append(batch);
                    members.push(Member { ticket, bytes, to });
                }
                Job::Close(reply) => {
                    close = Some(reply);
                    break;
                }
            }
            if members.len() >= GROUP_BATCHES || bytes_in_group >= GROUP_BYTES {
                break;
            }
            next = self.jobs.try_recv().ok();
        }
        if !members.is_empty() {
            self.commit_group(group, &members);
        }
        close
    }

    fn commit_group(&mut self, group: Batch, members: &[Member]) {
        let started = Instant::now();
        let empty = group.is_empty();
        let written = match self.shared.poison.get() {
            Some(poisoned) => Err(poisoned.clone()),
            None if empty && self.shared.damaged.get().is_none() => Ok(None),
            None => self.write(group).map(Some),
        };
        let result = written.as_ref().map(|_| self.frontier.commit).map_err(Poisoned::clone);
        for member in members {
            self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
            self.shared.waiting_bytes.fetch_sub(member.bytes, Ordering::SeqCst);
            // A submitter that has gone away does not want to know.
            let _ = member.to.send(Ack { ticket: member.ticket, result: result.clone() });
        }
        if let Ok(Some(Written { writes, bytes, flush })) = written {
            self.observer.committed(&Commit {
                number: self.frontier.commit,
                batches: members.len(),
                writes,
                bytes,
                commit: started.elapsed(),
                flush,
                waiting: self.shared.waiting.load(Ordering::SeqCst),
            });
            self.save_frontier_if_due();
        }
    }

    /// Writes one group and makes it durable and visible.
    fn write(&mut self, group: Batch) -> Result<Written, Poisoned> {
        let damaged = self.shared.damaged.get().cloned();
        let outcome = catch_unwind(AssertUnwindSafe(|| match damaged {
            Some((space, set, error)) => Err(self.give_up(space, set, &error)?),
            None => self.try_write(group),
        }));
        let cause = match outcome {
            Ok(Ok(written)) => return Ok(written),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("panic: {}", panic_text(&*panic)),
        };
        // The veil stays: readers keep seeing what was durable before.
        Err(self.poison(cause))
    }

    fn try_write(&mut self, mut group: Batch) -> Result<Written, StoreError> {
        let (sets, change) = self.follow(&group)?;
        group.writes.extend(sets);
        let after: BTreeMap<Key, Option<Value>> = group.writes.into_iter().collect();
        let mut next = self.frontier;
        next.commit += 1;
        let mut before = BTreeMap::new();
        for (key, value) in &after {
            let old = match self.backend.get(key) {
                Err(error @ StoreError::Corrupt { .. })
                    if let Some((space, set)) = layout::set_of_node(key) =>
                {
                    return Err(self.give_up(space, set, &error)?);
                }
                old => old?,
            };
            next.replace(key, old.as_deref(), value.as_deref());
            before.insert(key.clone(), old);
        }
        // A record that was lost unnoticed leaves its set, although nothing lies under its key.
        next.records = self.frontier.records.plus(&change);
        let mut batch = Batch { writes: after.into_iter().collect() };
        let (count, bytes) = (batch.len(), batch.bytes());
        batch.put(summary_key(next.commit), summary_value(&next));
        // The summary that the frontier file names stays until the file names a later one.
        let prune_to = self.saved.min(self.oldest + PRUNED).max(self.oldest);
        for commit in self.oldest..prune_to {
            batch.delete(summary_key(commit));
        }
        self.reader.veil(before);
        self.backend.apply(&batch)?;
        let flushing = Instant::now();
        self.backend.flush()?;
        let flush = flushing.elapsed();
        self.frontier = next;
        self.oldest = prune_to;
        self.behind.get_or_insert_with(Instant::now);
        self.reader.unveil();
        Ok(Written { writes: count, bytes, flush })
    }

    /// Gives up a set that is damaged: without its head it is made again from the records at the
    /// next start. Why this process must end.
    fn give_up(
        &mut self,
        space: SpaceNumber,
        set: Set,
        cause: &dyn std::error::Error,
    ) -> Result<StoreError, StoreError> {
        let mut batch = Batch::new();
        batch.delete(layout::set_head(space, set));
        self.try_write(batch)?;
        let cause = format!("{cause}; it is made again at the next start");
        Ok(StoreError::Corrupt { action: UPDATE, cause })
    }

    /// What the sets become by a group.
    fn follow(&mut self, group: &Batch) -> Result<(sets::Writes, Sum), StoreError> {
        match sets::follow(&group.writes, &self.reader) {
            Ok(followed) => Ok(followed),
            Err(error @ ReadError::Set { space, set, .. }) => {
                Err(self.give_up(space, set, &error)?)
            }
            Err(ReadError::Corrupt(cause)) => Err(StoreError::Corrupt { action: UPDATE, cause }),
            Err(ReadError::Io(cause)) => Err(StoreError::Io { action: UPDATE, cause }),
        }
    }

    fn save_frontier_if_due(&mut self) {
        let late = self.behind.is_some_and(|since| since.elapsed() >= FRONTIER_INTERVAL);
        if late || self.frontier.commit - self.saved >= FRONTIER_COMMITS {
            self.save_frontier();
        }
    }

    fn save_frontier(&mut self) {
        self.behind = None;
        if self.shared.poison.get().is_some() || self.saved == self.frontier.commit {
            return;
        }
        match self.place.save(&self.frontier) {
            Ok(()) => self.saved = self.frontier.commit,
            Err(error) => {
                self.poison(format!("save of the frontier file: {error}"));
            }
        }
    }

    fn poison(&self, cause: String) -> Poisoned {
        self.observer.poisoned(&cause);
        self.shared.poison.get_or_init(|| Poisoned { cause }).clone()
    }

    fn close(&mut self) -> Result<Frontier, CloseError> {
        self.save_frontier();
        let closed = self.backend.close().map_err(CloseError::Engine);
        match self.shared.poison.get() {
            Some(poisoned) => Err(poisoned.clone().into()),
            None => closed.map(|()| self.frontier),
        }
    }
}

struct Written {
    writes: usize,
    bytes: usize,
    flush: Duration,
}
