//! A node with a disk in memory, peers that talk to it, and authors that write records.

use std::collections::{BTreeMap, VecDeque};

use ipld_core::ipld::Ipld;
use ocm_discovery::{Certificate, PeerId};
use ocm_node::storage::{Batch, Key, ReadError, Reader, Value};
use ocm_node::{
    ChannelId, Command, GossipVerdict, Identity, Input, Node, Output, Reply, Settings,
    SpaceSnapshot, Verdict, layout,
};
use ocm_record::{
    Body, Boot, Did, Draft, Kind, MemoryId, RecordId, SALT_LEN, Set, SignedRecord, SigningKey,
    SpaceId, Time, VerifiedRecord, sign_batch, to_canonical, verify_batch,
};
use ocm_space::{Access, Genesis, Grant, Policy, Role};
use ocm_sync::{
    Hello, Parity, PushVerdict, Request, Response, SpaceTag, Statement, Terms, space_tag,
};
use serde_bytes::ByteBuf;

/// A moment in June 2025, in milliseconds. Records are written just before it.
pub(crate) const NOW: u64 = 1_750_000_000_000;
/// The seed of the first owner's key.
pub(crate) const OWNER: u8 = 1;
pub(crate) const DAY: u64 = 24 * 60 * 60 * 1000;

pub(crate) const CLOSED: Policy = Policy { write: Access::Members, read: Access::Members };
pub(crate) const READ_OPEN: Policy = Policy { write: Access::Members, read: Access::Open };

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub(crate) fn did(n: u8) -> Did {
    Did::from(key(n).public())
}

/// What is durable, as a store would show it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Disk(pub(crate) BTreeMap<Key, Value>);

impl Disk {
    pub(crate) fn write(&mut self, batch: Batch) {
        let sets = ocm_node::sets::follow(&batch.writes, self).unwrap().0;
        for (key, value) in batch.writes.into_iter().chain(sets) {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }
}

impl Reader for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, ReadError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = self.0.range(from.to_vec()..to.to_vec());
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, ReadError> {
        let mut all = self.scan(from, to, usize::MAX)?;
        all.reverse();
        all.truncate(limit);
        Ok(all)
    }
}

/// A node under test. [`Host::tell`] carries everything out at once; [`Host::tell_slowly`] leaves
/// commits and verifications undone.
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) disk: Disk,
    pub(crate) now: u64,
    /// Every request that was sent, oldest first.
    pub(crate) sent: Vec<(PeerId, Request)>,
    author: u8,
    next: u64,
}

impl Host {
    /// A node that acts for the DID of a seed, with nothing stored.
    pub(crate) fn new(author: u8) -> Self {
        Self::open(author, 1, Disk::default())
    }

    /// A node's `start`-th process.
    pub(crate) fn open(author: u8, start: u8, disk: Disk) -> Self {
        let identity = Identity { author: key(author), peer: key(author + 200) };
        let (node, out) =
            Node::open(identity, Settings::default(), [start; 32], NOW, &disk).unwrap();
        assert!(out.iter().all(|out| matches!(out, Output::Subscribe(_))), "{out:?}");
        Self { node, disk, now: NOW, sent: Vec::new(), author, next: 0 }
    }

    /// The same store under a new process.
    pub(crate) fn reopen(self, start: u8) -> Self {
        Self::open(self.author, start, self.disk)
    }

