//! What can go wrong with a devnet, and how a command ends then.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::netns::NetnsError;
use crate::client::ClientError;

/// What one node has not reached, or has done wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The node's index.
    pub node: usize,
    /// What is missing or wrong, in words.
    pub what: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}: {}", self.node, self.what)
    }
}

/// Why a command on a devnet did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// The directory holds no devnet.
    #[error(
        "there is no devnet in {0}: start one with `ocm devnet up`, or name its directory with \
         --dir"
    )]
    None(PathBuf),
    /// A devnet runs there already.
    #[error(
        "a devnet runs in {dir} already ({running} of {nodes} nodes): stop it with `ocm devnet \
         down`, or name another directory with --dir"
    )]
    Runs {
        /// The directory.
        dir: PathBuf,
        /// Nodes that run.
        running: usize,
        /// Nodes that there are.
        nodes: usize,
    },
    /// A stopped devnet was kept there on purpose.
    #[error(
        "{0} holds a devnet that was stopped and kept: `ocm devnet start I` starts its nodes, \
         `ocm devnet down` removes it"
    )]
    Kept(PathBuf),
    /// The directory holds something else.
    #[error("{dir} holds {found} and no devnet: name an empty or a new directory with --dir")]
    Occupied {
        /// The directory.
        dir: PathBuf,
        /// The first of the things in it.
        found: String,
    },
    /// Another command is changing this devnet.
    #[error("another `ocm devnet` command is at work in {0}: wait for it to end, or end it")]
    Busy(PathBuf),
    /// The file that describes the devnet cannot be understood.
    #[error(
        "{path} does not describe a devnet ({reason}): end its nodes by hand and remove the \
         directory"
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no node of this index.
    #[error("there is no node {index}: this devnet has nodes 0 to {last}")]
    NoNode {
        /// What was asked for.
        index: usize,
        /// The highest index.
        last: usize,
    },
    /// The node does not run.
    #[error("node {0} does not run: start it with `ocm devnet start {0}`")]
    NotRunning(usize),
    /// The node runs already.
    #[error("node {index} runs already, as process {pid}")]
    IsRunning {
        /// The node.
        index: usize,
        /// Its process.
        pid: u32,
    },
    /// The recorded process is not the node's.
    #[error(
        "process {pid} is not node {index}, which has ended: it was left alone; start the node \
         with `ocm devnet start {index}`"
    )]
    Stranger {
        /// The node.
        index: usize,
        /// The process.
        pid: u32,
    },
    /// A process did not end, not even by SIGKILL.
    #[error("process {pid} of node {index} did not end: see `ps -p {pid}`")]
    Unending {
        /// The node.
        index: usize,
        /// The process.
        pid: u32,
    },
    /// A port of the base that was asked for is taken.
    #[error(
        "port {port} of 127.0.0.1 is taken: free it, give another --base-port, or give none and \
         one is found"
    )]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The ports do not end before 65536.
    #[error("{nodes} nodes from port {base} would need ports past 65535: give a lower --base-port")]
    PortRange {
        /// The first port.
        base: u16,
        /// How many nodes.
        nodes: usize,
    },
    /// No base was free.
    #[error("no {ports} free ports in a row between {first} and {last}: give --base-port")]
    NoPorts {
        /// How many are needed.
        ports: usize,
        /// The first that was tried.
        first: u16,
        /// The last that was tried.
        last: u16,
    },
    /// The groups of a partition make no sense.
    #[error("{0}")]
    Groups(String),
    /// A load that cannot be.
    #[error("{0}")]
    Load(String),
    /// Nodes have no links of their own.
    #[error(
        "the nodes of this devnet are no hosts of their own, and have no links: start one with `ocm \
         devnet up --netns` (as root on Linux)"
    )]
    NoHosts,
    /// There is no router to take away.
    #[error("node {index} is behind no router: `ocm devnet nat {index}` puts it behind one")]
    NoRouter {
        /// The node.
        index: usize,
    },
    /// Another user says what root is to run.
    #[error(
        "{path} belongs to user {user}, and root does not run what it names: run `sudo -u '#{user}' ocm \
         devnet …`"
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner, by number.
        user: u32,
    },
    /// The hosts are those of another directory.
    #[error(
        "{dir} is a copy of the devnet in {of}, whose hosts it names: remove the copy with `ocm devnet \
         down`, which leaves them alone, or the other one first"
    )]
    Copy {
        /// The copy.
        dir: PathBuf,
        /// The directory that has the hosts.
        of: PathBuf,
    },
    /// The relay is to stay where it is.
    #[error(
        "node 0 is the relay of this devnet, which all must reach: put another node behind a router"
    )]
    Relay,
    /// Hosts are not as they are to be.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A program cannot be run.
    #[error("cannot run {program}: {source}")]
    Run {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file cannot be worked with.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
    /// Signals cannot be heard.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// A node did not do what its API was asked for.
    #[error("node {index} was asked to {what}: {source}")]
    Refused {
        /// The node.
        index: usize,
        /// What it was asked for.
        what: String,
        /// Why it did not.
        #[source]
        source: Box<ClientError>,
    },
    /// A node's answer lacks something.
    #[error("node {index} was asked to {what} and answered without {lacks:?}: {answer}")]
    Answer {
        /// The node.
        index: usize,
        /// What it was asked for.
        what: String,
        /// The member that is not there.
        lacks: &'static str,
        /// What it answered.
        answer: String,
    },
    /// Not everything came about in time.
    #[error("after {seconds} s, waiting until {phase}:{}", listed(missing))]
    Late {
        /// What was waited for.
        phase: &'static str,
        /// The time it had.
        seconds: f64,
        /// Which node misses what.
        missing: Vec<Missing>,
    },
    /// What was waited for cannot come about any more.
    #[error("waiting until {phase}:{}", listed(missing))]
    Failed {
        /// What was waited for.
        phase: &'static str,
        /// Which node failed, and how.
        missing: Vec<Missing>,
    },
    /// A node knows of what it was not to know.
    #[error("what is closed is not kept closed:{}", listed(missing))]
    Leaked {
        /// Which node knows what.
        missing: Vec<Missing>,
    },
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
}

