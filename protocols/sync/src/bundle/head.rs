//! What a bundle says of itself, signed by whoever wrote it.

use ipld_core::ipld::Ipld;
use ocm_record::{
    NotCanonical, PublicKey, Signature, SigningKey, SpaceId, from_canonical, sign_statement,
    to_canonical, verify_statement,
};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use sha2::{Digest, Sha256};

use super::HEAD;
use crate::limits;
use crate::message::Hash;
use crate::message::wire::List;
use crate::parity::{Parity, SetDigest};
use crate::statement::NotSigned;
use crate::tag::PEER_ID_LEN;

const KIND: &str = "bundle";

type PeerBytes = ByteArray<PEER_ID_LEN>;

/// Which content records a bundle holds; of the authority set it holds all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SinceWire", into = "SinceWire")]
pub enum Since {
    /// All.
    All,
    /// Those whose time is at or after this, in milliseconds since the Unix epoch.
    Time(u64),
    /// Those that a peer did not have, by what a bundle of its own said of that.
    Parity {
        /// The peer.
        peer: [u8; PEER_ID_LEN],
        /// When it said so, in milliseconds since the Unix epoch, by its clock.
        time: u64,
    },
}

type SinceWire = (Option<u64>, Option<(PeerBytes, u64)>);

impl TryFrom<SinceWire> for Since {
    type Error = &'static str;

    fn try_from(wire: SinceWire) -> Result<Self, Self::Error> {
        match wire {
            (None, None) => Ok(Self::All),
            (Some(time), None) => Ok(Self::Time(time)),
            (None, Some((peer, time))) => Ok(Self::Parity { peer: peer.into_array(), time }),
            (Some(_), Some(_)) => Err("a bundle begins at a time, or with what a peer lacks"),
        }
    }
}

impl From<Since> for SinceWire {
    fn from(since: Since) -> Self {
        match since {
            Since::All => (None, None),
            Since::Time(time) => (Some(time), None),
            Since::Parity { peer, time } => (None, Some((PeerBytes::new(peer), time))),
        }
    }
}

/// What the writer of a bundle stored when it began to write, signed with the key of its DID, and
/// made out to nobody: who will read it is not known. It shows nothing before
/// [`BundleStatement::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleStatement(Since, List<u64, { limits::KINDS }>, Parity, u64, Hash, Signature);

fn fields(
    space: &SpaceId,
    from: &[u8; PEER_ID_LEN],
    statement: (&Since, &[u64], &Parity, u64, &[u8; 32]),
) -> [Ipld; 9] {
    let (since, kinds, parity, time, description) = statement;
    let bytes = |bytes: &[u8]| Ipld::Bytes(bytes.to_vec());
    let integer = |n: u64| Ipld::Integer(n.into());
    let set = |set: &SetDigest| Ipld::List(vec![integer(set.count), bytes(&set.digest)]);
    let since = match since {
        Since::All => [Ipld::Null, Ipld::Null],
        Since::Time(time) => [integer(*time), Ipld::Null],
        Since::Parity { peer, time } => [Ipld::Null, Ipld::List(vec![bytes(peer), integer(*time)])],
    };
    [
        bytes(space.0.as_bytes()),
        bytes(from),
        Ipld::List(since.to_vec()),
        Ipld::List(kinds.iter().copied().map(integer).collect()),
        set(&parity.authority),
        set(&parity.content),
        integer(parity.missing_bodies),
        integer(time),
        bytes(description),
    ]
}

impl BundleStatement {
    /// Checks that `key` signed it, as of a space and a peer.
    ///
    /// # Errors
    /// When it did not: nothing is stated.
    pub fn verify(
        &self,
        key: &PublicKey,
        space: &SpaceId,
        from: &[u8; PEER_ID_LEN],
    ) -> Result<Parity, NotSigned> {
        let Self(since, kinds, parity, time, description, signature) = self;
        let fields = fields(space, from, (since, &kinds.0, parity, *time, description));
        verify_statement(key, KIND, &fields, signature).map(|()| *parity).map_err(|_| NotSigned)
    }

