//! Hosts that stand apart on one machine: network namespaces of Linux, joined by bridges.
//!
//! A [`Site`] is a set of networks and hosts. Each [`Lan`] is a bridge, each [`Host`] a namespace
//! with cards (`veth` pairs) plugged into lans. The bridges lie in a namespace of their own, too,
//! so that no interface, address or route of the machine itself is ever touched.
//!
//! ```text
//!   host ─ eth0 ══ port ─┐                    ┌─ port ══ eth0 ─ host
//!                        ├─ bridge of one lan ┤
//!   host ─ eth0 ══ port ─┘   (the switch's    └─ port ══ eth1 ─ host with two cards
//!                              namespace)
//! ```
//!
//! It takes root and the programs `ip`, `tc` and `sysctl` (and `iptables` for a [`Nat`] and for losses);
//! [`can_run`] says whether this machine allows
//! it. Everything is removed when it is dropped, with the processes that still run in it. What a
//! killed process left behind is recognised by the names (`ocm-PID-START-N-LABEL`: process, its
//! start, a number, a word) and removed by [`sweep`], which every new site begins with; namespaces
//! with other names and those of living processes are left alone. The hosts of a devnet
//! (`ocm-devnet-PID-START-LABEL`) outlive the command that made them: they are a lasting site, which is
//! removed with the devnet.

mod command;
mod error;
mod host;
mod namespace;
mod site;
#[cfg(test)]
mod tests;

pub use super::state::Nat;
pub use error::NetnsError;
pub use host::Host;
pub use namespace::sweep;
pub(crate) use namespace::{command_in, exists, read_etc, this_process, within, write_etc};
pub use site::{Lan, Site};
pub(crate) use site::{remove, sites};

/// Whether this process may make hosts on this machine: tries it with one that is removed again.
///
/// # Errors
/// Why it may not.
pub fn can_run() -> Result<(), NetnsError> {
    if !cfg!(target_os = "linux") {
        return Err(NetnsError::NotLinux);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(NetnsError::NotRoot);
    }
    let site = Site::new()?;
    let lan = site.lan()?;
    site.host("probe")?.plug("eth0", &lan, &["192.0.2.1/24"])
}
