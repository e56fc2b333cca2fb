//! Records past those that are kept with their causes: of each only when it is tried again.

use std::collections::{BTreeMap, BTreeSet};

use ocm_discovery::PeerId;
use ocm_record::{RecordId, Set, SpaceId};

use super::Which;
use super::pause::{Pause, pause_after};
use super::tries::Peers;
use crate::limits;
use crate::peer::RunNumber;
use crate::snapshot::Missing;

/// Why a record was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Held,
    Refused,
    Rejected,
}

impl Why {
    /// Counts one more for this reason.
    pub(super) fn count(self, missing: &mut Missing, quarantined: bool) {
        match self {
            Self::Held => missing.held += 1,
            Self::Refused => missing.refused += 1,
            Self::Rejected => missing.rejected += 1,
        }
        missing.quarantined += u64::from(quarantined);
    }
}

#[derive(Debug)]
struct Entry {
    set: Set,
    why: Why,
    attempts: u32,
    due: u64,
    /// How often all that is held had been freed when it was tried last.
    freed: u32,
    /// The session that last found it.
    seen: RunNumber,
}

impl Entry {
    const fn is_quarantined(&self) -> bool {
        self.attempts >= limits::QUARANTINE_ATTEMPTS
    }
}

/// The rest of one peer in one space.
#[derive(Debug, Default)]
struct Pair {
    entries: BTreeMap<RecordId, Entry>,
    /// How many of them were tried often.
    quarantined: usize,
    /// How often all that is held was freed.
    freed: u32,
    /// Where there are more than are remembered: until when nothing is moved, and the last session
    /// that found that.
    more: Option<(Pause, RunNumber)>,
    /// When it was added to last.
    last: u64,
}

impl Pair {
    fn remove(&mut self, id: &RecordId) -> bool {
        let Some(entry) = self.entries.remove(id) else { return false };
        self.quarantined -= usize::from(entry.is_quarantined());
        true
    }

    /// What was freed waits for the shortest pause all the same: much may be freed often.
    fn waits(&self, entry: &Entry, now: u64) -> bool {
        let free = entry.why == Why::Held && entry.freed != self.freed;
        let tried = entry.due.saturating_sub(pause_after(entry.attempts.saturating_sub(1)));
        now < if free { entry.due.min(tried + limits::STUCK_MIN_MS) } else { entry.due }
    }
}

/// The rest of all peers, bounded in all and for each.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pairs: BTreeMap<(SpaceId, PeerId), Pair>,
    of_peer: BTreeMap<PeerId, usize>,
    peers: Peers,
    len: usize,
    /// When those that have been away for long were looked for last.
    looked: u64,
}

impl Rest {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn contains(&self, (space, peer, id): &Which) -> bool {
        self.pairs.get(&(*space, *peer)).is_some_and(|pair| pair.entries.contains_key(id))
    }

    /// Takes note that a record was tried in vain. Where there is no room for it, all of that peer in
    /// that space rests for a while.
    pub(super) fn failed(&mut self, which: Which, of: (Set, Why), run: RunNumber, now: u64) {
        let pair = self.pairs.get(&(which.0, which.1));
        let known = pair.and_then(|pair| pair.entries.get(&which.2));
        let attempts = known.map_or(0, |entry| entry.attempts);
        let due = now + pause_after(attempts);
        if !self.remember(which, of, (attempts.saturating_add(1), due), run, now) {
            self.overflow((which.0, which.1), run, now);
        }
    }

    /// Takes a record that was kept with its cause, and was tried so often. Returns whether there was
    /// room for it.
    pub(super) fn remember(
        &mut self,
        (space, peer, id): Which,
        (set, why): (Set, Why),
        (attempts, due): (u32, u64),
        run: RunNumber,
        now: u64,
    ) -> bool {
        let which = (space, peer);
        if !self.contains(&(space, peer, id)) && !self.has_room(peer) {
            self.forget_stale(now);
            if !self.has_room(peer) {
                return false;
            }
        }
        let pair = self.pairs.entry(which).or_default();
        pair.last = now;
        let entry = Entry { set, why, attempts, due, freed: pair.freed, seen: run };
        pair.quarantined += usize::from(entry.is_quarantined());
        match pair.entries.insert(id, entry) {
            Some(before) => pair.quarantined -= usize::from(before.is_quarantined()),
            None => {
                self.peers.add(&(space, peer, id));
                self.len += 1;
                *self.of_peer.entry(peer).or_default() += 1;
            }
        }
        true
    }

