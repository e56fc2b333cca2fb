//! Two cores, message by message: the smallest scenes in which something once went wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "sim/disk.rs"]
#[allow(dead_code, reason = "a part of it is enough here")]
mod disk;

use disk::Disk;
use ipld_core::ipld;
use ipld_core::ipld::Ipld;
use ocm_discovery::PeerId;
use ocm_memory::{Edit, Path, encode_edits};
use ocm_node::storage::{Batch, Key, ReadError, Reader, Value};
use ocm_node::{
    ChannelId, Command, Event, GossipVerdict, Identity, Input, JobId, Node, Output, Reply,
    RequestId, Settings, derived, layout,
};
use ocm_record::{
    Did, MemoryId, Set, SignedRecord, SigningKey, SpaceId, to_canonical, verify_batch,
};
use ocm_space::{Access, Grant, Policy, Role};
use ocm_sync::{Request, Response, space_tag};
use serde_bytes::ByteBuf;

const NOW: u64 = 1_760_000_000_000;

/// One core with its disk. What it wants done waits until it is done here.
struct Rig {
    node: Node,
    disk: Disk,
    peer: PeerId,
    did: Did,
    /// Whether the disk flushes and the verifier works by themselves.
    flushes: bool,
    verifies: bool,
    jobs: Vec<(JobId, Vec<SignedRecord>)>,
    sent: Vec<(PeerId, RequestId, Vec<u8>)>,
    answered: Vec<(ChannelId, Vec<u8>)>,
    judged: Vec<GossipVerdict>,
    replies: Vec<Reply>,
    events: Vec<Event>,
    /// Records in the pushes that it sent.
    pushed: usize,
}

impl Rig {
    fn new(who: u8) -> Self {
        Self::open(who, Disk::default())
    }

    fn open(who: u8, disk: Disk) -> Self {
        let identity = Identity {
            author: SigningKey::from_seed(&[who; 32]),
            peer: SigningKey::from_seed(&[who + 100; 32]),
        };
        let (peer, did) =
            (PeerId::new(identity.peer.public()), Did::from(identity.author.public()));
        let (node, first) =
            Node::open(identity, Settings::default(), [who; 32], NOW, &disk).unwrap();
        let mut rig = Self {
            node,
            disk,
            peer,
            did,
            flushes: true,
            verifies: true,
            jobs: Vec::new(),
            sent: Vec::new(),
            answered: Vec::new(),
            judged: Vec::new(),
            replies: Vec::new(),
            events: Vec::new(),
            pushed: 0,
        };
        rig.carry_out(NOW, first);
        rig
    }

    fn give(&mut self, now: u64, input: Input) {
        let outputs = self.node.handle(input, now, &self.disk).unwrap();
        self.carry_out(now, outputs);
    }

    fn carry_out(&mut self, now: u64, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Commit { batch, writes } => self.disk.submit(batch, writes),
                Output::Verify { job, records } => self.jobs.push((job, records)),
                Output::Sign { job, key, records } => {
                    self.jobs.push((job, records.into_iter().map(|r| r.sign(&key)).collect()));
                }
                Output::Send { peer, request, bytes } => {
                    if let Ok(Request::Push { records, .. }) = Request::decode(&bytes) {
                        self.pushed += records.len();
                    }
                    self.sent.push((peer, request, bytes));
                }
                Output::Respond { channel, bytes } => self.answered.push((channel, bytes)),
                Output::Judge { gossip, .. } => self.judged.push(gossip),
                Output::Reply { result, .. } => self.replies.push(result.unwrap()),
                Output::Event(event) => self.events.push(event),
                Output::Subscribe(_) | Output::Publish { .. } => {}
                Output::Disconnect { reason, .. } => panic!("{reason}"),
            }
        }
        self.work(now);
    }

    fn work(&mut self, now: u64) {
        if self.flushes {
            for batch in self.disk.flush(usize::MAX).0 {
                self.give(now, Input::Committed(batch));
            }
        }
        if self.verifies {
            for (job, records) in std::mem::take(&mut self.jobs) {
                self.give(now, Input::Verified { job, results: verify_batch(records) });
            }
        }
    }

    fn command(&mut self, command: Command) -> Reply {
        self.give(NOW, Input::Command { ticket: 0, command });
        self.replies.pop().unwrap()
    }

    fn create(&mut self, read: Access) -> SpaceId {
        let policy = Policy { write: Access::Members, read };
        match self.command(Command::CreateSpace { name: "camp".into(), policy }) {
            Reply::Space(space) => space,
            other => panic!("{other:?}"),
        }
    }

    fn grant(&mut self, space: SpaceId, to: Did) {
        let grant = Grant { to, role: Role::Writer, key: None, kinds: None, expires: None };
        self.command(Command::Grant { space, grant });
    }

    /// Everything it stores of a space, as bytes, authority first.
    fn export(&self, space: SpaceId) -> Vec<Vec<u8>> {
        let number = self.disk.spaces()[&space];
        [ocm_record::Set::Authority, ocm_record::Set::Content]
            .into_iter()
            .flat_map(|set| self.disk.ids(number, set))
            .map(|id| self.disk.record(number, &id).unwrap().to_vec())
            .collect()
    }

    fn holds(&self, space: SpaceId) -> bool {
        self.disk.holds(&space, &space.0)
    }

    fn shares(&self, with: &Rig, space: SpaceId) -> bool {
        let snapshot = self.node.snapshot();
        let peer = snapshot.peers.iter().find(|peer| peer.peer == with.peer);
        peer.is_some_and(|peer| peer.shared.contains_key(&space))
    }

    fn faults(&self) -> usize {
        let fault = |event: &&Event| matches!(event, Event::SessionEnded { outcome: "fault", .. });
        self.events.iter().filter(fault).count()
    }
}

