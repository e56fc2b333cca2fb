//! Keys, ids and records that are the same in every run.

use data_encoding::HEXLOWER;
use ipld_core::ipld::Ipld;
use ocm_record::{
    Body, Boot, Draft, Header, KeyError, Kind, Malformed, PublicKey, RecordId, SALT_LEN, Signature,
    SignedRecord, SigningKey, SpaceId, Time, VerifiedRecord, VerifyError, to_canonical,
};
use sha2::{Digest as _, Sha256};

/// A moment in June 2025, in milliseconds.
pub(crate) const NOW: u64 = 1_750_000_000_000;

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

/// An id that names nothing, `millis` after [`NOW`].
pub(crate) fn named(millis: u64, n: u8) -> RecordId {
    RecordId::from_parts(Time::from_millis(NOW + millis), [n; 32])
}

/// A grant in some space, alone in its log.
pub(crate) fn draft() -> Draft {
    Draft {
        space: SpaceId(named(0, 1)),
        kind: Kind::GRANT,
        memory: None,
        author: None,
        boot: Boot::from_bytes([7; 16]),
        seq: 1,
        prev: None,
        deps: vec![],
        auth: vec![],
        time: Time::from_millis(NOW + 1000),
    }
}

pub(crate) fn body(content: Ipld) -> Vec<u8> {
    Body { salt: [9; SALT_LEN], lineage: vec![], content }.encode()
}

/// A change that starts a memory, by this key, with this place in its log and this body: the
/// header alone, so that others than [`SigningKey`] can sign it.
pub(crate) fn header(key: PublicKey, seq: u64, body: &[u8]) -> Header {
    Header {
        space: SpaceId(named(0, 1)),
        kind: Kind::CHANGE,
        memory: None,
        author: None,
        key,
        boot: Boot::from_bytes([7; 16]),
        seq,
        prev: (seq > 1).then(|| named(seq, 2)),
        deps: vec![],
        auth: vec![],
        time: Time::from_millis(NOW + 1000 + seq),
        body: Sha256::digest(body).into(),
        size: u32::try_from(body.len()).unwrap(),
    }
}

/// The bytes of a record made of parts that nobody checked.
pub(crate) fn assemble(header: &[u8], signature: &[u8], body: Option<&[u8]>) -> Vec<u8> {
    let bytes = |part: &[u8]| Ipld::Bytes(part.to_vec());
    to_canonical(&Ipld::List(vec![bytes(header), bytes(signature), body.map_or(Ipld::Null, bytes)]))
}

/// A record whose header these bytes are, signed by `key` whatever they say.
pub(crate) fn signed(key: &SigningKey, header: &[u8], body: Option<&[u8]>) -> Vec<u8> {
    assemble(header, key.sign(header).as_bytes(), body)
}

pub(crate) fn signature(bytes: &[u8]) -> Signature {
    Signature::from_bytes(bytes.try_into().unwrap())
}

pub(crate) fn public(bytes: &[u8]) -> PublicKey {
    PublicKey::from_bytes(bytes.try_into().unwrap())
}

/// The name of an error in the vectors.
pub(crate) fn class_of_form(error: &Malformed) -> &'static str {
    match error {
        Malformed::Size { .. } => "size",
        Malformed::NotCanonical(_) => "not-canonical",
        Malformed::Rule(_) => "rule",
        Malformed::Version(_) => "version",
    }
}

/// The name of an error in the vectors.
pub(crate) fn class_of_key(error: KeyError) -> &'static str {
    match error {
        KeyError::NotCanonical => "key-not-canonical",
        KeyError::NotAPoint => "key-not-a-point",
        KeyError::SmallOrder => "key-small-order",
    }
}

/// The name of an error in the vectors.
pub(crate) fn class_of_proof(error: VerifyError) -> &'static str {
    match error {
        VerifyError::Body => "body",
        VerifyError::Key(error) => class_of_key(error),
        VerifyError::Signature => "signature",
    }
}

/// Decodes and verifies, or names what is wrong.
pub(crate) fn read(bytes: &[u8]) -> Result<VerifiedRecord, &'static str> {
    let record = SignedRecord::decode(bytes).map_err(|e| class_of_form(&e))?;
    record.verify().map_err(class_of_proof)
}
