//! What nodes state of a space, compared and kept (`protocols/README.md`, section 10).
//!
//! The last comparison with each peer in each space outlasts the connection and the process: it is
//! kept in the store with the peer's signed statement, outside the sets and digests.

use ocm_discovery::PeerId;
use ocm_record::{Did, PublicKey, SpaceId};
use ocm_sync::{Comparison, Parity, Statement, Terms, compare};
use serde::{Deserialize, Serialize};

use crate::anti_entropy::EFFECTIVE_KINDS;
use crate::layout::{self, SpaceNumber};
use crate::limits;
use crate::node::Node;
use crate::output::{Event, Output};
use crate::peer::Run;
use crate::plan::patience;
use crate::random;
use crate::snapshot::{AuditState, Missing, ParityState};
use crate::stated::Stated;
use crate::storage::{ReadError, Reader};

/// The last comparison with a peer in a space.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) state: ParityState,
    /// When what the store has was written; `None` where the store has the latest.
    stale_since: Option<u64>,
}

/// What the store keeps of a comparison: what follows from the rest is left out.
#[derive(Serialize, Deserialize)]
struct Entry {
    did: Did,
    stated: Stated,
    ours: Parity,
    at: u64,
    equal_since: Option<u64>,
    differs_since: Option<u64>,
    comparable: bool,
    here: Missing,
    there: Missing,
    exact: bool,
    doubt: Option<String>,
    audit: Option<AuditState>,
    described: Option<u64>,
}

impl Entry {
    fn of(state: &ParityState) -> Self {
        Self {
            did: state.did,
            stated: state.stated.clone(),
            ours: state.ours,
            at: state.at_ms,
            equal_since: state.equal_since_ms,
            differs_since: state.differs_since_ms,
            comparable: state.comparable,
            here: state.here,
            there: state.there,
            exact: state.exact,
            doubt: state.doubt.clone(),
            audit: state.audit,
            described: state.described_ms,
        }
    }

    /// The comparison, if the statement in it still verifies.
    fn verified(self, own: &PeerId, peer: &PeerId, space: SpaceId) -> Option<ParityState> {
        let theirs = self.stated.verify(&key_of(&self.did)?, space, peer, own).ok()?;
        Some(ParityState {
            did: self.did,
            at_ms: self.at,
            equal_since_ms: self.equal_since,
            differs_since_ms: self.differs_since,
            comparable: self.comparable,
            comparison: compare(&self.ours, &theirs),
            ours: self.ours,
            theirs,
            stated: self.stated,
            here: self.here,
            there: self.there,
            exact: self.exact,
            doubt: self.doubt,
            audit: self.audit,
            described_ms: self.described,
        })
    }
}

pub(crate) const fn key_of(did: &Did) -> Option<PublicKey> {
    match did {
        Did::Key(key) => Some(*key),
        Did::Plc(_) => None,
    }
}

impl Node {
    /// What is stored of a space, signed for a peer. `None` where either is not known.
    pub(crate) fn statement_for(&self, id: PeerId, space: SpaceId) -> Option<Statement> {
        let parity = self.spaces.get(&space)?.parity();
        Some(Statement::sign(&self.author, &self.terms_for(id, space)?, parity, self.now))
    }

    /// What our statements to a peer are made out to.
    pub(crate) fn terms_for(&self, id: PeerId, space: SpaceId) -> Option<Terms> {
        let nonce = self.peers.get(&id)?.known.as_ref()?.nonce;
        Some(Terms { space, from: self.own.to_bytes(), to: id.to_bytes(), nonce })
    }

