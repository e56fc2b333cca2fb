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
    let look = |node: &Node, near: &[PeerName]| look(devnet, host, index, node, near);
    until_connected(devnet, &nodes, &Groups::of(devnet), patience, look)?;
    Ok(true)
}

/// Whether a node is connected with the one that has moved, where that is: two behind routers through
/// the relay, or at each other's routers.
fn look(
    devnet: &Devnet,
    host: &HostEntry,
    moved: usize,
    node: &Node,
    near: &[PeerName],
) -> Look<()> {
    if node.index() == moved {
        return check::connected(node, near);
    }
    let Some(peer) = near.iter().find(|peer| peer.index == moved) else { return Look::There(()) };
    let relayed = is_behind(devnet, node.index()) && is_behind(devnet, moved);
    match check::connected_at(node, peer, &format!("/ip4/{}/", host.address)) {
        Look::NotYet(_) if relayed => check::connected_at(node, peer, "/p2p-circuit"),
        look => look,
    }
}
