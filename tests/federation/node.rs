//! A node for a test: its own directory, free ports of loopback, and what a test asks of it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use ocm::config::{Config, Environment, Overrides};
use ocm::handle::{Handle, NetworkCommand, NetworkReply, Status};
use ocm::runtime::{NodeFlags, Running};
use ocm_discovery::PeerId;
use ocm_memory::{Document, create_edits, encode_edits};
use ocm_node::view::read_memory;
use ocm_node::{Command, CommandError, Reply, SpaceSnapshot, layout};
use ocm_record::{Did, MemoryId, RecordId, Set, SpaceId};
use ocm_space::{Access, Grant, Policy, Role};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Client;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    Tcp,
    Quic,
}

pub(crate) const MEMBERS: Policy = Policy { write: Access::Members, read: Access::Members };
pub(crate) const READ_OPEN: Policy = Policy { write: Access::Members, read: Access::Open };

pub(crate) struct TestNode {
    pub(crate) running: Running,
    place: Place,
}

/// Where a node lives, running or not. A clone is the same place.
#[derive(Clone)]
pub(crate) struct Place {
    transport: Transport,
    settings: Vec<(&'static str, &'static str)>,
    dir: Arc<TempDir>,
}

impl Place {
    pub(crate) fn new(transport: Transport, settings: &[(&'static str, &'static str)]) -> Self {
        Self { transport, settings: settings.to_vec(), dir: Arc::new(TempDir::new().unwrap()) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn config(&self, seeds: &[&TestNode]) -> Config {
        let seeds: Vec<String> = seeds.iter().map(|node| node.address()).collect();
        let quic = matches!(self.transport, Transport::Quic);
        let mut flags = Overrides::new()
            .set("data_dir", self.path().to_str().unwrap())
            .set("network.port", "0")
            .set("network.bind_address", "127.0.0.1")
            .set("network.mdns", "false")
            .set("network.beacon", "false")
            .set("network.quic", if quic { "true" } else { "false" })
            .set("network.tcp", if quic { "false" } else { "true" })
            .set("network.seed_peers", seeds.join(","))
            .set("api.listen", "127.0.0.1:0");
        for (name, value) in &self.settings {
            flags = flags.set(name, *value);
        }
        let none: [(&str, &str); 0] = [];
        Config::load(&flags, &Environment::from_iter(none)).unwrap().config
    }

    /// Starts a node here that dials `seeds`, or says why not, as the owner would read it.
    pub(crate) async fn try_start(
        &self,
        seeds: &[&TestNode],
        flags: NodeFlags,
    ) -> Result<TestNode, String> {
        match Running::start(&self.config(seeds), flags).await {
            Ok(running) => Ok(TestNode { running, place: self.clone() }),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    pub(crate) async fn start(&self, seeds: &[&TestNode]) -> TestNode {
        let offline = self.settings.contains(&("network.enable_network_calls", "false"));
        let started = self.try_start(seeds, NodeFlags::default()).await;
        let node = started.unwrap_or_else(|cause| panic!("the node does not start: {cause}"));
        if !offline {
            node.until("listens", |status| !status.network.listen.is_empty()).await;
        }
        node
    }
}

impl TestNode {
    /// Starts a node that dials `seeds`.
    pub(crate) async fn start(transport: Transport, seeds: &[&TestNode]) -> Self {
        Place::new(transport, &[]).start(seeds).await
    }

    /// Stops it in good order.
    pub(crate) async fn stop(self) -> Place {
        self.running.stop().await.unwrap();
        self.place
    }

    /// Waits until it has ended by itself: where it lived, and why it ended.
    pub(crate) async fn ended(mut self) -> (Place, String) {
        tokio::time::timeout(PATIENCE, self.running.ended()).await.expect("it goes on");
        let cause = self.running.stop().await.expect_err("it ended in good order");
        (self.place, format!("{cause:#}"))
    }

    /// Stops it and starts it again on the same directory.
    pub(crate) async fn restart(self, seeds: &[&TestNode]) -> Self {
        self.stop().await.start(seeds).await
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.running.handle()
    }

    /// A client of its API.
    pub(crate) fn client(&self) -> Client {
        Client::new(format!("http://{}", self.running.api), self.place.path())
    }

    pub(crate) fn did(&self) -> Did {
        self.running.did
    }

    /// An address of it, with its PeerId.
    pub(crate) fn address(&self) -> String {
        let listen = self.handle().status().network.listen.clone();
        let wanted = match self.place.transport {
            Transport::Tcp => "/tcp/",
            Transport::Quic => "/quic-v1",
        };
        let address = listen.iter().find(|address| address.contains(wanted)).unwrap();
        format!("{address}/p2p/{}", self.running.peer)
    }

    /// Waits until its status shows something.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) {
        let mut watch = self.handle().watch();
        let shown = tokio::time::timeout(PATIENCE, watch.wait_for(|status| holds(status))).await;
        match shown {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => panic!("the node ended before it {what}"),
            Err(_) => panic!("{} never {what}: {:#?}", self.running.name, self.handle().status()),
        }
    }

    /// What it shows of a space.
    pub(crate) fn space(&self, space: SpaceId) -> SpaceSnapshot {
        let status = self.handle().status();
        status.core.spaces.iter().find(|held| held.id == space).cloned().unwrap()
    }

    /// Records of content that it holds in a space.
    pub(crate) fn count(&self, space: SpaceId) -> u64 {
        self.space(space).parity.content.count
    }

    /// The PeerIds it is connected with.
    pub(crate) fn connections(&self) -> Vec<PeerId> {
        self.handle().status().network.connections.iter().map(|c| c.peer).collect()
    }

    /// How often admission gave this verdict for this reason.
    pub(crate) fn admissions(&self, verdict: &'static str, reason: &'static str) -> u64 {
        *self.handle().status().core.admissions.get(&(verdict, reason)).unwrap_or(&0)
    }

    pub(crate) async fn network(&self, command: NetworkCommand) {
        assert_eq!(self.handle().network(command).await.unwrap(), Ok(NetworkReply::Done));
    }

    /// The stored bytes of a record.
    pub(crate) fn stored(&self, space: SpaceId, set: Set, id: &RecordId) -> Option<Vec<u8>> {
        let number = self.space(space).number;
        let value = self.handle().reader().get(&layout::record(number, set, id)).unwrap()?;
        Some(layout::unseal(&value).expect("a stored record is whole").to_vec())
    }

    pub(crate) async fn until_connected(&self, peers: usize) {
        self.until("knows its peers", |status| {
            status.core.peers.iter().filter(|peer| peer.did.is_some()).count() >= peers
        })
        .await;
    }

    /// Waits until it holds this many records of content in a space.
    pub(crate) async fn until_content(&self, space: SpaceId, count: u64) {
        self.until("holds the content", |status| {
            let held = status.core.spaces.iter().find(|held| held.id == space);
            held.is_some_and(|held| held.parity.content.count >= count)
        })
        .await;
    }

    /// Waits until it holds the grant that lets it write.
    pub(crate) async fn until_writer(&self, space: SpaceId) {
        self.until("knows its grant", |status| {
            let held = status.core.spaces.iter().find(|held| held.id == space);
            held.is_some_and(|held| {
                matches!(held.state.role(&self.did()), Some(Role::Writer | Role::Owner))
            })
        })
        .await;
    }

    /// Waits until its last comparison with each of `peers` peers found a space equal, as it is
    /// now.
    pub(crate) async fn until_equal(&self, space: SpaceId, peers: usize) {
        self.until("is equal to its peers", |status| {
            let held = status.core.spaces.iter().find(|held| held.id == space);
            let Some(ours) = held.map(|held| held.parity) else { return false };
            let shared = status.core.peers.iter().filter(|peer| peer.shared.contains_key(&space));
            let equal = shared.filter_map(|peer| status.core.parity(space, peer.peer));
            equal.filter(|p| p.equal_since_ms.is_some() && p.ours == ours).count() >= peers
        })
        .await;
    }

    pub(crate) async fn command(&self, command: Command) -> Result<Reply, CommandError> {
        self.handle().command(command).await.unwrap()
    }

    pub(crate) async fn create_space(&self, name: &str, policy: Policy) -> SpaceId {
        match self.command(Command::CreateSpace { name: name.into(), policy }).await.unwrap() {
            Reply::Space(space) => space,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn join(&self, space: SpaceId) {
        self.command(Command::Join { space }).await.unwrap();
    }

    pub(crate) async fn grant(&self, space: SpaceId, to: Did, role: Role) -> RecordId {
        let grant = Grant { to, role, key: None, kinds: None, expires: None };
        match self.command(Command::Grant { space, grant }).await.unwrap() {
            Reply::Record { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn write(
        &self,
        space: SpaceId,
        content: &Value,
    ) -> Result<MemoryId, CommandError> {
        let edits = encode_edits(&create_edits(content).unwrap());
        let command = Command::Change { space, memory: None, deps: Vec::new(), edits };
        match self.command(command).await? {
            Reply::Record { memory: Some(memory), .. } => Ok(memory),
            other => panic!("{other:?}"),
        }
    }

    /// Edits a memory on its current heads.
    pub(crate) async fn patch(&self, space: SpaceId, memory: MemoryId, patch: &Value) {
        let document = self.document(space, memory);
        let edits = encode_edits(&document.patch(patch).unwrap());
        let deps = document.deps_for_edit();
        let command = Command::Change { space, memory: Some(memory), deps, edits };
        self.command(command).await.unwrap();
    }

    /// Starts many memories, with several commands under way at a time.
    pub(crate) async fn write_many(&self, space: SpaceId, numbers: Range<usize>) -> Vec<MemoryId> {
        let write = |n: usize| async move {
            let content = json!({"title": format!("memory {n}"), "n": n, "text": "a".repeat(100)});
            self.write(space, &content).await.unwrap()
        };
        futures::stream::iter(numbers).map(write).buffered(64).collect().await
    }

    /// A memory, built from what is stored now.
    pub(crate) fn document(&self, space: SpaceId, memory: MemoryId) -> Document {
        let number = self.space(space).number;
        let read = read_memory(&**self.handle().reader(), number, &memory).unwrap();
        assert_eq!(read.damaged, [], "nothing stored is damaged");
        Document::build(read.records).unwrap()
    }

    pub(crate) fn content(&self, space: SpaceId, memory: MemoryId) -> Value {
        self.document(space, memory).content().unwrap()
    }
}
