//! The connected peers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, SystemTime};

use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use ocm_discovery::{PeerId, Source};

use super::address::{Transport, ip_of, is_public};
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
    /// Whether it says that it relays for others.
    relays: bool,
    /// Times that another circuit was made in the hope of a direct connection.
    punches: u32,
    /// When that was last.
    punched_ms: u64,
}

/// Before the first circuit that is made so as to punch a hole, in milliseconds; it doubles each time.
const PUNCH_FIRST_MS: u64 = 10_000;

/// The longest it becomes: 10 minutes.
const PUNCH_LONGEST_MS: u64 = 600_000;

/// What the attempts on one circuit take, in milliseconds: three, of ten seconds each, and a little.
const PUNCH_TAKES_MS: u64 = 40_000;

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
            relays: false,
            punches: 0,
            punched_ms: 0,
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

    /// Takes note of what a peer calls itself. Returns whether it is the first time since it is
    /// connected.
    pub(super) fn set_agent(&mut self, peer: &PeerId, agent: &str) -> bool {
        let Some(entry) = self.peers.get_mut(peer) else { return false };
        let shown = agent.chars().filter(|c| !c.is_control()).take(AGENT_LEN).collect();
        entry.agent.replace(shown).is_none()
    }

    /// Takes note of whether a peer says that it relays for others.
    pub(super) fn set_relays(&mut self, peer: &PeerId, relays: bool) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.relays = relays;
        }
    }

    /// The peers that say they relay for others and that this node dialled at a public address, and that.
    pub(super) fn offers(&self) -> impl Iterator<Item = (PeerId, &Multiaddr)> {
        let offers = self.peers.iter().filter(|(_, peer)| peer.relays);
        let at = |peer| self.dialled_address(peer);
        offers.filter_map(move |(peer, _)| {
            Some((*peer, at(peer).filter(|address| ip_of(address).is_some_and(is_public))?))
        })
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &PeerId> {
        self.peers.keys()
    }

    /// Those that were connected by this time, and have been since.
    pub(super) fn names_since(&self, by_ms: u64) -> impl Iterator<Item = PeerId> {
        let peers = self.peers.iter().filter(move |(_, peer)| peer.since_ms <= by_ms);
        peers.map(|(name, _)| *name)
    }

    /// The IP address of an incoming connection of this peer's.
    pub(super) fn incoming_ip(&self, peer: &PeerId, id: ConnectionId) -> Option<IpAddr> {
        let connection = self.peers.get(peer)?.connections.iter().find(|c| c.id == id)?;
        (connection.direction == Direction::Inbound).then(|| ip_of(&connection.address)).flatten()
    }

    /// Where a peer is that this node dialled without a relay between.
    pub(super) fn dialled_address(&self, peer: &PeerId) -> Option<&Multiaddr> {
        let connections = &self.peers.get(peer)?.connections;
        let dialled = |c: &&Connection| !c.relayed && c.direction == Direction::Outbound;
        connections.iter().find(dialled).map(|c| &c.address)
    }

    /// Whether a peer is connected without a relay between.
    pub(super) fn is_direct(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.connections.iter().any(|c| !c.relayed))
    }

    /// The connections through relays that others have taken the place of, and for how many
    /// milliseconds: with peers that are connected directly, and circuits of this node beside older
    /// ones once no hole was punched by them.
    pub(super) fn superseded(&self, now_ms: u64) -> Vec<(PeerId, ConnectionId, u64)> {
        let mut superseded = Vec::new();
        for (peer, p) in &self.peers {
            let direct = p.connections.iter().filter(|c| !c.relayed).map(|c| c.since_ms).min();
            let circuits = p.connections.iter().filter(|c| c.relayed);
            let Some(since) = direct else {
                let spare = circuits.skip(1).filter(|c| c.direction == Direction::Outbound);
                superseded.extend(spare.filter_map(|c| {
                    let tried = c.since_ms.saturating_add(PUNCH_TAKES_MS);
                    Some((*peer, c.id, now_ms.checked_sub(tried)?))
                }));
                continue;
            };
            superseded.extend(circuits.map(|c| (*peer, c.id, now_ms.saturating_sub(since))));
        }
        superseded
    }

    /// The peers that this node reaches through a relay alone, and is to try again to reach directly, by
    /// one more circuit at this address.
    pub(super) fn punches_due(&mut self, now_ms: u64) -> Vec<(PeerId, Multiaddr)> {
        let mut due = Vec::new();
        for (peer, p) in &mut self.peers {
            let [circuit] = p.connections.as_slice() else { continue };
            if !circuit.relayed || circuit.direction != Direction::Outbound {
                continue;
            }
            let doubled = PUNCH_FIRST_MS.saturating_mul(1 << p.punches.min(10));
            let wait = doubled.min(PUNCH_LONGEST_MS);
            if p.punched_ms.max(circuit.since_ms).saturating_add(wait) <= now_ms {
                p.punches = p.punches.saturating_add(1);
                p.punched_ms = now_ms;
                due.push((*peer, circuit.address.clone()));
            }
        }
        due
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
    fn a_second_circuit_is_made_more_and_more_rarely_and_left_when_it_was_in_vain() {
        let mut connected = Connected::default();
        let peer = PeerId::new(SigningKey::from_seed(&[1; 32]).public());
        let relay = PeerId::new(SigningKey::from_seed(&[2; 32]).public());
        let text = format!("/ip4/203.0.113.1/tcp/8080/p2p/{relay}/p2p-circuit");
        let to = |address: &str| ConnectedPoint::Dialer {
            address: address.parse().unwrap(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let [first, second, direct] = [1, 2, 3].map(ConnectionId::new_unchecked);
        connected.opened(peer, first, &to(&text), 5);
        assert_eq!(connected.punches_due(10_004), []);
        assert_eq!(connected.punches_due(10_005), [(peer, text.parse().unwrap())]);
        connected.opened(peer, second, &to(&text), 10_010);
        assert_eq!(connected.punches_due(40_000), [], "one is being tried");
        assert_eq!(connected.superseded(50_009), []);
        assert_eq!(connected.superseded(50_011), [(peer, second, 1)]);
        connected.closed(&peer, second, 50_011);
        let mut tried = Vec::new();
        for now in (50..3000).map(|second| second * 1000) {
            tried.extend(connected.punches_due(now).iter().map(|_| now));
        }
        let waits: Vec<u64> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits[..6], [40_000, 80_000, 160_000, 320_000, 600_000, 600_000]);
        connected.opened(peer, direct, &to("/ip4/203.0.113.2/tcp/8080"), 3_000_000);
        assert_eq!(connected.superseded(3_000_007), [(peer, first, 7)]);
        assert_eq!(connected.punches_due(9_000_000), []);
    }

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
