//! Taking the port.

use std::io;
use std::net::{IpAddr, SocketAddr};

use libp2p::Swarm;
use libp2p::core::transport::TransportError;
use socket2::{Domain, Protocol, Socket, Type};

use super::address::{Transport, multiaddr};
use super::behaviour::Behaviour;
use super::config::NetworkConfig;
use super::event::{NetworkError, NetworkEvent};

/// Listens on every address and transport of the configuration. Returns what could not be opened
/// though another address could: only "every IPv6 address", on a machine without IPv6.
pub(super) fn listen(
    swarm: &mut Swarm<Behaviour>,
    config: &NetworkConfig,
) -> Result<Vec<NetworkEvent>, NetworkError> {
    if !config.tcp && !config.quic {
        return Err(NetworkError::NoTransport);
    }
    if config.bind.is_empty() {
        return Err(NetworkError::NoAddress);
    }
    let mut missing = Vec::new();
    for ip in &config.bind {
        for (transport, on) in [(Transport::Tcp, config.tcp), (Transport::Quic, config.quic)] {
            if !on {
                continue;
            }
            let Err(cause) = listen_on(swarm, *ip, config.port, transport) else { continue };
            let dispensable = ip.is_ipv6()
                && ip.is_unspecified()
                && config.bind.iter().any(IpAddr::is_ipv4)
                && cause.kind() != io::ErrorKind::AddrInUse;
            if !dispensable {
                return Err(NetworkError::Listen {
                    transport: match transport {
                        Transport::Tcp => "TCP",
                        Transport::Quic => "UDP (QUIC)",
                    },
                    ip: *ip,
                    port: config.port,
                    cause: cause.to_string(),
                });
            }
            missing.push(NetworkEvent::ListenFailed {
                address: multiaddr(*ip, config.port, transport).to_string(),
                cause: cause.to_string(),
            });
        }
    }
    Ok(missing)
}

fn listen_on(
    swarm: &mut Swarm<Behaviour>,
    ip: IpAddr,
    port: u16,
    transport: Transport,
) -> io::Result<()> {
    if transport == Transport::Tcp && port != 0 {
        probe_tcp(SocketAddr::new(ip, port))?;
    }
    match swarm.listen_on(multiaddr(ip, port, transport)) {
        Ok(_) => Ok(()),
        Err(TransportError::Other(e)) => Err(e),
        Err(e) => Err(io::Error::other(e.to_string())),
    }
}

/// Whether a TCP port is free. The library shares ports (`SO_REUSEPORT`) so as to dial from
/// them: without this, two nodes on one port would both start, and each hear half of its peers.
fn probe_tcp(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}
