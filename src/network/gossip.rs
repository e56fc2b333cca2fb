//! How gossipsub is set up here, and what an invalid message costs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use libp2p::gossipsub::{
    self, MaxCountSubscriptionFilter, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, TopicHash, TopicScoreParams, TopicSubscriptionFilter, ValidationMode,
    score_parameter_decay_with_base,
};
use ocm_discovery::PeerId;
use sha2::{Digest, Sha256};

/// Bytes of one gossip transmission, at most: a message of 32 KiB with room for its framing and
/// the control messages that share it.
pub const GOSSIP_BYTES: usize = 40 * 1024;

/// What every topic's name begins with; a SpaceId follows (`protocols/README.md`, section 11).
pub const TOPIC_PREFIX: &str = "/ocm/1/";

/// Characters of a topic's name, at most.
const TOPIC_LEN: usize = 96;

/// Invalid messages that cost a peer its connection.
const OFFENCES: u32 = 3;

/// How long an invalid message is held against a peer: 10 minutes.
const OFFENCE_MEMORY: Duration = Duration::from_secs(600);

/// Peers whose offences are remembered; the one whose last lies furthest back goes first.
const OFFENDERS: usize = 1024;

/// Names a gossip message: the first 20 bytes of SHA-256 over topic and data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GossipId(pub [u8; 20]);

impl GossipId {
    /// The name of this data on this topic.
    #[must_use]
    pub fn of(topic: &str, data: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(topic.as_bytes()).chain_update(data).finalize();
        let mut id = [0; 20];
        id.copy_from_slice(&hash[..20]);
        Self(id)
    }
}

impl fmt::Debug for GossipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Topics that may exist at all: ours, and of bounded length.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OcmTopics;

impl TopicSubscriptionFilter for OcmTopics {
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        topic.as_str().starts_with(TOPIC_PREFIX) && topic.as_str().len() <= TOPIC_LEN
    }
}

pub(crate) type Behaviour =
    gossipsub::Behaviour<gossipsub::IdentityTransform, MaxCountSubscriptionFilter<OcmTopics>>;

/// Scores: nothing earns any, so that nothing can be saved up against an invalid message. One
/// makes the score negative, which costs the place in every mesh; at two, gossip stops; at three,
/// everything it says is ignored, and [`Offences`] ends the connection.
fn score_params() -> PeerScoreParams {
    let second = Duration::from_secs(1);
    PeerScoreParams {
        // Peers behind one address are judged by `address_penalty`, which knows ranges.
        ip_colocation_factor_weight: 0.0,
        app_specific_weight: 1.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: score_parameter_decay_with_base(
            Duration::from_secs(60),
            second,
            0.01,
        ),
        decay_interval: second,
        decay_to_zero: 0.01,
        retain_score: OFFENCE_MEMORY,
        // A peer on a slow line is no offender.
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    }
}

/// The scores of one topic.
pub(crate) fn topic_params() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: score_parameter_decay_with_base(
            OFFENCE_MEMORY,
            Duration::from_secs(1),
            0.01,
        ),
        ..TopicScoreParams::default()
    }
}

/// Below these: no gossip, no publishing to it, nothing from it heard. The invalid messages of a
/// topic count squared, times ten: 10, 40, 90.
const THRESHOLDS: PeerScoreThresholds = PeerScoreThresholds {
    gossip_threshold: -30.0,
    publish_threshold: -50.0,
    graylist_threshold: -80.0,
    accept_px_threshold: 1_000_000.0,
    opportunistic_graft_threshold: 0.0,
};

/// The score of a peer of which it is not known yet whether it is spoken to: nothing is published or
/// told to it, and it is no ground to send it away.
pub(crate) const UNPROVED: f64 = -60.0;

/// Whether a score is so low that nothing the peer says is heard any more.
pub(crate) fn is_silenced(score: f64) -> bool {
    score <= THRESHOLDS.graylist_threshold
}

/// The score that each of `peers` peers behind one address loses, `allowed` being free. It never
/// silences anyone by itself.
pub(crate) fn address_penalty(peers: usize, allowed: usize) -> f64 {
    let surplus = u32::try_from(peers.saturating_sub(allowed)).unwrap_or(u32::MAX);
    -f64::from(surplus.min(7)).powi(2)
}

