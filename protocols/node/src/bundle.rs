//! Bundles: what goes into one, and what its head shows of whoever wrote it
//! (`protocols/README.md`, section 14).

use ocm_discovery::{CLOCK_TOLERANCE_MS, Certificate, CertificateError, PeerId};
use ocm_record::{Did, RecordId, Set, SpaceId, Time};
use ocm_space::Access;
use ocm_sync::{
    BundleHead, Comparison, NotSigned, Parity, RangePage, ReconcileError, Since, Span, beyond,
    compare, describe, successor,
};
use serde_bytes::ByteBuf;

use crate::anti_entropy::EFFECTIVE_KINDS;
use crate::layout::{self, SpaceNumber};
use crate::node::Node;
use crate::output::{CommandError, Event, Output, Reply};
use crate::parity::at_least;
use crate::snapshot::ParityState;
use crate::stated::Stated;
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

impl Node {
    /// Makes the head of a bundle of what is stored at this moment.
    pub(crate) fn bundle(
        &mut self,
        id: SpaceId,
        since: BundleSince,
        store: &dyn Reader,
    ) -> Result<Result<Reply, CommandError>, ReadError> {
        let certificate = self.certificate();
        let Some(held) = self.spaces.get(&id) else {
            return Ok(Err(CommandError::UnknownSpace(id)));
        };
        if held.state.genesis().is_none() {
            return Ok(Err(CommandError::EmptySpace(id)));
        }
        let (authority, content) =
            (held.stored(Set::Authority, store)?, held.stored(Set::Content, store)?);
        // What comes while the bundle is being written has a later time, mostly.
        let until = |last: Option<RecordId>| last.map_or(RecordId::MIN, |last| successor(&last));
        let all = Span { from: RecordId::MIN, to: until(content.last()?) };
        let (since, spans) = match since {
            BundleSince::All => (Since::All, vec![all]),
            BundleSince::Time(ms) => {
                let from = RecordId::from_parts(Time::from_millis(ms), [0; 32]);
                (Since::Time(ms), vec![Span { from, ..all }])
            }
            BundleSince::Parity(whom) => {
                let Some((peer, time, description)) = self.description(id, whom, store)? else {
                    return Ok(Err(not_described(whom)));
                };
                let spans = match beyond(&content, &description) {
                    Ok(spans) => spans,
                    Err(ReconcileError::Set(error)) => return Err(error),
                    Err(ReconcileError::Wire(error)) => {
                        let detail = format!("the last bundle of peer {peer}: {error}");
                        return Ok(Err(CommandError::Invalid(detail)));
                    }
                };
                (Since::Parity { peer: peer.to_bytes(), time }, spans)
            }
        };
        let clip = |span: Span| Span { to: span.to.min(all.to), ..span };
        let content_spans: Vec<Span> =
            spans.into_iter().map(clip).filter(|span| span.from < span.to).collect();
        let mut records = authority.len();
        for span in &content_spans {
            records += content.before(&span.to)?.minus(&content.before(&span.from)?).count;
        }
        let authority = Span { from: RecordId::MIN, to: until(authority.last()?) };
        let parity = held.parity_on_disk(store)?;
        let head = BundleHead::sign(
            &self.author,
            (id, self.own.to_bytes()),
            certificate,
            (since, &EFFECTIVE_KINDS),
            (parity, self.now),
            describe(&content)?,
        );
        Ok(Ok(Reply::Bundle(Box::new(BundlePlan {
            head,
            read: held.state.policy().read,
            authority: vec![authority],
            content: content_spans,
            records,
        }))))
    }

