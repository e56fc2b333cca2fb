//! The keys of a node, in files that only their owner can read.
//!
//! `<data_dir>/keys/author.key` signs records, `<data_dir>/keys/peer.key` is the PeerId. Each file
//! holds a 32-byte seed in base64 and a newline, with mode 600, in a directory with mode 700.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use ocm_discovery::PeerId;
use ocm_node::Identity;
use ocm_record::{Did, SigningKey};

use crate::config::Config;
use crate::store::disk::{
    create_file, owner_beside_root, remove_if_present, replace_file, sync_directory,
};

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There are none yet.
    #[error("there is no identity in {0}: run `ocm init`")]
    Absent(PathBuf),
    /// The node had an identity here, and the key of its DID is gone.
    #[error(
        "{0} is gone, and with it the identity of this node: restore it from a copy, give \
         identity.seed (OCM_IDENTITY_SEED_FILE) again, or begin anew in another data directory"
    )]
    Lost(PathBuf),
    /// A file or directory could not be read or written.
    #[error("cannot use {path}: {cause}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Root would leave files there that the owner cannot read.
    #[error(
        "{directory} belongs to user {owner}, and what root writes there that user could not read: \
         do this as that user (`sudo -u '#{owner}' …`)"
    )]
    Owner {
        /// The data directory.
        directory: PathBuf,
        /// The number of its user.
        owner: u32,
    },
    /// Others can read a key.
    #[error("{path} can be read by others (mode {mode:o}): run `chmod 600 {path}`")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file holds no key.
    #[error(
        "{path} is no key: it must hold 32 bytes in base64, it holds {bytes}; restore it from a copy"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How many bytes it decodes to.
        bytes: String,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The configured seed is of another identity than the one the data directory belongs to.
    #[error(
        "identity.seed is the key of {configured}, but {path} is the key of {stored}: remove one of the two"
    )]
    Mismatch {
        /// The identity of the configured seed.
        configured: Did,
        /// The identity of the file.
        stored: Did,
        /// The file.
        path: PathBuf,
    },
}

/// Where a data directory keeps its keys.
#[must_use]
pub fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("keys")
}

/// Reads the keys of a data directory.
///
/// # Errors
/// See [`IdentityError`]; nothing is changed.
pub fn load(config: &Config) -> Result<Identity, IdentityError> {
    let keys = directory(&config.data_dir);
    let author_file = keys.join("author.key");
    let stored = if author_file.exists() { Some(read_key(&author_file)?) } else { None };
    let configured = config.identity.seed.as_ref().map(|seed| SigningKey::from_seed(seed.reveal()));
    let author = match (configured, stored) {
        (Some(configured), Some(stored)) if configured.public() != stored.public() => {
            return Err(IdentityError::Mismatch {
                configured: Did::from(configured.public()),
                stored: Did::from(stored.public()),
                path: author_file,
            });
        }
        (Some(key), _) | (None, Some(key)) => key,
        (None, None) => return Err(IdentityError::Absent(config.data_dir.clone())),
    };
    let peer_file = keys.join("peer.key");
    if !peer_file.exists() {
        return Err(IdentityError::Absent(config.data_dir.clone()));
    }
    Ok(Identity { author, peer: read_key(&peer_file)? })
}

/// Reads the keys of a data directory, making those that are not there. Returns whether any was
/// made.
///
/// # Errors
/// See [`IdentityError`]; no existing key is ever replaced.
pub fn load_or_create(config: &Config) -> Result<(Identity, bool), IdentityError> {
    let keys = directory(&config.data_dir);
    let owner = owner_beside_root(&config.data_dir)
        .map_err(|cause| IdentityError::Io { path: config.data_dir.clone(), cause })?;
    if let Some(owner) = owner {
        return Err(IdentityError::Owner { directory: config.data_dir.clone(), owner });
    }
    remove_copies(&keys)?;
    let is_kept = keys.join("author.key").exists();
    match load(config) {
        Ok(identity) if is_kept => return Ok((identity, false)),
        Ok(_) | Err(IdentityError::Absent(_)) => {}
        Err(error) => return Err(error),
    }
    let io = |path: &Path| {
        let path = path.to_owned();
        move |cause| IdentityError::Io { path, cause }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&keys).map_err(io(&keys))?;
    let author_file = keys.join("author.key");
    // Half an identity is a loss, not a beginning: a new key would be someone else.
    let peer_exists = keys.join("peer.key").exists();
    if config.identity.seed.is_none() && !author_file.exists() && peer_exists {
        return Err(IdentityError::Lost(author_file));
    }
    if !author_file.exists() {
        // A seed is kept, too: what is in the data directory says whose it is, with another seed and
        // without any.
        match &config.identity.seed {
            Some(seed) => write_key(&author_file, seed.reveal())?,
            None => write_key(&author_file, &random_seed()?)?,
        }
    }
    let peer_file = keys.join("peer.key");
    if !peer_file.exists() {
        write_key(&peer_file, &random_seed()?)?;
    }
    fs::File::open(&keys).and_then(|dir| dir.sync_all()).map_err(io(&keys))?;
    Ok((load(config)?, true))
}

