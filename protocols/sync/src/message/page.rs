//! As many records as fit one message.

use ocm_record::RecordId;
use serde_bytes::ByteBuf;

use crate::limits;

/// Bytes of CBOR around one record.
const FRAMING: usize = 5;

/// Records for a list of ids: the answer to a fetch, and what a session is given to push. Ids that
/// are in neither part found no room, and are to be asked for again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Encoded records, in the order of the ids.
    pub records: Vec<ByteBuf>,
    /// Ids of which there is no record.
    pub absent: Vec<RecordId>,
}

impl Page {
    /// Fills a page for the first of `ids`, as far as [`limits::PAGE_RECORDS`],
    /// [`limits::PAGE_BYTES`] and `room`, in bytes of encoded records, allow; at least one id is
    /// always settled. `lookup` gives the encoded record, or `None` where there is none to be had.
    ///
    /// # Errors
    /// The first that `lookup` returns.
    pub fn fill<E>(
        ids: &[RecordId],
        room: u32,
        mut lookup: impl FnMut(&RecordId) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let mut page = Self::default();
        let mut gathered = RangePage::with_room(room);
        for id in ids.iter().take(limits::PAGE_RECORDS) {
            match lookup(id)? {
                None => page.absent.push(*id),
                Some(record) if gathered.push(&record) => {}
                Some(_) => break,
            }
        }
        page.records = gathered.into_records();
        Ok(page)
    }

    /// How many ids it settles.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.records.len() + self.absent.len()
    }
}

/// Records of a range as they are gathered: as many as fit one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangePage {
    records: Vec<ByteBuf>,
    room: usize,
}

impl Default for RangePage {
    /// As much as a message has room for.
    fn default() -> Self {
        Self::with_room(u32::MAX)
    }
}

impl RangePage {
    /// At most so many bytes of encoded records, and what a message has room for.
    #[must_use]
    pub fn with_room(room: u32) -> Self {
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(limits::PAGE_BYTES);
        Self { records: Vec::new(), room }
    }

    /// Adds an encoded record, unless [`limits::PAGE_RECORDS`] or the room are used up; whether it
    /// was added. The first one always is.
    pub fn push(&mut self, record: &[u8]) -> bool {
        let bytes = record.len() + FRAMING;
        let fits = bytes <= self.room && self.records.len() < limits::PAGE_RECORDS;
        if !fits && !self.records.is_empty() {
            return false;
        }
        self.room = self.room.saturating_sub(bytes);
        self.records.push(ByteBuf::from(record));
        true
    }

    /// Whether it has no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records, ascending.
    #[must_use]
    pub fn into_records(self) -> Vec<ByteBuf> {
        self.records
    }
}
