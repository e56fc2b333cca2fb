//! Where a record came from: it changes who is told, never what is decided.

use ocm_discovery::PeerId;

/// Where a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Written here.
    Local,
    /// A restore or an import.
    Import,
    /// Gossip, passed on by this peer.
    Gossip(PeerId),
    /// Pushed by this peer.
    Push(PeerId),
    /// Asked of this peer.
    Fetch(PeerId),
}

impl Origin {
    /// The peer it came by.
    #[must_use]
    pub const fn peer(self) -> Option<PeerId> {
        match self {
            Self::Local | Self::Import => None,
            Self::Gossip(peer) | Self::Push(peer) | Self::Fetch(peer) => Some(peer),
        }
    }

    /// Whose share of a limit it counts against: the peer, however it sent it.
    pub(crate) const fn source(self) -> Self {
        match self.peer() {
            Some(peer) => Self::Fetch(peer),
            None => Self::Local,
        }
    }
}
