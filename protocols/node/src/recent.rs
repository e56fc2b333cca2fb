//! A bounded memory of what was seen lately.

use std::collections::{BTreeMap, VecDeque};

/// A map that forgets its oldest entries.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    limit: usize,
    order: VecDeque<K>,
    entries: BTreeMap<K, V>,
}

impl<K: Ord + Copy, V> Recent<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, order: VecDeque::new(), entries: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key, value).is_none() {
            self.order.push_back(key);
            if self.order.len() > self.limit
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }
}
