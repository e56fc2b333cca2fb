//! What is drawn at random: boots, salts and nonces, from one seeded source.

use ipld_core::ipld::Ipld;
use ocm_record::{Body, Boot, RecordId};
use rand_core::Rng;

/// Random bytes.
pub(crate) fn draw<const N: usize>(rng: &mut impl Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A boot.
pub(crate) fn draw_boot(rng: &mut impl Rng) -> Boot {
    Boot::from_bytes(draw(rng))
}

/// A number of milliseconds between three quarters and five quarters of `millis`, so that nodes
/// that started together do not act together.
pub(crate) fn jitter(rng: &mut impl Rng, millis: u64) -> u64 {
    let spread = (millis / 2).max(1);
    millis - millis / 4 + rng.next_u64() % spread
}

/// The bytes of a body with a fresh salt.
pub(crate) fn encode_body(rng: &mut impl Rng, lineage: Vec<RecordId>, content: Ipld) -> Vec<u8> {
    Body { salt: draw(rng), lineage, content }.encode()
}
