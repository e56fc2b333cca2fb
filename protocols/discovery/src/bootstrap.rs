//! The addresses the operator gave: resolved again at every attempt, and tried for ever.

use std::collections::BTreeMap;

use crate::backoff::BOOTSTRAP_BACKOFF;
use crate::peer_id::PeerId;
use crate::table::STABLE_MS;

/// Entries, at most. Every one is tried for ever, so there is an end to them.
pub const BOOTSTRAP_ENTRIES: usize = 256;

/// Addresses that one entry may resolve to; the rest are left out. A DNS name may stand for a
/// whole federation.
pub const BOOTSTRAP_TARGETS: usize = 32;

/// An attempt that was handed out and not reported on is given up after this: 2 minutes.
const LOST_MS: u64 = 120_000;

/// Which entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(usize);

/// Who answered at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Led {
    /// This peer.
    Peer(PeerId),
    /// This node itself: not dialled again as long as the entry resolves to that address.
    Own,
}

/// How it stands with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapStatus {
    /// The entry as the operator wrote it.
    pub text: String,
    /// What it resolved to last, and who answered there last.
    pub led: Vec<(String, Option<Led>)>,
    /// Rounds in a row in which something failed.
    pub failures: u32,
    /// What failed last; `None` when the last round went well.
    pub cause: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Target {
    led: Option<Led>,
    dialling: bool,
    /// Connections in a row that did not last.
    short: u32,
}

#[derive(Debug, Clone)]
struct Entry {
    text: String,
    /// No round starts before this time.
    next: u64,
    /// The next round starts no later than this, whatever comes of the one under way.
    again: Option<u64>,
    /// When the round under way started.
    round: Option<u64>,
    /// Rounds in a row with a failure.
    failures: u32,
    /// Whether something failed in the round under way.
    failed: bool,
    cause: Option<String>,
    targets: BTreeMap<String, Target>,
}

/// Every bootstrap entry. A *round* of an entry resolves it and dials whatever it resolved to
/// that is neither connected nor this node itself. A round with a failure is repeated after an
/// exponential, jittered wait of 1 to 30 seconds; one without after about half a minute, since a name
/// may stand for more nodes by then. Times are milliseconds on one clock that does not run
/// backwards.
#[derive(Debug, Clone, Default)]
pub struct Bootstrap {
    entries: BTreeMap<EntryId, Entry>,
    next_id: usize,
}

impl Bootstrap {
    /// No entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry, to be tried at once. One that is there already is tried at once again.
    /// `None` when [`BOOTSTRAP_ENTRIES`] are there.
    pub fn add(&mut self, text: &str, now: u64) -> Option<EntryId> {
        if let Some((id, entry)) = self.entries.iter_mut().find(|(_, e)| e.text == text) {
            entry.next = now;
            return Some(*id);
        }
        if self.entries.len() >= BOOTSTRAP_ENTRIES {
            return None;
        }
        let id = EntryId(self.next_id);
        self.next_id += 1;
        let entry = Entry {
            text: text.to_owned(),
            next: now,
            again: None,
            round: None,
            failures: 0,
            failed: false,
            cause: None,
            targets: BTreeMap::new(),
        };
        self.entries.insert(id, entry);
        Some(id)
    }

    /// Ends the attempts of an entry; what is still reported on it has no effect. Returns what it
    /// resolved to last.
    pub fn remove(&mut self, id: EntryId) -> Vec<String> {
        let targets = self.entries.remove(&id).map(|entry| entry.targets).unwrap_or_default();
        targets.into_keys().collect()
    }