    pub(crate) fn peer(&self) -> PeerId {
        PeerId::new(key(self.author + 200).public())
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What the node does at once; nothing of it is carried out.
    pub(crate) fn tell_slowly(&mut self, input: Input) -> Vec<Output> {
        let out = self.node.handle(input, self.now, &self.disk).unwrap();
        self.sent.extend(out.iter().filter_map(|out| match out {
            Output::Send { peer, bytes, .. } => Some((*peer, Request::decode(bytes).unwrap())),
            _ => None,
        }));
        out
    }

    /// What was sent to a peer since this was asked last.
    pub(crate) fn take_sent(&mut self, to: PeerId) -> Vec<Request> {
        let mut taken = Vec::new();
        self.sent.retain(|(peer, request)| {
            let keep = *peer != to;
            if !keep {
                taken.push(request.clone());
            }
            keep
        });
        taken
    }

    /// What the node does, with every commit durable and every verification done at once.
    pub(crate) fn tell(&mut self, input: Input) -> Vec<Output> {
        let mut open = VecDeque::from([input]);
        let mut seen = Vec::new();
        while let Some(input) = open.pop_front() {
            for out in self.tell_slowly(input) {
                match out {
                    Output::Commit { batch, writes } => {
                        self.disk.write(writes);
                        open.push_back(Input::Committed(batch));
                    }
                    Output::Verify { job, records } => {
                        let results = verify_batch(records);
                        open.push_back(Input::Verified { job, results });
                    }
                    Output::Sign { job, key, records } => {
                        let results = sign_batch(records, &key);
                        open.push_back(Input::Verified { job, results });
                    }
                    other => seen.push(other),
                }
            }
        }
        seen
    }

    /// Lets `millis` pass, a deadline at a time.
    pub(crate) fn wait(&mut self, millis: u64) -> Vec<Output> {
        let until = self.now + millis;
        let mut seen = Vec::new();
        while let Some(at) = self.node.next_deadline().filter(|at| *at <= until) {
            self.now = at.max(self.now + 1);
            seen.extend(self.tell(Input::Tick));
        }
        self.now = self.now.max(until);
        seen
    }

    pub(crate) fn command(&mut self, command: Command) -> Result<Reply, ocm_node::CommandError> {
        let ticket = self.number();
        let replies: Vec<_> = self
            .tell(Input::Command { ticket, command })
            .into_iter()
            .filter_map(|out| match out {
                Output::Reply { ticket: to, result } if to == ticket => Some(result),
                _ => None,
            })
            .collect();
        let [reply] = <[_; 1]>::try_from(replies).unwrap();
        reply
    }

    pub(crate) fn join(&mut self, space: SpaceId) {
        assert_eq!(self.command(Command::Join { space }), Ok(Reply::Space(space)));
    }

    pub(crate) fn import(&mut self, records: Vec<Vec<u8>>) -> Vec<Verdict> {
        match self.command(Command::Import { records }) {
            Ok(Reply::Imported(verdicts)) => verdicts,
            other => panic!("{other:?}"),
        }
    }

    /// Imports one record.
    pub(crate) fn judge(&mut self, record: &[u8]) -> Verdict {
        self.import(vec![record.to_vec()]).remove(0)
    }

    /// Imports one record that must be admitted.
    pub(crate) fn accept(&mut self, record: &VerifiedRecord) {
        assert_eq!(self.judge(&record.encode()), Verdict::Accept);
    }

    pub(crate) fn space(&self, id: SpaceId) -> SpaceSnapshot {
        self.node.snapshot().spaces.into_iter().find(|space| space.id == id).unwrap()
    }

    /// Whether a record is stored, by its bytes on the disk.
    pub(crate) fn stores(&self, record: &VerifiedRecord) -> bool {
        let number = self.space(record.space()).number;
        let at = layout::record(number, record.set(), &record.id());
        self.disk.0.get(&at).is_some_and(|bytes| *bytes == layout::seal(record.encode()))
    }

    /// The ids stored in a space, by the disk.
    pub(crate) fn ids(&self, space: SpaceId) -> Vec<RecordId> {
        let number = self.space(space).number;
        [Set::Authority, Set::Content]
            .into_iter()
            .flat_map(|set| {
                let (from, to) = layout::records(number, set);
                self.disk.scan(&from, &to, usize::MAX).unwrap()
            })
            .map(|(key, _)| layout::last_id(&key).unwrap())
            .collect()
    }

    /// A request of a peer's, and the bytes of the one answer.
    pub(crate) fn ask(&mut self, peer: PeerId, bytes: Vec<u8>) -> Vec<u8> {
        let channel = self.number();
        let out = self.tell(Input::Request { peer, channel, bytes });
        answer(&out, channel).unwrap()
    }

    /// A gossip message, and its verdict, which must come at once.
    pub(crate) fn gossip(
        &mut self,
        peer: PeerId,
        space: SpaceId,
        bytes: Vec<u8>,
    ) -> (GossipVerdict, Vec<Output>) {
        let message = self.number();
        let at_once = self.tell_slowly(Input::Gossip { peer, message, space, bytes });
        let verdicts: Vec<_> = at_once
            .iter()
            .filter_map(|out| match out {
                Output::Judge { message: of, gossip } if *of == message => Some(*gossip),
                _ => None,
            })
            .collect();
        let [verdict] = <[_; 1]>::try_from(verdicts).unwrap();
        let mut rest = Vec::new();
        for out in at_once {
            match out {
                Output::Commit { batch, writes } => {
                    self.disk.write(writes);
                    rest.extend(self.tell(Input::Committed(batch)));
                }
                other => rest.push(other),
            }
        }
        (verdict, rest)
    }
}

/// The answer on a channel, if it is among these outputs.
pub(crate) fn answer(out: &[Output], channel: ChannelId) -> Option<Vec<u8>> {
    let mut answers = out.iter().filter_map(|out| match out {
        Output::Respond { channel: to, bytes } if *to == channel => Some(bytes.clone()),
        _ => None,
    });
    let first = answers.next();
    assert!(answers.next().is_none(), "two answers to one request");
    first
}

/// The requests among these outputs that go to a peer.
pub(crate) fn sent_to(out: &[Output], to: PeerId) -> Vec<Request> {
    out.iter()
        .filter_map(|out| match out {
            Output::Send { peer, bytes, .. } if *peer == to => Request::decode(bytes).ok(),
            _ => None,
        })
        .collect()
}

pub(crate) fn disconnects(out: &[Output], of: PeerId) -> bool {
    out.iter().any(|out| matches!(out, Output::Disconnect { peer, .. } if *peer == of))
}

/// A peer as the node sees it: it has said hello, and knows the node's nonce.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    author: u8,
    own: PeerId,
    nonce: [u8; 32],
    nonce_of_node: [u8; 32],
}

