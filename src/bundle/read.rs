//! A bundle that comes from a file.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, scrypt};
use ocm_sync::{BUNDLE_MAGIC, BundleError, BundleReader, BundleValue};

use super::key::Key;
use super::{AGE_MAGIC, limits};

/// What the magic of every version begins with, and how it ends.
const ANY_VERSION: &[u8] = b"OCM bundle ";

/// Bytes that are decompressed at once.
const CHUNK: usize = 64 * 1024;

/// Why a file cannot be read as a bundle.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system says no.
    #[error("cannot read {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Something else.
    #[error("{0} is no bundle: its first bytes are those of something else")]
    NoBundle(PathBuf),
    /// Nothing of it is left.
    #[error("{0} is cut, or damaged, within the first bytes of a bundle")]
    Cut(PathBuf),
    /// It would take no end of memory to learn who may read it.
    #[error(
        "{0} is encrypted in a way that no bundle is: what says to whom is larger than {max} bytes; \
         decrypt it with `age -d` first, if you trust whoever gave it to you",
        max = limits::HEAD_BYTES
    )]
    Head(PathBuf),
    /// A bundle of a form that is not known here.
    #[error("{path} is a bundle of version {version:?}, and this version of ocm reads version 1")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// It is encrypted, and no key was given.
    #[error("{path} is encrypted {how}")]
    Locked {
        /// The file.
        path: PathBuf,
        /// With what, and how to give it.
        how: &'static str,
    },
    /// The key is another's.
    #[error("{path} cannot be decrypted: {why}")]
    WrongKey {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
}

/// Why no more can be read of a bundle. What was read before it stands.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The system says no.
    #[error("the file cannot be read on: {0}")]
    Io(io::Error),
    /// It ends too early.
    #[error("it is cut: {0}")]
    Cut(String),
    /// It was changed, or its medium is damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// The file, whether its end was reached, and how much may still be read of it.
struct Source {
    file: File,
    ended: Rc<Cell<bool>>,
    left: Rc<Cell<u64>>,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("it is larger than it may be"));
        }
        let read = self.file.by_ref().take(left).read(buffer)?;
        self.left.set(left - read as u64);
        self.ended.set(read == 0 && !buffer.is_empty());
        Ok(read)
    }
}

/// A bundle being read.
pub struct BundleFile {
    values: Box<dyn Read>,
    ended: Rc<Cell<bool>>,
    reader: BundleReader,
    chunk: Vec<u8>,
    encrypted: bool,
}

