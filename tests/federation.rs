//! Real nodes in one process, over real sockets: TCP, and again QUIC.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "federation/node.rs"]
mod node;
#[path = "federation/sharing.rs"]
mod sharing;