    /// Takes a peer's statement: what it states, unless it is not signed as it must be or
    /// contradicts itself, which is the peer's fault.
    pub(crate) fn take_statement(
        &mut self,
        id: PeerId,
        space: SpaceId,
        statement: &Statement,
    ) -> Option<Parity> {
        let peer = self.peers.get(&id)?;
        let key = key_of(&peer.did()?)?;
        let terms =
            Terms { space, from: id.to_bytes(), to: self.own.to_bytes(), nonce: peer.nonce };
        let theirs = match statement.verify(&key, &terms) {
            Ok(theirs) => theirs,
            Err(error) => {
                self.strike(id, &error.to_string());
                return None;
            }
        };
        let ours = self.spaces.get(&space)?.parity();
        if let Some(error) = theirs.contradiction(&ours) {
            self.doubt(id, space, error.to_string());
            self.strike(id, &error.to_string());
            return None;
        }
        Some(theirs)
    }

    /// Takes note of a comparison with a peer. Returns whether both store the same. `found` says
    /// what a session that went through both sets left missing on each side.
    pub(crate) fn compared(
        &mut self,
        id: PeerId,
        space: SpaceId,
        theirs: Parity,
        statement: Statement,
        found: Option<(Missing, Missing)>,
    ) -> bool {
        let now = self.now;
        let Some(held) = self.spaces.get(&space) else { return false };
        let (ours, lost, gossiped) = (held.parity(), held.lost, held.is_gossiped());
        let comparison = compare(&ours, &theirs);
        let longest = self.settings.compare_every_ms;
        let retell = self.probes_take(space);
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let (nonce, Some(known)) = (peer.nonce, &peer.known) else { return false };
        let (did, comparable) = (known.did, known.kinds == EFFECTIVE_KINDS);
        let same = comparison == Comparison::Equal;
        let equal = comparable && same;
        peer.denies_no_more(&space);
        let before = self.compared.get(&(space, id)).map(|kept| &kept.state);
        // Only who asks learns what a session left: a peer that always asks first is not to keep us
        // from that for long.
        let old = |since| since + limits::INTERVAL_MIN_MS <= now;
        let asks_itself = found.is_none()
            && !same
            && before.and_then(|before| before.differs_since_ms).is_some_and(old);
        let Some(shared) = peer.shared.get_mut(&space) else { return equal };
        let stands = before.filter(|before| before.ours == ours && before.theirs == theirs);
        let (here, there, exact) = match (found, stands) {
            _ if same => (Missing::default(), Missing::default(), true),
            (Some((here, there)), _) => {
                let exact = accounts_for(&ours, &theirs, &here, &there);
                (here, there, exact)
            }
            (None, Some(before)) => (before.here, before.there, before.exact),
            (None, None) => {
                let (here, there) = at_least(&ours, &theirs);
                (here, there, false)
            }
        };
        // The pause grows while comparisons find nothing to do, or again what they could not mend;
        // a new difference is looked at again soon.
        if !exact && stands.is_none() {
            shared.interval = limits::INTERVAL_MIN_MS;
        } else if equal || found.is_some() {
            shared.interval *= 2;
        }
        shared.interval = shared.interval.min(longest);
        if shared.run.is_idle() || equal {
            // Until the peer has heard what we store now, it cannot know that it is equal.
            let heard = shared.told == Some(ours);
            let pause = if heard { shared.interval } else { retell };
            let at = now + random::jitter(&mut self.rng, pause);
            if asks_itself {
                // No news puts off what is planned.
                shared.plan(at.min(shared.due));
            } else if heard || !gossiped {
                shared.plan(at);
            } else {
                shared.plan_when_quiet(at, now + patience(&mut self.rng, retell));
            }
        }
        shared.audit.equal = same;
        let since = peer.before.max(lost);
        let belied = same.then(|| self.stuck.contradiction(space, id, since)).flatten();
        let (equal_since_ms, differs_since_ms) =
            ParityState::spans(before, (equal, same), now, now);
        let state = ParityState {
            did,
            at_ms: now,
            equal_since_ms,
            differs_since_ms,
            comparable,
            comparison,
            ours,
            theirs,
            stated: Stated::Session { nonce, statement },
            here,
            there,
            exact,
            doubt: match belied {
                Some(why) => Some(why.to_owned()),
                None => before.and_then(|before| before.doubt.clone()),
            },
            audit: before.and_then(|before| before.audit),
            described_ms: before.and_then(|before| before.described_ms),
        };
        let audited = state.audit.map(|audit| audit.at_ms);
        self.keep(id, space, state);
        if let Some(why) = belied {
            self.strike(id, why);
        }
        if same {
            self.plan_audit(id, space, audited);
        }
        self.out.push(Output::Event(Event::Compared { peer: id, space, equal }));
        equal
    }