    fn has_room(&self, peer: PeerId) -> bool {
        self.len < limits::STUCK_IDS
            && self.of_peer.get(&peer).is_none_or(|own| *own < limits::STUCK_IDS_PER_PEER)
    }

    /// There are more records of a peer in a space than are remembered.
    pub(super) fn overflow(&mut self, which: (SpaceId, PeerId), run: RunNumber, now: u64) {
        let known = self.pairs.get(&which).and_then(|pair| pair.more);
        if known.is_some_and(|(_, of)| of == run) {
            return;
        }
        if !self.pairs.contains_key(&which) && self.pairs.len() >= limits::STUCK_PAIRS {
            return;
        }
        let (mut pause, _) = known.unwrap_or((Pause::new(now), run));
        pause.failed(now);
        // What may stand, and comes from nobody else, is not to wait for longer than a comparison.
        pause.due = pause.due.min(now + limits::INTERVAL_MAX_MS);
        let pair = self.pairs.entry(which).or_default();
        (pair.more, pair.last) = (Some((pause, run)), now);
    }

    /// Whoever has been away for long makes room. All are looked at, and so only now and then.
    fn forget_stale(&mut self, now: u64) {
        if now < self.looked + limits::STUCK_MIN_MS && self.looked <= now {
            return;
        }
        self.looked = now;
        let long_ago = now.saturating_sub(2 * limits::STUCK_MAX_MS);
        let stale = |(of, pair): (&(SpaceId, PeerId), &Pair)| (pair.last < long_ago).then_some(*of);
        let stale: Vec<_> = self.pairs.iter().filter_map(stale).collect();
        stale.iter().for_each(|of| self.drop_pair(of));
    }

    fn drop_pair(&mut self, which: &(SpaceId, PeerId)) {
        if let Some(pair) = self.pairs.remove(which) {
            pair.entries.keys().for_each(|id| self.peers.remove(&(which.0, which.1, *id)));
            self.forget(which.1, pair.entries.len());
        }
    }

    fn forget(&mut self, peer: PeerId, entries: usize) {
        self.len -= entries;
        if let Some(own) = self.of_peer.get_mut(&peer) {
            *own -= entries;
            if *own == 0 {
                self.of_peer.remove(&peer);
            }
        }
    }

    /// Whether nothing is to be moved in a session, since there is more than is remembered. The
    /// session that finds so comes to its end: what may stand gets through.
    pub(super) fn is_full(&self, space: SpaceId, peer: PeerId, run: RunNumber, now: u64) -> bool {
        let more = self.pairs.get(&(space, peer)).and_then(|pair| pair.more);
        more.is_some_and(|(pause, found)| found != run && pause.due > now)
    }

    pub(super) fn remove(&mut self, (space, peer, id): &Which) -> bool {
        let which = (*space, *peer);
        let Some(pair) = self.pairs.get_mut(&which) else { return false };
        let removed = pair.remove(id);
        let empty = pair.entries.is_empty() && pair.more.is_none();
        if removed {
            self.peers.remove(&(*space, *peer, *id));
            self.forget(*peer, 1);
        }
        if empty {
            self.pairs.remove(&which);
        }
        removed
    }

    /// Removes a record of all peers, and gives of whom it was one.
    pub(super) fn remove_of_all(&mut self, space: SpaceId, id: RecordId) -> BTreeSet<PeerId> {
        let of = self.peers.of(space, id);
        of.iter().for_each(|peer| {
            self.remove(&(space, *peer, id));
        });
        of
    }

    /// What is held of a peer may stand: it is tried again at once.
    pub(super) fn free(&mut self, space: SpaceId, peer: PeerId) {
        let Some(pair) = self.pairs.get_mut(&(space, peer)) else { return };
        pair.freed = pair.freed.wrapping_add(1);
        pair.more = None;
        if pair.entries.is_empty() {
            self.pairs.remove(&(space, peer));
        }
    }

