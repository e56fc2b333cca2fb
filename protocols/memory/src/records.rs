//! The records of one memory, and what follows from their headers alone.

use std::collections::{BTreeMap, BTreeSet};

use ocm_record::{RecordId, VerifiedRecord};

/// A set of changes of one memory, at most one copy of each: one with its body, when there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    by_id: BTreeMap<RecordId, VerifiedRecord>,
    /// Every record that another names.
    named: BTreeSet<RecordId>,
    /// For each record those that continue its run.
    followers: BTreeMap<RecordId, Vec<RecordId>>,
}

/// What a record that is added changes about those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It was there.
    Known,
    /// Nothing but itself.
    Appended,
    /// It is the twin of this record, which had none before: that one has another actor now.
    TwinOf(RecordId),
    /// An earlier record names it, or it brings the body that an earlier copy lacked.
    Late,
}

impl Records {
    /// Adds one. After [`Arrival::Late`] the set must be made anew, by [`Self::rebuilt`].
    pub(crate) fn insert(&mut self, record: VerifiedRecord) -> Arrival {
        let id = record.id();
        if let Some(known) = self.by_id.get(&id) {
            if known.body_bytes().is_some() || record.body_bytes().is_none() {
                return Arrival::Known;
            }
            self.by_id.insert(id, record);
            return Arrival::Late;
        }
        let late = self.named.contains(&id);
        self.named.extend(record.header().deps.iter().copied());
        self.by_id.insert(id, record);
        let mut twin = None;
        if let Some(leader) = self.continues(&id) {
            let followers = self.followers.entry(leader).or_default();
            if let [only] = followers[..] {
                twin = Some(only);
            }
            followers.push(id);
        }
        match (late, twin) {
            (true, _) => Arrival::Late,
            (false, Some(only)) => Arrival::TwinOf(only),
            (false, None) => Arrival::Appended,
        }
    }

    /// The same set, with everything derived from it derived again.
    pub(crate) fn rebuilt(self) -> Self {
        let mut fresh = Self::default();
        for record in self.by_id.into_values() {
            fresh.insert(record);
        }
        fresh
    }

    pub(crate) fn get(&self, id: &RecordId) -> Option<&VerifiedRecord> {
        self.by_id.get(id)
    }

    /// In the order of their ids, which is one in which everything comes after what it names.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &VerifiedRecord> {
        self.by_id.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The records that no other one names, oldest first.
    pub(crate) fn heads(&self) -> impl DoubleEndedIterator<Item = RecordId> + '_ {
        self.by_id.keys().filter(|id| !self.named.contains(*id)).copied()
    }

    /// What a record builds on in this memory. Other dependencies are authority records.
    pub(crate) fn deps(&self, id: &RecordId) -> Vec<RecordId> {
        let Some(record) = self.by_id.get(id) else { return Vec::new() };
        record.header().deps.iter().filter(|dep| self.by_id.contains_key(*dep)).copied().collect()
    }

    /// The record whose run this one continues: its only dependency, by the same key and boot.
    pub(crate) fn continues(&self, id: &RecordId) -> Option<RecordId> {
        let [leader] = self.deps(id)[..] else { return None };
        let log = |id: &RecordId| self.by_id.get(id).map(VerifiedRecord::log);
        (log(id) == log(&leader)).then_some(leader)
    }

    /// Whether another record continues the same run at the same place.
    pub(crate) fn has_twin(&self, leader: &RecordId) -> bool {
        self.followers.get(leader).is_some_and(|followers| followers.len() > 1)
    }
}
