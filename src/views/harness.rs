//! A node for tests: the real core over a store in memory, driven by a loop that has no network.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use ocm_discovery::PeerId;
use ocm_node::layout;
use ocm_node::storage::{Batch, Key, ReadError, Reader, Value as Bytes};
use ocm_node::{Command, Identity, Input, Node, Output, Reply};
use ocm_record::{Did, RecordId, SigningKey, SpaceId};
use ocm_space::{Access, Grant, Policy, Role};
use tokio::sync::{broadcast, mpsc, watch};

use super::{MemoryPlace, Views};
use crate::handle::{
    Connection, Handle, Job, NetworkCommand, NetworkFailure, NetworkReply, NetworkStatus, Numbered,
    QUEUE, Status,
};

/// Events that a listener may lag behind here: few, so that a test can outrun one.
pub(crate) const FEED: usize = 64;

/// A store in memory.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) entries: RwLock<BTreeMap<Key, Bytes>>,
    /// Keys that cannot be read.
    pub(crate) corrupt: RwLock<Vec<Key>>,
    /// While set, every write fails.
    pub(crate) full: AtomicBool,
}

impl Shelf {
    pub(crate) fn apply(&self, batch: &Batch) {
        let sets = ocm_node::sets::follow(&batch.writes, self).unwrap().0;
        let mut entries = self.entries.write().unwrap();
        for (key, value) in batch.writes.iter().chain(&sets) {
            match value {
                Some(value) => entries.insert(key.clone(), value.clone()),
                None => entries.remove(key),
            };
        }
    }

    /// How many keys begin so.
    pub(crate) fn count(&self, prefix: u8) -> usize {
        self.entries.read().unwrap().keys().filter(|key| key[0] == prefix).count()
    }

    /// Every stored record.
    pub(crate) fn records(&self) -> Vec<Bytes> {
        let entries = self.entries.read().unwrap();
        let records = entries.iter().filter(|(key, _)| key[0] == b'r');
        records.map(|(_, value)| layout::unseal(value).unwrap().to_vec()).collect()
    }

    /// Changes the bytes of a record, as if others had been stored.
    pub(crate) fn damage(&self, id: &RecordId, change: impl FnOnce(&mut Bytes)) {
        let mut entries = self.entries.write().unwrap();
        let entry =
            entries.iter_mut().find(|(key, _)| key[0] == b'r' && key.ends_with(id.as_bytes()));
        let value = entry.expect("the record is stored").1;
        let mut record = layout::unseal(value).unwrap().to_vec();
        change(&mut record);
        *value = layout::seal(record);
    }
}

impl Reader for Shelf {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        if self.corrupt.read().unwrap().iter().any(|bad| bad == key) {
            return Err(ReadError::Corrupt("a test made it so".into()));
        }
        Ok(self.entries.read().unwrap().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Bytes)>, ReadError> {
        let entries = self.entries.read().unwrap();
        let range = entries.range(from.to_vec()..to.to_vec());
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Bytes)>, ReadError> {
        let entries = self.entries.read().unwrap();
        let range = entries.range(from.to_vec()..to.to_vec()).rev();
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// A running node.
pub(crate) struct Harness {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) handle: Handle,
    pub(crate) views: Views,
    pub(crate) did: Did,
}

pub(crate) fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap()
}

/// The peer that the test network says is connected.
pub(crate) fn peer() -> PeerId {
    PeerId::new(SigningKey::from_seed(&[99; 32]).public())
}

struct Loop {
    node: Node,
    shelf: Arc<Shelf>,
    status: watch::Sender<Arc<Status>>,
    network: NetworkStatus,
    feed: broadcast::Sender<Arc<Numbered>>,
    waiting: BTreeMap<u64, tokio::sync::oneshot::Sender<Result<Reply, ocm_node::CommandError>>>,
    numbers: u64,
}

