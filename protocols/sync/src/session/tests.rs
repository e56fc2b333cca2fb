//! A session against a responder in memory: replicas that become equal here; by topic, all else.

mod asking;
mod counts;
mod faults;
mod misled;
mod ranges;

use std::cell::Cell;
use std::collections::BTreeMap;

use ocm_record::{Boot, Draft, Kind, SigningKey, SpaceId, Time};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::lthash::SetHash;
use crate::message::{RangePage, Refusal};
use crate::parity::{Comparison, Parity, SetDigest, compare};
use crate::reconcile::{WireError, respond, write_varint};
use crate::set::{Span, Sum};
use crate::statement::Terms;
use crate::tree::{InMemory, SumTree, TreeError};

const TAG: SpaceTag = [3; 32];

fn record(kind: Kind, time: u64, n: u64, size: usize) -> SignedRecord {
    let draft = Draft {
        space: SpaceId(RecordId::from_parts(Time(1), [1; 32])),
        kind,
        memory: None,
        author: None,
        boot: Boot::from_bytes([2; 16]),
        seq: 1,
        prev: None,
        deps: vec![],
        auth: vec![],
        time: Time(time),
    };
    let mut body = vec![0; size.max(8)];
    body[..8].copy_from_slice(&n.to_be_bytes());
    draft.sign(&SigningKey::from_seed(&[9; 32]), body).unwrap()
}

/// A node's replica of one space.
#[derive(Debug, Clone, Default)]
struct Node {
    records: BTreeMap<RecordId, Vec<u8>>,
    authority: SumTree,
    content: SumTree,
    /// How often a whole set was given.
    given: Cell<u32>,
    asks_nothing: bool,
}

impl Replica for Node {
    type Nodes = InMemory;
    fn set(&self, set: Set) -> Result<SumTree, TreeError> {
        self.given.set(self.given.get() + 1);
        Ok(match set {
            Set::Authority => self.authority.clone(),
            Set::Content => self.content.clone(),
        })
    }
    fn lacking(&self, set: Set, ids: Vec<RecordId>) -> Result<Vec<RecordId>, TreeError> {
        let mut lacking = Vec::new();
        for id in ids {
            let held = match set {
                Set::Authority => self.authority.contains(&id),
                Set::Content => self.content.contains(&id),
            };
            if !held? {
                lacking.push(id);
            }
        }
        Ok(lacking)
    }
    fn asks(&self) -> bool {
        !self.asks_nothing
    }
    fn statement(&self) -> Result<Statement, TreeError> {
        let space = SpaceId(RecordId::from_parts(Time(1), [1; 32]));
        let terms = Terms { space, from: [0; 38], to: [1; 38], nonce: [2; 32] };
        Ok(Statement::sign(&SigningKey::from_seed(&[9; 32]), &terms, self.parity(), 7))
    }
}

impl Node {
    fn parity(&self) -> Parity {
        let digest = |set: &SumTree| {
            let mut hash = SetHash::new();
            set.iter().for_each(|id| hash.add(&id));
            SetDigest { count: set.len(), digest: hash.digest() }
        };
        let (authority, content) = (digest(&self.authority), digest(&self.content));
        Parity { authority, content, missing_bodies: 0 }
    }

    /// How it compares with what the peer stated.
    fn compared(&self, outcome: &Outcome) -> Comparison {
        compare(&self.parity(), outcome.theirs.unwrap().claims())
    }

    fn of(records: &[SignedRecord]) -> Self {
        let mut node = Self::default();
        records.iter().for_each(|record| assert!(node.admit(record)));
        node
    }

    fn admit(&mut self, record: &SignedRecord) -> bool {
        self.records.insert(record.id(), record.encode());
        match record.kind().set() {
            Set::Authority => self.authority.insert(record.id()).unwrap(),
            Set::Content => self.content.insert(record.id()).unwrap(),
        }
    }

    fn page(&self, ids: &[RecordId], room: u32) -> Page {
        Page::fill(ids, room, |id| Ok::<_, TreeError>(self.records.get(id).cloned())).unwrap()
    }

    fn range(&self, set: Set, span: Span, room: u32) -> Response {
        let mut page = RangePage::with_room(room);
        for id in self.set(set).unwrap().list(span, usize::MAX).unwrap() {
            if self.records.get(&id).is_some_and(|record| !page.push(record)) {
                return Response::Range { records: page.into_records(), next: Some(id) };
            }
        }
        Response::Range { records: page.into_records(), next: None }
    }

