//! Relays (circuit relay v2): serving as one, and being reached through one.
//!
//! Whoever reserves a place at a relay is reached through it: the relay passes on bytes that the two
//! ends encrypt and authenticate between themselves, as on any other connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use libp2p::core::transport::ListenerId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, relay};
use ocm_discovery::{BOOTSTRAP_BACKOFF, Led, PeerId};

use super::address::{PeerAddress, ip_of, is_public, is_relayed, multiaddr, through};
use super::behaviour::REQUEST_TIMEOUT;
use super::config::RelayLimits;
use super::dialling::Entry;
use super::event::{Health, NetworkError, NetworkEvent, Reachability};
use super::swarm::Network;
use super::{draw, from_libp2p, to_libp2p};

/// How long a direct connection stands before one through a relay is left for it: both sides have
/// seen it by then.
const SETTLED: Duration = Duration::from_secs(2);

/// Places that a node which nobody can dial holds at peers that offer them, where its owner names no
/// relay: a second one for when the first goes.
const OFFERED: usize = 2;

/// What the library is told of the limits.
pub(super) fn limited(limits: &RelayLimits) -> relay::Config {
    relay::Config {
        max_reservations: limits.reservations,
        max_reservations_per_peer: limits.reservations_per_peer,
        reservation_duration: limits.reservation,
        max_circuits: limits.circuits,
        max_circuits_per_peer: limits.circuits_per_peer,
        max_circuit_duration: limits.circuit,
        max_circuit_bytes: limits.circuit_bytes,
        // How often each peer and each address may ask.
        ..relay::Config::default()
    }
}

/// A place at a relay, by the relay's name.
pub(super) type Reservations = BTreeMap<PeerId, Reservation>;

#[derive(Debug, Default)]
pub(super) struct Reservation {
    /// That of the reservation that is held or asked for.
    listener: Option<ListenerId>,
    held: bool,
    /// Attempts in a row that came to nothing.
    failures: u32,
    /// It is not asked for before this time.
    next: u64,
    /// Why it is not held.
    cause: Option<String>,
}

/// Peers that hold places at this relay, and how many each.
pub(super) type Places = BTreeMap<libp2p::PeerId, usize>;

impl Network {
    /// Takes note of who takes a place here, and who gives one up.
    pub(super) fn on_place_taken(&mut self, event: &relay::Event) {
        match event {
            relay::Event::ReservationReqAccepted { src_peer_id, renewed: false } => {
                *self.places.entry(*src_peer_id).or_default() += 1;
            }
            relay::Event::ReservationTimedOut { src_peer_id }
            | relay::Event::ReservationClosed { src_peer_id } => {
                let left = self.places.get(src_peer_id).map_or(0, |held| held.saturating_sub(1));
                match left {
                    0 => drop(self.places.remove(src_peer_id)),
                    left => drop(self.places.insert(*src_peer_id, left)),
                }
            }
            _ => {}
        }
    }

    /// How it stands with relaying for others; `None` where this node does not.
    pub(super) fn of_relaying(&self) -> Option<(Health, String)> {
        let most = self.config.relay.as_ref()?.reservations;
        let taken: usize = self.places.values().sum();
        let is_outer =
            |address: &&Multiaddr| !is_relayed(address) && ip_of(address).is_none_or(is_public);
        let outer: Vec<String> =
            self.swarm.external_addresses().filter(is_outer).map(ToString::to_string).collect();
        let (reached, trouble) = match (outer.is_empty(), self.reachability()) {
            (true, _) => {
                let why = "no public address of it is known: peers on other networks cannot use it";
                (why.to_owned(), Some(why))
            }
            (false, Reachability::Private) => {
                let why = "peers outside cannot dial it";
                (format!("{} is told to them, and {why}", outer.join(", ")), Some(why))
            }
            (false, Reachability::Public(address)) => {
                (format!("a peer outside reached it at {address}"), None)
            }
            (false, Reachability::Unknown) => {
                (format!("it is at {}, as far as is known", outer.join(", ")), None)
            }
        };
        let detail = format!("{taken} of {most} places are taken; {reached}");
        Some(match trouble {
            Some(why) => (Health::Troubled(why.to_owned()), detail),
            None if taken >= most => (Health::Troubled("every place is taken".to_owned()), detail),
            None => (Health::Working, detail),
        })
    }

