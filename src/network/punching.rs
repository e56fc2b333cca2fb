//! Hole punching (DCUtR): two peers that met through a relay dial each other at the same moment, at
//! the addresses that others see them at, so that the routers of both take it for an answer.

use std::collections::HashMap;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, dcutr};

use super::address::{ip_of, is_public, is_relayed};

/// The library's, which believes whatever a peer says of where it is: who comes through a relay could
/// have this node knock at the doors of its own network. Here only public addresses are told, and
/// dialled.
pub(crate) struct Behaviour {
    inner: dcutr::Behaviour,
    circuits: HashMap<ConnectionId, PeerId>,
}

/// Why a dial is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no public address, at which a peer behind a relay could be")]
struct NotPublic(Multiaddr);

impl Behaviour {
    pub(crate) fn new(own: PeerId) -> Self {
        Self { inner: dcutr::Behaviour::new(own), circuits: HashMap::new() }
    }

    /// Of a peer that is connected through a relay, no other address is dialled but where holes are
    /// punched.
    fn check(&self, peer: Option<PeerId>, addresses: &[Multiaddr]) -> Result<(), NotPublic> {
        let Some(peer) = peer else { return Ok(()) };
        if !self.circuits.values().any(|known| *known == peer) {
            return Ok(());
        }
        let fits = |address: &&Multiaddr| is_relayed(address) || is_told(address);
        addresses
            .iter()
            .find(|address| !fits(address))
            .map_or(Ok(()), |address| Err(NotPublic(address.clone())))
    }
}

fn is_told(address: &Multiaddr) -> bool {
    ip_of(address).is_some_and(is_public)
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = <dcutr::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = dcutr::Event;

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
        self.check(peer, addresses).map_err(ConnectionDenied::new)?;
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
        match &event {
            FromSwarm::ConnectionEstablished(made) if made.endpoint.is_relayed() => {
                self.circuits.insert(made.connection_id, made.peer_id);
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.circuits.remove(&closed.connection_id);
            }
            FromSwarm::NewExternalAddrCandidate(seen) if !is_told(seen.addr) => return,
            _ => {}
        }
        self.inner.on_swarm_event(event);
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
        self.inner.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_through_a_relay_has_nobody_dial_what_is_not_public() {
        let [own, known, other] = [(); 3].map(|()| PeerId::random());
        let mut behaviour = Behaviour::new(own);
        behaviour.circuits.insert(ConnectionId::new_unchecked(1), known);
        let check = |peer, text: &str| {
            let good = "/ip4/203.0.113.7/tcp/8080".parse().unwrap();
            behaviour.check(peer, &[good, text.parse().unwrap()])
        };
        for text in ["/ip4/198.51.100.7/tcp/1", "/ip6/2001:db8::1/udp/1/quic-v1"] {
            assert_eq!(check(Some(known), text), Ok(()));
        }
        let circuit = format!("/ip4/10.0.0.1/tcp/1/p2p/{other}/p2p-circuit");
        assert_eq!(check(Some(known), &circuit), Ok(()));
        for text in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/192.168.1.1/tcp/80",
            "/ip4/169.254.169.254/tcp/80",
            "/ip4/100.64.0.1/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/224.0.0.1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/::ffff:10.0.0.1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/dns4/router.lan/tcp/80",
        ] {
            let refused = Err(NotPublic(text.parse().unwrap()));
            assert_eq!(check(Some(known), text), refused);
            assert_eq!((check(Some(other), text), check(None, text)), (Ok(()), Ok(())));
        }
    }
}
