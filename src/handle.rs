//! What the rest of the process may ask of the running node: the one seam between the runtime and
//! whoever speaks to people and programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocm_discovery::PeerId;
use ocm_node::storage::{Batch, Reader};
use ocm_node::{Command, CommandError, Event, Reply, Settings, Snapshot};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Commands that may wait for the event loop.
pub const QUEUE: usize = 1024;
/// Events that a slow listener of the feed may lag behind before it loses the oldest.
pub const FEED: usize = 4096;

/// The read side of the store, shared.
pub type SharedReader = Arc<dyn Reader + Send + Sync>;

/// Something asked of the event loop.
#[derive(Debug)]
pub enum Job {
    /// A command of the core.
    Core(Command, oneshot::Sender<Result<Reply, CommandError>>),
    /// Something of the network.
    Network(NetworkCommand, oneshot::Sender<Result<NetworkReply, NetworkFailure>>),
    /// Take up what was configured anew; the answer names what could not be, and why.
    Configure(Tuning, oneshot::Sender<Result<(), String>>),
    /// Rows of views, which no record depends on.
    Rows(Batch, oneshot::Sender<Result<(), String>>),
    /// End the process in good order.
    Stop,
}

/// What the event loop takes up while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Addresses that are dialled for ever, in place of those that were configured before.
    pub seed_peers: Vec<String>,
    /// Connections at one time.
    pub max_peers: u32,
    /// The core's part.
    pub settings: Settings,
}

/// What is asked of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkCommand {
    /// Dial an address now, and again for ever, in later runs, too: a multiaddr with or without
    /// `/p2p/…`, or `host:port`.
    Connect(String),
    /// No longer dial an address that was given so, nor whom it led to there. A connection stays
    /// until it ends.
    Forget(String),
    /// End the connections to a peer, and refuse it until it is unblocked, in later runs, too.
    Block(PeerId),
    /// Let a peer in again.
    Unblock(PeerId),
    /// The round trip time to a connected peer, measured now.
    Ping(PeerId),
}

/// What the network answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkReply {
    /// It will be done, or is.
    Done,
    /// A round trip, in microseconds.
    RoundTrip(u64),
}

fn listed(addresses: &[String]) -> String {
    if addresses.is_empty() { "there are none".to_owned() } else { addresses.join(", ") }
}

/// Why the network could not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFailure {
    /// The text is no address.
    #[error("{0}")]
    Address(String),
    /// The address could not be kept for the next start.
    #[error("where peers are could not be written down: {0}; it holds until the node stops")]
    Kept(String),
    /// The address is none that was given to be dialled.
    #[error("{0:?} is none of the addresses that `ocm peer connect` or `ocm space join` added: {list}", list = listed(.1))]
    NotKept(String, Vec<String>),
    /// The address is dialled because the configuration names it.
    #[error(
        "{0:?} is configured in network.seed_peers (OCM_SEED_PEERS) or network.relays (OCM_NETWORK_RELAYS): remove it there and restart the node, else it is dialled"
    )]
    Configured(String),
    /// The peer is not connected.
    #[error("peer {0} is not connected: see `ocm peers`")]
    NotConnected(PeerId),
    /// The peer did not answer.
    #[error("peer {0} did not answer within {1} seconds")]
    NoAnswer(PeerId, u64),
    /// The network is switched off.
    #[error("network calls are switched off (network.enable_network_calls = false)")]
    Off,
    /// The node is the peer.
    #[error("peer {0} is this node itself")]
    Own(PeerId),
}

/// A connected peer, as the network sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The peer.
    pub peer: PeerId,
    /// Its address in this connection, as a multiaddr; of one that came through a relay, the relay's.
    pub address: String,
    /// Whether it is reached through a relay, and by no direct connection.
    pub relayed: bool,
    /// `tcp` or `quic`; through a relay, that to the relay.
    pub transport: &'static str,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The last measured round trip, in microseconds.
    pub rtt_us: Option<u64>,
    /// How it was discovered.
    pub source: &'static str,
    /// What it says it runs.
    pub agent: Option<String>,
}

/// How one source of addresses fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHealth {
    /// Which: `mdns`, `beacon`, `bootstrap`, `remembered`, `incoming`; `relays` where any is configured or used, `relaying` where this node is one, `upnp`, `reachability`, `key` where this node's was copied.
    pub name: &'static str,
    /// `off`, `ok`, `troubled` (it works, and something is to be looked at) or `failed`.
    pub state: &'static str,
    /// What it says, for people.
    pub detail: String,
}

