//! Addresses as people write them, and as transports dial them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use ocm_discovery::PeerId;

use super::to_libp2p;

/// Characters of an address, at most.
const TEXT_LIMIT: usize = 512;

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither form.
    #[error(
        "{0:?} is no address: write host:port, or a multiaddr such as \
         /ip4/192.0.2.1/tcp/8080 or /dns4/ocm.example/udp/8080/quic-v1"
    )]
    Form(String),
    /// A multiaddr of something this node cannot dial.
    #[error(
        "{0:?} cannot be dialled: only /ip4, /ip6, /dns, /dns4 and /dns6 with /tcp/PORT or \
         /udp/PORT/quic-v1, and /p2p/PEERID at the end, can; through a relay, with \
         /p2p/RELAY/p2p-circuit/p2p/PEERID at the end"
    )]
    Unsupported(String),
    /// Of a transport that is turned off.
    #[error("{0:?} cannot be dialled: that transport is turned off in the configuration")]
    TurnedOff(String),
    /// One too many.
    #[error(
        "{0:?} is not dialled: {limit} addresses are already, at most; `ocm peer forget` makes room",
        limit = ocm_discovery::BOOTSTRAP_ENTRIES
    )]
    TooMany(String),
}

/// Which host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    /// A name, resolved at every dial; for IPv4 only, IPv6 only, or both.
    Name(String, Option<Version>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP with noise and yamux.
    Tcp,
    /// QUIC on UDP.
    Quic,
}

impl Transport {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }
}

/// An address that the operator gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    host: Host,
    port: u16,
    /// `None` for `host:port`: whichever works.
    transport: Option<Transport>,
    /// The relay that is there, where the peer is reached through one.
    relay: Option<PeerId>,
    peer: Option<PeerId>,
}

/// One place to dial: an IP address, a port, and the transports to try, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Names the place among those an entry resolves to.
    pub(crate) name: String,
    /// What to dial, one after the other until one answers.
    pub(crate) attempts: Vec<Multiaddr>,
    /// Who must answer.
    pub(crate) peer: Option<PeerId>,
}

impl FromStr for PeerAddress {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let shown = || text.chars().take(100).collect::<String>();
        if text.len() > TEXT_LIMIT {
            return Err(AddressError::Form(shown()));
        }
        if text.starts_with('/') {
            let address: Multiaddr = text.parse().map_err(|_| AddressError::Form(shown()))?;
            return Self::from_multiaddr(&address)
                // Nobody but the relay itself could say who is meant.
                .filter(|address| address.relay.is_none() || address.peer.is_some())
                .ok_or_else(|| AddressError::Unsupported(shown()));
        }
        Self::from_host_port(text).ok_or_else(|| AddressError::Form(shown()))
    }
}

impl PeerAddress {
    fn from_host_port(text: &str) -> Option<Self> {
        let (host, port) = if let Ok(socket) = text.parse::<SocketAddr>() {
            (Host::Ip(socket.ip()), socket.port())
        } else {
            let (name, port) = text.rsplit_once(':')?;
            (Host::Name(host_name(name)?, None), port.parse().ok()?)
        };
        (port != 0).then_some(Self { host, port, transport: None, relay: None, peer: None })
    }

