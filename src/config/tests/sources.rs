//! Where values come from, and which source holds.

use std::path::{Path, PathBuf};

use clap::{Args, Command, FromArgMatches};
use serde_json::json;

use super::super::*;
use super::*;
use crate::config::PeerName;

/// Variable, value, and whether the typed configuration has it.
type Row = (&'static str, &'static str, fn(&Config) -> bool);

const SPACE: &str = "v0000000000000000000000000000000000000000000000000000000000000001";
const KEY: &str = "/key/swarm/psk/1.0.0/\n/base16/\n\
                   0707070707070707070707070707070707070707070707070707070707070707";
const ALLOWED: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK,\
                       12D3KooWNMzcyWSHoMu2nYmBRh9P21USy67KWbhnoZ5kX7pnEdaU";
const SEED: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

const VARIABLES: &[Row] = &[
    ("OCM_DATA_DIR", "/srv/ocm", |c| c.data_dir == Path::new("/srv/ocm")),
    ("OCM_PROFILE", "testing", |c| c.profile == Profile::Testing),
    ("OCM_DATABASE_PATH", "./data/ocm-impl.db", |c| {
        c.database.path == Path::new("./data/ocm-impl.db")
    }),
    ("OCM_DATABASE_BACKEND", "memory", |c| c.database.backend == Backend::Memory),
    ("OCM_DATABASE_CACHE_MIB", "128", |c| c.database.cache_mib == 128),
    ("OCM_NETWORK_PORT", "9000", |c| c.network.port == 9000),
    ("OCM_DISCOVERY_PORT", "9001", |c| c.network.discovery_port == 9001),
    ("OCM_BIND_ADDRESS", "::1", |c| c.network.bind_address.to_string() == "::1"),
    ("OCM_ENABLE_NETWORK_CALLS", "false", |c| !c.network.enable_network_calls),
    ("OCM_SEED_PEERS", "127.0.0.1:8080, /dns4/b.example/tcp/8080", |c| {
        let shown: Vec<String> = c.network.seed_peers.iter().map(ToString::to_string).collect();
        shown == ["127.0.0.1:8080", "/dns4/b.example/tcp/8080"]
    }),
    ("OCM_NETWORK_RELAYS", "relay.example:8080", |c| {
        c.network.relays.iter().map(ToString::to_string).eq(["relay.example:8080"])
    }),
    ("OCM_NETWORK_RELAY", "true", |c| c.network.relay),
    ("OCM_ENABLE_UPNP", "true", |c| c.network.upnp),
    ("OCM_NETWORK_EXTERNAL_ADDRESSES", "/ip4/192.0.2.7/tcp/8080", |c| {
        c.network.external_addresses == ["/ip4/192.0.2.7/tcp/8080".parse().unwrap()]
    }),
    ("OCM_NETWORK_MDNS", "off", |c| !c.network.mdns),
    ("OCM_NETWORK_BEACON", "0", |c| !c.network.beacon),
    ("OCM_NETWORK_BEACON_HOSTS", "10.0.0.7,lan.example:9001", |c| {
        let ports: Vec<Option<u16>> = c.network.beacon_hosts.iter().map(|h| h.port).collect();
        ports == [None, Some(9001)]
    }),
    ("OCM_NETWORK_REMEMBER", "no", |c| !c.network.remember),
    ("OCM_NETWORK_LOOKUP", "client", |c| c.network.lookup == Lookup::Client),
    ("OCM_NETWORK_TCP", "no", |c| !c.network.tcp),
    ("OCM_NETWORK_QUIC", "False", |c| !c.network.quic),
    ("OCM_NETWORK_KEY", KEY, |c| c.network.key.is_some()),
    ("OCM_NETWORK_ALLOW", ALLOWED, |c| {
        matches!(c.network.allow[..], [PeerName::Did(_), PeerName::Peer(_)])
    }),
    ("OCM_NETWORK_MAX_PEERS", "7", |c| c.network.max_peers == 7),
    ("OCM_NETWORK_MAX_CONNECTIONS_PER_ADDRESS", "4", |c| {
        c.network.max_connections_per_address == 4
    }),
    ("OCM_NETWORK_MAX_CONNECTIONS_PER_NETWORK", "5", |c| {
        c.network.max_connections_per_network == 5
    }),
    ("OCM_NETWORK_MAX_PEERS_PER_ADDRESS", "3", |c| c.network.max_peers_per_address == 3),
    ("OCM_NETWORK_EXEMPT_ADDRESSES", "10.0.0.0/8, 2001:db8::7", |c| {
        let shown: Vec<String> =
            c.network.exempt_addresses.iter().map(ToString::to_string).collect();
        shown == ["10.0.0.0/8", "2001:db8::7/128"]
    }),
    ("OCM_NETWORK_SYNC_INTERVAL_SECONDS", "5", |c| c.network.sync_interval_seconds == 5),
    ("OCM_IDENTITY_HANDLE", "your-handle", |c| {
        c.identity.handle.as_ref().is_some_and(|h| h.as_str() == "your-handle")
    }),
    ("OCM_IDENTITY_SEED", SEED, |c| {
        c.identity.seed.as_ref().is_some_and(|s| s.reveal() == &[7; 32])
    }),
    ("OCM_API_LISTEN", "0.0.0.0:9002", |c| c.api.listen.to_string() == "0.0.0.0:9002"),
    ("OCM_API_HOSTS", "node.example.org", |c| {
        c.api.hosts.iter().map(Host::as_str).eq(["node.example.org"])
    }),
    ("OCM_API_TOKEN", "a-token-of-20-chars.", |c| {
        c.api.token.as_ref().is_some_and(|t| t.reveal() == "a-token-of-20-chars.")
    }),
    ("OCM_API_BATCH_MEMORIES", "50", |c| c.api.batch_memories == 50),
    ("OCM_API_BATCH_TIMEOUT_SECONDS", "5", |c| c.api.batch_timeout_seconds == 5),
    ("OCM_SPACE_DEFAULT", SPACE, |c| c.space.default.is_some_and(|s| s.to_string() == SPACE)),
    ("OCM_LOG_LEVEL", "DEBUG", |c| c.logging.level == Level::Debug),
    ("OCM_LOG_FORMAT", "json", |c| c.logging.format == LogFormat::Json),
    ("OCM_LOG_DIRECTORY", "/var/log/ocm", |c| {
        c.logging.directory.as_deref() == Some(Path::new("/var/log/ocm"))
    }),
    ("OCM_LOG_ROTATE", "never", |c| c.logging.rotate == Rotate::Never),
    ("OCM_LOG_KEEP", "3", |c| c.logging.keep == 3),
];

