//! `ocm doctor`: what is wrong with this node, why, and what to do.
//!
//! Each check looks at one thing and says one line. It works with the node running or stopped: what
//! a running node holds (its ports, its store) is asked of the node. Where another one answers in its
//! place, that is a finding, and the rest is looked at all the same.

mod parity;
mod peers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::Serialize;

pub use self::parity::{Comparison, HeldSpace, Missing, Quarantined};
use crate::client::TOKEN_FILE;
use crate::config::{Backend, Config, Exposure, Loaded};
use crate::identity;
use crate::store::{Audit, LockError, OpenError, OpenOptions, Store, Unobserved, disk_free};

/// Bytes of free disk below which the node is about to fail.
const DISK_FAULT: u64 = 100 * 1024 * 1024;
/// Bytes of free disk below which the owner should look after it.
const DISK_WARNING: u64 = 1024 * 1024 * 1024;
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
    /// Peers that its owner blocked.
    pub blocked: u64,
    /// The fingerprint of the private network's key; none in the open one.
    pub network_key: Option<String>,
    /// Sources of addresses: name, state (`off`, `ok`, `troubled`, `failed`), detail.
    pub sources: Vec<(String, String, String)>,
    /// The spaces it holds.
    pub spaces: Vec<HeldSpace>,
    /// How each of them compares with each peer.
    pub comparisons: Vec<Comparison>,
    /// Records that peers offer and that were not admitted in several tries.
    pub quarantined: Vec<Quarantined>,
}

/// What answers where the node's API is expected.
#[derive(Debug, Clone)]
pub enum Answered {
    /// Nothing: the node is not running.
    Nobody,
    /// The node.
    Node(Box<RunningNode>),
    /// A node that does not take this one's token.
    Stranger {
        /// Where.
        address: String,
    },
    /// Something that the node cannot be told from.
    Unclear {
        /// What was seen, and where.
        cause: String,
    },
}

/// Looks at everything: at what a running node holds through what it said, else by itself.
#[must_use]
pub fn examine(loaded: &Loaded, answered: &Answered) -> Vec<Finding> {
    let config = &loaded.config;
    let running = match answered {
        Answered::Node(node) => Some(&**node),
        _ => None,
    };
    let mut findings = vec![
        check_keys(config),
        check_clock(SystemTime::now(), newest_file(&config.data_dir)),
        check_disk(&config.data_dir, disk_free(&config.data_dir).ok()),
        check_store(config, running.is_some()),
    ];
    findings.extend(check_exposure(loaded));
    findings.extend(check_token(&config.data_dir));
    findings.extend(check_api(answered));
    findings.extend(check_ports(config, answered));
    findings.extend(peers::check(config, answered));
    findings.extend(running.map(|node| parity::check(node, Timestamp::now())).unwrap_or_default());
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

/// What is open to others than it is meant for: also said at the start of a node.
pub(crate) fn check_exposure(loaded: &Loaded) -> Vec<Finding> {
    let exposed =
        |exposure: Exposure| Finding::warning("secrets", exposure.to_string(), exposure.remedy());
    let listen = loaded.config.api.listen;
    let in_plain = (!listen.ip().is_loopback()).then(|| {
        Finding::warning(
            "api",
            format!(
                "the API listens on {listen}, beyond this machine and without TLS: whoever listens on \
                 the way can take its token"
            ),
            "set api.listen (OCM_API_LISTEN) to an address of loopback, and reach it through a proxy \
             with TLS or `ssh -L`; or let a firewall keep it to a network that you trust",
        )
    });
    loaded.exposures().map(exposed).chain(in_plain).collect()
}

/// The token that the node keeps for commands of this machine.
fn check_token(data_dir: &Path) -> Option<Finding> {
    let exposure = Exposure::of(&data_dir.join(TOKEN_FILE))?;
    let remedy = "restart the node, which draws another one where none is configured";
    Some(Finding::warning("secrets", exposure.to_string(), remedy))
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
        Err(OpenError::Owner { directory, owner }) => Finding::fault(
            "store",
            format!("{} belongs to user {owner}: root would spoil it", directory.display()),
            format!("ask as that user: `sudo -u '#{owner}' ocm doctor`"),
        ),
        Err(error) => Finding::fault(
            "store",
            error.to_string(),
            "restore a backup, or start once with `ocm node --accept-loss` and let peers fill in",
        ),
    }
}

/// Whether it is the node that answers for it.
fn check_api(answered: &Answered) -> Option<Finding> {
    match answered {
        Answered::Nobody | Answered::Node(_) => None,
        Answered::Stranger { address } => Some(Finding::fault(
            "api",
            format!("another node answers at {address}: it does not take this node's token"),
            "set api.listen (OCM_API_LISTEN) to an address of this node's own; if it is this node \
             that answers, run this as its user, or give its token (OCM_API_TOKEN_FILE)",
        )),
        Answered::Unclear { cause } => Some(Finding::fault(
            "api",
            cause.clone(),
            "see the log of the node; if something else answers there, set api.listen \
             (OCM_API_LISTEN) to another address",
        )),
    }
}

