//! Does a peer that states the same as we do hold what it states (`protocols/README.md`, section 10)?

use ocm_record::{SpaceId, VerifiedRecord, to_canonical};
use sha2::{Digest as _, Sha256};

use crate::parity::Parity;
use crate::tag::PEER_ID_LEN;

/// Hides what is stored until its secret is told, and binds to it. It names its maker and whom it
/// is made for, so that an echo of it commits to nothing.
#[must_use]
pub fn commitment(
    from: &[u8; PEER_ID_LEN],
    to: &[u8; PEER_ID_LEN],
    space: &SpaceId,
    secret: &[u8; 32],
    parity: &Parity,
) -> [u8; 32] {
    Sha256::new_with_prefix(b"ocm/1/audit/commit")
        .chain_update(from)
        .chain_update(to)
        .chain_update(space.0.as_bytes())
        .chain_update(secret)
        .chain_update(to_canonical(parity))
        .finalize()
        .into()
}

/// Shows that `prover` has the bytes of a record, keyed by both secrets: it cannot be made before
/// the asker told its own. It covers header and body and not the signature, of which a
/// hostile author can make several for one header.
#[must_use]
pub fn proof(
    prover: &[u8; PEER_ID_LEN],
    asker: &[u8; PEER_ID_LEN],
    asker_secret: &[u8; 32],
    prover_secret: &[u8; 32],
    record: &VerifiedRecord,
) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(b"ocm/1/audit/proof")
        .chain_update(prover)
        .chain_update(asker)
        .chain_update(asker_secret)
        .chain_update(prover_secret)
        .chain_update(record.header_bytes());
    match record.body_bytes() {
        Some(body) => hash.chain_update([1]).chain_update(body),
        None => hash.chain_update([0]),
    }
    .finalize()
    .into()
}
