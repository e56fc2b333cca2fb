//! The layout of the store: every key there is. Integers are big-endian, so that keys sort as
//! their numbers do; the bulk of the keys begins with a record's time and so arrives nearly in
//! order.
//!
//! | key | value |
//! |---|---|
//! | `s` number | a [`SpaceEntry`]: what the number stands for |
//! | `r` space set id | a record, sealed: header, signature, body, 8 bytes of their BLAKE3 |
//! | `h` space set | the head of a set: the root of its tree of sums, its LtHash |
//! | `n` space set number | a node of that tree |
//! | `m` space memory id | nothing: a record of a memory, but for the one that begins it |
//! | `l` space key boot part | places in a log: a [`LogPart`] |
//! | `e` space key boot seq id | nothing: a second record in one place of a log |
//! | `t` space | a [`Tallies`]: counts of the space |
//! | `p` space peer | the last comparison with a peer, and what it stated |
//! | `b` space peer | how a peer described its content set in its last bundle: time, description |
//! | `d` space number | memories with records that are not in their rows yet, 40 bytes each |
//! | `v` space memory | the memory's row for lists |
//! | `x` | nothing: what is made from the records is being made again |
//! | `i` space aspect memory | which terms occur in the rows from that memory up to the next block |
//!
//! `space` is a number of four bytes that stands for the SpaceId on this node only; `set` is one
//! byte; ids have 40 bytes, peers 38. All but `s`, `r`, `p` and `b` can be rebuilt from the records; `p`
//! is made anew by the next comparison, and `b` comes with the peer's next bundle.

use std::collections::BTreeMap;

use ocm_discovery::PeerId;
use ocm_record::{Boot, MemoryId, PublicKey, RecordId, Set, SpaceId};
use ocm_sync::NodeNumber;
use serde::{Deserialize, Serialize};

use crate::storage::{Key, Value};

/// A space's number on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceNumber(pub u32);

/// What is kept of a space besides its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceEntry {
    /// Its name.
    pub id: SpaceId,
}

/// Counts of a space, written with every batch that changes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tallies {
    /// Memories started.
    pub memories: u64,
    /// Places in logs that hold two records.
    pub equivocations: u64,
}

