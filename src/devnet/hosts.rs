//! The hosts of a devnet in which every node is one of its own: network namespaces that outlive the
//! command that made them.
//!
//! What is to be stands in `devnet.json` ([`HostEntry`]); what is not there is made by it, also after
//! the machine was started anew. Nodes are called by name, `node-0`, which each host's `/etc/hosts`
//! tells; whoever gets another address gets another line there.
//!
//! ```text
//!   node-0 ─ eth0 ═══════════════════════════════╗
//!   node-1 ─ eth0 ═══════════════════════════════╬═ lan-0     one for each group of a partition
//!   node-2 ─ eth0 ═ home-2 ═ eth1 ─ router-2 ─ eth0 ═╝
//! ```

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::DevnetError;
use super::netns::{self, Host, Lan, Nat, NetnsError, Site};
use super::state::{Devnet, HostEntry, NodeEntry};

/// What the names of all sites of devnets begin with.
const PREFIX: &str = "ocm-devnet-";
/// The card of each host.
const CARD: &str = "eth0";
/// The card of a router towards the host before which it is.
const INNER: &str = "eth1";
/// Addresses behind a router, and the router's own there.
const HOME: [&str; 2] = ["192.168.1.2/24", "192.168.1.1/24"];
const HOME_ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
/// The file that names the devnet's directory, beside those of the hosts of the site.
const WHOSE: &str = "devnet";

/// The addresses are those meant for tests of networks (RFC 2544, 198.18.0.0/15), which nodes take for
/// public ones: routers pass nobody through to them.
fn address(index: usize, moves: u8) -> Option<Ipv4Addr> {
    let last = u8::try_from(index + 1).ok().filter(|last| *last < u8::MAX)?;
    Some(Ipv4Addr::new(198, 18, moves, last))
}

/// The one that a host has after it has moved from this one.
fn next(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, moves, last] = address.octets();
    Ipv4Addr::new(a, b, moves.wrapping_add(1), last)
}

/// The hosts of a devnet.
#[derive(Debug)]
pub(crate) struct Hosts {
    site: Site,
}

impl Hosts {
    /// Plans a host for each node, which [`Hosts::raise`] makes.
    pub(crate) fn plan(devnet: &mut Devnet, dir: &Path) -> Result<(), DevnetError> {
        netns::can_run()?;
        sweep(dir)?;
        devnet.site = Some(format!("{PREFIX}{}", netns::this_process()));
        for node in &mut devnet.nodes {
            let address = address(node.index, 0);
            let address = address.ok_or(DevnetError::NoNode { index: node.index, last: 253 })?;
            node.host =
                Some(HostEntry { address, group: 0, nat: None, loss_percent: 0, rate_bits: None });
        }
        Ok(())
    }

    /// Makes the hosts that are not there.
    pub(crate) fn raise(devnet: &Devnet, dir: &Path) -> Result<Self, DevnetError> {
        let name = devnet.site.as_deref().ok_or(DevnetError::NoHosts)?;
        if let Some(other) = other_owner(name, dir) {
            return Err(DevnetError::Copy { dir: dir.to_owned(), of: other });
        }
        // Before anything is there that another command could take for left behind.
        netns::write_etc(&owner_of(name), WHOSE, &dir.display().to_string())?;
        let hosts = Self { site: Site::lasting(name)? };
        let mut made = false;
        for node in &devnet.nodes {
            let (host, was) = hosts.site.lasting_host(&node.name())?;
            if !was && let Err(error) = hosts.furnish(host, node) {
                // A host that is there is taken for a whole one.
                hosts.site.remove_host(&node.name(), &[CARD])?;
                return Err(error);
            }
            made |= !was;
        }
        hosts.tell_names(devnet)?;
        let loses = |node: &NodeEntry| node.host.as_ref().is_some_and(|host| host.loss_percent > 0);
        if made && devnet.nodes.iter().any(loses) {
            hosts.set_losses(devnet)?;
        }
        Ok(hosts)
    }

