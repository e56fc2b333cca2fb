//! One host.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;

use super::command::{ip, run, sysctl};
use super::error::NetnsError;
use super::namespace::Namespace;
use super::site::{Lan, Switch};

/// How a router translates the addresses of those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// A port of a host is the same port outside, whomever it speaks to (port-restricted cone), as
    /// long as no other host has it.
    Cone,
    /// A port of a host is another one, drawn at random, for everyone that it speaks to.
    Symmetric,
}

/// The other end of a card's cable.
#[derive(Debug)]
struct Port {
    name: String,
    switch: Arc<Switch>,
}

/// A host: a network namespace with cards. When it is dropped, what runs in it is killed.
#[derive(Debug)]
pub struct Host {
    ports: BTreeMap<String, Port>,
    namespace: Namespace,
}

impl Host {
    pub(super) const fn new(namespace: Namespace) -> Self {
        Self { ports: BTreeMap::new(), namespace }
    }

    /// The name of its namespace, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Adds a card, `eth0` for example, with a cable to a network, and gives it addresses
    /// (`10.1.0.2/24`, `fd00::2/64`).
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn plug(&mut self, card: &str, lan: &Lan, addresses: &[&str]) -> Result<(), NetnsError> {
        let (port, switch) = (lan.switch.interface("port"), lan.switch.clone());
        let end = ["peer", "name", card, "netns", self.name()];
        let name = switch.namespace.name().to_owned();
        ip(&name, &[&["link", "add", &port, "type", "veth"], &end[..]].concat())?;
        ip(&name, &["link", "set", &port, "master", &lan.bridge, "up"])?;
        self.ports.insert(card.to_owned(), Port { name: port, switch });
        ip(self.name(), &["link", "set", card, "up"])?;
        self.give(card, addresses)
    }

    /// Removes a card and its cable.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn unplug(&mut self, card: &str) -> Result<(), NetnsError> {
        let port = self.port(card)?;
        ip(port.switch.namespace.name(), &["link", "delete", &port.name])?;
        self.ports.remove(card);
        Ok(())
    }

    /// Pulls the cable of a card at the switch, or puts it back. The card keeps its addresses.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn set_link(&self, card: &str, up: bool) -> Result<(), NetnsError> {
        let port = self.port(card)?;
        let state = if up { "up" } else { "down" };
        ip(port.switch.namespace.name(), &["link", "set", &port.name, state])
    }

    /// Gives a card other addresses, in place of those it has.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn set_addresses(&self, card: &str, addresses: &[&str]) -> Result<(), NetnsError> {
        self.port(card)?;
        ip(self.name(), &["address", "flush", "dev", card, "scope", "global"])?;
        self.give(card, addresses)
    }

    fn give(&self, card: &str, addresses: &[&str]) -> Result<(), NetnsError> {
        for address in addresses {
            let v6 = address.contains(':');
            let kind: &[&str] = if v6 { &["nodad"] } else { &["broadcast", "+"] };
            ip(self.name(), &[&["address", "add", address, "dev", card], kind].concat())?;
        }
        Ok(())
    }

    /// Sends what is for a network (`10.2.0.0/24`, `default`) to a router.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn route(&self, network: &str, router: IpAddr) -> Result<(), NetnsError> {
        ip(self.name(), &["route", "add", network, "via", &router.to_string()])
    }

    /// Makes it a router between its networks.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn forward(&self) -> Result<(), NetnsError> {
        sysctl(self.name(), &["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
    }

    /// Makes it a router that hides its networks behind the address of one card (IPv4): who is not
    /// spoken to from inside does not get in, and hears nothing.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn nat(&self, outside: &str, nat: Nat) -> Result<(), NetnsError> {
        self.port(outside)?;
        sysctl(self.name(), &["net.ipv4.ip_forward=1"])?;
        let random: &[&str] = if nat == Nat::Symmetric { &["--random-fully"] } else { &[] };
        let masquerade = ["-t", "nat", "-A", "POSTROUTING", "-o", outside, "-j", "MASQUERADE"];
        self.iptables(&[&masquerade, random].concat())?;
        // An answer of the router's own, or its memory of who knocked, would spoil what those inside
        // begin at the same moment.
        for chain in ["INPUT", "FORWARD"] {
            let unknown = ["-m", "conntrack", "!", "--ctstate", "ESTABLISHED,RELATED"];
            let drop = [&["-A", chain, "-i", outside], &unknown[..], &["-j", "DROP"]].concat();
            self.iptables(&drop)?;
        }
        Ok(())
    }

    fn iptables(&self, args: &[&str]) -> Result<(), NetnsError> {
        let head = ["netns", "exec", self.name(), "iptables", "-w"];
        run("ip", &[&head, args].concat()).map(drop)
    }

    /// Writes a file that stands for one of `/etc` (`hosts`, `resolv.conf`) to the programs that
    /// are started on this host from then on; they see a later change of it.
    ///
    /// # Errors
    /// [`NetnsError::File`].
    pub fn write_etc(&self, name: &str, text: &str) -> Result<(), NetnsError> {
        let (folder, path) = (self.namespace.etc(), self.namespace.etc().join(name));
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|source| NetnsError::File { what: "write", path, source })
    }

    /// A command that runs a program on this host; it becomes that program, under its own id.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name()]).arg(program);
        command
    }

    /// Runs something on a thread of this process that is on this host: the sockets it opens are
    /// the host's.
    ///
    /// # Errors
    /// [`NetnsError::File`], when the host cannot be entered.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        self.namespace.within(work)
    }

    fn port(&self, card: &str) -> Result<&Port, NetnsError> {
        let missing = || NetnsError::NoCard { host: self.name().to_owned(), card: card.to_owned() };
        self.ports.get(card).ok_or_else(missing)
    }
}
