//! The documented file, and the file of the deployment guide.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use super::super::*;
use super::*;

const DOCUMENTED: &str = include_str!("../../../config/ocm.toml");

#[test]
fn the_documented_file_is_the_table() {
    let expected = render_file(&BTreeMap::new()).unwrap();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/ocm.toml");
        std::fs::write(path, &expected).unwrap();
        return;
    }
    assert_eq!(
        DOCUMENTED, expected,
        "config/ocm.toml is not what the table says; UPDATE_EXPECT=1 cargo test -p ocm writes it"
    );
}

#[test]
fn each_key_stands_there_with_its_default() {
    // Take the `#` off every line that holds a key.
    let mut uncommented = String::new();
    let mut optional = BTreeSet::new();
    for line in DOCUMENTED.lines() {
        match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => {
                let (field, value) = setting.split_once(" = ").unwrap();
                let text = value.trim_matches('"');
                let derived = KEYS.iter().any(|key| {
                    key.field == field
                        && matches!(key.preset, Preset::Derived(derived) if derived == text)
                });
                if derived || field.ends_with("_file") {
                    optional.insert(field.to_owned());
                } else {
                    uncommented.push_str(setting);
                    uncommented.push('\n');
                }
            }
            Some(_) => assert!(line.starts_with("# "), "{line:?} is neither text nor a key"),
            None => {
                uncommented.push_str(line);
                uncommented.push('\n');
            }
        }
    }
    let left_out: Vec<&str> = optional.iter().map(String::as_str).collect();
    assert_eq!(left_out, ["data_dir", "key_file", "path", "seed_file", "token_file"]);

    let loaded = load_file(&uncommented).unwrap();
    assert_eq!(loaded.config, load_env(&[]).unwrap().config);
    let from_file = KEYS.iter().filter(|key| loaded.origin(key).source() == "file").count();
    assert_eq!(from_file, KEYS.len() - left_out.len(), "a key is missing from config/ocm.toml");
}

#[test]
fn the_documented_file_changes_nothing() {
    let loaded = load_file(DOCUMENTED).unwrap();
    assert_eq!(loaded.config, load_env(&[]).unwrap().config);
}

#[test]
fn each_key_is_documented() {
    let mut names = BTreeSet::new();
    let mut variables = BTreeSet::new();
    for key in KEYS {
        let text = key.doc.join("");
        assert!(text.trim_end().ends_with('.') && text.len() > 10, "{} has no text", key.name());
        assert!(names.insert(key.name()), "{} stands twice", key.name());
        assert!(variables.insert(key.env), "{} stands twice", key.env);
        assert!(key.env.starts_with("OCM_"), "{}", key.env);
        assert!(
            !key.unit.is_empty() || !matches!(key.limit, Limit::Range(1.., _)),
            "{}",
            key.name()
        );
    }
}

#[test]
fn the_file_of_the_guide_works_as_written() {
    let content = r#"
[database]
path = "./data/ocm-impl.db"

[network]
port = 8080
discovery_port = 8081
bind_address = "127.0.0.1"
enable_network_calls = true
seed_peers = ["127.0.0.1:8080"]

[identity]
handle = "your-handle"

[logging]
level = "info"
format = "json"
"#;
    let config = load_file(content).unwrap().config;
    assert_eq!(config.database.path, Path::new("./data/ocm-impl.db"));
    assert_eq!(config.network.seed_peers.len(), 1);
    assert_eq!(config.logging.format, LogFormat::Json);
}

#[test]
fn init_writes_what_loads_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let token = "a-token-of-20-chars.";
    let values: BTreeMap<&str, &str> = [
        ("identity.handle", "alice"),
        ("network.seed_peers", "b.example:1,c.example:2"),
        ("api.token", token),
    ]
    .into();
    init_file(&path, &values).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    let config = load_env(&[("OCM_DATA_DIR", dir.path().to_str().unwrap())]).unwrap().config;
    assert_eq!(config.identity.handle.unwrap().as_str(), "alice");
    assert_eq!(config.network.seed_peers.len(), 2);
    assert_eq!(config.api.token.unwrap().reveal(), token);

    let before = std::fs::read(&path).unwrap();
    let again = init_file(&path, &BTreeMap::new());
    assert!(matches!(again, Err(InitError::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let other = dir.path().join("other.toml");
    for wrong in [("network.prot", "1"), ("network.port", "70000")] {
        assert!(matches!(init_file(&other, &[wrong].into()), Err(InitError::Value(_))));
    }
    assert!(!other.exists());
    let nowhere = dir.path().join("missing").join("a.toml");
    assert!(matches!(init_file(&nowhere, &BTreeMap::new()), Err(InitError::Io { .. })));
}
