//! The token that requests carry.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// The name of the file in the data directory that holds the node's token.
pub const TOKEN_FILE: &str = "api.token";
/// Bytes of the longest token file; a token has at most 256 characters.
const LONGEST: u64 = 1024;

/// Where the token comes from.
#[derive(Clone)]
pub enum TokenSource {
    /// It is known.
    Given(String),
    /// There is none: only what anyone may ask is asked.
    Nobody,
    /// It is read from this file for each request, since a node that starts may write it anew.
    File(PathBuf),
}

/// Why there is no token to send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nobody asks.
    #[error("no token was looked for")]
    Nobody,
    /// There is no such file.
    #[error(
        "there is no token at {0}, although a node answers: it keeps its data elsewhere; name its \
         data directory with --data-dir, or set OCM_API_TOKEN_FILE"
    )]
    Missing(PathBuf),
    /// The system does not let us read it.
    #[error(
        "the token at {path} cannot be read ({reason}): run this as the user that runs the node, \
         or set OCM_API_TOKEN_FILE to a copy of your own"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file holds something else.
    #[error(
        "{0} holds no token (one line of visible ASCII): delete it and restart the node, which then \
         writes one"
    )]
    Malformed(PathBuf),
}

impl TokenSource {
    /// The token file of a data directory.
    #[must_use]
    pub fn of_data_dir(data_dir: &Path) -> Self {
        Self::File(data_dir.join(TOKEN_FILE))
    }

    /// The token.
    ///
    /// # Errors
    /// The file is missing, cannot be read, or holds no token.
    pub fn read(&self) -> Result<String, TokenError> {
        let path = match self {
            Self::Given(token) => return Ok(token.clone()),
            Self::Nobody => return Err(TokenError::Nobody),
            Self::File(path) => path,
        };
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => TokenError::Missing(path.clone()),
            ErrorKind::InvalidData => TokenError::Malformed(path.clone()),
            _ => TokenError::Unreadable { path: path.clone(), reason: error.to_string() },
        };
        let mut text = String::new();
        let file = File::open(path).map_err(failed)?;
        file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenError::Malformed(path.clone()));
        }
        Ok(token.to_owned())
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given"),
            Self::Nobody => f.write_str("Nobody"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let source = TokenSource::of_data_dir(dir.path());
        assert!(matches!(source.read(), Err(TokenError::Missing(_))));
        let path = dir.path().join(TOKEN_FILE);
        std::fs::write(&path, "  0123456789abcdef\n").unwrap();
        assert_eq!(source.read().unwrap(), "0123456789abcdef");
        for wrong in [&b""[..], b" \n", b"two\nlines", b"a\xff"] {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(source.read(), Err(TokenError::Malformed(path.clone())), "{wrong:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(source.read(), Err(TokenError::Unreadable { .. })));
    }

    #[test]
    fn a_token_is_not_shown() {
        assert_eq!(format!("{:?}", TokenSource::Given("secret".into())), "Given");
    }
}
