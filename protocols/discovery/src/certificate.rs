//! Which DID a peer acts for.

use ipld_core::ipld::Ipld;
use ocm_record::{
    Did, PublicKey, Signature, SigningKey, from_canonical, sign_statement, to_canonical,
    verify_statement,
};
use serde::{Deserialize, Serialize};

use crate::peer_id::PeerId;

/// Bytes of an encoded certificate, at most.
pub const CERTIFICATE_BYTES: usize = 1024;

/// How long a certificate may be valid, from its start to its end: 30 days, in milliseconds. A
/// stolen peer key speaks for a DID no longer than that.
pub const CERTIFICATE_LIFE_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// How far a node's clock may be off before its certificates fail elsewhere: 24 hours, in
/// milliseconds, on both ends of the validity. Nodes without a network for weeks have no better
/// clock, and the price is one day more for a stolen key.
pub const CLOCK_TOLERANCE_MS: u64 = 24 * 60 * 60 * 1000;

const KIND: &str = "cert";
const TAG: &str = "ocm/1/cert";

/// A statement by a DID and a peer, each signing, that the peer acts for the DID for a while.
/// Exchanged first on every connection (`protocols/README.md`, section 13). Shows nothing before
/// [`Certificate::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(Wire);

/// The encoded form: what is signed, then the two signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wire(String, PeerId, Did, PublicKey, u64, u64, Signature, Signature);

/// What a verified certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedCertificate {
    /// The peer that acts.
    pub peer: PeerId,
    /// The DID it acts for.
    pub did: Did,
    /// The key that signed for the DID. For a `did:key` it is the DID's own; for any other DID
    /// whether the DID lists this key is still to be checked, against its log.
    pub key: PublicKey,
    /// The end of validity as stated, in milliseconds since the Unix epoch.
    pub until: u64,
}

/// Why a certificate is not believed. Whoever sent it acts for no DID; its owner issues a new one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Longer than any certificate is.
    #[error("the certificate has {0} bytes, at most {CERTIFICATE_BYTES} are allowed")]
    TooLong(usize),
    /// Not the canonical encoding of a certificate.
    #[error("the bytes are no certificate: {0}")]
    Malformed(String),
    /// It names another peer than the one that shows it.
    #[error("the certificate is for peer {named}, and peer {shown_by} shows it")]
    OtherPeer {
        /// The peer named.
        named: PeerId,
        /// The peer that the transport proved.
        shown_by: PeerId,
    },
    /// A `did:key` is spoken for by a key that is not its own.
    #[error("{0} is spoken for by a key that is not its own")]
    OtherKey(Did),
    /// Its validity ends before it starts.
    #[error("the certificate is valid from {from} until {until}, which is never")]
    Never {
        /// Start, in milliseconds since the Unix epoch.
        from: u64,
        /// End, in milliseconds since the Unix epoch.
        until: u64,
    },
    /// It claims a longer validity than allowed.
    #[error("the certificate is valid for {0} ms, at most {CERTIFICATE_LIFE_MS} are allowed")]
    TooLongLived(u64),
    /// Its time has not come, even with the tolerance.
    #[error("the certificate is valid from {from} and it is {now}: compare the two clocks")]
    TooEarly {
        /// Start, in milliseconds since the Unix epoch.
        from: u64,
        /// This node's clock.
        now: u64,
    },
    /// Its time is over, even with the tolerance.
    #[error("the certificate ended at {until} and it is {now}: a new one, or a set clock, helps")]
    Expired {
        /// End, in milliseconds since the Unix epoch.
        until: u64,
        /// This node's clock.
        now: u64,
    },
    /// The peer did not sign.
    #[error("the peer's signature on the certificate is not valid")]
    PeerSignature,
    /// The DID did not sign.
    #[error("the signature on the certificate for {0} is not valid")]
    DidSignature(Did),
}

fn fields(peer: &PeerId, did: &Did, key: &PublicKey, from: u64, until: u64) -> [Ipld; 5] {
    [
        Ipld::Bytes(peer.to_bytes().to_vec()),
        Ipld::String(did.to_string()),
        Ipld::Bytes(key.as_bytes().to_vec()),
        Ipld::Integer(i128::from(from)),
        Ipld::Integer(i128::from(until)),
    ]
}