#[test]
fn each_variable_changes_the_configuration() {
    let default = load_env(&[]).unwrap();
    for (variable, value, holds) in VARIABLES {
        assert!(!holds(&default.config), "{variable}: the test's value is the default");
        let loaded = load_env(&[(variable, value)]).unwrap();
        assert!(holds(&loaded.config), "{variable}={value} changed nothing");
        let key = KEYS.iter().find(|key| key.env == *variable).unwrap();
        assert_eq!(*loaded.origin(key), Origin::Environment((*variable).to_owned()));
    }
    let tested: Vec<&str> = VARIABLES.iter().map(|(variable, ..)| *variable).collect();
    let all: Vec<&str> = KEYS.iter().map(|key| key.env).collect();
    assert_eq!(tested, all, "each key of the table is tested");
}

#[test]
fn each_flag_changes_the_configuration() {
    for (variable, value, holds) in VARIABLES {
        let key = KEYS.iter().find(|key| key.env == *variable).unwrap();
        if key.secret {
            continue;
        }
        let loaded = load(&Overrides::new().set(&key.name(), *value), &[]).unwrap();
        assert!(holds(&loaded.config), "--set {}={value} changed nothing", key.name());

        let command = Overrides::augment_args(Command::new("ocm")).subcommand(Command::new("node"));
        let flag = format!("--{}={value}", key.flag());
        for arguments in [vec!["ocm", flag.as_str(), "node"], vec!["ocm", "node", flag.as_str()]] {
            let matches = command.clone().try_get_matches_from(&arguments).unwrap();
            let flags = Overrides::from_arg_matches(&matches).unwrap();
            let loaded = load(&flags, &[]).unwrap();
            assert!(holds(&loaded.config), "{arguments:?} changed nothing");
            assert_eq!(*loaded.origin(key), Origin::Flag(format!("--{}", key.flag())));
        }
    }
}

