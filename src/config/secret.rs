//! Settings that are never shown: the API's token, the identity's seed, the network's key.

use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER};
use libp2p::pnet::PreSharedKey;
use serde_json::Value as Json;
use subtle::ConstantTimeEq as _;

use super::value::{Limit, Raw, Setting};

/// What is shown in place of a secret that is set.
pub(crate) const SET: &str = "(set)";

/// A token for the API: 16 to 256 visible ASCII characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Characters of the shortest token.
    pub const SHORTEST: usize = 16;
    /// Characters of the longest token.
    pub const LONGEST: usize = 256;

    /// A token with this text, without the space around it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("it has other characters".into());
        }
        match text.len() {
            Self::SHORTEST..=Self::LONGEST => Ok(Self(text.to_owned())),
            length => Err(format!("it has {length}")),
        }
    }

    /// These bytes in hexadecimal digits.
    pub(crate) fn of_bytes(bytes: &[u8; 32]) -> Self {
        Self(HEXLOWER.encode(bytes))
    }

    /// The token itself, to send; never to log.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether these bytes are the token, in a time that does not tell how much of it is right.
    #[must_use]
    pub fn equals(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

/// The 32 bytes that an identity's key is derived from.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed itself, to derive a key from; never to log.
    #[must_use]
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The key that all nodes of a private network have.
#[derive(Clone, PartialEq, Eq)]
pub struct NetworkKey(PreSharedKey);

impl NetworkKey {
    /// The key itself; never to log.
    #[must_use]
    pub const fn reveal(&self) -> PreSharedKey {
        self.0
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SET)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SET)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SET)
    }
}

impl Setting for Token {
    const EMPTY_IS_UNSET: bool = false;

    fn expected(_: Limit) -> String {
        format!("{} to {} visible ASCII characters", Self::SHORTEST, Self::LONGEST)
    }
    fn read(raw: &Raw, _: Limit) -> Result<Self, Option<String>> {
        Self::parse(raw.trimmed().ok_or(None)?).map_err(Some)
    }
    fn show(&self) -> Json {
        SET.into()
    }
}

impl Setting for Seed {
    const EMPTY_IS_UNSET: bool = false;

    fn expected(_: Limit) -> String {
        "32 bytes in base64 (as `openssl rand -base64 32` prints them)".into()
    }
    fn read(raw: &Raw, _: Limit) -> Result<Self, Option<String>> {
        let text = raw.trimmed().ok_or(None)?;
        let bytes = BASE64
            .decode(text.as_bytes())
            .or_else(|_| BASE64_NOPAD.decode(text.as_bytes()))
            .map_err(|_| Some("it is not base64".to_owned()))?;
        let length = bytes.len();
        bytes.try_into().map(Self).map_err(|_| Some(format!("it has {length} bytes")))
    }
    fn show(&self) -> Json {
        SET.into()
    }
}

impl Setting for NetworkKey {
    const EMPTY_IS_UNSET: bool = false;

    fn expected(_: Limit) -> String {
        "a key file as `ocm config network-key` prints it".into()
    }
    fn read(raw: &Raw, _: Limit) -> Result<Self, Option<String>> {
        let text = raw.trimmed().ok_or(None)?;
        // What is wrong with it is said without any of it.
        text.parse().map(Self).map_err(|_| Some("it is none, or of another kind".into()))
    }
    fn show(&self) -> Json {
        SET.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.into())
    }

    #[test]
    fn a_seed_is_thirty_two_bytes() {
        let seed = BASE64.encode(&[7; 32]);
        assert_eq!(Seed::read(&text(&seed), Limit::None).unwrap().reveal(), &[7; 32]);
        let bare = seed.trim_end_matches('=');
        assert_eq!(Seed::read(&text(bare), Limit::None).unwrap().reveal(), &[7; 32]);
        for (length, message) in [(0, "0 bytes"), (31, "31 bytes"), (33, "33 bytes")] {
            let why = Seed::read(&text(&BASE64.encode(&vec![7; length])), Limit::None);
            assert!(why.unwrap_err().unwrap().contains(message));
        }
        assert!(Seed::read(&text("not base64!"), Limit::None).is_err());
    }

    #[test]
    fn a_token_has_a_length() {
        assert!(Token::read(&text(&"x".repeat(15)), Limit::None).is_err());
        assert!(Token::read(&text(&"x".repeat(257)), Limit::None).is_err());
        assert!(Token::read(&text("a token with spaces"), Limit::None).is_err());
        let token = Token::read(&text(&"x".repeat(16)), Limit::None).unwrap();
        assert_eq!(token.reveal(), "x".repeat(16));
        assert!(token.equals(&[b'x'; 16]) && !token.equals(&[b'x'; 15]) && !token.equals(b""));
    }

    #[test]
    fn a_network_key_is_a_key_file() {
        let key = PreSharedKey::new([7; 32]);
        let file = text(&format!("{}\n", key.to_key_file()));
        assert_eq!(NetworkKey::read(&file, Limit::None).unwrap().reveal(), key);
        for wrong in ["", "07", "/key/swarm/psk/1.0.0/\n/base16/\n0707"] {
            let why = NetworkKey::read(&text(wrong), Limit::None).unwrap_err().unwrap();
            assert!(!why.contains("07"), "{why}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let seed = Seed([7; 32]);
        let token = Token("x".repeat(16));
        let key = NetworkKey(PreSharedKey::new([7; 32]));
        assert_eq!(format!("{seed:?} {token:?} {key:?}"), "(set) (set) (set)");
        assert_eq!((seed.show(), token.show(), key.show()), (SET.into(), SET.into(), SET.into()));
    }
}
