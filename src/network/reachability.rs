//! Whether others can dial this node (AutoNAT, version 1): a peer at a public address is asked now and
//! then to dial it at the address that it sees this node at, and says whether that succeeded.
//!
//! The second version of the protocol proves what the first one takes on trust. The library's, though,
//! never asks again about an address, forwarded since or gone, and dials whatever address it is told
//! of. So this is the first, within limits: who comes through a relay, or is seen at an address that is
//! not public, has nobody dial it; it is dialled where it is seen alone, at the ports that it names.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::{ListenerId, PortUse};
use libp2p::swarm::behaviour::{ExpiredListenAddr, ExternalAddrExpired, NewListenAddr};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, autonat};

use super::address::{Transport, ip_of, is_public, is_relayed, parts};
use super::connected::without_peer;
use super::event::{Health, NetworkEvent, Reachability};
use super::swarm::Network;

/// From the start until a peer is asked for the first time: by then some are connected, and the
/// router has mapped what it maps.
const FIRST: Duration = Duration::from_secs(10);

/// Until one is asked again, while it is not known, or was found once only.
const RETRY: Duration = Duration::from_secs(20);

/// Until one is asked again, once two in a row found the same.
const REFRESH: Duration = Duration::from_secs(5 * 60);

/// Until the same peer is asked again.
const SAME_PEER: Duration = Duration::from_secs(15);

/// Answers, past the first, that make sure that this node is public, or private: it takes two contrary
/// ones then to change that. From one public address to another it takes one: the address that was
/// dialled last is the one known.
const CONFIDENCE: usize = 1;

/// Ports of a peer that are dialled at one request.
const PORTS: usize = 4;

/// How long an answer may take: as long as all ports, ten seconds each, and a little.
const ANSWER: Duration = Duration::from_secs(60);

/// Requests of peers that are taken up in [`WITHIN`], of one peer and in all.
const OF_PEER: usize = 6;
const OF_ALL: usize = 60;
const WITHIN: Duration = Duration::from_secs(60);

/// Ports outside that are named besides those listened on: the others of the [`PORTS`] that whoever is
/// asked dials are for TCP and QUIC on this host.
const OUTSIDE: usize = PORTS - 2;

/// A port, as it is dialled.
type Port = (Transport, u16);

/// The library's, told of no address but by [`Network`]; what it dials is closed at once.
pub(crate) struct Behaviour {
    inner: autonat::Behaviour,
    /// Where this node listens, but for loopback.
    listened: BTreeSet<Multiaddr>,
    /// Where it is reached from outside.
    outside: BTreeSet<Multiaddr>,
    /// The one of these that the library was told of, for each port: it is dialled where it is seen.
    told: BTreeMap<Port, Multiaddr>,
    /// The dials that peers asked for, and the connections that they led to.
    dials: HashSet<ConnectionId>,
    /// Connections that have shown what they were to show.
    done: VecDeque<(PeerId, ConnectionId)>,
}

impl Behaviour {
    pub(crate) fn new(own: PeerId) -> Self {
        let config = autonat::Config {
            timeout: ANSWER,
            boot_delay: FIRST,
            refresh_interval: REFRESH,
            retry_interval: RETRY,
            throttle_server_period: SAME_PEER,
            use_connected: true,
            confidence_max: CONFIDENCE,
            max_peer_addresses: PORTS,
            throttle_clients_global_max: OF_ALL,
            throttle_clients_peer_max: OF_PEER,
            throttle_clients_period: WITHIN,
            only_global_ips: true,
        };
        Self {
            inner: autonat::Behaviour::new(own, config),
            listened: BTreeSet::new(),
            outside: BTreeSet::new(),
            told: BTreeMap::new(),
            dials: HashSet::new(),
            done: VecDeque::new(),
        }
    }

    /// What is known.
    pub(super) fn known(&self) -> Reachability {
        match self.inner.nat_status() {
            autonat::NatStatus::Public(address) => Reachability::Public(without_peer(&address)),
            autonat::NatStatus::Private => Reachability::Private,
            autonat::NatStatus::Unknown => Reachability::Unknown,
        }
    }

    /// Whether a connection is there only for a peer that wants to know whether it can be dialled.
    pub(super) fn is_dial_back(&self, id: ConnectionId) -> bool {
        self.dials.contains(&id)
    }