impl BundleFile {
    /// Opens a bundle. `passphrase` is asked for one where the bundle needs it and `key` has none.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        path: &Path,
        key: &Key,
        passphrase: impl FnOnce() -> Option<SecretString>,
    ) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io { path: path.to_owned(), error };
        let no_bundle = || OpenError::NoBundle(path.to_owned());
        let ended = Rc::new(Cell::new(false));
        let file = File::open(path).map_err(failed)?;
        let left = Rc::new(Cell::new(limits::HEAD_BYTES));
        let source = Source { file, ended: ended.clone(), left: left.clone() };
        let mut source = BufReader::new(source);
        let encrypted = source.fill_buf().map_err(failed)?.starts_with(AGE_MAGIC);
        let mut plain: Box<dyn Read> = if encrypted {
            let decryptor = Decryptor::new_buffered(source).map_err(|error| match left.get() {
                0 => OpenError::Head(path.to_owned()),
                _ => wrong_key(path, &error),
            })?;
            left.set(u64::MAX);
            decrypt(decryptor, path, key, passphrase)?
        } else {
            left.set(u64::MAX);
            Box::new(source)
        };
        let mut magic = Vec::new();
        let most = BUNDLE_MAGIC.len() as u64;
        if let Err(error) = plain.as_mut().take(most).read_to_end(&mut magic)
            && error.raw_os_error().is_some()
        {
            return Err(failed(error));
        }
        if magic != BUNDLE_MAGIC {
            if magic.is_empty() && !encrypted {
                return Err(no_bundle());
            }
            if BUNDLE_MAGIC.starts_with(&magic) {
                return Err(OpenError::Cut(path.to_owned()));
            }
            let Some(version) = magic.strip_prefix(ANY_VERSION) else { return Err(no_bundle()) };
            let mut version = version.to_vec();
            // As much of it as there is.
            let _ = plain.take(16).read_to_end(&mut version);
            let line = version.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let version = String::from_utf8_lossy(line).into_owned();
            return Err(OpenError::Version { path: path.to_owned(), version });
        }
        let mut values = zstd::Decoder::new(plain).map_err(failed)?;
        values.window_log_max(limits::WINDOW_LOG).map_err(failed)?;
        let (values, reader) = (Box::new(values), BundleReader::default());
        Ok(Self { values, ended, reader, chunk: vec![0; CHUNK], encrypted })
    }

    /// Whether it was encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The next value; `None` behind the end.
    ///
    /// # Errors
    /// Why no more can be read.
    pub fn next_value(&mut self) -> Result<Option<BundleValue>, Stopped> {
        loop {
            if let Some(value) = self.reader.next_value().map_err(stopped)? {
                return Ok(Some(value));
            }
            match self.values.read(&mut self.chunk) {
                Ok(0) => return self.reader.finish().map(|()| None).map_err(stopped),
                Ok(read) => self.reader.feed(&self.chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error().is_some() => return Err(Stopped::Io(error)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Stopped::Cut("the file ends too early".into()));
                }
                // The last part of an encrypted file does not decrypt without its end.
                Err(error) if self.ended.get() => {
                    return Err(Stopped::Cut(format!("its end is missing or damaged ({error})")));
                }
                Err(error) => return Err(Stopped::Damaged(error.to_string())),
            }
        }
    }

    /// Pages that were read.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.reader.pages()
    }

    /// Records in them, of the authority set and of the content set.
    #[must_use]
    pub const fn records(&self) -> (u64, u64) {
        self.reader.records()
    }
}

fn stopped(error: BundleError) -> Stopped {
    match error {
        BundleError::Cut => Stopped::Cut("the file ends too early".into()),
        other => Stopped::Damaged(other.to_string()),
    }
}

fn decrypt(
    decryptor: Decryptor<BufReader<Source>>,
    path: &Path,
    key: &Key,
    passphrase: impl FnOnce() -> Option<SecretString>,
) -> Result<Box<dyn Read>, OpenError> {
    let locked = |how| OpenError::Locked { path: path.to_owned(), how };
    let opened = if decryptor.is_scrypt() {
        let passphrase = key.passphrase.clone().or_else(passphrase).ok_or_else(|| {
            locked("with a passphrase: give it with --passphrase-file, or at a terminal")
        })?;
        let identity = scrypt::Identity::new(passphrase);
        decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))
    } else if key.identities.is_empty() {
        return Err(locked("to a recipient: give the file of its secret key with --identity"));
    } else {
        let identities = key.identities.iter().map(|identity| &**identity as &dyn age::Identity);
        decryptor.decrypt(identities)
    };
    Ok(Box::new(opened.map_err(|error| wrong_key(path, &error))?))
}

fn wrong_key(path: &Path, error: &DecryptError) -> OpenError {
    let path = path.to_owned();
    let why = match error {
        DecryptError::NoMatchingKeys => {
            "none of the identities is that of a recipient of it".to_owned()
        }
        DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed => {
            "the passphrase is another, or it is damaged".to_owned()
        }
        DecryptError::ExcessiveWork { required, target } => format!(
            "its passphrase was made to cost 2^{required} of work, and this machine does 2^{target} \
             in a second: decrypt it with `age -d` first"
        ),
        DecryptError::Io(_) => "its head is cut".to_owned(),
        other => other.to_string(),
    };
    OpenError::WrongKey { path, why }
}
