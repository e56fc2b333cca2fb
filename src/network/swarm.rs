//! The network as the runtime holds it: its start, and what it can be told to do.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, MessageId, PublishError};
use libp2p::identity::Keypair;
use libp2p::metrics::Metrics;
use libp2p::pnet::PreSharedKey;
use libp2p::request_response::{InboundRequestId, OutboundRequestId, ResponseChannel};
use libp2p::swarm::ConnectionId;
use libp2p::{Swarm, SwarmBuilder, noise, yamux};
use ocm_discovery::{Bootstrap, EntryId, PeerId, PeerTable, Remembered};
use ocm_node::Allowed;
use prometheus_client::registry::Registry;
use tokio::time::{Interval, MissedTickBehavior};

use super::address::{AddressError, PeerAddress, Transport, ip_of, is_dialable, multiaddr};
use super::behaviour::Behaviour;
use super::codec::FRAME_BYTES;
use super::config::NetworkConfig;
use super::connected::Connected;
use super::dialling::{Dial, Entry, Resolved};
use super::event::{
    ChannelId, ForgetError, GossipError, NetworkError, NetworkEvent, PeerInfo, Published,
    RequestFailure, RequestId, RespondError, Verdict,
};
use super::external::Outside;
use super::gossip::{GOSSIP_BYTES, GossipId, Offences, topic_params};
use super::lookup::Lookups;
use super::multicast::Multicast;
use super::relaying::{Places, Reservations};
use super::sources::Reports;
use super::{draw, from_libp2p, listen, to_libp2p, transport};

/// How often dials that are due are begun, and what expired is forgotten.
const TICK: Duration = Duration::from_millis(250);

/// Peers banned at a time; past it the ban that ends first ends at once.
const BANS: usize = 1024;

/// A peer's request that waits for an answer.
pub(super) struct Asked {
    pub(super) peer: PeerId,
    pub(super) request: InboundRequestId,
    pub(super) channel: ResponseChannel<Vec<u8>>,
}

/// One libp2p swarm, and what this node knows of its peers.
pub struct Network {
    /// Boxed, as other parts are: it is large, and the runtime moves this struct about.
    pub(super) swarm: Box<Swarm<Behaviour>>,
    pub(super) own: PeerId,
    pub(super) config: Box<NetworkConfig>,
    pub(super) metrics: Metrics,
    /// Events that are ready to be told.
    pub(super) ready: VecDeque<NetworkEvent>,
    pub(super) tick: Interval,
    /// When this network started, and when that was in milliseconds since the Unix epoch.
    pub(super) origin: (Instant, u64),
    pub(super) table: PeerTable,
    pub(super) bootstrap: Bootstrap,
    pub(super) entries: BTreeMap<EntryId, Entry>,
    /// Kept addresses that this run cannot dial, as when their transport is off.
    idle: Vec<String>,
    pub(super) resolving: FuturesUnordered<BoxFuture<'static, Resolved>>,
    pub(super) dials: HashMap<ConnectionId, Dial>,
    pub(super) connected: Connected,
    pub(super) asked: BTreeMap<ChannelId, Asked>,
    pub(super) asking: HashMap<OutboundRequestId, (RequestId, PeerId)>,
    next_id: u64,
    pub(super) offences: Offences,
    pub(super) bans: BTreeMap<PeerId, Instant>,
    blocked: BTreeSet<PeerId>,
    /// Connected peers that have not yet proved that they are spoken to.
    pub(super) unproved: BTreeSet<PeerId>,
    /// The places at relays that are held or wanted.
    pub(super) reservations: Reservations,
    /// The places that others hold here.
    pub(super) places: Places,
    pub(super) outside: Box<Outside>,
    pub(super) lookups: Lookups,
    pub(super) multicast: Multicast,
    /// What the sources told of in the last minute.
    pub(super) reports: Reports,
    /// Where a copy of this node's key was heard last, and when.
    pub(super) copied_at: Option<(IpAddr, Instant)>,
    /// When seldom work is due: what expires in minutes.
    pub(super) seldom: Instant,
    /// The copied key was last reported then.
    pub(super) copy_reported: Option<Instant>,
}

