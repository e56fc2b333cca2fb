//! What is refused, and what is said about it.

use std::os::unix::fs::PermissionsExt;

use clap::{Args, Command};

use super::super::*;
use super::*;

#[test]
fn an_unknown_name_suggests_the_right_one() {
    for (content, parts) in [
        ("[network]\nprot = 1\n", &["network.prot", "a.toml:2", "`port` in [network]"][..]),
        ("[netwrok]\nport = 1\n", &["[netwrok]", "[network]"]),
        ("port = 1\n", &["`port`", "`port` in [network]"]),
        ("[network]\nhandle = \"a\"\n", &["network.handle", "`handle` in [identity]"]),
        ("[database]\ndata_dir = \"/a\"\n", &["`data_dir` at the top"]),
        ("[quux]\na = 1\n", &["[quux]", "ocm config show"]),
        ("[[network]]\nport = 1\n", &["network"]),
    ] {
        says(&complaint(load_file(content)), parts);
    }
    for (variable, suggested) in [
        ("OCM_NETWORK_PROT", "OCM_NETWORK_PORT"),
        ("OCM_LOGGING_LEVEL", "OCM_LOG_LEVEL"),
        ("OCM_API_TOKEN_FILES", "OCM_API_TOKEN_FILE"),
        ("OCM_CONFIGS", "OCM_CONFIG"),
        ("OCM_NETWORK_PORT_FILE", "OCM_NETWORK_PORT"),
    ] {
        says(&complaint(load_env(&[(variable, "1")])), &[variable, "did you mean", suggested]);
    }
    for (given, suggested) in [
        ("network.exempt", "network.exempt_addresses?"),
        ("network.external", "network.external_addresses?"),
        ("network.beacon_host", "network.beacon_hosts?"),
    ] {
        says(&complaint(load(&Overrides::new().set(given, "1"), &[])), &[given, suggested]);
    }
    let begun = complaint(load_env(&[("OCM_NETWORK_EXEMPT", "1")]));
    says(&begun, &["did you mean OCM_NETWORK_EXEMPT_ADDRESSES?"]);
    let flags = Overrides::new().set("network.prot", "1");
    says(&complaint(load(&flags, &[])), &["--set network.prot", "did you mean network.port?"]);
}

#[test]
fn what_is_none_of_ours_is_told_why() {
    for (content, parts) in [
        ("[database]\nwal_mode = true\n", &["wal_mode", "sled", "remove it"][..]),
        ("[database]\njournal_mode = \"WAL\"\n", &["journal_mode", "sled", "remove it"]),
        (
            "[identity]\nplc_directory_url = \"https://plc.directory\"\n",
            &["plc_directory_url", "is not supported by this version"],
        ),
    ] {
        says(&complaint(load_file(content)), parts);
    }
    let variable = "OCM_PLC_DIRECTORY_URL";
    let message = complaint(load_env(&[(variable, "true")]));
    says(&message, &[variable, "is not supported by this version"]);
    let flags = Overrides::new().set("identity.plc_directory_url", "true");
    says(&complaint(load(&flags, &[])), &["is not supported by this version"]);
}

