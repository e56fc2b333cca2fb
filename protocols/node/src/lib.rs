//! The core of a node: every decision, no clock, no socket.
