//! Lookup of peers by space: a Kademlia of those who opt in, of which the library is
//! [`libp2p::kad`]. Whom it tells of is put into the one table of peers and dialled from there.

mod behaviour;
mod store;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use libp2p::kad::{self, QueryId, QueryResult};
use libp2p::metrics::Recorder as _;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, StreamProtocol, identify};
use ocm_discovery::{Lookup, LookupKey, PeerId, Sighting, Source};
use ocm_record::SpaceId;

pub(super) use self::behaviour::{Behaviour, Event};
use super::address::{multiaddr, parts};
use super::event::Health;
use super::swarm::Network;
use super::{draw, from_libp2p, to_libp2p};

/// The name of the protocol: a network of its own, apart from other users of Kademlia.
pub const LOOKUP_PROTOCOL: &str = "/ocm/kad/1.0.0";

/// A connection with a peer that only a lookup told of, and with which no space is shared, is left
/// after this, in milliseconds: by then both have said which spaces they have.
const STRANGER_MS: u64 = 60_000;

/// What a node does for the lookup of peers by space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupMode {
    /// It announces itself, and asks.
    Client,
    /// It also answers, and keeps announcements of others.
    Server,
}

/// The lookups of this node.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    plan: Lookup,
    round: Option<Round>,
    /// Peers that queries want to speak with, and the queries that may: afterwards they are forgotten.
    wanted: BTreeMap<PeerId, Vec<QueryId>>,
    /// Where those answer that have yet to prove that they are spoken to; connected ones alone.
    unproved: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// How many answered in the last round, once there was one.
    answered: Option<u32>,
    /// Peers that were told of as holding a space and not known before, so far.
    found: u64,
}

/// The round under way for a space.
#[derive(Debug)]
struct Round {
    space: SpaceId,
    /// The query for the announcement, then that for the others.
    query: QueryId,
    found: bool,
}

impl Lookups {
    /// Takes out the peers that none of the queries wants which are under way.
    fn no_longer_wanted(&mut self, under_way: &[QueryId]) -> Vec<PeerId> {
        let mut gone = Vec::new();
        self.wanted.retain(|peer, queries| {
            let wanted = queries.iter().any(|query| under_way.contains(query));
            if !wanted {
                gone.push(*peer);
            }
            wanted
        });
        gone
    }

    /// Whether no round is under way, and nobody waits to be asked.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.round.is_none() && self.unproved.is_empty()
    }
}

impl Network {
    /// Looks up who else holds a space, from now on, if that is on. The space is one that everyone
    /// may read: whoever is asked and knows its id learns that this node holds it.
    pub fn look_up(&mut self, space: SpaceId) {
        let now = self.now_ms();
        if self.lookup().is_some() && !self.lookups.plan.add(space, now) {
            tracing::debug!(%space, "not looked up once more");
        }
    }

    /// Tells that a space is shared with these peers. Others that only a lookup told of are left after a
    /// minute, and not remembered.
    pub fn shares_with(&mut self, peers: impl IntoIterator<Item = PeerId>) {
        for peer in peers {
            self.table.shares(&peer);
        }
    }

    pub(super) fn lookup(&mut self) -> Option<&mut Behaviour> {
        self.swarm.behaviour_mut().lookup.as_mut()
    }

    /// A peer has proved that it is spoken to: it is heard, and asked if it answers.
    pub(super) fn on_proved(&mut self, peer: &PeerId) {
        let answers = self.lookups.unproved.remove(peer);
        let Some(name) = to_libp2p(peer) else { return };
        let Some(lookup) = self.lookup() else { return };
        lookup.trust(name);
        if let Some(addresses) = answers {
            self.route(&name, addresses);
            if self.table.is_known_only_by(peer, &[Source::Lookup]) {
                // The round that led to it went on without it.
                let now = self.now_ms();
                self.lookups.plan.repeat(now);
            } else {
                self.look_up_soon();
            }
        }
    }

    /// Asks a peer no more that is not spoken to.
    pub(super) fn ask_no_more(&mut self, peer: &PeerId) {
        self.lookups.unproved.remove(peer);
        if let (Some(name), Some(lookup)) = (to_libp2p(peer), self.lookup()) {
            lookup.unroute(&name);
        }
    }

    /// Begins the round that is due.
    pub(super) fn look_up_due(&mut self) {
        let now = self.now_ms();
        let Some(lookup) = self.swarm.behaviour_mut().lookup.as_mut() else { return };
        if lookup.routes() == 0 {
            return;
        }
        let Some(space) = self.lookups.plan.due(now) else { return };
        match lookup.announce(&LookupKey::of(&space)) {
            Some(query) => self.lookups.round = Some(Round { space, query, found: false }),
            None => self.lookups.plan.ended(&space, false, now, draw()),
        }
    }

