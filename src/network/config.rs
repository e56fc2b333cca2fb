//! What the network needs to be told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libp2p::pnet::PreSharedKey;
use ocm_discovery::{PeerId, Remembered, TableLimits};
use ocm_node::Allowed;
use ocm_record::{Boot, SigningKey};

use super::lookup::LookupMode;
use super::range::IpRange;

/// Everything the network is told at its start: plain values, no files, no environment.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The key behind the PeerId; kept over restarts by the caller.
    pub peer_key: SigningKey,
    /// 16 random bytes of this process, for its beacons. Not those of its records, which would
    /// tell everyone on the link which DID the node acts for.
    pub boot: Boot,
    /// The addresses to listen on. For the beacon, an unspecified one means every interface.
    pub bind: Vec<IpAddr>,
    /// The port for TCP, and for QUIC on UDP. 0 lets the system choose (one for each).
    pub port: u16,
    /// Whether to listen and dial over TCP.
    pub tcp: bool,
    /// Whether to listen and dial over QUIC. A network key does not cover it: with one, it is off.
    pub quic: bool,
    /// The key of a private network: only peers that have it, too, are spoken to.
    pub key: Option<PreSharedKey>,
    /// Whether to find peers by multicast DNS.
    pub mdns: bool,
    /// The beacon; `None` turns it off.
    pub beacon: Option<BeaconConfig>,
    /// Whether peers of earlier runs are dialled.
    pub remember: bool,
    /// Whether peers are looked up by space, and what is done for others who do; `None` turns it off.
    pub lookup: Option<LookupMode>,
    /// Addresses dialled for ever: multiaddr with or without `/p2p/…`, or `host:port`.
    pub bootstrap: Vec<String>,
    /// Where relays are, in the same forms; a place is reserved at each.
    pub relays: Vec<String>,
    /// Whether to relay for others, within these limits.
    pub relay: Option<RelayLimits>,
    /// Whether the router is asked to map the ports (UPnP).
    pub upnp: bool,
    /// Where this node is reached from outside, besides what it listens on: peers are told.
    pub external: Vec<libp2p::Multiaddr>,
    /// Peers of an earlier run and where they were; times since the Unix epoch.
    pub remembered: Vec<Remembered>,
    /// Addresses that the operator added in an earlier run, dialled for ever, too.
    pub kept: Vec<String>,
    /// Peers that the operator blocked in an earlier run.
    pub blocked: Vec<PeerId>,
    /// The only ones to speak to; everyone where it is `None`.
    pub allowed: Option<Allowed>,
    /// Ranges from which any number of peers and connections may come; loopback always is one.
    pub exempt: Vec<IpRange>,
    /// Limits.
    pub limits: NetworkLimits,
    /// How long a peer is refused after its third invalid message.
    pub ban: Duration,
    /// What this node calls itself to its peers, usually `ocm/<version>`.
    pub agent: String,
}

/// The beacon's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeaconConfig {
    /// The UDP port that every node of the link listens on; several nodes of one machine share it.
    pub port: u16,
    /// Hosts that beacons are sent to besides the broadcast: `host` or `host:port`.
    pub hosts: Vec<String>,
    /// The mean time between beacons.
    pub interval: Duration,
}

impl Default for BeaconConfig {
    fn default() -> Self {
        Self { port: 8081, hosts: Vec::new(), interval: Duration::from_secs(5) }
    }
}

/// Limits of the network. Past each, what is new is refused; nothing established suffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLimits {
    /// Connections in all. A quarter of them, rounded down, is kept for those this node begins.
    pub connections: u32,
    /// Connections with one peer (both may dial at the same time, over two transports).
    pub connections_per_peer: u32,
    /// Handshakes under way, in each direction.
    pub pending: u32,
    /// Resident memory of the process, in bytes, past which no new connection is made.
    pub memory_bytes: usize,
    /// Topics this node subscribes to, and that a peer may.
    pub topics: usize,
    /// Requests of peers waiting for an answer of this node, in all.
    pub requests_in: usize,
    /// The same, of one peer.
    pub requests_in_per_peer: usize,
    /// Requests of this node waiting for an answer.
    pub requests_out: usize,
    /// Connections that others begin from one address that is not exempt.
    pub connections_per_address: usize,
    /// The same, from one network: a /24 of IPv4 or a /48 of IPv6, of a private or link-local one each
    /// address by itself; also through one relay, which hides where they come from.
    pub connections_per_network: usize,
    /// Peers behind one address that is not exempt, past which all of them lose score.
    pub peers_per_address: usize,
    /// Dials of peers heard of begun in one tick (a quarter of a second).
    pub dials_per_tick: usize,
    /// Limits of the table of peers heard of.
    pub table: TableLimits,
}

impl Default for NetworkLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_peer: 4,
            pending: 64,
            memory_bytes: 2 << 30,
            topics: 100,
            requests_in: 256,
            requests_in_per_peer: 16,
            requests_out: 1024,
            connections_per_address: 32,
            connections_per_network: 64,
            peers_per_address: 10,
            dials_per_tick: 8,
            table: TableLimits::default(),
        }
    }
}

/// What a relay does for others, at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayLimits {
    /// Peers that hold a place. Each costs one connection; those are limited, too.
    pub reservations: usize,
    /// Places of one peer, one for each connection that it made.
    pub reservations_per_peer: usize,
    /// How long a place is held unless it is renewed, as peers do in time.
    pub reservation: Duration,
    /// Circuits at one time. Each copies through one small buffer in each direction.
    pub circuits: usize,
    /// Circuits that one peer began, of these.
    pub circuits_per_peer: usize,
    /// How long a circuit lasts. The ends dial again: it only sees to it that no circuit is for ever.
    pub circuit: Duration,
    /// Bytes of one circuit, past which it ends. Records of weeks, and still an end to what one
    /// pair of peers can cost before it has to ask again, which is limited by the library: 30 times
    /// in two minutes by one peer.
    pub circuit_bytes: u64,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            reservations: 128,
            reservations_per_peer: 4,
            reservation: Duration::from_secs(3600),
            circuits: 128,
            circuits_per_peer: 16,
            circuit: Duration::from_secs(3600),
            circuit_bytes: 256 << 20,
        }
    }
}

impl NetworkConfig {
    /// The defaults for a node with this key and boot: every interface, port 8080, both
    /// transports, multicast DNS and the beacon on.
    #[must_use]
    pub fn new(peer_key: SigningKey, boot: Boot) -> Self {
        Self {
            peer_key,
            boot,
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            port: 8080,
            tcp: true,
            quic: true,
            key: None,
            mdns: true,
            beacon: Some(BeaconConfig::default()),
            remember: true,
            lookup: None,
            bootstrap: Vec::new(),
            relays: Vec::new(),
            relay: None,
            upnp: false,
            external: Vec::new(),
            remembered: Vec::new(),
            kept: Vec::new(),
            blocked: Vec::new(),
            allowed: None,
            exempt: Vec::new(),
            limits: NetworkLimits::default(),
            ban: Duration::from_secs(600),
            agent: concat!("ocm/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
