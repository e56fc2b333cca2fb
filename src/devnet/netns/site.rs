//! A set of networks and hosts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::command::{ip, run, sysctl};
use super::error::NetnsError;
use super::host::Host;
use super::namespace::{self, Namespace, sweep};

/// The namespace in which the bridges are.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) namespace: Namespace,
    /// What the names of its hosts begin with, if they last.
    prefix: Option<String>,
    lans: AtomicU32,
}

/// Networks and hosts that only reach each other.
#[derive(Debug)]
pub struct Site {
    switch: Arc<Switch>,
}

/// One network: what is plugged into it hears each other's broadcasts.
#[derive(Debug, Clone)]
pub struct Lan {
    pub(super) bridge: String,
}

impl Site {
    /// A site of this process without any network, after removing what dead processes left behind.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn new() -> Result<Self, NetnsError> {
        sweep()?;
        let (namespace, _) = Namespace::new("switch")?;
        Self::around(namespace, None)
    }

    /// The lasting site of a name (`ocm-devnet-…`): its hosts and networks are called by what they
    /// are asked for by, made where they are not there, and left until [`remove`] ends them.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub(crate) fn lasting(name: &str) -> Result<Self, NetnsError> {
        let (namespace, was) = Namespace::lasting(format!("{name}-switch"))?;
        if was {
            return Ok(Self::of(namespace, Some(name.to_owned())));
        }
        Self::around(namespace, Some(name.to_owned()))
    }

    fn around(namespace: Namespace, prefix: Option<String>) -> Result<Self, NetnsError> {
        // The switch has no part in what passes through it.
        sysctl(namespace.name(), &["net.ipv6.conf.default.disable_ipv6=1"])?;
        Ok(Self::of(namespace, prefix))
    }

    fn of(namespace: Namespace, prefix: Option<String>) -> Self {
        Self { switch: Arc::new(Switch { namespace, prefix, lans: AtomicU32::new(0) }) }
    }

    /// One more network.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn lan(&self) -> Result<Lan, NetnsError> {
        self.lan_called(&format!("lan{}", self.switch.lans.fetch_add(1, Ordering::Relaxed)))
    }

    /// The network of a name of up to 15 characters.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub(crate) fn lan_called(&self, bridge: &str) -> Result<Lan, NetnsError> {
        let name = self.switch.namespace.name();
        if ip(name, &["link", "show", bridge]).is_err() {
            // As a plain switch does, it passes multicast on to everyone.
            let add = ["link", "add", bridge, "type", "bridge", "mcast_snooping", "0"];
            ip(name, &add)?;
            ip(name, &["link", "set", bridge, "up"])?;
        }
        Ok(Lan { bridge: bridge.to_owned() })
    }

    /// One more host, without any card. The label is a word for people, in its name.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn host(&self, label: &str) -> Result<Host, NetnsError> {
        let (namespace, number) = Namespace::new(label)?;
        Ok(Host::new(namespace, number.to_string(), self.switch.clone()))
    }

    /// The host of a label of up to 10 characters in a lasting site, and whether it was there.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub(crate) fn lasting_host(&self, label: &str) -> Result<(Host, bool), NetnsError> {
        let prefix = self.switch.prefix.as_deref().unwrap_or_default();
        let (namespace, was) = Namespace::lasting(format!("{prefix}-{label}"))?;
        Ok((Host::new(namespace, label.to_owned(), self.switch.clone()), was))
    }

    /// Ends a host of a lasting site, if it is there, with the cables of these cards: what is left of a
    /// host goes some moments after it, and a new one of its name would find its ports taken.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub(crate) fn remove_host(&self, label: &str, cards: &[&str]) -> Result<(), NetnsError> {
        let name = self.switch.namespace.name();
        for port in cards.iter().map(|card| port_of(label, card)) {
            if ip(name, &["link", "show", &port]).is_ok() {
                ip(name, &["link", "delete", &port])?;
            }
        }
        let prefix = self.switch.prefix.as_deref().unwrap_or_default();
        namespace::remove(&format!("{prefix}-{label}"))
    }

    /// Has the cables of these cards lose so many of a hundred packets of IPv4, drawn at random, in
    /// each direction; all others of this site lose none.
    ///
    /// # Errors
    /// [`NetnsError`], also where the kernel has no filter for bridges (its module `br_netfilter`).
    pub fn set_losses(&self, losses: &[(&Host, &str, u8)]) -> Result<(), NetnsError> {
        let name = self.switch.namespace.name();
        let iptables = ["netns", "exec", name, "iptables", "-w"];
        run("ip", &[&iptables, &["-F", "FORWARD"][..]].concat())?;
        for (host, card, percent) in losses {
            let (port, share) = (host.port(card), format!("{:.2}", f64::from(*percent) / 100.0));
            for direction in ["--physdev-in", "--physdev-out"] {
                let chosen = ["-A", "FORWARD", "-m", "physdev", direction, &port];
                let random = ["-m", "statistic", "--mode", "random", "--probability", &share];
                run("ip", &[&iptables, &chosen[..], &random, &["-j", "DROP"]].concat())?;
            }
        }
        if losses.is_empty() {
            return Ok(());
        }
        // The first such rule has the kernel load what this is a variable of.
        sysctl(name, &["net.bridge.bridge-nf-call-iptables=1"])
    }
}

/// What the other end of a card's cable is called.
pub(super) fn port_of(label: &str, card: &str) -> String {
    format!("{label}-{card}")
}

/// Removes the lasting site of a name, with what runs in it.
///
/// # Errors
/// [`NetnsError`], when a part of it cannot be removed; the others are.
pub(crate) fn remove(name: &str) -> Result<(), NetnsError> {
    let mut result = Ok(());
    for part in namespace::lasting(&format!("{name}-")) {
        result = result.and(namespace::remove(&part));
    }
    result
}

/// The lasting sites whose names begin so and of which an owner is known (`NAME-owner` stands beside its
/// hosts), and whether anything runs in them.
///
/// # Errors
/// [`NetnsError`].
pub(crate) fn sites(prefix: &str) -> Result<Vec<(String, bool)>, NetnsError> {
    let parts = namespace::lasting(prefix);
    let names = parts.iter().filter_map(|part| part.strip_suffix("-owner"));
    names
        .map(|name| {
            let own = parts.iter().filter(|part| part.starts_with(&format!("{name}-")));
            let mut busy = false;
            for part in own {
                busy |= !namespace::processes(part)?.is_empty();
            }
            Ok((name.to_owned(), busy))
        })
        .collect()
}
