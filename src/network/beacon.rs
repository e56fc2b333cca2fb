//! The UDP beacon as a behaviour of the swarm: sends ours, hears others'.

mod ways;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{FromSwarm, NewListenAddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId as Libp2pPeerId};
use ocm_discovery::{BEACON_BYTES, Beacon, PeerId};
use ocm_record::{Boot, SigningKey};
use tokio::io::ReadBuf;
use tokio::time::Sleep;

use super::address::{Transport, parts};
use super::config::BeaconConfig;
use super::draw;
use super::recent::Recent;
pub(super) use ways::interfaces;
use ways::{Ways, broadcasts};

/// Datagrams read from one socket before the others, and the rest of the swarm, have their turn.
const READS_PER_TURN: usize = 16;

/// Datagrams verified in one second that came over IPv4, and as many over IPv6; more are dropped
/// unread, so that no flood costs more than a hundredth of a core. Who makes up addresses of the one
/// leaves room for the other.
const VERIFIES_PER_SECOND: u32 = 100;

/// Of them, from one IP address: ten nodes behind it may all be heard, and one that floods leaves
/// room for everyone else.
const VERIFIES_PER_HOST: u32 = 20;

/// Hosts that beacons are sent to besides the broadcast.
const HOSTS: usize = 32;

/// Addresses that one beacon is sent to.
const DESTINATIONS: usize = 64;

/// What was heard.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) beacon: Beacon,
    pub(crate) from: SocketAddr,
}

/// How the beacon does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BeaconHealth {
    /// Why it cannot be heard: the socket is not open.
    pub(crate) closed: Option<String>,
    /// Why the last beacon could be sent nowhere.
    pub(crate) unsent: Option<String>,
    /// Datagrams dropped unread in the last minute.
    pub(crate) dropped: u64,
    /// Where the last of them came from.
    pub(crate) flooder: Option<IpAddr>,
}

/// The ports that are listened on, TCP and UDP, 0 for none: over IPv4 and over IPv6 each its own
/// where the system chose them.
#[derive(Debug, Default)]
struct Ports {
    v4: (u16, u16),
    v6: (u16, u16),
}

impl Ports {
    /// Takes note of a listener. Returns whether a beacon can tell of it.
    fn listen(&mut self, address: &Multiaddr) -> bool {
        let Some((ip, port, transport)) = parts(address) else { return false };
        let (tcp, udp) = if ip.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        match transport {
            Transport::Tcp => *tcp = port,
            Transport::Quic => *udp = port,
        }
        true
    }
}

pub(crate) struct Behaviour {
    key: SigningKey,
    boot: Boot,
    config: BeaconConfig,
    bind: Vec<IpAddr>,
    /// Looked after at every interval: interfaces come and go.
    ways: Ways,
    closed: Option<String>,
    unsent: Option<String>,
    dropped: Recent,
    flooder: Option<IpAddr>,
    ports: Ports,
    timer: Option<Pin<Box<Sleep>>>,
    resolving: Option<Pin<Box<dyn Future<Output = Vec<SocketAddr>> + Send>>>,
    events: VecDeque<Heard>,
    second: Instant,
    /// Datagrams verified in this second, by where they came from.
    verified: BTreeMap<IpAddr, u32>,
}

impl Behaviour {
    pub(crate) fn new(
        config: BeaconConfig,
        bind: Vec<IpAddr>,
        key: SigningKey,
        boot: Boot,
    ) -> Self {
        let mut behaviour = Self {
            key,
            boot,
            config,
            bind,
            ways: Ways::default(),
            closed: None,
            unsent: None,
            dropped: Recent::new(Instant::now()),
            flooder: None,
            ports: Ports::default(),
            timer: None,
            resolving: None,
            events: VecDeque::new(),
            second: Instant::now(),
            verified: BTreeMap::new(),
        };
        behaviour.open();
        behaviour
    }

    pub(crate) fn health(&self) -> BeaconHealth {
        let dropped = self.dropped.sum(Instant::now());
        BeaconHealth {
            closed: self.closed.clone(),
            unsent: self.unsent.clone(),
            dropped,
            flooder: self.flooder.filter(|_| dropped > 0),
        }
    }