impl Peer {
    pub(crate) fn id(n: u8) -> PeerId {
        PeerId::new(key(n + 100).public())
    }

    /// Connects the peer of a seed, which acts for the DID of that seed.
    pub(crate) fn connect(host: &mut Host, author: u8) -> Self {
        Self::meet(host, author).0
    }

    /// As [`Self::connect`], with what the node does then.
    pub(crate) fn meet(host: &mut Host, author: u8) -> (Self, Vec<Output>) {
        let id = Self::id(author);
        let mut out = host.tell(Input::Connected(id));
        let mut peer =
            Self { id, author, own: host.peer(), nonce: [author; 32], nonce_of_node: [0; 32] };
        let channel = host.number();
        let bytes = Request::Hello(peer.hello(host.now)).encode().unwrap();
        out.extend(host.tell(Input::Request { peer: id, channel, bytes }));
        match Response::decode(&answer(&out, channel).unwrap()).unwrap() {
            Response::Hello(hello) => peer.nonce_of_node = hello.nonce,
            other => panic!("{other:?}"),
        }
        (peer, out)
    }

    pub(crate) fn hello(&self, now: u64) -> Hello {
        let (peer, author) = (key(self.author + 100), key(self.author));
        let life = ocm_discovery::CERTIFICATE_LIFE_MS;
        let certificate =
            Certificate::issue(&peer, &author, did(self.author), now, now + life).unwrap();
        Hello {
            version: 1,
            agent: "test".into(),
            nonce: self.nonce,
            certificate: certificate.encode().into(),
            kinds: vec![],
        }
    }

    /// The tag by which it names a space to the node.
    pub(crate) fn tag(&self, space: SpaceId) -> SpaceTag {
        let (own, peer) = (self.own.to_bytes(), self.id.to_bytes());
        space_tag(&peer, &own, &self.nonce, &self.nonce_of_node, &space)
    }

