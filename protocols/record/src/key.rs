//! Ed25519 keys and signatures, under one validity rule.
//!
//! The rule is ZIP 215 (<https://zips.z.cash/zip-0215>: the cofactored equation), with public keys
//! of small order and public keys not encoded canonically refused. Single and batch verification
//! agree under it by construction, so no two nodes can differ over a crafted signature.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

/// An Ed25519 public key, as bytes. Whether the bytes are an acceptable key is decided by
/// [`PublicKey::check`], which every verification calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(ByteArray<32>);

/// An Ed25519 signature, as bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature(ByteArray<64>);

/// Why bytes are no acceptable public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The y coordinate is not below 2^255 - 19: a second encoding of some point.
    #[error("the public key is not encoded canonically")]
    NotCanonical,
    /// No point of the curve has these bytes.
    #[error("the public key is no point of the curve")]
    NotAPoint,
    /// One signature under such a key can be valid for many messages.
    #[error("the public key has small order")]
    SmallOrder,
}

impl PublicKey {
    /// A key with exactly these bytes, not yet checked.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(ByteArray::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this is a key that signatures may be verified under.
    ///
    /// # Errors
    /// What is wrong with it; a record under such a key is rejected everywhere.
    pub fn check(&self) -> Result<(), KeyError> {
        if !below_field_prime(self.as_bytes()) {
            return Err(KeyError::NotCanonical);
        }
        let point = ed25519_dalek::VerifyingKey::from_bytes(self.as_bytes())
            .map_err(|_| KeyError::NotAPoint)?;
        if point.is_weak() { Err(KeyError::SmallOrder) } else { Ok(()) }
    }

    /// Whether `signature` over `message` is valid under this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        self.check().is_ok() && self.verifies_unchecked(message, signature)
    }

    /// The key, ready to verify with; `None` where it does not pass [`Self::check`].
    fn read(&self) -> Option<ed25519_zebra::VerificationKey> {
        self.check().ok()?;
        ed25519_zebra::VerificationKey::try_from(*self.as_bytes()).ok()
    }

    /// As [`Self::verifies`], for a key known to pass [`Self::check`].
    pub(crate) fn verifies_unchecked(&self, message: &[u8], signature: &Signature) -> bool {
        ed25519_zebra::VerificationKey::try_from(*self.as_bytes())
            .is_ok_and(|key| key.verify(&signature.to_zebra(), message).is_ok())
    }
}

/// Whether the 255-bit little-endian number in `bytes` is below the field's prime, 2^255 - 19.
fn below_field_prime(bytes: &[u8; 32]) -> bool {
    let top = bytes[31] & 0x7f;
    !(top == 0x7f && bytes[1..31].iter().all(|b| *b == 0xff) && bytes[0] >= 0xed)
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(self.as_bytes()))
    }
}

impl Signature {
    /// Bytes of a signature.
    pub const LEN: usize = 64;

    /// A signature with exactly these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(ByteArray::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    pub(crate) fn to_zebra(self) -> ed25519_zebra::Signature {
        ed25519_zebra::Signature::from(*self.as_bytes())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(self.as_bytes()))
    }
}

/// A secret key. Its `Debug` shows the public half only; the secret is wiped when dropped.
#[derive(Clone)]
pub struct SigningKey {
    secret: ed25519_dalek::SigningKey,
    /// The public half, read already, which is a part of verifying.
    public: Option<Arc<ed25519_zebra::VerificationKey>>,
}

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = PublicKey::from_bytes(secret.verifying_key().to_bytes()).read().map(Arc::new);
        Self { secret, public }
    }

    /// The seed, to be kept in a file that only its owner can read.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.secret.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes(self.secret.verifying_key().to_bytes())
    }

    /// Signs a message; the same key and message give the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        use ed25519_dalek::Signer as _;
        Signature::from_bytes(self.secret.sign(message).to_bytes())
    }

    /// As [`PublicKey::verifies`] of the public half.
    pub(crate) fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        self.public.as_ref().is_some_and(|key| key.verify(&signature.to_zebra(), message).is_ok())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {:?}", self.public())
    }
}
