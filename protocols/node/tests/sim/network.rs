//! Virtual links: latency, loss, repetition, partitions, and gossip that asks for verdicts.

use std::collections::BTreeMap;

use ocm_discovery::PeerId;
use ocm_node::{ChannelId, GossipVerdict, Input, Output, RequestId};
use ocm_record::SpaceId;
use ocm_sync::{Request, Response};
use sha2::{Digest as _, Sha256};

use crate::check;
use crate::site::Channel;
use crate::world::{Happening, World, tell};

/// Milliseconds until a request counts as unanswered.
const TIMEOUT: u64 = 10_000;

/// One direction of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) epoch: u64,
}

impl Use {
    pub(crate) const fn back(self) -> Self {
        Self { from: self.to, to: self.from, epoch: self.epoch }
    }
}

#[derive(Debug, Default)]
struct Link {
    epoch: u64,
    up: bool,
    /// Whether the lower and the higher side believe that they are connected.
    seen: [bool; 2],
}

/// Every pair that was ever connected.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<(usize, usize), Link>,
    /// The part of the network that each is in.
    parts: BTreeMap<usize, usize>,
}

impl Links {
    fn link(&mut self, a: usize, b: usize) -> &mut Link {
        self.links.entry((a.min(b), a.max(b))).or_default()
    }

    pub(crate) fn is_up(&self, a: usize, b: usize) -> bool {
        self.links.get(&(a.min(b), a.max(b))).is_some_and(|link| link.up)
    }

    pub(crate) fn current(&mut self, from: usize, to: usize) -> Use {
        Use { from, to, epoch: self.link(from, to).epoch }
    }

    fn carries(&self, used: Use) -> bool {
        self.links
            .get(&(used.from.min(used.to), used.from.max(used.to)))
            .is_some_and(|link| link.up && link.epoch == used.epoch)
    }

    fn seen(&mut self, at: usize, other: usize) -> &mut bool {
        &mut self.link(at, other).seen[usize::from(at > other)]
    }

    fn part(&self, at: usize) -> usize {
        self.parts.get(&at).copied().unwrap_or(0)
    }

    fn are_apart(&self, a: usize, b: usize) -> bool {
        self.part(a) != self.part(b)
    }

    pub(crate) fn join_all(&mut self) {
        self.parts.clear();
    }

    /// Everyone whom `at` is connected with.
    pub(crate) fn neighbours(&self, at: usize) -> Vec<usize> {
        self.links
            .iter()
            .filter(|(_, link)| link.up)
            .filter_map(|((a, b), _)| match at {
                _ if *a == at => Some(*b),
                _ if *b == at => Some(*a),
                _ => None,
            })
            .collect()
    }

    fn all_up(&self) -> Vec<(usize, usize)> {
        self.links.iter().filter(|(_, link)| link.up).map(|(pair, _)| *pair).collect()
    }
}

impl World {
    fn is_on(&self, at: usize) -> bool {
        self.sites.get(at).is_none_or(|site| site.node.is_some())
    }

    fn peer_of(&self, at: usize) -> PeerId {
        match self.sites.get(at) {
            Some(site) => site.peer,
            None => self.hostile[at - self.plan.nodes].peer,
        }
    }

    fn latency(&mut self) -> u64 {
        let span = if self.healing { (1, 60) } else { self.plan.latency };
        self.dice.between(span)
    }

    /// Dials everyone that `at` connects to.
    pub(crate) fn dial_all(&mut self, at: usize) {
        for (a, b) in self.plan.edges.clone() {
            if a == at || b == at {
                let after = self.dice.between((1, 500));
                self.plan_in(after, Happening::Connect(a, b));
            }
        }
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        if !self.is_on(a) || !self.is_on(b) || self.links.are_apart(a, b) || self.links.is_up(a, b)
        {
            return;
        }
        let link = self.links.link(a, b);
        link.up = true;
        link.epoch += 1;
        tell!(self, "{a} and {b} connect");
        for (at, other) in [(a, b), (b, a)] {
            // Who has not noticed that the last connection went sees no first one come.
            if !std::mem::replace(self.links.seen(at, other), true) {
                let peer = self.peer_of(other);
                if at < self.plan.nodes {
                    self.input(at, Input::Connected(peer));
                }
            }
            if at >= self.plan.nodes {
                self.greet_as_hostile(at, other);
            }
        }
    }

