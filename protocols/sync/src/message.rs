//! What peers say to each other over `/ocm/1/federation` (`protocols/README.md`, section 8).
//!
//! Every message is one canonical DAG-CBOR array that begins with its code. What is over a limit,
//! out of order or not canonical is refused as a whole when it is read, and refused likewise when
//! it is to be written. Memory for reading is bounded by a small multiple of the input.

mod page;
pub(crate) mod wire;

use ocm_record::{NotCanonical, RecordId, Set};
use serde_bytes::ByteBuf;

use crate::limits;
use crate::parity::Parity;
use crate::set::Span;
use crate::statement::Statement;
use crate::tag::SpaceTag;
pub use page::{Page, RangePage};
pub(crate) use wire::Hash;

/// What one peer asks another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Code 1. Who is there: the first request of a connection.
    Hello(Hello),
    /// Code 2. Which of these spaces do we share?
    Spaces {
        /// In ascending order, without repetition, at most [`limits::TAGS`].
        tags: Vec<SpaceTag>,
    },
    /// Code 3. One round of reconciliation of one set.
    Reconcile {
        /// The space, as the asking side names it.
        tag: SpaceTag,
        /// Which of its sets.
        set: Set,
        /// A message of [`Initiator`](crate::Initiator), at most [`limits::RECONCILE_BYTES`].
        message: ByteBuf,
        /// Bytes of the answer's message, at most; [`limits::RECONCILE_BYTES_MIN`] are always given
        /// room.
        room: u32,
    },
    /// Code 4. Records, please.
    Fetch {
        /// The space.
        tag: SpaceTag,
        /// In ascending order, without repetition, at most [`limits::PAGE_RECORDS`].
        ids: Vec<RecordId>,
        /// Bytes of encoded records in the answer, at most; one record always finds room.
        room: u32,
    },
    /// Code 5. Records that you lack.
    Push {
        /// The space.
        tag: SpaceTag,
        /// Encoded records, at most [`limits::PAGE_RECORDS`].
        records: Vec<ByteBuf>,
    },
    /// Code 10. All records of a part of a set, in the order of their ids, please.
    Range {
        /// The space.
        tag: SpaceTag,
        /// Which of its sets.
        set: Set,
        /// From the first id on, and below the second, which is above it.
        span: Span,
        /// Bytes of encoded records in the answer, at most; one record always finds room.
        room: u32,
    },
    /// Code 6. What I store of this space; what do you?
    Parity {
        /// The space.
        tag: SpaceTag,
        /// The asking side's, made out to the responder.
        statement: Statement,
    },
    /// Code 11. An audit begins: this binds me to what I store; what binds you?
    Commit {
        /// The space.
        tag: SpaceTag,
        /// The asking side's [`commitment`](crate::commitment).
        commitment: [u8; 32],
    },
    /// Code 12. What I am bound to. What are you, and do you have these records?
    Prove {
        /// The space.
        tag: SpaceTag,
        /// The secret of the asking side's commitment.
        secret: [u8; 32],
        /// What it stored then.
        parity: Parity,
        /// Records to be proved, in ascending order, without repetition, at most
        /// [`limits::AUDIT_RECORDS`].
        ids: Vec<RecordId>,
    },
}

