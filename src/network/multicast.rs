//! Multicast DNS: the library's, kept within bounds.
//!
//! The library keeps each address of a name for as long as its sender says, a century if it likes,
//! tells of it once, and searches all of them one by one. Here a name is dropped with its addresses
//! after [`KEPT`]; whoever is still there answers the next question, and is told of again. Past
//! [`NAMES`] or [`ADDRESSES`] it is stopped for [`PAUSE`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::mdns;
use libp2p::swarm::NetworkBehaviour as _;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::behaviour::{FromSwarm, NewListenAddr};
use libp2p::{Multiaddr, PeerId as Libp2pPeerId};
use ocm_discovery::Source;
use socket2::{Domain, Protocol, Socket, Type};

use super::address::{is_dialable, parts};
use super::beacon::interfaces;
use super::connected::without_peer;
use super::from_libp2p;
use super::swarm::Network;

/// The port of multicast DNS.
const PORT: u16 = 5353;

/// How long a name is kept, and up to two rounds of [`Network::watch_mdns`] more: less than the five
/// minutes after which every node asks again.
const KEPT: Duration = Duration::from_secs(3 * 60);

/// Names heard in [`SHOWN`], at most.
const NAMES: usize = 1024;

/// Addresses that the library keeps, at most: of each name four, as where a node listens over IPv4
/// and IPv6 with TCP and QUIC. To search so many takes it some tens of microseconds.
const ADDRESSES: usize = 4 * NAMES;

/// How long a name counts as heard: as long as an address that it told is good for.
const SHOWN: Duration = Duration::from_secs(10 * 60);

/// For how long the networks of this machine are taken as they were: to ask the system for each
/// address that a flood tells would cost more than the flood.
const LINKS_KEPT: Duration = Duration::from_secs(1);

/// How long it is stopped after too many names.
const PAUSE: Duration = Duration::from_secs(30);

/// The state of multicast DNS.
#[derive(Debug, Default)]
pub(super) struct Multicast {
    /// Why it does not work.
    failed: Option<String>,
    /// Until when it is stopped because of a flood.
    paused: Option<Instant>,
    /// When each name was last told of.
    heard: BTreeMap<Libp2pPeerId, Instant>,
    /// The names that the library keeps, and since when that is known.
    kept: BTreeMap<Libp2pPeerId, Instant>,
    links: Links,
}

/// The interfaces of this machine as the system told them, and when.
#[derive(Debug, Default)]
struct Links(Option<(Instant, Vec<if_addrs::Interface>)>);

impl Links {
    /// The interfaces of this moment, or of less than [`LINKS_KEPT`] ago.
    fn at(
        &mut self,
        now: Instant,
        read: impl FnOnce() -> Vec<if_addrs::Interface>,
    ) -> &[if_addrs::Interface] {
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < LINKS_KEPT;
        let known = self.0.take().filter(|(at, _)| fresh(at));
        &self.0.insert(known.unwrap_or_else(|| (now, read()))).1
    }
}

impl Multicast {
    /// Whether so many names, and addresses that the library keeps, are more than there may be.
    fn is_flooded(&self, addresses: usize) -> bool {
        self.heard.len() > NAMES || addresses > ADDRESSES
    }

    /// Why it hears nobody, if so.
    pub(super) fn failure(&self) -> Option<String> {
        let flood = self.paused.map(|_| {
            format!(
                "more than {NAMES} names or {ADDRESSES} addresses were heard, someone floods the \
                 link: stopped for {} s; find the host that does, or set network.mdns \
                 (OCM_NETWORK_MDNS) to false",
                PAUSE.as_secs()
            )
        });
        flood.or_else(|| self.failed.clone())
    }

    /// Names heard on the link in the last ten minutes.
    pub(super) fn names(&self) -> usize {
        self.heard.len()
    }

    /// Of the names that the library keeps, those that it has kept for long enough: to be dropped,
    /// and taken for new ones should it still keep them at the next look.
    fn stale(&mut self, names: &BTreeSet<Libp2pPeerId>, now: Instant) -> Vec<Libp2pPeerId> {
        let age = |since: &Instant| now.saturating_duration_since(*since);
        self.heard.retain(|_, heard| age(heard) < SHOWN);
        self.kept.retain(|name, _| names.contains(name));
        for name in names {
            self.kept.entry(*name).or_insert(now);
        }
        let mut stale = Vec::new();
        self.kept.retain(|name, since| {
            let is_stale = age(since) >= KEPT;
            stale.extend(is_stale.then_some(*name));
            !is_stale
        });
        stale
    }
}

