//! What is shown and measured of a running node.

use std::time::{Duration, Instant, UNIX_EPOCH};

use ocm_node::Event;

use super::event_loop::now_ms;
use crate::handle::{Connection, NetworkStatus, SourceHealth, Status};
use crate::network::{Direction, Health, Network};
use crate::telemetry::metrics::{Metrics, Outcome, Queue, Reachability, Reason, Verdict};

/// How long a copy of the node's key is shown after it was last heard.
const COPY_SHOWN: Duration = Duration::from_secs(10 * 60);

/// The network's part of the status.
pub(super) fn of_network(network: &Network) -> NetworkStatus {
    let connections = network
        .peers()
        .into_iter()
        .map(|info| Connection {
            peer: info.peer,
            relayed: info.relayed,
            address: info.addresses.into_iter().next().unwrap_or_default(),
            transport: info.transport.map_or("other", |transport| transport.name()),
            direction: match info.direction {
                Direction::Inbound => "inbound",
                Direction::Outbound => "outbound",
            },
            since_ms: info
                .since
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            rtt_us: info.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            source: info.source.name(),
            agent: info.agent,
        })
        .collect();
    let discovery = network.sources();
    let mut sources: Vec<SourceHealth> = discovery
        .sources
        .into_iter()
        .map(|source| {
            let state = state_of(&source.health);
            SourceHealth { name: source.source.name(), state, detail: source.detail }
        })
        .collect();
    for (name, found) in [("relays", discovery.relays), ("relaying", discovery.relaying)] {
        sources.extend(found.map(|(health, detail)| {
            let state = state_of(&health);
            SourceHealth { name, state, detail }
        }));
    }
    for (name, (health, detail)) in
        [("upnp", discovery.upnp), ("reachability", discovery.reachability)]
    {
        sources.push(SourceHealth { name, state: state_of(&health), detail });
    }
    if let Some((ip, ago)) = discovery.copied_at.filter(|(_, ago)| *ago < COPY_SHOWN) {
        sources.push(SourceHealth {
            name: "key",
            state: "failed",
            detail: format!(
                "another process has this node's peer key: {} beacons of it were heard, the last \
                 from {ip} {} s ago",
                discovery.copied_key,
                ago.as_secs()
            ),
        });
    }
    NetworkStatus {
        listen: network.listen_addresses(),
        connections,
        blocked: network.blocked().copied().collect(),
        sources,
        reachability: Some(network.reachability().name()),
        network_key: network.key().map(|key| key.fingerprint().to_string()),
    }
}

const fn state_of(health: &Health) -> &'static str {
    match health {
        Health::Off => "off",
        Health::Working => "ok",
        Health::Troubled(_) => "troubled",
        Health::Failing(_) => "failed",
    }
}

/// Counts an event.
pub(super) fn observe(metrics: &Metrics, event: &Event) {
    if let Event::SessionEnded { outcome, .. } = event
        && let Some(outcome) = Outcome::named(outcome)
    {
        metrics.session_ended(outcome);
    }
}

/// A moment of the wall clock by the monotonic one, `None` before that began.
fn instant(at_ms: u64) -> Option<Instant> {
    Instant::now().checked_sub(Duration::from_millis(now_ms().saturating_sub(at_ms)))
}

/// Sets what is measured by looking.
pub(super) fn measure(metrics: &Metrics, status: &Status) {
    let memories: u64 = status.core.spaces.iter().map(|space| space.tallies.memories).sum();
    metrics.memories.set(i64::try_from(memories).unwrap_or(i64::MAX));
    let peers = status.core.peers.len();
    metrics.peers_connected.set(i64::try_from(peers).unwrap_or(i64::MAX));
    metrics.set_isolated(peers == 0);
    if let Some(known) = status.network.reachability.and_then(Reachability::named) {
        metrics.set_reachability(known);
    }
    for (queue, entries) in &status.queues {
        if let Some(queue) = Queue::named(queue) {
            metrics.set_queue_depth(queue, *entries);
        }
    }
    for ((verdict, reason), count) in &status.core.admissions {
        if let (Some(verdict), Some(reason)) = (Verdict::named(verdict), Reason::named(reason)) {
            metrics.raise_admissions(verdict, reason, *count);
        }
    }
    let shared = status.core.peers.iter().flat_map(|peer| {
        peer.shared.keys().filter_map(|space| status.core.parity(*space, peer.peer))
    });
    let oldest = shared.map(|parity| parity.at_ms).min();
    metrics.set_oldest_parity(oldest.and_then(instant));
    let spaces = status.core.spaces.iter();
    let since =
        spaces.map(|space| (space.id.to_string(), space.differs_since_ms.and_then(instant)));
    metrics.set_divergences(since.collect());
}