/// The transport identity of a node.
#[must_use]
pub fn peer_id(identity: &Identity) -> PeerId {
    PeerId::new(identity.peer.public())
}

/// The DID a node speaks as.
#[must_use]
pub fn did(identity: &Identity) -> Did {
    Did::from(identity.author.public())
}

/// 32 random bytes from the system.
///
/// # Errors
/// When the system has none to give.
pub fn random_seed() -> Result<[u8; 32], IdentityError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(IdentityError::Random)?;
    Ok(seed)
}

fn read_key(path: &Path) -> Result<SigningKey, IdentityError> {
    let io = |cause| IdentityError::Io { path: path.to_owned(), cause };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path: path.to_owned(), mode });
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let damaged = |bytes: String| IdentityError::Damaged { path: path.to_owned(), bytes };
    let bytes =
        BASE64.decode(text.trim().as_bytes()).map_err(|_| damaged("something else".into()))?;
    let seed: [u8; 32] =
        bytes.as_slice().try_into().map_err(|_| damaged(format!("{} bytes", bytes.len())))?;
    Ok(SigningKey::from_seed(&seed))
}

fn write_key(path: &Path, seed: &[u8; 32]) -> Result<(), IdentityError> {
    let io = |cause| IdentityError::Io { path: path.to_owned(), cause };
    let text = BASE64.encode(seed);
    put_key(path, format!("{text}\n").as_bytes(), |from, to| fs::hard_link(from, to)).map_err(io)
}

/// Puts a key where none is. It is there whole or not at all, and never takes the place of another;
/// where the file system has no hard links, a crash may leave a part, which is read as damaged.
fn put_key(
    path: &Path,
    bytes: &[u8],
    link: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let fresh = fresh_file(path);
    replace_file(&fresh, bytes)?;
    let put = match link(&fresh, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => create_file(path, bytes),
        linked => linked,
    };
    remove_if_present(&fresh)?;
    put?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Where a key is written before it has its name.
fn fresh_file(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Removes what a crash left of the making of these keys: a copy of a key that has its name.
fn remove_copies(keys: &Path) -> Result<(), IdentityError> {
    for path in ["author.key", "peer.key"].map(|name| keys.join(name)) {
        let fresh = fresh_file(&path);
        if path.exists() {
            let removed = remove_if_present(&fresh);
            removed.map_err(|cause| IdentityError::Io { path: fresh, cause })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Overrides};

    fn config(data_dir: &Path) -> Config {
        let data_dir = data_dir.to_str().unwrap();
        let variables = [("HOME", data_dir), ("OCM_DATA_DIR", data_dir)];
        let environment: Environment = variables.into_iter().collect();
        Config::load(&Overrides::new(), &environment).unwrap().config
    }

    #[test]
    fn a_copy_of_a_key_that_a_crash_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let (made, new) = load_or_create(&config).unwrap();
        let keys = directory(dir.path());
        assert!(new);
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 2);
        for name in ["author", "peer"] {
            let name = keys.join(name);
            fs::hard_link(name.with_extension("key"), name.with_extension("new")).unwrap();
        }
        let (loaded, new) = load_or_create(&config).unwrap();
        assert!(!new);
        assert_eq!(did(&loaded), did(&made));
        assert_eq!(peer_id(&loaded), peer_id(&made));
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 2);
    }

    #[test]
    fn root_makes_no_keys_in_another_users_directory() {
        use std::io::Write as _;
        if !rustix::process::geteuid().is_root() {
            // Straight to the stream: the test runner keeps to itself what `eprintln!` says.
            let _ = writeln!(io::stderr(), "skipped: only root could");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
        let told = load_or_create(&config(dir.path())).unwrap_err().to_string();
        assert!(told.contains("user 65534") && told.contains("sudo -u '#65534'"), "{told}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left there");
        std::os::unix::fs::chown(dir.path(), Some(0), None).unwrap();
        assert!(load_or_create(&config(dir.path())).is_ok());
    }

    #[test]
    fn a_key_is_put_where_no_hard_links_are_and_replaces_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peer.key");
        let unsupported = |_: &Path, _: &Path| Err(io::ErrorKind::Unsupported.into());
        put_key(&path, b"one", unsupported).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for again in [
            put_key(&path, b"two", unsupported),
            put_key(&path, b"two", |from, to| fs::hard_link(from, to)),
        ] {
            assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no second copy is left");
    }
}
