//! What a peer stated of a space, as it is kept: it can be checked again at any time.

use ocm_discovery::PeerId;
use ocm_record::{PublicKey, Signature, SpaceId};
use ocm_sync::{BundleStatement, NotSigned, Parity, Statement, Terms};
use serde::{Deserialize, Serialize};

/// What a peer stated that it stores, signed by the key of its DID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stated {
    /// In a session, made out to this node.
    Session {
        /// Our nonce then, which it is made out to.
        #[serde(with = "serde_bytes")]
        nonce: [u8; 32],
        /// The statement.
        statement: Statement,
    },
    /// In a bundle, made out to nobody.
    Bundle(BundleStatement),
}

impl Stated {
    /// What it states, if `key` signed it as a statement of the peer `from` on this space, to the
    /// peer `to` where it is made out to one.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify(
        &self,
        key: &PublicKey,
        space: SpaceId,
        from: &PeerId,
        to: &PeerId,
    ) -> Result<Parity, NotSigned> {
        match self {
            Self::Session { nonce, statement } => {
                let (from, to) = (from.to_bytes(), to.to_bytes());
                statement.verify(key, &Terms { space, from, to, nonce: *nonce })
            }
            Self::Bundle(statement) => statement.verify(key, &space, &from.to_bytes()),
        }
    }

    /// When it was made by its maker's clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn time(&self) -> u64 {
        match self {
            Self::Session { statement, .. } => statement.time(),
            Self::Bundle(statement) => statement.time(),
        }
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        match self {
            Self::Session { statement, .. } => statement.signature(),
            Self::Bundle(statement) => statement.signature(),
        }
    }

    /// Whether it came in a bundle.
    #[must_use]
    pub const fn is_by_bundle(&self) -> bool {
        matches!(self, Self::Bundle(_))
    }
}