#[test]
fn a_list_in_one_text_is_an_array_or_has_commas() {
    let key = "network.exempt_addresses";
    let set = |value: &str| load(&Overrides::new().set(key, value), &[]);
    let two = set("10.0.0.0/8,192.0.2.7").unwrap().config.network.exempt_addresses;
    assert_eq!(two.len(), 2);
    for value in [
        r#"["10.0.0.0/8", "192.0.2.7"]"#,
        "['10.0.0.0/8','192.0.2.7',]",
        // As a shell leaves it where the quotes are not quoted.
        "[10.0.0.0/8, 192.0.2.7]",
        " 10.0.0.0/8 , 192.0.2.7 ",
    ] {
        assert_eq!(set(value).unwrap().config.network.exempt_addresses, two, "{value}");
    }
    for value in ["[]", "", " [ ] "] {
        assert_eq!(set(value).unwrap().config.network.exempt_addresses, [], "{value}");
    }
    for value in [r#"["10.0.0.0/8""#, r#"["10.0.0.0/8]"#, "[[10.0.0.0/8]]", "[,]", "[1,,2]"] {
        assert!(set(value).is_err(), "{value}");
    }
    let peers = "[2001:db8::1]:8080,[2001:db8::2]:8080";
    for value in [peers, r#"["[2001:db8::1]:8080", "[2001:db8::2]:8080"]"#] {
        let loaded = load_env(&[("OCM_SEED_PEERS", value)]);
        let given = loaded.map(|loaded| loaded.config.network.seed_peers.len());
        assert_eq!(given, Ok(2), "{value}");
    }
}

#[test]
fn a_flag_of_a_switch_may_stand_alone() {
    let command = Overrides::augment_args(Command::new("ocm")).subcommand(Command::new("node"));
    let loaded = |arguments: &[&str]| {
        let matches = command.clone().try_get_matches_from(arguments).unwrap();
        load(&Overrides::from_arg_matches(&matches).unwrap(), &[]).unwrap().config
    };
    assert!(!loaded(&["ocm", "node"]).network.upnp);
    assert!(loaded(&["ocm", "node", "--network-upnp"]).network.upnp);
    assert!(loaded(&["ocm", "node", "--network-upnp", "--logging-level", "warn"]).network.upnp);
    assert!(loaded(&["ocm", "node", "--network-upnp", "true"]).network.upnp);
    assert!(!loaded(&["ocm", "node", "--network-upnp", "false"]).network.upnp);
    assert!(command.try_get_matches_from(["ocm", "node", "--network-port"]).is_err());
}

#[test]
fn each_field_of_the_file_changes_the_configuration() {
    for (variable, value, holds) in VARIABLES {
        let key = KEYS.iter().find(|key| key.env == *variable).unwrap();
        if key.secret {
            continue;
        }
        let content = render_file(&[(key.name().as_str(), *value)].into()).unwrap();
        let loaded = load_file(&content).unwrap();
        assert!(holds(&loaded.config), "{} = {value} changed nothing", key.name());
        assert_eq!(loaded.origin(key).source(), "file");
        let others = KEYS.iter().filter(|other| loaded.origin(other).source() == "file").count();
        assert_eq!(others, 1);
    }
}

#[test]
fn flag_over_environment_over_file_over_profile() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        write(dir.path(), "a.toml", "profile = \"testing\"\n[network]\nport = 2\nmdns = true\n");
    let from_profile = load_file("profile = \"testing\"").unwrap();
    assert_eq!(from_profile.config.network.port, 0);
    assert_eq!(from_profile.origins["network.port"], Origin::Profile(Profile::Testing));

    let flags = Overrides::new().file(&file);
    let loaded = load(&flags, &[]).unwrap();
    assert_eq!((loaded.config.network.port, loaded.config.network.mdns), (2, true));
    assert_eq!(loaded.origins["network.port"], Origin::File { path: file.clone(), line: 3 });
    assert_eq!(loaded.file, Some(file));

    let env = [("OCM_NETWORK_PORT", "3")];
    let loaded = load(&flags, &env).unwrap();
    assert_eq!(loaded.config.network.port, 3);

    let loaded = load(&flags.clone().set("network.port", "4"), &env).unwrap();
    assert_eq!(loaded.config.network.port, 4);
    assert_eq!(loaded.origins["network.port"].to_string(), "flag --set network.port");
    assert_eq!(loaded.origins["network.beacon"], Origin::Profile(Profile::Testing));
    assert_eq!(loaded.origins["api.hosts"], Origin::Default);

    let loaded = load(&flags, &[("OCM_PROFILE", "default")]).unwrap();
    assert!(loaded.config.network.beacon, "the variable chooses the profile over the file");
}