fn key(prefix: u8, parts: &[&[u8]]) -> Key {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(prefix);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

const fn set_byte(set: Set) -> [u8; 1] {
    match set {
        Set::Authority => [0],
        Set::Content => [1],
    }
}

fn set_from(byte: &[u8]) -> Option<Set> {
    match byte {
        [0] => Some(Set::Authority),
        [1] => Some(Set::Content),
        _ => None,
    }
}

/// Where a space's entry lies.
#[must_use]
pub fn space(number: SpaceNumber) -> Key {
    key(b's', &[&number.0.to_be_bytes()])
}

/// Where a record lies.
#[must_use]
pub fn record(space: SpaceNumber, set: Set, id: &RecordId) -> Key {
    key(b'r', &[&space.0.to_be_bytes(), &set_byte(set), id.as_bytes()])
}

/// Bytes of the seal behind a stored record.
const SEAL_BYTES: usize = 8;

/// The value of a record: its bytes, and a seal that shows whether they are still what was written.
/// It is no protection against who can write to the store: signatures are.
#[must_use]
pub fn seal(mut record: Vec<u8>) -> Value {
    let hash = blake3::hash(&record);
    record.extend_from_slice(&hash.as_bytes()[..SEAL_BYTES]);
    record
}

/// The record in a stored value; `None` when the seal does not fit it.
#[must_use]
pub fn unseal(value: &[u8]) -> Option<&[u8]> {
    let (record, seal) = value.split_last_chunk::<SEAL_BYTES>()?;
    (blake3::hash(record).as_bytes()[..SEAL_BYTES] == seal[..]).then_some(record)
}

/// Where all records of a set lie.
#[must_use]
pub fn records(space: SpaceNumber, set: Set) -> (Key, Key) {
    range(key(b'r', &[&space.0.to_be_bytes(), &set_byte(set)]))
}

/// The space, set and id in a record's key.
#[must_use]
pub fn record_of(key: &[u8]) -> Option<(SpaceNumber, Set, RecordId)> {
    let (space, rest) = key.strip_prefix(b"r")?.split_first_chunk::<4>()?;
    let (set, id) = rest.split_at_checked(1)?;
    let space = SpaceNumber(u32::from_be_bytes(*space));
    Some((space, set_from(set)?, RecordId::try_from(id).ok()?))
}

/// Where all records lie.
#[must_use]
pub fn all_records() -> (Key, Key) {
    range(vec![b'r'])
}

/// Where the heads of all sets lie.
#[must_use]
pub fn set_heads() -> (Key, Key) {
    range(vec![b'h'])
}

/// The space and set in the key of a head.
#[must_use]
pub fn set_of(key: &[u8]) -> Option<(SpaceNumber, Set)> {
    let (space, set) = key.strip_prefix(b"h")?.split_first_chunk::<4>()?;
    Some((SpaceNumber(u32::from_be_bytes(*space)), set_from(set)?))
}

/// Where the head of a set lies.
#[must_use]
pub fn set_head(space: SpaceNumber, set: Set) -> Key {
    key(b'h', &[&space.0.to_be_bytes(), &set_byte(set)])
}

/// Where a node of a set's tree lies.
#[must_use]
pub fn set_node(space: SpaceNumber, set: Set, number: NodeNumber) -> Key {
    key(b'n', &[&space.0.to_be_bytes(), &set_byte(set), &number.to_be_bytes()])
}

/// The space and set in the key of a node.
#[must_use]
pub fn set_of_node(key: &[u8]) -> Option<(SpaceNumber, Set)> {
    let (space, rest) = key.strip_prefix(b"n")?.split_first_chunk::<4>()?;
    Some((SpaceNumber(u32::from_be_bytes(*space)), set_from(rest.get(..1)?)?))
}

/// Where the nodes of all trees lie.
#[must_use]
pub fn all_set_nodes() -> (Key, Key) {
    range(vec![b'n'])
}

/// The mark that a record belongs to a memory which another record begins.
#[must_use]
pub fn memory_record(space: SpaceNumber, memory: &MemoryId, id: &RecordId) -> Key {
    key(b'm', &[&space.0.to_be_bytes(), memory.0.as_bytes(), id.as_bytes()])
}

/// Where the marks of a memory's records lie.
#[must_use]
pub fn memory_records(space: SpaceNumber, memory: &MemoryId) -> (Key, Key) {
    range(key(b'm', &[&space.0.to_be_bytes(), memory.0.as_bytes()]))
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Whose key.
    pub key: PublicKey,
    /// Of which process.
    pub boot: Boot,
    /// The position, from 1.
    pub seq: u64,
}

impl Place {
    /// Places in one part of a log: as many as make its value small beside a record.
    const PART: u64 = 16;

    /// The first place of the part in which this one lies.
    #[must_use]
    pub const fn part(self) -> Self {
        Self { seq: self.seq - self.seq % Self::PART, ..self }
    }

    /// The last place of the part in which this one lies.
    #[must_use]
    pub const fn part_end(self) -> Self {
        Self { seq: self.part().seq + (Self::PART - 1), ..self }
    }
}

/// Which records stand in some neighbouring places of a log. Its value has 41 bytes for each: the
/// position in the part, and the id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPart(BTreeMap<u8, RecordId>);

impl LogPart {
    /// Reads a part's value.
    #[must_use]
    pub fn decode(value: &[u8]) -> Self {
        let entry = |entry: &[u8; 41]| {
            let (at, id) = entry.split_first()?;
            Some((*at, RecordId::try_from(id).ok()?))
        };
        Self(value.as_chunks::<41>().0.iter().filter_map(entry).collect())
    }

    /// The value.
    #[must_use]
    pub fn encode(&self) -> Value {
        let mut value = Vec::with_capacity(41 * self.0.len());
        for (at, id) in &self.0 {
            value.push(*at);
            value.extend_from_slice(id.as_bytes());
        }
        value
    }

    const fn position(place: &Place) -> u8 {
        (place.seq % Place::PART) as u8
    }

    /// The record in a place of this part.
    #[must_use]
    pub fn get(&self, place: &Place) -> Option<RecordId> {
        self.0.get(&Self::position(place)).copied()
    }

    /// Puts a record into a place of this part.
    pub fn set(&mut self, place: &Place, id: RecordId) {
        self.0.insert(Self::position(place), id);
    }
}

/// The part of a log in which a place lies.
#[must_use]
pub fn log_part(space: SpaceNumber, place: &Place) -> Key {
    let part = place.seq / Place::PART;
    let (space, boot) = (space.0.to_be_bytes(), place.boot.as_bytes());
    key(b'l', &[&space, place.key.as_bytes(), boot, &part.to_be_bytes()])
}

/// A second record in one place of a log.
#[must_use]
pub fn equivocation(space: SpaceNumber, place: &Place, id: &RecordId) -> Key {
    let log = [place.key.as_bytes().as_slice(), place.boot.as_bytes()].concat();
    key(b'e', &[&space.0.to_be_bytes(), &log, &place.seq.to_be_bytes(), id.as_bytes()])
}

/// Where the seconds of a space lie.
#[must_use]
pub fn equivocations(space: SpaceNumber) -> (Key, Key) {
    range(key(b'e', &[&space.0.to_be_bytes()]))
}

/// The counts of a space.
#[must_use]
pub fn tallies(space: SpaceNumber) -> Key {
    key(b't', &[&space.0.to_be_bytes()])
}

/// The last comparison with a peer, by the 38 bytes of its PeerId.
#[must_use]
pub fn parity(space: SpaceNumber, peer: &PeerId) -> Key {
    key(b'p', &[&space.0.to_be_bytes(), &peer.to_bytes()])
}

/// Where the comparisons in a space lie.
#[must_use]
pub fn parities(space: SpaceNumber) -> (Key, Key) {
    range(key(b'p', &[&space.0.to_be_bytes()]))
}

/// The peer in the key of a comparison.
#[must_use]
pub fn parity_peer(key: &[u8]) -> Option<PeerId> {
    PeerId::try_from(key.strip_prefix(b"p")?.get(4..)?).ok()
}

/// How a peer described its content set, by the 38 bytes of its PeerId.
#[must_use]
pub fn description(space: SpaceNumber, peer: &PeerId) -> Key {
    key(b'b', &[&space.0.to_be_bytes(), &peer.to_bytes()])
}

/// A list of memories whose rows are due. Lists are numbered in the order they were written.
#[must_use]
pub fn dirty(space: SpaceNumber, number: u64) -> Key {
    key(b'd', &[&space.0.to_be_bytes(), &number.to_be_bytes()])
}

/// Where the lists of memories whose rows are due lie.
#[must_use]
pub fn all_dirty(space: SpaceNumber) -> (Key, Key) {
    range(key(b'd', &[&space.0.to_be_bytes()]))
}

/// The number in the key of such a list.
#[must_use]
pub fn dirty_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(b"d")?.get(4..)?.try_into().ok()?))
}

