//! Files and directories: private, and durable when a call returns.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of every file: the owner's alone.
pub const FILE_MODE: u32 = 0o600;
/// Mode of every directory: the owner's alone.
pub const DIRECTORY_MODE: u32 = 0o700;

/// Makes `path` and its missing parents, readable by the owner alone, and durable. A directory that
/// is there already keeps its mode: it may be shared, and what is put into it is private.
///
/// # Errors
/// What the operating system says.
pub fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return sync_directory(path);
    }
    fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
    sync_directory(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// The user, by number, that a directory belongs to, where that is another one than root and this
/// process is root's: what it wrote there that user could not read. `None` for a directory that is
/// not there.
///
/// # Errors
/// What the operating system says.
pub fn owner_beside_root(directory: &Path) -> io::Result<Option<u32>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    match fs::metadata(directory) {
        Ok(directory) => Ok(Some(directory.uid()).filter(|owner| *owner != 0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory survive a power cut.
///
/// # Errors
/// What the operating system says.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces the file at `path` by `bytes`: after a crash the old or the new content is there, whole.
/// The file is readable by the owner alone.
///
/// # Errors
/// What the operating system says; the old content is then still there.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = parent.join(name);
    // What a crash left there, or someone put there, is not written into.
    remove_if_present(&fresh)?;
    create_file(&fresh, bytes)?;
    fs::rename(&fresh, path)?;
    sync_directory(parent)
}

/// Makes a file that is not there yet, readable by the owner alone, its bytes durable. Its name is
/// so after [`sync_directory`]; a crash before that may leave a part of it.
///
/// # Errors
/// What the operating system says, as when anything, even a link to nowhere, has the name; nothing
/// new is left there then.
pub fn create_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    let written = file
        .set_permissions(fs::Permissions::from_mode(FILE_MODE))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // The first error is the one that counts.
        let _ = fs::remove_file(path);
    }
    written
}

/// Removes a file, or a link but not what it leads to. Returns whether there was one.
///
/// # Errors
/// What the operating system says.
pub fn remove_if_present(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bytes that this process may still write to the file system that holds `path`.
///
/// # Errors
/// What the operating system says, as when nothing is at `path`.
pub fn disk_free(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_files_are_private_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        create_directory(&deep).unwrap();
        create_directory(&deep).unwrap();
        assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, DIRECTORY_MODE);
        let file = deep.join("file");
        replace_file(&file, b"one").unwrap();
        replace_file(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, FILE_MODE);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 1);
    }

    #[test]
    fn what_lies_in_the_way_of_a_new_file_is_not_written_into() {
        let dir = tempfile::tempdir().unwrap();
        let (file, fresh) = (dir.path().join("file"), dir.path().join("file.new"));
        let other = dir.path().join("other");
        fs::write(&other, b"other").unwrap();
        // A link to a file, a second name of one, and a link to nowhere.
        std::os::unix::fs::symlink(&other, &fresh).unwrap();
        replace_file(&file, b"one").unwrap();
        fs::hard_link(&other, &fresh).unwrap();
        replace_file(&file, b"two").unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &fresh).unwrap();
        replace_file(&file, b"three").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"three");
        assert_eq!(fs::read(&other).unwrap(), b"other");
        assert!(!fs::symlink_metadata(&file).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(create_file(&file, b"").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn free_space_is_known_where_something_is() {
        let dir = tempfile::tempdir().unwrap();
        assert!(disk_free(dir.path()).unwrap() > 0);
        assert!(disk_free(&dir.path().join("absent")).is_err());
    }
}
