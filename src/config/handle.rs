//! The name a node is shown by.

use std::fmt;

use serde_json::Value as Json;

use super::Identity;
use super::value::{Limit, Raw, Setting};

/// A short name for a node: 1 to 64 letters and digits of any script, `.`, `_` and `-`. It is
/// shown, and proves nothing; an author is a DID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle(String);

impl Handle {
    /// Characters of the longest handle.
    pub const LONGEST: usize = 64;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Identity {
    /// How the node is called in what it shows: its handle, else the last 8 characters of its
    /// PeerId.
    #[must_use]
    pub fn shown<'a>(&'a self, peer_id: &'a str) -> &'a str {
        const END: usize = 8;
        match &self.handle {
            Some(handle) => handle.as_str(),
            None => {
                let start = peer_id.char_indices().rev().nth(END - 1).map_or(0, |(at, _)| at);
                &peer_id[start..]
            }
        }
    }
}

impl Setting for Handle {
    fn expected(_: Limit) -> String {
        format!("1 to {} letters, digits, `.`, `_` or `-`", Self::LONGEST)
    }
    fn read(raw: &Raw, _: Limit) -> Result<Self, Option<String>> {
        let text = raw.trimmed().ok_or(None)?;
        let length = text.chars().count();
        if length > Self::LONGEST {
            return Err(Some(format!("it has {length} characters")));
        }
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || !text.chars().all(fits) {
            return Err(None);
        }
        Ok(Self(text.to_owned()))
    }
    fn show(&self) -> Json {
        self.0.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(text: &str) -> Result<Handle, Option<String>> {
        Handle::read(&Raw::Text(text.into()), Limit::None)
    }

    #[test]
    fn a_handle_is_a_short_name() {
        for text in ["alice", "alice.bsky.social", "your-handle", "José_2", &"x".repeat(64)] {
            assert_eq!(handle(text).unwrap().as_str(), text);
        }
        for text in ["", "two words", "a\nb", "a\"b", "a/b", &"x".repeat(65)] {
            assert!(handle(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn without_a_handle_the_end_of_the_peer_id_stands() {
        let mut identity = Identity { handle: handle("alice").ok(), seed: None };
        assert_eq!(identity.shown("12D3KooWabcdefgh"), "alice");
        identity.handle = None;
        assert_eq!(identity.shown("12D3KooWabcdefgh"), "abcdefgh");
        assert_eq!(identity.shown("short"), "short");
    }
}