    /// The tag by which the node names a space to it.
    pub(crate) fn tag_from(&self, space: SpaceId) -> SpaceTag {
        let (own, peer) = (self.own.to_bytes(), self.id.to_bytes());
        space_tag(&own, &peer, &self.nonce_of_node, &self.nonce, &space)
    }

    /// What it states of a space, as made out to the node.
    pub(crate) fn statement(&self, space: SpaceId, parity: Parity) -> Statement {
        let (from, to) = (self.id.to_bytes(), self.own.to_bytes());
        let terms = Terms { space, from, to, nonce: self.nonce_of_node };
        Statement::sign(&key(self.author), &terms, parity, NOW)
    }

    /// What the node stated to it, if it is rightly signed.
    pub(crate) fn read(
        &self,
        space: SpaceId,
        statement: &Statement,
    ) -> Result<Parity, ocm_sync::NotSigned> {
        let (from, to) = (self.own.to_bytes(), self.id.to_bytes());
        statement.verify(&key(OWNER).public(), &Terms { space, from, to, nonce: self.nonce })
    }

    pub(crate) fn ask(&self, host: &mut Host, request: &Request) -> Response {
        Response::decode(&host.ask(self.id, request.encode().unwrap())).unwrap()
    }

    /// Names a space; whether the node shares it.
    pub(crate) fn name(&self, host: &mut Host, space: SpaceId) -> bool {
        let response = self.ask(host, &Request::Spaces { tags: vec![self.tag(space)] });
        match response {
            Response::Spaces { shared } => shared == [0],
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn push_request(&self, space: SpaceId, records: &[Vec<u8>]) -> Request {
        let records = records.iter().map(|bytes| ByteBuf::from(bytes.clone())).collect();
        Request::Push { tag: self.tag(space), records }
    }

    pub(crate) fn push(
        &self,
        host: &mut Host,
        space: SpaceId,
        records: &[Vec<u8>],
    ) -> Vec<PushVerdict> {
        match self.ask(host, &self.push_request(space, records)) {
            Response::Pushed { verdicts } => verdicts,
            other => panic!("{other:?}"),
        }
    }
}

/// Writes records of one space as people and hostile nodes would: nothing here is admitted.
pub(crate) struct Scribe {
    pub(crate) space: SpaceId,
    pub(crate) genesis: VerifiedRecord,
    written: u64,
}

/// What a record of a [`Scribe`] may have besides kind and author.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    pub(crate) memory: Option<MemoryId>,
    pub(crate) deps: Vec<RecordId>,
    pub(crate) auth: Vec<RecordId>,
    /// Milliseconds after [`NOW`], instead of a little before it.
    pub(crate) ahead: u64,
    /// Its place in a log: boot and seq. By default a log of its own.
    pub(crate) place: Option<(u8, u64)>,
}

impl Scribe {
    pub(crate) fn new(policy: Policy) -> Self {
        Self::named("camp", policy)
    }

    pub(crate) fn named(name: &str, policy: Policy) -> Self {
        let owners = vec![did(OWNER)];
        let genesis = Genesis { name: name.into(), nonce: [4; 32], policy, owners };
        let genesis = sign(genesis_draft(), OWNER, genesis.to_ipld(), 1);
        Self { space: genesis.space(), genesis, written: 0 }
    }

    /// A node that has joined and holds the genesis.
    pub(crate) fn host(&self, author: u8) -> Host {
        let mut host = Host::new(author);
        host.join(self.space);
        host.accept(&self.genesis);
        host
    }

