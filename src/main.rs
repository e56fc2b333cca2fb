//! The `ocm` binary.
fn main() {}
