//! What happens: the swarm's events made into ours.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::metrics::Recorder as _;
use libp2p::request_response::{Event as FederationEvent, Message, OutboundFailure};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, gossipsub, identify, mdns, ping, relay};
use ocm_discovery::{Beacon, PeerId, Sighting, Source};

use super::address::{Transport, ip_of, is_dialable, is_relayed, multiaddr, parts};
use super::behaviour::BehaviourEvent;
use super::connected::without_peer;
use super::event::{ChannelId, NetworkEvent, RequestFailure};
use super::gossip::{GossipId, UNPROVED, address_penalty, is_silenced};
use super::swarm::{Asked, Network};
use super::{draw, from_libp2p, to_libp2p};

/// Between two rounds of forgetting what expires in minutes.
const SELDOM: Duration = Duration::from_secs(30);

/// A copied key is reported at most once in this time.
const COPY_REPORT: Duration = Duration::from_secs(60);

/// Addresses of one peer taken from what it says about itself.
const TOLD_ADDRESSES: usize = 16;

/// An error with what caused it, in one line.
fn cause_of(error: &std::io::Error) -> String {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

impl Network {
    /// The next event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> NetworkEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                Some(resolved) = self.resolving.next(), if !self.resolving.is_empty() => {
                    self.on_resolved(resolved);
                }
                round = self.outside.mappings.round() => self.on_mapped(round),
                _ = self.tick.tick() => self.on_tick(),
            }
        }
    }

    pub(super) fn refused(&self) -> BTreeSet<PeerId> {
        self.blocked().chain(self.bans.keys()).copied().collect()
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        let ended: Vec<PeerId> =
            self.bans.iter().filter(|(_, until)| **until <= now).map(|(peer, _)| *peer).collect();
        for peer in ended {
            self.end_ban(&peer);
        }
        let silenced: Vec<PeerId> = self
            .connected
            .names()
            .filter(|peer| {
                let score = to_libp2p(peer)
                    .and_then(|name| self.swarm.behaviour().gossip.peer_score(&name));
                score.is_some_and(is_silenced)
            })
            .copied()
            .collect();
        for peer in silenced.into_iter().filter(|peer| !self.is_refused(peer)).collect::<Vec<_>>() {
            self.ban(peer);
        }
        if now.saturating_duration_since(self.seldom) >= SELDOM {
            self.seldom = now;
            self.table.expire(self.now_ms());
            self.watch_mdns();
            self.tend_lookup();
        }
        self.end_mdns_pause();
        self.dial_due();
        self.reserve_due();
        self.map_due();
        self.punch_again();
        self.leave_circuits();
        self.look_up_due();
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { connection_id, .. }
                if self.swarm.behaviour().reachability.is_dial_back(connection_id) => {}
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                match from_libp2p(&peer_id) {
                    Some(peer) => self.on_connected(peer, connection_id, &endpoint),
                    None => {
                        self.on_stranger(connection_id);
                        self.swarm.close_connection(connection_id);
                    }
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, endpoint, .. } => {
                if endpoint.is_relayed() {
                    tracing::debug!(peer = %peer_id, "a circuit is left");
                }
                if let Some(peer) = from_libp2p(&peer_id) {
                    self.on_closed(peer, connection_id, &endpoint);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_failed(connection_id, &error);
            }
            // The relay says so; where it is reached, this node knows itself.
            SwarmEvent::NewListenAddr { address, .. } if is_relayed(&address) => {}
            SwarmEvent::NewListenAddr { address, .. } => {
                self.on_new_address(&address);
                self.tell_addresses();
                self.ready.push_back(NetworkEvent::Listening { address: address.to_string() });
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.tell_addresses();
                self.outside.mappings.look_again();
                // What goes out from an address that is gone would be silent until it is missed.
                for id in
                    ip_of(&address).map(|ip| self.connected.going_out_from(ip)).unwrap_or_default()
                {
                    self.swarm.close_connection(id);
                }
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                let ended = "the connection with the relay ended";
                let cause = reason.as_ref().err().map_or(ended.to_owned(), cause_of);
                if let Some(relay) = self.on_place_lost(listener_id, &cause) {
                    let address = format!("/p2p/{relay}/p2p-circuit");
                    self.ready.push_back(NetworkEvent::ListenFailed { address, cause });
                    return;
                }
                let Err(e) = reason else { return };
                let address: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                self.ready.push_back(NetworkEvent::ListenFailed {
                    address: address.join(", "),
                    cause: e.to_string(),
                });
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::debug!(%error, "a listener met an error and goes on");
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "an incoming connection failed");
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let now = self.now_ms();
        let first = self.connected.opened(peer, id, endpoint, now);
        let address = without_peer(endpoint.get_remote_address());
        let text = address.to_string();
        let dialled = self.on_dial_succeeded(id, peer, &text);
        let other = if endpoint.is_dialer() { Source::Bootstrap } else { Source::Incoming };
        let text = dialled.map(|_| text.as_str());
        self.table.connected(peer, text, dialled.unwrap_or(other), now);
        if first && self.config.allowed.as_ref().is_some_and(|of| !of.peers.contains(&peer)) {
            self.unproved.insert(peer);
            self.judge(&peer);
        }
        self.judge_address(ip_of(&address));
        if first {
            self.ready.push_back(NetworkEvent::Connected { peer });
        }
    }

    fn on_closed(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let now = self.now_ms();
        if let Some(lasted) = self.connected.closed(&peer, id, now) {
            self.table.disconnected(&peer, now, draw());
            // However long one lasted that proved nothing, it was of no use.
            let lasted = if self.unproved.remove(&peer) { 0 } else { lasted };
            self.bootstrap.disconnected(&peer, lasted, now, draw());
            self.on_left(&peer);
            self.ready.push_back(NetworkEvent::Disconnected { peer });
        }
        self.judge_address(ip_of(endpoint.get_remote_address()));
    }

    /// Gives the peers behind one address the score that their number costs.
    fn judge_address(&mut self, ip: Option<IpAddr>) {
        let peers = ip.map(|ip| self.connected.at(ip)).unwrap_or_default();
        peers.iter().for_each(|peer| self.judge(peer));
    }

    /// Gives a peer the score that comes from elsewhere than its messages.
    pub(super) fn judge(&mut self, peer: &PeerId) {
        let is_exempt = |ip: &IpAddr| {
            ip.is_loopback() || self.config.exempt.iter().any(|range| range.contains(*ip))
        };
        let limit = self.config.limits.peers_per_address;
        let ips = self.connected.ips(peer).into_iter().filter(|ip| !is_exempt(ip));
        let penalties = ips.map(|ip| address_penalty(self.connected.at(ip).len(), limit));
        let unproved = self.unproved.contains(peer).then_some(UNPROVED);
        let score = penalties.chain(unproved).fold(0.0, f64::min);
        if let Some(name) = to_libp2p(peer) {
            self.swarm.behaviour_mut().gossip.set_application_score(&name, score);
        }
    }

    pub(super) fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossip(event) => {
                self.metrics.record(&event);
                self.on_gossip(event);
            }
            BehaviourEvent::Federation(event) => self.on_federation(event),
            BehaviourEvent::Identify(event) => {
                self.metrics.record(&event);
                if let identify::Event::Received { connection_id, peer_id, info } = event {
                    self.on_identified(&peer_id, connection_id, &info);
                }
            }
            BehaviourEvent::Ping(event) => {
                self.metrics.record(&event);
                match (from_libp2p(&event.peer), event.result) {
                    (Some(peer), Ok(rtt)) => self.connected.set_rtt(&peer, rtt),
                    // A peer that does not speak ping may be well; one that is silent is gone,
                    // whatever the transport still believes.
                    (_, Err(ping::Failure::Unsupported)) | (None, Ok(_)) => {}
                    (_, Err(failure)) => {
                        tracing::debug!(peer = %event.peer, %failure, "a connection is dead");
                        self.swarm.close_connection(event.connection);
                    }
                }
            }
            BehaviourEvent::Mdns4(mdns::Event::Discovered(found)) => self.on_mdns(found),
            BehaviourEvent::Mdns6(mdns::Event::Discovered(mut found)) => {
                // The library checks the IPv4 addresses that are told over IPv4, and no others.
                found.retain(|(_, address)| matches!(ip_of(address), Some(IpAddr::V6(_))));
                self.on_mdns(found);
            }
            // The table lets addresses expire by itself.
            BehaviourEvent::Mdns4(mdns::Event::Expired(_))
            | BehaviourEvent::Mdns6(mdns::Event::Expired(_)) => {}
            BehaviourEvent::Relay(event) => {
                self.metrics.record(&event);
                self.on_place_taken(&event);
                tracing::debug!(?event, "relaying");
            }
            BehaviourEvent::Punching(event) => {
                self.metrics.record(&event);
                let peer = event.remote_peer_id;
                match event.result {
                    Ok(_) => tracing::debug!(%peer, "a hole was punched"),
                    Err(error) => tracing::debug!(%peer, %error, "no hole was punched"),
                }
            }
            BehaviourEvent::Reachability(event) => self.on_reachability(&event),
            BehaviourEvent::RelayClient(event) => self.on_relay_client(&event),
            BehaviourEvent::Lookup(event) => self.on_lookup(event),
            BehaviourEvent::Beacon(heard) => self.on_beacon(&heard.beacon, heard.from),
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source, message_id, message } = event else {
            return;
        };
        let name: Result<[u8; 20], _> = message_id.0.as_slice().try_into();
        if let (Some(peer), Ok(name)) = (from_libp2p(&propagation_source), name) {
            self.ready.push_back(NetworkEvent::Gossip {
                peer,
                message_id: GossipId(name),
                topic: message.topic.into_string(),
                data: message.data,
            });
        }
    }

    fn on_federation(&mut self, event: FederationEvent<Vec<u8>, Vec<u8>>) {
        match event {
            FederationEvent::Message { peer, message, .. } => match message {
                Message::Request { request_id, request, channel } => {
                    let Some(peer) = from_libp2p(&peer) else { return };
                    let of_peer = self.asked.values().filter(|a| a.peer == peer).count();
                    let limits = &self.config.limits;
                    if of_peer >= limits.requests_in_per_peer
                        || self.asked.len() >= limits.requests_in
                    {
                        // Dropping the channel ends the stream: the asker sees that at once.
                        tracing::debug!(%peer, waiting = of_peer, "a request is let go");
                        return;
                    }
                    let id = ChannelId(self.new_id());
                    self.asked.insert(id, Asked { peer, request: request_id, channel });
                    self.ready.push_back(NetworkEvent::Request {
                        peer,
                        channel: id,
                        bytes: request,
                    });
                }
                Message::Response { request_id, response } => {
                    if let Some((request, peer)) = self.asking.remove(&request_id) {
                        let bytes = response;
                        self.ready.push_back(NetworkEvent::Response { request, peer, bytes });
                    }
                }
            },
            FederationEvent::OutboundFailure { request_id, error, .. } => {
                if let Some((request, peer)) = self.asking.remove(&request_id) {
                    let reason = match error {
                        OutboundFailure::DialFailure => RequestFailure::NotConnected,
                        OutboundFailure::Timeout => RequestFailure::Timeout,
                        OutboundFailure::ConnectionClosed => RequestFailure::ConnectionClosed,
                        OutboundFailure::UnsupportedProtocols => RequestFailure::Unsupported,
                        OutboundFailure::Io(e) => RequestFailure::Stream(e.to_string()),
                    };
                    self.ready.push_back(NetworkEvent::RequestFailed { request, peer, reason });
                }
            }
            FederationEvent::InboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, %error, "a peer's request failed");
                self.asked.retain(|_, asked| asked.request != request_id);
            }
            FederationEvent::ResponseSent { .. } => {}
        }
    }

    /// A peer that came to us says on which ports it listens; it is dialled at the address it came
    /// from only, whatever addresses it names.
    fn on_identified(&mut self, peer: &libp2p::PeerId, id: ConnectionId, info: &identify::Info) {
        let Some(peer) = from_libp2p(peer) else { return };
        let first = self.connected.set_agent(&peer, &info.agent_version);
        self.connected.set_relays(&peer, info.protocols.contains(&relay::HOP_PROTOCOL_NAME));
        self.on_speaks(&peer, id, info, first);
        let Some(ip) = self.connected.incoming_ip(&peer, id) else { return };
        let now = self.now_ms();
        for address in info.listen_addrs.iter().take(TOLD_ADDRESSES) {
            if let Some((_, port, transport)) = parts(address) {
                let address = multiaddr(ip, port, transport).to_string();
                self.table.heard(peer, &address, Source::Incoming, now);
            }
        }
    }

    /// This node has one more address: perhaps it is on another network, where those it knows are
    /// to be found again without waiting for what failed elsewhere.
    fn on_new_address(&mut self, address: &Multiaddr) {
        self.outside.mappings.look_again();
        if ip_of(address).is_some_and(|ip| !ip.is_loopback()) {
            let now = self.now_ms();
            self.table.retry_known(now);
            self.bootstrap.retry_failed(now);
            self.ask_again();
            self.look_up_soon();
        }
    }

    fn on_beacon(&mut self, beacon: &Beacon, from: SocketAddr) {
        let ports = [
            (Transport::Tcp, beacon.tcp, self.config.tcp),
            (Transport::Quic, beacon.udp, self.config.quic),
        ];
        let addresses: Vec<String> = ports
            .into_iter()
            .filter(|(_, port, on)| *on && *port != 0 && is_dialable(from.ip()))
            .map(|(transport, port, _)| multiaddr(from.ip(), port, transport).to_string())
            .collect();
        let sighting = self.table.heard_beacon(beacon, from.ip(), &addresses, self.now_ms());
        if matches!(sighting, Sighting::CopiedKey { .. }) {
            self.copied_at = Some((from.ip(), Instant::now()));
        }
        self.tell_sighting(beacon.peer, Source::Beacon, sighting);
    }

    pub(super) fn tell_sighting(&mut self, peer: PeerId, source: Source, sighting: Sighting) {
        self.reports.count(source, sighting, Instant::now());
        let told = match sighting {
            Sighting::New => true,
            Sighting::CopiedKey { .. } => {
                let now = Instant::now();
                let due = self
                    .copy_reported
                    .is_none_or(|at| now.saturating_duration_since(at) >= COPY_REPORT);
                if due {
                    self.copy_reported = Some(now);
                }
                due
            }
            _ => false,
        };
        if told {
            self.ready.push_back(NetworkEvent::Sighting { peer, source, sighting });
        }
    }
}
