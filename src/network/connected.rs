//! The connected peers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, SystemTime};

use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use ocm_discovery::{PeerId, Source};

use super::address::{Transport, ip_of};
use super::event::{Direction, PeerInfo};

/// Characters of what a peer calls itself that are kept.
const AGENT_LEN: usize = 64;

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    address: Multiaddr,
    direction: Direction,
    /// The address of this machine that it goes out from.
    local: Option<IpAddr>,
    relayed: bool,
    since_ms: u64,
}

#[derive(Debug)]
struct Peer {
    connections: Vec<Connection>,
    since: SystemTime,
    since_ms: u64,
    rtt: Option<Duration>,
    agent: Option<String>,
}

/// Who is connected; bounded by the limit of connections.
#[derive(Debug, Default)]
pub(super) struct Connected {
    peers: BTreeMap<PeerId, Peer>,
}

impl Connected {
    /// Takes note of a connection. Returns whether it is the peer's first.
    pub(super) fn opened(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        now_ms: u64,
    ) -> bool {
        let direction = if endpoint.is_dialer() { Direction::Outbound } else { Direction::Inbound };
        let relayed = endpoint.is_relayed();
        let address = match endpoint {
            // The remote one is but the peer's name.
            ConnectedPoint::Listener { local_addr, .. } if relayed => local_addr.clone(),
            _ => without_peer(endpoint.get_remote_address()),
        };
        let local = local_ip(endpoint);
        let entry = self.peers.entry(peer).or_insert_with(|| Peer {
            connections: Vec::new(),
            since: SystemTime::now(),
            since_ms: now_ms,
            rtt: None,
            agent: None,
        });
        entry.connections.push(Connection {
            id,
            address,
            direction,
            local,
            relayed,
            since_ms: now_ms,
        });
        entry.connections.len() == 1
    }

    /// Takes note of a connection's end. Returns for how many milliseconds the peer was
    /// connected, if that was its last.
    pub(super) fn closed(&mut self, peer: &PeerId, id: ConnectionId, now_ms: u64) -> Option<u64> {
        let entry = self.peers.get_mut(peer)?;
        entry.connections.retain(|c| c.id != id);
        if !entry.connections.is_empty() {
            return None;
        }
        let since = entry.since_ms;
        self.peers.remove(peer);
        Some(now_ms.saturating_sub(since))
    }