    /// A peer was found not to hold what it states.
    pub(crate) fn doubt(&mut self, id: PeerId, space: SpaceId, why: String) {
        let now = self.now;
        if let Some(kept) = self.compared.get_mut(&(space, id)) {
            kept.state.doubt = Some(why);
            kept.stale_since.get_or_insert(now);
        }
    }

    /// Takes note of the end of an audit.
    pub(crate) fn audited(&mut self, id: PeerId, space: SpaceId, failed: Option<String>) {
        let now = self.now;
        if let Some(kept) = self.compared.get_mut(&(space, id)) {
            kept.state.audit = Some(AuditState { at_ms: now, passed: failed.is_none() });
            kept.state.doubt = failed;
            kept.stale_since.get_or_insert(now);
        }
    }

    /// Records that both sides stored when they were compared last.
    pub(crate) fn stored_by_both(&self, id: PeerId, space: SpaceId) -> u64 {
        let kept = self.compared.get(&(space, id)).map(|kept| &kept.state);
        kept.map_or(0, |state| total(&state.ours).saturating_add(total(&state.theirs)))
    }

    /// All that a peer and this node stored at a time, both store now: what differs came later.
    pub(crate) fn settled_until(&mut self, id: PeerId, space: SpaceId, at: u64) {
        if let Some(kept) = self.compared.get_mut(&(space, id))
            && let Some(since) = &mut kept.state.differs_since_ms
        {
            *since = at.max(*since);
        }
    }

    /// Since when the oldest difference with a connected peer that shares a space is unresolved.
    pub(crate) fn differs_since(&self, space: SpaceId) -> Option<u64> {
        let shares = |peer: &PeerId| {
            self.peers.get(peer).is_some_and(|peer| peer.shared.contains_key(&space))
        };
        let compared = self.compared.range(of_space(space)).filter(|((_, peer), _)| shares(peer));
        compared.filter_map(|(_, kept)| kept.state.differs_since_ms).min()
    }

    /// A comparison as it is shown: with what a session under way has asked for.
    pub(crate) fn as_of_now(
        &self,
        (space, peer): &(SpaceId, PeerId),
        state: &ParityState,
    ) -> ParityState {
        let mut state = state.clone();
        let shared = self.peers.get(peer).and_then(|peer| peer.shared.get(space));
        if let Some(Run::Session(session)) = shared.map(|shared| &shared.run) {
            let (here, there) = session.in_flight();
            for (side, moving) in [(&mut state.here, here), (&mut state.there, there)] {
                side.in_flight = moving.min(side.not_asked);
                side.not_asked -= side.in_flight;
            }
        }
        state
    }

    pub(crate) fn keep(&mut self, id: PeerId, space: SpaceId, state: ParityState) {
        // What is new is written at once, what is renewed now and then.
        let before = self.compared.get(&(space, id));
        let long_ago = self.now.saturating_sub(limits::KEEP_PARITY_MS);
        let stale_since = before.map_or(long_ago, |kept| kept.stale_since.unwrap_or(self.now));
        self.compared.insert((space, id), Kept { state, stale_since: Some(stale_since) });
        let excess = self.compared.len().saturating_sub(limits::PARITIES);
        if excess > 0 {
            // Of those that are away, who was compared longest ago goes.
            let away = self.compared.iter().filter(|((_, peer), _)| !self.peers.contains_key(peer));
            let mut away: Vec<_> = away.map(|(which, kept)| (kept.state.at_ms, *which)).collect();
            away.sort_unstable();
            for (_, (space, peer)) in away.into_iter().take(excess) {
                self.compared.remove(&(space, peer));
                if let Some(held) = self.spaces.get(&space) {
                    self.batch.delete(layout::parity(held.number, &peer));
                    self.batch.delete(layout::description(held.number, &peer));
                }
            }
        }
    }

