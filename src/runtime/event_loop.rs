//! The one loop: it carries what happens to the core, and what the core decides to the world.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ocm_discovery::PeerId;
use ocm_node::storage::{Batch, ReadError};
use ocm_node::{
    BatchId, Command, CommandError, GossipVerdict, Input, Node, Output, Reply, RequestId, Ticket,
};
use ocm_record::SpaceId;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::changes::Changes;
use super::peers::{self, PeersFile};
use super::status;
use super::verifier::{Died, Verified, Verifier};
use crate::handle::{Job, NetworkStatus, Numbered, Status};
use crate::network::{
    ChannelId, GossipId, Network, NetworkEvent, RequestFailure, RequestId as NetworkRequest,
    TOPIC_PREFIX, Verdict,
};
use crate::store::writer::GROUP_BATCHES;
use crate::store::{Ack, AckSender, Store, StoreReader, SubmitError};
use crate::telemetry::metrics::{self, Metrics};

/// How often what is shown of the node is made anew at least, while something changes.
const SHOW_EVERY: Duration = Duration::from_millis(50);
/// How often it is made anew in any case: round trips and ages move by themselves.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// Acknowledgements, or jobs, that one turn of the loop takes up at most: as many as one group of
/// the store has.
const TURN: usize = GROUP_BATCHES;

/// How often it is kept for the next run where peers are.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoopError {
    /// The store cannot be read.
    #[error("{0}; restart the node, and run `ocm doctor` if this happens again")]
    Read(#[from] ReadError),
    /// A write failed.
    #[error("{0}")]
    Write(String),
    /// Nothing can be signed or verified any more.
    #[error("a thread that makes or verifies signatures has died; restart the node")]
    Verifier,
}

/// What an acknowledgement of the store is for.
enum Submitted {
    Core(BatchId),
    Rows(oneshot::Sender<Result<(), String>>),
}

/// What a command is answered.
type Answer = Result<Reply, CommandError>;

/// The loop's state.
pub(super) struct EventLoop {
    pub(super) node: Node,
    pub(super) network: Option<Network>,
    pub(super) metrics: Metrics,
    store: Arc<Store>,
    reader: StoreReader,
    jobs: mpsc::Receiver<Job>,
    acks: (AckSender, mpsc::UnboundedReceiver<Ack>),
    verifier: Verifier,
    verified: mpsc::UnboundedReceiver<Verified>,
    submitted: BTreeMap<u64, Submitted>,
    next_ticket: u64,
    /// Batches that found the store's queue full.
    backlog: VecDeque<(u64, Batch)>,
    replies: BTreeMap<Ticket, oneshot::Sender<Answer>>,
    changes: Changes,
    /// What is published when this turn's replies are given.
    publishing: Vec<(SpaceId, Vec<u8>)>,
    /// Replies that are given at the end of this turn, when what is shown has their effect.
    given: Vec<(oneshot::Sender<Answer>, Answer)>,
    requests: HashMap<NetworkRequest, RequestId>,
    messages: BTreeMap<u64, (GossipId, PeerId)>,
    /// Where peers are, for the next run; written every [`SAVE_EVERY`], and with what the owner asks.
    peers_file: PeersFile,
    saved: Instant,
    saves: u64,
    pub(super) pings: HashMap<NetworkRequest, super::networking::Ping>,
    status: watch::Sender<Arc<Status>>,
    feed: broadcast::Sender<Arc<Numbered>>,
    events: u64,
    shown: Instant,
    stale: bool,
    /// What is shown of the network, which changes seldom beside the rest.
    network_shown: Arc<NetworkStatus>,
    pub(super) network_stale: bool,
}

/// The loop's ends of the queues.
pub(super) struct Ends {
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) feed: broadcast::Sender<Arc<Numbered>>,
}

