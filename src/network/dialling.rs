//! Dialling: what is due, what is resolved, and what came of it.

use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use ocm_discovery::{EntryId, Led, PeerId, Source};

use super::address::{PeerAddress, Target, Transport, transport_of};
use super::event::NetworkEvent;
use super::swarm::Network;
use super::{draw, from_libp2p, to_libp2p};

/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Characters of a cause that are kept.
const CAUSE_LEN: usize = 300;

/// An address that is dialled for ever.
#[derive(Debug)]
pub(super) struct Entry {
    /// As it was written.
    pub(super) text: String,
    pub(super) address: PeerAddress,
    /// Whether the configuration names it.
    pub(super) configured: bool,
    /// Whether it is to lead to a relay, at which a place is reserved.
    pub(super) relay: bool,
    /// Whether [`Network::dial`] added it; an address may be both.
    pub(super) kept: bool,
}

/// What a dial is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A place that a bootstrap entry stands for.
    Entry { id: EntryId, name: String },
    /// A peer of the table.
    Table(PeerId),
}

/// A dial under way.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    pub(super) purpose: Purpose,
    /// What is dialled when this one fails.
    rest: Vec<Multiaddr>,
    /// Who must answer.
    peer: Option<PeerId>,
}

/// What an address was resolved to.
#[derive(Debug)]
pub(super) struct Resolved {
    id: EntryId,
    targets: Result<Vec<Target>, String>,
}

impl Network {
    /// Begins every dial that is due.
    pub(super) fn dial_due(&mut self) {
        let now = self.now_ms();
        for (id, _) in self.bootstrap.due(now, draw()) {
            if let Some(entry) = self.entries.get(&id) {
                self.resolve(id, entry.address.clone());
            }
        }
        for candidate in self.table.due(now, self.config.limits.dials_per_tick, draw()) {
            let addresses: Vec<Multiaddr> = candidate
                .addresses
                .iter()
                .filter_map(|text| text.parse().ok())
                .filter(|address| self.speaks(address))
                .collect();
            let name = to_libp2p(&candidate.peer).filter(|_| !self.is_refused(&candidate.peer));
            let Some(name) = name.filter(|_| !addresses.is_empty()) else {
                self.table.dial_failed(&candidate.peer, now, draw());
                continue;
            };
            let opts = DialOpts::peer_id(name)
                .addresses(addresses)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .allocate_new_port()
                .build();
            let purpose = Purpose::Table(candidate.peer);
            self.begin(opts, Dial { purpose, rest: Vec::new(), peer: Some(candidate.peer) });
        }
    }

    /// Whether the transport of an address is on.
    pub(super) fn speaks(&self, address: &Multiaddr) -> bool {
        match transport_of(address) {
            Some(Transport::Tcp) => self.config.tcp,
            Some(Transport::Quic) => self.config.quic,
            None => false,
        }
    }

    fn resolve(&mut self, id: EntryId, address: PeerAddress) {
        let (tcp, quic) = (self.config.tcp, self.config.quic);
        self.resolving.push(Box::pin(async move {
            let targets = tokio::time::timeout(RESOLVE_TIMEOUT, address.resolve(tcp, quic))
                .await
                .unwrap_or_else(|_| Err(format!("{address} was not resolved in time")));
            Resolved { id, targets }
        }));
    }

    /// Dials what an address was resolved to.
    pub(super) fn on_resolved(&mut self, resolved: Resolved) {
        let now = self.now_ms();
        let id = resolved.id;
        match resolved.targets {
            Err(cause) => {
                self.bootstrap.resolve_failed(id, &cause, now, draw());
                self.tell(id, Err(cause));
            }
            Ok(targets) => {
                let places = targets.iter().map(|t| (t.name.clone(), t.peer)).collect();
                let (connected, bans) = (&self.connected, self.refused());
                let leave = |peer: &PeerId| connected.contains(peer) || bans.contains(peer);
                let dial = self.bootstrap.resolved(id, places, &self.own, leave, now, draw());
                for target in targets.into_iter().filter(|t| dial.contains(&t.name)) {
                    let purpose = Purpose::Entry { id, name: target.name };
                    self.attempt(Dial { purpose, rest: target.attempts, peer: target.peer }, None);
                }
            }
        }
    }

    /// Dials the next address of a dial; `cause` is why the one before failed.
    fn attempt(&mut self, mut dial: Dial, cause: Option<String>) {
        if dial.rest.is_empty() {
            let cause = cause.unwrap_or_else(|| "it resolves to no address".to_owned());
            self.finish(dial.purpose, Err(cause));
            return;
        }
        let address = dial.rest.remove(0);
        // A relay tells this node at which address it sees it. That of the port which is listened on
        // is where others can knock, if anywhere.
        let relay = match &dial.purpose {
            Purpose::Entry { id, .. } => self.entries.get(id).is_some_and(|entry| entry.relay),
            Purpose::Table(_) => false,
        };
        let opts = match dial.peer.as_ref().and_then(to_libp2p) {
            Some(name) => {
                let opts = DialOpts::peer_id(name).addresses(vec![address]);
                let opts = opts.condition(PeerCondition::Always);
                if relay { opts } else { opts.allocate_new_port() }.build()
            }
            None => {
                let opts = DialOpts::unknown_peer_id().address(address);
                if relay { opts } else { opts.allocate_new_port() }.build()
            }
        };
        self.begin(opts, dial);
    }

