//! The core of a node: every decision it takes, with no clock, no socket and no disk of its own.
//!
//! [`Node`] is a state machine. Whatever happens comes in as one [`Input`] with the time and the
//! store's read side; whatever is to be done comes out as [`Output`]s:
//!
//! ```text
//!            Input, now, &dyn Reader                       Vec<Output>
//!  network ─┐                         ┌───────────────┐              ┌─▶ network
//!  store   ─┼────────────────────────▶│ Node::handle  │──────────────┼─▶ store
//!  owner   ─┘                         └───────────────┘              └─▶ owner, feed
//! ```
//!
//! What always holds:
//!
//! - **One door.** Every record passes [`Verdict`]: written here, heard, asked for, imported.
//! - **Durable before promised.** A reply, an acknowledgement or a publication of a record comes
//!   out only after [`Input::Committed`] of the batch that holds it; only the verdict that lets
//!   another's record be passed on comes before.
//! - **Nothing unverified is kept.** Only a `VerifiedRecord` is held, admitted or written.
//! - **What is stored is what is compared.** Sets and digests are read from the store ([`sets`]), and
//!   hold what is durable and nothing that is only on its way.
//! - **Everything has a limit**, in [`limits`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod admission;
mod allowed;
mod anti_entropy;
mod audit;
mod breaches;
pub mod bundle;
mod command;
pub mod derived;
mod hold;
mod input;
pub mod layout;
mod node;
mod origin;
mod output;
mod pace;
mod parity;
mod peer;
mod plan;
mod random;
mod recent;
mod responder;
mod seen;
mod session;
pub mod sets;
mod sharing;
mod signing;
mod snapshot;
mod space;
mod stated;
pub mod storage;
mod stuck;
mod verdict;
pub mod view;

pub use allowed::Allowed;
pub use input::{BatchId, ChannelId, Command, Input, JobId, MessageId, RequestId, Ticket};
pub use node::{Identity, Node, OpenError, Settings};
pub use origin::Origin;
pub use output::{CommandError, Event, GossipVerdict, Output, Reply};
pub use snapshot::{
    AuditState, Missing, ParityState, PeerSnapshot, RefusalEntry, Sharing, Snapshot, SpaceSnapshot,
    StuckList, StuckRecord,
};
pub use stated::Stated;
pub use verdict::{Hold, Refuse, Reject, Verdict};