fn listed(missing: &[Missing]) -> String {
    missing.iter().map(|missing| format!("\n  {missing}")).collect()
}

impl DevnetError {
    /// The exit code, one of those that the command line documents.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Occupied { .. }
            | Self::PortTaken { .. }
            | Self::PortRange { .. }
            | Self::Groups(_)
            | Self::NoHosts
            | Self::NoRouter { .. }
            | Self::Copy { .. }
            | Self::Owner { .. }
            | Self::Relay
            | Self::Load(_) => 2,
            Self::NotRunning(_) => 3,
            Self::Refused { source, .. } => match **source {
                ClientError::NotReachable { .. } => 3,
                ClientError::Timeout { .. } => 7,
                _ => 1,
            },
            Self::None(_) | Self::NoNode { .. } => 4,
            Self::Leaked { .. } => 6,
            Self::Late { .. } => 7,
            // Whoever read the output has enough of it.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }

    /// The nodes that miss something, without repetition.
    #[must_use]
    pub fn nodes(&self) -> Vec<usize> {
        let mut nodes: Vec<usize> = match self {
            Self::Late { missing, .. }
            | Self::Failed { missing, .. }
            | Self::Leaked { missing } => missing.iter().map(|missing| missing.node).collect(),
            Self::Refused { index, .. } | Self::Answer { index, .. } => vec![*index],
            _ => Vec::new(),
        };
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// As a problem, of the shape that the API has.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let (reason, title) = match self.code() {
            2 => ("usage", "wrong usage"),
            3 => ("not-reachable", "the node cannot be reached"),
            4 => ("not-found", "not found"),
            6 => ("wrong", "checked and found wrong"),
            7 => ("timed-out", "timed out"),
            _ => ("failed", "failed"),
        };
        json!({
            "type": format!("urn:ocm:{reason}"),
            "title": title,
            "status": null,
            "detail": self.to_string(),
            "nodes": self.nodes(),
        })
    }
}

/// A failure to work with a file.
pub(crate) fn file(
    what: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> DevnetError {
    let path = path.into();
    move |source| DevnetError::File { what, path, source }
}
