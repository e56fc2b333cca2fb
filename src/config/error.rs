//! What can be wrong with a configuration, all of it told at once.

use std::path::PathBuf;

use super::key::{Key, Preset};
use super::origin::Origin;
use super::value::Raw;

/// Everything wrong with a configuration; never empty. The node does not start with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Each problem, in the order in which the sources were read.
    pub problems: Vec<Problem>,
}

impl std::error::Error for ConfigError {}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "the configuration is wrong: {only}"),
            many => {
                write!(f, "the configuration is wrong in {} places:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

/// One thing that is wrong, with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No key has this name.
    #[error("{origin}: there is no key `{name}`{}", hint(suggestion.as_deref()))]
    UnknownKey {
        /// As it was written.
        name: String,
        /// Where.
        origin: Origin,
        /// The nearest that exists.
        suggestion: Option<String>,
    },
    /// No section has this name.
    #[error("{origin}: there is no section [{name}]{}", hint(suggestion.as_deref()))]
    UnknownSection {
        /// As it was written.
        name: String,
        /// Where.
        origin: Origin,
        /// The nearest that exists.
        suggestion: Option<String>,
    },
    /// A variable begins with `OCM_` and means nothing.
    #[error("the environment variable {name} means nothing to ocm{}", hint(suggestion.as_deref()))]
    UnknownVariable {
        /// As it is set.
        name: String,
        /// The nearest that exists.
        suggestion: Option<String>,
    },
    /// A value does not fit its key.
    #[error(transparent)]
    WrongValue(Box<WrongValue>),
    /// A setting that a reader may expect and that does not exist here.
    #[error("{name} ({origin}) {reason}")]
    NotASetting {
        /// Its name.
        name: String,
        /// Where.
        origin: Origin,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A secret is given both in itself and by a file.
    #[error("{first} and {second} are both set; unset one of them")]
    BothSet {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A secret stands on the command line, where every process can read it.
    #[error(
        "{key} is a secret and every process can read a command line: set {env}_FILE or \
         --{flag} to a file that holds it"
    )]
    SecretInFlag {
        /// The name of the key.
        key: String,
        /// Its variable.
        env: &'static str,
        /// Its flag that names a file.
        flag: String,
    },
    /// A file holds a secret and everyone may read it.
    #[error("{path} holds a secret and every user may read it (mode {mode:03o}); chmod 600 it")]
    SecretInOpenFile {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file cannot be read, or is too large.
    #[error("{origin}: cannot read {path}: {reason}; correct the path or its permissions")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What named it.
        origin: Origin,
        /// What the system says.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{origin}: not TOML: {reason}")]
    NotToml {
        /// The file and the line.
        origin: Origin,
        /// What the parser says.
        reason: String,
    },
    /// A variable's value is not UTF-8.
    #[error("the environment variable {name} is not UTF-8; write it in UTF-8")]
    NotUtf8 {
        /// The variable.
        name: String,
    },
    /// No data directory can be derived.
    #[error(
        "there is no data directory: neither XDG_DATA_HOME nor HOME is set to an absolute path; \
         set OCM_DATA_DIR or --data-dir"
    )]
    NoDataDirectory,
    /// The file in the data directory names another data directory.
    #[error(
        "{origin}: data_dir is {named:?}, but this file was found as {found:?}'s own; remove the \
         line, or name the file with --config"
    )]
    DataDirectoryMoved {
        /// Where it stands.
        origin: Origin,
        /// The directory it names.
        named: PathBuf,
        /// The directory it was found in.
        found: PathBuf,
    },
    /// Two settings do not go together.
    #[error(transparent)]
    Conflict(Box<Conflict>),
    /// A key that is not optional has no value.
    #[error("{key} has no value; set it")]
    Missing {
        /// The name of the key.
        key: String,
    },
}

/// A value that does not fit its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value} ({origin}), expected {expected}{}; {remedy}", detail(why.as_deref()))]
pub struct WrongValue {
    /// The name of the key.
    pub key: String,
    /// The value as it was written; a secret's is not quoted.
    pub value: String,
    /// Where.
    pub origin: Origin,
    /// What would fit.
    pub expected: String,
    /// What exactly is wrong, where more is known.
    pub why: Option<String>,
    /// What to do.
    pub remedy: String,
}

/// Two settings that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{first} ({first_origin}) and {second} ({second_origin}) do not go together: {reason}")]
pub struct Conflict {
    /// The one, with its value.
    pub first: String,
    /// Where it was set.
    pub first_origin: Origin,
    /// The other, with its value.
    pub second: String,
    /// Where it was set.
    pub second_origin: Origin,
    /// Why not, and what to do.
    pub reason: &'static str,
}

impl Problem {
    pub(crate) fn wrong(key: &Key, raw: &Raw, origin: &Origin, why: Option<String>) -> Self {
        let value = if key.secret { "a secret that does not fit".into() } else { raw.quoted() };
        let mut remedy = match key.preset {
            Preset::Text(text) if !text.is_empty() => {
                format!("correct it, or remove it for the default {text}")
            }
            _ => "correct it, or remove it".to_owned(),
        };
        let link = matches!(raw, Raw::Text(text) if text.starts_with("tcp://") || text.starts_with("udp://"));
        if link && matches!(origin, Origin::Environment(_)) {
            remedy.push_str(
                "; Kubernetes sets such variables for its services: set enableServiceLinks to \
                 false in the pod, or rename the service",
            );
        }
        Self::WrongValue(Box::new(WrongValue {
            key: key.name(),
            value,
            origin: origin.clone(),
            expected: key.expected(),
            why,
            remedy,
        }))
    }
}

fn hint(suggestion: Option<&str>) -> String {
    match suggestion {
        Some(name) => format!("; did you mean {name}?"),
        None => "; `ocm config show` lists what there is".to_owned(),
    }
}

fn detail(why: Option<&str>) -> String {
    why.map(|why| format!(" ({why})")).unwrap_or_default()
}
