//! Where peers are and who is blocked, kept from one run to the next: `<data_dir>/peers.json`.
//!
//! A JSON object: `addresses`, a list of texts; `peers`, a list of `[PeerId, addresses, last]`, `last`
//! in milliseconds since the Unix epoch; and `blocked`, a list of PeerIds. What else it has is ignored.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use ocm_discovery::{PeerId, Remembered};
use serde_json::{Map, Value, json};

use crate::network::Network;
use crate::store::disk::{replace_file, sync_directory};

/// The file's name in the data directory.
const FILE: &str = "peers.json";

/// How much later a peer must have been connected for the file to be written for that alone: one
/// hour of the week for which it is remembered.
const LATER_MS: u64 = 60 * 60 * 1000;

/// Characters of what is wrong with a file that the log tells.
const FAULTS_LEN: usize = 500;

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeptPeers {
    /// Addresses that the owner gave, by `ocm peer connect` and `ocm space join`.
    pub(super) addresses: Vec<String>,
    /// Peers that were connected, and where; times since the Unix epoch.
    pub(super) peers: Vec<Remembered>,
    /// Peers that the owner blocked.
    pub(super) blocked: Vec<PeerId>,
}

impl KeptPeers {
    /// What the last run kept; nothing when there is no file. One that is damaged is set aside, and
    /// what can be read of it stays. A peer without a time counts as connected at `now_ms`.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or not be set aside; it names the file.
    pub(super) fn load(data_dir: &Path, now_ms: u64) -> anyhow::Result<Self> {
        let path = data_dir.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot read where peers are from {}", path.display())
                });
            }
        };
        let (kept, faults) = Self::decode(&bytes, now_ms);
        if !faults.is_empty() {
            let aside = set_aside(&path)
                .and_then(|aside| replace_file(&path, &kept.encode()).map(|()| aside))
                .with_context(|| format!("cannot set the damaged {} aside", path.display()))?;
            let faults: String = faults.join("; ").chars().take(FAULTS_LEN).collect();
            tracing::warn!(
                path = %path.display(),
                aside = %aside.display(),
                faults,
                "some of where peers were cannot be read; addresses given by `ocm peer connect` \
                 and `ocm space join` may have to be given again, and peers to be blocked again"
            );
        }
        Ok(kept)
    }

    /// What can be read of the file's bytes, and what cannot, in words.
    fn decode(bytes: &[u8], now_ms: u64) -> (Self, Vec<String>) {
        let (mut kept, mut faults) = (Self::default(), Vec::new());
        let mut whole: Map<String, Value> = match serde_json::from_slice(bytes) {
            Ok(whole) => whole,
            Err(error) => return (kept, vec![error.to_string()]),
        };
        let mut list = |name| match whole.remove(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                faults.push(format!("{name} is {other}"));
                Vec::new()
            }
        };
        let (addresses, peers, blocked) = (list("addresses"), list("peers"), list("blocked"));
        for peer in blocked {
            match serde_json::from_value(peer.clone()) {
                Ok(peer) => kept.blocked.push(peer),
                Err(error) => faults.push(format!("{peer}: {error}")),
            }
        }
        for address in addresses {
            match address {
                Value::String(text) => kept.addresses.push(text),
                other => faults.push(format!("{other} is no address")),
            }
        }
        for entry in peers {
            match peer(&entry, now_ms) {
                Ok(known) => kept.peers.push(known),
                Err(error) => faults.push(format!("{entry}: {error}")),
            }
        }
        (kept, faults)
    }

    fn encode(&self) -> Vec<u8> {
        let peers = self.peers.iter().map(|known| json!([known.peer, known.addresses, known.last]));
        let peers: Vec<Value> = peers.collect();
        json!({ "addresses": self.addresses, "peers": peers, "blocked": self.blocked })
            .to_string()
            .into_bytes()
    }

    /// Whether this says as much as what is written: the same addresses, and times little later.
    fn is_said_by(&self, written: &Self) -> bool {
        let same = |(now, then): (&Remembered, &Remembered)| {
            (now.peer, &now.addresses) == (then.peer, &then.addresses)
                && now.last.abs_diff(then.last) < LATER_MS
        };
        (&self.addresses, &self.blocked) == (&written.addresses, &written.blocked)
            && self.peers.len() == written.peers.len()
            && self.peers.iter().zip(&written.peers).all(same)
    }
}

/// One entry of the list of peers.
fn peer(entry: &Value, now_ms: u64) -> Result<Remembered, serde_json::Error> {
    let part = |at| entry.get(at).cloned().unwrap_or_default();
    let last: Option<u64> = serde_json::from_value(part(2))?;
    Ok(Remembered {
        peer: serde_json::from_value(part(0))?,
        addresses: serde_json::from_value(part(1))?,
        last: last.unwrap_or(now_ms),
    })
}

