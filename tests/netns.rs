//! Real nodes on hosts that stand apart: network namespaces joined by bridges, as root.
//!
//! As root every one of these tests must run; for anyone else each says that it was skipped.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "netns/bootstrap.rs"]
mod bootstrap;
#[path = "netns/cards.rs"]
mod cards;
#[path = "kubernetes/cluster.rs"]
mod cluster;
#[path = "netns/devnet.rs"]
mod devnet;
#[path = "netns/hostile.rs"]
mod hostile;
#[path = "netns/lan.rs"]
mod lan;
#[path = "netns/lookup.rs"]
mod lookup;
#[path = "netns/moving.rs"]
mod moving;
#[path = "netns/nat.rs"]
mod nat;
#[path = "netns/node.rs"]
mod node;
#[path = "netns/reachability.rs"]
mod reachability;
#[path = "netns/rehearsal.rs"]
mod rehearsal;
#[path = "netns/slow.rs"]
mod slow;
#[path = "netns/switches.rs"]
mod switches;
#[path = "netns/upnp.rs"]
mod upnp;