    /// Looks up soon: there is a new address to tell, or one more to ask.
    pub(super) fn look_up_soon(&mut self) {
        let now = self.now_ms();
        self.lookups.plan.hurry(now);
    }

    pub(super) fn on_lookup(&mut self, event: Event) {
        match event {
            Event::Wanted { peer, addresses } => {
                let texts = addresses.iter().map(ToString::to_string);
                if !self.hear_of(peer, texts, None).is_some_and(is_taken) {
                    if let Some(lookup) = self.lookup() {
                        lookup.go_without(peer);
                    }
                    return;
                }
                let queries = self.lookup().map(|lookup| lookup.queries()).unwrap_or_default();
                if let Some(peer) = from_libp2p(&peer) {
                    self.lookups.wanted.insert(peer, queries);
                }
            }
            Event::Found { peer, addresses, from } => {
                let texts = addresses.iter().map(ToString::to_string);
                let sighting = self.hear_of(peer, texts, from);
                let Some(peer) = from_libp2p(&peer) else { return };
                self.lookups.wanted.remove(&peer);
                if sighting == Some(Sighting::New) {
                    tracing::debug!(%peer, "found");
                    self.lookups.found += 1;
                    if let Some(round) = &mut self.lookups.round {
                        round.found = true;
                    }
                }
            }
            Event::Library(event) => {
                self.metrics.record(&*event);
                if let kad::Event::OutboundQueryProgressed { id, result, stats, step } = *event
                    && step.last
                {
                    self.on_query_ended(id, &result, stats.num_successes());
                }
            }
        }
    }

    /// Puts a peer that others tell of into the table. `None` when it is not one to speak with.
    fn hear_of(
        &mut self,
        peer: libp2p::PeerId,
        addresses: impl Iterator<Item = String>,
        from: Option<std::net::IpAddr>,
    ) -> Option<Sighting> {
        let peer = from_libp2p(&peer).filter(|peer| !self.is_refused(peer))?;
        let now = self.now_ms();
        let mut result = None;
        for text in addresses {
            let sighting = match from {
                Some(from) => self.table.heard_from(peer, from, &text, Source::Lookup, now),
                None => self.table.heard(peer, &text, Source::Lookup, now),
            };
            self.tell_sighting(peer, Source::Lookup, sighting);
            if result != Some(Sighting::New) {
                result = Some(sighting);
            }
        }
        result
    }

    fn on_query_ended(&mut self, id: QueryId, result: &QueryResult, answered: u32) {
        let now = self.now_ms();
        if let Some(round) = self.lookups.round.take_if(|round| round.query == id) {
            let announced = matches!(result, QueryResult::StartProviding(_));
            match self.lookup().filter(|_| announced) {
                // Then it asks: whoever comes later finds who came before.
                Some(lookup) => {
                    let query = lookup.ask(&LookupKey::of(&round.space));
                    self.lookups.round = Some(Round { query, ..round });
                }
                None => {
                    self.lookups.answered = Some(answered);
                    self.lookups.plan.ended(&round.space, round.found, now, draw());
                }
            }
        }
        let under_way = self.lookup().map(|lookup| lookup.queries()).unwrap_or_default();
        for peer in self.lookups.no_longer_wanted(&under_way) {
            self.forget_hearsay(&peer);
        }
    }

    /// Forgets a stranger that a lookup told of, unless it is connected or being dialled.
    fn forget_hearsay(&mut self, peer: &PeerId) {
        if self.is_stranger(peer) {
            self.table.forget(peer);
        }
    }

    /// A peer says which protocols it speaks: one that answers is asked from now on, at the address
    /// that it was dialled at, or from which it came, at the ports that it names; one that has yet to
    /// prove that it is spoken to, from when it has. Where it says so for the `first` time in a
    /// connection, it may have forgotten what it was told before.
    pub(super) fn on_speaks(
        &mut self,
        peer: &PeerId,
        id: ConnectionId,
        info: &identify::Info,
        first: bool,
    ) {
        if self.is_refused(peer) || self.lookup().is_none() {
            return;
        }
        if !info.protocols.contains(&StreamProtocol::new(LOOKUP_PROTOCOL)) {
            self.ask_no_more(peer);
            return;
        }
        let addresses: BTreeSet<Multiaddr> = match self.connected.incoming_ip(peer, id) {
            Some(ip) => info
                .listen_addrs
                .iter()
                .filter_map(parts)
                .map(|(_, port, transport)| multiaddr(ip, port, transport))
                .collect(),
            None => self.connected.dialled_address(peer).cloned().into_iter().collect(),
        };
        let addresses = addresses.into_iter().take(told::ADDRESSES).collect();
        if self.unproved.contains(peer) {
            self.lookups.unproved.insert(*peer, addresses);
            return;
        }
        let Some(name) = to_libp2p(peer) else { return };
        let more = self.route(&name, addresses) || first;
        // Those that a round leads to are told in that round.
        if more && !self.table.is_known_only_by(peer, &[Source::Lookup]) {
            self.look_up_soon();
        }
    }

