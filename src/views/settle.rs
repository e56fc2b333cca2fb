//! Making the rows of dirty memories.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use ocm_node::Event;
use ocm_node::layout::{self, SpaceNumber};
use ocm_node::storage::{Batch, Key, ReadError, Reader};
use ocm_record::{MemoryId, SpaceId};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::find::{number_of, spaces};
use super::{Row, ViewError, Views, limits};
use crate::handle::{Status, Stopping};

/// Memories whose rows are due, and the lists that say so.
struct Due {
    memories: BTreeSet<MemoryId>,
    lists: Vec<Key>,
}

impl Views {
    /// Makes the rows of all memories of a space that have records which no row shows yet: after
    /// this, a list shows everything that was durable when this was called. Records that arrive
    /// meanwhile may wait for the next time.
    ///
    /// # Errors
    /// When the space is not held here, or the store fails.
    pub async fn settle(&self, space: SpaceId) -> Result<(), ViewError> {
        let (number, last) = self
            .off_thread(move |store| {
                let number = number_of(store, space)?;
                let (from, to) = layout::all_dirty(number);
                Ok((number, store.scan_back(&from, &to, 1)?.pop()))
            })
            .await?;
        let Some((last, _)) = last else { return Ok(()) };
        let to = [last.as_slice(), &[0]].concat();
        loop {
            // Fair, and held for a few batches only: a list does not wait for another space's bulk.
            let _one = self.0.settling.lock().await;
            let end = to.clone();
            let due = self.off_thread(move |store| Ok(read_due(store, number, &end)?)).await?;
            if due.lists.is_empty() {
                return Ok(());
            }
            self.make_rows(space, number, due).await?;
        }
    }

    /// Makes the rows that are due, and takes their lists away with the last of them.
    async fn make_rows(
        &self,
        space: SpaceId,
        number: SpaceNumber,
        due: Due,
    ) -> Result<(), ViewError> {
        let memories: Vec<MemoryId> = due.memories.into_iter().collect();
        let mut parts = memories.chunks(limits::SETTLE_MEMORIES);
        let first = Some(parts.next().unwrap_or_default());
        let mut made = self.make_part(space, number, first).await?;
        while let Some((mut rows, resolved)) = made.take() {
            let next = parts.next();
            if next.is_none() {
                due.lists.iter().for_each(|list| rows.delete(list.clone()));
            }
            // The next are made while these are written.
            let (written, more) =
                tokio::join!(self.handle().write_rows(rows), self.make_part(space, number, next));
            written?.map_err(ViewError::Write)?;
            self.0.resolved.fetch_add(resolved, Ordering::Relaxed);
            made = more?;
        }
        Ok(())
    }

    async fn make_part(
        &self,
        space: SpaceId,
        number: SpaceNumber,
        memories: Option<&[MemoryId]>,
    ) -> Result<Option<(Batch, u64)>, ViewError> {
        let Some(memories) = memories.map(<[_]>::to_vec) else { return Ok(None) };
        self.off_thread(move |store| make_rows(store, space, number, &memories).map(Some)).await
    }

