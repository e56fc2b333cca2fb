//! The node under test, with a disk in memory.

use std::collections::{BTreeMap, VecDeque};

use ocm_discovery::PeerId;
use ocm_node::storage::{Batch, Key, ReadError, Reader, Value};
use ocm_node::{
    ChannelId, Command, GossipVerdict, Identity, Input, Node, Output, Reply, Settings,
    SpaceSnapshot, Verdict, layout,
};
use ocm_record::{
    Did, RecordId, Set, SigningKey, SpaceId, VerifiedRecord, sign_batch, verify_batch,
};
use ocm_space::{Access, Policy};
use ocm_sync::Request;

/// A moment in June 2025, in milliseconds. Records are written about a day before it, if nothing else is said.
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
        match self.command(Command::Import { space: None, records }) {
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
