//! `devnet.json`: which nodes a devnet has, where they are and which processes they are.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::error::{DevnetError, file};
use super::hosts;
use super::ports;
use super::process::{Standing, standing};
use crate::store::disk::owner_beside_root;

/// The file in a devnet's directory that describes it.
pub const STATE_FILE: &str = "devnet.json";
/// The file whose lock a command holds while it changes the devnet.
pub(crate) const LOCK_FILE: &str = "devnet.lock";
/// Bytes of the longest file that is read.
const LONGEST: u64 = 1024 * 1024;
/// The version of the file's form.
const VERSION: u32 = 1;

/// A devnet, as `devnet.json` (mode 600) describes it:
///
/// ```json
/// {
///   "version": 1,
///   "executable": "/usr/local/bin/ocm",
///   "base_port": 17000,
///   "settings": {"OCM_LOG_LEVEL": "info"},
///   "kept": false,
///   "spaces": {"shared": "v…", "closed": "v…"},
///   "nodes": [
///     {"index": 0, "pid": 4711, "did": "did:key:z6Mk…", "peer_id": "12D3Koo…",
///      "api": "127.0.0.1:17001", "port": 17000, "data_dir": "/tmp/net/node-0",
///      "log": "/tmp/net/node-0/log"}
///   ]
/// }
/// ```
///
/// Where each node is a host of its own, there is also `"site"`, the name that the network namespaces
/// begin with, and each node has a `"host"`:
///
/// ```json
/// {"address": "198.18.0.1", "group": 0, "nat": null, "loss_percent": 0, "rate_bits": null}
/// ```
///
/// `pid` is null for a node that was stopped; a process that ended by itself keeps its number here
/// until `devnet status` or another command looks. A space is null until it has been made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devnet {
    /// The version of this form: 1.
    pub version: u32,
    /// The program that the nodes run, absolute.
    pub executable: PathBuf,
    /// The first port; node I has three from `base_port + 3 * I`: federation, API, discovery.
    pub base_port: u16,
    /// Variables that every node has besides those that follow from its index.
    pub settings: BTreeMap<String, String>,
    /// Whether the devnet was stopped and kept on purpose.
    pub kept: bool,
    /// What the names of the namespaces begin with in which the nodes are, if they are in such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The spaces.
    pub spaces: Spaces,
    /// The nodes, by index.
    pub nodes: Vec<NodeEntry>,
}

/// The ids of a devnet's two spaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spaces {
    /// The space that all nodes write to and anyone may read.
    pub shared: Option<String>,
    /// The members-only space, in which the last node has no role.
    pub closed: Option<String>,
}

/// One node of a devnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its index, from 0.
    pub index: usize,
    /// Its process; `None` when it was stopped.
    pub pid: Option<u32>,
    /// Who it speaks as.
    pub did: String,
    /// Its transport identity.
    pub peer_id: String,
    /// Where its API listens: `127.0.0.1:port`.
    pub api: String,
    /// Its federation port: TCP, and QUIC on UDP.
    pub port: u16,
    /// Its data directory, absolute.
    pub data_dir: PathBuf,
    /// The file that its output goes to.
    pub log: PathBuf,
    /// Its host, if it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostEntry>,
}

/// The host that a node has of its own, and the link of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// Where the others find it: its own address, or that of the router before it.
    pub address: Ipv4Addr,
    /// The group of a partition that it is in.
    pub group: usize,
    /// The router before it, if there is one.
    pub nat: Option<Nat>,
    /// Packets that its link loses of a hundred, in each direction.
    pub loss_percent: u8,
    /// Bits a second that its link lets through, in each direction; all where it is `None`.
    pub rate_bits: Option<u64>,
}

/// How the router before a host translates addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Nat {
    /// A port of a host is the same port outside, whomever it speaks to (port-restricted cone), as
    /// long as no other host has it.
    Cone,
    /// A port of a host is another one, drawn at random, for everyone that it speaks to.
    Symmetric,
}

