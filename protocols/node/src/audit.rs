//! Audits: a peer that states the same as we do shows that it holds it (`protocols/README.md`,
//! section 10). Both sides commit to what they store before either tells it; then the peer proves
//! that it has the bytes of some records, drawn at random after it was bound.

use std::collections::BTreeSet;

use ocm_discovery::PeerId;
use ocm_record::{RecordId, Set, SignedRecord, SpaceId};
use ocm_sync::{Parity, Refusal, Request, Response, commitment, proof};
use rand_core::Rng as _;

use crate::limits;
use crate::node::{Asked, Node};
use crate::random;
use crate::space::Stored;
use crate::storage::{ReadError, Reader};

/// Audits between two nodes in one space, in both directions.
#[derive(Debug, Default)]
pub(crate) struct Audits {
    /// Whether the last comparison found the same digests on both sides.
    pub(crate) equal: bool,
    /// When the next one is to begin, if both are equal then.
    pub(crate) due: Option<u64>,
    /// Ours, under way.
    run: Option<Run>,
    /// What the peer's audit bound us to.
    bound: Option<Bound>,
    /// How many in a row came to no end.
    in_vain: u32,
}

/// An audit of ours, under way.
#[derive(Debug)]
struct Run {
    secret: [u8; 32],
    parity: Parity,
    /// What the peer is bound to, and the records that it is to prove; once it has answered.
    asked: Option<([u8; 32], Vec<RecordId>)>,
}

/// What we are bound to by an audit of the peer's.
#[derive(Debug)]
struct Bound {
    theirs: [u8; 32],
    secret: [u8; 32],
    parity: Parity,
}

impl Audits {
    /// When an audit is to begin.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.due.filter(|_| self.equal && self.run.is_none())
    }

    /// The clock was set back by so much.
    pub(crate) fn turn_back(&mut self, by: u64) {
        self.due = self.due.map(|due| due.saturating_sub(by));
    }
}

impl Node {
    /// A comparison found both equal: the first audit follows soon, the others rarely.
    pub(crate) fn plan_audit(&mut self, id: PeerId, space: SpaceId, last: Option<u64>) {
        let soon = self.now + random::jitter(&mut self.rng, limits::AUDIT_AFTER_MS);
        let pause = random::jitter(&mut self.rng, limits::AUDIT_EVERY_MS);
        if let Some(shared) = self.shared_mut(id, space) {
            let due = last.map_or(soon, |last| soon.max(last + pause));
            shared.audit.due.get_or_insert(due);
        }
    }

    /// Begins the audits of a peer that are due.
    pub(crate) fn begin_audits(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let due = |(space, shared): (&SpaceId, &crate::peer::Shared)| {
            shared.audit.deadline().filter(|at| *at <= self.now).map(|_| *space)
        };
        let due: Vec<SpaceId> = peer.shared.iter().filter_map(due).collect();
        for space in due {
            self.begin_audit(id, space);
        }
    }

    fn begin_audit(&mut self, id: PeerId, space: SpaceId) {
        let Some(held) = self.spaces.get(&space) else { return };
        let parity = held.parity();
        let stands = self.compared.get(&(space, id)).is_some_and(|kept| kept.state.ours == parity);
        if !stands || parity.authority.count + parity.content.count == 0 {
            // Something came meanwhile, and the next comparison comes first; or there is nothing to
            // be proved.
            return self.audit_later(id, space, limits::AUDIT_AFTER_MS);
        }
        let secret = random::draw(&mut self.rng);
        let (from, to) = (self.own.to_bytes(), id.to_bytes());
        let commitment = commitment(&from, &to, &space, &secret, &parity);
        let own = self.own;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(tag) = peer.tag_to(&own, &id, &space) else { return };
        let Some(shared) = peer.shared.get_mut(&space) else { return };
        shared.audit.run = Some(Run { secret, parity, asked: None });
        self.ask(id, &Request::Commit { tag, commitment }, Asked::Commit { peer: id, space });
    }

    fn audit_later(&mut self, id: PeerId, space: SpaceId, pause: u64) {
        let at = self.now + random::jitter(&mut self.rng, pause);
        if let Some(shared) = self.shared_mut(id, space) {
            shared.audit.run = None;
            shared.audit.due = Some(at);
        }
    }

