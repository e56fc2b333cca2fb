//! The node: its state, and the dispatch of what happens.

use std::collections::{BTreeMap, VecDeque};

use ocm_discovery::{CERTIFICATE_LIFE_MS, Certificate, PeerId};
use ocm_record::{
    Boot, Clock, Did, RecordId, Set, SignedRecord, SigningKey, SpaceId, VerifiedRecord, VerifyError,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::allowed::Allowed;
use crate::breaches::Breaches;
use crate::hold::HoldBuffer;
use crate::input::{BatchId, ChannelId, Input, JobId, RequestId, Ticket};
use crate::layout::{self, SpaceEntry, SpaceNumber};
use crate::limits;
use crate::origin::Origin;
use crate::output::{CommandError, Event, Output, Reply};
use crate::parity::Kept;
use crate::peer::{Peer, Run, RunNumber};
use crate::random;
use crate::recent::Recent;
use crate::signing::{Signing, Unsigned};
use crate::snapshot::{PeerSnapshot, RefusalEntry, Sharing, Snapshot, SpaceSnapshot};
use crate::space::Space;
use crate::storage::{Batch, ReadError, Reader};
use crate::stuck::StuckRecords;
use crate::verdict::{Refuse, Verdict};

/// The keys of a node.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The key of the DID it speaks as.
    pub author: SigningKey,
    /// The key of its PeerId.
    pub peer: SigningKey,
}

/// What the owner may choose; none of it changes a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Milliseconds between two comparisons with a peer while nothing differs, at most.
    pub compare_every_ms: u64,
    /// The only ones to speak to; everyone where it is `None`.
    pub allowed: Option<Allowed>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { compare_every_ms: limits::INTERVAL_MAX_MS, allowed: None }
    }
}

/// Why a node cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store holds what this version did not write.
    #[error("the store's list of spaces is damaged at number {0}")]
    Space(u32),
}

/// A node. See the head of the crate for its contract.
///
/// After every call of [`Node::handle`] the shell carries out the outputs in their order, and
/// calls again at [`Node::next_deadline`] with [`Input::Tick`] at the latest. Deciding again from
/// the same seed, inputs, times and store gives the same outputs.
#[derive(Debug)]
pub struct Node {
    pub(crate) did: Did,
    pub(crate) author: SigningKey,
    pub(crate) peer_key: SigningKey,
    pub(crate) own: PeerId,
    pub(crate) settings: Settings,
    pub(crate) boot: Boot,
    pub(crate) clock: Clock,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) now: u64,
    /// Our certificate, and until when it is shown.
    pub(crate) certificate: Option<(Vec<u8>, u64)>,

    pub(crate) spaces: BTreeMap<SpaceId, Space>,
    next_number: u32,
    pub(crate) peers: BTreeMap<PeerId, Peer>,
    pub(crate) breaches: Breaches,
    pub(crate) stuck: StuckRecords,
    /// The last comparison with each peer in each space.
    pub(crate) compared: BTreeMap<(SpaceId, PeerId), Kept>,

    pub(crate) held: HoldBuffer,
    pub(crate) refused: Recent<RecordId, Refuse>,
    pub(crate) worthless: Recent<[u8; 32], VerifyError>,
    pub(crate) refusals: VecDeque<RefusalEntry>,
    pub(crate) admissions: BTreeMap<(&'static str, &'static str), u64>,

    pub(crate) asked: BTreeMap<RequestId, (Asked, Sent)>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) signing: BTreeMap<JobId, Signing>,
    /// What this input has signed elsewhere, by space.
    pub(crate) unsigned: BTreeMap<SpaceId, Unsigned>,
    batches: BTreeMap<BatchId, InFlight>,
    next_id: u64,

    /// The batch that this input makes.
    pub(crate) batch: Batch,
    admitted: Vec<(SpaceId, RecordId, Origin)>,
    /// Spaces of which it removes damaged records.
    pub(crate) forgotten: Vec<SpaceId>,
    after: Vec<After>,
    /// Spaces whose genesis is in it.
    pub(crate) begun: Vec<SpaceId>,
    pub(crate) out: Vec<Output>,
}

/// A batch on its way to the disk, and what waits for it.
#[derive(Debug, Default)]
struct InFlight {
    admitted: Vec<(SpaceId, RecordId, Origin)>,
    forgotten: Vec<SpaceId>,
    after: Vec<After>,
}

