//! Ports mapped at the router (UPnP), by which a node at home is reached from outside.
//!
//! A round asks the router that is held, as long as it answers, else searches one, and asks for every
//! mapping anew: so a router that restarted, another one, and another outer address are noticed within
//! [`RENEW`], and a host that two ways lead from to one router keeps to one of them. What the router says is believed as far as
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
    /// Held mappings that were ended.
    ended: BTreeSet<Inner>,
    /// Why not all is mapped.
    cause: Option<String>,
}

/// What a round begins with: the router, and the outer ports that it maps so far.
#[derive(Debug, Default)]
struct Held {
    gateway: Option<Gateway>,
    ports: BTreeMap<Inner, u16>,
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
            let ended = round.ended.contains(&inner);
            if round.cause.is_some() && holds && listened.contains(&inner) && !ended {
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

/// Finds the router and has it map everything.
async fn run(listened: BTreeSet<Inner>, held: Held) -> Round {
    let mut round = Round::default();
    let told = tokio::time::timeout(ROUND_TIME, map_all(&mut round, listened, held)).await;
    if told.is_err() {
        round.cause = Some("the router answers too slowly".to_owned());
    }
    round
}

async fn map_all(round: &mut Round, listened: BTreeSet<Inner>, held: Held) {
    match find(&listened, held.gateway.as_ref()).await {
        Ok((gateway, outer)) if is_public(IpAddr::V4(outer)) => {
            map_at(round, gateway, outer, listened, held).await;
        }
        Ok((_, outer)) => {
            let at = if outer.is_unspecified() { "none".to_owned() } else { outer.to_string() };
            round.cause = Some(format!(
                "the router has no public address ({at}): it is not connected, or itself behind another one"
            ));
        }
        Err(error) => round.cause = Some(error.to_string()),
    }
}

/// The router that is held, as long as it has a public address and this host its own on that network;
/// else the one that a search finds. And its outer address.
async fn find(
    listened: &BTreeSet<Inner>,
    held: Option<&Gateway>,
) -> Result<(Gateway, Ipv4Addr), GatewayError> {
    let own: BTreeSet<Ipv4Addr> = listened.iter().map(|(_, inner)| *inner.ip()).collect();
    if let Some(held) = held.filter(|held| own.contains(&held.own))
        && let Ok(outer) = held.external().await
        && is_public(IpAddr::V4(outer))
    {
        return Ok((held.clone(), outer));
    }
    let own: Vec<Ipv4Addr> = own.into_iter().take(SEARCHED_FROM).collect();
    let gateway = search::search(&own).await?;
    let outer = gateway.external().await?;
    Ok((gateway, outer))
}

/// Has a router map everything, after the held mappings are ended that it does not go on with.
async fn map_at(
    round: &mut Round,
    gateway: Gateway,
    outer: Ipv4Addr,
    listened: BTreeSet<Inner>,
    held: Held,
) {
    let goes_on = |inner| held.gateway.as_ref() == Some(&gateway) && listened.contains(inner);
    let ended = || held.ports.iter().filter(|(inner, _)| !goes_on(inner));
    round.ended = ended().map(|(inner, _)| *inner).collect();
    if let Some(gateway) = &held.gateway {
        unmap(gateway, ended().map(|((transport, _), port)| (*transport, *port))).await;
    }
    let wanted = |(transport, inner): Inner| {
        let same = |held: &&Inner| (held.0, held.1.port()) == (transport, inner.port());
        let port = held.ports.get(&(transport, inner));
        // Or that by which another address of this host was reached.
        port.or_else(|| held.ports.get(held.ports.keys().find(same)?)).copied()
    };
    for (transport, inner) in listened.iter().copied() {
        if *inner.ip() != gateway.own {
            continue;
        }
        let wanted = wanted((transport, inner)).unwrap_or(inner.port());
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

/// Ends mappings. A router that does not do so lets them end with their lease.
async fn unmap(gateway: &Gateway, ports: impl Iterator<Item = (Transport, u16)>) {
    let ended = ports.map(|(transport, outer)| gateway.unmap(transport, outer));
    for error in join_all(ended).await.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "a mapping at the router ends with its lease");
    }
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
        let Mappings { gateway, mapped, .. } = &self.outside.mappings;
        let ports = mapped.iter().map(|(inner, mapping)| (*inner, mapping.outer.port())).collect();
        let held = Held { gateway: gateway.clone(), ports };
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
        let ports =
            mapped.iter().map(|((transport, _), mapping)| (*transport, mapping.outer.port()));
        if tokio::time::timeout(CLOSE_TIME, unmap(&gateway, ports)).await.is_err() {
            tracing::debug!("the mappings at the router end with their lease");
        }
    }
}

#[cfg(test)]
mod tests;