    /// Gives a new host its card, its place and its rate.
    fn furnish(&self, mut host: Host, node: &NodeEntry) -> Result<(), DevnetError> {
        host.plug(CARD, &self.lan(node)?, &[])?;
        self.place(node)?;
        match entry(node)?.rate_bits {
            Some(bits) => Ok(host.set_rate(CARD, Some(bits))?),
            None => Ok(()),
        }
    }

    /// The network of the group that a node is in.
    fn lan(&self, node: &NodeEntry) -> Result<Lan, DevnetError> {
        Ok(self.site.lan_called(&format!("lan-{}", entry(node)?.group))?)
    }

    fn host(&self, label: &str) -> Result<Host, DevnetError> {
        Ok(self.site.lasting_host(label)?.0)
    }

    /// Puts a host where it is to be: at its address, or behind its router.
    fn place(&self, node: &NodeEntry) -> Result<(), DevnetError> {
        let (host, to_be, lan) = (self.host(&node.name())?, entry(node)?, self.lan(node)?);
        let outside = format!("{}/16", to_be.address);
        self.site.remove_host(&router(node), &[CARD, INNER])?;
        let Some(nat) = to_be.nat else {
            host.set_lan(CARD, &lan)?;
            return Ok(host.set_addresses(CARD, &[&outside])?);
        };
        let home = self.site.lan_called(&format!("home-{}", node.index))?;
        host.set_lan(CARD, &home)?;
        host.set_addresses(CARD, &[HOME[0]])?;
        host.route("default", HOME_ROUTER.into())?;
        let mut router = self.host(&router(node))?;
        router.plug(CARD, &lan, &[&outside])?;
        router.plug(INNER, &home, &[HOME[1]])?;
        Ok(router.nat(CARD, nat)?)
    }

    /// Gives a node's host another address, or that to the router before it, which is of this kind.
    pub(crate) fn resettle(
        &self,
        devnet: &mut Devnet,
        dir: &Path,
        index: usize,
        nat: Option<Nat>,
    ) -> Result<Ipv4Addr, DevnetError> {
        let to_be = entry_of(devnet, index)?;
        (to_be.address, to_be.nat) = (next(to_be.address), nat);
        let address = to_be.address;
        devnet.save(dir)?;
        self.place(devnet.node(index)?)?;
        self.tell_names(devnet)?;
        Ok(address)
    }

    /// Puts each host into the network of its group.
    pub(crate) fn regroup(&self, devnet: &Devnet) -> Result<(), DevnetError> {
        for node in &devnet.nodes {
            let outer = if entry(node)?.nat.is_some() { router(node) } else { node.name() };
            self.host(&outer)?.set_lan(CARD, &self.lan(node)?)?;
        }
        Ok(())
    }

    /// Has the links lose as much as they are to.
    pub(crate) fn set_losses(&self, devnet: &Devnet) -> Result<(), DevnetError> {
        let mut losses = Vec::new();
        for node in &devnet.nodes {
            match entry(node)?.loss_percent {
                0 => {}
                percent => losses.push((self.host(&node.name())?, percent)),
            }
        }
        let losses: Vec<_> = losses.iter().map(|(host, percent)| (host, CARD, *percent)).collect();
        Ok(self.site.set_losses(&losses)?)
    }

    /// Has the links of these nodes let through as much as they are to.
    pub(crate) fn set_rates(&self, devnet: &Devnet, nodes: &[usize]) -> Result<(), DevnetError> {
        for index in nodes {
            let node = devnet.node(*index)?;
            self.host(&node.name())?.set_rate(CARD, entry(node)?.rate_bits)?;
        }
        Ok(())
    }

    /// Tells every host where each node is.
    fn tell_names(&self, devnet: &Devnet) -> Result<(), DevnetError> {
        let mut names = "127.0.0.1 localhost\n".to_owned();
        for node in &devnet.nodes {
            // Writing to a text does not fail.
            let _ = writeln!(names, "{} {}", entry(node)?.address, node.name());
        }
        for node in &devnet.nodes {
            self.host(&node.name())?.write_etc("hosts", &names)?;
        }
        Ok(())
    }
}

