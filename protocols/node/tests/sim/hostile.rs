//! A peer that does everything it should not, over the same links as the others.

mod answers;
mod forgeries;

use std::collections::BTreeMap;

use ocm_discovery::{CERTIFICATE_LIFE_MS, Certificate, PeerId};
use ocm_record::{Boot, Did, Kind, RecordId, Set, SigningKey, SpaceId, Time};
use ocm_sync::{Hello, Parity, Request, SpaceTag, Span, Statement, SumTree, space_tag};
use serde_bytes::ByteBuf;

use crate::check;
use crate::dice::Dice;
use crate::schedule::{CLOSED, FREE, OPEN};
use crate::world::{Happening, World, tell};

/// Requests from here on name the closed space to those who must not say that they hold it.
pub(crate) const PRYING: u64 = 1 << 40;
/// Messages of others that are kept to be sent again.
const CAPTURED: usize = 64;

/// A hostile peer.
pub(crate) struct Hostile {
    pub(crate) index: usize,
    pub(crate) peer: PeerId,
    pub(crate) did: Did,
    peer_key: SigningKey,
    author: SigningKey,
    boot: Boot,
    pub(crate) nonce: [u8; 32],
    /// The nonces of those who said hello.
    theirs: BTreeMap<usize, [u8; 32]>,
    requests: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    /// Where its own log in a space ends.
    logs: BTreeMap<SpaceId, (u64, Option<RecordId>)>,
    /// Rightly signed records that it keeps back.
    late: Vec<(SpaceId, Vec<u8>)>,
    asked: u64,
    /// What nodes last stated to it, and its statements to them.
    heard: BTreeMap<(usize, SpaceId), Parity>,
    stated: Vec<Statement>,
    /// The secret of its last commitment.
    secret: [u8; 32],
    names: u8,
}

impl Hostile {
    pub(crate) fn new(index: usize, which: usize, seed: u64) -> Self {
        let mut bytes = [0xee; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8] = which as u8;
        let author = SigningKey::from_seed(&bytes);
        bytes[9] = 1;
        let peer_key = SigningKey::from_seed(&bytes);
        Self {
            index,
            peer: PeerId::new(peer_key.public()),
            did: Did::from(author.public()),
            boot: Boot::from_bytes([which as u8; 16]),
            nonce: [which as u8; 32],
            theirs: BTreeMap::new(),
            requests: Vec::new(),
            answers: Vec::new(),
            logs: BTreeMap::new(),
            late: Vec::new(),
            asked: 0,
            heard: BTreeMap::new(),
            stated: Vec::new(),
            secret: [0; 32],
            names: 1,
            peer_key,
            author,
        }
    }

    fn hello(&self, dice: &mut Dice, now: u64) -> Hello {
        let until = now + CERTIFICATE_LIFE_MS / 2;
        let issued = Certificate::issue(&self.peer_key, &self.author, self.did, now, until);
        let mut certificate = issued.unwrap().encode();
        if dice.percent(5) {
            let at = dice.below(certificate.len());
            certificate[at] ^= 1;
        }
        Hello {
            version: 1,
            agent: "ocm/0".into(),
            nonce: self.nonce,
            certificate: certificate.into(),
            kinds: (Kind::GENESIS.0..=Kind::ACKNOWLEDGEMENT.0).collect(),
        }
    }

    /// Takes another name.
    fn rename(&mut self) {
        self.names += 1;
        let mut seed = *self.peer.to_bytes().last_chunk::<32>().unwrap();
        seed[0] ^= self.names;
        self.peer_key = SigningKey::from_seed(&seed);
        self.peer = PeerId::new(self.peer_key.public());
    }

    fn capture(kept: &mut Vec<Vec<u8>>, bytes: &[u8]) {
        if kept.len() == CAPTURED {
            kept.remove(0);
        }
        kept.push(bytes.to_vec());
    }
}

impl World {
    /// Whether a hostile peer holds the role of a writer.
    pub(crate) fn is_insider(&self, index: usize) -> bool {
        self.plan.insider && index == self.plan.nodes
    }

    pub(crate) fn grant_insider(&mut self, space: usize) {
        if let Some(hostile) = self.hostile.first().filter(|_| self.plan.insider) {
            self.grant(0, hostile.did, space, ocm_space::Role::Writer);
        }
    }

    fn hostile_at(&mut self, index: usize) -> &mut Hostile {
        &mut self.hostile[index - self.plan.nodes]
    }

