//! The configuration: what holds, what is wrong, and a file to begin with.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::exit::Failure;
use super::output::Shown;
use crate::config::{
    Config, Environment, FILE_NAME, InitError, Overrides, init_file, render_show, show_json,
};
use crate::network::PreSharedKey;

/// The configuration's commands.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show every key with the value that holds
    #[command(after_help = "Example:\n  ocm config show --origin")]
    Show {
        /// And where the value came from
        #[arg(long)]
        origin: bool,
    },
    /// Say whether a node would start with this configuration, and what is wrong with it
    #[command(after_help = "Example:\n  ocm config check --config /etc/ocm.toml")]
    Check,
    /// Make a key for a private network, and print it
    #[command(after_help = "\
Example:
  (umask 077; ocm config network-key > network.key)

Give the file to every node of the network (network.key_file, OCM_NETWORK_KEY_FILE): they speak to each \
other and to nobody else. The file has the format that other libp2p programs call swarm.key.")]
    NetworkKey,
    /// Write a file that documents every key, where there is none
    #[command(after_help = "Example:\n  ocm config init ./ocm.toml")]
    Init {
        /// The file [default: that of --config, else ocm.toml in the data directory]
        path: Option<PathBuf>,
    },
}

/// `ocm config …`.
pub(super) fn run(
    command: ConfigCommand,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<Shown, Failure> {
    let load = || Config::load(overrides, environment);
    Ok(match command {
        ConfigCommand::Show { origin } => {
            let loaded = load()?;
            Shown::value(&show_json(&loaded), render_show(&loaded, origin))
        }
        ConfigCommand::Check => {
            let file = load()?.file;
            let from = match &file {
                Some(file) => format!("{} was read", file.display()),
                None => "there is no file".to_owned(),
            };
            let value = json!({ "ok": true, "file": file });
            Shown::value(&value, format!("the configuration is in order ({from})"))
        }
        ConfigCommand::NetworkKey => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|why| {
                anyhow::anyhow!("the system gives no random bytes, so that no key is made: {why}")
            })?;
            let file = PreSharedKey::new(bytes).to_key_file();
            Shown::value(&json!({ "key_file": file }), file)
        }
        ConfigCommand::Init { path } => init(path, overrides, environment)?,
    })
}

/// `ocm config init`.
fn init(
    path: Option<PathBuf>,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<Shown, Failure> {
    let path = match path.or_else(|| overrides.config_file().map(Path::to_owned)) {
        Some(path) => path,
        None => {
            let dir = Config::load(overrides, environment)?.config.data_dir;
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|why| anyhow::anyhow!("cannot make {}: {why}", dir.display()))?;
            dir.join(FILE_NAME)
        }
    };
    init_file(&path, &BTreeMap::new()).map_err(|error| match error {
        InitError::Value(problem) => Failure::Usage(problem.to_string()),
        other => Failure::Other(other.into()),
    })?;
    let shown = Shown::value(&json!({ "file": path }), format!("wrote {}", path.display()));
    Ok(shown.note("every key is documented in it; `ocm config check` says whether it is in order"))
}
