//! Records, identities and time: what a node signs, and the one way to check it.
//!
//! The wire forms are specified in `protocols/README.md`, sections 2 to 4. This crate imports no
//! clock, no socket and no source of randomness: time and random bytes are arguments.
//!
//! The path of a record through the types is its path through trust:
//!
//! ```text
//! bytes ──decode──▶ SignedRecord ──verify / verify_batch──▶ VerifiedRecord
//!         size,      names, times        body hash,            header, author, body
//!         canonical  and links only      ZIP 215 signature
//! ```
//!
//! [`SignedRecord`] shows what is needed to find a record's place (ids, links, times), never who
//! speaks or what is said. [`VerifiedRecord`] has no constructor but verification.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod body;
mod cbor;
mod did;
mod header;
mod id;
mod key;
mod record;
mod statement;
mod time;
mod unsigned;

pub use body::{Body, BodyError, SALT_LEN};
pub use cbor::{NotCanonical, from_canonical, to_canonical};
pub use did::{Did, DidError};
pub use header::{Boot, Draft, Header, Kind, Set};
pub use id::{IdError, MemoryId, RecordId, SpaceId};
pub use key::{KeyError, PublicKey, Signature, SigningKey};
pub use record::{
    Malformed, SignedRecord, VerifiedRecord, VerifyError, sign, sign_batch, verify_batch,
};
pub use statement::{StatementError, sign_statement, verify_statement};
pub use time::{Clock, FAR_AHEAD_MS, Time};
pub use unsigned::UnsignedRecord;

/// Limits of a record, fixed by the protocol (`protocols/README.md`, section 9): every node must
/// draw them alike, so none is configuration.
pub mod limits {
    /// Bytes of an encoded header.
    pub const HEADER_BYTES: usize = 2 * 1024;
    /// Bytes of a body.
    pub const BODY_BYTES: usize = 60 * 1024;
    /// Bytes of an encoded record: header, signature, body and their framing.
    pub const RECORD_BYTES: usize = HEADER_BYTES + BODY_BYTES + 128;
    /// Records that one record may name in `deps`.
    pub const DEPS: usize = 16;
    /// Authority records that one record may name in `auth`.
    pub const AUTH: usize = 8;
    /// Records that one body may name in its lineage.
    pub const LINEAGE: usize = 64;
    /// Bytes of a DID.
    pub const DID_BYTES: usize = 256;
    /// Levels of nesting in any decoded CBOR.
    pub const CBOR_DEPTH: usize = 64;
}
