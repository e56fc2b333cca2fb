//! What is known of a connected peer.

use std::collections::{BTreeMap, BTreeSet};

use ocm_discovery::PeerId;
use ocm_record::{Did, SpaceId};
use ocm_sync::{Parity, Session, SpaceTag, space_tag};

use crate::audit::Audits;
use crate::pace::Pace;

/// A connected peer.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Our nonce in its connection.
    pub(crate) nonce: [u8; 32],
    /// What its hello proved.
    pub(crate) known: Option<Known>,
    /// The last comparison before it connected.
    pub(crate) before: RunNumber,
    /// The spaces both hold, as far as they were named.
    pub(crate) shared: BTreeMap<SpaceId, Shared>,
    /// Until when it is to prove a DID that is spoken to, where not everyone is.
    pub(crate) prove_by: Option<u64>,
    /// When to say hello, again if it was not answered or grows old.
    pub(crate) hello_at: Option<u64>,
    /// When to name our spaces, again if they changed.
    pub(crate) announce_at: Option<u64>,
    /// Spaces in which our own right was presented to it.
    pub(crate) presented: BTreeSet<SpaceId>,
    /// Of those in which that was in vain, the milliseconds until it is tried again.
    in_vain: BTreeMap<SpaceId, u64>,
    /// Fetches of what gossip announced, under way.
    pub(crate) hints: usize,
    /// Requests in a row that it did not answer in time.
    pub(crate) unanswered: u32,
    /// How much it is asked for at once.
    pub(crate) pace: Pace,
    /// Its pushes being verified.
    pub(crate) pushes: usize,
    /// The spaces that it denied after they were shared, until one is compared.
    denied: BTreeMap<SpaceId, Denied>,
    /// The tags by which it may name our spaces.
    tags: BTreeMap<SpaceTag, SpaceId>,
}

/// A space that a peer denied. It is not named to it again before a time, unless membership changes.
#[derive(Debug, Clone, Copy)]
struct Denied {
    pause: u64,
    until: u64,
}

/// What a hello proved.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) did: Did,
    pub(crate) nonce: [u8; 32],
    /// When the certificate ends, in milliseconds since the Unix epoch.
    pub(crate) until: u64,
    /// The kinds of record that have an effect there.
    pub(crate) kinds: Vec<u64>,
}

/// A space shared with a peer.
#[derive(Debug)]
pub(crate) struct Shared {
    /// When to compare.
    pub(crate) due: u64,
    /// Until when records that gossip goes on bringing may put that off.
    late: Option<u64>,
    /// The pause after that.
    pub(crate) interval: u64,
    /// What is under way.
    pub(crate) run: Run,
    /// When what is under way began.
    pub(crate) began: u64,
    /// Names what is under way: an answer that belongs to an earlier run is none to this one.
    pub(crate) number: RunNumber,
    /// Records that the session under way moved, in either direction.
    pub(crate) moved: u64,
    /// Records that both sides stored when it began.
    pub(crate) stored: u64,
    /// Since when it is shared.
    pub(crate) since: u64,
    /// Audits.
    pub(crate) audit: Audits,
    /// What the peer last heard that we store.
    pub(crate) told: Option<Parity>,
    /// Until when the peer is taken to be filling the space with ranges that it asks us for.
    pub(crate) served_until: u64,
}

/// Names one comparison with one peer in one space, over the life of the node.
pub(crate) type RunNumber = u64;

/// What is under way between two nodes in one space.
#[derive(Debug)]
pub(crate) enum Run {
    /// Nothing.
    Idle,
    /// Digests are being compared.
    Probing,
    /// A session.
    Session(Box<Session>),
}

impl Shared {
    /// Plans the next comparison.
    pub(crate) const fn plan(&mut self, at: u64) {
        self.due = at;
        self.late = None;
    }

    /// Plans it for a quiet moment: further news may put it off, until `late`.
    pub(crate) fn plan_when_quiet(&mut self, at: u64, late: u64) {
        self.due = at;
        self.late = Some(late.max(at));
    }

    /// There is news: what waits for a quiet moment waits for it until `at`, or as long as it may.
    /// Returns whether it was planned so.
    pub(crate) fn put_off(&mut self, at: u64) -> bool {
        let Some(late) = self.late else { return false };
        self.due = self.due.max(at.min(late));
        true
    }

    /// When the session under way has lasted long enough.
    pub(crate) const fn overdue_at(&self) -> u64 {
        self.began + crate::limits::SESSION_MS
    }
}

impl Run {
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }
}