    fn listens(&mut self, address: &Multiaddr) {
        if parts(address).is_some_and(|(ip, ..)| !ip.is_loopback()) {
            self.listened.insert(address.clone());
            self.tell();
        }
    }

    fn listens_no_more(&mut self, address: &Multiaddr) {
        self.listened.remove(address);
        self.tell();
    }

    /// An address outside is there: it is worth asking again.
    fn is_outside(&mut self, address: &Multiaddr) {
        let Some(port) = port_of(address) else { return };
        self.outside.insert(address.clone());
        match self.told.get(&port).cloned() {
            Some(told) => self.tell_of(&told),
            None => self.tell(),
        }
    }

    /// An address outside is gone; if it is the one at which this node was found, that is no longer
    /// known.
    fn is_outside_no_more(&mut self, address: &Multiaddr) {
        self.outside.remove(address);
        self.tell();
        let found = self.inner.public_address().cloned();
        if let Some(found) = found.filter(|found| without_peer(found) == *address) {
            let gone = ExternalAddrExpired { addr: &found };
            self.inner.on_swarm_event(FromSwarm::ExternalAddrExpired(gone));
        }
    }

    /// One address for each port that is to be dialled: those that are told, as long as they hold.
    fn to_tell(&self) -> BTreeMap<Port, Multiaddr> {
        let one_for_each = |addresses: &BTreeSet<Multiaddr>| {
            let mut ports: BTreeMap<Port, Multiaddr> = BTreeMap::new();
            for address in addresses {
                let Some(port) = port_of(address) else { continue };
                if self.told.get(&port) == Some(address) || !ports.contains_key(&port) {
                    ports.insert(port, address.clone());
                }
            }
            ports
        };
        let mut ports = one_for_each(&self.listened);
        let mut outside = one_for_each(&self.outside);
        outside.retain(|port, _| !ports.contains_key(port));
        let mut outside: Vec<_> = outside.into_iter().collect();
        outside.sort_by_key(|(port, _)| !self.told.contains_key(port));
        ports.extend(outside.into_iter().take(OUTSIDE));
        ports
    }

    /// Tells the library of what is to be dialled, and of what is not any longer. All of it as what is
    /// listened on: candidates of other kinds it never forgets.
    fn tell(&mut self) {
        let ports = self.to_tell();
        let before = std::mem::replace(&mut self.told, ports.clone());
        for (port, addr) in &before {
            if ports.get(port) != Some(addr) {
                let gone = ExpiredListenAddr { listener_id: ListenerId::next(), addr };
                self.inner.on_swarm_event(FromSwarm::ExpiredListenAddr(gone));
            }
        }
        for (port, address) in &ports {
            if before.get(port) != Some(address) {
                self.tell_of(address);
            }
        }
    }

    /// Tells the library of an address, again if need be: it asks sooner then.
    fn tell_of(&mut self, addr: &Multiaddr) {
        let new = NewListenAddr { listener_id: ListenerId::next(), addr };
        self.inner.on_swarm_event(FromSwarm::NewListenAddr(new));
    }
}

fn port_of(address: &Multiaddr) -> Option<Port> {
    parts(address).map(|(_, port, transport)| (transport, port))
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = <autonat::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = autonat::Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::NewListenAddr(new) => self.listens(new.addr),
            FromSwarm::ExpiredListenAddr(gone) => self.listens_no_more(gone.addr),
            FromSwarm::ExternalAddrConfirmed(new) => self.is_outside(new.addr),
            FromSwarm::ExternalAddrExpired(gone) => self.is_outside_no_more(gone.addr),
            // Who asks is dialled where it is seen: what peers say of that needs no trial.
            FromSwarm::NewExternalAddrCandidate(_) => {}
            FromSwarm::ConnectionEstablished(made) => {
                self.inner.on_swarm_event(event);
                if self.dials.contains(&made.connection_id) {
                    self.done.push_back((made.peer_id, made.connection_id));
                }
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.dials.remove(&closed.connection_id);
                self.inner.on_swarm_event(event);
            }
            FromSwarm::DialFailure(failed) => {
                self.dials.remove(&failed.connection_id);
                self.inner.on_swarm_event(event);
            }
            other => self.inner.on_swarm_event(other),
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((peer_id, id)) = self.done.pop_front() {
            let connection = CloseConnection::One(id);
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection });
        }
        loop {
            match self.inner.poll(context) {
                Poll::Ready(ToSwarm::Dial { opts }) => {
                    self.dials.insert(opts.connection_id());
                    return Poll::Ready(ToSwarm::Dial { opts });
                }
                // It is weighed first: see `Network::reachability`.
                Poll::Ready(ToSwarm::ExternalAddrConfirmed(_)) => {}
                other => return other,
            }
        }
    }
}

