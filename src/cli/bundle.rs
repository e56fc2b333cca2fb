//! `ocm bundle`: a space in a file, and back.

pub(super) mod export;
mod import;
mod report;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Context;
use super::exit::{Exit, Failure};
use crate::bundle::{KeyError, OpenError, WriteError, read_passphrase};
use crate::config::{Exposure, PASSPHRASE_FILE_VARIABLE};

/// Takes away what stands on the line of a terminal.
const CLEAR: &str = "\r\x1b[K";

/// The commands on bundles.
#[derive(Debug, Subcommand)]
pub(super) enum Bundle {
    /// Write a space into a file
    #[command(after_help = "\
The file holds all authority records of the space and its content records, or those that --since tells, \
with a signed statement of what is stored here. It is written as FILE.part, made durable, and \
then given its name.

A space that only members may read is encrypted: to recipients (the public keys that `age-keygen` prints), \
or with a passphrase; OCM_BUNDLE_PASSPHRASE_FILE names a file that holds one. --plain writes it \
readable by whoever finds it.

--since parity leaves out what the writer of the last bundle that was imported here said it had (where several \
peers' were, --peer says whose); a record \
with an old time that came later is not missed. What was learned by comparing over a network does not \
count for it. --since TIME goes by the times in the records: what came late with an old time is missing \
in such a bundle.

Examples:
  ocm bundle export --space v0m3f1q2 /media/stick/village.ocm
  ocm bundle export --since parity /media/stick/back.ocm
  ocm bundle export --since 2026-11-01T00:00:00Z --recipient age1… /media/stick/november.ocm
  ocm bundle export --passphrase /media/stick/closed.ocm")]
    Export(export::Export),
    /// Take in the records of a bundle
    #[command(after_help = "\
Every record is checked and admitted like one from a peer; those that are not are named with the reason, \
and the command exits 1. Importing a bundle twice changes nothing. Of a bundle that is cut or damaged, \
what was whole before that stays, and the command exits 6; where this program was cut short, begin it again: \
what is here already costs next to nothing.

At the end this node compares what it stores with what the writer stated; `ocm sync status` shows it.

Examples:
  ocm bundle import /media/stick/village.ocm --join
  ocm bundle import /media/stick/november.ocm --identity key.txt
  ocm bundle import /media/stick/closed.ocm --passphrase-file secret.txt --json")]
    Import(import::Import),
}

/// `ocm bundle …`.
pub(super) fn run(command: Bundle, context: Context<'_, '_>) -> Result<Exit, Failure> {
    match command {
        Bundle::Export(export) => export::run(&export, context),
        Bundle::Import(import) => import::run(&import, context),
    }
}

/// Where a passphrase comes from.
#[derive(Debug, Args)]
struct PassphraseArgs {
    /// The file that holds the passphrase [env: OCM_BUNDLE_PASSPHRASE_FILE]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The passphrase in the file that the flag or the environment names.
    fn read(&self, context: &mut Context<'_, '_>) -> Result<Option<String>, Failure> {
        let named = context.environment.get(PASSPHRASE_FILE_VARIABLE).map(PathBuf::from);
        let Some(file) = self.passphrase_file.clone().or(named) else { return Ok(None) };
        warn_of(&file, context)?;
        Ok(Some(read_passphrase(&file)?))
    }
}

/// Says so where others can get at the secret in a file.
fn warn_of(file: &Path, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    match Exposure::of(file) {
        Some(exposure) => context.note(&format!("warning: {exposure}: {}", exposure.remedy())),
        None => Ok(()),
    }
}

/// Asks for a passphrase at the terminal, without showing it.
fn ask(prompt: &str) -> std::io::Result<String> {
    rpassword::prompt_password(prompt)
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Exists(_) | WriteError::Busy(_) | WriteError::Encrypt(_) => {
                Self::Usage(error.to_string())
            }
            WriteError::Io { .. } => Self::Other(error.into()),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let text = error.to_string();
        match error {
            OpenError::Io { .. } => Self::Usage(text),
            OpenError::NoBundle(_)
            | OpenError::Cut(_)
            | OpenError::Head(_)
            | OpenError::Version { .. } => Self::Wrong(text),
            OpenError::Locked { .. } | OpenError::WrongKey { .. } => Self::Refused(text),
        }
    }
}
