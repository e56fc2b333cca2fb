//! Everything that shares the one swarm.

use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    StreamProtocol, allow_block_list, identify, mdns, memory_connection_limits, ping, relay,
};

use super::codec::{FEDERATION_PROTOCOL, FrameCodec};
use super::config::{NetworkConfig, NetworkLimits};
use super::{beacon, crowd, gossip, lookup, punching, reachability, relaying, to_libp2p};

/// How long a request may take, from its first byte to the end of its response.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two pings on a connection.
const PING_PAUSE: Duration = Duration::from_secs(10);

/// How long the answer to a ping may take. The second in a row that takes longer ends the
/// connection: whoever vanished without a word is missed after twenty to forty seconds.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests under way on one connection, in both directions together: it bounds what a peer can
/// have in memory here to as many frames.
const STREAMS_PER_CONNECTION: usize = 32;

/// What the swarm is made of. The limits come first: what they refuse, nothing else sees.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    crowd: crowd::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub(crate) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    allowed: Toggle<allow_block_list::Behaviour<allow_block_list::AllowedPeers>>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) gossip: gossip::Behaviour,
    pub(crate) federation: request_response::Behaviour<FrameCodec>,
    /// The library's asks over IPv4 or over IPv6: hence one for each.
    pub(crate) mdns4: Toggle<mdns::tokio::Behaviour>,
    pub(crate) mdns6: Toggle<mdns::tokio::Behaviour>,
    pub(crate) beacon: Toggle<beacon::Behaviour>,
    pub(crate) relay: Toggle<relay::Behaviour>,
    relay_client: relay::client::Behaviour,
    punching: punching::Behaviour,
    pub(crate) reachability: reachability::Behaviour,
    pub(crate) lookup: Toggle<lookup::Behaviour>,
}

impl Behaviour {
    /// The behaviours; multicast DNS is put among them later.
    pub(crate) fn new(
        config: &NetworkConfig,
        keypair: &Keypair,
        relay_client: relay::client::Behaviour,
    ) -> Result<Self, String> {
        let limits = &config.limits;
        let beacon = config.beacon.clone().map(|beacon| {
            beacon::Behaviour::new(
                beacon,
                config.bind.clone(),
                config.peer_key.clone(),
                config.boot,
            )
        });
        let identify = identify::Config::new("ocm/1".to_owned(), keypair.public())
            .with_agent_version(config.agent.clone())
            // Addresses told by peers are taken from the connection, not from their word.
            .with_cache_size(0);
        let federation = request_response::Behaviour::with_codec(
            FrameCodec,
            [(StreamProtocol::new(FEDERATION_PROTOCOL), ProtocolSupport::Full)],
            request_response::Config::default()
                .with_request_timeout(REQUEST_TIMEOUT)
                .with_max_concurrent_streams(STREAMS_PER_CONNECTION),
        );
        let own = keypair.public().to_peer_id();
        let (exempt, listed) = (config.exempt.clone(), config.allowed.clone());
        let lookup = |mode| lookup::Behaviour::new(own, mode, exempt, listed);
        let relay = |limits: &_| relay::Behaviour::new(own, relaying::limited(limits));
        let behaviour = Self {
            limits: connection_limits::Behaviour::new(caps(limits)),
            crowd: crowd::Behaviour::new(config),
            memory: memory_connection_limits::Behaviour::with_max_bytes(limits.memory_bytes),
            blocked: allow_block_list::Behaviour::default(),
            allowed: allowed(config).into(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(
                ping::Config::default().with_interval(PING_PAUSE).with_timeout(PING_TIMEOUT),
            ),
            gossip: gossip::behaviour(limits.topics)?,
            federation,
            mdns4: None.into(),
            mdns6: None.into(),
            beacon: beacon.into(),
            relay: config.relay.as_ref().map(relay).into(),
            relay_client,
            punching: punching::Behaviour::new(own),
            reachability: reachability::Behaviour::new(own),
            lookup: config.lookup.map(lookup).into(),
        };
        Ok(behaviour)
    }

    /// Takes up other limits of connections; those that stand stay, also past them.
    pub(crate) fn limit_connections(&mut self, limits: &NetworkLimits) {
        *self.limits.limits_mut() = caps(limits);
    }
}

/// Who is let in at all, where that is known by the key of a connection alone.
fn allowed(
    config: &NetworkConfig,
) -> Option<allow_block_list::Behaviour<allow_block_list::AllowedPeers>> {
    let peers = config.allowed.as_ref()?.peers_alone()?;
    let mut behaviour = allow_block_list::Behaviour::default();
    for peer in peers.iter().filter_map(to_libp2p) {
        behaviour.allow_peer(peer);
    }
    Some(behaviour)
}

fn caps(limits: &NetworkLimits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending))
        .with_max_pending_outgoing(Some(limits.pending))
        .with_max_established(Some(limits.connections))
        .with_max_established_incoming(Some(limits.connections - limits.connections / 4))
        .with_max_established_per_peer(Some(limits.connections_per_peer))
}
