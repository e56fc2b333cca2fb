//! Driving sessions: `ocm-sync` says what is next, this does it.

use std::collections::VecDeque;

use ocm_discovery::PeerId;
use ocm_record::{RecordId, Set, SigningKey, SpaceId};
use ocm_sync::{
    Action, Admitted, Failure, Outcome, Page, PushVerdict, Replica, Request, Response, Session,
    SpaceTag, Statement, Terms,
};

use crate::limits;
use crate::node::{Asked, Node, Purpose};
use crate::origin::Origin;
use crate::output::{Event, Output};
use crate::pace::Pace;
use crate::peer::{Run, RunNumber};
use crate::random;
use crate::seen::{self, SeenNodes, SeenSet};
use crate::space::Space;
use crate::storage::{ReadError, Reader};
use crate::stuck::StuckRecords;
use crate::verdict::Verdict;

/// A space as it is seen with one peer: the store in which its sets lie, what is not to be asked for,
/// and what signs a statement of it.
struct Held<'a> {
    space: &'a Space,
    store: &'a dyn Reader,
    peer: PeerId,
    run: RunNumber,
    stuck: &'a StuckRecords,
    author: &'a SigningKey,
    terms: Terms,
    now: u64,
}

impl<'a> Replica for Held<'a> {
    type Nodes = SeenNodes<'a>;

    fn set(&self, set: Set) -> Result<SeenSet<'a>, ReadError> {
        let waiting = self.stuck.waiting(self.space.id, set, self.peer, self.now);
        seen::open(self.store, self.space.number, set, &waiting)
    }

    fn lacking(&self, set: Set, ids: Vec<RecordId>) -> Result<Vec<RecordId>, ReadError> {
        let stored = self.space.stored(set, self.store)?;
        let mut lacking = Vec::new();
        for id in ids {
            let waits = self.stuck.waits(self.space.id, self.peer, &id, self.now);
            if !waits && !stored.contains(&id)? {
                lacking.push(id);
            }
        }
        Ok(lacking)
    }

    fn asks(&self) -> bool {
        !self.stuck.rests(self.space.id, self.peer, self.run, self.now)
    }

    fn statement(&self) -> Result<Statement, ReadError> {
        Ok(Statement::sign(self.author, &self.terms, self.space.parity(), self.now))
    }
}

impl Node {
    /// Begins a session with a peer in a space that differs.
    pub(crate) fn begin_session(
        &mut self,
        id: PeerId,
        space: SpaceId,
        tag: SpaceTag,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let Some(terms) = self.terms_for(id, space) else { return Ok(()) };
        let stored = self.stored_by_both(id, space);
        let run = self.shared_mut(id, space).map_or(0, |shared| shared.number);
        let Some(held) = self.spaces.get(&space) else { return Ok(()) };
        let (author, now) = (&self.author, self.now);
        let stuck = &self.stuck;
        let held = Held { space: held, store, peer: id, run, stuck, author, terms, now };
        let room = self.room_for(&id);
        let (session, actions) = Session::start(tag, room, &held)?;
        if let Some(shared) = self.shared_mut(id, space) {
            shared.run = Run::Session(Box::new(session));
            shared.began = now;
            shared.moved = 0;
            shared.stored = stored;
        }
        self.advance(id, space, actions, store)
    }

    /// The peer answered a session's request.
    pub(crate) fn session_answered(
        &mut self,
        id: PeerId,
        space: SpaceId,
        response: Response,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let actions =
            self.drive(id, space, store, |session, held| session.on_response(response, held))?;
        self.advance(id, space, actions, store)
    }

    /// What became of the records that a session fetched; those admitted are durable.
    pub(crate) fn session_admitted(
        &mut self,
        id: PeerId,
        space: SpaceId,
        (set, run): (Set, RunNumber),
        verdicts: &[(RecordId, Verdict)],
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let mut admitted = Admitted::default();
        let mut rejected = false;
        let mut moved = 0;
        for (record, verdict) in verdicts {
            // What it waited for may have come while its verdict waited for the disk.
            let came = match self.spaces.get(&space) {
                Some(held) => !verdict.stands() && held.knows_in(set, record, store)?,
                None => false,
            };
            let stands = if came { &Verdict::Duplicate } else { verdict };
            self.stuck.judged((space, id, *record), (set, run), stands, self.now);
            moved += u64::from(*verdict == Verdict::Accept);
            match verdict {
                Verdict::Accept | Verdict::Duplicate => admitted.admitted += 1,
                Verdict::Hold(_) => admitted.held += 1,
                Verdict::Reject(_) | Verdict::Refuse(_) => admitted.refused += 1,
            }
            rejected |= matches!(verdict, Verdict::Reject(_));
        }
        if rejected {
            self.strike(id, "it served records that are not what they claim to be");
        }
        if !self.is_current(&id, &space, run) {
            return Ok(());
        }
        if let Some(shared) = self.shared_mut(id, space) {
            shared.moved += moved;
        }
        let actions =
            self.drive(id, space, store, |session, held| session.on_admitted(admitted, held))?;
        self.advance(id, space, actions, store)
    }

