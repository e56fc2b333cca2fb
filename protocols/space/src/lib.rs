//! Membership of a space as pure state over its authority records.
