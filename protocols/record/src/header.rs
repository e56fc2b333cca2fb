//! The signed part of a record.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use sha2::{Digest, Sha256};

use crate::cbor::to_canonical;
use crate::did::Did;
use crate::id::{MemoryId, RecordId, SpaceId};
use crate::key::{PublicKey, SigningKey};
use crate::limits;
use crate::record::{Malformed, SignedRecord};
use crate::time::Time;
use crate::unsigned::UnsignedRecord;

/// The domain tag and version at the head of every header.
pub(crate) const VERSION: &str = "ocm/1";

/// What the tag at the head of an array says, when it is that of another version of the record.
pub(crate) fn other_tag(tag: &str) -> Option<Malformed> {
    (tag != VERSION && tag.starts_with("ocm/"))
        .then(|| Malformed::Version(tag.chars().take(32).collect()))
}

/// What a record is for. Unknown kinds are admitted on their header, without effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kind(pub u64);

/// The two sets of a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Set {
    /// Who may do what: reconciled first.
    Authority,
    /// What was said.
    Content,
}

impl Kind {
    /// Begins a space.
    pub const GENESIS: Self = Self(1);
    /// Gives a role.
    pub const GRANT: Self = Self(2);
    /// Takes a role or a key away.
    pub const REVOCATION: Self = Self(3);
    /// Changes a memory.
    pub const CHANGE: Self = Self(4);
    /// Offers the custody of a memory, or membership, to whoever holds a token.
    pub const OFFER: Self = Self(5);
    /// Redeems an offer.
    pub const CLAIM: Self = Self(6);
    /// Forgets a memory.
    pub const FORGET: Self = Self(7);
    /// Binds a key to a DID.
    pub const IDENTITY: Self = Self(8);
    /// Settles a claim.
    pub const ACKNOWLEDGEMENT: Self = Self(9);

    /// The set a record of this kind belongs to.
    #[must_use]
    pub const fn set(self) -> Set {
        if self.0 == Self::CHANGE.0 || self.0 >= 64 { Set::Content } else { Set::Authority }
    }

    /// The name of a kind this version knows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            1 => "genesis",
            2 => "grant",
            3 => "revocation",
            4 => "change",
            5 => "offer",
            6 => "claim",
            7 => "forget",
            8 => "identity",
            9 => "acknowledgement",
            _ => "unknown",
        }
    }
}

/// 16 random bytes drawn at each process start, and never kept: with them no honest node can
/// write two records of one place in one log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Boot(ByteArray<16>);

impl Boot {
    /// A boot with these random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(ByteArray::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(self.as_bytes()))
    }
}

/// A header whose rules of form hold (`protocols/README.md`, section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The space; [`SpaceId::GENESIS`] in a genesis only.
    pub space: SpaceId,
    /// What the record is for.
    pub kind: Kind,
    /// The memory it belongs to; `None` in a change starts a memory.
    pub memory: Option<MemoryId>,
    /// Who speaks, unless that is the `did:key` of `key`.
    pub author: Option<Did>,
    /// The key that signed.
    pub key: PublicKey,
    /// The process that wrote it.
    pub boot: Boot,
    /// Position in the log (key, boot, space), from 1.
    pub seq: u64,
    /// The record before it in that log; `None` at 1.
    pub prev: Option<RecordId>,
    /// Records this one builds on, sorted, unique.
    pub deps: Vec<RecordId>,
    /// Authority records that prove the author's right, sorted, unique.
    pub auth: Vec<RecordId>,
    /// Later than that of `prev`, the space and all `deps`.
    pub time: Time,
    /// SHA-256 of the body.
    pub body: [u8; 32],
    /// Length of the body in bytes.
    pub size: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Wire(
    String,
    RecordId,
    u64,
    Option<RecordId>,
    Option<Did>,
    PublicKey,
    Boot,
    u64,
    Option<RecordId>,
    Vec<RecordId>,
    Vec<RecordId>,
    Time,
    ByteArray<32>,
    u32,
);

impl Header {
    /// Who speaks.
    #[must_use]
    pub fn author(&self) -> Did {
        self.author.unwrap_or(Did::Key(self.key))
    }

