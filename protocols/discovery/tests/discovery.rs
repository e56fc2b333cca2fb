//! Discovery from the outside: golden vectors of PeerIds, beacons and certificates.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "discovery/vectors.rs"]
mod vectors;
