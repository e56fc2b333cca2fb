//! Ranges: filling a set of which nothing, or not all, is here.

use super::*;

#[test]
fn a_newcomer_asks_for_ranges_and_reconciles_nothing() {
    let (mut a, mut b) = federation(13, 0, 0, 5000);
    let outcome = run(&mut a, |request| {
        let plain = matches!(request, Request::Range { .. } | Request::Parity { .. });
        assert!(plain, "{request:?}");
        b.answer(request)
    });
    assert_equal(&a, &b, &outcome.0.unwrap());
}

#[test]
fn a_session_cut_short_goes_on_where_it_was() {
    let (_, mut b) = federation(14, 0, 0, 20_000);
    for held in [500, 9000, 19_500] {
        // A newcomer that was cut off: authority, and content up to some page; and the latest few,
        // which came by gossip meanwhile.
        let mut a = Node::default();
        for id in b.authority.iter().chain(b.content.iter().take(held)) {
            a.admit(&SignedRecord::decode(&b.records[&id]).unwrap());
        }
        let latest: Vec<_> = b.content.iter().collect();
        for id in &latest[latest.len() - 3..] {
            a.admit(&SignedRecord::decode(&b.records[id]).unwrap());
        }
        let missing = (b.records.len() - a.records.len()) as u64;
        let outcome = run(&mut a, |request| b.answer(request)).0.unwrap();
        assert_equal(&a, &b, &outcome);
        assert_eq!(outcome.content.received, missing, "nothing is fetched again");
        assert!(outcome.content.rounds <= 6, "{} rounds", outcome.content.rounds);
    }
}

#[test]
fn no_more_pages_are_asked_for_than_can_be_admitted() {
    let (a, mut b) = federation(15, 0, 0, 12_000);
    let (mut session, actions) = Session::start(TAG, u32::MAX, &a).unwrap();
    let mut actions = VecDeque::from(actions);
    let mut waiting = VecDeque::new();
    let mut most = 0;
    loop {
        let next = match actions.pop_front() {
            Some(Action::Send(request)) => session.on_response(b.answer(request), &a).unwrap(),
            Some(Action::Admit { records, .. }) => {
                waiting.push_back(records.len() as u64);
                most = most.max(waiting.len());
                Vec::new()
            }
            // Nothing moves until a page is stored.
            None => match waiting.pop_front() {
                Some(admitted) => {
                    let admitted = Admitted { admitted, ..Admitted::default() };
                    session.on_admitted(admitted, &a).unwrap()
                }
                None => panic!("the session stands still"),
            },
            Some(Action::Done(outcome)) => {
                assert_eq!(outcome.authority.received + outcome.content.received, 12_000);
                assert!(waiting.is_empty(), "it ends when everything is stored");
                break;
            }
            Some(other) => panic!("{other:?}"),
        };
        actions.extend(next);
    }
    assert_eq!(most, limits::PAGES_IN_FLIGHT as usize);
}

#[test]
fn a_range_that_breaks_its_promise_ends_the_session_and_its_good_part_stays() {
    let (_, mut b) = federation(16, 0, 0, 3000);
    type Spoil = fn(&mut Vec<ByteBuf>, &mut Option<RecordId>);
    let spoils: [(&str, Spoil); 7] = [
        ("out of order", |records, _| records.swap(10, 20)),
        ("twice", |records, _| records[11] = records[10].clone()),
        ("garbage", |records, _| records[11] = ByteBuf::from(vec![1, 2, 3])),
        ("going back", |_, next| *next = Some(RecordId::MIN)),
        ("past the end", |_, next| *next = Some(Span::end())),
        ("nothing, and so on", |records, next| {
            let last = SignedRecord::decode(records.last().unwrap()).unwrap().id();
            records.clear();
            *next = Some(last);
        }),
        ("of the other set", |records, _| {
            records[11] = record(Kind::IDENTITY, 1 << 30, 7, 40).encode().into();
        }),
    ];
    for (what, spoil) in spoils {
        let mut a = Node::default();
        b.authority.iter().for_each(|id| {
            a.admit(&SignedRecord::decode(&b.records[&id]).unwrap());
        });
        let before = a.records.len() as u64;
        let (result, _) = run(&mut a, |request| match b.answer(request) {
            Response::Range { mut records, mut next } => {
                spoil(&mut records, &mut next);
                Response::Range { records, next }
            }
            other => other,
        });
        let (failure, outcome) = result.unwrap_err();
        let fault =
            matches!(failure, Failure::NotAsked(_) | Failure::Malformed(_) | Failure::Stalled);
        assert!(fault, "{what}: {failure:?}");
        assert_eq!(a.records.len() as u64 - before, outcome.content.admitted, "{what}");
        assert_eq!(outcome.content.admitted >= 10, !what.starts_with("nothing"), "{what}");
    }
}

#[test]
fn a_peer_that_serves_what_may_not_stand_is_cut_off() {
    let (a, mut b) = federation(17, 0, 0, 9000);
    let (mut session, actions) = Session::start(TAG, u32::MAX, &a).unwrap();
    let mut actions = VecDeque::from(actions);
    let mut fetched = 0;
    loop {
        let next = match actions.pop_front().unwrap() {
            Action::Send(request) => session.on_response(b.answer(request), &a).unwrap(),
            Action::Admit { records, .. } => {
                fetched += records.len() as u64;
                let refused = records.len() as u64;
                session.on_admitted(Admitted { refused, ..Admitted::default() }, &a).unwrap()
            }
            Action::Failed { failure, .. } => {
                assert!(matches!(failure, Failure::Worthless(_)), "{failure:?}");
                break;
            }
            other => panic!("{other:?}"),
        };
        actions.extend(next);
    }
    let pages = u64::from(limits::PAGES_IN_FLIGHT) + 2;
    assert!(fetched <= limits::SESSION_REFUSED + pages * limits::PAGE_RECORDS as u64);
}

#[test]
fn a_range_that_brings_nothing_for_ever_ends_the_session() {
    let later = {
        let mut bytes = record(Kind::CHANGE, 1 << 20, 5, 40).encode();
        let at = bytes.windows(5).position(|part| part == b"ocm/1").unwrap();
        bytes[at + 4] = b'2';
        ByteBuf::from(bytes)
    };
    // Where it was, and a little further each time: nothing that could be read.
    for step in [0, 1] {
        let mut asked = 0;
        let peer = |request| match request {
            Request::Range { span, .. } => {
                asked += 1;
                let next = RecordId::from_parts(Time(span.from.time().0 + step), [0; 32]);
                Response::Range { records: vec![later.clone()], next: Some(next) }
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(failure(&mut Node::default(), peer), Failure::Stalled);
        assert!(asked <= limits::SESSION_BARREN + 1, "{asked} requests");
    }
}