impl EventLoop {
    pub(super) fn new(
        node: Node,
        network: Option<Network>,
        store: Arc<Store>,
        metrics: Metrics,
        peers_file: PeersFile,
        ends: Ends,
    ) -> std::io::Result<Self> {
        let reader = store.reader();
        let (done, verified) = mpsc::unbounded_channel();
        let verifier = Verifier::start(done)?;
        Ok(Self {
            node,
            network,
            metrics,
            store,
            reader,
            jobs: ends.jobs,
            acks: mpsc::unbounded_channel(),
            verifier,
            verified,
            submitted: BTreeMap::new(),
            next_ticket: 0,
            backlog: VecDeque::new(),
            replies: BTreeMap::new(),
            changes: Changes::default(),
            publishing: Vec::new(),
            given: Vec::new(),
            requests: HashMap::new(),
            messages: BTreeMap::new(),
            peers_file,
            saved: Instant::now(),
            saves: 0,
            pings: HashMap::new(),
            status: ends.status,
            feed: ends.feed,
            events: 0,
            shown: Instant::now(),
            stale: true,
            network_shown: Arc::default(),
            network_stale: true,
        })
    }

    /// Runs until told to stop, by `stop` or by a command.
    pub(super) async fn run(
        mut self,
        first: Vec<Output>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), LoopError> {
        self.carry_out(first)?;
        let mut stop = std::pin::pin!(stop);
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut jobs = Vec::new();
        'run: loop {
            let open = self.backlog.is_empty();
            let wake = self.next_wake();
            tokio::select! {
                () = &mut stop => break 'run,
                Some(ack) = self.acks.1.recv() => {
                    self.acknowledged(ack)?;
                    // A group of the store is acknowledged at once.
                    for _ in 1..TURN {
                        let Ok(ack) = self.acks.1.try_recv() else { break };
                        self.acknowledged(ack)?;
                    }
                }
                verified = self.verified.recv() => match verified {
                    Some(Ok((job, results))) => self.handle(Input::Verified { job, results })?,
                    Some(Err(Died)) | None => return Err(LoopError::Verifier),
                },
                taken = self.jobs.recv_many(&mut jobs, TURN), if open => {
                    if taken == 0 || self.take(&mut jobs)?.is_break() {
                        break 'run;
                    }
                }
                event = next_event(&mut self.network), if open => self.network_event(event)?,
                () = tokio::time::sleep(wake) => self.handle(Input::Tick)?,
                _ = refresh.tick() => {
                    // The clock that deadlines are on may have been set back.
                    self.handle(Input::Tick)?;
                    self.show(true);
                    self.tell_sharing();
                    if self.saved.elapsed() >= SAVE_EVERY {
                        let saving = self.save_peers();
                        tokio::spawn(async { told(saving.await) });
                    }
                }
            }
            if self.backlog.is_empty() {
                for group in self.changes.begin(Instant::now()) {
                    self.handle(Input::Commands(group))?;
                }
            }
            let gathering = self.changes.due(Instant::now()).is_some();
            if !self.given.is_empty() || self.stale && self.shown.elapsed() >= SHOW_EVERY {
                self.show(false);
            }
            for (reply, result) in self.given.drain(..) {
                // Whoever asked may have gone; the record is written all the same.
                let _ = reply.send(result);
            }
            self.publish();
            if gathering {
                // Others that ask have their turn before this one asks what there is.
                tokio::task::yield_now().await;
            }
        }
        told(self.save_peers().await);
        if let Some(network) = &mut self.network {
            network.close().await;
        }
        Ok(())
    }

    fn next_wake(&self) -> Duration {
        let wake = wake(self.node.next_deadline(), now_ms(), self.stale);
        match self.changes.due(Instant::now()) {
            // A full store is waited for first.
            Some(due) if self.backlog.is_empty() => due.min(wake),
            _ => wake,
        }
    }

    /// Gives the core an input and carries out what it decides.
    pub(super) fn handle(&mut self, input: Input) -> Result<(), LoopError> {
        let outputs = self.node.handle(input, now_ms(), &self.reader.moment());
        if let Err(error @ ReadError::Set { space, set, .. }) = &outputs {
            self.store.give_up(*space, *set, error.clone());
        }
        self.carry_out(outputs?)
    }

    fn carry_out(&mut self, outputs: Vec<Output>) -> Result<(), LoopError> {
        self.stale |= !outputs.is_empty();
        for output in outputs {
            self.carry_out_one(output)?;
        }
        Ok(())
    }

    fn carry_out_one(&mut self, output: Output) -> Result<(), LoopError> {
        match output {
            Output::Commit { batch, writes } => self.submit(Submitted::Core(batch), writes)?,
            Output::Verify { job, records } => self.verifier.verify(job, records),
            Output::Sign { job, key, records } => self.verifier.sign(job, key, records),
            Output::Reply { ticket, result } => {
                self.changes.answered(ticket, Instant::now());
                if let Some(reply) = self.replies.remove(&ticket) {
                    self.given.push((reply, result));
                }
            }
            Output::Send { peer, request, bytes } => match &mut self.network {
                Some(network) => {
                    self.metrics.sync_bytes(metrics::Direction::Sent, bytes.len() as u64);
                    let sent = network.request(peer, bytes);
                    self.requests.insert(sent, request);
                }
                None => {
                    return self.handle(Input::RequestFailed { request, timed_out: false });
                }
            },
            Output::Respond { channel, bytes } => {
                self.metrics.sync_bytes(metrics::Direction::Sent, bytes.len() as u64);
                if let Some(network) = &mut self.network
                    && let Err(error) = network.respond(ChannelId(channel), bytes)
                {
                    tracing::debug!(%error, "a response was not sent");
                }
            }
            Output::Judge { message, gossip } => {
                if let (Some(network), Some((id, peer))) =
                    (&mut self.network, self.messages.remove(&message))
                {
                    let verdict = match gossip {
                        GossipVerdict::Accept => Verdict::Accept,
                        GossipVerdict::Ignore => Verdict::Ignore,
                        GossipVerdict::Reject => Verdict::Reject,
                    };
                    network.verdict(id, peer, verdict);
                }
            }
            Output::Subscribe(space) => {
                if let Some(network) = &mut self.network {
                    network.look_up(space);
                    if let Err(error) = network.subscribe(&topic(&space)) {
                        tracing::warn!(%space, %error, "the space travels without gossip");
                    }
                }
            }
            Output::Publish { space, bytes } => self.publishing.push((space, bytes)),
            Output::Disconnect { peer, reason } => {
                tracing::warn!(%peer, %reason, "disconnecting");
                if let Some(network) = &mut self.network {
                    network.disconnect(peer);
                }
            }
            Output::Event(event) => self.tell(event),
        }
        Ok(())
    }

    fn publish(&mut self) {
        for (space, bytes) in self.publishing.drain(..) {
            let Some(network) = &mut self.network else { continue };
            match network.publish(&topic(&space), bytes) {
                Ok(published) => tracing::trace!(%space, ?published, "published"),
                Err(error) => tracing::debug!(%space, %error, "not published"),
            }
        }
    }

    fn tell(&mut self, event: ocm_node::Event) {
        status::observe(&self.metrics, &event);
        if let (ocm_node::Event::PeerKnown { peer, .. }, Some(network)) =
            (&event, &mut self.network)
        {
            network.trust(*peer);
        }
        if let ocm_node::Event::Damaged { id } = &event {
            tracing::error!(%id, "a stored record is damaged; it is left out");
        }
        self.events += 1;
        // Nobody may be listening.
        let _ = self.feed.send(Arc::new(Numbered { number: self.events, at_ms: now_ms(), event }));
    }

    fn submit(&mut self, what: Submitted, batch: Batch) -> Result<(), LoopError> {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.submitted.insert(ticket, what);
        self.backlog.push_back((ticket, batch));
        self.drain()
    }

    /// Hands waiting batches to the store, in their order, as far as its queue has room.
    fn drain(&mut self) -> Result<(), LoopError> {
        while let Some((ticket, batch)) = self.backlog.pop_front() {
            match self.store.submit(ticket, batch, &self.acks.0) {
                Ok(()) => {}
                Err(SubmitError::Full { batch, .. }) => {
                    self.backlog.push_front((ticket, *batch));
                    break;
                }
                Err(error) => return Err(LoopError::Write(error.to_string())),
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, ack: Ack) -> Result<(), LoopError> {
        let submitted = self.submitted.remove(&ack.ticket);
        let commit = ack.result.map_err(|poisoned| LoopError::Write(poisoned.to_string()))?;
        tracing::trace!(commit, "durable");
        self.drain()?;
        match submitted {
            Some(Submitted::Core(batch)) => self.handle(Input::Committed(batch)),
            Some(Submitted::Rows(done)) => {
                let _ = done.send(Ok(()));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes up jobs; breaks when one of them is to stop.
    fn take(&mut self, jobs: &mut Vec<Job>) -> Result<ControlFlow<()>, LoopError> {
        for job in jobs.drain(..) {
            match job {
                Job::Core(command, reply) => {
                    self.next_ticket += 1;
                    let ticket = self.next_ticket;
                    self.replies.insert(ticket, reply);
                    match command {
                        Command::Change { space, .. } => {
                            self.changes.push(space, ticket, command, Instant::now());
                        }
                        command => self.handle(Input::Command { ticket, command })?,
                    }
                }
                Job::Network(command, reply) => self.network_command(command, reply),
                Job::Configure(tuning, done) => self.configure(tuning, done),
                Job::Rows(rows, done) => self.submit(Submitted::Rows(done), rows)?,
                // What was asked for after it is not begun.
                Job::Stop => return Ok(ControlFlow::Break(())),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn network_event(&mut self, event: NetworkEvent) -> Result<(), LoopError> {
        self.network_stale |= !matches!(
            event,
            NetworkEvent::Request { .. }
                | NetworkEvent::Response { .. }
                | NetworkEvent::RequestFailed { .. }
                | NetworkEvent::Gossip { .. }
        );
        match event {
            NetworkEvent::Connected { peer } => {
                tracing::info!(%peer, "connected");
                self.handle(Input::Connected(peer))
            }
            NetworkEvent::Disconnected { peer } => {
                tracing::info!(%peer, "disconnected");
                self.handle(Input::Disconnected(peer))
            }
            NetworkEvent::Request { peer, channel, bytes } => {
                self.metrics.sync_bytes(metrics::Direction::Received, bytes.len() as u64);
                self.handle(Input::Request { peer, channel: channel.0, bytes })
            }
            NetworkEvent::Response { request, bytes, .. } => {
                self.metrics.sync_bytes(metrics::Direction::Received, bytes.len() as u64);
                match self.requests.remove(&request) {
                    Some(request) => self.handle(Input::Response { request, bytes }),
                    None => {
                        self.ping_answered(request, true);
                        Ok(())
                    }
                }
            }
            NetworkEvent::RequestFailed { request, peer, reason } => {
                tracing::debug!(%peer, %reason, "a request failed");
                match self.requests.remove(&request) {
                    Some(request) => {
                        let timed_out = reason == RequestFailure::Timeout;
                        self.handle(Input::RequestFailed { request, timed_out })
                    }
                    None => {
                        self.ping_answered(request, false);
                        Ok(())
                    }
                }
            }
            NetworkEvent::Gossip { peer, message_id, topic, data } => {
                let began = Instant::now();
                let space = topic.strip_prefix(TOPIC_PREFIX).and_then(|id| id.parse().ok());
                let Some(space) = space else {
                    if let Some(network) = &mut self.network {
                        network.verdict(message_id, peer, Verdict::Ignore);
                    }
                    return Ok(());
                };
                self.next_ticket += 1;
                let message = self.next_ticket;
                self.messages.insert(message, (message_id, peer));
                let result = self.handle(Input::Gossip { peer, message, space, bytes: data });
                self.metrics.gossip_judged(began.elapsed());
                result
            }
            other => {
                self.stale = true;
                super::networking::log(&other);
                Ok(())
            }
        }
    }

    /// Writes down where peers are, for the next run; the disk is waited for elsewhere.
    pub(super) fn save_peers(&mut self) -> impl Future<Output = std::io::Result<()>> + use<> {
        self.saved = Instant::now();
        self.saves += 1;
        let kept = self.network.as_ref().map(peers::kept);
        let (file, number) = (self.peers_file.clone(), self.saves);
        let saving = kept.map(|kept| tokio::task::spawn_blocking(move || file.save(number, kept)));
        async {
            match saving {
                Some(saving) => saving.await.map_err(std::io::Error::other)?,
                None => Ok(()),
            }
        }
    }

    /// Tells the network with which peers a space is shared, by what was shown last.
    fn tell_sharing(&mut self) {
        if let Some(network) = &mut self.network {
            let shown = self.status.borrow();
            let sharing = shown.core.peers.iter().filter(|peer| !peer.shared.is_empty());
            network.shares_with(sharing.map(|peer| peer.peer));
        }
    }

    /// Makes anew what is shown of the node.
    pub(super) fn show(&mut self, always: bool) {
        if always || self.network_stale {
            self.network_stale = false;
            let network = self.network.as_ref().map(status::of_network);
            self.network_shown = Arc::new(network.unwrap_or_default());
        }
        if always || self.stale {
            self.shown = Instant::now();
            self.stale = false;
            let queues = BTreeMap::from([
                ("store", self.store.waiting() + self.backlog.len()),
                ("api", self.jobs.len() + self.changes.len()),
            ]);
            let status = Status {
                core: self.node.snapshot(),
                network: self.network_shown.clone(),
                shown: self.shown,
                queues,
            };
            status::measure(&self.metrics, &status);
            self.status.send_replace(Arc::new(status));
        }
    }
}

/// How long nothing need be done: until the core's deadline or what is to be shown. Never longer
/// than [`REFRESH_EVERY`], however far the wall clock was set back behind the deadline.
fn wake(deadline: Option<u64>, now_ms: u64, stale: bool) -> Duration {
    let core = deadline.map(|at| Duration::from_millis(at.saturating_sub(now_ms)));
    let show = stale.then_some(SHOW_EVERY);
    // One millisecond at least: a deadline in this millisecond is not to spin.
    [core, show]
        .into_iter()
        .flatten()
        .fold(REFRESH_EVERY, Duration::min)
        .max(Duration::from_millis(1))
}

fn told(saved: std::io::Result<()>) {
    if let Err(error) = saved {
        tracing::warn!(%error, "where peers are could not be kept for the next start");
    }
}

async fn next_event(network: &mut Option<Network>) -> NetworkEvent {
    match network {
        Some(network) => network.next().await,
        None => std::future::pending().await,
    }
}

fn topic(space: &SpaceId) -> String {
    format!("{TOPIC_PREFIX}{space}")
}

/// The wall clock, in milliseconds since the Unix epoch; 0 before it.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_is_looked_after_each_second_whatever_the_clock_says() {
        let day = 24 * 60 * 60 * 1000;
        let (now, soon) = (20_000 * day, Duration::from_millis(30));
        assert_eq!(wake(Some(now + 30), now, false), soon);
        assert_eq!(wake(Some(now + 30), now - day, false), REFRESH_EVERY, "set back by a day");
        assert_eq!(wake(Some(now + 30), now + day, false), Duration::from_millis(1));
        assert_eq!(wake(None, now, false), REFRESH_EVERY);
        assert_eq!(wake(None, now, true), SHOW_EVERY);
        assert_eq!(wake(Some(now + 30), now, true), soon);
    }
}
