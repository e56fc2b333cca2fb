mod asking;
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

    fn page(&self, ids: &[RecordId]) -> Page {
        Page::fill(ids, |id| Ok::<_, TreeError>(self.records.get(id).cloned())).unwrap()
    }

    fn range(&self, set: Set, span: Span) -> Response {
        let mut page = RangePage::default();
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
            Request::Reconcile { set, message, .. } => {
                let message =
                    respond(&self.set(set).unwrap(), &message, limits::RECONCILE_BYTES).unwrap();
                Response::Reconcile { message: ByteBuf::from(message) }
            }
            Request::Fetch { ids, .. } => Response::Records(self.page(&ids)),
            Request::Range { set, span, .. } => self.range(set, span),
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
    mut peer: impl FnMut(Request) -> Response,
) -> (Result<Outcome, (Failure, Outcome)>, u32) {
    let (mut session, actions) = Session::start(TAG, ours).unwrap();
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
            Action::Load { ids } => session.on_loaded(ours.page(&ids), ours).unwrap(),
            Action::Pushed { .. } => Vec::new(),
            Action::Done(outcome) => return (Ok(outcome), requests),
            Action::Failed { failure, outcome } => return (Err((failure, outcome)), requests),
        };
        actions.extend(next);
    }
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

fn failure(ours: &mut Node, peer: impl FnMut(Request) -> Response) -> Failure {
    run(ours, peer).0.unwrap_err().0
}

#[test]
fn a_peer_that_will_not_is_left_alone() {
    for (response, expected) in [
        (Response::Unknown, Failure::Unknown),
        (Response::Busy, Failure::Busy),
        (Response::Refused { reason: Refusal::FLOOD }, Failure::Refused(Refusal::FLOOD)),
        (Response::Pushed { verdicts: vec![] }, Failure::Mismatch),
        (Response::Reconcile { message: ByteBuf::from(vec![1]) }, WireError::Form(1).into()),
    ] {
        let mut requests = 0;
        let peer = |_| {
            requests += 1;
            response.clone()
        };
        assert_eq!(failure(&mut federation(3, 9, 9, 9).0, peer), expected);
        assert_eq!(requests, 1);
    }
}

#[test]
fn an_echo_looks_equal_as_long_as_it_is_sent_fingerprints_only() {
    let echo = |request| match request {
        Request::Reconcile { message, .. } => Response::Reconcile { message },
        Request::Parity { statement, .. } => Response::Parity { statement },
        _ => Response::Unknown,
    };
    // A peer that sends back what it hears agrees with everything: parity alone cannot tell.
    let (mut a, _) = federation(4, 600, 0, 0);
    let outcome = run(&mut a, echo).0.unwrap();
    assert_eq!(a.compared(&outcome), Comparison::Equal);
}

#[test]
fn an_answer_that_asks_is_none() {
    let asks = |_| Response::Reconcile { message: ByteBuf::from(vec![0xe1, 0, 0, 3, 5]) };
    let (mut a, _) = federation(4, 600, 0, 0);
    assert_eq!(failure(&mut a, asks), Failure::Wire(WireError::Mode(3)));
}

/// A list of ids that nobody has, then a sum that matches nothing: a round that always asks for
/// another.
fn endless_round(round: u64) -> Response {
    let mut message = vec![0xe1, 2, 0, 2, 1, 0];
    message.extend(<[u8; 32]>::from(Sha256::digest(round.to_be_bytes())));
    message.extend([0, 0, 1, 50]);
    message.extend([round as u8; 40]);
    Response::Reconcile { message: ByteBuf::from(message) }
}

#[test]
fn a_responder_that_never_finishes_is_cut_off() {
    let (mut a, _) = federation(5, 100, 0, 0);
    let mut rounds = 0;
    let peer = |request| match request {
        Request::Fetch { ids, .. } => Response::Records(Page { records: vec![], absent: ids }),
        _ => {
            rounds += 1;
            endless_round(rounds)
        }
    };
    assert_eq!(failure(&mut a, peer), Failure::Rounds);
    assert_eq!(rounds, u64::from(limits::SESSION_ROUNDS));
}