    fn begin(&mut self, opts: DialOpts, dial: Dial) {
        let id = opts.connection_id();
        self.dials.insert(id, dial);
        if let Err(error) = self.swarm.dial(opts) {
            self.on_dial_failed(id, &error);
        }
    }

    /// A dial came to nothing.
    pub(super) fn on_dial_failed(&mut self, id: ConnectionId, error: &DialError) {
        let Some(dial) = self.dials.remove(&id) else { return };
        let now = self.now_ms();
        let forget = |address: &Multiaddr| super::connected::without_peer(address).to_string();
        match error {
            DialError::LocalPeerId { address } => {
                if let Purpose::Table(peer) = &dial.purpose {
                    self.table.forget_address(peer, &forget(address));
                }
                self.finish(dial.purpose, Ok(Led::Own));
            }
            // The swarm leaves out what it listens on itself, and nothing else was given.
            DialError::NoAddresses => self.finish(dial.purpose, Ok(Led::Own)),
            DialError::WrongPeerId { obtained, address } => {
                let found = from_libp2p(obtained);
                if let Purpose::Table(peer) = &dial.purpose {
                    let address = forget(address);
                    if let Some(source) = self.table.source_of(peer, &address) {
                        let (found, now) = (obtained.to_string(), Instant::now());
                        self.reports.found_false(source, peer, &address, &found, now);
                    }
                    self.table.forget_address(peer, &address);
                    if let (Some(found), Some(source)) = (found, self.table.source(peer)) {
                        self.table.heard(found, &address, source, now);
                    }
                }
                let who = found.map_or_else(|| obtained.to_string(), |peer| peer.to_string());
                self.attempt_or_fail(dial, &format!("{who} answered instead of the peer expected"));
            }
            error => {
                let mut cause = cause_of(error);
                if self.config.key.is_some() && was_reached(error) {
                    cause += " (so it looks where the other side has another network.key, or none)";
                }
                self.attempt_or_fail(dial, &cause);
            }
        }
    }

    /// A dial led to a peer whose key is of another kind, and has no name here.
    pub(super) fn on_stranger(&mut self, id: ConnectionId) {
        if let Some(dial) = self.dials.remove(&id) {
            self.attempt_or_fail(dial, "the peer that answers has no Ed25519 key");
        }
    }

    fn attempt_or_fail(&mut self, dial: Dial, cause: &str) {
        let cause = cause.chars().take(CAUSE_LEN).collect();
        self.attempt(dial, Some(cause));
    }

    /// A dial led to a connection with this peer at this address. Returns what the address came
    /// from; `None` when it was forgotten while the dial was under way.
    pub(super) fn on_dial_succeeded(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &str,
    ) -> Option<Source> {
        let dial = self.dials.remove(&id)?;
        let source = match &dial.purpose {
            Purpose::Entry { id, .. } => self.entries.get(id).map(|_| Source::Bootstrap),
            Purpose::Table(peer) => {
                self.table.source(peer).filter(|_| self.table.knows(peer, address))
            }
        };
        self.finish(dial.purpose, Ok(Led::Peer(peer)));
        source
    }

    fn finish(&mut self, purpose: Purpose, outcome: Result<Led, String>) {
        let now = self.now_ms();
        match purpose {
            Purpose::Entry { id, name } => {
                let own = self.own;
                let who = outcome.clone().map(|led| match led {
                    Led::Peer(peer) => peer,
                    Led::Own => own,
                });
                self.bootstrap.dial_ended(id, &name, outcome, now, draw());
                self.tell(id, who);
            }
            Purpose::Table(peer) => {
                if !matches!(outcome, Ok(Led::Peer(_))) {
                    self.table.dial_failed(&peer, now, draw());
                    self.on_unreached(&peer);
                }
            }
        }
    }

    fn tell(&mut self, id: EntryId, outcome: Result<PeerId, String>) {
        if let Some(entry) = self.entries.get(&id) {
            let address = entry.text.clone();
            self.ready.push_back(NetworkEvent::Dialled { address, outcome });
        }
    }
}

/// Whether something was there, and it was no peer that was spoken to.
fn was_reached(error: &DialError) -> bool {
    use std::io::ErrorKind;
    let DialError::Transport(failures) = error else { return false };
    failures.iter().any(|(_, error)| {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
        let mut kinds =
            causes.filter_map(|cause| Some(cause.downcast_ref::<std::io::Error>()?.kind()));
        !kinds.any(|kind| {
            matches!(
                kind,
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::AddrNotAvailable
            )
        })
    })
}

/// Why a dial failed, in one line.
fn cause_of(error: &DialError) -> String {
    match error {
        DialError::Transport(failures) => failures
            .iter()
            .map(|(address, e)| {
                let mut text = e.to_string();
                let mut source = std::error::Error::source(e);
                while let Some(inner) = source {
                    let inner_text = inner.to_string();
                    if text.is_empty() {
                        text = inner_text;
                    } else if !text.contains(&inner_text) {
                        text = format!("{text}: {inner_text}");
                    }
                    source = inner.source();
                }
                format!("{address}: {text}")
            })
            .collect::<Vec<_>>()
            .join("; "),
        DialError::Denied { cause } => {
            let inner = std::error::Error::source(cause).map(ToString::to_string);
            format!("refused here: {}", inner.unwrap_or_else(|| cause.to_string()))
        }
        other => other.to_string(),
    }
}