    /// An audit got no answer, or none that decides: again after a pause that grows.
    pub(crate) fn audit_in_vain(&mut self, id: PeerId, space: SpaceId) {
        let Some(shared) = self.shared_mut(id, space) else { return };
        let pause = limits::AUDIT_RETRY_MS << shared.audit.in_vain.min(16);
        shared.audit.in_vain += 1;
        self.audit_later(id, space, pause.min(limits::AUDIT_EVERY_MS));
    }

    /// The peer is bound: draws records, tells what we are bound to and asks for proofs.
    pub(crate) fn audit_bound(
        &mut self,
        id: PeerId,
        space: SpaceId,
        theirs: [u8; 32],
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let own = self.own;
        // What is on the disk may be ahead of what was heard of it.
        let ours = match self.spaces.get(&space) {
            Some(held) => Some(held.parity_on_disk(store)?),
            None => None,
        };
        let run = self.shared_mut(id, space).and_then(|shared| shared.audit.run.as_ref());
        // Once bound, it cannot bind itself to something else.
        let run = run.filter(|run| run.asked.is_none());
        let Some((secret, parity)) = run.map(|run| (run.secret, run.parity)) else {
            return Ok(());
        };
        if ours != Some(parity) {
            // What we are bound to is of the past: nothing could be drawn from it.
            self.audit_later(id, space, limits::AUDIT_AFTER_MS);
            return Ok(());
        }
        let ids = self.draw_records(space, store)?;
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let Some(tag) = peer.tag_to(&own, &id, &space) else { return Ok(()) };
        let shared = peer.shared.get_mut(&space);
        if let Some(run) = shared.and_then(|shared| shared.audit.run.as_mut()) {
            run.asked = Some((theirs, ids.clone()));
        }
        let request = Request::Prove { tag, secret, parity, ids };
        self.ask(id, &request, Asked::Prove { peer: id, space });
        Ok(())
    }

    /// Some records of both sets, each as likely as any other, ascending.
    fn draw_records(
        &mut self,
        space: SpaceId,
        store: &dyn Reader,
    ) -> Result<Vec<RecordId>, ReadError> {
        let Some(held) = self.spaces.get(&space) else { return Ok(Vec::new()) };
        let (authority, content) =
            (held.stored(Set::Authority, store)?, held.stored(Set::Content, store)?);
        let first = authority.len();
        let all = first + content.len();
        let mut ids = BTreeSet::new();
        for _ in 0..ocm_sync::limits::AUDIT_RECORDS {
            let Some(at) = self.rng.next_u64().checked_rem(all) else { break };
            let id = if at < first { authority.at(at)? } else { content.at(at - first)? };
            ids.extend(id);
        }
        Ok(ids.into_iter().collect())
    }

    /// A peer audits us: binds itself, and is told what binds us.
    pub(crate) fn bind(&mut self, id: PeerId, space: SpaceId, theirs: [u8; 32]) -> Response {
        let Some(parity) = self.spaces.get(&space).map(crate::space::Space::parity) else {
            return Response::Unknown;
        };
        let fresh = random::draw(&mut self.rng);
        let (from, to) = (self.own.to_bytes(), id.to_bytes());
        let Some(shared) = self.shared_mut(id, space) else { return Response::Unknown };
        // Asked again, it is told the same.
        if shared.audit.bound.as_ref().is_none_or(|bound| bound.theirs != theirs) {
            shared.audit.bound = Some(Bound { theirs, secret: fresh, parity });
        }
        match &shared.audit.bound {
            Some(Bound { secret, parity, .. }) => {
                Response::Commit { commitment: commitment(&from, &to, &space, secret, parity) }
            }
            None => Response::Busy,
        }
    }

