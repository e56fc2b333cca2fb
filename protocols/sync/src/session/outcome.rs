//! What a session asks of its caller, and what it came to.

use ocm_record::{RecordId, Set, SignedRecord};

use super::Failure;
use crate::message::{PushVerdict, Request};
use crate::statement::Statement;

/// What the caller is to do next.
#[derive(Debug, Clone)]
pub enum Action {
    /// Send this to the peer; then [`Session::on_response`].
    ///
    /// [`Session::on_response`]: crate::Session::on_response
    Send(Request),
    /// Pass these through admission; when they are stored, [`Session::on_admitted`]. Each is one
    /// that was asked for; nothing is verified yet.
    ///
    /// [`Session::on_admitted`]: crate::Session::on_admitted
    Admit {
        /// The set that was being reconciled; a record's own kind decides where it belongs.
        set: Set,
        /// The records, in ascending order of their ids as far as the peer kept to it.
        records: Vec<SignedRecord>,
    },
    /// Read the records of these ids, at most [`PAGE_RECORDS`], with [`Page::fill`]; then
    /// [`Session::on_loaded`].
    ///
    /// [`PAGE_RECORDS`]: crate::limits::PAGE_RECORDS
    /// [`Page::fill`]: crate::Page::fill
    /// [`Session::on_loaded`]: crate::Session::on_loaded
    Load {
        /// Ids that the peer lacks.
        ids: Vec<RecordId>,
    },
    /// Take note of what became of the records that were pushed.
    Pushed {
        /// Each with the verdict on it there.
        verdicts: Vec<(RecordId, PushVerdict)>,
    },
    /// Over: what it came to.
    Done(Outcome),
    /// Over: why it did not come to its end, and what it brought until then.
    Failed {
        /// Why.
        failure: Failure,
        /// What was done until then; `theirs` is `None`.
        outcome: Outcome,
    },
}

/// What a session did in one set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetOutcome {
    /// Rounds of reconciliation.
    pub rounds: u32,
    /// Records received that had been asked for.
    pub received: u64,
    /// Of these, admitted now or already known.
    pub admitted: u64,
    /// Of these, held: something they need is missing.
    pub held: u64,
    /// Of these, refused or rejected: the ids will be found missing again.
    pub refused: u64,
    /// Ids that the peer listed and did not have.
    pub absent: u64,
    /// Ids inferred from sums that the peer did not have, and never named.
    pub misled: u64,
    /// Ids and ranges that were found missing here, and were not to be asked for.
    pub left: u64,
    /// Records received that this version cannot read.
    pub unreadable: u64,
    /// Records that the peer was found to lack, those found again included.
    pub lacking: u64,
    /// Records pushed.
    pub pushed: u64,
    /// Of these, admitted there or already known.
    pub taken: u64,
}

impl SetOutcome {
    /// Whether all that it found missing, here or there, is there since.
    const fn is_settled(&self) -> bool {
        self.received == self.admitted
            && self.absent == 0
            && self.unreadable == 0
            && self.left == 0
            && self.lacking == self.taken
    }
}

/// What a session came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// In the authority set.
    pub authority: SetOutcome,
    /// In the content set.
    pub content: SetOutcome,
    /// What the peer stated at the end, not verified yet: to be compared with what is stored here.
    pub theirs: Option<Statement>,
}

impl Outcome {
    /// Whether everything that it found missing on one side is there since, on both sides and in both
    /// sets. What was stored meanwhile it need not have found.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.authority.is_settled() && self.content.is_settled()
    }
}

/// How admission decided on one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admitted {
    /// Accepted, or known already.
    pub admitted: u64,
    /// Held.
    pub held: u64,
    /// Refused or rejected.
    pub refused: u64,
}