    /// Lets a peer be asked at these addresses. Returns whether it is one more.
    fn route(&mut self, name: &libp2p::PeerId, addresses: Vec<Multiaddr>) -> bool {
        let Some(lookup) = self.lookup() else { return false };
        let mut more = false;
        for address in addresses {
            more |= lookup.route(*name, address);
        }
        more
    }

    /// A peer was dialled in vain.
    pub(super) fn on_unreached(&mut self, peer: &PeerId) {
        if !self.connected.contains(peer) {
            self.ask_no_more(peer);
        }
    }

    /// The last connection with a peer is gone. One that shared no space was there for a lookup, of
    /// this node or of its own, and is not dialled for being known.
    pub(super) fn on_left(&mut self, peer: &PeerId) {
        self.lookups.unproved.remove(peer);
        let passing = [Source::Lookup, Source::Incoming];
        if self.lookup().is_some() && self.table.is_passing(peer, &passing) {
            self.table.forget(peer);
        }
    }

    /// Forgets announcements that were not repeated, and leaves strangers. To be called now and then.
    pub(super) fn tend_lookup(&mut self) {
        if let Some(lookup) = self.lookup() {
            lookup.tend();
            self.leave_strangers(self.now_ms().saturating_sub(STRANGER_MS));
        }
    }

    /// Leaves those that have been connected since this time, whom only a lookup told of and with
    /// whom no space is shared. While a round is under way they may be of use.
    pub(super) fn leave_strangers(&mut self, since_ms: u64) {
        if self.lookups.round.is_some() {
            return;
        }
        let since = self.connected.names_since(since_ms);
        let strangers: Vec<PeerId> = since.filter(|peer| self.is_stranger(peer)).collect();
        for peer in strangers {
            tracing::debug!(%peer, "no space is shared with a peer that a lookup told of");
            self.disconnect(peer);
        }
    }

    /// Whether a peer is known for nothing but that a lookup told of it: no space was shared with it, and
    /// no place is held or wanted there.
    pub(super) fn is_stranger(&self, peer: &PeerId) -> bool {
        !self.reservations.contains_key(peer) && self.table.is_passing(peer, &[Source::Lookup])
    }

    /// How it does.
    pub(super) fn of_lookup(&self, trouble: Option<String>) -> (Health, String) {
        let Lookups { plan, answered, found, .. } = &self.lookups;
        let Some(lookup) = self.swarm.behaviour().lookup.as_ref() else {
            return (Health::Off, "switched off".to_owned());
        };
        let spaces = plan.len();
        let (kept, keys) = lookup.kept();
        let serves = lookup.serves();
        let mut detail = match lookup.routes() {
            0 => "nobody to ask: no node that answers lookups was connected".to_owned(),
            routes => format!(
                "{routes} nodes can be asked{}; {spaces} spaces are looked up, {found} peers were \
                 told of so far",
                answered.map(|answered| format!(", {answered} answered last")).unwrap_or_default()
            ),
        };
        if serves {
            detail = format!("{detail}; {kept} announcements of others are kept, of {keys} spaces");
        }
        match trouble {
            Some(trouble) => (Health::Troubled(trouble.clone()), format!("{detail}; {trouble}")),
            None if lookup.routes() == 0 && !serves => (Health::Troubled(detail.clone()), detail),
            None => (Health::Working, detail),
        }
    }
}

/// Whether a sighting is in the table.
const fn is_taken(sighting: Sighting) -> bool {
    matches!(sighting, Sighting::New | Sighting::Known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_ends_leaves_whom_another_may_want() {
        let name = |seed| PeerId::new(ocm_record::SigningKey::from_seed(&[seed; 32]).public());
        let own = to_libp2p(&name(1)).unwrap();
        let mut behaviour = Behaviour::new(own, LookupMode::Client, Vec::new(), None);
        let [round, around] = [1, 2].map(|n| {
            let key = LookupKey::from_bytes(&[n; 32]).unwrap();
            behaviour.ask(&key)
        });
        assert!([round, around].iter().all(|query| behaviour.queries().contains(query)));
        let mut lookups = Lookups::default();
        lookups.wanted.insert(name(2), vec![round]);
        lookups.wanted.insert(name(3), vec![round, around]);
        lookups.wanted.insert(name(4), vec![around]);
        assert_eq!(lookups.no_longer_wanted(&[round, around]), []);
        assert_eq!(lookups.no_longer_wanted(&[round]), [name(4)], "the round goes on");
        let mut rest = lookups.no_longer_wanted(&[]);
        rest.sort_unstable();
        let mut both = [name(2), name(3)];
        both.sort_unstable();
        assert_eq!(rest, both);
        assert!(lookups.wanted.is_empty());
    }
}
