//! The command line: its tree of commands, and what each does with the node or without one.

mod bundle;
mod config;
mod doctor;
mod exit;
mod guide;
mod import;
mod memory;
mod output;
mod page;
mod peer;
mod space;
mod status;
mod sync;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use self::exit::Failure;
use self::output::{Shown, clean_lines, print_json};
use crate::client::{Address, Client, TokenSource};
use crate::config::{Config, Environment, Loaded, Overrides};
use crate::runtime::NodeFlags;

pub use exit::Exit;

/// Our Collective Memory: a signed, offline-first logbook that belongs to the people in it.
#[derive(Debug, Parser)]
#[command(
    name = "ocm",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = exit::HELP,
    after_long_help = exit::HELP
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    #[command(flatten)]
    overrides: Overrides,
    /// Print JSON, exactly what the API says
    #[arg(long, global = true)]
    json: bool,
    /// The API of the node to speak to [default: api.listen of the configuration]
    #[arg(long, global = true, value_name = "ADDRESS")]
    api: Option<Address>,
    /// How long the node may take to answer
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "logging.level")]
    verbose: u8,
    /// Say less: no messages beside data and errors
    #[arg(
        short, long, global = true, action = ArgAction::Count,
        conflicts_with_all = ["verbose", "logging.level"]
    )]
    quiet: u8,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
enum Command {
    #[command(flatten)]
    Configured(Configured),
    /// A federation of nodes on this machine: start it, part it, take it down
    #[command(
        after_help = "Example:\n  ocm devnet up --nodes 3\n  ocm devnet exec 1 -- memory list\n  ocm devnet down"
    )]
    Devnet(crate::devnet::DevnetArgs),
    /// The configuration: what holds, what is wrong, a file to begin with
    #[command(subcommand)]
    Config(config::ConfigCommand),
    #[command(flatten)]
    Guide(guide::Guide),
}

/// The commands that begin with loading the configuration.
#[derive(Debug, Subcommand)]
enum Configured {
    /// Make an identity, a store and a personal space
    #[command(after_help = "Example:\n  ocm init --identity-handle alice")]
    Init,
    /// Run the node
    #[command(
        after_help = "Example:\n  ocm node --network-seed-peers 192.0.2.7:8080\n\nIt is ready when it \
                      prints `OCM node is ready`; SIGINT or SIGTERM stops it, a second one at once. SIGHUP has it load \
                      its configuration again.\n\nEvery key of the configuration has a flag, as network.upnp has \
                      --network-upnp: `ocm config show` lists the keys, and the file that `ocm config init` writes \
                      says what each does."
    )]
    Node {
        /// Start although the store has lost records, and get them again from peers
        #[arg(long)]
        accept_loss: bool,
        /// Relay for peers that cannot be dialled, within limits; as `network.relay` does
        #[arg(long)]
        relay: bool,
    },
    /// Ask whether the node lives (for container checks)
    #[command(
        after_help = "Examples:\n  ocm health --ready --timeout 2\n  ocm health --api 127.0.0.1:7845\n\nWith \
                            --api, no configuration is read."
    )]
    Health {
        /// Ask whether it is ready to serve; exits 6 if not
        #[arg(long)]
        ready: bool,
    },
    /// The identity that this node acts for
    #[command(subcommand)]
    Identity(status::Identity),
    /// What the node is, and how it fares
    #[command(after_help = "Example:\n  ocm status --json")]
    Status,
    /// Stop the node in good order
    #[command(after_help = "Example:\n  ocm stop")]
    Stop,
    /// Memories: write, read, edit and check them
    #[command(subcommand)]
    Memory(memory::Memory),
    /// Write many memories at once, from a file of JSON lines
    #[command(after_help = "\
