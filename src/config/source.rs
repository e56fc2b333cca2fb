//! The sources below flags: the environment, the file, the profile; each becomes a layer of
//! candidates that the table knows.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::WrongValue;
use super::key::Key;
use super::origin::Origin;
use super::table::{ABSENT, KEYS, OTHER_VARIABLES, SECTIONS};
use super::value::Raw;
use super::{Problem, suggestion};

/// Bytes of the largest configuration file.
const FILE_BYTES: u64 = 1024 * 1024;
/// Bytes of the largest file that holds one secret.
const SECRET_BYTES: u64 = 4096;

/// A value that a source offers for a key.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) key: &'static Key,
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
    /// The file that holds it, where it has one of its own.
    pub(crate) file: Option<PathBuf>,
}

impl Candidate {
    /// A secret in a file of its own.
    ///
    /// # Errors
    /// When the file cannot be read, or is longer than any secret.
    pub(crate) fn in_file(key: &'static Key, path: &Path, origin: Origin) -> Result<Self, Problem> {
        let raw = read_secret(path, &origin)?;
        Ok(Self { key, raw, origin, file: Some(path.to_owned()) })
    }
}

/// The environment variables that the configuration looks at, taken once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    not_utf8: Vec<String>,
}

impl Environment {
    /// Those of this process: all that begin with `OCM_`, and `HOME`, `XDG_DATA_HOME` and
    /// `RUST_LOG`.
    #[must_use]
    pub fn of_process() -> Self {
        let mut taken = Self::default();
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with("OCM_") && !["HOME", "XDG_DATA_HOME", "RUST_LOG"].contains(&&*name)
            {
                continue;
            }
            match value.into_string() {
                Ok(value) => {
                    taken.variables.insert(name, value);
                }
                Err(_) => taken.not_utf8.push(name),
            }
        }
        taken
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { variables: variables.collect(), not_utf8: Vec::new() }
    }
}

/// What the environment offers.
pub(crate) fn from_environment(env: &Environment, problems: &mut Vec<Problem>) -> Vec<Candidate> {
    let mut layer = Vec::new();
    problems.extend(env.not_utf8.iter().map(|name| Problem::NotUtf8 { name: name.clone() }));
    for (name, value) in env.variables.iter().filter(|(name, _)| name.starts_with("OCM_")) {
        let origin = Origin::Environment(name.clone());
        if let Some(key) = KEYS.iter().find(|key| key.env == name) {
            layer.push(Candidate { key, raw: Raw::Text(value.clone()), origin, file: None });
        } else if let Some(key) = KEYS.iter().find(|key| key.env_file().as_ref() == Some(name)) {
            if env.variables.contains_key(key.env) {
                problems.push(Problem::BothSet { first: key.env.to_owned(), second: name.clone() });
            }
            match Candidate::in_file(key, Path::new(value), origin) {
                Ok(candidate) => layer.push(candidate),
                Err(problem) => problems.push(problem),
            }
        } else if let Some(absent) = ABSENT.iter().find(|absent| absent.env == name) {
            let reason = absent.reason;
            problems.push(Problem::NotASetting { name: name.clone(), origin, reason });
        } else if !OTHER_VARIABLES.contains(&name.as_str()) && !is_service_link(name, value) {
            let known = KEYS
                .iter()
                .flat_map(|key| std::iter::once(key.env.to_owned()).chain(key.env_file()));
            let others = OTHER_VARIABLES.iter().map(|name| (*name).to_owned());
            let suggestion = suggestion::nearest(name, known.chain(others));
            problems.push(Problem::UnknownVariable { name: name.clone(), suggestion });
        }
    }
    layer
}

/// Whether Kubernetes set this variable to tell of a service whose name begins with `ocm`.
fn is_service_link(name: &str, value: &str) -> bool {
    let scheme = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let name = ["_ADDR", "_PROTO", "_PORT"]
        .iter()
        .find_map(|end| name.strip_suffix(end).filter(|rest| names_port(rest)))
        .unwrap_or(name);
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && scheme)
        || names_port(name)
}