    /// Has a comparison written with what else is written at this moment.
    pub(crate) fn write_parity_now(&mut self, id: PeerId, space: SpaceId) {
        if let Some(kept) = self.compared.get_mut(&(space, id)) {
            kept.stale_since = Some(0);
        }
    }

    /// When a comparison is to be written.
    pub(crate) fn parities_deadline(&self) -> Option<u64> {
        let stale = self.compared.values().filter_map(|kept| kept.stale_since);
        stale.min().map(|since| since + limits::KEEP_PARITY_MS)
    }

    /// Writes the comparisons that have waited long enough, and those with a peer that is gone.
    pub(crate) fn write_parities(&mut self, gone: Option<PeerId>) {
        let now = self.now;
        for ((space, peer), kept) in &mut self.compared {
            let due = |since: u64| since + limits::KEEP_PARITY_MS <= now || gone == Some(*peer);
            if kept.stale_since.is_some_and(due)
                && let Some(held) = self.spaces.get(space)
            {
                kept.stale_since = None;
                let entry = ocm_record::to_canonical(&Entry::of(&kept.state));
                self.batch.put(layout::parity(held.number, peer), entry);
            }
        }
    }

    /// Reads the comparisons of a space back. One that is damaged is left out: the next comparison
    /// takes its place.
    pub(crate) fn read_parities(
        &mut self,
        space: SpaceId,
        number: SpaceNumber,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let (from, to) = layout::parities(number);
        for (key, value) in store.scan(&from, &to, limits::PARITIES)? {
            let peer = layout::parity_peer(&key);
            let entry = ocm_record::from_canonical::<Entry>(&value).ok();
            if let (Some(peer), Some(entry)) = (peer, entry)
                && let Some(state) = entry.verified(&self.own, &peer, space)
            {
                self.compared.insert((space, peer), Kept { state, stale_since: None });
            }
        }
        // It may have moved after it was compared.
        self.parity_moved(space);
        Ok(())
    }

    /// The clock was set back by so much: what is planned keeps its distance.
    pub(crate) fn turn_back_parities(&mut self, by: u64) {
        for kept in self.compared.values_mut() {
            let since = [&mut kept.stale_since, &mut kept.state.differs_since_ms];
            since.into_iter().flatten().for_each(|since| *since = since.saturating_sub(by));
        }
    }

    /// What is stored of a space has changed: whoever was equal to it is not any more, as far as is
    /// known.
    pub(crate) fn parity_moved(&mut self, space: SpaceId) {
        let now = self.now;
        let Some(ours) = self.spaces.get(&space).map(crate::space::Space::parity) else { return };
        for ((_, _), kept) in self.compared.range_mut(of_space(space)) {
            if kept.state.ours != ours {
                kept.state.differs_since_ms.get_or_insert(now);
            }
        }
    }
}

/// Every comparison of a space.
pub(crate) fn of_space(space: SpaceId) -> impl std::ops::RangeBounds<(SpaceId, PeerId)> {
    let end = |byte| PeerId::new(PublicKey::from_bytes([byte; 32]));
    (space, end(0))..=(space, end(0xff))
}

fn total(parity: &Parity) -> u64 {
    parity.authority.count.saturating_add(parity.content.count)
}

