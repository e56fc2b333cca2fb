//! `ocm doctor`: what is wrong with this node, why, and what to do.
//!
//! Each check looks at one thing and says one line. It works with the node running or stopped: what
//! a running node holds (its ports, its store) is asked of the node.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Backend, Config};
use crate::identity;
use crate::store::{Audit, LockError, OpenError, OpenOptions, Store, Unobserved, disk_free};

/// Bytes of free disk below which the node is about to fail.
const DISK_FAULT: u64 = 100 * 1024 * 1024;
/// Bytes of free disk below which the owner should look after it.
const DISK_WARNING: u64 = 1024 * 1024 * 1024;
/// Hours without a comparison after which nobody can say whether a space is whole: a weekend's rest is
/// no fault of a node, two days are worth a look.
const COMPARED_WARNING_HOURS: i64 = 48;
/// Milliseconds since the Unix epoch of 2025-01-01: no clock that is right shows less.
const CLOCK_FLOOR_MS: u128 = 1_735_689_600_000;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing to do.
    Ok,
    /// It works, and may not for long.
    Warning,
    /// It does not work.
    Fault,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found: the cause, where something is wrong.
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, state: State::Ok, text: text.into(), remedy: None }
    }

    fn warning(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (text, remedy) = (text.into(), Some(remedy.into()));
        Self { check, state: State::Warning, text, remedy }
    }

    fn fault(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (text, remedy) = (text.into(), Some(remedy.into()));
        Self { check, state: State::Fault, text, remedy }
    }
}

/// What a running node said of itself, as far as the checks need it.
#[derive(Debug, Clone, Default)]
pub struct RunningNode {
    /// Peers connected.
    pub peers: u64,
    /// Sources of addresses: name, state (`off`, `ok`, `failed`), detail.
    pub sources: Vec<(String, String, String)>,
    /// The spaces it holds.
    pub spaces: Vec<HeldSpace>,
    /// How each of them compares with each peer.
    pub comparisons: Vec<Comparison>,
    /// Records that peers offer and that were not admitted in several tries.
    pub quarantined: Vec<Quarantined>,
}

/// A space that the node holds.
#[derive(Debug, Clone, Default)]
pub struct HeldSpace {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Whether nobody else may read it: there is no peer to compare it with.
    pub is_alone: bool,
}

/// How a space compares with a peer, as far as the checks need it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Comparison {
    /// The space's id.
    pub space: String,
    /// The peer's id.
    pub peer_id: String,
    /// Whether it is connected.
    pub connected: bool,
    /// `equal`, `differs`, `changed since`, `not comparable`, `not compared`, `denied`, `unproved`.
    pub state: String,
    /// When the two were compared, as RFC 3339.
    pub at: Option<String>,
    /// Why they are not equal, for people.
    pub cause: Option<String>,
    /// Records that are missing here.
    pub missing_here: Option<Missing>,
    /// Records that are missing there.
    pub missing_there: Option<Missing>,
}

/// Records that one side lacks, by why.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Missing {
    /// All of them.
    pub total: u64,
    /// Held: something they need is missing on that side.
    pub held: u64,
    /// Refused: whoever wrote them had no right.
    pub refused: u64,
    /// Rejected: what came was not what it claims to be.
    pub rejected: u64,
}

/// A record that a peer offers in vain.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Quarantined {
    /// The space's id.
    pub space: String,
    /// Who offers it.
    pub peer_id: String,
    /// Why it is not admitted, for people.
    pub text: String,
    /// When it was first offered, as RFC 3339.
    pub first: String,
}

/// Looks at everything. `running` is what the node said, when one runs on this data directory.
#[must_use]
pub fn examine(config: &Config, running: Option<&RunningNode>) -> Vec<Finding> {
    let mut findings = vec![
        check_keys(config),
        check_clock(SystemTime::now(), newest_file(&config.data_dir)),
        check_disk(&config.data_dir, disk_free(&config.data_dir).ok()),
        check_store(config, running.is_some()),
    ];
    findings.extend(check_ports(config, running.is_some()));
    findings.extend(check_peers(config, running));
    findings.extend(running.map(|node| check_parity(node, Timestamp::now())).unwrap_or_default());
    findings
}

