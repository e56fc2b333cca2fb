//! What the network tells the runtime.

use std::time::{Duration, SystemTime};

use ocm_discovery::{BootstrapStatus, PeerId, Sighting, Source};

use super::address::Transport;
use super::gossip::GossipId;

/// A request this node sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

/// A request this node received and has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub(crate) u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEvent {
    /// This node can be dialled here: a multiaddr without PeerId.
    Listening {
        /// Where.
        address: String,
    },
    /// A listener ended, or could not follow a change of the interfaces; the others go on.
    ListenFailed {
        /// Where it listened.
        address: String,
        /// Why it ended.
        cause: String,
    },
    /// The first connection with a peer is there; further ones are not told.
    Connected {
        /// The peer, as its transport proved.
        peer: PeerId,
    },
    /// The last connection with a peer is gone.
    Disconnected {
        /// The peer.
        peer: PeerId,
    },
    /// A peer asks.
    Request {
        /// Who asks.
        peer: PeerId,
        /// Where the answer goes, once, within [`super::REQUEST_TIMEOUT`].
        channel: ChannelId,
        /// What it asks, at most [`super::FRAME_BYTES`].
        bytes: Vec<u8>,
    },
    /// A peer answers.
    Response {
        /// What it answers.
        request: RequestId,
        /// Who answers.
        peer: PeerId,
        /// The answer, at most [`super::FRAME_BYTES`].
        bytes: Vec<u8>,
    },
    /// A request will not be answered.
    RequestFailed {
        /// Which.
        request: RequestId,
        /// Who was asked.
        peer: PeerId,
        /// Why not.
        reason: RequestFailure,
    },
    /// A gossip message, which waits for [`super::Network::verdict`].
    Gossip {
        /// Who passed it on, not who made it.
        peer: PeerId,
        /// Its name.
        message_id: GossipId,
        /// The topic.
        topic: String,
        /// The message, shorter than [`super::GOSSIP_BYTES`].
        data: Vec<u8>,
    },
    /// A peer not heard of before, or a copy of this node's key.
    Sighting {
        /// Who.
        peer: PeerId,
        /// Through what.
        source: Source,
        /// [`Sighting::New`] or [`Sighting::CopiedKey`].
        sighting: Sighting,
    },
    /// What became of an attempt at an address of the configuration or of
    /// [`super::Network::dial`].
    Dialled {
        /// The address as given.
        address: String,
        /// Who answered (this node itself, too), or why nobody did.
        outcome: Result<PeerId, String>,
    },
    /// It is known otherwise than before whether others can dial this node.
    Reachability {
        /// What is known.
        known: Reachability,
    },
    /// A peer was refused for its third invalid message.
    Banned {
        /// Who.
        peer: PeerId,
        /// For how long.
        time: Duration,
    },
}

/// Why a request will not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFailure {
    /// There is no connection: ask again once there is.
    #[error("the peer is not connected")]
    NotConnected,
    /// More bytes than a frame has: ask in several requests.
    #[error("the request has {0} bytes, at most {limit} are sent", limit = super::FRAME_BYTES)]
    TooLong(usize),
    /// Too many requests wait already: ask again later.
    #[error("{0} requests wait for an answer already")]
    TooMany(usize),
    /// No answer in time. The peer may have acted on the request.
    #[error("no answer within {limit} s", limit = super::REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// The connection ended. The peer may have acted on the request.
    #[error("the connection ended before the answer came")]
    ConnectionClosed,
    /// The peer does not speak the federation protocol.
    #[error("the peer does not speak {protocol}", protocol = super::FEDERATION_PROTOCOL)]
    Unsupported,
    /// The stream failed, or what came was no frame.
    #[error("the stream failed: {0}")]
    Stream(String),
}

/// The verdict on a gossip message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Valid: passed on.
    Accept,
    /// Not passed on; nobody is to blame.
    Ignore,
    /// Provably invalid: not passed on, and everyone who sent it pays for it.
    Reject,
}

/// What became of a published message. Gossip is a hint: none of these loses anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// On its way to at least one peer.
    Sent,
    /// No connected peer listens to the topic, or all are too busy.
    Nobody,
    /// It was published, or heard, a moment ago.
    Again,
}

