//! Which spaces are shared with whom: naming ours to a peer by tags, and showing it our right in one.

use ocm_discovery::PeerId;
use ocm_record::SpaceId;
use ocm_sync::{Request, pad_tags};
use serde_bytes::ByteBuf;

use crate::limits;
use crate::node::{Asked, Node};
use crate::random;
use crate::space::Stored;
use crate::storage::{ReadError, Reader};

impl Node {
    /// Names our spaces again to everyone: one was added, or membership changed.
    pub(crate) fn announce_to_all(&mut self) {
        for peer in self.peers.values_mut() {
            peer.reconsider(self.now);
            let soon = self.now + limits::PROBE_AFTER_MS / 2;
            peer.announce_at = Some(peer.announce_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Names our spaces to a peer, by tags, if that is due.
    pub(crate) fn announce(&mut self, id: PeerId) {
        let own = self.own;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (Some(did), Some(at)) = (peer.did(), peer.announce_at) else { return };
        if at > self.now {
            return;
        }
        // Said again now and then: nothing that was missed stays so.
        let pause = random::jitter(&mut self.rng, limits::INTERVAL_MAX_MS);
        let denied = self.spaces.keys().filter_map(|space| peer.denied_until(space, self.now));
        peer.announce_at = denied.chain([self.now + pause]).min();
        let named = self
            .spaces
            .values()
            .filter(|space| space.may_name(&did))
            .filter(|space| peer.denied_until(&space.id, self.now).is_none())
            .filter_map(|space| Some((peer.tag_to(&own, &id, &space.id)?, space.id)))
            .collect();
        let rng = &mut self.rng;
        let padded = pad_tags(named, || random::draw(rng));
        let asked = Asked::Spaces { peer: id, spaces: padded.spaces };
        self.ask(id, &Request::Spaces { tags: padded.tags }, asked);
    }

    /// A peer said which of the spaces that we named it shares.
    pub(crate) fn shared_spaces(
        &mut self,
        id: PeerId,
        named: &[Option<SpaceId>],
        shared: &[u16],
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let shared: Vec<SpaceId> = shared
            .iter()
            .filter_map(|index| named.get(usize::from(*index)).copied().flatten())
            .collect();
        for space in &shared {
            self.share(id, *space);
        }
        let present: Vec<SpaceId> =
            named.iter().flatten().filter(|space| !shared.contains(space)).copied().collect();
        for space in present {
            self.present(id, space, store)?;
        }
        Ok(())
    }

    /// Takes note that a peer shares a space, unless it may not know that the space is held here.
    pub(crate) fn share(&mut self, id: PeerId, space: SpaceId) {
        let now = self.now;
        let Some(held) = self.spaces.get(&space) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.did().is_some_and(|did| held.may_name(&did)) {
            peer.share(space, now);
        }
    }

    /// Stops sharing a space with everyone who may not know of it. A space of which nothing was
    /// here was shared with whoever named it; its genesis tells who may.
    pub(crate) fn unshare(&mut self, space: SpaceId) {
        let Some(held) = self.spaces.get(&space) else { return };
        for peer in self.peers.values_mut() {
            if !peer.did().is_some_and(|did| held.may_name(&did)) {
                peer.shared.remove(&space);
            }
        }
    }

    /// Shows a member that does not know it yet why we are one too.
    fn present(&mut self, id: PeerId, space: SpaceId, store: &dyn Reader) -> Result<(), ReadError> {
        let own = self.own;
        let Some(held) = self.spaces.get(&space) else { return Ok(()) };
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let member = peer.did().is_some_and(|did| held.state.role(&did).is_some());
        let Some(tag) = peer.tag_to(&own, &id, &space).filter(|_| member) else { return Ok(()) };
        let proof = held.state.proof_of_membership(&self.did);
        let mut records = Vec::new();
        for record in &proof {
            if let Stored::Whole(bytes) = held.read(record, store)? {
                records.push(ByteBuf::from(bytes));
            }
        }
        // What is not durable yet is presented when it is.
        let whole = !proof.is_empty() && records.len() == proof.len();
        if whole && records.len() <= limits::PRESENTED && peer.presented.insert(space) {
            self.ask(id, &Request::Push { tag, records }, Asked::Present { peer: id, space });
        }
        Ok(())
    }
}