    /// Which records the bundle holds.
    #[must_use]
    pub const fn since(&self) -> Since {
        self.0
    }

    /// The kinds of record that have an effect there, ascending.
    #[must_use]
    pub fn kinds(&self) -> &[u64] {
        &self.1.0
    }

    /// What it says was stored, true or not.
    #[must_use]
    pub const fn claims(&self) -> &Parity {
        &self.2
    }

    /// When it was made by its maker's clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn time(&self) -> u64 {
        self.3
    }

    /// SHA-256 of the description of the content set.
    #[must_use]
    pub fn description(&self) -> [u8; 32] {
        self.4.into_array()
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.5
    }
}

/// The head of a bundle. Believe nothing in it before [`BundleHead::verify`], with the key that the
/// certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleHead {
    /// The space.
    pub space: SpaceId,
    /// The PeerId of the node that wrote it.
    pub from: [u8; PEER_ID_LEN],
    /// Which DID that node acted for; at most [`limits::CERTIFICATE_BYTES`].
    pub certificate: ByteBuf,
    /// What it stored.
    pub statement: BundleStatement,
    /// The content set of that node ([`describe`](crate::describe)); at most
    /// [`limits::DESCRIPTION_BYTES`].
    pub description: ByteBuf,
}

type HeadWire = (u8, SpaceId, PeerBytes, ByteBuf, BundleStatement, ByteBuf);

impl BundleHead {
    /// Signs what is stored, with the key of the node's DID. `time` is in milliseconds since the
    /// Unix epoch; `kinds` ascend.
    #[must_use]
    pub fn sign(
        key: &SigningKey,
        (space, from): (SpaceId, [u8; PEER_ID_LEN]),
        certificate: Vec<u8>,
        (since, kinds): (Since, &[u64]),
        (parity, time): (Parity, u64),
        description: Vec<u8>,
    ) -> Self {
        let hash = Sha256::digest(&description).into();
        let fields = fields(&space, &from, (&since, kinds, &parity, time, &hash));
        let signature = sign_statement(key, KIND, &fields);
        let kinds = List(kinds.to_vec());
        let statement = BundleStatement(since, kinds, parity, time, Hash::new(hash), signature);
        Self {
            space,
            from,
            certificate: certificate.into(),
            statement,
            description: description.into(),
        }
    }

    /// What was stored, if `key` signed it and the description is the one that it signed.
    ///
    /// # Errors
    /// When it did not, or is another.
    pub fn verify(&self, key: &PublicKey) -> Result<Parity, NotSigned> {
        if <[u8; 32]>::from(Sha256::digest(&self.description)) != self.statement.description() {
            return Err(NotSigned);
        }
        self.statement.verify(key, &self.space, &self.from)
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        to_canonical(&(
            HEAD,
            self.space,
            PeerBytes::new(self.from),
            &self.certificate,
            &self.statement,
            &self.description,
        ))
    }

    /// Reads a head without believing it.
    ///
    /// # Errors
    /// When the bytes are none, or a part is over its limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotCanonical> {
        let wrong = |what: &str| Err(NotCanonical(what.to_owned()));
        let (code, space, from, certificate, statement, description): HeadWire =
            from_canonical(bytes)?;
        if code != HEAD {
            return wrong("it is no head of a bundle");
        }
        if certificate.len() > limits::CERTIFICATE_BYTES {
            return wrong("its certificate is too long");
        }
        if description.len() > limits::DESCRIPTION_BYTES {
            return wrong("its description of the content set is too long");
        }
        if !statement.kinds().is_sorted_by(|a, b| a < b) {
            return wrong("its kinds do not ascend");
        }
        Ok(Self { space, from: from.into_array(), certificate, statement, description })
    }
}
