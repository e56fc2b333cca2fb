//! Sessions with a peer that has what cannot be admitted, or admits not what is here: they come to
//! rest.

use std::collections::BTreeMap;

use ocm_node::{Input, Output, ParityState, layout, limits};
use ocm_record::{RecordId, Set, VerifiedRecord};
use ocm_space::Role;
use ocm_sync::{
    Parity, PushVerdict, RangePage, Request, Response, SetDigest, SetHash, SumTree, respond,
};

use crate::host::*;
use crate::peer::*;
use crate::scribe::*;

const MINUTE: u64 = 60_000;

/// A peer that answers every request truly, whatever it holds.
struct Responder {
    peer: Peer,
    /// What the host did, and has no answer yet.
    pending: Vec<Output>,
    records: BTreeMap<RecordId, VerifiedRecord>,
    /// What it sends in the place of some records.
    copies: BTreeMap<RecordId, Vec<u8>>,
    pushed: Vec<RecordId>,
    /// Bytes of records in each push.
    pages: Vec<usize>,
    verdict: PushVerdict,
    /// Records that it served, by when.
    served: Vec<(u64, RecordId)>,
    /// When it was asked anything at all.
    asked: Vec<u64>,
    tells_nothing: bool,
    /// Whether it states other digests than it has.
    misstates: bool,
}

impl Responder {
    fn connect(host: &mut Host, author: u8, records: &[&VerifiedRecord]) -> Self {
        let records = records.iter().map(|record| (record.id(), (*record).clone())).collect();
        let (peer, pending) = Peer::meet(host, author);
        Self {
            peer,
            pending,
            records,
            copies: BTreeMap::new(),
            pushed: Vec::new(),
            pages: Vec::new(),
            verdict: PushVerdict::Refuse,
            served: Vec::new(),
            asked: Vec::new(),
            tells_nothing: false,
            misstates: false,
        }
    }

    fn tree(&self, set: Set) -> SumTree {
        self.records.values().filter(|record| record.set() == set).map(VerifiedRecord::id).collect()
    }

    fn parity(&self) -> Parity {
        let digest = |set| {
            let (mut hash, tree) = (SetHash::new(), self.tree(set));
            tree.iter().for_each(|id| hash.add(&id));
            let mut digest = hash.digest();
            digest[0] ^= u8::from(self.misstates);
            SetDigest { count: tree.len(), digest }
        };
        let (authority, content) = (digest(Set::Authority), digest(Set::Content));
        Parity { authority, content, missing_bodies: 0 }
    }

    fn bytes(&mut self, now: u64, id: &RecordId) -> Option<Vec<u8>> {
        let record = self.records.get(id)?;
        self.served.push((now, *id));
        Some(self.copies.get(id).cloned().unwrap_or_else(|| record.encode()))
    }

    fn answer(&mut self, host: &Host, scribe: &Scribe, request: Request) -> Response {
        let now = host.now;
        match request {
            Request::Spaces { tags } => {
                let own = self.peer.tag_from(scribe.space);
                let at = tags.iter().position(|tag| *tag == own);
                Response::Spaces { shared: at.map(|at| at as u16).into_iter().collect() }
            }
            _ if self.tells_nothing => Response::Unknown,
            Request::Parity { .. } => {
                let statement = self.peer.statement(scribe.space, self.parity());
                Response::Parity { statement }
            }
            Request::Reconcile { set, message, .. } => {
                let message = respond(&self.tree(set), &message, 60 * 1024).unwrap();
                Response::Reconcile { message: message.into() }
            }
            Request::Fetch { ids, .. } => Response::Records(
                ocm_sync::Page::fill(&ids, u32::MAX, |id| Ok::<_, ()>(self.bytes(now, id)))
                    .unwrap(),
            ),
            Request::Range { set, span, .. } => {
                let mut page = RangePage::default();
                for id in self.tree(set).list(span, usize::MAX).unwrap() {
                    if self.bytes(now, &id).is_some_and(|bytes| !page.push(&bytes)) {
                        // It comes with the next page.
                        self.served.pop();
                        return Response::Range { records: page.into_records(), next: Some(id) };
                    }
                }
                Response::Range { records: page.into_records(), next: None }
            }
            Request::Push { records, .. } => {
                let id = |bytes: &serde_bytes::ByteBuf| {
                    ocm_record::SignedRecord::decode(bytes).unwrap().id()
                };
                self.pushed.extend(records.iter().map(id));
                self.pages.push(records.iter().map(|record| record.len()).sum());
                Response::Pushed { verdicts: vec![self.verdict; records.len()] }
            }
            _ => Response::Busy,
        }
    }

