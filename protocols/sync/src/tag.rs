//! How a space is named in an exchange without being disclosed.

use ocm_record::SpaceId;
use sha2::{Digest, Sha256};

use crate::limits;

/// Bytes of a PeerId of an Ed25519 key, the only sort there is here.
pub const PEER_ID_LEN: usize = 38;

/// A space as one peer names it to another in one connection: only who knows the SpaceId can
/// recognise it.
pub type SpaceTag = [u8; 32];

/// The tag under which `sender` names `space` to `receiver`: SHA-256 over `"ocm/1/tag"`, both
/// PeerIds, both hellos' nonces and the SpaceId (`protocols/README.md`, section 8). It differs in
/// the two directions, so that sending back a tag one was sent proves nothing.
#[must_use]
pub fn space_tag(
    sender: &[u8; PEER_ID_LEN],
    receiver: &[u8; PEER_ID_LEN],
    sender_nonce: &[u8; 32],
    receiver_nonce: &[u8; 32],
    space: &SpaceId,
) -> SpaceTag {
    Sha256::new_with_prefix(b"ocm/1/tag")
        .chain_update(sender)
        .chain_update(receiver)
        .chain_update(sender_nonce)
        .chain_update(receiver_nonce)
        .chain_update(space.0.as_bytes())
        .finalize()
        .into()
}

/// Tags ready to be sent, and what each stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaddedTags {
    /// The tags in ascending order, a power of two of them.
    pub tags: Vec<SpaceTag>,
    /// For each tag the space it stands for, `None` for padding.
    pub spaces: Vec<Option<SpaceId>>,
    /// Spaces that found no room: to be named in a further request.
    pub left: Vec<(SpaceTag, SpaceId)>,
}

/// Pads tags with random ones to a power of two (at least one, [`limits::TAGS`] at most) and sorts
/// them, so that neither their number nor their order discloses anything. `random` must give fresh
/// random bytes at each call; a value that is taken already is drawn again a few times, after
/// which the list stays shorter.
#[must_use]
pub fn pad_tags(
    mut named: Vec<(SpaceTag, SpaceId)>,
    mut random: impl FnMut() -> [u8; 32],
) -> PaddedTags {
    named.sort_unstable();
    named.dedup_by_key(|(tag, _)| *tag);
    let left = named.split_off(named.len().min(limits::TAGS));
    let width = named.len().next_power_of_two();
    let mut rows: Vec<(SpaceTag, Option<SpaceId>)> =
        named.into_iter().map(|(tag, space)| (tag, Some(space))).collect();
    for _ in 0..2 * limits::TAGS {
        if rows.len() == width {
            break;
        }
        let tag = random();
        if rows.iter().all(|(taken, _)| *taken != tag) {
            rows.push((tag, None));
        }
    }
    rows.sort_unstable();
    let (tags, spaces) = rows.into_iter().unzip();
    PaddedTags { tags, spaces, left }
}

#[cfg(test)]
mod tests {
    use ocm_record::{RecordId, Time};

    use super::*;

    fn space(n: u8) -> SpaceId {
        SpaceId(RecordId::from_parts(Time(1), [n; 32]))
    }

    fn stream() -> impl FnMut() -> [u8; 32] {
        let mut n = 0u64;
        move || {
            n += 1;
            Sha256::digest(n.to_be_bytes()).into()
        }
    }

    #[test]
    fn every_part_counts_and_the_directions_differ() {
        let (a, b) = ([1; PEER_ID_LEN], [2; PEER_ID_LEN]);
        let (m, n) = ([3; 32], [4; 32]);
        let tag = space_tag(&a, &b, &m, &n, &space(5));
        let preimage = [b"ocm/1/tag".as_slice(), &a, &b, &m, &n, space(5).0.as_bytes()].concat();
        assert_eq!(tag, <[u8; 32]>::from(Sha256::digest(preimage)));
        for other in [
            space_tag(&b, &a, &n, &m, &space(5)),
            space_tag(&b, &a, &m, &n, &space(5)),
            space_tag(&a, &b, &n, &m, &space(5)),
            space_tag(&a, &b, &m, &n, &space(6)),
        ] {
            assert_ne!(tag, other);
        }
    }

    #[test]
    fn lists_are_padded_to_a_power_of_two_and_sorted() {
        for (spaces, width) in [(0u8, 1), (1, 1), (2, 2), (3, 4), (5, 8), (64, 64), (65, 128)] {
            let named: Vec<_> =
                (0..spaces).map(|n| (Sha256::digest([n, 7]).into(), space(n))).collect();
            let padded = pad_tags(named.clone(), stream());
            assert_eq!(padded.tags.len(), width);
            assert!(padded.tags.is_sorted_by(|a, b| a < b));
            assert!(padded.left.is_empty());
            for (tag, space) in named {
                let at = padded.tags.binary_search(&tag).unwrap();
                assert_eq!(padded.spaces[at], Some(space));
            }
            assert_eq!(padded.spaces.iter().flatten().count(), usize::from(spaces));
        }
    }

    #[test]
    fn what_finds_no_room_is_left() {
        let named: Vec<_> = (0..limits::TAGS + 3)
            .map(|n| (Sha256::digest(n.to_be_bytes()).into(), space(n as u8)))
            .collect();
        let padded = pad_tags(named, stream());
        assert_eq!((padded.tags.len(), padded.left.len()), (limits::TAGS, 3));
    }

    #[test]
    fn a_broken_source_of_randomness_ends_too() {
        let named = (0..3).map(|n| ([n; 32], space(n))).collect();
        assert_eq!(pad_tags(named, || [1; 32]).tags.len(), 3);
    }
}