/// The behaviour: anonymous messages, each waiting for one verdict.
///
/// # Errors
/// When the library refuses the configuration: a mistake of this code.
pub(crate) fn behaviour(topics: usize) -> Result<Behaviour, String> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| {
            MessageId::new(&GossipId::of(message.topic.as_str(), &message.data).0)
        })
        .max_transmit_size(GOSSIP_BYTES)
        .heartbeat_interval(Duration::from_secs(1))
        .heartbeat_initial_delay(Duration::from_millis(200))
        // A verdict may take ten heartbeats; what is gossiped about is younger.
        .history_length(10)
        .history_gossip(3)
        .duplicate_cache_time(Duration::from_secs(120))
        .build()
        .map_err(|e| e.to_string())?;
    let filter = MaxCountSubscriptionFilter {
        filter: OcmTopics,
        max_subscribed_topics: topics,
        max_subscriptions_per_request: topics,
    };
    let mut behaviour = Behaviour::new_with_subscription_filter_and_transform(
        MessageAuthenticity::Anonymous,
        config,
        filter,
        gossipsub::IdentityTransform,
    )?;
    behaviour.with_peer_score(score_params(), THRESHOLDS)?;
    Ok(behaviour)
}

/// The invalid messages of each peer, as far back as they count.
#[derive(Debug, Default)]
pub(crate) struct Offences {
    peers: BTreeMap<PeerId, Vec<Instant>>,
}

impl Offences {
    /// Counts one. Returns whether it is the one that costs the connection; the count then begins
    /// anew.
    pub(crate) fn count(&mut self, peer: PeerId, now: Instant) -> bool {
        self.forget_old(now);
        if !self.peers.contains_key(&peer) && self.peers.len() >= OFFENDERS {
            let oldest =
                self.peers.iter().min_by_key(|(_, times)| times.last().copied()).map(|(p, _)| *p);
            if let Some(oldest) = oldest {
                self.peers.remove(&oldest);
            }
        }
        let times = self.peers.entry(peer).or_default();
        times.push(now);
        let over = times.len() >= OFFENCES as usize;
        if over {
            self.peers.remove(&peer);
        }
        over
    }

    fn forget_old(&mut self, now: Instant) {
        self.peers.retain(|_, times| {
            times.retain(|at| now.saturating_duration_since(*at) < OFFENCE_MEMORY);
            !times.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_record::PublicKey;

    fn peer(n: u16) -> PeerId {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        PeerId::new(PublicKey::from_bytes(key))
    }

    #[test]
    fn the_library_takes_the_configuration() {
        assert!(behaviour(100).is_ok());
        assert_eq!(topic_params().validate(), Ok(()));
    }

    #[test]
    fn the_third_offence_in_ten_minutes_costs_the_connection() {
        let mut offences = Offences::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!offences.count(peer(1), at(0)));
        assert!(!offences.count(peer(1), at(1)));
        assert!(!offences.count(peer(2), at(1)));
        assert!(!offences.count(peer(1), at(600)), "the first is forgotten");
        assert!(offences.count(peer(1), at(600)));
        assert!(!offences.count(peer(1), at(600)), "counted anew");
    }

    #[test]
    fn offenders_are_remembered_within_a_limit() {
        let mut offences = Offences::default();
        let now = Instant::now();
        for n in 0..2000 {
            offences.count(peer(n), now + Duration::from_millis(n.into()));
        }
        assert_eq!(offences.peers.len(), OFFENDERS);
        assert!(offences.peers.contains_key(&peer(1999)));
    }

    #[test]
    fn one_invalid_message_costs_the_mesh_and_three_silence() {
        let p = topic_params();
        let score = |n: f64| n * n * p.invalid_message_deliveries_weight * p.topic_weight;
        assert!(score(1.0) < 0.0 && score(1.0) > THRESHOLDS.gossip_threshold);
        assert!(is_silenced(score(3.0)) && !is_silenced(score(2.0)));
        // After ten minutes a hundredth is left, and that counts as nothing.
        let left = p.invalid_message_deliveries_decay.powi(600);
        assert!((left - 0.01).abs() < 1e-6, "{left}");
        assert!(address_penalty(10, 10) == 0.0 && !is_silenced(address_penalty(1000, 10)));
    }

    #[test]
    fn only_topics_of_ours_exist() {
        let mut filter = OcmTopics;
        let mut can = |name: &str| filter.can_subscribe(&TopicHash::from_raw(name));
        assert!(can("/ocm/1/vabc"));
        assert!(!can("/eth2/blocks"));
        assert!(!can(&format!("/ocm/1/{}", "v".repeat(100))));
    }
}