    /// A peer that is bound tells to what, and asks for proofs.
    pub(crate) fn prove(
        &mut self,
        id: PeerId,
        space: SpaceId,
        (secret, parity): ([u8; 32], Parity),
        ids: &[RecordId],
        store: &dyn Reader,
    ) -> Result<Response, ReadError> {
        let (from, to) = (id.to_bytes(), self.own.to_bytes());
        let said = commitment(&from, &to, &space, &secret, &parity);
        let bound = self.shared_mut(id, space).and_then(|shared| shared.audit.bound.as_ref());
        // Its commitment may have been overtaken by an earlier one of its own.
        let Some(bound) = bound.filter(|bound| bound.theirs == said) else {
            return Ok(Response::Busy);
        };
        let (ours, stated) = (bound.secret, bound.parity);
        let mut proofs = Vec::with_capacity(ids.len());
        let (mut altered, mut unreadable) = (Vec::new(), Vec::new());
        if let Some(held) = self.spaces.get(&space) {
            for record in ids {
                let bytes = held.read(record, store)?;
                match &bytes {
                    Stored::Altered if !held.is_pending(record) => altered.push(*record),
                    Stored::Unreadable => unreadable.push(*record),
                    _ => {}
                }
                proofs.push(proved(&bytes, (&to, &from), (&secret, &ours)));
            }
        }
        self.damaged(space, &altered, &unreadable);
        Ok(Response::Proved { secret: ours, parity: stated, proofs })
    }

    /// The peer answers an audit to its end: does it hold what it states?
    pub(crate) fn audit_answered(
        &mut self,
        id: PeerId,
        space: SpaceId,
        (secret, theirs, proofs): ([u8; 32], Parity, Vec<Option<[u8; 32]>>),
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let (own, other) = (self.own.to_bytes(), id.to_bytes());
        let Some(shared) = self.shared_mut(id, space) else { return Ok(()) };
        // An answer from before the space was shared anew ends no other audit.
        let run = shared.audit.run.take_if(|run| run.asked.is_some());
        let Some(Run { secret: ours, parity, asked: Some((bound, ids)) }) = run else {
            return Ok(());
        };
        let fault = if commitment(&other, &own, &space, &secret, &theirs) != bound {
            Some("what it told in an audit is not what it was bound to".to_owned())
        } else if theirs != parity {
            // If it was honest it is not equal any more: a comparison shows it.
            self.audit_in_vain(id, space);
            self.compare_soon(space);
            return Ok(());
        } else if proofs.len() != ids.len() {
            Some(format!("it gave {} proofs for {} records", proofs.len(), ids.len()))
        } else {
            None
        };
        if let Some(shared) = self.shared_mut(id, space) {
            shared.audit.in_vain = 0;
        }
        let (mut wrong, mut none) = (0, 0);
        if let (Some(held), None) = (self.spaces.get(&space), &fault) {
            for (record, theirs) in ids.iter().zip(&proofs) {
                // What is damaged here proves nothing.
                let bytes = held.read(record, store)?;
                let Some(right) = proved(&bytes, (&other, &own), (&ours, &secret)) else {
                    continue;
                };
                match theirs {
                    Some(theirs) => wrong += usize::from(*theirs != right),
                    None => none += 1,
                }
            }
        }
        let asked = ids.len();
        let fault = match wrong {
            0 => fault,
            _ => Some(format!("{wrong} of {asked} proofs that it has a record are wrong")),
        };
        if let Some(fault) = &fault {
            self.strike(id, fault);
        }
        // Whoever has lost a record says so, and is not at fault; and it does not hold what it states.
        let lacks =
            (none > 0).then(|| format!("it cannot prove that it has {none} of {asked} records"));
        let failed = fault.or(lacks);
        let pause = if failed.is_some() { limits::INTERVAL_MAX_MS } else { limits::AUDIT_EVERY_MS };
        self.audited(id, space, failed);
        self.audit_later(id, space, pause);
        Ok(())
    }

    /// Whatever else the peer answers to an audit.
    pub(crate) fn audit_refused(&mut self, id: PeerId, space: SpaceId, response: &Response) {
        let later = matches!(response, Response::Busy | Response::Unknown)
            || matches!(response, Response::Refused { reason } if *reason != Refusal::MALFORMED);
        if !later {
            self.strike(id, "its answer is none to an audit");
        }
        self.audit_in_vain(id, space);
    }
}

/// The proof that follows from stored bytes, if they are those of a record.
fn proved(
    stored: &Stored,
    (prover, asker): (&[u8; 38], &[u8; 38]),
    (asker_secret, prover_secret): (&[u8; 32], &[u8; 32]),
) -> Option<[u8; 32]> {
    let Stored::Whole(bytes) = stored else { return None };
    let record = SignedRecord::decode(bytes).ok()?.verify().ok()?;
    Some(proof(prover, asker, asker_secret, prover_secret, &record))
}