#[test]
fn a_wrong_value_names_key_value_origin_range_and_remedy() {
    let message = complaint(load_env(&[("OCM_NETWORK_PORT", "65536")]));
    says(
        &message,
        &[
            "network.port",
            "\"65536\"",
            "environment OCM_NETWORK_PORT",
            "from 0 to 65535",
            "default 8080",
        ],
    );
    for (variable, value) in [
        ("OCM_NETWORK_PORT", ""),
        ("OCM_NETWORK_PORT", "-1"),
        ("OCM_NETWORK_MDNS", "maybe"),
        ("OCM_BIND_ADDRESS", "localhost"),
        ("OCM_SEED_PEERS", "a.example"),
        ("OCM_SEED_PEERS", "a.example:1,,b.example:2"),
        ("OCM_API_LISTEN", "7845"),
        ("OCM_LOG_LEVEL", "verbose"),
        ("OCM_LOG_FORMAT", "xml"),
        ("OCM_PROFILE", "prod"),
        ("OCM_NETWORK_ALLOW", "alice"),
        ("OCM_NETWORK_ALLOW", "did:key:z6"),
        ("OCM_LOG_ROTATE", "weekly"),
        ("OCM_LOG_KEEP", "0"),
        ("OCM_DATABASE_BACKEND", "sqlite"),
        ("OCM_DATABASE_CACHE_MIB", "7"),
        ("OCM_DATA_DIR", ""),
        ("OCM_DATA_DIR", "~/ocm"),
        ("OCM_SPACE_DEFAULT", "personal"),
        ("OCM_IDENTITY_HANDLE", "two words"),
        ("OCM_API_HOSTS", "http://localhost"),
        ("OCM_NETWORK_SYNC_INTERVAL_SECONDS", "0"),
    ] {
        let message = complaint(load_env(&[(variable, value)]));
        says(&message, &[&format!("environment {variable}"), &format!("{value:?}"), "expected"]);
    }
    for content in [
        "[network]\nport = \"8080\"\n",
        "[network]\nport = 8080.5\n",
        "[network]\nport = 99999999999999999999\n",
        "[network]\nmdns = \"true\"\n",
        "[network]\nseed_peers = \"a.example:1\"\n",
        "[network]\nseed_peers = [1]\n",
        "[logging]\nlevel = 3\n",
        "[api]\ntoken_file = 3\n",
    ] {
        says(&complaint(load_file(content)), &["a.toml:2", "expected"]);
    }
    let many = vec!["a.example:1"; 257].join(",");
    says(&complaint(load_env(&[("OCM_SEED_PEERS", &many)])), &["257 entries", "at most 256"]);
}

#[test]
fn a_value_is_checked_even_where_it_is_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let flags = Overrides::new().file(write(dir.path(), "a.toml", "[network]\nport = 70000\n"));
    let message = complaint(load(&flags, &[("OCM_NETWORK_PORT", "9000")]));
    says(&message, &["70000", "a.toml:2"]);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let content = "[network]\nport = 70000\nprot = 1\n[loging]\nlevel = \"info\"\n";
    let flags =
        Overrides::new().file(write(dir.path(), "a.toml", content)).set("logging.format", "xml");
    let error = load(&flags, &[("OCM_BOGUS", "1")]).unwrap_err();
    assert_eq!(error.problems.len(), 5, "{error}");
    says(&error.to_string(), &["in 5 places", "70000", "prot", "[loging]", "xml", "OCM_BOGUS"]);
}

#[test]
fn a_seed_of_another_length_says_how_long_it_is() {
    let message = complaint(load_env(&[("OCM_IDENTITY_SEED", "c2hvcnQ=")]));
    says(&message, &["identity.seed", "32 bytes", "5 bytes"]);
    assert!(!message.contains("c2hvcnQ"), "the secret is told: {message}");
    says(&complaint(load_env(&[("OCM_IDENTITY_SEED", "")])), &["0 bytes"]);
    says(&complaint(load_env(&[("OCM_API_TOKEN", "short")])), &["api.token", "16 to 256"]);
    says(&complaint(load_env(&[("OCM_API_TOKEN", "")])), &["api.token"]);
}

#[test]
fn a_secret_has_one_source_and_no_flag() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "token", "a-token-of-20-chars.");
    let env =
        [("OCM_API_TOKEN", "a-token-of-20-chars."), ("OCM_API_TOKEN_FILE", path.to_str().unwrap())];
    says(&complaint(load_env(&env)), &["OCM_API_TOKEN and OCM_API_TOKEN_FILE are both set"]);

    let flags = Overrides::new().set("api.token", "a-token-of-20-chars.");
    let message = complaint(load(&flags, &[]));
    says(&message, &["api.token", "OCM_API_TOKEN_FILE", "--api-token-file"]);
    assert!(!message.contains("a-token-of"), "{message}");

    let missing = dir.path().join("missing");
    let message = complaint(load_env(&[("OCM_API_TOKEN_FILE", missing.to_str().unwrap())]));
    says(&message, &["OCM_API_TOKEN_FILE", "missing", "cannot read"]);
    let large = write(dir.path(), "large", &"x".repeat(5000));
    let message = complaint(load_env(&[("OCM_API_TOKEN_FILE", large.to_str().unwrap())]));
    says(&message, &["larger than 4096 bytes"]);
}

