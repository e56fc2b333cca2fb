//! The single decision on a record.

use std::borrow::Cow;
use std::fmt;

use ocm_record::{Malformed, RecordId, VerifyError};
use ocm_space::{Denial, Refusal};

/// What admission says of a record (`protocols/README.md`, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stands, and is durable after the next flush.
    Accept,
    /// It stands already.
    Duplicate,
    /// Not now: no fault of anyone.
    Hold(Hold),
    /// Provably bad from the bytes alone: every honest hop checks, so the sender is at fault.
    Reject(Reject),
    /// No right by its own past: alike on every node, for ever.
    Refuse(Refuse),
}

/// Why a record is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Records it builds on are not here.
    Dependency(Vec<RecordId>),
    /// Authority records it names are not here.
    Authority(Vec<RecordId>),
    /// It came without its body, and nothing says that is forgotten.
    Body,
    /// It is of a version, or asks for a rule, that is unknown here.
    Unsupported(String),
    /// The space is not replicated here.
    UnknownSpace,
}

/// Why a record is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reject {
    /// The bytes are no record.
    Malformed(Malformed),
    /// Body, key or signature is wrong.
    Unverified(VerifyError),
    /// It was sent as a record of another space.
    WrongSpace,
}

/// Why a record is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// Its author had no right to write it.
    Authority(Refusal),
    /// It builds on content of another memory, or on none of its own.
    OtherMemory,
    /// It builds on a record that was refused.
    Descendant,
}

impl Verdict {
    /// The verdict's name, for labels: one of five.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Duplicate => "duplicate",
            Self::Hold(_) => "hold",
            Self::Reject(_) => "reject",
            Self::Refuse(_) => "refuse",
        }
    }

    /// The reason's name, for labels: from a closed set.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Accept | Self::Duplicate => "none",
            Self::Hold(Hold::Dependency(_)) => "dependency",
            Self::Hold(Hold::Authority(_)) => "authority",
            Self::Hold(Hold::Body) => "body",
            Self::Hold(Hold::Unsupported(_)) => "unsupported",
            Self::Hold(Hold::UnknownSpace) => "unknown_space",
            Self::Reject(Reject::Malformed(_)) => "malformed",
            Self::Reject(Reject::Unverified(VerifyError::Body)) => "wrong_body",
            Self::Reject(Reject::Unverified(VerifyError::Key(_))) => "bad_key",
            Self::Reject(Reject::Unverified(VerifyError::Signature)) => "bad_signature",
            Self::Reject(Reject::WrongSpace) => "wrong_space",
            Self::Refuse(Refuse::Authority(Refusal::Genesis)) => "genesis",
            Self::Refuse(Refuse::Authority(Refusal::NotPermitted)) => "not_permitted",
            Self::Refuse(Refuse::Authority(Refusal::AuthorityTooDeep)) => "authority_too_deep",
            Self::Refuse(Refuse::OtherMemory) => "other_memory",
            Self::Refuse(Refuse::Descendant) => "descendant",
        }
    }

    /// Whether the record stands after this verdict.
    #[must_use]
    pub const fn stands(&self) -> bool {
        matches!(self, Self::Accept | Self::Duplicate)
    }
}

impl From<Malformed> for Verdict {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Version(version) => {
                Self::Hold(Hold::Unsupported(format!("record version {version:?}")))
            }
            other => Self::Reject(Reject::Malformed(other)),
        }
    }
}

impl From<VerifyError> for Verdict {
    fn from(error: VerifyError) -> Self {
        Self::Reject(Reject::Unverified(error))
    }
}

impl From<Denial> for Verdict {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Missing(ids) => Self::Hold(Hold::Authority(ids)),
            Denial::Unsupported(what) => Self::Hold(Hold::Unsupported(what.to_owned())),
            Denial::Refused(refusal) => Self::Refuse(Refuse::Authority(refusal)),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Cow<'_, str> = match self {
            Self::Accept => "admitted".into(),
            Self::Duplicate => "already here".into(),
            Self::Hold(Hold::Dependency(ids)) => {
                format!("held: {} records it builds on are not here yet", ids.len()).into()
            }
            Self::Hold(Hold::Authority(ids)) => {
                format!("held: {} authority records it names are not here yet", ids.len()).into()
            }
            Self::Hold(Hold::Body) => "held: it came without its body".into(),
            Self::Hold(Hold::Unsupported(what)) => {
                format!("held: {what} is not implemented by this version of ocm").into()
            }
            Self::Hold(Hold::UnknownSpace) => "held: its space is not replicated here".into(),
            Self::Reject(Reject::Malformed(why)) => format!("rejected: {why}").into(),
            Self::Reject(Reject::Unverified(why)) => format!("rejected: {why}").into(),
            Self::Reject(Reject::WrongSpace) => {
                "rejected: it was sent as a record of another space".into()
            }
            Self::Refuse(Refuse::Authority(why)) => format!("refused: {why}").into(),
            Self::Refuse(Refuse::OtherMemory) => {
                "refused: it builds on no record of its own memory, or on one of another".into()
            }
            Self::Refuse(Refuse::Descendant) => {
                "refused: it builds on a record that was refused".into()
            }
        };
        f.write_str(&text)
    }
}
