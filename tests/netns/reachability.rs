//! Nodes that find out whether others can dial them.

use serde_json::json;

use crate::nat::{ALONE, circuit};
use crate::node::{Node, SharedHost, exchange, host, site};
use crate::upnp::Router;

const SEEDED: [(&str, &str); 3] = [ALONE[0], ALONE[1], ("OCM_SEED_PEERS", "11.0.0.1:8080")];

fn until_found(node: &Node, wanted: &str) -> (String, String) {
    node.until(&format!("is found {wanted}"), |node| {
        let (_, status) = node.ask("GET", "/status", None)?;
        (status["reachability"] == wanted).then_some(())
    });
    node.doctor()["reachability"].clone()
}

/// The TCP connections of a host that stand, but for those with itself.
fn connections(host: &SharedHost) -> usize {
    let mut command = host.lock().unwrap().command("ss");
    let output = command.args(["-Htn", "state", "established"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.contains("127.0.0.1")).count()
}

#[test]
fn a_node_at_a_public_address_is_found_public() {
    let Some(site) = site("a node at a public address") else { return };
    let wan = site.lan().unwrap();
    let hosts = [1, 2, 3].map(|n| host(&site, "outside", &wan, &[&format!("11.0.0.{n}/24")]));
    let first = Node::start(&hosts[0], &ALONE);
    let others = [Node::start(&hosts[1], &SEEDED), Node::start(&hosts[2], &SEEDED)];
    assert_eq!(first.get("/status")["reachability"], "unknown");
    for (node, address) in
        [(&first, "11.0.0.1"), (&others[0], "11.0.0.2"), (&others[1], "11.0.0.3")]
    {
        let (state, said) = until_found(node, "public");
        assert_eq!(state, "ok", "{said}");
        assert!(said.contains(&format!("dialled this node at /ip4/{address}/")), "{said}");
    }
    // What was dialled for that is gone, and who is connected stayed so.
    first.until_peers(&[&others[0], &others[1]]);
    for (node, host) in [(&first, &hosts[0]), (&others[0], &hosts[1]), (&others[1], &hosts[2])] {
        let peers = node.peers().len();
        node.until("has closed them", |_| (connections(host) == peers).then_some(()));
        assert!(!node.has_logged("disconnected peer"), "somebody was disconnected");
    }
}

#[test]
fn a_node_behind_a_router_is_found_private_and_public_once_a_port_is_mapped() {
    let Some(site) = site("a node behind a router") else { return };
    let wan = site.lan().unwrap();
    let router = Router::new(&site, &wan, "11.0.0.11");
    let first = Node::start(&host(&site, "outside", &wan, &["11.0.0.1/24"]), &ALONE);
    let mut home = Node::start(&router.host(&site, 2), &SEEDED);
    let (state, said) = until_found(&home, "private");
    assert_eq!(state, "warning", "{said}");
    assert!(said.contains("cannot dial this node"), "{said}");
    home.until_peers(&[&first]);
    home.stop();
    home.set(&[&SEEDED[..], &[("OCM_ENABLE_UPNP", "true")]].concat());
    home.spawn();
    let (state, said) = until_found(&home, "public");
    assert_eq!(state, "ok", "{said}");
    assert!(said.contains("at /ip4/11.0.0.11/"), "{said}");
}

#[test]
fn a_node_that_is_found_private_holds_a_place_at_a_peer_that_offers_to_relay() {
    let Some(site) = site("a relay that nobody named") else { return };
    let wan = site.lan().unwrap();
    let router = Router::new(&site, &wan, "11.0.0.11");
    let [relay_host, far_host] =
        [1, 2].map(|n| host(&site, "outside", &wan, &[&format!("11.0.0.{n}/24")]));
    let relay = Node::start(&relay_host, &[&ALONE[..], &[("OCM_NETWORK_RELAY", "true")]].concat());
    let home = Node::start(&router.host(&site, 2), &SEEDED);
    let through =
        format!("/ip4/11.0.0.1/tcp/8080/p2p/{}/p2p-circuit/p2p/{}", relay.peer, home.peer);
    assert!(!home.get("/status")["listen"].to_string().contains("/p2p-circuit"));
    assert!(!home.doctor().contains_key("relays"));
    assert_eq!(circuit(&home), through);
    let found = home.doctor();
    assert_eq!(found["relays"].0, "ok");
    let (state, said) = &found["reachability"];
    assert_eq!(state, "ok");
    assert!(said.starts_with("private: ") && said.ends_with("through a relay"), "{said}");
    let far = Node::start(&far_host, &ALONE);
    far.post("/v1/peers/connect", &json!({ "address": through }));
    far.until("is connected with it", |far| far.peers().contains_key(&home.peer).then_some(()));
    exchange(&[&far, &home]);
}
