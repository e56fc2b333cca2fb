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
use crate::store::disk::{replace_file, sync_directory};

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
    match load(config) {
        Ok(identity) => return Ok((identity, false)),
        Err(IdentityError::Absent(_)) => {}
        Err(error) => return Err(error),
    }
    let keys = directory(&config.data_dir);
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
    if config.identity.seed.is_none() && !author_file.exists() {
        write_key(&author_file)?;
    }
    let peer_file = keys.join("peer.key");
    if !peer_file.exists() {
        write_key(&peer_file)?;
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

fn write_key(path: &Path) -> Result<(), IdentityError> {
    let io = |cause| IdentityError::Io { path: path.to_owned(), cause };
    let text = BASE64.encode(&random_seed()?);
    // The key is there whole or not at all, and never takes the place of another.
    let fresh = path.with_extension("new");
    replace_file(&fresh, format!("{text}\n").as_bytes()).map_err(io)?;
    fs::hard_link(&fresh, path).map_err(io)?;
    fs::remove_file(&fresh).map_err(io)?;
    sync_directory(path.parent().unwrap_or(Path::new("."))).map_err(io)
}