impl Network {
    /// Begins to ask, and to answer, over IPv4 and IPv6.
    pub(super) fn start_mdns(&mut self) {
        self.multicast = Multicast::default();
        if !self.config.mdns {
            return;
        }
        if let Err(e) = probe() {
            // The library would say so in the log, and not try again.
            self.multicast.failed = Some(format!(
                "cannot listen on UDP port {PORT}: {e}; stop what holds the port for itself alone"
            ));
            return;
        }
        let own = *self.swarm.local_peer_id();
        let listeners: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        let make = |enable_ipv6| {
            let config = mdns::Config { enable_ipv6, ..mdns::Config::default() };
            let mut behaviour = mdns::tokio::Behaviour::new(config, own)?;
            for addr in &listeners {
                let listener_id = ListenerId::next();
                let new = NewListenAddr { listener_id, addr };
                behaviour.on_swarm_event(FromSwarm::NewListenAddr(new));
            }
            Ok::<_, std::io::Error>(behaviour)
        };
        match (make(false), make(true)) {
            (Ok(v4), Ok(v6)) => {
                self.swarm.behaviour_mut().mdns4 = Some(v4).into();
                self.swarm.behaviour_mut().mdns6 = Some(v6).into();
            }
            (Err(e), _) | (_, Err(e)) => {
                self.multicast.failed = Some(format!("cannot watch the network interfaces: {e}"));
            }
        }
    }

    /// Takes note of what was heard.
    pub(super) fn on_mdns(&mut self, found: Vec<(Libp2pPeerId, Multiaddr)>) {
        let now = Instant::now();
        for (name, address) in found {
            self.multicast.heard.insert(name, now);
            self.on_mdns_address(&name, &address, now);
        }
        let behaviour = self.swarm.behaviour_mut();
        let both = [&behaviour.mdns4, &behaviour.mdns6].into_iter().filter_map(|b| b.as_ref());
        let addresses = both.map(|mdns| mdns.discovered_nodes().len()).sum();
        if self.multicast.is_flooded(addresses) {
            behaviour.mdns4 = Toggle::from(None);
            behaviour.mdns6 = Toggle::from(None);
            let paused = Some(now + PAUSE);
            self.multicast = Multicast { paused, ..Multicast::default() };
        }
    }

    /// The names that the library keeps, whether what it tells of them is believed or not.
    fn mdns_names(&self) -> BTreeSet<Libp2pPeerId> {
        let behaviour = self.swarm.behaviour();
        let both = [&behaviour.mdns4, &behaviour.mdns6].into_iter().filter_map(|b| b.as_ref());
        both.flat_map(|mdns| mdns.discovered_nodes().copied()).collect()
    }

    /// Over IPv4 the address is the one that the answer came from; over IPv6 it is what the answer
    /// says, and is to lie on a network of this machine.
    fn on_mdns_address(&mut self, name: &Libp2pPeerId, address: &Multiaddr, now: Instant) {
        let address = without_peer(address);
        let Some(peer) = from_libp2p(name).filter(|_| self.speaks(&address)) else { return };
        let Some((ip, ..)) = parts(&address).filter(|(ip, ..)| is_dialable(*ip)) else { return };
        let links = &mut self.multicast.links;
        if matches!(ip, IpAddr::V6(ip) if !is_on_link(ip, links.at(now, interfaces))) {
            return;
        }
        let (text, now) = (address.to_string(), self.now_ms());
        let sighting = self.table.heard_from(peer, ip, &text, Source::Mdns, now);
        self.tell_sighting(peer, Source::Mdns, sighting);
    }

    /// Starts again after a flood.
    pub(super) fn end_mdns_pause(&mut self) {
        if self.multicast.paused.is_some_and(|until| until <= Instant::now()) {
            self.start_mdns();
        }
    }

    /// Drops the names that were kept for long enough, and tries again what did not start.
    pub(super) fn watch_mdns(&mut self) {
        if self.multicast.failed.is_some() {
            self.start_mdns();
        }
        let stale = self.multicast.stale(&self.mdns_names(), Instant::now());
        self.drop_names(stale);
    }

    /// Drops every name, so that whoever is there is told of again when it answers. The library
    /// itself asks on a new address.
    pub(super) fn ask_again(&mut self) {
        self.multicast.links = Links::default();
        self.multicast.kept.clear();
        self.drop_names(self.mdns_names());
    }

    fn drop_names(&mut self, names: impl IntoIterator<Item = Libp2pPeerId>) {
        let behaviour = self.swarm.behaviour_mut();
        for name in names {
            for mdns in [&mut behaviour.mdns4, &mut behaviour.mdns6] {
                // There is no other way to make the library forget one.
                #[expect(deprecated)]
                mdns.as_mut().into_iter().for_each(|mdns| mdns.expire_node(&name));
            }
        }
    }
}

/// Whether the port can be shared with whatever else speaks multicast DNS on this machine.
fn probe() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())
}