#[test]
fn every_profile_loads() {
    for profile in Profile::ALL {
        let loaded = load_env(&[("OCM_PROFILE", profile.as_str())]).unwrap();
        assert_eq!(loaded.config.profile, *profile);
        let set = loaded.origins.values().filter(|o| **o == Origin::Profile(*profile)).count();
        assert_eq!(set == 0, *profile == Profile::Default);
    }
}

#[test]
fn the_data_directory_holds_store_and_file() {
    let loaded = load_env(&[]).unwrap();
    assert_eq!(loaded.config.data_dir, Path::new("/nonexistent/home/.local/share/ocm"));
    assert_eq!(loaded.config.database.path, loaded.config.data_dir.join("store"));
    assert_eq!(loaded.file, None);
    let loaded = load_env(&[("XDG_DATA_HOME", "/nonexistent/data")]).unwrap();
    assert_eq!(loaded.config.data_dir, Path::new("/nonexistent/data/ocm"));
    let loaded = load_env(&[("XDG_DATA_HOME", "relative")]).unwrap();
    assert_eq!(loaded.config.data_dir, Path::new("/nonexistent/home/.local/share/ocm"));

    let dir = tempfile::tempdir().unwrap();
    let own = write(dir.path(), FILE_NAME, "[network]\nport = 5\n");
    let loaded = load_env(&[("OCM_DATA_DIR", dir.path().to_str().unwrap())]).unwrap();
    assert_eq!((loaded.config.network.port, loaded.file), (5, Some(own)));

    let named = write(dir.path(), "named.toml", "data_dir = \"/srv/ocm\"\n");
    let loaded = load_env(&[("OCM_CONFIG", named.to_str().unwrap())]).unwrap();
    assert_eq!(loaded.config.database.path, Path::new("/srv/ocm/store"));
    let without_home = environment(&[("OCM_CONFIG", named.to_str().unwrap())]);
    assert!(Config::load(&Overrides::new(), &without_home).is_ok());
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let token = write(dir.path(), "token", "a-token-of-20-chars.\n");
    let seed = write(dir.path(), "seed", &format!("{SEED}\r\n"));
    let key = write(dir.path(), "network.key", &format!("{KEY}\n"));
    let [token, seed, key] = [&token, &seed, &key].map(|path| path.to_str().unwrap());
    let holds = |loaded: &Loaded| {
        loaded.config.api.token.as_ref().unwrap().reveal() == "a-token-of-20-chars."
            && loaded.config.identity.seed.as_ref().unwrap().reveal() == &[7; 32]
            && loaded.config.network.key.as_ref().unwrap().reveal().to_key_file().contains("0707")
    };

    let env = [
        ("OCM_API_TOKEN_FILE", token),
        ("OCM_IDENTITY_SEED_FILE", seed),
        ("OCM_NETWORK_KEY_FILE", key),
    ];
    let loaded = load_env(&env).unwrap();
    assert!(holds(&loaded));
    assert_eq!(loaded.origins["api.token"].to_string(), "environment OCM_API_TOKEN_FILE");
    for key in KEYS.iter().filter(|key| key.secret) {
        assert!(env.iter().any(|(name, _)| Some(*name) == key.env_file().as_deref()));
    }

    let content = format!(
        "[identity]\nseed_file = {seed:?}\n[api]\ntoken_file = {token:?}\n[network]\nkey_file = {key:?}\n"
    );
    assert!(holds(&load_file(&content).unwrap()));

    // Those whose secrets are in effect are known, to be looked after.
    let files = |loaded: Loaded| -> Vec<PathBuf> { loaded.secret_files };
    let all = [token, seed, key].map(PathBuf::from);
    assert_eq!(files(load_file(&content).unwrap()), all);
    let flags = Overrides::new().file(write(dir.path(), "a.toml", &content));
    let over = [("OCM_IDENTITY_SEED", SEED), ("OCM_NETWORK_KEY", KEY)];
    assert_eq!(files(load(&flags, &over).unwrap()), all[..1]);

    let command = Overrides::augment_args(Command::new("ocm"));
    let (seed, key) = (format!("identity.seed_file={seed}"), format!("network.key_file={key}"));
    let arguments = ["ocm", "--api-token-file", token, "--set", &seed, "--set", &key];
    let matches = command.try_get_matches_from(arguments).unwrap();
    assert!(holds(&load(&Overrides::from_arg_matches(&matches).unwrap(), &[]).unwrap()));
}

