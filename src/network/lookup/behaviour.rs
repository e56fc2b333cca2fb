//! The library's Kademlia, and what passes to and from it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::kad::{self, KadPeer, QueryId, RecordKey};
use libp2p::swarm::behaviour::{DialFailure, ExternalAddrConfirmed, ExternalAddrExpired};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionId, DialError, FromSwarm, NetworkBehaviour,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use ocm_discovery::{LookupKey, network_of};
use ocm_node::Allowed;

use super::store::Store;
use super::told::{ADDRESSES, announced, believed};
use super::{LOOKUP_PROTOCOL, LookupMode};
use crate::network::address::{head_of, ip_of, is_dialable};
use crate::network::from_libp2p;
use crate::network::range::IpRange;

/// How long one query may take. It ends sooner where few are asked.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks around in the whole of the network, which fill the routing table.
const LOOK_AROUND: Duration = Duration::from_secs(20 * 60);

/// Peers of one network in the routing table, so that names made up on one host do not fill it.
/// Loopback and configured ranges are exempt.
const ROUTES_PER_NETWORK: usize = 10;

/// Bytes of a message: of an answer with two full lists, each peer at as many addresses through relays
/// as it may have.
const MESSAGE_BYTES: usize = 32 * 1024;

/// Peers taken from one list of an answer: as many as an honest one has.
const PEERS_TOLD: usize = kad::K_VALUE.get();

type Library = kad::Behaviour<Store>;
type Handler = <Library as NetworkBehaviour>::ConnectionHandler;
type Said = <Handler as ConnectionHandler>::ToBehaviour;
type Asked = <Handler as ConnectionHandler>::FromBehaviour;

/// What comes of it.
#[derive(Debug)]
pub(crate) enum Event {
    /// A query wants to speak with a peer that is not connected.
    Wanted { peer: PeerId, addresses: Vec<Multiaddr> },
    /// A peer announced itself under the key that is asked for, as someone at `from` says.
    Found { peer: PeerId, addresses: Vec<Multiaddr>, from: Option<IpAddr> },
    /// What the library tells.
    Library(Box<kad::Event>),
}

/// The library's, which dials whomever a peer names, at whatever address, keeps what anyone announces,
/// and takes everyone into its routing table. Here it only says whom it wants to speak with, and
/// what is said to it passes by the limits first.
pub(crate) struct Behaviour {
    inner: Library,
    serves: bool,
    /// Where any number of peers may be.
    exempt: Vec<IpRange>,
    connections: HashMap<ConnectionId, (PeerId, End)>,
    /// Who is spoken to; `None` where everyone is. Others are neither asked nor heard.
    allowed: Option<Allowed>,
    /// Who has proved that it is one of those, and is connected.
    proved: HashSet<PeerId>,
    routes: HashMap<PeerId, Route>,
    events: VecDeque<Event>,
    /// Announcements of others that are kept, and under how many keys.
    kept: (usize, usize),
    /// What is listened on.
    listened: HashSet<Multiaddr>,
    /// When it last looked around.
    looked: Instant,
}

/// Where the other end of a connection is.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    /// Its address; `None` through a relay.
    ip: Option<IpAddr>,
    /// The address that it counts as: through a relay, which as many as they like may come by, the
    /// relay's.
    counted: Option<IpAddr>,
}

impl End {
    fn of(endpoint: &ConnectedPoint) -> Self {
        let remote = endpoint.get_remote_address();
        let counted = match endpoint {
            // The remote address is but the peer's name.
            ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => local_addr,
            _ => remote,
        };
        Self { ip: ip_of(remote), counted: head_of(counted) }
    }
}

/// A peer of the routing table.
struct Route {
    network: Option<IpAddr>,
    /// The one that came last at the end.
    addresses: Vec<Multiaddr>,
}

