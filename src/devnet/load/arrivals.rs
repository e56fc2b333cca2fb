//! Who has which memory, as the live feeds of all nodes tell it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::error::DevnetError;
use super::super::interrupt::Interrupt;
use super::super::wait::Node;
use super::{Written, lock};
use crate::client::Feed;

/// One memory, on its way.
struct Seen {
    /// Which nodes have it, by their place.
    at: Vec<bool>,
    /// When the last of them had it.
    last: Instant,
}

#[derive(Default)]
struct Heard {
    memories: Mutex<HashMap<String, Seen>>,
    everywhere: AtomicU64,
    lagged: AtomicU64,
    troubles: Mutex<Vec<(usize, String)>>,
}

/// What is heard from all nodes. The threads that listen end with the feeds, or with the process.
pub(super) struct Arrivals(Arc<Heard>);

impl Arrivals {
    /// Listens to every node: nothing that happens after this is missed, but where a node says so.
    pub(super) fn listen(nodes: &[Node], space: &str) -> Result<Self, DevnetError> {
        let heard = Arc::<Heard>::default();
        for (place, node) in nodes.iter().enumerate() {
            let feed = node.feed(space)?;
            let (index, all, heard) = (node.index(), nodes.len(), heard.clone());
            std::thread::Builder::new()
                .name(format!("feed {index}"))
                .spawn(move || heard.listen(feed, index, place, all))
                .map_err(DevnetError::Signals)?;
        }
        Ok(Self(heard))
    }

    /// Waits until every node has each of these, or for so long while no more arrives anywhere, or
    /// for a signal. Returns what is not everywhere.
    pub(super) fn drain(
        &self,
        written: &[Written],
        patience: Duration,
        look: Duration,
        interrupt: &Interrupt,
    ) -> Vec<String> {
        let mut missing: Vec<&str> = written.iter().map(|written| written.id.as_str()).collect();
        let mut moved = Instant::now();
        loop {
            let before = missing.len();
            let memories = lock(&self.0.memories);
            missing.retain(|id| !memories.get(*id).is_some_and(Seen::is_everywhere));
            drop(memories);
            if missing.len() < before {
                moved = Instant::now();
            }
            if missing.is_empty() || moved.elapsed() >= patience || interrupt.times() > 0 {
                return missing.into_iter().map(str::to_owned).collect();
            }
            std::thread::sleep(look);
        }
    }

    /// For each of these that is everywhere: how long after its acknowledgement the last node had
    /// it. The shortest first.
    pub(super) fn reach(&self, written: &[Written]) -> Vec<Duration> {
        let memories = lock(&self.0.memories);
        let mut times: Vec<Duration> = written
            .iter()
            .filter_map(|written| {
                let seen = memories.get(&written.id).filter(|seen| seen.is_everywhere())?;
                Some(seen.last.saturating_duration_since(written.acknowledged))
            })
            .collect();
        times.sort_unstable();
        times
    }

    /// How many memories are on all nodes, those of others who write at the same time included.
    pub(super) fn everywhere(&self) -> u64 {
        self.0.everywhere.load(Ordering::Relaxed)
    }

    /// How many events were lost because this process was slower than a node.
    pub(super) fn lagged(&self) -> u64 {
        self.0.lagged.load(Ordering::Relaxed)
    }

    /// What each node lacks of these, and why its feed ended, where it did.
    pub(super) fn lacking(&self, missing: &[String], nodes: &[Node]) -> Vec<(usize, String)> {
        let memories = lock(&self.0.memories);
        let lacks = |place: usize| {
            let has = |id: &String| memories.get(id).is_some_and(|seen| seen.at[place]);
            missing.iter().filter(|id| !has(id)).count()
        };
        let lacking = nodes.iter().enumerate().map(|(place, node)| (node.index(), lacks(place)));
        let lacking = lacking.filter(|(_, count)| *count > 0);
        lacking
            .map(|(index, count)| (index, format!("was not heard to have {count} memories")))
            .chain(lock(&self.0.troubles).clone())
            .collect()
    }
}

impl Seen {
    fn is_everywhere(&self) -> bool {
        self.at.iter().all(|has| *has)
    }
}

impl Heard {
    fn listen(&self, feed: Feed, index: usize, place: usize, nodes: usize) {
        let trouble = |what: String| lock(&self.troubles).push((index, what));
        for event in feed {
            match event {
                Ok(event) if event.name == "record" => {
                    if let Some(memory) = event.data["memory"].as_str() {
                        self.arrived(memory, place, nodes);
                    }
                }
                Ok(event) if event.name == "lagged" => {
                    let missed = event.data["missed"].as_u64().unwrap_or(1);
                    self.lagged.fetch_add(missed, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(error) => return trouble(format!("its feed ended: {error}")),
            }
        }
        trouble("its feed ended".into());
    }

    fn arrived(&self, memory: &str, place: usize, nodes: usize) {
        let now = Instant::now();
        let mut memories = lock(&self.memories);
        if !memories.contains_key(memory) {
            memories.insert(memory.to_owned(), Seen { at: vec![false; nodes], last: now });
        }
        if let Some(seen) = memories.get_mut(memory)
            && !std::mem::replace(&mut seen.at[place], true)
        {
            seen.last = now;
            if seen.is_everywhere() {
                self.everywhere.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
