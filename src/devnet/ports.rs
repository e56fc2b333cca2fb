//! Which ports a devnet takes.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use super::error::DevnetError;

/// Ports of one node: federation, API, discovery.
const PER_NODE: u16 = 3;
/// The first base that is tried.
const FIRST: u16 = 17_000;
/// From one base to the next: room for the largest devnet.
const STEP: u16 = 200;
/// Bases that are tried, all below the ports that systems give to outgoing connections.
const TRIES: u16 = 60;

/// The ports of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    /// Federation: TCP, and QUIC on UDP.
    pub(crate) federation: u16,
    /// The HTTP API.
    pub(crate) api: u16,
    /// Discovery, which a devnet does not use.
    pub(crate) discovery: u16,
}

/// The ports of the node of an index; `None` past the last port.
pub(crate) fn of_node(base: u16, index: usize) -> Option<Ports> {
    let federation = u16::try_from(index).ok()?.checked_mul(PER_NODE)?.checked_add(base)?;
    let discovery = federation.checked_add(2)?;
    Some(Ports { federation, api: federation + 1, discovery })
}

/// A base whose ports were free, kept from other devnets that start for as long as this lives.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) port: u16,
    _claim: Option<File>,
}

/// The base of nodes that are hosts of their own, whose ports nobody else has.
pub(crate) fn of_hosts(asked: Option<u16>, nodes: usize) -> Result<Base, DevnetError> {
    let port = asked.unwrap_or(FIRST);
    match of_node(port, nodes.saturating_sub(1)) {
        Some(_) => Ok(Base { port, _claim: None }),
        None => Err(DevnetError::PortRange { base: port, nodes }),
    }
}

/// The base that was asked for, else the first whose ports are free.
pub(crate) fn choose(asked: Option<u16>, nodes: usize) -> Result<Base, DevnetError> {
    if let Some(port) = asked {
        if of_node(port, nodes.saturating_sub(1)).is_none() {
            return Err(DevnetError::PortRange { base: port, nodes });
        }
        return match first_taken(port, nodes) {
            Some(port) => Err(DevnetError::PortTaken { port }),
            None => Ok(Base { port, _claim: claim(port) }),
        };
    }
    for at in 0..TRIES {
        let port = FIRST + at * STEP;
        if let Some(claimed) = claim(port)
            && first_taken(port, nodes).is_none()
        {
            return Ok(Base { port, _claim: Some(claimed) });
        }
    }
    let ports = nodes * usize::from(PER_NODE);
    Err(DevnetError::NoPorts { ports, first: FIRST, last: FIRST + TRIES * STEP - 1 })
}

/// Keeps a base from other devnets that are looking for one; `None` if one has it.
fn claim(base: u16) -> Option<File> {
    let dir = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, Into::into);
    let path = dir.join(format!("ocm-devnet-{base}.lock"));
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

/// The first port that something else has.
fn first_taken(base: u16, nodes: usize) -> Option<u16> {
    let at = |port| (Ipv4Addr::LOCALHOST, port);
    for index in 0..nodes {
        let Some(ports) = of_node(base, index) else { return Some(u16::MAX) };
        let tcp = [ports.federation, ports.api].map(|port| (port, TcpListener::bind(at(port))));
        for (port, bound) in &tcp {
            if bound.is_err() {
                return Some(*port);
            }
        }
        if UdpSocket::bind(at(ports.federation)).is_err() {
            return Some(ports.federation);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_three_ports_of_its_own() {
        let ports = |index| of_node(17_000, index).unwrap();
        assert_eq!(ports(0), Ports { federation: 17_000, api: 17_001, discovery: 17_002 });
        assert_eq!(ports(9), Ports { federation: 17_027, api: 17_028, discovery: 17_029 });
        assert_eq!(of_node(65_533, 0).unwrap().discovery, 65_535);
        assert_eq!(of_node(65_534, 0), None);
        assert_eq!(of_node(1, usize::MAX), None);
    }

    #[test]
    fn a_port_that_is_taken_is_named_or_passed_over() {
        // Three free ports in a row, the middle one of them taken.
        let (taken, base) = loop {
            let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let api = taken.local_addr().unwrap().port();
            if (20_000..65_000).contains(&api) && first_taken(api - 1, 1) == Some(api) {
                break (taken, api - 1);
            }
        };
        let error = choose(Some(base), 1).unwrap_err();
        assert!(matches!(error, DevnetError::PortTaken { port } if port == base + 1), "{error}");
        drop(taken);
        let found = choose(None, 2).unwrap();
        assert!(found.port >= FIRST && (found.port - FIRST).is_multiple_of(STEP));
        // Two that look at the same time find different ones.
        assert_ne!(choose(None, 2).unwrap().port, found.port);
        assert!(matches!(choose(Some(65_530), 9), Err(DevnetError::PortRange { .. })));
    }
}
