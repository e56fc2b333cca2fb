//! A space with its first owner, and records in it, the same in every run.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use ocm_record::{
    Body, Boot, Did, Draft, Kind, MemoryId, RecordId, SALT_LEN, SigningKey, SpaceId, Time,
    VerifiedRecord,
};
use ocm_space::{Access, Denial, Genesis, Grant, Policy, Refusal, Role, SpaceState};

/// A moment in June 2025, in milliseconds.
pub(crate) const NOW: u64 = 1_750_000_000_000;
/// The seed of the first owner's key.
pub(crate) const OWNER: u8 = 1;

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub(crate) fn did(n: u8) -> Did {
    Did::from(key(n).public())
}

pub(crate) fn members_only() -> Policy {
    Policy::default()
}

pub(crate) fn open() -> Policy {
    Policy { write: Access::Open, read: Access::Open }
}

pub(crate) fn genesis(policy: Policy, owners: &[u8]) -> Genesis {
    Genesis {
        name: "camp".into(),
        nonce: [4; 32],
        policy,
        owners: owners.iter().map(|n| did(*n)).collect(),
    }
}

/// A grant of a role, and nothing more.
pub(crate) fn grant(to: u8, role: Role) -> Grant {
    Grant { to: did(to), role, key: None, kinds: None, expires: None }
}

/// A draft that leaves nothing to be wrong but the right to it.
pub(crate) fn draft(space: SpaceId, kind: Kind, auth: &[RecordId], millis: u64) -> Draft {
    Draft {
        space,
        kind,
        memory: match kind.0 {
            1..=4 | 8 => None,
            _ => Some(MemoryId(RecordId::from_parts(Time::from_millis(NOW), [6; 32]))),
        },
        author: None,
        boot: Boot::from_bytes([7; 16]),
        seq: 1,
        prev: None,
        deps: if matches!(kind.0, 5..=7 | 9..) {
            vec![RecordId::from_parts(Time::from_millis(NOW), [6; 32])]
        } else {
            vec![]
        },
        auth: auth.to_vec(),
        time: Time::from_millis(millis),
    }
}

pub(crate) fn sign(draft: Draft, by: u8, content: Ipld) -> VerifiedRecord {
    let body = Body { salt: [9; SALT_LEN], lineage: vec![], content };
    draft.sign(&key(by), body.encode()).unwrap().verify().unwrap()
}

pub(crate) fn sign_genesis(by: u8, content: Ipld) -> VerifiedRecord {
    sign(draft(SpaceId::GENESIS, Kind::GENESIS, &[], NOW), by, content)
}

/// A space and its state. Every record made here has a time of its own.
pub(crate) struct Camp {
    pub(crate) state: SpaceState,
    pub(crate) genesis: VerifiedRecord,
    clock: u64,
}

impl Camp {
    pub(crate) fn new(policy: Policy) -> Self {
        let genesis = sign_genesis(OWNER, genesis(policy, &[OWNER]).to_ipld());
        let mut state = SpaceState::new(genesis.space());
        state.authorise(&genesis).unwrap();
        state.insert(&genesis);
        Self { state, genesis, clock: NOW }
    }

    pub(crate) fn space(&self) -> SpaceId {
        self.genesis.space()
    }

    /// A record by `by` that names `auth`, not inserted.
    pub(crate) fn record(&mut self, by: u8, kind: Kind, auth: &[RecordId]) -> VerifiedRecord {
        self.clock += 1;
        sign(draft(self.space(), kind, auth, self.clock), by, Ipld::Null)
    }

    /// A grant record with this content, not inserted.
    pub(crate) fn grant_of(&mut self, by: u8, auth: &[RecordId], content: Ipld) -> VerifiedRecord {
        self.clock += 1;
        sign(draft(self.space(), Kind::GRANT, auth, self.clock), by, content)
    }

    /// A grant by `by`, which has the right to it, inserted.
    pub(crate) fn admit(&mut self, by: u8, auth: &[RecordId], grant: &Grant) -> RecordId {
        let record = self.grant_of(by, auth, grant.to_ipld());
        self.state.authorise(&record).unwrap();
        self.state.insert(&record);
        record.id()
    }
}

/// A map with one more key.
pub(crate) fn with(content: Ipld, key: &str, value: Ipld) -> Ipld {
    let Ipld::Map(mut map) = content else { return Ipld::Map(BTreeMap::new()) };
    map.insert(key.into(), value);
    Ipld::Map(map)
}

pub(crate) const NOT_PERMITTED: Result<(), Denial> = Err(Denial::Refused(Refusal::NotPermitted));