    fn drive(
        &mut self,
        id: PeerId,
        space: SpaceId,
        store: &dyn Reader,
        step: impl FnOnce(&mut Session, &Held<'_>) -> Result<Vec<Action>, ReadError>,
    ) -> Result<Vec<Action>, ReadError> {
        let Some(terms) = self.terms_for(id, space) else { return Ok(Vec::new()) };
        let run = self.shared_mut(id, space).map_or(0, |shared| shared.number);
        let Some(held) = self.spaces.get(&space) else { return Ok(Vec::new()) };
        let held = Held {
            space: held,
            store,
            peer: id,
            run,
            stuck: &self.stuck,
            author: &self.author,
            terms,
            now: self.now,
        };
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(Vec::new()) };
        let room = peer.pace.room();
        match peer.shared.get_mut(&space).map(|shared| &mut shared.run) {
            Some(Run::Session(session)) => {
                session.set_room(room);
                step(session, &held)
            }
            Some(Run::Idle | Run::Probing) | None => Ok(Vec::new()),
        }
    }

    /// Does what the session says is next.
    fn advance(
        &mut self,
        id: PeerId,
        space: SpaceId,
        actions: Vec<Action>,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Load { .. } if self.is_served(&id, &space) => {
                    self.ended(id, space, "continued");
                }
                Action::Send(Request::Range { .. }) if self.is_filled_by_another(&id, &space) => {
                    self.continue_later(id, space, limits::PROBE_AFTER_MS);
                }
                Action::Send(request) => self.send_in_session(id, space, &request),
                Action::Admit { set, records } => {
                    let Some(shared) = self.shared_mut(id, space) else { return Ok(()) };
                    let purpose = Purpose::Session { peer: id, space, set, run: shared.number };
                    let records = records.into_iter().map(Ok);
                    self.verify_many(records, Some(space), Origin::Fetch(id), purpose, store)?;
                }
                Action::Load { ids } => {
                    let page = self.page_to_push(id, space, &ids, store)?;
                    let next =
                        self.drive(id, space, store, |session, held| session.on_loaded(page, held));
                    actions.extend(next?);
                }
                Action::Pushed { verdicts } => self.session_pushed(id, space, &verdicts),
                Action::Done(outcome) => self.session_done(id, space, &outcome),
                Action::Failed { failure, .. } => self.session_failed(id, space, &failure),
            }
        }
        Ok(())
    }

    /// Bytes that one answer of a peer, or one push to it, may have.
    fn room_for(&self, id: &PeerId) -> u32 {
        self.peers.get(id).map_or_else(Pace::default, |peer| peer.pace).room()
    }

    /// What is to be pushed of what a peer lacks. What it turned away not long ago is left out, as
    /// if it were not here.
    fn page_to_push(
        &mut self,
        id: PeerId,
        space: SpaceId,
        ids: &[RecordId],
        store: &dyn Reader,
    ) -> Result<Page, ReadError> {
        let run = self.shared_mut(id, space).map_or(0, |shared| shared.number);
        let room = self.room_for(&id);
        let not = self.stuck.not_to_push(space, id, ids, run, self.now);
        if not.is_empty() {
            return self.page(space, ids, room, store);
        }
        let wanted: Vec<RecordId> = ids.iter().filter(|id| !not.contains(id)).copied().collect();
        let mut page = self.page(space, &wanted, room, store)?;
        let rest = wanted.get(page.settled());
        let settled = ids.iter().take_while(|id| Some(*id) != rest);
        page.absent.extend(settled.filter(|id| not.contains(id)));
        Ok(page)
    }

    /// What became there of the records that a session pushed.
    fn session_pushed(&mut self, id: PeerId, space: SpaceId, verdicts: &[(RecordId, PushVerdict)]) {
        let Some(shared) = self.shared_mut(id, space) else { return };
        let run = shared.number;
        let accepted = |(_, verdict): &&(RecordId, PushVerdict)| *verdict == PushVerdict::Accept;
        shared.moved += verdicts.iter().filter(accepted).count() as u64;
        for (record, verdict) in verdicts {
            self.stuck.pushed((space, id, *record), *verdict, run, self.now);
        }
    }

    /// Whether a session with another peer is filling the space with ranges: the same ones twice
    /// would be of no use.
    pub(crate) fn is_filled_by_another(&self, id: &PeerId, space: &SpaceId) -> bool {
        self.peers.iter().any(|(other, peer)| other != id && peer.fills(space))
    }

    /// Whether any session is filling the space with ranges.
    pub(crate) fn is_filled(&self, space: &SpaceId) -> bool {
        self.peers.values().any(|peer| peer.fills(space))
    }

    /// A peer asks for a range of a space: for as long as it goes on so, it is not pushed what it is
    /// about to ask for, and is compared with when it is done.
    pub(crate) fn serves(&mut self, id: PeerId, space: SpaceId) {
        let until = self.now + limits::SERVED_MS;
        if let Some(shared) = self.shared_mut(id, space) {
            shared.served_until = until;
            shared.plan(shared.due.max(until));
        }
    }

    fn is_served(&self, id: &PeerId, space: &SpaceId) -> bool {
        let shared = self.peers.get(id).and_then(|peer| peer.shared.get(space));
        shared.is_some_and(|shared| shared.served_until > self.now)
    }

    /// Ends a session before its end; what remains is left to a later one, after a pause where
    /// others wait for their turn.
    pub(crate) fn continue_later(&mut self, id: PeerId, space: SpaceId, pause: u64) {
        let others = self.others_wait(&id, &space) || self.is_filled_by_another(&id, &space);
        let pause = if others { random::jitter(&mut self.rng, pause) } else { 0 };
        let due = self.now + pause;
        if let Some(shared) = self.shared_mut(id, space) {
            shared.plan(due);
        }
        self.ended(id, space, "continued");
    }

    fn send_in_session(&mut self, id: PeerId, space: SpaceId, request: &Request) {
        let Some(shared) = self.shared_mut(id, space) else { return };
        let run = shared.number;
        if let Request::Parity { statement, .. } = request {
            shared.told = Some(*statement.claims());
        }
        self.ask(id, request, Asked::Session { peer: id, space, run });
    }

    fn session_done(&mut self, id: PeerId, space: SpaceId, outcome: &Outcome) {
        let (mut run, mut began, mut before) = (0, 0, 0);
        if let Some(shared) = self.shared_mut(id, space) {
            shared.run = Run::Idle;
            (run, began, before) =
                (shared.number, shared.began, shared.stored.saturating_add(shared.moved));
            if shared.moved > 0 {
                shared.interval = limits::INTERVAL_MIN_MS;
            }
        }
        let Some(statement) = outcome.theirs else { return };
        let Some(theirs) = self.take_statement(id, space, &statement) else {
            return self.pause_after_fault(id, space);
        };
        let (mut here, there) = self.stuck.left(space, id, run, self.now);
        here.held += outcome.authority.unreadable + outcome.content.unreadable;
        let settled = outcome.is_settled() && here.total() == 0 && there.total() == 0;
        let equal = self.compared(id, space, theirs, statement, Some((here, there)));
        // Where nothing came from elsewhere meanwhile, what differs was there, and was not found.
        if !equal && settled && self.stored_by_both(id, space) > before {
            self.settled_until(id, space, began);
        }
        let exact = self.compared.get(&(space, id)).is_some_and(|kept| kept.state.exact);
        let outcome_name = match (equal, exact) {
            (true, _) => "equal",
            // All that differs cannot be admitted by one side: nothing is left to do.
            (false, true) => "stuck",
            (false, false) => "differs",
        };
        self.ended(id, space, outcome_name);
        let admitted = outcome.authority.admitted + outcome.content.admitted;
        if admitted > 0 {
            // What came here is news for the others, too.
            self.compare_news(space, admitted);
        }
    }

    fn session_failed(&mut self, id: PeerId, space: SpaceId, failure: &Failure) {
        let (pause, outcome) = match failure {
            Failure::Unknown => (None, "unknown"),
            Failure::Busy => (Some(limits::RETRY_MS), "busy"),
            // There is more to do than fits one session; who waits comes first.
            Failure::Rounds | Failure::Requests => {
                return self.continue_later(id, space, limits::PROBE_AFTER_MS);
            }
            Failure::Refused(_) => (Some(limits::INTERVAL_MIN_MS), "refused"),
            // Our own doing: the session was dropped and begun again meanwhile.
            Failure::OutOfTurn => (Some(limits::RETRY_MS), "unanswered"),
            _ => (Some(limits::INTERVAL_MIN_MS), "fault"),
        };
        self.ended(id, space, outcome);
        if outcome == "fault" {
            self.strike(id, &failure.to_string());
        }
        let due = pause.map(|pause| self.now + pause);
        match (due, self.peers.get_mut(&id)) {
            (Some(due), Some(peer)) => {
                if let Some(shared) = peer.shared.get_mut(&space) {
                    shared.plan(due);
                }
            }
            (None, Some(peer)) => peer.deny(space, self.now),
            (_, None) => {}
        }
    }

    /// A peer stated what it cannot have: the comparison is over, and another follows later.
    pub(crate) fn pause_after_fault(&mut self, id: PeerId, space: SpaceId) {
        let due = self.now + random::jitter(&mut self.rng, limits::INTERVAL_MIN_MS);
        if let Some(shared) = self.shared_mut(id, space) {
            shared.plan(due);
        }
        self.ended(id, space, "fault");
    }

    /// Whether a comparison with another peer is due in a space.
    fn others_wait(&self, id: &PeerId, space: &SpaceId) -> bool {
        self.peers.iter().filter(|(other, _)| *other != id).any(|(_, peer)| {
            let shared = peer.shared.get(space);
            shared.is_some_and(|shared| shared.run.is_idle() && shared.due <= self.now)
        })
    }

    /// Takes note that a comparison was denied: the space is not shared until it is named again.
    pub(crate) fn denied(&mut self, id: PeerId, space: SpaceId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.deny(space, self.now);
        }
        self.out.push(Output::Event(Event::SessionEnded { peer: id, space, outcome: "unknown" }));
    }
}