    /// The last description of a content set that came in a bundle.
    fn description(
        &self,
        space: SpaceId,
        whom: Whom,
        store: &dyn Reader,
    ) -> Result<Option<(PeerId, u64, Vec<u8>)>, ReadError> {
        let Some(held) = self.spaces.get(&space) else { return Ok(None) };
        let is_meant = |peer: &PeerId, state: &ParityState| match whom {
            Whom::Anyone => true,
            Whom::Peer(meant) => meant == *peer,
            Whom::Did(did) => state.did == did,
        };
        let described = self
            .compared
            .range(crate::parity::of_space(space))
            .filter(|((_, peer), kept)| is_meant(peer, &kept.state))
            .filter_map(|((_, peer), kept)| Some((kept.state.described_ms?, *peer)));
        let Some((time, peer)) = described.max() else { return Ok(None) };
        match store.get(&layout::description(held.number, &peer)) {
            Ok(description) => Ok(description.map(|description| (peer, time, description))),
            Err(ReadError::Corrupt(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Compares with what the writer of a bundle stated.
    pub(crate) fn witness(&mut self, head: &BundleHead) -> Result<Reply, CommandError> {
        let (now, space) = (self.now, head.space);
        let exporter = exporter(head).map_err(|why| CommandError::Invalid(why.to_string()))?;
        let Exporter { peer, did } = exporter;
        let held = self.spaces.get(&space).ok_or(CommandError::UnknownSpace(space))?;
        if held.state.genesis().is_none() {
            return Err(CommandError::EmptySpace(space));
        }
        let (ours, theirs) = (held.parity(), *head.statement.claims());
        if let Some(contradiction) = theirs.contradiction(&ours) {
            return Err(CommandError::Invalid(format!("of the bundle: {contradiction}")));
        }
        let comparison = compare(&ours, &theirs);
        let comparable = head.statement.kinds() == EFFECTIVE_KINDS;
        let time = head.statement.time();
        let may_read = held.state.may_read(&did);
        let before = self.compared.get(&(space, peer)).map(|kept| &kept.state);
        let not_kept = if peer == self.own {
            Some(NotKept::Own)
        } else if !may_read {
            Some(NotKept::Stranger)
        } else if time > now.saturating_add(CLOCK_TOLERANCE_MS) {
            Some(NotKept::Ahead)
        } else if self.peers.get(&peer).is_some_and(|peer| peer.shared.contains_key(&space)) {
            Some(NotKept::Connected)
        } else {
            // Both times are by the clock of that peer.
            let newer = before.is_some_and(|before| match &before.stated {
                Stated::Bundle(statement) => statement.time() > time,
                Stated::Session { statement, .. } => statement.time() >= time,
            });
            newer.then_some(NotKept::Older)
        };
        let same = comparison == Comparison::Equal;
        let equal = same && comparable;
        let at_ms = time.min(now);
        let (here, there) = if same { Default::default() } else { at_least(&ours, &theirs) };
        let state = ParityState {
            did,
            at_ms,
            equal_since_ms: equal
                .then(|| before.and_then(ParityState::equal_until_now).unwrap_or(at_ms)),
            differs_since_ms: (!same)
                .then(|| before.and_then(|before| before.differs_since_ms).unwrap_or(now)),
            comparable,
            comparison,
            ours,
            theirs,
            stated: Stated::Bundle(head.statement.clone()),
            here,
            there,
            exact: same,
            doubt: before.and_then(|before| before.doubt.clone()),
            audit: before.and_then(|before| before.audit),
            described_ms: before.and_then(|before| before.described_ms),
        };
        if not_kept.is_none() {
            self.keep(peer, space, state);
            self.out.push(Output::Event(Event::Compared { peer, space, equal }));
        }
        if matches!(not_kept, None | Some(NotKept::Connected | NotKept::Older)) {
            self.keep_description(peer, head);
        }
        Ok(Reply::Witnessed(Witnessed { exporter, ours, comparison, comparable, not_kept }))
    }

    /// Keeps how a peer described its content set, if nothing later is known.
    fn keep_description(&mut self, peer: PeerId, head: &BundleHead) {
        let time = head.statement.time();
        let Some(kept) = self.compared.get_mut(&(head.space, peer)) else { return };
        let Some(held) = self.spaces.get(&head.space) else { return };
        if kept.state.described_ms.is_none_or(|described| described <= time) {
            kept.state.described_ms = Some(time);
            let key = layout::description(held.number, &peer);
            self.batch.put(key, head.description.to_vec());
        }
        self.write_parity_now(peer, head.space);
    }
}

fn not_described(whom: Whom) -> CommandError {
    let of = match whom {
        Whom::Anyone => String::new(),
        Whom::Peer(peer) => format!(" of peer {peer}"),
        Whom::Did(did) => format!(" of {did}"),
    };
    CommandError::Invalid(format!(
        "no bundle{of} with this space has been imported here, so that it is not known what is missing \
         there: export all of it, or name a time"
    ))
}