    /// The honest responder.
    fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Reconcile { set, message, room, .. } => {
                let message = respond(&self.set(set).unwrap(), &message, room as usize).unwrap();
                Response::Reconcile { message: ByteBuf::from(message) }
            }
            Request::Fetch { ids, room, .. } => Response::Records(self.page(&ids, room)),
            Request::Range { set, span, room, .. } => self.range(set, span, room),
            Request::Push { records, .. } => {
                let verdict = |bytes: ByteBuf| {
                    let new = self.admit(&SignedRecord::decode(&bytes).unwrap());
                    if new { PushVerdict::Accept } else { PushVerdict::Duplicate }
                };
                Response::Pushed { verdicts: records.into_iter().map(verdict).collect() }
            }
            Request::Parity { .. } => Response::Parity { statement: self.statement().unwrap() },
            Request::Hello(_)
            | Request::Spaces { .. }
            | Request::Commit { .. }
            | Request::Prove { .. } => Response::Unknown,
        }
    }
}

/// Runs a session to its end against any responder, over encoded messages.
fn run(
    ours: &mut Node,
    peer: impl FnMut(Request) -> Response,
) -> (Result<Outcome, (Failure, Outcome)>, u32) {
    run_within(u32::MAX, ours, peer)
}

/// The same with answers of so many bytes at most.
fn run_within(
    room: u32,
    ours: &mut Node,
    mut peer: impl FnMut(Request) -> Response,
) -> (Result<Outcome, (Failure, Outcome)>, u32) {
    let (mut session, actions) = Session::start(TAG, room, ours).unwrap();
    let mut actions = VecDeque::from(actions);
    let mut requests = 0;
    loop {
        let next = match actions.pop_front().expect("a session goes on, or says that it ends") {
            Action::Send(request) => {
                requests += 1;
                let request = Request::decode(&request.encode().unwrap()).unwrap();
                let response = peer(request).encode().unwrap();
                session.on_response(Response::decode(&response).unwrap(), ours).unwrap()
            }
            Action::Admit { set, records } => {
                for record in &records {
                    assert_eq!(record.kind().set(), set);
                    assert!(ours.admit(record), "it was missing when it was asked for");
                }
                let admitted = Admitted { admitted: records.len() as u64, ..Admitted::default() };
                session.on_admitted(admitted, ours).unwrap()
            }
            Action::Load { ids } => session.on_loaded(ours.page(&ids, room), ours).unwrap(),
            Action::Pushed { .. } => Vec::new(),
            Action::Done(outcome) => return (Ok(outcome), requests),
            Action::Failed { failure, outcome } => return (Err((failure, outcome)), requests),
        };
        actions.extend(next);
    }
}

/// Why a session against a responder fails.
fn failure(ours: &mut Node, peer: impl FnMut(Request) -> Response) -> Failure {
    run(ours, peer).0.unwrap_err().0
}

/// Records of both sets: those both have, those of the one, those of the other.
fn federation(seed: u64, both: u64, ours: u64, theirs: u64) -> (Node, Node) {
    let draw = |group: u64, n: u64| {
        (0..n).map(move |i| {
            let hash = Sha256::digest([seed, group, i].map(u64::to_be_bytes).concat());
            let kind = if hash[0] < 40 { Kind::IDENTITY } else { Kind::CHANGE };
            let time = (1 << 20) + u64::from(u16::from_be_bytes([hash[1], hash[2]]));
            record(kind, time, u64::from_be_bytes(hash[8..16].try_into().unwrap()), 40)
        })
    };
    let shared: Vec<_> = draw(0, both).collect();
    let with = |group, n| shared.iter().cloned().chain(draw(group, n)).collect::<Vec<_>>();
    (Node::of(&with(1, ours)), Node::of(&with(2, theirs)))
}