    /// A connection breaks; each side notices at once or later.
    pub(crate) fn drop_link(&mut self, used: Use) {
        if !self.links.carries(used) {
            return;
        }
        self.links.link(used.from, used.to).up = false;
        tell!(self, "{} and {} lose their connection", used.from, used.to);
        for side in [used, used.back()] {
            if self.dice.percent(self.plan.half_open) {
                let after = self.dice.between((10, 5000));
                self.plan_in(after, Happening::Noticed(side));
            } else {
                self.notice(side);
            }
        }
        let after = self.dice.between((100, 4000));
        self.plan_in(after, Happening::Connect(used.from, used.to));
    }

    /// `link.from` notices that its connection is gone, unless there is a new one.
    pub(crate) fn notice(&mut self, link: Use) {
        let (at, other) = (link.from, link.to);
        if self.links.is_up(at, other) || !std::mem::replace(self.links.seen(at, other), false) {
            return;
        }
        if at < self.plan.nodes {
            let peer = self.peer_of(other);
            let site = &mut self.sites[at];
            site.asked.retain(|_, to| *to != other);
            site.channels.retain(|_, channel| channel.link.from != other);
            self.input(at, Input::Disconnected(peer));
        }
    }

    /// Ends all connections of a hostile peer, noticed by everyone at once, if it has this one.
    pub(crate) fn end_all_links(&mut self, link: Use, index: usize) -> bool {
        if !self.links.carries(link) {
            return false;
        }
        for other in 0..self.plan.nodes {
            self.links.link(other, index).up = false;
            let epoch = self.links.link(other, index).epoch;
            self.notice(Use { from: other, to: index, epoch });
            self.notice(Use { from: index, to: other, epoch });
        }
        true
    }

    pub(crate) fn drop_links_of(&mut self, at: usize) {
        for other in self.links.neighbours(at) {
            *self.links.seen(at, other) = false;
            let link = self.links.current(at, other);
            self.drop_link(link);
        }
        // What it believed of broken connections went with it.
        for other in 0..self.plan.nodes + self.plan.hostile {
            if other != at {
                *self.links.seen(at, other) = false;
            }
        }
    }

    /// Splits the network in two or three.
    pub(crate) fn partition(&mut self) {
        self.summary.partitions += 1;
        let parts = 2 + self.dice.below(2);
        for at in 0..self.plan.nodes + self.plan.hostile {
            let part = self.dice.below(parts);
            self.links.parts.insert(at, part);
        }
        tell!(self, "partition {:?}", self.links.parts);
        for (a, b) in self.links.all_up() {
            if self.links.are_apart(a, b) {
                let link = self.links.current(a, b);
                self.drop_link(link);
            }
        }
    }

    pub(crate) fn end_partition(&mut self) {
        self.links.join_all();
        for (a, b) in self.plan.edges.clone() {
            let after = self.dice.between((1, 1500));
            self.plan_in(after, Happening::Connect(a, b));
        }
    }

    /// Carries something, perhaps twice, perhaps not at all.
    pub(crate) fn carry(&mut self, mut make: impl FnMut() -> Happening) {
        let copies = if self.dice.percent(self.plan.loss) {
            0
        } else {
            1 + usize::from(self.dice.percent(self.plan.repeat))
        };
        for _ in 0..copies {
            let after = self.latency();
            self.plan_in(after, make());
        }
    }

    pub(crate) fn send(&mut self, at: usize, peer: PeerId, request: RequestId, bytes: Vec<u8>) {
        let to = self.peers[&peer];
        check::sent(self, at, to, &bytes);
        let asked = Request::decode(&bytes).expect("an honest request is a message");
        if let Request::Parity { statement, .. } = &asked {
            check::stated(self, at, statement);
        }
        let life = self.sites[at].life;
        self.sites[at].asked.insert(request, to);
        self.plan_in(TIMEOUT, Happening::TimedOut { at, life, request });
        if self.links.is_up(at, to) {
            let link = self.links.current(at, to);
            self.carry(|| Happening::Request { link, request, bytes: bytes.clone() });
        }
    }