/// Memories in one such list, at most: what a value of a store has room for.
pub const DIRTY_MEMORIES: usize = 1024;

/// The memories in such a list.
pub fn dirty_memories(value: &[u8]) -> impl ExactSizeIterator<Item = MemoryId> + '_ {
    value.as_chunks::<40>().0.iter().map(|id| MemoryId(RecordId::from_bytes(*id)))
}

/// The row of a memory.
#[must_use]
pub fn row(space: SpaceNumber, memory: &MemoryId) -> Key {
    key(b'v', &[&space.0.to_be_bytes(), memory.0.as_bytes()])
}

/// Where the rows of a space lie.
#[must_use]
pub fn rows(space: SpaceNumber) -> (Key, Key) {
    range(key(b'v', &[&space.0.to_be_bytes()]))
}

/// The terms of one aspect that occur in a block of rows, of which this memory may be the first.
#[must_use]
pub fn block(space: SpaceNumber, aspect: u8, first: &MemoryId) -> Key {
    key(b'i', &[&space.0.to_be_bytes(), &[aspect], first.0.as_bytes()])
}

/// Where the blocks of one aspect of a space lie.
#[must_use]
pub fn blocks(space: SpaceNumber, aspect: u8) -> (Key, Key) {
    range(key(b'i', &[&space.0.to_be_bytes(), &[aspect]]))
}

/// The memory in the key of a block.
#[must_use]
pub fn block_of(key: &[u8]) -> Option<MemoryId> {
    key.strip_prefix(b"i").and_then(last_id).map(MemoryId)
}

/// Where the entries of all spaces lie.
#[must_use]
pub fn spaces() -> (Key, Key) {
    range(vec![b's'])
}

/// The number in the key of a space's entry.
#[must_use]
pub fn number_of(key: &[u8]) -> Option<SpaceNumber> {
    let number = key.strip_prefix(b"s")?.try_into().ok()?;
    Some(SpaceNumber(u32::from_be_bytes(number)))
}

/// The id at the end of a key.
#[must_use]
pub fn last_id(key: &[u8]) -> Option<RecordId> {
    RecordId::try_from(key.last_chunk::<40>()?.as_slice()).ok()
}

/// The memory in the key of a row or of a memory's record.
#[must_use]
pub fn memory_of(key: &[u8]) -> Option<MemoryId> {
    RecordId::try_from(key.get(5..45)?).ok().map(MemoryId)
}

/// Where everything lies that is made from the records, but for the sets.
#[must_use]
pub fn derived() -> [(Key, Key); 7] {
    [b'm', b'l', b'e', b't', b'd', b'v', b'i'].map(|prefix| range(vec![prefix]))
}

/// The mark that this is being made again.
#[must_use]
pub fn unfinished() -> Key {
    vec![b'x']
}

/// Every key that begins with `prefix`, as a half-open range.
#[must_use]
pub fn range(prefix: Key) -> (Key, Key) {
    let mut end = prefix.clone();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    (prefix, end)
}
