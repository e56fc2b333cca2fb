//! One run of anti-entropy.

mod failure;
mod outcome;
mod pages;

use std::collections::{BTreeSet, VecDeque};

use ocm_record::{RecordId, Set, SignedRecord};
use serde_bytes::ByteBuf;

use crate::limits;
use crate::message::{Page, PushVerdict, Request, Response};
use crate::reconcile::{Initiator, ReconcileError};
use crate::set::Span;
use crate::statement::Statement;
use crate::tag::SpaceTag;
use crate::tree::{Nodes, Tree};

pub use failure::Failure;
pub use outcome::{Action, Admitted, Outcome, SetOutcome};

/// What a session reads of this node's replica of the space.
pub trait Replica {
    /// Where the nodes of its sets are.
    type Nodes: Nodes;

    /// One of the two sets, as stored.
    ///
    /// # Errors
    /// When the replica cannot be read.
    fn set(&self, set: Set) -> Result<Tree<Self::Nodes>, Error<Self>>;

    /// Those of these ids that are not in one of them, as [`Self::set`] tells.
    ///
    /// # Errors
    /// When the replica cannot be read.
    fn lacking(&self, set: Set, ids: Vec<RecordId>) -> Result<Vec<RecordId>, Error<Self>>;

    /// Whether anything is to be asked for. Else the session finds what is missing here and leaves
    /// it there.
    fn asks(&self) -> bool;

    /// What is stored, digested and signed for the peer.
    ///
    /// # Errors
    /// When the replica cannot be read.
    fn statement(&self) -> Result<Statement, Error<Self>>;
}

/// The asking side of one run of anti-entropy, with one peer in one space: the authority set, then
/// the content set; in each, rounds of reconciliation, and after each round the records that it
/// showed to be missing here (fetched, handed over for admission) and there (pushed); at the end
/// both sides' statements of parity. What is missing here is asked for by its id, or as a range where nothing
/// of the range is here: a newcomer asks for everything at once, and reconciles nothing.
///
/// **The contract.** [`Session::start`] and every `on_…` method return [`Action`]s, in the order in
/// which they are to be carried out; each names the method that takes its result, if any. One
/// request at most is open, and [`limits::PAGES_IN_FLIGHT`] pages at most are being admitted, whose
/// [`Session::on_admitted`] come in their order. After [`Action::Done`], [`Action::Failed`] or an
/// error there is nothing more to do. A method called out of turn fails the session. There is no
/// clock here: a caller that loses the connection, or tires of waiting, drops the session; whatever
/// was admitted stays, and the next session goes on from there.
///
/// Every session ends: rounds and requests are bounded by [`limits`], whatever the peer says. An
/// `Err` from any method means that our own replica cannot be read, and is not about the peer.
#[derive(Debug)]
pub struct Session {
    tag: SpaceTag,
    /// Bytes that one answer is asked to have at most.
    room: u32,
    open: Open,
    set: Set,
    initiator: Option<Initiator>,
    /// The next round's message, which waits until this round's records are dealt with.
    reply: Option<Vec<u8>>,
    /// Ids to fetch, ascending in each round.
    need: VecDeque<RecordId>,
    /// Those of this round's that were inferred from sums, ascending.
    inferred: Vec<RecordId>,
    /// Ranges to ask for, ascending.
    missing: VecDeque<Span>,
    /// Ids to push.
    have: VecDeque<RecordId>,
    /// Pages on their way through admission.
    admitting: u32,
    /// Ranges asked for, and how many of the answers brought nothing.
    ranges: u32,
    barren: u32,
    /// Why the session ends once what arrived is admitted.
    end: Option<Failure>,
    requests: u32,
    outcome: Outcome,
}

/// What is being waited for, besides admission.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Open {
    Nothing,
    Round,
    Fetch { asked: Vec<RecordId> },
    Range { span: Span },
    Load { wanted: Vec<RecordId> },
    Push { ids: Vec<RecordId> },
    Parity,
    Over,
}

/// Why a replica cannot be read.
type Error<R> = <<R as Replica>::Nodes as Nodes>::Error;

