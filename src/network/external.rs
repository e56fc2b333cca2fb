//! Where others reach this node from outside: what it tells them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use libp2p::Multiaddr;

use super::address::{ip_of, is_dialable};
use super::connected::without_peer;
use super::event::Reachability;
use super::swarm::Network;
use super::upnp::Mappings;

/// How this node is reached from outside, as far as is known.
#[derive(Default)]
pub(super) struct Outside {
    /// The ports mapped at the router.
    pub(super) mappings: Mappings,
    /// What was told last of whether others can dial this node.
    pub(super) reachability: Reachability,
    /// Where others are told that it is reached.
    told: BTreeSet<Multiaddr>,
}

impl Network {
    /// Has peers told, by identify, of the addresses that the owner gave, of those that lead here
    /// through the router, and of the one at which a peer dialled this node; a relay tells those who
    /// reserve a place of what it listens on, too.
    pub(super) fn tell_addresses(&mut self) {
        let mut all: BTreeSet<Multiaddr> = self.config.external.iter().map(without_peer).collect();
        all.extend(self.outside.mappings.addresses());
        if let Reachability::Public(address) = self.reachability() {
            all.insert(address);
        }
        if self.config.relay.is_some() {
            let alone = self.config.bind.iter().all(IpAddr::is_loopback);
            let leads_here = |ip: IpAddr| is_dialable(ip) && (alone || !ip.is_loopback());
            let listened = self.swarm.listeners().filter(|a| ip_of(a).is_some_and(leads_here));
            all.extend(listened.cloned());
        }
        for gone in self.outside.told.difference(&all) {
            self.swarm.remove_external_address(gone);
        }
        for new in all.difference(&self.outside.told) {
            self.swarm.add_external_address(new.clone());
        }
        self.outside.told = all;
    }
}