fn check_ports(config: &Config, answered: &Answered) -> Vec<Finding> {
    if matches!(answered, Answered::Node(_)) {
        return vec![Finding::ok("ports", "held by the running node")];
    }
    let bind = match config.network.bind_address {
        // Every address; on a machine without IPv6 that is every IPv4 address.
        any @ IpAddr::V6(Ipv6Addr::UNSPECIFIED) if UdpSocket::bind((any, 0)).is_err() => {
            Ipv4Addr::UNSPECIFIED.into()
        }
        other => other,
    };
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
    // Who holds it otherwise was found out.
    if matches!(answered, Answered::Nobody) {
        let api: SocketAddr = config.api.listen;
        findings.push(port_free("TCP", api.ip(), api.port(), "api.listen (OCM_API_LISTEN)"));
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Environment, Overrides};

    /// A node that was initialised and is not running, on free ports.
    pub(super) fn healthy(dir: &Path) -> Config {
        initialised(dir).config
    }

    fn initialised(dir: &Path) -> Loaded {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let flags = Overrides::new()
            .set("data_dir", dir.join("node").to_str().unwrap())
            .set("network.bind_address", "127.0.0.1")
            .set("network.port", "0")
            .set("api.listen", free.to_string());
        let none: [(&str, &str); 0] = [];
        let loaded = Config::load(&flags, &Environment::from_iter(none)).unwrap();
        crate::runtime::init(&loaded).unwrap();
        loaded
    }

    pub(super) fn found(findings: &[Finding], check: &str, state: State, text: &str) {
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
        let findings = examine(&initialised(dir.path()), &Answered::Nobody);
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
    fn an_open_secret_and_an_api_beyond_this_machine_are_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let load = |listen: &str, mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let (home, file) = (dir.path().to_str().unwrap(), file.to_str().unwrap());
            let set = [("HOME", home), ("OCM_API_TOKEN_FILE", file), ("OCM_API_LISTEN", listen)];
            Config::load(&Overrides::new(), &Environment::from_iter(set)).unwrap()
        };
        assert_eq!(check_exposure(&load("127.0.0.1:7845", 0o600)), []);
        assert_eq!(check_exposure(&load("[::1]:7845", 0o400)), []);
        let findings = check_exposure(&load("0.0.0.0:7845", 0o644));
        assert_eq!(findings.len(), 2);
        found(&findings, "secrets", State::Warning, "mode 644");
        found(&findings, "api", State::Warning, "0.0.0.0:7845");
    }

    #[test]
    fn a_token_that_others_can_read_is_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check_token(dir.path()), None);
        let file = dir.path().join("api.token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        for (mode, told) in [(0o600, false), (0o640, true)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_token(dir.path()).is_some(), told, "{mode:o}");
        }
        found(
            &check_token(dir.path()).into_iter().collect::<Vec<_>>(),
            "secrets",
            State::Warning,
            "640",
        );
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
    fn root_is_told_to_ask_as_the_owner() {
        use std::io::Write as _;
        if !rustix::process::geteuid().is_root() {
            // Straight to the stream: the test runner keeps to itself what `eprintln!` says.
            let _ = writeln!(std::io::stderr(), "skipped: only root could");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let config = healthy(dir.path());
        std::os::unix::fs::chown(&config.database.path, Some(65_534), None).unwrap();
        let finding = check_store(&config, false);
        found(std::slice::from_ref(&finding), "store", State::Fault, "belongs to user 65534");
        assert!(finding.remedy.unwrap().contains("sudo -u '#65534' ocm doctor"));
    }

    #[test]
    fn a_taken_port_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let config = healthy(dir.path());
        let holder = TcpListener::bind(config.api.listen).unwrap();
        let findings = check_ports(&config, &Answered::Nobody);
        found(&findings, "ports", State::Fault, &config.api.listen.to_string());
        drop(holder);
        let findings = check_ports(&config, &Answered::Nobody);
        found(&findings, "ports", State::Ok, &config.api.listen.to_string());
    }

    #[test]
    fn where_another_node_answers_the_rest_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let loaded = initialised(dir.path());
        // It holds the address; that it does is told once.
        let _other = TcpListener::bind(loaded.config.api.listen).unwrap();
        let address = loaded.config.api.listen.to_string();
        let findings = examine(&loaded, &Answered::Stranger { address: address.clone() });
        let text = format!("another node answers at {address}");
        found(&findings, "api", State::Fault, &text);
        let faults = findings.iter().filter(|finding| finding.state == State::Fault);
        assert_eq!(faults.count(), 1, "{findings:#?}");
        found(&findings, "store", State::Ok, "1 records");
        found(&findings, "keys", State::Ok, "did:key:");
        let remedy = findings.iter().find_map(|found| found.remedy.clone()).unwrap();
        assert!(remedy.contains("api.listen (OCM_API_LISTEN)"), "{remedy}");
    }
}