#[test]
fn a_peer_that_lists_what_it_does_not_have_is_cut_off() {
    let mut n = 0u64;
    let peer = |request| match request {
        Request::Fetch { ids, .. } => Response::Records(Page { records: vec![], absent: ids }),
        _ => {
            let mut message = vec![0xe1, 0x81, 0x48, 0, 2, 100];
            for _ in 0..100 {
                n += 1;
                message.push(1);
                message.extend(<[u8; 32]>::from(Sha256::digest(n.to_be_bytes())));
            }
            message.extend([0, 0, 1, 50]);
            message.extend([0; 40]);
            Response::Reconcile { message: ByteBuf::from(message) }
        }
    };
    // Each round's last range differs, so the session asks on.
    let failure = failure(&mut federation(5, 100, 0, 0).0, peer);
    assert!(
        matches!(failure, Failure::Absent(n) if n <= limits::SESSION_ABSENT + 512),
        "{failure:?}"
    );
}

#[test]
fn a_peer_that_forgets_what_it_is_given_is_cut_off() {
    let (mut a, _) = federation(6, 100, 0, 0);
    let peer = |request| match request {
        Request::Push { records, .. } => {
            Response::Pushed { verdicts: vec![PushVerdict::Accept; records.len()] }
        }
        // There is nothing of the lower half of the times; and the upper half differs.
        _ => {
            let middle = (1u64 << 20) + (1 << 15) + 1;
            let mut message = vec![0xe1];
            write_varint(&mut message, middle);
            message.extend([0, 2, 0, 0, 0, 1, 50]);
            message.extend([7; 40]);
            Response::Reconcile { message: ByteBuf::from(message) }
        }
    };
    let len = a.authority.len();
    let failure = failure(&mut a, peer);
    assert!(
        matches!(failure, Failure::Lacking { lacking, len: l } if l == len && lacking > 2 * len),
        "{failure:?}"
    );
}

#[test]
fn what_was_not_asked_for_is_refused_and_the_rest_of_the_page_kept() {
    let stranger = record(Kind::CHANGE, 77, 77, 40);
    let misplaced = |node: &Node| node.records.values().next_back().cloned().unwrap();
    for sort in 0..5 {
        let (mut a, mut b) = federation(7, 10, 0, 300);
        let before = a.records.len();
        let wrong = misplaced(&b);
        let (result, _) = run(&mut a, |request| match b.answer(request) {
            Response::Records(mut page) => {
                match sort {
                    0 => page.records.push(ByteBuf::from(stranger.encode())),
                    1 => page.absent.push(stranger.id()),
                    2 => page.records.push(page.records[0].clone()),
                    3 => page.records.push(ByteBuf::from(vec![1, 2, 3])),
                    _ => page.records.insert(0, ByteBuf::from(wrong.clone())),
                }
                Response::Records(page)
            }
            other => other,
        });
        let (failure, outcome) = result.unwrap_err();
        match sort {
            3 => assert!(matches!(failure, Failure::Malformed(_)), "{failure:?}"),
            _ => assert!(matches!(failure, Failure::NotAsked(_)), "{failure:?}"),
        }
        assert!(!a.records.contains_key(&stranger.id()));
        assert!(outcome.authority.admitted > 0);
        assert_eq!(a.records.len() as u64 - before as u64, outcome.authority.admitted);
    }
}

#[test]
fn a_page_that_settles_nothing_ends_the_session() {
    let (mut a, mut b) = federation(8, 10, 0, 50);
    let peer = |request| match b.answer(request) {
        Response::Records(_) => Response::Records(Page::default()),
        other => other,
    };
    assert_eq!(failure(&mut a, peer), Failure::Stalled);
}

#[test]
fn a_record_of_a_later_version_is_passed_over() {
    let (mut a, mut b) = federation(9, 10, 0, 100);
    let later = record(Kind::CHANGE, 1 << 20, 5, 40);
    b.admit(&later);
    let mut bytes = later.encode();
    let at = bytes.windows(5).position(|part| part == b"ocm/1").unwrap();
    bytes[at + 4] = b'2';
    b.records.insert(later.id(), bytes);
    let outcome = run(&mut a, |request| b.answer(request)).0.unwrap();
    assert_eq!(outcome.content.unreadable, 1);
    assert_eq!(a.records.len() + 1, b.records.len());
    let ours = a.content.len();
    assert_eq!(a.compared(&outcome), Comparison::ContentDiffers { ours, theirs: ours + 1 });
}