    /// Lets time pass, answering what is asked at once.
    fn talk(&mut self, host: &mut Host, scribe: &Scribe, millis: u64) -> Vec<Output> {
        let until = host.now + millis;
        let mut open = std::mem::take(&mut self.pending);
        open.extend(host.tell(Input::Tick));
        let mut seen = Vec::new();
        loop {
            while !open.is_empty() {
                let mut next = Vec::new();
                for out in std::mem::take(&mut open) {
                    if let Output::Send { peer, request, bytes } = &out
                        && *peer == self.peer.id
                    {
                        let asked = Request::decode(bytes).unwrap();
                        if matches!(asked, Request::Hello(_)) {
                            continue;
                        }
                        self.asked.push(host.now);
                        let bytes = self.answer(host, scribe, asked).encode().unwrap();
                        next.extend(host.tell(Input::Response { request: *request, bytes }));
                    }
                    seen.push(out);
                }
                open = next;
            }
            let due = host.node.next_deadline().filter(|at| *at <= until);
            let Some(at) = due else { break };
            host.now = at.max(host.now + 1);
            open = host.tell(Input::Tick);
        }
        host.now = until;
        seen
    }

    /// When it served a record, in minutes since the first time, rounded down.
    fn serves(&self, id: &RecordId) -> Vec<u64> {
        let times: Vec<u64> =
            self.served.iter().filter(|(_, of)| of == id).map(|(at, _)| *at).collect();
        times.iter().map(|at| (at - times[0]) / MINUTE).collect()
    }
}

fn shown(host: &Host, scribe: &Scribe, responder: &Responder) -> ParityState {
    host.node.snapshot().parity(scribe.space, responder.peer.id).unwrap().clone()
}

/// Content of an owner, of a stranger, and one that builds on what nobody has.
struct Stock {
    scribe: Scribe,
    good: Vec<VerifiedRecord>,
    refused: VerifiedRecord,
    orphan: VerifiedRecord,
}

fn stock() -> Stock {
    let mut scribe = Scribe::new(READ_OPEN);
    let good = (0..40).map(|_| scribe.start(OWNER, &[])).collect();
    let refused = scribe.start(3, &[]);
    let nowhere = scribe.start(OWNER, &[]);
    let orphan = scribe.change(OWNER, &nowhere, &[]);
    Stock { scribe, good, refused, orphan }
}

impl Stock {
    fn all(&self) -> Vec<&VerifiedRecord> {
        let genesis = std::iter::once(&self.scribe.genesis);
        genesis.chain(&self.good).chain([&self.refused, &self.orphan]).collect()
    }
}

#[test]
fn what_cannot_be_admitted_is_asked_for_more_and_more_rarely_and_listed() {
    let stock = stock();
    // By lists, where all but the last few are here; by ranges, where nothing is.
    for known in [true, false] {
        let mut host = Host::new(OWNER);
        host.join(stock.scribe.space);
        if known {
            host.accept(&stock.scribe.genesis);
            stock.good.iter().for_each(|record| host.accept(record));
        }
        let mut responder = Responder::connect(&mut host, OWNER, &stock.all());
        responder.talk(&mut host, &stock.scribe, 10_000);
        stock.good.iter().for_each(|record| assert!(host.stores(record)));
        let state = shown(&host, &stock.scribe, &responder);
        assert_eq!((state.here.refused, state.here.held, state.here.total()), (1, 1, 2));
        assert_eq!((state.there.total(), state.exact), (0, true));
        assert!(host.node.snapshot().stuck.is_empty(), "one try is not many");
        let day = responder.talk(&mut host, &stock.scribe, DAY);
        for record in [&stock.refused, &stock.orphan] {
            let times = responder.serves(&record.id());
            assert_eq!(times.len(), 11, "{known}: {times:?}");
            for (n, pair) in times.windows(2).enumerate() {
                // The pause, and what it takes until the next session.
                let pause = 1u64 << n;
                let longest = pause + 2 * limits::INTERVAL_MAX_MS / MINUTE;
                assert!((pause..=longest).contains(&(pair[1] - pair[0])), "{known}: {times:?}");
            }
        }
        for good in &stock.good {
            assert!(responder.serves(&good.id()).len() <= 1, "nothing else is asked for again");
        }
        // It rests: a session each ten minutes or so, of a few small requests.
        let sessions = DAY / limits::INTERVAL_MAX_MS * 4 / 3 + 20;
        let asked = responder.asked.len() as u64;
        assert!(asked < sessions * 6, "{known}: {asked} requests in a day");
        let stuck = |out: &&Output| {
            matches!(out, Output::Event(ocm_node::Event::SessionEnded { outcome: "stuck", .. }))
        };
        assert!(day.iter().filter(stuck).count() > 100, "it says so");
        let stuck = &host.node.snapshot().stuck[&stock.scribe.space];
        let listed = &stuck.latest;
        assert_eq!((stuck.total, listed.len()), (2, 2));
        for (id, verdict, reason) in [
            (stock.refused.id(), "refuse", "not_permitted"),
            (stock.orphan.id(), "hold", "dependency"),
        ] {
            let entry = listed.iter().find(|entry| entry.id == id).unwrap();
            assert_eq!((entry.verdict, entry.reason, entry.attempts), (verdict, reason, 11));
            assert_eq!((entry.peer, entry.space), (responder.peer.id, stock.scribe.space));
            assert!(entry.first_ms < entry.last_ms && entry.next_ms > host.now, "{entry:?}");
        }
        let state = shown(&host, &stock.scribe, &responder);
        assert_eq!((state.here.refused, state.here.held, state.exact), (1, 1, true));
        assert_eq!(state.here.quarantined, 2);
    }
}