impl Network {
    /// Listens, and begins to look for peers. Runs in the tokio runtime it is called in.
    ///
    /// # Errors
    /// [`NetworkError`]; [`NetworkError::Listen`] names the port that is taken.
    pub fn start(config: NetworkConfig, registry: &mut Registry) -> Result<Self, NetworkError> {
        let setup = |e: &dyn std::fmt::Display| NetworkError::Setup(e.to_string());
        let keypair = Keypair::ed25519_from_bytes(config.peer_key.seed()).map_err(|e| setup(&e))?;
        let own = PeerId::new(config.peer_key.public());
        let mut swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_quic()
            .with_other_transport(|keypair| Ok(transport::tcp(keypair, config.key)?))
            .map_err(|e| setup(&e))?
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .map_err(|e| setup(&e))?
            .with_bandwidth_metrics(registry)
            .with_behaviour(|keypair, client| Ok(Behaviour::new(&config, keypair, client)?))
            .map_err(|e| setup(&e))?
            .with_swarm_config(|config| {
                // A federation keeps its connections, also when nothing is said for a while.
                config.with_idle_connection_timeout(Duration::from_secs(365 * 24 * 3600))
            })
            .build();
        let ready = listen::listen(&mut swarm, &config)?.into();

        let started_ms = wall_ms();
        let mut table = PeerTable::new(own, config.boot, started_ms, config.limits.table);
        if let Some(peers) = config.allowed.as_ref().and_then(Allowed::peers_alone) {
            table.take_only(peers.clone());
        }
        // Whoever was there last comes first, should there be too many.
        let known = config.remembered.iter().filter(|_| config.remember);
        let mut remembered: Vec<&Remembered> = known.collect();
        remembered.sort_by_key(|known| std::cmp::Reverse(known.last));
        for known in remembered {
            let last = known.last.min(started_ms);
            table.remember(&Remembered { last, ..known.clone() }, started_ms);
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut network = Self {
            swarm: Box::new(swarm),
            own,
            config: Box::new(config),
            metrics: Metrics::new(registry),
            ready,
            tick,
            origin: (Instant::now(), started_ms),
            table,
            bootstrap: Bootstrap::new(),
            entries: BTreeMap::new(),
            idle: Vec::new(),
            resolving: FuturesUnordered::new(),
            dials: HashMap::new(),
            connected: Connected::default(),
            asked: BTreeMap::new(),
            asking: HashMap::new(),
            next_id: 0,
            offences: Offences::default(),
            bans: BTreeMap::new(),
            blocked: BTreeSet::new(),
            unproved: BTreeSet::new(),
            reservations: Reservations::new(),
            places: Places::new(),
            outside: Box::default(),
            lookups: Lookups::default(),
            multicast: Multicast::default(),
            reports: Reports::new(Instant::now()),
            copied_at: None,
            seldom: Instant::now(),
            copy_reported: None,
        };
        network.set_bootstrap(&network.config.bootstrap.clone())?;
        network.add_relays(&network.config.relays.clone())?;
        network.tell_addresses();
        for peer in network.config.blocked.clone() {
            network.block(peer);
        }
        network.start_mdns();
        for text in network.config.kept.clone() {
            if let Err(error) = network.dial(&text) {
                tracing::warn!(%error, "an address kept from the last run is not dialled");
                network.idle.push(text.trim().to_owned());
            }
        }
        Ok(network)
    }

    /// This node's own PeerId.
    #[must_use]
    pub const fn peer_id(&self) -> PeerId {
        self.own
    }

    /// The key of the private network that this node is in.
    #[must_use]
    pub const fn key(&self) -> Option<PreSharedKey> {
        self.config.key
    }

    /// How often due dials are begun and expired things forgotten: a quarter of a second unless
    /// told otherwise; not less than a millisecond.
    pub fn set_tick(&mut self, period: Duration) {
        self.tick = tokio::time::interval(period.max(Duration::from_millis(1)));
        self.tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }

    /// Milliseconds on a clock that never runs backwards. It began as the wall clock at the start
    /// of this network, so that times of an earlier run have a place on it.
    pub(super) fn now_ms(&self) -> u64 {
        let (began, began_ms) = self.origin;
        began_ms.saturating_add(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) const fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Asks a connected peer. Exactly one of [`NetworkEvent::Response`] and
    /// [`NetworkEvent::RequestFailed`] follows.
    pub fn request(&mut self, peer: PeerId, bytes: Vec<u8>) -> RequestId {
        let request = RequestId(self.new_id());
        let reason = if bytes.len() > FRAME_BYTES {
            Some(RequestFailure::TooLong(bytes.len()))
        } else if self.asking.len() >= self.config.limits.requests_out {
            Some(RequestFailure::TooMany(self.asking.len()))
        } else {
            match to_libp2p(&peer).filter(|_| self.connected.contains(&peer)) {
                Some(name) => {
                    let id = self.swarm.behaviour_mut().federation.send_request(&name, bytes);
                    self.asking.insert(id, (request, peer));
                    None
                }
                None => Some(RequestFailure::NotConnected),
            }
        };
        if let Some(reason) = reason {
            self.ready.push_back(NetworkEvent::RequestFailed { request, peer, reason });
        }
        request
    }

    /// Answers a request, once.
    ///
    /// # Errors
    /// [`RespondError`]; the asker asks again if it still wants to know.
    pub fn respond(&mut self, channel: ChannelId, bytes: Vec<u8>) -> Result<(), RespondError> {
        if bytes.len() > FRAME_BYTES {
            return Err(RespondError::TooLong(bytes.len()));
        }
        let asked = self.asked.remove(&channel).ok_or(RespondError::Gone)?;
        let federation = &mut self.swarm.behaviour_mut().federation;
        federation.send_response(asked.channel, bytes).map_err(|_| RespondError::Gone)
    }

    /// Publishes a message on a topic.
    ///
    /// # Errors
    /// [`GossipError::TooLong`], [`GossipError::NoTopic`]; others are mistakes of this code.
    pub fn publish(&mut self, topic: &str, bytes: Vec<u8>) -> Result<Published, GossipError> {
        let size = bytes.len();
        if size >= GOSSIP_BYTES {
            return Err(GossipError::TooLong(size));
        }
        let topic = topic_of(topic)?;
        match self.swarm.behaviour_mut().gossip.publish(topic, bytes) {
            Ok(_) => Ok(Published::Sent),
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => {
                Ok(Published::Nobody)
            }
            Err(PublishError::Duplicate) => Ok(Published::Again),
            Err(PublishError::MessageTooLarge) => Err(GossipError::TooLong(size)),
            Err(e) => Err(GossipError::Other(e.to_string())),
        }
    }

    /// Listens to a topic. Returns false when it did already.
    ///
    /// # Errors
    /// [`GossipError::TooManyTopics`], [`GossipError::NoTopic`].
    pub fn subscribe(&mut self, topic: &str) -> Result<bool, GossipError> {
        let topic = topic_of(topic)?;
        let limit = self.config.limits.topics;
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let known = gossip.topics().any(|t| *t == topic.hash());
        if !known && gossip.topics().count() >= limit {
            return Err(GossipError::TooManyTopics(limit));
        }
        gossip
            .set_topic_params(topic.clone(), topic_params())
            .map_err(|e| GossipError::Other(e.to_owned()))?;
        gossip.subscribe(&topic).map_err(|e| GossipError::Other(e.to_string()))
    }

    /// Gives the one verdict on a gossip message that `peer` passed on. Returns whether the
    /// message still waited: after ten seconds it no longer does. The third
    /// [`Verdict::Reject`] in ten minutes costs the peer its connection.
    pub fn verdict(&mut self, message_id: GossipId, peer: PeerId, verdict: Verdict) -> bool {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let Some(name) = to_libp2p(&peer) else { return false };
        let waited = self.swarm.behaviour_mut().gossip.report_message_validation_result(
            &MessageId::new(&message_id.0),
            &name,
            acceptance,
        );
        if verdict == Verdict::Reject && self.offences.count(peer, Instant::now()) {
            self.ban(peer);
        }
        waited
    }

    /// Dials an address now, and again for ever, as the configured ones: a multiaddr with or
    /// without `/p2p/…`, or `host:port`. [`NetworkEvent::Dialled`] follows each attempt.
    ///
    /// # Errors
    /// [`AddressError`] when the text is no address, or too many are dialled already.
    pub fn dial(&mut self, text: &str) -> Result<(), AddressError> {
        let text = text.trim();
        let address: PeerAddress = text.parse()?;
        address.check_transport(self.config.tcp, self.config.quic)?;
        let id = self
            .bootstrap
            .add(text, self.now_ms())
            .ok_or_else(|| AddressError::TooMany(text.to_owned()))?;
        self.idle.retain(|idle| idle != text);
        let text = text.to_owned();
        let new = Entry { text, address, configured: false, relay: false, kept: false };
        self.entries.entry(id).or_insert(new).kept = true;
        Ok(())
    }

    /// Dials these addresses for ever, as the configured ones, in place of those that were configured
    /// before. Connections stay until they end, and so does what [`Self::dial`] added.
    ///
    /// # Errors
    /// [`NetworkError`] names the first that is no address, or says that there are too many, also with
    /// those that [`Self::dial`] added; nothing is changed then.
    pub fn set_bootstrap(&mut self, addresses: &[String]) -> Result<(), NetworkError> {
        let parse = |text: &String| -> Result<(String, PeerAddress), AddressError> {
            let address: PeerAddress = text.parse()?;
            address.check_transport(self.config.tcp, self.config.quic)?;
            Ok((text.trim().to_owned(), address))
        };
        let parsed: Vec<_> = addresses.iter().map(parse).collect::<Result<_, _>>()?;
        let old: Vec<_> = self.entries.iter().filter(|(_, entry)| entry.configured).collect();
        let gone = |entry: &Entry| parsed.iter().all(|(text, _)| *text != entry.text);
        let gone: Vec<_> =
            old.into_iter().filter(|(_, entry)| gone(entry)).map(|(id, _)| *id).collect();
        let kept = self.entries.values().filter(|entry| {
            (entry.kept || entry.relay) && parsed.iter().all(|(text, _)| *text != entry.text)
        });
        let distinct: BTreeSet<&String> = parsed.iter().map(|(text, _)| text).collect();
        if kept.count() + distinct.len() > ocm_discovery::BOOTSTRAP_ENTRIES {
            return Err(NetworkError::TooManyBootstrap(addresses.len()));
        }
        for id in gone {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.configured = false;
            if !entry.kept && !entry.relay {
                self.entries.remove(&id);
                self.bootstrap.remove(id);
            }
        }
        let now = self.now_ms();
        for (text, address) in parsed {
            let id = self.bootstrap.add(&text, now);
            let id = id.ok_or(NetworkError::TooManyBootstrap(addresses.len()))?;
            let new = Entry { text, address, configured: true, relay: false, kept: false };
            self.entries.entry(id).or_insert(new).configured = true;
        }
        Ok(())
    }

    /// Lets so many connections stand at one time; those that stand stay, also past that.
    pub fn set_connections(&mut self, connections: u32) {
        self.config.limits.connections = connections;
        self.swarm.behaviour_mut().limit_connections(&self.config.limits);
    }

    /// No longer dials an address that [`Self::dial`] added, nor any peer at the places it stands
    /// for, by which none is remembered either. A connection stays until it ends, and a peer that
    /// is heard of in another way is dialled as any other.
    ///
    /// # Errors
    /// [`ForgetError`]; an address that is configured, too, is no longer kept, yet is dialled.
    pub fn forget(&mut self, text: &str) -> Result<(), ForgetError> {
        let text = text.trim();
        let idle = self.idle.len();
        self.idle.retain(|idle| idle != text);
        let was_idle = self.idle.len() < idle;
        let (literal, resolved) =
            match self.entries.iter_mut().find(|(_, entry)| entry.text == text) {
                Some((id, entry)) => {
                    entry.kept = false;
                    if entry.configured || entry.relay {
                        return Err(ForgetError::Configured);
                    }
                    let (id, literal) = (*id, entry.address.place());
                    if let Some(peer) = entry.address.peer().filter(|_| entry.address.is_relayed())
                    {
                        self.table.forget_relayed(&peer);
                    }
                    self.entries.remove(&id);
                    (literal, self.bootstrap.remove(id))
                }
                None if was_idle => {
                    let address = text.parse::<PeerAddress>().ok();
                    (address.and_then(|address| address.place()), Vec::new())
                }
                None => return Err(ForgetError::NotKept),
            };
        let resolved = resolved.iter().filter_map(|place| place.parse::<SocketAddr>().ok());
        for place in resolved.chain(literal) {
            for transport in [Transport::Tcp, Transport::Quic] {
                let address = multiaddr(place.ip(), place.port(), transport);
                self.table.forget_place(&address.to_string());
            }
        }
        Ok(())
    }

    /// The addresses that [`Self::dial`] added: to be given to the next run as
    /// [`NetworkConfig::kept`].
    pub fn kept(&self) -> impl Iterator<Item = &str> {
        let dialled = self.entries.values().filter(|entry| entry.kept);
        dialled.map(|entry| entry.text.as_str()).chain(self.idle.iter().map(String::as_str))
    }

    /// Ends all connections with a peer and refuses further ones, in both directions, until
    /// [`Self::unblock`]. This node itself cannot be blocked.
    pub fn block(&mut self, peer: PeerId) {
        if peer != self.own
            && let Some(name) = to_libp2p(&peer)
        {
            self.blocked.insert(peer);
            self.ask_no_more(&peer);
            self.swarm.behaviour_mut().blocked.block_peer(name);
        }
    }

    /// Lets a blocked (or banned) peer in again, and dials it if it is known where.
    pub fn unblock(&mut self, peer: PeerId) {
        let banned = self.bans.remove(&peer).is_some();
        if self.blocked.remove(&peer) || banned {
            self.admit_again(&peer);
        }
    }

    /// Takes a peer for one of those that are spoken to: it has proved that it is one. Until then it
    /// has no part in gossip.
    pub fn trust(&mut self, peer: PeerId) {
        if self.unproved.remove(&peer) {
            self.judge(&peer);
            self.on_proved(&peer);
        }
    }

    /// The peers that [`Self::block`] keeps out.
    pub fn blocked(&self) -> impl Iterator<Item = &PeerId> {
        self.blocked.iter()
    }

    pub(super) fn is_refused(&self, peer: &PeerId) -> bool {
        self.blocked.contains(peer) || self.bans.contains_key(peer)
    }

    fn admit_again(&mut self, peer: &PeerId) {
        if let Some(name) = to_libp2p(peer) {
            self.swarm.behaviour_mut().blocked.unblock_peer(name);
        }
        let now = self.now_ms();
        self.table.retry(peer, now);
        self.bootstrap.retry(peer, now);
    }

    /// Refuses a peer for a while.
    pub(super) fn ban(&mut self, peer: PeerId) {
        let Some(name) = to_libp2p(&peer).filter(|_| peer != self.own) else { return };
        if self.bans.len() >= BANS
            && let Some(first) = self.bans.iter().min_by_key(|(_, until)| **until).map(|(p, _)| *p)
        {
            self.end_ban(&first);
        }
        let time = self.config.ban;
        self.bans.insert(peer, Instant::now() + time);
        self.ask_no_more(&peer);
        self.swarm.behaviour_mut().blocked.block_peer(name);
        self.ready.push_back(NetworkEvent::Banned { peer, time });
    }

    pub(super) fn end_ban(&mut self, peer: &PeerId) {
        self.bans.remove(peer);
        if !self.blocked.contains(peer) {
            self.admit_again(peer);
        }
    }

    /// Ends all connections with a peer; nothing keeps either side from making new ones. One that
    /// has not proved that it is spoken to is dialled again after longer and longer waits, and not
    /// remembered.
    pub fn disconnect(&mut self, peer: PeerId) {
        if self.unproved.contains(&peer) {
            self.table.turned_away(&peer, self.now_ms(), draw());
            self.ask_no_more(&peer);
        }
        if let Some(name) = to_libp2p(&peer) {
            // An error only says that there was no connection.
            let _ = self.swarm.disconnect_peer_id(name);
        }
    }

    /// The connected peers, in the order of their names.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.connected.infos(|peer| self.table.source(peer))
    }

    /// Whether a peer is connected.
    #[must_use]
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.connected.contains(peer)
    }