fn connect(a: &mut Rig, b: &mut Rig, now: u64) {
    let (first, second) = (a.peer, b.peer);
    a.give(now, Input::Connected(second));
    b.give(now, Input::Connected(first));
}

/// Carries what the two say to each other, one tick every 50 ms.
fn talk(a: &mut Rig, b: &mut Rig, now: &mut u64, millis: u64) {
    let end = *now + millis;
    while *now < end {
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            for (_, request, bytes) in std::mem::take(&mut from.sent) {
                // A rig asks nobody else, so that the number of its request can name the channel.
                to.give(*now, Input::Request { peer: from.peer, channel: request, bytes });
            }
            for (request, bytes) in std::mem::take(&mut to.answered) {
                from.give(*now, Input::Response { request, bytes });
            }
        }
        *now += 50;
        a.give(*now, Input::Tick);
        b.give(*now, Input::Tick);
    }
}

#[test]
fn who_shared_an_empty_space_learns_nothing_once_it_is_filled() {
    let (mut owner, mut member, mut stranger) = (Rig::new(1), Rig::new(2), Rig::new(3));
    let space = owner.create(Access::Members);
    owner.grant(space, member.did);
    member.command(Command::Join { space });
    stranger.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut member, &mut stranger, now);
    talk(&mut member, &mut stranger, &mut now, 2000);
    assert!(member.shares(&stranger, space), "nothing is here that could be kept from anyone");
    member.command(Command::Import { records: owner.export(space) });
    talk(&mut member, &mut stranger, &mut now, 30_000);
    assert!(member.holds(space));
    assert!(!stranger.holds(space));
    assert!(!member.shares(&stranger, space));
}

#[test]
fn a_right_is_presented_once_it_is_durable_however_slow_the_disk() {
    let (mut owner, mut old, mut new) = (Rig::new(1), Rig::new(2), Rig::new(3));
    let space = owner.create(Access::Members);
    owner.grant(space, old.did);
    old.command(Command::Join { space });
    old.command(Command::Import { records: owner.export(space) });
    owner.grant(space, new.did);
    new.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut old, &mut new, now);
    talk(&mut old, &mut new, &mut now, 2000);
    // The newcomer takes in what shows that both are members, and its disk sleeps.
    new.flushes = false;
    new.give(
        now,
        Input::Command { ticket: 0, command: Command::Import { records: owner.export(space) } },
    );
    talk(&mut old, &mut new, &mut now, 3000);
    assert!(!old.shares(&new, space));
    new.flushes = true;
    talk(&mut old, &mut new, &mut now, 3000);
    assert!(old.shares(&new, space) && new.shares(&old, space));
    assert_eq!(old.export(space), owner.export(space));
}

#[test]
fn a_proof_that_was_lost_or_came_too_soon_is_presented_again() {
    let (mut owner, mut old, mut new) = (Rig::new(1), Rig::new(2), Rig::new(3));
    let space = owner.create(Access::Members);
    owner.grant(space, old.did);
    old.command(Command::Join { space });
    old.command(Command::Import { records: owner.export(space) });
    owner.grant(space, new.did);
    new.command(Command::Join { space });
    new.command(Command::Import { records: owner.export(space) });
    let mut now = NOW;
    connect(&mut old, &mut new, now);
    let mut lost = 0;
    while lost < 2 {
        talk(&mut old, &mut new, &mut now, 50);
        let is_push = |bytes: &[u8]| matches!(Request::decode(bytes), Ok(Request::Push { .. }));
        if let Some(at) = new.sent.iter().position(|(_, _, bytes)| is_push(bytes)) {
            let (_, request, _) = new.sent.remove(at);
            let unknown = Response::Unknown.encode().unwrap();
            new.give(
                now,
                match lost {
                    0 => Input::RequestFailed { request, timed_out: true },
                    _ => Input::Response { request, bytes: unknown },
                },
            );
            lost += 1;
        }
        assert!(now < NOW + 20_000, "nothing was presented");
    }
    assert!(!old.shares(&new, space));
    talk(&mut old, &mut new, &mut now, 15_000);
    assert_eq!(old.export(space), owner.export(space));
}

