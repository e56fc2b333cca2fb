//! Bundle files: what lies around the values of a bundle (`protocols/README.md`, section 14).
//!
//! ```text
//! plain      "OCM bundle 1\n" ‖ zstd( values )
//! encrypted  age( plain )
//! ```
//!
//! Both directions stream, in memory that does not grow with the bundle. What the values are and in
//! which order they come is [`ocm_sync`]'s; nothing here judges a record.

mod key;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use key::read_passphrase;
pub use key::{Key, KeyError, Lock};
pub use read::{BundleFile, OpenError, Stopped};
pub use write::{BundleDraft, WriteError};

/// Limits of bundle files.
pub mod limits {
    /// The base-2 logarithm of the bytes that decompression looks back, at most: 8 MiB. What needs
    /// more is refused.
    pub const WINDOW_LOG: u32 = 23;
    /// The level of compression: records are hashes and signatures for the most part, which no level
    /// makes smaller.
    pub const LEVEL: i32 = 3;
    /// Bytes of a file that holds a passphrase.
    pub const PASSPHRASE_BYTES: u64 = 4096;
    /// Bytes of a file of identities, some hundred each.
    pub const IDENTITY_BYTES: u64 = 64 * 1024;
    /// Recipients of one bundle.
    pub const RECIPIENTS: usize = 64;
    /// Bytes before the content of an encrypted bundle: some hundred for each recipient, and what is
    /// read ahead.
    pub const HEAD_BYTES: u64 = 32 * 1024;
}

/// What the file of an encrypted bundle begins with.
const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";
