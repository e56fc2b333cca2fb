//! What shells and `man` are told of the command line.

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::Failure;
use super::{Cli, Exit, Io};

/// The commands that only speak of the others.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Guide {
    /// Print what makes a shell complete commands and flags
    #[command(
        after_help = "Examples:\n  ocm completions bash > ~/.local/share/bash-completion/completions/ocm\n  \
                      ocm completions zsh > /usr/local/share/zsh/site-functions/_ocm\n  ocm completions \
                      fish > ~/.config/fish/completions/ocm.fish"
    )]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page, or write one of each command into a directory
    #[command(
        after_help = "Examples:\n  ocm man | man -l -\n  ocm man ~/.local/share/man/man1 && man \
                      ocm-memory-add"
    )]
    Man {
        /// Where to write them; made if it is absent, and pages of the same name are replaced
        #[arg(value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
}

/// `ocm completions` and `ocm man`.
pub(super) fn run(guide: Guide, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match guide {
        Guide::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ocm", &mut script);
            io.output.write_all(&script)?;
        }
        Guide::Man { directory: None } => {
            let mut page = Vec::new();
            Man::new(Cli::command()).render(&mut page)?;
            io.output.write_all(&page)?;
        }
        Guide::Man { directory: Some(directory) } => {
            write_pages(&directory).map_err(|why| {
                let directory = directory.display();
                anyhow::anyhow!(
                    "cannot write manual pages into {directory}: {why}; name a directory that is yours"
                )
            })?;
            writeln!(io.output, "wrote the manual pages into {}", directory.display())?;
        }
    }
    io.output.flush()?;
    Ok(Exit::Done)
}

fn write_pages(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command(), directory)
}
