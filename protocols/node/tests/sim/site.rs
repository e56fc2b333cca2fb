//! One machine: a core, its disk, its clock, and what its shell remembers.

use std::collections::{BTreeMap, BTreeSet};

use ocm_discovery::PeerId;
use ocm_node::{ChannelId, Identity, Node, RequestId, Ticket};
use ocm_record::{Did, MemoryId, RecordId, SigningKey, SpaceId};

use crate::bundles::Carried;
use crate::disk::Disk;
use crate::network::Use;

/// A request of a peer's that waits for our response.
pub(crate) struct Channel {
    pub(crate) link: Use,
    pub(crate) request: RequestId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) since: u64,
}

/// What a command was meant to do.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Create(usize),
    Join(SpaceId),
    Grant(SpaceId),
    Change(SpaceId),
    Begin(SpaceId),
    Import(Vec<(SpaceId, RecordId)>),
    Bundle(Box<Carried>),
    Page(Box<Carried>),
    Witness(Box<Carried>),
    Sync,
}

/// One machine.
pub(crate) struct Site {
    pub(crate) identity: Identity,
    pub(crate) peer: PeerId,
    pub(crate) did: Did,
    /// `None` while the machine is off.
    pub(crate) node: Option<Node>,
    pub(crate) disk: Disk,
    /// How far its clock is ahead.
    pub(crate) ahead: u64,
    /// How often it was started.
    pub(crate) life: u64,
    pub(crate) flush_planned: bool,
    pub(crate) tick_at: Option<u64>,
    /// Ticks in the second that began at the time.
    pub(crate) ticks: (u64, u32),
    pub(crate) subscribed: BTreeSet<SpaceId>,
    pub(crate) seen: BTreeSet<[u8; 32]>,
    pub(crate) channels: BTreeMap<ChannelId, Channel>,
    pub(crate) asked: BTreeMap<RequestId, usize>,
    pub(crate) wishes: BTreeMap<Ticket, Wish>,
    /// When the last of the records that are being signed will be.
    pub(crate) signed: u64,
    /// What the owner or a peer was promised to be durable.
    pub(crate) promised: BTreeSet<(SpaceId, RecordId)>,
    /// Content in the order it became durable, over all lives.
    pub(crate) arrived: Vec<(MemoryId, RecordId)>,
    /// When it last compared with each peer in each space, over all lives.
    pub(crate) compared: BTreeMap<(SpaceId, PeerId), u64>,
}

impl Site {
    pub(crate) fn new(index: usize, seed: u64, ahead: u64) -> Self {
        let key = |what: u8| {
            let mut bytes = [what; 32];
            bytes[..8].copy_from_slice(&seed.to_be_bytes());
            bytes[8] = index as u8;
            SigningKey::from_seed(&bytes)
        };
        let identity = Identity { author: key(1), peer: key(2) };
        Self {
            peer: PeerId::new(identity.peer.public()),
            did: Did::from(identity.author.public()),
            identity,
            node: None,
            disk: Disk::default(),
            ahead,
            life: 0,
            flush_planned: false,
            tick_at: None,
            ticks: (0, 0),
            subscribed: BTreeSet::new(),
            seen: BTreeSet::new(),
            channels: BTreeMap::new(),
            asked: BTreeMap::new(),
            wishes: BTreeMap::new(),
            signed: 0,
            promised: BTreeSet::new(),
            arrived: Vec::new(),
            compared: BTreeMap::new(),
        }
    }

    /// The wall clock of this machine.
    pub(crate) const fn clock(&self, now: u64) -> u64 {
        now + self.ahead
    }

    /// Everything that was only in memory is gone.
    pub(crate) fn lose_power(&mut self) {
        if let Some(node) = self.node.take() {
            let compared = node.snapshot().parities;
            self.compared.extend(compared.into_iter().map(|(which, state)| (which, state.at_ms)));
        }
        self.life += 1;
        self.disk.crash();
        self.flush_planned = false;
        self.tick_at = None;
        self.subscribed.clear();
        self.seen.clear();
        self.channels.clear();
        self.asked.clear();
        self.wishes.clear();
        self.signed = 0;
    }
}
