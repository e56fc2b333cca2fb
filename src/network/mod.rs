//! The network: one libp2p swarm that moves bytes and finds peers.
//!
//! It decides nothing about records: what a request says, whether a gossip message is valid and
//! who may be served is the core's to say. Its own are only the matters of transport: who is
//! connected, whom to dial, what a peer that sends invalid messages loses.
//!
//! [`Network`] is owned and polled by the runtime's one loop. [`Network::next`] waits for the
//! next event and can be dropped at any point without loss; everything else is a plain call.
//!
//! ```text
//!                  limits ─ crowd ─ memory ─ block list  refuse first
//!   TCP, QUIC ──▶  identify ─ ping                        who is it, how far
//!                  gossip ─ federation                    the bytes of the protocol
//!                  mDNS ─ beacon                          who is near ──▶ peer table ──▶ dials
//!   circuits ◀─▶  relay ─ relay client                    through whom it is reached
//!                  punching                               ──▶ a direct connection in their place
//!                  reachability                           can others dial this node
//!   router ◀────▶  mappings                               ──▶ addresses that peers are told
//!                  lookup                                 who holds a space ──▶ peer table
//! ```

mod address;
mod beacon;
mod behaviour;
mod codec;
mod config;
mod connected;
mod crowd;
mod dialling;
mod drive;
mod event;
mod external;
mod gossip;
mod listen;
mod lookup;
mod multicast;
mod punching;
mod range;
mod reachability;
mod recent;
mod relaying;
mod sources;
mod swarm;
#[cfg(test)]
mod tests;
mod transport;
mod upnp;

pub use address::{AddressError, PeerAddress, Transport};
pub use behaviour::REQUEST_TIMEOUT;
pub use codec::{FEDERATION_PROTOCOL, FRAME_BYTES, FrameCodec};
pub use config::{BeaconConfig, NetworkConfig, NetworkLimits, RelayLimits};
pub use event::{
    ChannelId, Direction, Discovery, ForgetError, GossipError, Health, NetworkError, NetworkEvent,
    PeerInfo, Published, Reachability, RequestFailure, RequestId, RespondError, SourceHealth,
    Verdict,
};
pub use gossip::{GOSSIP_BYTES, GossipId, TOPIC_PREFIX};
pub use lookup::{LOOKUP_PROTOCOL, LookupMode};
pub use range::{IpRange, IpRangeError};
pub use swarm::Network;

pub use libp2p::pnet::PreSharedKey;

use std::hash::{BuildHasher as _, Hasher as _};

/// A random number for jitter; no secret depends on it.
fn draw() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// The peer's name as the library writes it.
///
/// `None` never happens for a name of ours: both are the same bytes.
fn to_libp2p(peer: &ocm_discovery::PeerId) -> Option<libp2p::PeerId> {
    libp2p::PeerId::from_bytes(&peer.to_bytes()).ok()
}

/// The peer's name as OCM writes it; `None` for keys other than Ed25519.
fn from_libp2p(peer: &libp2p::PeerId) -> Option<ocm_discovery::PeerId> {
    ocm_discovery::PeerId::try_from(peer.to_bytes().as_slice()).ok()
}