impl Certificate {
    /// Signs a certificate with both keys; `from` and `until` in milliseconds since the Unix
    /// epoch.
    ///
    /// # Errors
    /// When the times are in the wrong order or too far apart, or the key is not that of the
    /// `did:key`: such a certificate would be believed nowhere.
    pub fn issue(
        peer_key: &SigningKey,
        did_key: &SigningKey,
        did: Did,
        from: u64,
        until: u64,
    ) -> Result<Self, CertificateError> {
        let (peer, key) = (PeerId::new(peer_key.public()), did_key.public());
        check_terms(&did, &key, from, until)?;
        let fields = fields(&peer, &did, &key, from, until);
        let by_peer = sign_statement(peer_key, KIND, &fields);
        let by_did = sign_statement(did_key, KIND, &fields);
        Ok(Self(Wire(TAG.into(), peer, did, key, from, until, by_peer, by_did)))
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        to_canonical(&self.0)
    }

    /// Reads a certificate without believing it.
    ///
    /// # Errors
    /// [`CertificateError::TooLong`] and [`CertificateError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > CERTIFICATE_BYTES {
            return Err(CertificateError::TooLong(bytes.len()));
        }
        let wire: Wire =
            from_canonical(bytes).map_err(|e| CertificateError::Malformed(e.to_string()))?;
        if wire.0 != TAG {
            let tag: String = wire.0.chars().take(32).collect();
            return Err(CertificateError::Malformed(format!("it begins with {tag:?}")));
        }
        Ok(Self(wire))
    }

    /// The peer it names, not yet verified: for logs of refusals only.
    #[must_use]
    pub const fn named_peer(&self) -> PeerId {
        self.0.1
    }

    /// Checks that `expected_peer` (which the transport proved) acts for the DID at `now_ms`
    /// (milliseconds since the Unix epoch), give or take `tolerance_ms`
    /// (usually [`CLOCK_TOLERANCE_MS`]).
    ///
    /// # Errors
    /// The first thing found wrong, cheapest checks first.
    pub fn verify(
        &self,
        expected_peer: &PeerId,
        now_ms: u64,
        tolerance_ms: u64,
    ) -> Result<VerifiedCertificate, CertificateError> {
        let Wire(_, peer, did, key, from, until, by_peer, by_did) = &self.0;
        let (from, until) = (*from, *until);
        if peer != expected_peer {
            return Err(CertificateError::OtherPeer { named: *peer, shown_by: *expected_peer });
        }
        check_terms(did, key, from, until)?;
        if now_ms < from.saturating_sub(tolerance_ms) {
            return Err(CertificateError::TooEarly { from, now: now_ms });
        }
        if now_ms > until.saturating_add(tolerance_ms) {
            return Err(CertificateError::Expired { until, now: now_ms });
        }
        let fields = fields(peer, did, key, from, until);
        verify_statement(&peer.public_key(), KIND, &fields, by_peer)
            .map_err(|_| CertificateError::PeerSignature)?;
        verify_statement(key, KIND, &fields, by_did)
            .map_err(|_| CertificateError::DidSignature(*did))?;
        Ok(VerifiedCertificate { peer: *peer, did: *did, key: *key, until })
    }
}

