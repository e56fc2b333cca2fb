//! Range-based set reconciliation (`protocols/README.md`, section 10).
//!
//! Negentropy (Hoyte, "Range-Based Set Reconciliation") compares fingerprints of ranges. Here the
//! sums themselves are exchanged: where the sums of a range differ by one id, they say which, and
//! the range need not be split any further.
//!
//! The responder describes its set, the [`Initiator`] compares and asks on. Nobody keeps anything
//! between the rounds: what is left to compare lies in the messages.

mod description;
mod frame;
mod initiator;
mod responder;
mod wire;

pub use self::description::{beyond, describe};
#[cfg(test)]
pub(crate) use self::frame::write_varint;
pub use self::initiator::{Initiator, Step};
pub use self::responder::respond;
pub use self::wire::WireError;

/// Ids up to which a range is listed whenever it is described: their sums would hardly be shorter.
const LISTED_AT_ONCE: u64 = 16;

/// Why a round of reconciliation came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError<E: std::error::Error> {
    /// The peer's message is not one: end the session, the peer is at fault.
    #[error(transparent)]
    Wire(WireError),
    /// Our own set cannot be read.
    #[error("the set cannot be read: {0}")]
    Set(#[source] E),
}

impl<E: std::error::Error> From<WireError> for ReconcileError<E> {
    fn from(e: WireError) -> Self {
        Self::Wire(e)
    }
}

#[cfg(test)]
mod tests;
