//! Signed and verified records: trust as a type.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::body::{Body, BodyError};
use crate::cbor::{NotCanonical, from_canonical, to_canonical};
use crate::did::Did;
use crate::header::{Boot, Header, Kind, Set, Wire, other_tag};
use crate::id::{MemoryId, RecordId, SpaceId};
use crate::key::{KeyError, PublicKey, Signature, SigningKey};
use crate::limits;
use crate::time::Time;
use crate::unsigned::UnsignedRecord;

/// Why bytes are no record. Provable from the bytes alone, save [`Malformed::Version`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Larger than a record may be.
    #[error("{what} has {bytes} bytes, at most {limit} are allowed")]
    Size {
        /// Which part.
        what: &'static str,
        /// What it has.
        bytes: usize,
        /// What it may have.
        limit: usize,
    },
    /// Not the canonical encoding of a record.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// A rule of form is broken.
    #[error("a rule of form is broken: {0}")]
    Rule(&'static str),
    /// Another version of the record. No fault of the sender: it is held, not rejected.
    #[error("record version {0:?} is unknown to this version of ocm; upgrade to read it")]
    Version(String),
}

/// Why a record of good form is not what it claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The body is not the one that the header commits to.
    #[error("the body does not match the hash and size in the header")]
    Body,
    /// The key is no acceptable key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature is not the key's over this header.
    #[error("the signature is not valid for this header and key")]
    Signature,
}

struct Parts {
    id: RecordId,
    header: Header,
    signature: Signature,
    /// The record, on the wire and on disk.
    encoded: Vec<u8>,
    /// Where in it the header's bytes lie, and those of the body.
    header_at: Range<usize>,
    body_at: Option<Range<usize>>,
}

/// A record of good form that nobody has checked yet. It shows its place (ids, links, times) so
/// that the cheap checks come first, and neither its author nor its body.
#[derive(Clone)]
pub struct SignedRecord(Arc<Parts>);

/// A record whose body hash and signature were checked. [`SignedRecord::verify`] and
/// [`verify_batch`] are its only doors ([`sign`] and [`sign_batch`] lead through them). Cloning is
/// cheap.
#[derive(Clone)]
pub struct VerifiedRecord(Arc<Parts>);

#[derive(Serialize, Deserialize)]
struct RecordWire<'a>(#[serde(borrow)] &'a Bytes, Signature, #[serde(borrow)] Option<&'a Bytes>);

impl Parts {
    fn decode(encoded: Vec<u8>) -> Result<Self, Malformed> {
        let RecordWire(header_bytes, signature, body) = from_canonical(&encoded)?;
        let header = decode_header(header_bytes)?;
        let within = |what, bytes: usize, limit| {
            if bytes <= limit { Ok(()) } else { Err(Malformed::Size { what, bytes, limit }) }
        };
        within("the body", body.map_or(0, |body| body.len()), limits::BODY_BYTES)?;
        if body.is_none() && header.kind != Kind::CHANGE {
            return Err(Malformed::Rule("only a change may come without its body"));
        }
        let id = RecordId::of_header(header.time, header_bytes);
        let place = |part: &Bytes| {
            let from = part.as_ptr().addr() - encoded.as_ptr().addr();
            from..from + part.len()
        };
        let (header_at, body_at) = (place(header_bytes), body.map(place));
        Ok(Self { id, header, signature, encoded, header_at, body_at })
    }

    fn header_bytes(&self) -> &[u8] {
        &self.encoded[self.header_at.clone()]
    }

    fn body(&self) -> Option<&[u8]> {
        self.body_at.clone().map(|at| &self.encoded[at])
    }

    fn check_body(&self) -> Result<(), VerifyError> {
        match self.body() {
            Some(body)
                if body.len() != self.header.size as usize
                    || <[u8; 32]>::from(Sha256::digest(body)) != self.header.body =>
            {
                Err(VerifyError::Body)
            }
            _ => Ok(()),
        }
    }
}

impl SignedRecord {
    /// Puts together what was made here: a header that keeps the rules, its bytes, and the body.
    pub(crate) fn assemble(
        id: RecordId,
        header: Header,
        header_bytes: &[u8],
        signature: Signature,
        body: &[u8],
    ) -> Self {
        let wire = RecordWire(Bytes::new(header_bytes), signature, Some(Bytes::new(body)));
        let encoded = to_canonical(&wire);
        // After the array's head comes the header with a head of its own, and the body is last.
        let header_at = 1 + head_length(header_bytes.len());
        let header_at = header_at..header_at + header_bytes.len();
        let body_at = Some(encoded.len() - body.len()..encoded.len());
        Self(Arc::new(Parts { id, header, signature, encoded, header_at, body_at }))
    }

