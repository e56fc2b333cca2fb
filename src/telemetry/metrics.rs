//! The metrics, in one registry with libp2p's own.
//!
//! ```
//! use ocm::telemetry::metrics::{Metrics, Outcome, Registry, Scrape};
//!
//! let mut registry = Registry::default();
//! let metrics = Metrics::register(&mut registry, "alice");
//! // libp2p::metrics::Metrics::new(&mut registry) registers libp2p's here.
//! let scrape = Scrape::new(registry);
//!
//! metrics.memories.set(150);
//! metrics.session_ended(Outcome::Equal);
//! assert!(scrape.encode()?.contains("ocm_memories_total{node=\"alice\"} 150"));
//! # Ok::<(), std::fmt::Error>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
pub use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

pub use super::label::{Direction, Outcome, Queue, Reachability, Reason, Verdict};

/// The content type of [`Scrape::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdmissionLabels {
    verdict: Verdict,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: Queue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionLabels {
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReachabilityLabels {
    state: Reachability,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BytesLabels {
    direction: Direction,
}

/// The metrics of a node. Clones share their values; all methods may be called from any thread.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// `ocm_memories_total{node}`: memories stored, in all spaces.
    pub memories: Gauge,
    /// `ocm_peers_connected{node}`: peers connected now.
    pub peers_connected: Gauge,
    /// `ocm_conflicts_resolved_total{node}`: concurrent values that a later edit made one.
    pub conflicts_resolved: Counter,
    sync_operations: Counter,
    admissions: Family<AdmissionLabels, Counter>,
    commit: Histogram,
    flush: Histogram,
    gossip_verdict: Histogram,
    queue_depth: Family<QueueLabels, Gauge>,
    sessions: Family<SessionLabels, Counter>,
    sync_bytes: Family<BytesLabels, Counter>,
    parity: ParityAge,
    divergence: DivergenceAges,
    isolated: Gauge,
    reachability: Family<ReachabilityLabels, Gauge>,
}

impl Metrics {
    /// Registers the metrics of a node; `node` is its handle, the value of the label `node`.
    /// Register once in a registry: a second time would show each name twice.
    #[must_use]
    pub fn register(registry: &mut Registry, node: &str) -> Self {
        let metrics = Self {
            memories: Gauge::default(),
            peers_connected: Gauge::default(),
            conflicts_resolved: Counter::default(),
            sync_operations: Counter::default(),
            admissions: Family::default(),
            commit: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
            flush: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
            gossip_verdict: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            queue_depth: Family::default(),
            sessions: Family::default(),
            sync_bytes: Family::default(),
            parity: ParityAge::default(),
            divergence: DivergenceAges::default(),
            isolated: Gauge::default(),
            reachability: Family::default(),
        };
        metrics.register_named(registry, node);
        metrics.register_others(registry);
        metrics.start_at_zero();
        metrics
    }

    /// Those with the label `node`.
    fn register_named(&self, registry: &mut Registry, node: &str) {
        let label = (Cow::Borrowed("node"), Cow::Owned(node.to_owned()));
        let named = registry.sub_registry_with_label(label);
        named.register(
            "ocm_memories_total",
            "Memories stored, in all spaces",
            self.memories.clone(),
        );
        named.register("ocm_peers_connected", "Peers connected now", self.peers_connected.clone());
        // The encoder appends `_total` to the name of a counter.
        named.register(
            "ocm_sync_operations",
            "Anti-entropy sessions ended, however they ended",
            self.sync_operations.clone(),
        );
        named.register(
            "ocm_conflicts_resolved",
            "Concurrent values that a later edit made one",
            self.conflicts_resolved.clone(),
        );
    }

    fn register_others(&self, registry: &mut Registry) {
        registry.register(
            "ocm_admissions",
            "Decisions on records, by verdict and reason",
            self.admissions.clone(),
        );
        let seconds = || Unit::Seconds;
        registry.register_with_unit(
            "ocm_commit",
            "Time from a batch's arrival at the store to its acknowledgement",
            seconds(),
            self.commit.clone(),
        );
        registry.register_with_unit(
            "ocm_flush",
            "Time to make a batch durable",
            seconds(),
            self.flush.clone(),
        );
        registry.register_with_unit(
            "ocm_gossip_verdict",
            "Time from a gossip message's arrival to its verdict",
            seconds(),
            self.gossip_verdict.clone(),
        );
        registry.register(
            "ocm_queue_depth",
            "Entries that wait in a queue",
            self.queue_depth.clone(),
        );
        registry.register(
            "ocm_sessions",
            "Anti-entropy sessions ended, by outcome",
            self.sessions.clone(),
        );
        registry.register_with_unit(
            "ocm_sync",
            "Bytes of anti-entropy messages",
            Unit::Bytes,
            self.sync_bytes.clone(),
        );
        registry.register(
            "ocm_isolated",
            "1 while the node uses the network and has no peer, else 0",
            self.isolated.clone(),
        );
        registry.register(
            "ocm_reachability",
            "1 for what is known of whether peers outside can dial the node, 0 for the others",
            self.reachability.clone(),
        );
        registry.register_collector(Box::new(self.parity.clone()));
        registry.register_collector(Box::new(self.divergence.clone()));
        registry.register(
            "ocm_build",
            "The version that runs",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        // A clock before 1970 shows 0.
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        registry.register_with_unit(
            "process_start_time",
            "When the process started, since the Unix epoch",
            seconds(),
            ConstGauge::new(started.as_secs_f64()),
        );
    }

    /// Makes the series of small label sets exist before their first event.
    fn start_at_zero(&self) {
        for queue in Queue::ALL {
            self.set_queue_depth(*queue, 0);
        }
        for outcome in Outcome::ALL {
            drop(self.sessions.get_or_create(&SessionLabels { outcome: *outcome }));
        }
        for direction in Direction::ALL {
            self.sync_bytes(*direction, 0);
        }
        self.set_reachability(Reachability::Unknown);
    }

    /// Raises the count of decisions on records to `total`: `ocm_admissions_total{verdict,reason}`.
    pub fn raise_admissions(&self, verdict: Verdict, reason: Reason, total: u64) {
        let counter = self.admissions.get_or_create(&AdmissionLabels { verdict, reason });
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// Observes the time from a batch's arrival at the store to its acknowledgement:
    /// `ocm_commit_seconds`.
    pub fn committed(&self, took: Duration) {
        self.commit.observe(took.as_secs_f64());
    }

    /// Observes the time it took to make a batch durable: `ocm_flush_seconds`.
    pub fn flushed(&self, took: Duration) {
        self.flush.observe(took.as_secs_f64());
    }

    /// Observes the time from a gossip message's arrival to its verdict:
    /// `ocm_gossip_verdict_seconds`.
    pub fn gossip_judged(&self, took: Duration) {
        self.gossip_verdict.observe(took.as_secs_f64());
    }

    /// Sets how many entries wait in a queue: `ocm_queue_depth{queue}`.
    pub fn set_queue_depth(&self, queue: Queue, entries: usize) {
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        self.queue_depth.get_or_create(&QueueLabels { queue }).set(entries);
    }

    /// Counts an anti-entropy session, begun here or answered here, at its end:
    /// `ocm_sync_operations_total{node}` and `ocm_sessions_total{outcome}`.
    pub fn session_ended(&self, outcome: Outcome) {
        self.sync_operations.inc();
        self.sessions.get_or_create(&SessionLabels { outcome }).inc();
    }

    /// Counts bytes of anti-entropy messages: `ocm_sync_bytes_total{direction}`.
    pub fn sync_bytes(&self, direction: Direction, bytes: u64) {
        self.sync_bytes.get_or_create(&BytesLabels { direction }).inc_by(bytes);
    }

    /// Sets the time of the oldest parity among the spaces and the peers connected, from which a
    /// scrape shows `ocm_parity_age_seconds`; without one the metric is absent.
    pub fn set_oldest_parity(&self, at: Option<Instant>) {
        *self.parity.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Sets for each space since when its oldest difference with a connected peer is unresolved, from
    /// which a scrape shows `ocm_divergence_age_seconds{space}`: 0 where there is none.
    pub fn set_divergences(&self, since: Divergences) {
        *self.divergence.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Sets what is known of whether others can dial the node: `ocm_reachability{state}`.
    pub fn set_reachability(&self, known: Reachability) {
        for state in Reachability::ALL {
            let labels = ReachabilityLabels { state: *state };
            self.reachability.get_or_create(&labels).set((*state == known).into());
        }
    }

    /// Sets whether the node uses the network and has no peer: `ocm_isolated`.
    pub fn set_isolated(&self, isolated: bool) {
        self.isolated.set(isolated.into());
    }
}

/// The age of the oldest parity, taken when it is asked for.
#[derive(Debug, Clone, Default)]
struct ParityAge(Arc<Mutex<Option<Instant>>>);

impl Collector for ParityAge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(at) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) else {
            return Ok(());
        };
        let age = ConstGauge::new(at.elapsed().as_secs_f64());
        let help = "Time since the oldest parity among the spaces and the peers connected";
        let metric = encoder.encode_descriptor(
            "ocm_parity_age",
            help,
            Some(&Unit::Seconds),
            age.metric_type(),
        )?;
        age.encode(metric)
    }
}

/// Since when the oldest difference of a space is unresolved, by the space's id.
type Divergences = Vec<(String, Option<Instant>)>;

/// The age of the oldest unresolved difference in each space, taken when it is asked for.
#[derive(Debug, Clone, Default)]
struct DivergenceAges(Arc<Mutex<Divergences>>);

impl Collector for DivergenceAges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Age of the oldest difference of a space with a connected peer that shares it of \
                    which it is not known that it is resolved: since it was noticed, or \
                    since the begin of the last session that left nothing missing on either side; \
                    0 while equal with all that were compared";
        let mut family = encoder.encode_descriptor(
            "ocm_divergence_age",
            help,
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (space, since) in since.iter() {
            let age = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
            let label = [("space", space.as_str())];
            let metric = family.encode_family(&label)?;
            ConstGauge::new(age).encode(metric)?;
        }
        Ok(())
    }
}

/// A registry that is complete, to be shown on each scrape. Clones share it.
#[derive(Debug, Clone)]
pub struct Scrape(Arc<Registry>);

impl Scrape {
    /// Closes the registry.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self(Arc::new(registry))
    }

    /// All metrics in the OpenMetrics text format, to be sent as [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// A metric that does not encode; none of ours can.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> (Metrics, Scrape) {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, "alice");
        let _libp2p = libp2p::metrics::Metrics::new(&mut registry);
        (metrics, Scrape::new(registry))
    }

    /// Whether the scrape has exactly this line.
    fn has(scrape: &Scrape, line: &str) -> bool {
        scrape.encode().unwrap().lines().any(|each| each == line)
    }

    #[test]
    fn the_names_of_the_guide_are_on_the_scrape() {
        let (metrics, scrape) = node();
        metrics.memories.set(150);
        metrics.peers_connected.set(3);
        for _ in 0..12 {
            metrics.session_ended(Outcome::Equal);
        }
        metrics.conflicts_resolved.inc_by(5);
        for line in [
            "ocm_memories_total{node=\"alice\"} 150",
            "ocm_peers_connected{node=\"alice\"} 3",
            "ocm_sync_operations_total{node=\"alice\"} 12",
            "ocm_conflicts_resolved_total{node=\"alice\"} 5",
            "ocm_sessions_total{outcome=\"equal\"} 12",
        ] {
            assert!(has(&scrape, line), "{line} is missing:\n{}", scrape.encode().unwrap());
        }
    }

    #[test]
    fn each_metric_has_its_type_and_help() {
        let (metrics, scrape) = node();
        metrics.raise_admissions(Verdict::Accept, Reason::None, 1);
        metrics.set_oldest_parity(Some(Instant::now()));
        let text = scrape.encode().unwrap();
        for (name, kind) in [
            ("ocm_memories_total", "gauge"),
            ("ocm_peers_connected", "gauge"),
            ("ocm_sync_operations", "counter"),
            ("ocm_conflicts_resolved", "counter"),
            ("ocm_admissions", "counter"),
            ("ocm_commit_seconds", "histogram"),
            ("ocm_flush_seconds", "histogram"),
            ("ocm_gossip_verdict_seconds", "histogram"),
            ("ocm_queue_depth", "gauge"),
            ("ocm_sessions", "counter"),
            ("ocm_sync_bytes", "counter"),
            ("ocm_parity_age_seconds", "gauge"),
            ("ocm_divergence_age_seconds", "gauge"),
            ("ocm_isolated", "gauge"),
            ("ocm_reachability", "gauge"),
            ("ocm_build", "info"),
            ("process_start_time_seconds", "gauge"),
        ] {
            assert!(has(&scrape, &format!("# TYPE {name} {kind}")), "{name}:\n{text}");
            let help = format!("# HELP {name} ");
            assert_eq!(text.lines().filter(|line| line.starts_with(&help)).count(), 1, "{name}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn events_move_their_series() {
        let (metrics, scrape) = node();
        metrics.raise_admissions(Verdict::Reject, Reason::BadSignature, 1);
        metrics.raise_admissions(Verdict::Hold, Reason::Dependency, 1);
        metrics.raise_admissions(Verdict::Hold, Reason::Dependency, 2);
        metrics.committed(Duration::from_millis(3));
        metrics.flushed(Duration::from_millis(2));
        metrics.gossip_judged(Duration::from_micros(60));
        metrics.set_queue_depth(Queue::Store, 7);
        metrics.sync_bytes(Direction::Received, 4096);
        metrics.set_isolated(true);
        metrics.set_reachability(Reachability::Private);
        let version = env!("CARGO_PKG_VERSION");
        for line in [
            "ocm_admissions_total{verdict=\"reject\",reason=\"bad_signature\"} 1",
            "ocm_admissions_total{verdict=\"hold\",reason=\"dependency\"} 2",
            "ocm_commit_seconds_count 1",
            "ocm_commit_seconds_sum 0.003",
            "ocm_commit_seconds_bucket{le=\"0.004\"} 1",
            "ocm_commit_seconds_bucket{le=\"0.002\"} 0",
            "ocm_flush_seconds_count 1",
            "ocm_flush_seconds_sum 0.002",
            "ocm_gossip_verdict_seconds_count 1",
            "ocm_gossip_verdict_seconds_bucket{le=\"0.0001\"} 1",
            "ocm_queue_depth{queue=\"store\"} 7",
            "ocm_queue_depth{queue=\"api\"} 0",
            "ocm_sync_bytes_total{direction=\"received\"} 4096",
            "ocm_sync_bytes_total{direction=\"sent\"} 0",
            "ocm_sessions_total{outcome=\"fault\"} 0",
            "ocm_isolated 1",
            "ocm_reachability{state=\"private\"} 1",
            "ocm_reachability{state=\"unknown\"} 0",
            "ocm_reachability{state=\"public\"} 0",
            &format!("ocm_build_info{{version=\"{version}\"}} 1"),
        ] {
            assert!(has(&scrape, line), "{line} is missing:\n{}", scrape.encode().unwrap());
        }
        metrics.set_isolated(false);
        assert!(has(&scrape, "ocm_isolated 0"));
    }

    fn value(scrape: &Scrape, name: &str) -> Option<f64> {
        let text = scrape.encode().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")))?;
        Some(line.parse().unwrap())
    }

    #[test]
    fn parity_ages_between_scrapes() {
        let (metrics, scrape) = node();
        assert_eq!(value(&scrape, "ocm_parity_age_seconds"), None);
        let ago = Duration::from_secs(90);
        metrics.set_oldest_parity(Some(Instant::now().checked_sub(ago).unwrap()));
        let age = value(&scrape, "ocm_parity_age_seconds").unwrap();
        assert!((90.0..100.0).contains(&age), "{age}");
        metrics.set_oldest_parity(None);
        assert_eq!(value(&scrape, "ocm_parity_age_seconds"), None);
    }

    #[test]
    fn a_difference_ages_in_its_space_until_it_is_resolved() {
        let (metrics, scrape) = node();
        let ago = Instant::now().checked_sub(Duration::from_secs(7_200)).unwrap();
        metrics.set_divergences(vec![("v1".into(), Some(ago)), ("v2".into(), None)]);
        let age = value(&scrape, "ocm_divergence_age_seconds{space=\"v1\"}").unwrap();
        assert!((7_200.0..7_260.0).contains(&age), "{age}");
        assert_eq!(value(&scrape, "ocm_divergence_age_seconds{space=\"v2\"}"), Some(0.0));
        metrics.set_divergences(vec![("v1".into(), None)]);
        assert_eq!(value(&scrape, "ocm_divergence_age_seconds{space=\"v1\"}"), Some(0.0));
    }

    #[test]
    fn the_start_is_now() {
        let (_metrics, scrape) = node();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let start = value(&scrape, "process_start_time_seconds").unwrap();
        assert!((now - start).abs() < 60.0, "{start}");
    }

    #[test]
    fn libp2p_shares_the_registry() {
        let (_metrics, scrape) = node();
        let text = scrape.encode().unwrap();
        assert!(text.lines().any(|line| line.starts_with("# TYPE libp2p_")), "{text}");
    }

    #[test]
    fn a_handle_cannot_break_the_scrape() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, "a\"b\\c\nd");
        metrics.peers_connected.set(1);
        let scrape = Scrape::new(registry);
        assert!(has(&scrape, r#"ocm_peers_connected{node="a\"b\\c\nd"} 1"#));
    }
}