impl Loop {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut ticket = 0;
        while let Some(job) = jobs.recv().await {
            match job {
                Job::Core(command, reply) => {
                    ticket += 1;
                    self.waiting.insert(ticket, reply);
                    self.feed(Input::Command { ticket, command });
                }
                Job::Network(command, reply) => {
                    let result = self.network(command);
                    self.publish();
                    let _ = reply.send(result);
                }
                Job::Configure(tuning, reply) => {
                    self.node.set_settings(tuning.settings);
                    let _ = reply.send(Ok(()));
                }
                Job::Rows(batch, reply) => {
                    let result = if self.shelf.full.load(Ordering::Relaxed) {
                        Err("a test made it so".to_owned())
                    } else {
                        self.shelf.apply(&batch);
                        Ok(())
                    };
                    let _ = reply.send(result);
                }
                Job::Stop => return,
            }
        }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let outputs = self.node.handle(input, now(), &*self.shelf).unwrap();
            self.publish();
            for output in outputs {
                match output {
                    Output::Commit { batch, writes } => {
                        self.shelf.apply(&writes);
                        inputs.push_back(Input::Committed(batch));
                    }
                    Output::Verify { job, records } => {
                        let results = ocm_record::verify_batch(records);
                        inputs.push_back(Input::Verified { job, results });
                    }
                    Output::Sign { job, key, records } => {
                        let results = ocm_record::sign_batch(records, &key);
                        inputs.push_back(Input::Verified { job, results });
                    }
                    Output::Reply { ticket, result } => {
                        if let Some(reply) = self.waiting.remove(&ticket) {
                            let _ = reply.send(result);
                        }
                    }
                    Output::Event(event) => {
                        self.numbers += 1;
                        let numbered = Numbered { number: self.numbers, at_ms: now(), event };
                        let _ = self.feed.send(Arc::new(numbered));
                    }
                    _ => {}
                }
            }
        }
    }

    fn publish(&mut self) {
        let status = Status {
            shown: std::time::Instant::now(),
            core: self.node.snapshot(),
            network: Arc::new(self.network.clone()),
            queues: BTreeMap::from([("store", 0)]),
        };
        self.status.send_replace(Arc::new(status));
    }

    fn network(&mut self, command: NetworkCommand) -> Result<NetworkReply, NetworkFailure> {
        match command {
            NetworkCommand::Connect(address) if address.starts_with('/') => Ok(NetworkReply::Done),
            NetworkCommand::Connect(address) => {
                Err(NetworkFailure::Address(format!("{address:?} is no address")))
            }
            NetworkCommand::Forget(address) => {
                Err(NetworkFailure::NotKept(address, vec!["/ip4/192.0.2.1/tcp/8080".to_owned()]))
            }
            NetworkCommand::Block(peer) => {
                self.network.blocked.push(peer);
                Ok(NetworkReply::Done)
            }
            NetworkCommand::Unblock(peer) => {
                self.network.blocked.retain(|blocked| *blocked != peer);
                Ok(NetworkReply::Done)
            }
            NetworkCommand::Ping(asked) if asked == peer() => Ok(NetworkReply::RoundTrip(1500)),
            NetworkCommand::Ping(asked) => Err(NetworkFailure::NotConnected(asked)),
        }
    }
}

impl Harness {
    /// A fresh node; the number makes its keys.
    pub(crate) fn start(number: u8) -> Self {
        Self::start_over(number, Arc::default())
    }

    /// A node over what another left in its store.
    pub(crate) fn start_over(number: u8, shelf: Arc<Shelf>) -> Self {
        let identity = Identity {
            author: SigningKey::from_seed(&[number; 32]),
            peer: SigningKey::from_seed(&[number + 100; 32]),
        };
        let did = Did::from(identity.author.public());
        let seed = [shelf.count(b'r') as u8 ^ number; 32];
        let (node, _) =
            Node::open(identity, ocm_node::Settings::default(), seed, now(), &*shelf).unwrap();
        let network = NetworkStatus {
            listen: vec!["/ip4/127.0.0.1/tcp/8080".into(), "/ip4/192.0.2.7/tcp/8080".into()],
            connections: vec![Connection {
                peer: peer(),
                address: "/ip4/192.0.2.9/tcp/8080".into(),
                relayed: false,
                transport: "tcp",
                direction: "outbound",
                since_ms: 1000,
                rtt_us: Some(2500),
                source: "bootstrap",
                agent: Some("ocm/0.1.0".into()),
            }],
            ..NetworkStatus::default()
        };
        let core = node.snapshot();
        let shown = Arc::new(network.clone());
        let status = Status {
            core,
            network: shown,
            shown: std::time::Instant::now(),
            queues: BTreeMap::new(),
        };
        let (status, watch) = watch::channel(Arc::new(status));
        let (jobs, queue) = mpsc::channel(QUEUE);
        let feed = broadcast::Sender::new(FEED);
        let handle = Handle::new(jobs, watch, feed.clone(), shelf.clone());
        let waiting = BTreeMap::new();
        let running =
            Loop { node, shelf: shelf.clone(), status, network, feed, waiting, numbers: 0 };
        tokio::spawn(running.run(queue));
        Self { shelf, views: Views::new(handle.clone()), handle, did }
    }

    pub(crate) async fn command(&self, command: Command) -> Reply {
        self.handle.command(command).await.unwrap().unwrap()
    }

    /// Begins a space that members write.
    pub(crate) async fn space(&self, name: &str) -> SpaceId {
        let policy = Policy { write: Access::Members, read: Access::Open };
        match self.command(Command::CreateSpace { name: name.into(), policy }).await {
            Reply::Space(space) => space,
            other => panic!("{other:?}"),
        }
    }

    /// Makes another node a writer of a space that it then holds, records and all.
    pub(crate) async fn admit(&self, space: SpaceId, other: &Self) {
        let grant =
            Grant { to: other.did, role: Role::Writer, key: None, kinds: None, expires: None };
        self.command(Command::Grant { space, grant }).await;
        other.command(Command::Join { space }).await;
        other.hear(self).await;
    }

    /// Takes in every record of another node.
    pub(crate) async fn hear(&self, other: &Self) {
        let records = other.shelf.records();
        self.command(Command::Import { space: None, records }).await;
    }

    /// A memory with a title that was edited here and there at once.
    pub(crate) async fn fork(&self, other: &Self, space: SpaceId) -> MemoryPlace {
        let content = serde_json::json!({"title": "first"});
        let place = self.views.create(space, content).await.unwrap();
        other.hear(self).await;
        let theirs = other.views.resolve_memory(&place.memory.to_string()).await.unwrap();
        let title = |title: &str| serde_json::json!({ "title": title });
        self.views.patch(place, title("here")).await.unwrap().unwrap();
        other.views.patch(theirs, title("there")).await.unwrap().unwrap();
        self.hear(other).await;
        place
    }
}