impl Session {
    /// Begins a session in the space that we name to the peer by `tag`, whose answers are to have
    /// so many bytes at most ([`Self::set_room`]).
    ///
    /// # Errors
    /// When the replica cannot be read.
    pub fn start<R: Replica>(
        tag: SpaceTag,
        room: u32,
        replica: &R,
    ) -> Result<(Self, Vec<Action>), Error<R>> {
        let mut session = Self {
            tag,
            room,
            open: Open::Nothing,
            set: Set::Authority,
            initiator: None,
            reply: None,
            need: VecDeque::new(),
            inferred: Vec::new(),
            missing: VecDeque::new(),
            have: VecDeque::new(),
            admitting: 0,
            ranges: 0,
            barren: 0,
            end: None,
            requests: 0,
            outcome: Outcome::default(),
        };
        let action = session.begin_set(Set::Authority, replica)?;
        Ok((session, vec![action]))
    }

    /// From the next request on, answers are to have so many bytes of records, or of
    /// reconciliation, at most: on a slow link, what is asked for at once is to come in time.
    pub const fn set_room(&mut self, room: u32) {
        self.room = room;
    }

    /// What was done so far.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Whether it is being served ranges of which nothing is here: from the first that is asked for
    /// to the last.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        let more = self.ranges > 0 && !self.missing.is_empty();
        matches!(self.open, Open::Range { .. }) || more
    }

    /// Records on their way here, asked for or being admitted, and to the peer. What a range will
    /// bring is not known before it comes.
    #[must_use]
    pub fn in_flight(&self) -> (u64, u64) {
        let decided = |set: &SetOutcome| set.admitted + set.held + set.refused;
        let admitting = |set: &SetOutcome| set.received.saturating_sub(decided(set));
        let admitting = admitting(&self.outcome.authority) + admitting(&self.outcome.content);
        match &self.open {
            Open::Fetch { asked } => (admitting + asked.len() as u64, 0),
            Open::Push { ids } => (admitting, ids.len() as u64),
            _ => (admitting, 0),
        }
    }

    /// Takes the peer's response to the last request.
    ///
    /// # Errors
    /// When the replica cannot be read.
    pub fn on_response<R: Replica>(
        &mut self,
        response: Response,
        replica: &R,
    ) -> Result<Vec<Action>, Error<R>> {
        match (std::mem::replace(&mut self.open, Open::Nothing), response) {
            (Open::Over | Open::Nothing | Open::Load { .. }, _) => {
                return Ok(self.fail(Failure::OutOfTurn));
            }
            (_, Response::Unknown) => self.end = Some(Failure::Unknown),
            (_, Response::Busy) => self.end = Some(Failure::Busy),
            (_, Response::Refused { reason }) => self.end = Some(Failure::Refused(reason)),
            (Open::Round, Response::Reconcile { message }) => self.take_round(&message, replica)?,
            (Open::Fetch { asked }, Response::Records(page)) => {
                let records = self.take_page(asked, &page);
                return self.admit(records, replica);
            }
            (Open::Range { span }, Response::Range { records, next }) => {
                let records = self.take_range(span, &records, next);
                return self.admit(records, replica);
            }
            (Open::Push { ids }, Response::Pushed { verdicts }) if verdicts.len() == ids.len() => {
                let taken =
                    |v: &&PushVerdict| matches!(v, PushVerdict::Accept | PushVerdict::Duplicate);
                self.tally().taken += verdicts.iter().filter(taken).count() as u64;
                let verdicts = ids.into_iter().zip(verdicts).collect();
                let mut actions = vec![Action::Pushed { verdicts }];
                actions.extend(self.go_on(replica)?);
                return Ok(actions);
            }
            (Open::Parity, Response::Parity { statement }) => {
                self.outcome.theirs = Some(statement);
                self.open = Open::Over;
                return Ok(vec![Action::Done(self.outcome)]);
            }
            _ => self.end = Some(Failure::Mismatch),
        }
        self.go_on(replica)
    }

    /// Takes note that the oldest page given with [`Action::Admit`] has been decided on and stored.
    ///
    /// # Errors
    /// When the replica cannot be read.
    pub fn on_admitted<R: Replica>(
        &mut self,
        admitted: Admitted,
        replica: &R,
    ) -> Result<Vec<Action>, Error<R>> {
        if self.admitting == 0 {
            return Ok(self.fail(Failure::OutOfTurn));
        }
        self.admitting -= 1;
        let tally = self.tally();
        tally.admitted += admitted.admitted;
        tally.held += admitted.held;
        tally.refused += admitted.refused;
        let refused = self.outcome.authority.refused + self.outcome.content.refused;
        if refused > limits::SESSION_REFUSED {
            self.end.get_or_insert(Failure::Worthless(refused));
        }
        self.go_on(replica)
    }

    /// Takes the records asked for with [`Action::Load`], as [`Page::fill`] gives them.
    ///
    /// # Errors
    /// When the replica cannot be read.
    pub fn on_loaded<R: Replica>(
        &mut self,
        page: Page,
        replica: &R,
    ) -> Result<Vec<Action>, Error<R>> {
        let Open::Load { wanted } = std::mem::replace(&mut self.open, Open::Nothing) else {
            return Ok(self.fail(Failure::OutOfTurn));
        };
        let settled = page.settled();
        if settled == 0 || settled > wanted.len() {
            return Ok(self.fail(Failure::OutOfTurn));
        }
        for id in wanted[settled..].iter().rev() {
            self.have.push_front(*id);
        }
        if page.records.is_empty() {
            return self.go_on(replica);
        }
        self.tally().pushed += page.records.len() as u64;
        let absent: BTreeSet<&RecordId> = page.absent.iter().collect();
        let ids: Vec<RecordId> =
            wanted[..settled].iter().filter(|id| !absent.contains(id)).copied().collect();
        if ids.len() != page.records.len() {
            return Ok(self.fail(Failure::OutOfTurn));
        }
        let open = Open::Push { ids };
        let request = Request::Push { tag: self.tag, records: page.records };
        Ok(vec![self.send(open, request)])
    }

    fn tally(&mut self) -> &mut SetOutcome {
        match self.set {
            Set::Authority => &mut self.outcome.authority,
            Set::Content => &mut self.outcome.content,
        }
    }

    fn fail(&mut self, failure: Failure) -> Vec<Action> {
        vec![self.failed(failure)]
    }

    fn failed(&mut self, failure: Failure) -> Action {
        self.open = Open::Over;
        Action::Failed { failure, outcome: self.outcome }
    }

    fn send(&mut self, open: Open, request: Request) -> Action {
        if self.requests >= limits::SESSION_REQUESTS {
            return self.failed(Failure::Requests);
        }
        self.requests += 1;
        self.open = open;
        Action::Send(request)
    }

    fn begin_set<R: Replica>(&mut self, set: Set, replica: &R) -> Result<Action, Error<R>> {
        self.set = set;
        let ours = replica.set(set)?;
        if ours.is_empty() && replica.asks() {
            return Ok(self.ask_range(Span::all()));
        }
        Ok(self.reconcile(&ours, false))
    }

    fn reconcile<N: Nodes>(&mut self, ours: &Tree<N>, exactly: bool) -> Action {
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let (initiator, message) = Initiator::start(ours, room);
        self.initiator = Some(if exactly { initiator.exact() } else { initiator });
        self.ask_round(message)
    }

    fn ask_round(&mut self, message: Vec<u8>) -> Action {
        if self.tally().rounds >= limits::SESSION_ROUNDS {
            return self.failed(Failure::Rounds);
        }
        self.tally().rounds += 1;
        let (tag, set) = (self.tag, self.set);
        let (message, room) = (ByteBuf::from(message), self.room);
        self.send(Open::Round, Request::Reconcile { tag, set, message, room })
    }

    /// Ids that one request names: about as many as there is room for records, so that few are named
    /// again.
    fn ids_at_once(&self) -> usize {
        const RECORD: u32 = 256;
        usize::try_from(self.room / RECORD).unwrap_or(usize::MAX).clamp(1, limits::PAGE_RECORDS)
    }

    fn ask_range(&mut self, span: Span) -> Action {
        let (tag, set, room) = (self.tag, self.set, self.room);
        self.ranges += 1;
        self.send(Open::Range { span }, Request::Range { tag, set, span, room })
    }

    /// Hands a page over for admission, and goes on meanwhile.
    fn admit<R: Replica>(
        &mut self,
        records: Vec<SignedRecord>,
        replica: &R,
    ) -> Result<Vec<Action>, Error<R>> {
        self.tally().received += records.len() as u64;
        let mut actions = Vec::new();
        if !records.is_empty() {
            self.admitting += 1;
            actions.push(Action::Admit { set: self.set, records });
        }
        actions.extend(self.go_on(replica)?);
        Ok(actions)
    }

    /// The next thing to do when no request is open: ask for more records as long as not too many
    /// are on their way; when all are stored, push, another round, the other set, the comparison.
    fn go_on<R: Replica>(&mut self, replica: &R) -> Result<Vec<Action>, Error<R>> {
        if self.open != Open::Nothing {
            return Ok(Vec::new());
        }
        if !replica.asks() {
            let left = self.need.len() + self.missing.len();
            self.tally().left += left as u64;
            self.need.clear();
            self.missing.clear();
        }
        if self.end.is_none() && self.admitting < limits::PAGES_IN_FLIGHT {
            let mut asked = Vec::new();
            while asked.is_empty() && !self.need.is_empty() {
                let page = self.need.len().min(self.ids_at_once());
                // They may have come by gossip, or from another peer.
                asked = replica.lacking(self.set, self.need.drain(..page).collect())?;
            }
            if !asked.is_empty() {
                let (tag, room) = (self.tag, self.room);
                let request = Request::Fetch { tag, ids: asked.clone(), room };
                return Ok(vec![self.send(Open::Fetch { asked }, request)]);
            }
            if let Some(span) = self.missing.pop_front() {
                return Ok(vec![self.ask_range(span)]);
            }
        }
        if self.admitting > 0 {
            return Ok(Vec::new());
        }
        if let Some(failure) = self.end.take() {
            return Ok(self.fail(failure));
        }
        if !self.have.is_empty() {
            let page = self.have.len().min(self.ids_at_once());
            let wanted: Vec<RecordId> = self.have.drain(..page).collect();
            self.open = Open::Load { wanted: wanted.clone() };
            return Ok(vec![Action::Load { ids: wanted }]);
        }
        if let Some(message) = self.reply.take() {
            return Ok(vec![self.ask_round(message)]);
        }
        // What it inferred from sums, the peer did not have.
        let in_vain = self.tally().absent + self.tally().misled > 0;
        if self.initiator.take().is_some_and(|pass| !pass.is_exact()) && in_vain {
            return Ok(vec![self.reconcile(&replica.set(self.set)?, true)]);
        }
        Ok(vec![match self.set {
            Set::Authority => self.begin_set(Set::Content, replica)?,
            Set::Content => {
                let statement = replica.statement()?;
                self.send(Open::Parity, Request::Parity { tag: self.tag, statement })
            }
        }])
    }

    fn take_round<R: Replica>(&mut self, message: &[u8], replica: &R) -> Result<(), Error<R>> {
        let Some(initiator) = &self.initiator else {
            self.end = Some(Failure::OutOfTurn);
            return Ok(());
        };
        let ours = replica.set(self.set)?;
        match initiator.step(&ours, message) {
            Ok(step) => {
                // An honest peer may be found to lack a record again where a frame was cut short.
                let len = ours.len();
                let tally = self.tally();
                tally.lacking += step.have.len() as u64;
                let lacking = tally.lacking;
                if lacking > len.saturating_mul(2) {
                    self.end = Some(Failure::Lacking { lacking, len });
                    return Ok(());
                }
                self.need = step.need.into();
                self.inferred = step.inferred;
                self.have = step.have.into();
                self.missing = step.missing.into();
                self.reply = step.reply;
                Ok(())
            }
            Err(ReconcileError::Wire(e)) => {
                self.end = Some(e.into());
                Ok(())
            }
            Err(ReconcileError::Set(e)) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests;