    /// Opens what is to be listened on, and closes what is no longer.
    fn open(&mut self) {
        let cause = self.ways.follow(&self.bind, &interfaces(), self.config.port);
        self.closed = cause.map(|(ip, e)| {
            format!(
                "cannot listen for beacons on UDP {ip}:{}: {e}; stop what holds the port, or set \
                 network.discovery_port (OCM_DISCOVERY_PORT) to the one your other nodes use",
                self.config.port
            )
        });
        if self.ways.open.is_empty() && self.closed.is_none() {
            self.closed = Some(format!(
                "no address to listen on for beacons could be opened on UDP port {}",
                self.config.port
            ));
        }
    }

    fn send(&mut self, hosts: &[SocketAddr]) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let sign = |(tcp, udp)| {
            let peer = PeerId::new(self.key.public());
            Beacon { peer, boot: self.boot, tcp, udp, time }.sign(&self.key).ok()
        };
        let (v4, v6) = (sign(self.ports.v4), sign(self.ports.v6));
        let broadcasts = broadcasts(&self.bind, &interfaces())
            .into_iter()
            .map(|ip| SocketAddr::new(ip.into(), self.config.port));
        let to_all = broadcasts
            .chain(hosts.iter().copied())
            .filter_map(|to| Some((self.ways.towards(&to)?, to)))
            .chain(self.ways.to_group(self.config.port));
        let (mut sent, mut cause) = (false, None);
        for (socket, to) in to_all.take(DESTINATIONS) {
            // Nothing is listened on there: there is nothing to say.
            let Some(datagram) = (if to.is_ipv4() { &v4 } else { &v6 }) else { continue };
            match socket.try_send_to(datagram, to) {
                Ok(_) => sent = true,
                Err(e) => cause = Some(format!("no beacon could be sent, to {to}: {e}")),
            }
        }
        self.unsent = (!sent).then(|| {
            cause.unwrap_or_else(|| {
                "there is no network interface to broadcast on, and no host of \
                 network.beacon_hosts (OCM_NETWORK_BEACON_HOSTS) to send to"
                    .into()
            })
        });
    }

    fn wait(&mut self, time: Duration) {
        self.timer = Some(Box::pin(tokio::time::sleep(time)));
    }

    /// Four to six fifths of the interval.
    fn jittered(&self) -> Duration {
        let share = (draw() % 400_001) as f64 / 1_000_000.0;
        self.config.interval.mul_f64(0.8 + share)
    }

    fn take(&mut self, datagram: &[u8], from: SocketAddr) {
        let now = Instant::now();
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.verified.clear();
        }
        let alike = self.verified.iter().filter(|(ip, _)| ip.is_ipv4() == from.is_ipv4());
        let of_all: u32 = alike.map(|(_, count)| count).sum();
        let of_host = self.verified.get(&from.ip()).copied().unwrap_or(0);
        if of_all >= VERIFIES_PER_SECOND || of_host >= VERIFIES_PER_HOST {
            self.dropped.count(now);
            self.flooder = Some(from.ip());
            return;
        }
        self.verified.insert(from.ip(), of_host + 1);
        match Beacon::verify(datagram) {
            Ok(beacon) => self.events.push_back(Heard { beacon, from }),
            Err(error) => tracing::trace!(%from, %error, "a datagram that is no beacon"),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        while self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            self.open();
            if self.resolving.is_none() && !self.ways.open.is_empty() {
                let (hosts, port) = (self.config.hosts.clone(), self.config.port);
                self.resolving = Some(Box::pin(resolve(hosts, port)));
            }
            self.wait(self.jittered());
        }
        if let Some(resolving) = self.resolving.as_mut()
            && let Poll::Ready(hosts) = resolving.as_mut().poll(cx)
        {
            self.resolving = None;
            self.send(&hosts);
        }
    }

    fn poll_sockets(&mut self, cx: &mut Context<'_>) {
        // One byte more than a beacon has shows that there were more.
        let mut buffer = [0; BEACON_BYTES + 1];
        let ways = std::mem::take(&mut self.ways);
        for socket in ways.open.values() {
            let mut read = 0;
            loop {
                if read >= READS_PER_TURN {
                    cx.waker().wake_by_ref();
                    break;
                }
                let mut into = ReadBuf::new(&mut buffer);
                match socket.poll_recv_from(cx, &mut into) {
                    Poll::Ready(Ok(from)) => {
                        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                        self.take(into.filled(), from);
                    }
                    // An error of an earlier send, reported late: nothing to do for a reader.
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => break,
                }
                read += 1;
            }
        }
        self.ways = ways;
    }
}

