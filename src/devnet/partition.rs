//! `ocm devnet partition` and `heal`: who may speak with whom.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::check::{self, PeerName};
use super::environment;
use super::error::DevnetError;
use super::hosts::Hosts;
use super::process::Standing;
use super::state::{Devnet, NodeEntry};
use super::table::peers_of;
use super::wait::{Look, Node, Patience, each};
use crate::client::escaped;

/// The node at which those behind routers meet.
pub(super) const RELAY: usize = 0;
/// Looks between two attempts to connect.
const CONNECT_EVERY: usize = 100;

/// Which group each node is in, by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Groups(Vec<usize>);

impl Groups {
    /// Reads groups of indexes: `0,1/2`, or with ranges `0-4/5-9`.
    ///
    /// # Errors
    /// When it is nothing of the kind, names a node that there is not, or does not name each node
    /// once.
    pub(crate) fn parse(text: &str, nodes: usize) -> Result<Self, DevnetError> {
        let wrong = |why: String| {
            Err(DevnetError::Groups(format!(
                "{text:?} is no partition of {nodes} nodes: {why}; write as 0,1/2"
            )))
        };
        let mut of: Vec<Option<usize>> = vec![None; nodes];
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() < 2 {
            return wrong("it has one group only, and at least two are needed".into());
        }
        for (group, part) in parts.iter().enumerate() {
            for piece in part.split(',') {
                let Some((from, to)) = range(piece) else {
                    return wrong(format!("{piece:?} is no index of a node"));
                };
                if to >= nodes {
                    return wrong(format!("there is no node {to}"));
                }
                for (index, place) in of.iter_mut().enumerate().take(to + 1).skip(from) {
                    if place.replace(group).is_some() {
                        return wrong(format!("node {index} is named twice"));
                    }
                }
            }
        }
        match of.iter().position(Option::is_none) {
            Some(index) => wrong(format!("node {index} is in no group")),
            None => Ok(Self(of.into_iter().flatten().collect())),
        }
    }

    /// As the links of a devnet's hosts are.
    pub(crate) fn of(devnet: &Devnet) -> Self {
        let group = |node: &NodeEntry| node.host.as_ref().map_or(0, |host| host.group);
        Self(devnet.nodes.iter().map(group).collect())
    }

    /// All nodes in one group.
    pub(crate) fn whole(nodes: usize) -> Self {
        Self(vec![0; nodes])
    }

    fn together(&self, one: usize, other: usize) -> bool {
        self.0.get(one) == self.0.get(other)
    }

    /// How many groups there are.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().collect::<BTreeSet<_>>().len()
    }
}

/// Reads indexes, `0,1` or `0-4,7`; each once, in order.
///
/// # Errors
/// When it is nothing of the kind, or names a node that there is not.
pub(crate) fn indexes(text: &str, nodes: usize) -> Result<Vec<usize>, DevnetError> {
    let mut chosen = BTreeSet::new();
    for piece in text.split(',') {
        let wrong =
            |why| DevnetError::Groups(format!("{text:?} names no nodes: {why}; write as 0,1"));
        let (from, to) =
            range(piece).ok_or_else(|| wrong(format!("{piece:?} is no index of a node")))?;
        if to >= nodes {
            return Err(wrong(format!("there is no node {to}")));
        }
        chosen.extend(from..=to);
    }
    Ok(chosen.into_iter().collect())
}

/// `2` or `2-5`, both ends included.
fn range(text: &str) -> Option<(usize, usize)> {
    let index = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let (from, to) = text.trim().split_once('-').unwrap_or((text.trim(), text.trim()));
    let (from, to): (usize, usize) = (index(from)?, index(to)?);
    (from <= to).then_some((from, to))
}

/// Parts the nodes that run: each blocks every peer of another group and lets in again every peer of
/// its own, both over their API; of nodes that are hosts of their own, the links are cut instead. Then
/// waits until connections are as they are to be. Returns which nodes do not run; where there are no
/// links to cut, those are as they were.
///
/// # Errors
/// When a node does not do as it is asked, or connections do not follow in time.
pub(crate) fn arrange(
    devnet: &mut Devnet,
    dir: &Path,
    groups: &Groups,
    patience: &Patience,
) -> Result<Vec<usize>, DevnetError> {
    if devnet.site.is_some() {
        for (node, group) in devnet.nodes.iter_mut().zip(&groups.0) {
            node.host.as_mut().ok_or(DevnetError::NoHosts)?.group = *group;
        }
        devnet.save(dir)?;
        Hosts::raise(devnet, dir)?.regroup(devnet)?;
    }
    let (nodes, others) = running(devnet)?;
    arrange_nodes(devnet, &nodes, groups, patience)?;
    Ok(others)
}