fn assert_equal(ours: &Node, theirs: &Node, outcome: &Outcome) {
    assert!(ours.records.keys().eq(theirs.records.keys()));
    assert_eq!(ours.compared(outcome), Comparison::Equal);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_pair_ends_with_equal_replicas(
        seed: u64, both in 0u64..150, ours in 0u64..150, theirs in 0u64..150,
    ) {
        let (mut a, mut b) = federation(seed, both, ours, theirs);
        let outcome = run(&mut a, |request| b.answer(request)).0.unwrap();
        assert_equal(&a, &b, &outcome);
        let sum = |f: fn(&SetOutcome) -> u64| f(&outcome.authority) + f(&outcome.content);
        prop_assert_eq!(sum(|set| set.admitted), theirs);
        prop_assert_eq!(sum(|set| set.taken), ours);
        prop_assert_eq!(sum(|set| set.absent + set.misled + set.held + set.refused + set.unreadable), 0);
    }

    #[test]
    fn a_peer_of_changing_moods_never_outlasts_the_limits(seed: u64, garbage: Vec<u8>) {
        let (mut a, mut b) = federation(seed, 20, 30, 30);
        let (before, mut draw) = (a.records.len(), seed);
        let (result, requests) = run(&mut a, |request| {
            draw = draw.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            match (draw >> 33) % 12 {
                0 => Response::Reconcile { message: ByteBuf::from(garbage.clone()) },
                1 => Response::Pushed { verdicts: vec![PushVerdict::Hold] },
                2 => Response::Records(Page::default()),
                _ => b.answer(request),
            }
        });
        prop_assert!(requests <= 64, "{requests}");
        prop_assert!(a.records.len() >= before);
        // A push that was turned away leaves a difference, and the comparison says so.
        if let Ok(outcome) = result {
            let equal = a.records.keys().eq(b.records.keys());
            prop_assert_eq!(a.compared(&outcome) == Comparison::Equal, equal);
        }
    }
}

#[test]
fn equal_replicas_cost_three_requests() {
    let (mut a, mut b) = federation(1, 200, 0, 0);
    let (result, requests) = run(&mut a, |request| b.answer(request));
    assert_equal(&a, &b, &result.unwrap());
    assert_eq!(requests, 3);
}

#[test]
fn thousands_travel_in_pages_both_ways() {
    let (mut a, mut b) = federation(2, 0, 2500, 2600);
    let outcome = run(&mut a, |request| {
        if let Request::Fetch { ids, .. } = &request {
            assert!(ids.len() <= limits::PAGE_RECORDS);
        }
        b.answer(request)
    });
    assert_equal(&a, &b, &outcome.0.unwrap());
}

#[test]
fn answers_and_pushes_fit_the_room_that_is_given() {
    const ROOM: u32 = 8192;
    for (both, ours, theirs) in [(0, 0, 900), (200, 300, 300), (0, 900, 0)] {
        let (mut a, mut b) = federation(3, both, ours, theirs);
        // One record that is longer than the room travels all the same, alone.
        let long = record(Kind::CHANGE, 7, 7_000_000, 2 * ROOM as usize);
        b.admit(&long);
        let (mut most, mut alone) = (0, false);
        let mut sees = |records: &[ByteBuf]| match records {
            [record] if record.len() > ROOM as usize => alone = true,
            records => most = most.max(records.iter().map(|record| record.len()).sum()),
        };
        let outcome = run_within(ROOM, &mut a, |request| {
            if let Request::Push { records, .. } = &request {
                sees(records);
            }
            let bytes = request.encode().unwrap().len();
            assert!(bytes <= ROOM as usize + 256, "a request of {bytes} bytes");
            let response = b.answer(request);
            match &response {
                Response::Records(page) => sees(&page.records),
                Response::Range { records, .. } => sees(records),
                Response::Reconcile { message } => assert!(message.len() <= ROOM as usize),
                _ => {}
            }
            response
        });
        assert_equal(&a, &b, &outcome.0.unwrap());
        assert!(alone && most <= ROOM as usize, "{most}");
        assert!(most > ROOM as usize / 2 || theirs == 0, "room is used: {most}");
    }
}

#[test]
fn large_records_are_asked_for_again_until_they_came() {
    let large = ocm_record::limits::BODY_BYTES;
    let records: Vec<_> = (0..40).map(|n| record(Kind::CHANGE, 100 + n, n, large)).collect();
    for (ours, theirs) in [(&[][..], &records[..]), (&records[..], &[][..])] {
        let (mut a, mut b) = (Node::of(ours), Node::of(theirs));
        let (result, requests) = run(&mut a, |request| b.answer(request));
        assert_equal(&a, &b, &result.unwrap());
        assert!(requests >= 2 + 3, "16 fit a page: {requests} requests");
    }
}
