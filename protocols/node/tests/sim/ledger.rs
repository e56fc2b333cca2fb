//! What the world knows to be true: every record that was made, who was given a role, which sets
//! have which parity.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ocm_record::{Did, Kind, RecordId, SignedRecord, SpaceId, VerifiedRecord};
use ocm_space::Grant;
use ocm_sync::Parity;
use sha2::{Digest as _, Sha256};

/// The counts and digests of a space's two sets.
type Digests = [(u64, [u8; 32]); 2];

/// The two sets themselves.
pub(crate) type Sets = [BTreeSet<RecordId>; 2];

/// What the world knows to be true.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Every record that became durable anywhere.
    pub(crate) records: BTreeMap<RecordId, VerifiedRecord>,
    /// The owners and, by the record that says so, everyone who was given a role.
    pub(crate) roles: BTreeMap<SpaceId, BTreeMap<Did, RecordId>>,
    /// What each honest node stated of each space.
    pub(crate) stated: HashSet<(usize, SpaceId, Parity)>,
    verified: BTreeSet<[u8; 32]>,
    by_parity: BTreeMap<Digests, Sets>,
    by_sets: BTreeMap<Sets, Digests>,
}

impl Ledger {
    /// Verifies stored bytes, once for each copy.
    pub(crate) fn verify(&mut self, bytes: &[u8]) -> VerifiedRecord {
        let copy: [u8; 32] = Sha256::digest(bytes).into();
        let signed = SignedRecord::decode(bytes).expect("stored bytes are a record");
        let id = signed.id();
        if !self.verified.contains(&copy) || !self.records.contains_key(&id) {
            let record = signed.verify().expect("a stored record verifies");
            self.verified.insert(copy);
            self.learn(&record);
        }
        self.records[&id].clone()
    }

    fn learn(&mut self, record: &VerifiedRecord) {
        let roles = self.roles.entry(record.space()).or_default();
        match record.header().kind {
            Kind::GENESIS => {
                roles.insert(record.author(), record.id());
            }
            Kind::GRANT => {
                let body = record.body().unwrap().unwrap();
                if let Ok(grant) = Grant::from_ipld(&body.content) {
                    roles.entry(grant.to).or_insert(record.id());
                }
            }
            _ => {}
        }
        self.records.entry(record.id()).or_insert_with(|| record.clone());
    }

    pub(crate) fn has_role(&self, space: &SpaceId, did: &Did) -> bool {
        self.roles.get(space).is_some_and(|roles| roles.contains_key(did))
    }

    /// Equal sets have equal parity, and unequal sets unequal parity.
    pub(crate) fn note_parity(&mut self, sets: Sets, parity: &Parity) {
        let digests = [parity.authority, parity.content].map(|set| (set.count, set.digest));
        let known = self.by_sets.entry(sets.clone()).or_insert(digests);
        assert_eq!(*known, digests, "equal sets have different parity");
        let known = self.by_parity.entry(digests).or_insert_with(|| sets.clone());
        assert_eq!(*known, sets, "different sets have equal parity");
    }
}
