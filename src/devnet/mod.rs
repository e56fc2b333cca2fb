//! A devnet: a federation of N real nodes on this machine, each a process of this program with a
//! data directory and ports of its own.
//!
//! `ocm devnet up` makes one in a directory (`./.devnet` unless told otherwise), which holds
//! `devnet.json` ([`Devnet`]) and for each node `node-I`, its data directory, with its output in
//! `node-I/log`. Nodes are told what to be by their environment alone. They find each other by
//! seed peers on 127.0.0.1, without mDNS and beacon: each knows all others where there are at most
//! ten, else those at distances 1, 2, 4, … on a ring.
//!
//! With `--netns`, each node is a host of its own, in a network namespace with an address and a link of
//! its own ([`netns`]), which can be cut, lose packets, be slow, get another address, and stand behind
//! a router. Nodes are called by name there, and node 0 is a relay for all. No address of the machine
//! itself is taken; what speaks to a node does so on its host.
//!
//! There are two spaces, made by node 0: a shared one (`write: members`, `read: open`), in which
//! every node is a writer and which is every node's default, and a members-only one, in which the
//! last node has no role. `up` ends well only when every node is connected to every other that it
//! knows, a memory in each space has reached every node that may have it and is verified there,
//! all say that they store the same, and the last node neither holds nor was told anything of the
//! closed space.
//!
//! Only processes that `devnet.json` records are ever ended, and (where the system tells) only
//! while they run this devnet's program on the node's data directory; and, with the hosts of a devnet, all
//! that runs on them.

mod check;
mod claim;
mod command;
mod environment;
mod error;
mod hosts;
mod interrupt;
mod links;
mod load;
mod mesh;
pub mod netns;
mod partition;
mod ports;
mod process;
mod rate;
mod single;
mod state;
mod table;
mod up;
mod wait;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

pub use command::run;
pub use error::{DevnetError, Missing};
pub use load::LoadArgs;
pub use rate::Rate;
pub use state::{Devnet, HostEntry, Nat, NodeEntry, STATE_FILE, Spaces};

/// A federation of nodes on this machine.
#[derive(Debug, Clone, Args)]
pub struct DevnetArgs {
    /// The directory of the devnet
    #[arg(long, global = true, value_name = "DIR", default_value = ".devnet")]
    pub dir: PathBuf,
    /// What to do with it.
    #[command(subcommand)]
    pub command: DevnetCommand,
}

