//! Invitations: a space and where to find it, as one word that can be copied.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32HEX_NOPAD;
use ocm_record::{NotCanonical, SignedRecord, SpaceId, from_canonical, to_canonical};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// What every invitation begins with.
const PREFIX: &str = "ocm1";
/// What the array in it begins with: it says what it is, and in which version.
const TAG: &str = "ocm/1/invitation";
/// Addresses in one invitation: enough for a few nodes with a few networks each, and still a text
/// that fits into a message.
pub const ADDRESSES: usize = 16;
/// Bytes of one address.
pub const ADDRESS_BYTES: usize = 256;
/// Bytes of the record that the space begins with: that of some ten owners. A larger one is left out.
pub const GENESIS_BYTES: usize = 1024;
/// Characters of an invitation as text.
pub const TEXT_LEN: usize = 8 * 1024;

/// An invitation: `ocm1`, then lower-case base32hex of the canonical DAG-CBOR array
/// `["ocm/1/invitation", SpaceId, name, [addresses], genesis / null]`.
///
/// It gives no right. In a members-only space the owner still grants one to the DID of whoever
/// was invited; but it names the space, so it is meant for the invited only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The space.
    pub space: SpaceId,
    /// The space's name for people, at most [`ocm_space::limits::NAME_CHARS`] characters.
    pub name: String,
    /// Multiaddrs with `/p2p/…` of nodes that hold the space, at most [`ADDRESSES`] of at most
    /// [`ADDRESS_BYTES`] bytes.
    pub addresses: Vec<String>,
    /// The encoded record that the space begins with, at most [`GENESIS_BYTES`], where everyone may
    /// read the space: who has it knows that, and looks for others that hold the space, wherever
    /// they are. Its hash is the space's id.
    pub genesis: Option<Vec<u8>>,
}

/// Why a text is no invitation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// It does not begin as one, or is too long.
    #[error(
        "an invitation begins with {PREFIX} and has at most {TEXT_LEN} characters, this is {0:?}"
    )]
    Form(String),
    /// A character was lost or changed on the way.
    #[error("the invitation is damaged: copy it whole, in one piece")]
    Damaged,
    /// It holds something else than this version makes.
    #[error("the invitation is of another version, or damaged: {0}")]
    Content(#[from] NotCanonical),
    /// The record in it begins no space, or another one.
    #[error("the invitation is not to be trusted: the record in it is not the one that begins {0}")]
    Genesis(SpaceId),
    /// A limit is not kept.
    #[error("the invitation has {what} of {size}, at most {limit} are allowed")]
    Limit {
        /// Which part.
        what: &'static str,
        /// What it has.
        size: usize,
        /// What it may have.
        limit: usize,
    },
}

#[derive(Serialize, Deserialize)]
struct Wire(String, SpaceId, String, Vec<String>, Option<ByteBuf>);

