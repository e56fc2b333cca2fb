//! A bundle on its way to a file.

use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use age::stream::StreamWriter;
use ocm_sync::BUNDLE_MAGIC;
use rustix::fs::{OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::key::Lock;
use super::limits;
use crate::store::disk;

/// Why a bundle was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is a file already.
    #[error("{0} is there already: name another file, or write over it with --force")]
    Exists(PathBuf),
    /// Another export is under way.
    #[error(
        "{0} is being written by another `ocm bundle export`: wait for it, or name another file"
    )]
    Busy(PathBuf),
    /// The disk, or the stick, says no.
    #[error("cannot write {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The recipients cannot be had together.
    #[error("cannot encrypt: {0}")]
    Encrypt(String),
}

enum Layer {
    Plain(BufWriter<File>),
    Sealed(Box<StreamWriter<BufWriter<File>>>),
}

impl Write for Layer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Sealed(sealed) => sealed.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Sealed(sealed) => sealed.flush(),
        }
    }
}

impl Layer {
    fn finish(self) -> io::Result<File> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Sealed(sealed) => sealed.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// A bundle being written: under the name of its file with `.part` behind it, until it is whole.
/// Dropped before that, it is gone.
pub struct BundleDraft {
    encoder: Option<zstd::Encoder<'static, Layer>>,
    path: PathBuf,
    part: PathBuf,
    force: bool,
    /// Whether it has its own name.
    is_named: bool,
}

impl BundleDraft {
    /// Begins a bundle. Nothing is written where there is a file of this name, unless `force`.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn create(path: &Path, force: bool, lock: Option<&Lock>) -> Result<Self, WriteError> {
        if !force && path.symlink_metadata().is_ok() {
            return Err(WriteError::Exists(path.to_owned()));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let failed = |error| WriteError::Io { path: part.clone(), error };
        let file = claim(&part)?;
        let mut draft = Self {
            encoder: None,
            path: path.to_owned(),
            part: part.clone(),
            force,
            is_named: false,
        };
        let file = BufWriter::new(file);
        let mut layer = match lock {
            None => Layer::Plain(file),
            Some(lock) => {
                let sealed = encryptor(lock)?.wrap_output(file).map_err(failed)?;
                Layer::Sealed(Box::new(sealed))
            }
        };
        layer.write_all(BUNDLE_MAGIC).map_err(failed)?;
        draft.encoder = Some(zstd::Encoder::new(layer, limits::LEVEL).map_err(failed)?);
        Ok(draft)
    }

    /// Writes a value, so that it can be read even if nothing follows it.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn write(&mut self, value: &[u8]) -> Result<(), WriteError> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let written = encoder.write_all(value).and_then(|()| encoder.flush());
        written.map_err(|error| WriteError::Io { path: self.part.clone(), error })
    }

    /// Makes it durable, and gives it its name: the bytes that it has.
    ///
    /// # Errors
    /// [`WriteError`]; then there is no file.
    pub fn finish(mut self) -> Result<u64, WriteError> {
        let Some(encoder) = self.encoder.take() else { return Ok(0) };
        let part = self.part.clone();
        let failed = |error| WriteError::Io { path: part.clone(), error };
        let file = encoder.finish().and_then(Layer::finish).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        // While it is open nobody else writes it.
        self.rename()?;
        self.is_named = true;
        drop(file);
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        // A file system that cannot sync a directory has written it.
        match disk::sync_directory(parent) {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(failed(error)),
            _ => Ok(bytes),
        }
    }

    fn rename(&self) -> Result<(), WriteError> {
        let failed = |error| WriteError::Io { path: self.path.clone(), error };
        if self.force {
            return std::fs::rename(&self.part, &self.path).map_err(failed);
        }
        let here = rustix::fs::CWD;
        match renameat_with(here, &self.part, here, &self.path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(WriteError::Exists(self.path.clone())),
            // Not every file system of a stick knows that.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                if self.path.symlink_metadata().is_ok() {
                    return Err(WriteError::Exists(self.path.clone()));
                }
                std::fs::rename(&self.part, &self.path).map_err(failed)
            }
            Err(error) => Err(failed(error.into())),
        }
    }
}

impl Drop for BundleDraft {
    fn drop(&mut self) {
        // After a rename the name may be another's.
        if !self.is_named {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// The file of this name, empty and written by nobody else. What an earlier one left there is written
/// over. Its mode is as the user's other files have it: a bundle is to be read elsewhere.
fn claim(part: &Path) -> Result<File, WriteError> {
    let failed = |error: io::Error| WriteError::Io { path: part.to_owned(), error };
    loop {
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = options.custom_flags(no_follow).open(part).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WriteError::Busy(part.to_owned())),
            // A file system without locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Whoever had it may have given it its name meanwhile.
        let (ours, named) = (file.metadata().map_err(failed)?, part.symlink_metadata());
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
            file.set_len(0).map_err(failed)?;
            return Ok(file);
        }
    }
}

fn encryptor(lock: &Lock) -> Result<age::Encryptor, WriteError> {
    match lock {
        Lock::Recipients(recipients) => {
            let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
            age::Encryptor::with_recipients(recipients)
                .map_err(|error| WriteError::Encrypt(error.to_string()))
        }
        Lock::Passphrase(passphrase) => {
            Ok(age::Encryptor::with_user_passphrase(passphrase.clone()))
        }
    }
}