fn check_terms(did: &Did, key: &PublicKey, from: u64, until: u64) -> Result<(), CertificateError> {
    if did.key().is_some_and(|own| own != *key) {
        return Err(CertificateError::OtherKey(*did));
    }
    let life = until.checked_sub(from).filter(|life| *life > 0);
    match life {
        None => Err(CertificateError::Never { from, until }),
        Some(life) if life > CERTIFICATE_LIFE_MS => Err(CertificateError::TooLongLived(life)),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;
    const FROM: u64 = 1_700_000_000_000;

    fn keys() -> (SigningKey, SigningKey) {
        (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]))
    }

    fn issue() -> (Certificate, PeerId, Did) {
        let (peer_key, did_key) = keys();
        let did = Did::from(did_key.public());
        let certificate =
            Certificate::issue(&peer_key, &did_key, did, FROM, FROM + 30 * DAY).unwrap();
        (certificate, PeerId::new(peer_key.public()), did)
    }

    #[test]
    fn both_signed_and_in_time_is_believed() {
        let (certificate, peer, did) = issue();
        let read = Certificate::decode(&certificate.encode()).unwrap();
        for now in [FROM - DAY, FROM, FROM + 30 * DAY, FROM + 31 * DAY] {
            let verified = read.verify(&peer, now, CLOCK_TOLERANCE_MS).unwrap();
            assert_eq!((verified.peer, verified.did), (peer, did));
            assert_eq!(Some(verified.key), did.key());
            assert_eq!(verified.until, FROM + 30 * DAY);
        }
    }

    #[test]
    fn the_time_is_held_to() {
        let (certificate, peer, _) = issue();
        assert!(matches!(
            certificate.verify(&peer, FROM - DAY - 1, CLOCK_TOLERANCE_MS),
            Err(CertificateError::TooEarly { .. })
        ));
        assert!(matches!(
            certificate.verify(&peer, FROM + 31 * DAY + 1, CLOCK_TOLERANCE_MS),
            Err(CertificateError::Expired { .. })
        ));
    }

    #[test]
    fn wrong_terms_are_refused_by_issuer_and_reader() {
        let (peer_key, did_key) = keys();
        let did = Did::from(did_key.public());
        let issue = |did, from, until| Certificate::issue(&peer_key, &did_key, did, from, until);
        assert_eq!(issue(did, 0, 30 * DAY + 1), Err(CertificateError::TooLongLived(30 * DAY + 1)));
        assert_eq!(issue(did, 5, 5), Err(CertificateError::Never { from: 5, until: 5 }));
        let other = Did::from(peer_key.public());
        assert_eq!(issue(other, 0, DAY), Err(CertificateError::OtherKey(other)));

        let peer = PeerId::new(peer_key.public());
        let sign = |did: Did, from, until| {
            let fields = fields(&peer, &did, &did_key.public(), from, until);
            Certificate(Wire(
                TAG.into(),
                peer,
                did,
                did_key.public(),
                from,
                until,
                sign_statement(&peer_key, KIND, &fields),
                sign_statement(&did_key, KIND, &fields),
            ))
        };
        let verdict = |c: Certificate| c.verify(&peer, FROM, CLOCK_TOLERANCE_MS).map(|_| ());
        assert_eq!(verdict(sign(did, FROM, FROM + 1)), Ok(()));
        assert_eq!(verdict(sign(other, FROM, FROM + 1)), Err(CertificateError::OtherKey(other)));
        assert_eq!(
            verdict(sign(did, FROM, FROM + 31 * DAY)),
            Err(CertificateError::TooLongLived(31 * DAY))
        );
        assert!(verdict(sign(did, FROM + 1, FROM)).is_err());
        // A did:plc may be spoken for by any key; which one its log lists is checked elsewhere.
        let plc: Did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz".parse().unwrap();
        assert_eq!(verdict(sign(plc, FROM, FROM + 1)), Ok(()));
    }

    #[test]
    fn both_signatures_are_needed() {
        let (certificate, peer, did) = issue();
        let mut twice_did = certificate.clone();
        twice_did.0.6 = certificate.0.7;
        assert_eq!(twice_did.verify(&peer, FROM, 0), Err(CertificateError::PeerSignature));
        let mut twice_peer = certificate.clone();
        twice_peer.0.7 = certificate.0.6;
        assert_eq!(twice_peer.verify(&peer, FROM, 0), Err(CertificateError::DidSignature(did)));
        let stranger = PeerId::new(SigningKey::from_seed(&[3; 32]).public());
        assert_eq!(
            certificate.verify(&stranger, FROM, 0),
            Err(CertificateError::OtherPeer { named: peer, shown_by: stranger })
        );
    }

    #[test]
    fn other_bytes_are_no_certificate() {
        let (certificate, ..) = issue();
        let bytes = certificate.encode();
        assert!(bytes.len() < CERTIFICATE_BYTES / 2);
        assert!(Certificate::decode(&[&bytes[..], &[0]].concat()).is_err());
        assert!(Certificate::decode(&bytes[..bytes.len() - 1]).is_err());
        assert_eq!(Certificate::decode(&[0; 1025]), Err(CertificateError::TooLong(1025)));
        let mut other = certificate.clone();
        other.0.0 = "ocm/1/beacon".into();
        assert!(matches!(
            Certificate::decode(&other.encode()),
            Err(CertificateError::Malformed(_))
        ));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_never_believed(at in 0usize..400, bit in 0u8..8) {
            let (certificate, peer, _) = issue();
            let mut bytes = certificate.encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = Certificate::decode(&bytes) {
                prop_assert!(read.verify(&peer, FROM + DAY, CLOCK_TOLERANCE_MS).is_err());
            }
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            prop_assert!(Certificate::decode(&bytes).is_err());
        }
    }
}