/// Why a message or a topic is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GossipError {
    /// Longer than a transmission: it travels by reconciliation.
    #[error("the message has {0} bytes, gossip carries less than {limit}", limit = super::GOSSIP_BYTES)]
    TooLong(usize),
    /// As many topics as a node may have are subscribed to.
    #[error("{0} topics are subscribed to, and no node may have more: leave a space's gossip")]
    TooManyTopics(usize),
    /// Not a name that topics here have.
    #[error("{0:?} is no topic: /ocm/1/ and a SpaceId is one")]
    NoTopic(String),
    /// The library refused.
    #[error("gossip failed: {0}")]
    Other(String),
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// This node.
    Outbound,
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who.
    pub peer: PeerId,
    /// Where the connections lead, the direct ones first, of these the oldest.
    pub addresses: Vec<String>,
    /// Whether all of them go through relays.
    pub relayed: bool,
    /// The transport of the first of them; through a relay, that to the relay.
    pub transport: Option<Transport>,
    /// Who opened the first of them.
    pub direction: Direction,
    /// When the first connection was made.
    pub since: SystemTime,
    /// The time of the last round trip.
    pub rtt: Option<Duration>,
    /// How this node first heard of the peer.
    pub source: Source,
    /// What the peer calls itself: its own words, at most 64 printable characters.
    pub agent: Option<String>,
}

/// Whether others can dial this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reachability {
    /// Nobody has tried.
    #[default]
    Unknown,
    /// A peer outside could, at this address.
    Public(libp2p::Multiaddr),
    /// Peers outside could not.
    Private,
}

impl Reachability {
    /// `unknown`, `public` or `private`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Public(_) => "public",
            Self::Private => "private",
        }
    }
}

/// How a source of peers does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Turned off in the configuration.
    Off,
    /// It works.
    Working,
    /// It works, and something about it is to be looked at: what, and the remedy.
    Troubled(String),
    /// It does not; the cause and the remedy.
    Failing(String),
}

/// A source of peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHealth {
    /// Which.
    pub source: Source,
    /// How it does.
    pub health: Health,
    /// What it does, in words: whom it hears, what answers.
    pub detail: String,
    /// Peers in the table that it was the first to tell of.
    pub peers: usize,
}

/// Every source, and each bootstrap entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// Every source.
    pub sources: Vec<SourceHealth>,
    /// The bootstrap entries, in the order given.
    pub bootstrap: Vec<BootstrapStatus>,
    /// How it stands with the places at relays, in words, too; `None` where no relay is configured or used.
    pub relays: Option<(Health, String)>,
    /// How it stands with relaying for others, in words, too; `None` where this node does not.
    pub relaying: Option<(Health, String)>,
    /// How it stands with the ports mapped at the router, in words, too.
    pub upnp: (Health, String),
    /// Whether others can dial this node, in words, too.
    pub reachability: (Health, String),
    /// Beacons in this node's name by another process, ever.
    pub copied_key: u64,
    /// Where the last of them came from, and how long ago.
    pub copied_at: Option<(std::net::IpAddr, Duration)>,
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Nothing can listen there.
    #[error(
        "cannot listen on {transport} {ip}:{port}: {cause}; stop what holds the port, or set \
         network.port (OCM_NETWORK_PORT) to a free one and network.bind_address \
         (OCM_BIND_ADDRESS) to an address of this machine"
    )]
    Listen {
        /// TCP, or UDP for QUIC.
        transport: &'static str,
        /// The address.
        ip: std::net::IpAddr,
        /// The port.
        port: u16,
        /// What the system says.
        cause: String,
    },
    /// Neither TCP nor QUIC is on.
    #[error("neither tcp nor quic is on: turn one on")]
    NoTransport,
    /// No address to listen on.
    #[error("there is no address to listen on: set network.bind_address (OCM_BIND_ADDRESS)")]
    NoAddress,
    /// A bootstrap entry is no address.
    #[error("bootstrap: {0}")]
    Bootstrap(#[from] super::address::AddressError),
    /// A relay is not an address that a relay can be at.
    #[error("network.relays (OCM_NETWORK_RELAYS): {0}")]
    Relay(String),
    /// More bootstrap entries than are tried.
    #[error("{0} bootstrap entries are given, at most {limit} are dialled", limit = ocm_discovery::BOOTSTRAP_ENTRIES)]
    TooManyBootstrap(usize),
    /// The library refused the setup.
    #[error("the network cannot be set up: {0}")]
    Setup(String),
}

/// Why an address is not forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// It is none that [`super::Network::dial`] added.
    #[error("the address was not given to be dialled")]
    NotKept,
    /// It is dialled because the configuration names it.
    #[error("the address is configured in network.seed_peers or network.relays")]
    Configured,
}

/// Why an answer is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RespondError {
    /// The request was answered, took too long, or its connection ended.
    #[error("the request is no longer open")]
    Gone,
    /// More bytes than a frame has. The request stays open for a shorter answer.
    #[error("the answer has {0} bytes, at most {limit} are sent", limit = super::FRAME_BYTES)]
    TooLong(usize),
}