/// Whether what was found missing on both sides explains the difference, as far as the counts tell.
fn accounts_for(ours: &Parity, theirs: &Parity, here: &Missing, there: &Missing) -> bool {
    let difference = |a: u64, b: u64| i128::from(a) - i128::from(b);
    let found = difference(here.total(), there.total());
    here.total() + there.total() > 0 && difference(total(theirs), total(ours)) == found
}

/// What the counts alone tell: how many are missing at least.
pub(crate) fn at_least(ours: &Parity, theirs: &Parity) -> (Missing, Missing) {
    let more = |a: &Parity, b: &Parity| Missing {
        not_asked: (a.authority.count.saturating_sub(b.authority.count))
            .saturating_add(a.content.count.saturating_sub(b.content.count)),
        ..Missing::default()
    };
    (more(theirs, ours), more(ours, theirs))
}

#[cfg(test)]
mod tests {
    use ocm_record::{RecordId, SigningKey, Time};
    use ocm_sync::SetDigest;

    use super::*;
    use crate::node::{Identity, Settings};
    use crate::peer::Peer;
    use crate::storage::{Key, Value};

    struct Nothing;

    impl Reader for Nothing {
        fn get(&self, _: &[u8]) -> Result<Option<Value>, ReadError> {
            Ok(None)
        }

        fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Key, Value)>, ReadError> {
            Ok(Vec::new())
        }

        fn scan_back(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Key, Value)>, ReadError> {
            Ok(Vec::new())
        }
    }

    fn state(at_ms: u64) -> ParityState {
        let key = SigningKey::from_seed(&[1; 32]);
        let space = SpaceId(RecordId::from_parts(Time(1), [1; 32]));
        let terms = Terms { space, from: [0; 38], to: [1; 38], nonce: [2; 32] };
        let none = SetDigest { count: 0, digest: [0; 32] };
        let nothing = Parity { authority: none, content: none, missing_bodies: 0 };
        ParityState {
            did: Did::from(key.public()),
            at_ms,
            equal_since_ms: None,
            differs_since_ms: None,
            comparable: true,
            comparison: Comparison::Equal,
            ours: nothing,
            theirs: nothing,
            stated: Stated::Session {
                nonce: [2; 32],
                statement: Statement::sign(&key, &terms, nothing, at_ms),
            },
            here: Missing::default(),
            there: Missing::default(),
            exact: true,
            doubt: None,
            audit: None,
            described_ms: None,
        }
    }

    #[test]
    fn who_is_connected_is_kept_however_many_there_are() {
        let identity = Identity {
            author: SigningKey::from_seed(&[1; 32]),
            peer: SigningKey::from_seed(&[2; 32]),
        };
        let (mut node, _) =
            Node::open(identity, Settings::default(), [3; 32], 1, &Nothing).unwrap();
        let peer = |n: u8| PeerId::new(PublicKey::from_bytes([n; 32]));
        let space = |n: u64| SpaceId(RecordId::from_parts(Time(n), [7; 32]));
        node.peers = (0..8).map(|n| (peer(n), Peer::new([0; 32], 0, 0))).collect();
        // One that is away, compared last of all; then more with those connected than are kept.
        let many = limits::PARITIES as u64 + 8;
        node.keep(peer(9), space(0), state(2 * many));
        for n in 0..many {
            node.keep(peer((n % 8) as u8), space(n / 8), state(n));
        }
        assert_eq!(node.compared.len() as u64, many, "none evicts another");
        assert!(!node.compared.contains_key(&(space(0), peer(9))));
        // When one of them has gone, what is too much goes with the next comparison.
        node.peers.remove(&peer(3));
        node.keep(peer(0), space(0), state(many));
        assert_eq!(node.compared.len(), limits::PARITIES);
        let (oldest, latest) = ((space(0), peer(3)), (space(many / 8 - 1), peer(3)));
        assert!(!node.compared.contains_key(&oldest) && node.compared.contains_key(&latest));
    }
}
