//! The file that keeps the secret which a request must bring.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::Token;
use crate::store::disk::replace_file;

/// The file's name in the data directory.
pub(super) const FILE: &str = "api.token";
/// Random bytes of a token that is drawn here.
const DRAWN: usize = 32;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file holds something else.
    #[error(
        "{0} holds no API token ({shortest} to {longest} visible ASCII characters): delete it, and \
         the next start makes a new one",
        shortest = Token::SHORTEST,
        longest = Token::LONGEST
    )]
    Form(PathBuf),
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

/// The token in `<data_dir>/api.token`, made if there is none: 64 lower-case hexadecimal characters.
/// One that others than its owner could read is no secret any more: a fresh one takes its place.
///
/// # Errors
/// When the file holds something else, or cannot be read or written.
pub fn load_or_create(data_dir: &Path) -> Result<Token, TokenError> {
    let path = data_dir.join(FILE);
    let read = fs::metadata(&path).and_then(|meta| {
        let private = meta.permissions().mode() & 0o077 == 0;
        if private { fs::read(&path).map(Some) } else { Ok(None) }
    });
    match read {
        Ok(Some(bytes)) => {
            let token = String::from_utf8(bytes).ok().and_then(|text| Token::parse(&text).ok());
            token.ok_or(TokenError::Form(path))
        }
        Ok(None) => {
            let path = path.display();
            tracing::warn!(
                "others could read {path}: another token takes the place of the one there"
            );
            write(draw()?, data_dir)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => write(draw()?, data_dir),
        Err(error) => Err(TokenError::File { path, error }),
    }
}

/// Writes a token to `<data_dir>/api.token`, readable by its owner only, so that commands on this
/// machine find it. Returns it.
///
/// # Errors
/// When the file cannot be written.
pub fn write(token: Token, data_dir: &Path) -> Result<Token, TokenError> {
    let path = data_dir.join(FILE);
    match replace_file(&path, format!("{}\n", token.reveal()).as_bytes()) {
        Ok(()) => Ok(token),
        Err(error) => Err(TokenError::File { path, error }),
    }
}

/// A fresh token.
fn draw() -> Result<Token, TokenError> {
    let mut bytes = [0; DRAWN];
    getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
    Ok(Token::of_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), first.reveal());
        let again = load_or_create(dir.path()).unwrap();
        assert_eq!(again.reveal(), first.reveal());
        assert_eq!(first.reveal().len(), 64);
    }

    #[test]
    fn a_token_that_others_could_read_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let second = load_or_create(dir.path()).unwrap();
        assert_ne!(second.reveal(), first.reveal());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_with_something_else_is_named_and_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        load_or_create(dir.path()).unwrap();
        for wrong in [&b"short"[..], b"", b"sixteen or more, but with spaces", &[0xff; 20]] {
            fs::write(&path, wrong).unwrap();
            let told = load_or_create(dir.path()).unwrap_err().to_string();
            assert!(told.contains("16 to 256") && told.contains("delete it"), "{told}");
            assert!(told.contains(path.to_str().unwrap()), "{told}");
            assert_eq!(fs::read(&path).unwrap(), wrong);
        }
    }
}
