//! What can go wrong with namespaces.

use std::path::PathBuf;

/// Why a namespace, a link or an address is not as was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The system has none.
    #[error("network namespaces are there on Linux only")]
    NotLinux,
    /// The process is not root's.
    #[error("network namespaces are made by root only: run it as root")]
    NotRoot,
    /// A program ended with an error.
    #[error("`{command}` failed ({status}): {printed}")]
    Failed {
        /// The command with its arguments.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it printed.
        printed: String,
    },
    /// A program cannot be run.
    #[error(
        "cannot run `{command}`: {source}; it belongs to the packages iproute2, procps and iptables"
    )]
    Run {
        /// The command with its arguments.
        command: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of a namespace cannot be worked with.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}
