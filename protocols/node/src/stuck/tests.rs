use ocm_record::{PublicKey, Time};

use super::*;
use crate::verdict::Refuse;

const MINUTE: u64 = 60_000;

fn id(n: u64) -> RecordId {
    RecordId::from_parts(Time(n), [7; 32])
}

fn space(n: u64) -> SpaceId {
    SpaceId(id(1_000_000 + n))
}

fn peer(n: u8) -> PeerId {
    PeerId::new(PublicKey::from_bytes([n; 32]))
}

fn refuse() -> Verdict {
    Verdict::Refuse(Refuse::OtherMemory)
}

fn hold(missing: u64) -> Verdict {
    Verdict::Hold(Hold::Dependency(vec![id(missing)]))
}

#[test]
fn pauses_double_from_a_minute_to_a_day() {
    let mut stuck = StuckRecords::default();
    let (mut now, mut pauses) = (5, Vec::new());
    for _ in 0..14 {
        stuck.judged((space(1), peer(1), id(1)), (Set::Content, 1), &refuse(), now);
        let begun = now;
        while !stuck.waiting(space(1), Set::Content, peer(1), now).is_empty() {
            now += MINUTE;
        }
        pauses.push((now - begun) / MINUTE);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440, 1440, 1440]);
    let listed = &stuck.listed()[&space(1)];
    assert_eq!((listed.total, listed.latest.len()), (1, 1));
    assert_eq!((listed.latest[0].attempts, listed.latest[0].first_ms), (14, 5));
}

#[test]
fn a_space_with_many_crowds_no_other_out_of_the_list() {
    let mut stuck = StuckRecords::default();
    let many = limits::LISTED_STUCK as u64 + 44;
    for n in 0..many {
        for attempt in 0..u64::from(limits::QUARANTINE_ATTEMPTS) {
            if n == 0 {
                stuck.judged((space(2), peer(1), id(n)), (Set::Content, 1), &refuse(), attempt);
            }
            let now = 1000 + n + attempt;
            stuck.judged((space(1), peer(1), id(n)), (Set::Content, 1), &refuse(), now);
        }
    }
    // Tried once: it counts nowhere.
    stuck.judged((space(1), peer(1), id(many)), (Set::Content, 1), &refuse(), 9000);
    stuck.judged((space(3), peer(1), id(1)), (Set::Content, 1), &refuse(), 9000);
    let listed = stuck.listed();
    assert_eq!(listed.keys().collect::<Vec<_>>(), [&space(1), &space(2)]);
    assert_eq!((listed[&space(2)].total, listed[&space(2)].latest[0].id), (1, id(0)));
    let crowd = &listed[&space(1)];
    assert_eq!((crowd.total as u64, crowd.latest.len()), (many, limits::LISTED_STUCK));
    let ids: Vec<RecordId> = crowd.latest.iter().map(|stuck| stuck.id).collect();
    assert_eq!(ids, (44..many).rev().map(id).collect::<Vec<_>>(), "the latest, latest first");
}

#[test]
fn one_peer_set_or_space_says_nothing_of_another() {
    let mut stuck = StuckRecords::default();
    stuck.judged((space(1), peer(1), id(1)), (Set::Content, 1), &refuse(), 0);
    let waits = |space, set, peer| stuck.waiting(space, set, peer, 1).len();
    assert_eq!(waits(space(1), Set::Content, peer(1)), 1);
    assert_eq!(waits(space(1), Set::Authority, peer(1)), 0);
    assert_eq!(waits(space(2), Set::Content, peer(1)), 0);
    assert_eq!(waits(space(1), Set::Content, peer(2)), 0, "what one offers masks nobody's");
}

#[test]
fn what_is_waited_for_frees_what_waits() {
    let mut stuck = StuckRecords::default();
    for n in 1..=3 {
        stuck.judged((space(1), peer(1), id(n)), (Set::Content, 1), &hold(9), 0);
    }
    // It turned out to wait for something else.
    stuck.judged((space(1), peer(1), id(3)), (Set::Content, 1), &hold(8), 0);
    let waiting = |stuck: &StuckRecords| stuck.waiting(space(1), Set::Content, peer(1), 1);
    stuck.admitted(space(1), &id(9));
    assert_eq!(waiting(&stuck), [id(3)]);
    stuck.admitted(space(2), &id(8));
    assert_eq!(waiting(&stuck), [id(3)], "of another space");
    stuck.judged((space(1), peer(1), id(2)), (Set::Content, 1), &Verdict::Accept, 1);
    assert_eq!(stuck.offered.len(), 2);
    stuck.membership_changed(space(1));
    assert!(waiting(&stuck).is_empty(), "it may stand");
    stuck.admitted(space(1), &id(1));
    stuck.admitted(space(1), &id(3));
    assert!(stuck.offered.is_empty() && stuck.awaited.is_empty());
}