/// The configured hosts' addresses of now; one that cannot be resolved is tried again next time.
async fn resolve(hosts: Vec<String>, port: u16) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for host in hosts.into_iter().take(HOSTS) {
        let named = if let Ok(ip) = host.parse::<IpAddr>() {
            SocketAddr::new(ip, port).to_string()
        } else if host.contains(':') {
            host
        } else {
            format!("{host}:{port}")
        };
        match tokio::net::lookup_host(named.as_str()).await {
            Ok(addresses) => found.extend(addresses.take(4)),
            Err(e) => tracing::debug!(host = named, error = %e, "a beacon's host is not resolved"),
        }
    }
    found
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Heard;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: Libp2pPeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: Libp2pPeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::NewListenAddr(NewListenAddr { addr, .. }) = event
            && self.ports.listen(addr)
        {
            // The first beacon follows soon, yet after the addresses that come together.
            self.wait(Duration::from_millis(50 + draw() % 200));
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: Libp2pPeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Heard, THandlerInEvent<Self>>> {
        if let Some(heard) = self.events.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(heard));
        }
        self.poll_timer(cx);
        self.poll_sockets(cx);
        match self.events.pop_front() {
            Some(heard) => Poll::Ready(ToSwarm::GenerateEvent(heard)),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_floods_leaves_room_for_everyone_else() {
        let key = |n| SigningKey::from_seed(&[n; 32]);
        let config = BeaconConfig { port: 0, ..BeaconConfig::default() };
        let bind = vec![std::net::Ipv4Addr::LOCALHOST.into()];
        let mut behaviour = Behaviour::new(config, bind, key(1), Boot::from_bytes([1; 16]));
        let peer = PeerId::new(key(2).public());
        let beacon = Beacon { peer, boot: Boot::from_bytes([2; 16]), tcp: 1, udp: 0, time: 0 };
        let datagram = beacon.sign(&key(2)).unwrap();
        let from = |host| SocketAddr::from(([10, 1, 0, host], 8081));
        // All within a second, whatever the machine does meanwhile.
        behaviour.second = Instant::now() + Duration::from_secs(3600);
        for n in 0..10_000u16 {
            behaviour.take(&n.to_be_bytes(), from(66));
        }
        behaviour.take(&datagram, from(7));
        assert_eq!(behaviour.events.len(), 1);
        let health = behaviour.health();
        assert_eq!(health.dropped, 10_000 - u64::from(VERIFIES_PER_HOST));
        assert_eq!(health.flooder, Some(from(66).ip()));
        for host in 100..=255 {
            for _ in 0..VERIFIES_PER_HOST {
                behaviour.take(&datagram, from(host));
            }
        }
        let all = usize::try_from(VERIFIES_PER_SECOND - VERIFIES_PER_HOST).unwrap();
        assert_eq!(behaviour.events.len(), all, "nor do many of them take more than a share");
        for host in 0..=9_999u16 {
            let made_up = std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 6, host);
            behaviour.take(&datagram, SocketAddr::from((made_up, 8081)));
        }
        let both = all + usize::try_from(VERIFIES_PER_SECOND).unwrap();
        assert_eq!(behaviour.events.len(), both, "and IPv6 has a share of its own");
    }

    #[test]
    fn each_family_is_told_the_ports_of_its_own() {
        let mut ports = Ports::default();
        for (text, told) in [
            ("/ip4/10.1.0.1/tcp/1", true),
            ("/ip6/fd00::1/tcp/2", true),
            ("/ip4/10.1.0.1/udp/3/quic-v1", true),
            ("/dns4/a.example/tcp/4", false),
        ] {
            assert_eq!(ports.listen(&text.parse().unwrap()), told, "{text}");
        }
        assert_eq!((ports.v4, ports.v6), ((1, 3), (2, 0)));
    }
}
