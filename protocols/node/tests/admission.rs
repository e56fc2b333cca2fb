//! Admission from the outside: whatever way a record takes, what is decided on it, and what is
//! said to others, and when.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "admission/audits.rs"]
mod audits;
#[path = "admission/closed.rs"]
mod closed;
#[path = "admission/gossip.rs"]
mod gossip;
#[path = "admission/hold.rs"]
mod hold;
#[path = "admission/host.rs"]
mod host;
#[path = "admission/order.rs"]
mod order;
#[path = "admission/peer.rs"]
mod peer;
#[path = "admission/promises.rs"]
mod promises;
#[path = "admission/rules.rs"]
mod rules;
#[path = "admission/scribe.rs"]
mod scribe;
#[path = "admission/strikes.rs"]
mod strikes;
#[path = "admission/stuck.rs"]
mod stuck;
#[path = "admission/timers.rs"]
mod timers;
