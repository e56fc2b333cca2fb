//! Breaches of the protocol, which outlast the connection in which they were made.

use std::collections::BTreeMap;

use ocm_discovery::PeerId;

use crate::limits;
use crate::node::Node;
use crate::output::Output;

/// Breaches by peer. Names of peers cost nothing, so the table is bounded, and forgets whose last
/// breach is longest ago.
#[derive(Debug, Default)]
pub(crate) struct Breaches(BTreeMap<PeerId, Strikes>);

/// What one peer did.
#[derive(Debug, Clone, Copy)]
struct Strikes {
    count: u32,
    last: u64,
}

impl Breaches {
    /// Counts one more. Gives how many there are.
    fn add(&mut self, peer: PeerId, now: u64) -> u32 {
        let strikes = self.0.entry(peer).or_insert(Strikes { count: 0, last: now });
        if strikes.last.saturating_add(limits::STRIKES_FOR_MS) <= now {
            strikes.count = 0;
        }
        strikes.count = strikes.count.saturating_add(1);
        strikes.last = now;
        let count = strikes.count;
        if self.0.len() > limits::STRIKERS {
            let oldest = self.0.iter().min_by_key(|(_, strikes)| strikes.last);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.0.remove(&oldest);
            }
        }
        count
    }

    /// Milliseconds for which a peer is still to stay away.
    pub(crate) fn banned_for(&self, peer: &PeerId, now: u64) -> Option<u64> {
        let strikes = self.0.get(peer).filter(|strikes| strikes.count >= limits::STRIKES)?;
        (strikes.last + limits::BANNED_MS).checked_sub(now).filter(|rest| *rest > 0)
    }

    /// The clock was set back by so much.
    pub(crate) fn turn_back(&mut self, by: u64) {
        self.0.values_mut().for_each(|strikes| strikes.last = strikes.last.saturating_sub(by));
    }
}

impl Node {
    /// Counts a breach of the protocol. The third ends the connection, and so does every other
    /// after it, until all are forgotten.
    pub(crate) fn strike(&mut self, id: PeerId, reason: &str) {
        if !self.peers.contains_key(&id) {
            return;
        }
        let count = self.breaches.add(id, self.now);
        if count >= limits::STRIKES {
            let reason = format!("{reason} (breach {count} of {})", limits::STRIKES);
            self.out.push(Output::Disconnect { peer: id, reason: reason.into() });
        }
    }
}
