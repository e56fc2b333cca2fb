//! Records that a peer offers and that cannot be admitted here, and those that it turns away there:
//! tried again after pauses that grow, and not in between.

use std::collections::{BTreeMap, BTreeSet};

use ocm_discovery::PeerId;
use ocm_record::{RecordId, Set, SpaceId};
use ocm_sync::PushVerdict;

use crate::limits;
use crate::peer::RunNumber;
use crate::snapshot::{Missing, StuckList, StuckRecord};
use crate::verdict::{Hold, Verdict};

/// One record between two nodes in one space. What one peer offers in vain says nothing of what
/// another has under that id.
type Which = (SpaceId, RecordId, PeerId);

/// When something that failed is tried again.
#[derive(Debug, Clone, Copy)]
struct Pause {
    first: u64,
    last: u64,
    attempts: u32,
    due: u64,
}

impl Pause {
    const fn new(now: u64) -> Self {
        Self { first: now, last: now, attempts: 0, due: now }
    }

    /// 1 when it was tried so often that it is listed, else 0.
    fn is_quarantined(&self) -> u64 {
        u64::from(self.attempts >= limits::QUARANTINE_ATTEMPTS)
    }

    fn failed(&mut self, now: u64) {
        let pause = limits::STUCK_MIN_MS << self.attempts.min(16);
        self.attempts = self.attempts.saturating_add(1);
        self.last = now;
        self.due = now + pause.min(limits::STUCK_MAX_MS);
    }
}

/// A record that a peer offers and that was not admitted here.
#[derive(Debug)]
struct Offered {
    set: Set,
    pause: Pause,
    verdict: &'static str,
    reason: &'static str,
    text: String,
    /// What it waits for.
    missing: Vec<RecordId>,
    /// The last session in which it came whole, rightly signed, and did not stand.
    served: RunNumber,
}

impl Offered {
    fn shown(&self, (space, id, peer): &Which) -> StuckRecord {
        StuckRecord {
            space: *space,
            id: *id,
            set: self.set,
            peer: *peer,
            verdict: self.verdict,
            reason: self.reason,
            text: self.text.clone(),
            first_ms: self.pause.first,
            last_ms: self.pause.last,
            attempts: self.pause.attempts,
            next_ms: self.pause.due,
        }
    }
}

/// A record of ours that a peer did not admit.
#[derive(Debug)]
struct Turned {
    pause: Pause,
    verdict: PushVerdict,
    /// The session that last found it missing there.
    seen: RunNumber,
    /// The last session in which it was refused, which is for ever.
    refused: RunNumber,
}

/// Both, bounded: in all and for each peer; those tried longest ago go first.
#[derive(Debug, Default)]
pub(crate) struct StuckRecords {
    offered: BTreeMap<Which, Offered>,
    turned: BTreeMap<Which, Turned>,
    offered_by: Tries,
    turned_by: Tries,
    /// What is waited for, and by whom.
    awaited: BTreeMap<(SpaceId, RecordId), BTreeSet<Which>>,
}

fn of_space(space: SpaceId) -> impl std::ops::RangeBounds<Which> {
    let least = PeerId::new(ocm_record::PublicKey::from_bytes([0; 32]));
    let most = PeerId::new(ocm_record::PublicKey::from_bytes([0xff; 32]));
    (space, RecordId::MIN, least)..=(space, RecordId::from_bytes([0xff; 40]), most)
}

/// The entries of one table in the order of their last tries: in all, and of each peer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tries {
    all: BTreeSet<(u64, Which)>,
    of_peer: BTreeMap<PeerId, BTreeSet<(u64, Which)>>,
}

impl Tries {
    fn add(&mut self, last: u64, which: Which) {
        self.all.insert((last, which));
        self.of_peer.entry(which.2).or_default().insert((last, which));
    }

    fn remove(&mut self, last: u64, which: Which) {
        self.all.remove(&(last, which));
        if let Some(own) = self.of_peer.get_mut(&which.2) {
            own.remove(&(last, which));
            if own.is_empty() {
                self.of_peer.remove(&which.2);
            }
        }
    }

    /// Which entry goes, where there are too many: of this peer if it has its share, else of anyone.
    fn worst(&self, peer: PeerId) -> Option<Which> {
        let own = self.of_peer.get(&peer).filter(|own| own.len() > limits::STUCK_PER_PEER);
        let all = Some(&self.all).filter(|all| all.len() > limits::STUCK_RECORDS);
        own.or(all)?.first().map(|(_, which)| *which)
    }
}