/// The nodes that run, and the indexes of those that do not.
pub(super) fn running(devnet: &Devnet) -> Result<(Vec<Node>, Vec<usize>), DevnetError> {
    let runs = |index: &usize| {
        devnet.node(*index).is_ok_and(|node| node.standing(&devnet.executable) == Standing::Ours)
    };
    let (running, others): (Vec<usize>, Vec<usize>) =
        (0..devnet.nodes.len()).partition(|index| runs(index));
    let nodes = running.into_iter().map(|index| Node::of(devnet, index, None));
    Ok((nodes.collect::<Result<Vec<Node>, DevnetError>>()?, others))
}

fn arrange_nodes(
    devnet: &Devnet,
    nodes: &[Node],
    groups: &Groups,
    patience: &Patience,
) -> Result<(), DevnetError> {
    if devnet.site.is_none() {
        for node in nodes {
            set_blocks(devnet, node, groups)?;
        }
    }
    let all: Vec<&Node> = nodes.iter().collect();
    each(&all, patience, "groups are apart", |node, _| {
        let apart: Vec<PeerName> = devnet
            .nodes
            .iter()
            .filter(|peer| !groups.together(node.index(), peer.index))
            .map(|peer| PeerName { index: peer.index, peer_id: peer.peer_id.clone() })
            .collect();
        check::apart(node, &apart)
    })?;
    let phase = "groups are connected within";
    until_connected(devnet, nodes, groups, patience, phase, check::connected)
}

/// Waits until this look at each of the nodes finds what is awaited of those that it is to be connected
/// with in its group, and has them compare.
pub(super) fn until_connected(
    devnet: &Devnet,
    nodes: &[Node],
    groups: &Groups,
    patience: &Patience,
    phase: &'static str,
    look: impl Fn(&Node, &[PeerName]) -> Look<()> + Sync,
) -> Result<(), DevnetError> {
    let running: BTreeSet<usize> = nodes.iter().map(Node::index).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    each(&all, patience, phase, |node, attempt| {
        let near: Vec<PeerName> = peers_of(devnet, node.index(), false)
            .into_iter()
            .filter(|peer| running.contains(&peer.index))
            .filter(|peer| meet(devnet, groups, node.index(), peer.index))
            .collect();
        let look = look(node, &near);
        if attempt.is_multiple_of(CONNECT_EVERY) && look != Look::There(()) {
            for peer in near.iter().filter(|peer| dials(devnet, node.index(), peer.index)) {
                if let Err(error) = connect(devnet, node, peer) {
                    return Look::NotYet(error.to_string());
                }
            }
        }
        look
    })?;
    for node in nodes {
        node.post("/v1/sync", None, "compare with its peers")?;
    }
    Ok(())
}

/// Whether a node's host is behind a router.
pub(super) fn is_behind(devnet: &Devnet, index: usize) -> bool {
    let host = devnet.nodes.get(index).and_then(|node| node.host.as_ref());
    host.is_some_and(|host| host.nat.is_some())
}

/// Whether two nodes can be connected: in one group, and with the relay where both are behind routers.
fn meet(devnet: &Devnet, groups: &Groups, one: usize, other: usize) -> bool {
    let relayed = is_behind(devnet, one) && is_behind(devnet, other);
    groups.together(one, other) && (!relayed || groups.together(one, RELAY))
}

/// Whether a node is the one of two that dials: with both there could be two connections.
fn dials(devnet: &Devnet, node: usize, peer: usize) -> bool {
    match (is_behind(devnet, node), is_behind(devnet, peer)) {
        (true, false) => true,
        (false, true) => false,
        _ => node < peer,
    }
}

/// Has a node block those of other groups, and unblock those of its own.
fn set_blocks(devnet: &Devnet, node: &Node, groups: &Groups) -> Result<(), DevnetError> {
    let status = node.read("/status", "say whom it blocks")?;
    let blocked = |peer: &str| {
        let blocked = status.json()["blocked"].as_array();
        blocked.is_some_and(|blocked| blocked.iter().any(|blocked| blocked == peer))
    };
    for peer in devnet.nodes.iter().filter(|peer| peer.index != node.index()) {
        let action = match (groups.together(node.index(), peer.index), blocked(&peer.peer_id)) {
            (true, true) => "unblock",
            (false, false) => "block",
            _ => continue,
        };
        let path = format!("/v1/peers/{}/{action}", escaped(&peer.peer_id));
        node.post(&path, None, &format!("{action} node {}", peer.index))?;
    }
    Ok(())
}

