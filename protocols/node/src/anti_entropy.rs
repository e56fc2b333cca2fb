//! Comparing with peers: hello, digests, and what is asked, answered, and told of new records.

use ocm_discovery::PeerId;
use ocm_record::{Kind, RecordId, SignedRecord, SpaceId, VerifiedRecord};
use ocm_sync::{Hello, Request, Response, Statement};
use rand_core::Rng as _;
use serde_bytes::ByteBuf;

use crate::input::RequestId;
use crate::limits;
use crate::node::{Asked, Node, Purpose, Sent};
use crate::origin::Origin;
use crate::output::{Event, Output};
use crate::peer::{Peer, Run, RunNumber};
use crate::random;
use crate::storage::{ReadError, Reader};

/// The kinds of record that have an effect in this version.
pub(crate) const EFFECTIVE_KINDS: [u64; 3] = [Kind::GENESIS.0, Kind::GRANT.0, Kind::CHANGE.0];

impl Node {
    pub(crate) fn connected(&mut self, peer: PeerId) {
        if peer == self.own || self.peers.contains_key(&peer) {
            return;
        }
        if let Some(rest) = self.breaches.banned_for(&peer, self.now) {
            let reason =
                format!("it broke the protocol, and is refused for {} s", rest.div_ceil(1000));
            self.out.push(Output::Disconnect { peer, reason: reason.into() });
            return;
        }
        let nonce = random::draw(&mut self.rng);
        let before = self.next_id();
        let mut new = Peer::new(nonce, before, self.now);
        if !self.is_allowed(&peer) {
            if self.settings.allowed.as_ref().is_some_and(|of| of.peers_alone().is_some()) {
                return self.turn_away(peer, None);
            }
            new.prove_by = Some(self.now + limits::PROVE_MS);
        }
        self.peers.insert(peer, new);
    }

    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        if self.peers.remove(&peer).is_some() {
            self.asked.retain(|_, (asked, _)| asked.peer() != peer);
            self.write_parities(Some(peer));
            self.out.push(Output::Event(Event::PeerGone { peer }));
        }
    }

    /// What we say first.
    pub(crate) fn hello(&mut self, peer: &PeerId) -> Option<Hello> {
        let certificate = self.certificate();
        let nonce = self.peers.get(peer)?.nonce;
        Some(Hello {
            version: 1,
            agent: concat!("ocm/", env!("CARGO_PKG_VERSION")).into(),
            nonce,
            certificate: certificate.into(),
            kinds: EFFECTIVE_KINDS.to_vec(),
        })
    }

    /// Sends a request.
    pub(crate) fn ask(&mut self, peer: PeerId, request: &Request, asked: Asked) {
        match request.encode() {
            Ok(bytes) => {
                let request = self.next_id();
                let sent = Sent { at: self.now, bytes: bytes.len() };
                self.asked.insert(request, (asked, sent));
                self.out.push(Output::Send { peer, request, bytes });
            }
            // What is over a limit is not sent; it is as if the peer had not answered.
            Err(_) => self.give_up(&asked),
        }
    }

    /// Begins a comparison: digests first.
    pub(crate) fn probe_space(&mut self, id: PeerId, space: SpaceId) {
        let own = self.own;
        let Some(statement) = self.statement_for(id, space) else { return };
        let run = self.next_id();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(tag) = peer.tag_to(&own, &id, &space) else { return };
        let Some(shared) = peer.shared.get_mut(&space) else { return };
        // What comes from here on is no reason to wait.
        shared.plan(shared.due);
        shared.run = Run::Probing;
        shared.number = run;
        shared.told = Some(*statement.claims());
        self.ask(id, &Request::Parity { tag, statement }, Asked::Probe { peer: id, space, run });
    }

    /// Asks the peer that announced or sent a record for what is missing.
    pub(crate) fn fetch_hint(&mut self, id: PeerId, space: SpaceId, ids: Vec<RecordId>) {
        if ids.is_empty() {
            return;
        }
        let own = self.own;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(tag) = peer.tag_to(&own, &id, &space) else { return };
        let Some(shared) = peer.shared.get_mut(&space) else { return };
        if peer.hints >= limits::HINTS_PER_PEER {
            shared.plan(shared.due.min(self.now + limits::PROBE_AFTER_MS));
            return;
        }
        peer.hints += 1;
        let request = Request::Fetch { tag, ids: ids.clone(), room: peer.pace.room() };
        self.ask(id, &request, Asked::Hint { peer: id, space, ids });
    }

    /// Tells others of records that have just become durable.
    pub(crate) fn spread(&mut self, space: SpaceId, records: &[(VerifiedRecord, Origin)]) {
        let own = self.own;
        let Some(held) = self.spaces.get(&space) else { return };
        let gossiped = held.is_gossiped();
        self.compare_news(space, records.len() as u64);
        let is_told = |origin: &Origin| match gossiped {
            true => *origin == Origin::Local,
            false => !matches!(origin, Origin::Fetch(_)),
        };
        let told = || records.iter().filter(|(_, origin)| is_told(origin));
        if told().count() > limits::PUSH_RECORDS {
            return;
        }
        if gossiped {
            for (record, _) in told() {
                let bytes = record.encode();
                let bytes = if bytes.len() <= limits::GOSSIP_BYTES {
                    bytes
                } else if record.header().kind == Kind::CHANGE {
                    record.encode_without_body()
                } else {
                    continue;
                };
                self.out.push(Output::Publish { space, bytes });
            }
            return;
        }
        let mut to: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.shared.contains_key(&space))
            .map(|(id, _)| *id)
            .collect();
        while to.len() > limits::PUSH_FANOUT {
            let drop = self.rng.next_u64() % to.len() as u64;
            to.swap_remove(usize::try_from(drop).unwrap_or(0));
        }
        for id in to {
            let records: Vec<ByteBuf> = told()
                .filter(|(_, origin)| origin.peer() != Some(id))
                .map(|(record, _)| record.encode().into())
                .collect();
            let Some(peer) = self.peers.get(&id) else { continue };
            let Some(tag) = peer.tag_to(&own, &id, &space) else { continue };
            for records in pages(records, peer.pace.room()) {
                self.ask(id, &Request::Push { tag, records }, Asked::Push { peer: id, space });
            }
        }
    }

    /// A peer answered.
    pub(crate) fn answered(
        &mut self,
        request: RequestId,
        bytes: &[u8],
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let Some((asked, sent)) = self.asked.remove(&request) else { return Ok(()) };
        let peer = asked.peer();
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.unanswered = 0;
            let moved = bytes.len().max(sent.bytes);
            peer.pace.answered(moved, self.now.saturating_sub(sent.at));
        }
        let response = match Response::decode(bytes) {
            Ok(response) => response,
            Err(error) => {
                self.strike(peer, &format!("its answer is no message: {error}"));
                self.give_up(&asked);
                return Ok(());
            }
        };
        if self.is_stale(&asked) {
            return Ok(());
        }
        match (asked, response) {
            (Asked::Hello(peer), Response::Hello(hello)) => self.greeted(peer, &hello),
            (Asked::Spaces { peer, spaces }, Response::Spaces { shared }) => {
                self.shared_spaces(peer, &spaces, &shared, store)?;
            }
            (Asked::Probe { peer, space, .. }, Response::Parity { statement }) => {
                self.probed(peer, space, statement, store)?;
            }
            (Asked::Probe { peer, space, .. }, Response::Unknown) => self.denied(peer, space),
            (Asked::Session { peer, space, .. }, response) => {
                self.session_answered(peer, space, response, store)?;
            }
            (Asked::Hint { peer, space, ids }, Response::Records(page)) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.hints = peer.hints.saturating_sub(1);
                }
                if page.records.len() > ids.len() {
                    self.strike(peer, "it sent more records than were asked for");
                } else {
                    let origin = Origin::Fetch(peer);
                    let records = page.records.iter().map(|bytes| SignedRecord::decode(bytes));
                    self.verify_many(records, Some(space), origin, Purpose::Hint, store)?;
                }
                if !page.absent.is_empty() {
                    self.compare_soon(space);
                }
            }
            (Asked::Present { peer, space }, Response::Pushed { .. }) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.presented_well(&space, self.now);
                }
            }
            (Asked::Push { .. }, Response::Pushed { .. } | Response::Busy) => {}
            (Asked::Commit { peer, space }, Response::Commit { commitment }) => {
                self.audit_bound(peer, space, commitment, store)?;
            }
            (Asked::Prove { peer, space }, Response::Proved { secret, parity, proofs }) => {
                self.audit_answered(peer, space, (secret, parity, proofs), store)?;
            }
            (Asked::Commit { peer, space } | Asked::Prove { peer, space }, response) => {
                self.audit_refused(peer, space, &response);
            }
            (asked, _) => self.give_up(&asked),
        }
        Ok(())
    }

    /// A request will not be answered. Who lets several in a row wait for nothing loses the
    /// connection: another one may fare better, or another peer.
    pub(crate) fn unanswered(&mut self, request: RequestId, timed_out: bool) {
        let Some((asked, _)) = self.asked.remove(&request) else { return };
        self.give_up(&asked);
        let id = asked.peer();
        let Some(peer) = self.peers.get_mut(&id).filter(|_| timed_out) else { return };
        peer.pace.unanswered();
        peer.unanswered += 1;
        if peer.unanswered >= limits::UNANSWERED {
            let reason = format!("it answered none of {} requests in a row", peer.unanswered);
            self.out.push(Output::Disconnect { peer: id, reason: reason.into() });
        }
    }

    /// Whether a request belongs to a comparison that is over, or was begun anew.
    fn is_stale(&self, asked: &Asked) -> bool {
        match asked {
            Asked::Probe { peer, space, run } | Asked::Session { peer, space, run } => {
                !self.is_current(peer, space, *run)
            }
            _ => false,
        }
    }

    /// Whether this comparison is still the one under way.
    pub(crate) fn is_current(&self, peer: &PeerId, space: &SpaceId, run: RunNumber) -> bool {
        let shared = self.peers.get(peer).and_then(|peer| peer.shared.get(space));
        shared.is_some_and(|shared| !shared.run.is_idle() && shared.number == run)
    }

    fn give_up(&mut self, asked: &Asked) {
        if self.is_stale(asked) {
            return;
        }
        let retry = self.now + limits::RETRY_MS;
        let Some(peer) = self.peers.get_mut(&asked.peer()) else { return };
        match asked {
            Asked::Hello(_) => peer.hello_at = Some(retry),
            Asked::Spaces { .. } => {
                peer.announce_at = Some(peer.announce_at.map_or(retry, |at| at.min(retry)));
            }
            Asked::Probe { peer: id, space, .. } | Asked::Session { peer: id, space, .. } => {
                if let Some(shared) = peer.shared.get_mut(space) {
                    shared.run = Run::Idle;
                    shared.plan(retry);
                }
                self.ended(*id, *space, "unanswered");
            }
            Asked::Hint { space, .. } => {
                peer.hints = peer.hints.saturating_sub(1);
                self.compare_soon(*space);
            }
            Asked::Push { space, .. } => self.compare_soon(*space),
            Asked::Present { space, .. } => peer.presented_in_vain(*space, self.now),
            Asked::Commit { peer, space } | Asked::Prove { peer, space } => {
                self.audit_in_vain(*peer, *space);
            }
        }
    }

    /// The peer's digests came back: equal, or a session begins.
    fn probed(
        &mut self,
        id: PeerId,
        space: SpaceId,
        statement: Statement,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let Some(theirs) = self.take_statement(id, space, &statement) else {
            self.pause_after_fault(id, space);
            return Ok(());
        };
        if self.compared(id, space, theirs, statement, None) {
            self.ended(id, space, "equal");
            return Ok(());
        }
        if self.full_spaces().contains(&space) {
            let at = self.now + random::jitter(&mut self.rng, limits::PROBE_AFTER_MS);
            if let Some(shared) = self.shared_mut(id, space) {
                shared.run = Run::Idle;
                shared.plan(at);
            }
            return Ok(());
        }
        let own = self.own;
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let Some(tag) = peer.tag_to(&own, &id, &space) else { return Ok(()) };
        self.begin_session(id, space, tag, store)
    }

    pub(crate) fn shared_mut(
        &mut self,
        id: PeerId,
        space: SpaceId,
    ) -> Option<&mut crate::peer::Shared> {
        self.peers.get_mut(&id)?.shared.get_mut(&space)
    }

    /// A session or comparison is over.
    pub(crate) fn ended(&mut self, id: PeerId, space: SpaceId, outcome: &'static str) {
        if let Some(shared) = self.shared_mut(id, space) {
            shared.run = Run::Idle;
        }
        self.out.push(Output::Event(Event::SessionEnded { peer: id, space, outcome }));
    }
}

/// Splits records into pages of so many bytes that fit a message; a longer record is one of its own.
fn pages(records: Vec<ByteBuf>, most: u32) -> Vec<Vec<ByteBuf>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(ocm_sync::limits::PAGE_BYTES);
    let mut pages: Vec<Vec<ByteBuf>> = Vec::new();
    let mut room = 0;
    for record in records {
        if record.len() > room {
            pages.push(Vec::new());
            room = most;
        }
        room -= record.len().min(room);
        if let Some(page) = pages.last_mut() {
            page.push(record);
        }
    }
    pages
}
