//! What a session counts: records on their way, and those that are left on either side.

use super::*;

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
    let (mut session, actions) = Session::start(TAG, u32::MAX, &a).unwrap();
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
    let (mut session, actions) = Session::start(TAG, u32::MAX, &a).unwrap();
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
            Action::Load { ids } => session.on_loaded(a.page(&ids, u32::MAX), &a).unwrap(),
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
