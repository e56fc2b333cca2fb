//! Lookup of peers by space: under which key a node announces itself, and which space is looked up
//! when. Specified in `protocols/README.md`, section 12.

use std::collections::BTreeMap;
use std::fmt;

use ocm_record::SpaceId;
use sha2::{Digest, Sha256};

use crate::backoff::Backoff;

/// What the hash of a key begins with.
const DOMAIN: &[u8] = b"ocm/1/lookup";

/// Spaces that are looked up at most: as many as a node holds.
pub const LOOKUP_SPACES: usize = 256;

/// Between two rounds for a space: from a quarter of a minute while new peers are found, to twenty
/// minutes while none are. An announcement outlasts three of the longest ([`crate::PROVIDED_MS`]).
pub const LOOKUP_BACKOFF: Backoff = Backoff { base_ms: 15_000, cap_ms: 20 * 60_000 };

/// A round that is not reported on counts as ended after this: 2 minutes.
const ROUND_LOST_MS: u64 = 120_000;

/// Under which peers announce that they hold a space, and are asked for: a hash of its id, so that
/// whoever does not know the id does not learn it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupKey([u8; 32]);

impl LookupKey {
    /// The key of a space: SHA-256 of `"ocm/1/lookup"` and the 40 bytes of its id.
    #[must_use]
    pub fn of(space: &SpaceId) -> Self {
        Self(Sha256::new_with_prefix(DOMAIN).chain_update(space.0.as_bytes()).finalize().into())
    }

    /// A key as it came; `None` unless it has 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for LookupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LookupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LookupKey({self})")
    }
}

/// Which spaces are looked up, and when. In a round for a space a node announces itself and then
/// asks who else did: so of two nodes the one that comes later finds the other. One round is under
/// way at a time. All times `now` are milliseconds on one clock that does not run backwards.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    spaces: BTreeMap<SpaceId, Plan>,
    under_way: Option<(SpaceId, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    /// No round begins before this time.
    next: u64,
    /// When the last one began.
    began: Option<u64>,
    /// Rounds in a row that found nobody new.
    vain: u32,
    /// Another round is to follow soon.
    again: bool,
}

impl Plan {
    /// The earliest time of another round: [`LOOKUP_BACKOFF`]'s base after the last began, so that
    /// nobody makes this node ask more often than that.
    fn soon(&self, now: u64) -> u64 {
        self.began.map_or(0, |began| began.saturating_add(LOOKUP_BACKOFF.base_ms)).max(now)
    }
}

impl Lookup {
    /// Looks a space up from now on. Returns false when it did already, or when
    /// [`LOOKUP_SPACES`] are.
    pub fn add(&mut self, space: SpaceId, now: u64) -> bool {
        if self.spaces.contains_key(&space) || self.spaces.len() >= LOOKUP_SPACES {
            return false;
        }
        self.spaces.insert(space, Plan { next: now, began: None, vain: 0, again: false });
        true
    }

