//! Answering peers: a pure function of what is stored, but for what a push brings.

use ocm_discovery::{CLOCK_TOLERANCE_MS, Certificate, PeerId};
use ocm_record::{Did, RecordId, Set, SignedRecord, SpaceId};
use ocm_sync::{
    Hello, MessageError, Page, PushVerdict, RangePage, ReconcileError, Refusal, Request, Response,
    SpaceTag, Span, Statement,
};

use serde_bytes::ByteBuf;

use crate::input::ChannelId;
use crate::limits;
use crate::node::{Node, Purpose};
use crate::origin::Origin;
use crate::output::{Event, Output};
use crate::peer::Known;
use crate::space::Stored;
use crate::storage::{ReadError, Reader};
use crate::verdict::Verdict;

/// Lists of ids that the answer to one range looks through for a record that can be read.
const RANGE_LISTS: usize = 16;

impl Node {
    /// A peer asks something.
    pub(crate) fn serve(
        &mut self,
        peer: PeerId,
        channel: ChannelId,
        bytes: &[u8],
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let request = match Request::decode(bytes) {
            Ok(request) => request,
            // A later version may ask what this one does not know.
            Err(MessageError::Code(_)) => {
                self.respond(channel, &Response::Refused { reason: Refusal::UNSUPPORTED });
                return Ok(());
            }
            Err(error) => {
                self.strike(peer, &format!("its request is no message: {error}"));
                self.respond(channel, &Response::Refused { reason: Refusal::MALFORMED });
                return Ok(());
            }
        };
        if let Request::Hello(hello) = &request {
            self.greeted(peer, hello);
            let response = match self.hello(&peer) {
                Some(hello) => Response::Hello(hello),
                None => Response::Busy,
            };
            self.respond(channel, &response);
            return Ok(());
        }
        if self.peers.get(&peer).is_none_or(|peer| peer.known.is_none()) {
            self.respond(channel, &Response::Refused { reason: Refusal::HELLO });
            return Ok(());
        }
        let response = match request {
            Request::Hello(_) => return Ok(()),
            Request::Spaces { tags } => self.name_shared(peer, &tags),
            Request::Reconcile { tag, set, message, room } => match self.named(peer, &tag) {
                Some(space) => self.reconcile(peer, space, set, (&message, room), store)?,
                None => Response::Unknown,
            },
            Request::Fetch { tag, ids, room } => match self.named(peer, &tag) {
                Some(space) => Response::Records(self.page(space, &ids, room, store)?),
                None => Response::Unknown,
            },
            Request::Range { tag, set, span, room } => match self.named(peer, &tag) {
                Some(space) => {
                    self.serves(peer, space);
                    self.range(space, set, (span, room), store)?
                }
                None => Response::Unknown,
            },
            Request::Parity { tag, statement } => match self.named(peer, &tag) {
                Some(space) => self.compare_asked(peer, space, statement),
                None => Response::Unknown,
            },
            Request::Commit { tag, commitment } => match self.named(peer, &tag) {
                Some(space) => self.bind(peer, space, commitment),
                None => Response::Unknown,
            },
            Request::Prove { tag, secret, parity, ids } => match self.named(peer, &tag) {
                Some(space) => self.prove(peer, space, (secret, parity), &ids, store)?,
                None => Response::Unknown,
            },
            Request::Push { tag, records } => {
                return self.pushed(peer, channel, &tag, &records, store);
            }
        };
        self.respond(channel, &response);
        Ok(())
    }

    /// A peer states what it stores, and is told what is stored here.
    fn compare_asked(&mut self, peer: PeerId, space: SpaceId, statement: Statement) -> Response {
        self.share(peer, space);
        let Some(theirs) = self.take_statement(peer, space, &statement) else {
            return Response::Refused { reason: Refusal::MALFORMED };
        };
        let Some(ours) = self.statement_for(peer, space) else { return Response::Unknown };
        if let Some(shared) = self.shared_mut(peer, space) {
            shared.told = Some(*ours.claims());
        }
        self.compared(peer, space, theirs, statement, None);
        Response::Parity { statement: ours }
    }

    /// Answers one round of reconciliation.
    fn reconcile(
        &mut self,
        peer: PeerId,
        space: SpaceId,
        set: Set,
        (message, room): (&[u8], u32),
        store: &dyn Reader,
    ) -> Result<Response, ReadError> {
        let Some(held) = self.spaces.get(&space) else { return Ok(Response::Unknown) };
        let ours = held.stored(set, store)?;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        match ocm_sync::respond(&ours, message, room) {
            Ok(message) => Ok(Response::Reconcile { message: message.into() }),
            Err(ReconcileError::Set(error)) => Err(error),
            Err(ReconcileError::Wire(error)) => {
                self.strike(peer, &format!("its reconciliation: {error}"));
                Ok(Response::Refused { reason: Refusal::MALFORMED })
            }
        }
    }

