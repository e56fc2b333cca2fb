//! One space as this node holds it: membership, the two sets, what is on its way to the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ocm_record::{
    Did, Kind, MemoryId, RecordId, Set, SignedRecord, SpaceId, Time, UnsignedRecord, VerifiedRecord,
};
use ocm_space::{Access, Denial, Refusal, SpaceState};
use ocm_sync::Parity;

use crate::layout::{self, LogPart, Place, SpaceEntry, SpaceNumber, Tallies};
use crate::origin::Origin;
use crate::peer::RunNumber;
use crate::sets::{self, Head, StoredSet};
use crate::storage::{Batch, ReadError, Reader};
use crate::verdict::{Hold, Refuse, Verdict};

/// What a store has under the id of a record.
#[derive(Debug)]
pub(crate) enum Stored {
    /// Nothing.
    Absent,
    /// The bytes that were admitted.
    Whole(Vec<u8>),
    /// Other bytes than were admitted: it can be written again.
    Altered,
    /// Something that the store cannot read.
    Unreadable,
}

/// Where this node's own log in a space ends, with what is being signed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnLog {
    pub(crate) seq: u64,
    pub(crate) last: Option<RecordId>,
}

impl OwnLog {
    /// Where it ends with this record.
    pub(crate) fn ending_with(record: &UnsignedRecord) -> Self {
        Self { seq: record.header().seq, last: Some(record.id()) }
    }
}

/// One space.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) id: SpaceId,
    pub(crate) number: SpaceNumber,
    pub(crate) state: Arc<SpaceState>,
    pub(crate) log: OwnLog,
    pub(crate) tallies: Tallies,
    /// What is stored, as of the last commit heard of.
    parity: Parity,
    /// Memories that the batch at hand adds to.
    dirty: BTreeSet<MemoryId>,
    /// The number of the next list of such.
    next_dirty: u64,
    /// Admitted, not durable yet.
    pending: BTreeMap<RecordId, VerifiedRecord>,
    /// The places in logs that pending records hold.
    pending_places: BTreeMap<Place, RecordId>,
    /// The parts of logs that the batch at hand adds to, by their first places.
    extended: BTreeSet<Place>,
    /// Whether the batch at hand has records of this space.
    changed: bool,
    /// When many memories were begun by one command last.
    pub(crate) begun_in_bulk: u64,
    /// Jobs under way that sign records of our own for this space.
    pub(crate) signing: usize,
    /// The last comparison before a damaged record left its set: what those until then showed of a
    /// peer proves nothing of what it states after it.
    pub(crate) lost: RunNumber,
}

/// Records read at once while a space is opened.
const OPEN_PAGE: usize = 1024;

impl Space {
    /// A space of which nothing is here yet.
    pub(crate) fn new(id: SpaceId, number: SpaceNumber) -> Self {
        Self {
            id,
            number,
            state: Arc::new(SpaceState::new(id)),
            log: OwnLog::default(),
            tallies: Tallies::default(),
            parity: stored_parity(&Head::empty(), &Head::empty()),
            dirty: BTreeSet::new(),
            next_dirty: 0,
            pending: BTreeMap::new(),
            pending_places: BTreeMap::new(),
            extended: BTreeSet::new(),
            changed: false,
            begun_in_bulk: 0,
            signing: 0,
            lost: 0,
        }
    }

    /// The clock was set back by so much.
    pub(crate) fn turn_back(&mut self, by: u64) {
        self.begun_in_bulk = self.begun_in_bulk.saturating_sub(by);
    }

    /// Reads a space back. Authority records are verified again; a damaged one is left out, and
    /// reported, and comes again by anti-entropy.
    pub(crate) fn open(
        id: SpaceId,
        number: SpaceNumber,
        store: &dyn Reader,
        damaged: &mut Vec<RecordId>,
    ) -> Result<Self, ReadError> {
        let mut space = Self::new(id, number);
        if let Some(bytes) = store.get(&layout::tallies(number))? {
            space.tallies = ocm_record::from_canonical(&bytes)
                .map_err(|e| ReadError::Corrupt(format!("the counts of space {id}: {e}")))?;
        }
        let (mut from, to) = layout::records(number, Set::Authority);
        loop {
            let page = store.scan(&from, &to, OPEN_PAGE)?;
            let Some((last, _)) = page.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in page {
                let Some(record) = layout::last_id(&key) else {
                    return Err(ReadError::Corrupt(format!("the key {key:02x?}")));
                };
                match crate::view::read_verified(&value, &record) {
                    Ok(verified) => Arc::make_mut(&mut space.state).insert(&verified),
                    Err(_) => damaged.push(record),
                }
            }
        }
        let (from, to) = layout::all_dirty(number);
        let last = store.scan_back(&from, &to, 1)?.pop();
        let last = last.and_then(|(key, _)| layout::dirty_number(&key));
        space.next_dirty = last.map_or(0, |last| last + 1);
        space.refresh(store)?;
        Ok(space)
    }

