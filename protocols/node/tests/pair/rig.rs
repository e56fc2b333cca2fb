//! One core with its disk, and how two of them talk.

use ipld_core::ipld;
use ipld_core::ipld::Ipld;
use ocm_discovery::PeerId;
use ocm_node::{
    ChannelId, Command, Event, GossipVerdict, Identity, Input, JobId, Node, Output, Reply,
    RequestId, Settings,
};
use ocm_record::{Did, SignedRecord, SigningKey, SpaceId, verify_batch};
use ocm_space::{Access, Grant, Policy, Role};
use ocm_sync::Request;

use crate::disk::Disk;

pub(crate) const NOW: u64 = 1_760_000_000_000;

/// One core with its disk. What it wants done waits until it is done here.
pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) disk: Disk,
    pub(crate) peer: PeerId,
    pub(crate) did: Did,
    /// Whether the disk flushes and the verifier works by themselves.
    pub(crate) flushes: bool,
    pub(crate) verifies: bool,
    pub(crate) jobs: Vec<(JobId, Vec<SignedRecord>)>,
    pub(crate) sent: Vec<(PeerId, RequestId, Vec<u8>)>,
    pub(crate) answered: Vec<(ChannelId, Vec<u8>)>,
    pub(crate) judged: Vec<GossipVerdict>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) events: Vec<Event>,
    /// Records in the pushes that it sent.
    pub(crate) pushed: usize,
}

impl Rig {
    pub(crate) fn new(who: u8) -> Self {
        Self::open(who, Disk::default())
    }

    pub(crate) fn open(who: u8, disk: Disk) -> Self {
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

    pub(crate) fn give(&mut self, now: u64, input: Input) {
        let outputs = self.node.handle(input, now, &self.disk).unwrap();
        self.carry_out(now, outputs);
    }

    pub(crate) fn carry_out(&mut self, now: u64, outputs: Vec<Output>) {
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

    pub(crate) fn work(&mut self, now: u64) {
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

    pub(crate) fn command(&mut self, command: Command) -> Reply {
        self.give(NOW, Input::Command { ticket: 0, command });
        self.replies.pop().unwrap()
    }

    pub(crate) fn create(&mut self, read: Access) -> SpaceId {
        let policy = Policy { write: Access::Members, read };
        match self.command(Command::CreateSpace { name: "camp".into(), policy }) {
            Reply::Space(space) => space,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn grant(&mut self, space: SpaceId, to: Did) {
        let grant = Grant { to, role: Role::Writer, key: None, kinds: None, expires: None };
        self.command(Command::Grant { space, grant });
    }

    /// Everything it stores of a space, as bytes, authority first.
    pub(crate) fn export(&self, space: SpaceId) -> Vec<Vec<u8>> {
        let number = self.disk.spaces()[&space];
        [ocm_record::Set::Authority, ocm_record::Set::Content]
            .into_iter()
            .flat_map(|set| self.disk.ids(number, set))
            .map(|id| self.disk.record(number, &id).unwrap().to_vec())
            .collect()
    }

    pub(crate) fn holds(&self, space: SpaceId) -> bool {
        self.disk.holds(&space, &space.0)
    }

    pub(crate) fn shares(&self, with: &Rig, space: SpaceId) -> bool {
        let snapshot = self.node.snapshot();
        let peer = snapshot.peers.iter().find(|peer| peer.peer == with.peer);
        peer.is_some_and(|peer| peer.shared.contains_key(&space))
    }

    pub(crate) fn faults(&self) -> usize {
        let fault = |event: &&Event| matches!(event, Event::SessionEnded { outcome: "fault", .. });
        self.events.iter().filter(fault).count()
    }
}

pub(crate) fn connect(a: &mut Rig, b: &mut Rig, now: u64) {
    let (first, second) = (a.peer, b.peer);
    a.give(now, Input::Connected(second));
    b.give(now, Input::Connected(first));
}

/// Two that have just connected, a space, and when that is: the first owns the space, which is open;
/// the second has joined it and holds nothing of it yet.
pub(crate) fn connected() -> (Rig, Rig, SpaceId, u64) {
    let (mut a, mut b) = (Rig::new(1), Rig::new(2));
    let space = a.create(Access::Open);
    b.command(Command::Join { space });
    connect(&mut a, &mut b, NOW);
    (a, b, space, NOW)
}

/// Carries what the two say to each other, one tick every 50 ms.
pub(crate) fn talk(a: &mut Rig, b: &mut Rig, now: &mut u64, millis: u64) {
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

/// A space of so many thousands of memories.
pub(crate) fn thousands(full: &mut Rig, count: u32) -> SpaceId {
    let space = full.create(Access::Open);
    for batch in 0..count {
        let edits = |n: u32| ipld!([[0, ["n"], (Ipld::from(i128::from(n)))]]);
        let memories = (0..1000).map(|n| edits(batch * 1000 + n)).collect();
        full.command(Command::Begin { space, memories });
    }
    space
}