impl fmt::Display for HostEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match self.nat {
            Some(Nat::Cone) => f.write_str(", behind a NAT (cone)")?,
            Some(Nat::Symmetric) => f.write_str(", behind a NAT (symmetric)")?,
            None => {}
        }
        if self.loss_percent > 0 {
            write!(f, ", loses {} %", self.loss_percent)?;
        }
        if let Some(bits) = self.rate_bits {
            write!(f, ", {}", super::rate::Rate(Some(bits)))?;
        }
        if self.group > 0 {
            write!(f, ", group {}", self.group)?;
        }
        Ok(())
    }
}

impl NodeEntry {
    /// What its recorded process is.
    pub(crate) fn standing(&self, executable: &Path) -> Standing {
        self.pid.map_or(Standing::Gone, |pid| standing(pid, executable, &self.data_dir))
    }

    /// How it is called.
    pub(crate) fn name(&self) -> String {
        format!("node-{}", self.index)
    }
}

impl Devnet {
    /// A devnet of nodes that have neither processes nor identities yet, in an absolute directory.
    pub(crate) fn plan(
        dir: &Path,
        executable: PathBuf,
        nodes: usize,
        base_port: u16,
        settings: BTreeMap<String, String>,
    ) -> Result<Self, DevnetError> {
        let too_high = || DevnetError::PortRange { base: base_port, nodes };
        let entry = |index| {
            let ports = ports::of_node(base_port, index).ok_or_else(too_high)?;
            let data_dir = dir.join(format!("node-{index}"));
            Ok(NodeEntry {
                index,
                pid: None,
                did: String::new(),
                peer_id: String::new(),
                api: format!("127.0.0.1:{}", ports.api),
                port: ports.federation,
                log: data_dir.join("log"),
                data_dir,
                host: None,
            })
        };
        Ok(Self {
            version: VERSION,
            executable,
            base_port,
            settings,
            kept: false,
            site: None,
            spaces: Spaces::default(),
            nodes: (0..nodes).map(entry).collect::<Result<_, DevnetError>>()?,
        })
    }

    /// Reads the devnet of a directory.
    ///
    /// # Errors
    /// [`DevnetError::None`] when there is none, [`DevnetError::State`] when its file is none of
    /// this version.
    pub fn load(dir: &Path) -> Result<Self, DevnetError> {
        let path = dir.join(STATE_FILE);
        let opened = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DevnetError::None(dir.to_owned()));
            }
            opened => opened.map_err(file("open", &path))?,
        };
        // It tells which programs to run, and with which variables.
        if let Some(user) = owner_beside_root(&path).map_err(file("read", &path))? {
            return Err(DevnetError::Owner { path, user });
        }
        let mut text = String::new();
        opened.take(LONGEST).read_to_string(&mut text).map_err(file("read", &path))?;
        let wrong = |reason: String| DevnetError::State { path: path.clone(), reason };
        let devnet: Self = serde_json::from_str(&text).map_err(|why| wrong(why.to_string()))?;
        if devnet.version != VERSION {
            return Err(wrong(format!("it has version {}, known is {VERSION}", devnet.version)));
        }
        let in_order = devnet.nodes.iter().enumerate().all(|(at, node)| at == node.index);
        if devnet.nodes.is_empty() || !in_order {
            return Err(wrong("its nodes are not numbered from 0".into()));
        }
        if let Some(site) = devnet.site.as_deref().filter(|site| !hosts::is_site(site)) {
            return Err(wrong(format!("{site:?} is no name of its hosts")));
        }
        Ok(devnet)
    }

    /// Writes it, whole or not at all, readable to its owner only.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), DevnetError> {
        let (path, new) = (dir.join(STATE_FILE), dir.join("devnet.json.new"));
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|why| DevnetError::State { path: path.clone(), reason: why.to_string() })?;
        text.push('\n');
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut written = options.open(&new).map_err(file("make", &new))?;
        written.write_all(text.as_bytes()).map_err(file("write", &new))?;
        written.sync_data().map_err(file("write", &new))?;
        std::fs::rename(&new, &path).map_err(file("write", &path))
    }

    /// A node by its index.
    pub(crate) fn node(&self, index: usize) -> Result<&NodeEntry, DevnetError> {
        let last = self.nodes.len().saturating_sub(1);
        self.nodes.get(index).ok_or(DevnetError::NoNode { index, last })
    }

    /// How many of its nodes run.
    pub(crate) fn running(&self) -> usize {
        let runs = |node: &&NodeEntry| node.standing(&self.executable) == Standing::Ours;
        self.nodes.iter().filter(runs).count()
    }

    /// Records the process of a node.
    pub(crate) fn set_pid(&mut self, index: usize, pid: Option<u32>) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.pid = pid;
        }
    }
}