#[test]
fn a_stranger_who_floods_with_proofs_is_told_what_every_stranger_is_told() {
    let (mut member, mut stranger) = (Rig::new(1), Rig::new(2));
    let space = member.create(Access::Members);
    let mut false_space = Rig::new(3);
    let other = false_space.create(Access::Members);
    let mut now = NOW;
    connect(&mut member, &mut stranger, now);
    // Both hellos, so that the nonces are known here.
    let nonce = |rig: &Rig| {
        rig.sent.iter().find_map(|(_, _, bytes)| match Request::decode(bytes) {
            Ok(Request::Hello(hello)) => Some(hello.nonce),
            _ => None,
        })
    };
    let (ours, theirs) = (nonce(&member).unwrap(), nonce(&stranger).unwrap());
    talk(&mut member, &mut stranger, &mut now, 500);
    let (from, to) = (stranger.peer.to_bytes(), member.peer.to_bytes());
    let tag = space_tag(&from, &to, &theirs, &ours, &space);
    let mut genesis = false_space.export(other);
    let records = vec![ByteBuf::from(genesis.remove(0))];
    let bytes = Request::Push { tag, records }.encode().unwrap();
    // Of the wrong space, so decided at once; a forged one of the right space would be verified.
    member.verifies = false;
    for channel in 0..10 {
        let forged = forge(&member.export(space)[0], channel as u8);
        let records = vec![ByteBuf::from(forged)];
        let push = Request::Push { tag, records }.encode().unwrap();
        member
            .give(now, Input::Request { peer: stranger.peer, channel: 100 + channel, bytes: push });
    }
    member.give(now, Input::Request { peer: stranger.peer, channel: 200, bytes });
    let told: Vec<Response> =
        member.answered.iter().map(|(_, bytes)| Response::decode(bytes).unwrap()).collect();
    assert!(!told.is_empty());
    assert!(told.iter().all(|response| *response == Response::Unknown), "{told:?}");
}

/// A grant of the same space that nobody signed.
fn forge(genesis: &[u8], salt: u8) -> Vec<u8> {
    let space = SignedRecord::decode(genesis).unwrap().space();
    let draft = ocm_record::Draft {
        space,
        kind: ocm_record::Kind::GRANT,
        memory: None,
        author: None,
        boot: ocm_record::Boot::from_bytes([salt; 16]),
        seq: 1,
        prev: None,
        deps: vec![],
        auth: vec![],
        time: ocm_record::Time::from_millis(NOW + 1),
    };
    draft.sign(&SigningKey::from_seed(&[9; 32]), vec![salt]).unwrap().encode()
}

/// A space of so many thousands of memories.
fn thousands(full: &mut Rig, count: u32) -> SpaceId {
    let space = full.create(Access::Open);
    for batch in 0..count {
        let edits = |n: u32| ipld!([[0, ["n"], (Ipld::from(i128::from(n)))]]);
        let memories = (0..1000).map(|n| edits(batch * 1000 + n)).collect();
        full.command(Command::Begin { space, memories });
    }
    space
}

#[test]
fn what_one_peer_is_serving_is_not_taken_from_another() {
    let (mut full, mut other, mut empty) = (Rig::new(1), Rig::new(3), Rig::new(2));
    let space = thousands(&mut full, 8);
    other.command(Command::Join { space });
    let records = full.export(space);
    for records in records.chunks(1000) {
        other.command(Command::Import { records: records.to_vec() });
    }
    empty.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut full, &mut empty, now);
    // Some pages are stored, and as many as may be are under way.
    while empty.export(space).len() < 1000 {
        talk(&mut full, &mut empty, &mut now, 50);
    }
    empty.verifies = false;
    talk(&mut full, &mut empty, &mut now, 1000);
    let jobs = empty.jobs.len();
    assert!(jobs > 0 && empty.export(space).len() < 6000);
    connect(&mut other, &mut empty, now);
    talk(&mut other, &mut empty, &mut now, 20_000);
    assert!(other.pushed > 0, "it tries");
    assert_eq!(empty.jobs.len(), jobs, "nothing that it pushed was taken");
}

