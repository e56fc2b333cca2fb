//! The secret that a request must bring.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq as _;

use crate::config::Token as Configured;
use crate::store::disk::replace_file;

/// The file's name in the data directory.
pub(super) const FILE: &str = "api.token";
/// Characters of a token.
const LEN: usize = 64;

/// The secret of the API: 64 lower-case hexadecimal characters, 32 random bytes. `Debug` does not
/// show it.
#[derive(Clone)]
pub struct Token(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The text is none.
    #[error(
        "an API token has {LEN} characters of 0-9 a-f, this has {0}; delete it to have a new one made"
    )]
    Form(String),
    /// The file cannot be read or written.
    #[error("the API token {path} cannot be kept: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl Token {
    /// A token with this text, as configuration gives it.
    ///
    /// # Errors
    /// When it is not 16 to 256 visible characters, as the configuration allows.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let long_enough = (Configured::SHORTEST..=Configured::LONGEST).contains(&text.len());
        if long_enough && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(TokenError::Form(format!("{} characters", text.chars().count())))
    }

    /// A fresh token.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn draw() -> Result<Self, TokenError> {
        let mut bytes = [0; LEN / 2];
        getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
        Ok(Self(HEXLOWER.encode(&bytes)))
    }

    /// The token in `<data_dir>/api.token`, made if there is none. One that others than its owner
    /// could read is no secret any more: a fresh one takes its place.
    ///
    /// # Errors
    /// When the file holds something else, or cannot be read or written.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, TokenError> {
        let path = data_dir.join(FILE);
        let read = fs::metadata(&path).and_then(|meta| {
            let private = meta.permissions().mode() & 0o077 == 0;
            if private { fs::read_to_string(&path).map(Some) } else { Ok(None) }
        });
        match read {
            Ok(Some(text)) => Self::parse(&text).map_err(|error| match error {
                TokenError::Form(what) => TokenError::Form(format!("{what} in {}", path.display())),
                other => other,
            }),
            Ok(None) => Self::draw()?.write(data_dir),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::draw()?.write(data_dir),
            Err(error) => Err(TokenError::File { path, error }),
        }
    }

    /// Writes the token to `<data_dir>/api.token`, readable by its owner only, so that commands
    /// on this machine find it. Returns it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(self, data_dir: &Path) -> Result<Self, TokenError> {
        let path = data_dir.join(FILE);
        match replace_file(&path, format!("{}\n", self.0).as_bytes()) {
            Ok(()) => Ok(self),
            Err(error) => Err(TokenError::File { path, error }),
        }
    }

    /// The text, to be sent to the API.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether these bytes are the token, in a time that does not tell how much of it is right.
    pub(super) fn equals(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Token::load_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), first.reveal());
        let again = Token::load_or_create(dir.path()).unwrap();
        assert_eq!(again.reveal(), first.reveal());
        assert_eq!(first.reveal().len(), 64);
        assert!(!format!("{first:?}").contains(first.reveal()));
    }

    #[test]
    fn a_token_that_others_could_read_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = Token::load_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let second = Token::load_or_create(dir.path()).unwrap();
        assert_ne!(second.reveal(), first.reveal());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn other_texts_are_no_token() {
        let dir = tempfile::tempdir().unwrap();
        Token::load_or_create(dir.path()).unwrap();
        fs::write(dir.path().join(FILE), "short").unwrap();
        let error = Token::load_or_create(dir.path()).unwrap_err();
        assert!(error.to_string().contains("5 characters in "), "{error}");
        assert!(Token::parse(&"A".repeat(15)).is_err());
        assert!(Token::parse("sixteen or more, but with spaces").is_err());
        assert!(Token::parse(&"a".repeat(64)).is_ok_and(|t| t.equals("a".repeat(64).as_bytes())));
        assert!(!Token::parse(&"a".repeat(64)).unwrap().equals(b"aa"));
    }
}