    /// The entries whose next round starts now: each is to be resolved, and answered with
    /// [`Self::resolved`] or [`Self::resolve_failed`].
    pub fn due(&mut self, now: u64, random: u64) -> Vec<(EntryId, String)> {
        let mut due = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.round.is_some_and(|since| now.saturating_sub(since) > LOST_MS) {
                entry.fail("no answer in two minutes");
                entry.end_round(now, random);
            }
            if entry.round.is_none() && entry.next <= now {
                entry.round = Some(now);
                entry.failed = false;
                due.push((*id, entry.text.clone()));
            }
        }
        due
    }

    /// When the next round of any entry starts, if none is under way it could wait for.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.entries.values().filter(|e| e.round.is_none()).map(|e| e.next).min()
    }

    /// What an entry resolved to, each with the peer that is expected there if the entry names
    /// it. Returns the addresses to dial now; each is to be answered with [`Self::dial_ended`].
    pub fn resolved(
        &mut self,
        id: EntryId,
        addresses: Vec<(String, Option<PeerId>)>,
        own: &PeerId,
        connected: impl Fn(&PeerId) -> bool,
        now: u64,
        random: u64,
    ) -> Vec<String> {
        let Some(entry) = self.entries.get_mut(&id).filter(|e| e.round.is_some()) else {
            return Vec::new();
        };
        if addresses.is_empty() {
            entry.fail("it resolves to no address");
        }
        let mut old = std::mem::take(&mut entry.targets);
        for (address, expected) in addresses.into_iter().take(BOOTSTRAP_TARGETS) {
            let mut target = old.remove(&address).unwrap_or_default();
            target.dialling = false;
            if let Some(peer) = expected {
                target.led = Some(if peer == *own { Led::Own } else { Led::Peer(peer) });
            }
            entry.targets.insert(address, target);
        }
        let mut dial = Vec::new();
        for (address, target) in &mut entry.targets {
            target.dialling = match target.led {
                Some(Led::Own) => false,
                Some(Led::Peer(peer)) => !connected(&peer),
                None => true,
            };
            if target.dialling {
                dial.push(address.clone());
            }
        }
        if dial.is_empty() {
            entry.end_round(now, random);
        }
        dial
    }

    /// An entry could not be resolved.
    pub fn resolve_failed(&mut self, id: EntryId, cause: &str, now: u64, random: u64) {
        if let Some(entry) = self.entries.get_mut(&id).filter(|e| e.round.is_some()) {
            entry.fail(cause);
            entry.end_round(now, random);
        }
    }

    /// What became of the dial of one address: who answered, or why nobody did.
    pub fn dial_ended(
        &mut self,
        id: EntryId,
        address: &str,
        outcome: Result<Led, String>,
        now: u64,
        random: u64,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(target) = entry.targets.get_mut(address).filter(|t| t.dialling) else { return };
        target.dialling = false;
        match outcome {
            Ok(led) => target.led = Some(led),
            Err(cause) => entry.fail(&cause),
        }
        if entry.targets.values().all(|t| !t.dialling) {
            entry.end_round(now, random);
        }
    }

    /// A peer's last connection ended after `lasted_ms`: entries that led to it are tried again
    /// soon, or after longer and longer waits when it keeps hanging up within [`STABLE_MS`].
    pub fn disconnected(&mut self, peer: &PeerId, lasted_ms: u64, now: u64, random: u64) {
        self.again(peer, now, |target| {
            target.short = if lasted_ms < STABLE_MS { target.short.saturating_add(1) } else { 0 };
            BOOTSTRAP_BACKOFF.delay(target.short, random)
        });
    }

    /// Tries the entries that led to a peer at once.
    pub fn retry(&mut self, peer: &PeerId, now: u64) {
        self.again(peer, now, |target| {
            target.short = 0;
            0
        });
    }

    /// Tries every entry at once whose last round failed, as after this node came to another network.
    pub fn retry_failed(&mut self, now: u64) {
        for entry in self.entries.values_mut().filter(|entry| entry.cause.is_some()) {
            entry.failures = 0;
            if entry.round.is_some() {
                entry.again = Some(now);
            } else {
                entry.next = entry.next.min(now);
            }
        }
    }

    fn again(&mut self, peer: &PeerId, now: u64, wait: impl Fn(&mut Target) -> u64) {
        for entry in self.entries.values_mut() {
            for target in entry.targets.values_mut() {
                if target.led == Some(Led::Peer(*peer)) {
                    entry.failures = 0;
                    let at = now.saturating_add(wait(target));
                    if entry.round.is_some() {
                        entry.again = Some(entry.again.map_or(at, |again| again.min(at)));
                    } else {
                        entry.next = entry.next.min(at);
                    }
                }
            }
        }
    }

    /// How it stands with each entry, in the order in which they were added.
    #[must_use]
    pub fn status(&self) -> Vec<BootstrapStatus> {
        self.entries
            .values()
            .map(|e| BootstrapStatus {
                text: e.text.clone(),
                led: e.targets.iter().map(|(a, t)| (a.clone(), t.led)).collect(),
                failures: e.failures,
                cause: e.cause.clone(),
            })
            .collect()
    }
}

