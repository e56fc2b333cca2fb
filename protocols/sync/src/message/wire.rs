//! Codes and arrays: the form of messages as bytes.

use std::fmt;
use std::marker::PhantomData;

use ocm_record::{RecordId, Set, from_canonical, to_canonical};
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteArray, ByteBuf};

use super::{Hello, MessageError, Page, PushVerdict, Refusal, Request, Response};
use crate::limits;
use crate::parity::Parity;
use crate::set::Span;
use crate::statement::Statement;

/// 32 bytes, a byte string in CBOR.
pub(crate) type Hash = ByteArray<32>;

const HELLO: u8 = 1;
const SPACES: u8 = 2;
const RECONCILE: u8 = 3;
const RECORDS: u8 = 4;
const PUSH: u8 = 5;
const PARITY: u8 = 6;
const UNKNOWN: u8 = 7;
const REFUSED: u8 = 8;
const BUSY: u8 = 9;
const RANGE: u8 = 10;
const COMMIT: u8 = 11;
const PROVE: u8 = 12;

/// A list of at most `MAX` items: reading stops at the first item too many, whatever the list's
/// head promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T, const MAX: usize>(pub(crate) Vec<T>);

impl<T: Serialize, const MAX: usize> Serialize for List<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = List<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == MAX {
                        return Err(A::Error::custom(format!("a list has at most {MAX} items")));
                    }
                    items.push(item);
                }
                Ok(List(items))
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

type Ids = List<RecordId, { limits::PAGE_RECORDS }>;
type Records = List<ByteBuf, { limits::PAGE_RECORDS }>;
type AuditIds = List<RecordId, { limits::AUDIT_RECORDS }>;
type Proofs = List<Option<Hash>, { limits::AUDIT_RECORDS }>;
type Tags = List<Hash, { limits::TAGS }>;

type HelloWire = (u8, u64, String, Hash, ByteBuf, List<u64, { limits::KINDS }>);

pub(super) fn within_limit(bytes: Vec<u8>) -> Result<Vec<u8>, MessageError> {
    if bytes.len() <= limits::MESSAGE_BYTES {
        Ok(bytes)
    } else {
        Err(MessageError::Long(bytes.len()))
    }
}

/// The code of a message: the second byte, as all arrays and all codes here are short.
fn code(bytes: &[u8]) -> Result<u8, MessageError> {
    if bytes.len() > limits::MESSAGE_BYTES {
        return Err(MessageError::Long(bytes.len()));
    }
    match bytes {
        [0x81..=0x97, code @ 0..=23, ..] => Ok(*code),
        _ => Err(MessageError::Value("a message is a short array that begins with its code")),
    }
}

fn read<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, MessageError> {
    from_canonical(bytes).map_err(MessageError::from)
}

fn encode_hello(hello: &Hello) -> Vec<u8> {
    to_canonical(&(
        HELLO,
        hello.version,
        &hello.agent,
        Hash::new(hello.nonce),
        &hello.certificate,
        &hello.kinds,
    ))
}

fn decode_hello(bytes: &[u8]) -> Result<Hello, MessageError> {
    let (_, version, agent, nonce, certificate, List(kinds)): HelloWire = read(bytes)?;
    Ok(Hello { version, agent, nonce: nonce.into_array(), certificate, kinds })
}

pub(crate) fn set_code(set: Set) -> u8 {
    match set {
        Set::Authority => 0,
        Set::Content => 1,
    }
}

pub(crate) fn set_of(code: u8) -> Result<Set, MessageError> {
    match code {
        0 => Ok(Set::Authority),
        1 => Ok(Set::Content),
        _ => Err(MessageError::Value("a set is 0 (authority) or 1 (content)")),
    }
}

fn verdict_code(verdict: PushVerdict) -> u8 {
    match verdict {
        PushVerdict::Accept => 0,
        PushVerdict::Duplicate => 1,
        PushVerdict::Hold => 2,
        PushVerdict::Reject => 3,
        PushVerdict::Refuse => 4,
    }
}

fn verdict_of(code: u8) -> Result<PushVerdict, MessageError> {
    match code {
        0 => Ok(PushVerdict::Accept),
        1 => Ok(PushVerdict::Duplicate),
        2 => Ok(PushVerdict::Hold),
        3 => Ok(PushVerdict::Reject),
        4 => Ok(PushVerdict::Refuse),
        _ => Err(MessageError::Value("a verdict is one of 0 to 4")),
    }
}

pub(super) fn encode_request(request: &Request) -> Vec<u8> {
    match request {
        Request::Hello(hello) => encode_hello(hello),
        Request::Spaces { tags } => {
            let tags: Vec<Hash> = tags.iter().map(|tag| Hash::new(*tag)).collect();
            to_canonical(&(SPACES, tags))
        }
        Request::Reconcile { tag, set, message, room } => {
            to_canonical(&(RECONCILE, Hash::new(*tag), set_code(*set), message, room))
        }
        Request::Fetch { tag, ids, room } => to_canonical(&(RECORDS, Hash::new(*tag), ids, room)),
        Request::Range { tag, set, span, room } => {
            to_canonical(&(RANGE, Hash::new(*tag), set_code(*set), span.from, span.to, room))
        }
        Request::Push { tag, records } => to_canonical(&(PUSH, Hash::new(*tag), records)),
        Request::Parity { tag, statement } => to_canonical(&(PARITY, Hash::new(*tag), statement)),
        Request::Commit { tag, commitment } => {
            to_canonical(&(COMMIT, Hash::new(*tag), Hash::new(*commitment)))
        }
        Request::Prove { tag, secret, parity, ids } => {
            to_canonical(&(PROVE, Hash::new(*tag), Hash::new(*secret), parity, ids))
        }
    }
}

