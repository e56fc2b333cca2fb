//! One host.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;

use super::command::{ip, run, sysctl};
use super::error::NetnsError;
use super::namespace::{Namespace, command_in, within, write_etc};
use super::site::{Lan, Switch, port_of};
use crate::devnet::state::Nat;

/// A host: a network namespace with cards. When it is dropped, what runs in it is killed.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    /// What its ports at the switch are called by.
    label: String,
    switch: Arc<Switch>,
}

impl Host {
    pub(super) const fn new(namespace: Namespace, label: String, switch: Arc<Switch>) -> Self {
        Self { namespace, label, switch }
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
        let (port, end) = (self.port(card), ["peer", "name", card, "netns", self.name()]);
        let add = ["link", "add", &port, "type", "veth"];
        ip(self.switch.namespace.name(), &[&add, &end[..]].concat())?;
        self.set_lan(card, lan)?;
        ip(self.name(), &["link", "set", card, "up"])?;
        self.give(card, addresses)
    }

    /// Puts the cable of a card into another network; the card notices nothing.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn set_lan(&self, card: &str, lan: &Lan) -> Result<(), NetnsError> {
        let set = ["link", "set", &self.port(card), "master", &lan.bridge, "up"];
        ip(self.switch.namespace.name(), &set)
    }

    /// Removes a card and its cable.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn unplug(&mut self, card: &str) -> Result<(), NetnsError> {
        ip(self.switch.namespace.name(), &["link", "delete", &self.port(card)])
    }

    /// Pulls the cable of a card at the switch, or puts it back. The card keeps its addresses.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn set_link(&self, card: &str, up: bool) -> Result<(), NetnsError> {
        let state = if up { "up" } else { "down" };
        ip(self.switch.namespace.name(), &["link", "set", &self.port(card), state])
    }

    /// Gives a card other addresses, in place of those it has.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn set_addresses(&self, card: &str, addresses: &[&str]) -> Result<(), NetnsError> {
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
        write_etc(self.name(), name, text)
    }

    /// A command that runs a program on this host; it becomes that program, under its own id.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command_in(self.name(), program)
    }

    /// Runs something on a thread of this process that is on this host: the sockets it opens are
    /// the host's.
    ///
    /// # Errors
    /// [`NetnsError::File`], when the host cannot be entered.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        within(self.name(), work)
    }

    /// Lets no more through the cable of a card than so many bits a second, in each direction: what
    /// comes faster waits, for up to 100 ms, and then is lost. `None` ends it.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn set_rate(&self, card: &str, bits: Option<u64>) -> Result<(), NetnsError> {
        let ends = [(self.name(), card), (self.switch.namespace.name(), &self.port(card))];
        for (namespace, interface) in ends {
            let tc = ["netns", "exec", namespace, "tc", "qdisc"];
            let rate = bits.map(|bits| format!("{bits}bit"));
            let change: &[&str] = match &rate {
                Some(rate) => &[
                    "replace", "dev", interface, "root", "tbf", "rate", rate, "burst", "32kb",
                    "latency", "100ms",
                ],
                // The one that each card begins with, which has no limit.
                None => &["replace", "dev", interface, "root", "noqueue"],
            };
            run("ip", &[&tc, change].concat())?;
        }
        Ok(())
    }

    /// The other end of a card's cable.
    pub(super) fn port(&self, card: &str) -> String {
        port_of(&self.label, card)
    }
}
