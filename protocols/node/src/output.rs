//! What goes out: every effect the core has, as data.

use std::borrow::Cow;

use ocm_discovery::PeerId;
use ocm_record::{
    Did, Kind, Malformed, MemoryId, RecordId, SignedRecord, SigningKey, SpaceId, Time,
    UnsignedRecord,
};

use crate::bundle::{BundlePlan, Witnessed};
use crate::input::{BatchId, ChannelId, JobId, MessageId, RequestId, Ticket};
use crate::storage::Batch;
use crate::verdict::Verdict;

/// Something to be done. Outputs are to be done in their order.
#[derive(Debug)]
pub enum Output {
    /// Write a batch, flush, and say [`crate::Input::Committed`]. Batches are written in the
    /// order they come out.
    Commit {
        /// Names it.
        batch: BatchId,
        /// What to write.
        writes: Batch,
    },
    /// Verify records away from the loop, and say [`crate::Input::Verified`].
    Verify {
        /// Names it.
        job: JobId,
        /// The records.
        records: Vec<SignedRecord>,
    },
    /// Sign records of our own with this key and verify them ([`ocm_record::sign_batch`]), away
    /// from the loop, and say [`crate::Input::Verified`]: of several such jobs in the order in
    /// which they came out, since each goes on where the log ended in the one before.
    Sign {
        /// Names it.
        job: JobId,
        /// The key.
        key: SigningKey,
        /// The records.
        records: Vec<UnsignedRecord>,
    },
    /// Answer a command.
    Reply {
        /// Which.
        ticket: Ticket,
        /// The answer; success means durable.
        result: Result<Reply, CommandError>,
    },
    /// Send a request; exactly one `Response` or `RequestFailed` comes back, unless the peer
    /// disconnects.
    Send {
        /// To whom.
        peer: PeerId,
        /// Names it.
        request: RequestId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Answer a peer's request.
    Respond {
        /// Which.
        channel: ChannelId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// The verdict on a gossip message.
    Judge {
        /// Which.
        message: MessageId,
        /// What to do with it.
        gossip: GossipVerdict,
    },
    /// Hear and speak on a space's topic, and look up who else holds it: everyone may read it, and its
    /// genesis is here.
    Subscribe(SpaceId),
    /// Publish a record on its space's topic. Replies that come out with it may be given first.
    Publish {
        /// The space.
        space: SpaceId,
        /// The record; without its body where that is too large.
        bytes: Vec<u8>,
    },
    /// End the connection to a peer that broke the protocol.
    Disconnect {
        /// Which.
        peer: PeerId,
        /// Why, for people.
        reason: Cow<'static, str>,
    },
    /// Something happened that others may want to know.
    Event(Event),
}

/// What gossip does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GossipVerdict {
    /// Pass it on.
    Accept,
    /// Drop it; nobody is to blame.
    Ignore,
    /// Drop it; whoever passed it on is to blame.
    Reject,
}

/// A successful answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The space that was begun or joined.
    Space(SpaceId),
    /// The record that was written.
    Record {
        /// Its id.
        id: RecordId,
        /// The memory it belongs to.
        memory: Option<MemoryId>,
    },
    /// What became of memories that were to be begun, in their order.
    Begun(Vec<Result<MemoryId, CommandError>>),
    /// The verdicts on imported records, in their order.
    Imported(Vec<Verdict>),
    /// The head of a bundle, and what belongs into it.
    Bundle(Box<BundlePlan>),
    /// How this node compares with the writer of a bundle.
    Witnessed(Witnessed),
    /// The records were read again.
    Reread,
    /// How many sessions were begun.
    Sessions(usize),
}

/// Why a command was not carried out. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The space is not held here.
    #[error("space {0} is not held here: join it first, or see `ocm space list`")]
    UnknownSpace(SpaceId),
    /// The space was joined, and nothing of it has arrived.
    #[error("nothing of space {0} has arrived yet: a peer that holds it must be reachable")]
    EmptySpace(SpaceId),
    /// This DID may not.
    #[error("{did} may not write a {kind} in this space: ask an owner for a grant")]
    NotPermitted {
        /// The DID this node acts for.
        did: Did,
        /// What was to be written.
        kind: &'static str,
    },
    /// The record would break a rule or a limit.
    #[error("the record cannot be made: {0}")]
    Malformed(#[from] Malformed),
    /// The content of a genesis or grant breaks a limit.
    #[error("{0}")]
    Invalid(String),
    /// Admission said no.
    #[error("the record was not admitted: {0}")]
    NotAdmitted(String),
    /// The clock has reached the end of time.
    #[error("no time is left to give to a record: a record far in the future was built upon")]
    EndOfTime,
    /// The store could not be read.
    #[error("{0}")]
    Store(String),
}

/// Something that happened: what is live on the event feed and counted in the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A record is durable here.
    Record {
        /// Its space.
        space: SpaceId,
        /// Its id.
        id: RecordId,
        /// Its kind.
        kind: Kind,
        /// The memory it belongs to.
        memory: Option<MemoryId>,
        /// Who wrote it.
        author: Did,
        /// Its time.
        time: Time,
        /// The peer it came by; `None` when it was written here.
        from: Option<PeerId>,
    },
    /// A peer has proved which DID it acts for.
    PeerKnown {
        /// The peer.
        peer: PeerId,
        /// The DID.
        did: Did,
    },
    /// A peer is gone.
    PeerGone {
        /// The peer.
        peer: PeerId,
    },
    /// Two nodes were compared.
    Compared {
        /// The peer.
        peer: PeerId,
        /// The space.
        space: SpaceId,
        /// Whether they store the same.
        equal: bool,
    },
    /// A session with a peer ended.
    SessionEnded {
        /// The peer.
        peer: PeerId,
        /// The space.
        space: SpaceId,
        /// How: from a closed set.
        outcome: &'static str,
    },
    /// A stored record was found damaged; it is left out and asked for again.
    Damaged {
        /// Which.
        id: RecordId,
    },
}