    pub(crate) fn respond(&mut self, channel: ChannelId, response: &Response) {
        match response.encode() {
            Ok(bytes) => self.out.push(Output::Respond { channel, bytes }),
            Err(_) => {
                // A response of ours is within its limits by construction; say so if it is not.
                let refused = Response::Refused { reason: Refusal::INTERNAL };
                if let Ok(bytes) = refused.encode() {
                    self.out.push(Output::Respond { channel, bytes });
                }
            }
        }
    }

    /// Takes a peer's hello. One that proves nothing costs it the connection.
    pub(crate) fn greeted(&mut self, id: PeerId, hello: &Hello) {
        let verified = Certificate::decode(&hello.certificate)
            .and_then(|certificate| certificate.verify(&id, self.now, CLOCK_TOLERANCE_MS));
        let verified = match verified {
            Ok(verified) => verified,
            Err(error) => {
                let reason = format!("its certificate is not valid: {error}");
                self.out.push(Output::Disconnect { peer: id, reason: reason.into() });
                return;
            }
        };
        if verified.did != Did::Key(verified.key) {
            let reason = "its DID is no did:key, and this version cannot check whose key that is";
            self.out.push(Output::Disconnect { peer: id, reason: reason.into() });
            return;
        }
        let allowed = self.settings.allowed.as_ref();
        if allowed.is_some_and(|of| !of.peers.contains(&id) && !of.dids.contains(&verified.did)) {
            return self.turn_away(id, Some(verified.did));
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let first = peer.known.is_none();
        let known = Known {
            did: verified.did,
            nonce: hello.nonce,
            until: verified.until,
            kinds: hello.kinds.clone(),
        };
        peer.greet(known, self.now);
        if first {
            self.out.push(Output::Event(Event::PeerKnown { peer: id, did: verified.did }));
        }
    }

    /// Which of the spaces that a peer names are held here, and may be known to it.
    fn name_shared(&mut self, peer: PeerId, tags: &[SpaceTag]) -> Response {
        let mut shared = Vec::new();
        for (index, tag) in tags.iter().enumerate() {
            if let (Some(space), Ok(index)) = (self.named(peer, tag), u16::try_from(index)) {
                self.share(peer, space);
                shared.push(index);
            }
        }
        Response::Spaces { shared }
    }

    /// The space that a peer names, if it may know that it is held here.
    fn named(&mut self, peer: PeerId, tag: &SpaceTag) -> Option<SpaceId> {
        let space = self.named_by_anyone(peer, tag)?;
        let did = self.peers.get(&peer)?.did()?;
        self.spaces.get(&space)?.may_name(&did).then_some(space)
    }

    fn named_by_anyone(&mut self, peer: PeerId, tag: &SpaceTag) -> Option<SpaceId> {
        let own = self.own;
        let mut spaces = self.spaces.keys().copied();
        self.peers.get_mut(&peer)?.space_of(&own, &peer, tag, &mut spaces)
    }

    /// As many of the asked records as fit, as they were admitted. A damaged one counts as absent:
    /// it is reported, and, where its place in the store can be written again, fetched again.
    pub(crate) fn page(
        &mut self,
        space: SpaceId,
        ids: &[RecordId],
        room: u32,
        store: &dyn Reader,
    ) -> Result<Page, ReadError> {
        let Some(held) = self.spaces.get(&space) else { return Ok(Page::default()) };
        let (mut altered, mut unreadable) = (Vec::new(), Vec::new());
        let page = Page::fill(ids, room, |id| {
            Ok(match held.read(id, store)? {
                Stored::Whole(bytes) => Some(bytes),
                Stored::Absent | Stored::Altered if held.is_pending(id) => None,
                Stored::Absent if !held.is_listed(id, store)? => None,
                Stored::Absent | Stored::Altered => {
                    altered.push(*id);
                    None
                }
                Stored::Unreadable => {
                    unreadable.push(*id);
                    None
                }
            })
        })?;
        self.damaged(space, &altered, &unreadable);
        Ok(page)
    }

    /// The first records of a range of a set, as they were admitted; damaged ones are left out, as
    /// in [`Self::page`].
    fn range(
        &mut self,
        space: SpaceId,
        set: Set,
        (span, room): (Span, u32),
        store: &dyn Reader,
    ) -> Result<Response, ReadError> {
        let Some(held) = self.spaces.get(&space) else { return Ok(Response::Unknown) };
        let ours = held.stored(set, store)?;
        let mut page = RangePage::with_room(room);
        let (mut altered, mut unreadable) = (Vec::new(), Vec::new());
        let mut next = Some(span.from);
        // Where nothing can be read, go on: an answer brings a record, or is the last. What lies
        // behind a very long damage is found by the comparison that follows.
        for _ in 0..RANGE_LISTS {
            let Some(from) = next else { break };
            let mut ids = ours.list(Span { from, ..span }, ocm_sync::limits::PAGE_RECORDS + 1)?;
            next = ids.get(ocm_sync::limits::PAGE_RECORDS).copied();
            ids.truncate(ocm_sync::limits::PAGE_RECORDS);
            for id in ids {
                match held.read_in(set, &id, store)? {
                    Stored::Whole(record) => {
                        if !page.push(&record) {
                            next = Some(id);
                            break;
                        }
                    }
                    // It has just come again.
                    Stored::Absent | Stored::Altered if held.is_pending(&id) => {}
                    // The set knows it: it was lost.
                    Stored::Absent | Stored::Altered => altered.push(id),
                    Stored::Unreadable => unreadable.push(id),
                }
            }
            if !page.is_empty() {
                break;
            }
        }
        let next = next.filter(|_| !page.is_empty());
        self.damaged(space, &altered, &unreadable);
        Ok(Response::Range { records: page.into_records(), next })
    }

    /// Reports damaged records, and leaves those that can be written again to come again.
    pub(crate) fn damaged(
        &mut self,
        space: SpaceId,
        altered: &[RecordId],
        unreadable: &[RecordId],
    ) {
        if !altered.is_empty() {
            let run = self.next_id();
            if let Some(held) = self.spaces.get_mut(&space) {
                held.lost = run;
                altered.iter().for_each(|id| held.forget(id, &mut self.batch));
                self.forgotten.push(space);
                self.compare_soon(space);
            }
        }
        let all = altered.iter().chain(unreadable);
        self.out.extend(all.map(|id| Output::Event(Event::Damaged { id: *id })));
    }

    /// A peer pushes records. One that holds no role here, as far as is known, may present the
    /// authority records that show it does; what it presents passes admission like any other.
    fn pushed(
        &mut self,
        id: PeerId,
        channel: ChannelId,
        tag: &SpaceTag,
        records: &[ByteBuf],
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let member = self.named(id, tag);
        let space = member.or_else(|| self.named_by_anyone(id, tag));
        let presents = || {
            records.len() <= limits::PRESENTED
                && records.iter().all(|bytes| {
                    SignedRecord::decode(bytes).is_ok_and(|r| r.kind().set() == Set::Authority)
                })
        };
        let Some(space) = space.filter(|_| member.is_some() || presents()) else {
            self.respond(channel, &Response::Unknown);
            return Ok(());
        };
        // Another peer is serving all that is missing here: it would come twice.
        let needless = records.len() > limits::PUSH_RECORDS
            && member.is_some()
            && self.is_filled_by_another(&id, &space);
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if needless || peer.pushes >= limits::PUSHES_PER_PEER {
            // Whoever holds no role is not to learn that there is anything to be busy with.
            let response = if member.is_some() { Response::Busy } else { Response::Unknown };
            self.respond(channel, &response);
            return Ok(());
        }
        peer.pushes += 1;
        let purpose = Purpose::Push { channel, peer: id, space };
        let records = records.iter().map(|bytes| SignedRecord::decode(bytes));
        self.verify_many(records, Some(space), Origin::Push(id), purpose, store)
    }

    /// The records of a push are judged, and durable where they were admitted.
    pub(crate) fn answer_push(
        &mut self,
        channel: ChannelId,
        id: PeerId,
        space: SpaceId,
        verdicts: &[Verdict],
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.pushes = peer.pushes.saturating_sub(1);
        let did = peer.did();
        let known =
            self.spaces.get(&space).is_some_and(|held| did.is_some_and(|did| held.may_name(&did)));
        // Whoever may not know of the space is not to learn it from the end of its connection.
        if known && verdicts.iter().any(|verdict| matches!(verdict, Verdict::Reject(_))) {
            self.strike(id, "it pushed records that are not what they claim to be");
        }
        let response = if known {
            Response::Pushed { verdicts: verdicts.iter().map(push_verdict).collect() }
        } else {
            Response::Unknown
        };
        self.respond(channel, &response);
        let missing = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Hold(_)));
        if known && missing {
            self.compare_soon(space);
        }
    }
}

/// A verdict as it is told to whoever pushed the record.
const fn push_verdict(verdict: &Verdict) -> PushVerdict {
    match verdict {
        Verdict::Accept => PushVerdict::Accept,
        Verdict::Duplicate => PushVerdict::Duplicate,
        Verdict::Hold(_) => PushVerdict::Hold,
        Verdict::Reject(_) => PushVerdict::Reject,
        Verdict::Refuse(_) => PushVerdict::Refuse,
    }
}