fn connect(devnet: &Devnet, node: &Node, peer: &PeerName) -> Result<(), DevnetError> {
    let address = if is_behind(devnet, node.index()) && is_behind(devnet, peer.index) {
        let relay = devnet.node(RELAY)?;
        let quic = devnet.settings.get("OCM_NETWORK_TCP").is_some_and(|tcp| tcp == "false");
        let transport = if quic { "udp" } else { "tcp" };
        let version = if quic { "/quic-v1" } else { "" };
        format!(
            "/dns4/{}/{transport}/{}{version}/p2p/{}/p2p-circuit/p2p/{}",
            relay.name(),
            relay.port,
            relay.peer_id,
            peer.peer_id
        )
    } else {
        // As it stands among the node's seed peers, so that it gets no second entry there.
        environment::seed(devnet, devnet.node(peer.index)?)
    };
    let what = format!("connect to node {}", peer.index);
    node.post("/v1/peers/connect", Some(&json!({ "address": address })), &what).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, devnet_of};
    use super::super::interrupt::Interrupt;
    use super::super::state::{HostEntry, Nat};
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    #[test]
    fn groups_are_lists_of_indexes_and_ranges() {
        for (text, nodes, expected) in [
            ("0,1/2", 3, vec![0, 0, 1]),
            ("2/1/0", 3, vec![2, 1, 0]),
            ("0-4/5-9", 10, [[0; 5], [1; 5]].concat()),
            ("3,0-1 / 2", 4, vec![0, 0, 1, 0]),
        ] {
            assert_eq!(Groups::parse(text, nodes).unwrap(), Groups(expected), "{text}");
        }
        assert_eq!(Groups::parse("0/1/2", 3).unwrap().count(), 3);
        assert_eq!(Groups::whole(3).count(), 1);
    }

    #[test]
    fn every_node_is_named_once_in_one_of_several_groups() {
        for (text, why) in [
            ("0,1,2", "one group only"),
            ("0,1/3", "there is no node 3"),
            ("0/1", "node 2 is in no group"),
            ("0,1/1,2", "node 1 is named twice"),
            ("0-1/1-2", "node 1 is named twice"),
            ("0,1/", "\"\" is no index"),
            ("a/1,2", "\"a\" is no index"),
            ("-1/0-2", "\"-1\" is no index"),
            ("2-0/1", "\"2-0\" is no index"),
            ("0/1-99999999999999999999", "is no index"),
            ("0/1-18446744073709551615", "there is no node"),
        ] {
            let error = Groups::parse(text, 3).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
            assert_eq!(error.code(), 2);
        }
    }

    #[test]
    fn nodes_are_chosen_by_indexes_and_ranges() {
        for (text, expected) in [("1", vec![1]), ("3,0-1,1", vec![0, 1, 3])] {
            assert_eq!(indexes(text, 4).unwrap(), expected, "{text}");
        }
        for (text, why) in [("", "\"\" is no index"), ("0,4", "no node 4"), ("0/1", "is no index")]
        {
            let error = indexes(text, 4).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
            assert_eq!(error.code(), 2);
        }
    }

    #[test]
    fn who_is_behind_a_router_dials_and_two_of_them_meet_at_the_relay() {
        let fakes = Fake::start_all(4);
        let (_dir, mut devnet) = devnet_of(&fakes);
        for (node, nat) in
            devnet.nodes.iter_mut().zip([None, None, Some(Nat::Cone), Some(Nat::Cone)])
        {
            let address = Ipv4Addr::LOCALHOST;
            node.host =
                Some(HostEntry { address, group: 0, nat, loss_percent: 0, rate_bits: None });
        }
        assert!(dials(&devnet, 2, 1) && !dials(&devnet, 1, 2), "it is not reached from outside");
        assert!(dials(&devnet, 0, 1) && dials(&devnet, 2, 3) && !dials(&devnet, 3, 2));
        let apart = Groups::parse("0,1/2,3", 4).unwrap();
        assert!(meet(&devnet, &Groups::whole(4), 2, 3) && meet(&devnet, &apart, 0, 1));
        assert!(!meet(&devnet, &apart, 2, 3), "their relay is in the other group");
        let node = Node::of(&devnet, 2, None).unwrap();
        let peer = PeerName { index: 3, peer_id: "peer-3".into() };
        fakes[2].answer("POST /v1/peers/connect", 202, json!({}));
        connect(&devnet, &node, &peer).unwrap();
        let through = "/dns4/node-0/tcp/17000/p2p/peer-0/p2p-circuit/p2p/peer-3";
        assert_eq!(fakes[2].told("POST /v1/peers/connect"), [json!({ "address": through })]);
    }

    #[test]
    fn both_sides_block_and_both_let_in_again() {
        let fakes = Fake::start_all(3);
        let (_dir, devnet) = devnet_of(&fakes);
        let nodes: Vec<Node> =
            (0..3).map(|index| Node::of(&devnet, index, None).unwrap()).collect();
        let patience = Patience::new(Duration::from_secs(10), &Interrupt::default());
        Fake::connect_all(&fakes);
        let parted = Groups::parse("0,1/2", 3).unwrap();
        arrange_nodes(&devnet, &nodes, &parted, &patience).unwrap();
        assert_eq!(fakes[0].blocked(), ["peer-2"]);
        assert_eq!(fakes[1].blocked(), ["peer-2"]);
        assert_eq!(fakes[2].blocked(), ["peer-0", "peer-1"]);
        assert_eq!(fakes[1].peers(), ["peer-0"]);
        arrange_nodes(&devnet, &nodes, &Groups::whole(3), &patience).unwrap();
        assert!(fakes.iter().all(|fake| fake.blocked().is_empty()));
        assert_eq!(fakes[2].peers(), ["peer-0", "peer-1"]);
        assert!(fakes[0].asked("POST /v1/peers/connect") > 0);
    }
}