/// What is promised once everything before it is durable.
#[derive(Debug)]
pub(crate) enum After {
    /// Answer the owner.
    Reply(Ticket, Result<Reply, CommandError>),
    /// Answer a peer's push.
    Pushed { channel: ChannelId, peer: PeerId, space: SpaceId, verdicts: Vec<Verdict> },
    /// Go on with a session.
    Fetched {
        peer: PeerId,
        space: SpaceId,
        set: Set,
        run: RunNumber,
        verdicts: Vec<(RecordId, Verdict)>,
    },
}

/// A request of ours that has no answer yet.
#[derive(Debug)]
pub(crate) enum Asked {
    Hello(PeerId),
    Spaces { peer: PeerId, spaces: Vec<Option<SpaceId>> },
    Probe { peer: PeerId, space: SpaceId, run: RunNumber },
    Session { peer: PeerId, space: SpaceId, run: RunNumber },
    Hint { peer: PeerId, space: SpaceId, ids: Vec<RecordId> },
    Push { peer: PeerId, space: SpaceId },
    Present { peer: PeerId, space: SpaceId },
    Commit { peer: PeerId, space: SpaceId },
    Prove { peer: PeerId, space: SpaceId },
}

/// When a request of ours was sent, and how long it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) at: u64,
    pub(crate) bytes: usize,
}

impl Asked {
    pub(crate) const fn peer(&self) -> PeerId {
        match self {
            Self::Hello(peer)
            | Self::Spaces { peer, .. }
            | Self::Probe { peer, .. }
            | Self::Session { peer, .. }
            | Self::Hint { peer, .. }
            | Self::Push { peer, .. }
            | Self::Present { peer, .. }
            | Self::Commit { peer, .. }
            | Self::Prove { peer, .. } => *peer,
        }
    }
}

/// Records being verified away from the loop. A slot holds a verdict where the record needs no
/// verification, with its id where one is known.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) origin: Origin,
    pub(crate) purpose: Purpose,
    pub(crate) slots: Vec<Slot>,
}

#[derive(Debug)]
pub(crate) enum Slot {
    Decided(Option<RecordId>, Verdict),
    Verifying(SignedRecord),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Push { channel: ChannelId, peer: PeerId, space: SpaceId },
    Session { peer: PeerId, space: SpaceId, set: Set, run: RunNumber },
    Hint,
    Import { ticket: Ticket },
}

