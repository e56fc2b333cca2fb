//! OCM, Our Collective Memory.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod config;
pub mod network;
pub mod store;
pub mod telemetry;