Each line is the content of one memory, a JSON object; or {\"space\": ID, \"content\": {…}}, which is \
taken apart when it has nothing else in it. Empty lines are left out. A line needs one of type, title, \
text, at, place, tags, data and attachments: a memory with other keys alone would show nothing. Records \
from `ocm memory export` are for `ocm memory import`.

Lines are sent in batches (api.batch_memories; smaller ones where the node takes no more at once), \
acknowledged line by line, with one flush for the lines of one space in a batch. A line that cannot be written is named, and does not stop the others; the command then \
exits 1. What is cut short says with which line to go on: --from. Two batches are under way at once; \
what became of them when this program is killed is not known.

Examples:
  ocm import visits.jsonl
  jq -c '.[]' visits.json | ocm import - --space v0m3f1q2 --json > written.jsonl
  ocm import visits.jsonl --from 5001")]
    Import(import::Import),
    /// A space in a file: carry it over a stick, and take in what others carry
    #[command(subcommand)]
    Bundle(bundle::Bundle),
    /// Spaces: what is shared together, and with whom
    #[command(subcommand)]
    Space(space::Space),
    /// The peers that are connected
    #[command(after_help = "Example:\n  ocm peers")]
    Peers,
    /// Connect, measure and block peers
    #[command(subcommand)]
    Peer(peer::Peer),
    /// Compare spaces with peers
    #[command(subcommand)]
    Sync(sync::Sync),
    /// The records that were turned away lately, and why
    #[command(after_help = "Example:\n  ocm refused")]
    Refused,
    /// What is wrong with this node, why, and what to do; exits 6 if anything is
    #[command(after_help = "Example:\n  ocm doctor")]
    Doctor,
    /// What happens from now on, one event on a line
    #[command(after_help = "Example:\n  ocm events --json | jq .event")]
    Events {
        /// Only what happens in this space
        #[arg(long, value_name = "ID")]
        space: Option<String>,
    },
}

/// The streams that a command speaks through, and the passing of time.
pub struct Io<'a> {
    /// Standard input.
    pub input: &'a mut dyn Read,
    /// Standard output: data.
    pub output: &'a mut dyn Write,
    /// Standard error: messages.
    pub errors: &'a mut dyn Write,
    /// Whether people read the output at a terminal.
    pub terminal: bool,
    /// Lets time pass between two looks at something that is awaited.
    pub pause: &'a mut dyn FnMut(Duration),
}

/// What a command works with.
struct Context<'a, 'io> {
    global: Global,
    loaded: Loaded,
    environment: &'a Environment,
    io: &'a mut Io<'io>,
}

impl Context<'_, '_> {
    /// A client of the running node.
    fn client(&self) -> Result<Client, Failure> {
        self.client_with(self.global.timeout)
    }

    /// As [`Self::client`], with a time of its own that an answer may take.
    fn client_with(&self, timeout: Duration) -> Result<Client, Failure> {
        let api = &self.loaded.config.api;
        let address = match &self.global.api {
            Some(address) => address.clone(),
            None => Address::of_listener(api.listen)?,
        };
        let token = match &api.token {
            Some(token) => TokenSource::Given(token.reveal().to_owned()),
            None => TokenSource::of_data_dir(&self.loaded.config.data_dir),
        };
        Ok(Client::new(address, token, timeout))
    }

    /// The space that was named, else the one that the configuration names.
    fn space(&self, named: Option<String>) -> Result<String, Failure> {
        named.or_else(|| self.loaded.config.space.default.map(|id| id.to_string())).ok_or_else(
            || {
                Failure::Usage(
                    "no space is named and none is the default: give --space ID (`ocm space list` \
                     shows them), or set space.default in the configuration (OCM_SPACE_DEFAULT)"
                        .into(),
                )
            },
        )
    }

    /// Says something beside the data.
    fn note(&mut self, note: &str) -> Result<(), Failure> {
        if self.global.quiet == 0 {
            writeln!(self.io.errors, "{}", clean_lines(note))?;
        }
        Ok(())
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let environment = Environment::of_process();
    let (mut input, mut output, mut errors) =
        (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let terminal = output.is_terminal();
    let mut io = Io {
        input: &mut input,
        output: &mut output,
        errors: &mut errors,
        terminal,
        pause: &mut std::thread::sleep,
    };
    run(std::env::args_os(), &environment, &mut io).into()
}

/// Runs a command line: `args` begins with the name of the program.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    io: &mut Io<'_>,
) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return explain(&error, io),
    };
    cli.global.overrides = cli.global.overrides.with_settings_of(&args);
    let json = cli.global.json;
    match carry_out(cli, environment, io) {
        Ok(exit) => exit,
        Err(failure) => {
            let exit = failure.exit();
            if exit != Exit::Done {
                // Where standard error is gone too, only the exit code is left to tell.
                let _ = if json {
                    writeln!(io.errors, "{}", failure.to_json())
                } else {
                    writeln!(io.errors, "error: {}", clean_lines(&failure.to_string()))
                };
            }
            exit
        }
    }
}

/// The help that was asked for, or what is wrong with the command line.
fn explain(error: &clap::Error, io: &mut Io<'_>) -> Exit {
    let text = error.render();
    let text = if io.terminal { text.ansi().to_string() } else { text.to_string() };
    // As above: only the exit code is left where nothing can be written.
    if error.use_stderr() {
        let _ = write!(io.errors, "{text}");
        Exit::Usage
    } else {
        let _ = write!(io.output, "{text}");
        Exit::Done
    }
}

