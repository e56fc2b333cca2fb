//! What a node shows of itself: plain data, taken between two inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ocm_discovery::PeerId;
use ocm_record::{Boot, Did, RecordId, Set, SpaceId};
use ocm_space::SpaceState;
use ocm_sync::{Comparison, Parity};
use serde::{Deserialize, Serialize};

use crate::layout::{SpaceNumber, Tallies};
use crate::stated::Stated;

/// Everything a node shows of itself.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Who the node speaks as.
    pub did: Did,
    /// Its transport identity.
    pub peer: PeerId,
    /// This process.
    pub boot: Boot,
    /// The spaces it holds.
    pub spaces: Vec<SpaceSnapshot>,
    /// The peers it is connected to.
    pub peers: Vec<PeerSnapshot>,
    /// The last comparison with each peer in each space, also of those that are not connected.
    pub parities: BTreeMap<(SpaceId, PeerId), ParityState>,
    /// Records that wait for what they build on, and their bytes.
    pub held: (usize, usize),
    /// Records that peers offer and that were not admitted in several tries, of each space that has
    /// such.
    pub stuck: BTreeMap<SpaceId, StuckList>,
    /// The last refusals and rejections, oldest first.
    pub refused: Vec<RefusalEntry>,
    /// Admissions so far, by verdict and reason.
    pub admissions: BTreeMap<(&'static str, &'static str), u64>,
    /// Batches that are not durable yet.
    pub batches: usize,
    /// Sessions under way.
    pub sessions: usize,
}

/// One space.
#[derive(Debug, Clone)]
pub struct SpaceSnapshot {
    /// Its name.
    pub id: SpaceId,
    /// Its number in the store.
    pub number: SpaceNumber,
    /// Membership.
    pub state: Arc<SpaceState>,
    /// What is stored.
    pub parity: Parity,
    /// Counts.
    pub tallies: Tallies,
    /// Records of this space that wait for what they build on.
    pub held: usize,
    /// Since when the oldest difference with a connected peer that shares it is unresolved, in
    /// milliseconds since the Unix epoch; `None` while none is known.
    pub differs_since_ms: Option<u64>,
    /// Whether large parts of it are arriving: a peer serves them, or they are being written here.
    pub filling: bool,
}

/// One connected peer.
#[derive(Debug, Clone)]
pub struct PeerSnapshot {
    /// Its transport identity.
    pub peer: PeerId,
    /// Who it acts for, once it has proved that.
    pub did: Option<Did>,
    /// The spaces shared with it.
    pub shared: BTreeMap<SpaceId, Sharing>,
    /// The spaces that it denies to hold, or to hold for us, after they were shared.
    pub denied: BTreeSet<SpaceId>,
}

/// What is under way with a peer in a space that both share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sharing {
    /// Since when it is shared, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Whether a session is under way.
    pub session: bool,
}

impl Snapshot {
    /// The last comparison with a peer in a space.
    #[must_use]
    pub fn parity(&self, space: SpaceId, peer: PeerId) -> Option<&ParityState> {
        self.parities.get(&(space, peer))
    }
}

/// Records that one side has and the other lacks, by why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Missing {
    /// Offered, and held: something they need is missing where they were offered.
    pub held: u64,
    /// Offered, and refused: whoever wrote them had no right.
    pub refused: u64,
    /// Offered, and rejected: what came was not what it claims to be.
    pub rejected: u64,
    /// On their way.
    pub in_flight: u64,
    /// Not asked for yet, or not offered.
    pub not_asked: u64,
    /// Of those that were held, refused or rejected, how many were so in several tries.
    pub quarantined: u64,
}

impl Missing {
    /// All of them; what is quarantined counts once.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.held + self.refused + self.rejected + self.in_flight + self.not_asked
    }
}

/// The last audit of a peer in a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditState {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Whether the peer proved what it was asked for.
    pub passed: bool,
}

/// The result of the last comparison with a peer in a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParityState {
    /// Who the peer acted for.
    pub did: Did,
    /// When, in milliseconds since the Unix epoch: of a bundle, when it was written.
    pub at_ms: u64,
    /// Since when both are equal, as far as is known here; `None` when the last comparison found a
    /// difference. A record that one side stored meanwhile, and the other a moment later, counts.
    pub equal_since_ms: Option<u64>,
    /// Since when the two differ, as far as is known: since that was noticed, or since the begin of
    /// the last session after which nothing that was stored then was missing on either side; `None`
    /// while nothing is known to differ.
    pub differs_since_ms: Option<u64>,
    /// Whether the same kinds of record have an effect on both sides; else nothing is stated.
    pub comparable: bool,
    /// What it found.
    pub comparison: Comparison,
    /// What was stored here then.
    pub ours: Parity,
    /// What the peer stated that it stored.
    pub theirs: Parity,
    /// Its statement, signed by the key of its DID.
    pub stated: Stated,
    /// Records that the peer has and this node lacked.
    pub here: Missing,
    /// Records that this node has and the peer lacked.
    pub there: Missing,
    /// Whether `here` and `there` are the whole difference; else there may be more.
    pub exact: bool,
    /// Why the peer is not believed, if it is not.
    pub doubt: Option<String>,
    /// The last audit.
    pub audit: Option<AuditState>,
    /// When the peer described its content set, in the last bundle of its own that came here: what it
    /// does not have can be found by that. In milliseconds since the Unix epoch, by its clock.
    pub described_ms: Option<u64>,
}

impl ParityState {
    /// Since when both are equal, and since when they differ, after a comparison at a time that is
    /// noticed now: what held before goes on.
    pub(crate) fn spans(
        before: Option<&Self>,
        (equal, same): (bool, bool),
        at_ms: u64,
        now: u64,
    ) -> (Option<u64>, Option<u64>) {
        let equal_since = equal.then(|| before.and_then(Self::equal_until_now).unwrap_or(at_ms));
        let differs_since =
            (!same).then(|| before.and_then(|before| before.differs_since_ms).unwrap_or(now));
        (equal_since, differs_since)
    }

    /// Since when both are equal, if nothing is known to have differed since then.
    pub(crate) fn equal_until_now(&self) -> Option<u64> {
        self.equal_since_ms.filter(|_| self.differs_since_ms.is_none())
    }
}

/// The records of a space that peers offer and that were not admitted in several tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckList {
    /// All of them: a record counts once for each peer that offers it.
    pub total: usize,
    /// Those tried last, latest first: [`LISTED_STUCK`](crate::limits::LISTED_STUCK) at most.
    pub latest: Vec<StuckRecord>,
}

/// A record that a peer offers, and that cannot be admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckRecord {
    /// Its space.
    pub space: SpaceId,
    /// Its id.
    pub id: RecordId,
    /// The set it belongs to.
    pub set: Set,
    /// The peer that offers it.
    pub peer: PeerId,
    /// The last verdict's name.
    pub verdict: &'static str,
    /// The reason's name.
    pub reason: &'static str,
    /// The whole story, for people.
    pub text: String,
    /// When it was first not admitted, in milliseconds since the Unix epoch.
    pub first_ms: u64,
    /// When it was last.
    pub last_ms: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// When it may be asked for again; not in between.
    pub next_ms: u64,
}

/// A record that was turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalEntry {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The space it was sent for.
    pub space: Option<SpaceId>,
    /// Its id, where the bytes had one.
    pub id: Option<RecordId>,
    /// The verdict's name.
    pub verdict: &'static str,
    /// The reason's name.
    pub reason: &'static str,
    /// The whole story, for people.
    pub text: String,
    /// The peer it came by.
    pub peer: Option<PeerId>,
}
