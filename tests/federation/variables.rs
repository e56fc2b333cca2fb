//! Each variable changes what a running node does.
//!
//! Each case runs the node twice as a process, without the variable and with it, and looks at what
//! it says, answers and leaves on the disk. What only shows under load is looked at where it is
//! handed on (`src/runtime/start.rs`).

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Client, Process};

/// What handing on shows: caches, limits, pauses, what would take days, and what would speak to the network around.
const ELSEWHERE: [&str; 15] = [
    "OCM_DATABASE_CACHE_MIB",
    "OCM_NETWORK_MDNS",
    "OCM_NETWORK_BEACON_HOSTS",
    "OCM_NETWORK_ALLOW",
    "OCM_NETWORK_RELAY",
    "OCM_ENABLE_UPNP",
    "OCM_NETWORK_REMEMBER",
    "OCM_NETWORK_MAX_PEERS",
    "OCM_NETWORK_MAX_CONNECTIONS_PER_ADDRESS",
    "OCM_NETWORK_MAX_CONNECTIONS_PER_NETWORK",
    "OCM_NETWORK_MAX_PEERS_PER_ADDRESS",
    "OCM_NETWORK_EXEMPT_ADDRESSES",
    "OCM_NETWORK_SYNC_INTERVAL_SECONDS",
    "OCM_API_BATCH_TIMEOUT_SECONDS",
    "OCM_LOG_KEEP",
];

/// A running node, and what was seen of it.
struct Seen {
    client: Client,
    said: String,
    status: Value,
    data: PathBuf,
}

impl Seen {
    fn listens(&self, part: &str) -> bool {
        let listen = self.status["listen"].as_array().unwrap();
        listen.iter().any(|address| address.as_str().unwrap().contains(part))
    }

    /// What is said of a source of peers.
    fn source(&self, name: &str) -> &str {
        let sources = self.status["sources"].as_array().unwrap();
        let source = sources.iter().find(|source| source["name"] == name);
        source.and_then(|source| source["state"].as_str()).unwrap_or("off")
    }

    fn invitation(&self) -> String {
        let space = self.status["default_space"].as_str().unwrap();
        self.client.get(&format!("/v1/spaces/{space}/invitation")).to_string()
    }
}

/// One variable, its value (`{dir}` stands for a directory of the case's own, `{port}` for a free
/// port), what else is set in both runs, and what the value alone brings about.
struct Case {
    variable: &'static str,
    value: &'static str,
    with: &'static [(&'static str, &'static str)],
    effect: fn(&Seen, &Path, u16) -> bool,
}

const fn case(
    variable: &'static str,
    value: &'static str,
    effect: fn(&Seen, &Path, u16) -> bool,
) -> Case {
    Case { variable, value, with: &[], effect }
}

const KEY: &str = "/key/swarm/psk/1.0.0/\n/base16/\n\
                   0707070707070707070707070707070707070707070707070707070707070707";
const SEED: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const SPACE: &str = "v06gvo64eg4000j98rll2p1v6ja5rcou5lht576rbekrhe7t693385a6d5paa9b9u";