#[test]
fn a_record_gone_meanwhile_is_counted_and_shown() {
    let (mut a, mut b) = federation(10, 400, 0, 5);
    let gone = *b.records.keys().find(|id| !a.records.contains_key(id)).unwrap();
    b.records.remove(&gone);
    let outcome = run(&mut a, |request| b.answer(request)).0.unwrap();
    let vain = |set: &SetOutcome| set.absent + set.misled;
    assert_eq!(vain(&outcome.authority) + vain(&outcome.content), 2, "it looked twice");
    assert_ne!(a.compared(&outcome), Comparison::Equal);
}

#[test]
fn held_and_refused_records_do_not_keep_a_session_going() {
    let (mut a, mut b) = federation(11, 0, 0, 700);
    let (mut session, actions) = Session::start(TAG, &a).unwrap();
    let mut actions = VecDeque::from(actions);
    let mut fetched = 0;
    let outcome = loop {
        let next = match actions.pop_front().unwrap() {
            Action::Send(request) => session.on_response(b.answer(request), &a).unwrap(),
            Action::Admit { records, .. } => {
                fetched += records.len();
                let held = records.len() as u64 / 2;
                let refused = records.len() as u64 - held;
                session.on_admitted(Admitted { admitted: 0, held, refused }, &a).unwrap()
            }
            Action::Done(outcome) => break outcome,
            other => panic!("{other:?}"),
        };
        actions.extend(next);
    };
    assert_eq!(fetched, 700);
    assert_eq!(outcome.content.held + outcome.authority.held, 350);
    assert!(matches!(a.compared(&outcome), Comparison::AuthorityDiffers { ours: 0, .. }));
    assert!(a.admit(&record(Kind::CHANGE, 5, 5, 40)));
}

#[test]
fn what_is_on_its_way_is_counted() {
    let (mut a, mut b) = federation(20, 200, 3, 40);
    let (mut session, actions) = Session::start(TAG, &a).unwrap();
    let mut actions = VecDeque::from(actions);
    let (mut fetched, mut pushed) = (0, 0);
    loop {
        let next = match actions.pop_front().unwrap() {
            Action::Send(request) => {
                let (here, there) = session.in_flight();
                match &request {
                    Request::Fetch { ids, .. } => assert_eq!(here, ids.len() as u64),
                    Request::Push { records, .. } => assert_eq!(there, records.len() as u64),
                    _ => assert_eq!((here, there), (0, 0), "{request:?}"),
                }
                session.on_response(b.answer(request), &a).unwrap()
            }
            Action::Admit { records, .. } => {
                let admitted = records.len() as u64;
                assert_eq!(session.in_flight(), (admitted, 0));
                fetched += admitted;
                records.iter().for_each(|record| assert!(a.admit(record)));
                session.on_admitted(Admitted { admitted, ..Admitted::default() }, &a).unwrap()
            }
            Action::Load { ids } => session.on_loaded(a.page(&ids), &a).unwrap(),
            Action::Pushed { verdicts } => {
                assert!(verdicts.iter().all(|(id, _)| b.records.contains_key(id)));
                pushed += verdicts.len();
                Vec::new()
            }
            Action::Done(_) => break,
            other => panic!("{other:?}"),
        };
        actions.extend(next);
    }
    assert_eq!((fetched, pushed), (40, 3));
}

#[test]
fn methods_out_of_turn_fail_the_session() {
    let (a, mut b) = federation(12, 5, 0, 5);
    let out_of_turn = |actions: Vec<Action>| {
        matches!(actions[..], [Action::Failed { failure: Failure::OutOfTurn, .. }])
    };
    let (mut session, _) = Session::start(TAG, &a).unwrap();
    assert!(out_of_turn(session.on_admitted(Admitted::default(), &a).unwrap()));
    let (mut session, _) = Session::start(TAG, &a).unwrap();
    assert!(out_of_turn(session.on_loaded(Page::default(), &a).unwrap()));
    let (mut session, mut actions) = Session::start(TAG, &a).unwrap();
    let Some(Action::Send(request)) = actions.pop() else { panic!() };
    session.on_response(Response::Unknown, &a).unwrap();
    assert!(out_of_turn(session.on_response(b.answer(request), &a).unwrap()));
}

