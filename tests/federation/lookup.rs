//! Nodes that know one other node, which holds none of their spaces, and find each other by it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ocm::handle::NetworkCommand;
use ocm::invitation::Invitation;
use ocm_discovery::{LookupKey, PeerId};
use ocm_node::Command;
use ocm_record::{RecordId, Set, SpaceId};
use ocm_space::Role;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{MEMBERS, PATIENCE, Place, READ_OPEN, TestNode, Transport};
use crate::process::{Client, Process};

/// The node that all know: a process, for its log tells what it is asked.
struct Server {
    dir: TempDir,
    _process: Process,
    client: Client,
}

impl Server {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let at = |name| dir.path().join(name).to_str().unwrap().to_owned();
        let variables = BTreeMap::from([
            ("OCM_DATA_DIR", at("data")),
            ("OCM_LOG_DIRECTORY", at("log")),
            ("OCM_LOG_ROTATE", "never".to_owned()),
            ("OCM_LOG_LEVEL", "debug".to_owned()),
            ("OCM_NETWORK_LOOKUP", "server".to_owned()),
        ]);
        let mut process = Process::spawn_with(&variables);
        let (client, _) = process.until_ready(&dir.path().join("data"));
        Self { dir, _process: process, client }
    }

    fn address(&self) -> String {
        let status = self.client.get("/status");
        let listen = status["listen"].as_array().unwrap();
        let tcp = listen.iter().filter_map(Value::as_str).find(|text| text.contains("/tcp/"));
        tcp.unwrap().to_owned()
    }

    fn peer(&self) -> PeerId {
        self.client.get("/status")["peer_id"].as_str().unwrap().parse().unwrap()
    }

    /// What it says of the lookups.
    fn says(&self) -> String {
        let status = self.client.get("/status");
        let sources = status["sources"].as_array().unwrap();
        let lookup = sources.iter().find(|source| source["name"] == "lookup").unwrap();
        lookup["detail"].as_str().unwrap().to_owned()
    }

    /// The keys that were announced or asked for.
    fn keys(&self, what: &str) -> BTreeSet<String> {
        let log = std::fs::read_to_string(self.dir.path().join("log/ocm.log")).unwrap();
        let lines = log.lines().filter(|line| line.contains(what));
        let key = |line: &str| line.split("key=").nth(1)?.split(' ').next().map(str::to_owned);
        lines.map(|line| key(line).unwrap_or_else(|| panic!("no key in {line}"))).collect()
    }
}

/// A node that knows the server alone.
async fn start(server: &Server, lookup: &'static str) -> TestNode {
    let node = Place::new(Transport::Tcp, &[("network.lookup", lookup)]).start(&[]).await;
    node.network(NetworkCommand::Connect(server.address())).await;
    node.until_connected(1).await;
    node
}

/// Gives a node what somebody carried to it of a space: its genesis and these grants.
async fn hand_over(from: &TestNode, to: &TestNode, space: SpaceId, grants: &[RecordId]) {
    let ids = [&[space.0], grants].concat();
    let stored = |id| from.stored(space, Set::Authority, id).unwrap();
    let records = ids.iter().map(stored).collect();
    to.join(space).await;
    to.command(Command::Import { space: Some(space), records }).await.unwrap();
}

/// Invites a node to a space, without telling where anyone is.
fn invite(from: &TestNode, to: &TestNode, space: SpaceId) {
    let shown = from.client().get(&format!("/v1/spaces/{space}/invitation"));
    let invitation: Invitation = shown["invitation"].as_str().unwrap().parse().unwrap();
    let word = Invitation { addresses: Vec::new(), ..invitation }.to_string();
    let joining = json!({"invitation": word});
    let (status, answer) = to.client().ask("POST", "/v1/spaces/join", Some(&joining)).unwrap();
    assert_eq!(status, 200, "{answer}");
}

fn peers(nodes: &[&TestNode], server: &Server) -> BTreeSet<PeerId> {
    nodes.iter().map(|node| node.running.peer).chain([server.peer()]).collect()
}

async fn until_met(node: &TestNode, wanted: &BTreeSet<PeerId>) {
    node.until("has found its peers", |status| {
        let met: BTreeSet<_> = status.network.connections.iter().map(|c| c.peer).collect();
        met == *wanted
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_share_a_space_find_each_other_by_a_node_that_holds_none() {
    let server = Server::start();
    // Three share a space that everyone may read, the second by an invitation that tells no address;
    // the first and the fourth one of members only. The
    // fifth holds the first space, too, and does not look up.
    let a = start(&server, "client").await;
    let b = start(&server, "client").await;
    let c = start(&server, "client").await;
    let d = start(&server, "client").await;
    let e = start(&server, "off").await;
    let village = a.create_space("Village", READ_OPEN).await;
    let council = a.create_space("Council", MEMBERS).await;
    let mut grants = Vec::new();
    for node in [&b, &c, &e] {
        grants.push(a.grant(village, node.did(), Role::Writer).await);
    }
    let member = a.grant(council, d.did(), Role::Writer).await;
    invite(&a, &b, village);
    for node in [&c, &e] {
        hand_over(&a, node, village, &grants).await;
    }
    hand_over(&a, &d, council, &[member]).await;
    a.write(village, &json!({"title": "The bridge is open"})).await.unwrap();
    a.write(council, &json!({"title": "The bridge costs too much"})).await.unwrap();

    for (node, others) in [(&a, [&b, &c]), (&b, [&a, &c]), (&c, [&a, &b])] {
        until_met(node, &peers(&others, &server)).await;
    }
    for node in [&a, &b, &c] {
        node.until_content(village, 1).await;
        node.until_equal(village, 2).await;
    }
    let sources: Vec<&str> = [&a, &b, &c]
        .iter()
        .flat_map(|node| node.handle().status().network.connections.clone())
        .filter(|connection| connection.peer != server.peer())
        .map(|connection| connection.source)
        .collect();
    let found = sources.iter().filter(|source| **source == "lookup").count();
    assert!(found >= 3 && sources.len() == 6, "of each two one found the other: {sources:?}");

    // The server keeps what it was told, and knows of one space: neither the members-only one nor
    // the personal ones of the nodes.
    let kept = "3 announcements of others are kept, of 1 spaces";
    let began = Instant::now();
    while !server.says().ends_with(kept) {
        // What is shown may be a second old.
        assert!(began.elapsed() < PATIENCE, "{}", server.says());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let key = LookupKey::of(&village).to_string();
    assert_eq!(server.keys("a peer announces itself"), [key.clone()].into());
    assert_eq!(server.keys("a peer looks up"), [key].into());
    for alone in [&d, &e] {
        assert_eq!(alone.connections(), [server.peer()]);
    }
    assert_eq!((d.count(council), e.count(village)), (0, 0));
}