    pub(crate) fn greet_as_hostile(&mut self, index: usize, to: usize) {
        let now = self.now;
        let hello = self.hostile[index - self.plan.nodes].hello(&mut self.dice, now);
        self.ask_as_hostile(index, to, &Request::Hello(hello));
    }

    fn ask_as_hostile(&mut self, index: usize, to: usize, request: &Request) {
        let bytes = request.encode().unwrap();
        self.send_raw(index, to, bytes, false);
    }

    fn send_raw(&mut self, index: usize, to: usize, bytes: Vec<u8>, pries: bool) {
        let link = self.links.current(index, to);
        let hostile = self.hostile_at(index);
        hostile.asked += 1;
        let request = hostile.asked + if pries { PRYING } else { 0 };
        self.carry(|| Happening::Request { link, request, bytes: bytes.clone() });
    }

    /// The name under which it speaks of a space to a node.
    fn hostile_tag(&mut self, index: usize, to: usize, space: &SpaceId) -> Option<SpaceTag> {
        let site = self.sites[to].peer;
        let hostile = self.hostile_at(index);
        let theirs = hostile.theirs.get(&to)?;
        let (own, other) = (hostile.peer.to_bytes(), site.to_bytes());
        Some(space_tag(&own, &other, &hostile.nonce, theirs, space))
    }

    /// A space that both may read, if there is one.
    fn common_space(&mut self, index: usize, to: usize) -> Option<SpaceId> {
        let common: Vec<SpaceId> = [OPEN, CLOSED, FREE]
            .into_iter()
            .filter(|space| {
                check::may_read(self, index, *space) && check::may_read(self, to, *space)
            })
            .filter_map(|space| self.spaces[space])
            .collect();
        self.dice.pick(&common).copied()
    }

    /// Sends a record, by gossip or push.
    fn spread_as_hostile(
        &mut self,
        index: usize,
        to: usize,
        space: SpaceId,
        records: Vec<Vec<u8>>,
    ) {
        if self.dice.percent(50) {
            for bytes in records {
                if self.dice.percent(50) {
                    self.publish(index, index, space, &bytes);
                } else if self.links.is_up(index, to) {
                    let link = self.links.current(index, to);
                    self.carry(|| Happening::Gossip { link, space, bytes: bytes.clone() });
                }
            }
        } else if let Some(tag) = self.hostile_tag(index, to, &space) {
            let records = records.into_iter().map(ByteBuf::from).collect();
            self.ask_as_hostile(index, to, &Request::Push { tag, records });
        }
    }

    /// One attack, and the next one planned.
    pub(crate) fn attack(&mut self, which: usize) {
        if self.healing && !self.plan.relentless {
            return;
        }
        let (least, most) = self.plan.attack;
        let slower = if self.healing { 4 } else { 1 };
        let after = self.dice.between((least * slower, most * slower));
        self.plan_in(after, Happening::Attack(which));
        let index = self.hostile[which].index;
        let neighbours = self.links.neighbours(index);
        let honest: Vec<usize> =
            neighbours.into_iter().filter(|to| *to < self.plan.nodes).collect();
        let Some(to) = self.dice.pick(&honest).copied() else { return };
        self.summary.attacks += 1;
        let kind = self.dice.below(16);
        tell!(self, "attack {kind} on {to}");
        self.attack_as(kind, index, to);
    }