impl Entry {
    fn fail(&mut self, cause: &str) {
        self.failed = true;
        self.cause = Some(cause.chars().take(300).collect());
    }

    fn end_round(&mut self, now: u64, random: u64) {
        self.round = None;
        for target in self.targets.values_mut() {
            target.dialling = false;
        }
        let wait = if self.failed {
            let wait = BOOTSTRAP_BACKOFF.delay(self.failures, random);
            self.failures = self.failures.saturating_add(1);
            wait
        } else {
            self.failures = 0;
            self.cause = None;
            BOOTSTRAP_BACKOFF.delay(u32::MAX, random)
        };
        let next = now.saturating_add(wait);
        self.next = self.again.take().map_or(next, |again| again.min(next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_record::PublicKey;
    use proptest::prelude::*;

    fn peer(n: u8) -> PeerId {
        PeerId::new(PublicKey::from_bytes([n; 32]))
    }

    const OWN: u8 = 0;

    fn resolve(b: &mut Bootstrap, id: EntryId, to: &[&str], up: &[u8], now: u64) -> Vec<String> {
        let to = to.iter().map(|a| ((*a).to_owned(), None)).collect();
        b.resolved(id, to, &peer(OWN), |p| up.iter().any(|n| *p == peer(*n)), now, u64::MAX)
    }

    #[test]
    fn a_name_for_a_federation_leads_to_everyone_but_this_node() {
        let mut b = Bootstrap::new();
        let id = b.add("ocm.example:8080", 0).unwrap();
        assert_eq!(b.due(0, 0), [(id, "ocm.example:8080".to_owned())]);
        assert!(b.due(0, 0).is_empty(), "one round at a time");
        assert_eq!(resolve(&mut b, id, &["a", "b", "c"], &[], 0), ["a", "b", "c"]);
        b.dial_ended(id, "a", Ok(Led::Own), 1, u64::MAX);
        b.dial_ended(id, "b", Ok(Led::Peer(peer(1))), 1, u64::MAX);
        assert_eq!(b.next_due(), None, "the round lasts");
        b.dial_ended(id, "c", Err("refused".into()), 2, u64::MAX);
        assert_eq!(b.next_due(), Some(1_002));
        assert_eq!(b.status()[0].cause.as_deref(), Some("refused"));
        assert_eq!(b.due(1_002, 0).len(), 1);
        assert_eq!(resolve(&mut b, id, &["a", "b", "c", "d"], &[1], 1_002), ["c", "d"]);
        b.dial_ended(id, "c", Ok(Led::Peer(peer(2))), 1_003, u64::MAX);
        b.dial_ended(id, "d", Ok(Led::Peer(peer(3))), 1_003, u64::MAX);
        assert_eq!((b.status()[0].failures, b.status()[0].cause.clone()), (0, None));
        assert_eq!(b.next_due(), Some(31_003), "looked at again, slowly");
        b.disconnected(&peer(9), STABLE_MS, 11_003, u64::MAX);
        assert_eq!(b.next_due(), Some(31_003));
        b.disconnected(&peer(2), STABLE_MS, 11_003, u64::MAX);
        assert_eq!(b.next_due(), Some(12_003));
        assert_eq!(b.due(12_003, 0).len(), 1);
        assert_eq!(resolve(&mut b, id, &["a", "b", "c"], &[1, 3], 12_003), ["c"]);
        assert_eq!(b.remove(id), ["a", "b", "c"]);
        assert!(b.remove(id).is_empty() && b.status().is_empty());
    }

    #[test]
    fn only_this_node_behind_a_name_is_no_failure() {
        let mut b = Bootstrap::new();
        let id = b.add("me", 0).unwrap();
        b.due(0, 0);
        assert_eq!(resolve(&mut b, id, &["a"], &[], 0), ["a"]);
        b.dial_ended(id, "a", Ok(Led::Own), 0, u64::MAX);
        assert_eq!((b.status()[0].failures, b.next_due()), (0, Some(30_000)));
        b.due(30_000, 0);
        assert!(resolve(&mut b, id, &["a"], &[], 30_000).is_empty());
        assert_eq!(b.next_due(), Some(60_000));
    }

    #[test]
    fn a_peer_that_hangs_up_is_asked_more_and_more_rarely() {
        let mut b = Bootstrap::new();
        let id = b.add("x", 0).unwrap();
        let mut now = 0;
        for wait in [2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(b.due(now, 0).len(), 1);
            assert_eq!(resolve(&mut b, id, &["a"], &[], now), ["a"]);
            b.dial_ended(id, "a", Ok(Led::Peer(peer(1))), now, u64::MAX);
            b.disconnected(&peer(1), 5, now, u64::MAX);
            assert_eq!(b.next_due(), Some(now + wait));
            now += wait;
        }
        b.due(now, 0);
        resolve(&mut b, id, &["a"], &[1], now);
        b.retry(&peer(1), now);
        assert_eq!(b.next_due(), Some(now));
        b.due(now, 0);
        resolve(&mut b, id, &["a", "b"], &[1], now);
        b.retry(&peer(1), now + 5);
        b.dial_ended(id, "b", Ok(Led::Own), now + 10, 0);
        assert_eq!(b.next_due(), Some(now + 5), "not forgotten over the round under way");
    }

    #[test]
    fn an_entry_that_names_this_node_is_not_dialled() {
        let mut b = Bootstrap::new();
        let id = b.add("me", 0).unwrap();
        b.due(0, 0);
        let to = vec![("a".to_owned(), Some(peer(OWN))), ("b".to_owned(), Some(peer(1)))];
        assert_eq!(b.resolved(id, to, &peer(OWN), |_| false, 0, 0), ["b"]);
    }

    #[test]
    fn what_is_lost_or_late_ends_no_other_round() {
        let mut b = Bootstrap::new();
        let id = b.add("x", 0).unwrap();
        b.due(0, 0);
        assert_eq!(resolve(&mut b, id, &["a"], &[], 0), ["a"]);
        assert!(b.due(LOST_MS, 0).is_empty());
        assert!(b.due(LOST_MS + 1, 0).is_empty(), "given up, to be tried again");
        b.dial_ended(id, "a", Ok(Led::Own), LOST_MS + 2, 0);
        assert_eq!(b.status()[0].led, [("a".to_owned(), None)], "too late to count");
        assert_eq!(b.due(LOST_MS + 2_000, 0).len(), 1);
        b.resolve_failed(id, "no such name", LOST_MS + 2_000, 0);
        assert_eq!(b.status()[0].failures, 2);
    }

    #[test]
    fn there_is_an_end_to_entries_and_targets() {
        let mut b = Bootstrap::new();
        for n in 0..BOOTSTRAP_ENTRIES {
            assert!(b.add(&n.to_string(), 0).is_some());
        }
        assert_eq!(b.add("more", 0), None);
        let id = b.add("0", 0).unwrap();
        b.due(0, 0);
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(resolve(&mut b, id, &many, &[], 0).len(), BOOTSTRAP_TARGETS);
    }

    proptest! {
        #[test]
        fn failing_for_ever_is_tried_for_ever(random: u64, rounds in 1u32..80) {
            let mut b = Bootstrap::new();
            let id = b.add("x", 0).unwrap();
            let (mut now, mut last) = (0, 0);
            for _ in 0..rounds {
                prop_assert_eq!(b.due(now, random).len(), 1);
                b.resolve_failed(id, "no such name", now, random);
                let wait = b.next_due().unwrap() - now;
                prop_assert!((500..=30_000).contains(&wait) && wait >= last);
                (now, last) = (now + wait, wait);
            }
        }
    }
}
