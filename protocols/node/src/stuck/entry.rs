//! One record that one side does not admit, with its cause.

use ocm_record::{RecordId, Set};
use ocm_sync::PushVerdict;

use super::Which;
use super::pause::Pause;
use super::rest::Why;
use crate::peer::RunNumber;
use crate::snapshot::StuckRecord;

/// A record that a peer offers and that was not admitted here.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) set: Set,
    pub(super) pause: Pause,
    pub(super) verdict: &'static str,
    pub(super) reason: &'static str,
    pub(super) text: String,
    /// What it waits for.
    pub(super) missing: Vec<RecordId>,
    /// The last session in which it came whole, rightly signed, and did not stand.
    pub(super) served: RunNumber,
}

impl Offered {
    pub(super) fn why(&self) -> Why {
        match self.verdict {
            "hold" => Why::Held,
            "refuse" => Why::Refused,
            _ => Why::Rejected,
        }
    }

    pub(super) fn shown(&self, (space, peer, id): &Which) -> StuckRecord {
        StuckRecord {
            space: *space,
            id: *id,
            set: self.set,
            peer: *peer,
            verdict: self.verdict,
            reason: self.reason,
            text: self.text.clone(),
            first_ms: self.pause.first,
            last_ms: self.pause.last,
            attempts: self.pause.attempts,
            next_ms: self.pause.due,
        }
    }
}

/// A record of ours that a peer did not admit.
#[derive(Debug)]
pub(super) struct Turned {
    pub(super) pause: Pause,
    pub(super) verdict: PushVerdict,
    /// The session that last found it missing there.
    pub(super) seen: RunNumber,
    /// The last session in which it was refused, which is for ever.
    pub(super) refused: RunNumber,
}

/// Why a peer did not admit a record of ours.
pub(super) const fn why(verdict: PushVerdict) -> Why {
    match verdict {
        PushVerdict::Hold => Why::Held,
        PushVerdict::Refuse => Why::Refused,
        _ => Why::Rejected,
    }
}