impl FromIterator<(u64, Which)> for Tries {
    fn from_iter<T: IntoIterator<Item = (u64, Which)>>(tries: T) -> Self {
        let mut all = Self::default();
        tries.into_iter().for_each(|(last, which)| all.add(last, which));
        all
    }
}

impl StuckRecords {
    /// Takes note of the verdict on a record that a peer served.
    pub(crate) fn judged(
        &mut self,
        (space, id, peer): Which,
        (set, run): (Set, RunNumber),
        verdict: &Verdict,
        now: u64,
    ) {
        let which = (space, id, peer);
        if verdict.stands() {
            return self.admitted(space, &id);
        }
        // A copy of it waits here already: this one was not looked at.
        let unseen = matches!(verdict, Verdict::Hold(Hold::Dependency(ids)) if ids.is_empty());
        let entry = self.offered.entry(which).or_insert_with(|| Offered {
            set,
            pause: Pause::new(now),
            verdict: "",
            reason: "",
            text: String::new(),
            missing: Vec::new(),
            served: 0,
        });
        self.offered_by.remove(entry.pause.last, which);
        entry.pause.failed(now);
        self.offered_by.add(entry.pause.last, which);
        if !(unseen && entry.verdict == "hold") {
            let missing = match verdict {
                Verdict::Hold(Hold::Dependency(ids) | Hold::Authority(ids)) => ids.clone(),
                _ => Vec::new(),
            };
            let whole = matches!(
                verdict,
                Verdict::Refuse(_) | Verdict::Hold(Hold::Dependency(_) | Hold::Authority(_))
            );
            entry.served = if whole && !unseen { run } else { entry.served };
            (entry.verdict, entry.reason) = (verdict.name(), verdict.reason());
            entry.text = verdict.to_string();
            let before = std::mem::replace(&mut entry.missing, missing.clone());
            self.await_no_more(&which, &before);
            for awaited in missing {
                self.awaited.entry((space, awaited)).or_default().insert(which);
            }
        }
        if let Some(worst) = self.offered_by.worst(peer) {
            self.forget_offered(&worst);
        }
    }

    fn forget_offered(&mut self, which: &Which) {
        if let Some(offered) = self.offered.remove(which) {
            self.offered_by.remove(offered.pause.last, *which);
            self.await_no_more(which, &offered.missing);
        }
    }

    fn forget_turned(&mut self, which: &Which) {
        if let Some(turned) = self.turned.remove(which) {
            self.turned_by.remove(turned.pause.last, *which);
        }
    }

    fn await_no_more(&mut self, which: &Which, missing: &[RecordId]) {
        for awaited in missing {
            if let Some(waiting) = self.awaited.get_mut(&(which.0, *awaited)) {
                waiting.remove(which);
                if waiting.is_empty() {
                    self.awaited.remove(&(which.0, *awaited));
                }
            }
        }
    }

    /// A record was admitted: nothing is to be waited for with it, and what waited for it may be
    /// tried at once.
    pub(crate) fn admitted(&mut self, space: SpaceId, id: &RecordId) {
        if self.offered.is_empty() {
            return;
        }
        let least = PeerId::new(ocm_record::PublicKey::from_bytes([0; 32]));
        let found: Vec<Which> = self
            .offered
            .range((space, *id, least)..)
            .map(|(which, _)| *which)
            .take_while(|(of, record, _)| (of, record) == (&space, id))
            .collect();
        found.iter().for_each(|which| self.forget_offered(which));
        for waiting in self.awaited.remove(&(space, *id)).unwrap_or_default() {
            if let Some(offered) = self.offered.get_mut(&waiting) {
                offered.pause.due = 0;
            }
        }
    }

    /// Membership of a space has changed: what was held may stand.
    pub(crate) fn membership_changed(&mut self, space: SpaceId) {
        for (_, offered) in self.offered.range_mut(of_space(space)) {
            if offered.verdict == "hold" {
                offered.pause.due = 0;
            }
        }
        for (_, turned) in self.turned.range_mut(of_space(space)) {
            if turned.verdict == PushVerdict::Hold {
                turned.pause.due = 0;
            }
        }
    }

    /// The records of a set that a peer offers and that are not to be asked for yet, ascending.
    pub(crate) fn waiting(
        &self,
        space: SpaceId,
        set: Set,
        peer: PeerId,
        now: u64,
    ) -> Vec<RecordId> {
        if self.offered.is_empty() {
            return Vec::new();
        }
        let of = |(which, offered): &(&Which, &Offered)| {
            which.2 == peer && offered.set == set && offered.pause.due > now
        };
        self.offered.range(of_space(space)).filter(of).map(|(which, _)| which.1).collect()
    }

