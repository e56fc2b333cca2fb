//! What the library finds of announcements where it looks for them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::iter;
use std::net::IpAddr;
use std::time::Instant;

use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};
use ocm_discovery::{Announced, LookupKey, ProviderLimits, Providers};

use crate::network::{from_libp2p, to_libp2p};

/// The announcements of others, and under which keys this node announces itself. Values are not
/// stored: whoever puts one is refused.
pub(crate) struct Store {
    own: PeerId,
    announces: HashSet<RecordKey>,
    others: Providers,
    began: Instant,
}

impl Store {
    pub(super) fn new(own: PeerId) -> Self {
        let others = Providers::new(ProviderLimits::default());
        Self { own, announces: HashSet::new(), others, began: Instant::now() }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Keeps the announcement of a peer, within limits; `from` is whom it counts as.
    pub(super) fn announce(
        &mut self,
        key: LookupKey,
        peer: ocm_discovery::PeerId,
        from: Option<IpAddr>,
        addresses: &[Multiaddr],
    ) -> Announced {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        let now = self.now_ms();
        self.others.announce(key, peer, from, addresses, now)
    }

    /// Who announced itself under a key, and where each is.
    pub(super) fn others(&self, key: &LookupKey) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let others = self.others.of(key, self.now_ms());
        others
            .filter_map(|(peer, addresses)| {
                let addresses = addresses.iter().filter_map(|text| text.parse().ok()).collect();
                Some((to_libp2p(peer)?, addresses))
            })
            .collect()
    }

    pub(super) fn expire(&mut self) {
        self.others.expire(self.now_ms());
    }

    /// Announcements that are kept, and under how many keys.
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.others.len(), self.others.keys())
    }
}

impl RecordStore for Store {
    type RecordsIter<'a> = iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::ValueTooLarge)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        iter::empty()
    }

    /// This node's own; those of others come by [`Store::announce`].
    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.provider != self.own || self.announces.len() >= ocm_discovery::LOOKUP_SPACES {
            return Err(Error::MaxProvidedKeys);
        }
        self.announces.insert(record.key);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let own = self.announces.contains(key).then(|| (self.own, Vec::new()));
        let others = LookupKey::from_bytes(key.as_ref()).map(|key| self.others(&key));
        // With no addresses, the library takes those of this node.
        own.into_iter()
            .chain(others.unwrap_or_default())
            .filter(|(peer, _)| from_libp2p(peer).is_some())
            .map(|(peer, addresses)| ProviderRecord::new(key.clone(), peer, addresses))
            .collect()
    }

    /// Nothing is left for the library to repeat: the plan of rounds says when that is done.
    fn provided(&self) -> Self::ProvidedIter<'_> {
        iter::empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, peer: &PeerId) {
        if *peer == self.own {
            self.announces.remove(key);
        }
    }
}
