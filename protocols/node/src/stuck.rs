//! Records that a peer offers and that cannot be admitted here, and those that it turns away there:
//! tried again after pauses that grow, and not in between.

mod entry;
mod pause;
mod rest;
mod tries;

use std::collections::{BTreeMap, BTreeSet};

use ocm_discovery::PeerId;
use ocm_record::{RecordId, Set, SpaceId};
use ocm_sync::PushVerdict;

use entry::{Offered, Turned, why};
use pause::Pause;
use rest::{Rest, Why};
use tries::Tries;

use crate::limits;
use crate::peer::RunNumber;
use crate::snapshot::{Missing, StuckList};
use crate::verdict::{Hold, Verdict};

/// One record between two nodes in one space. What one peer offers in vain says nothing of what
/// another has under that id.
type Which = (SpaceId, PeerId, RecordId);

/// Both, bounded: in all and for each peer. Those that one peer has beyond its share are remembered
/// without their causes; where there are more than are remembered, nothing of that peer is moved in
/// that space until a pause is over.
#[derive(Debug, Default)]
pub(crate) struct StuckRecords {
    offered: BTreeMap<Which, Offered>,
    turned: BTreeMap<Which, Turned>,
    offered_by: Tries,
    turned_by: Tries,
    offered_rest: Rest,
    turned_rest: Rest,
    /// What is waited for, and by whom.
    awaited: BTreeMap<(SpaceId, RecordId), BTreeSet<Which>>,
}

const LAST_ID: RecordId = RecordId::from_bytes([0xff; 40]);

fn every_peer() -> (PeerId, PeerId) {
    let of = |byte| PeerId::new(ocm_record::PublicKey::from_bytes([byte; 32]));
    (of(0), of(0xff))
}

fn of_space(space: SpaceId) -> impl std::ops::RangeBounds<Which> {
    let (least, most) = every_peer();
    (space, least, RecordId::MIN)..=(space, most, LAST_ID)
}

fn of_pair(space: SpaceId, peer: PeerId) -> impl std::ops::RangeBounds<Which> {
    (space, peer, RecordId::MIN)..=(space, peer, LAST_ID)
}

fn pairs_of(space: SpaceId) -> impl std::ops::RangeBounds<(SpaceId, PeerId)> {
    let (least, most) = every_peer();
    (space, least)..=(space, most)
}