#[test]
fn what_is_refused_waits_for_no_membership() {
    let mut stuck = StuckRecords::default();
    stuck.judged((space(1), peer(1), id(1)), (Set::Content, 1), &refuse(), 0);
    stuck.membership_changed(space(1));
    assert_eq!(stuck.waiting(space(1), Set::Content, peer(1), 1).len(), 1);
}

#[test]
fn the_tables_are_bounded_and_one_peer_crowds_out_itself() {
    let mut stuck = StuckRecords::default();
    stuck.judged((space(1), peer(1), id(1)), (Set::Content, 1), &hold(5), 0);
    let many = limits::STUCK_PER_PEER as u64 + 50;
    for n in 0..many {
        stuck.judged((space(1), peer(2), id(n)), (Set::Content, 1), &hold(n + 1), n + 1);
        stuck.pushed((space(1), peer(2), id(n)), PushVerdict::Refuse, 1, n + 1);
    }
    assert_eq!(stuck.offered.len(), limits::STUCK_PER_PEER + 1);
    assert_eq!(stuck.turned.len(), limits::STUCK_PER_PEER);
    assert!(stuck.awaited.len() <= stuck.offered.len());
    for n in 3..9 {
        for m in 0..1000 {
            stuck.judged((space(1), peer(n), id(m)), (Set::Content, 1), &refuse(), many + m);
        }
    }
    assert_eq!(stuck.offered.len(), limits::STUCK_RECORDS);
}

#[test]
fn the_order_of_tries_follows_the_tables() {
    let mut stuck = StuckRecords::default();
    let follows = |stuck: &StuckRecords| {
        let of = |(which, of): (&Which, &Offered)| (of.pause.last, *which);
        assert_eq!(stuck.offered_by, stuck.offered.iter().map(of).collect::<Tries>());
        let of = |(which, of): (&Which, &Turned)| (of.pause.last, *which);
        assert_eq!(stuck.turned_by, stuck.turned.iter().map(of).collect::<Tries>());
    };
    for n in 0..limits::STUCK_PER_PEER as u64 + 100 {
        let which = (space(n % 3), peer(1 + (n % 7 / 6) as u8), id(n % 1200));
        stuck.judged(which, (Set::Content, 1), &hold(n), n);
        stuck.pushed(which, PushVerdict::Hold, 1, n);
    }
    follows(&stuck);
    let (offered, turned) = (stuck.offered.len(), stuck.turned.len());
    // Tried again, let go of, turned back, admitted there and here.
    stuck.judged((space(0), peer(1), id(600)), (Set::Content, 2), &refuse(), 2000);
    stuck.pushed((space(0), peer(1), id(600)), PushVerdict::Refuse, 2, 2000);
    stuck.turn_back(500);
    follows(&stuck);
    stuck.pushed((space(1), peer(1), id(604)), PushVerdict::Accept, 2, 2000);
    stuck.admitted(space(1), &id(604));
    stuck.not_to_push(space(2), peer(1), &[id(602)], 2, 2000);
    follows(&stuck);
    assert_eq!((stuck.offered.len(), stuck.turned.len()), (offered - 2, turned - 1));
    let (_, there) = stuck.left(space(0), peer(1), 2, 2000);
    assert_eq!((there.refused, there.total()), (1, 1));
    follows(&stuck);
    let rest = stuck.offered_rest.len();
    for n in 0..limits::STUCK_PER_PEER as u64 {
        for of in 3..6 {
            stuck.judged((space(5), peer(of), id(n)), (Set::Content, 3), &refuse(), 1600 + n);
        }
    }
    let again = (space(0), peer(1), id(600));
    assert!(stuck.offered.contains_key(&again), "of the older ones it was tried last");
    follows(&stuck);
    assert_eq!(stuck.offered.len(), limits::STUCK_RECORDS);
    let gone = offered - 2 + 3 * limits::STUCK_PER_PEER - limits::STUCK_RECORDS;
    assert_eq!(stuck.offered_rest.len() - rest, gone, "the others are remembered all the same");
}