/// As of a peer of a later version, of which much waits for what this node does not understand.
#[test]
fn more_than_are_listed_move_no_oftener() {
    let mut scribe = Scribe::new(READ_OPEN);
    let nowhere = scribe.start(OWNER, &[]);
    let many = limits::STUCK_PER_PEER + 300;
    let orphans: Vec<_> = (0..many).map(|_| scribe.change(OWNER, &nowhere, &[])).collect();
    let good = scribe.start(OWNER, &[]);
    let mut host = scribe.host(OWNER);
    let genesis = scribe.genesis.clone();
    let all: Vec<_> = [&genesis, &good].into_iter().chain(&orphans).collect();
    let mut responder = Responder::connect(&mut host, OWNER, &all);
    responder.talk(&mut host, &scribe, 2 * 60 * MINUTE);
    assert!(host.stores(&good));
    // After 1, 2, 4, 8, 16, 32 and 64 minutes.
    for orphan in &orphans {
        assert!(responder.serves(&orphan.id()).len() <= 8, "{:?}", responder.serves(&orphan.id()));
    }
    let state = shown(&host, &scribe, &responder);
    assert_eq!((state.here.held, state.exact), (many as u64, true));
    assert_eq!(host.node.snapshot().stuck[&scribe.space].total, many);
    // What they wait for comes: all of them are tried.
    host.accept(&nowhere);
    responder.records.insert(nowhere.id(), nowhere);
    responder.talk(&mut host, &scribe, 20 * MINUTE);
    orphans.iter().for_each(|orphan| assert!(host.stores(orphan)));
    assert!(host.node.snapshot().stuck.is_empty());
}

/// The same the other way: of a node that admits little of what is here.
#[test]
fn a_peer_that_takes_pushes_quickly_is_pushed_more_at_once() {
    let mut scribe = Scribe::new(READ_OPEN);
    let kept: Vec<_> = (0..1500).map(|_| scribe.start(OWNER, &[])).collect();
    let mut host = scribe.host(OWNER);
    for some in kept.chunks(1000) {
        host.import(some.iter().map(VerifiedRecord::encode).collect());
    }
    let mut responder = Responder::connect(&mut host, OWNER, &[&scribe.genesis.clone()]);
    responder.talk(&mut host, &scribe, 10_000);
    // Its answers are short: what they answer is what fills the link.
    let first = limits::ROOM_FIRST as usize;
    let pages = &responder.pages;
    assert!(pages[0] > first / 2 && pages[0] <= first, "{pages:?}");
    assert!(pages[1] > first, "{pages:?}");
}

#[test]
fn more_than_are_listed_are_pushed_no_oftener() {
    let mut scribe = Scribe::new(READ_OPEN);
    let many = limits::STUCK_PER_PEER + 300;
    let kept: Vec<_> = (0..many).map(|_| scribe.start(OWNER, &[])).collect();
    let mut host = scribe.host(OWNER);
    host.import(kept[..1000].iter().map(VerifiedRecord::encode).collect());
    host.import(kept[1000..].iter().map(VerifiedRecord::encode).collect());
    let mut responder = Responder::connect(&mut host, OWNER, &[&scribe.genesis.clone()]);
    responder.talk(&mut host, &scribe, 2 * 60 * MINUTE);
    assert!(responder.pushed.len() <= 8 * many, "{}", responder.pushed.len());
    let state = shown(&host, &scribe, &responder);
    assert_eq!((state.there.refused, state.exact), (many as u64, true));
}