fn check_keys(config: &Config) -> Finding {
    match identity::load(config) {
        Ok(keys) => Finding::ok("keys", format!("speaks as {}", identity::did(&keys))),
        Err(error) => {
            // The message of each error ends with its remedy, after a colon.
            let text = error.to_string();
            let remedy = match text.rsplit_once(": ") {
                Some((_, remedy)) => remedy.to_owned(),
                None => "see the message".to_owned(),
            };
            Finding::fault("keys", text, remedy)
        }
    }
}

fn check_clock(now: SystemTime, newest: Option<SystemTime>) -> Finding {
    let since = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let remedy = "set the clock, by hand or by NTP (`timedatectl set-ntp true`)";
    if since < CLOCK_FLOOR_MS {
        return Finding::fault("clock", "the clock shows a time before 2025", remedy);
    }
    match newest.and_then(|newest| newest.duration_since(now).ok()) {
        Some(ahead) if ahead.as_secs() > 600 => Finding::fault(
            "clock",
            format!(
                "the clock was set back: this node wrote a file {} minutes ahead of it",
                ahead.as_secs() / 60
            ),
            remedy,
        ),
        _ => Finding::ok("clock", "plausible, and not set back"),
    }
}

/// The last time that anything in the data directory was written.
fn newest_file(data_dir: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(data_dir).ok()?;
    entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok()).max()
}

fn check_disk(data_dir: &Path, free: Option<u64>) -> Finding {
    let place = data_dir.display();
    let Some(free) = free else {
        return Finding::fault(
            "disk",
            format!("{place} cannot be looked at"),
            "run `ocm init`, or point data_dir (OCM_DATA_DIR) at a directory of yours",
        );
    };
    let text = format!("{} MiB free for {place}", free / (1024 * 1024));
    let remedy = "make room, or move the data directory to a larger disk";
    match free {
        _ if free < DISK_FAULT => Finding::fault("disk", text, remedy),
        _ if free < DISK_WARNING => Finding::warning("disk", text, remedy),
        _ => Finding::ok("disk", text),
    }
}

fn check_store(config: &Config, running: bool) -> Finding {
    if config.database.backend == Backend::Memory {
        return Finding::warning(
            "store",
            "records are kept in memory and gone when the node stops",
            "set database.backend (OCM_DATABASE_BACKEND) to sled",
        );
    }
    let path = &config.database.path;
    if running {
        return Finding::ok("store", format!("{} is open in the running node", path.display()));
    }
    if !path.exists() {
        return Finding::fault(
            "store",
            format!("there is none at {}", path.display()),
            "run `ocm init`",
        );
    }
    let whole = OpenOptions { audit: Audit::Whole, ..OpenOptions::default() };
    match Store::open(path, whole, Arc::new(Unobserved)) {
        Ok(opened) => Finding::ok(
            "store",
            format!("{} records, all of them read", opened.frontier.records.count),
        ),
        Err(OpenError::Lock(error @ LockError::Held { .. })) => Finding::fault(
            "store",
            error.to_string(),
            "stop that process, or check api.listen (OCM_API_LISTEN) if it is this node",
        ),
        Err(error) => Finding::fault(
            "store",
            error.to_string(),
            "restore a backup, or start once with `ocm node --accept-loss` and let peers fill in",
        ),
    }
}

fn check_ports(config: &Config, running: bool) -> Vec<Finding> {
    if running {
        return vec![Finding::ok("ports", "held by the running node")];
    }
    let bind = config.network.bind_address;
    let mut findings = Vec::new();
    if config.network.enable_network_calls {
        let port = config.network.port;
        if config.network.tcp {
            findings.push(port_free("TCP", bind, port, "network.port (OCM_NETWORK_PORT)"));
        }
        if config.network.quic {
            findings.push(port_free("UDP", bind, port, "network.port (OCM_NETWORK_PORT)"));
        }
    }
    let api: SocketAddr = config.api.listen;
    findings.push(port_free("TCP", api.ip(), api.port(), "api.listen (OCM_API_LISTEN)"));
    findings
}

fn port_free(protocol: &str, ip: IpAddr, port: u16, key: &str) -> Finding {
    let address = SocketAddr::new(ip, port);
    let bound = match protocol {
        "TCP" => TcpListener::bind(address).map(drop),
        _ => UdpSocket::bind(address).map(drop),
    };
    match bound {
        Ok(()) => Finding::ok("ports", format!("{protocol} {address} is free")),
        Err(error) => Finding::fault(
            "ports",
            format!("{protocol} {address} cannot be used: {error}"),
            format!("stop what holds it, or set {key} to a free one"),
        ),
    }
}