#[test]
fn what_goes_from_the_list_keeps_its_pause_and_its_tries() {
    let mut stuck = StuckRecords::default();
    for now in 1..4 {
        stuck.judged((space(1), peer(1), id(1)), (Set::Content, now), &refuse(), now);
        stuck.pushed((space(1), peer(1), id(1)), PushVerdict::Hold, now, now);
    }
    for n in 0..limits::STUCK_PER_PEER as u64 {
        for of in 2..6 {
            stuck.judged((space(2), peer(of), id(n)), (Set::Content, 9), &refuse(), 9);
            stuck.pushed((space(2), peer(of), id(n)), PushVerdict::Hold, 9, 9);
        }
    }
    assert_eq!((stuck.offered_rest.len(), stuck.turned_rest.len()), (1, 1));
    let listed = &stuck.listed()[&space(1)];
    assert_eq!((listed.total, listed.latest.len()), (1, 0));
    let due = 3 + 4 * MINUTE;
    let waits = |stuck: &StuckRecords, now| stuck.waits(space(1), peer(1), &id(1), now);
    assert!(waits(&stuck, due - 1) && !waits(&stuck, due));
    let mut not = |now| stuck.not_to_push(space(1), peer(1), &[id(1)], 3, now).len();
    assert_eq!(not(due - 1), 1);
}

/// A peer that offers more than are kept with their causes.
fn crowd(stuck: &mut StuckRecords, count: u64, run: RunNumber, now: u64) {
    for n in 0..count {
        stuck.judged((space(1), peer(1), id(n)), (Set::Content, run), &hold(1_000_000), now);
    }
}

#[test]
fn the_rest_waits_as_what_is_listed_does() {
    let mut stuck = StuckRecords::default();
    let many = limits::STUCK_PER_PEER as u64 + 2000;
    let waiting = |stuck: &StuckRecords, now| stuck.waiting(space(1), Set::Content, peer(1), now);
    let mut now = 0;
    for (run, minutes) in [(1, 1), (2, 2), (3, 4)] {
        crowd(&mut stuck, many, run, now);
        let ids = waiting(&stuck, now + minutes * MINUTE - 1);
        assert_eq!(ids, (0..many).map(id).collect::<Vec<_>>(), "ascending");
        assert!(stuck.waits(space(1), peer(1), &id(many - 1), now + minutes * MINUTE - 1));
        assert!(waiting(&stuck, now + minutes * MINUTE).is_empty());
        assert!(!stuck.rests(space(1), peer(1), run + 1, now), "all of them are remembered");
        now += minutes * MINUTE;
    }
    assert_eq!(stuck.offered_rest.len(), 2000);
    let listed = &stuck.listed()[&space(1)];
    assert_eq!((listed.total as u64, listed.latest.len()), (many, limits::LISTED_STUCK));
    let (here, _) = stuck.left(space(1), peer(1), 3, now);
    assert_eq!((here.held, here.quarantined), (many, many));
    // Of another peer, set or space nothing is said.
    assert!(stuck.waiting(space(1), Set::Content, peer(2), 1).is_empty());
    assert!(stuck.waiting(space(1), Set::Authority, peer(1), 1).is_empty());
    assert!(stuck.waiting(space(2), Set::Content, peer(1), 1).is_empty());
    // The rest stays where it is when there is room again, and goes when it is admitted, or no more
    // offered.
    stuck.admitted(space(1), &id(0));
    stuck.admitted(space(1), &id(many - 1));
    stuck.admitted(space(2), &id(many - 2));
    let not = stuck.not_to_push(space(1), peer(1), &[id(many - 3)], 4, now);
    assert_eq!((stuck.offered_rest.len(), not.len()), (1998, 1));
}

#[test]
fn the_rest_is_tried_when_something_of_that_peer_stands_or_membership_changes() {
    let mut stuck = StuckRecords::default();
    let many = limits::STUCK_PER_PEER as u64 + 10;
    for run in 1..9 {
        crowd(&mut stuck, many, run, run);
    }
    stuck.judged((space(1), peer(2), id(1)), (Set::Content, 1), &hold(2_000_000), 1);
    let waiting = |stuck: &StuckRecords, now| {
        stuck.waiting(space(1), Set::Content, peer(1), now).len() as u64
    };
    assert_eq!(waiting(&stuck, 2 * 60 * MINUTE), many);
    stuck.admitted(space(1), &id(2_000_000));
    assert_eq!(waiting(&stuck, 2 * 60 * MINUTE), many, "that is another's");
    stuck.admitted(space(1), &id(1_000_000));
    assert_eq!(waiting(&stuck, MINUTE), 10, "what was tried just now waits for a minute");
    assert_eq!(waiting(&stuck, MINUTE + 10), 0);
    crowd(&mut stuck, many, 9, MINUTE);
    assert_eq!(waiting(&stuck, 3 * MINUTE), many);
    stuck.membership_changed(space(1));
    assert_eq!(waiting(&stuck, 3 * MINUTE), 0);
}