pub(super) fn decode_request(bytes: &[u8]) -> Result<Request, MessageError> {
    Ok(match code(bytes)? {
        HELLO => Request::Hello(decode_hello(bytes)?),
        SPACES => {
            let (_, List(tags)): (u8, Tags) = read(bytes)?;
            Request::Spaces { tags: tags.into_iter().map(ByteArray::into_array).collect() }
        }
        RECONCILE => {
            let (_, tag, set, message, room): (u8, Hash, u8, ByteBuf, u32) = read(bytes)?;
            Request::Reconcile { tag: tag.into_array(), set: set_of(set)?, message, room }
        }
        RECORDS => {
            let (_, tag, List(ids), room): (u8, Hash, Ids, u32) = read(bytes)?;
            Request::Fetch { tag: tag.into_array(), ids, room }
        }
        RANGE => {
            let (_, tag, set, from, to, room): (u8, Hash, u8, RecordId, RecordId, u32) =
                read(bytes)?;
            let (tag, span) = (tag.into_array(), Span { from, to });
            Request::Range { tag, set: set_of(set)?, span, room }
        }
        PUSH => {
            let (_, tag, List(records)): (u8, Hash, Records) = read(bytes)?;
            Request::Push { tag: tag.into_array(), records }
        }
        PARITY => {
            let (_, tag, statement): (u8, Hash, Statement) = read(bytes)?;
            Request::Parity { tag: tag.into_array(), statement }
        }
        COMMIT => {
            let (_, tag, commitment): (u8, Hash, Hash) = read(bytes)?;
            Request::Commit { tag: tag.into_array(), commitment: commitment.into_array() }
        }
        PROVE => {
            let (_, tag, secret, parity, List(ids)): (u8, Hash, Hash, Parity, AuditIds) =
                read(bytes)?;
            Request::Prove { tag: tag.into_array(), secret: secret.into_array(), parity, ids }
        }
        other => return Err(MessageError::Code(other)),
    })
}

pub(super) fn encode_response(response: &Response) -> Vec<u8> {
    match response {
        Response::Hello(hello) => encode_hello(hello),
        Response::Spaces { shared } => to_canonical(&(SPACES, shared)),
        Response::Reconcile { message } => to_canonical(&(RECONCILE, message)),
        Response::Records(page) => to_canonical(&(RECORDS, &page.records, &page.absent)),
        Response::Range { records, next } => to_canonical(&(RANGE, records, next)),
        Response::Pushed { verdicts } => {
            let codes: Vec<u8> = verdicts.iter().map(|verdict| verdict_code(*verdict)).collect();
            to_canonical(&(PUSH, codes))
        }
        Response::Parity { statement } => to_canonical(&(PARITY, statement)),
        Response::Commit { commitment } => to_canonical(&(COMMIT, Hash::new(*commitment))),
        Response::Proved { secret, parity, proofs } => {
            let proofs: Vec<Option<Hash>> = proofs.iter().map(|p| p.map(Hash::new)).collect();
            to_canonical(&(PROVE, Hash::new(*secret), parity, proofs))
        }
        Response::Unknown => to_canonical(&(UNKNOWN,)),
        Response::Refused { reason } => to_canonical(&(REFUSED, reason.0)),
        Response::Busy => to_canonical(&(BUSY,)),
    }
}

pub(super) fn decode_response(bytes: &[u8]) -> Result<Response, MessageError> {
    Ok(match code(bytes)? {
        HELLO => Response::Hello(decode_hello(bytes)?),
        SPACES => {
            let (_, List(shared)): (u8, List<u16, { limits::TAGS }>) = read(bytes)?;
            Response::Spaces { shared }
        }
        RECONCILE => {
            let (_, message): (u8, ByteBuf) = read(bytes)?;
            Response::Reconcile { message }
        }
        RECORDS => {
            let (_, List(records), List(absent)): (u8, Records, Ids) = read(bytes)?;
            Response::Records(Page { records, absent })
        }
        RANGE => {
            let (_, List(records), next): (u8, Records, Option<RecordId>) = read(bytes)?;
            Response::Range { records, next }
        }
        PUSH => {
            let (_, List(codes)): (u8, List<u8, { limits::PAGE_RECORDS }>) = read(bytes)?;
            let verdicts = codes.into_iter().map(verdict_of).collect::<Result<_, _>>()?;
            Response::Pushed { verdicts }
        }
        PARITY => {
            let (_, statement): (u8, Statement) = read(bytes)?;
            Response::Parity { statement }
        }
        COMMIT => {
            let (_, commitment): (u8, Hash) = read(bytes)?;
            Response::Commit { commitment: commitment.into_array() }
        }
        PROVE => {
            let (_, secret, parity, List(proofs)): (u8, Hash, Parity, Proofs) = read(bytes)?;
            let proofs = proofs.into_iter().map(|p| p.map(ByteArray::into_array)).collect();
            Response::Proved { secret: secret.into_array(), parity, proofs }
        }
        UNKNOWN => {
            let (_,): (u8,) = read(bytes)?;
            Response::Unknown
        }
        REFUSED => {
            let (_, reason): (u8, u64) = read(bytes)?;
            Response::Refused { reason: Refusal(reason) }
        }
        BUSY => {
            let (_,): (u8,) = read(bytes)?;
            Response::Busy
        }
        other => return Err(MessageError::Code(other)),
    })
}
