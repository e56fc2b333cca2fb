//! Names of records: a time and a hash.

use std::fmt;
use std::str::FromStr;

use cid::Cid;
use cid::multihash::Multihash;
use data_encoding::BASE32HEX_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};

use crate::time::Time;

/// The name of a record: `time` (8 bytes, big-endian), then the SHA-256 of the header's bytes
/// (32 bytes). Shown as 65 characters: multibase `v` (lower-case base32hex), which sorts as the
/// bytes do. Specified in `protocols/README.md`, section 2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId([u8; 40]);

/// Why a text or a slice is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The length is not the one length there is.
    #[error("an id has 40 bytes, this has {0}")]
    Length(usize),
    /// The text is not lower-case base32hex with the prefix `v`.
    #[error("{0:?} is not an id: an id is `v` and 64 characters of 0-9 a-v")]
    Text(String),
}

impl RecordId {
    /// Bytes of an id.
    pub const LEN: usize = 40;
    /// Characters of an id as text.
    pub const TEXT_LEN: usize = 65;
    /// The lowest id: the start of every range.
    pub const MIN: Self = Self([0; 40]);
    /// The highest bytes an id could have; no admitted record has it.
    pub const MAX: Self = Self([0xff; 40]);

    /// The id of a header with this time and these bytes.
    #[must_use]
    pub fn of_header(time: Time, header: &[u8]) -> Self {
        Self::from_parts(time, Sha256::digest(header).into())
    }

    /// The id made of a time and a hash.
    #[must_use]
    pub fn from_parts(time: Time, hash: [u8; 32]) -> Self {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&time.0.to_be_bytes());
        bytes[8..].copy_from_slice(&hash);
        Self(bytes)
    }

    /// The id with exactly these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 40]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 40] {
        &self.0
    }

    /// The lowest id above this one; itself when there is none.
    #[must_use]
    pub fn successor(&self) -> Self {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let (next, carried) = byte.overflowing_add(1);
            *byte = next;
            if !carried {
                return Self(bytes);
            }
        }
        *self
    }

    /// The time in the id, which admission holds equal to the header's.
    #[must_use]
    pub fn time(&self) -> Time {
        let mut time = [0; 8];
        time.copy_from_slice(&self.0[..8]);
        Time(u64::from_be_bytes(time))
    }

    /// The SHA-256 of the header's bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(&self.0[8..]);
        hash
    }

    /// The CIDv1 (dag-cbor, sha2-256) of the header, for display where other tools want one.
    #[must_use]
    pub fn cid(&self) -> Cid {
        const DAG_CBOR: u64 = 0x71;
        const SHA2_256: u64 = 0x12;
        #[expect(clippy::expect_used, reason = "32 bytes always fit a 64-byte multihash")]
        let hash = Multihash::<64>::wrap(SHA2_256, &self.0[8..]).expect("32 bytes fit");
        Cid::new_v1(DAG_CBOR, hash)
    }
}

impl TryFrom<&[u8]> for RecordId {
    type Error = IdError;
    fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
        bytes.try_into().map(Self).map_err(|_| IdError::Length(bytes.len()))
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(Self::TEXT_LEN);
        text.push('v');
        text.push_str(&BASE32HEX_NOPAD.encode(&self.0).to_ascii_lowercase());
        f.pad(&text)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Text(text.chars().take(80).collect());
        let digits = text.strip_prefix('v').ok_or_else(wrong)?;
        if digits.len() != Self::TEXT_LEN - 1
            || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'v'))
        {
            return Err(wrong());
        }
        let bytes =
            BASE32HEX_NOPAD.decode(digits.to_ascii_uppercase().as_bytes()).map_err(|_| wrong())?;
        Self::try_from(bytes.as_slice())
    }
}

/// In CBOR a byte string of 40 bytes; in JSON and TOML its text.
impl Serialize for RecordId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let bytes = <serde_bytes::ByteArray<40>>::deserialize(deserializer)?;
            Ok(Self(bytes.into_array()))
        }
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub RecordId);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self)
            }
        }
    };
}

named! {
    /// The name of a space: the id of its genesis record.
    SpaceId
}
named! {
    /// The name of a memory: the id of the record that starts it.
    MemoryId
}

impl SpaceId {
    /// What a genesis carries in `space`, since its own id is the name.
    pub const GENESIS: Self = Self(RecordId::MIN);
}
