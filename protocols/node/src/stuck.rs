//! Records that a peer offers and that cannot be admitted here, and those that it turns away there:
//! tried again after pauses that grow, and not in between.

mod pause;
mod tries;

use std::collections::{BTreeMap, BTreeSet};

use ocm_discovery::PeerId;
use ocm_record::{RecordId, Set, SpaceId};
use ocm_sync::PushVerdict;

use pause::Pause;
use tries::Tries;

use crate::limits;
use crate::peer::RunNumber;
use crate::snapshot::{Missing, StuckList, StuckRecord};
use crate::verdict::{Hold, Verdict};

/// One record between two nodes in one space. What one peer offers in vain says nothing of what
/// another has under that id.
type Which = (SpaceId, RecordId, PeerId);

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
mod tests;
