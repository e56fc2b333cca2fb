//! Addresses as people write them: of peers, of hosts to send beacons to, and names of hosts.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use ocm_discovery::{PeerId, PeerIdError};
use ocm_record::{Did, DidError};
use serde_json::Value as Json;

use super::value::{Limit, Raw, Setting};
use crate::network::{IpRange, IpRangeError};

/// Where a bootstrap peer is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAddress {
    /// A multiaddr, with or without `/p2p/…`; it begins with an IP address or a DNS name.
    Multiaddr(Multiaddr),
    /// `host:port`; the transports that are on decide how it is dialled.
    HostPort {
        /// A DNS name, or an IP address without brackets.
        host: Host,
        /// From 1 to 65535.
        port: u16,
    },
}

/// Who a peer is: the key of its connections, or the DID that it speaks as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerName {
    /// A PeerId.
    Peer(PeerId),
    /// A DID.
    Did(Did),
}

/// Where beacons are sent besides the broadcast address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeaconHost {
    /// A DNS name or an IP address.
    pub host: Host,
    /// The UDP port there; without one, this node's own discovery port.
    pub port: Option<u16>,
}

/// A DNS name in lower case without a final dot, or an IP address without brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host(String);

impl Host {
    /// The name or address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, where it is one and not a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

/// Why a text is no address; completes "entry …:".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Host(String),
    /// A port is missing, is 0, or is no number.
    #[error(
        "{0:?} needs a port from 1 to 65535 after a colon (an IPv6 address stands in brackets)"
    )]
    Port(String),
    /// Not a multiaddr.
    #[error("not a multiaddr: {0}")]
    Multiaddr(String),
    /// A multiaddr that leads nowhere.
    #[error("a multiaddr must begin with /ip4, /ip6 or /dns and name /tcp or /udp and a port")]
    NoTransport,
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Host(text.chars().take(80).collect());
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(inner) = bare {
            return inner
                .parse::<std::net::Ipv6Addr>()
                .map(|ip| Self(ip.to_string()))
                .map_err(|_| wrong());
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(ip.to_string()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits alone is a mistyped IPv4 address, never a name.
        let numeric =
            name.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if name.len() > 253 || numeric || !name.split('.').all(label) {
            return Err(wrong());
        }
        Ok(Self(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Host and port at the last colon outside brackets.
fn split_port(text: &str) -> Result<(Host, u16), AddressError> {
    let wrong = || AddressError::Port(text.chars().take(80).collect());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(wrong());
    }
    match port.parse() {
        Ok(port) if port != 0 => Ok((host.parse()?, port)),
        _ => Err(wrong()),
    }
}

fn write_port(f: &mut fmt::Formatter<'_>, host: &Host, port: u16) -> fmt::Result {
    if host.0.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if !text.starts_with('/') {
            let (host, port) = split_port(text)?;
            return Ok(Self::HostPort { host, port });
        }
        let address: Multiaddr =
            text.parse().map_err(|why| AddressError::Multiaddr(format!("{why}")))?;
        let mut parts = address.iter();
        let place = matches!(
            parts.next(),
            Some(
                Protocol::Ip4(_)
                    | Protocol::Ip6(_)
                    | Protocol::Dns(_)
                    | Protocol::Dns4(_)
                    | Protocol::Dns6(_)
                    | Protocol::Dnsaddr(_)
            )
        );
        let named = matches!(address.iter().next(), Some(Protocol::Dnsaddr(_)));
        let port = parts.any(|p| matches!(p, Protocol::Tcp(1..) | Protocol::Udp(1..)));
        if place && (port || named) {
            Ok(Self::Multiaddr(address))
        } else {
            Err(AddressError::NoTransport)
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multiaddr(address) => fmt::Display::fmt(address, f),
            Self::HostPort { host, port } => write_port(f, host, *port),
        }
    }
}

impl FromStr for BeaconHost {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.parse() {
            Ok(host) => Ok(Self { host, port: None }),
            Err(why) if !text.contains(':') => Err(why),
            Err(_) => split_port(text).map(|(host, port)| Self { host, port: Some(port) }),
        }
    }
}

impl fmt::Display for BeaconHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write_port(f, &self.host, port),
            None => fmt::Display::fmt(&self.host, f),
        }
    }
}