/// The network's part of what a node shows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Where it listens, as multiaddrs.
    pub listen: Vec<String>,
    /// Who is connected.
    pub connections: Vec<Connection>,
    /// Who is blocked.
    pub blocked: Vec<PeerId>,
    /// The sources of addresses.
    pub sources: Vec<SourceHealth>,
    /// Whether others can dial it: `public`, `private` or `unknown`; none where it uses no network.
    pub reachability: Option<&'static str>,
    /// The fingerprint of the network key, where there is one.
    pub network_key: Option<String>,
}

/// What a node shows of itself.
#[derive(Debug, Clone)]
pub struct Status {
    /// The core's part.
    pub core: Snapshot,
    /// The network's part.
    pub network: Arc<NetworkStatus>,
    /// When the event loop made it: at least once in a second, while it lives.
    pub shown: std::time::Instant,
    /// Bytes in the queues of the event loop and of the store, by queue.
    pub queues: BTreeMap<&'static str, usize>,
}

/// An event of the feed, with its number in this process.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// Counts from 1.
    pub number: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// A handle on the running node. Cloning is cheap.
#[derive(Clone)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
    status: watch::Receiver<Arc<Status>>,
    feed: broadcast::Sender<Arc<Numbered>>,
    reader: SharedReader,
}

/// The event loop has ended: the process is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopping;

impl Handle {
    /// A handle on an event loop, made by the runtime.
    #[must_use]
    pub fn new(
        jobs: mpsc::Sender<Job>,
        status: watch::Receiver<Arc<Status>>,
        feed: broadcast::Sender<Arc<Numbered>>,
        reader: SharedReader,
    ) -> Self {
        Self { jobs, status, feed, reader }
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Stopping> {
        self.begin(job).await?.await.map_err(|_| Stopping)
    }

    async fn begin<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<T>) -> Job,
    ) -> Result<oneshot::Receiver<T>, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| Stopping)?;
        Ok(answer)
    }

    /// As [`Self::command`]; gives up `turn` as soon as the command has its place before all that
    /// are asked for later.
    ///
    /// # Errors
    /// As [`Self::command`].
    pub async fn command_in_turn<T: Send>(
        &self,
        command: Command,
        turn: T,
    ) -> Result<Result<Reply, CommandError>, Stopping> {
        let answer = self.begin(|reply| Job::Core(command, reply)).await?;
        drop(turn);
        answer.await.map_err(|_| Stopping)
    }

    /// Has the core carry out a command. Success means durable, and visible to every later read
    /// through this handle.
    ///
    /// # Errors
    /// When the process is stopping; the inner result is the core's.
    pub async fn command(&self, command: Command) -> Result<Result<Reply, CommandError>, Stopping> {
        self.ask(|reply| Job::Core(command, reply)).await
    }

    /// Has the network do something.
    ///
    /// # Errors
    /// When the process is stopping; the inner result is the network's.
    pub async fn network(
        &self,
        command: NetworkCommand,
    ) -> Result<Result<NetworkReply, NetworkFailure>, Stopping> {
        self.ask(|reply| Job::Network(command, reply)).await
    }

    /// Has the event loop take up what was configured anew.
    ///
    /// # Errors
    /// When the process is stopping; the inner result says what was not taken up.
    pub async fn configure(&self, tuning: Tuning) -> Result<Result<(), String>, Stopping> {
        self.ask(|reply| Job::Configure(tuning, reply)).await
    }

    /// Writes rows of views; done when they are durable.
    ///
    /// # Errors
    /// When the process is stopping; the inner result is the store's.
    pub async fn write_rows(&self, rows: Batch) -> Result<Result<(), String>, Stopping> {
        self.ask(|reply| Job::Rows(rows, reply)).await
    }

    /// Ends the process in good order.
    ///
    /// # Errors
    /// When it is ending already.
    pub async fn stop(&self) -> Result<(), Stopping> {
        self.jobs.send(Job::Stop).await.map_err(|_| Stopping)
    }

    /// What the node shows of itself, as of the last event.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// Hears of every change of [`Self::status`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// The store's read side.
    #[must_use]
    pub fn reader(&self) -> &SharedReader {
        &self.reader
    }

    /// The live feed, from now on.
    #[must_use]
    pub fn feed(&self) -> broadcast::Receiver<Arc<Numbered>> {
        self.feed.subscribe()
    }
}
