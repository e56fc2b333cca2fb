//! One process owns a directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::disk::FILE_MODE;

/// Name of the lock file in the directory that it guards.
pub const LOCK_FILE: &str = "lock";

/// The hold of this process on a directory. The operating system ends it with the process, however
/// that ends; the file stays, and means nothing by itself.
#[derive(Debug)]
pub struct DirectoryLock {
    file: File,
}

/// Why a directory cannot be owned.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "process {} owns {}: stop it (`ocm stop`), or give this node a directory of its own \
         (--data-dir)",
        .pid.map_or_else(|| "of unknown number".to_owned(), |pid| pid.to_string()),
        .directory.display()
    )]
    Held {
        /// The directory.
        directory: PathBuf,
        /// The holder, when it has written its number.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}: {source}; check that the directory is yours and writable", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DirectoryLock {
    /// Takes hold of `directory`, which must exist, and writes this process's number into its lock
    /// file. Does not wait.
    ///
    /// # Errors
    /// [`LockError::Held`] names the process that has it; [`LockError::Io`] when the file cannot be
    /// made or locked.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(LOCK_FILE);
        let fail = |source| LockError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The number only helps the reader of the message; without it the refusal stands.
                let _ = file.take(32).read_to_string(&mut text);
                let pid = text.trim().parse().ok();
                return Err(LockError::Held { directory: directory.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        Ok(Self { file })
    }

    /// Gives the directory up.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing the file unlocks it in any case.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_with_the_number_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(dir.path()).unwrap();
        let error = DirectoryLock::acquire(dir.path()).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(&error, LockError::Held { pid: Some(p), .. } if *p == pid), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("process {pid} owns")) && text.contains("ocm stop"),
            "{text}"
        );
        first.release();
        DirectoryLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_file_left_behind_locks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOCK_FILE), "4242\n").unwrap();
        DirectoryLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn no_directory_is_an_error_that_names_the_file() {
        let error = DirectoryLock::acquire(Path::new("/nonexistent/ocm")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ocm/lock"), "{error}");
    }
}
