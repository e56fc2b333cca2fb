//! Ordered sets of records, their reconciliation, and what peers say to each other.
//!
//! The wire forms are specified in `protocols/README.md`, sections 8 (federation protocol), 9
//! (limits) and 10 (reconciliation and parity). This crate imports no clock, no socket and no
//! source of randomness.
//!
//! ```text
//! Tree (over Nodes, or SumTree)    ids in order, the sum of any range in O(log n)
//!     ▲
//!     ├── Initiator / respond       which ids each side lacks, in bytes that follow the difference
//!     │        ▲
//!     │     Session                 one run of anti-entropy with one peer in one space:
//!     │        │                    authority, then content: reconcile, fetch, push; then parity
//!     │        ▼
//!     │   Request / Response        the messages, strict canonical DAG-CBOR
//!     │
//! LtHash ─▶ Parity ─▶ compare       are two replicas equal, and if not, in what
//! Statement                         parity, signed and made out to one peer
//! commitment, proof                 does a peer hold what it states
//! BundleWriter / BundleReader       a session written down, with a statement made out to nobody
//! SpaceTag                          how a space is named without disclosing it
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod audit;
mod bundle;
mod lthash;
mod message;
mod parity;
mod reconcile;
mod session;
mod set;
mod statement;
mod tag;
mod tree;

pub use audit::{commitment, proof};
pub use bundle::{
    BUNDLE_MAGIC, BundleError, BundleHead, BundleReader, BundleStatement, BundleValue,
    BundleWriter, Since,
};
pub use lthash::{LtHash, LtHashError, SetHash};
pub use message::{Hello, MessageError, Page, PushVerdict, RangePage, Refusal, Request, Response};
pub use parity::{Comparison, Contradiction, Parity, SetDigest, compare};
pub use reconcile::{Initiator, ReconcileError, Step, WireError, beyond, describe, respond};
pub use session::{Action, Admitted, Failure, Outcome, Replica, Session, SetOutcome};
pub use set::{Span, Sum, successor};
pub use statement::{NotSigned, Statement, Terms};
pub use tag::{PEER_ID_LEN, PaddedTags, SpaceTag, pad_tags, space_tag};
pub use tree::{
    Changes, Child, InMemory, Node, NodeNumber, Nodes, PastTheEnd, Root, SumTree, Tree, TreeError,
    Update,
};

/// Limits of the federation protocol (`protocols/README.md`, section 9). What is past one is
/// refused when it is read and never written.
pub mod limits {
    /// Bytes of one request or response, encoded: room for sixteen of the largest records, small
    /// enough that a hundred peers at once cost what a node can spare.
    pub const MESSAGE_BYTES: usize = 1024 * 1024;
    /// Bytes of encoded records in one page (`Records`, `Push`): leaves room in a message for
    /// framing and for a full list of absent ids.
    pub const PAGE_BYTES: usize = MESSAGE_BYTES - 48 * 1024;
    /// Ids that one `Fetch` asks for, and records that one page carries: about one message of
    /// ordinary records.
    pub const PAGE_RECORDS: usize = 1024;
    /// Pages of one session that may be on their way through admission to the disk while the next
    /// is asked for: enough to keep network, verification and disk at work together.
    pub const PAGES_IN_FLIGHT: u32 = 3;
    /// Space tags in one `Spaces`, padding included: a power of two above the number of spaces
    /// that two peers share.
    pub const TAGS: usize = 256;
    /// Bytes of a hello's agent text.
    pub const AGENT_BYTES: usize = 64;
    /// Bytes of the certificate in a hello.
    pub const CERTIFICATE_BYTES: usize = 1024;
    /// Records that one audit asks a peer to prove that it has: one that lacks a tenth of them passes
    /// one time in five, and an answer costs at most a mebibyte of reading.
    pub const AUDIT_RECORDS: usize = 16;
    /// Kinds that a hello lists as supported.
    pub const KINDS: usize = 64;

    /// Bytes of a reconciliation message, written or read: as many ranges as it may have, with room
    /// to spare.
    pub const RECONCILE_BYTES: usize = 256 * 1024;
    /// The fewest bytes to which a caller can limit what is written: a description of one range
    /// always fits, so every round advances.
    pub const RECONCILE_BYTES_MIN: usize = 4096;
    /// Ranges in one reconciliation message. Each costs its reader a way down its tree at most.
    pub const RANGES: usize = 4096;
    /// Ids in all lists of one reconciliation message: about a node of the tree each at most.
    pub const LISTED_IDS: usize = 4096;
    /// Ids that one round may find the peer to lack. The rest of the range follows in the next
    /// rounds, so that an empty peer costs this node no list of its whole set.
    pub const HAVES: usize = 4096;

    /// Bytes of the description of a set that a bundle carries: with the rest of its head it fits a
    /// value of a store.
    pub const DESCRIPTION_BYTES: usize = 48 * 1024;
    /// Bytes of one value in a bundle: a page of records, as in a message.
    pub const BUNDLE_VALUE_BYTES: usize = MESSAGE_BYTES;

    /// Reconciliation rounds for one set in one session: at some 4,000 ids a round, enough for a
    /// million. A session past it ends; what it brought stays, and the next one goes on.
    pub const SESSION_ROUNDS: u32 = 1024;
    /// Requests in one session, of all sorts.
    pub const SESSION_REQUESTS: u32 = 16 * 1024;
    /// Ids that a peer may list and then say it does not have, in one session: more than the
    /// records it can have erased meanwhile, few enough to end the play of one that invents ids.
    pub const SESSION_ABSENT: u64 = 1024;
    /// Ids inferred from sums, of one set in one session, that the peer may turn out not to have
    /// until the rest is left to a pass that infers nothing: more than are erased in a moment.
    pub const SESSION_MISLED: u64 = 16;
    /// Ranges whose answers bring no record, in one session: what was erased meanwhile, or cannot
    /// be read by this version.
    pub const SESSION_BARREN: u32 = 64;
    /// Records that a peer may serve in one session and that are then refused or rejected: an honest
    /// one serves what it admitted by the same rules, so there are none but across versions.
    pub const SESSION_REFUSED: u64 = 1024;
}
