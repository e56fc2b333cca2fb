//! Two cores, message by message: the smallest scenes in which something once went wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "pair/allowed.rs"]
mod allowed;
#[path = "pair/bundles.rs"]
mod bundles;
#[path = "pair/damage.rs"]
mod damage;
#[path = "sim/disk.rs"]
#[allow(dead_code, reason = "a part of it is enough here")]
mod disk;
#[path = "pair/filling.rs"]
mod filling;
#[path = "pair/membership.rs"]
mod membership;
#[path = "pair/rig.rs"]
mod rig;
#[path = "pair/sessions.rs"]
mod sessions;
#[path = "pair/statements.rs"]
mod statements;