    pub(crate) fn take_request(&mut self, link: Use, request: RequestId, bytes: Vec<u8>) {
        if !self.links.carries(link) {
            return;
        }
        if link.to >= self.plan.nodes {
            self.answer_as_hostile(link, request, &bytes);
            return;
        }
        self.next_name += 1;
        let channel: ChannelId = self.next_name;
        if self.is_traced() {
            let shown = Request::decode(&bytes).map(|r| brief(&format!("{r:?}")));
            tell!(self, "{} asks {} ({channel}): {shown:?}", link.from, link.to);
        }
        let since = self.now;
        let waiting = Channel { link, request, bytes: bytes.clone(), since };
        self.sites[link.to].channels.insert(channel, waiting);
        let peer = self.peer_of(link.from);
        self.input(link.to, Input::Request { peer, channel, bytes });
    }

    pub(crate) fn respond(&mut self, at: usize, channel: ChannelId, bytes: Vec<u8>) {
        let Some(waiting) = self.sites[at].channels.remove(&channel) else {
            return;
        };
        let response = Response::decode(&bytes).expect("an honest response is a message");
        tell!(
            self,
            "{at} answers {} ({channel}): {}",
            waiting.link.from,
            brief(&format!("{response:?}"))
        );
        check::sent(self, at, waiting.link.from, &bytes);
        check::answered(self, at, &waiting, &response);
        if let Response::Parity { statement } = &response {
            check::stated(self, at, statement);
        }
        let (link, request) = (waiting.link.back(), waiting.request);
        self.carry(|| Happening::Response { link, request, bytes: bytes.clone() });
    }

    pub(crate) fn take_response(&mut self, link: Use, request: RequestId, bytes: Vec<u8>) {
        if !self.links.carries(link) {
            return;
        }
        if link.to >= self.plan.nodes {
            self.hear_as_hostile(link, &bytes);
        } else if self.sites[link.to].asked.get(&request) == Some(&link.from) {
            self.sites[link.to].asked.remove(&request);
            self.input(link.to, Input::Response { request, bytes });
        }
    }

    /// Hands a message to everyone on the topic that `at` is connected with, but `source`.
    pub(crate) fn publish(&mut self, at: usize, source: usize, space: SpaceId, bytes: &[u8]) {
        if at < self.plan.nodes {
            self.sites[at].seen.insert(message_id(&space, bytes));
        }
        for to in self.links.neighbours(at) {
            let hears = match self.sites.get(to) {
                Some(site) => site.subscribed.contains(&space),
                None => true,
            };
            if to != source && hears {
                let link = self.links.current(at, to);
                check::sent(self, at, to, bytes);
                self.carry(|| Happening::Gossip { link, space, bytes: bytes.to_vec() });
            }
        }
    }

    pub(crate) fn take_gossip(&mut self, link: Use, space: SpaceId, bytes: Vec<u8>) {
        let Use { from, to: at, .. } = link;
        if !self.links.carries(link) || at >= self.plan.nodes {
            return;
        }
        let site = &mut self.sites[at];
        if !site.subscribed.contains(&space) || !site.seen.insert(message_id(&space, &bytes)) {
            return;
        }
        self.next_name += 1;
        let message = self.next_name;
        let peer = self.peer_of(from);
        let input = Input::Gossip { peer, message, space, bytes: bytes.clone() };
        let outputs = self.hand_over(at, input);
        let verdicts: Vec<GossipVerdict> = outputs
            .iter()
            .filter_map(|output| match output {
                Output::Judge { message: judged, gossip } if *judged == message => Some(*gossip),
                _ => None,
            })
            .collect();
        let [verdict] = verdicts[..] else { panic!("{} verdicts on one message", verdicts.len()) };
        tell!(self, "{at} hears from {from}: {verdict:?}");
        assert!(
            from >= self.plan.nodes || verdict != GossipVerdict::Reject,
            "node {at} blames honest node {from} for what it passed on"
        );
        self.follow(at, outputs);
        if verdict == GossipVerdict::Accept {
            self.summary.gossiped += 1;
            self.publish(at, from, space, &bytes);
        }
    }
}

fn message_id(space: &SpaceId, bytes: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(space.0.as_bytes()).chain_update(bytes).finalize().into()
}

fn brief(text: &str) -> String {
    text.chars().take(160).collect()
}