    fn attack_as(&mut self, kind: usize, index: usize, to: usize) {
        let space = self.common_space(index, to);
        match (kind, space) {
            (0, _) => {
                let bytes = self.dice.garbage(300);
                self.send_raw(index, to, bytes, false);
            }
            (1 | 2, _) => {
                let kept = self.hostile_at(index).requests.clone();
                let Some(mut bytes) = self.dice.pick(&kept).cloned() else { return };
                if kind == 1 {
                    let at = self.dice.below(bytes.len());
                    if self.dice.percent(50) {
                        bytes.truncate(at);
                    } else {
                        bytes[at] ^= 1 << self.dice.below(8);
                    }
                }
                self.send_raw(index, to, bytes, false);
            }
            (3, _) => {
                let tag = self.dice.bytes();
                self.ask_about(index, to, tag, false);
            }
            (4, _) => self.pry(index, to),
            (5, _) => {
                // The certificate of another, or a hello that begins everything anew.
                let others = self.hostile_at(index).requests.clone();
                if self.dice.percent(50) {
                    let nonce = self.dice.bytes();
                    self.hostile_at(index).nonce = nonce;
                    self.greet_as_hostile(index, to);
                } else if let Some(hello) = others
                    .into_iter()
                    .find(|bytes| matches!(Request::decode(bytes), Ok(Request::Hello(_))))
                {
                    self.send_raw(index, to, hello, false);
                }
            }
            (6, Some(space)) => {
                if let Some(tag) = self.hostile_tag(index, to, &space) {
                    for _ in 0..30 {
                        self.ask_about(index, to, tag, false);
                    }
                }
            }
            (7, Some(space)) => {
                let many = if self.dice.below(200) == 0 { 500 } else { 12 };
                for _ in 0..if many > 100 { 3 } else { 1 } {
                    let orphans = (0..many).map(|_| self.orphan(index, space)).collect();
                    self.spread_as_hostile(index, to, space, orphans);
                }
            }
            (8..=10, Some(space)) if !self.healing => {
                let mut made = self.own_records(index, space);
                if made.len() > 1 && self.dice.percent(60) {
                    let late = made.split_off(1);
                    self.hostile_at(index).late.extend(late.into_iter().map(|made| (space, made)));
                }
                if !made.is_empty() {
                    self.spread_as_hostile(index, to, space, made);
                }
            }
            (11, _) if !self.healing => {
                if let Some((space, made)) = self.hostile_at(index).late.pop()
                    && (self.spaces[CLOSED] != Some(space) || check::may_read(self, to, CLOSED))
                {
                    self.spread_as_hostile(index, to, space, vec![made]);
                }
            }
            (_, Some(space)) => {
                let many = 1 + self.dice.below(4);
                let records: Vec<Vec<u8>> =
                    (0..many).filter_map(|_| self.worthless(index, space)).collect();
                self.spread_as_hostile(index, to, space, records);
            }
            _ => {}
        }
    }

    /// Asks something under a tag.
    fn ask_about(&mut self, index: usize, to: usize, tag: SpaceTag, pries: bool) {
        let any = |dice: &mut Dice| RecordId::from_parts(Time::from_millis(1), dice.bytes());
        let request = match self.dice.below(8) {
            6 => Request::Commit { tag, commitment: self.dice.bytes() },
            7 => {
                let (secret, parity) = (self.dice.bytes(), any_parity(&mut self.dice));
                Request::Prove { tag, secret, parity, ids: vec![any(&mut self.dice)] }
            }
            4 => Request::Range { tag, set: Set::Content, span: Span::all(), room: u32::MAX },
            0 => {
                let spaces: Vec<SpaceId> = self.spaces.iter().flatten().copied().collect();
                let named = |space: &SpaceId| self.hostile_tag(index, to, space) == Some(tag);
                let space = spaces.into_iter().find(named);
                let statement = self.false_statement(index, to, space);
                Request::Parity { tag, statement }
            }
            1 => Request::Fetch { tag, ids: vec![any(&mut self.dice)], room: u32::MAX },
            2 => {
                let set = SumTree::default();
                let (_, message) = ocm_sync::Initiator::start(&set, 60 * 1024);
                Request::Reconcile {
                    tag,
                    set: Set::Content,
                    message: message.into(),
                    room: u32::MAX,
                }
            }
            3 => {
                let message = self.dice.garbage(200);
                Request::Reconcile {
                    tag,
                    set: Set::Authority,
                    message: message.into(),
                    room: u32::MAX,
                }
            }
            _ => Request::Spaces { tags: vec![tag] },
        };
        let bytes = request.encode().unwrap();
        self.send_raw(index, to, bytes, pries);
    }

    /// Names the closed space, whose id it knows, to a member.
    fn pry(&mut self, index: usize, to: usize) {
        let Some(closed) = self.spaces[CLOSED] else { return };
        if check::may_read(self, index, CLOSED) || !check::may_read(self, to, CLOSED) {
            return;
        }
        let Some(tag) = self.hostile_tag(index, to, &closed) else { return };
        for _ in 0..8 {
            if self.dice.percent(50) {
                self.ask_about(index, to, tag, true);
            } else {
                // A genesis of its own, shown as the proof that it is a member.
                let records = vec![ByteBuf::from(self.false_genesis(index))];
                let bytes = Request::Push { tag, records }.encode().unwrap();
                self.send_raw(index, to, bytes, true);
            }
        }
    }
}

fn any_parity(dice: &mut Dice) -> ocm_sync::Parity {
    let mut set = || ocm_sync::SetDigest { count: dice.below(100) as u64, digest: dice.bytes() };
    ocm_sync::Parity { authority: set(), content: set(), missing_bodies: 0 }
}
