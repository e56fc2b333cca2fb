//! Loading: the sources laid over one another, checked, and made one typed configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::Conflict;
use super::exposure::Exposure;
use super::flag::{Overrides, from_flags};
use super::key::{Effective, Key, Preset};
use super::origin::Origin;
use super::source::{Candidate, Environment, from_environment, from_file, from_toml};
use super::table::{CONFIG_VARIABLE, Config, KEYS, Profile};
use super::value::{Limit, Raw, Setting};
use super::{ConfigError, Problem};

/// The name of the configuration file in a data directory.
pub const FILE_NAME: &str = "ocm.toml";

/// A configuration and where each of its values came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The origin of each key's value, by the key's name; every key of the table is in it.
    pub origins: BTreeMap<String, Origin>,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// The files that the secrets in effect were read from, each by itself.
    pub secret_files: Vec<PathBuf>,
}

impl Loaded {
    /// Where a key's value came from.
    #[must_use]
    pub fn origin(&self, key: &Key) -> &Origin {
        self.origins.get(&key.name()).unwrap_or(&Origin::Default)
    }

    /// Those of the secrets' files that others can get at.
    pub fn exposures(&self) -> impl Iterator<Item = Exposure> {
        self.secret_files.iter().filter_map(|path| Exposure::of(path))
    }
}

/// A change of one key between two configurations.
#[derive(Debug)]
pub struct Change {
    /// The key. It takes effect in a running node if it is `reloadable`, else at the next start.
    pub key: &'static Key,
}

impl Config {
    /// Lays flag over environment over file over profile, and checks all of it.
    ///
    /// The file is the one that the flags name, else that of `OCM_CONFIG`, else `ocm.toml` in the
    /// data directory if there is one. Relative paths are relative to the working directory. A
    /// value is checked even where a stronger source hides it.
    ///
    /// # Errors
    /// Everything that is wrong, in one error: unknown names, values that do not fit, files that
    /// cannot be read, settings that do not go together.
    pub fn load(flags: &Overrides, env: &Environment) -> Result<Loaded, ConfigError> {
        let mut problems = Vec::new();
        let flag_layer = from_flags(flags, &mut problems);
        let env_layer = from_environment(env, &mut problems);

        let own_dir = directory_before_file(&[&env_layer, &flag_layer], env);
        let found = find_file(flags, env, own_dir.as_deref());
        let file_layer = match &found {
            Some((path, named_by)) => from_file(path, named_by, &mut problems),
            None => Vec::new(),
        };
        let is_own = matches!(&found, Some((_, Origin::Default)));
        if is_own && let Some(found_in) = &own_dir {
            refuse_moved_directory(&file_layer, found_in, &mut problems);
        }

        let profile = [&file_layer, &env_layer, &flag_layer]
            .into_iter()
            .rev()
            .find_map(|layer| profile_of(layer))
            .unwrap_or(Profile::Default);
        let at = |_| Origin::Profile(profile);
        let profile_layer = from_toml(profile.settings(), at, &mut problems);

        let mut effective = Effective::default();
        let (mut origins, mut secret_files) = (BTreeMap::new(), BTreeMap::new());
        for key in KEYS {
            origins.insert(key.name(), Origin::Default);
            if let Preset::Text(text) = key.preset {
                effective.0.insert(key.name(), Raw::Text(text.to_owned()));
            }
        }
        for layer in [profile_layer, file_layer, env_layer, flag_layer] {
            for Candidate { key, raw, origin, file } in layer {
                if let Err(why) = (key.check)(&raw, key.limit) {
                    problems.push(Problem::wrong(key, &raw, &origin, why));
                }
                effective.0.insert(key.name(), raw);
                origins.insert(key.name(), origin);
                match file {
                    Some(file) => drop(secret_files.insert(key.name(), file)),
                    None => drop(secret_files.remove(&key.name())),
                }
            }
        }
        derive_paths(&mut effective, env, &mut problems);
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let config =
            Self::build(&effective).map_err(|problem| ConfigError { problems: vec![problem] })?;
        let secret_files = secret_files.into_values().collect();
        let loaded = Loaded { config, origins, file: found.map(|(path, _)| path), secret_files };
        let problems = conflicts(&loaded);
        if problems.is_empty() { Ok(loaded) } else { Err(ConfigError { problems }) }
    }

    /// The keys whose values differ in `new`.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let secrets_differ = |key: &Key| match key.field {
            "seed" => self.identity.seed != new.identity.seed,
            "key" => self.network.key != new.network.key,
            _ => self.api.token != new.api.token,
        };
        KEYS.iter()
            .filter(|key| key.value(self) != key.value(new) || (key.secret && secrets_differ(key)))
            .map(|key| Change { key })
            .collect()
    }
}

impl Profile {
    /// The defaults of the profile, as TOML.
    #[must_use]
    pub const fn settings(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Development => include_str!("../../config/profiles/development.toml"),
            Self::Staging => include_str!("../../config/profiles/staging.toml"),
            Self::Production => include_str!("../../config/profiles/production.toml"),
            Self::Testing => include_str!("../../config/profiles/testing.toml"),
        }
    }
}

