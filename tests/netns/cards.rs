//! Several nodes on one host, several cards, and IPv6.

use crate::lan::{BEACON_ALONE, MDNS_ALONE};
use crate::node::{Node, exchange, host, site, until_joined};

/// Two nodes on one host, and a third elsewhere.
fn share_a_host(test: &str, settings: &[(&str, &str)]) {
    let Some(site) = site(test) else { return };
    let lan = site.lan().unwrap();
    let shared = host(&site, "shared", &lan, &["10.1.0.1/24"]);
    let second = [("OCM_NETWORK_PORT", "9080"), ("OCM_API_LISTEN", "127.0.0.1:9845")];
    let nodes = [
        Node::start(&shared, settings),
        Node::start(&shared, &[settings, &second].concat()),
        Node::start(&host(&site, "other", &lan, &["10.1.0.2/24"]), settings),
    ];
    let nodes: Vec<&Node> = nodes.iter().collect();
    until_joined(&nodes);
    exchange(&nodes);
}

#[test]
fn two_nodes_on_one_host_share_the_discovery_port() {
    share_a_host("one host, two nodes, beacon", &BEACON_ALONE);
}

#[test]
fn two_nodes_on_one_host_share_multicast_dns() {
    share_a_host("one host, two nodes, mDNS", &MDNS_ALONE);
}

/// A host on two networks is found on both, which do not reach each other.
fn stand_between(test: &str, settings: &[(&str, &str)], v6: bool) {
    let Some(site) = site(test) else { return };
    let (one, two) = (site.lan().unwrap(), site.lan().unwrap());
    let at = |net: u8, host: u8| match v6 {
        true => format!("fd00:{net}::{host}/64"),
        false => format!("10.{net}.0.{host}/24"),
    };
    let between = host(&site, "between", &one, &[&at(1, 1)]);
    between.lock().unwrap().plug("eth1", &two, &[&at(2, 1)]).unwrap();
    let nodes = [
        Node::start(&between, settings),
        Node::start(&host(&site, "left", &one, &[&at(1, 2)]), settings),
        Node::start(&host(&site, "right", &two, &[&at(2, 2)]), settings),
    ];
    nodes[1].until_peers(&[&nodes[0]]);
    nodes[2].until_peers(&[&nodes[0]]);
    nodes[0].until_peers(&[&nodes[1], &nodes[2]]);
    exchange(&[&nodes[1], &nodes[0], &nodes[2]]);
}

#[test]
fn a_host_with_two_cards_is_found_on_both_by_mdns() {
    stand_between("two cards, mDNS", &MDNS_ALONE, false);
}

#[test]
fn a_host_with_two_cards_is_found_on_both_by_the_beacon() {
    stand_between("two cards, beacon", &BEACON_ALONE, false);
}

#[test]
fn a_host_with_two_cards_is_found_on_both_by_the_beacon_over_ipv6() {
    stand_between("two cards, beacon, IPv6", &BEACON_ALONE, true);
}

/// Two hosts without any IPv4 address.
fn find_each_other_over_ipv6(test: &str, settings: &[(&str, &str)]) {
    let Some(site) = site(test) else { return };
    let lan = site.lan().unwrap();
    let nodes = [
        Node::start(&host(&site, "a", &lan, &["fd00::1/64"]), settings),
        Node::start(&host(&site, "b", &lan, &["fd00::2/64"]), settings),
    ];
    let nodes: Vec<&Node> = nodes.iter().collect();
    until_joined(&nodes);
    exchange(&nodes);
}

#[test]
fn hosts_with_ipv6_only_find_each_other_by_mdns() {
    find_each_other_over_ipv6("IPv6, mDNS", &MDNS_ALONE);
}

#[test]
fn hosts_with_ipv6_only_find_each_other_by_the_beacon() {
    find_each_other_over_ipv6("IPv6, beacon", &BEACON_ALONE);
}
