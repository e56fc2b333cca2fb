//! Who is out there: the names of peers, what binds them to DIDs, the beacon, and whom to dial.
//!
//! Specified in `protocols/README.md`, section 12 (and 2 for the PeerId, 13 for the signatures).
//! Nothing here opens a socket, reads a clock or draws a random number: addresses are texts that
//! the shell understands, times and random numbers are arguments.
//!
//! - [`PeerId`]: the libp2p identity of a node, transport only.
//! - [`Certificate`]: which DID a peer acts for, signed by both.
//! - [`Beacon`]: "I am here, on these ports", in one UDP datagram. It names no space and no DID.
//! - [`PeerTable`]: every peer heard of and not yet connected, within limits, and when to dial it.
//! - [`Bootstrap`]: the addresses the operator gave, which are dialled for ever.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod backoff;
mod beacon;
mod bootstrap;
mod certificate;
mod peer_id;
mod table;

pub use backoff::{BOOTSTRAP_BACKOFF, Backoff, PEER_BACKOFF};
pub use beacon::{BEACON_BYTES, Beacon, BeaconError};
pub use bootstrap::{
    BOOTSTRAP_ENTRIES, BOOTSTRAP_TARGETS, Bootstrap, BootstrapStatus, EntryId, Led,
};
pub use certificate::{
    CERTIFICATE_BYTES, CERTIFICATE_LIFE_MS, CLOCK_TOLERANCE_MS, Certificate, CertificateError,
    VerifiedCertificate,
};
pub use peer_id::{PeerId, PeerIdError};
pub use table::{
    Candidate, PeerTable, Remembered, STABLE_MS, Sighting, Source, TableCounts, TableLimits,
};