#[test]
fn a_peer_that_answers_nothing_loses_the_connection_after_the_third_request() {
    let (mut full, mut stalled) = (Rig::new(1), Rig::new(2));
    full.create(Access::Open);
    let mut now = NOW;
    connect(&mut full, &mut stalled, now);
    let fail = |rig: &mut Rig, now: u64, timed_out: bool| {
        let (_, request, _) = rig.sent.pop().unwrap();
        rig.node.handle(Input::RequestFailed { request, timed_out }, now, &rig.disk).unwrap()
    };
    let ends = |outputs: &[Output]| {
        outputs.iter().any(|output| matches!(output, Output::Disconnect { .. }))
    };
    let next = |rig: &mut Rig, now: &mut u64| {
        rig.sent.clear();
        while rig.sent.is_empty() {
            *now += 1000;
            rig.give(*now, Input::Tick);
        }
    };
    // What never went out is no fault of the peer's, and an answer makes up for what went before.
    for _ in 0..5 {
        next(&mut full, &mut now);
        assert!(!ends(&fail(&mut full, now, false)));
    }
    for _ in 0..2 {
        next(&mut full, &mut now);
        assert!(!ends(&fail(&mut full, now, true)));
    }
    talk(&mut full, &mut stalled, &mut now, 10_000);
    for count in 1..=3 {
        now += 700_000;
        next(&mut full, &mut now);
        assert_eq!(ends(&fail(&mut full, now, true)), count == 3, "{count}");
    }
}

#[test]
fn a_newcomer_is_not_pushed_what_it_asks_for() {
    let (mut full, mut empty) = (Rig::new(1), Rig::new(2));
    let space = thousands(&mut full, 8);
    empty.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut full, &mut empty, now);
    talk(&mut full, &mut empty, &mut now, 20_000);
    assert_eq!(empty.export(space), full.export(space));
    // Before the peer has asked for anything, a page may be on its way.
    assert!(full.pushed <= 1024, "{} records were pushed, too", full.pushed);
}

#[test]
fn a_verdict_of_an_earlier_session_is_none_to_the_next() {
    let (mut full, mut empty) = (Rig::new(1), Rig::new(2));
    let space = full.create(Access::Open);
    empty.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut full, &mut empty, now);
    empty.verifies = false;
    talk(&mut full, &mut empty, &mut now, 2000);
    assert!(!empty.jobs.is_empty(), "a page is being verified");
    // The connection goes and comes; a new session has asked its first question.
    empty.give(now, Input::Disconnected(full.peer));
    full.give(now, Input::Disconnected(empty.peer));
    full.sent.clear();
    full.answered.clear();
    empty.sent.clear();
    connect(&mut full, &mut empty, now);
    while empty.node.snapshot().sessions == 0 {
        talk(&mut full, &mut empty, &mut now, 50);
        assert!(now < NOW + 20_000, "no session begins");
    }
    let (job, records) = empty.jobs.remove(0);
    empty.give(now, Input::Verified { job, results: verify_batch(records) });
    empty.verifies = true;
    talk(&mut full, &mut empty, &mut now, 20_000);
    assert_eq!(empty.faults(), 0, "an honest peer is blamed");
    assert_eq!(empty.export(space), full.export(space));
}

#[test]
fn a_damaged_grant_comes_again_and_is_no_twin_of_itself() {
    let (mut owner, mut reader) = (Rig::new(1), Rig::new(2));
    let space = owner.create(Access::Open);
    owner.grant(space, reader.did);
    reader.command(Command::Join { space });
    let records = owner.export(space);
    reader.command(Command::Import { records: records.clone() });
    let number = reader.disk.spaces()[&space];
    let grant = SignedRecord::decode(&records[1]).unwrap().id();
    let mut disk = std::mem::take(&mut reader.disk);
    // A bit of a stored record flips.
    let at = layout::record(number, ocm_record::Set::Authority, &grant);
    *disk.durable.get_mut(&at).unwrap().last_mut().unwrap() ^= 1;
    let mut reader = Rig::open(2, disk);
    assert_ne!(reader.export(space), records);
    let mut now = NOW;
    connect(&mut owner, &mut reader, now);
    talk(&mut owner, &mut reader, &mut now, 5000);
    assert_eq!(reader.export(space), records);
    assert_eq!(reader.node.snapshot().spaces[0].tallies.equivocations, 0);
}

