//! What a hostile peer answers: rightly, falsely, late, or to someone else.

use std::collections::BTreeSet;

use ocm_record::{Kind, RecordId, SigningKey, SpaceId, Time, VerifiedRecord};
use ocm_sync::{
    Page, PushVerdict, Refusal, Request, Response, SpaceTag, Statement, SumTree, Terms, commitment,
    respond, space_tag,
};
use serde_bytes::ByteBuf;

use super::{CAPTURED, Hostile, any_parity};
use crate::network::Use;
use crate::schedule::CLOSED;
use crate::world::{Happening, World, tell};
use crate::{check, forge};

impl World {
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
    pub(super) fn invent(&mut self, link: Use, asked: Request) -> Response {
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
    pub(super) fn space_of_tag(
        &mut self,
        from: usize,
        to: usize,
        tag: &SpaceTag,
    ) -> Option<SpaceId> {
        let node = self.sites[from].peer.to_bytes();
        let spaces: Vec<SpaceId> = self.spaces.iter().flatten().copied().collect();
        let hostile = self.hostile_at(to);
        let theirs = hostile.theirs.get(&from)?;
        let own = hostile.peer.to_bytes();
        let named = |space: &SpaceId| space_tag(&node, &own, theirs, &hostile.nonce, space) == *tag;
        spaces.into_iter().find(named)
    }

    /// A statement that echoes, lies, is not signed by it, or was made for another connection.
    pub(super) fn false_statement(
        &mut self,
        index: usize,
        to: usize,
        space: Option<SpaceId>,
    ) -> Statement {
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

    pub(super) fn false_page(&mut self, index: usize, from: usize, ids: Vec<RecordId>) -> Page {
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