impl Behaviour {
    pub(crate) fn new(
        own: PeerId,
        mode: LookupMode,
        exempt: Vec<IpRange>,
        allowed: Option<Allowed>,
    ) -> Self {
        let mut config = kad::Config::new(StreamProtocol::new(LOOKUP_PROTOCOL));
        // A path by each of several neighbours: one that lies leads astray one path.
        config.disjoint_query_paths(true);
        config.set_kbucket_inserts(kad::BucketInserts::Manual);
        config.set_query_timeout(QUERY_TIMEOUT);
        config.set_max_packet_size(MESSAGE_BYTES);
        // When this node looks around and is announced again, is said here; values are not stored.
        config.set_periodic_bootstrap_interval(None);
        config.set_provider_publication_interval(None);
        config.set_record_ttl(None);
        config.set_replication_interval(None);
        config.set_publication_interval(None);
        config.set_caching(kad::Caching::Disabled);
        let mut inner = Library::with_config(own, Store::new(own), config);
        let serves = mode == LookupMode::Server;
        // Not by what the library makes of external addresses: it is configured.
        inner.set_mode(Some(if serves { kad::Mode::Server } else { kad::Mode::Client }));
        Self {
            inner,
            serves,
            exempt,
            connections: HashMap::new(),
            allowed,
            proved: HashSet::new(),
            routes: HashMap::new(),
            events: VecDeque::new(),
            kept: (0, 0),
            listened: HashSet::new(),
            looked: Instant::now(),
        }
    }

    /// Whether others are answered.
    pub(super) const fn serves(&self) -> bool {
        self.serves
    }

    /// Peers that are known to answer.
    pub(super) fn routes(&self) -> usize {
        self.routes.len()
    }

    /// Announcements of others that are kept, and under how many keys.
    pub(super) const fn kept(&self) -> (usize, usize) {
        self.kept
    }

    /// Forgets what was not announced again, and looks around when that is due. To be called now and
    /// then.
    pub(super) fn tend(&mut self) {
        self.inner.store_mut().expire();
        self.kept = self.inner.store_mut().kept();
        if !self.routes.is_empty() && self.looked.elapsed() >= LOOK_AROUND {
            self.looked = Instant::now();
            // It fails only where nobody is known.
            let _ = self.inner.bootstrap();
        }
    }

    /// Whom an address counts as; `None` where any number of peers may be.
    fn counted(&self, ip: Option<IpAddr>) -> Option<IpAddr> {
        ip.filter(|ip| !self.exempt.iter().any(|range| range.contains(*ip)))
    }

    /// Announces this node under a key, at those who are nearest to the key. `None` where it
    /// announces itself under as many keys as it may.
    pub(super) fn announce(&mut self, key: &LookupKey) -> Option<QueryId> {
        self.inner.start_providing(RecordKey::new(key.as_bytes())).ok()
    }

    /// Asks who announced itself under a key; those that are known here are told, too.
    pub(super) fn ask(&mut self, key: &LookupKey) -> QueryId {
        for (peer, addresses) in self.inner.store_mut().others(key) {
            self.events.push_back(Event::Found { peer, addresses, from: None });
        }
        self.inner.get_providers(RecordKey::new(key.as_bytes()))
    }

    /// The queries that are under way.
    pub(super) fn queries(&self) -> Vec<QueryId> {
        self.inner.iter_queries().map(|query| query.id()).collect()
    }