/// Whether a name ends as `…_PORT_8080_TCP`.
fn names_port(name: &str) -> bool {
    let Some(rest) = ["_TCP", "_UDP", "_SCTP"].iter().find_map(|end| name.strip_suffix(end)) else {
        return false;
    };
    rest.rsplit_once("_PORT_").is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// A secret from the file that holds it, without the line end after it.
fn read_secret(path: &Path, origin: &Origin) -> Result<Raw, Problem> {
    let text = read_limited(path, SECRET_BYTES, origin)?;
    Ok(Raw::Text(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn read_limited(path: &Path, most: u64, origin: &Origin) -> Result<String, Problem> {
    let unreadable = |reason: String| Problem::Unreadable {
        path: path.to_owned(),
        origin: origin.clone(),
        reason,
    };
    let file = std::fs::File::open(path).map_err(|why| unreadable(why.to_string()))?;
    let mut text = String::new();
    let length =
        file.take(most + 1).read_to_string(&mut text).map_err(|why| unreadable(why.to_string()))?;
    if length as u64 > most {
        return Err(unreadable(format!("it is larger than {most} bytes")));
    }
    Ok(text)
}

/// What the configuration file offers.
pub(crate) fn from_file(
    path: &Path,
    named_by: &Origin,
    problems: &mut Vec<Problem>,
) -> Vec<Candidate> {
    let text = match read_limited(path, FILE_BYTES, named_by) {
        Ok(text) => text,
        Err(problem) => {
            problems.push(problem);
            return Vec::new();
        }
    };
    let at = |line| Origin::File { path: path.to_owned(), line };
    let layer = from_toml(&text, at, problems);
    let holds_secret = layer
        .iter()
        .any(|candidate| candidate.key.secret && !matches!(candidate.raw, Raw::Text(_)));
    if holds_secret && let Ok(metadata) = std::fs::metadata(path) {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o004 != 0 {
            problems.push(Problem::SecretInOpenFile { path: path.to_owned(), mode });
        }
    }
    layer
}

/// What a TOML text offers. `at` names a line of it, counted from 1.
pub(crate) fn from_toml(
    text: &str,
    at: impl Fn(usize) -> Origin,
    problems: &mut Vec<Problem>,
) -> Vec<Candidate> {
    let line =
        |offset: usize| 1 + text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count();
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(why) => {
            let origin = at(line(why.span().map_or(0, |span| span.start)));
            problems.push(Problem::NotToml { origin, reason: why.message().to_owned() });
            return Vec::new();
        }
    };
    let mut settings: Vec<(usize, &str, &str, &DeValue<'_>)> = Vec::new();
    for (name, value) in document.get_ref() {
        let start = name.span().start;
        let section = name.get_ref().as_ref();
        match value.get_ref() {
            DeValue::Table(table) if SECTIONS.iter().any(|(known, _)| *known == section) => {
                settings.extend(table.iter().map(|(field, value)| {
                    (field.span().start, section, field.get_ref().as_ref(), value.get_ref())
                }));
            }
            DeValue::Table(_) => problems.push(Problem::UnknownSection {
                name: section.to_owned(),
                origin: at(line(start)),
                suggestion: suggestion::nearest(
                    section,
                    SECTIONS.iter().map(|(known, _)| format!("[{known}]")),
                ),
            }),
            value => settings.push((start, "", section, value)),
        }
    }
    settings.sort_by_key(|(start, ..)| *start);

    let mut layer: Vec<Candidate> = Vec::new();
    for (start, section, field, value) in settings {
        let origin = at(line(start));
        let key = KEYS.iter().find(|key| key.section == section && key.field == field);
        let by_file = KEYS.iter().find(|key| {
            key.secret && key.section == section && field.strip_suffix("_file") == Some(key.field)
        });
        let candidate = if let Some(key) = key {
            Ok(Candidate { key, raw: raw_of(value), origin, file: None })
        } else if let Some(key) = by_file {
            match value {
                DeValue::String(path) => Candidate::in_file(key, Path::new(path.as_ref()), origin),
                other => Err(Problem::WrongValue(Box::new(WrongValue {
                    key: format!("{section}.{field}"),
                    value: raw_of(other).quoted(),
                    origin,
                    expected: "the path of a file that holds the secret".into(),
                    why: None,
                    remedy: "correct it, or remove it".into(),
                }))),
            }
        } else {
            Err(unknown(section, field, origin))
        };
        match candidate {
            Ok(candidate) if layer.iter().any(|other| std::ptr::eq(other.key, candidate.key)) => {
                let first = candidate.key.name();
                let second = format!("{first}_file");
                problems.push(Problem::BothSet { first, second });
            }
            Ok(candidate) => layer.push(candidate),
            Err(problem) => problems.push(problem),
        }
    }
    layer
}

fn unknown(section: &str, field: &str, origin: Origin) -> Problem {
    let absent =
        ABSENT.iter().find(|a| a.field == field && (a.section == section || section.is_empty()));
    if let Some(absent) = absent {
        let name = format!("[{}] {field}", absent.section);
        return Problem::NotASetting { name, origin, reason: absent.reason };
    }
    let name = if section.is_empty() { field.to_owned() } else { format!("{section}.{field}") };
    let suggestion = suggestion::nearest_key(&name).map(|key| {
        if key.section.is_empty() {
            format!("`{}` at the top of the file", key.field)
        } else {
            format!("`{}` in [{}]", key.field, key.section)
        }
    });
    Problem::UnknownKey { name, origin, suggestion }
}

fn raw_of(value: &DeValue<'_>) -> Raw {
    let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    match value {
        DeValue::String(text) => Raw::String(text.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number.to_string()),
            Err(_) => Raw::Other("a number past all limits"),
        },
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Array(items) => match items.iter().map(text).collect() {
            Some(items) => Raw::Strings(items),
            None => Raw::Other("an array with other things than strings"),
        },
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}
