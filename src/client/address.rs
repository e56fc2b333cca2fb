//! Where the API of a node is to be found.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The port of the API where an address names none.
pub const DEFAULT_PORT: u16 = 7845;

/// The host and port of a node's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a text is no address of an API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The API has no TLS of its own.
    #[error("{0:?}: the API speaks plain http; reach it through an ssh tunnel, and name its end")]
    Https(String),
    /// Neither `host`, `host:port` nor `http://host:port`.
    #[error("{0:?} is no address: write host:port, as 127.0.0.1:7845 or [::1]:7845")]
    Form(String),
    /// The configuration leaves the port to the system.
    #[error(
        "api.listen is {0}, a port that the system chooses: give the one that the node printed \
         at its start with --api"
    )]
    AnyPort(SocketAddr),
}

impl Address {
    /// The address by which a process on the same machine reaches an API that listens here.
    ///
    /// # Errors
    /// [`AddressError::AnyPort`] when the port is 0: give the real one.
    pub fn of_listener(listen: SocketAddr) -> Result<Self, AddressError> {
        if listen.port() == 0 {
            return Err(AddressError::AnyPort(listen));
        }
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        Ok(Self { host: ip.to_string(), port: listen.port() })
    }

    /// Whether only this machine answers there.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Form(text.chars().take(80).collect());
        if text.starts_with("https://") {
            return Err(AddressError::Https(text.chars().take(80).collect()));
        }
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        if let Ok(ip) = bare.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self { host: ip.to_string(), port: DEFAULT_PORT });
        }
        let (host, port) = match bare.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (bare, DEFAULT_PORT),
        };
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(ip) => ip.parse::<Ipv6Addr>().map_err(|_| wrong())?.to_string(),
            None => host.to_owned(),
        };
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        let name_has_colon = host.contains(':') && host.parse::<Ipv6Addr>().is_err();
        if host.is_empty() || port == 0 || name_has_colon || !host.bytes().all(fits) {
            return Err(wrong());
        }
        Ok(Self { host, port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, shown) in [
            ("127.0.0.1:7845", "127.0.0.1:7845"),
            ("http://127.0.0.1:9000/", "127.0.0.1:9000"),
            ("localhost", "localhost:7845"),
            ("10.0.0.7", "10.0.0.7:7845"),
            ("::1", "[::1]:7845"),
            ("[::1]:9", "[::1]:9"),
            ("node-1.example.org:80", "node-1.example.org:80"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown, "{text}");
        }
        for text in
            ["", ":7845", "host:", "host:0", "host:99999", "a b:1", "a:b:1", "h/p:1", "u@h:1"]
        {
            assert!(text.parse::<Address>().is_err(), "{text:?} was accepted");
        }
        let error = "https://node:1".parse::<Address>().unwrap_err();
        assert!(error.to_string().contains("plain http"));
    }

    #[test]
    fn a_listener_on_every_address_is_reached_on_loopback() {
        let at = |text: &str| Address::of_listener(text.parse().unwrap());
        assert_eq!(at("0.0.0.0:7845").unwrap().to_string(), "127.0.0.1:7845");
        assert_eq!(at("[::]:7845").unwrap().to_string(), "[::1]:7845");
        assert_eq!(at("192.0.2.1:80").unwrap().to_string(), "192.0.2.1:80");
        assert!(at("127.0.0.1:0").unwrap_err().to_string().contains("--api"));
        assert!(at("0.0.0.0:1").unwrap().is_local());
        assert!(!at("192.0.2.1:1").unwrap().is_local());
    }
}