#[test]
fn the_hand_made_rounds_are_well_formed() {
    let set: SumTree = [RecordId::from_parts(Time(7), [7; 32])].into_iter().collect();
    let (initiator, _) = Initiator::start(&set, limits::RECONCILE_BYTES);
    let Response::Reconcile { message } = endless_round(1) else { panic!() };
    let step = initiator.step(&set, &message).unwrap();
    assert_eq!(step.need.len(), 1);
    assert!(Span::all().contains(&step.need[0]) && step.reply.is_some());
}

/// Records whose ids look like another in sums: what is inferred is absent, and a second pass finds
/// the records themselves.
#[test]
fn a_session_misled_by_sums_looks_again() {
    let (mut a, mut b) = federation(16, 40, 3, 0);
    let mut misled = false;
    let nobodys = RecordId::from_parts(Time(1 << 19), [7; 32]);
    let outcome = run(&mut a, |request| match &request {
        // The sum of everything, as if one id had come.
        Request::Reconcile { set: Set::Authority, message, .. } if !misled => {
            misled = true;
            let ours = &message[3..];
            assert_eq!(ours[0], 1, "a sum");
            let (count, sum) = (ours[1], ours[2..].try_into().unwrap());
            let sum = Sum { count: count.into(), sum }.plus(&Sum::of(&nobodys));
            let mut bytes = vec![0xe1, 2, 0, 2, 0];
            write_varint(&mut bytes, 1 << 21);
            bytes.extend([&[0, 1, sum.count as u8], &sum.sum[..], &[0, 0, 2, 0]].concat());
            Response::Reconcile { message: ByteBuf::from(bytes) }
        }
        _ => b.answer(request),
    });
    let outcome = outcome.0.unwrap();
    assert_eq!((outcome.authority.absent, outcome.authority.misled), (0, 1));
    assert!(outcome.authority.rounds > 1);
    assert_equal(&a, &b, &outcome);
}

/// However many ids look like others, it is nobody's fault that is asked: after a page of them the
/// set is gone through exactly, and what else was inferred is left.
#[test]
fn a_session_misled_by_very_many_sums_looks_again_at_once() {
    let (mut a, mut b) = federation(17, 80, 5, 5);
    let (mut asked, mut exact) = (Vec::new(), false);
    let outcome = run(&mut a, |request| match &request {
        Request::Reconcile { set: Set::Authority, .. } if asked.is_empty() => {
            asked.push(0);
            let mut bytes = vec![0xe1, 2, 0, 2, 0];
            for n in 0..1500u64 {
                let hash = Sha256::digest(n.to_be_bytes()).into();
                // Below every record: a range of two moments, with an id in the second.
                let nobodys = Sum::of(&RecordId::from_parts(Time(2 * n + 2), hash));
                bytes.extend([&[3, 0, 1, 1][..], &nobodys.sum].concat());
            }
            // The rest differs, too: there would be another round.
            bytes.extend([&[0, 0, 1, 50][..], &[7; 40]].concat());
            Response::Reconcile { message: ByteBuf::from(bytes) }
        }
        Request::Fetch { ids, .. } if !exact => {
            asked.push(ids.len());
            b.answer(request)
        }
        Request::Reconcile { set: Set::Authority, message, .. } => {
            if !exact {
                assert_eq!(message[..4], [0xe1, 0, 0, 1], "the sum of everything: it begins anew");
            }
            exact = true;
            b.answer(request)
        }
        _ => b.answer(request),
    });
    assert_eq!(asked, [0, limits::PAGE_RECORDS], "one page of them is enough");
    let outcome = outcome.0.unwrap();
    assert_eq!((outcome.authority.absent, outcome.authority.misled), (0, 1024));
    assert!(exact && outcome.authority.rounds > 1);
    assert_equal(&a, &b, &outcome);
}
