//! The record from the outside: golden vectors, the one rule for signatures, and the properties
//! of its form.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "record/ed25519.rs"]
mod ed25519;
#[path = "record/fixture.rs"]
mod fixture;
#[path = "record/form.rs"]
mod form;
#[path = "record/hostile.rs"]
mod hostile;
#[path = "record/vectors.rs"]
mod vectors;