impl Peer {
    pub(crate) fn new(nonce: [u8; 32], before: RunNumber, now: u64) -> Self {
        Self {
            nonce,
            before,
            known: None,
            shared: BTreeMap::new(),
            prove_by: None,
            hello_at: Some(now),
            announce_at: None,
            presented: BTreeSet::new(),
            in_vain: BTreeMap::new(),
            hints: 0,
            pace: Pace::default(),
            unanswered: 0,
            pushes: 0,
            denied: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }

    /// Sessions under way with it.
    pub(crate) fn sessions(&self) -> usize {
        self.shared.values().filter(|shared| matches!(shared.run, Run::Session(_))).count()
    }

    /// Whether a session with it is filling a space with ranges.
    pub(crate) fn fills(&self, space: &SpaceId) -> bool {
        let run = self.shared.get(space).map(|shared| &shared.run);
        matches!(run, Some(Run::Session(session)) if session.is_filling())
    }

    pub(crate) fn did(&self) -> Option<Did> {
        self.known.as_ref().map(|known| known.did)
    }

    /// The tag under which we name a space to it.
    pub(crate) fn tag_to(&self, own: &PeerId, peer: &PeerId, space: &SpaceId) -> Option<SpaceTag> {
        let known = self.known.as_ref()?;
        Some(space_tag(&own.to_bytes(), &peer.to_bytes(), &self.nonce, &known.nonce, space))
    }

    /// The space it names by a tag.
    pub(crate) fn space_of(
        &mut self,
        own: &PeerId,
        peer: &PeerId,
        tag: &SpaceTag,
        spaces: &mut dyn ExactSizeIterator<Item = SpaceId>,
    ) -> Option<SpaceId> {
        let known = self.known.as_ref()?;
        if self.tags.len() != spaces.len() {
            self.tags = spaces
                .map(|space| {
                    let (theirs, ours) = (peer.to_bytes(), own.to_bytes());
                    (space_tag(&theirs, &ours, &known.nonce, &self.nonce, &space), space)
                })
                .collect();
        }
        self.tags.get(tag).copied()
    }

    /// Takes note of a valid hello. Another nonce or DID than before begins everything
    /// anew.
    pub(crate) fn greet(&mut self, known: Known, now: u64) {
        // Ask for the next certificate when half of this one's life is over.
        let rest = known.until.saturating_sub(now) / 2;
        self.hello_at = Some(now + rest.max(60_000));
        let same = |before: &Known| before.nonce == known.nonce && before.did == known.did;
        if !self.known.as_ref().is_some_and(same) {
            self.tags.clear();
            self.shared.clear();
            self.presented.clear();
            self.in_vain.clear();
            self.denied.clear();
            self.announce_at = Some(now);
        }
        self.prove_by = None;
        self.known = Some(known);
    }

    /// The clock was set back by so much: what is planned keeps its distance.
    pub(crate) fn turn_back(&mut self, by: u64) {
        let shared =
            self.shared.values_mut().flat_map(|s| [&mut s.due, &mut s.began, &mut s.served_until]);
        let planned =
            [&mut self.prove_by, &mut self.hello_at, &mut self.announce_at].into_iter().flatten();
        planned.chain(shared).for_each(|at| *at = at.saturating_sub(by));
        for shared in self.shared.values_mut() {
            shared.late = shared.late.map(|late| late.saturating_sub(by));
            shared.audit.turn_back(by);
        }
        for denied in self.denied.values_mut() {
            denied.until = denied.until.saturating_sub(by);
        }
    }

    /// Our right in a space was presented in vain: the peer may not have heard it, have been busy
    /// or not hold the space yet. It is named and presented again after a pause that grows.
    pub(crate) fn presented_in_vain(&mut self, space: SpaceId, now: u64) {
        self.presented.remove(&space);
        let pause = self.in_vain.entry(space).or_insert(crate::limits::RETRY_MS);
        let at = now + *pause;
        *pause = (*pause * 2).min(crate::limits::INTERVAL_MAX_MS);
        self.announce_at = Some(self.announce_at.map_or(at, |planned| planned.min(at)));
    }

    /// The peer denies a space that was shared: until it is named again, it is not. It may have
    /// heard of our right only in part, so that is presented again.
    pub(crate) fn deny(&mut self, space: SpaceId, now: u64) {
        self.shared.remove(&space);
        self.presented.remove(&space);
        let fresh = Denied { pause: crate::limits::RETRY_MS, until: now };
        let denied = self.denied.entry(space).or_insert(fresh);
        denied.until = now + denied.pause;
        denied.pause = (denied.pause * 2).min(crate::limits::INTERVAL_MAX_MS);
        let at = denied.until;
        self.announce_at = Some(self.announce_at.map_or(at, |planned| planned.min(at)));
    }

    /// Until when a space is not to be named to it.
    pub(crate) fn denied_until(&self, space: &SpaceId, now: u64) -> Option<u64> {
        let denied = self.denied.get(space).filter(|denied| denied.until > now)?;
        (!self.shared.contains_key(space)).then_some(denied.until)
    }

    /// The spaces that it denied and that are not shared since.
    pub(crate) fn denied(&self) -> impl Iterator<Item = SpaceId> + '_ {
        self.denied.keys().filter(|space| !self.shared.contains_key(space)).copied()
    }

    /// A space was compared with it.
    pub(crate) fn denies_no_more(&mut self, space: &SpaceId) {
        self.denied.remove(space);
    }

    /// Membership has changed: what was denied may be named again.
    pub(crate) fn reconsider(&mut self, now: u64) {
        self.denied.values_mut().for_each(|denied| denied.until = denied.until.min(now));
    }

    /// Our right in a space was taken in.
    pub(crate) fn presented_well(&mut self, space: &SpaceId, now: u64) {
        self.in_vain.remove(space);
        self.announce_at = Some(now);
    }

    /// The shared space, beginning with a comparison now if it is new.
    pub(crate) fn share(&mut self, space: SpaceId, now: u64) -> &mut Shared {
        self.shared.entry(space).or_insert_with(|| Shared {
            due: now,
            late: None,
            interval: crate::limits::INTERVAL_MIN_MS,
            run: Run::Idle,
            began: 0,
            number: 0,
            moved: 0,
            stored: 0,
            since: now,
            audit: Audits::default(),
            told: None,
            served_until: 0,
        })
    }
}
