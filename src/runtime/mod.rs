//! The process: what `ocm node` runs.
//!
//! Three actors and three bounded queues:
//!
//! ```text
//!  HTTP side ──jobs──▶ event loop (core + network) ──batches──▶ store thread
//!      ▲                 │        ▲                                │
//!      └──status, feed───┘        └──────────acknowledgements──────┘
//! ```
//!
//! The event loop owns the core and the network and never blocks; the store thread owns the disk;
//! the HTTP side reads straight from the store's read side. Batches of signatures are made on
//! one thread and verified on another, and come back to the loop. Changes that several ask for at once
//! are carried out in groups.
//!
//! Stopping: the API stops taking requests, the loop ends, the store commits what was submitted,
//! saves its frontier and gives up the lock. A second signal exits at once; nothing acknowledged
//! is lost by that.
//!
//! SIGHUP has the configuration loaded again; what can change while a node runs is taken up, and the
//! log names what has to wait for the next start.

mod changes;
mod event_loop;
mod networking;
mod offline;
mod peers;
mod reload;
mod service;
mod start;
mod status;
mod stop;
mod verifier;

pub use offline::{IdentityReport, InitReport, identity, init};
pub use start::{NodeFlags, Running, run};
