//! What ends a session early: peers that break the protocol, refuse, or lead it nowhere, and calls
//! out of turn.

use super::*;

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
fn the_hand_made_rounds_are_well_formed() {
    let set: SumTree = [RecordId::from_parts(Time(7), [7; 32])].into_iter().collect();
    let (initiator, _) = Initiator::start(&set, limits::RECONCILE_BYTES);
    let Response::Reconcile { message } = endless_round(1) else { panic!() };
    let step = initiator.step(&set, &message).unwrap();
    assert_eq!(step.need.len(), 1);
    assert!(Span::all().contains(&step.need[0]) && step.reply.is_some());
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
fn methods_out_of_turn_fail_the_session() {
    let (a, mut b) = federation(12, 5, 0, 5);
    let out_of_turn = |actions: Vec<Action>| {
        matches!(actions[..], [Action::Failed { failure: Failure::OutOfTurn, .. }])
    };
    let (mut session, _) = Session::start(TAG, u32::MAX, &a).unwrap();
    assert!(out_of_turn(session.on_admitted(Admitted::default(), &a).unwrap()));
    let (mut session, _) = Session::start(TAG, u32::MAX, &a).unwrap();
    assert!(out_of_turn(session.on_loaded(Page::default(), &a).unwrap()));
    let (mut session, mut actions) = Session::start(TAG, u32::MAX, &a).unwrap();
    let Some(Action::Send(request)) = actions.pop() else { panic!() };
    session.on_response(Response::Unknown, &a).unwrap();
    assert!(out_of_turn(session.on_response(b.answer(request), &a).unwrap()));
}
