//! "I am here": one signed UDP datagram.

use ipld_core::ipld::Ipld;
use ocm_record::{
    Boot, Signature, SigningKey, from_canonical, sign_statement, to_canonical, verify_statement,
};
use serde::{Deserialize, Serialize};

use crate::peer_id::PeerId;

/// Bytes of a beacon's datagram, at most. One datagram never needs a fragment.
pub const BEACON_BYTES: usize = 512;

const KIND: &str = "beacon";
const TAG: &str = "ocm/1/beacon";

/// What a beacon says. It names no space and no DID, and no address: whoever hears it dials the
/// address it came from. Decoding verifies: there is no unverified beacon to hold.
///
/// Anyone on the link can send a recorded one again; that costs a dial whose handshake fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beacon {
    /// The peer that speaks.
    pub peer: PeerId,
    /// Its process: 16 random bytes drawn at its start. Not those of its records, which would tell
    /// whoever holds the records which DID the peer acts for.
    pub boot: Boot,
    /// The TCP port it listens on, 0 for none.
    pub tcp: u16,
    /// The UDP port it listens on for QUIC, 0 for none.
    pub udp: u16,
    /// When it was sent, by the sender's clock, in milliseconds since the Unix epoch.
    pub time: u64,
}

/// Why a datagram is no beacon. It is dropped and counted; nobody is blamed, for its source
/// address proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeaconError {
    /// Longer than any beacon.
    #[error("the datagram has more than {BEACON_BYTES} bytes")]
    TooLong,
    /// Not the canonical encoding of a beacon.
    #[error("the datagram is no beacon: {0}")]
    Malformed(String),
    /// Names no port at all.
    #[error("the beacon names no port to dial")]
    NoPort,
    /// The peer did not sign it.
    #[error("the signature on the beacon of {0} is not valid")]
    Signature(PeerId),
}

/// The encoded form: what is signed, then the signature.
#[derive(Serialize, Deserialize)]
struct Wire(String, PeerId, Boot, u16, u16, u64, Signature);

impl Beacon {
    fn fields(&self) -> [Ipld; 5] {
        [
            Ipld::Bytes(self.peer.to_bytes().to_vec()),
            Ipld::Bytes(self.boot.as_bytes().to_vec()),
            Ipld::Integer(i128::from(self.tcp)),
            Ipld::Integer(i128::from(self.udp)),
            Ipld::Integer(i128::from(self.time)),
        ]
    }

    /// Signs the beacon with the peer's key: the datagram to send.
    ///
    /// # Errors
    /// [`BeaconError::NoPort`], and [`BeaconError::Signature`] when the key is not that of
    /// [`Beacon::peer`]: nobody would believe it.
    pub fn sign(&self, peer_key: &SigningKey) -> Result<Vec<u8>, BeaconError> {
        if self.tcp == 0 && self.udp == 0 {
            return Err(BeaconError::NoPort);
        }
        if PeerId::new(peer_key.public()) != self.peer {
            return Err(BeaconError::Signature(self.peer));
        }
        let signature = sign_statement(peer_key, KIND, &self.fields());
        Ok(to_canonical(&Wire(
            TAG.into(),
            self.peer,
            self.boot,
            self.tcp,
            self.udp,
            self.time,
            signature,
        )))
    }

    /// Reads and verifies a datagram.
    ///
    /// # Errors
    /// Why it is no beacon; cheapest checks first, the signature last.
    pub fn verify(datagram: &[u8]) -> Result<Self, BeaconError> {
        if datagram.len() > BEACON_BYTES {
            return Err(BeaconError::TooLong);
        }
        let Wire(tag, peer, boot, tcp, udp, time, signature) =
            from_canonical(datagram).map_err(|e| BeaconError::Malformed(e.to_string()))?;
        if tag != TAG {
            return Err(BeaconError::Malformed("it begins with another tag".into()));
        }
        let beacon = Self { peer, boot, tcp, udp, time };
        if tcp == 0 && udp == 0 {
            return Err(BeaconError::NoPort);
        }
        verify_statement(&peer.public_key(), KIND, &beacon.fields(), &signature)
            .map_err(|_| BeaconError::Signature(peer))?;
        Ok(beacon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    fn beacon() -> Beacon {
        Beacon {
            peer: PeerId::new(key().public()),
            boot: Boot::from_bytes([9; 16]),
            tcp: 8080,
            udp: 8080,
            time: 1_700_000_000_000,
        }
    }

    #[test]
    fn what_is_signed_is_read() {
        let datagram = beacon().sign(&key()).unwrap();
        assert!(datagram.len() < BEACON_BYTES / 2, "{}", datagram.len());
        assert_eq!(Beacon::verify(&datagram), Ok(beacon()));
    }

    #[test]
    fn what_nobody_would_believe_is_not_sent() {
        let other = SigningKey::from_seed(&[8; 32]);
        assert_eq!(beacon().sign(&other), Err(BeaconError::Signature(beacon().peer)));
        let mute = Beacon { tcp: 0, udp: 0, ..beacon() };
        assert_eq!(mute.sign(&key()), Err(BeaconError::NoPort));
    }

    #[test]
    fn other_datagrams_are_dropped() {
        let wire = |tag: &str, tcp, signer: &SigningKey| {
            let b = Beacon { tcp, udp: 0, ..beacon() };
            let signature = sign_statement(signer, KIND, &b.fields());
            to_canonical(&Wire(tag.into(), b.peer, b.boot, b.tcp, b.udp, b.time, signature))
        };
        assert!(Beacon::verify(&wire(TAG, 1, &key())).is_ok());
        assert!(matches!(
            Beacon::verify(&wire("ocm/2/beacon", 1, &key())),
            Err(BeaconError::Malformed(_))
        ));
        assert_eq!(Beacon::verify(&wire(TAG, 0, &key())), Err(BeaconError::NoPort));
        let forger = SigningKey::from_seed(&[8; 32]);
        assert!(matches!(Beacon::verify(&wire(TAG, 1, &forger)), Err(BeaconError::Signature(_))));
        assert_eq!(Beacon::verify(&[0x80; 513]), Err(BeaconError::TooLong));
        let datagram = beacon().sign(&key()).unwrap();
        assert!(Beacon::verify(&[&datagram[..], &[0]].concat()).is_err());
        // A port past 65535 is no port.
        let port = datagram.windows(3).position(|w| w == [0x19, 0x1f, 0x90]).unwrap();
        let mut long = datagram[..port].to_vec();
        long.extend([0x1a, 0, 1, 0, 0]);
        long.extend(&datagram[port + 3..]);
        assert!(matches!(Beacon::verify(&long), Err(BeaconError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn a_changed_bit_is_never_believed(at in 0usize..200, bit in 0u8..8) {
            let mut datagram = beacon().sign(&key()).unwrap();
            let at = at % datagram.len();
            datagram[at] ^= 1 << bit;
            prop_assert!(Beacon::verify(&datagram).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            prop_assert!(Beacon::verify(&bytes).is_err());
        }
    }
}