/// A record that vanished beneath its set is not served as if it had never been: it leaves the set,
/// and comes again.
#[test]
fn a_lost_record_leaves_its_set_and_comes_again() {
    for fetched_by_range in [true, false] {
        let (mut whole, mut lossy, mut late) = (Rig::new(1), Rig::new(2), Rig::new(3));
        let space = whole.create(Access::Open);
        let edits = Ipld::List(Vec::new());
        let mut ids = Vec::new();
        for _ in 0..40 {
            let deps = Vec::new();
            let change = Command::Change { space, memory: None, deps, edits: edits.clone() };
            let Reply::Record { id, .. } = whole.command(change) else { panic!() };
            ids.push(id);
        }
        let records = whole.export(space);
        for rig in [&mut lossy, &mut late] {
            rig.command(Command::Join { space });
        }
        lossy.command(Command::Import { records: records.clone() });
        if !fetched_by_range {
            // It lacks only a few, which are listed and fetched by their ids.
            let most: Vec<_> = (0..records.len()).filter(|n| n % 9 != 4).collect();
            let most = most.into_iter().map(|n| records[n].clone()).collect();
            late.command(Command::Import { records: most });
        }
        let number = lossy.disk.spaces()[&space];
        let lost = SignedRecord::decode(&records[4]).unwrap().id();
        // The disk loses a stored record; what was made of it stays.
        let at = layout::record(number, ocm_record::Set::Content, &lost);
        lossy.disk.durable.remove(&at).unwrap();
        let mut now = NOW;
        connect(&mut lossy, &mut late, now);
        talk(&mut lossy, &mut late, &mut now, 30_000);
        let damaged = |event: &Event| matches!(event, Event::Damaged { id } if *id == lost);
        assert!(lossy.events.iter().any(damaged));
        assert_eq!(lossy.node.snapshot().spaces[0].parity.content.count, 39);
        assert_eq!(late.export(space), lossy.export(space), "the rest arrives");
        connect(&mut whole, &mut lossy, now);
        talk(&mut whole, &mut lossy, &mut now, 30_000);
        assert_eq!(lossy.export(space), records);
        assert_eq!(lossy.node.snapshot().spaces[0].tallies.memories, 40, "counted once");
    }
}

/// A whole page of records that vanished in a row is passed over, and whoever serves is not blamed.
#[test]
fn a_page_of_lost_records_is_no_breach() {
    let (mut lossy, mut late) = (Rig::new(1), Rig::new(2));
    let space = lossy.create(Access::Open);
    let many = ocm_sync::limits::PAGE_RECORDS + 80;
    for _ in 0..many {
        let (deps, edits) = (Vec::new(), Ipld::List(Vec::new()));
        lossy.command(Command::Change { space, memory: None, deps, edits });
    }
    let number = lossy.disk.spaces()[&space];
    let ids = lossy.disk.ids(number, ocm_record::Set::Content);
    for id in ids.iter().take(many - 30) {
        lossy.disk.durable.remove(&layout::record(number, ocm_record::Set::Content, id)).unwrap();
    }
    late.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut lossy, &mut late, now);
    talk(&mut lossy, &mut late, &mut now, 60_000);
    assert_eq!(late.faults(), 0, "an honest peer is blamed");
    assert_eq!(late.node.snapshot().spaces[0].parity.content.count, 30);
    assert_eq!(late.export(space), lossy.export(space));
}

#[test]
fn a_copy_without_its_body_does_not_mask_the_whole_one() {
    let (mut writer, mut reader) = (Rig::new(1), Rig::new(2));
    let space = writer.create(Access::Open);
    let edits = Ipld::List(Vec::new());
    let change = |memory, deps| Command::Change { space, memory, deps, edits: edits.clone() };
    let Reply::Record { id, memory } = writer.command(change(None, vec![])) else { panic!() };
    writer.command(change(memory, vec![id]));
    let all = writer.export(space);
    let [genesis, first, second] = &all[..] else { panic!("{}", all.len()) };
    reader.command(Command::Join { space });
    reader.command(Command::Import { records: vec![genesis.clone()] });
    let hear = |bytes: &[u8]| Input::Gossip {
        peer: writer.peer,
        message: 1,
        space,
        bytes: bytes.to_vec(),
    };
    reader.give(NOW, hear(&strip(second)));
    reader.give(NOW, hear(second));
    reader.give(NOW, hear(first));
    assert_eq!(reader.export(space), all);
}

/// The same record without its body.
fn strip(record: &[u8]) -> Vec<u8> {
    let Ok(Ipld::List(parts)) = ocm_record::from_canonical::<Ipld>(record) else { panic!() };
    to_canonical(&ipld!([(parts[0].clone()), (parts[1].clone()), null]))
}