impl Network {
    /// Takes up what is known of whether others can dial this node.
    pub(super) fn on_reachability(&mut self, event: &autonat::Event) {
        tracing::debug!(?event, "reachability");
        self.tell_addresses();
        let known = self.reachability();
        if known != self.outside.reachability {
            self.outside.reachability = known.clone();
            self.ready.push_back(NetworkEvent::Reachability { known });
        }
    }

    /// Whether others can dial this node, as far as is known. An address that a peer says it reached
    /// this node at counts only if it can be one of this node's.
    #[must_use]
    pub fn reachability(&self) -> Reachability {
        match self.swarm.behaviour().reachability.known() {
            Reachability::Public(address) => {
                let mapped = self.outside.mappings.addresses();
                let known = self.swarm.listeners().chain(&mapped).chain(&self.config.external);
                match can_be_own(&address, known) {
                    true => Reachability::Public(address),
                    false => Reachability::Unknown,
                }
            }
            other => other,
        }
    }

    /// How it stands with being dialled.
    pub(super) fn of_reachability(&self) -> (Health, String) {
        match self.reachability() {
            Reachability::Public(address) => {
                (Health::Working, format!("public: a peer dialled this node at {address}"))
            }
            Reachability::Unknown => {
                let why = "not known yet: no peer that is met at a public address has tried to dial \
                           this node";
                (Health::Working, why.to_owned())
            }
            Reachability::Private => {
                let why = "private: peers outside cannot dial this node, as behind a router (NAT) or \
                           a firewall";
                if self.swarm.external_addresses().any(is_relayed) {
                    return (Health::Working, format!("{why}; they reach it through a relay"));
                }
                (Health::Troubled(why.to_owned()), why.to_owned())
            }
        }
    }
}

