//! A peer that does everything it should not, over the same links as the others.

use std::collections::{BTreeMap, BTreeSet};

use ipld_core::ipld::Ipld;
use ocm_discovery::{CERTIFICATE_LIFE_MS, Certificate, PeerId};
use ocm_memory::encode_edits;
use ocm_record::{Boot, Did, Kind, RecordId, Set, SigningKey, SpaceId, Time, VerifiedRecord};
use ocm_sync::{
    Hello, Page, Parity, PushVerdict, Refusal, Request, Response, SpaceTag, Span, Statement,
    SumTree, Terms, commitment, respond, space_tag,
};
use serde_bytes::ByteBuf;

use crate::check;
use crate::dice::Dice;
use crate::forge::{self, Place};
use crate::network::Use;
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

    /// A true record of a space, the newest most often.
    fn true_record(&mut self, space: &SpaceId) -> Option<VerifiedRecord> {
        let newest: Vec<VerifiedRecord> = self
            .ledger
            .records
            .values()
            .rev()
            .filter(|record| record.space() == *space)
            .take(12)
            .cloned()
            .collect();
        self.dice.pick(&newest).cloned()
    }

    /// What no node may ever take.
    fn worthless(&mut self, index: usize, space: SpaceId) -> Option<Vec<u8>> {
        let record = self.true_record(&space)?;
        let bytes = record.encode();
        let author = self.hostile_at(index).author.clone();
        let body = forge::body(&mut self.dice, Ipld::List(Vec::new()));
        Some(match self.dice.below(6) {
            0 => forge::garbage_copy(&mut self.dice, &bytes),
            1 => forge::stripped(&bytes),
            // Of a record of its own this would be a twin.
            2 if record.header().key != author.public() => {
                forge::forged(record.header(), &author, body)
            }
            3 => self.orphan(index, space),
            // Where everyone may write this would be a record like any other.
            4 if self.spaces[FREE] != Some(space) => {
                // Rightly signed by someone without a right, who names another's.
                let key = SigningKey::from_seed(&self.dice.bytes());
                let auth = record.header().auth.clone();
                forge::change(&key, self.place(space, auth), body).1
            }
            _ => {
                let mut bytes = bytes;
                let at = self.dice.below(bytes.len());
                bytes[at] ^= 1 << self.dice.below(8);
                bytes
            }
        })
    }

    fn place(&mut self, space: SpaceId, auth: Vec<RecordId>) -> Place {
        Place {
            space,
            memory: None,
            boot: Boot::from_bytes(self.dice.bytes()),
            seq: 1,
            prev: None,
            deps: Vec::new(),
            auth,
            time: Time::from_millis(self.now),
        }
    }

    /// A rightly signed record that builds on what does not exist.
    fn orphan(&mut self, index: usize, space: SpaceId) -> Vec<u8> {
        let (author, did) = (self.hostile_at(index).author.clone(), self.hostile_at(index).did);
        let role = self.ledger.roles.get(&space).and_then(|roles| roles.get(&did)).copied();
        let body = forge::body(&mut self.dice, Ipld::List(Vec::new()));
        let unknown = RecordId::from_parts(Time::from_millis(self.now - 1000), self.dice.bytes());
        let mut place = self.place(space, role.into_iter().collect());
        if self.dice.percent(50) {
            place.auth = vec![RecordId::from_parts(space.0.time(), self.dice.bytes())];
        } else {
            place.memory = self.true_record(&space).and_then(|record| record.memory());
            place.deps = vec![unknown];
        }
        forge::change(&author, place, body).1
    }

    /// Rightly signed records: one more in its log, its twin, one from far ahead.
    fn own_records(&mut self, index: usize, space: SpaceId) -> Vec<Vec<u8>> {
        let (author, did, boot) = {
            let hostile = self.hostile_at(index);
            (hostile.author.clone(), hostile.did, hostile.boot)
        };
        let role = self.ledger.roles.get(&space).and_then(|roles| roles.get(&did)).copied();
        if role.is_none() && self.spaces[FREE] != Some(space) {
            return Vec::new();
        }
        let auth: Vec<RecordId> = role.into_iter().collect();
        let on = self.true_record(&space).filter(|record| record.set() == Set::Content);
        let (seq, prev) = self.hostile_at(index).logs.get(&space).copied().unwrap_or((0, None));
        let twins = 1 + self.dice.below(3);
        let mut made = Vec::new();
        let mut end = None;
        for _ in 0..twins {
            let far = match self.dice.below(12) {
                0 => 400 * 24 * 3600 * 1000,
                1 => 1 << 47,
                _ => 0,
            };
            let first = on.is_none();
            let content = match self.dice.below(6) {
                0 => Ipld::String("no edits".into()),
                _ => encode_edits(&forge::edits(&mut self.dice, first)),
            };
            let body = if self.dice.percent(5) {
                vec![0xff, 0x00]
            } else {
                forge::body(&mut self.dice, content)
            };
            let place = Place {
                space,
                memory: on.as_ref().and_then(VerifiedRecord::memory),
                boot,
                seq: seq + 1,
                prev,
                deps: on.iter().map(VerifiedRecord::id).collect(),
                auth: auth.clone(),
                time: Time::from_millis(self.now + far),
            };
            let (id, bytes) = forge::change(&author, place, body);
            end = Some(id);
            made.push(bytes);
        }
        self.hostile_at(index).logs.insert(space, (seq + 1, end));
        made
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
            4 => Request::Range { tag, set: Set::Content, span: Span::all() },
            0 => {
                let spaces: Vec<SpaceId> = self.spaces.iter().flatten().copied().collect();
                let named = |space: &SpaceId| self.hostile_tag(index, to, space) == Some(tag);
                let space = spaces.into_iter().find(named);
                let statement = self.false_statement(index, to, space);
                Request::Parity { tag, statement }
            }
            1 => Request::Fetch { tag, ids: vec![any(&mut self.dice)] },
            2 => {
                let set = SumTree::default();
                let (_, message) = ocm_sync::Initiator::start(&set, 60 * 1024);
                Request::Reconcile { tag, set: Set::Content, message: message.into() }
            }
            3 => {
                let message = self.dice.garbage(200);
                Request::Reconcile { tag, set: Set::Authority, message: message.into() }
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

    fn false_genesis(&mut self, index: usize) -> Vec<u8> {
        let nonce = self.dice.bytes();
        let now = self.now;
        let hostile = self.hostile_at(index);
        let genesis = ocm_space::Genesis {
            name: "false".into(),
            nonce,
            policy: ocm_space::Policy::default(),
            owners: vec![hostile.did],
        };
        let draft = ocm_record::Draft {
            space: SpaceId::GENESIS,
            kind: Kind::GENESIS,
            memory: None,
            author: None,
            boot: hostile.boot,
            seq: 1,
            prev: None,
            deps: Vec::new(),
            auth: Vec::new(),
            time: Time::from_millis(now),
        };
        let author = hostile.author.clone();
        let body = forge::body(&mut self.dice, genesis.to_ipld());
        draft.sign(&author, body).unwrap().encode()
    }

    /// A node asks a hostile peer something.
    pub(crate) fn answer_as_hostile(&mut self, link: Use, request: u64, bytes: &[u8]) {
        let asked = Request::decode(bytes).unwrap();
        let hostile = self.hostile_at(link.to);
        Hostile::capture(&mut hostile.requests, bytes);
        if let Request::Hello(hello) = &asked {
            hostile.theirs.insert(link.from, hello.nonce);
        }
        let answers = hostile.answers.clone();
        let answer = match self.dice.below(20) {
            0 => return,
            1 => self.dice.garbage(300),
            2 => self.dice.pick(&answers).cloned().unwrap_or_default(),
            3 => Response::Unknown.encode().unwrap(),
            4 => Response::Refused { reason: Refusal::FLOOD }.encode().unwrap(),
            5 => Response::Busy.encode().unwrap(),
            _ => match self.invent(link, asked).encode() {
                Ok(bytes) => bytes,
                Err(_) => return,
            },
        };
        let back = link.back();
        self.carry(|| Happening::Response { link: back, request, bytes: answer.clone() });
    }

    /// An answer of the right sort, true or not.
    fn invent(&mut self, link: Use, asked: Request) -> Response {
        let (index, from) = (link.to, link.from);
        match asked {
            Request::Hello(_) => {
                let now = self.now;
                Response::Hello(self.hostile[index - self.plan.nodes].hello(&mut self.dice, now))
            }
            Request::Spaces { tags } => {
                let all = self.dice.percent(80);
                let shared = (0..tags.len() as u16).filter(|_| all || self.dice.percent(50));
                Response::Spaces { shared: shared.collect() }
            }
            Request::Parity { tag, statement } => {
                let space = self.space_of_tag(from, index, &tag);
                if let Some(space) = space {
                    self.hostile_at(index).heard.insert((from, space), *statement.claims());
                }
                Response::Parity { statement: self.false_statement(index, from, space) }
            }
            Request::Commit { tag, .. } => {
                let (node, secret) = (self.sites[from].peer.to_bytes(), self.dice.bytes());
                let space = self.space_of_tag(from, index, &tag);
                let garbage = self.dice.percent(20);
                let random = self.dice.bytes();
                let hostile = self.hostile_at(index);
                hostile.secret = secret;
                let heard =
                    space.and_then(|space| Some((space, hostile.heard.get(&(from, space))?)));
                let commitment = match heard {
                    Some((space, parity)) if !garbage => {
                        commitment(&hostile.peer.to_bytes(), &node, &space, &secret, parity)
                    }
                    _ => random,
                };
                Response::Commit { commitment }
            }
            Request::Prove { parity, secret: theirs, ids, .. } => {
                let secret = self.hostile_at(index).secret;
                let secret = if self.dice.percent(10) { theirs } else { secret };
                let proofs = ids.iter().map(|_| self.dice.percent(70).then_some(theirs)).collect();
                Response::Proved { secret, parity, proofs }
            }
            Request::Reconcile { message, set, .. } => {
                let mut tree = SumTree::default();
                let known: Vec<RecordId> = self
                    .common_space(index, from)
                    .map(|space| {
                        let of = |record: &&VerifiedRecord| {
                            record.space() == space && record.set() == set
                        };
                        self.ledger.records.values().filter(of).map(VerifiedRecord::id).collect()
                    })
                    .unwrap_or_default();
                for id in known.into_iter().filter(|_| self.dice.percent(80)) {
                    tree.insert(id).unwrap();
                }
                for _ in 0..self.dice.below(40) {
                    let time = Time::from_millis(self.now - self.dice.below(5000) as u64);
                    let _ = tree.insert(RecordId::from_parts(time, self.dice.bytes()));
                }
                let message = if self.dice.percent(80) {
                    respond(&tree, &message, 60 * 1024).unwrap()
                } else {
                    self.dice.garbage(400)
                };
                Response::Reconcile { message: message.into() }
            }
            Request::Fetch { ids, .. } => Response::Records(self.false_page(index, from, ids)),
            Request::Range { set, span, .. } => {
                let space = self.common_space(index, from);
                let inside = |record: &&VerifiedRecord| {
                    Some(record.space()) == space
                        && record.set() == set
                        && span.contains(&record.id())
                };
                let known = self.ledger.records.values().filter(inside).map(VerifiedRecord::id);
                let known: BTreeSet<RecordId> = known.collect();
                let mut ids: Vec<RecordId> =
                    known.into_iter().filter(|_| self.dice.percent(80)).collect();
                if self.dice.percent(20) {
                    ids.reverse();
                }
                let next = match self.dice.below(6) {
                    0 => ids.last().copied(),
                    1 => Some(RecordId::from_parts(Time::from_millis(self.now), [7; 32])),
                    2 => Some(span.to),
                    _ => None,
                };
                Response::Range { records: self.false_page(index, from, ids).records, next }
            }
            Request::Push { records, .. } => {
                let more = usize::from(self.dice.percent(20));
                Response::Pushed { verdicts: vec![PushVerdict::Accept; records.len() + more] }
            }
        }
    }

    /// The space that `from` names to `to` by a tag.
    fn space_of_tag(&mut self, from: usize, to: usize, tag: &SpaceTag) -> Option<SpaceId> {
        let node = self.sites[from].peer.to_bytes();
        let spaces: Vec<SpaceId> = self.spaces.iter().flatten().copied().collect();
        let hostile = self.hostile_at(to);
        let theirs = hostile.theirs.get(&from)?;
        let own = hostile.peer.to_bytes();
        let named = |space: &SpaceId| space_tag(&node, &own, theirs, &hostile.nonce, space) == *tag;
        spaces.into_iter().find(named)
    }

    /// A statement that echoes, lies, is not signed by it, or was made for another connection.
    fn false_statement(&mut self, index: usize, to: usize, space: Option<SpaceId>) -> Statement {
        let space = space.unwrap_or(SpaceId(RecordId::MIN));
        let manner = self.dice.below(10);
        let (now, random) = (self.now, any_parity(&mut self.dice));
        let (node, other) = (self.sites[to].peer.to_bytes(), self.dice.bytes());
        let old = self.hostile_at(index).stated.clone();
        if manner == 0
            && let Some(stale) = self.dice.pick(&old)
        {
            return *stale;
        }
        let hostile = self.hostile_at(index);
        let mut parity = hostile.heard.get(&(to, space)).copied().unwrap_or(random);
        match manner {
            1 => parity.content.count += 1,
            2 => parity = random,
            _ => {}
        }
        let nonce = hostile.theirs.get(&to).copied().unwrap_or(other);
        let terms = Terms { space, from: hostile.peer.to_bytes(), to: node, nonce };
        let terms = if manner == 3 { Terms { nonce: other, ..terms } } else { terms };
        let forged = SigningKey::from_seed(&other);
        let key = if manner == 4 { &forged } else { &hostile.author };
        let statement = Statement::sign(key, &terms, parity, now);
        if hostile.stated.len() < CAPTURED {
            hostile.stated.push(statement);
        }
        statement
    }

    /// Comes back under another name.
    pub(crate) fn renew(&mut self, link: Use) {
        let index = link.from.max(link.to);
        if !self.end_all_links(link, index) {
            return;
        }
        tell!(self, "{index} takes another name");
        let nonce = self.dice.bytes();
        let hostile = self.hostile_at(index);
        hostile.rename();
        hostile.nonce = nonce;
        hostile.theirs.clear();
        let peer = hostile.peer;
        self.peers.insert(peer, index);
        self.dial_all(index);
    }

    fn false_page(&mut self, index: usize, from: usize, ids: Vec<RecordId>) -> Page {
        let mut page = Page::default();
        let space = self.common_space(index, from);
        let manner = self.dice.below(6);
        for id in ids {
            let known = self.ledger.records.get(&id).cloned();
            let readable = known.filter(|known| {
                space.is_some()
                    && (self.spaces[CLOSED] != Some(known.space())
                        || check::may_read(self, index, CLOSED))
            });
            let Some(known) = readable else {
                match (manner, space) {
                    (0, Some(space)) => page.records.push(self.orphan(index, space).into()),
                    (1, _) => page.records.push(self.dice.garbage(200).into()),
                    _ => page.absent.push(id),
                }
                continue;
            };
            let bytes = known.encode();
            page.records.push(ByteBuf::from(match (manner, self.dice.below(4)) {
                (2, _) | (_, 0) => forge::garbage_copy(&mut self.dice, &bytes),
                (3, _) if known.header().kind == Kind::CHANGE => forge::stripped(&bytes),
                _ => bytes,
            }));
        }
        page
    }

    /// A node answers a hostile peer.
    pub(crate) fn hear_as_hostile(&mut self, link: Use, bytes: &[u8]) {
        let hostile = self.hostile_at(link.to);
        Hostile::capture(&mut hostile.answers, bytes);
        if let Ok(Response::Hello(hello)) = Response::decode(bytes) {
            hostile.theirs.insert(link.from, hello.nonce);
        }
    }
}

fn any_parity(dice: &mut Dice) -> ocm_sync::Parity {
    let mut set = || ocm_sync::SetDigest { count: dice.below(100) as u64, digest: dice.bytes() };
    ocm_sync::Parity { authority: set(), content: set(), missing_bodies: 0 }
}
