//! Authors that write records, as they should or not.

use ipld_core::ipld::Ipld;
use ocm_record::{
    Body, Boot, Draft, Kind, MemoryId, RecordId, SALT_LEN, SignedRecord, SpaceId, Time,
    VerifiedRecord, to_canonical,
};
use ocm_space::{Genesis, Grant, Policy, Role};

use crate::host::*;

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
    /// Milliseconds after [`NOW`], instead of a day before it; 0 for that.
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
