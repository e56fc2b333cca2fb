//! The peers heard of, and whom to dial when.

mod entry;
mod newcomers;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ocm_record::Boot;

use self::entry::Entry;
use self::newcomers::Newcomers;
use self::source::REMEMBERED_MS;
pub use self::source::Source;
use crate::backoff::PEER_BACKOFF;
use crate::beacon::Beacon;
use crate::peer_id::PeerId;

/// A peer that was connected, to be remembered over a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Who.
    pub peer: PeerId,
    /// Where, the most recently heard of first.
    pub addresses: Vec<String>,
    /// When it was last connected, in milliseconds: on the clock of the table that tells it or is
    /// told; between two runs, since the Unix epoch.
    pub last: u64,
}

/// Limits of a table. Past a limit something worse is evicted, or the newcomer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableLimits {
    /// Peers in all.
    pub peers: usize,
    /// Peers first heard of through one source, so that one loud source cannot fill the table.
    pub per_source: usize,
    /// Addresses of one peer; the one heard of longest ago goes first.
    pub addresses: usize,
    /// Characters of an address.
    pub address_len: usize,
    /// New peers that beacons, multicast DNS and answers of one IP address may bring in a row. An IPv6 /64, in
    /// which one host can take any address, brings four times as many, and as often.
    pub newcomer_burst: u32,
    /// Milliseconds until one more may come from there.
    pub newcomer_refill_ms: u64,
    /// IP addresses, and networks, whose rate is watched; past it, the one that may bring the most is
    /// forgotten for a new one. Whoever sends in the name of ever other networks brings a burst from each:
    /// `per_source` bounds how many of them are kept.
    pub newcomer_sources: usize,
    /// Dials under way to one host for peers that were never connected, so that names made up by
    /// one host keep nobody else waiting.
    pub stranger_dials: usize,
}

impl Default for TableLimits {
    fn default() -> Self {
        Self {
            peers: 2048,
            per_source: 512,
            addresses: 8,
            address_len: 256,
            newcomer_burst: 64,
            newcomer_refill_ms: 1_000,
            newcomer_sources: 1024,
            stranger_dials: 4,
        }
    }
}

/// What came of hearing of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// A peer not heard of before.
    New,
    /// A peer known already; its address is fresh again, or was added.
    Known,
    /// This node itself: ignored, never dialled, never counted.
    Own,
    /// A beacon in this node's own name, sent by another process since this one started: the
    /// peer's key was copied, to a second process or a cloned disk. Never dialled; the operator
    /// must give one of the two a new key.
    CopiedKey {
        /// The other process.
        boot: Boot,
    },
    /// None of those that are spoken to: ignored.
    Unlisted,
    /// Too many new peers from that source; heard again when it slows down.
    RateLimited,
    /// The table is full of better ones.
    Full,
    /// An address longer than any that can be dialled.
    AddressTooLong,
}

/// A peer to dial now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who is expected to answer.
    pub peer: PeerId,
    /// Where, the most recently heard of first.
    pub addresses: Vec<String>,
    /// How this node first heard of it.
    pub source: Source,
}

/// Counts for status and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Peers in the table, by the source that first told of each.
    pub peers: BTreeMap<Source, usize>,
    /// Beacons in this node's own name by this process.
    pub own: u64,
    /// Beacons in this node's own name by another process.
    pub copied_key: u64,
    /// Newcomers not taken because of a rate.
    pub rate_limited: u64,
    /// Newcomers not taken because of a cap.
    pub full: u64,
    /// Peers evicted for others.
    pub evicted: u64,
}

/// A peer that was connected before and is heard of on the local link is dialled again after at
/// most this, however often that failed while it was away: 10 seconds.
const NEARBY_WAIT_MS: u64 = 10_000;

/// A dial that was handed out and not reported on counts as failed after this: 2 minutes.
const DIAL_LOST_MS: u64 = 120_000;

/// A connection that lasts this long was worth dialling: 10 seconds.
pub const STABLE_MS: u64 = 10_000;

/// How long a peer that never answered, and one that once did, keep their place against a
/// newcomer, counted from when they were last heard of.
const PATIENCE_MS: u64 = 60_000;
const PATIENCE_KNOWN_MS: u64 = 10 * 60_000;

/// Every peer heard of, except this node itself. All times `now` are milliseconds on one clock
/// that does not run backwards, of any origin. Everything it does is a function of the calls made.
#[derive(Debug, Clone)]
pub struct PeerTable {
    own: PeerId,
    boot: Boot,
    started_ms: u64,
    limits: TableLimits,
    /// The only peers to take, where not everyone is.
    listed: Option<BTreeSet<PeerId>>,
    peers: BTreeMap<PeerId, Entry>,
    newcomers: Newcomers,
    counts: TableCounts,
}

