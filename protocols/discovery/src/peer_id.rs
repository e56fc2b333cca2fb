//! The libp2p identity of a node.

use std::fmt;
use std::str::FromStr;

use multibase::Base;
use ocm_record::PublicKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The name of a peer: the Ed25519 public key its transport proves. It says nothing about who
/// speaks in a record. Only Ed25519 peers have a name here.
///
/// Its 38 bytes are an identity multihash of the key in libp2p's protobuf form
/// (<https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md>); its text is base58btc of
/// those, and begins with `12D3Koo`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(PublicKey);

/// Multihash code identity, length 36; protobuf: type Ed25519, 32 bytes of data.
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Characters of the longest text that can be a PeerId, with room to spare.
const TEXT_LIMIT: usize = 64;

/// Why bytes or a text name no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdError {
    /// Not 38 bytes with the prefix of an Ed25519 key.
    #[error("these {0} bytes are no PeerId: 38 bytes beginning 00 24 08 01 12 20 name one")]
    Bytes(usize),
    /// Not the base58btc of such bytes.
    #[error("{0:?} is no PeerId: the PeerId of an Ed25519 key begins with 12D3Koo")]
    Text(String),
}

impl PeerId {
    /// Bytes of a PeerId.
    pub const LEN: usize = 38;

    /// The name of the peer with this key.
    #[must_use]
    pub const fn new(key: PublicKey) -> Self {
        Self(key)
    }

    /// The key that the peer's transport proves. Not checked: whatever is signed under it is.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.0
    }

    /// The 38 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..PREFIX.len()].copy_from_slice(&PREFIX);
        bytes[PREFIX.len()..].copy_from_slice(self.0.as_bytes());
        bytes
    }
}

impl From<PublicKey> for PeerId {
    fn from(key: PublicKey) -> Self {
        Self(key)
    }
}

impl TryFrom<&[u8]> for PeerId {
    type Error = PeerIdError;
    fn try_from(bytes: &[u8]) -> Result<Self, PeerIdError> {
        bytes
            .strip_prefix(&PREFIX)
            .and_then(|key| <[u8; 32]>::try_from(key).ok())
            .map(|key| Self(PublicKey::from_bytes(key)))
            .ok_or(PeerIdError::Bytes(bytes.len()))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Base::Base58Btc.encode(self.to_bytes()))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;
    fn from_str(text: &str) -> Result<Self, PeerIdError> {
        let wrong = || PeerIdError::Text(text.chars().take(TEXT_LIMIT).collect());
        if text.len() > TEXT_LIMIT {
            return Err(wrong());
        }
        let bytes = Base::Base58Btc.decode(text).map_err(|_| wrong())?;
        let peer = Self::try_from(bytes.as_slice()).map_err(|_| wrong())?;
        // Base58 has one text for each sequence of bytes; hold the decoder to it.
        if peer.to_string() == text { Ok(peer) } else { Err(wrong()) }
    }
}

/// In CBOR a byte string of 38 bytes; in JSON and TOML its text.
impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let bytes = <serde_bytes::ByteArray<{ Self::LEN }>>::deserialize(deserializer)?;
            Self::try_from(bytes.as_slice()).map_err(D::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_record::{from_canonical, to_canonical};
    use proptest::prelude::*;

    /// The Ed25519 public key of the libp2p PeerId specification's test vectors.
    const SPEC_KEY: [u8; 32] = [
        0x1e, 0xd1, 0xe8, 0xfa, 0xe2, 0xc4, 0xa1, 0x44, 0xb8, 0xbe, 0x8f, 0xd4, 0xb4, 0x7b, 0xf3,
        0xd3, 0xb3, 0x4b, 0x87, 0x1c, 0x3c, 0xac, 0xf6, 0x01, 0x0f, 0x0e, 0x42, 0xd4, 0x74, 0xfc,
        0xe2, 0x7e,
    ];

    #[test]
    fn the_key_of_the_specification_has_its_form() {
        let peer = PeerId::new(PublicKey::from_bytes(SPEC_KEY));
        let text = peer.to_string();
        assert!(text.starts_with("12D3Koo"), "{text}");
        assert_eq!(text.len(), 52);
        assert_eq!(text.parse(), Ok(peer));
        assert_eq!(to_canonical(&peer).len(), 2 + PeerId::LEN);
    }

    #[test]
    fn other_names_are_refused() {
        for text in [
            "",
            "12D3KooW",
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            "16Uiu2HAkvzWjCtxYKDQEFkxkWpvd8grkJZhcDEVRgXoTJeNfiMwa",
            "z12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
            "0OIl",
        ] {
            assert!(text.parse::<PeerId>().is_err(), "{text}");
        }
        assert!(PeerId::try_from(&[0; 38][..]).is_err());
        let long = [&PeerId::new(PublicKey::from_bytes(SPEC_KEY)).to_bytes()[..], &[0]].concat();
        assert_eq!(PeerId::try_from(long.as_slice()), Err(PeerIdError::Bytes(39)));
    }

    proptest! {
        #[test]
        fn every_form_is_read_back(key: [u8; 32]) {
            let peer = PeerId::new(PublicKey::from_bytes(key));
            prop_assert_eq!(peer.to_string().parse(), Ok(peer));
            prop_assert_eq!(PeerId::try_from(&peer.to_bytes()[..]), Ok(peer));
            prop_assert_eq!(from_canonical::<PeerId>(&to_canonical(&peer)), Ok(peer));
        }
    }
}