    /// Reads a record, checking size, canonical form and the rules that the header alone can
    /// break. Nothing is verified yet.
    ///
    /// # Errors
    /// What is wrong; all but [`Malformed::Version`] is the sender's fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > limits::RECORD_BYTES {
            return Err(Malformed::Size {
                what: "the record",
                bytes: bytes.len(),
                limit: limits::RECORD_BYTES,
            });
        }
        Parts::decode(bytes.to_vec()).map(Arc::new).map(Self)
    }

    /// The bytes, on the wire and on disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.encoded.clone()
    }

    /// The name of this very copy: SHA-256 of header, signature and body. Caches of what is in
    /// flight or was refused key on it, because a garbage copy has the true record's id.
    #[must_use]
    pub fn copy_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0.encoded).into()
    }

    /// The id that the header's bytes give.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.0.id
    }

    /// The space it says it belongs to; a genesis belongs to the space it begins.
    #[must_use]
    pub fn space(&self) -> SpaceId {
        space_of(&self.0)
    }

    /// The kind it says it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.header.kind
    }

    /// Whether it is a change that starts a memory.
    #[must_use]
    pub fn begins_memory(&self) -> bool {
        self.0.header.kind == Kind::CHANGE && self.0.header.memory.is_none()
    }

    /// The records that must be there before it: `deps`, then `auth`.
    pub fn needs(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.0.header.deps.iter().chain(&self.0.header.auth).copied()
    }

    /// Whether it comes with its body.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.0.body_at.is_some()
    }

    /// Checks body hash, key and signature.
    ///
    /// # Errors
    /// The first that fails. The copy is worthless; the record may exist in a true copy.
    pub fn verify(self) -> Result<VerifiedRecord, VerifyError> {
        self.0.check_body()?;
        self.0.header.key.check()?;
        self.verify_with(PublicKey::verifies_unchecked)
    }

    /// Checks the signature as told; the body was checked.
    fn verify_with(
        self,
        verifies: impl FnOnce(&PublicKey, &[u8], &Signature) -> bool,
    ) -> Result<VerifiedRecord, VerifyError> {
        if verifies(&self.0.header.key, self.0.header_bytes(), &self.0.signature) {
            Ok(VerifiedRecord(self.0))
        } else {
            Err(VerifyError::Signature)
        }
    }
}

/// Verifies many records at once: the same verdicts as [`SignedRecord::verify`] gives one by one,
/// two to four times as fast. A batch that fails is split until the bad ones are found.
#[must_use]
pub fn verify_batch(records: Vec<SignedRecord>) -> Vec<Result<VerifiedRecord, VerifyError>> {
    let mut keys: BTreeMap<PublicKey, Result<(), KeyError>> = BTreeMap::new();
    let mut verdicts: Vec<Result<(), VerifyError>> = records
        .iter()
        .map(|record| {
            record.0.check_body()?;
            let key = record.0.header.key;
            (*keys.entry(key).or_insert_with(|| key.check())).map_err(VerifyError::Key)
        })
        .collect();
    let open: Vec<usize> = (0..records.len()).filter(|i| verdicts[*i].is_ok()).collect();
    bisect(&records, &open, &mut verdicts);
    records
        .into_iter()
        .zip(verdicts)
        .map(|(record, verdict)| verdict.map(|()| VerifiedRecord(record.0)))
        .collect()
}

/// Signs a record, and verifies what came of it as any other; the key is read already.
///
/// # Errors
/// As [`SignedRecord::verify`]: when the record was prepared for another key.
pub fn sign(record: UnsignedRecord, key: &SigningKey) -> Result<VerifiedRecord, VerifyError> {
    let record = record.sign(key);
    record.0.check_body()?;
    record.verify_with(|named, header, signature| {
        *named == key.public() && key.verifies(header, signature)
    })
}

/// Signs many records, and verifies what came of it as any other batch.
#[must_use]
pub fn sign_batch(
    records: Vec<UnsignedRecord>,
    key: &SigningKey,
) -> Vec<Result<VerifiedRecord, VerifyError>> {
    verify_batch(records.into_iter().map(|record| record.sign(key)).collect())
}

fn bisect(records: &[SignedRecord], open: &[usize], verdicts: &mut [Result<(), VerifyError>]) {
    match open {
        [] => {}
        [one] => {
            let record = &records[*one].0;
            if !record.header.key.verifies_unchecked(record.header_bytes(), &record.signature) {
                verdicts[*one] = Err(VerifyError::Signature);
            }
        }
        many => {
            if !batch_verifies(records, many) {
                let (left, right) = many.split_at(many.len() / 2);
                bisect(records, left, verdicts);
                bisect(records, right, verdicts);
            }
        }
    }
}

