//! The flags: `--config FILE`, `--set KEY=VALUE`, and one flag for each key.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::key::Key;
use super::origin::Origin;
use super::source::Candidate;
use super::table::{ABSENT, KEYS};
use super::value::Raw;
use super::{Problem, suggestion};

/// What the command line sets. Flatten it into a command (`#[command(flatten)]`) for its flags, or
/// fill it by [`Overrides::set`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    file: Option<PathBuf>,
    /// By name: the value, and the flag as it was written.
    settings: BTreeMap<String, (String, String)>,
}

impl Overrides {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the key of this name (`network.port`, or `api.token_file` for a file that holds a
    /// secret), as `--set` does. Later settings replace earlier ones; a wrong name or value is
    /// told when the configuration is loaded.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(name.to_owned(), (value.into(), format!("--set {name}")));
        self
    }

    /// Adds what `--set` says in these arguments and is not set yet: of one that stands before and
    /// after the name of a command, the parser keeps only what stands after it.
    #[must_use]
    pub(crate) fn with_settings_of(mut self, args: &[OsString]) -> Self {
        let mut args = args.iter().take_while(|arg| *arg != "--").filter_map(|arg| arg.to_str());
        let mut missing = Self::new();
        while let Some(arg) = args.next() {
            let setting = match arg.strip_prefix("--set") {
                Some("") => args.next(),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            };
            if let Some((name, value)) = setting.and_then(|text| split_setting(text).ok())
                && !self.settings.contains_key(&name)
            {
                missing = missing.set(&name, value);
            }
        }
        self.settings.append(&mut missing.settings);
        self
    }

    /// Reads this configuration file, as `--config` does.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// The first flag that was given, as it was written; `None` where there was none.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        let file = self.file.as_ref().map(|_| "--config");
        file.or_else(|| self.settings.values().map(|(_, flag)| flag.as_str()).next())
    }

    /// The configuration file that `--config` names.
    #[must_use]
    pub fn config_file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// What the flags offer.
pub(crate) fn from_flags(flags: &Overrides, problems: &mut Vec<Problem>) -> Vec<Candidate> {
    let mut layer = Vec::new();
    for (name, (value, flag)) in &flags.settings {
        let origin = Origin::Flag(flag.clone());
        if let Some(key) = KEYS.iter().find(|key| key.name() == *name) {
            if key.secret {
                problems.push(Problem::SecretInFlag {
                    key: name.clone(),
                    env: key.env,
                    flag: key.flag(),
                });
            } else {
                layer.push(Candidate { key, raw: Raw::Text(value.clone()), origin, file: None });
            }
        } else if let Some(key) = secret_by_file(name) {
            match Candidate::in_file(key, Path::new(value), origin) {
                Ok(candidate) => layer.push(candidate),
                Err(problem) => problems.push(problem),
            }
        } else if let Some(absent) =
            ABSENT.iter().find(|absent| *name == format!("{}.{}", absent.section, absent.field))
        {
            let reason = absent.reason;
            problems.push(Problem::NotASetting { name: name.clone(), origin, reason });
        } else {
            let suggestion = suggestion::nearest_key(name).map(Key::name);
            problems.push(Problem::UnknownKey { name: name.clone(), origin, suggestion });
        }
    }
    layer
}

/// The secret whose file a name such as `api.token_file` sets.
fn secret_by_file(name: &str) -> Option<&'static Key> {
    let name = name.strip_suffix("_file")?;
    KEYS.iter().find(|key| key.secret && key.name() == name)
}

/// The keys whose flags the help shows; it would be a page of its own with all of them.
const SHOWN: &[&str] =
    &["data_dir", "profile", "identity.handle", "logging.level", "logging.format"];
/// Name and flag of each key, in the order of the table.
static NAMES: LazyLock<Vec<(String, String)>> =
    LazyLock::new(|| KEYS.iter().map(|key| (key.name(), key.flag())).collect());
const HEADING: &str = "Configuration";

impl clap::Args for Overrides {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Read this configuration file [env: OCM_CONFIG] [default: <data_dir>/ocm.toml]");
        let set = Arg::new("set")
            .long("set")
            .value_name("KEY=VALUE")
            .action(ArgAction::Append)
            .value_parser(split_setting)
            .help("Set a key of the configuration (`ocm config show` lists them)");
        let keys = KEYS.iter().zip(NAMES.iter()).map(|(key, (name, flag))| {
            let help = key.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
            let what = if key.secret { "FILE" } else { "VALUE" };
            let arg = Arg::new(name.as_str())
                .long(flag.as_str())
                .value_name(what)
                .hide(!SHOWN.contains(&name.as_str()))
                .help(format!("{help} [env: {}]", key.env_file().unwrap_or(key.env.into())));
            if key.switch { arg.num_args(0..=1).default_missing_value("true") } else { arg }
        });
        command.args(
            [config, set].into_iter().chain(keys).map(|arg| arg.global(true).help_heading(HEADING)),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Overrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut overrides = Self::new();
        overrides.update_from_arg_matches(matches)?;
        Ok(overrides)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(file) = matches.get_one::<PathBuf>("config") {
            self.file = Some(file.clone());
        }
        for (name, value) in matches.get_many::<(String, String)>("set").into_iter().flatten() {
            *self = std::mem::take(self).set(name, value);
        }
        for key in KEYS {
            if let Some(value) = matches.get_one::<String>(&key.name()) {
                let name = key.name() + if key.secret { "_file" } else { "" };
                let flag = format!("--{}", key.flag());
                self.settings.insert(name, (value.clone(), flag));
            }
        }
        Ok(())
    }
}

fn split_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        _ => Err(format!("{text:?} is not KEY=VALUE; write for example network.port=8080")),
    }
}