fn check_peers(config: &Config, running: Option<&RunningNode>) -> Vec<Finding> {
    if !config.network.enable_network_calls {
        return vec![Finding::warning(
            "peers",
            "the network is switched off",
            "set network.enable_network_calls (OCM_ENABLE_NETWORK_CALLS) to true",
        )];
    }
    let Some(node) = running else {
        return vec![Finding::warning("peers", "the node is not running", "start it: `ocm node`")];
    };
    let mut findings = vec![if node.peers == 0 {
        Finding::warning(
            "peers",
            "isolated: no peer is connected",
            "give an address with `ocm peer connect ADDRESS`, or set network.seed_peers \
             (OCM_SEED_PEERS)",
        )
    } else {
        Finding::ok("peers", format!("{} connected", node.peers))
    }];
    for (name, state, detail) in &node.sources {
        let text = format!("{name}: {detail}");
        findings.push(match state.as_str() {
            "failed" => Finding::fault("peers", text, "mend it, or switch that source off"),
            _ => Finding::ok("peers", text),
        });
    }
    findings
}

/// What each space lacks, here or at a peer, and why.
fn check_parity(node: &RunningNode, now: Timestamp) -> Vec<Finding> {
    node.spaces.iter().flat_map(|space| check_space(node, space, now)).collect()
}

fn check_space(node: &RunningNode, space: &HeldSpace, now: Timestamp) -> Vec<Finding> {
    let name = &space.name;
    let rows = || node.comparisons.iter().filter(|row| row.space == space.id);
    let mut findings: Vec<Finding> =
        rows().flat_map(|row| check_comparison(node, row, name)).collect();
    let times = rows().filter_map(|row| row.at.as_deref()?.parse::<Timestamp>().ok());
    let remedy = "see that a peer that shares it is connected (`ocm peers`), then `ocm sync now`";
    match times.max() {
        None if space.is_alone => {
            let text = format!("space {name} has no other member to compare with");
            findings.push(Finding::ok("parity", text));
        }
        None => {
            let text = format!("space {name} was never compared with anyone");
            findings.push(Finding::warning("parity", text, remedy));
        }
        Some(at) => {
            let hours = (now.as_second() - at.as_second()) / 3600;
            if hours >= COMPARED_WARNING_HOURS {
                let text =
                    format!("space {name} was not compared with anyone for {} days", hours / 24);
                findings.push(Finding::warning("parity", text, remedy));
            }
        }
    }
    if findings.is_empty() {
        let connected =
            |state: &str| rows().filter(|row| row.connected && row.state == state).count();
        let peers =
            |n| if n == 1 { "1 connected peer".into() } else { format!("{n} connected peers") };
        let away = rows().find(|row| row.state == "differs");
        findings.push(match (connected("equal"), connected("changed since"), away) {
            (0, 0, Some(row)) => {
                let cause = row.cause.as_deref().unwrap_or("the two differ");
                let text = format!(
                    "space {name}: no connected peer was compared; peer {}, which is away, \
                     differed: {cause}",
                    row.peer_id
                );
                Finding::warning("parity", text, remedy)
            }
            (0, 0, None) => {
                Finding::ok("parity", format!("space {name}: no connected peer was compared"))
            }
            (0, changed, _) => {
                let peers = peers(changed);
                let text =
                    format!("space {name} has changed since the last comparison with {peers}");
                Finding::ok("parity", text)
            }
            (equal, _, _) => {
                Finding::ok("parity", format!("space {name} is equal with {}", peers(equal)))
            }
        });
    }
    findings
}

