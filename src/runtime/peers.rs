//! Where peers are, kept from one run to the next: `<data_dir>/peers.json`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ocm_discovery::PeerId;
use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::store::disk::replace_file;

/// The file's name in the data directory.
const FILE: &str = "peers.json";

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KeptPeers {
    /// Addresses that the owner gave, by `ocm peer connect` and `ocm space join`.
    pub(super) addresses: Vec<String>,
    /// Peers that were connected, and where.
    pub(super) peers: Vec<(PeerId, Vec<String>)>,
}

impl KeptPeers {
    /// What the last run kept; nothing when there is no file, or a damaged one, which is reported.
    pub(super) fn load(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        let read = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        };
        read.unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "where peers were is not known: the \
                file cannot be read; addresses given by `ocm peer connect` and `ocm space join` \
                must be given again");
            Self::default()
        })
    }
}

/// What is to be kept now.
pub(super) fn kept(network: &Network) -> KeptPeers {
    KeptPeers {
        addresses: network.kept().map(str::to_owned).collect(),
        peers: network.worth_remembering(),
    }
}

/// The file, and what it holds. Clones write the same file; of two saves the later prevails.
#[derive(Debug, Clone)]
pub(super) struct PeersFile {
    path: PathBuf,
    written: Arc<Mutex<(u64, KeptPeers)>>,
}

impl PeersFile {
    /// The file of a data directory, after what was loaded from it.
    pub(super) fn new(data_dir: &Path, written: KeptPeers) -> Self {
        Self { path: data_dir.join(FILE), written: Arc::new(Mutex::new((0, written))) }
    }

    /// Writes what is to be kept, unless it is there already or a save with a higher number came
    /// before; durable when this returns. Blocks on the disk.
    ///
    /// # Errors
    /// When the file cannot be written; it then holds what it held.
    pub(super) fn save(&self, number: u64, kept: KeptPeers) -> std::io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= written.0 {
            return Ok(());
        }
        if kept != written.1 {
            let bytes = serde_json::to_vec(&kept).map_err(std::io::Error::other)?;
            replace_file(&self.path, &bytes)?;
        }
        *written = (number, kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(address: &str) -> KeptPeers {
        KeptPeers { addresses: vec![address.to_owned()], ..KeptPeers::default() }
    }

    #[test]
    fn what_was_saved_last_is_what_the_next_run_loads() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(KeptPeers::load(dir.path()), KeptPeers::default());
        let file = PeersFile::new(dir.path(), KeptPeers::default());
        file.save(2, with("b:1")).unwrap();
        file.clone().save(1, with("a:1")).unwrap();
        assert_eq!(KeptPeers::load(dir.path()), with("b:1"), "the earlier one came late");
        file.save(4, with("b:1")).unwrap();
        file.save(3, with("a:1")).unwrap();
        assert_eq!(KeptPeers::load(dir.path()), with("b:1"), "nothing new was later, too");
        file.save(5, KeptPeers::default()).unwrap();
        assert_eq!(KeptPeers::load(dir.path()), KeptPeers::default());
        std::fs::write(dir.path().join(FILE), "[1").unwrap();
        assert_eq!(KeptPeers::load(dir.path()), KeptPeers::default(), "damaged: said in the log");
    }
}
