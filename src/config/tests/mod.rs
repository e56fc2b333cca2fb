//! The configuration as its users meet it.

mod documented;
mod sources;
mod wrong;

use std::path::Path;

use super::{Config, ConfigError, Environment, Loaded, Overrides};

/// Loads with these variables besides a home directory that holds nothing.
fn load_env(variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    load(&Overrides::new(), variables)
}

fn load(flags: &Overrides, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let home = ("HOME", "/nonexistent/home");
    Config::load(flags, &std::iter::once(home).chain(variables.iter().copied()).collect())
}

/// Loads with a file of this content.
fn load_file(content: &str) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    load(&Overrides::new().file(write(dir.path(), "a.toml", content)), &[])
}

fn write(dir: &Path, name: &str, content: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// The messages of a load that must fail, one string for all.
fn complaint(loaded: Result<Loaded, ConfigError>) -> String {
    loaded.expect_err("it loaded").to_string()
}

/// Whether a message holds all these parts.
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().copied().collect()
}