/// What the other answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Code 1. The answer to a hello.
    Hello(Hello),
    /// Code 2. The spaces that are shared.
    Spaces {
        /// Positions in the list of tags asked about, ascending.
        shared: Vec<u16>,
    },
    /// Code 3. The responder's side of a round.
    Reconcile {
        /// What [`respond`](crate::respond) made, at most [`limits::RECONCILE_BYTES`].
        message: ByteBuf,
    },
    /// Code 4. As many of the records asked for as found room.
    Records(Page),
    /// Code 10. The first records of the range asked for.
    Range {
        /// Encoded records in ascending order of their ids, at most [`limits::PAGE_RECORDS`].
        records: Vec<ByteBuf>,
        /// Where to go on: above the last record, and below the range's end. `None` when there are
        /// no more.
        next: Option<RecordId>,
    },
    /// Code 5. What became of each pushed record, in the order they came.
    Pushed {
        /// At most [`limits::PAGE_RECORDS`].
        verdicts: Vec<PushVerdict>,
    },
    /// Code 6. What the responder stores of the space.
    Parity {
        /// The responder's, made out to the asking side.
        statement: Statement,
    },
    /// Code 11. The responder's side of a commitment.
    Commit {
        /// Its [`commitment`](crate::commitment).
        commitment: [u8; 32],
    },
    /// Code 12. What the responder was bound to, and what it has.
    Proved {
        /// The secret of its commitment.
        secret: [u8; 32],
        /// What it stored then.
        parity: Parity,
        /// A [`proof`](crate::proof) for each record, in their order, `None` where it has none to
        /// give; at most [`limits::AUDIT_RECORDS`].
        proofs: Vec<Option<[u8; 32]>>,
    },
    /// Code 7. No such space here, or not for you: the two are not told apart.
    Unknown,
    /// Code 8. The request will not be answered, now or later.
    Refused {
        /// Why.
        reason: Refusal,
    },
    /// Code 9. Not now: ask again after a pause.
    Busy,
}

/// Who a peer says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Version of the federation protocol within `/ocm/1`: 1.
    pub version: u64,
    /// Name and version of the software, for people to read; at most [`limits::AGENT_BYTES`], no
    /// control characters.
    pub agent: String,
    /// Random bytes, fresh for each connection, that go into space tags.
    pub nonce: [u8; 32],
    /// The certificate that binds PeerId and DID, undecoded; at most
    /// [`limits::CERTIFICATE_BYTES`].
    pub certificate: ByteBuf,
    /// Kinds of record that have an effect here, ascending, without repetition, at most
    /// [`limits::KINDS`].
    pub kinds: Vec<u64>,
}

/// Why a request is refused. Values that this version does not know are kept as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refusal(pub u64);

impl Refusal {
    /// The request could not be read.
    pub const MALFORMED: Self = Self(1);
    /// The request has a code that this version does not know.
    pub const UNSUPPORTED: Self = Self(2);
    /// A hello has to come first, and its certificate to be acceptable.
    pub const HELLO: Self = Self(3);
    /// Too many requests of this sort: the peer did not heed an earlier [`Response::Busy`].
    pub const FLOOD: Self = Self(4);
    /// The responder's own fault: its store cannot be read.
    pub const INTERNAL: Self = Self(5);
}

/// What became of a pushed record, as the receiver's admission decided
/// (`protocols/README.md`, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PushVerdict {
    /// Code 0. Admitted.
    Accept,
    /// Code 1. Already there, or in flight.
    Duplicate,
    /// Code 2. Something is missing: it may be admitted later.
    Hold,
    /// Code 3. Provably bad.
    Reject,
    /// Code 4. Its author had no right.
    Refuse,
}

/// Why bytes are no message, or a message is not to be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than a message may be.
    #[error("a message has at most {max} bytes, this has {0}: ask for less", max = limits::MESSAGE_BYTES)]
    Long(usize),
    /// A code that this version does not know. Answer a request with [`Refusal::UNSUPPORTED`].
    #[error("the message code {0} is not known to this version")]
    Code(u8),
    /// Not canonical, or not of the shape that its code tells.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// A part is over its limit.
    #[error("{what}: {found} is over the limit of {limit}")]
    Limit {
        /// Which part, with its unit.
        what: &'static str,
        /// What it has.
        found: usize,
        /// What it may have.
        limit: usize,
    },
    /// A list that must ascend does not, or repeats an item.
    #[error("{0} must ascend without repetition")]
    Order(&'static str),
    /// A part has a value that it cannot have.
    #[error("{0}")]
    Value(&'static str),
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), MessageError> {
    if found <= limit { Ok(()) } else { Err(MessageError::Limit { what, found, limit }) }
}

fn ascending<T: PartialOrd>(what: &'static str, items: &[T]) -> Result<(), MessageError> {
    if items.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(MessageError::Order(what)) }
}

