//! Making a bundle: its head, and which records belong into it.

use ocm_discovery::PeerId;
use ocm_record::{RecordId, Set, SpaceId, Time};
use ocm_sync::{BundleHead, ReconcileError, Since, Span, beyond, describe, successor};

use super::{BundlePlan, BundleSince, Whom};
use crate::anti_entropy::EFFECTIVE_KINDS;
use crate::layout;
use crate::node::Node;
use crate::output::{CommandError, Reply};
use crate::parity::of_space;
use crate::snapshot::ParityState;
use crate::storage::{ReadError, Reader};

/// Who described a content set, when by its own clock, and how.
type Described = (PeerId, u64, Vec<u8>);

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
                let (peer, time, description) = match self.description(id, whom, store)? {
                    Ok(described) => described,
                    Err(error) => return Ok(Err(error)),
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

    /// The last description of a content set that came in a bundle of whom is meant. Where several
    /// are, their clocks do not tell whom the next bundle is for.
    fn description(
        &self,
        space: SpaceId,
        whom: Whom,
        store: &dyn Reader,
    ) -> Result<Result<Described, CommandError>, ReadError> {
        let nobody = || Ok(Err(not_described(whom)));
        let Some(held) = self.spaces.get(&space) else { return nobody() };
        let is_meant = |peer: &PeerId, state: &ParityState| match whom {
            Whom::Anyone => true,
            Whom::Peer(meant) => meant == *peer,
            Whom::Did(did) => state.did == did,
        };
        let mut described: Vec<(u64, PeerId)> = self
            .compared
            .range(of_space(space))
            .filter(|((_, peer), kept)| is_meant(peer, &kept.state))
            .filter_map(|((_, peer), kept)| Some((kept.state.described_ms?, *peer)))
            .collect();
        let Some((time, peer)) = described.pop() else { return nobody() };
        if !described.is_empty() {
            described.push((time, peer));
            let peers: Vec<String> = described.iter().map(|(_, peer)| peer.to_string()).collect();
            return Ok(Err(CommandError::Invalid(format!(
                "bundles of {} peers were imported here, and what is missing differs: say with the peer \
                 whom the bundle is for, one of {}",
                peers.len(),
                peers.join(", ")
            ))));
        }
        match store.get(&layout::description(held.number, &peer)) {
            Ok(Some(description)) => Ok(Ok((peer, time, description))),
            Ok(None) | Err(ReadError::Corrupt(_)) => nobody(),
            Err(error) => Err(error),
        }
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