    pub(super) fn set_rtt(&mut self, peer: &PeerId, rtt: Duration) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.rtt = Some(rtt);
        }
    }

    pub(super) fn set_agent(&mut self, peer: &PeerId, agent: &str) {
        if let Some(entry) = self.peers.get_mut(peer) {
            let shown = agent.chars().filter(|c| !c.is_control()).take(AGENT_LEN).collect();
            entry.agent = Some(shown);
        }
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &PeerId> {
        self.peers.keys()
    }

    /// The IP address of an incoming connection of this peer's.
    pub(super) fn incoming_ip(&self, peer: &PeerId, id: ConnectionId) -> Option<IpAddr> {
        let connection = self.peers.get(peer)?.connections.iter().find(|c| c.id == id)?;
        (connection.direction == Direction::Inbound).then(|| ip_of(&connection.address)).flatten()
    }

    /// Where a relay is that this node dialled.
    pub(super) fn dialled_address(&self, peer: &PeerId) -> Option<&Multiaddr> {
        let connections = &self.peers.get(peer)?.connections;
        let dialled = |c: &&Connection| !c.relayed && c.direction == Direction::Outbound;
        connections.iter().find(dialled).map(|c| &c.address)
    }

    /// Whether a peer is connected without a relay between.
    pub(super) fn is_direct(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.connections.iter().any(|c| !c.relayed))
    }

    /// The connections through relays with peers that are connected directly, too, and for how many
    /// milliseconds they have been.
    pub(super) fn superseded(&self, now_ms: u64) -> Vec<(PeerId, ConnectionId, u64)> {
        let mut superseded = Vec::new();
        for (peer, p) in &self.peers {
            let direct = p.connections.iter().filter(|c| !c.relayed).map(|c| c.since_ms).min();
            let Some(since) = direct else { continue };
            let circuits = p.connections.iter().filter(|c| c.relayed);
            superseded.extend(circuits.map(|c| (*peer, c.id, now_ms.saturating_sub(since))));
        }
        superseded
    }

    /// The connections that go out from this address of this machine.
    pub(super) fn going_out_from(&self, ip: IpAddr) -> Vec<ConnectionId> {
        let all = self.peers.values().flat_map(|peer| &peer.connections);
        all.filter(|c| c.local == Some(ip)).map(|c| c.id).collect()
    }

    /// The peers connected from or at this IP address.
    pub(super) fn at(&self, ip: IpAddr) -> Vec<PeerId> {
        self.peers
            .iter()
            .filter(|(_, p)| p.connections.iter().any(|c| ip_of(&c.address) == Some(ip)))
            .map(|(peer, _)| *peer)
            .collect()
    }

    /// The IP addresses that a peer is connected from or at.
    pub(super) fn ips(&self, peer: &PeerId) -> Vec<IpAddr> {
        let connections = self.peers.get(peer).map(|peer| peer.connections.as_slice());
        let ips = connections.unwrap_or_default().iter().filter_map(|c| ip_of(&c.address));
        ips.collect()
    }

    /// What is known of each, in the order of their names.
    pub(super) fn infos(&self, source: impl Fn(&PeerId) -> Option<Source>) -> Vec<PeerInfo> {
        self.peers
            .iter()
            .map(|(peer, p)| {
                // False comes first.
                let mut connections: Vec<&Connection> = p.connections.iter().collect();
                connections.sort_by_key(|c| c.relayed);
                let first = connections.first();
                PeerInfo {
                    peer: *peer,
                    addresses: connections.iter().map(|c| c.address.to_string()).collect(),
                    relayed: first.is_some_and(|c| c.relayed),
                    transport: first.and_then(|c| transport(&c.address)),
                    direction: first.map_or(Direction::Inbound, |c| c.direction),
                    since: p.since,
                    rtt: p.rtt,
                    source: source(peer).unwrap_or(Source::Incoming),
                    agent: p.agent.clone(),
                }
            })
            .collect()
    }
}

/// The address of this machine that a connection goes out from. Where the transport does not say,
/// the one that the system chooses for the way to the peer at this moment.
fn local_ip(endpoint: &ConnectedPoint) -> Option<IpAddr> {
    let told = match endpoint {
        ConnectedPoint::Listener { local_addr, .. } => ip_of(local_addr),
        ConnectedPoint::Dialer { .. } => None,
    };
    let told = told.filter(|ip| !ip.is_unspecified());
    told.or_else(|| way_out(ip_of(endpoint.get_remote_address())?))
}

/// The address of this machine from which it speaks to another; nothing is sent.
fn way_out(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The transport at the head of the address of a connection, which may lack the PeerId of a relay.
fn transport(address: &Multiaddr) -> Option<Transport> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(_) => Some(Transport::Tcp),
        Protocol::QuicV1 => Some(Transport::Quic),
        _ => None,
    })
}

/// The address without a PeerId at its end.
pub(super) fn without_peer(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;
    use ocm_record::SigningKey;

    #[test]
    fn connections_are_known_by_the_address_they_go_out_from() {
        let mut connected = Connected::default();
        let peer = |n| PeerId::new(SigningKey::from_seed(&[n; 32]).public());
        let address = |text: &str| text.parse::<Multiaddr>().unwrap();
        let inbound = ConnectedPoint::Listener {
            local_addr: address("/ip4/192.0.2.1/tcp/8080"),
            send_back_addr: address("/ip4/192.0.2.9/tcp/4711"),
        };
        let outbound = ConnectedPoint::Dialer {
            address: address("/ip4/127.0.0.1/tcp/8080"),
            role_override: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let [came, went] = [1, 2].map(ConnectionId::new_unchecked);
        connected.opened(peer(1), came, &inbound, 0);
        connected.opened(peer(2), went, &outbound, 0);
        assert_eq!(connected.going_out_from([192, 0, 2, 1].into()), [came]);
        assert_eq!(connected.going_out_from([127, 0, 0, 1].into()), [went]);
        assert_eq!(connected.going_out_from([192, 0, 2, 9].into()), []);
    }
}