    /// The canonical bytes, which the signature covers and the id hashes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        to_canonical(&Wire(
            VERSION.into(),
            self.space.0,
            self.kind.0,
            self.memory.map(|m| m.0),
            self.author,
            self.key,
            self.boot,
            self.seq,
            self.prev,
            self.deps.clone(),
            self.auth.clone(),
            self.time,
            ByteArray::new(self.body),
            self.size,
        ))
    }

    pub(crate) fn from_wire(wire: Wire) -> Result<Self, Malformed> {
        let Wire(
            version,
            space,
            kind,
            memory,
            author,
            key,
            boot,
            seq,
            prev,
            deps,
            auth,
            time,
            body,
            size,
        ) = wire;
        if version != VERSION {
            return Err(other_tag(&version)
                .unwrap_or(Malformed::Rule("a header begins with the tag of a version of ocm")));
        }
        let header = Self {
            space: SpaceId(space),
            kind: Kind(kind),
            memory: memory.map(MemoryId),
            author,
            key,
            boot,
            seq,
            prev,
            deps,
            auth,
            time,
            body: body.into_array(),
            size,
        };
        header.check()?;
        Ok(header)
    }

    /// The rules that need nothing but the header itself.
    fn check(&self) -> Result<(), Malformed> {
        let rule = |holds: bool, rule: &'static str| {
            if holds { Ok(()) } else { Err(Malformed::Rule(rule)) }
        };
        let sorted = |ids: &[RecordId]| ids.windows(2).all(|pair| pair[0] < pair[1]);
        let genesis = self.kind == Kind::GENESIS;

        rule(
            self.author != Some(Did::Key(self.key)),
            "an author that is the did:key of the key is left out",
        )?;
        rule(
            (self.space == SpaceId::GENESIS) == genesis,
            "a genesis, and only a genesis, names no space",
        )?;
        rule(self.seq >= 1, "positions in a log begin at 1")?;
        rule(
            (self.seq == 1) == self.prev.is_none(),
            "the first record of a log, and only that, has no prev",
        )?;
        rule(self.deps.len() <= limits::DEPS, "at most 16 deps")?;
        rule(self.auth.len() <= limits::AUTH, "at most 8 auth")?;
        rule(sorted(&self.deps) && sorted(&self.auth), "deps and auth are sorted and unique")?;
        rule(self.size as usize <= limits::BODY_BYTES, "a body has at most 60 KiB")?;
        if genesis {
            rule(
                self.prev.is_none() && self.deps.is_empty() && self.auth.is_empty(),
                "a genesis builds on nothing",
            )?;
        }
        match self.kind {
            Kind::GENESIS | Kind::GRANT | Kind::REVOCATION | Kind::IDENTITY => {
                rule(self.memory.is_none(), "this kind belongs to no memory")?;
            }
            Kind::CHANGE => rule(
                self.memory.is_none() || !self.deps.is_empty(),
                "a change of a memory builds on a record of that memory",
            )?,
            Kind::OFFER | Kind::CLAIM | Kind::ACKNOWLEDGEMENT => {}
            _ => rule(self.memory.is_some(), "this kind belongs to a memory")?,
        }
        let latest = self.latest_named();
        rule(self.time > latest, "the time is later than that of prev, the space and all deps")?;
        rule(self.time <= Time::LAST, "the time is below 2^64-1")
    }

    /// The latest time among `prev`, the space and `deps`.
    #[must_use]
    pub fn latest_named(&self) -> Time {
        self.deps
            .iter()
            .chain(&self.prev)
            .chain([&self.space.0])
            .map(RecordId::time)
            .max()
            .unwrap_or_default()
    }
}

/// What an author decides about a new record; [`Draft::sign`] fills in the rest. The result is
/// still to be admitted like any other.
#[derive(Debug, Clone)]
pub struct Draft {
    /// See [`Header::space`].
    pub space: SpaceId,
    /// See [`Header::kind`].
    pub kind: Kind,
    /// See [`Header::memory`].
    pub memory: Option<MemoryId>,
    /// See [`Header::author`].
    pub author: Option<Did>,
    /// See [`Header::boot`].
    pub boot: Boot,
    /// See [`Header::seq`].
    pub seq: u64,
    /// See [`Header::prev`].
    pub prev: Option<RecordId>,
    /// See [`Header::deps`]; sorted by [`Draft::sign`].
    pub deps: Vec<RecordId>,
    /// See [`Header::auth`]; sorted by [`Draft::sign`].
    pub auth: Vec<RecordId>,
    /// See [`Header::time`].
    pub time: Time,
}

impl Draft {
    /// Makes and signs the record with this body.
    ///
    /// # Errors
    /// When a rule of form or a limit would be broken: nothing is signed then.
    pub fn sign(
        self,
        key: &SigningKey,
        body: impl Into<Vec<u8>>,
    ) -> Result<SignedRecord, Malformed> {
        Ok(self.prepare(key.public(), body)?.sign(key))
    }

    /// Makes the record with this body for this key, all but the signature: what is to be signed
    /// later or elsewhere. Its id is known from here on.
    ///
    /// # Errors
    /// When a rule of form or a limit would be broken.
    pub fn prepare(
        mut self,
        key: PublicKey,
        body: impl Into<Vec<u8>>,
    ) -> Result<UnsignedRecord, Malformed> {
        let body = body.into();
        self.deps.sort_unstable();
        self.deps.dedup();
        self.auth.sort_unstable();
        self.auth.dedup();
        let header = Header {
            space: self.space,
            kind: self.kind,
            memory: self.memory,
            author: self.author,
            key,
            boot: self.boot,
            seq: self.seq,
            prev: self.prev,
            deps: self.deps,
            auth: self.auth,
            time: self.time,
            body: Sha256::digest(&body).into(),
            size: u32::try_from(body.len()).unwrap_or(u32::MAX),
        };
        header.check()?;
        UnsignedRecord::new(header, body)
    }
}
