//! The directory of a devnet: what may be put there, and how it goes away.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::{DevnetError, file};
use super::hosts;
use super::state::{Devnet, LOCK_FILE, STATE_FILE};

/// Makes sure that nothing but the lock is in a directory. What a devnet left there whose nodes
/// have all ended is removed, unless it was kept on purpose; returns whether there was one.
///
/// # Errors
/// A devnet that runs, one that was kept, or something that is no devnet's.
pub(crate) fn clear(dir: &Path) -> Result<bool, DevnetError> {
    let left = match Devnet::load(dir) {
        Err(DevnetError::None(_)) => false,
        Err(error) => return Err(error),
        Ok(devnet) if devnet.running() > 0 => {
            let (running, nodes) = (devnet.running(), devnet.nodes.len());
            return Err(DevnetError::Runs { dir: dir.to_owned(), running, nodes });
        }
        Ok(devnet) if devnet.kept => return Err(DevnetError::Kept(dir.to_owned())),
        Ok(devnet) => {
            remove(dir, &devnet)?;
            true
        }
    };
    for entry in std::fs::read_dir(dir).map_err(file("read", dir))? {
        let name = entry.map_err(file("read", dir))?.file_name();
        if name != LOCK_FILE {
            let found = name.to_string_lossy().into_owned();
            return Err(DevnetError::Occupied { dir: dir.to_owned(), found });
        }
    }
    Ok(left)
}

/// Removes what a devnet keeps in its directory, and nothing else.
pub(crate) fn remove(dir: &Path, devnet: &Devnet) -> Result<(), DevnetError> {
    hosts::remove(devnet, dir)?;
    for node in &devnet.nodes {
        // Not where the file says: a directory may have been moved or copied.
        let data_dir = dir.join(node.name());
        match std::fs::remove_dir_all(&data_dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(file("remove", data_dir)(error));
            }
            _ => {}
        }
    }
    let path = dir.join(STATE_FILE);
    std::fs::remove_file(&path).map_err(file("remove", path))
}

/// Removes the directory itself, if nothing of others is in it.
pub(crate) fn leave(dir: &Path) {
    // The lock goes last: what cannot be removed now does no harm to the next devnet.
    let _ = std::fs::remove_file(dir.join(LOCK_FILE));
    let _ = std::fs::remove_dir(dir);
}

/// A directory by its absolute name, whether or not it is there.
pub(crate) fn absolute(dir: &Path) -> Result<PathBuf, DevnetError> {
    match std::fs::canonicalize(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::path::absolute(dir).map_err(file("find", dir))
        }
        found => found.map_err(file("find", dir)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn devnet(dir: &Path) -> Devnet {
        let devnet = Devnet::plan(dir, "/bin/ocm".into(), 2, 17_000, BTreeMap::new()).unwrap();
        for node in &devnet.nodes {
            std::fs::create_dir(&node.data_dir).unwrap();
            std::fs::write(&node.log, "log").unwrap();
        }
        devnet.save(dir).unwrap();
        devnet
    }

    #[test]
    fn a_devnet_of_dead_nodes_makes_room_and_a_kept_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!clear(dir.path()).unwrap());
        std::fs::write(dir.path().join(LOCK_FILE), "").unwrap();
        let mut devnet = devnet(dir.path());
        devnet.kept = true;
        devnet.save(dir.path()).unwrap();
        assert!(matches!(clear(dir.path()), Err(DevnetError::Kept(_))));
        devnet.kept = false;
        // A process that is none any more.
        devnet.set_pid(0, Some(u32::MAX));
        devnet.save(dir.path()).unwrap();
        assert!(clear(dir.path()).unwrap());
        assert!(!dir.path().join("node-1").exists());
        leave(dir.path());
        assert!(!dir.path().exists());
    }

    #[test]
    fn nothing_of_others_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let devnet = devnet(dir.path());
        let own = dir.path().join("letter");
        std::fs::write(&own, "dear").unwrap();
        let error = clear(dir.path()).unwrap_err();
        assert!(matches!(&error, DevnetError::Occupied { found, .. } if found == "letter"));
        assert!(!devnet.nodes[0].data_dir.exists());
        leave(dir.path());
        assert!(own.exists());
    }

    #[test]
    fn a_directory_that_is_not_there_has_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("new/net");
        assert_eq!(absolute(&inner).unwrap(), inner);
        assert!(absolute(Path::new(".devnet")).unwrap().is_absolute());
    }
}