/// A command that runs a program on the host of a node: in place of `ip`, under its process id.
pub(crate) fn command(site: &str, node: &NodeEntry, program: &Path) -> Command {
    netns::command_in(&namespace(site, node), program)
}

/// Runs something whose sockets are to be those of a node's host.
pub(crate) fn within<T: Send>(
    site: &str,
    node: &NodeEntry,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetnsError> {
    netns::within(&namespace(site, node), work)
}

fn namespace(site: &str, node: &NodeEntry) -> String {
    format!("{site}-{}", node.name())
}

/// What is to be of a node's host.
pub(crate) fn entry_of(devnet: &mut Devnet, index: usize) -> Result<&mut HostEntry, DevnetError> {
    devnet.node(index)?;
    let host = devnet.nodes.get_mut(index).and_then(|node| node.host.as_mut());
    host.ok_or(DevnetError::NoHosts)
}

fn entry(node: &NodeEntry) -> Result<&HostEntry, DevnetError> {
    node.host.as_ref().ok_or(DevnetError::NoHosts)
}

fn router(node: &NodeEntry) -> String {
    format!("router-{}", node.index)
}

/// Whether the host of a node is there.
pub(crate) fn is_there(site: &str, node: &NodeEntry) -> bool {
    netns::exists(&namespace(site, node))
}

/// Whether a name is one that [`Hosts::plan`] gives: no other one is removed, whatever a file says.
pub(crate) fn is_site(name: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(pid, start)| number(pid) && number(start))
}

/// Removes the hosts of a devnet, with what runs on them. Those of a devnet of which this is a copy stay.
pub(crate) fn remove(devnet: &Devnet, dir: &Path) -> Result<(), DevnetError> {
    match &devnet.site {
        Some(site) if other_owner(site, dir).is_none() => Ok(netns::remove(site)?),
        _ => Ok(()),
    }
}

/// The place of that file: no host, so that no program is shown it.
fn owner_of(site: &str) -> String {
    format!("{site}-owner")
}

/// The directory of the devnet that a site is of, if it is another one than this.
fn other_owner(site: &str, dir: &Path) -> Option<PathBuf> {
    let owner = netns::read_etc(&owner_of(site), WHOSE).map(PathBuf::from);
    owner.filter(|owner| owner != dir && owns(owner, site))
}

/// Whether the devnet of a directory has this site.
fn owns(dir: &Path, site: &str) -> bool {
    Devnet::load(dir).is_ok_and(|devnet| devnet.site.as_deref() == Some(site))
}

/// Removes the hosts of devnets whose directory is gone, with the nodes that it was of, and those that this
/// directory, in which there is no devnet, had. Of one that has another devnet now, those on which
/// something runs are left alone.
fn sweep(own: &Path) -> Result<(), DevnetError> {
    for (site, busy) in netns::sites(PREFIX)? {
        let dir = netns::read_etc(&owner_of(&site), WHOSE).map(PathBuf::from);
        let alive = dir.as_ref().is_some_and(|dir| owns(dir, &site));
        let gone = dir.is_some_and(|dir| dir == own || !dir.exists());
        if !alive && (gone || !busy) {
            netns::remove(&site)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_devnets_are_given_are_those_of_sites() {
        assert!(is_site(&format!("{PREFIX}{}", netns::this_process())));
        for other in
            ["", "ocm", "ocm-devnet-", "ocm-devnet-1", "ocm-devnet-1-", "ocm-devnet-1-2-node-0"]
        {
            assert!(!is_site(other), "{other}");
        }
    }

    #[test]
    fn each_move_leads_to_another_address() {
        let first = address(63, 0).unwrap();
        assert_eq!(first, Ipv4Addr::new(198, 18, 0, 64));
        assert_eq!(next(first), Ipv4Addr::new(198, 18, 1, 64));
        assert_eq!(next(Ipv4Addr::new(198, 18, 255, 64)), first);
        assert_eq!(address(254, 0), None, "the last one is for broadcasts");
    }
}