    fn from_multiaddr(address: &Multiaddr) -> Option<Self> {
        let mut parts = address.iter();
        let name = |name: &str, version| Some(Host::Name(host_name(name)?, version));
        let host = match parts.next()? {
            Protocol::Ip4(ip) => Host::Ip(ip.into()),
            Protocol::Ip6(ip) => Host::Ip(ip.into()),
            Protocol::Dns(text) => name(&text, None)?,
            Protocol::Dns4(text) => name(&text, Some(Version::V4))?,
            Protocol::Dns6(text) => name(&text, Some(Version::V6))?,
            _ => return None,
        };
        let (transport, port) = match parts.next()? {
            Protocol::Tcp(port) => (Transport::Tcp, port),
            Protocol::Udp(port) => match parts.next()? {
                Protocol::QuicV1 => (Transport::Quic, port),
                _ => return None,
            },
            _ => return None,
        };
        let mut peers = Vec::new();
        let mut circuit = false;
        for part in parts {
            match part {
                Protocol::P2p(peer) if peers.len() == usize::from(circuit) => {
                    peers.push(PeerId::try_from(peer.to_bytes().as_slice()).ok()?);
                }
                Protocol::P2pCircuit if !circuit && peers.len() == 1 => circuit = true,
                _ => return None,
            }
        }
        let mut peers = peers.into_iter();
        let relay = if circuit { peers.next() } else { None };
        let peer = peers.next();
        (port != 0).then_some(Self { host, port, transport: Some(transport), relay, peer })
    }

    /// The peer the address names.
    #[must_use]
    pub const fn peer(&self) -> Option<PeerId> {
        self.peer
    }

    /// Whether the peer is reached through a relay.
    #[must_use]
    pub const fn is_relayed(&self) -> bool {
        self.relay.is_some()
    }

    /// The place it stands for, unless it is a name or behind a relay.
    pub(crate) fn place(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Ip(_) if self.is_relayed() => None,
            Host::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            Host::Name(..) => None,
        }
    }

    /// The transports to try, of those that are on.
    pub(crate) fn transports(&self, tcp: bool, quic: bool) -> Vec<Transport> {
        [(Transport::Tcp, tcp), (Transport::Quic, quic)]
            .into_iter()
            .filter(|(t, on)| *on && self.transport.is_none_or(|wanted| wanted == *t))
            .map(|(t, _)| t)
            .collect()
    }

    /// Whether any transport that is on can dial it.
    ///
    /// # Errors
    /// [`AddressError::TurnedOff`].
    pub fn check_transport(&self, tcp: bool, quic: bool) -> Result<(), AddressError> {
        if self.transports(tcp, quic).is_empty() {
            Err(AddressError::TurnedOff(self.to_string()))
        } else {
            Ok(())
        }
    }

    /// The places it stands for now. Names are looked up as this machine looks names up.
    pub(crate) async fn resolve(&self, tcp: bool, quic: bool) -> Result<Vec<Target>, String> {
        let mut addresses: Vec<IpAddr> = match &self.host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name, version) => tokio::net::lookup_host((name.as_str(), self.port))
                .await
                .map_err(|e| format!("cannot resolve {name}: {e}"))?
                .map(|socket| socket.ip())
                .filter(|ip| match version {
                    None => true,
                    Some(Version::V4) => ip.is_ipv4(),
                    Some(Version::V6) => ip.is_ipv6(),
                })
                .collect(),
        };
        addresses.sort_unstable();
        addresses.dedup();
        let transports = self.transports(tcp, quic);
        let relay = self.relay.as_ref().and_then(to_libp2p);
        Ok(addresses
            .into_iter()
            .map(|ip| {
                let socket = SocketAddr::new(ip, self.port);
                let to = |transport: &Transport| {
                    let address = multiaddr(ip, self.port, *transport);
                    match relay {
                        Some(relay) => through(address, relay),
                        None => address,
                    }
                };
                let name = match relay {
                    Some(relay) => format!("{socket}/p2p/{relay}/p2p-circuit"),
                    None => socket.to_string(),
                };
                Target { name, attempts: transports.iter().map(to).collect(), peer: self.peer }
            })
            .collect())
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(transport) = self.transport else {
            return match &self.host {
                Host::Ip(ip) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
                Host::Name(name, _) => write!(f, "{name}:{}", self.port),
            };
        };
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => write!(f, "/ip4/{ip}")?,
            Host::Ip(IpAddr::V6(ip)) => write!(f, "/ip6/{ip}")?,
            Host::Name(name, None) => write!(f, "/dns/{name}")?,
            Host::Name(name, Some(Version::V4)) => write!(f, "/dns4/{name}")?,
            Host::Name(name, Some(Version::V6)) => write!(f, "/dns6/{name}")?,
        }
        match transport {
            Transport::Tcp => write!(f, "/tcp/{}", self.port)?,
            Transport::Quic => write!(f, "/udp/{}/quic-v1", self.port)?,
        }
        if let Some(relay) = self.relay {
            write!(f, "/p2p/{relay}/p2p-circuit")?;
        }
        self.peer.map_or(Ok(()), |peer| write!(f, "/p2p/{peer}"))
    }
}

