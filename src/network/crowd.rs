//! How many connections others may begin from one address, and from one network.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::dummy::ConnectionHandler;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use ocm_discovery::network_of;

use super::address::{head_of, ip_of, is_relayed};
use super::config::NetworkConfig;
use super::range::IpRange;

/// Refuses connections from addresses and networks that have enough of them. Those that this node
/// begins do not count.
#[derive(Debug)]
pub(crate) struct Behaviour {
    exempt: Vec<IpRange>,
    per_address: usize,
    per_network: usize,
    /// The connections that count, also those whose handshake is under way.
    from: HashMap<ConnectionId, IpAddr>,
    addresses: BTreeMap<IpAddr, usize>,
    networks: BTreeMap<IpAddr, usize>,
    /// By the address of the relay that they come through.
    relays: BTreeMap<IpAddr, usize>,
    through: HashMap<ConnectionId, IpAddr>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{of} has {limit} connections here already")]
struct Crowded {
    of: String,
    limit: usize,
}

impl Behaviour {
    pub(crate) fn new(config: &NetworkConfig) -> Self {
        Self {
            exempt: config.exempt.clone(),
            per_address: config.limits.connections_per_address,
            per_network: config.limits.connections_per_network,
            from: HashMap::new(),
            addresses: BTreeMap::new(),
            networks: BTreeMap::new(),
            relays: BTreeMap::new(),
            through: HashMap::new(),
        }
    }

    /// Lets a connection from an address in, and counts it.
    fn enter(&mut self, id: ConnectionId, from: IpAddr) -> Result<(), Crowded> {
        let from = from.to_canonical();
        if from.is_loopback() || self.exempt.iter().any(|range| range.contains(from)) {
            return Ok(());
        }
        let network = network_of(from);
        let count = |counts: &BTreeMap<_, usize>, of| counts.get(&of).copied().unwrap_or(0);
        if count(&self.addresses, from) >= self.per_address {
            return Err(Crowded { of: from.to_string(), limit: self.per_address });
        }
        if let Some(network) = network
            && count(&self.networks, network) >= self.per_network
        {
            let of = match network {
                _ if network == from => from.to_string(),
                IpAddr::V4(_) => format!("{network}/24"),
                IpAddr::V6(_) => format!("{network}/48"),
            };
            return Err(Crowded { of, limit: self.per_network });
        }
        self.from.insert(id, from);
        *self.addresses.entry(from).or_default() += 1;
        if let Some(network) = network {
            *self.networks.entry(network).or_default() += 1;
        }
        Ok(())
    }

    /// Lets a connection through a relay in, and counts it.
    fn enter_through(&mut self, id: ConnectionId, relay: IpAddr) -> Result<(), Crowded> {
        let count = self.relays.entry(relay).or_default();
        if *count >= self.per_network {
            return Err(Crowded { of: format!("the relay at {relay}"), limit: self.per_network });
        }
        *count += 1;
        self.through.insert(id, relay);
        Ok(())
    }

