//! One space as this node holds it: membership, the two sets, what is on its way to the disk.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ocm_record::{Did, Kind, RecordId, Set, SpaceId, Time, VerifiedRecord};
use ocm_space::{Access, Denial, Refusal, SpaceState};
use ocm_sync::{OrderedSet as _, Parity, SetDigest, SetHash, SumTree};

use crate::layout::{self, SpaceEntry, SpaceNumber, Tallies};
use crate::storage::{Batch, Key, ReadError, Reader};
use crate::verdict::{Hold, Refuse, Verdict};

/// One set: what is durable, as a tree of sums and a hash of the whole.
#[derive(Debug, Default)]
pub(crate) struct StoredSet {
    pub(crate) tree: SumTree,
    hash: SetHash,
}

impl StoredSet {
    fn insert(&mut self, id: RecordId) {
        // An admitted id is never past the end of time, and a known one changes nothing.
        if self.tree.insert(id) == Ok(true) {
            self.hash.add(&id);
        }
    }

    fn remove(&mut self, id: &RecordId) {
        if self.tree.remove(id) {
            self.hash.remove(id);
        }
    }

    fn contains(&self, id: &RecordId) -> bool {
        let Ok(found) = self.tree.contains(id);
        found
    }

    fn last(&self) -> Option<Time> {
        let count = self.tree.total().count;
        let Ok(last) = self.tree.at(count.checked_sub(1)?);
        last.map(|id| id.time())
    }

    fn digest(&self) -> SetDigest {
        SetDigest { count: self.tree.total().count, digest: self.hash.digest() }
    }
}

/// Where this node's own log in a space ends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnLog {
    pub(crate) seq: u64,
    pub(crate) last: Option<RecordId>,
}