/// A host name of letters, digits, hyphens, underscores and dots.
fn host_name(text: &str) -> Option<String> {
    let fits = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    fits.then(|| text.to_owned())
}

/// The multiaddr of a port at an IP address.
pub(crate) fn multiaddr(ip: IpAddr, port: u16, transport: Transport) -> Multiaddr {
    let address = Multiaddr::empty().with(ip.into());
    match transport {
        Transport::Tcp => address.with(Protocol::Tcp(port)),
        Transport::Quic => address.with(Protocol::Udp(port)).with(Protocol::QuicV1),
    }
}

/// The way to whoever holds a reservation at a relay, whose address is given without its PeerId.
pub(crate) fn through(relay_address: Multiaddr, relay: libp2p::PeerId) -> Multiaddr {
    relay_address.with(Protocol::P2p(relay)).with(Protocol::P2pCircuit)
}

/// Whether it is the way through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The transport over which an address is dialled; of one through a relay, that to the relay.
pub(crate) fn transport_of(address: &Multiaddr) -> Option<Transport> {
    PeerAddress::from_multiaddr(address)?.transport
}

/// IP address, port and transport of a multiaddr that has just those (and perhaps a PeerId).
pub(crate) fn parts(address: &Multiaddr) -> Option<(IpAddr, u16, Transport)> {
    match PeerAddress::from_multiaddr(address)? {
        PeerAddress {
            host: Host::Ip(ip), port, transport: Some(transport), relay: None, ..
        } => Some((ip, port, transport)),
        _ => None,
    }
}

/// Whether an address means the same to every node of its network: that of a link alone
/// (`fe80::…`) needs the name of the link, which multiaddrs here do not carry.
pub(crate) const fn is_dialable(ip: IpAddr) -> bool {
    !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Whether an address is one of the public internet, by the ranges that are set aside.
pub(crate) const fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            let special = ip.is_loopback() || ip.is_link_local() || ip.is_multicast();
            !(special || ip.is_private() || shared || a == 0 || a >= 240)
        }
        IpAddr::V6(ip) => {
            let special = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
            !(special || ip.is_unique_local() || ip.is_unicast_link_local())
        }
    }
}

/// The IP address of the host that a multiaddr leads to; none through a relay, whose own the one at
/// the head is.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    if is_relayed(address) { None } else { head_of(address) }
}