#[test]
fn past_what_is_remembered_nothing_moves_until_a_pause_is_over() {
    let mut stuck = StuckRecords::default();
    let (here, there) = (space(1), peer(1));
    let most = (limits::STUCK_PER_PEER + limits::STUCK_IDS_PER_PEER) as u64;
    let rests = |stuck: &StuckRecords, run, now| stuck.rests(here, there, run, now);
    crowd(&mut stuck, most, 1, 0);
    assert!(!rests(&stuck, 2, 0));
    let (mut now, mut pauses) = (0, Vec::new());
    for run in 2..8 {
        crowd(&mut stuck, most + 500, run, now);
        assert_eq!(stuck.offered_rest.len(), limits::STUCK_IDS_PER_PEER);
        assert!(!rests(&stuck, run, now), "the session that finds it ends");
        let begun = now;
        while rests(&stuck, run + 1, now) {
            now += MINUTE;
        }
        pauses.push((now - begun) / MINUTE);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 10, 10], "as long as between two comparisons at most");
    // A session that does not find it again ends that, and so does a change of membership.
    stuck.left(here, there, 8, now);
    crowd(&mut stuck, most + 1, 9, now);
    assert!(rests(&stuck, 10, now + MINUTE - 1) && !rests(&stuck, 10, now + MINUTE));
    stuck.membership_changed(here);
    assert!(!rests(&stuck, 10, now));
    // The other way nothing is pushed.
    for n in 0..=most {
        stuck.pushed((here, there, id(n)), PushVerdict::Hold, 1, 0);
    }
    let fresh = [id(most + 7)];
    assert!(stuck.not_to_push(here, there, &fresh, 1, 1).is_empty());
    assert_eq!(stuck.not_to_push(here, there, &fresh, 2, MINUTE - 1).len(), 1);
    assert!(stuck.not_to_push(here, there, &fresh, 2, MINUTE).is_empty());
    let (_, held) = stuck.left(here, there, 1, MINUTE);
    assert_eq!(held.held, most);
    let (_, held) = stuck.left(here, there, 3, MINUTE);
    assert_eq!(held.total(), 0, "no session found them missing");
    assert_eq!(stuck.turned_rest.len(), 0);
}

#[test]
fn what_is_remembered_is_bounded_and_who_is_away_for_long_makes_room() {
    let mut stuck = StuckRecords::default();
    let share = (limits::STUCK_PER_PEER + limits::STUCK_IDS_PER_PEER) as u64;
    let offer = |stuck: &mut StuckRecords, of: u8, now| {
        for n in 0..share {
            stuck.judged((space(1), peer(of), id(n)), (Set::Content, 1), &refuse(), now);
        }
    };
    let peers = (limits::STUCK_IDS / limits::STUCK_IDS_PER_PEER) as u8;
    (0..peers + 2).for_each(|of| offer(&mut stuck, of, 0));
    assert_eq!(stuck.offered_rest.len(), limits::STUCK_IDS);
    let waiting = |stuck: &StuckRecords, of, now| {
        stuck.waiting(space(1), Set::Content, peer(of), now + 1).len() as u64
    };
    assert!(waiting(&stuck, 0, 0) >= limits::STUCK_IDS_PER_PEER as u64);
    assert!(stuck.rests(space(1), peer(peers + 1), 2, 1));
    let later = 3 * limits::STUCK_MAX_MS;
    stuck.judged((space(1), peer(99), id(1)), (Set::Content, 2), &refuse(), later);
    offer(&mut stuck, peers + 1, later);
    offer(&mut stuck, peers + 1, later);
    assert!(waiting(&stuck, peers + 1, later) >= limits::STUCK_IDS_PER_PEER as u64);
    assert!(stuck.offered_rest.len() <= limits::STUCK_IDS);
}

#[test]
fn strangers_who_offer_much_bring_nobody_else_to_rest() {
    let mut stuck = StuckRecords::default();
    let offer = |stuck: &mut StuckRecords, of: u8, count: u64, now| {
        for n in 0..count {
            stuck.judged((space(1), peer(of), id(n)), (Set::Content, 1), &refuse(), now);
        }
    };
    let share = (limits::STUCK_PER_PEER + limits::STUCK_IDS_PER_PEER) as u64;
    let all = (limits::STUCK_RECORDS / limits::STUCK_PER_PEER) as u8;
    (0..all).for_each(|of| offer(&mut stuck, 100 + of, share, 1));
    offer(&mut stuck, 1, 1, 2);
    assert_eq!(stuck.offered_rest.len(), limits::STUCK_IDS);
    // What is older goes, that of the one among it.
    (0..=all).for_each(|of| offer(&mut stuck, 200 + of, share, 3));
    assert_eq!(stuck.waiting(space(1), Set::Content, peer(1), 4).len(), 0);
    assert!(stuck.rests(space(1), peer(200), 2, 4), "who had too much rests");
    assert!(!stuck.rests(space(1), peer(1), 2, 4));
}