fn check_records(records: &[ByteBuf]) -> Result<(), MessageError> {
    within("records", records.len(), limits::PAGE_RECORDS)?;
    let longest = records.iter().map(|record| record.len()).max().unwrap_or(0);
    within("bytes of a record", longest, ocm_record::limits::RECORD_BYTES)
}

fn check_ids(what: &'static str, ids: &[RecordId]) -> Result<(), MessageError> {
    within(what, ids.len(), limits::PAGE_RECORDS)?;
    ascending(what, ids)
}

impl Hello {
    fn check(&self) -> Result<(), MessageError> {
        within("bytes of the agent text", self.agent.len(), limits::AGENT_BYTES)?;
        if self.agent.chars().any(char::is_control) {
            return Err(MessageError::Value("the agent text has control characters"));
        }
        within("bytes of the certificate", self.certificate.len(), limits::CERTIFICATE_BYTES)?;
        within("kinds", self.kinds.len(), limits::KINDS)?;
        ascending("kinds", &self.kinds)
    }
}

impl Request {
    fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Hello(hello) => hello.check(),
            Self::Spaces { tags } => {
                within("tags", tags.len(), limits::TAGS)?;
                ascending("tags", tags)
            }
            Self::Reconcile { message, .. } => {
                within("bytes of reconciliation", message.len(), limits::RECONCILE_BYTES)
            }
            Self::Fetch { ids, .. } => check_ids("ids", ids),
            Self::Push { records, .. } => check_records(records),
            Self::Range { span, .. } if span.to <= span.from => {
                Err(MessageError::Value("a range ends above its beginning"))
            }
            Self::Prove { ids, .. } => {
                within("ids to be proved", ids.len(), limits::AUDIT_RECORDS)?;
                ascending("ids to be proved", ids)
            }
            Self::Range { .. } | Self::Parity { .. } | Self::Commit { .. } => Ok(()),
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// When a part is over its limit or out of order: nothing that a peer would refuse is sent.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        self.check()?;
        wire::within_limit(wire::encode_request(self))
    }

    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it. It is the sender's fault, except [`MessageError::Code`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let request = wire::decode_request(bytes)?;
        request.check()?;
        Ok(request)
    }
}

impl Response {
    fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Hello(hello) => hello.check(),
            Self::Spaces { shared } => {
                within("shared spaces", shared.len(), limits::TAGS)?;
                within(
                    "the position of a tag",
                    shared.last().copied().unwrap_or(0).into(),
                    limits::TAGS - 1,
                )?;
                ascending("positions of tags", shared)
            }
            Self::Reconcile { message } => {
                within("bytes of reconciliation", message.len(), limits::RECONCILE_BYTES)
            }
            Self::Records(page) => {
                check_records(&page.records)?;
                check_ids("absent ids", &page.absent)
            }
            Self::Range { records, .. } => check_records(records),
            Self::Pushed { verdicts } => within("verdicts", verdicts.len(), limits::PAGE_RECORDS),
            Self::Proved { proofs, .. } => within("proofs", proofs.len(), limits::AUDIT_RECORDS),
            Self::Parity { .. }
            | Self::Commit { .. }
            | Self::Unknown
            | Self::Refused { .. }
            | Self::Busy => Ok(()),
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// When a part is over its limit or out of order: nothing that a peer would refuse is sent.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        self.check()?;
        wire::within_limit(wire::encode_response(self))
    }

    /// Reads a response.
    ///
    /// # Errors
    /// What is wrong with it; it is the sender's fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let response = wire::decode_response(bytes)?;
        response.check()?;
        Ok(response)
    }
}

#[cfg(test)]
mod tests;
