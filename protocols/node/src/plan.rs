//! When to compare with peers: what has become due, and when what happens makes the next comparison
//! due. Each peer's, in each space, is in [`Shared`](crate::peer::Shared).

use std::collections::{BTreeMap, BTreeSet};

use ocm_discovery::{CLOCK_TOLERANCE_MS, PeerId};
use ocm_record::SpaceId;
use ocm_sync::Request;

use crate::limits;
use crate::node::{Asked, Node};
use crate::output::{CommandError, Output};
use crate::peer::{Known, Peer, Run};
use crate::random;
use crate::space::Space;

impl Node {
    /// When something is due with any peer.
    pub(crate) fn peers_deadline(&self) -> Option<u64> {
        let full = self.full_spaces();
        self.peers.values().filter_map(|peer| peer_deadline(peer, &full)).min()
    }

    /// Does what has become due.
    pub(crate) fn run_due(&mut self) {
        self.end_overdue();
        let full = self.full_spaces();
        let due: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer_deadline(peer, &full).is_some_and(|at| at <= self.now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let ended = |known: &Known| known.until + CLOCK_TOLERANCE_MS < self.now;
            if peer.known.as_ref().is_some_and(ended) {
                peer.hello_at = Some(self.now + limits::RETRY_MS);
                let reason = "its certificate has ended and it showed no new one".into();
                self.out.push(Output::Disconnect { peer: id, reason });
                continue;
            }
            if peer.prove_by.is_some_and(|at| at <= self.now) {
                peer.prove_by = Some(self.now + limits::PROVE_MS);
                self.turn_away(id, None);
                continue;
            }
            if peer.hello_at.is_some_and(|at| at <= self.now) {
                peer.hello_at = Some(self.now + limits::RETRY_MS);
                if let Some(hello) = self.hello(&id) {
                    self.ask(id, &Request::Hello(hello), Asked::Hello(id));
                }
            }
            self.announce(id);
            self.probe(id, &full);
            self.begin_audits(id);
        }
        self.write_parities(None);
    }

    /// Ends the sessions that have lasted long enough: a slow peer is not to keep others waiting.
    fn end_overdue(&mut self) {
        let now = self.now;
        let mut overdue = Vec::new();
        for (id, peer) in &self.peers {
            for (space, shared) in &peer.shared {
                if matches!(shared.run, Run::Session(_)) && shared.overdue_at() <= now {
                    overdue.push((*id, *space));
                }
            }
        }
        for (id, space) in overdue {
            // Who had its time comes after those who wait.
            self.continue_later(id, space, limits::INTERVAL_MIN_MS);
        }
    }

    /// Begins the comparisons that are due with a peer.
    fn probe(&mut self, id: PeerId, full: &BTreeSet<SpaceId>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let due: Vec<SpaceId> = peer
            .shared
            .iter()
            .filter(|(space, shared)| {
                shared.run.is_idle() && shared.due <= self.now && !full.contains(space)
            })
            .map(|(space, _)| *space)
            .collect();
        for space in due {
            self.probe_space(id, space);
        }
    }

    /// The spaces in which no further session may begin.
    pub(crate) fn full_spaces(&self) -> BTreeSet<SpaceId> {
        let mut running: BTreeMap<SpaceId, usize> = BTreeMap::new();
        for (space, shared) in self.peers.values().flat_map(|peer| &peer.shared) {
            if matches!(shared.run, Run::Session(_)) {
                *running.entry(*space).or_default() += 1;
            }
        }
        running.retain(|_, sessions| *sessions >= limits::SESSIONS_PER_SPACE);
        running.into_keys().collect()
    }

    /// Compares with everyone now. Returns with how many, each space of each peer counted.
    pub(crate) fn compare_now(&mut self, only: Option<SpaceId>) -> Result<usize, CommandError> {
        if let Some(space) = only
            && !self.spaces.contains_key(&space)
        {
            return Err(CommandError::UnknownSpace(space));
        }
        let mut begun = 0;
        for peer in self.peers.values_mut() {
            for (space, shared) in &mut peer.shared {
                if only.is_none_or(|only| only == *space) {
                    shared.plan(self.now);
                    begun += 1;
                }
            }
        }
        Ok(begun)
    }