    /// A session found that a peer lacks these records. Gives those that are not to be pushed: it
    /// turned them away not long ago, or they are none of ours.
    pub(crate) fn not_to_push(
        &mut self,
        space: SpaceId,
        peer: PeerId,
        ids: &[RecordId],
        run: RunNumber,
        now: u64,
    ) -> BTreeSet<RecordId> {
        let mut not = BTreeSet::new();
        for id in ids {
            let which = (space, *id, peer);
            if self.offered.contains_key(&which) {
                // It offers it no more.
                self.forget_offered(&which);
                not.insert(*id);
            }
            if let Some(turned) = self.turned.get_mut(&which) {
                turned.seen = run;
                if turned.pause.due > now {
                    not.insert(*id);
                }
            }
        }
        not
    }

    /// Takes note of a peer's verdict on a record of ours.
    pub(crate) fn pushed(&mut self, which: Which, verdict: PushVerdict, run: RunNumber, now: u64) {
        if matches!(verdict, PushVerdict::Accept | PushVerdict::Duplicate) {
            return self.forget_turned(&which);
        }
        let fresh = Turned { pause: Pause::new(now), verdict, seen: run, refused: 0 };
        let entry = self.turned.entry(which).or_insert(fresh);
        self.turned_by.remove(entry.pause.last, which);
        entry.pause.failed(now);
        self.turned_by.add(entry.pause.last, which);
        (entry.verdict, entry.seen) = (verdict, run);
        if verdict == PushVerdict::Refuse {
            entry.refused = run;
        }
        if let Some(worst) = self.turned_by.worst(which.2) {
            self.forget_turned(&worst);
        }
    }

    /// Why a peer cannot store the same as we do, as it states: by what sessions showed since `run`,
    /// in one connection. Sets do not shrink, and a refusal is for ever.
    pub(crate) fn contradiction(
        &self,
        space: SpaceId,
        peer: PeerId,
        run: RunNumber,
    ) -> Option<&'static str> {
        let of_peer = |which: &Which| which.2 == peer;
        let refused = |(which, turned): (&Which, &Turned)| of_peer(which) && turned.refused > run;
        let served = |(which, offered): (&Which, &Offered)| of_peer(which) && offered.served > run;
        if self.turned.range(of_space(space)).any(refused) {
            Some("it refused a record of ours, and states that it stores the same as we do")
        } else if self.offered.range(of_space(space)).any(served) {
            Some("it served a record that is not here, and states that it stores the same as we do")
        } else {
            None
        }
    }

    /// What a session that went through both sets left missing here and there; what it did not find
    /// missing there is there.
    pub(crate) fn left(
        &mut self,
        space: SpaceId,
        peer: PeerId,
        run: RunNumber,
    ) -> (Missing, Missing) {
        let (mut here, mut there) = (Missing::default(), Missing::default());
        for ((_, _, of), offered) in self.offered.range(of_space(space)) {
            if *of == peer {
                let count = match offered.verdict {
                    "hold" => &mut here.held,
                    "refuse" => &mut here.refused,
                    _ => &mut here.rejected,
                };
                *count += 1;
                here.quarantined += offered.pause.is_quarantined();
            }
        }
        let gone = |(which, turned): &(&Which, &Turned)| which.2 == peer && turned.seen != run;
        let all = self.turned.range(of_space(space));
        let gone: Vec<Which> = all.filter(gone).map(|(which, _)| *which).collect();
        gone.iter().for_each(|which| self.forget_turned(which));
        for ((_, _, of), turned) in self.turned.range(of_space(space)) {
            if *of == peer {
                let count = match turned.verdict {
                    PushVerdict::Hold => &mut there.held,
                    PushVerdict::Refuse => &mut there.refused,
                    _ => &mut there.rejected,
                };
                *count += 1;
                there.quarantined += turned.pause.is_quarantined();
            }
        }
        (here, there)
    }

    /// The clock was set back by so much.
    pub(crate) fn turn_back(&mut self, by: u64) {
        let offered = self.offered.values_mut().map(|offered| &mut offered.pause);
        let turned = self.turned.values_mut().map(|turned| &mut turned.pause);
        for pause in offered.chain(turned) {
            for at in [&mut pause.first, &mut pause.last, &mut pause.due] {
                *at = at.saturating_sub(by);
            }
        }
        self.offered_by = self.offered.iter().map(|(which, of)| (of.pause.last, *which)).collect();
        self.turned_by = self.turned.iter().map(|(which, of)| (of.pause.last, *which)).collect();
    }

    /// What was tried often enough to be listed, for each space that has such records.
    pub(crate) fn listed(&self) -> BTreeMap<SpaceId, StuckList> {
        let mut often: BTreeMap<SpaceId, Vec<(&Which, &Offered)>> = BTreeMap::new();
        for (which, stuck) in &self.offered {
            if stuck.pause.is_quarantined() == 1 {
                often.entry(which.0).or_default().push((which, stuck));
            }
        }
        let listed = often.into_iter().map(|(space, mut all)| {
            let total = all.len();
            all.sort_by_key(|(_, stuck)| std::cmp::Reverse(stuck.pause.last));
            all.truncate(limits::LISTED_STUCK);
            let latest = all.into_iter().map(|(which, stuck)| stuck.shown(which)).collect();
            (space, StuckList { total, latest })
        });
        listed.collect()
    }
}