    /// The entry that names this space in the store.
    pub(crate) fn entry(&self) -> Vec<u8> {
        ocm_record::to_canonical(&SpaceEntry { id: self.id })
    }

    /// One of the two sets, as stored.
    pub(crate) fn stored<'a>(
        &self,
        set: Set,
        store: &'a dyn Reader,
    ) -> Result<StoredSet<'a>, ReadError> {
        sets::open(store, self.number, set)
    }

    /// What is stored, for comparison with a peer.
    pub(crate) const fn parity(&self) -> Parity {
        self.parity
    }

    /// What the store shows at this moment, heard of or not.
    pub(crate) fn parity_on_disk(&self, store: &dyn Reader) -> Result<Parity, ReadError> {
        let head = |set| Head::read(store, self.number, set);
        Ok(stored_parity(&head(Set::Authority)?, &head(Set::Content)?))
    }

    fn refresh(&mut self, store: &dyn Reader) -> Result<(), ReadError> {
        self.parity = self.parity_on_disk(store)?;
        Ok(())
    }

    /// Whether a record stands here, durable or on its way.
    pub(crate) fn knows(&self, id: &RecordId, store: &dyn Reader) -> Result<bool, ReadError> {
        Ok(self.pending.contains_key(id)
            || self.has(Set::Content, id, store)?
            || self.has(Set::Authority, id, store)?)
    }

    /// As [`Self::knows`], of a record whose set is known.
    pub(crate) fn knows_in(
        &self,
        set: Set,
        id: &RecordId,
        store: &dyn Reader,
    ) -> Result<bool, ReadError> {
        Ok(self.pending.contains_key(id) || self.has(set, id, store)?)
    }

    /// Whether a record is durable in a set. A damaged one is: its place is taken.
    fn has(&self, set: Set, id: &RecordId, store: &dyn Reader) -> Result<bool, ReadError> {
        match store.get(&layout::record(self.number, set, id)) {
            Ok(found) => Ok(found.is_some()),
            Err(ReadError::Corrupt(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A durable record, by its id.
    pub(crate) fn read(&self, id: &RecordId, store: &dyn Reader) -> Result<Stored, ReadError> {
        match self.read_in(Set::Content, id, store)? {
            Stored::Absent => self.read_in(Set::Authority, id, store),
            found => Ok(found),
        }
    }

    /// A durable record of a set, by its id.
    pub(crate) fn read_in(
        &self,
        set: Set,
        id: &RecordId,
        store: &dyn Reader,
    ) -> Result<Stored, ReadError> {
        match store.get(&layout::record(self.number, set, id)) {
            Ok(None) => Ok(Stored::Absent),
            Ok(Some(mut value)) => Ok(match layout::unseal(&value).map(<[u8]>::len) {
                Some(length) => {
                    value.truncate(length);
                    Stored::Whole(value)
                }
                None => Stored::Altered,
            }),
            Err(ReadError::Corrupt(_)) => Ok(Stored::Unreadable),
            Err(error) => Err(error),
        }
    }

    /// Whether a record is on its way to the disk.
    pub(crate) fn is_pending(&self, id: &RecordId) -> bool {
        self.pending.contains_key(id)
    }

    /// Whether a record is in one of the sets, whatever is stored under its id.
    pub(crate) fn is_listed(&self, id: &RecordId, store: &dyn Reader) -> Result<bool, ReadError> {
        Ok(self.stored(Set::Content, store)?.contains(id)?
            || self.stored(Set::Authority, store)?.contains(id)?)
    }

    /// The last checks of admission, over the record and its past: authority at `auth`, the
    /// body, deps, then the rules of a memory. Whatever else is here makes no difference.
    pub(crate) fn judge(
        &self,
        record: &VerifiedRecord,
        store: &dyn Reader,
    ) -> Result<Verdict, ReadError> {
        match self.state.authorise(record) {
            Ok(()) => {}
            // What is here as content proves no right, and never will.
            Err(Denial::Missing(ids)) if self.knows_any(&ids, store)? => {
                return Ok(Verdict::Refuse(Refuse::Authority(Refusal::NotPermitted)));
            }
            Err(denial) => return Ok(denial.into()),
        }
        if record.body_bytes().is_none() {
            return Ok(Verdict::Hold(Hold::Body));
        }
        let header = record.header();
        let mut missing = Vec::new();
        for id in &header.deps {
            if !self.knows(id, store)? {
                missing.push(*id);
            }
        }
        if !missing.is_empty() {
            return Ok(Verdict::Hold(Hold::Dependency(missing)));
        }
        if header.kind == Kind::CHANGE {
            let mut own = 0;
            for dep in &header.deps {
                let of_memory = self.is_of_memory(dep, record, store)?;
                // What is damaged comes again; until then it cannot be told.
                let Some(of_memory) = of_memory else {
                    return Ok(Verdict::Hold(Hold::Dependency(vec![*dep])));
                };
                if of_memory {
                    own += 1;
                } else if !self.is_authority(dep, store)? {
                    return Ok(Verdict::Refuse(Refuse::OtherMemory));
                }
            }
            if header.memory.is_some() && own == 0 {
                return Ok(Verdict::Refuse(Refuse::OtherMemory));
            }
        }
        Ok(Verdict::Accept)
    }

    fn knows_any(&self, ids: &[RecordId], store: &dyn Reader) -> Result<bool, ReadError> {
        for id in ids {
            if self.knows(id, store)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_authority(&self, id: &RecordId, store: &dyn Reader) -> Result<bool, ReadError> {
        match self.pending.get(id) {
            Some(record) => Ok(record.set() == Set::Authority),
            None => self.has(Set::Authority, id, store),
        }
    }

    fn is_of_memory(
        &self,
        id: &RecordId,
        record: &VerifiedRecord,
        store: &dyn Reader,
    ) -> Result<Option<bool>, ReadError> {
        let Some(memory) = record.header().memory else { return Ok(Some(false)) };
        if let Some(pending) = self.pending.get(id) {
            let content = pending.set() == Set::Content;
            return Ok(Some(content && pending.memory() == Some(memory)));
        }
        if *id == memory.0 {
            return self.begins_memory(id, store);
        }
        let mark = layout::memory_record(self.number, &memory, id);
        Ok(Some(store.get(&mark)?.is_some()))
    }

    /// Whether a durable record begins a memory; `None` where it is damaged.
    fn begins_memory(&self, id: &RecordId, store: &dyn Reader) -> Result<Option<bool>, ReadError> {
        Ok(match self.read_in(Set::Content, id, store)? {
            Stored::Whole(bytes) => {
                SignedRecord::decode(&bytes).ok().map(|record| record.begins_memory())
            }
            Stored::Absent => Some(false),
            Stored::Altered | Stored::Unreadable => None,
        })
    }

    /// Takes an admitted record in: it is known from now on, and durable once the batch is.
    pub(crate) fn admit(
        &mut self,
        record: &VerifiedRecord,
        batch: &mut Batch,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let (id, header) = (record.id(), record.header());
        let place = place_of(record);
        let twin = layout::equivocation(self.number, &place, &id);
        let holder = match self.pending_places.get(&place) {
            Some(id) => Some(*id),
            None => self.log_part(&place, store)?.get(&place),
        };
        // A damaged record comes again: what it counts for is counted already.
        let again = match holder {
            Some(holder) => holder == id || store.get(&twin)?.is_some(),
            None => false,
        };
        batch.put(layout::record(self.number, record.set(), &id), layout::seal(record.encode()));
        if let (Set::Content, Some(memory)) = (record.set(), record.memory()) {
            if memory.0 != id {
                batch.put(layout::memory_record(self.number, &memory, &id), Vec::new());
            }
            self.dirty.insert(memory);
        }
        if !again {
            if header.kind == Kind::CHANGE && header.memory.is_none() {
                self.tallies.memories += 1;
            }
            if holder.is_some() {
                self.tallies.equivocations += 1;
                batch.put(twin, Vec::new());
            } else {
                self.pending_places.insert(place, id);
                self.extended.insert(place.part());
            }
        }
        if record.set() == Set::Authority {
            Arc::make_mut(&mut self.state).insert(record);
        }
        self.pending.insert(id, record.clone());
        self.changed = true;
        Ok(())
    }

    fn log_part(&self, place: &Place, store: &dyn Reader) -> Result<LogPart, ReadError> {
        let value = store.get(&layout::log_part(self.number, place))?;
        Ok(value.map(|value| LogPart::decode(&value)).unwrap_or_default())
    }

    /// Closes a batch: adds what follows from the records in it together.
    pub(crate) fn seal(&mut self, batch: &mut Batch, store: &dyn Reader) -> Result<(), ReadError> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        for first in std::mem::take(&mut self.extended) {
            let mut part = self.log_part(&first, store)?;
            for (place, id) in self.pending_places.range(first..=first.part_end()) {
                part.set(place, *id);
            }
            batch.put(layout::log_part(self.number, &first), part.encode());
        }
        let dirty: Vec<MemoryId> = std::mem::take(&mut self.dirty).into_iter().collect();
        for memories in dirty.chunks(layout::DIRTY_MEMORIES) {
            let list: Vec<u8> = memories.iter().flat_map(|memory| *memory.0.as_bytes()).collect();
            batch.put(layout::dirty(self.number, self.next_dirty), list);
            self.next_dirty += 1;
        }
        batch.put(layout::tallies(self.number), ocm_record::to_canonical(&self.tallies));
        Ok(())
    }

    /// Takes note that records of a batch are durable. Returns those that are new in the sets.
    pub(crate) fn commit(
        &mut self,
        admitted: Vec<(RecordId, Origin)>,
        store: &dyn Reader,
    ) -> Result<Vec<(VerifiedRecord, Origin)>, ReadError> {
        let mut touched = BTreeSet::new();
        let take = |(id, origin): (RecordId, Origin)| {
            let record = self.pending.remove(&id)?;
            touched.insert(record.set());
            let place = place_of(&record);
            if self.pending_places.get(&place) == Some(&id) {
                self.pending_places.remove(&place);
            }
            Some((record, origin))
        };
        let admitted: Vec<_> = admitted.into_iter().filter_map(take).collect();
        match (touched.contains(&Set::Authority), touched.contains(&Set::Content)) {
            (false, true) => {
                self.parity.content = Head::read(store, self.number, Set::Content)?.digest();
            }
            _ => self.refresh(store)?,
        }
        Ok(admitted)
    }

    /// Removes a stored record that is damaged, so that it comes again.
    pub(crate) fn forget(&self, id: &RecordId, batch: &mut Batch) {
        for set in [Set::Authority, Set::Content] {
            batch.delete(layout::record(self.number, set, id));
        }
    }

    /// Whether the space's records travel by gossip: everyone may read it.
    pub(crate) fn is_gossiped(&self) -> bool {
        self.state.policy().read == Access::Open
    }

    /// Whether this record, just admitted, makes the space one that gossip carries.
    pub(crate) fn begins_gossip(&self, record: &VerifiedRecord) -> bool {
        record.header().kind == Kind::GENESIS && self.is_gossiped()
    }

    /// Whether a DID may know that the space is held here. While nothing of it is here there is
    /// nothing to serve, and whoever names it knows it already.
    pub(crate) fn may_name(&self, did: &Did) -> bool {
        let nothing = self.parity.authority.count == 0
            && self.parity.content.count == 0
            && self.pending.is_empty();
        match self.state.genesis() {
            // A genesis that is damaged tells nobody anything.
            None => nothing,
            Some(_) => self.state.may_read(did),
        }
    }

    /// The latest time in the space.
    pub(crate) fn last_time(&self, store: &dyn Reader) -> Result<Option<Time>, ReadError> {
        let authority = self.stored(Set::Authority, store)?.last()?;
        let content = self.stored(Set::Content, store)?.last()?;
        Ok(authority.max(content).map(|id| id.time()))
    }
}

fn place_of(record: &VerifiedRecord) -> Place {
    let header = record.header();
    Place { key: header.key, boot: header.boot, seq: header.seq }
}

fn stored_parity(authority: &Head, content: &Head) -> Parity {
    Parity { authority: authority.digest(), content: content.digest(), missing_bodies: 0 }
}