/// What is done with a devnet.
#[derive(Debug, Clone, Subcommand)]
pub enum DevnetCommand {
    /// Start a federation, and see that it is one: connected, shared, verified, equal
    #[command(
        after_help = "Example:\n  ocm devnet up --nodes 3\n\nOf your environment, nodes get \
                      OCM_DATABASE_CACHE_MIB, OCM_LOG_FORMAT, OCM_LOG_LEVEL, OCM_NETWORK_QUIC, \
                      OCM_NETWORK_SYNC_INTERVAL_SECONDS and OCM_NETWORK_TCP."
    )]
    Up(UpArgs),
    /// Show each node: its process, peers, memories and parity
    #[command(after_help = "Example:\n  ocm devnet status")]
    Status,
    /// Print the log of a node
    #[command(after_help = "Example:\n  ocm devnet logs 1 -f")]
    Logs {
        /// The node
        #[arg(value_name = "I")]
        index: usize,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
    },
    /// Run an `ocm` command against a node
    #[command(after_help = "Example:\n  ocm devnet exec 1 -- memory list --json")]
    Exec {
        /// The node
        #[arg(value_name = "I")]
        index: usize,
        /// The command and its arguments, without `ocm`
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Kill a node, without any chance to put things in order (SIGKILL)
    #[command(after_help = "Example:\n  ocm devnet kill 2")]
    Kill {
        /// The node
        #[arg(value_name = "I")]
        index: usize,
    },
    /// Start a node again that was killed or has ended, and wait until it is ready
    #[command(after_help = "Example:\n  ocm devnet start 2")]
    Start {
        /// The node
        #[arg(value_name = "I")]
        index: usize,
    },
    /// Part the nodes into groups that do not reach each other
    #[command(
        after_help = "Example:\n  ocm devnet partition 0,1/2\n  ocm devnet partition 0-4/5-9\n\n\
                      Both sides block each other over their API, also after they were stopped \
                      and started; where each node is a host of its own, the links between the \
                      groups are cut. `ocm devnet heal` ends it."
    )]
    Partition {
        /// Indexes separated by commas, groups by slashes; each node is named once
        groups: String,
    },
    /// End a partition: every node may reach every other one, and does
    #[command(after_help = "Example:\n  ocm devnet heal")]
    Heal,
    /// Have the links of nodes lose packets (with --netns)
    #[command(
        after_help = "Example:\n  ocm devnet loss 0,1 30%\n  ocm devnet loss 0-4 0%\n\nPackets of \
                      IPv4 are drawn at random, in each direction."
    )]
    Loss {
        /// Indexes separated by commas, ranges as 0-4
        nodes: String,
        /// How many of a hundred packets: 0% to 100%
        #[arg(value_parser = rate::percent)]
        percent: u8,
    },
    /// Bound what the links of nodes let through (with --netns)
    #[command(
        after_help = "Example:\n  ocm devnet rate 2 64kbit\n  ocm devnet rate 0-4 off\n\nWhat comes \
                      faster waits for up to 100 ms, and then is lost."
    )]
    Rate {
        /// Indexes separated by commas, ranges as 0-4
        nodes: String,
        /// Bits a second in each direction (kbit, mbit, gbit), or off
        rate: Rate,
    },
    /// Give a node's host another address, and wait until it is connected again (with --netns)
    #[command(
        after_help = "Example:\n  ocm devnet move 2\n\nIts peers miss it after 20 to 40 s; it has up to \
                      180 s to be connected again."
    )]
    Move {
        /// The node
        #[arg(value_name = "I")]
        index: usize,
    },
    /// Put a node's host behind a router that translates addresses, and wait until it is connected
    /// again (with --netns)
    #[command(
        after_help = "Example:\n  ocm devnet nat 1\n  ocm devnet nat 2 symmetric\n  ocm devnet nat 1 \
                      --off\n\nThe others reach it no more, it reaches them; two behind routers \
                      meet through node 0, which is a relay. Each time it gets another address, too, \
                      and has up to 180 s to be connected again."
    )]
    Nat {
        /// The node, any but node 0
        #[arg(value_name = "I")]
        index: usize,
        /// How the router translates
        #[arg(value_enum, default_value = "cone")]
        kind: Nat,
        /// Take the router away again
        #[arg(long, conflicts_with = "kind")]
        off: bool,
    },
    /// Write memories at a rate, and measure how soon every node has each
    #[command(
        after_help = "Example:\n  ocm devnet load --rate 100 --seconds 10 --size 300\n\nPrints the \
                      rate that was reached, the time from a memory's acknowledgement until its \
                      record was durable on every node, how much a memory takes on the disk, and \
                      the processor time of each node. Ctrl-C ends it, and prints what was \
                      measured."
    )]
    Load(LoadArgs),
    /// Stop all nodes, and remove the devnet
    #[command(after_help = "Example:\n  ocm devnet down")]
    Down {
        /// Keep the data of the nodes; `ocm devnet start I` starts them again
        #[arg(long)]
        keep: bool,
    },
}

/// What a new devnet is to be.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// How many nodes, from 2 to 64
    #[arg(
        long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(2..=64)
    )]
    pub nodes: u8,
    /// Make each node a host of its own, with a link of its own (network namespaces; root on Linux)
    #[arg(long)]
    pub netns: bool,
    /// Stop and remove it when everything was seen to hold, or failed to
    #[arg(long)]
    pub once: bool,
    /// How long all of it may take
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub timeout: Duration,
    /// The first port; each node takes three [default: free ones are found]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub base_port: Option<u16>,
}

/// A span of time in seconds, from a second to a day.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (1.0..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number of seconds from 1 to 86400".into()),
    }
}