impl Setting for IpRange {
    fn expected(_: Limit) -> String {
        "a range of IP addresses (10.0.0.0/8, fd00::/8), or one address".into()
    }
    fn read(raw: &Raw, _: Limit) -> Result<Self, Option<String>> {
        let text = raw.trimmed().ok_or(None)?;
        text.parse().map_err(|why: IpRangeError| Some(why.to_string()))
    }
    fn show(&self) -> Json {
        self.to_string().into()
    }
}

impl Setting for PeerName {
    fn expected(_: Limit) -> String {
        "a PeerId (12D3KooW…) or a DID (did:key:z6Mk…)".into()
    }
    fn read(raw: &Raw, _: Limit) -> Result<Self, Option<String>> {
        let text = raw.trimmed().ok_or(None)?;
        if text.starts_with("did:") {
            text.parse().map(Self::Did).map_err(|why: DidError| Some(why.to_string()))
        } else {
            text.parse().map(Self::Peer).map_err(|why: PeerIdError| Some(why.to_string()))
        }
    }
    fn show(&self) -> Json {
        self.to_string().into()
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => fmt::Display::fmt(peer, f),
            Self::Did(did) => fmt::Display::fmt(did, f),
        }
    }
}

macro_rules! entry {
    ($($type:ty, $expected:literal;)*) => {$(
        impl Setting for $type {
            fn expected(_: Limit) -> String {
                $expected.into()
            }
            fn read(raw: &Raw, _: Limit) -> Result<Self, Option<String>> {
                let text = raw.trimmed().ok_or(None)?;
                text.parse().map_err(|why: AddressError| Some(why.to_string()))
            }
            fn show(&self) -> Json {
                self.to_string().into()
            }
        }
    )*};
}
entry! {
    PeerAddress, "a multiaddr (/ip4/192.0.2.7/tcp/8080) or host:port";
    BeaconHost, "a DNS name or an IP address, with or without :port";
    Host, "a DNS name or an IP address, without a port";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_multiaddr_or_host_and_port() {
        for (text, shown) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("Node-1.Example.org:8080", "node-1.example.org:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("ocm-0.ocm:8080", "ocm-0.ocm:8080"),
            ("/ip4/10.0.0.7/tcp/8080", "/ip4/10.0.0.7/tcp/8080"),
            ("/dns4/a.example/udp/8080/quic-v1", "/dns4/a.example/udp/8080/quic-v1"),
            ("/dnsaddr/bootstrap.example.org", "/dnsaddr/bootstrap.example.org"),
        ] {
            assert_eq!(text.parse::<PeerAddress>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "127.0.0.1",
            "host",
            "host:0",
            "host:65536",
            "::1:8080",
            "256.0.0.1:80",
            "-a.example:80",
            "a b:80",
            "/ip4/10.0.0.7",
            "/tcp/8080",
            "/ip4/10.0.0.7/tcp/0",
            "/nothing/at/all",
        ] {
            assert!(text.parse::<PeerAddress>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_beacon_host_may_leave_the_port_out() {
        for (text, port) in
            [("10.0.0.7", None), ("lan.example:9000", Some(9000)), ("fe80::1", None)]
        {
            let host: BeaconHost = text.parse().unwrap();
            assert_eq!((host.to_string().as_str(), host.port), (text, port));
        }
        assert!("lan.example:".parse::<BeaconHost>().is_err());
    }

    #[test]
    fn a_host_is_normal() {
        assert_eq!("LocalHost.".parse::<Host>().unwrap().as_str(), "localhost");
        assert_eq!("[::1]".parse::<Host>().unwrap().as_str(), "::1");
        assert!("localhost:80".parse::<Host>().is_err());
        assert!("".parse::<Host>().is_err());
    }
}