#[test]
fn a_copy_of_what_is_held_changes_nothing_but_the_pause() {
    let mut stuck = StuckRecords::default();
    let which = (space(1), peer(1), id(1));
    let held = Verdict::Hold(Hold::Dependency(Vec::new()));
    stuck.judged(which, (Set::Content, 1), &hold(9), 0);
    let text = stuck.offered[&which].text.clone();
    stuck.judged(which, (Set::Content, 2), &held, 2 * MINUTE);
    let entry = &stuck.offered[&which];
    assert_eq!((entry.pause.attempts, &entry.missing), (2, &vec![id(9)]));
    assert_eq!(entry.text, text, "what it waits for is still told");
    assert!(stuck.contradiction(space(1), peer(1), 1).is_none(), "it was not looked at");
    // Another peer's copy, of which nothing is known.
    stuck.judged((space(1), peer(2), id(1)), (Set::Content, 2), &held, 2 * MINUTE);
    assert!(stuck.contradiction(space(1), peer(2), 0).is_none());
    let waiting =
        |stuck: &StuckRecords| stuck.waiting(space(1), Set::Content, peer(1), 2 * MINUTE + 1).len();
    assert_eq!(waiting(&stuck), 1);
    stuck.admitted(space(1), &id(9));
    assert_eq!(waiting(&stuck), 0, "what it waited for has come");
}

#[test]
fn who_states_what_its_sessions_belie_is_found_out() {
    let (here, there) = (space(1), peer(1));
    let told = |stuck: &StuckRecords, run| stuck.contradiction(here, there, run).is_some();
    let mut stuck = StuckRecords::default();
    stuck.pushed((here, there, id(1)), PushVerdict::Hold, 5, 0);
    stuck.judged((here, there, id(2)), (Set::Content, 5), &Verdict::Hold(Hold::Body), 0);
    stuck.pushed((space(2), there, id(1)), PushVerdict::Refuse, 5, 0);
    stuck.pushed((here, peer(2), id(1)), PushVerdict::Refuse, 5, 0);
    assert!(!told(&stuck, 4), "it may have come to store the same");
    stuck.pushed((here, there, id(1)), PushVerdict::Refuse, 6, 0);
    assert!(told(&stuck, 5) && !told(&stuck, 6), "only in the same connection");
    stuck.pushed((here, there, id(1)), PushVerdict::Accept, 7, 0);
    assert!(!told(&stuck, 0));
    stuck.judged((here, there, id(2)), (Set::Content, 8), &hold(9), 0);
    assert!(told(&stuck, 7) && !told(&stuck, 8));
    stuck.admitted(here, &id(2));
    assert!(!told(&stuck, 0));
}

#[test]
fn what_was_turned_away_is_not_pushed_until_its_pause_is_over() {
    let mut stuck = StuckRecords::default();
    let (here, ids) = (space(1), [id(1), id(2), id(3)]);
    assert!(stuck.not_to_push(here, peer(1), &ids, 1, 0).is_empty());
    stuck.pushed((here, peer(1), id(1)), PushVerdict::Refuse, 1, 0);
    stuck.pushed((here, peer(1), id(2)), PushVerdict::Hold, 1, 0);
    stuck.pushed((here, peer(1), id(3)), PushVerdict::Accept, 1, 0);
    let (_, there) = stuck.left(here, peer(1), 1, 0);
    assert_eq!((there.refused, there.held, there.total()), (1, 1, 2));
    let not = stuck.not_to_push(here, peer(1), &ids, 2, MINUTE - 1);
    assert_eq!(not, BTreeSet::from([id(1), id(2)]));
    assert!(stuck.not_to_push(here, peer(2), &ids, 2, 1).is_empty(), "another may take it");
    assert!(stuck.not_to_push(here, peer(1), &ids, 3, MINUTE).is_empty());
    // It was found to lack only one of them in the last session: it has the other.
    stuck.not_to_push(here, peer(1), &[id(2)], 4, MINUTE);
    let (_, there) = stuck.left(here, peer(1), 4, MINUTE);
    assert_eq!((there.refused, there.held), (0, 1));
}
