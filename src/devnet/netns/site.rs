//! A set of networks and hosts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::command::{ip, sysctl};
use super::error::NetnsError;
use super::host::Host;
use super::namespace::{Namespace, sweep};

/// The namespace in which the bridges are, and the names in it.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) namespace: Namespace,
    number: AtomicU32,
}

impl Switch {
    /// A name for an interface that no other one has.
    pub(super) fn interface(&self, kind: &str) -> String {
        format!("{kind}{}", self.number.fetch_add(1, Ordering::Relaxed))
    }
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
    pub(super) switch: Arc<Switch>,
}

impl Site {
    /// A site without any network, after removing what dead processes left behind.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn new() -> Result<Self, NetnsError> {
        sweep()?;
        let namespace = Namespace::new("switch")?;
        // The switch has no part in what passes through it.
        sysctl(namespace.name(), &["net.ipv6.conf.default.disable_ipv6=1"])?;
        Ok(Self { switch: Arc::new(Switch { namespace, number: AtomicU32::new(0) }) })
    }

    /// One more network.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn lan(&self) -> Result<Lan, NetnsError> {
        let (bridge, switch) = (self.switch.interface("lan"), self.switch.clone());
        let name = switch.namespace.name();
        // As a plain switch does, it passes multicast on to everyone.
        let add = ["link", "add", &bridge, "type", "bridge", "mcast_snooping", "0"];
        ip(name, &add)?;
        ip(name, &["link", "set", &bridge, "up"])?;
        Ok(Lan { bridge, switch })
    }

    /// One more host, without any card. The label is a word for people, in its name.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn host(&self, label: &str) -> Result<Host, NetnsError> {
        Ok(Host::new(Namespace::new(label)?))
    }
}