const CASES: &[Case] = &[
    case("OCM_DATA_DIR", "{dir}/data", |_, dir, _| dir.join("data/keys/author.key").exists()),
    case("OCM_PROFILE", "testing", |seen, _, _| !seen.data.join("store/sled").exists()),
    case("OCM_DATABASE_PATH", "{dir}/db", |_, dir, _| dir.join("db/frontier").exists()),
    case("OCM_DATABASE_BACKEND", "memory", |seen, _, _| !seen.data.join("store/sled").exists()),
    case("OCM_NETWORK_PORT", "{port}", |seen, _, port| seen.listens(&format!("/tcp/{port}"))),
    Case {
        variable: "OCM_DISCOVERY_PORT",
        value: "{port}",
        with: &[("OCM_NETWORK_BEACON", "true")],
        effect: |_, _, port| UdpSocket::bind(("127.0.0.1", port)).is_err(),
    },
    case("OCM_BIND_ADDRESS", "127.0.0.2", |seen, _, _| seen.listens("/ip4/127.0.0.2/")),
    case("OCM_ENABLE_NETWORK_CALLS", "false", |seen, _, _| !seen.listens("/")),
    case("OCM_SEED_PEERS", "127.0.0.1:{port}", |seen, _, _| seen.source("bootstrap") != "off"),
    case("OCM_NETWORK_RELAYS", "127.0.0.1:{port}", |seen, _, _| seen.source("relays") != "off"),
    case("OCM_NETWORK_EXTERNAL_ADDRESSES", "/ip4/192.0.2.7/tcp/8080", |seen, _, _| {
        seen.invitation().contains("/ip4/192.0.2.7/tcp/8080")
    }),
    Case {
        variable: "OCM_NETWORK_BEACON",
        value: "true",
        with: &[("OCM_DISCOVERY_PORT", "{port}")],
        effect: |seen, _, _| seen.source("beacon") != "off",
    },
    case("OCM_NETWORK_LOOKUP", "client", |seen, _, _| seen.source("lookup") != "off"),
    case("OCM_NETWORK_TCP", "false", |seen, _, _| !seen.listens("/tcp/")),
    case("OCM_NETWORK_KEY", KEY, |seen, _, _| !seen.listens("/quic-v1")),
    case("OCM_NETWORK_QUIC", "false", |seen, _, _| !seen.listens("/quic-v1")),
    case("OCM_IDENTITY_HANDLE", "the-mill", |seen, _, _| seen.status["handle"] == "the-mill"),
    case("OCM_IDENTITY_SEED", SEED, |seen, _, _| {
        let key = ocm_record::SigningKey::from_seed(&[7; 32]).public();
        seen.status["did"] == ocm_record::Did::from(key).to_string()
    }),
    case("OCM_API_LISTEN", "127.0.0.2:{port}", |seen, _, port| {
        seen.client.api() == format!("http://127.0.0.2:{port}")
    }),
    case("OCM_API_HOSTS", "node.example.org", |seen, _, _| {
        seen.client.get_as_host("node.example.org", "/status") == 200
    }),
    case("OCM_API_TOKEN", "a-token-of-20-chars.", |seen, _, _| {
        seen.client
            .clone()
            .with_token("a-token-of-20-chars.")
            .ask("GET", "/status", None)
            .unwrap()
            .0
            == 200
    }),
    case("OCM_API_BATCH_MEMORIES", "1", |seen, _, _| {
        let two = serde_json::json!({"items": [{}, {}]});
        seen.client.ask("POST", "/v1/memories:batch", Some(&two)).unwrap().0 == 413
    }),
    case("OCM_SPACE_DEFAULT", SPACE, |seen, _, _| seen.status["default_space"] == SPACE),
    case("OCM_LOG_LEVEL", "info", |seen, _, _| seen.said.contains("INFO")),
    Case {
        variable: "OCM_LOG_FORMAT",
        value: "json",
        with: &[("OCM_LOG_LEVEL", "info")],
        effect: |seen, _, _| seen.said.starts_with('{'),
    },
    Case {
        variable: "OCM_LOG_DIRECTORY",
        value: "{dir}/logs",
        with: &[("OCM_LOG_LEVEL", "info")],
        effect: |seen, dir, _| dir.join("logs").exists() && !seen.said.contains("INFO"),
    },
    Case {
        variable: "OCM_LOG_ROTATE",
        value: "never",
        with: &[("OCM_LOG_DIRECTORY", "{dir}/logs")],
        effect: |_, dir, _| dir.join("logs/ocm.log").exists(),
    },
];

/// Runs a node with these variables until it was looked at.
fn run(variables: &BTreeMap<&str, String>, look: impl FnOnce(&Seen)) {
    let data = PathBuf::from(&variables["OCM_DATA_DIR"]);
    let mut process = Process::spawn_with(variables);
    let (client, said) = process.until_ready(&data);
    let status = client.get("/status");
    look(&Seen { client, said, status, data });
}

#[test]
fn each_variable_changes_what_a_node_does() {
    for Case { variable, value, with, effect } in CASES {
        let dir = TempDir::new().unwrap();
        let taken = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        drop(taken);
        let fill = |text: &str| {
            text.replace("{dir}", dir.path().to_str().unwrap()).replace("{port}", &port.to_string())
        };
        let mut variables: BTreeMap<&str, String> =
            with.iter().map(|(name, value)| (*name, fill(value))).collect();
        let effect = |seen: &Seen| effect(seen, dir.path(), port);
        let home = dir.path().join("without");
        variables.insert("OCM_DATA_DIR", home.to_str().unwrap().to_owned());
        run(&variables, |seen| assert!(!effect(seen), "{variable}: seen without it"));
        let home = dir.path().join("with");
        variables.insert("OCM_DATA_DIR", home.to_str().unwrap().to_owned());
        variables.insert(variable, fill(value));
        run(&variables, |seen| assert!(effect(seen), "{variable}={value} changed nothing"));
    }
    let seen = CASES.iter().map(|case| case.variable).chain(ELSEWHERE);
    let (mut seen, mut all): (Vec<&str>, Vec<&str>) =
        (seen.collect(), ocm::config::KEYS.iter().map(|key| key.env).collect());
    seen.sort_unstable();
    all.sort_unstable();
    assert_eq!(seen, all, "a variable is missing in the table, or in the configuration");
}

#[test]
fn a_secret_in_a_file_is_what_a_node_uses() {
    let dir = TempDir::new().unwrap();
    let (seed, token) = (dir.path().join("seed"), dir.path().join("token"));
    std::fs::write(&seed, format!("{SEED}\n")).unwrap();
    std::fs::write(&token, "a-token-of-20-chars.\n").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let variables = BTreeMap::from([
        ("OCM_DATA_DIR", text(&dir.path().join("data"))),
        ("OCM_IDENTITY_SEED_FILE", text(&seed)),
        ("OCM_API_TOKEN_FILE", text(&token)),
    ]);
    run(&variables, |seen| {
        let key = ocm_record::SigningKey::from_seed(&[7; 32]).public();
        assert_eq!(seen.status["did"], ocm_record::Did::from(key).to_string());
        let client = seen.client.clone().with_token("a-token-of-20-chars.");
        assert_eq!(client.ask("GET", "/status", None).unwrap().0, 200);
    });
}