#[test]
fn both_sides_learn_that_they_are_equal_when_one_caught_up_meanwhile() {
    let (mut a, mut b) = (Rig::new(1), Rig::new(2));
    let space = a.create(Access::Open);
    b.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut a, &mut b, now);
    talk(&mut a, &mut b, &mut now, 5000);
    let equal = |rig: &Rig| {
        let snapshot = rig.node.snapshot();
        let parity = snapshot.parity(space, snapshot.peers[0].peer);
        parity.is_some_and(|parity| {
            parity.equal_since_ms.is_some() && parity.ours == snapshot.spaces[0].parity
        })
    };
    assert!(equal(&a) && equal(&b));
    // The two are apart in one grant. b asks, and before the answer comes it has the grant, too.
    b.node.handle(Input::Tick, now, &b.disk).unwrap();
    a.grant(space, Rig::new(3).did);
    a.sent.clear();
    b.give(now, Input::Command { ticket: 0, command: Command::Sync { space: Some(space) } });
    let (_, request, question) = b.sent.pop().unwrap();
    assert!(matches!(Request::decode(&question), Ok(Request::Parity { .. })));
    b.command(Command::Import { records: a.export(space) });
    b.sent.clear();
    a.give(now, Input::Request { peer: b.peer, channel: request, bytes: question });
    let (_, bytes) = a.answered.pop().unwrap();
    b.give(now, Input::Response { request, bytes });
    assert!(equal(&b) && !equal(&a), "b has heard, a has not");
    let differs = |rig: &Rig| rig.node.snapshot().spaces[0].differs_since_ms;
    assert_eq!((differs(&a), differs(&b)), (Some(NOW), None), "since the grant was written");
    talk(&mut a, &mut b, &mut now, 1500);
    assert!(equal(&a) && equal(&b), "and a hears it soon");
    assert_eq!((differs(&a), differs(&b)), (None, None));
}

#[test]
fn a_session_that_lasts_too_long_makes_room_for_another() {
    let (mut full, mut empty) = (Rig::new(1), Rig::new(2));
    let space = full.create(Access::Open);
    empty.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut full, &mut empty, now);
    // The peer answers, and what it sends is verified for ever.
    empty.verifies = false;
    talk(&mut full, &mut empty, &mut now, 2000);
    assert_eq!(empty.node.snapshot().sessions, 1);
    let overdue = NOW + 2000 + ocm_node::limits::SESSION_MS;
    assert!(empty.node.next_deadline().is_some_and(|at| at <= overdue));
    empty.give(overdue, Input::Tick);
    assert_eq!(empty.node.snapshot().sessions, 0);
    let ended = |event: &Event| matches!(event, Event::SessionEnded { outcome: "continued", .. });
    assert!(empty.events.iter().any(ended));
    empty.verifies = true;
    now = overdue;
    talk(&mut full, &mut empty, &mut now, 20_000);
    assert_eq!(empty.export(space), full.export(space));
}

#[test]
fn a_member_denied_because_its_right_was_not_known_yet_presents_it_again() {
    let (mut owner, mut b, mut c) = (Rig::new(1), Rig::new(2), Rig::new(3));
    let space = owner.create(Access::Members);
    owner.grant(space, c.did);
    b.command(Command::Join { space });
    b.command(Command::Import { records: owner.export(space) });
    c.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut b, &mut c, now);
    // What b pushes tells who may know of the space; that b may, it has not heard itself yet.
    c.verifies = false;
    talk(&mut b, &mut c, &mut now, 2000);
    assert!(!c.jobs.is_empty() && c.shares(&b, space));
    owner.grant(space, b.did);
    b.command(Command::Import { records: owner.export(space) });
    let push = |bytes: &[u8]| matches!(Request::decode(bytes), Ok(Request::Push { .. }));
    b.sent.retain(|(_, _, bytes)| !push(bytes));
    talk(&mut b, &mut c, &mut now, 2000);
    c.verifies = true;
    c.work(now);
    assert!(c.holds(space) && !c.shares(&b, space));
    talk(&mut b, &mut c, &mut now, 30_000);
    assert!(c.shares(&b, space) && b.shares(&c, space));
    assert_eq!(c.export(space), owner.export(space));
}

#[test]
fn a_clock_that_is_set_back_delays_nothing() {
    let (mut a, mut b) = (Rig::new(1), Rig::new(2));
    let space = a.create(Access::Open);
    b.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut a, &mut b, now);
    talk(&mut a, &mut b, &mut now, 5000);
    a.sent.clear();
    let before = now - 24 * 60 * 60 * 1000;
    let asks = |a: &Rig| {
        let parity = |bytes: &[u8]| matches!(Request::decode(bytes), Ok(Request::Parity { .. }));
        a.sent.iter().any(|(_, _, bytes)| parity(bytes))
    };
    let mut waited = 0;
    while !asks(&a) {
        waited += 1000;
        assert!(waited <= 2 * ocm_node::limits::INTERVAL_MAX_MS, "no comparison");
        a.give(before + waited, Input::Tick);
    }
}

/// A disk that is read while it is written.
struct Written(std::cell::RefCell<Disk>);

