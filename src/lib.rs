//! OCM, Our Collective Memory: a signed, offline-first logbook that belongs to the people in it.
//!
//! This crate is the shell: it moves bytes. What is decided is decided in the crates under
//! `protocols/`, and what goes over the wire is specified in `protocols/README.md`.
//!
//! ```text
//!  cli ─▶ client ─HTTP─▶ api ─▶ handle ◀─ runtime ─▶ network   libp2p, discovery
//!   └▶ bundle  files      └──▶ views ─┘        │ ├─▶ store     sled, one writer thread
//!                                              │ └─▶ telemetry
//!                                              └─▶ ocm-node    the core: handle(input, now) → outputs
//! ```
//!
//! # What holds
//!
//! - **The core decides, the shell acts.** No module here judges a record, a peer's right or a
//!   set's equality. [`runtime`] gives the core what happened and carries out what it says, in
//!   order.
//! - **One loop.** One task owns the core and the network; it never blocks, never reads a file,
//!   never makes or verifies a batch of signatures. Five actors (loop, store thread, signing
//!   thread, verifying thread, HTTP side) are all there is, and what waits between them is bounded:
//!   by the queues of store and API, and by what each peer may have under way.
//! - **Durable before promised.** A success that leaves this process, over HTTP or to a peer, is
//!   preceded by a sync of the disk ([`store`]).
//! - **Reads go straight to the store**, through [`handle::Handle::reader`], and see what is durable
//!   and nothing else. They never pass the loop.
//! - **Sets follow records.** The store thread writes what the sets of a space become
//!   ([`ocm_node::sets`]) in the batch that writes its records; nothing of them is kept in memory.
//! - **A view can be thrown away.** [`views`] writes rows that lists read, and an index of them in the
//!   same batch; each row can be rendered again from the records, and is when they change.
//! - **`network`, `store` and `api` do not import one another.** [`runtime`] composes them;
//!   [`handle`] is the one seam between the loop and whoever asks.
//! - **Everything queued is bounded**, and says in its documentation what happens when it is full.
//! - **Files of bundles are the command line's.** The node sees records and heads, over the API;
//!   compression, encryption and their keys stay in [`bundle`] and the process of whoever asks.
//! - **A write error ends the process.** The store is poisoned by the first; the next start is the
//!   recovery.
//!
//! # What is absent
//!
//! There is no server role, no leader, no schema migration of records, no code that arrives over
//! the network and is run, no unsafe code, and no second way for a record to get in.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod api;
pub mod bundle;
pub mod cli;
pub mod client;
pub mod config;
pub mod devnet;
pub mod doctor;
pub mod handle;
pub mod identity;
pub mod invitation;
pub mod network;
pub mod runtime;
pub mod store;
pub mod telemetry;
pub mod views;
