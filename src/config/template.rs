//! The documented file: every key with its default, commented out.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Problem;
use super::key::{Key, Preset};
use super::origin::Origin;
use super::show::toml_literal;
use super::suggestion;
use super::table::{KEYS, SECTIONS};
use super::value::{Limit, Raw};

const HEAD: &str = "\
# The configuration of an OCM node. Each line `#key = value` is a key with its default: remove the
# `#` to set it. What is set by a flag holds before the environment, that before this file, and
# this file before the profile. `ocm config show --origin` prints what holds and where it came
# from; `ocm config check` says what is wrong.
";

/// Why the file was not written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A value does not fit.
    #[error(transparent)]
    Value(#[from] Problem),
    /// There is a file already; it is left as it is.
    #[error("{path} exists and is not overwritten; edit it, or move it away first")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot write {path}: {source}; correct the path or its permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The documented file with these values set (by name, written as the environment writes them) and
/// every other key commented out with its default.
///
/// # Errors
/// A name that is no key, or a value that does not fit its key.
pub fn render_file(values: &BTreeMap<&str, &str>) -> Result<String, Problem> {
    for name in values.keys() {
        if !KEYS.iter().any(|key| key.name() == *name) {
            return Err(Problem::UnknownKey {
                name: (*name).to_owned(),
                origin: Origin::Default,
                suggestion: suggestion::nearest_key(name).map(Key::name),
            });
        }
    }
    let mut text = HEAD.to_owned();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            text.push('\n');
            let doc = SECTIONS.iter().find(|(name, _)| *name == section).map(|(_, doc)| *doc);
            for line in doc.unwrap_or_default() {
                text.push_str(&format!("#{line}\n"));
            }
            text.push_str(&format!("[{section}]\n"));
        }
        text.push('\n');
        for line in key.doc {
            text.push_str(&format!("#{line}\n"));
        }
        text.push_str(&format!("# {}\n", facts(key)));
        match values.get(key.name().as_str()) {
            Some(value) => text.push_str(&format!("{} = {}\n", key.field, literal(key, value)?)),
            None => text.push_str(&format!("#{}\n", preset_line(key)?)),
        }
    }
    Ok(text)
}

/// Writes the documented file with these values set, mode 600 and synced, where there is none yet.
/// Its directory must exist.
///
/// # Errors
/// A value that does not fit, a file that is there already, or what the system says.
pub fn init_file(path: &Path, values: &BTreeMap<&str, &str>) -> Result<(), InitError> {
    let text = render_file(values)?;
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => InitError::Exists { path: path.to_owned() },
        _ => InitError::Io { path: path.to_owned(), source },
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| {
        // Half a file would be taken for a whole one at the next start.
        let left = std::fs::remove_file(path);
        InitError::Io { path: path.to_owned(), source: left.err().unwrap_or(source) }
    })
}

/// Limit, unit, variable and flag of a key, on one line.
fn facts(key: &Key) -> String {
    let mut facts = Vec::new();
    let unit = if key.unit.is_empty() { String::new() } else { format!(" {}", key.unit) };
    match key.limit {
        Limit::Range(low, high) => facts.push(format!("From {low} to {high}{unit}.")),
        Limit::Items(most) => facts.push(format!("At most {most} entries.")),
        Limit::None => {}
    }
    match key.env_file() {
        Some(file) => facts.push(format!("Secret. Environment: {} or {file}.", key.env)),
        None => facts.push(format!("Environment: {}.", key.env)),
    }
    facts.push(format!("Flag: --{}.", key.flag()));
    if key.reloadable {
        facts.push("A running node takes it up at SIGHUP.".to_owned());
    }
    facts.join(" ")
}

fn preset_line(key: &Key) -> Result<String, Problem> {
    Ok(match key.preset {
        _ if key.secret => format!("{}_file = \"/path/of/a/file/with/mode/600\"", key.field),
        Preset::Text(text) => format!("{} = {}", key.field, literal(key, text)?),
        Preset::Derived(text) => format!("{} = \"{text}\"", key.field),
        Preset::Unset => format!("{} = \"\"", key.field),
    })
}

fn literal(key: &Key, text: &str) -> Result<String, Problem> {
    let raw = Raw::Text(text.to_owned());
    match (key.check)(&raw, key.limit) {
        // A secret shows only that it is set, so the file gets what was given.
        Ok(_) if key.secret => Ok(toml_literal(&text.into())),
        Ok(serde_json::Value::Null) => Ok("\"\"".to_owned()),
        Ok(value) => Ok(toml_literal(&value)),
        Err(why) => Err(Problem::wrong(key, &raw, &Origin::Default, why)),
    }
}
