//! Links that are slow, and links that lose.

use serde_json::{Value, json};

use crate::node::{Node, SharedHost, host, site, until_joined};

/// Records that the newcomer lacks, of about a kilobyte each.
const RECORDS: usize = 220;

/// A node with a space and records in it, and a host beside it.
fn stocked(
    site: &ocm::devnet::netns::Site,
    settings: &[(&str, &str)],
) -> (Node, String, SharedHost, SharedHost) {
    let lan = site.lan().unwrap();
    let (near, far) =
        (host(site, "near", &lan, &["10.1.0.1/24"]), host(site, "far", &lan, &["10.1.0.2/24"]));
    let node = Node::start(&near, settings);
    let made = json!({"name": "slow", "write": "open", "read": "open"});
    let space = node.post("/v1/spaces", &made)["id"].as_str().unwrap().to_owned();
    let text = "x".repeat(600);
    let items: Vec<Value> = (0..RECORDS)
        .map(|n| json!({"space": space, "content": {"type": "note", "title": n.to_string(), "text": text}}))
        .collect();
    let answer = node.post("/v1/memories:batch", &json!({ "items": items }));
    assert_eq!(answer["items"].as_array().unwrap().len(), RECORDS);
    (node, space, near, far)
}

/// A newcomer gets everything, however long that takes.
fn until_equal(node: &Node, far: &SharedHost, space: &str, settings: &[(&str, &str)]) {
    let newcomer = Node::start(far, settings);
    until_joined(&[node, &newcomer]);
    let invitation = node.get(&format!("/v1/spaces/{space}/invitation"));
    newcomer.post("/v1/spaces/join", &json!({"invitation": invitation["invitation"]}));
    newcomer.until("has all", |newcomer| {
        let (_, shown) = newcomer.ask("GET", &format!("/v1/spaces/{space}"), None)?;
        (shown["memories"] == RECORDS).then_some(())
    });
}

#[test]
fn a_newcomer_on_a_slow_link_gets_everything() {
    let Some(site) = site("a slow link") else { return };
    let settings = crate::lan::BEACON_ALONE;
    let (node, space, near, far) = stocked(&site, &settings);
    // All of it is more than the time of one request lets through.
    near.lock().unwrap().set_rate("eth0", Some(64_000)).unwrap();
    until_equal(&node, &far, &space, &settings);
}

#[test]
fn a_newcomer_on_a_link_that_loses_gets_everything() {
    let Some(site) = site("a link that loses") else { return };
    let settings = crate::lan::BEACON_ALONE;
    let (node, space, near, far) = stocked(&site, &settings);
    site.set_losses(&[(&near.lock().unwrap(), "eth0", 10)]).unwrap();
    until_equal(&node, &far, &space, &settings);
}
