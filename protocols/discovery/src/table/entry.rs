//! What is known of one peer: where it may be, and when to dial it.

use std::collections::{BTreeMap, BTreeSet};

use super::{REMEMBERED_MS, Source};
use crate::backoff::PEER_BACKOFF;

/// Where it may be.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) source: Source,
    pub(super) heard: u64,
}

/// A peer that was heard of.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) addresses: BTreeMap<String, Address>,
    pub(super) heard: u64,
    /// Since when it is connected.
    pub(super) connected: Option<u64>,
    /// When it was last connected, if ever.
    pub(super) last: Option<u64>,
    pub(super) failures: u32,
    /// Not dialled before this time.
    pub(super) next: u64,
    /// Whether a space was shared with it.
    pub(super) shared: bool,
    /// A dial is under way; taken as failed when it is not answered for after this long.
    pub(super) dialling: Option<u64>,
}

impl Entry {
    pub(super) fn new(source: Source, now: u64) -> Self {
        Self {
            source,
            addresses: BTreeMap::new(),
            heard: now,
            connected: None,
            last: None,
            failures: 0,
            next: now,
            shared: false,
            dialling: None,
        }
    }

    pub(super) fn add_address(&mut self, address: &str, source: Source, now: u64, limit: usize) {
        if let Some(known) = self.addresses.get_mut(address) {
            if known.source.life_ms() < source.life_ms() {
                known.source = source;
            }
            known.heard = known.heard.max(now);
            return;
        }
        if limit == 0 {
            return;
        }
        while self.addresses.len() >= limit {
            // What anyone on the link may say drives out nothing that outlasts it.
            let oldest = self
                .addresses
                .iter()
                .min_by_key(|(text, a)| (a.source.life_ms(), a.heard, *text))
                .map(|(t, a)| (t.clone(), a.source.life_ms()));
            match oldest {
                Some((_, life_ms)) if life_ms > source.life_ms() => return,
                Some((text, _)) => self.addresses.remove(&text),
                None => break,
            };
        }
        self.addresses.insert(address.to_owned(), Address { source, heard: now });
    }

    /// Forgets addresses that were not heard of for their source's time. With whom a space was shared is
    /// remembered where a lookup found it, too.
    pub(super) fn expire(&mut self, now: u64) {
        let shared = self.shared;
        self.addresses.retain(|_, address| {
            let life_ms = match address.source {
                Source::Lookup if shared => REMEMBERED_MS,
                source => source.life_ms(),
            };
            now.saturating_sub(address.heard) <= life_ms
        });
    }

    pub(super) fn newest_first(&self) -> Vec<String> {
        let mut texts: Vec<(&String, u64)> =
            self.addresses.iter().map(|(text, a)| (text, a.heard)).collect();
        texts.sort_by_key(|(_, heard)| std::cmp::Reverse(*heard));
        texts.into_iter().map(|(text, _)| text.clone()).collect()
    }

    /// The hosts of its addresses.
    pub(super) fn hosts(&self) -> BTreeSet<&str> {
        self.addresses.keys().map(|address| host_of(address)).collect()
    }

    pub(super) fn fail(&mut self, now: u64, random: u64) {
        self.dialling = None;
        self.next = now.saturating_add(PEER_BACKOFF.delay(self.failures, random));
        self.failures = self.failures.saturating_add(1);
    }
}

/// The part of an address that names the host: of a multiaddr the first two parts, else the whole.
pub(super) fn host_of(address: &str) -> &str {
    match address.match_indices('/').nth(2) {
        Some((end, _)) => &address[..end],
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anyone_may_say_drives_out_nothing_that_outlasts_it() {
        let mut entry = Entry::new(Source::Bootstrap, 0);
        for n in 0..3 {
            entry.add_address(&format!("proved {n}"), Source::Bootstrap, n, 3);
        }
        entry.add_address("told", Source::Mdns, 9, 3);
        assert!(entry.addresses.keys().all(|text| text.starts_with("proved")), "{entry:?}");
        entry.add_address("proved 3", Source::Bootstrap, 9, 3);
        assert_eq!(entry.newest_first(), ["proved 3", "proved 2", "proved 1"]);
        let mut heard = Entry::new(Source::Mdns, 0);
        for n in 0..4 {
            heard.add_address(&n.to_string(), Source::Mdns, n, 3);
        }
        assert_eq!(heard.newest_first(), ["3", "2", "1"], "among equals the newest stay");
    }
}