/// One space.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) id: SpaceId,
    pub(crate) number: SpaceNumber,
    pub(crate) state: Arc<SpaceState>,
    pub(crate) log: OwnLog,
    pub(crate) tallies: Tallies,
    authority: StoredSet,
    content: StoredSet,
    /// Admitted, not durable yet.
    pending: BTreeMap<RecordId, VerifiedRecord>,
    /// The places in logs that pending records hold.
    pending_places: BTreeMap<Key, RecordId>,
    digest: OnceCell<Parity>,
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
            authority: StoredSet::default(),
            content: StoredSet::default(),
            pending: BTreeMap::new(),
            pending_places: BTreeMap::new(),
            digest: OnceCell::new(),
        }
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
        for set in [Set::Authority, Set::Content] {
            let (mut from, to) = layout::records(number, set);
            loop {
                let page = store.scan(&from, &to, OPEN_PAGE)?;
                let Some((last, _)) = page.last() else { break };
                from = [last.as_slice(), &[0]].concat();
                for (key, value) in page {
                    let Some(record) = layout::last_id(&key) else {
                        return Err(ReadError::Corrupt(format!("the key {key:02x?}")));
                    };
                    if set == Set::Authority {
                        match crate::view::read_verified(&value, &record) {
                            Ok(verified) => Arc::make_mut(&mut space.state).insert(&verified),
                            Err(_) => {
                                damaged.push(record);
                                continue;
                            }
                        }
                    }
                    space.set_mut(set).insert(record);
                }
            }
        }
        Ok(space)
    }

    /// The entry that names this space in the store.
    pub(crate) fn entry(&self) -> Vec<u8> {
        ocm_record::to_canonical(&SpaceEntry { id: self.id })
    }

    /// One of the two sets, as stored.
    pub(crate) fn stored(&self, set: Set) -> &SumTree {
        match set {
            Set::Authority => &self.authority.tree,
            Set::Content => &self.content.tree,
        }
    }

    fn set_mut(&mut self, set: Set) -> &mut StoredSet {
        match set {
            Set::Authority => &mut self.authority,
            Set::Content => &mut self.content,
        }
    }

    /// What is stored, for comparison with a peer.
    pub(crate) fn parity(&self) -> Parity {
        *self.digest.get_or_init(|| Parity {
            authority: self.authority.digest(),
            content: self.content.digest(),
            missing_bodies: 0,
        })
    }

    /// Whether a record stands here, durable or on its way.
    pub(crate) fn knows(&self, id: &RecordId) -> bool {
        self.pending.contains_key(id) || self.is_stored(id)
    }

    /// Whether a record is durable.
    pub(crate) fn is_stored(&self, id: &RecordId) -> bool {
        self.content.contains(id) || self.authority.contains(id)
    }

    /// The bytes of a durable record.
    pub(crate) fn read(
        &self,
        id: &RecordId,
        store: &dyn Reader,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        for set in [Set::Content, Set::Authority] {
            let Ok(found) = self.stored(set).contains(id);
            if found {
                return store.get(&layout::record(self.number, set, id));
            }
        }
        Ok(None)
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
            Err(Denial::Missing(ids)) if ids.iter().any(|id| self.knows(id)) => {
                return Ok(Verdict::Refuse(Refuse::Authority(Refusal::NotPermitted)));
            }
            Err(denial) => return Ok(denial.into()),
        }
        if record.body_bytes().is_none() {
            return Ok(Verdict::Hold(Hold::Body));
        }
        let header = record.header();
        let missing: Vec<_> = header.deps.iter().filter(|id| !self.knows(id)).copied().collect();
        if !missing.is_empty() {
            return Ok(Verdict::Hold(Hold::Dependency(missing)));
        }
        if header.kind == Kind::CHANGE {
            let mut own = 0;
            for dep in &header.deps {
                if self.is_of_memory(dep, record, store)? {
                    own += 1;
                } else if !self.is_authority(dep) {
                    return Ok(Verdict::Refuse(Refuse::OtherMemory));
                }
            }
            if header.memory.is_some() && own == 0 {
                return Ok(Verdict::Refuse(Refuse::OtherMemory));
            }
        }
        Ok(Verdict::Accept)
    }

    fn is_authority(&self, id: &RecordId) -> bool {
        self.authority.contains(id)
            || self.pending.get(id).is_some_and(|record| record.set() == Set::Authority)
    }

    fn is_of_memory(
        &self,
        id: &RecordId,
        record: &VerifiedRecord,
        store: &dyn Reader,
    ) -> Result<bool, ReadError> {
        let Some(memory) = record.header().memory else { return Ok(false) };
        match self.pending.get(id) {
            Some(pending) => Ok(pending.set() == Set::Content && pending.memory() == Some(memory)),
            None => Ok(store.get(&layout::memory_record(self.number, &memory, id))?.is_some()),
        }
    }

    /// Takes an admitted record in: it is known from now on, and durable once the batch is.
    pub(crate) fn admit(
        &mut self,
        record: &VerifiedRecord,
        batch: &mut Batch,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let (id, header) = (record.id(), record.header());
        let (key, boot, seq) = (&header.key, &header.boot, header.seq);
        let place = layout::log(self.number, key, boot, seq);
        let twin = layout::equivocation(self.number, key, boot, seq, &id);
        let holder = match self.pending_places.get(&place) {
            Some(id) => Some(*id),
            None => store.get(&place)?.and_then(|bytes| RecordId::try_from(&bytes[..]).ok()),
        };
        // A damaged record comes again: what it counts for is counted already.
        let again = match holder {
            Some(holder) => holder == id || store.get(&twin)?.is_some(),
            None => false,
        };
        batch.put(layout::record(self.number, record.set(), &id), record.encode());
        if let (Set::Content, Some(memory)) = (record.set(), record.memory()) {
            batch.put(layout::memory_record(self.number, &memory, &id), Vec::new());
            batch.put(layout::dirty(self.number, &memory, &id), Vec::new());
        }
        if !again {
            batch.count(&id.hash());
            if header.kind == Kind::CHANGE && header.memory.is_none() {
                self.tallies.memories += 1;
            }
            if holder.is_some() {
                self.tallies.equivocations += 1;
                batch.put(twin, Vec::new());
            } else {
                batch.put(place.clone(), id.as_bytes().to_vec());
                self.pending_places.insert(place, id);
            }
        }
        batch.put(layout::tallies(self.number), ocm_record::to_canonical(&self.tallies));
        if record.set() == Set::Authority {
            Arc::make_mut(&mut self.state).insert(record);
        }
        self.pending.insert(id, record.clone());
        Ok(())
    }

    /// Takes note that records of a batch are durable. Returns those that are new in the sets.
    pub(crate) fn commit(&mut self, ids: &[RecordId]) -> Vec<VerifiedRecord> {
        self.digest.take();
        ids.iter()
            .filter_map(|id| {
                let record = self.pending.remove(id)?;
                let header = record.header();
                let place = layout::log(self.number, &header.key, &header.boot, header.seq);
                if self.pending_places.get(&place) == Some(id) {
                    self.pending_places.remove(&place);
                }
                self.set_mut(record.set()).insert(*id);
                Some(record)
            })
            .collect()
    }

    /// Leaves a stored record that is damaged out of its set, so that it comes again.
    pub(crate) fn forget(&mut self, id: &RecordId) {
        self.digest.take();
        self.content.remove(id);
        self.authority.remove(id);
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
        self.state.genesis().is_none() || self.state.may_read(did)
    }

    /// The latest time in the space.
    pub(crate) fn last_time(&self) -> Option<Time> {
        [&self.authority, &self.content].into_iter().filter_map(|set| set.last()).max()
    }

    /// The boot's next place in this node's own log.
    pub(crate) fn next_place(&self) -> (u64, Option<RecordId>) {
        (self.log.seq + 1, self.log.last)
    }

    /// Takes note of a record written here.
    pub(crate) fn extend_log(&mut self, record: &VerifiedRecord) {
        self.log = OwnLog { seq: record.header().seq, last: Some(record.id()) };
    }
}