    /// A connection ended, or came to nothing.
    fn leave(&mut self, id: ConnectionId) {
        if let Some(relay) = self.through.remove(&id) {
            less(&mut self.relays, relay);
        }
        let Some(from) = self.from.remove(&id) else { return };
        less(&mut self.addresses, from);
        if let Some(network) = network_of(from) {
            less(&mut self.networks, network);
        }
    }
}

fn less(counts: &mut BTreeMap<IpAddr, usize>, of: IpAddr) {
    if let Some(count) = counts.get_mut(&of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&of);
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if is_relayed(local) {
            return match head_of(local) {
                Some(relay) => self.enter_through(id, relay).map_err(ConnectionDenied::new),
                None => Ok(()),
            };
        }
        match ip_of(remote) {
            Some(from) => self.enter(id, from).map_err(ConnectionDenied::new),
            None => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.leave(closed.connection_id),
            FromSwarm::ListenFailure(failure) => self.leave(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour() -> Behaviour {
        let key = ocm_record::SigningKey::from_seed(&[1; 32]);
        let mut config = NetworkConfig::new(key, ocm_record::Boot::from_bytes([1; 16]));
        config.limits.connections_per_address = 2;
        config.limits.connections_per_network = 3;
        config.exempt = vec!["203.0.113.0/24".parse().unwrap()];
        Behaviour::new(&config)
    }

    fn enters(behaviour: &mut Behaviour, id: usize, from: &str) -> Result<(), String> {
        let from = from.parse().unwrap();
        behaviour.enter(ConnectionId::new_unchecked(id), from).map_err(|why| why.to_string())
    }

    #[test]
    fn an_address_and_a_network_have_so_many_connections_and_no_more() {
        let mut all = behaviour();
        for (id, from) in [(1, "198.51.100.1"), (2, "198.51.100.1"), (4, "198.51.100.2")] {
            assert_eq!(enters(&mut all, id, from), Ok(()));
        }
        let told = enters(&mut all, 3, "::ffff:198.51.100.1").unwrap_err();
        assert_eq!(told, "198.51.100.1 has 2 connections here already");
        let told = enters(&mut all, 5, "198.51.100.3").unwrap_err();
        assert_eq!(told, "198.51.100.0/24 has 3 connections here already");
        assert_eq!(enters(&mut all, 6, "198.51.101.3"), Ok(()), "another network");
        for id in [5, 3, 1, 1] {
            all.leave(ConnectionId::new_unchecked(id));
        }
        assert_eq!(enters(&mut all, 7, "198.51.100.3"), Ok(()), "one has gone");
        for id in [2, 4, 6, 7] {
            all.leave(ConnectionId::new_unchecked(id));
        }
        let empty = (all.from.len(), all.addresses.len(), all.networks.len());
        assert_eq!(empty, (0, 0, 0), "nothing is kept of who has gone");
    }

    #[test]
    fn a_relay_has_as_many_connections_as_a_network_and_they_are_not_its_own() {
        let mut all = behaviour();
        let relay = "203.0.113.1".parse().unwrap();
        let through =
            |all: &mut Behaviour, id| all.enter_through(ConnectionId::new_unchecked(id), relay);
        for id in 1..=3 {
            assert_eq!(through(&mut all, id), Ok(()));
        }
        let told = through(&mut all, 4).unwrap_err().to_string();
        assert_eq!(told, "the relay at 203.0.113.1 has 3 connections here already");
        assert!(all.addresses.is_empty() && all.networks.is_empty());
        for id in [4, 1, 1] {
            all.leave(ConnectionId::new_unchecked(id));
        }
        assert_eq!(through(&mut all, 5), Ok(()), "one has gone");
        for id in [2, 3, 5] {
            all.leave(ConnectionId::new_unchecked(id));
        }
        assert!(all.relays.is_empty() && all.through.is_empty());
    }

    #[test]
    fn a_room_is_no_network_and_loopback_is_free() {
        let mut all = behaviour();
        for n in 1..20 {
            assert_eq!(enters(&mut all, n, &format!("192.168.7.{n}")), Ok(()));
            assert_eq!(enters(&mut all, 100 + n, "127.0.0.1"), Ok(()));
            assert_eq!(enters(&mut all, 200 + n, "203.0.113.9"), Ok(()), "exempt");
            assert_eq!(enters(&mut all, 300 + n, &format!("fe80::{n}")), Ok(()));
        }
        assert_eq!(enters(&mut all, 401, "192.168.7.1"), Ok(()));
        assert!(enters(&mut all, 402, "192.168.7.1").is_err(), "but an address is one");
        let mut all = Behaviour { per_address: 9, ..behaviour() };
        let crowded: Vec<_> =
            (1..=4).filter_map(|n| enters(&mut all, n, "192.168.7.1").err()).collect();
        assert_eq!(crowded, ["192.168.7.1 has 3 connections here already"], "and its own network");
        let mut all = behaviour();
        for n in 1..4 {
            assert_eq!(enters(&mut all, 500 + n, &format!("2001:db8:1:{n}::1")), Ok(()));
        }
        let told = enters(&mut all, 504, "2001:db8:1:ffff::1").unwrap_err();
        assert_eq!(told, "2001:db8:1::/48 has 3 connections here already");
    }
}