    /// Compares soon with everyone who shares a space, because it changed here. A comparison that is
    /// about to come anyway keeps its time, and gossip does not put it off.
    pub(crate) fn compare_soon(&mut self, space: SpaceId) {
        let turns = self.probes_take(space) / limits::PROBE_AFTER_MS;
        let soon = self.now + turns * limits::PROBE_AFTER_MS / 4 * 5;
        for peer in self.peers.values_mut() {
            let Some(shared) = peer.shared.get_mut(&space) else { continue };
            let at = if shared.due > soon {
                self.now + a_turn(&mut self.rng, turns)
            } else {
                shared.due
            };
            shared.plan(at);
        }
    }

    /// As [`Self::compare_soon`], because of records that travel by gossip: what is on its way to
    /// one side looks like a difference. So this waits until none came for a while, within a limit.
    pub(crate) fn compare_when_quiet(&mut self, space: SpaceId) {
        let take = self.probes_take(space);
        let turns = take / limits::PROBE_AFTER_MS;
        let soon = self.now + turns * limits::PROBE_AFTER_MS / 4 * 5;
        for peer in self.peers.values_mut() {
            let Some(shared) = peer.shared.get_mut(&space) else { continue };
            let at = self.now + a_turn(&mut self.rng, turns);
            if !shared.put_off(at) && shared.due > soon {
                shared.plan_when_quiet(at, self.now + patience(&mut self.rng, take));
            }
        }
    }

    /// Compares again with those who share a space, because records of it came that they may lack.
    pub(crate) fn compare_news(&mut self, space: SpaceId, records: u64) {
        let gossiped = self.spaces.get(&space).is_some_and(Space::is_gossiped);
        if gossiped && records <= limits::PUSH_RECORDS as u64 {
            self.compare_when_quiet(space);
        } else {
            self.compare_soon(space);
        }
    }

    /// Milliseconds in which everyone who shares a space is compared with after a change: a few at
    /// a time, so that many peers are not all asked at once, again and again.
    pub(crate) fn probes_take(&self, space: SpaceId) -> u64 {
        let share = |peer: &&Peer| peer.shared.contains_key(&space);
        let peers = self.peers.values().filter(share).count();
        limits::PROBE_AFTER_MS * peers.div_ceil(limits::PROBES_AT_ONCE).max(1) as u64
    }
}

/// When something is due with a peer, if no session may begin in the spaces that are full.
fn peer_deadline(peer: &Peer, full: &BTreeSet<SpaceId>) -> Option<u64> {
    let compare = peer.shared.iter().filter_map(|(space, shared)| match shared.run {
        Run::Idle => Some(shared.due).filter(|_| !full.contains(space)),
        Run::Probing => None,
        Run::Session(_) => Some(shared.overdue_at()),
    });
    let audit = peer.shared.values().filter_map(|shared| shared.audit.deadline());
    let announce = peer.announce_at.filter(|_| peer.known.is_some());
    [peer.prove_by, peer.hello_at, announce, compare.min(), audit.min()].into_iter().flatten().min()
}

/// Milliseconds until a peer's turn, one of so many.
fn a_turn(rng: &mut impl rand_core::Rng, turns: u64) -> u64 {
    let turn = 1 + rng.next_u64() % turns;
    random::jitter(rng, limits::PROBE_AFTER_MS * turn)
}

/// Milliseconds for which gossip may put a comparison off, in a space whose comparisons take so
/// many. Each peer's are other ones, so that some are compared with at any time.
pub(crate) fn patience(rng: &mut impl rand_core::Rng, take: u64) -> u64 {
    let most = limits::QUIET_WITHIN_MS.max(take);
    limits::PROBE_AFTER_MS + rng.next_u64() % (most - limits::PROBE_AFTER_MS)
}