    /// Settles every space: at the start of a process, for the marks that a crash left.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settle_all(&self) -> Result<(), ViewError> {
        for (space, _) in self.off_thread(|store| Ok(spaces(store)?)).await? {
            self.settle(space).await?;
        }
        Ok(())
    }

    /// How many memories have records that are in no row yet, one that is in several of the lists
    /// counted as often, in the first [`limits::UNRENDERED_LISTS`] of each space.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn unrendered(&self) -> Result<u64, ViewError> {
        self.off_thread(|store| {
            let mut count = 0;
            for (_, number) in spaces(store)? {
                let (mut from, to) = layout::all_dirty(number);
                for _ in 0..limits::UNRENDERED_LISTS {
                    let Some((list, memories)) = store.scan(&from, &to, 1)?.pop() else { break };
                    count += layout::dirty_memories(&memories).len() as u64;
                    from = [list.as_slice(), &[0]].concat();
                }
            }
            Ok(count)
        })
        .await
    }

    /// Waits while a peer is serving large parts of a space: rows can wait, the peer cannot.
    async fn until_filled(&self) -> Result<(), ViewError> {
        let quiet = |status: &Arc<Status>| !status.core.spaces.iter().any(|space| space.filling);
        let mut status = self.handle().watch();
        match tokio::time::timeout(limits::FILLED_WITHIN, status.wait_for(quiet)).await {
            // A peer that serves slowly is not waited for.
            Ok(Ok(_)) | Err(_) => Ok(()),
            Ok(Err(_)) => Err(ViewError::Stopping(Stopping)),
        }
    }

    /// Keeps the rows up to date: settles everything once, and then each space into which a
    /// record came, until the node stops. To be spawned once.
    ///
    /// # Errors
    /// When the store fails; the node is then about to stop too.
    pub async fn run(&self) -> Result<(), ViewError> {
        let mut feed = self.handle().feed();
        let mut status = self.handle().watch();
        let stopped = async { while status.changed().await.is_ok() {} };
        let work = async {
            self.settle_all().await?;
            loop {
                let mut dirty = BTreeSet::new();
                let mut all = false;
                let mut event = match feed.recv().await {
                    Ok(event) => Ok(event),
                    Err(RecvError::Lagged(_)) => Err(TryRecvError::Lagged(0)),
                    Err(RecvError::Closed) => return Ok(()),
                };
                // One settling for all that has come meanwhile.
                loop {
                    match event {
                        Ok(numbered) => {
                            if let Event::Record { space, memory: Some(_), .. } = numbered.event {
                                dirty.insert(space);
                            }
                        }
                        Err(TryRecvError::Lagged(_)) => all = true,
                        Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                    }
                    event = feed.try_recv();
                }
                self.until_filled().await?;
                if all {
                    self.settle_all().await?;
                } else {
                    for space in dirty {
                        self.settle(space).await?;
                    }
                }
            }
        };
        let ended = tokio::select! {
            ended = work => ended,
            () = stopped => Ok(()),
        };
        match ended {
            Err(ViewError::Stopping(_)) => Ok(()),
            other => other,
        }
    }
}

/// The oldest lists of memories whose rows are due, below `to`. The lists are read before the
/// records: each record in a list that goes is one that the row has seen.
fn read_due(store: &dyn Reader, number: SpaceNumber, to: &[u8]) -> Result<Due, ReadError> {
    let mut due = Due { memories: BTreeSet::new(), lists: Vec::new() };
    let (mut from, _) = layout::all_dirty(number);
    while due.memories.len() < limits::SETTLE_MEMORIES {
        let Some((list, memories)) = store.scan(&from, to, 1)?.pop() else { break };
        from = [list.as_slice(), &[0]].concat();
        due.memories.extend(layout::dirty_memories(&memories));
        due.lists.push(list);
    }
    Ok(due)
}

/// Makes the rows of memories on all cores; and how many conflicts they resolved.
fn make_rows(
    store: &(dyn Reader + Sync),
    space: SpaceId,
    number: SpaceNumber,
    memories: &[MemoryId],
) -> Result<(Batch, u64), ViewError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = memories.len().div_ceil(cores).max(1);
    let made: Result<Vec<_>, ReadError> = thread::scope(|scope| {
        let parts: Vec<_> = memories
            .chunks(share)
            .map(|part| scope.spawn(move || Row::make_all(store, space, number, part)))
            .collect();
        let died = || ReadError::Io("a thread that makes rows has died".into());
        parts.into_iter().map(|part| part.join().unwrap_or_else(|_| Err(died()))).collect()
    });
    let mut batch = Batch::default();
    let mut resolved = 0;
    for (memory, row) in made?.into_iter().flatten() {
        let key = layout::row(number, &memory);
        let before = store.get(&key)?.and_then(|bytes| Row::decode(&bytes));
        resolved += row.resolved.saturating_sub(before.map_or(0, |row| row.resolved));
        batch.put(key, row.encode());
    }
    Ok((batch, resolved))
}
