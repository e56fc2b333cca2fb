//! Bundles: what goes into one, and what its head shows of whoever wrote it
//! (`protocols/README.md`, section 14).

mod plan;
mod witness;

use ocm_discovery::{CLOCK_TOLERANCE_MS, Certificate, CertificateError, PeerId};
use ocm_record::{Did, RecordId, Set};
use ocm_space::Access;
use ocm_sync::{BundleHead, Comparison, NotSigned, Parity, RangePage, Span};
use serde_bytes::ByteBuf;

use crate::layout::{self, SpaceNumber};
use crate::storage::{ReadError, Reader};

/// Records read at once for a page: of the largest, 8 MiB.
const READ_RECORDS: usize = 128;

/// Which content records a bundle is to hold. Of the authority set it always holds all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleSince {
    /// All.
    All,
    /// Those whose time is at or after this, in milliseconds since the Unix epoch.
    Time(u64),
    /// Those that may be missing where the last bundle came from.
    Parity(Whom),
}

/// Whose bundle is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// The latest, of anyone.
    Anyone,
    /// The latest of this peer.
    Peer(PeerId),
    /// The latest of a peer that acts for this DID.
    Did(Did),
}

/// What a bundle is to be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundlePlan {
    /// Its head, signed.
    pub head: BundleHead,
    /// Who may read the space.
    pub read: Access,
    /// The authority records that were stored when the head was signed, as ranges.
    pub authority: Vec<Span>,
    /// The content records that belong into it, of those that were stored then.
    pub content: Vec<Span>,
    /// How many records that is.
    pub records: u64,
}

/// Who wrote a bundle, as its head proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exporter {
    /// Its transport identity.
    pub peer: PeerId,
    /// Who it acted for.
    pub did: Did,
}

/// Why the head of a bundle is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBelieved {
    /// It names no peer.
    #[error("the head of the bundle names no peer that there can be")]
    Peer,
    /// Its certificate is not valid at its own time.
    #[error("the certificate in the head of the bundle: {0}")]
    Certificate(#[from] CertificateError),
    /// Whether the DID has the key cannot be checked.
    #[error("the bundle was written for {0}, and this version cannot check whose key that is")]
    Did(Did),
    /// It is not signed by whom it names.
    #[error(
        "the head of the bundle is not signed by the DID that it names: it was changed, or made by \
         somebody else"
    )]
    Signature(#[from] NotSigned),
}

/// How this node compares with the writer of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// Who wrote it.
    pub exporter: Exporter,
    /// What is stored here.
    pub ours: Parity,
    /// That beside what was stored there.
    pub comparison: Comparison,
    /// Whether the same kinds of record have an effect on both sides.
    pub comparable: bool,
    /// Why this comparison is not kept; `None` where it is.
    pub not_kept: Option<NotKept>,
}

/// Why a comparison with the writer of a bundle is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKept {
    /// This node wrote it.
    Own,
    /// The two are connected, and compare what they store now.
    Connected,
    /// A later comparison is known, or a later bundle.
    Older,
    /// Its time is more than a day ahead of the clock here: one of the clocks is wrong.
    Ahead,
    /// Whoever wrote it may not read the space, as far as is known here.
    Stranger,
}

impl NotKept {
    /// Its name, from a closed set.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Connected => "connected",
            Self::Older => "older",
            Self::Ahead => "ahead",
            Self::Stranger => "stranger",
        }
    }
}

/// Who wrote a bundle, if its head proves it. Its time is not looked at: a bundle may lie in a drawer
/// for years.
///
/// # Errors
/// When it proves nothing: it was changed, or made up.
pub fn exporter(head: &BundleHead) -> Result<Exporter, NotBelieved> {
    let peer = PeerId::try_from(&head.from[..]).map_err(|_| NotBelieved::Peer)?;
    // By the same clock, which may have been wrong all the time.
    let at = head.statement.time();
    let certificate =
        Certificate::decode(&head.certificate)?.verify(&peer, at, CLOCK_TOLERANCE_MS)?;
    if certificate.did != Did::Key(certificate.key) {
        return Err(NotBelieved::Did(certificate.did));
    }
    head.verify(&certificate.key)?;
    Ok(Exporter { peer, did: certificate.did })
}

/// Records of a range, as they were admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordsRead {
    /// As many as a page takes, ascending.
    pub records: Vec<ByteBuf>,
    /// Where to go on; `None` at the end of the range.
    pub next: Option<RecordId>,
    /// Damaged records that were left out.
    pub damaged: Vec<RecordId>,
}

/// Reads the first records of a range of a set.
///
/// # Errors
/// When the store cannot be read, or is damaged so that it cannot be told which record is.
pub fn read_range(
    store: &dyn Reader,
    space: SpaceNumber,
    set: Set,
    span: Span,
) -> Result<RecordsRead, ReadError> {
    let mut read = RecordsRead::default();
    let mut page = RangePage::default();
    let mut from = layout::record(space, set, &span.from);
    let to = layout::record(space, set, &span.to);
    'pages: loop {
        let entries = store.scan(&from, &to, READ_RECORDS)?;
        let Some((last, _)) = entries.last() else { break };
        from = [last.as_slice(), &[0]].concat();
        for (key, value) in entries {
            let Some(id) = layout::last_id(&key) else {
                return Err(ReadError::Corrupt(format!("the key {key:02x?}")));
            };
            match layout::unseal(&value) {
                Some(record) if page.push(record) => {}
                Some(_) => {
                    read.next = Some(id);
                    break 'pages;
                }
                None => read.damaged.push(id),
            }
        }
    }
    read.records = page.into_records();
    Ok(read)
}