fn carry_out(cli: Cli, environment: &Environment, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let Cli { mut global, command } = cli;
    if let (Command::Devnet(_), Some(flag)) = (&command, global.overrides.first()) {
        return Err(Failure::Usage(format!(
            "`ocm devnet` has no configuration, and {flag} would change nothing: its nodes take some \
             variables of yours (OCM_LOG_LEVEL, OCM_NETWORK_QUIC, …; see `ocm devnet up --help`)"
        )));
    }
    let level = match (global.verbose, global.quiet) {
        (0, 0) => None,
        (1, _) => Some("debug"),
        (0, 1) => Some("warn"),
        (0, _) => Some("error"),
        _ => Some("trace"),
    };
    if let Some(level) = level {
        global.overrides = global.overrides.set("logging.level", level);
    }
    match command {
        Command::Config(command) => {
            let shown = config::run(command, &global.overrides, environment)?;
            print(&shown, &global, io)
        }
        Command::Guide(guide) => guide::run(guide, io),
        Command::Devnet(args) => Ok(Exit::As(crate::devnet::run(args, global.json))),
        // The check of a running node does not depend on the file that its next start will read.
        Command::Configured(Configured::Health { ready }) if let Some(api) = &global.api => {
            let client = Client::new(api.clone(), TokenSource::Nobody, global.timeout);
            let shown = status::health(&client, ready)?;
            print(&shown, &global, io)
        }
        Command::Configured(command) => {
            if matches!(command, Configured::Node { relay: true, .. }) {
                global.overrides = global.overrides.set("network.relay", "true");
            }
            let loaded = Config::load(&global.overrides, environment)?;
            with_configuration(command, Context { global, loaded, environment, io })
        }
    }
}

fn with_configuration(command: Configured, mut context: Context<'_, '_>) -> Result<Exit, Failure> {
    let runs_the_node = matches!(command, Configured::Node { .. });
    if context.global.verbose > 0 && !runs_the_node {
        trace_requests();
    }
    let shown = match command {
        Configured::Node { accept_loss, .. } => {
            let load = || Config::load(&context.global.overrides, context.environment);
            crate::runtime::run(&context.loaded, NodeFlags { accept_loss }, &load)?;
            return Ok(Exit::Done);
        }
        Configured::Events { space } => return sync::events(space.as_deref(), &mut context),
        Configured::Import(what) => return import::run(what, context),
        Configured::Bundle(command) => return bundle::run(command, context),
        Configured::Init => status::init(&context.loaded)?,
        Configured::Identity(status::Identity::Show) => status::identity(&context.loaded)?,
        Configured::Health { ready } => status::health(&context.client()?, ready)?,
        Configured::Status => status::status(&context)?,
        Configured::Stop => status::stop(&context)?,
        Configured::Memory(memory::Memory::Watch(what)) => {
            return memory::watch::run(what, &mut context);
        }
        Configured::Memory(memory::Memory::Export(what)) => {
            return memory::lines::export(what, &mut context);
        }
        Configured::Memory(memory::Memory::Import(what)) => {
            return memory::lines::import(&what, &mut context);
        }
        Configured::Memory(memory::Memory::Asked(command)) => memory::run(command, &mut context)?,
        Configured::Space(command) => space::run(command, &mut context)?,
        Configured::Peers => peer::list(&context)?,
        Configured::Peer(command) => peer::run(command, &context)?,
        Configured::Sync(command) => sync::run(command, &mut context)?,
        Configured::Refused => status::refused(&context)?,
        Configured::Doctor => doctor::run(&context)?,
    };
    let Context { global, io, .. } = context;
    print(&shown, &global, io)
}

fn print(shown: &Shown, global: &Global, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let written = if global.json {
        writeln!(io.output, "{}", print_json(&shown.json, io.terminal))
    } else {
        io.output.write_all(shown.people.as_bytes())
    };
    let written = written.and_then(|()| io.output.flush());
    match written {
        // What was found out holds, whether or not anyone reads it.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(shown.exit),
        written => written?,
    }
    if !global.json && global.quiet == 0 {
        for note in &shown.notes {
            writeln!(io.errors, "{}", clean_lines(note))?;
        }
    }
    Ok(shown.exit)
}

/// Shows each request on standard error.
fn trace_requests() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter("ocm=debug")
        .finish();
    // A process that has a subscriber already keeps it.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// A span of time in seconds, from a millisecond to a day.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("expected a number of seconds from 0.001 to 86400".into()),
    }
}
