//! How each source of peers does, in words.

use std::time::{Duration, Instant};

use ocm_discovery::{BootstrapStatus, PeerId, Sighting, Source};

use super::event::{Discovery, Health, SourceHealth};
use super::recent::Recent;
use super::swarm::Network;

/// How long a false address is shown.
const FALSE_SHOWN: Duration = Duration::from_secs(10 * 60);

/// Bootstrap entries whose failures are shown; of the others the number is.
const FAILURES_SHOWN: usize = 3;

/// What others told, on the local link or when asked.
#[derive(Debug)]
pub(super) struct Reports {
    mdns: Report,
    beacon: Report,
    lookup: Report,
}

#[derive(Debug)]
struct Report {
    /// Sightings of other nodes.
    heard: Recent,
    /// Newcomers that were not taken.
    refused: Recent,
    /// An address told for one peer at which another one is, and when that was seen.
    false_address: Option<(Instant, String)>,
}

impl Reports {
    pub(super) fn new(now: Instant) -> Self {
        let report =
            || Report { heard: Recent::new(now), refused: Recent::new(now), false_address: None };
        Self { mdns: report(), beacon: report(), lookup: report() }
    }

    const fn of(&mut self, source: Source) -> Option<&mut Report> {
        match source {
            Source::Mdns => Some(&mut self.mdns),
            Source::Beacon => Some(&mut self.beacon),
            Source::Lookup => Some(&mut self.lookup),
            Source::Bootstrap | Source::Remembered | Source::Incoming => None,
        }
    }

    /// Counts a sighting.
    pub(super) fn count(&mut self, source: Source, sighting: Sighting, now: Instant) {
        let Some(report) = self.of(source) else { return };
        match sighting {
            Sighting::Own | Sighting::CopiedKey { .. } => {}
            Sighting::New | Sighting::Known | Sighting::Unlisted => report.heard.count(now),
            Sighting::RateLimited | Sighting::Full | Sighting::AddressTooLong => {
                report.refused.count(now);
            }
        }
    }

    /// Takes note that an address told for a peer led to another one.
    pub(super) fn found_false(
        &mut self,
        source: Source,
        peer: &PeerId,
        address: &str,
        found: &str,
        now: Instant,
    ) {
        if let Some(report) = self.of(source) {
            let text = format!("{address}, told for {peer}, led to {found}");
            report.false_address = Some((now, text));
        }
    }
}

impl Report {
    /// What is to be looked at, if anything.
    fn trouble(&self, now: Instant) -> Option<String> {
        let refused = self.refused.sum(now);
        if refused > 0 {
            return Some(format!(
                "{refused} sightings of new peers were not taken in the last minute, someone makes \
                 them up"
            ));
        }
        let (seen, text) = self.false_address.as_ref()?;
        (now.saturating_duration_since(*seen) < FALSE_SHOWN)
            .then(|| format!("an address was false: {text}"))
    }
}

impl Network {
    /// How each source of peers does.
    #[must_use]
    pub fn sources(&self) -> Discovery {
        let counts = self.table.counts();
        let bootstrap = self.bootstrap.status();
        let sources = Source::ALL
            .into_iter()
            .map(|source| {
                let peers = counts.peers.get(&source).copied().unwrap_or(0);
                let (health, detail) = match source {
                    Source::Mdns => self.of_mdns(),
                    Source::Beacon => self.of_beacon(),
                    Source::Bootstrap => of_bootstrap(&bootstrap),
                    Source::Remembered if !self.config.remember => off("switched off"),
                    Source::Remembered if self.config.remembered.is_empty() => {
                        off("no peer was met before")
                    }
                    Source::Remembered => (Health::Working, format!("{peers} peers met before")),
                    Source::Incoming if self.swarm.listeners().next().is_none() => {
                        let cause = "nothing is listened on (yet)".to_owned();
                        (Health::Failing(cause.clone()), cause)
                    }
                    Source::Incoming => {
                        (Health::Working, format!("{peers} peers came by themselves"))
                    }
                    Source::Lookup => self.of_lookup(self.reports.lookup.trouble(Instant::now())),
                };
                SourceHealth { source, health, detail, peers }
            })
            .collect();
        let copied_at = self.copied_at.map(|(ip, at)| (ip, at.elapsed()));
        Discovery {
            sources,
            bootstrap,
            relays: self.of_relays(),
            relaying: self.of_relaying(),
            upnp: self.of_upnp(),
            reachability: self.of_reachability(),
            copied_key: counts.copied_key,
            copied_at,
        }
    }