    pub(crate) fn write(
        &mut self,
        by: u8,
        kind: Kind,
        content: Ipld,
        parts: Parts,
    ) -> VerifiedRecord {
        self.written += 1;
        let named = parts.deps.iter().map(RecordId::time).max().unwrap_or_default();
        let wall = if parts.ahead > 0 {
            Time::from_millis(NOW + parts.ahead + self.written)
        } else {
            Time::from_millis(NOW - DAY + self.written)
        };
        let mut boot = [by; 16];
        boot[1..9].copy_from_slice(&self.written.to_be_bytes());
        let (boot, seq) = match parts.place {
            Some((boot, seq)) => (Boot::from_bytes([boot; 16]), seq),
            None => (Boot::from_bytes(boot), 1),
        };
        let draft = Draft {
            space: self.space,
            kind,
            memory: parts.memory,
            author: None,
            boot,
            seq,
            prev: (seq > 1).then_some(self.space.0),
            deps: parts.deps,
            auth: parts.auth,
            time: wall.max(named.next().unwrap()),
        };
        sign(draft, by, content, self.written)
    }

    pub(crate) fn grant_of(&mut self, by: u8, grant: &Grant, auth: &[RecordId]) -> VerifiedRecord {
        let parts = Parts { auth: auth.to_vec(), ..Parts::default() };
        self.write(by, Kind::GRANT, grant.to_ipld(), parts)
    }

    pub(crate) fn grant(
        &mut self,
        by: u8,
        to: u8,
        role: Role,
        auth: &[RecordId],
    ) -> VerifiedRecord {
        self.grant_of(by, &grant(to, role), auth)
    }

    /// A change that starts a memory.
    pub(crate) fn start(&mut self, by: u8, auth: &[RecordId]) -> VerifiedRecord {
        let parts = Parts { auth: auth.to_vec(), ..Parts::default() };
        self.write(by, Kind::CHANGE, title("start"), parts)
    }

    /// A change of the memory of `dep`, on top of it.
    pub(crate) fn change(
        &mut self,
        by: u8,
        dep: &VerifiedRecord,
        auth: &[RecordId],
    ) -> VerifiedRecord {
        let parts = Parts {
            memory: dep.memory(),
            deps: vec![dep.id()],
            auth: auth.to_vec(),
            ..Parts::default()
        };
        self.write(by, Kind::CHANGE, title("change"), parts)
    }
}

pub(crate) fn genesis_draft() -> Draft {
    Draft {
        space: SpaceId::GENESIS,
        kind: Kind::GENESIS,
        memory: None,
        author: None,
        boot: Boot::from_bytes([7; 16]),
        seq: 1,
        prev: None,
        deps: vec![],
        auth: vec![],
        time: Time::from_millis(NOW - 2 * DAY),
    }
}

pub(crate) fn sign(draft: Draft, by: u8, content: Ipld, salt: u64) -> VerifiedRecord {
    let mut bytes = [9; SALT_LEN];
    bytes[..8].copy_from_slice(&salt.to_be_bytes());
    let body = Body { salt: bytes, lineage: vec![], content };
    draft.sign(&key(by), body.encode()).unwrap().verify().unwrap()
}

pub(crate) fn grant(to: u8, role: Role) -> Grant {
    Grant { to: did(to), role, key: None, kinds: None, expires: None }
}

/// The edits of a change.
pub(crate) fn title(text: &str) -> Ipld {
    let path = Ipld::List(vec![Ipld::String("title".into())]);
    Ipld::List(vec![Ipld::List(vec![Ipld::Integer(0), path, Ipld::String(text.into())])])
}

/// A copy of a record with another signature or another body.
pub(crate) fn garbled(
    record: &VerifiedRecord,
    signature: [u8; 64],
    body: Option<&[u8]>,
) -> Vec<u8> {
    let bytes = |part: &[u8]| Ipld::Bytes(part.to_vec());
    let copy = to_canonical(&Ipld::List(vec![
        bytes(record.header_bytes()),
        bytes(&signature),
        body.map_or(Ipld::Null, bytes),
    ]));
    assert_eq!(SignedRecord::decode(&copy).unwrap().id(), record.id());
    copy
}

/// A copy of a record whose signature holds for nothing.
pub(crate) fn forged(record: &VerifiedRecord) -> Vec<u8> {
    garbled(record, *key(77).sign(b"nothing").as_bytes(), record.body_bytes())
}