    /// Dials these addresses for ever, and reserves a place at the relays they lead to.
    pub(super) fn add_relays(&mut self, addresses: &[String]) -> Result<(), NetworkError> {
        let now = self.now_ms();
        for text in addresses {
            let told = |error: &dyn std::fmt::Display| NetworkError::Relay(error.to_string());
            let address: PeerAddress = text.parse().map_err(|e| told(&e))?;
            address.check_transport(self.config.tcp, self.config.quic).map_err(|e| told(&e))?;
            if address.is_relayed() {
                return Err(told(&format!("{text:?} is itself reached through a relay")));
            }
            let id = self.bootstrap.add(text, now);
            let id = id.ok_or_else(|| NetworkError::TooManyBootstrap(self.entries.len() + 1))?;
            let text = text.clone();
            let new = Entry { text, address, configured: false, relay: true, kept: false };
            self.entries.entry(id).or_insert(new).relay = true;
        }
        Ok(())
    }

    /// The relays at which to hold a place: those that are configured and found, or without any, where
    /// nobody can dial this node, peers that offer to relay. Who each is, and an address that leads there.
    fn relays(&self) -> Vec<(PeerId, Multiaddr)> {
        if !self.entries.values().any(|entry| entry.relay) {
            return self.offered();
        }
        let mut relays = Vec::new();
        for status in self.bootstrap.status() {
            let entry = self.entries.values().find(|e| e.relay && e.text == status.text);
            let Some(entry) = entry else { continue };
            for (name, led) in status.led {
                let Some(Led::Peer(peer)) = led else { continue };
                let given = || {
                    let socket: SocketAddr = name.parse().ok()?;
                    let transports = entry.address.transports(self.config.tcp, self.config.quic);
                    Some(multiaddr(socket.ip(), socket.port(), *transports.first()?))
                };
                let dialled = self.connected.dialled_address(&peer).cloned();
                relays.extend(dialled.or_else(given).map(|address| (peer, address)));
            }
        }
        relays
    }

    fn offered(&self) -> Vec<(PeerId, Multiaddr)> {
        if self.reachability() != Reachability::Private {
            return Vec::new();
        }
        let offers = self.connected.offers().map(|(peer, address)| (peer, address.clone()));
        let mut offers: Vec<_> = offers.collect();
        // Where a place is held or was asked for comes first; false is before true.
        offers.sort_by_key(|(peer, _)| !self.reservations.contains_key(peer));
        offers.truncate(OFFERED);
        offers
    }

    /// Asks for the places that are not held.
    pub(super) fn reserve_due(&mut self) {
        let now = self.now_ms();
        let relays = self.relays();
        self.reservations.retain(|peer, place| {
            place.listener.is_some() || relays.iter().any(|(relay, _)| relay == peer)
        });
        for (peer, address) in relays {
            let place = self.reservations.entry(peer).or_default();
            let due = place.listener.is_none() && place.next <= now;
            let Some(name) = to_libp2p(&peer).filter(|_| due && self.connected.is_direct(&peer))
            else {
                continue;
            };
            match self.swarm.listen_on(through(address, name)) {
                Ok(listener) => place.listener = Some(listener),
                Err(error) => place.failed(error.to_string(), now),
            }
        }
    }

