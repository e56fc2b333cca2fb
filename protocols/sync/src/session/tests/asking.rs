//! What a session asks its own replica, and what it asks the peer.

use super::*;

#[test]
fn a_whole_set_is_given_once_for_each_round_however_many_pages_come() {
    let (mut a, mut b) = federation(5, 3000, 2000, 5000);
    let (outcome, requests) = run(&mut a, |request| b.answer(request));
    let outcome = outcome.unwrap();
    assert_equal(&a, &b, &outcome);
    let rounds = outcome.authority.rounds + outcome.content.rounds;
    // At its begin, for what was answered, and where it goes on.
    let most = 2 + rounds;
    assert!(requests > 2 * rounds, "{requests} requests in {rounds} rounds");
    assert!(a.given.get() <= most, "{} times in {rounds} rounds", a.given.get());
}

#[test]
fn what_is_not_to_be_asked_for_is_left_and_the_rest_goes_on() {
    // Where something is here, and where nothing is.
    for (both, ours) in [(500, 40), (0, 0)] {
        let (mut a, mut b) = federation(6, both, ours, 60);
        a.asks_nothing = true;
        let before = (a.records.len(), b.records.len());
        let outcome = run(&mut a, |request| {
            assert!(!matches!(request, Request::Fetch { .. } | Request::Range { .. }));
            b.answer(request)
        });
        let outcome = outcome.0.unwrap();
        assert_eq!((a.records.len(), b.records.len()), (before.0, before.1 + ours as usize));
        let settled = |set: &SetOutcome| (set.received, set.lacking == set.taken);
        assert_eq!(settled(&outcome.authority), (0, true));
        assert_eq!(settled(&outcome.content), (0, true));
        assert!(outcome.authority.left + outcome.content.left > 0 && !outcome.is_settled());
        assert_ne!(a.compared(&outcome), Comparison::Equal);
        a.asks_nothing = false;
        let outcome = run(&mut a, |request| b.answer(request)).0.unwrap();
        assert_equal(&a, &b, &outcome);
        assert!(outcome.is_settled());
    }
}