#[cfg(test)]
mod tests {
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
            stuck.judged((space(1), id(1), peer(1)), (Set::Content, 1), &refuse(), now);
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
                    stuck.judged((space(2), id(n), peer(1)), (Set::Content, 1), &refuse(), attempt);
                }
                let now = 1000 + n + attempt;
                stuck.judged((space(1), id(n), peer(1)), (Set::Content, 1), &refuse(), now);
            }
        }
        // Tried once: it counts nowhere.
        stuck.judged((space(1), id(many), peer(1)), (Set::Content, 1), &refuse(), 9000);
        stuck.judged((space(3), id(1), peer(1)), (Set::Content, 1), &refuse(), 9000);
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
        stuck.judged((space(1), id(1), peer(1)), (Set::Content, 1), &refuse(), 0);
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
            stuck.judged((space(1), id(n), peer(1)), (Set::Content, 1), &hold(9), 0);
        }
        // It turned out to wait for something else.
        stuck.judged((space(1), id(3), peer(1)), (Set::Content, 1), &hold(8), 0);
        let waiting = |stuck: &StuckRecords| stuck.waiting(space(1), Set::Content, peer(1), 1);
        stuck.admitted(space(1), &id(9));
        assert_eq!(waiting(&stuck), [id(3)]);
        stuck.admitted(space(2), &id(8));
        assert_eq!(waiting(&stuck), [id(3)], "of another space");
        stuck.judged((space(1), id(2), peer(1)), (Set::Content, 1), &Verdict::Accept, 1);
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
        stuck.judged((space(1), id(1), peer(1)), (Set::Content, 1), &refuse(), 0);
        stuck.membership_changed(space(1));
        assert_eq!(stuck.waiting(space(1), Set::Content, peer(1), 1).len(), 1);
    }

    #[test]
    fn the_tables_are_bounded_and_one_peer_crowds_out_itself() {
        let mut stuck = StuckRecords::default();
        stuck.judged((space(1), id(1), peer(1)), (Set::Content, 1), &hold(5), 0);
        let many = limits::STUCK_PER_PEER as u64 + 50;
        for n in 0..many {
            stuck.judged((space(1), id(n), peer(2)), (Set::Content, 1), &hold(n + 1), n + 1);
            stuck.pushed((space(1), id(n), peer(2)), PushVerdict::Refuse, 1, n + 1);
        }
        assert_eq!(stuck.offered.len(), limits::STUCK_PER_PEER + 1);
        assert_eq!(stuck.turned.len(), limits::STUCK_PER_PEER);
        assert!(stuck.awaited.len() <= stuck.offered.len());
        for n in 3..9 {
            for m in 0..1000 {
                stuck.judged((space(1), id(m), peer(n)), (Set::Content, 1), &refuse(), many + m);
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
            let which = (space(n % 3), id(n % 1200), peer(1 + (n % 7 / 6) as u8));
            stuck.judged(which, (Set::Content, 1), &hold(n), n);
            stuck.pushed(which, PushVerdict::Hold, 1, n);
        }
        follows(&stuck);
        let (offered, turned) = (stuck.offered.len(), stuck.turned.len());
        // Tried again, let go of, turned back, admitted there and here.
        stuck.judged((space(0), id(600), peer(1)), (Set::Content, 2), &refuse(), 2000);
        stuck.pushed((space(0), id(600), peer(1)), PushVerdict::Refuse, 2, 2000);
        stuck.turn_back(500);
        follows(&stuck);
        stuck.pushed((space(1), id(604), peer(1)), PushVerdict::Accept, 2, 2000);
        stuck.admitted(space(1), &id(604));
        stuck.not_to_push(space(2), peer(1), &[id(602)], 2, 2000);
        follows(&stuck);
        assert_eq!((stuck.offered.len(), stuck.turned.len()), (offered - 2, turned - 1));
        let (_, there) = stuck.left(space(0), peer(1), 2);
        assert_eq!((there.refused, there.total()), (1, 1));
        follows(&stuck);
        for n in 0..limits::STUCK_PER_PEER as u64 - 1 {
            stuck.judged((space(5), id(n), peer(1)), (Set::Content, 3), &refuse(), 1600 + n);
        }
        let again = (space(0), id(600), peer(1));
        assert!(stuck.offered.contains_key(&again), "of the older ones it was tried last");
        follows(&stuck);
    }

    #[test]
    fn a_copy_of_what_is_held_changes_nothing_but_the_pause() {
        let mut stuck = StuckRecords::default();
        let which = (space(1), id(1), peer(1));
        let held = Verdict::Hold(Hold::Dependency(Vec::new()));
        stuck.judged(which, (Set::Content, 1), &hold(9), 0);
        let text = stuck.offered[&which].text.clone();
        stuck.judged(which, (Set::Content, 2), &held, 2 * MINUTE);
        let entry = &stuck.offered[&which];
        assert_eq!((entry.pause.attempts, &entry.missing), (2, &vec![id(9)]));
        assert_eq!(entry.text, text, "what it waits for is still told");
        assert!(stuck.contradiction(space(1), peer(1), 1).is_none(), "it was not looked at");
        // Another peer's copy, of which nothing is known.
        stuck.judged((space(1), id(1), peer(2)), (Set::Content, 2), &held, 2 * MINUTE);
        assert!(stuck.contradiction(space(1), peer(2), 0).is_none());
        let waiting = |stuck: &StuckRecords| {
            stuck.waiting(space(1), Set::Content, peer(1), 2 * MINUTE + 1).len()
        };
        assert_eq!(waiting(&stuck), 1);
        stuck.admitted(space(1), &id(9));
        assert_eq!(waiting(&stuck), 0, "what it waited for has come");
    }

    #[test]
    fn who_states_what_its_sessions_belie_is_found_out() {
        let (here, there) = (space(1), peer(1));
        let told = |stuck: &StuckRecords, run| stuck.contradiction(here, there, run).is_some();
        let mut stuck = StuckRecords::default();
        stuck.pushed((here, id(1), there), PushVerdict::Hold, 5, 0);
        stuck.judged((here, id(2), there), (Set::Content, 5), &Verdict::Hold(Hold::Body), 0);
        stuck.pushed((space(2), id(1), there), PushVerdict::Refuse, 5, 0);
        stuck.pushed((here, id(1), peer(2)), PushVerdict::Refuse, 5, 0);
        assert!(!told(&stuck, 4), "it may have come to store the same");
        stuck.pushed((here, id(1), there), PushVerdict::Refuse, 6, 0);
        assert!(told(&stuck, 5) && !told(&stuck, 6), "only in the same connection");
        stuck.pushed((here, id(1), there), PushVerdict::Accept, 7, 0);
        assert!(!told(&stuck, 0));
        stuck.judged((here, id(2), there), (Set::Content, 8), &hold(9), 0);
        assert!(told(&stuck, 7) && !told(&stuck, 8));
        stuck.admitted(here, &id(2));
        assert!(!told(&stuck, 0));
    }

    #[test]
    fn what_was_turned_away_is_not_pushed_until_its_pause_is_over() {
        let mut stuck = StuckRecords::default();
        let (here, ids) = (space(1), [id(1), id(2), id(3)]);
        assert!(stuck.not_to_push(here, peer(1), &ids, 1, 0).is_empty());
        stuck.pushed((here, id(1), peer(1)), PushVerdict::Refuse, 1, 0);
        stuck.pushed((here, id(2), peer(1)), PushVerdict::Hold, 1, 0);
        stuck.pushed((here, id(3), peer(1)), PushVerdict::Accept, 1, 0);
        let (_, there) = stuck.left(here, peer(1), 1);
        assert_eq!((there.refused, there.held, there.total()), (1, 1, 2));
        let not = stuck.not_to_push(here, peer(1), &ids, 2, MINUTE - 1);
        assert_eq!(not, BTreeSet::from([id(1), id(2)]));
        assert!(stuck.not_to_push(here, peer(2), &ids, 2, 1).is_empty(), "another may take it");
        assert!(stuck.not_to_push(here, peer(1), &ids, 3, MINUTE).is_empty());
        // It was found to lack only one of them in the last session: it has the other.
        stuck.not_to_push(here, peer(1), &[id(2)], 4, MINUTE);
        let (_, there) = stuck.left(here, peer(1), 4);
        assert_eq!((there.refused, there.held), (0, 1));
    }
}