    /// Peers that were connected in the last week, in this run or before, and where, but for those
    /// that have yet to prove that they are spoken to: to be given to the next run as
    /// [`NetworkConfig::remembered`].
    #[must_use]
    pub fn worth_remembering(&self) -> Vec<Remembered> {
        let (now, wall) = (self.now_ms(), wall_ms());
        let mut remembered = self.table.worth_remembering(now);
        let is_of_use = |peer: &PeerId| !self.unproved.contains(peer) && !self.is_stranger(peer);
        remembered.retain(|known| is_of_use(&known.peer));
        for known in &mut remembered {
            known.last = wall.saturating_sub(now.saturating_sub(known.last));
        }
        remembered
    }

    /// Where this node can be dialled: first the addresses by which it is reached from outside, of
    /// these with its PeerId those through the relays at which it holds a place; then, without
    /// PeerId, those of each interface.
    #[must_use]
    pub fn listen_addresses(&self) -> Vec<String> {
        let sorted = |all: BTreeSet<String>| all.into_iter().collect::<Vec<_>>();
        let external = self.swarm.external_addresses().map(ToString::to_string).collect();
        let listeners = self.swarm.listeners().filter(|a| ip_of(a).is_some_and(is_dialable));
        let listeners = listeners.map(ToString::to_string);
        let listeners = listeners.filter(|a| !BTreeSet::contains(&external, a)).collect();
        [sorted(external), sorted(listeners)].concat()
    }

    /// The peers that are in the mesh of a topic, for tests and diagnosis.
    #[must_use]
    pub fn mesh(&self, topic: &str) -> Vec<PeerId> {
        let topic = gossipsub::TopicHash::from_raw(topic);
        let gossip = &self.swarm.behaviour().gossip;
        gossip.mesh_peers(&topic).filter_map(from_libp2p).collect()
    }
}

/// The wall clock, in milliseconds since the Unix epoch; 0 before it.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn topic_of(name: &str) -> Result<IdentTopic, GossipError> {
    use libp2p::gossipsub::TopicSubscriptionFilter as _;
    let topic = IdentTopic::new(name);
    if super::gossip::OcmTopics.can_subscribe(&topic.hash()) {
        Ok(topic)
    } else {
        Err(GossipError::NoTopic(name.chars().take(100).collect()))
    }
}