/// Limits of one node. Past them work is shed, never correctness: anti-entropy brings again what
/// was dropped. `protocols/README.md`, section 9.
pub mod limits {
    /// Records held for what they build on, in all.
    pub const HELD_RECORDS: usize = 4096;
    /// Bytes of held records, in all. All of them may be released into one batch, which with a
    /// page of a peer must stay within what a store takes at once (16 MiB).
    pub const HELD_BYTES: usize = 4 * 1024 * 1024;
    /// Records held per peer that sent them.
    pub const HELD_PER_PEER: usize = 1024;
    /// Refused ids and worthless copies that are remembered, each.
    pub const REMEMBERED: usize = 4096;
    /// Refusals and rejections that are listed for the owner.
    pub const LISTED_REFUSALS: usize = 256;
    /// Bytes of a record that gossip carries whole; of a larger one it carries the header.
    pub const GOSSIP_BYTES: usize = 32 * 1024;
    /// Peers that a new record of a members-only space is pushed to.
    pub const PUSH_FANOUT: usize = 4;
    /// Records of one batch that are pushed or published; the rest is left to anti-entropy.
    pub const PUSH_RECORDS: usize = 64;
    /// Requests in flight to fetch what gossip announced, per peer.
    pub const HINTS_PER_PEER: usize = 4;
    /// Sessions at once in one space: catch up from two peers, then compare with the others.
    pub const SESSIONS_PER_SPACE: usize = 2;
    /// Milliseconds that a session lasts at most; what remains is left to a later one, so that a
    /// slow peer does not keep the others waiting.
    pub const SESSION_MS: u64 = 120_000;
    /// Records of one push that a peer without a role may present as proof that it has one.
    pub const PRESENTED: usize = 64;
    /// Verification jobs of one peer's pushes that may be under way; past it the peer is told to
    /// come again.
    pub const PUSHES_PER_PEER: usize = 4;
    /// Breaches of the protocol that end a connection, in this one or in earlier ones.
    pub const STRIKES: u32 = 3;
    /// Milliseconds after a peer's last breach until its breaches are forgotten: no memory for ever
    /// of what a repaired node once did.
    pub const STRIKES_FOR_MS: u64 = 3_600_000;
    /// Milliseconds for which a peer is refused after the breach that ended its connection.
    pub const BANNED_MS: u64 = 600_000;
    /// Peers whose breaches are remembered: the names of peers cost them nothing.
    pub const STRIKERS: usize = 1024;
    /// Records between this node and a peer that one side does not admit, for each side, that are kept
    /// with their causes: offered in vain, they are tried again after a pause; 1 to 5 KiB each, by how
    /// much they wait for.
    pub const STUCK_RECORDS: usize = 4096;
    /// Such records of one peer, so that none crowds out others.
    pub const STUCK_PER_PEER: usize = 1024;
    /// Further such records, of which no more is kept than when they are tried again: some 250 bytes
    /// each, 16 MiB for both sides.
    pub const STUCK_IDS: usize = 32 * 1024;
    /// Those of one peer. Where it has more, nothing is moved in that space, in that direction, until
    /// a pause is over: a minute, doubled each time, [`INTERVAL_MAX_MS`] at most.
    pub const STUCK_IDS_PER_PEER: usize = 8 * 1024;
    /// Peers, each in one space, of which it is known that there are more: their names are free.
    pub const STUCK_PAIRS: usize = 1024;
    /// Milliseconds until such a record is tried again, doubled each time.
    pub const STUCK_MIN_MS: u64 = 60_000;
    /// Milliseconds between two tries of such a record, at most: a day.
    pub const STUCK_MAX_MS: u64 = 24 * 60 * 60 * 1000;
    /// Tries after which such a record is listed with its cause.
    pub const QUARANTINE_ATTEMPTS: u32 = 3;
    /// Records of one space that are listed so.
    pub const LISTED_STUCK: usize = 256;
    /// Comparisons past which none is kept with a peer that is not connected, in all spaces: some
    /// 700 bytes each, in memory and in the store.
    pub const PARITIES: usize = 1024;
    /// Milliseconds until a comparison that replaces another is written: comparisons come often,
    /// and each write is a flush.
    pub const KEEP_PARITY_MS: u64 = 60_000;
    /// Milliseconds after the first equality until a peer is audited.
    pub const AUDIT_AFTER_MS: u64 = 5_000;
    /// Milliseconds between two audits of a peer in a space.
    pub const AUDIT_EVERY_MS: u64 = 3_600_000;
    /// Milliseconds until an audit that came to no end is tried again, doubled each time.
    pub const AUDIT_RETRY_MS: u64 = 60_000;
    /// Records of one import.
    pub const IMPORT_RECORDS: usize = 1024;
    /// Bytes of one import.
    pub const IMPORT_BYTES: usize = 8 * 1024 * 1024;
    /// Memories that one command begins: as many as a page of a peer has records.
    pub const BEGUN_MEMORIES: usize = 1000;
    /// Records of commands that are signed, admitted and made durable together, where no command has
    /// more: as many as are published one by one.
    pub const SIGNED_TOGETHER: usize = PUSH_RECORDS;
    /// Bytes of the records that one command begins. With their keys they must stay within what a
    /// store takes at once (16 MiB).
    pub const BEGUN_BYTES: usize = 8 * 1024 * 1024;
    /// Memories that one command begins from which on more are expected to follow.
    pub const BULK_MEMORIES: usize = 64;
    /// Milliseconds for which they are expected.
    pub const BULK_MS: u64 = 500;
    /// Spaces that one node replicates.
    pub const SPACES: usize = 256;

    /// Bytes of records, or of reconciliation, that one answer is asked to have at most: a full page.
    pub const ROOM: u32 = 976 * 1024;
    /// The same before anything is known of the link: 16 kB a second bring it in time.
    pub const ROOM_FIRST: u32 = 128 * 1024;
    /// The same on the slowest link: 400 bytes a second bring it in time. A record that is longer is
    /// asked for all the same, alone.
    pub const ROOM_LEAST: u32 = 8 * 1024;
    /// Milliseconds within which a full answer has more asked for at once: four of the room then
    /// still come within the time of a request.
    pub const FAST_MS: u64 = 1_000;
    /// Milliseconds after which an answer has less asked for at once: a quarter of the time that a
    /// request has, so that pings and news between the pages come in time, too.
    pub const SLOW_MS: u64 = 5_000;

    /// Requests in a row that a peer may leave unanswered until the connection ends.
    pub const UNANSWERED: u32 = 3;
    /// Milliseconds after its last request for a range in which a peer is taken to fill a space.
    pub const SERVED_MS: u64 = 5_000;
    /// Peers of a space that are compared with in one [`PROBE_AFTER_MS`] after a change, about: with
    /// more, the last wait longer.
    pub const PROBES_AT_ONCE: usize = 4;
    /// Milliseconds after a change until peers are compared.
    pub const PROBE_AFTER_MS: u64 = 500;
    /// Milliseconds for which gossip that goes on bringing records of a space puts a comparison off,
    /// at most, unless there are so many peers that they take longer in their turns: what is on its
    /// way looks like a difference, and comparing it takes the time of passing it on.
    pub const QUIET_WITHIN_MS: u64 = 4_000;
    /// Milliseconds until the next comparison after one that found a difference.
    pub const INTERVAL_MIN_MS: u64 = 10_000;
    /// Milliseconds between comparisons while nothing differs, at most.
    pub const INTERVAL_MAX_MS: u64 = 600_000;
    /// Milliseconds until a peer must have proved a DID that is spoken to, where not everyone is.
    pub const PROVE_MS: u64 = 20_000;
    /// Milliseconds until a hello or a list of spaces that was not answered is sent again.
    pub const RETRY_MS: u64 = 5_000;
}