/// The IP address at the head of a multiaddr.
pub(crate) fn head_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(IpAddr::from(ip).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";
    const PEER: &str = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

    #[test]
    fn every_form_is_read_and_written() {
        for text in [
            "192.0.2.1:8080".to_owned(),
            "[2001:db8::1]:8080".to_owned(),
            "ocm-0.ocm.default.svc.cluster.local:8080".to_owned(),
            "/ip4/192.0.2.1/tcp/8080".to_owned(),
            "/ip6/2001:db8::1/udp/8080/quic-v1".to_owned(),
            format!("/dns4/ocm.example/tcp/8080/p2p/{PEER}"),
            format!("/dns/ocm.example/udp/8080/quic-v1/p2p/{PEER}"),
            format!("/dns/ocm.example/tcp/8080/p2p/{RELAY}/p2p-circuit/p2p/{PEER}"),
        ] {
            let address: PeerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.peer().is_some(), text.contains("p2p"));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "ocm.example",
            "ocm.example:0",
            "ocm.example:99999",
            "http://ocm.example:80",
            "::1:8080",
            "/ip4/192.0.2.1",
            "/ip4/192.0.2.1/tcp/0",
            "/ip4/192.0.2.1/udp/8080",
            "/ip4/192.0.2.1/tcp/8080/ws",
            "/dnsaddr/ocm.example",
            "/ip4/192.0.2.1/tcp/8080/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            "/nonsense",
        ] {
            assert!(text.parse::<PeerAddress>().is_err(), "{text}");
        }
        let relay = format!("/ip4/192.0.2.1/tcp/8080/p2p/{RELAY}");
        for end in [
            "/p2p-circuit".to_owned(),
            format!("/p2p/{PEER}"),
            format!("/p2p-circuit/p2p/{PEER}/p2p/{PEER}"),
            format!("/p2p-circuit/p2p-circuit/p2p/{PEER}"),
            format!("/p2p-circuit/p2p/{PEER}/p2p-circuit/p2p/{PEER}"),
            format!("/p2p-circuit/ip4/192.0.2.2/tcp/8080/p2p/{PEER}"),
        ] {
            assert!(format!("{relay}{end}").parse::<PeerAddress>().is_err(), "{end}");
        }
        let nameless = format!("/ip4/192.0.2.1/tcp/8080/p2p-circuit/p2p/{PEER}");
        assert!(nameless.parse::<PeerAddress>().is_err());
    }

    #[tokio::test]
    async fn the_way_through_a_relay_is_no_address_of_the_relay() {
        let text = format!("/ip4/192.0.2.1/tcp/8080/p2p/{RELAY}/p2p-circuit/p2p/{PEER}");
        let given: PeerAddress = text.parse().unwrap();
        assert_eq!(given.peer().map(|peer| peer.to_string()), Some(PEER.to_owned()));
        assert_eq!(given.place(), None);
        let targets = given.resolve(true, true).await.unwrap();
        let attempts: Vec<String> = targets[0].attempts.iter().map(ToString::to_string).collect();
        assert_eq!(attempts, [format!("/ip4/192.0.2.1/tcp/8080/p2p/{RELAY}/p2p-circuit")]);
        let direct: PeerAddress = "/ip4/192.0.2.1/tcp/8080".parse().unwrap();
        assert_ne!(direct.resolve(true, true).await.unwrap()[0].name, targets[0].name);
        let address: Multiaddr = text.parse().unwrap();
        assert_eq!((ip_of(&address), parts(&address)), (None, None));
        assert_eq!(head_of(&address), Some([192, 0, 2, 1].into()));
        assert_eq!(transport_of(&address), Some(Transport::Tcp));
        assert!(given.check_transport(false, true).is_err());
    }

    #[tokio::test]
    async fn a_name_stands_for_addresses_and_transports() {
        let address: PeerAddress = "127.0.0.1:9".parse().unwrap();
        let targets = address.resolve(true, true).await.unwrap();
        assert_eq!(targets.len(), 1);
        assert_eq!(targets[0].name, "127.0.0.1:9");
        let attempts: Vec<String> = targets[0].attempts.iter().map(ToString::to_string).collect();
        assert_eq!(attempts, ["/ip4/127.0.0.1/tcp/9", "/ip4/127.0.0.1/udp/9/quic-v1"]);
        let local: PeerAddress = "/dns4/localhost/tcp/9".parse().unwrap();
        assert_eq!(local.resolve(true, true).await.unwrap()[0].name, "127.0.0.1:9");
        assert!(local.check_transport(false, true).is_err());
        let nowhere: PeerAddress = "nowhere.invalid:9".parse().unwrap();
        assert!(nowhere.resolve(true, true).await.unwrap_err().contains("nowhere.invalid"));
    }
}
