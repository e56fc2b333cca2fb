//! The beacon and the table of peers.
