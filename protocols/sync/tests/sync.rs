//! The federation protocol from the outside: golden vectors of everything that peers say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "sync/bundles.rs"]
mod bundles;
#[path = "sync/digests.rs"]
mod digests;
#[path = "sync/messages.rs"]
mod messages;
#[path = "sync/reconciliation.rs"]
mod reconciliation;
#[path = "sync/statements.rs"]
mod statements;
#[path = "sync/tags.rs"]
mod tags;
#[path = "sync/vectors.rs"]
mod vectors;