    /// How many spaces are looked up.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spaces.len()
    }

    /// Whether no space is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// The space whose round is to begin now, if none is under way: of those that are due, the one
    /// that waited longest. [`Self::ended`] is to follow.
    pub fn due(&mut self, now: u64) -> Option<SpaceId> {
        if let Some((space, since)) = self.under_way {
            if now.saturating_sub(since) <= ROUND_LOST_MS {
                return None;
            }
            self.ended(&space, false, now, u64::MAX);
        }
        let due = self.spaces.iter().filter(|(_, plan)| plan.next <= now);
        let (space, _) = due.min_by_key(|(space, plan)| (plan.next, **space))?;
        let space = *space;
        self.under_way = Some((space, now));
        if let Some(plan) = self.spaces.get_mut(&space) {
            plan.began = Some(now);
            plan.again = false;
        }
        Some(space)
    }

    /// Takes note that the round for a space is over, and whether it found somebody new.
    pub fn ended(&mut self, space: &SpaceId, found: bool, now: u64, random: u64) {
        self.under_way = self.under_way.filter(|(of, _)| of != space);
        if let Some(plan) = self.spaces.get_mut(space) {
            plan.vain = if found { 0 } else { plan.vain.saturating_add(1) };
            let failures = plan.vain.saturating_sub(1);
            plan.next = now.saturating_add(LOOKUP_BACKOFF.delay(failures, random));
            if plan.again {
                plan.next = plan.next.min(plan.soon(now));
            }
        }
    }

    /// Has the last round be followed by another one soon, whether it is over or not: it led to a node
    /// that could not be asked then. The pauses after that are as long as without it.
    pub fn repeat(&mut self, now: u64) {
        let last = self.spaces.values_mut().max_by_key(|plan| plan.began);
        if let Some(plan) = last.filter(|plan| plan.began.is_some()) {
            plan.again = true;
            plan.next = plan.next.min(plan.soon(now));
        }
    }

    /// Has every space looked up soon, as after this node has a new address, or there is one more
    /// node to ask: at once where the last round is [`LOOKUP_BACKOFF`]'s base ago.
    pub fn hurry(&mut self, now: u64) {
        for plan in self.spaces.values_mut() {
            plan.next = plan.next.min(plan.soon(now));
            plan.vain = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(n: u8) -> SpaceId {
        SpaceId(ocm_record::RecordId::from_bytes([n; 40]))
    }

    #[test]
    fn one_round_at_a_time_and_each_space_has_its_turn() {
        let mut lookup = Lookup::default();
        assert_eq!(lookup.due(0), None);
        assert!(lookup.add(space(1), 5) && lookup.add(space(2), 3));
        assert!(!lookup.add(space(1), 9), "known");
        assert_eq!(lookup.due(2), None);
        assert_eq!(lookup.due(6), Some(space(2)), "it waited longer");
        assert_eq!(lookup.due(6), None, "one is under way");
        lookup.ended(&space(2), true, 7, u64::MAX);
        assert_eq!(lookup.due(7), Some(space(1)));
        assert_eq!(lookup.due(7 + ROUND_LOST_MS), None);
        assert_eq!(lookup.due(8 + ROUND_LOST_MS), Some(space(2)), "the other one is given up");
        for n in 3..=255 {
            assert!(lookup.add(space(n), 0));
        }
        assert!(lookup.add(space(0), 0));
        assert_eq!(lookup.len(), LOOKUP_SPACES);
        let other = SpaceId(ocm_record::RecordId::from_bytes([7; 40]).successor());
        assert!(!lookup.add(other, 0), "no more than a node holds");
    }

    #[test]
    fn rounds_become_rare_while_nobody_is_found() {
        let mut lookup = Lookup::default();
        lookup.add(space(1), 0);
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..10 {
            assert_eq!(lookup.due(now), Some(space(1)));
            lookup.ended(&space(1), false, now, u64::MAX);
            let began = now;
            while lookup.due(now).is_none() {
                now += 1_000;
            }
            pauses.push((now - began) / 1000);
            lookup.ended(&space(1), false, now, u64::MAX);
            now += 20 * 60_000;
        }
        assert_eq!(pauses[..4], [15, 60, 240, 960]);
        assert_eq!(pauses[5..], [1200; 5]);
        assert_eq!(lookup.due(now), Some(space(1)));
        lookup.ended(&space(1), true, now, u64::MAX);
        assert_eq!(lookup.due(now + 14_999), None);
        assert_eq!(lookup.due(now + 15_000), Some(space(1)), "somebody was found: soon again");
    }

    #[test]
    fn what_changes_hurries_and_nobody_makes_it_ask_all_the_time() {
        let mut lookup = Lookup::default();
        lookup.add(space(1), 0);
        let (mut rounds, mut now) = (0, 0);
        while now < 150_000 {
            lookup.hurry(now);
            if lookup.due(now).is_some() {
                rounds += 1;
                lookup.ended(&space(1), false, now, u64::MAX);
            }
            now += 100;
        }
        assert_eq!(rounds, 10, "every 15 seconds, however often something changes");
        for _ in 0..10 {
            now += 20 * 60_000;
            assert!(lookup.due(now).is_some());
            lookup.ended(&space(1), false, now, u64::MAX);
        }
        now += 60_000;
        assert_eq!(lookup.due(now), None);
        lookup.hurry(now);
        assert_eq!(lookup.due(now), Some(space(1)));
    }

    #[test]
    fn a_round_is_repeated_once_and_its_pauses_grow_all_the_same() {
        let mut lookup = Lookup::default();
        lookup.repeat(0);
        for n in [1, 2] {
            lookup.add(space(n), u64::from(n));
            lookup.repeat(0);
        }
        let mut began = Vec::new();
        for now in (0..4 * 60 * 60_000).step_by(1_000) {
            let Some(of) = lookup.due(now) else { continue };
            if of == space(1) {
                began.push(now / 1_000);
                // Each second round leads to somebody, who can be asked when it is under way or over.
                if began.len() % 4 == 1 {
                    lookup.repeat(now);
                }
            }
            lookup.ended(&of, false, now, u64::MAX);
            if of == space(1) && began.len() % 4 == 3 {
                lookup.repeat(now);
            }
        }
        let pauses: Vec<u64> = began.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(pauses[..8], [15, 30, 15, 120, 15, 480, 15, 1200]);
        assert!(
            pauses[8..].chunks(2).all(|two| two[0] == 15 && two.get(1).is_none_or(|p| *p == 1200))
        );
    }
}
