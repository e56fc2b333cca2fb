//! The space from the outside: golden vectors, who may write what, and what a proof is worth.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "space/fixture.rs"]
mod fixture;
#[path = "space/membership.rs"]
mod membership;
#[path = "space/order.rs"]
mod order;
#[path = "space/rights.rs"]
mod rights;
#[path = "space/vectors.rs"]
mod vectors;