/// Whether an address lies on a network that this machine has an address on.
fn is_on_link(ip: Ipv6Addr, interfaces: &[if_addrs::Interface]) -> bool {
    interfaces.iter().any(|interface| match &interface.addr {
        if_addrs::IfAddr::V6(own) => {
            let mask = u128::from(own.netmask);
            !own.ip.is_loopback() && u128::from(own.ip) & mask == u128::from(ip) & mask
        }
        if_addrs::IfAddr::V4(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::behaviour::BehaviourEvent;
    use super::super::config::NetworkConfig;
    use super::*;
    use ocm_record::{Boot, SigningKey};

    fn card() -> if_addrs::Interface {
        if_addrs::Interface {
            name: "eth0".to_owned(),
            addr: if_addrs::IfAddr::V6(if_addrs::Ifv6Addr {
                ip: "fd00::1".parse().unwrap(),
                netmask: "ffff:ffff:ffff:ffff::".parse().unwrap(),
                prefixlen: 64,
                broadcast: None,
            }),
            index: Some(2),
            oper_status: if_addrs::IfOperStatus::Up,
            is_p2p: false,
        }
    }

    #[test]
    fn only_what_lies_on_a_network_of_this_machine_is_on_the_link() {
        let own = card();
        let on_link = |ip: &str| is_on_link(ip.parse().unwrap(), std::slice::from_ref(&own));
        assert!(on_link("fd00::77:1"));
        assert!(!on_link("2001:db8::1") && !on_link("fd00:0:0:1::1") && !on_link("::1"));
    }

    #[test]
    fn the_system_is_asked_for_its_networks_once_a_second_whatever_is_heard() {
        let (mut links, start) = (Links::default(), Instant::now());
        let mut asked = 0;
        for n in 0..2_500 {
            let now = start + Duration::from_millis(n);
            let read = || {
                asked += 1;
                vec![card(); asked]
            };
            let seen = links.at(now, read).len();
            assert_eq!((seen, asked), (asked, n as usize / 1_000 + 1), "at {n} ms");
        }
    }

    #[tokio::test]
    async fn of_what_is_told_over_ipv6_only_addresses_of_ipv6_on_the_link_are_believed() {
        let key = |n| SigningKey::from_seed(&[n; 32]);
        let config = NetworkConfig {
            bind: vec![Ipv4Addr::LOCALHOST.into()],
            port: 0,
            mdns: false,
            beacon: None,
            ..NetworkConfig::new(key(1), Boot::from_bytes([1; 16]))
        };
        let mut network = Network::start(config, &mut Default::default()).unwrap();
        let now = Instant::now() + Duration::from_secs(3600);
        network.multicast.links = Links(Some((now, vec![card()])));
        let told: Vec<_> = [
            ("/ip4/10.1.0.66/tcp/1", false),
            ("/ip6/2001:db8::66/tcp/1", false),
            ("/ip6/fd00::66/tcp/1", true),
            ("/ip6/fd00::66/udp/1/quic-v1", true),
        ]
        .into_iter()
        .zip(10..)
        .map(|((address, believed), n)| {
            let peer = ocm_discovery::PeerId::new(key(n).public());
            (peer, address.parse::<Multiaddr>().unwrap(), believed)
        })
        .collect();
        let found = told.iter().map(|(peer, address, _)| {
            let name = super::super::to_libp2p(peer).unwrap();
            (name, address.clone().with_p2p(name).unwrap())
        });
        network.on_behaviour(BehaviourEvent::Mdns6(mdns::Event::Discovered(found.collect())));
        for (peer, address, believed) in told {
            assert_eq!(network.table.knows(&peer, &address.to_string()), believed, "{address}");
        }
    }

    #[test]
    fn a_name_is_kept_for_minutes_whatever_its_sender_says() {
        let (mut multicast, start) = (Multicast::default(), Instant::now());
        let (old, new) = (Libp2pPeerId::random(), Libp2pPeerId::random());
        let mut stale =
            |names: &[_], at| multicast.stale(&names.iter().copied().collect(), start + at);
        let minute = Duration::from_secs(60);
        assert!(stale(&[old], Duration::ZERO).is_empty());
        assert!(stale(&[old, new], minute).is_empty());
        assert_eq!(stale(&[old, new], KEPT), [old]);
        assert!(stale(&[old, new], KEPT).is_empty(), "an answer that came just then is a new one");
        assert!(stale(&[old], KEPT + minute).is_empty(), "the library has dropped the other");
        assert!(stale(&[old, new], KEPT + minute * 2).is_empty(), "and keeps it anew");
        assert_eq!(stale(&[old, new], KEPT * 2), [old]);
        assert_eq!(stale(&[new], KEPT * 2 + minute * 2), [new]);
        assert!(multicast.kept.is_empty());
    }

    #[test]
    fn a_name_counts_as_heard_for_ten_minutes() {
        let (mut multicast, start) = (Multicast::default(), Instant::now());
        multicast.heard.insert(Libp2pPeerId::random(), start);
        multicast.stale(&BTreeSet::new(), start + SHOWN - Duration::from_secs(1));
        assert_eq!(multicast.names(), 1);
        multicast.stale(&BTreeSet::new(), start + SHOWN);
        assert_eq!(multicast.names(), 0);
    }

    #[test]
    fn names_and_addresses_are_bounded() {
        let (mut multicast, now) = (Multicast::default(), Instant::now());
        assert!(!multicast.is_flooded(ADDRESSES) && multicast.is_flooded(ADDRESSES + 1));
        multicast.heard.extend((0..NAMES).map(|_| (Libp2pPeerId::random(), now)));
        assert!(!multicast.is_flooded(0));
        multicast.heard.insert(Libp2pPeerId::random(), now);
        assert!(multicast.is_flooded(0));
    }
}
