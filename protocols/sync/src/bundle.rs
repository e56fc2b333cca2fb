//! A bundle: a session written down, for whoever comes by with a stick
//! (`protocols/README.md`, section 14).
//!
//! ```text
//! head, page … page, end       values, each with its length before it and a check behind it
//! ```
//!
//! The head says whose records these are, since when, and what their owner stored at the time, signed.
//! Pages hold records, the authority set before the content set. The end says how many there were.
//! This module knows the values; compression, encryption and files are its user's.

mod head;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use ocm_record::Set;
use serde_bytes::ByteBuf;

pub use head::{BundleHead, BundleStatement, Since};
pub use reader::{BundleError, BundleReader};
pub use writer::BundleWriter;

use crate::limits;
use crate::message::wire::List;

/// What a bundle begins with, before compression; inside of encryption.
pub const BUNDLE_MAGIC: &[u8; 13] = b"OCM bundle 1\n";

/// Bytes of the check behind each value.
const CHECK_BYTES: usize = 16;

const HEAD: u8 = 1;
const PAGE: u8 = 2;
const END: u8 = 3;

type Check = [u8; CHECK_BYTES];
type PageWire = (u8, u8, List<ByteBuf, { limits::PAGE_RECORDS }>);
type EndWire = (u8, u64, u64, u64);

/// One value of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleValue {
    /// The first: what this is.
    Head(Box<BundleHead>),
    /// Records of one set, ascending over all pages of that set.
    Page {
        /// Which set.
        set: Set,
        /// Encoded records, at least one and at most [`limits::PAGE_RECORDS`].
        records: Vec<ByteBuf>,
    },
    /// The last: all of it was read.
    End,
}

/// The check of a value, which covers all values before it, too.
fn check(before: &Check, value: &[u8]) -> Check {
    let hash = blake3::Hasher::new().update(before).update(value).finalize();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hash.as_bytes()[..CHECK_BYTES]);
    check
}
