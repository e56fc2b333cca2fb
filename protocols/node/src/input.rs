//! What comes in: the vocabulary of everything that can happen to a node.

use ipld_core::ipld::Ipld;
use ocm_discovery::PeerId;
use ocm_record::{MemoryId, RecordId, SpaceId, VerifiedRecord, VerifyError};
use ocm_space::{Grant, Policy};
use ocm_sync::BundleHead;

use crate::bundle::BundleSince;

/// Names a command, so that its reply finds its way back. Chosen by the shell.
pub type Ticket = u64;
/// Names a request of ours, so that its response finds its way back. Chosen by the core.
pub type RequestId = u64;
/// Names a request of a peer's, so that our response finds its way back. Chosen by the shell.
pub type ChannelId = u64;
/// Names a gossip message, so that its verdict finds its way back. Chosen by the shell.
pub type MessageId = u64;
/// Names a batch on its way to the disk. Chosen by the core.
pub type BatchId = u64;
/// Names a job of signing or verifying. Chosen by the core.
pub type JobId = u64;

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// The owner wants something.
    Command {
        /// Names the reply.
        ticket: Ticket,
        /// What.
        command: Command,
    },
    /// The owner wants several things, that waited for each other: each is carried out, or fails, by
    /// itself, and what they write is signed and made durable together.
    Commands(Vec<(Ticket, Command)>),
    /// The first connection to a peer stands; the transport has proved its PeerId.
    Connected(PeerId),
    /// The last connection to a peer is gone. Requests to it fail.
    Disconnected(PeerId),
    /// A peer asks something over the federation protocol.
    Request {
        /// Who.
        peer: PeerId,
        /// Names the response; exactly one is given, unless the peer goes.
        channel: ChannelId,
        /// The message, as received.
        bytes: Vec<u8>,
    },
    /// A peer answers.
    Response {
        /// What it answers.
        request: RequestId,
        /// The message, as received.
        bytes: Vec<u8>,
    },
    /// A request of ours will not be answered.
    RequestFailed {
        /// Which.
        request: RequestId,
        /// Whether the peer let the time for it pass, over a connection that stands.
        timed_out: bool,
    },
    /// A gossip message for a space.
    Gossip {
        /// Who passed it on.
        peer: PeerId,
        /// Names the verdict; exactly one is given, at once.
        message: MessageId,
        /// The space of the topic.
        space: SpaceId,
        /// The record, as received; without its body it is a hint.
        bytes: Vec<u8>,
    },
    /// A batch is durable.
    Committed(BatchId),
    /// A job of verifying, or of signing and verifying, is done; one result per record, in their
    /// order.
    Verified {
        /// Which.
        job: JobId,
        /// The results.
        results: Vec<Result<VerifiedRecord, VerifyError>>,
    },
    /// Time has passed: [`crate::Node::next_deadline`] was reached.
    Tick,
}

/// What the owner wants.
#[derive(Debug, Clone)]
pub enum Command {
    /// Begin a space, owned by this node's DID.
    CreateSpace {
        /// A name for people.
        name: String,
        /// Who may write and read.
        policy: Policy,
    },
    /// Replicate a space that was begun elsewhere.
    Join {
        /// Its name.
        space: SpaceId,
    },
    /// Give a role.
    Grant {
        /// In which space.
        space: SpaceId,
        /// To whom, which.
        grant: Grant,
    },
    /// Start a memory, or change one.
    Change {
        /// In which space.
        space: SpaceId,
        /// Which memory; `None` starts one.
        memory: Option<MemoryId>,
        /// The heads that the edits were made on; empty for a new memory.
        deps: Vec<RecordId>,
        /// The edits, as `ocm-memory` encodes them.
        edits: Ipld,
    },
    /// Start many memories at once. Each becomes one, or fails alone; those that become one are
    /// durable together. At most [`crate::limits::BEGUN_MEMORIES`], and
    /// [`crate::limits::BEGUN_BYTES`] in all.
    Begin {
        /// In which space.
        space: SpaceId,
        /// For each its edits, as `ocm-memory` encodes them.
        memories: Vec<Ipld>,
    },
    /// Take in records from a file, as from any other source.
    Import {
        /// The space that they are of; `None` where they may be of any.
        space: Option<SpaceId>,
        /// The records, as stored elsewhere.
        records: Vec<Vec<u8>>,
    },
    /// Make the head of a bundle, and say which records belong into it.
    Bundle {
        /// Of which space.
        space: SpaceId,
        /// Which of its content records.
        since: BundleSince,
    },
    /// Compare with what the head of a bundle states, when its records are here.
    Witness {
        /// The head.
        head: Box<BundleHead>,
    },
    /// Read records again that somebody found damaged: those that are leave the set, and are fetched
    /// again where a peer has them.
    Reread {
        /// The space.
        space: SpaceId,
        /// The records.
        ids: Vec<RecordId>,
    },
    /// Compare with the connected peers now.
    Sync {
        /// Only this space.
        space: Option<SpaceId>,
    },
}
