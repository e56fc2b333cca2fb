//! `ocm devnet loss`, `rate`, `move` and `nat`: what becomes of the links of hosts.

use std::path::Path;

use super::check::{self, PeerName};
use super::error::DevnetError;
use super::hosts::{Hosts, entry_of};
use super::partition::{Groups, RELAY, indexes, is_behind, running, until_connected};
use super::rate::Rate;
use super::state::{Devnet, HostEntry, Nat};
use super::wait::{Look, Node, Patience};

/// Has the links of these nodes lose so many of a hundred packets.
pub(crate) fn lose(
    devnet: &mut Devnet,
    dir: &Path,
    nodes: &str,
    percent: u8,
) -> Result<(), DevnetError> {
    for index in indexes(nodes, devnet.nodes.len())? {
        entry_of(devnet, index)?.loss_percent = percent;
    }
    devnet.save(dir)?;
    Hosts::raise(devnet, dir)?.set_losses(devnet)
}

/// Bounds what the links of these nodes let through.
pub(crate) fn limit(
    devnet: &mut Devnet,
    dir: &Path,
    nodes: &str,
    rate: Rate,
) -> Result<(), DevnetError> {
    let nodes = indexes(nodes, devnet.nodes.len())?;
    for index in &nodes {
        entry_of(devnet, *index)?.rate_bits = rate.0;
    }
    devnet.save(dir)?;
    Hosts::raise(devnet, dir)?.set_rates(devnet, &nodes)
}

/// Gives a node's host another address, behind a router of this kind or none.
pub(crate) fn resettle(
    devnet: &mut Devnet,
    dir: &Path,
    index: usize,
    nat: Option<Nat>,
) -> Result<HostEntry, DevnetError> {
    entry_of(devnet, index)?;
    if index == RELAY && nat.is_some() {
        return Err(DevnetError::Relay);
    }
    Hosts::raise(devnet, dir)?.resettle(devnet, dir, index, nat)?;
    Ok(entry_of(devnet, index)?.clone())
}

/// Waits until all that are to be connected with a node that has moved are so where its host is. One that
/// does not run is not waited for: returns whether it does.
pub(crate) fn until_found(
    devnet: &Devnet,
    index: usize,
    host: &HostEntry,
    patience: &Patience,
) -> Result<bool, DevnetError> {
    let (nodes, others) = running(devnet)?;
    if others.contains(&index) {
        return Ok(false);
    }
    let look = |node: &Node, near: &[PeerName]| look(devnet, &nodes, (index, host), node, near);
    let phase = "all are connected with the node where it is";
    until_connected(devnet, &nodes, &Groups::of(devnet), patience, phase, look)?;
    Ok(true)
}

/// Whether a node is connected with the one that has moved, where that is: two behind routers through
/// the relay, or at each other's routers. The one that has moved is so where all others see it: its own
/// connections may be those that it had before.
fn look(
    devnet: &Devnet,
    nodes: &[Node],
    (moved, host): (usize, &HostEntry),
    node: &Node,
    near: &[PeerName],
) -> Look<()> {
    if node.index() == moved {
        let own = PeerName { index: moved, peer_id: node.entry.peer_id.clone() };
        let others = nodes.iter().filter(|n| near.iter().any(|peer| peer.index == n.index()));
        let seen = |other| sees(devnet, other, &own, host);
        return others.map(seen).find(|seen| *seen != Look::There(())).unwrap_or(Look::There(()));
    }
    let peer = near.iter().find(|peer| peer.index == moved);
    peer.map_or(Look::There(()), |peer| sees(devnet, node, peer, host))
}

/// Whether a node is connected with another one at its host.
fn sees(devnet: &Devnet, node: &Node, peer: &PeerName, host: &HostEntry) -> Look<()> {
    let moved = peer.index;
    let relayed = is_behind(devnet, node.index()) && is_behind(devnet, moved);
    match check::connected_at(node, peer, &format!("/ip4/{}/", host.address)) {
        Look::NotYet(_) if relayed => check::connected_at(node, peer, "/p2p-circuit"),
        look => look,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fake::{Fake, devnet_of, list};
    use super::*;

    #[test]
    fn a_node_that_has_moved_is_found_when_all_others_see_it_where_it_is() {
        let fakes = Fake::start_all(3);
        let (_dir, mut devnet) = devnet_of(&fakes);
        let host = |last: u8, nat| HostEntry {
            address: [198, 18, 1, last].into(),
            group: 0,
            nat,
            loss_percent: 0,
            rate_bits: None,
        };
        let moved = host(1, Some(Nat::Symmetric));
        devnet.nodes[1].host = Some(moved.clone());
        devnet.nodes[2].host = Some(host(2, Some(Nat::Symmetric)));
        let nodes: Vec<Node> =
            (0..3).map(|index| Node::of(&devnet, index, None).unwrap()).collect();
        let name = |index: usize| PeerName { index, peer_id: format!("peer-{index}") };
        let at = |address: &str| -> Value {
            list(vec![json!({"peer_id": "peer-1", "address": address})])
        };
        let finds = |index: usize| {
            let near: Vec<PeerName> = (0..3).filter(|peer| *peer != index).map(name).collect();
            look(&devnet, &nodes, (1, &moved), &nodes[index], &near) == Look::There(())
        };
        // What it says of itself is of before it moved.
        let before =
            ["peer-0", "peer-2"].map(|peer| json!({"peer_id": peer, "address": "/ip4/198.18.0.9"}));
        fakes[1].answer("GET /peers", 200, list(before.to_vec()));
        fakes[0].answer("GET /peers", 200, at("/ip4/198.18.0.1/tcp/1"));
        fakes[2].answer("GET /peers", 200, list(Vec::new()));
        assert_eq!([0, 1, 2].map(finds), [false; 3]);
        fakes[0].answer("GET /peers", 200, at("/ip4/198.18.1.1/tcp/1"));
        assert_eq!([0, 1, 2].map(finds), [true, false, false]);
        // Both are behind routers, and meet through the relay.
        fakes[2].answer("GET /peers", 200, at("/ip4/198.18.0.7/tcp/1/p2p/peer-0/p2p-circuit"));
        assert_eq!([0, 1, 2].map(finds), [true; 3]);
        // Who is behind no router is not reached through it.
        fakes[0].answer("GET /peers", 200, at("/ip4/198.18.0.7/tcp/1/p2p/peer-0/p2p-circuit"));
        assert_eq!([0, 1, 2].map(finds), [false, false, true]);
    }
}
