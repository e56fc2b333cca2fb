//! A bundle as it is read: value after value, none of which is believed before its check.

use ocm_record::{NotCanonical, RecordId, Set, SignedRecord, from_canonical};

use super::{
    BundleHead, BundleValue, CHECK_BYTES, Check, END, EndWire, HEAD, PAGE, PageWire, check,
};
use crate::limits;
use crate::message::wire::set_of;

/// Bytes of a length.
const LENGTH_BYTES: usize = 4;

/// Why a bundle cannot be read on. What was read before it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A length that no value has.
    #[error("a value of {0} bytes is announced, one has 1 to {max}", max = limits::BUNDLE_VALUE_BYTES)]
    Length(u32),
    /// The bytes are not those that were written.
    #[error("a checksum does not fit: the bytes are not those that were written")]
    Check,
    /// A value that cannot be read.
    #[error("a value cannot be read: {0}")]
    Value(#[from] NotCanonical),
    /// A value of a kind that this version does not know.
    #[error("a value has the code {0}, which this version of ocm does not know")]
    Code(u8),
    /// Values or records in an order that no bundle has.
    #[error("{0}")]
    Order(&'static str),
    /// The end names other numbers than there were.
    #[error("the end tells of {told} records, and {read} were there")]
    Counts {
        /// By the end.
        told: u64,
        /// As read.
        read: u64,
    },
    /// The bytes end before the bundle does.
    #[error("it ends before its end")]
    Cut,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Head,
    Pages(Set),
    Ended,
    Failed(BundleError),
}

/// Reads a bundle from bytes as they come, behind [`BUNDLE_MAGIC`](super::BUNDLE_MAGIC).
///
/// Feed it, take values until there is none, feed it again. It keeps one value at most, and what was
/// fed behind it.
#[derive(Debug, Clone)]
pub struct BundleReader {
    bytes: Vec<u8>,
    at: usize,
    check: Check,
    stage: Stage,
    last: Option<RecordId>,
    pages: u64,
    authority: u64,
    content: u64,
}

impl Default for BundleReader {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            at: 0,
            check: [0; CHECK_BYTES],
            stage: Stage::Head,
            last: None,
            pages: 0,
            authority: 0,
            content: 0,
        }
    }
}

impl BundleReader {
    /// Takes more bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next value; `None` until more was fed.
    ///
    /// # Errors
    /// Why there is none, now and from now on.
    pub fn next_value(&mut self) -> Result<Option<BundleValue>, BundleError> {
        if let Stage::Failed(error) = &self.stage {
            return Err(error.clone());
        }
        self.read().inspect_err(|error| self.stage = Stage::Failed(error.clone()))
    }

    /// To be asked when there are no more bytes.
    ///
    /// # Errors
    /// When they ended before the bundle, or inside a value.
    pub fn finish(&self) -> Result<(), BundleError> {
        match &self.stage {
            Stage::Ended if self.at == self.bytes.len() => Ok(()),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Ended => Err(BundleError::Order("something follows its end")),
            Stage::Head | Stage::Pages(_) => Err(BundleError::Cut),
        }
    }

    /// Pages that were read.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Records in them, of the authority set and of the content set.
    #[must_use]
    pub const fn records(&self) -> (u64, u64) {
        (self.authority, self.content)
    }

    fn read(&mut self) -> Result<Option<BundleValue>, BundleError> {
        let rest = &self.bytes[self.at..];
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        if self.stage == Stage::Ended {
            return Err(BundleError::Order("something follows its end"));
        }
        let announced = u32::from_be_bytes(*length);
        let length = announced as usize;
        if !(1..=limits::BUNDLE_VALUE_BYTES).contains(&length) {
            return Err(BundleError::Length(announced));
        }
        let Some((value, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        let Some(told) = rest.first_chunk::<CHECK_BYTES>() else { return Ok(None) };
        let found = check(&self.check, value);
        if found != *told {
            return Err(BundleError::Check);
        }
        self.check = found;
        let value = value.to_vec();
        self.at += LENGTH_BYTES + length + CHECK_BYTES;
        self.take(&value).map(Some)
    }

    fn take(&mut self, value: &[u8]) -> Result<BundleValue, BundleError> {
        // A short array, and a short integer.
        let code = match value {
            [0x81..=0x97, code @ 0..=23, ..] => *code,
            _ => return Err(NotCanonical("it does not begin with a code".to_owned()).into()),
        };
        match (code, &self.stage) {
            (HEAD, Stage::Head) => {
                let head = BundleHead::decode(value)?;
                self.stage = Stage::Pages(Set::Authority);
                Ok(BundleValue::Head(Box::new(head)))
            }
            (PAGE, Stage::Pages(before)) => {
                let before = *before;
                let (_, set, records): PageWire = from_canonical(value)?;
                let set = set_of(set).map_err(|error| NotCanonical(error.to_string()))?;
                if set < before {
                    return Err(BundleError::Order("authority records follow content records"));
                }
                if set != before {
                    self.last = None;
                }
                if records.0.is_empty() {
                    return Err(BundleError::Order("a page has no records"));
                }
                for bytes in &records.0 {
                    self.follow(set, bytes)?;
                }
                self.pages += 1;
                self.stage = Stage::Pages(set);
                let read = records.0.len() as u64;
                match set {
                    Set::Authority => self.authority += read,
                    Set::Content => self.content += read,
                }
                Ok(BundleValue::Page { set, records: records.0 })
            }
            (END, Stage::Pages(_)) => {
                let (_, pages, authority, content): EndWire = from_canonical(value)?;
                let (told, read) =
                    ((pages, authority, content), (self.pages, self.authority, self.content));
                if told != read {
                    return Err(BundleError::Counts {
                        told: authority.saturating_add(content),
                        read: self.authority + self.content,
                    });
                }
                self.stage = Stage::Ended;
                Ok(BundleValue::End)
            }
            (HEAD, _) => Err(BundleError::Order("it has a second head")),
            (PAGE | END, _) => Err(BundleError::Order("it does not begin with its head")),
            (code, _) => Err(BundleError::Code(code)),
        }
    }

    /// Records ascend, so that a bundle without end must at least go on with new ones. What cannot be
    /// read is left to admission, which says why.
    fn follow(&mut self, set: Set, bytes: &[u8]) -> Result<(), BundleError> {
        let Ok(record) = SignedRecord::decode(bytes) else { return Ok(()) };
        if record.kind().set() != set {
            return Err(BundleError::Order("a record is in a page of the other set"));
        }
        let id = record.id();
        if self.last.is_some_and(|last| last >= id) {
            return Err(BundleError::Order("records do not ascend"));
        }
        self.last = Some(id);
        Ok(())
    }
}
