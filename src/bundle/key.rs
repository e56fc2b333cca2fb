//! Who can read an encrypted bundle, and what opens it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use age::x25519;

use super::limits;

/// What a bundle is encrypted with.
pub enum Lock {
    /// To whoever has the identity of one of these recipients.
    Recipients(Vec<x25519::Recipient>),
    /// To whoever knows a passphrase.
    Passphrase(SecretString),
}

/// What opens an encrypted bundle.
#[derive(Default)]
pub struct Key {
    pub(super) identities: Vec<Box<dyn age::Identity + Send + Sync>>,
    pub(super) passphrase: Option<SecretString>,
}

/// Why there is no lock or key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A text that names no recipient.
    #[error(
        "{text:?} is no recipient ({why}): give the public key that `age-keygen` prints, which begins \
         with age1"
    )]
    Recipient {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Too many.
    #[error("a bundle has at most {max} recipients, these are {0}", max = limits::RECIPIENTS)]
    Recipients(usize),
    /// A file of identities that cannot be read.
    #[error("the identity file {path} cannot be used: {why}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file with a passphrase that cannot be read.
    #[error("the passphrase file {path} cannot be used: {why}")]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A passphrase that is none.
    #[error("the passphrase is empty")]
    Empty,
}

impl Lock {
    /// Encrypts to the owners of these public keys, as `age-keygen` prints them.
    ///
    /// # Errors
    /// Which of the texts is no recipient.
    pub fn to_recipients(texts: &[String]) -> Result<Self, KeyError> {
        if texts.len() > limits::RECIPIENTS {
            return Err(KeyError::Recipients(texts.len()));
        }
        let recipient = |text: &String| {
            text.trim()
                .parse::<x25519::Recipient>()
                .map_err(|why| KeyError::Recipient { text: text.clone(), why })
        };
        Ok(Self::Recipients(texts.iter().map(recipient).collect::<Result<_, _>>()?))
    }

    /// Encrypts with a passphrase.
    ///
    /// # Errors
    /// When it is empty.
    pub fn with_passphrase(passphrase: String) -> Result<Self, KeyError> {
        some(passphrase).map(Self::Passphrase)
    }
}

impl Key {
    /// Adds the secret keys in a file, as `age-keygen` writes it.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub fn add_identities(&mut self, path: &Path) -> Result<(), KeyError> {
        let wrong = |why: String| KeyError::Identity { path: path.to_owned(), why };
        let text = read_limited(path, limits::IDENTITY_BYTES).map_err(wrong)?;
        let identities = age::IdentityFile::from_buffer(text.as_bytes())
            .map_err(|error| wrong(error.to_string()))?
            .into_identities()
            .map_err(|error| wrong(error.to_string()))?;
        if identities.is_empty() {
            return Err(wrong("there is no identity in it".into()));
        }
        self.identities.extend(identities);
        Ok(())
    }

    /// Sets the passphrase.
    ///
    /// # Errors
    /// When it is empty.
    pub fn set_passphrase(&mut self, passphrase: String) -> Result<(), KeyError> {
        self.passphrase = Some(some(passphrase)?);
        Ok(())
    }
}

fn some(passphrase: String) -> Result<SecretString, KeyError> {
    if passphrase.is_empty() { Err(KeyError::Empty) } else { Ok(SecretString::from(passphrase)) }
}

/// The passphrase in a file, without the line end after it.
///
/// # Errors
/// When the file cannot be read, or is longer than any passphrase.
pub(crate) fn read_passphrase(path: &Path) -> Result<String, KeyError> {
    let wrong = |why: String| KeyError::Passphrase { path: path.to_owned(), why };
    let mut text = read_limited(path, limits::PASSPHRASE_BYTES).map_err(wrong)?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

/// The text of a file of at most so many bytes, or what is wrong with it.
fn read_limited(path: &Path, most: u64) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > most {
        return Err(format!("it is larger than {most} bytes"));
    }
    Ok(text)
}
