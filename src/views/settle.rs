//! Making the rows of dirty memories.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use ocm_node::Event;
use ocm_node::layout::{self, SpaceNumber};
use ocm_node::storage::{Batch, Key, Reader};
use ocm_record::{RecordId, SpaceId};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::find::{number_of, spaces};
use super::{MemoryPlace, Row, ViewError, Views, limits};

/// Rows that were made, and what they take the place of.
struct Made {
    batch: Batch,
    resolved: u64,
    /// Where to go on.
    next: Key,
}

impl Views {
    /// Makes the rows of all memories of a space that have records which no row shows yet: after
    /// this, a list shows everything that was durable when this was called. Records that arrive
    /// meanwhile may wait for the next time.
    ///
    /// # Errors
    /// When the space is not held here, or the store fails.
    pub async fn settle(&self, space: SpaceId) -> Result<(), ViewError> {
        let (number, mut from, to) = self
            .off_thread(move |store| {
                let number = number_of(store, space)?;
                let (from, end) = layout::all_dirty(number);
                let last = store.scan_back(&from, &end, 1)?.pop();
                Ok((number, from, last.map(|(key, _)| [key.as_slice(), &[0]].concat())))
            })
            .await?;
        let Some(to) = to else { return Ok(()) };
        while from < to {
            // Fair, and held for one batch only: a list does not wait for another space's bulk.
            let _one = self.0.settling.lock().await;
            let (start, end) = (from.clone(), to.clone());
            let made =
                self.off_thread(move |store| make_rows(store, space, number, &start, &end)).await?;
            if !made.batch.is_empty() {
                self.handle().write_rows(made.batch).await?.map_err(ViewError::Write)?;
                self.0.resolved.fetch_add(made.resolved, Ordering::Relaxed);
            }
            from = made.next;
        }
        Ok(())
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

    /// How many records are in no row yet, counted up to [`limits::UNRENDERED`] in each space.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn unrendered(&self) -> Result<u64, ViewError> {
        self.off_thread(|store| {
            let mut count = 0;
            for (_, number) in spaces(store)? {
                let (from, to) = layout::all_dirty(number);
                count += store.scan(&from, &to, limits::UNRENDERED)?.len() as u64;
            }
            Ok(count)
        })
        .await
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

/// Makes the rows of the next dirty memories between `from` and `to`. The marks are read before
/// the records, so each mark that goes is of a record that the row has seen.
fn make_rows(
    store: &dyn Reader,
    space: SpaceId,
    number: SpaceNumber,
    from: &[u8],
    to: &[u8],
) -> Result<Made, ViewError> {
    let mut made = Made { batch: Batch::default(), resolved: 0, next: from.to_vec() };
    for _ in 0..limits::SETTLE_MEMORIES {
        if made.next.as_slice() >= to {
            break;
        }
        let first = store.scan(&made.next, to, 1)?.pop();
        let Some(memory) = first.and_then(|(key, _)| layout::memory_of(&key)) else {
            made.next = to.to_vec();
            break;
        };
        let begin = layout::dirty(number, &memory, &RecordId::MIN);
        let end = [layout::dirty(number, &memory, &RecordId::MAX).as_slice(), &[0]].concat();
        let marks = store.scan(&begin, &end, limits::SETTLE_MARKS)?;
        let place = MemoryPlace { space, number, memory };
        let key = layout::row(number, &memory);
        if let Some(row) = Row::make(store, &place)? {
            let before = store.get(&key)?.and_then(|bytes| Row::decode(&bytes));
            let before = before.map_or(0, |row| row.resolved);
            made.resolved += row.resolved.saturating_sub(before);
            made.batch.put(key, row.encode());
        }
        for (mark, _) in marks {
            made.batch.delete(mark);
        }
        made.next = end;
        if made.batch.len() > limits::SETTLE_MARKS {
            break;
        }
    }
    Ok(made)
}