/// The batch equation. Its random factors are drawn from a hash of everything they must not be
/// foreseen by: keys, signatures and messages (the id commits to the message).
fn batch_verifies(records: &[SignedRecord], chosen: &[usize]) -> bool {
    let mut transcript = Sha256::new_with_prefix(b"ocm/1/batch");
    let mut batch = ed25519_zebra::batch::Verifier::new();
    for &i in chosen {
        let record = &records[i].0;
        transcript.update(record.header.key.as_bytes());
        transcript.update(record.signature.as_bytes());
        transcript.update(record.id.as_bytes());
        let key = ed25519_zebra::VerificationKeyBytes::from(*record.header.key.as_bytes());
        batch.queue((key, record.signature.to_zebra(), record.header_bytes()));
    }
    batch.verify(ChaCha20Rng::from_seed(transcript.finalize().into())).is_ok()
}

impl VerifiedRecord {
    /// The id.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.0.id
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.0.header
    }

    /// The canonical bytes of the header.
    #[must_use]
    pub fn header_bytes(&self) -> &[u8] {
        self.0.header_bytes()
    }

    /// The signature over [`Self::header_bytes`].
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.0.signature
    }

    /// The space it belongs to; for a genesis the space it begins.
    #[must_use]
    pub fn space(&self) -> SpaceId {
        space_of(&self.0)
    }

    /// The memory it belongs to; for a change that starts one, that memory.
    #[must_use]
    pub fn memory(&self) -> Option<MemoryId> {
        match (self.0.header.kind, self.0.header.memory) {
            (Kind::CHANGE, None) => Some(MemoryId(self.0.id)),
            (_, memory) => memory,
        }
    }

    /// The set it belongs to.
    #[must_use]
    pub fn set(&self) -> Set {
        self.0.header.kind.set()
    }

    /// Who speaks.
    #[must_use]
    pub fn author(&self) -> Did {
        self.0.header.author()
    }

    /// The log it stands in, without the space.
    #[must_use]
    pub fn log(&self) -> (PublicKey, Boot) {
        (self.0.header.key, self.0.header.boot)
    }

    /// The time.
    #[must_use]
    pub fn time(&self) -> Time {
        self.0.header.time
    }

    /// The bytes of the body; `None` when it is missing.
    #[must_use]
    pub fn body_bytes(&self) -> Option<&[u8]> {
        self.0.body()
    }

    /// The body, read; `None` when it is missing.
    ///
    /// # Errors
    /// When the bytes, though they match their hash, are not a body: the record has no effect.
    pub fn body(&self) -> Option<Result<Body, BodyError>> {
        self.body_bytes().map(Body::decode)
    }

    /// The bytes, on the wire and on disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.encoded.clone()
    }

    /// The bytes without the body: what announces a record that is too large to be sent unasked.
    /// Only a change has such a form.
    #[must_use]
    pub fn encode_without_body(&self) -> Vec<u8> {
        to_canonical(&RecordWire(Bytes::new(self.0.header_bytes()), self.0.signature, None))
    }
}

/// Bytes of the head of a byte string in CBOR; the largest here has less than 64 KiB.
fn head_length(length: usize) -> usize {
    match length {
        0..24 => 1,
        24..0x100 => 2,
        _ => 3,
    }
}

fn space_of(parts: &Parts) -> SpaceId {
    if parts.header.kind == Kind::GENESIS { SpaceId(parts.id) } else { parts.header.space }
}

fn decode_header(bytes: &[u8]) -> Result<Header, Malformed> {
    if bytes.len() > limits::HEADER_BYTES {
        return Err(Malformed::Size {
            what: "the header",
            bytes: bytes.len(),
            limit: limits::HEADER_BYTES,
        });
    }
    match from_canonical::<Wire>(bytes) {
        Ok(wire) => Header::from_wire(wire),
        Err(e) => Err(other_version(bytes).unwrap_or(Malformed::NotCanonical(e))),
    }
}

/// The version in the head of an array that is no header of ours.
fn other_version(bytes: &[u8]) -> Option<Malformed> {
    use ipld_core::ipld::Ipld;
    let Ok(Ipld::List(items)) = from_canonical::<Ipld>(bytes) else { return None };
    match items.first() {
        Some(Ipld::String(tag)) => other_tag(tag),
        _ => None,
    }
}

impl fmt::Debug for SignedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedRecord({})", self.0.id)
    }
}

impl fmt::Debug for VerifiedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedRecord")
            .field("id", &self.0.id)
            .field("header", &self.0.header)
            .finish_non_exhaustive()
    }
}
