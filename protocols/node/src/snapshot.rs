//! What a node shows of itself: plain data, taken between two inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocm_discovery::PeerId;
use ocm_record::{Boot, Did, RecordId, SpaceId};
use ocm_space::SpaceState;
use ocm_sync::{Comparison, Parity};

use crate::layout::{SpaceNumber, Tallies};

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
    /// Records that wait for what they build on, and their bytes.
    pub held: (usize, usize),
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
    /// The spaces shared with it, and how they compared last.
    pub shared: BTreeMap<SpaceId, Option<ParityState>>,
}

/// The result of the last comparison with a peer in a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParityState {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Since when every comparison found both equal; `None` when the last found a difference.
    pub equal_since_ms: Option<u64>,
    /// Whether the same kinds of record have an effect on both sides; else nothing is stated.
    pub comparable: bool,
    /// What it found.
    pub comparison: Comparison,
    /// What was stored here then.
    pub ours: Parity,
    /// What the peer said it stored.
    pub theirs: Parity,
    /// Records asked of the peer that did not become part of the set, by verdict.
    pub not_admitted: BTreeMap<&'static str, u64>,
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