impl Invitation {
    fn check(self) -> Result<Self, InvitationError> {
        let within = |what, size, limit| {
            if size <= limit { Ok(()) } else { Err(InvitationError::Limit { what, size, limit }) }
        };
        within("a name", self.name.chars().count(), ocm_space::limits::NAME_CHARS)?;
        within("a list of addresses", self.addresses.len(), ADDRESSES)?;
        let longest = self.addresses.iter().map(String::len).max().unwrap_or_default();
        within("an address", longest, ADDRESS_BYTES)?;
        if let Some(bytes) = &self.genesis {
            within("a first record", bytes.len(), GENESIS_BYTES)?;
            let record = SignedRecord::decode(bytes).ok().and_then(|record| record.verify().ok());
            let id = record.map(|record| record.id());
            if id != Some(self.space.0) {
                return Err(InvitationError::Genesis(self.space));
            }
        }
        Ok(self)
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { space, name, addresses, genesis } = self.clone();
        let bytes =
            to_canonical(&Wire(TAG.into(), space, name, addresses, genesis.map(ByteBuf::from)));
        f.write_str(PREFIX)?;
        f.write_str(&BASE32HEX_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;
    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let text = text.trim();
        let form = || InvitationError::Form(text.chars().take(40).collect());
        let digits = text.strip_prefix(PREFIX).ok_or_else(form)?;
        if text.len() > TEXT_LEN || digits.is_empty() {
            return Err(form());
        }
        let bytes = BASE32HEX_NOPAD
            .decode(digits.to_ascii_uppercase().as_bytes())
            .map_err(|_| InvitationError::Damaged)?;
        let Wire(tag, space, name, addresses, genesis) = from_canonical(&bytes)?;
        if tag != TAG {
            let tag: String = tag.chars().take(40).collect();
            return Err(NotCanonical(format!("{tag:?} in the place of {TAG:?}")).into());
        }
        let genesis = genesis.map(ByteBuf::into_vec);
        Self { space, name, addresses, genesis }.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_record::{RecordId, Time};

    fn invitation() -> Invitation {
        Invitation {
            space: SpaceId(RecordId::from_parts(Time::from_millis(1), [7; 32])),
            name: "Sommerlager é".into(),
            addresses: vec!["/ip4/192.0.2.1/tcp/8080/p2p/12D3KooW".into()],
            genesis: None,
        }
    }

    #[test]
    fn an_invitation_is_one_word_and_reads_back() {
        let text = invitation().to_string();
        assert!(text.starts_with("ocm1"));
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(text.parse(), Ok(invitation()));
        assert_eq!(format!("  {text}\n").parse(), Ok(invitation()));
    }

    #[test]
    fn other_texts_are_refused() {
        let text = invitation().to_string();
        for wrong in ["", "ocm1", "hello", "ocm2abc", "ocm1zzz", &text[..text.len() - 8]] {
            assert!(wrong.parse::<Invitation>().is_err(), "{wrong:?}");
        }
        let other = Wire("ocm/1/cert".into(), invitation().space, String::new(), vec![], None);
        let other = to_canonical(&other);
        let other = format!("ocm1{}", BASE32HEX_NOPAD.encode(&other).to_ascii_lowercase());
        assert!(matches!(other.parse::<Invitation>(), Err(InvitationError::Content(_))));
    }

    #[test]
    fn the_record_in_it_is_the_one_that_begins_the_space() {
        let file = include_str!("../tests/vectors/record.json");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        let valid = file["valid"].as_array().unwrap();
        let genesis = valid.iter().find(|entry| entry["name"] == "genesis").unwrap();
        let bytes = genesis["bytes"].as_str().unwrap();
        let bytes = data_encoding::HEXLOWER.decode(bytes.as_bytes()).unwrap();
        let space = SpaceId(SignedRecord::decode(&bytes).unwrap().id());
        let whole = Invitation { space, genesis: Some(bytes.clone()), ..invitation() };
        assert_eq!(whole.to_string().parse(), Ok(whole.clone()));
        let other = Invitation { space: invitation().space, ..whole.clone() };
        let refused = Err(InvitationError::Genesis(other.space));
        assert_eq!(other.to_string().parse::<Invitation>(), refused);
        let cut = Invitation { genesis: Some(bytes[1..].to_vec()), ..whole.clone() };
        assert_eq!(cut.to_string().parse::<Invitation>(), Err(InvitationError::Genesis(space)));
        let long = Invitation { genesis: Some(vec![0; GENESIS_BYTES + 1]), ..whole };
        assert!(matches!(
            long.to_string().parse::<Invitation>(),
            Err(InvitationError::Limit { size: 1025, limit: 1024, .. })
        ));
    }

    #[test]
    fn limits_are_kept() {
        let many = Invitation { addresses: vec!["/x".into(); ADDRESSES + 1], ..invitation() };
        assert!(matches!(
            many.to_string().parse::<Invitation>(),
            Err(InvitationError::Limit { size: 17, limit: 16, .. })
        ));
        let long = Invitation { name: "x".repeat(129), ..invitation() };
        assert!(matches!(
            long.to_string().parse::<Invitation>(),
            Err(InvitationError::Limit { size: 129, .. })
        ));
        let huge = Invitation { name: "x".repeat(9000), ..invitation() };
        assert!(matches!(huge.to_string().parse::<Invitation>(), Err(InvitationError::Form(_))));
    }
}