/// The right to change the devnet of a directory, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock of a directory that is there.
    pub(crate) fn take(dir: &Path) -> Result<Self, DevnetError> {
        let path = dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let held = options.open(&path).map_err(file("make", &path))?;
        match held.try_lock() {
            Ok(()) => Ok(Self(held)),
            Err(TryLockError::WouldBlock) => Err(DevnetError::Busy(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(file("lock", path)(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file gives the lock up in any case.
        let _ = self.0.unlock();
    }
}

/// Makes a directory that only its owner can look into.
pub(crate) fn make_directory(path: &Path) -> Result<(), DevnetError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file("make", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn plan(dir: &Path) -> Devnet {
        let settings = [("OCM_LOG_LEVEL".to_owned(), "debug".to_owned())].into();
        let mut devnet = Devnet::plan(dir, "/bin/ocm".into(), 2, 17_000, settings).unwrap();
        devnet.set_pid(1, Some(77));
        devnet.spaces.shared = Some("v1".into());
        devnet
    }

    #[test]
    fn what_is_saved_is_read_back_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let devnet = plan(dir.path());
        devnet.save(dir.path()).unwrap();
        assert_eq!(Devnet::load(dir.path()).unwrap(), devnet);
        let mode = std::fs::metadata(dir.path().join(STATE_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_shape_of_the_file_is_stable() {
        let devnet = plan(Path::new("/net"));
        assert_eq!(
            serde_json::to_value(&devnet).unwrap(),
            serde_json::json!({
                "version": 1, "executable": "/bin/ocm", "base_port": 17000, "kept": false,
                "settings": {"OCM_LOG_LEVEL": "debug"},
                "spaces": {"shared": "v1", "closed": null},
                "nodes": [
                    {"index": 0, "pid": null, "did": "", "peer_id": "", "api": "127.0.0.1:17001",
                     "port": 17000, "data_dir": "/net/node-0", "log": "/net/node-0/log"},
                    {"index": 1, "pid": 77, "did": "", "peer_id": "", "api": "127.0.0.1:17004",
                     "port": 17003, "data_dir": "/net/node-1", "log": "/net/node-1/log"},
                ],
            })
        );
    }

    #[test]
    fn what_is_no_devnet_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Devnet::load(dir.path()), Err(DevnetError::None(_))));
        let mut wrong = plan(dir.path());
        wrong.version = 2;
        wrong.save(dir.path()).unwrap();
        assert!(matches!(Devnet::load(dir.path()), Err(DevnetError::State { .. })));
        wrong.version = 1;
        wrong.nodes.remove(0);
        wrong.save(dir.path()).unwrap();
        assert!(matches!(Devnet::load(dir.path()), Err(DevnetError::State { .. })));
        let mut wrong = plan(dir.path());
        wrong.site = Some("ocm".into());
        wrong.save(dir.path()).unwrap();
        let error = Devnet::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains("no name of its hosts"), "{error}");
        std::fs::write(dir.path().join(STATE_FILE), "{}").unwrap();
        assert!(matches!(Devnet::load(dir.path()), Err(DevnetError::State { .. })));
    }

    #[test]
    fn nodes_past_the_last_port_and_past_the_last_index_are_refused() {
        let plan = |base| Devnet::plan(Path::new("/n"), "/o".into(), 3, base, BTreeMap::new());
        assert!(matches!(plan(65_528), Err(DevnetError::PortRange { nodes: 3, .. })));
        let devnet = plan(65_527).unwrap();
        assert!(matches!(devnet.node(3), Err(DevnetError::NoNode { index: 3, last: 2 })));
    }

    #[test]
    fn only_one_command_changes_a_devnet_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path()).unwrap();
        assert!(matches!(Lock::take(dir.path()), Err(DevnetError::Busy(_))));
        drop(held);
        Lock::take(dir.path()).unwrap();
    }
}
