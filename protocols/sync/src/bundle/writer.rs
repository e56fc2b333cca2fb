//! The values of a bundle as bytes, in their order.

use ocm_record::{Set, to_canonical};
use serde_bytes::ByteBuf;

use super::{BundleHead, CHECK_BYTES, Check, END, PAGE, check};
use crate::message::wire::set_code;

/// Makes the bytes of a bundle, behind [`BUNDLE_MAGIC`](super::BUNDLE_MAGIC): the head, then pages,
/// then the end.
#[derive(Debug, Clone)]
pub struct BundleWriter {
    check: Check,
    pages: u64,
    authority: u64,
    content: u64,
}

impl BundleWriter {
    /// Begins a bundle: the writer, and the first bytes.
    #[must_use]
    pub fn begin(head: &BundleHead) -> (Self, Vec<u8>) {
        let mut writer = Self { check: [0; CHECK_BYTES], pages: 0, authority: 0, content: 0 };
        let bytes = writer.value(&head.encode());
        (writer, bytes)
    }

    fn value(&mut self, value: &[u8]) -> Vec<u8> {
        self.check = check(&self.check, value);
        // A value has 1 MiB at most.
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&length, value, &self.check].concat()
    }

    /// One page: at least one record and at most [`PAGE_RECORDS`](crate::limits::PAGE_RECORDS), of
    /// [`PAGE_BYTES`](crate::limits::PAGE_BYTES), as a [`RangePage`](crate::RangePage) gathers them.
    #[must_use]
    pub fn page(&mut self, set: Set, records: &[ByteBuf]) -> Vec<u8> {
        self.pages += 1;
        match set {
            Set::Authority => self.authority += records.len() as u64,
            Set::Content => self.content += records.len() as u64,
        }
        self.value(&to_canonical(&(PAGE, set_code(set), records)))
    }

    /// How many records of the two sets were written.
    #[must_use]
    pub const fn records(&self) -> (u64, u64) {
        (self.authority, self.content)
    }

    /// The end.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        let value = to_canonical(&(END, self.pages, self.authority, self.content));
        self.value(&value)
    }
}
