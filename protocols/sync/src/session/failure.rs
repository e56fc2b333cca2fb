//! Why a session ended early.

use ocm_record::{Malformed, RecordId};

use crate::limits;
use crate::message::Refusal;
use crate::reconcile::WireError;

/// Why a session ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The peer does not have the space, or not for us: not to be asked again until membership
    /// changes.
    #[error("the peer does not know the space, or not for us")]
    Unknown,
    /// The peer is busy: try again after a pause.
    #[error("the peer is busy")]
    Busy,
    /// The peer will not answer.
    #[error("the peer refused the request, reason {}", .0.0)]
    Refused(Refusal),
    /// The response is none to the request. The peer is at fault.
    #[error("the peer's response does not answer the request")]
    Mismatch,
    /// The reconciliation message is malformed. The peer is at fault.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A record that is none. The peer is at fault; the rest of its page was admitted.
    #[error("the peer sent a malformed record: {0}")]
    Malformed(Malformed),
    /// A record, or a statement about one, that was not asked for, or that belongs in the other
    /// set. The peer is at fault; the rest of its page was admitted.
    #[error("the peer spoke of record {0}, which was not asked for")]
    NotAsked(RecordId),
    /// A page that settled none of the ids asked for, or brought a range no further. The peer is at
    /// fault.
    #[error("the peer answered a request for records with none, and with no end")]
    Stalled,
    /// The peer listed too many ids that it then did not have.
    #[error("the peer listed {0} ids that it does not have, more than {max}", max = limits::SESSION_ABSENT)]
    Absent(u64),
    /// The peer served too many records that were refused or rejected: it cannot have admitted them
    /// itself. The peer is at fault.
    #[error("the peer served {0} records that may not stand, more than {max}", max = limits::SESSION_REFUSED)]
    Worthless(u64),
    /// The peer claims to lack more records than the set has, twice over. The peer is at fault.
    #[error("the peer claims to lack {lacking} records of a set of {len}")]
    Lacking {
        /// Records it was found to lack, in all rounds.
        lacking: u64,
        /// Records in our set.
        len: u64,
    },
    /// More rounds for one set than a session may have. What was admitted stays; start another.
    #[error("the session took {max} rounds of reconciliation: start another", max = limits::SESSION_ROUNDS)]
    Rounds,
    /// More requests than a session may make. What was admitted stays; start another.
    #[error("the session made {max} requests: start another", max = limits::SESSION_REQUESTS)]
    Requests,
    /// A method was called that the last action does not name, or with a page that settles nothing.
    #[error("the session was driven out of turn")]
    OutOfTurn,
}