    fn of_mdns(&self) -> (Health, String) {
        if !self.config.mdns {
            return off("switched off");
        }
        if let Some(cause) = self.multicast.failure() {
            return (Health::Failing(cause.clone()), cause);
        }
        let names = format!(
            "{} peers answered on the link in the last ten minutes",
            self.multicast.names()
        );
        troubled(self.reports.mdns.trouble(Instant::now()), names)
    }

    fn of_beacon(&self) -> (Health, String) {
        let Some(beacon) = self.swarm.behaviour().beacon.as_ref() else {
            return off("switched off");
        };
        let health = beacon.health();
        if let Some(cause) = health.closed.or(health.unsent) {
            return (Health::Failing(cause.clone()), cause);
        }
        let now = Instant::now();
        let heard = format!("{} heard in the last minute", self.reports.beacon.heard.sum(now));
        let flood = (health.dropped > 0).then(|| {
            format!(
                "{} datagrams were dropped in the last minute, someone floods the port{}",
                health.dropped,
                health.flooder.map(|ip| format!(", last from {ip}")).unwrap_or_default()
            )
        });
        troubled(flood.or_else(|| self.reports.beacon.trouble(now)), heard)
    }
}

fn off(why: &str) -> (Health, String) {
    (Health::Off, why.to_owned())
}

fn troubled(trouble: Option<String>, detail: String) -> (Health, String) {
    match trouble {
        Some(trouble) => (Health::Troubled(trouble.clone()), format!("{detail}; {trouble}")),
        None => (Health::Working, detail),
    }
}

fn of_bootstrap(entries: &[BootstrapStatus]) -> (Health, String) {
    if entries.is_empty() {
        return off("no address is given");
    }
    let failing: Vec<String> = entries
        .iter()
        .filter_map(|entry| Some(format!("{}: {}", entry.text, entry.cause.as_ref()?)))
        .collect();
    let leads = |entry: &&BootstrapStatus| {
        entry.cause.is_none() && entry.led.iter().any(|(_, who)| who.is_some())
    };
    let leading = entries.iter().filter(leads).count();
    let mut detail = format!("{leading} of {} addresses lead to nodes", entries.len());
    match entries.len() - leading - failing.len() {
        0 => {}
        tried => detail = format!("{detail}, {tried} being tried"),
    }
    if failing.is_empty() {
        return (Health::Working, detail);
    }
    let mut causes = failing.iter().take(FAILURES_SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if failing.len() > FAILURES_SHOWN {
        causes = format!("{causes}; and {} more", failing.len() - FAILURES_SHOWN);
    }
    let detail = format!("{detail}; {causes}");
    match failing.len() == entries.len() {
        true => (Health::Failing(causes), detail),
        false => (Health::Troubled(causes), detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_answer_is_named() {
        let peer = ocm_discovery::PeerId::new(ocm_record::SigningKey::from_seed(&[1; 32]).public());
        let entry = |text: &str, cause: Option<&str>| BootstrapStatus {
            text: text.to_owned(),
            led: vec![(text.to_owned(), Some(ocm_discovery::Led::Peer(peer)))],
            failures: 0,
            cause: cause.map(str::to_owned),
        };
        assert_eq!(of_bootstrap(&[]).0, Health::Off);
        assert_eq!(of_bootstrap(&[entry("a:1", None)]).0, Health::Working);
        let tried = BootstrapStatus { led: Vec::new(), ..entry("c:1", None) };
        let (health, detail) = of_bootstrap(&[entry("a:1", None), tried]);
        assert_eq!(health, Health::Working);
        assert_eq!(detail, "1 of 2 addresses lead to nodes, 1 being tried");
        let bad = entry("b:1", Some("cannot resolve b"));
        let (health, detail) = of_bootstrap(&[entry("a:1", None), bad.clone()]);
        assert_eq!(health, Health::Troubled("b:1: cannot resolve b".to_owned()));
        assert_eq!(detail, "1 of 2 addresses lead to nodes; b:1: cannot resolve b");
        let (health, detail) = of_bootstrap(&vec![bad; 5]);
        assert!(matches!(health, Health::Failing(_)));
        assert!(detail.ends_with("; and 2 more"), "{detail}");
    }
}