#[test]
fn an_empty_text_empties_what_may_be_empty() {
    let dir = tempfile::tempdir().unwrap();
    let content = "[network]\nseed_peers = [\"a.example:1\"]\n[identity]\nhandle = \"alice\"\n";
    let flags = Overrides::new().file(write(dir.path(), "a.toml", content));
    let loaded = load(&flags, &[("OCM_SEED_PEERS", ""), ("OCM_IDENTITY_HANDLE", "")]).unwrap();
    assert!(loaded.config.network.seed_peers.is_empty());
    assert_eq!(loaded.config.identity.handle, None);
}

#[test]
fn services_of_kubernetes_are_left_alone() {
    let links = [
        ("OCM_SERVICE_SERVICE_HOST", "10.0.0.1"),
        ("OCM_SERVICE_SERVICE_PORT", "8080"),
        ("OCM_SERVICE_SERVICE_PORT_TCP", "8080"),
        ("OCM_SERVICE_PORT", "tcp://10.0.0.1:8080"),
        ("OCM_SERVICE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("OCM_SERVICE_PORT_8080_TCP_PROTO", "tcp"),
        ("OCM_SERVICE_PORT_8080_TCP_PORT", "8080"),
        ("OCM_SERVICE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("OCM_PORT_8081_UDP", "udp://10.0.0.1:8081"),
    ];
    assert_eq!(load_env(&links).unwrap().config, load_env(&[]).unwrap().config);
    let message = complaint(load_env(&[("OCM_NETWORK_PORT", "tcp://10.0.0.1:8080")]));
    says(&message, &["network.port", "enableServiceLinks"]);
}

#[test]
fn a_change_is_named() {
    let old = load_env(&[]).unwrap().config;
    let new = load_env(&[("OCM_LOG_LEVEL", "warn"), ("OCM_API_TOKEN", "a-token-of-20-chars.")]);
    let changes = |a: &Config, b: &Config| {
        a.changes(b).iter().map(|c| (c.key.name(), c.key.reloadable)).collect::<Vec<_>>()
    };
    let new = new.unwrap().config;
    let expected = [("api.token".to_owned(), false), ("logging.level".to_owned(), true)];
    assert_eq!(changes(&old, &new), expected);
    let third = load_env(&[("OCM_LOG_LEVEL", "warn"), ("OCM_API_TOKEN", "another-token-20-char")]);
    assert_eq!(changes(&new, &third.unwrap().config), expected[..1]);
    assert!(changes(&old, &old).is_empty());
}

#[test]
fn what_holds_is_shown_with_its_origin() {
    let flags = Overrides::new().set("logging.level", "debug");
    let env = [("OCM_SEED_PEERS", "a.example:1"), ("OCM_API_TOKEN", "a-token-of-20-chars.")];
    let loaded = load(&flags, &env).unwrap();
    let text = render_show(&loaded, true);
    assert_eq!(text.lines().count(), KEYS.len());
    let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
    says(line("network.port"), &["network.port = 8080 ", "# default"]);
    says(line("network.seed_peers"), &["[\"a.example:1\"]", "# environment OCM_SEED_PEERS"]);
    says(line("logging.level"), &["\"debug\"", "# flag --set logging.level"]);
    says(line("api.token"), &["\"(set)\"", "# environment OCM_API_TOKEN"]);
    says(line("identity.seed"), &["not set"]);
    let bare = render_show(&loaded, false);
    assert!(!bare.contains("# default") && bare.parse::<toml::Table>().is_ok(), "{bare}");

    let shown = show_json(&loaded);
    let item = |name: &str| {
        shown["items"].as_array().unwrap().iter().find(|i| i["key"] == name).unwrap().clone()
    };
    assert_eq!(shown["items"].as_array().unwrap().len(), KEYS.len());
    assert_eq!(shown["next"], json!(null));
    assert_eq!(item("network.seed_peers")["value"], json!(["a.example:1"]));
    assert_eq!(
        item("logging.level")["origin"],
        json!({ "source": "flag", "detail": "--set logging.level" })
    );
    assert_eq!(item("api.token")["value"], "(set)");
    assert_eq!(item("identity.seed")["value"], json!(null));
    for told in [text, bare, shown.to_string(), format!("{loaded:?}")] {
        assert!(!told.contains("a-token-of"), "the token is told: {told}");
    }
}
