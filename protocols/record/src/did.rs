//! Decentralised identifiers: who speaks.

use std::fmt;
use std::str::FromStr;

use multibase::Base;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::key::PublicKey;
use crate::limits;

/// A DID that OCM understands. Its text is canonical: two texts are the same DID exactly when
/// they are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Did {
    /// `did:key` of an Ed25519 key (W3C CCG, "The did:key Method"): needs no directory.
    Key(PublicKey),
    /// `did:plc`: 24 characters of base32 (a-z, 2-7).
    Plc([u8; 24]),
}

/// Why a text is no DID that OCM understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DidError {
    /// Another method, or no DID at all.
    #[error("{0:?} is no did:key and no did:plc")]
    Method(String),
    /// The text after `did:key:` is not the canonical base58 of an Ed25519 key.
    #[error("{0:?} is not the canonical did:key of an Ed25519 key")]
    Key(String),
    /// The text after `did:plc:` is not 24 characters of base32.
    #[error("{0:?} is no did:plc: 24 characters of a-z and 2-7 follow did:plc:")]
    Plc(String),
}

/// The multicodec of an Ed25519 public key, 0xed, as a varint.
const ED25519_PUB: [u8; 2] = [0xed, 0x01];

impl Did {
    /// The key that the DID itself names, for `did:key`.
    #[must_use]
    pub const fn key(&self) -> Option<PublicKey> {
        match self {
            Self::Key(key) => Some(*key),
            Self::Plc(_) => None,
        }
    }
}

impl From<PublicKey> for Did {
    fn from(key: PublicKey) -> Self {
        Self::Key(key)
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Key(key) => {
                let bytes = [&ED25519_PUB[..], key.as_bytes()].concat();
                format!("did:key:{}", multibase::encode(Base::Base58Btc, bytes))
            }
            Self::Plc(id) => format!("did:plc:{}", String::from_utf8_lossy(id)),
        };
        f.pad(&text)
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Did {
    type Err = DidError;
    fn from_str(text: &str) -> Result<Self, DidError> {
        let shown = || text.chars().take(100).collect::<String>();
        if text.len() > limits::DID_BYTES {
            return Err(DidError::Method(shown()));
        }
        if let Some(encoded) = text.strip_prefix("did:key:") {
            let wrong = || DidError::Key(shown());
            if encoded.len() > 64 || !encoded.starts_with('z') {
                return Err(wrong());
            }
            let (_, bytes) = multibase::decode(encoded).map_err(|_| wrong())?;
            let key: [u8; 32] = bytes
                .strip_prefix(&ED25519_PUB)
                .and_then(|key| key.try_into().ok())
                .ok_or_else(wrong)?;
            let did = Self::Key(PublicKey::from_bytes(key));
            // Base58 has one text for each sequence of bytes; hold the decoder to it.
            if did.to_string() == text { Ok(did) } else { Err(wrong()) }
        } else if let Some(id) = text.strip_prefix("did:plc:") {
            <[u8; 24]>::try_from(id.as_bytes())
                .ok()
                .filter(|id| id.iter().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')))
                .map(Self::Plc)
                .ok_or_else(|| DidError::Plc(shown()))
        } else {
            Err(DidError::Method(shown()))
        }
    }
}

impl Serialize for Did {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Did {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    /// The Ed25519 vectors of the did:key specification (W3C CCG, test vectors, ed25519-x25519).
    #[test]
    fn w3c_vectors() {
        let vectors = [
            (0, "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
            (1, "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"),
            (2, "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"),
        ];
        for (last, text) in vectors {
            let mut seed = [0; 32];
            seed[31] = last;
            let did = Did::from(SigningKey::from_seed(&seed).public());
            assert_eq!(did.to_string(), text);
            assert_eq!(text.parse(), Ok(did));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "did:web:example.com",
            "did:key:",
            "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW",
            "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
            "did:key:u7QEBaQ",
            "did:key:z16MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
            " did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
            "did:plc:short",
            "did:plc:ABCDEFGHIJKLMNOPQRSTUVWX",
            "did:plc:abcdefghijklmnopqrstuvw1",
        ] {
            assert!(text.parse::<Did>().is_err(), "{text}");
        }
        assert!("did:plc:ewvi7nxzyoun6zhxrhs64oiz".parse::<Did>().is_ok());
    }
}
