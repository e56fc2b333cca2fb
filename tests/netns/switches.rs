//! Sources that are switched off, or cannot work.

use std::net::UdpSocket;

use crate::lan::{BEACON_ALONE, MDNS_ALONE};
use crate::node::{Node, host, site, until_joined};

#[test]
fn peers_of_an_earlier_run_are_dialled_unless_that_is_switched_off() {
    let Some(site) = site("remembering") else { return };
    let lan = site.lan().unwrap();
    let start = |label, address| Node::start(&host(&site, label, &lan, &[address]), &[]);
    let mut nodes = [start("a", "10.1.0.1/24"), start("b", "10.1.0.2/24")];
    until_joined(&[&nodes[0], &nodes[1]]);
    // Stopped in good order, they write down whom they met.
    for node in &mut nodes {
        node.stop();
    }
    let quiet = [("OCM_NETWORK_BEACON", "false"), ("OCM_NETWORK_MDNS", "false")];
    let forgetful = [&quiet[..], &[("OCM_NETWORK_REMEMBER", "false")]].concat();
    for node in &mut nodes {
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

/// Somebody else holds the port of a source for a while.
fn hold_port(test: &str, port: u16, source: &str, cause: &str, settings: &[(&str, &str)]) {
    let Some(site) = site(test) else { return };
    let lan = site.lan().unwrap();
    let place = host(&site, "a", &lan, &["10.1.0.1/24"]);
    // Without SO_REUSEADDR nobody shares the port.
    let bind = || UdpSocket::bind(("0.0.0.0", port)).unwrap();
    let taken = place.lock().unwrap().within(bind).unwrap();
    let node = Node::start(&place, settings);
    let (state, text) = node.doctor()[source].clone();
    assert_eq!(state, "fault");
    assert!(text.contains(cause), "{text}");
    drop(taken);
    node.until("has the port", |node| (node.doctor()[source].0 == "ok").then_some(()));
    let other = Node::start(&host(&site, "b", &lan, &["10.1.0.2/24"]), settings);
    until_joined(&[&node, &other]);
}

#[test]
fn a_discovery_port_that_is_taken_is_named() {
    let cause = "cannot listen for beacons on UDP 0.0.0.0:8081";
    hold_port("the beacon's port taken", 8081, "beacon", cause, &BEACON_ALONE);
}

#[test]
fn a_port_of_multicast_dns_that_is_taken_is_named() {
    let cause = "cannot listen on UDP port 5353";
    hold_port("the port of mDNS taken", 5353, "mdns", cause, &MDNS_ALONE);
}
