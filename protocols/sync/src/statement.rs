//! What a node states of its replica of a space, signed and made out to one peer.

use ipld_core::ipld::Ipld;
use ocm_record::{PublicKey, Signature, SigningKey, SpaceId, sign_statement, verify_statement};
use serde::{Deserialize, Serialize};

use crate::parity::{Parity, SetDigest};
use crate::tag::PEER_ID_LEN;

const KIND: &str = "parity";

/// About which space a statement is, who makes it, and to whom. A statement holds under its own
/// terms only, so nobody can pass it on as another's, to another, about another space, or again in
/// a later connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The space.
    pub space: SpaceId,
    /// The PeerId of the node that states it.
    pub from: [u8; PEER_ID_LEN],
    /// The PeerId of the node that it is made out to.
    pub to: [u8; PEER_ID_LEN],
    /// The nonce of that node's hello in this connection.
    pub nonce: [u8; 32],
}

/// A statement of parity, as sent (`protocols/README.md`, section 13). It shows nothing before
/// [`Statement::verify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement(Parity, u64, Signature);

/// A statement is not signed by the key of the peer's DID, or made out to other terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its statement of parity is not signed by the key of its DID, for us and this connection")]
pub struct NotSigned;

fn fields(terms: &Terms, parity: &Parity, time: u64) -> [Ipld; 8] {
    let bytes = |bytes: &[u8]| Ipld::Bytes(bytes.to_vec());
    let integer = |n: u64| Ipld::Integer(n.into());
    let set = |set: &SetDigest| Ipld::List(vec![integer(set.count), bytes(&set.digest)]);
    [
        bytes(terms.space.0.as_bytes()),
        bytes(&terms.from),
        bytes(&terms.to),
        bytes(&terms.nonce),
        set(&parity.authority),
        set(&parity.content),
        integer(parity.missing_bodies),
        integer(time),
    ]
}

impl Statement {
    /// Signs what is stored, with the key of the node's DID. `time` is in milliseconds since the
    /// Unix epoch.
    #[must_use]
    pub fn sign(key: &SigningKey, terms: &Terms, parity: Parity, time: u64) -> Self {
        Self(parity, time, sign_statement(key, KIND, &fields(terms, &parity, time)))
    }

    /// What it states, if it was signed by `key` under these terms.
    ///
    /// # Errors
    /// When it was not: it is to be ignored, and is its sender's fault.
    pub fn verify(&self, key: &PublicKey, terms: &Terms) -> Result<Parity, NotSigned> {
        verify_statement(key, KIND, &fields(terms, &self.0, self.1), &self.2)
            .map(|()| self.0)
            .map_err(|_| NotSigned)
    }

    /// When it was made by its maker's clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn time(&self) -> u64 {
        self.1
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.2
    }

    /// What it says, true or not: for people and for tests. Decide by [`Self::verify`].
    #[must_use]
    pub const fn claims(&self) -> &Parity {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use ocm_record::{RecordId, Time, from_canonical, to_canonical};
    use proptest::prelude::*;

    use super::*;

    fn terms(n: u8) -> Terms {
        let space = SpaceId(RecordId::from_parts(Time(9), [n; 32]));
        Terms { space, from: [n; PEER_ID_LEN], to: [n + 1; PEER_ID_LEN], nonce: [n; 32] }
    }

    fn arb_parity() -> impl Strategy<Value = Parity> {
        let set = || {
            (any::<u64>(), any::<[u8; 32]>())
                .prop_map(|(count, digest)| SetDigest { count, digest })
        };
        (set(), set(), any::<u64>()).prop_map(|(authority, content, missing_bodies)| Parity {
            authority,
            content,
            missing_bodies,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_statement_holds_as_it_was_made_and_no_bit_otherwise(
            parity in arb_parity(), time: u64, bit: prop::sample::Index,
        ) {
            let key = SigningKey::from_seed(&[7; 32]);
            let statement = Statement::sign(&key, &terms(1), parity, time);
            prop_assert_eq!(statement.verify(&key.public(), &terms(1)), Ok(parity));
            prop_assert_eq!(statement.time(), time);
            let mut bytes = to_canonical(&statement);
            prop_assert_eq!(from_canonical::<Statement>(&bytes).unwrap(), statement);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = from_canonical::<Statement>(&bytes) {
                prop_assert_eq!(other.verify(&key.public(), &terms(1)), Err(NotSigned));
            }
        }
    }

    #[test]
    fn a_statement_is_worth_nothing_under_other_terms() {
        let key = SigningKey::from_seed(&[7; 32]);
        let set = SetDigest { count: 1, digest: [3; 32] };
        let parity = Parity { authority: set, content: set, missing_bodies: 0 };
        let statement = Statement::sign(&key, &terms(1), parity, 5);
        let is = terms(1);
        for other in [
            Terms { space: terms(2).space, ..is },
            Terms { from: terms(2).from, ..is },
            Terms { to: terms(4).to, ..is },
            Terms { nonce: terms(2).nonce, ..is },
            // Its maker's own statement, sent back.
            Terms { from: is.to, to: is.from, ..is },
        ] {
            assert_eq!(statement.verify(&key.public(), &other), Err(NotSigned));
        }
        let another = SigningKey::from_seed(&[8; 32]).public();
        assert_eq!(statement.verify(&another, &is), Err(NotSigned));
    }
}
