//! Private networks: a key that all have, a list of those that are spoken to, and peers kept out for
//! good.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::node::PATIENCE;
use crate::process::{Client, Process};

struct Node {
    dir: TempDir,
    process: Process,
    client: Client,
}

impl Node {
    fn start(variables: &[(&'static str, String)]) -> Self {
        Self::start_in(TempDir::new().unwrap(), variables)
    }

    fn start_in(dir: TempDir, variables: &[(&'static str, String)]) -> Self {
        let mut all = BTreeMap::from([("OCM_DATA_DIR", dir.path().to_str().unwrap().to_owned())]);
        all.extend(variables.iter().cloned());
        let mut process = Process::spawn_with(&all);
        let (client, _) = process.until_ready(dir.path());
        Self { dir, process, client }
    }

    fn says(&self, field: &str) -> String {
        self.client.get("/status")[field].as_str().unwrap_or_default().to_owned()
    }

    fn address(&self) -> String {
        self.client.get("/status")["listen"][0].as_str().unwrap().to_owned()
    }

    /// Dials another, and waits until something came of it.
    fn dials(&self, other: &Self) {
        let dialled = json!({"address": other.address()});
        self.client.ask("POST", "/v1/peers/connect", Some(&dialled)).unwrap();
    }

    fn is_with(&self, other: &Self) -> bool {
        let peers = self.client.get("/peers");
        let peer = other.says("peer_id");
        peers["items"].as_array().unwrap().iter().any(|known| {
            // With a DID it is one that has said hello, and was let in.
            known["peer_id"] == peer.as_str() && known["did"].is_string()
        })
    }

    fn stop(mut self) -> TempDir {
        self.client.ask("POST", "/v1/stop", None).unwrap();
        assert!(self.process.until_ended().success());
        self.dir
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn key(byte: u8) -> (&'static str, String) {
    let hex = format!("{byte:02x}").repeat(32);
    ("OCM_NETWORK_KEY", format!("/key/swarm/psk/1.0.0/\n/base16/\n{hex}"))
}

#[test]
fn only_nodes_with_one_key_meet() {
    let [a, b, c, open] = [&[key(7)][..], &[key(7)], &[key(8)], &[]].map(Node::start);
    assert_eq!(a.says("network_key"), b.says("network_key"));
    assert_ne!(a.says("network_key"), c.says("network_key"));
    assert_eq!((a.says("network_key").len(), open.says("network_key").len()), (32, 0));
    for other in [&c, &open, &b] {
        a.dials(other);
        other.dials(&a);
    }
    until("two with one key meet", || a.is_with(&b) && b.is_with(&a));
    until("why others are not met is told", || {
        // It has met nobody, and says why.
        let sources = c.client.get("/status")["sources"].to_string();
        sources.contains("network.key")
    });
    assert_eq!(a.client.get("/peers")["items"].as_array().unwrap().len(), 1);
}

#[test]
fn only_those_on_the_list_are_spoken_to() {
    let (friend, stranger) = (Node::start(&[]), Node::start(&[]));
    let choosy = Node::start(&[("OCM_NETWORK_ALLOW", friend.says("did"))]);
    for other in [&stranger, &friend] {
        other.dials(&choosy);
        choosy.dials(other);
    }
    until("the friend is let in", || {
        assert!(!choosy.is_with(&stranger), "the stranger is let in");
        choosy.is_with(&friend) && friend.is_with(&choosy)
    });
}

#[test]
fn who_is_blocked_stays_so_over_a_restart_until_unblocked() {
    let (a, b) = (Node::start(&[]), Node::start(&[]));
    b.dials(&a);
    until("they meet", || a.is_with(&b));
    let path = |action: &str| format!("/v1/peers/{}/{action}", b.says("peer_id"));
    a.client.ask("POST", &path("block"), None).unwrap();
    until("it is sent away", || !a.is_with(&b));
    let a = Node::start_in(a.stop(), &[]);
    assert_eq!(a.client.get("/status")["blocked"], json!([b.says("peer_id")]));
    b.dials(&a);
    a.client.ask("POST", &path("unblock"), None).unwrap();
    let a = Node::start_in(a.stop(), &[]);
    assert_eq!(a.client.get("/status")["blocked"], json!([]));
    b.dials(&a);
    until("they meet again", || a.is_with(&b));
}
