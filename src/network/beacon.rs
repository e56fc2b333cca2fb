//! The UDP beacon as a behaviour of the swarm: sends ours, hears others'.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::Sleep;

use super::address::{Transport, parts};
use super::config::BeaconConfig;
use super::draw;

/// Datagrams read before the rest of the swarm has its turn.
const READS_PER_TURN: usize = 32;

/// Datagrams verified in one second; more are dropped unread, so that no flood costs more than
/// a hundredth of a core.
const VERIFIES_PER_SECOND: u32 = 200;

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
    /// Beacons sent.
    pub(crate) sent: u64,
    /// Beacons of anyone heard.
    pub(crate) heard: u64,
    /// Datagrams that were no beacon.
    pub(crate) refused: u64,
    /// Datagrams dropped unread.
    pub(crate) dropped: u64,
}

pub(crate) struct Behaviour {
    key: SigningKey,
    boot: Boot,
    config: BeaconConfig,
    bind: Vec<IpAddr>,
    /// Opened again at every interval while one is missing.
    sockets: Vec<UdpSocket>,
    health: BeaconHealth,
    tcp: u16,
    udp: u16,
    timer: Option<Pin<Box<Sleep>>>,
    resolving: Option<Pin<Box<dyn Future<Output = Vec<SocketAddr>> + Send>>>,
    events: VecDeque<Heard>,
    second: Instant,
    verified: u32,
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
            sockets: Vec::new(),
            health: BeaconHealth::default(),
            tcp: 0,
            udp: 0,
            timer: None,
            resolving: None,
            events: VecDeque::new(),
            second: Instant::now(),
            verified: 0,
        };
        behaviour.open();
        behaviour
    }

    pub(crate) fn health(&self) -> BeaconHealth {
        self.health.clone()
    }

    /// Opens what is to be listened on. Bound to one address, the broadcast of its interface
    /// needs a socket of its own.
    fn open(&mut self) {
        self.sockets.clear();
        let mut cause = None;
        for ip in wanted(&self.bind, &interfaces()) {
            match open_socket(SocketAddr::new(ip, self.config.port)) {
                Ok(socket) => self.sockets.push(socket),
                // Without IPv6 the broadcast goes on as before; the interface's broadcast address
                // is a help to hearing, not a condition of it.
                Err(e) if ip.is_ipv4() && self.bind.contains(&ip) => cause = Some((ip, e)),
                Err(e) => tracing::debug!(%ip, error = %e, "no beacons are heard there"),
            }
        }
        self.health.closed = cause.map(|(ip, e)| {
            format!(
                "cannot listen for beacons on UDP {ip}:{}: {e}; stop what holds the port, or set \
                 network.discovery_port (OCM_DISCOVERY_PORT) to the one your other nodes use",
                self.config.port
            )
        });
        if self.sockets.is_empty() && self.health.closed.is_none() {
            self.health.closed = Some(format!(
                "no address to listen on for beacons could be opened on UDP port {}",
                self.config.port
            ));
        }
    }

    fn send(&mut self, hosts: &[SocketAddr]) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let beacon = Beacon {
            peer: PeerId::new(self.key.public()),
            boot: self.boot,
            tcp: self.tcp,
            udp: self.udp,
            time: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        };
        let Ok(datagram) = beacon.sign(&self.key) else { return };
        let broadcasts = broadcasts(&self.bind, &interfaces())
            .into_iter()
            .map(|ip| SocketAddr::new(ip.into(), self.config.port));
        let (mut sent, mut cause) = (false, None);
        for to in broadcasts.chain(hosts.iter().copied()).take(DESTINATIONS) {
            let socket = self
                .sockets
                .iter()
                .find(|s| s.local_addr().is_ok_and(|local| local.is_ipv4() == to.is_ipv4()));
            match socket.map(|socket| socket.try_send_to(&datagram, to)) {
                Some(Ok(_)) => sent = true,
                Some(Err(e)) => cause = Some(format!("no beacon could be sent, to {to}: {e}")),
                None => {}
            }
        }
        if sent {
            self.health.sent += 1;
            self.health.unsent = None;
        } else {
            self.health.unsent = Some(cause.unwrap_or_else(|| {
                "there is no network interface to broadcast on, and no host of \
                     network.beacon_hosts (OCM_NETWORK_BEACON_HOSTS) to send to"
                    .into()
            }));
        }
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
            (self.second, self.verified) = (now, 0);
        }
        if self.verified >= VERIFIES_PER_SECOND {
            self.health.dropped += 1;
            return;
        }
        self.verified += 1;
        match Beacon::verify(datagram) {
            Ok(beacon) => {
                self.health.heard += 1;
                self.events.push_back(Heard { beacon, from });
            }
            Err(_) => self.health.refused += 1,
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        while self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            if self.health.closed.is_some() {
                self.open();
            }
            if self.resolving.is_none() && !self.sockets.is_empty() {
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
        let mut read = 0;
        for at in 0..self.sockets.len() {
            loop {
                if read >= READS_PER_TURN {
                    cx.waker().wake_by_ref();
                    return;
                }
                let mut into = ReadBuf::new(&mut buffer);
                match self.sockets[at].poll_recv_from(cx, &mut into) {
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
    }
}

/// The interfaces of now; none when the system does not tell.
fn interfaces() -> Vec<if_addrs::Interface> {
    if_addrs::get_if_addrs().unwrap_or_default()
}

/// The addresses to open sockets on for these addresses to be reachable at.
fn wanted(bind: &[IpAddr], interfaces: &[if_addrs::Interface]) -> Vec<IpAddr> {
    let mut wanted: Vec<IpAddr> = bind.to_vec();
    if cfg!(unix) && !bind.iter().any(|ip| ip.is_ipv4() && ip.is_unspecified()) {
        wanted.extend(broadcasts(bind, interfaces).into_iter().map(IpAddr::V4));
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// The broadcast addresses of the interfaces that these addresses stand for. One that leads to a
/// single other side, as a tunnel of a VPN does, has none.
fn broadcasts(bind: &[IpAddr], interfaces: &[if_addrs::Interface]) -> Vec<Ipv4Addr> {
    const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
    let every = bind.iter().any(|ip| ip.is_ipv4() && ip.is_unspecified());
    let mut found = Vec::new();
    if every || bind.iter().any(|ip| ip.is_ipv4() && ip.is_loopback()) {
        found.push(LOOPBACK);
    }
    for interface in interfaces {
        if let if_addrs::IfAddr::V4(address) = &interface.addr
            && let Some(broadcast) = address.broadcast.filter(|_| !interface.is_p2p())
            && !address.ip.is_loopback()
            && (every || bind.contains(&IpAddr::V4(address.ip)))
        {
            // Where none was set up, the system names the address itself: then the one that stands
            // for whatever network is there.
            let set_up = broadcast != address.ip;
            found.push(if set_up { broadcast } else { Ipv4Addr::BROADCAST });
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn open_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    if address.is_ipv4() {
        socket.set_broadcast(true)?;
    } else {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
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
            && let Some((_, port, transport)) = parts(addr)
        {
            match transport {
                Transport::Tcp => self.tcp = port,
                Transport::Quic => self.udp = port,
            }
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

    fn interface(
        ip: [u8; 4],
        broadcast: Option<[u8; 4]>,
        is_p2p: bool,
    ) -> (IpAddr, if_addrs::Interface) {
        let ip = Ipv4Addr::from(ip);
        let netmask = Ipv4Addr::new(255, 255, 255, 0);
        let broadcast = broadcast.map(Ipv4Addr::from);
        let addr =
            if_addrs::IfAddr::V4(if_addrs::Ifv4Addr { ip, netmask, prefixlen: 24, broadcast });
        let oper_status = if_addrs::IfOperStatus::Up;
        let name = ip.to_string();
        (ip.into(), if_addrs::Interface { name, addr, index: None, oper_status, is_p2p })
    }

    #[test]
    fn a_tunnel_has_no_broadcast_and_no_listener_for_one() {
        let (lan, lan_is) = interface([10, 0, 0, 2], Some([10, 0, 0, 255]), false);
        let (bare, bare_is) = interface([10, 1, 0, 2], Some([10, 1, 0, 2]), false);
        let (tunnel, tunnel_is) = interface([10, 2, 0, 2], None, true);
        let (other, other_is) = interface([10, 3, 0, 2], Some([10, 3, 0, 2]), true);
        let (silent, silent_is) = interface([10, 4, 0, 2], None, false);
        let all = [lan_is, bare_is, tunnel_is, other_is, silent_is];
        for ip in [tunnel, other, silent] {
            assert!(broadcasts(&[ip], &all).is_empty());
            assert_eq!(wanted(&[ip], &all), [ip]);
        }
        assert_eq!(broadcasts(&[lan, tunnel], &all), [Ipv4Addr::new(10, 0, 0, 255)]);
        assert_eq!(broadcasts(&[bare], &all), [Ipv4Addr::BROADCAST], "none was set up");
        let every = broadcasts(&[Ipv4Addr::UNSPECIFIED.into()], &all);
        let loopback = Ipv4Addr::new(127, 255, 255, 255);
        assert_eq!(every, [Ipv4Addr::new(10, 0, 0, 255), loopback, Ipv4Addr::BROADCAST]);
    }
}
