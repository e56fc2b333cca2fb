//! The store as a whole, on every engine.

mod conformance;
mod crash;
mod damage;
mod kill;
mod loss;

use std::path::Path;
use std::sync::Arc;

use ocm_node::layout::{self, SpaceNumber};
use ocm_node::storage::{Batch, Reader};
use ocm_record::{RecordId, Set, Time};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::memory::{MemoryBackend, MemoryDisk};
use super::*;

/// A store with its acknowledgements.
pub(super) struct Rig {
    pub(super) store: Store,
    pub(super) acks: UnboundedReceiver<Ack>,
    to: AckSender,
    next: u64,
}

impl Rig {
    pub(super) fn new(opened: Opened) -> Self {
        let (to, acks) = unbounded_channel();
        Self { store: opened.store, acks, to, next: 0 }
    }

    pub(super) fn submit(&mut self, batch: Batch) -> Result<u64, SubmitError> {
        self.next += 1;
        self.store.submit(self.next, batch, &self.to).map(|()| self.next)
    }

    /// Submits and waits for the answer.
    pub(super) fn commit(&mut self, batch: Batch) -> Result<u64, Poisoned> {
        let ticket = self.submit(batch).unwrap();
        let ack = self.acks.blocking_recv().unwrap();
        assert_eq!(ack.ticket, ticket);
        ack.result
    }
}

/// A batch that adds record `n`, with a body of `bytes`, and an index entry that all share.
pub(super) fn record(n: u64, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    batch.put(record_key(n), body(n, bytes));
    batch.put(*b"\x02newest", n.to_be_bytes());
    batch
}

pub(super) fn record_key(n: u64) -> Vec<u8> {
    layout::record(SpaceNumber(1), Set::Content, &RecordId::from_parts(Time(n), [n as u8; 32]))
}

/// Bytes that do not compress and that tell their number.
pub(super) fn body(n: u64, bytes: usize) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    n.to_be_bytes().into_iter().chain(std::iter::repeat_with(&mut next)).take(bytes).collect()
}

pub(super) fn open_sled(directory: &Path) -> Result<Opened, OpenError> {
    Store::open(directory, OpenOptions::default(), Arc::new(Unobserved))
}

pub(super) fn open_accepting(directory: &Path) -> Result<Opened, OpenError> {
    let options = OpenOptions { accept_loss: true, ..OpenOptions::default() };
    Store::open(directory, options, Arc::new(Unobserved))
}

pub(super) fn open_memory(
    disk: &MemoryDisk,
    place: &MemoryFrontier,
    options: OpenOptions,
) -> Result<Opened, OpenError> {
    let backend = Arc::new(MemoryBackend::open(disk.clone()));
    Store::open_on(backend, Box::new(place.clone()), options, Arc::new(Unobserved))
}

/// All records that a reader sees, in order.
pub(super) fn records(reader: &StoreReader) -> Vec<u64> {
    let (from, to) = layout::all_records();
    let found = reader.scan(&from, &to, usize::MAX).unwrap();
    found.iter().map(|(key, _)| layout::last_id(key).unwrap().time().0).collect()
}