impl StuckRecords {
    /// Takes note of the verdict on a record that a peer served.
    pub(crate) fn judged(
        &mut self,
        (space, peer, id): Which,
        (set, run): (Set, RunNumber),
        verdict: &Verdict,
        now: u64,
    ) {
        let which = (space, peer, id);
        if verdict.stands() {
            return self.admitted(space, &id);
        }
        let of_rest = !self.offered.contains_key(&which)
            && (self.offered_rest.contains(&which) || !self.offered_by.has_room(peer));
        if of_rest {
            let why = match verdict {
                Verdict::Hold(_) => Why::Held,
                Verdict::Refuse(_) => Why::Refused,
                _ => Why::Rejected,
            };
            return self.offered_rest.failed(which, (set, why), run, now);
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
        if let Some(worst) = self.offered_by.worst()
            && let Some(offered) = self.forget_offered(&worst)
        {
            let (of, pause) = ((offered.set, offered.why()), offered.pause);
            let tried = (pause.attempts, pause.due);
            // Who makes room for another has no more than before.
            if !self.offered_rest.remember(worst, of, tried, run, now) && worst.1 == peer {
                self.offered_rest.overflow((worst.0, peer), run, now);
            }
        }
    }

    fn forget_offered(&mut self, which: &Which) -> Option<Offered> {
        let offered = self.offered.remove(which)?;
        self.offered_by.remove(offered.pause.last, *which);
        self.await_no_more(which, &offered.missing);
        Some(offered)
    }

    fn forget_turned(&mut self, which: &Which) -> Option<Turned> {
        let turned = self.turned.remove(which)?;
        self.turned_by.remove(turned.pause.last, *which);
        Some(turned)
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
        if self.offered.is_empty() && self.offered_rest.is_empty() {
            return;
        }
        let mut moved = self.offered_by.peers_of(space, *id);
        for peer in &moved {
            self.forget_offered(&(space, *peer, *id));
        }
        moved.extend(self.offered_rest.remove_of_all(space, *id));
        for waiting in self.awaited.remove(&(space, *id)).unwrap_or_default() {
            if let Some(offered) = self.offered.get_mut(&waiting) {
                offered.pause.due = 0;
                moved.insert(waiting.1);
            }
        }
        // What its rest waits for is not known: it may be what has just come.
        moved.into_iter().for_each(|peer| self.offered_rest.free(space, peer));
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
        self.offered_rest.free_all(space);
        self.turned_rest.free_all(space);
    }

    /// Whether nothing is to be asked of a peer in a space by any session but this one.
    pub(crate) fn rests(&self, space: SpaceId, peer: PeerId, run: RunNumber, now: u64) -> bool {
        self.offered_rest.is_full(space, peer, run, now)
    }

    /// Whether a record that a peer offers is not to be asked for yet.
    pub(crate) fn waits(&self, space: SpaceId, peer: PeerId, id: &RecordId, now: u64) -> bool {
        let which = (space, peer, *id);
        self.offered.get(&which).is_some_and(|offered| offered.pause.due > now)
            || self.offered_rest.waits(&which, now)
    }

    /// The records of a set that a peer offers and that are not to be asked for yet, ascending.
    pub(crate) fn waiting(
        &self,
        space: SpaceId,
        set: Set,
        peer: PeerId,
        now: u64,
    ) -> Vec<RecordId> {
        let waits =
            |(_, offered): &(&Which, &Offered)| offered.set == set && offered.pause.due > now;
        let listed =
            self.offered.range(of_pair(space, peer)).filter(waits).map(|(which, _)| which.2);
        let mut waiting: Vec<RecordId> =
            listed.chain(self.offered_rest.waiting(space, set, peer, now)).collect();
        waiting.sort_unstable();
        waiting
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
        let rests = self.turned_rest.is_full(space, peer, run, now);
        for id in ids {
            let which = (space, peer, *id);
            // It offers it no more.
            if self.forget_offered(&which).is_some() || self.offered_rest.remove(&which) {
                not.insert(*id);
            }
            self.turned_rest.seen(&which, run);
            let waits = match self.turned.get_mut(&which) {
                Some(turned) => {
                    turned.seen = run;
                    turned.pause.due > now
                }
                None => self.turned_rest.waits(&which, now),
            };
            if rests || waits {
                not.insert(*id);
            }
        }
        not
    }

    /// Takes note of a peer's verdict on a record of ours.
    pub(crate) fn pushed(&mut self, which: Which, verdict: PushVerdict, run: RunNumber, now: u64) {
        if matches!(verdict, PushVerdict::Accept | PushVerdict::Duplicate) {
            self.forget_turned(&which);
            self.turned_rest.remove(&which);
            return;
        }
        let of_rest = !self.turned.contains_key(&which)
            && (self.turned_rest.contains(&which) || !self.turned_by.has_room(which.1));
        if of_rest {
            // A peer does not say in which set it looks for it, nor does it matter.
            return self.turned_rest.failed(which, (Set::Content, why(verdict)), run, now);
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
        if let Some(worst) = self.turned_by.worst()
            && let Some(turned) = self.forget_turned(&worst)
        {
            let (of, pause) = ((Set::Content, why(turned.verdict)), turned.pause);
            let tried = (pause.attempts, pause.due);
            if !self.turned_rest.remember(worst, of, tried, turned.seen, now) && worst.1 == which.1
            {
                self.turned_rest.overflow((worst.0, worst.1), run, now);
            }
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
        let refused = |(_, turned): (&Which, &Turned)| turned.refused > run;
        let served = |(_, offered): (&Which, &Offered)| offered.served > run;
        if self.turned.range(of_pair(space, peer)).any(refused) {
            Some("it refused a record of ours, and states that it stores the same as we do")
        } else if self.offered.range(of_pair(space, peer)).any(served) {
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
        now: u64,
    ) -> (Missing, Missing) {
        let (mut here, mut there) = (Missing::default(), Missing::default());
        for (_, offered) in self.offered.range(of_pair(space, peer)) {
            offered.why().count(&mut here, offered.pause.is_quarantined());
        }
        self.offered_rest.count(space, peer, &mut here);
        let gone = |(_, turned): &(&Which, &Turned)| turned.seen != run;
        let all = self.turned.range(of_pair(space, peer));
        let gone: Vec<Which> = all.filter(gone).map(|(which, _)| *which).collect();
        for which in &gone {
            self.forget_turned(which);
        }
        self.turned_rest.keep_seen(space, peer, run);
        for (_, turned) in self.turned.range(of_pair(space, peer)) {
            why(turned.verdict).count(&mut there, turned.pause.is_quarantined());
        }
        self.turned_rest.count(space, peer, &mut there);
        self.offered_rest.ended(space, peer, run, now);
        self.turned_rest.ended(space, peer, run, now);
        (here, there)
    }

    /// The clock was set back by so much.
    pub(crate) fn turn_back(&mut self, by: u64) {
        let offered = self.offered.values_mut().map(|offered| &mut offered.pause);
        let turned = self.turned.values_mut().map(|turned| &mut turned.pause);
        offered.chain(turned).for_each(|pause| pause.turn_back(by));
        self.offered_rest.turn_back(by);
        self.turned_rest.turn_back(by);
        self.offered_by = self.offered.iter().map(|(which, of)| (of.pause.last, *which)).collect();
        self.turned_by = self.turned.iter().map(|(which, of)| (of.pause.last, *which)).collect();
    }

    /// What was tried often enough to be listed, for each space that has such records.
    pub(crate) fn listed(&self) -> BTreeMap<SpaceId, StuckList> {
        let mut often: BTreeMap<SpaceId, Vec<(&Which, &Offered)>> = BTreeMap::new();
        for (which, stuck) in &self.offered {
            if stuck.pause.is_quarantined() {
                often.entry(which.0).or_default().push((which, stuck));
            }
        }
        let mut rest: BTreeMap<SpaceId, usize> = BTreeMap::new();
        for (space, quarantined) in self.offered_rest.quarantined() {
            *rest.entry(space).or_default() += quarantined;
            often.entry(space).or_default();
        }
        let listed = often.into_iter().map(|(space, mut all)| {
            let total = all.len() + rest.get(&space).copied().unwrap_or(0);
            all.sort_by_key(|(_, stuck)| std::cmp::Reverse(stuck.pause.last));
            all.truncate(limits::LISTED_STUCK);
            let latest = all.into_iter().map(|(which, stuck)| stuck.shown(which)).collect();
            (space, StuckList { total, latest })
        });
        listed.collect()
    }
}

#[cfg(test)]
mod tests;
