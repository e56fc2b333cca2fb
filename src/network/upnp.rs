//! Ports mapped at the router (UPnP), by which a node at home is reached from outside.
//!
//! A round finds the router and asks for every mapping anew: so a router that restarted, another one,
//! and another outer address are noticed within [`RENEW`]. What the router says is believed as far as
//! an address goes: a public one, which others try; whether it leads here is for them to find out.

mod gateway;
mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt as _, join_all};
use libp2p::Multiaddr;

use super::address::{Transport, is_public, multiaddr, parts};
use super::draw;
use super::event::{Health, NetworkEvent};
use super::swarm::Network;
use gateway::{CONFLICT, Gateway, GatewayError, PERMANENT_ONLY};

/// Between two rounds.
const RENEW: Duration = Duration::from_secs(60);

/// How long the router keeps a mapping that is not renewed: what is left behind by a node that
/// vanishes, and longer than any round that fails by accident.
const LEASE: Duration = Duration::from_secs(600);

/// Other outer ports that are tried where another host has the one wanted.
const OTHER_PORTS: usize = 4;

/// Addresses of this host from which a router is searched.
const SEARCHED_FROM: usize = 8;

/// How long a whole round may take.
const ROUND_TIME: Duration = Duration::from_secs(30);

/// How long the end of the mappings may take when the node stops.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// What is listened on: a transport, at an address of this host.
type Inner = (Transport, SocketAddrV4);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mapping {
    outer: SocketAddrV4,
    /// When the router confirmed it last.
    confirmed: Instant,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(super) struct Round {
    gateway: Option<Gateway>,
    mapped: BTreeMap<Inner, Mapping>,
    /// Why not all is mapped.
    cause: Option<String>,
}

/// The state of the mappings.
#[derive(Default)]
pub(super) struct Mappings {
    under_way: Option<BoxFuture<'static, Round>>,
    /// The next round is due then.
    due: Option<Instant>,
    gateway: Option<Gateway>,
    mapped: BTreeMap<Inner, Mapping>,
    cause: Option<String>,
}

impl Mappings {
    /// Completes when a round does. Dropping the future loses nothing.
    pub(super) async fn round(&mut self) -> Round {
        match &mut self.under_way {
            Some(under_way) => {
                let round = under_way.await;
                self.under_way = None;
                round
            }
            None => std::future::pending().await,
        }
    }

    /// Has the next round begin at once: this host has other addresses.
    pub(super) const fn look_again(&mut self) {
        self.due = None;
    }

    /// Takes up what a round found. Mappings that it did not renew stay until their lease ends, as long
    /// as what they lead to is listened on.
    fn take_up(&mut self, round: Round, listened: &BTreeSet<Inner>, now: Instant) {
        let before = std::mem::replace(&mut self.mapped, round.mapped);
        for (inner, mapping) in before {
            let holds = now.saturating_duration_since(mapping.confirmed) < LEASE;
            if round.cause.is_some() && holds && listened.contains(&inner) {
                self.mapped.entry(inner).or_insert(mapping);
            }
        }
        self.gateway = round.gateway.or_else(|| self.gateway.take());
        self.cause = round.cause;
    }

    /// The addresses that lead here.
    pub(super) fn addresses(&self) -> BTreeSet<Multiaddr> {
        let address = |((transport, _), mapping): (&Inner, &Mapping)| {
            multiaddr((*mapping.outer.ip()).into(), mapping.outer.port(), *transport)
        };
        self.mapped.iter().map(address).collect()
    }

    fn health(&self, listened: &BTreeSet<Inner>) -> (Health, String) {
        if listened.is_empty() {
            let why = "no private IPv4 address is listened on, so there is nothing to map";
            return (Health::Off, why.to_owned());
        }
        let leads = |((transport, inner), mapping): (&Inner, &Mapping)| {
            format!("{} ({}) leads to {inner}", mapping.outer, transport.name())
        };
        let led: Vec<String> = self.mapped.iter().map(leads).collect();
        let cause = self.cause.clone();
        match (led.is_empty(), cause) {
            (true, cause) => {
                let cause = cause.unwrap_or_else(|| "a router is being searched".to_owned());
                (Health::Failing(cause.clone()), cause)
            }
            (false, None) => (Health::Working, led.join(", ")),
            (false, Some(cause)) => {
                (Health::Troubled(cause.clone()), format!("{}; {cause}", led.join(", ")))
            }
        }
    }
}

/// Finds the router and has it map everything; `held` says to which outer ports so far.
async fn run(listened: BTreeSet<Inner>, held: BTreeMap<Inner, u16>) -> Round {
    let mut round = Round::default();
    let told = tokio::time::timeout(ROUND_TIME, map_all(&mut round, listened, held)).await;
    if told.is_err() {
        round.cause = Some("the router answers too slowly".to_owned());
    }
    round
}

async fn map_all(round: &mut Round, listened: BTreeSet<Inner>, held: BTreeMap<Inner, u16>) {
    let own: BTreeSet<Ipv4Addr> = listened.iter().map(|(_, inner)| *inner.ip()).collect();
    let own: Vec<Ipv4Addr> = own.into_iter().take(SEARCHED_FROM).collect();
    let found = async {
        let gateway = search::search(&own).await?;
        let outer = gateway.external().await?;
        Ok::<_, GatewayError>((gateway, outer))
    };
    let (gateway, outer) = match found.await {
        Ok(found) => found,
        Err(error) => {
            round.cause = Some(error.to_string());
            return;
        }
    };
    if !is_public(IpAddr::V4(outer)) {
        let at = if outer.is_unspecified() { "none".to_owned() } else { outer.to_string() };
        round.cause = Some(format!(
            "the router has no public address ({at}): it is not connected, or itself behind another one"
        ));
        return;
    }
    for (transport, inner) in listened {
        if *inner.ip() != gateway.own {
            continue;
        }
        let wanted = held.get(&(transport, inner)).copied().unwrap_or(inner.port());
        match map(&gateway, transport, inner.port(), wanted).await {
            Ok(port) => {
                let outer = SocketAddrV4::new(outer, port);
                let mapping = Mapping { outer, confirmed: Instant::now() };
                round.mapped.insert((transport, inner), mapping);
            }
            Err(error) => {
                round.cause = Some(format!("{} is not mapped: {error}", transport.name()));
            }
        }
    }
    round.gateway = Some(gateway);
}

/// Maps one port, to the outer one that is wanted or to another one. Returns which.
async fn map(
    gateway: &Gateway,
    transport: Transport,
    inner: u16,
    wanted: u16,
) -> Result<u16, GatewayError> {
    let mut outer = wanted;
    for _ in 0..OTHER_PORTS {
        match map_to(gateway, transport, outer, inner).await {
            Err(GatewayError::Refused(CONFLICT, _)) => outer = other_port(draw()),
            told => return told.map(|()| outer),
        }
    }
    map_to(gateway, transport, outer, inner).await.map(|()| outer)
}

async fn map_to(
    gateway: &Gateway,
    transport: Transport,
    outer: u16,
    inner: u16,
) -> Result<(), GatewayError> {
    match gateway.map(transport, outer, inner, LEASE).await {
        Err(GatewayError::Refused(PERMANENT_ONLY, _)) => {
            gateway.map(transport, outer, inner, Duration::ZERO).await
        }
        told => told,
    }
}

/// A port of the dynamic range (RFC 6335).
fn other_port(draw: u64) -> u16 {
    let offset = u16::try_from(draw % (1 << 14)).unwrap_or_default();
    49_152 + offset
}

impl Network {
    /// What can be mapped: the private IPv4 addresses that are listened on.
    fn mappable(&self) -> BTreeSet<Inner> {
        let inner = |address: &Multiaddr| match parts(address)? {
            (IpAddr::V4(ip), port, transport) if ip.is_private() => {
                Some((transport, SocketAddrV4::new(ip, port)))
            }
            _ => None,
        };
        self.swarm.listeners().filter_map(inner).collect()
    }

    /// Begins a round when one is due.
    pub(super) fn map_due(&mut self) {
        let now = Instant::now();
        let due = self.outside.mappings.due.is_none_or(|due| due <= now);
        if !self.config.upnp || !due || self.outside.mappings.under_way.is_some() {
            return;
        }
        self.outside.mappings.due = Some(now + RENEW);
        let listened = self.mappable();
        if listened.is_empty() {
            self.on_mapped(Round::default());
            return;
        }
        let held = self.outside.mappings.mapped.iter();
        let held = held.map(|(inner, mapping)| (*inner, mapping.outer.port())).collect();
        self.outside.mappings.under_way = Some(run(listened, held).boxed());
    }

    /// Takes up what a round found, and tells others where this node is reached.
    pub(super) fn on_mapped(&mut self, round: Round) {
        let (before, listened) = (self.outside.mappings.addresses(), self.mappable());
        self.outside.mappings.take_up(round, &listened, Instant::now());
        let after = self.outside.mappings.addresses();
        self.tell_addresses();
        for gone in before.difference(&after) {
            let cause = self.outside.mappings.cause.clone();
            self.ready.push_back(NetworkEvent::ListenFailed {
                address: gone.to_string(),
                cause: cause.unwrap_or_else(|| "the router maps it no longer".to_owned()),
            });
        }
        for new in after.difference(&before) {
            self.ready.push_back(NetworkEvent::Listening { address: new.to_string() });
        }
    }

    /// How it stands with the mappings.
    pub(super) fn of_upnp(&self) -> (Health, String) {
        if !self.config.upnp {
            return (Health::Off, "switched off".to_owned());
        }
        self.outside.mappings.health(&self.mappable())
    }

    /// Ends what others would go on to keep for this node: the mappings at the router, which else
    /// end with their lease. It takes two seconds at most.
    pub async fn close(&mut self) {
        let Some(gateway) = self.outside.mappings.gateway.take() else { return };
        let mapped = std::mem::take(&mut self.outside.mappings.mapped);
        let ended = mapped.iter().map(|((transport, _), mapping)| {
            let gateway = &gateway;
            async move { gateway.unmap(*transport, mapping.outer.port()).await }
        });
        match tokio::time::timeout(CLOSE_TIME, join_all(ended)).await {
            Ok(ended) => {
                for error in ended.into_iter().filter_map(Result::err) {
                    tracing::debug!(%error, "a mapping at the router ends with its lease");
                }
            }
            Err(_) => tracing::debug!("the mappings at the router end with their lease"),
        }
    }
}

#[cfg(test)]
mod tests;