    /// What the relays said.
    pub(super) fn on_relay_client(&mut self, event: &relay::client::Event) {
        let relay::client::Event::ReservationReqAccepted { relay_peer_id, renewal, .. } = event
        else {
            return;
        };
        let Some(place) = from_libp2p(relay_peer_id).and_then(|p| self.reservations.get_mut(&p))
        else {
            return;
        };
        *place = Reservation { listener: place.listener, held: true, ..Reservation::default() };
        if !renewal {
            let leads_there = |address: &&Multiaddr| {
                let name = libp2p::multiaddr::Protocol::P2p(*relay_peer_id);
                is_relayed(address) && address.iter().any(|part| part == name)
            };
            let address = self.swarm.external_addresses().find(leads_there);
            self.ready.extend(
                address.map(|address| NetworkEvent::Listening { address: address.to_string() }),
            );
        }
    }

    /// A listener ended; if it was a place at a relay, returns the relay.
    pub(super) fn on_place_lost(&mut self, listener: ListenerId, cause: &str) -> Option<PeerId> {
        let now = self.now_ms();
        let (peer, place) =
            self.reservations.iter_mut().find(|(_, place)| place.listener == Some(listener))?;
        place.failed(cause.to_owned(), now);
        Some(*peer)
    }

    /// Makes a second circuit to those that are reached through a relay alone: each new one has its
    /// ends punch holes, and the first may have been made before they knew where they are seen.
    pub(super) fn punch_again(&mut self) {
        for (peer, address) in self.connected.punches_due(self.now_ms()) {
            let Some(name) = to_libp2p(&peer) else { continue };
            let opts = DialOpts::peer_id(name).addresses(vec![address]);
            if let Err(error) = self.swarm.dial(opts.condition(PeerCondition::Always).build()) {
                tracing::debug!(%peer, %error, "no second circuit");
            }
        }
    }

    /// Ends the connections through relays that another one has taken the place of: once nothing is
    /// under way on them, and in any case when that would have been answered.
    pub(super) fn leave_circuits(&mut self) {
        for (peer, circuit, direct_ms) in self.connected.superseded(self.now_ms()) {
            let busy = self.asking.values().any(|(_, asked)| *asked == peer)
                || self.asked.values().any(|asked| asked.peer == peer);
            let wait = if busy { REQUEST_TIMEOUT } else { SETTLED };
            if u128::from(direct_ms) >= wait.as_millis() {
                self.swarm.close_connection(circuit);
            }
        }
    }

    /// How it stands with the places at relays; `None` where none is configured, or
    /// used.
    pub(super) fn of_relays(&self) -> Option<(Health, String)> {
        let wanted = self.entries.values().filter(|entry| entry.relay).count();
        if wanted == 0 && self.reservations.is_empty() {
            return None;
        }
        let held = self.reservations.values().filter(|place| place.held).count();
        let detail = match wanted {
            0 => format!("a place is held at {held} peers that offer to relay"),
            _ => format!("a place is held at {held} relays, {wanted} addresses are configured"),
        };
        let places = self.reservations.iter().filter(|(_, place)| !place.held);
        let mut causes: Vec<String> = places
            .filter_map(|(peer, place)| Some(format!("{peer}: {}", place.cause.as_ref()?)))
            .collect();
        causes.extend(self.bootstrap.status().into_iter().filter_map(|status| {
            let relay = self.entries.values().any(|e| e.relay && e.text == status.text);
            Some(format!("{}: {}", status.text, status.cause.filter(|_| relay)?))
        }));
        let cause = causes.join("; ");
        Some(match (held, causes.is_empty()) {
            (0, true) => (Health::Failing("no place is held yet".to_owned()), detail),
            (0, false) => (Health::Failing(cause.clone()), format!("{detail}; {cause}")),
            (_, true) => (Health::Working, detail),
            (_, false) => (Health::Troubled(cause.clone()), format!("{detail}; {cause}")),
        })
    }
}

impl Reservation {
    /// It is not held, and asked for again later.
    fn failed(&mut self, cause: String, now: u64) {
        self.listener = None;
        self.held = false;
        self.next = now.saturating_add(BOOTSTRAP_BACKOFF.delay(self.failures, draw()));
        self.failures = self.failures.saturating_add(1);
        self.cause = Some(cause);
    }
}