#[test]
fn a_secret_in_a_file_for_everyone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "a.toml", "[api]\ntoken = \"a-token-of-20-chars.\"\n");
    let mode = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        load(&Overrides::new().file(&path), &[])
    };
    says(&complaint(mode(0o644)), &["a.toml", "mode 644", "chmod 600"]);
    assert!(mode(0o600).is_ok());
    std::fs::write(&path, "[api]\ntoken = \"a-token-of-20-chars.\"\ntoken_file = \"x\"\n").unwrap();
    assert!(mode(0o600).is_err());
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let flags = Overrides::new().file("/nonexistent/a.toml");
    says(&complaint(load(&flags, &[])), &["--config", "/nonexistent/a.toml"]);
    says(&complaint(load_env(&[("OCM_CONFIG", "/nonexistent/a.toml")])), &["OCM_CONFIG"]);
    says(&complaint(load_file("[network\nport = 1")), &["a.toml:1", "not TOML"]);
    says(&complaint(load_file("[network]\nport = 1\nport = 2\n")), &["a.toml:3", "not TOML"]);
}

#[test]
fn a_file_does_not_move_the_directory_it_was_found_in() {
    let dir = tempfile::tempdir().unwrap();
    let env = [("OCM_DATA_DIR", dir.path().to_str().unwrap())];
    write(dir.path(), FILE_NAME, "data_dir = \"/srv/other\"\n");
    says(&complaint(load_env(&env)), &["/srv/other", "--config", "ocm.toml:1"]);
    write(dir.path(), FILE_NAME, &format!("data_dir = {:?}\n", dir.path()));
    assert!(load_env(&env).is_ok());
}

#[test]
fn without_a_home_the_directory_must_be_named() {
    let message = complaint(Config::load(&Overrides::new(), &Environment::default()));
    says(&message, &["XDG_DATA_HOME", "OCM_DATA_DIR", "--data-dir"]);
    let env = environment(&[("OCM_DATA_DIR", "/srv/ocm")]);
    assert!(Config::load(&Overrides::new(), &env).is_ok());
}

#[test]
fn settings_that_do_not_go_together() {
    for (env, parts) in [
        (
            &[("OCM_NETWORK_TCP", "false"), ("OCM_NETWORK_QUIC", "false")][..],
            &["network.tcp = false", "no transport", "environment OCM_NETWORK_QUIC"][..],
        ),
        (
            &[("OCM_NETWORK_PORT", "8081")],
            &["network.port = 8081", "network.discovery_port = 8081 (default)", "UDP"],
        ),
        (&[("OCM_API_LISTEN", "127.0.0.1:8080")], &["api.listen", "TCP"]),
    ] {
        says(&complaint(load_env(env)), parts);
        let offline = [env, &[("OCM_ENABLE_NETWORK_CALLS", "false")]].concat();
        assert!(load_env(&offline).is_ok(), "{offline:?}");
    }
    let apart = [("OCM_API_LISTEN", "127.0.0.1:8080"), ("OCM_BIND_ADDRESS", "192.0.2.7")];
    assert!(load_env(&apart).is_ok());
}

#[test]
fn a_setting_needs_a_name_and_a_value() {
    let command = Overrides::augment_args(Command::new("ocm"));
    for argument in ["network.port", "=8080"] {
        let result = command.clone().try_get_matches_from(["ocm", "--set", argument]);
        says(&result.unwrap_err().to_string(), &[argument, "KEY=VALUE"]);
    }
}
