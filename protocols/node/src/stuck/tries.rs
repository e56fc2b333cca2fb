//! The order of tries.

use std::collections::{BTreeMap, BTreeSet};

use ocm_discovery::PeerId;
use ocm_record::{RecordId, SpaceId};

use super::{Which, every_peer};
use crate::limits;

/// The entries of one table in the order of their last tries: in all, and of each peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    all: BTreeSet<(u64, Which)>,
    of_peer: BTreeMap<PeerId, BTreeSet<(u64, Which)>>,
    peers: Peers,
}

impl Tries {
    pub(super) fn add(&mut self, last: u64, which: Which) {
        self.all.insert((last, which));
        self.of_peer.entry(which.1).or_default().insert((last, which));
        self.peers.add(&which);
    }

    pub(super) fn remove(&mut self, last: u64, which: Which) {
        if self.all.remove(&(last, which)) {
            self.peers.remove(&which);
        }
        if let Some(own) = self.of_peer.get_mut(&which.1) {
            own.remove(&(last, which));
            if own.is_empty() {
                self.of_peer.remove(&which.1);
            }
        }
    }

    /// Whose entries a record has.
    pub(super) fn peers_of(&self, space: SpaceId, id: RecordId) -> BTreeSet<PeerId> {
        self.peers.of(space, id)
    }

    /// Whether a peer has less than its share.
    pub(super) fn has_room(&self, peer: PeerId) -> bool {
        self.of_peer.get(&peer).is_none_or(|own| own.len() < limits::STUCK_PER_PEER)
    }

    /// Which entry goes, where there are too many in all: the one tried longest ago.
    pub(super) fn worst(&self) -> Option<Which> {
        let all = Some(&self.all).filter(|all| all.len() > limits::STUCK_RECORDS);
        all?.first().map(|(_, which)| *which)
    }
}

/// Of which peers a record has an entry: what is admitted from one is looked for at all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Peers(BTreeSet<(SpaceId, RecordId, PeerId)>);

impl Peers {
    pub(super) fn add(&mut self, (space, peer, id): &Which) {
        self.0.insert((*space, *id, *peer));
    }

    pub(super) fn remove(&mut self, (space, peer, id): &Which) {
        self.0.remove(&(*space, *id, *peer));
    }

    pub(super) fn of(&self, space: SpaceId, id: RecordId) -> BTreeSet<PeerId> {
        let (least, most) = every_peer();
        let entries = self.0.range((space, id, least)..=(space, id, most));
        entries.map(|(_, _, peer)| *peer).collect()
    }
}

impl FromIterator<(u64, Which)> for Tries {
    fn from_iter<T: IntoIterator<Item = (u64, Which)>>(tries: T) -> Self {
        let mut all = Self::default();
        tries.into_iter().for_each(|(last, which)| all.add(last, which));
        all
    }
}
