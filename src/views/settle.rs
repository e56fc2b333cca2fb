//! Making the rows of dirty memories.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use ocm_node::Event;
use ocm_node::layout::{self, SpaceNumber};
use ocm_node::storage::{Batch, Key, ReadError, Reader};
use ocm_record::{MemoryId, SpaceId};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::find::{number_of, spaces};
use super::index::{self, Before, Change};
use super::term::Terms;
use super::{Row, ViewError, Views, limits};
use crate::handle::{Status, Stopping};

/// A space, and its number in the store.
type Place = (SpaceId, SpaceNumber);

/// A row that is to be written.
struct Made {
    change: Change,
    /// Conflicts that it resolves, and the row before did not.
    resolved: u64,
}

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
            // Whoever waits may be gone before the rows are written, and the next one has to find
            // them so.
            let (views, end) = (self.clone(), to.clone());
            let step = tokio::spawn(async move { views.settle_some((space, number), end).await });
            if step.await.map_err(|error| ViewError::Aborted(error.to_string()))?? {
                return Ok(());
            }
        }
    }

    /// Makes some of the rows that are due by lists before `end`; whether none was left.
    async fn settle_some(&self, (space, number): Place, end: Key) -> Result<bool, ViewError> {
        // Fair, and held for a few batches only: a list does not wait for another space's bulk.
        let _one = self.0.settling.lock().await;
        let due = self.off_thread(move |store| Ok(read_due(store, number, &end)?)).await?;
        if due.lists.is_empty() {
            return Ok(true);
        }
        self.make_rows((space, number), due).await?;
        Ok(false)
    }

    /// Makes the rows that are due, and takes their lists away with the last of them.
    async fn make_rows(&self, place: Place, due: Due) -> Result<(), ViewError> {
        let memories: Vec<MemoryId> = due.memories.into_iter().collect();
        let mut parts = memories.chunks(limits::SETTLE_MEMORIES);
        let mut made = self.make_part(place, parts.next()).await?;
        loop {
            let next = parts.next();
            let lists = if next.is_none() { due.lists.as_slice() } else { &[] };
            // The next are made while these are written.
            let (written, more) =
                tokio::join!(self.write_part(place, made, lists), self.make_part(place, next));
            written?;
            if next.is_none() {
                return Ok(());
            }
            made = more?;
        }
    }

    async fn make_part(
        &self,
        place: Place,
        memories: Option<&[MemoryId]>,
    ) -> Result<Vec<Made>, ViewError> {
        let Some(memories) = memories.map(<[_]>::to_vec) else { return Ok(Vec::new()) };
        self.off_thread(move |store| Ok(make_rows(store, place, &memories)?)).await
    }

    /// Writes rows together with what the index says of them, and takes lists away with the last.
    async fn write_part(
        &self,
        place: Place,
        made: Vec<Made>,
        lists: &[Key],
    ) -> Result<(), ViewError> {
        let resolved: Vec<u64> = made.iter().map(|made| made.resolved).collect();
        let changes: Arc<[Change]> = made.into_iter().map(|made| made.change).collect();
        let mut from = 0;
        loop {
            let some = changes.clone();
            let (mut batch, taken) = self
                .off_thread(move |store| {
                    let mut batch = Batch::default();
                    let taken = index::write(store, place, &some[from..], &mut batch)?;
                    Ok((batch, taken))
                })
                .await?;
            let resolved: u64 = resolved[from..from + taken].iter().sum();
            from += taken;
            let last = from == changes.len();
            if last {
                lists.iter().for_each(|list| batch.delete(list.clone()));
            }
            self.handle().write_rows(batch).await?.map_err(ViewError::Write)?;
            self.0.resolved.fetch_add(resolved, Ordering::Relaxed);
            if last {
                return Ok(());
            }
        }
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

    /// Makes the rows that are due in a space, or in all, waits for them so long at most, and tells
    /// how many are left.
    pub(super) async fn settle_for(
        &self,
        space: Option<SpaceId>,
        wait: Duration,
    ) -> Result<u64, ViewError> {
        let settled = async {
            match space {
                Some(space) => self.settle(space).await,
                None => self.settle_all().await,
            }
        };
        match tokio::time::timeout(wait, settled).await {
            Ok(settled) => settled.map(|()| 0),
            Err(_) => self.unrendered(space).await,
        }
    }

    /// How many memories of a space, or of all, have records that are in no row yet, one that is in several of the lists
    /// counted as often, in the first [`limits::UNRENDERED_LISTS`] of each space.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn unrendered(&self, space: Option<SpaceId>) -> Result<u64, ViewError> {
        self.off_thread(move |store| {
            let mut count = 0;
            let mut held = spaces(store)?;
            held.retain(|(id, _)| space.is_none_or(|space| space == *id));
            for (_, number) in held {
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
                let first = feed.recv().await;
                // Rows of what comes in a row are made, and made durable, together; a list that is
                // asked for before makes them itself.
                tokio::time::sleep(limits::GATHERED_FOR).await;
                let mut event = match first {
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

/// Makes the rows of memories, ascending, on all cores.
fn make_rows(
    store: &(dyn Reader + Sync),
    place: Place,
    memories: &[MemoryId],
) -> Result<Vec<Made>, ReadError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = memories.len().div_ceil(cores).max(limits::ROWS_A_CORE);
    if memories.len() <= share {
        return make_some(store, place, memories);
    }
    let made: Result<Vec<_>, ReadError> = thread::scope(|scope| {
        let parts: Vec<_> = memories
            .chunks(share)
            .map(|part| scope.spawn(move || make_some(store, place, part)))
            .collect();
        let died = || ReadError::Io("a thread that makes rows has died".into());
        parts.into_iter().map(|part| part.join().unwrap_or_else(|_| Err(died()))).collect()
    });
    Ok(made?.into_iter().flatten().collect())
}

fn make_some(
    store: &dyn Reader,
    (space, number): Place,
    memories: &[MemoryId],
) -> Result<Vec<Made>, ReadError> {
    let made = |(memory, row): (MemoryId, Row)| {
        let stored = store.get(&layout::row(number, &memory))?;
        let before = stored.as_deref().map(Row::decode);
        let resolved = before.iter().flatten().map(|row| row.resolved).sum();
        Ok(Made {
            resolved: row.resolved.saturating_sub(resolved),
            change: Change {
                memory,
                before: match before {
                    None => Before::Absent,
                    Some(Some(row)) => Before::Terms(Terms::of(&row)),
                    Some(None) => Before::Unreadable,
                },
                after: Terms::of(&row),
                row: row.encode(),
            },
        })
    };
    Row::make_all(store, space, number, memories)?.into_iter().map(made).collect()
}
