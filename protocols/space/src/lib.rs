//! Membership of a space as pure state over its authority records.
//!
//! A space begins with a [`Genesis`]; [`Grant`]s give roles. [`SpaceState`] is a function of the
//! *set* of admitted authority records, whatever the order they came in, and answers two
//! questions: may this record stand ([`SpaceState::authorise`]), and may this DID read
//! ([`SpaceState::may_read`]). Specified in `protocols/README.md`, section 6.
//!
//! What this version does not do: revocations, budgets, claims and forgets are admitted on their
//! header and the right to write them, and have no effect.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod genesis;
mod grant;
mod role;
mod state;

pub use genesis::{Access, Genesis, GenesisError, Policy};
pub use grant::{Grant, GrantError};
pub use role::Role;
pub use state::{Denial, Member, Refusal, SpaceState};

/// Limits of authority, fixed by the protocol (`protocols/README.md`, section 9).
pub mod limits {
    /// Characters of a space's name.
    pub const NAME_CHARS: usize = 128;
    /// Owners that a genesis may name.
    pub const OWNERS: usize = 32;
    /// Kinds that a grant may name.
    pub const KINDS: usize = 32;
    /// Authority records in the closure of one record's `auth`. Counted over the record's own
    /// past, so alike on every node; it bounds the work of one admission.
    pub const AUTH_CLOSURE: usize = 1024;
}