impl Node {
    /// Reads a node back from its store. `seed` is fresh random bytes at every start: boot, salts
    /// and nonces come from it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(
        identity: Identity,
        settings: Settings,
        seed: [u8; 32],
        now: u64,
        store: &dyn Reader,
    ) -> Result<(Self, Vec<Output>), OpenError> {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let boot = random::draw_boot(&mut rng);
        let mut node = Self {
            did: Did::from(identity.author.public()),
            own: PeerId::new(identity.peer.public()),
            author: identity.author,
            peer_key: identity.peer,
            settings,
            boot,
            clock: Clock::default(),
            rng,
            now,
            certificate: None,
            spaces: BTreeMap::new(),
            next_number: 0,
            peers: BTreeMap::new(),
            breaches: Breaches::default(),
            stuck: StuckRecords::default(),
            compared: BTreeMap::new(),
            held: HoldBuffer::default(),
            refused: Recent::new(limits::REMEMBERED),
            worthless: Recent::new(limits::REMEMBERED),
            refusals: VecDeque::new(),
            admissions: BTreeMap::new(),
            asked: BTreeMap::new(),
            jobs: BTreeMap::new(),
            signing: BTreeMap::new(),
            unsigned: BTreeMap::new(),
            batches: BTreeMap::new(),
            next_id: 0,
            batch: Batch::default(),
            admitted: Vec::new(),
            forgotten: Vec::new(),
            after: Vec::new(),
            begun: Vec::new(),
            out: Vec::new(),
        };
        let mut damaged = Vec::new();
        let (from, to) = layout::spaces();
        for (key, value) in store.scan(&from, &to, limits::SPACES)? {
            let number = layout::number_of(&key).ok_or(OpenError::Space(0))?;
            let entry: SpaceEntry =
                ocm_record::from_canonical(&value).map_err(|_| OpenError::Space(number.0))?;
            node.next_number = node.next_number.max(number.0 + 1);
            let space = Space::open(entry.id, number, store, &mut damaged)?;
            for id in damaged.drain(..) {
                space.forget(&id, &mut node.batch);
                node.forgotten.push(entry.id);
                node.out.push(Output::Event(Event::Damaged { id }));
            }
            if let Some(last) = space.last_time(store)? {
                node.clock.observe(last, now);
            }
            node.spaces.insert(entry.id, space);
            node.read_parities(entry.id, number, store)?;
        }
        let open: Vec<_> =
            node.spaces.values().filter(|space| space.is_gossiped()).map(|s| s.id).collect();
        node.out.extend(open.into_iter().map(Output::Subscribe));
        node.seal(store)?;
        let out = std::mem::take(&mut node.out);
        Ok((node, out))
    }

    /// Takes in what happened and says what is to be done. `now` is the wall clock in
    /// milliseconds since the Unix epoch; where it was set back, what is planned comes no later for
    /// that.
    ///
    /// # Errors
    /// When the store as a whole cannot be read: the process is to end, and start again.
    pub fn handle(
        &mut self,
        input: Input,
        now: u64,
        store: &dyn Reader,
    ) -> Result<Vec<Output>, ReadError> {
        if now < self.now {
            let by = self.now - now;
            self.peers.values_mut().for_each(|peer| peer.turn_back(by));
            self.breaches.turn_back(by);
            self.stuck.turn_back(by);
            self.turn_back_parities(by);
            self.spaces.values_mut().for_each(|space| space.turn_back(by));
        }
        self.now = now;
        match input {
            Input::Command { ticket, command } => self.commands([(ticket, command)], store)?,
            Input::Commands(commands) => self.commands(commands, store)?,
            Input::Connected(peer) => self.connected(peer),
            Input::Disconnected(peer) => self.disconnected(peer),
            Input::Request { peer, channel, bytes } => self.serve(peer, channel, &bytes, store)?,
            Input::Response { request, bytes } => self.answered(request, &bytes, store)?,
            Input::RequestFailed { request, timed_out } => self.unanswered(request, timed_out),
            Input::Gossip { peer, message, space, bytes } => {
                self.gossip(peer, message, space, &bytes, store)?;
            }
            Input::Committed(batch) => self.committed(batch, store)?,
            Input::Verified { job, results } => match self.signing.remove(&job) {
                Some(signing) => self.signed(signing, results, store)?,
                None => self.verified(job, results, store)?,
            },
            Input::Tick => {}
        }
        self.run_due();
        self.seal(store)?;
        Ok(std::mem::take(&mut self.out))
    }

    /// When [`Input::Tick`] is due, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        [self.peers_deadline(), self.parities_deadline()].into_iter().flatten().min()
    }

    /// A fresh name for a request, job or batch.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Adds a space of which nothing is here yet.
    pub(crate) fn add_space(&mut self, id: SpaceId) {
        let number = SpaceNumber(self.next_number);
        self.next_number += 1;
        let space = Space::new(id, number);
        self.batch.put(layout::space(number), space.entry());
        self.spaces.insert(id, space);
        self.announce_to_all();
    }

    /// Takes note that a record is in this input's batch.
    pub(crate) fn note_admitted(&mut self, space: SpaceId, id: RecordId, origin: Origin) {
        self.stuck.admitted(space, &id);
        self.admitted.push((space, id, origin));
    }

    /// Does something once everything admitted so far is durable.
    pub(crate) fn promise(&mut self, after: After) {
        self.after.push(after);
    }

    /// Closes this input's batch.
    fn seal(&mut self, store: &dyn Reader) -> Result<(), ReadError> {
        for space in std::mem::take(&mut self.begun) {
            self.unshare(space);
        }
        let after = std::mem::take(&mut self.after);
        if self.batch.is_empty() {
            // A duplicate may still be on its way: wait for what was written last.
            match self.batches.last_entry() {
                Some(mut last) => last.get_mut().after.extend(after),
                None => self.keep_promises(after, store)?,
            }
            return Ok(());
        }
        for space in self.spaces.values_mut() {
            space.seal(&mut self.batch, store)?;
        }
        let batch = self.next_id();
        let admitted = std::mem::take(&mut self.admitted);
        let forgotten = std::mem::take(&mut self.forgotten);
        self.batches.insert(batch, InFlight { admitted, forgotten, after });
        self.out.push(Output::Commit { batch, writes: std::mem::take(&mut self.batch) });
        Ok(())
    }

    fn committed(&mut self, batch: BatchId, store: &dyn Reader) -> Result<(), ReadError> {
        let Some(InFlight { admitted, forgotten, after }) = self.batches.remove(&batch) else {
            return Ok(());
        };
        let mut written: BTreeMap<SpaceId, Vec<(RecordId, Origin)>> = BTreeMap::new();
        for space in forgotten {
            written.entry(space).or_default();
        }
        for (space, id, origin) in admitted {
            written.entry(space).or_default().push((id, origin));
        }
        let mut fresh: Vec<(SpaceId, Vec<(VerifiedRecord, Origin)>)> = Vec::new();
        let mut authority = false;
        for (space, ids) in written {
            let Some(held) = self.spaces.get_mut(&space) else { continue };
            let records = held.commit(ids, store)?;
            self.parity_moved(space);
            for (record, origin) in &records {
                self.out.push(Output::Event(Event::Record {
                    space,
                    id: record.id(),
                    kind: record.header().kind,
                    memory: record.memory(),
                    author: record.author(),
                    time: record.time(),
                    from: origin.peer(),
                }));
            }
            if records.iter().any(|(record, _)| record.set() == Set::Authority) {
                authority = true;
                self.stuck.membership_changed(space);
            }
            if !records.is_empty() {
                fresh.push((space, records));
            }
        }
        if authority {
            self.announce_to_all();
        }
        for (space, records) in fresh {
            self.spread(space, &records);
        }
        self.keep_promises(after, store)
    }

    fn keep_promises(&mut self, after: Vec<After>, store: &dyn Reader) -> Result<(), ReadError> {
        for promise in after {
            match promise {
                After::Reply(ticket, result) => self.out.push(Output::Reply { ticket, result }),
                After::Pushed { channel, peer, space, verdicts } => {
                    self.answer_push(channel, peer, space, &verdicts);
                }
                After::Fetched { peer, space, set, run, verdicts } => {
                    self.session_admitted(peer, space, (set, run), &verdicts, store)?;
                }
            }
        }
        Ok(())
    }

    /// Takes up other settings: they hold for what is planned from now on.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// What the node shows of itself.
    pub fn snapshot(&self) -> Snapshot {
        let mut held_in: BTreeMap<SpaceId, usize> = BTreeMap::new();
        for (record, _) in self.held.iter() {
            *held_in.entry(record.space()).or_default() += 1;
        }
        Snapshot {
            did: self.did,
            peer: self.own,
            boot: self.boot,
            spaces: self
                .spaces
                .values()
                .map(|space| SpaceSnapshot {
                    id: space.id,
                    number: space.number,
                    state: space.state.clone(),
                    parity: space.parity(),
                    tallies: space.tallies,
                    held: held_in.get(&space.id).copied().unwrap_or_default(),
                    differs_since_ms: self.differs_since(space.id),
                    filling: self.is_filled(&space.id)
                        || space.begun_in_bulk + limits::BULK_MS > self.now,
                })
                .collect(),
            peers: self
                .peers
                .iter()
                .map(|(id, peer)| PeerSnapshot {
                    peer: *id,
                    did: peer.did(),
                    shared: peer
                        .shared
                        .iter()
                        .map(|(space, shared)| {
                            let session = matches!(shared.run, Run::Session(_));
                            (*space, Sharing { since_ms: shared.since, session })
                        })
                        .collect(),
                    denied: peer.denied().collect(),
                })
                .collect(),
            parities: self
                .compared
                .iter()
                .map(|(which, kept)| (*which, self.as_of_now(which, &kept.state)))
                .collect(),
            held: (self.held.len(), self.held.bytes()),
            stuck: self.stuck.listed(),
            refused: self.refusals.iter().cloned().collect(),
            admissions: self.admissions.clone(),
            batches: self.batches.len(),
            sessions: self.peers.values().map(Peer::sessions).sum(),
        }
    }

    /// Our certificate, made anew when half its life is over.
    pub(crate) fn certificate(&mut self) -> Vec<u8> {
        // A clock that was set back makes a certificate of the future worthless elsewhere.
        let half = CERTIFICATE_LIFE_MS / 2;
        if let Some((bytes, until)) = &self.certificate
            && (until.saturating_sub(half)..*until).contains(&self.now)
        {
            return bytes.clone();
        }
        let until = self.now + CERTIFICATE_LIFE_MS;
        let issued = Certificate::issue(&self.peer_key, &self.author, self.did, self.now, until);
        #[expect(clippy::expect_used, reason = "the DID is the key's own, and 30 days are allowed")]
        let bytes = issued.expect("the terms are within the limits").encode();
        self.certificate = Some((bytes.clone(), self.now + half));
        bytes
    }
}