impl PeerTable {
    /// An empty table of the node with this PeerId and boot. `started_ms` is when the process
    /// started, in milliseconds since the Unix epoch, as its beacons tell the time: a beacon in
    /// its name that is older may be a recording of an earlier run, and proves no copied key.
    #[must_use]
    pub fn new(own: PeerId, boot: Boot, started_ms: u64, limits: TableLimits) -> Self {
        let (peers, newcomers) = (BTreeMap::new(), Newcomers::default());
        let (listed, counts) = (None, TableCounts::default());
        Self { own, boot, started_ms, limits, listed, peers, newcomers, counts }
    }

    /// Takes these peers from here on and no others: nobody else is dialled or remembered.
    pub fn take_only(&mut self, listed: BTreeSet<PeerId>) {
        self.peers.retain(|peer, _| listed.contains(peer));
        self.listed = Some(listed);
    }

    fn takes(&self, peer: &PeerId) -> bool {
        self.listed.as_ref().is_none_or(|listed| listed.contains(peer))
    }

    /// Takes note that `peer` may be reached at `address` (a text the shell can dial).
    pub fn heard(&mut self, peer: PeerId, address: &str, source: Source, now: u64) -> Sighting {
        if peer == self.own {
            return Sighting::Own;
        }
        if !self.takes(&peer) {
            return Sighting::Unlisted;
        }
        if address.len() > self.limits.address_len {
            return Sighting::AddressTooLong;
        }
        let known = self.peers.contains_key(&peer);
        if !known {
            if !self.make_room(source, now) {
                self.counts.full += 1;
                return Sighting::Full;
            }
            self.peers.insert(peer, Entry::new(source, now));
        }
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.heard = entry.heard.max(now);
            entry.add_address(address, source, now, self.limits.addresses);
            if source.is_nearby() && entry.last.is_some() {
                entry.next = entry.next.min(now.saturating_add(NEARBY_WAIT_MS));
            }
        }
        if known { Sighting::Known } else { Sighting::New }
    }

    /// Takes note of a peer that the host at `from` told of, on the local link or when asked.
    pub fn heard_from(
        &mut self,
        peer: PeerId,
        from: IpAddr,
        address: &str,
        source: Source,
        now: u64,
    ) -> Sighting {
        let new = peer != self.own && self.takes(&peer) && !self.peers.contains_key(&peer);
        if new && !self.newcomers.spend(from, &self.limits, now) {
            self.counts.rate_limited += 1;
            return Sighting::RateLimited;
        }
        self.heard(peer, address, source, now)
    }

    /// Takes note of a peer of an earlier run, unless that is too long ago; `last` is no later than
    /// `now`. It is due at once.
    pub fn remember(&mut self, remembered: &Remembered, now: u64) {
        let Remembered { peer, addresses, last } = remembered;
        if now.saturating_sub(*last) > REMEMBERED_MS {
            return;
        }
        for address in addresses {
            self.heard(*peer, address, Source::Remembered, *last);
        }
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.last = entry.last.max(Some(*last));
            entry.heard = entry.heard.max(now);
            entry.next = entry.next.max(now);
        }
    }

    /// Takes note of a verified beacon that came from `from`; `addresses` are those made of its
    /// source address and its ports, and the only ones it will be dialled at.
    pub fn heard_beacon(
        &mut self,
        beacon: &Beacon,
        from: IpAddr,
        addresses: &[String],
        now: u64,
    ) -> Sighting {
        if beacon.peer == self.own {
            if beacon.boot == self.boot || beacon.time < self.started_ms {
                self.counts.own += 1;
                return Sighting::Own;
            }
            self.counts.copied_key += 1;
            return Sighting::CopiedKey { boot: beacon.boot };
        }
        let mut result = Sighting::Known;
        for address in addresses {
            match self.heard_from(beacon.peer, from, address, Source::Beacon, now) {
                Sighting::Known => {}
                Sighting::RateLimited => return Sighting::RateLimited,
                other => result = other,
            }
        }
        result
    }

    /// Takes note of a connection; the peer is not dialled, evicted or expired while it lasts.
    /// One that is in the table for the first time is taken as far as the caps allow.
    pub fn connected(&mut self, peer: PeerId, address: Option<&str>, source: Source, now: u64) {
        if peer == self.own || !self.takes(&peer) {
            return;
        }
        if !self.peers.contains_key(&peer) {
            if !self.make_room(source, now) {
                self.counts.full += 1;
                return;
            }
            self.peers.insert(peer, Entry::new(source, now));
        }
        let limits = self.limits;
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.heard = entry.heard.max(now);
            entry.connected.get_or_insert(now);
            entry.last = Some(now);
            entry.dialling = None;
            if let Some(address) = address.filter(|a| a.len() <= limits.address_len) {
                entry.add_address(address, source, now, limits.addresses);
            }
        }
    }

    /// Takes note that the last connection to a peer ended. One that lasted [`STABLE_MS`] makes up
    /// for earlier failures, and the peer is dialled again after the shortest wait; a shorter one
    /// (a peer that answers and hangs up) counts as a failure. Where it was heard of while it was
    /// connected counts as heard of now.
    pub fn disconnected(&mut self, peer: &PeerId, now: u64, random: u64) {
        if let Some(entry) = self.peers.get_mut(peer) {
            let Some(since) = entry.connected.take() else { return };
            entry.heard = entry.heard.max(now);
            entry.last = Some(now);
            for address in entry.addresses.values_mut().filter(|a| a.heard >= since) {
                address.heard = address.heard.max(now);
            }
            if now.saturating_sub(since) >= STABLE_MS {
                entry.failures = 0;
                entry.next = now.saturating_add(PEER_BACKOFF.delay(0, random));
            } else {
                entry.fail(now, random);
            }
        }
    }

    /// Takes note that this node ends its connections with a peer that it does not speak to. However
    /// long they lasted, that counts as a failure, and the peer as one that was never connected: it
    /// is not remembered, and hearing of it shortens no wait.
    pub fn turned_away(&mut self, peer: &PeerId, now: u64, random: u64) {
        if let Some(entry) = self.peers.get_mut(peer) {
            (entry.connected, entry.last) = (None, None);
            entry.fail(now, random);
        }
    }

    /// Forgets earlier failures of a peer: it is due at once.
    pub fn retry(&mut self, peer: &PeerId, now: u64) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.failures = 0;
            entry.next = now;
        }
    }

    /// Makes every peer that was connected before due at once, as after this node came to another
    /// network.
    pub fn retry_known(&mut self, now: u64) {
        for entry in self.peers.values_mut().filter(|entry| entry.last.is_some()) {
            entry.next = entry.next.min(now);
        }
    }

    /// Takes note that a dial came to nothing.
    pub fn dial_failed(&mut self, peer: &PeerId, now: u64, random: u64) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.fail(now, random);
        }
    }

    /// Whether a peer is to be found at an address, as far as is known.
    #[must_use]
    pub fn knows(&self, peer: &PeerId, address: &str) -> bool {
        self.peers.get(peer).is_some_and(|entry| entry.addresses.contains_key(address))
    }

    /// What told of an address of a peer.
    #[must_use]
    pub fn source_of(&self, peer: &PeerId, address: &str) -> Option<Source> {
        self.peers.get(peer)?.addresses.get(address).map(|known| known.source)
    }

    /// Whether nothing but these sources told of a peer and its addresses.
    #[must_use]
    pub fn is_known_only_by(&self, peer: &PeerId, sources: &[Source]) -> bool {
        self.peers.get(peer).is_some_and(|entry| {
            let told = entry.addresses.values().map(|address| &address.source);
            std::iter::once(&entry.source).chain(told).all(|source| sources.contains(source))
        })
    }

    /// Takes note that a space is shared with a peer: from then on it is no passer-by, and where a lookup
    /// found it is remembered as where a connection did.
    pub fn shares(&mut self, peer: &PeerId) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.shared = true;
        }
    }

    /// Whether nothing but these sources told of a peer and its addresses, and no space was shared with
    /// it.
    #[must_use]
    pub fn is_passing(&self, peer: &PeerId, sources: &[Source]) -> bool {
        let shared = self.peers.get(peer).is_some_and(|entry| entry.shared);
        !shared && self.is_known_only_by(peer, sources)
    }

    /// Forgets an address, whoever is known to be there. A peer that is connected stays so.
    pub fn forget_place(&mut self, address: &str) {
        for entry in self.peers.values_mut() {
            entry.addresses.remove(address);
        }
    }

    /// Forgets a peer, unless it is connected or being dialled.
    pub fn forget(&mut self, peer: &PeerId) {
        let idle = |entry: &Entry| entry.connected.is_none() && entry.dialling.is_none();
        if self.peers.get(peer).is_some_and(idle) {
            self.peers.remove(peer);
        }
    }

    /// Forgets the addresses through relays at which a peer was known. One that is connected stays so.
    pub fn forget_relayed(&mut self, peer: &PeerId) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.addresses.retain(|address, _| !address.ends_with("/p2p-circuit"));
        }
    }

    /// Forgets an address that turned out to be another peer's, or this node's own.
    pub fn forget_address(&mut self, peer: &PeerId, address: &str) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.addresses.remove(address);
        }
    }

    /// At most `limit` peers whose time to be dialled has come, those who waited longest first, and
    /// of those never connected at most [`TableLimits::stranger_dials`] at one host. Each counts as
    /// being dialled until [`Self::connected`] or [`Self::dial_failed`].
    pub fn due(&mut self, now: u64, limit: usize, random: u64) -> Vec<Candidate> {
        for entry in self.peers.values_mut() {
            if entry.dialling.is_some_and(|since| now.saturating_sub(since) > DIAL_LOST_MS) {
                entry.fail(now, random);
            }
        }
        let mut ready: Vec<(u64, PeerId)> = self
            .peers
            .iter()
            .filter(|(_, e)| {
                e.connected.is_none()
                    && e.dialling.is_none()
                    && e.next <= now
                    && !e.addresses.is_empty()
            })
            .map(|(peer, e)| (e.next, *peer))
            .collect();
        ready.sort_unstable();
        let mut strangers: BTreeMap<String, usize> = BTreeMap::new();
        for entry in self.peers.values().filter(|e| e.dialling.is_some() && e.last.is_none()) {
            for host in entry.hosts() {
                *strangers.entry(host.to_owned()).or_default() += 1;
            }
        }
        let mut candidates = Vec::new();
        for (_, peer) in ready {
            if candidates.len() >= limit {
                break;
            }
            let Some(entry) = self.peers.get_mut(&peer) else { continue };
            if entry.last.is_none() {
                let most = self.limits.stranger_dials;
                if entry.hosts().iter().any(|host| strangers.get(*host) >= Some(&most)) {
                    continue;
                }
                for host in entry.hosts() {
                    *strangers.entry(host.to_owned()).or_default() += 1;
                }
            }
            entry.dialling = Some(now);
            let (addresses, source) = (entry.newest_first(), entry.source);
            candidates.push(Candidate { peer, addresses, source });
        }
        candidates
    }

    /// Forgets addresses not heard of for their source's time, and peers left without one. To be
    /// called now and then.
    pub fn expire(&mut self, now: u64) {
        self.peers.retain(|_, entry| {
            if entry.connected.is_some() {
                return true;
            }
            entry.expire(now);
            !entry.addresses.is_empty()
        });
        self.newcomers.expire(&self.limits, now);
    }

    /// The source that first told of a peer.
    #[must_use]
    pub fn source(&self, peer: &PeerId) -> Option<Source> {
        self.peers.get(peer).map(|entry| entry.source)
    }

    /// Peers that were connected in the last week, in this run or before, and have addresses: to be
    /// remembered over a restart.
    #[must_use]
    pub fn worth_remembering(&self, now: u64) -> Vec<Remembered> {
        let remembered = self.peers.iter().filter_map(|(peer, entry)| {
            let last = entry.connected.map(|_| now).or(entry.last)?;
            let addresses = entry.newest_first();
            Some(Remembered { peer: *peer, addresses, last })
        });
        remembered
            .filter(|r| !r.addresses.is_empty() && now.saturating_sub(r.last) <= REMEMBERED_MS)
            .collect()
    }

    /// How many peers are in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether nobody was heard of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Counts, for status and metrics.
    #[must_use]
    pub fn counts(&self) -> TableCounts {
        let mut counts = self.counts.clone();
        counts.peers = Source::ALL.iter().map(|s| (*s, 0)).collect();
        for entry in self.peers.values() {
            *counts.peers.entry(entry.source).or_default() += 1;
        }
        counts
    }

    /// Makes room for one peer from `source`, evicting a worse one if a cap is reached.
    fn make_room(&mut self, source: Source, now: u64) -> bool {
        let of_source = self.peers.values().filter(|e| e.source == source).count();
        if of_source >= self.limits.per_source {
            return self.evict(now, |e| e.source == source);
        }
        self.peers.len() < self.limits.peers || self.evict(now, |_| true)
    }

    /// Evicts the worst peer among those chosen: never connected before once connected, more
    /// failures before fewer, longer unheard of before shorter, lower name before higher. Whoever
    /// is connected, or was heard of a moment ago and never failed, stays: a flood of names
    /// drives out nobody good.
    fn evict(&mut self, now: u64, chosen: impl Fn(&Entry) -> bool) -> bool {
        let victim = self
            .peers
            .iter()
            .filter(|(_, e)| chosen(e) && e.connected.is_none() && e.dialling.is_none())
            .filter(|(_, e)| {
                let patience = match (e.last.is_some(), e.failures) {
                    (true, _) => PATIENCE_KNOWN_MS,
                    (false, 0) => PATIENCE_MS,
                    (false, _) => 0,
                };
                now.saturating_sub(e.heard) >= patience
            })
            .min_by_key(|(peer, e)| (e.last.is_some(), u32::MAX - e.failures, e.heard, **peer))
            .map(|(peer, _)| *peer);
        match victim {
            Some(peer) => {
                self.peers.remove(&peer);
                self.counts.evicted += 1;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