    /// Tells others that this node is at an address that it listens on.
    fn announce_at(&mut self, addr: &Multiaddr) {
        if ip_of(addr).is_some_and(is_dialable) {
            self.listened.insert(addr.clone());
            let told = FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr });
            self.inner.on_swarm_event(told);
        }
    }

    /// Lets a peer be asked: it is connected and answers, and is found at this address. Returns
    /// whether it is one more.
    pub(super) fn route(&mut self, peer: PeerId, address: Multiaddr) -> bool {
        let network = self.counted(ip_of(&address)).and_then(network_of);
        let known = self.routes.contains_key(&peer);
        let beside = self.routes.values().filter(|route| route.network == network).count();
        if !known && network.is_some() && beside >= ROUTES_PER_NETWORK {
            return false;
        }
        if matches!(self.inner.add_address(&peer, address.clone()), kad::RoutingUpdate::Failed) {
            return false;
        }
        let route = self.routes.entry(peer);
        let route = route.or_insert_with(|| Route { network, addresses: Vec::new() });
        route.addresses.retain(|known| *known != address);
        route.addresses.push(address);
        if route.addresses.len() > ADDRESSES {
            let oldest = route.addresses.remove(0);
            self.inner.remove_address(&peer, &oldest);
        }
        !known
    }

    /// Asks a peer no more: it does not answer, or is not found.
    pub(super) fn unroute(&mut self, peer: &PeerId) {
        if self.routes.remove(peer).is_some() {
            self.inner.remove_peer(peer);
        }
    }

    /// Has a query go on without a peer, which is not dialled.
    pub(super) fn go_without(&mut self, peer: PeerId) {
        let connection_id = DialOpts::peer_id(peer).build().connection_id();
        let (peer_id, error) = (Some(peer), &DialError::Aborted);
        let failure = DialFailure { peer_id, error, connection_id };
        self.inner.on_swarm_event(FromSwarm::DialFailure(failure));
    }

    /// Takes a peer for one that is spoken to, as long as it is connected.
    pub(super) fn trust(&mut self, peer: PeerId) {
        self.proved.insert(peer);
    }

    /// Whether a peer is asked, and what it asks heard.
    pub(in crate::network) fn speaks_to(&self, peer: &PeerId) -> bool {
        let Some(allowed) = &self.allowed else { return true };
        let listed = from_libp2p(peer).is_some_and(|peer| allowed.peers.contains(&peer));
        listed || self.proved.contains(peer)
    }

    /// A handler for a new connection with a peer, made by the library together with what its queries
    /// wait to ask there. A peer that is not spoken to is not asked.
    fn handler(
        &mut self,
        peer: PeerId,
        make: impl Fn(&mut Library) -> Result<Handler, ConnectionDenied>,
    ) -> Result<Handler, ConnectionDenied> {
        let handler = make(&mut self.inner)?;
        if self.speaks_to(&peer) {
            return Ok(handler);
        }
        // The questions go with the first handler; there are none for a second one.
        drop(handler);
        self.go_without(peer);
        make(&mut self.inner)
    }

    /// What a query wants: the peer that it is to speak with, and where that is said to be.
    fn want(&mut self, opts: &DialOpts) {
        let Some(peer) = opts.get_peer_id() else { return };
        let asked = self.inner.handle_pending_outbound_connection(
            opts.connection_id(),
            Some(peer),
            &[],
            Endpoint::Dialer,
        );
        let addresses = asked.unwrap_or_default();
        self.events.push_back(Event::Wanted { peer, addresses });
    }

    /// What is believed of what someone at `from` says of other peers.
    fn taken(&self, from: Option<IpAddr>, told: Vec<KadPeer>) -> Vec<KadPeer> {
        let taken = told
            .into_iter()
            .take(PEERS_TOLD)
            .map(|peer| KadPeer { multiaddrs: believed(from, &peer.multiaddrs), ..peer });
        let connected =
            |peer: &KadPeer| self.connections.values().any(|(known, _)| *known == peer.node_id);
        taken
            .filter(|peer| from_libp2p(&peer.node_id).is_some())
            .filter(|peer| !peer.multiaddrs.is_empty() || connected(peer))
            .collect()
    }

    /// What a peer says, as the library is to hear it.
    fn heard(&mut self, source: PeerId, end: End, said: Said) -> Option<Said> {
        let asks = matches!(
            said,
            Said::FindNodeReq { .. }
                | Said::GetProvidersReq { .. }
                | Said::GetRecord { .. }
                | Said::PutRecord { .. }
                | Said::AddProvider { .. }
        );
        if asks && !self.speaks_to(&source) {
            return None;
        }
        let from = end.ip;
        match said {
            Said::AddProvider { key, provider } => {
                let key = LookupKey::from_bytes(key.as_ref())?;
                let peer = from_libp2p(&source).filter(|_| provider.node_id == source)?;
                let addresses = announced(from, &provider.multiaddrs);
                let counted = self.counted(end.counted);
                let kept = self.inner.store_mut().announce(key, peer, counted, &addresses);
                self.kept = self.inner.store_mut().kept();
                tracing::debug!(%key, %peer, ?kept, "a peer announces itself");
                None
            }
            Said::GetProvidersReq { key, request_id } => {
                if let Some(key) = LookupKey::from_bytes(key.as_ref()) {
                    tracing::debug!(%key, peer = %source, "a peer looks up");
                }
                Some(Said::GetProvidersReq { key, request_id })
            }
            Said::FindNodeRes { closer_peers, query_id } => {
                let closer_peers = self.taken(from, closer_peers);
                Some(Said::FindNodeRes { closer_peers, query_id })
            }
            Said::GetProvidersRes { closer_peers, provider_peers, query_id } => {
                let closer_peers = self.taken(from, closer_peers);
                for found in self.taken(from, provider_peers) {
                    let (peer, addresses) = (found.node_id, found.multiaddrs);
                    self.events.push_back(Event::Found { peer, addresses, from });
                }
                // The library would ask them, too, who need not answer.
                let provider_peers = Vec::new();
                Some(Said::GetProvidersRes { closer_peers, provider_peers, query_id })
            }
            other => Some(other),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = <Library as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer, |inner| {
            inner.handle_established_inbound_connection(id, peer, local, remote)
        })
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer, |inner| {
            inner.handle_established_outbound_connection(id, peer, address, role, port_use)
        })
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            // What is listened on is where this node may be; where nobody can dial it, others see.
            FromSwarm::NewListenAddr(new) => self.announce_at(new.addr),
            // It is still listened on.
            FromSwarm::ExternalAddrExpired(old) if self.listened.contains(old.addr) => {}
            FromSwarm::ExpiredListenAddr(old) => {
                self.listened.remove(old.addr);
                let gone = ExternalAddrExpired { addr: old.addr };
                self.inner.on_swarm_event(FromSwarm::ExternalAddrExpired(gone));
            }
            FromSwarm::ConnectionEstablished(made) => {
                let end = End::of(made.endpoint);
                self.connections.insert(made.connection_id, (made.peer_id, end));
                self.inner.on_swarm_event(event);
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.connections.remove(&closed.connection_id);
                if closed.remaining_established == 0 {
                    self.proved.remove(&closed.peer_id);
                }
                self.inner.on_swarm_event(event);
            }
            _ => self.inner.on_swarm_event(event),
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let end = self.connections.get(&id).map(|(_, end)| *end).unwrap_or_default();
        if let Some(event) = self.heard(peer, end, event) {
            self.inner.on_connection_handler_event(peer, id, event);
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(ToSwarm::GenerateEvent(event));
            }
            let Poll::Ready(wish) = self.inner.poll(context) else { return Poll::Pending };
            match wish {
                ToSwarm::Dial { opts } => self.want(&opts),
                ToSwarm::NotifyHandler { peer_id, event, .. }
                    if is_question(&event) && !self.speaks_to(&peer_id) =>
                {
                    self.go_without(peer_id);
                }
                ToSwarm::NewExternalAddrOfPeer { .. } => {}
                ToSwarm::GenerateEvent(event) => {
                    if let kad::Event::RoutingUpdated { old_peer: Some(old), .. } = &event {
                        self.routes.remove(old);
                    }
                    return Poll::Ready(ToSwarm::GenerateEvent(Event::Library(Box::new(event))));
                }
                other => {
                    return Poll::Ready(other.map_out(|event| Event::Library(Box::new(event))));
                }
            }
        }
    }
}

/// Whether it asks a peer something, or tells it of an announcement.
const fn is_question(event: &Asked) -> bool {
    matches!(
        event,
        Asked::FindNodeReq { .. }
            | Asked::GetProvidersReq { .. }
            | Asked::AddProvider { .. }
            | Asked::GetRecord { .. }
            | Asked::PutRecord { .. }
    )
}

#[cfg(test)]
mod tests;
