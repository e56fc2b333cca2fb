//! Where peers are, kept from one run to the next: `<data_dir>/peers.json`.

use std::path::{Path, PathBuf};

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

/// The file, and what it holds.
pub(super) struct PeersFile {
    path: PathBuf,
    written: KeptPeers,
}

impl PeersFile {
    /// The file of a data directory, after what was loaded from it.
    pub(super) fn new(data_dir: &Path, written: KeptPeers) -> Self {
        Self { path: data_dir.join(FILE), written }
    }

    /// Writes what has changed since the last time, if anything; durable when this returns.
    ///
    /// # Errors
    /// When the file cannot be written; it then holds what it held.
    pub(super) fn save(&mut self, network: &Network) -> std::io::Result<()> {
        let kept = KeptPeers {
            addresses: network.kept().map(str::to_owned).collect(),
            peers: network.worth_remembering(),
        };
        if kept != self.written {
            let bytes = serde_json::to_vec(&kept).map_err(std::io::Error::other)?;
            replace_file(&self.path, &bytes)?;
            self.written = kept;
        }
        Ok(())
    }
}
