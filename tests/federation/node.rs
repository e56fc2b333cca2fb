//! A node for a test: its own directory, free ports of loopback, and what a test asks of it.

use std::path::Path;
use std::time::Duration;

use ocm::config::{Config, Environment, Overrides};
use ocm::handle::{Handle, Status};
use ocm::runtime::{NodeFlags, Running};
use ocm_memory::{Document, create_edits, encode_edits};
use ocm_node::view::read_memory;
use ocm_node::{Command, CommandError, Reply};
use ocm_record::{Did, MemoryId, RecordId, SpaceId};
use ocm_space::{Access, Grant, Policy, Role};
use serde_json::Value;
use tempfile::TempDir;

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
    transport: Transport,
    dir: TempDir,
}

impl TestNode {
    /// Starts a node that dials `seeds`.
    pub(crate) async fn start(transport: Transport, seeds: &[&TestNode]) -> Self {
        let dir = TempDir::new().unwrap();
        Self::start_in(dir, transport, seeds).await
    }

    async fn start_in(dir: TempDir, transport: Transport, seeds: &[&TestNode]) -> Self {
        let seeds: Vec<String> = seeds.iter().map(|node| node.address()).collect();
        let config = config(dir.path(), transport, &seeds);
        let running = Running::start(&config, NodeFlags::default()).await.unwrap();
        let node = Self { running, transport, dir };
        node.until("listens", |status| !status.network.listen.is_empty()).await;
        node
    }

    /// Stops it and starts it again on the same directory.
    pub(crate) async fn restart(self, seeds: &[&TestNode]) -> Self {
        let Self { running, transport, dir } = self;
        running.stop().await.unwrap();
        Self::start_in(dir, transport, seeds).await
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.running.handle()
    }

    pub(crate) fn did(&self) -> Did {
        self.running.did
    }

    /// An address of it, with its PeerId.
    pub(crate) fn address(&self) -> String {
        let listen = self.handle().status().network.listen.clone();
        let wanted = match self.transport {
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

    /// Waits until its last comparison with each of `peers` peers found a space equal, as it is
    /// now.
    pub(crate) async fn until_equal(&self, space: SpaceId, peers: usize) {
        self.until("is equal to its peers", |status| {
            let held = status.core.spaces.iter().find(|held| held.id == space);
            let Some(ours) = held.map(|held| held.parity) else { return false };
            let equal =
                status.core.peers.iter().filter_map(|peer| peer.shared.get(&space)?.as_ref());
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

    /// A memory, built from what is stored now.
    pub(crate) fn document(&self, space: SpaceId, memory: MemoryId) -> Document {
        let status = self.handle().status();
        let held = status.core.spaces.iter().find(|held| held.id == space).unwrap();
        let read = read_memory(&**self.handle().reader(), held.number, &memory).unwrap();
        assert_eq!(read.damaged, [], "nothing stored is damaged");
        Document::build(read.records).unwrap()
    }

    pub(crate) fn content(&self, space: SpaceId, memory: MemoryId) -> Value {
        self.document(space, memory).content().unwrap()
    }
}

fn config(dir: &Path, transport: Transport, seeds: &[String]) -> Config {
    let quic = matches!(transport, Transport::Quic);
    let flags = Overrides::new()
        .set("data_dir", dir.to_str().unwrap())
        .set("network.port", "0")
        .set("network.bind_address", "127.0.0.1")
        .set("network.mdns", "false")
        .set("network.beacon", "false")
        .set("network.quic", if quic { "true" } else { "false" })
        .set("network.tcp", if quic { "false" } else { "true" })
        .set("network.seed_peers", seeds.join(","))
        .set("api.listen", "127.0.0.1:0");
    let none: [(&str, &str); 0] = [];
    Config::load(&flags, &Environment::from_iter(none)).unwrap().config
}