#[test]
fn what_is_held_is_admitted_when_what_it_waits_for_comes() {
    let mut scribe = Scribe::new(READ_OPEN);
    let start = scribe.start(OWNER, &[]);
    let later = scribe.change(OWNER, &start, &[]);
    let mut host = scribe.host(OWNER);
    let genesis = scribe.genesis.clone();
    let mut responder = Responder::connect(&mut host, OWNER, &[&genesis, &later]);
    responder.talk(&mut host, &scribe, 5 * MINUTE);
    assert!(!host.stores(&later));
    assert!(responder.serves(&later.id()).len() > 1);
    host.accept(&start);
    assert!(host.stores(&later));
    responder.records.insert(start.id(), start.clone());
    responder.talk(&mut host, &scribe, MINUTE);
    let state = shown(&host, &scribe, &responder);
    assert_eq!((state.here.total(), state.exact, state.doubt), (0, true, None));
    assert!(host.node.snapshot().stuck.is_empty());
}

#[test]
fn a_bad_copy_from_one_peer_masks_nothing_that_another_has() {
    let mut scribe = Scribe::new(READ_OPEN);
    let start = scribe.start(OWNER, &[]);
    let mut host = scribe.host(OWNER);
    let both = [&scribe.genesis, &start];
    let mut bad = Responder::connect(&mut host, OWNER, &both);
    bad.copies.insert(start.id(), forged(&start));
    bad.talk(&mut host, &scribe, 5000);
    assert_eq!(bad.serves(&start.id()).len(), 1);
    let state = shown(&host, &scribe, &bad);
    assert_eq!((state.here.rejected, state.exact), (1, true));
    let mut good = Responder::connect(&mut host, 5, &both);
    good.talk(&mut host, &scribe, 5000);
    assert!(host.stores(&start));
    assert_eq!(good.serves(&start.id()).len(), 1);
}

#[test]
fn what_a_peer_turns_away_is_pushed_more_and_more_rarely() {
    let mut scribe = Scribe::new(READ_OPEN);
    let kept: Vec<_> = (0..12).map(|_| scribe.start(OWNER, &[])).collect();
    let mut host = scribe.host(OWNER);
    kept.iter().for_each(|record| host.accept(record));
    let mut responder = Responder::connect(&mut host, OWNER, &[&scribe.genesis.clone()]);
    responder.talk(&mut host, &scribe, 10_000);
    assert_eq!(responder.pushed.len(), 12);
    let state = shown(&host, &scribe, &responder);
    assert_eq!((state.there.refused, state.there.total(), state.exact), (12, 12, true));
    assert_eq!(state.here.total(), 0);
    responder.talk(&mut host, &scribe, DAY);
    assert_eq!(responder.pushed.len(), 12 * 11);
    assert_eq!(shown(&host, &scribe, &responder).there.quarantined, 12);
    // Something new is pushed at once, and alone.
    let fresh = scribe.start(OWNER, &[]);
    host.accept(&fresh);
    responder.talk(&mut host, &scribe, 5000);
    assert_eq!(responder.pushed.len(), 12 * 11 + 1);
    // It has changed its mind about them all.
    let all = [&scribe.genesis, &fresh].into_iter().chain(&kept);
    responder.records = all.map(|record| (record.id(), record.clone())).collect();
    responder.talk(&mut host, &scribe, 20 * MINUTE);
    assert_eq!(shown(&host, &scribe, &responder).there.total(), 0);
}

#[test]
fn a_peer_that_claims_to_store_what_it_turned_away_is_not_believed() {
    let mut scribe = Scribe::new(READ_OPEN);
    let start = scribe.start(OWNER, &[]);
    let mut host = scribe.host(OWNER);
    host.accept(&start);
    let mut responder = Responder::connect(&mut host, OWNER, &[&scribe.genesis.clone()]);
    responder.talk(&mut host, &scribe, 10_000);
    assert_eq!(responder.pushed, [start.id()]);
    // It refused the record, which is for ever.
    responder.records.insert(start.id(), start);
    responder.talk(&mut host, &scribe, 20 * MINUTE);
    let state = shown(&host, &scribe, &responder);
    assert!(state.doubt.unwrap().contains("refused"), "and states that it has it");
}