/// What keeps a peer and this node from storing the same of a space.
fn check_comparison(node: &RunningNode, row: &Comparison, name: &str) -> Vec<Finding> {
    let peer = format!("peer {}", row.peer_id);
    let cause = row.cause.clone().unwrap_or_default();
    let warn = |text: String, remedy: &str| Finding::warning("parity", text, remedy);
    match row.state.as_str() {
        "unproved" => {
            return vec![Finding::fault(
                "parity",
                format!("{peer}, space {name}: {cause}"),
                "do not count it among the copies; ask who runs it, or block it with `ocm peer block`",
            )];
        }
        "denied" if row.connected => {
            return vec![warn(
                format!("{peer} denies space {name}: {cause}"),
                "let it join the space, or ask an owner whether this node's DID has a role",
            )];
        }
        "not comparable" if row.connected => {
            return vec![warn(
                format!("{peer}, space {name}: other kinds of record have an effect there"),
                "run the same version of ocm on both",
            )];
        }
        _ => {}
    }
    let mut findings = Vec::new();
    let records = |n: u64| if n == 1 { "1 record".to_owned() } else { format!("{n} records") };
    let there = row.missing_there.unwrap_or_default();
    for (n, why, remedy) in [
        (
            there.refused,
            "it refuses them: by what it holds, whoever wrote them had no right",
            "compare the versions of ocm on both, and see `ocm refused` there",
        ),
        (
            there.held,
            "it holds them: something they build on, or a rule they ask for, is missing there",
            "see `ocm sync quarantined` there; update ocm there if its version is older",
        ),
        (
            there.rejected,
            "it rejects them: what reached it was not what was signed",
            "stop this node and run `ocm doctor`, which reads every record",
        ),
    ] {
        if n > 0 {
            let text = format!("{peer} lacks {} of space {name} because {why}", records(n));
            findings.push(warn(text, remedy));
        }
    }
    let here = row.missing_here.unwrap_or_default();
    let stuck = here.refused + here.held + here.rejected;
    if stuck > 0 {
        let of = |q: &&Quarantined| q.space == row.space && q.peer_id == row.peer_id;
        let listed = || node.quarantined.iter().filter(of);
        let why = match listed().map(|q| q.text.as_str()).min() {
            Some(text) => text.to_owned(),
            None => {
                format!("{} refused, {} held, {} rejected", here.refused, here.held, here.rejected)
            }
        };
        let first = listed().map(|q| q.first.as_str()).min();
        let since = first.map(|first| format!(", first seen {first}")).unwrap_or_default();
        let text = format!(
            "{} of space {name} from {peer} cannot be admitted: {why}{since}",
            records(stuck)
        );
        findings.push(warn(text, "see `ocm sync quarantined`, and ask who runs that peer"));
    }
    if findings.is_empty() && row.connected && row.state == "differs" {
        let cause = row.cause.as_deref().unwrap_or("the two differ");
        findings.push(warn(
            format!("{peer}, space {name}: {cause}"),
            "run `ocm sync status --wait-equal 60`; if it lasts, run `ocm doctor` there too",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Environment, Overrides};

    /// A node that was initialised and is not running, on free ports.
    fn healthy(dir: &Path) -> Config {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let flags = Overrides::new()
            .set("data_dir", dir.join("node").to_str().unwrap())
            .set("network.bind_address", "127.0.0.1")
            .set("network.port", "0")
            .set("api.listen", free.to_string());
        let none: [(&str, &str); 0] = [];
        let loaded = Config::load(&flags, &Environment::from_iter(none)).unwrap();
        crate::runtime::init(&loaded).unwrap();
        loaded.config
    }

    fn found(findings: &[Finding], check: &str, state: State, text: &str) {
        let line = findings.iter().find(|finding| {
            finding.check == check && finding.state == state && finding.text.contains(text)
        });
        let line =
            line.unwrap_or_else(|| panic!("no {state:?} of {check} with {text:?}: {findings:#?}"));
        assert_eq!(line.remedy.is_some(), state != State::Ok);
    }

    #[test]
    fn a_healthy_node_has_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        let findings = examine(&healthy(dir.path()), None);
        assert!(findings.iter().all(|finding| finding.state != State::Fault), "{findings:#?}");
        found(&findings, "store", State::Ok, "1 records");
        found(&findings, "keys", State::Ok, "did:key:");
        found(&findings, "peers", State::Warning, "not running");
    }

    #[test]
    fn exposed_missing_and_damaged_keys_are_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let config = healthy(dir.path());
        let key = identity::directory(&config.data_dir).join("author.key");
        let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode));
        mode(0o644).unwrap();
        let exposed = check_keys(&config);
        found(std::slice::from_ref(&exposed), "keys", State::Fault, "can be read by others");
        assert!(exposed.remedy.unwrap().contains("chmod 600"));
        mode(0o600).unwrap();
        std::fs::write(&key, "c2hvcnQ=").unwrap();
        found(&[check_keys(&config)], "keys", State::Fault, "it holds 5 bytes");
        std::fs::remove_file(&key).unwrap();
        found(&[check_keys(&config)], "keys", State::Fault, "there is no identity");
    }

    #[test]
    fn a_wrong_clock_is_told() {
        let past = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        found(&[check_clock(past, None)], "clock", State::Fault, "before 2025");
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let ahead = now + Duration::from_secs(7_200);
        found(&[check_clock(now, Some(ahead))], "clock", State::Fault, "120 minutes");
        found(&[check_clock(now, Some(now))], "clock", State::Ok, "plausible");
    }

    #[test]
    fn a_full_disk_is_told() {
        let dir = Path::new("/somewhere");
        found(&[check_disk(dir, Some(1024))], "disk", State::Fault, "0 MiB free");
        found(&[check_disk(dir, Some(DISK_WARNING - 1))], "disk", State::Warning, "1023 MiB");
        found(&[check_disk(dir, Some(DISK_WARNING))], "disk", State::Ok, "1024 MiB");
        found(&[check_disk(dir, None)], "disk", State::Fault, "cannot be looked at");
    }

    #[test]
    fn a_held_a_damaged_and_a_missing_store_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let config = healthy(dir.path());
        let options = OpenOptions::default();
        let open = Store::open(&config.database.path, options, Arc::new(Unobserved)).unwrap();
        let held = check_store(&config, false);
        found(&[held], "store", State::Fault, &std::process::id().to_string());
        open.store.close().unwrap();
        std::fs::remove_file(config.database.path.join("frontier")).unwrap();
        found(&[check_store(&config, false)], "store", State::Fault, "frontier");
        std::fs::remove_dir_all(&config.database.path).unwrap();
        found(&[check_store(&config, false)], "store", State::Fault, "there is none");
    }

    #[test]
    fn a_taken_port_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let config = healthy(dir.path());
        let holder = TcpListener::bind(config.api.listen).unwrap();
        let findings = check_ports(&config, false);
        found(&findings, "ports", State::Fault, &config.api.listen.to_string());
        drop(holder);
        let findings = check_ports(&config, false);
        found(&findings, "ports", State::Ok, &config.api.listen.to_string());
    }

    #[test]
    fn isolation_and_failing_sources_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let config = healthy(dir.path());
        let source = |state: &str| ("beacon".into(), state.into(), "port 8081 is taken".into());
        let none = RunningNode::default();
        let alone = RunningNode { sources: vec![source("failed")], ..none.clone() };
        let findings = check_peers(&config, Some(&alone));
        found(&findings, "peers", State::Warning, "isolated");
        found(&findings, "peers", State::Fault, "beacon: port 8081 is taken");
        let joined = RunningNode { peers: 2, sources: vec![source("ok")], ..none };
        let findings = check_peers(&config, Some(&joined));
        found(&findings, "peers", State::Ok, "2 connected");
        found(&findings, "peers", State::Ok, "beacon");
    }

    const NOW: &str = "2026-02-03T10:00:00Z";

    fn row(state: &str) -> Comparison {
        Comparison {
            space: "v1".into(),
            peer_id: "12D3KooWX".into(),
            connected: true,
            state: state.into(),
            at: Some("2026-02-03T09:00:00Z".into()),
            ..Comparison::default()
        }
    }

    fn parity(comparisons: Vec<Comparison>, quarantined: Vec<Quarantined>) -> Vec<Finding> {
        let space = HeldSpace { id: "v1".into(), name: "camp".into(), is_alone: false };
        let spaces = vec![space];
        let node = RunningNode { spaces, comparisons, quarantined, ..RunningNode::default() };
        check_parity(&node, NOW.parse().unwrap())
    }

    #[test]
    fn a_space_that_is_equal_everywhere_is_fine() {
        let findings = parity(vec![row("equal"), row("changed since")], Vec::new());
        assert_eq!(findings.len(), 1);
        found(&findings, "parity", State::Ok, "space camp is equal with 1 connected peer");
    }

    #[test]
    fn a_difference_is_never_fine_whatever_it_consists_of() {
        let mut differs = row("differs");
        differs.cause = Some("missing bodies differ: 0 here, 2 there".into());
        for missing in [None, Some(Missing { total: 7, ..Missing::default() })] {
            (differs.missing_here, differs.missing_there) = (missing, missing);
            let findings = parity(vec![row("equal"), differs.clone()], Vec::new());
            assert_eq!(findings.len(), 1);
            let text = "peer 12D3KooWX, space camp: missing bodies differ: 0 here, 2 there";
            found(&findings, "parity", State::Warning, text);
        }
        differs.connected = false;
        let findings = parity(vec![differs.clone()], Vec::new());
        assert_eq!(findings.len(), 1);
        found(&findings, "parity", State::Warning, "12D3KooWX, which is away, differed: missing b");
        // Where others are equal, who is away will be.
        let findings = parity(vec![differs, row("equal")], Vec::new());
        assert_eq!(findings.len(), 1);
        found(&findings, "parity", State::Ok, "is equal with 1 connected peer");
    }

    #[test]
    fn equal_is_said_only_of_who_is_connected_and_was_compared_with_what_is_stored() {
        let away = Comparison { connected: false, ..row("equal") };
        let findings = parity(vec![away.clone()], Vec::new());
        assert_eq!(findings.len(), 1);
        found(&findings, "parity", State::Ok, "camp: no connected peer was compared");
        let fresh = Comparison { at: None, ..row("not compared") };
        let findings = parity(vec![away.clone(), fresh], Vec::new());
        found(&findings, "parity", State::Ok, "camp: no connected peer was compared");
        let findings = parity(vec![away, row("changed since")], Vec::new());
        assert_eq!(findings.len(), 1);
        let text = "camp has changed since the last comparison with 1 connected peer";
        found(&findings, "parity", State::Ok, text);
    }

    #[test]
    fn records_that_a_peer_does_not_admit_are_told_with_the_cause() {
        let mut differs = row("differs");
        differs.missing_there = Some(Missing { total: 16, refused: 12, held: 1, rejected: 3 });
        let findings = parity(vec![differs], Vec::new());
        assert_eq!(findings.len(), 3);
        let text = "peer 12D3KooWX lacks 12 records of space camp because it refuses them";
        found(&findings, "parity", State::Warning, text);
        found(&findings, "parity", State::Warning, "lacks 1 record of space camp because it holds");
        found(&findings, "parity", State::Warning, "lacks 3 records of space camp because it reje");
    }

    #[test]
    fn records_that_cannot_be_admitted_here_are_told_with_cause_and_age() {
        let mut differs = row("differs");
        differs.missing_here = Some(Missing { total: 3, refused: 3, ..Missing::default() });
        let findings = parity(vec![differs.clone()], Vec::new());
        let text = "3 records of space camp from peer 12D3KooWX cannot be admitted: 3 refused";
        found(&findings, "parity", State::Warning, text);
        let quarantined = |peer: &str, first: &str| Quarantined {
            space: "v1".into(),
            peer_id: peer.into(),
            text: "refused: no right".into(),
            first: first.into(),
        };
        let listed = vec![
            quarantined("12D3KooWX", "2026-02-02T08:00:00Z"),
            quarantined("12D3KooWX", "2026-02-01T08:00:00Z"),
            quarantined("12D3KooWY", "2026-01-01T08:00:00Z"),
        ];
        let findings = parity(vec![differs], listed);
        let text = "cannot be admitted: refused: no right, first seen 2026-02-01T08:00:00Z";
        found(&findings, "parity", State::Warning, text);
    }

    #[test]
    fn a_peer_that_lies_denies_or_cannot_be_compared_is_told() {
        let with = |state: &str, cause: &str| {
            let row = Comparison { cause: Some(cause.into()), ..row(state) };
            parity(vec![row], Vec::new())
        };
        let lies = with("unproved", "it does not prove what it claims: 2 of 16 are wrong");
        found(&lies, "parity", State::Fault, "does not prove what it claims");
        found(&with("denied", "not for us"), "parity", State::Warning, "denies space camp");
        found(&with("not comparable", ""), "parity", State::Warning, "other kinds of record");
    }

    #[test]
    fn a_space_that_nobody_was_asked_about_is_told() {
        found(&parity(Vec::new(), Vec::new()), "parity", State::Warning, "was never compared");
        let own = HeldSpace { name: "personal".into(), is_alone: true, ..HeldSpace::default() };
        let node = RunningNode { spaces: vec![own], ..RunningNode::default() };
        let findings = check_parity(&node, NOW.parse().unwrap());
        found(&findings, "parity", State::Ok, "personal has no other member");
        let mut old = row("equal");
        old.at = Some("2026-02-01T09:59:00Z".into());
        let findings = parity(vec![old.clone()], Vec::new());
        found(&findings, "parity", State::Warning, "camp was not compared with anyone for 2 days");
        let findings = parity(vec![old, row("equal")], Vec::new());
        found(&findings, "parity", State::Ok, "equal with 2");
    }
}