/// Renames a damaged file to a name of its own beside it.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let parent = path.parent().unwrap_or(Path::new("."));
    for n in 1u32.. {
        let aside = parent.join(format!("{FILE}.damaged-{n}"));
        if !aside.exists() {
            std::fs::rename(path, &aside)?;
            sync_directory(parent)?;
            return Ok(aside);
        }
    }
    Err(std::io::Error::other("no name is free to set the damaged file aside"))
}

/// What is to be kept now.
pub(super) fn kept(network: &Network) -> KeptPeers {
    KeptPeers {
        addresses: network.kept().map(str::to_owned).collect(),
        peers: network.worth_remembering(),
        blocked: network.blocked().copied().collect(),
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
        if !kept.is_said_by(&written.1) {
            replace_file(&self.path, &kept.encode())?;
            written.1 = kept;
        }
        written.0 = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_record::SigningKey;

    const NOW: u64 = 1_750_000_000_000;

    fn load(dir: &Path) -> KeptPeers {
        KeptPeers::load(dir, NOW).unwrap()
    }

    fn with(address: &str) -> KeptPeers {
        KeptPeers { addresses: vec![address.to_owned()], ..KeptPeers::default() }
    }

    fn known(n: u8, last: u64) -> Remembered {
        let peer = PeerId::new(SigningKey::from_seed(&[n; 32]).public());
        Remembered { peer, addresses: vec![format!("/ip4/192.0.2.{n}/tcp/1")], last }
    }

    #[test]
    fn what_was_saved_last_is_what_the_next_run_loads() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), KeptPeers::default());
        let file = PeersFile::new(dir.path(), KeptPeers::default());
        file.save(2, with("b:1")).unwrap();
        file.clone().save(1, with("a:1")).unwrap();
        assert_eq!(load(dir.path()), with("b:1"), "the earlier one came late");
        file.save(4, with("b:1")).unwrap();
        file.save(3, with("a:1")).unwrap();
        assert_eq!(load(dir.path()), with("b:1"), "nothing new was later, too");
        file.save(5, KeptPeers::default()).unwrap();
        assert_eq!(load(dir.path()), KeptPeers::default());
    }

    #[test]
    fn a_peer_is_kept_with_its_time_which_alone_is_seldom_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = PeersFile::new(dir.path(), KeptPeers::default());
        let at = |last| KeptPeers { peers: vec![known(1, 5), known(2, last)], ..with("a:1") };
        file.save(1, at(NOW)).unwrap();
        assert_eq!(load(dir.path()), at(NOW));
        file.save(2, at(NOW + LATER_MS - 1)).unwrap();
        assert_eq!(load(dir.path()), at(NOW));
        file.save(3, at(NOW + LATER_MS)).unwrap();
        assert_eq!(load(dir.path()), at(NOW + LATER_MS));
    }

    #[test]
    fn what_can_be_read_of_a_damaged_file_stays_and_the_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let aside = |n: u8| dir.path().join(format!("{FILE}.damaged-{n}"));
        for (n, bad) in [(1, "[1"), (2, "[]"), (3, ""), (4, r#"{"peers": 7}"#)] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(load(dir.path()), KeptPeers::default(), "{bad:?}");
            assert_eq!(std::fs::read_to_string(aside(n)).unwrap(), bad);
            assert_eq!(load(dir.path()), KeptPeers::default());
            assert!(!aside(n + 1).exists(), "set aside once");
        }
        let (one, two) = (known(1, NOW), known(2, 7));
        let mixed = json!({
            "addresses": ["a:1", 7, "b:1"],
            "peers": [
                [one.peer, one.addresses],
                ["12D3KooWnobody", ["/ip4/192.0.2.1/tcp/1"], 5],
                [one.peer, "/ip4/192.0.2.1/tcp/1", 5],
                [one.peer, one.addresses, "soon"],
                "nobody",
                [two.peer, two.addresses, two.last],
            ],
            "blocked": ["nobody", two.peer],
        });
        std::fs::write(&path, mixed.to_string()).unwrap();
        let addresses = vec!["a:1".to_owned(), "b:1".to_owned()];
        let good = KeptPeers { addresses, blocked: vec![two.peer], peers: vec![one, two] };
        assert_eq!(load(dir.path()), good);
        assert_eq!(std::fs::read_to_string(aside(5)).unwrap(), mixed.to_string());
        assert_eq!(load(dir.path()), good, "written at once");
        assert!(!aside(6).exists());
    }

    #[test]
    fn entries_without_a_time_and_fields_of_other_versions_are_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (known(1, NOW), known(2, 7));
        let other = json!({
            "version": 9,
            "peers": [[one.peer, one.addresses], [two.peer, two.addresses, two.last, "more"]],
        });
        std::fs::write(dir.path().join(FILE), other.to_string()).unwrap();
        assert_eq!(load(dir.path()), KeptPeers { peers: vec![one, two], ..KeptPeers::default() });
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(FILE)).unwrap();
        let error = KeptPeers::load(dir.path(), NOW).unwrap_err();
        assert!(format!("{error:#}").contains(dir.path().join(FILE).to_str().unwrap()), "{error}");
        assert!(dir.path().join(FILE).is_dir());
    }
}
