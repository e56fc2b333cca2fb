//! Who is spoken to, where the owner says so.

use std::collections::BTreeSet;

use ocm_discovery::PeerId;
use ocm_record::Did;

use crate::node::Node;
use crate::output::Output;

/// The only ones that a node speaks to. It is a matter of this node alone: whoever is left out may
/// stand in a space all the same, and what they write comes by others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// By the key of the connection.
    pub peers: BTreeSet<PeerId>,
    /// By the DID that the peer proves in its hello; until then it is neither served nor heard.
    pub dids: BTreeSet<Did>,
}

impl Allowed {
    /// The only PeerIds that are spoken to; `None` where a DID that a peer proves may count.
    #[must_use]
    pub fn peers_alone(&self) -> Option<&BTreeSet<PeerId>> {
        self.dids.is_empty().then_some(&self.peers)
    }
}

impl Node {
    /// Whether a peer is one of those that are spoken to, as far as it is known who it is.
    pub(crate) fn is_allowed(&self, peer: &PeerId) -> bool {
        let did = self.peers.get(peer).and_then(|peer| peer.did());
        self.settings.allowed.as_ref().is_none_or(|allowed| {
            allowed.peers.contains(peer) || did.is_some_and(|did| allowed.dids.contains(&did))
        })
    }

    /// Sends a peer away that is none of those that are spoken to.
    pub(crate) fn turn_away(&mut self, peer: PeerId, did: Option<Did>) {
        let reason = match did {
            Some(did) => format!(
                "it speaks as {did}, which is not on the list of those that this node speaks to, \
                 and neither is its PeerId"
            ),
            None => "its PeerId is not on the list of those that this node speaks to, and it has \
                     proved no DID that is"
                .to_owned(),
        };
        self.out.push(Output::Disconnect { peer, reason: reason.into() });
    }
}
