//! Nodes that know one other, and find those that hold the same space by it.

use ocm::invitation::Invitation;
use serde_json::json;

use crate::node::{Node, host, site};

const QUIET: [(&str, &str); 4] = [
    ("OCM_NETWORK_BEACON", "false"),
    ("OCM_NETWORK_MDNS", "false"),
    ("OCM_NETWORK_REMEMBER", "false"),
    ("OCM_SEED_PEERS", "10.1.0.1:8080"),
];

/// Invites a node without telling where anyone is.
fn invite(from: &Node, space: &str, to: &Node) {
    let shown = from.get(&format!("/v1/spaces/{space}/invitation"));
    let invitation: Invitation = shown["invitation"].as_str().unwrap().parse().unwrap();
    let word = Invitation { addresses: Vec::new(), ..invitation }.to_string();
    to.post("/v1/spaces/join", &json!({"invitation": word}));
}

#[test]
fn five_that_know_one_node_find_the_two_others_of_their_space() {
    let Some(site) = site("lookup by space") else { return };
    let lan = site.lan().unwrap();
    let start = |label: &str, address: &str, lookup| {
        let settings = [&QUIET[..], &[("OCM_NETWORK_LOOKUP", lookup)]].concat();
        Node::start(&host(&site, label, &lan, &[address]), &settings)
    };
    let mut seed = start("seed", "10.1.0.1/24", "server");
    let a = start("a", "10.1.0.2/24", "client");
    let b = start("b", "10.1.0.3/24", "client");
    let c = start("c", "10.1.0.4/24", "client");
    let d = start("d", "10.1.0.5/24", "client");
    let off = start("off", "10.1.0.6/24", "off");
    let open = json!({"name": "village", "write": "open", "read": "open"});
    let village = a.post("/v1/spaces", &open)["id"].as_str().unwrap().to_owned();
    let closed = json!({"name": "council"});
    let council = a.post("/v1/spaces", &closed)["id"].as_str().unwrap().to_owned();
    a.post(&format!("/v1/spaces/{council}/grants"), &json!({"to": d.did, "role": "writer"}));
    for node in [&b, &c, &off] {
        invite(&a, &village, node);
    }
    invite(&a, &council, &d);
    let three = [&a, &b, &c];
    let met = |seed: &Node| {
        for (node, others) in [(&a, [&b, &c]), (&b, [&a, &c]), (&c, [&a, &b])] {
            node.until_peers(&[others[0], others[1], seed]);
        }
    };
    met(&seed);
    let body = json!({"space": village, "content": {"title": "Found"}});
    let memory = b.post("/v1/memories", &body)["id"].as_str().unwrap().to_owned();
    for node in three {
        node.until("has the memory", |node| {
            let (status, _) = node.ask("GET", &format!("/v1/memories/{memory}"), None)?;
            (status == 200).then_some(())
        });
        node.until("says that it looks up", |node| {
            (node.doctor()["lookup"].0 == "ok").then_some(())
        });
    }
    let keeps = |seed: &Node| {
        seed.until("keeps what it is told, of one space", |seed| {
            let (state, text) = seed.doctor()["lookup"].clone();
            assert_eq!(state, "ok", "{text}");
            text.ends_with("3 announcements of others are kept, of 1 spaces").then_some(())
        });
    };
    keeps(&seed);
    for alone in [&d, &off] {
        alone.until_peers(&[&seed]);
    }
    assert_eq!(off.doctor()["lookup"].1, "off, switched off");
    // What the seed was told is gone with its process, and is told again when it is back.
    seed.kill();
    for node in three {
        node.until("misses the seed", |node| {
            (!node.peers().contains_key(&seed.peer)).then_some(())
        });
    }
    seed.spawn();
    keeps(&seed);
    met(&seed);
    for alone in [&d, &off] {
        alone.until_peers(&[&seed]);
    }
}