#[test]
fn a_peer_that_refused_what_is_lost_here_is_believed() {
    let mut scribe = Scribe::new(READ_OPEN);
    let (kept, lost) = (scribe.start(OWNER, &[]), scribe.start(OWNER, &[]));
    let mut host = scribe.host(OWNER);
    host.accept(&kept);
    host.accept(&lost);
    let mut responder = Responder::connect(&mut host, OWNER, &[&scribe.genesis.clone(), &kept]);
    responder.talk(&mut host, &scribe, 10_000);
    assert_eq!(responder.pushed, [lost.id()], "and refused");
    // Its bytes are altered on the disk; that is found when they are read, and it leaves its set.
    let at = layout::record(host.space(scribe.space).number, Set::Content, &lost.id());
    *host.disk.0.get_mut(&at).unwrap().last_mut().unwrap() ^= 1;
    let tag = responder.peer.tag(scribe.space);
    let asked = responder
        .peer
        .ask(&mut host, &Request::Fetch { tag, ids: vec![lost.id()], room: u32::MAX });
    assert!(matches!(asked, Response::Records(page) if page.absent == [lost.id()]));
    responder.talk(&mut host, &scribe, 20 * MINUTE);
    let state = shown(&host, &scribe, &responder);
    assert_eq!((state.comparison, state.doubt), (ocm_sync::Comparison::Equal, None));
    // It came again, was refused again, and is claimed to be there all the same.
    host.accept(&lost);
    responder.talk(&mut host, &scribe, 20 * MINUTE);
    assert!(responder.pushed.len() > 1);
    responder.records.insert(lost.id(), lost);
    responder.talk(&mut host, &scribe, 20 * MINUTE);
    let state = shown(&host, &scribe, &responder);
    assert!(state.doubt.unwrap().contains("refused"), "and states that it has it");
}

/// As where sums are made to collide: reconciliation finds nothing, and parity shows a difference.
#[test]
fn a_difference_that_no_session_finds_grows_old() {
    let mut scribe = Scribe::new(READ_OPEN);
    let start = scribe.start(OWNER, &[]);
    let mut host = scribe.host(OWNER);
    host.accept(&start);
    let mut responder = Responder::connect(&mut host, OWNER, &[&scribe.genesis.clone(), &start]);
    responder.misstates = true;
    let begun = host.now;
    responder.talk(&mut host, &scribe, 60 * MINUTE);
    let state = shown(&host, &scribe, &responder);
    assert_ne!(state.comparison, ocm_sync::Comparison::Equal);
    assert_eq!((state.here.total(), state.there.total()), (0, 0), "nothing is found missing");
    assert!(state.differs_since_ms.unwrap() < begun + 5000, "{state:?}");
}

#[test]
fn a_denial_is_remembered_until_membership_changes_or_the_space_is_named() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let mut responder = Responder::connect(&mut host, OWNER, &[&scribe.genesis.clone()]);
    responder.tells_nothing = true;
    responder.talk(&mut host, &scribe, 10 * MINUTE);
    let id = responder.peer.id;
    let denies = |host: &Host| {
        let peers = host.node.snapshot().peers;
        let shown = peers.iter().find(|shown| shown.peer == id).unwrap();
        assert!(!shown.shared.contains_key(&scribe.space));
        shown.denied.contains(&scribe.space)
    };
    assert!(denies(&host));
    // However often something is written here, it is not asked again for that.
    let before = responder.asked.len();
    let mut written = Vec::new();
    for _ in 0..60 {
        let start = scribe.start(OWNER, &[]);
        host.accept(&start);
        written.push(start);
        responder.talk(&mut host, &scribe, MINUTE);
    }
    let asked = responder.asked.len() - before;
    assert!(asked <= 2 * 10, "{asked} requests in an hour of denials");
    // Membership changes: it is asked again at once.
    let before = responder.asked.len();
    let grant = scribe.grant(OWNER, 5, Role::Reader, &[]);
    host.accept(&grant);
    responder.talk(&mut host, &scribe, 1000);
    assert_eq!(responder.asked.len() - before, 2, "named, and compared");
    // The peer holds it by now, and names it.
    responder.tells_nothing = false;
    responder.verdict = PushVerdict::Accept;
    let tags = vec![responder.peer.tag(scribe.space)];
    let bytes = Request::Spaces { tags }.encode().unwrap();
    let channel = host.number();
    responder.pending = host.tell(Input::Request { peer: id, channel, bytes });
    responder.talk(&mut host, &scribe, 5000);
    assert_eq!(responder.pushed.len(), written.len() + 1);
    let peers = host.node.snapshot().peers;
    assert!(peers.iter().all(|shown| shown.denied.is_empty()));
}
