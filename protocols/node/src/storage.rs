//! What the core asks of a store: reads that may fail, and writes handed over as one batch.
//!
//! The core never writes. It fills a [`Batch`], gives it to the shell, and learns later that it is
//! durable. A [`Reader`] shows only what is durable, so that whatever is read may be served and
//! published; what the core has handed over and not yet seen acknowledged is for the core to
//! remember.

use thiserror::Error;

/// A key: its first byte names what lies under it, integers in it are big-endian.
pub type Key = Vec<u8>;

/// A value.
pub type Value = Vec<u8>;

/// Writes that become durable together or not at all.
///
/// Where a key occurs twice, the later write counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Key and new value, in order; `None` deletes the key, which need not exist.
    pub writes: Vec<(Key, Option<Value>)>,
    /// The records that this batch adds to the store, counted and summed.
    pub tally: Tally,
}

impl Batch {
    /// An empty batch. Submitted as it is, it writes nothing and is acknowledged when everything
    /// submitted before it is durable.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        self.writes.push((key.into(), Some(value.into())));
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl Into<Key>) {
        self.writes.push((key.into(), None));
    }

    /// Counts one record that this batch adds, by the 32-byte hash in its id.
    pub fn count(&mut self, hash: &[u8; 32]) {
        self.tally.add(&Tally { records: 1, digest: *hash });
    }

    /// Adds everything in `later` after what is here.
    pub fn append(&mut self, later: Batch) {
        self.writes.extend(later.writes);
        self.tally.add(&later.tally);
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The number of writes.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }
}

/// How many records, and the sum of their hashes: two stores that were given the same records in
/// any order have equal tallies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of records.
    pub records: u64,
    /// Sum of the 32-byte hashes of their ids, as little-endian integers modulo 2^256. It tells a
    /// damaged store from a whole one; it is no proof against someone who chooses the records.
    pub digest: [u8; 32],
}

impl Tally {
    /// Adds `other` to this tally.
    pub fn add(&mut self, other: &Tally) {
        self.records = self.records.wrapping_add(other.records);
        let mut carry = 0u16;
        for (mine, theirs) in self.digest.iter_mut().zip(other.digest) {
            let sum = u16::from(*mine) + u16::from(theirs) + carry;
            let [low, high] = sum.to_le_bytes();
            *mine = low;
            carry = u16::from(high);
        }
    }
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The store as a whole cannot be read: the disk fails, or the store is closed. Stop, and start
    /// again.
    #[error("the store cannot be read: {0}")]
    Io(String),
    /// What is asked for is damaged on disk. The rest can be read: report it, fetch the record
    /// again from a peer, and go on.
    #[error("the store is damaged at what was read: {0}")]
    Corrupt(String),
}

/// The read side of a store.
///
/// Every answer is of one moment: a batch is seen whole or not at all, within one call. Ranges are
/// half-open, `from` included and `to` not; an empty or reversed range gives nothing. Two calls may
/// see different moments.
pub trait Reader {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when this entry is damaged, [`ReadError::Io`] when nothing can be
    /// read.
    fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError>;

    /// The first `limit` entries of the range, ascending.
    ///
    /// # Errors
    /// As [`Reader::get`], when any of the entries is damaged: an answer is never shortened.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, ReadError>;

    /// The last `limit` entries of the range, descending.
    ///
    /// # Errors
    /// As [`Reader::scan`].
    fn scan_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, ReadError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tally_carries_over_every_byte_and_ignores_order() {
        let mut low = [0xff; 32];
        low[31] = 0;
        let mut one = [0; 32];
        one[0] = 1;
        let (a, b) = (Tally { records: 2, digest: low }, Tally { records: 3, digest: one });
        let mut ab = a;
        ab.add(&b);
        let mut ba = b;
        ba.add(&a);
        assert_eq!(ab, ba);
        let mut expected = [0; 32];
        expected[31] = 1;
        assert_eq!(ab, Tally { records: 5, digest: expected });
        let mut wrapped = Tally { records: 0, digest: [0xff; 32] };
        wrapped.add(&b);
        assert_eq!(wrapped.digest, [0; 32]);
    }

    #[test]
    fn a_batch_knows_its_size_and_sums_its_parts() {
        let mut first = Batch::new();
        assert!(first.is_empty());
        first.put(*b"key", *b"value");
        first.count(&[1; 32]);
        let mut second = Batch::new();
        second.delete(*b"gone");
        second.count(&[2; 32]);
        first.append(second);
        assert_eq!((first.len(), first.bytes()), (2, 12));
        assert_eq!(first.tally, Tally { records: 2, digest: [3; 32] });
    }
}