/// Whether an address is public, and its port one of those that are known.
fn can_be_own<'a>(address: &Multiaddr, mut known: impl Iterator<Item = &'a Multiaddr>) -> bool {
    let is_public = ip_of(address).is_some_and(is_public);
    is_public && port_of(address).is_some_and(|own| known.any(|known| port_of(known) == Some(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour() -> Behaviour {
        Behaviour::new(PeerId::random())
    }

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_for_each_port_is_told_and_another_one_when_it_goes() {
        let mut behaviour = behaviour();
        let told = |behaviour: &Behaviour| -> Vec<String> {
            behaviour.told.values().map(ToString::to_string).collect()
        };
        for text in [
            "/ip4/127.0.0.1/tcp/8080",
            "/ip6/::1/tcp/8080",
            "/ip4/10.0.0.1/tcp/8080",
            "/ip4/192.168.0.1/tcp/8080",
            "/ip4/10.0.0.1/udp/8080/quic-v1",
        ] {
            behaviour.listens(&address(text));
        }
        let quic = "/ip4/10.0.0.1/udp/8080/quic-v1";
        assert_eq!(told(&behaviour), ["/ip4/10.0.0.1/tcp/8080", quic]);
        behaviour.listens_no_more(&address("/ip4/10.0.0.1/tcp/8080"));
        assert_eq!(told(&behaviour), ["/ip4/192.168.0.1/tcp/8080", quic]);
        behaviour.listens_no_more(&address("/ip4/192.168.0.1/tcp/8080"));
        assert_eq!(told(&behaviour), [quic]);
    }

    #[test]
    fn a_peer_that_names_an_address_of_its_choice_is_not_believed() {
        let known = ["/ip4/10.0.0.1/tcp/8080", "/ip4/10.0.0.1/udp/8081/quic-v1"].map(address);
        let own = |text: &str| can_be_own(&address(text), known.iter());
        assert!(own("/ip4/198.51.100.7/tcp/8080") && own("/ip6/2001:db8::1/udp/8081/quic-v1"));
        for text in [
            "/ip4/198.51.100.7/tcp/22",
            "/ip4/198.51.100.7/tcp/8081",
            "/ip4/192.168.0.1/tcp/8080",
            "/ip4/127.0.0.1/tcp/8080",
            "/dns4/ocm.example/tcp/8080",
        ] {
            assert!(!own(text), "{text}");
        }
    }

    fn ports(behaviour: &Behaviour) -> Vec<u16> {
        behaviour.told.keys().map(|(_, port)| *port).collect()
    }

    #[test]
    fn so_many_addresses_outside_are_told_and_no_more() {
        let mut behaviour = behaviour();
        behaviour.is_outside(&address("/dns4/ocm.example/tcp/8080"));
        for listened in ["/ip4/10.0.0.1/tcp/8080", "/ip4/10.0.0.1/udp/8080/quic-v1"] {
            behaviour.listens(&address(listened));
        }
        for port in 1..=100 {
            behaviour.is_outside(&address(&format!("/ip4/198.51.100.7/tcp/{port}")));
        }
        assert_eq!(behaviour.told.len(), PORTS, "as many as whoever is asked dials");
        assert!(behaviour.listened.iter().all(|own| behaviour.told.values().any(|a| a == own)));
        assert_eq!(behaviour.known(), Reachability::Unknown);
    }

    #[test]
    fn ports_outside_that_are_gone_make_room_for_others() {
        let mut behaviour = behaviour();
        behaviour.listens(&address("/ip4/10.0.0.1/tcp/8080"));
        let outside = |port| address(&format!("/ip4/198.51.100.7/tcp/{port}"));
        for port in 9001..=9003 {
            behaviour.is_outside(&outside(port));
        }
        assert_eq!(ports(&behaviour), [8080, 9001, 9002]);
        behaviour.is_outside_no_more(&outside(9001));
        assert_eq!(ports(&behaviour), [8080, 9002, 9003]);
        behaviour.is_outside(&outside(9001));
        assert_eq!(ports(&behaviour), [8080, 9002, 9003], "those that are told stay");
        // At another address of this host's: the same port.
        behaviour.is_outside(&address("/ip4/203.0.113.7/tcp/9002"));
        behaviour.is_outside_no_more(&outside(9002));
        assert_eq!(ports(&behaviour), [8080, 9002, 9003]);
        behaviour.listens(&address("/ip4/10.0.0.1/tcp/9002"));
        assert_eq!(ports(&behaviour), [8080, 9001, 9002, 9003], "it is listened on");
        for port in 9001..=9003 {
            behaviour.is_outside_no_more(&outside(port));
        }
        assert_eq!(ports(&behaviour), [8080, 9002]);
        assert_eq!(behaviour.told.values().next(), Some(&address("/ip4/10.0.0.1/tcp/8080")));
    }

    /// Why the library asks nobody, at its first attempt.
    async fn cause(mut behaviour: Behaviour) -> autonat::OutboundProbeError {
        std::future::poll_fn(|context| {
            behaviour.poll(context).map(|wish| match wish {
                ToSwarm::GenerateEvent(autonat::Event::OutboundProbe(
                    autonat::OutboundProbeEvent::Error { error, .. },
                )) => error,
                other => panic!("{other:?}"),
            })
        })
        .await
    }

    #[tokio::test]
    async fn the_library_forgets_a_port_outside_that_is_gone() {
        let outside = address("/ip4/198.51.100.7/tcp/9001");
        for stays in [true, false] {
            let config = autonat::Config { boot_delay: Duration::ZERO, ..Default::default() };
            let inner = autonat::Behaviour::new(PeerId::random(), config);
            let mut behaviour = Behaviour { inner, ..behaviour() };
            behaviour.is_outside(&outside);
            if !stays {
                behaviour.is_outside_no_more(&outside);
            }
            match cause(behaviour).await {
                autonat::OutboundProbeError::NoServer => assert!(stays, "nobody to ask"),
                autonat::OutboundProbeError::NoAddresses => assert!(!stays, "nothing to ask about"),
                other => panic!("{other:?}"),
            }
        }
    }
}