impl Reader for Written {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        self.0.borrow().get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, ReadError> {
        self.0.borrow().scan(from, to, limit)
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, ReadError> {
        self.0.borrow().scan_back(from, to, limit)
    }
}

#[test]
fn what_is_made_from_records_is_made_again_when_it_is_lost() {
    let mut rig = Rig::new(1);
    let space = thousands(&mut rig, 1);
    rig.create(Access::Members);
    let number = rig.disk.spaces()[&space];
    let memories: Vec<_> = rig.disk.ids(number, Set::Content).into_iter().collect();
    for id in memories.iter().step_by(100) {
        let edits = ipld!([[0, ["n"], 7]]);
        let memory = Some(MemoryId(*id));
        rig.command(Command::Change { space, memory, deps: vec![*id], edits });
    }
    // One place in a log holds two records.
    rig.grant(space, Did::from(SigningKey::from_seed(&[9; 32]).public()));
    let state = rig.node.snapshot().spaces.into_iter().find(|held| held.id == space).unwrap();
    let writer = SigningKey::from_seed(&[9; 32]);
    let auth = state.state.proof(
        &Did::from(writer.public()),
        &writer.public(),
        ocm_record::Kind::CHANGE,
        NOW,
    );
    let twin = |salt: u8| {
        let draft = ocm_record::Draft {
            space,
            kind: ocm_record::Kind::CHANGE,
            memory: None,
            author: None,
            boot: ocm_record::Boot::from_bytes([4; 16]),
            seq: 1,
            prev: None,
            deps: vec![],
            auth: auth.clone().unwrap(),
            time: ocm_record::Time::from_millis(NOW + 5),
        };
        draft.sign(&writer, vec![salt]).unwrap().encode()
    };
    rig.command(Command::Import { records: vec![twin(1), twin(2)] });

    let whole = rig.disk.durable.clone();
    let kept = |entries: &std::collections::BTreeMap<Key, Value>| {
        let lists = |key: &Key| matches!(key[0], b'd' | b'v' | b'i');
        let kept = entries.iter().filter(|(key, _)| !lists(key));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(whole.keys().filter(|key| key[0] == b'e').count(), 1);
    for cut in [1, 3, 6, 9, usize::MAX] {
        let mut disk = Disk::default();
        disk.durable.clone_from(&whole);
        // Every third of what is no record and no set is lost, and the names of the spaces are.
        let mut nth = 0;
        disk.durable.retain(|key, _| {
            nth += 1;
            matches!(key[0], b'r' | b'h' | b'n') || (key[0] != b's' && nth % 3 > 0)
        });
        disk.durable.insert(layout::row(number, &MemoryId(memories[0])), vec![1]);
        let store = Written(disk.into());
        let left = std::cell::Cell::new(cut);
        let mut apply = |writes: ocm_node::sets::Writes| {
            left.set(left.get().checked_sub(1).ok_or(ReadError::Io("cut short".into()))?);
            let mut disk = store.0.borrow_mut();
            disk.submit(0, Batch { writes });
            disk.flush(1);
            Ok(())
        };
        let first: Result<(), ReadError> = derived::rebuild(&store, &mut apply);
        assert_eq!(first.is_err(), cut < usize::MAX);
        assert_eq!(derived::is_unfinished(&store), Ok(first.is_err()));
        left.set(usize::MAX);
        derived::rebuild(&store, apply).unwrap();
        assert_eq!(derived::is_unfinished(&store), Ok(false));
        let disk = store.0.into_inner();
        assert_eq!(kept(&disk.durable), kept(&whole));
        let (from, to) = layout::all_dirty(number);
        let due: std::collections::BTreeSet<MemoryId> = disk
            .durable
            .range(from..to)
            .flat_map(|(_, list)| layout::dirty_memories(list))
            .collect();
        assert_eq!(due.len(), memories.len() + 2);
        assert!(!disk.durable.keys().any(|key| key[0] == b'v'));
    }
}

/// Carries what all of them say to each other, one tick every 50 ms. Gives the most sessions that
/// one of them had at once.
fn converse(rigs: &mut [Rig], now: &mut u64, millis: u64) -> usize {
    let end = *now + millis;
    let mut most = 0;
    while *now < end {
        for from in 0..rigs.len() {
            for (peer, request, bytes) in std::mem::take(&mut rigs[from].sent) {
                let to = rigs.iter().position(|rig| rig.peer == peer).unwrap();
                // The number of a request names its channel, with who asked.
                let (asker, channel) = (rigs[from].peer, request * 16 + from as u64);
                rigs[to].give(*now, Input::Request { peer: asker, channel, bytes });
            }
        }
        for at in 0..rigs.len() {
            for (channel, bytes) in std::mem::take(&mut rigs[at].answered) {
                let to = (channel % 16) as usize;
                rigs[to].give(*now, Input::Response { request: channel / 16, bytes });
            }
        }
        *now += 50;
        for rig in rigs.iter_mut() {
            rig.give(*now, Input::Tick);
            most = most.max(rig.node.snapshot().sessions);
        }
    }
    most
}

#[test]
fn a_newcomer_catches_up_from_two_and_then_compares_with_all() {
    let mut rigs: Vec<Rig> = (1..=6).map(Rig::new).collect();
    let space = rigs[0].create(Access::Open);
    let edits = Ipld::List(Vec::new());
    for _ in 0..300 {
        let change = |edits| Command::Change { space, memory: None, deps: Vec::new(), edits };
        rigs[0].command(change(edits.clone()));
    }
    let records = rigs[0].export(space);
    for rig in &mut rigs[1..] {
        rig.command(Command::Join { space });
    }
    for rig in &mut rigs[1..5] {
        rig.command(Command::Import { records: records.clone() });
    }
    // The last has nothing, and meets all others at once.
    let mut now = NOW;
    let (last, others) = rigs.split_last_mut().unwrap();
    others.iter_mut().for_each(|other| connect(last, other, now));
    let most = converse(&mut rigs, &mut now, 15_000);
    assert!((1..=ocm_node::limits::SESSIONS_PER_SPACE).contains(&most), "{most} sessions at once");
    assert_eq!(rigs[5].export(space), records);
    let snapshot = rigs[5].node.snapshot();
    for other in &rigs[..5] {
        let state = snapshot.parity(space, other.peer).expect("it was compared with");
        assert!(state.equal_since_ms.is_some() && state.ours == snapshot.spaces[0].parity);
    }
}

#[test]
fn what_was_stated_outlasts_the_peer_and_the_process() {
    let (mut a, mut b) = (Rig::new(1), Rig::new(2));
    let space = a.create(Access::Open);
    b.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut a, &mut b, now);
    talk(&mut a, &mut b, &mut now, 20_000);
    let kept = |rig: &Rig| rig.node.snapshot().parity(space, b.peer).cloned();
    let before = kept(&a).unwrap();
    assert!(before.equal_since_ms.is_some() && before.audit.unwrap().passed);
    a.give(now, Input::Disconnected(b.peer));
    assert_eq!(kept(&a), Some(before.clone()), "who is away is shown");
    let (disk, did) = (std::mem::take(&mut a.disk), b.did);
    let mut again = Rig::open(1, disk);
    let after = kept(&again).unwrap();
    assert_eq!(after, before, "and so it is after a restart");
    let Did::Key(key) = did else { panic!() };
    let (from, to) = (b.peer.to_bytes(), again.peer.to_bytes());
    let terms = ocm_sync::Terms { space, from, to, nonce: after.nonce };
    assert_eq!(after.statement.verify(&key, &terms), Ok(after.theirs));
    // Something is written while the peer is away: the difference begins then.
    again.grant(space, did);
    let state = kept(&again).unwrap();
    assert!(
        state.differs_since_ms.is_some() && state.ours != again.node.snapshot().spaces[0].parity
    );
    let mut again = Rig::open(1, std::mem::take(&mut again.disk));
    let state = kept(&again).unwrap();
    assert!(state.differs_since_ms.is_some(), "a restart forgets no difference");
    // A kept statement of which a bit flipped is no statement.
    let number = again.disk.spaces()[&space];
    let mut disk = std::mem::take(&mut again.disk);
    let entry = disk.durable.get_mut(&layout::parity(number, &b.peer)).unwrap();
    let at = entry.windows(64).position(|part| part == after.statement.signature().as_bytes());
    entry[at.unwrap()] ^= 1;
    assert_eq!(kept(&Rig::open(1, disk)), None);
}

#[test]
fn what_was_written_while_a_session_moved_nothing_is_not_left_until_the_longest_pause() {
    let (mut owner, mut member) = (Rig::new(1), Rig::new(2));
    let space = owner.create(Access::Members);
    owner.grant(space, member.did);
    member.command(Command::Join { space });
    let mut now = NOW;
    connect(&mut owner, &mut member, now);
    // They are equal for so long that they compare every ten minutes.
    talk(&mut owner, &mut member, &mut now, 3 * 600_000);
    assert!(member.holds(space));

    // The member is slow: what it is sent waits, and is sent again in a session.
    let write = |owner: &mut Rig, now| {
        let edit = Edit::Set { path: Path::key("text"), value: Ipld::String("x".into()) };
        let memories = vec![encode_edits(&[edit])];
        owner.give(now, Input::Command { ticket: 0, command: Command::Begin { space, memories } });
    };
    member.verifies = false;
    write(&mut owner, now);
    talk(&mut owner, &mut member, &mut now, 2000);
    // It takes no more meanwhile.
    for _ in 0..3 {
        write(&mut owner, now);
        talk(&mut owner, &mut member, &mut now, 100);
    }
    member.verifies = true;
    member.work(now);
    talk(&mut owner, &mut member, &mut now, 20_000);
    assert_eq!(owner.export(space).len(), 6);
    assert_eq!(member.export(space), owner.export(space));
}
