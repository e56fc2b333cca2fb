//! Ordered sets of records, their reconciliation, and what peers say to each other.