fn last<'a>(layer: &'a [Candidate], name: &str) -> Option<&'a Candidate> {
    layer.iter().rev().find(|candidate| candidate.key.name() == name)
}

fn profile_of(layer: &[Candidate]) -> Option<Profile> {
    let candidate = last(layer, "profile")?;
    Profile::read(&candidate.raw, Limit::None).ok()
}

/// The data directory as far as it is known without a file; the stronger layer comes last.
fn directory_before_file(layers: &[&Vec<Candidate>], env: &Environment) -> Option<PathBuf> {
    layers
        .iter()
        .rev()
        .find_map(|layer| last(layer, "data_dir"))
        .and_then(|candidate| PathBuf::read(&candidate.raw, Limit::None).ok())
        .or_else(|| default_directory(env))
}

/// `$XDG_DATA_HOME/ocm`, else `$HOME/.local/share/ocm`. A relative one counts as unset, as the XDG
/// specification has it.
fn default_directory(env: &Environment) -> Option<PathBuf> {
    let absolute = |name| env.get(name).map(Path::new).filter(|path: &&Path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .map(|data| data.join("ocm"))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share/ocm")))
}

/// The file to read and what named it; [`Origin::Default`] where it is the data directory's own.
fn find_file(
    flags: &Overrides,
    env: &Environment,
    own_dir: Option<&Path>,
) -> Option<(PathBuf, Origin)> {
    if let Some(path) = flags.config_file() {
        return Some((path.to_owned(), Origin::Flag("--config".into())));
    }
    if let Some(path) = env.get(CONFIG_VARIABLE) {
        return Some((path.into(), Origin::Environment(CONFIG_VARIABLE.into())));
    }
    let own = own_dir?.join(FILE_NAME);
    // A dangling link or a directory without permission must be told, so only absence is silent.
    match std::fs::symlink_metadata(&own) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => None,
        _ => Some((own, Origin::Default)),
    }
}

fn refuse_moved_directory(layer: &[Candidate], found: &Path, problems: &mut Vec<Problem>) {
    let Some(candidate) = last(layer, "data_dir") else { return };
    if let Ok(named) = PathBuf::read(&candidate.raw, Limit::None)
        && named != found
    {
        let origin = candidate.origin.clone();
        problems.push(Problem::DataDirectoryMoved { origin, named, found: found.to_owned() });
    }
}

/// Fills in the paths that follow from others.
fn derive_paths(effective: &mut Effective, env: &Environment, problems: &mut Vec<Problem>) {
    let text = |path: &Path| Raw::Text(path.to_string_lossy().into_owned());
    if !effective.0.contains_key("data_dir") {
        match default_directory(env) {
            Some(path) => {
                effective.0.insert("data_dir".into(), text(&path));
            }
            None => problems.push(Problem::NoDataDirectory),
        }
    }
    if !effective.0.contains_key("database.path")
        && let Some(Ok(dir)) = effective.0.get("data_dir").map(|r| PathBuf::read(r, Limit::None))
    {
        effective.0.insert("database.path".into(), text(&dir.join("store")));
    }
}

/// The settings that do not go together.
fn conflicts(loaded: &Loaded) -> Vec<Problem> {
    let Loaded { config, origins, .. } = loaded;
    let origin = |name: &str| origins.get(name).cloned().unwrap_or(Origin::Default);
    let shown = |name: &str| {
        let value = KEYS.iter().find(|key| key.name() == name).map(|key| key.value(config));
        format!("{name} = {}", value.unwrap_or_default())
    };
    let network = &config.network;
    let online = network.enable_network_calls;
    let api = config.api.listen;
    let api_meets_federation = api.port() == network.port
        && api.port() != 0
        && (network.bind_address.is_unspecified()
            || api.ip().is_unspecified()
            || api.ip() == network.bind_address);
    let same_udp = network.discovery_port == network.port && network.port != 0;
    let rules: [(bool, &str, &str, &'static str); 4] = [
        (
            online && !network.tcp && !network.quic,
            "network.tcp",
            "network.quic",
            "no transport is left; turn one of them on, or network.enable_network_calls off",
        ),
        (
            online && !network.tcp && network.key.is_some(),
            "network.key",
            "network.tcp",
            "a network key does not cover QUIC, which is off with it; turn TCP on",
        ),
        (
            online && network.quic && network.beacon && same_udp,
            "network.port",
            "network.discovery_port",
            "QUIC and the beacon cannot share a UDP port; choose another for one of them",
        ),
        (
            online && network.tcp && api_meets_federation,
            "network.port",
            "api.listen",
            "the federation and the API cannot share a TCP port; choose another for one of them",
        ),
    ];
    rules
        .into_iter()
        .filter(|(broken, ..)| *broken)
        .map(|(_, first, second, reason)| {
            Problem::Conflict(Box::new(Conflict {
                first: shown(first),
                first_origin: origin(first),
                second: shown(second),
                second_origin: origin(second),
                reason,
            }))
        })
        .collect()
}
