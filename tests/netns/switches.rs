//! Sources that are switched off, or cannot work.

use std::net::UdpSocket;

use crate::lan::BEACON_ALONE;
use crate::node::{Node, host, site, until_joined};

#[test]
fn peers_of_an_earlier_run_are_dialled_unless_that_is_switched_off() {
    let Some(site) = site("remembering") else { return };
    let lan = site.lan().unwrap();
    let start = |label, address| Node::start(&host(&site, label, &lan, &[address]), &[]);
    let mut nodes = [start("a", "10.1.0.1/24"), start("b", "10.1.0.2/24")];
    until_joined(&[&nodes[0], &nodes[1]]);
    for node in &nodes {
        node.until("wrote down whom it met", |node| {
            let kept = std::fs::read_to_string(node.dir().join("peers.json")).ok()?;
            kept.contains("/ip4/").then_some(())
        });
    }
    let quiet = [("OCM_NETWORK_BEACON", "false"), ("OCM_NETWORK_MDNS", "false")];
    let forgetful = [&quiet[..], &[("OCM_NETWORK_REMEMBER", "false")]].concat();
    for node in &mut nodes {
        node.kill();
        node.set(&forgetful);
        node.spawn();
        assert_eq!(node.doctor()["remembered"].1, "off, switched off");
        node.assert_isolated();
    }
    // The other still dials nobody, and is dialled.
    nodes[0].kill();
    nodes[0].set(&quiet);
    nodes[0].spawn();
    until_joined(&[&nodes[0], &nodes[1]]);
    assert_eq!(nodes[0].peers()[&nodes[1].peer], "remembered");
}

#[test]
fn a_discovery_port_that_is_taken_is_named() {
    let Some(site) = site("a port that is taken") else { return };
    let lan = site.lan().unwrap();
    let place = host(&site, "a", &lan, &["10.1.0.1/24"]);
    // Without SO_REUSEADDR nobody shares the port.
    let taken = place.lock().unwrap().within(|| UdpSocket::bind("0.0.0.0:8081").unwrap()).unwrap();
    let node = Node::start(&place, &BEACON_ALONE);
    let (state, text) = node.doctor()["beacon"].clone();
    assert_eq!(state, "fault");
    assert!(text.contains("cannot listen for beacons on UDP 0.0.0.0:8081"), "{text}");
    drop(taken);
    node.until("hears beacons", |node| (node.doctor()["beacon"].0 == "ok").then_some(()));
    let other = Node::start(&host(&site, "b", &lan, &["10.1.0.2/24"]), &BEACON_ALONE);
    until_joined(&[&node, &other]);
}