    /// As [`Self::free`], of every peer.
    pub(super) fn free_all(&mut self, space: SpaceId) {
        let pairs = self.pairs.range(super::pairs_of(space));
        let peers: Vec<PeerId> = pairs.map(|((_, peer), _)| *peer).collect();
        peers.into_iter().for_each(|peer| self.free(space, peer));
    }

    /// Whether it is remembered, and whether it is to wait.
    pub(super) fn waits(&self, (space, peer, id): &Which, now: u64) -> bool {
        let pair = self.pairs.get(&(*space, *peer));
        pair.is_some_and(|pair| pair.entries.get(id).is_some_and(|entry| pair.waits(entry, now)))
    }

    /// The records of a set that are to wait, ascending.
    pub(super) fn waiting(
        &self,
        space: SpaceId,
        set: Set,
        peer: PeerId,
        now: u64,
    ) -> impl Iterator<Item = RecordId> {
        let pair = self.pairs.get(&(space, peer));
        let waits = move |pair: &Pair, entry: &Entry| entry.set == set && pair.waits(entry, now);
        pair.into_iter().flat_map(move |pair| {
            let waiting = pair.entries.iter().filter(move |(_, entry)| waits(pair, entry));
            waiting.map(|(id, _)| *id)
        })
    }

    /// A session found it again.
    pub(super) fn seen(&mut self, (space, peer, id): &Which, run: RunNumber) {
        let pair = self.pairs.get_mut(&(*space, *peer));
        if let Some(entry) = pair.and_then(|pair| pair.entries.get_mut(id)) {
            entry.seen = run;
        }
    }

    /// Forgets what a session did not find.
    pub(super) fn keep_seen(&mut self, space: SpaceId, peer: PeerId, run: RunNumber) {
        let Some(pair) = self.pairs.get(&(space, peer)) else { return };
        let gone = pair.entries.iter().filter(|(_, entry)| entry.seen != run);
        let gone: Vec<RecordId> = gone.map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| {
            self.remove(&(space, peer, *id));
        });
    }

    /// A session has come to its end: whether there are more than are remembered it would have found.
    pub(super) fn ended(&mut self, space: SpaceId, peer: PeerId, run: RunNumber, now: u64) {
        if let Some(pair) = self.pairs.get_mut(&(space, peer))
            && pair.more.is_some_and(|(pause, found)| found != run && pause.due <= now)
        {
            pair.more = None;
            if pair.entries.is_empty() {
                self.pairs.remove(&(space, peer));
            }
        }
    }

    /// Counts those of one peer in one space.
    pub(super) fn count(&self, space: SpaceId, peer: PeerId, missing: &mut Missing) {
        for entry in self.pairs.get(&(space, peer)).iter().flat_map(|pair| pair.entries.values()) {
            entry.why.count(missing, entry.is_quarantined());
        }
    }

    /// How many were tried often, for each space.
    pub(super) fn quarantined(&self) -> impl Iterator<Item = (SpaceId, usize)> {
        let pairs = self.pairs.iter().map(|((space, _), pair)| (*space, pair.quarantined));
        pairs.filter(|(_, quarantined)| *quarantined > 0)
    }

    /// The clock was set back by so much.
    pub(super) fn turn_back(&mut self, by: u64) {
        for pair in self.pairs.values_mut() {
            pair.last = pair.last.saturating_sub(by);
            pair.more.iter_mut().for_each(|(pause, _)| pause.turn_back(by));
            for entry in pair.entries.values_mut() {
                entry.due = entry.due.saturating_sub(by);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let counted: usize = self.pairs.values().map(|pair| pair.entries.len()).sum();
        assert_eq!((counted, self.of_peer.values().sum::<usize>()), (self.len, self.len));
        for pair in self.pairs.values() {
            let often = pair.entries.values().filter(|entry| entry.is_quarantined()).count();
            assert_eq!(often, pair.quarantined);
        }
        counted
    }
}
