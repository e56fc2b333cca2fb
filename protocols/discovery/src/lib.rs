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
//! - [`Lookup`]: which spaces are looked up when, and under which [`LookupKey`].
//! - [`Providers`]: who announced itself under such a key, kept for others.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod backoff;
mod beacon;
mod bootstrap;
mod certificate;
mod lookup;
mod peer_id;
mod providers;
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
pub use lookup::{LOOKUP_BACKOFF, LOOKUP_SPACES, Lookup, LookupKey};
pub use peer_id::{PeerId, PeerIdError};
pub use providers::{Announced, PROVIDED_MS, ProviderLimits, Providers, network_of};
pub use table::{
    Candidate, PeerTable, Remembered, STABLE_MS, Sighting, Source, TableCounts, TableLimits,
};
