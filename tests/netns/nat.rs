//! Hosts behind routers that translate addresses, and a relay outside.

use std::time::{Duration, Instant};

use ocm::devnet::netns::{Lan, Nat, Site};
use serde_json::{Value, json};

use crate::node::{Node, SharedHost, exchange, host, site};

/// Nobody is found by chance.
pub(crate) const ALONE: [(&str, &str); 2] =
    [("OCM_NETWORK_BEACON", "false"), ("OCM_NETWORK_MDNS", "false")];

const RELAY: &str = "203.0.113.1";

/// A host, and the router that it is behind, which is in the outer network as `203.0.113.<number>`.
fn home(site: &Site, wan: &Lan, number: u8, nat: Nat) -> (SharedHost, SharedHost) {
    let lan = site.lan().unwrap();
    let router = host(site, "router", wan, &[&format!("203.0.113.{number}/24")]);
    {
        let mut router = router.lock().unwrap();
        router.plug("eth1", &lan, &[&format!("10.{number}.0.1/24")]).unwrap();
        router.nat("eth0", nat).unwrap();
    }
    let inside = host(site, "home", &lan, &[&format!("10.{number}.0.2/24")]);
    inside.lock().unwrap().route("default", [10, number, 0, 1].into()).unwrap();
    (inside, router)
}

/// The address through the relay that a node announces, once it does.
pub(crate) fn circuit(node: &Node) -> String {
    node.until("has a place at the relay", |node| {
        let (_, status) = node.ask("GET", "/status", None)?;
        let listen = status["listen"].as_array()?.clone();
        let mut listen = listen.iter().filter_map(Value::as_str);
        listen.find(|address| address.contains("/p2p-circuit")).map(str::to_owned)
    })
}

/// How a node is connected with another one.
fn peer(node: &Node, other: &Node) -> Option<Value> {
    let (_, answer) = node.ask("GET", "/peers", None)?;
    answer["items"].as_array()?.iter().find(|item| item["peer_id"] == other.peer.as_str()).cloned()
}

pub(crate) fn until_connected(node: &Node, other: &Node, path: &str) {
    let what = format!("is connected with {} and {path}", other.peer);
    node.until(&what, |node| peer(node, other).filter(|peer| peer["path"] == path));
}

/// A relay outside, and two nodes behind routers.
struct World {
    relay: Node,
    a: Node,
    b: Node,
    _routers: [SharedHost; 2],
}

/// The two find each other by the address that one of them announces.
fn meet(site: &Site, nat: Nat) -> World {
    let wan = site.lan().unwrap();
    meet_from(site, &wan, home(site, &wan, 11, nat), nat)
}

/// The same with a home that is there already.
fn meet_from(site: &Site, wan: &Lan, home_of_a: (SharedHost, SharedHost), nat: Nat) -> World {
    let outside = host(site, "relay", wan, &[&format!("{RELAY}/24")]);
    let relay = Node::start(&outside, &[&ALONE[..], &[("OCM_NETWORK_RELAY", "true")]].concat());
    let place = format!("{RELAY}:8080");
    let settings = [&ALONE[..], &[("OCM_NETWORK_RELAYS", place.as_str())]].concat();
    let (a_host, a_router) = home_of_a;
    let (b_host, b_router) = home(site, wan, 12, nat);
    let (a, b) = (Node::start(&a_host, &settings), Node::start(&b_host, &settings));
    let address = circuit(&a);
    let through = format!("/ip4/{RELAY}/tcp/8080/p2p/{}/p2p-circuit", relay.peer);
    assert_eq!(address, format!("{through}/p2p/{}", a.peer));
    b.post("/v1/peers/connect", &json!({ "address": address }));
    World { relay, a, b, _routers: [a_router, b_router] }
}

#[test]
fn hosts_behind_symmetric_nats_meet_through_a_relay_and_again_when_it_comes_back() {
    let Some(site) = site("a relay between two NATs") else { return };
    let World { mut relay, a, b, _routers } = meet(&site, Nat::Symmetric);
    until_connected(&a, &b, "relayed");
    until_connected(&b, &a, "relayed");
    for node in [&a, &b] {
        assert_eq!(peer(node, &relay).unwrap()["path"], "direct");
        assert_eq!(node.doctor()["relays"].0, "ok");
    }
    exchange(&[&a, &b]);
    // Holes cannot be punched, and what stands is left standing.
    a.until("gives up", |a| a.has_logged("no hole was punched").then_some(()));
    until_connected(&a, &b, "relayed");
    until_connected(&b, &a, "relayed");
    exchange(&[&b, &a]);
    // The relay vanishes; nobody is left.
    relay.kill();
    a.until_peers(&[]);
    b.until_peers(&[]);
    a.until("says that it has no place", |a| (a.doctor()["relays"].0 == "fault").then_some(()));
    relay.spawn();
    let back = Instant::now();
    until_connected(&a, &b, "relayed");
    until_connected(&b, &a, "relayed");
    let took = back.elapsed();
    assert!(took < Duration::from_secs(60), "it took {took:?}");
    exchange(&[&a, &b]);
}

#[test]
fn hosts_behind_cone_nats_are_connected_directly_within_half_a_minute() {
    let Some(site) = site("hole punching between two NATs") else { return };
    let began = Instant::now();
    let World { mut relay, a, mut b, _routers } = meet(&site, Nat::Cone);
    until_connected(&a, &b, "direct");
    until_connected(&b, &a, "direct");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "it took {took:?}");
    let told = |node: &Node, other: &Node| peer(node, other).unwrap()["address"].clone();
    let seen = [told(&a, &b), told(&b, &a)].map(|address| address.as_str().unwrap().to_owned());
    assert!(seen[0].starts_with("/ip4/203.0.113.12/"), "{seen:?}");
    assert!(seen[1].starts_with("/ip4/203.0.113.11/"), "{seen:?}");
    exchange(&[&a, &b]);
    // Whoever comes back dials what it knows before it hears where it is seen.
    b.stop();
    a.until("misses who has gone", |a| (!a.peers().contains_key(&b.peer)).then_some(()));
    b.spawn();
    let back = Instant::now();
    until_connected(&b, &a, "direct");
    until_connected(&a, &b, "direct");
    let took = back.elapsed();
    assert!(took < Duration::from_secs(30), "it took {took:?}");
    // They need the relay no more, once both have left the circuit.
    for node in [&a, &b] {
        node.until("leaves the circuit", |node| node.has_logged("a circuit is left").then_some(()));
    }
    relay.kill();
    a.until_peers(&[&b]);
    b.until_peers(&[&a]);
    exchange(&[&b, &a]);
}

#[test]
fn a_hole_that_could_not_be_punched_is_punched_later() {
    let Some(site) = site("a hole that is punched later") else { return };
    let wan = site.lan().unwrap();
    // The way between the two routers is cut at one of them, that to the relay is not.
    let (a_host, a_router) = home(&site, &wan, 11, Nat::Cone);
    let cut = |what| {
        let mut command = a_router.lock().unwrap().command("ip");
        let status = command.args(["route", what, "blackhole", "203.0.113.12/32"]).status();
        assert!(status.unwrap().success());
    };
    cut("add");
    let world = meet_from(&site, &wan, (a_host, a_router.clone()), Nat::Cone);
    let World { a, b, .. } = &world;
    until_connected(b, a, "relayed");
    a.until("gives up", |a| a.has_logged("no hole was punched").then_some(()));
    until_connected(b, a, "relayed");
    cut("delete");
    until_connected(b, a, "direct");
    until_connected(a, b, "direct");
    exchange(&[a, b]);
}
