//! Comparing with the writer of a bundle.

use ocm_discovery::{CLOCK_TOLERANCE_MS, PeerId};
use ocm_sync::{BundleHead, Comparison, compare};

use super::{Exporter, NotKept, Witnessed, exporter};
use crate::anti_entropy::EFFECTIVE_KINDS;
use crate::layout;
use crate::node::Node;
use crate::output::{CommandError, Event, Output, Reply};
use crate::parity::at_least;
use crate::snapshot::ParityState;
use crate::stated::Stated;

impl Node {
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
        let (equal_since_ms, differs_since_ms) =
            ParityState::spans(before, (equal, same), at_ms, now);
        let state = ParityState {
            did,
            at_ms,
            equal_since_ms,
            differs_since_ms,
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
