//! The commands: what each does, prints and leaves behind.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::claim;
use super::error::DevnetError;
use super::hosts;
use super::interrupt::Interrupt;
use super::links;
use super::load;
use super::partition::{self, Groups};
use super::process::{self, Standing};
use super::single;
use super::state::{Devnet, Lock, Nat, make_directory};
use super::table::{self, Row};
use super::up::{self, Build};
use super::wait::{Node, Patience};
use super::{DevnetArgs, DevnetCommand, UpArgs};

/// How long a change of a running devnet may take.
const CHANGE: Duration = Duration::from_secs(30);
/// The same where links are changed: who is cut off is missed after 20 to 40 s, and then dialled again.
const CHANGE_OF_LINKS: Duration = Duration::from_secs(180);
/// Lines of a log that are shown of a node that misses something.
const TAIL: usize = 12;
/// Nodes whose logs are shown; with more, the first lines would be out of sight.
const TAILS: usize = 3;

/// What a command has to show.
struct Shown {
    json: Json,
    people: String,
}

impl Shown {
    fn new(json: Json, people: impl Into<String>) -> Self {
        Self { json, people: people.into() }
    }
}

/// Runs a command on a devnet: data to standard output (as JSON if `json`), progress and errors to
/// standard error. `exec` does not return: this process becomes the command.
///
/// Returns the exit code, one of those that the command line documents: 0 done; 1 failed; 2 wrong
/// usage; 3 the node does not run or cannot be reached; 4 no such devnet or node; 6 the closed
/// space is not kept closed; 7 not everything came about in time.
#[must_use]
pub fn run(args: DevnetArgs, json: bool) -> u8 {
    let DevnetArgs { dir, command } = args;
    let done = claim::absolute(&dir).and_then(|dir| carry_out(&dir, command, json));
    match done.and_then(|shown| shown.map_or(Ok(()), |shown| print(&shown, json))) {
        Ok(()) => 0,
        Err(error) => {
            if error.code() != 0 {
                let text =
                    if json { error.to_json().to_string() } else { format!("error: {error}") };
                complain(&text);
            }
            error.code()
        }
    }
}

fn carry_out(dir: &Path, command: DevnetCommand, json: bool) -> Result<Option<Shown>, DevnetError> {
    // Reading needs no lock.
    match &command {
        DevnetCommand::Up(args) => return make(dir, args, json).map(Some),
        DevnetCommand::Status => return status(&Devnet::load(dir)?).map(Some),
        DevnetCommand::Logs { index, follow } => {
            let output = &mut std::io::stdout().lock();
            return single::logs(&Devnet::load(dir)?, *index, *follow, output).map(|()| None);
        }
        DevnetCommand::Exec { index, command } => {
            return Err(single::exec(&Devnet::load(dir)?, *index, command, json));
        }
        DevnetCommand::Load(args) => {
            let devnet = Devnet::load(dir)?;
            let report = load::load(&devnet, args, &Interrupt::listen()?)?;
            print(&Shown::new(report.to_json(), report.to_text()), json)?;
            report.notes().iter().for_each(|note| complain(&format!("devnet: {note}")));
            return report.late().map_or(Ok(None), Err);
        }
        _ => {}
    }
    // Only what is there can be locked and changed.
    Devnet::load(dir)?;
    let lock = Lock::take(dir)?;
    let mut devnet = Devnet::load(dir)?;
    let interrupt = Interrupt::listen()?;
    let within = if devnet.site.is_some() { CHANGE_OF_LINKS } else { CHANGE };
    let patience = Patience::new(within, &interrupt);
    let shown = match command {
        DevnetCommand::Kill { index } => {
            single::kill(&mut devnet, dir, index)?;
            Shown::new(json!({"index": index, "pid": null}), format!("node {index} is killed\n"))
        }
        DevnetCommand::Start { index } => {
            let pid = single::start(&mut devnet, dir, index, &patience)?;
            let people = format!("node {index} is ready, as process {pid}\n");
            Shown::new(json!({"index": index, "pid": pid}), people)
        }
        DevnetCommand::Partition { groups } => {
            let parsed = Groups::parse(&groups, devnet.nodes.len())?;
            if devnet.site.is_some() {
                complain("devnet: the links are cut; the groups come to miss each other");
            }
            partition::arrange(&mut devnet, dir, &parsed, &patience)?;
            let people = format!("{} groups are apart: {groups}\n", parsed.count());
            Shown::new(json!({"partition": groups}), people)
        }
        DevnetCommand::Heal => {
            let whole = Groups::whole(devnet.nodes.len());
            let left = partition::arrange(&mut devnet, dir, &whole, &patience)?;
            let mut people = "all nodes reach each other again\n".to_owned();
            if left.len() == devnet.nodes.len() {
                people = "no node runs; none is kept from others any more\n".to_owned();
            }
            if !left.is_empty() && devnet.site.is_none() {
                let left: Vec<String> = left.iter().map(ToString::to_string).collect();
                people = format!(
                    "all nodes that run reach each other again; what does not, node {}, still keeps \
                     the others out: start it and heal again\n",
                    left.join(", ")
                );
            }
            Shown::new(json!({"partition": null, "not_running": left}), people)
        }
        DevnetCommand::Loss { nodes, percent } => {
            links::lose(&mut devnet, dir, &nodes, percent)?;
            let people = format!("the links of nodes {nodes} lose {percent} % of their packets\n");
            Shown::new(json!({"nodes": nodes, "loss_percent": percent}), people)
        }
        DevnetCommand::Rate { nodes, rate } => {
            links::limit(&mut devnet, dir, &nodes, rate)?;
            let people = format!("the links of nodes {nodes}: {rate}\n");
            Shown::new(json!({"nodes": nodes, "rate_bits": rate.0}), people)
        }
        DevnetCommand::Move { index } => {
            let nat = devnet.node(index)?.host.as_ref().and_then(|host| host.nat);
            resettle(&mut devnet, dir, index, nat, &patience)?
        }
        DevnetCommand::Nat { index, off: true, .. } if !partition::is_behind(&devnet, index) => {
            let error = if devnet.site.is_none() {
                DevnetError::NoHosts
            } else {
                DevnetError::NoRouter { index: devnet.node(index)?.index }
            };
            return Err(error);
        }
        DevnetCommand::Nat { index, kind, off } => {
            resettle(&mut devnet, dir, index, (!off).then_some(kind), &patience)?
        }
        DevnetCommand::Down { keep } => {
            let shown = take_down(dir, &mut devnet, keep, &interrupt)?;
            if !keep {
                claim::leave(dir);
            }
            shown
        }
        // Handled above.
        DevnetCommand::Up(_)
        | DevnetCommand::Status
        | DevnetCommand::Logs { .. }
        | DevnetCommand::Exec { .. }
        | DevnetCommand::Load(_) => return Ok(None),
    };
    drop(lock);
    Ok(Some(shown))
}

/// `ocm devnet move` and `nat`.
fn resettle(
    devnet: &mut Devnet,
    dir: &Path,
    index: usize,
    nat: Option<Nat>,
    patience: &Patience,
) -> Result<Shown, DevnetError> {
    let host = links::resettle(devnet, dir, index, nat)?;
    if devnet.node(index)?.standing(&devnet.executable) == Standing::Ours {
        complain(&format!(
            "devnet: node {index} is at {host}; its peers miss it, and find it again"
        ));
    }
    let found = links::until_found(devnet, index, &host, patience)?;
    let connected = if found { "connected again" } else { "does not run" };
    let people = format!("node {index} is at {host}, and {connected}\n");
    Ok(Shown::new(json!({"index": index, "host": host, "connected": found}), people))
}

/// `ocm devnet up`.
fn make(dir: &Path, args: &UpArgs, json: bool) -> Result<Shown, DevnetError> {
    let plan = up::plan(args)?;
    let interrupt = Interrupt::listen()?;
    make_directory(dir)?;
    let lock = Lock::take(dir)?;
    let mut say = |what: &str| complain(&format!("devnet: {what}"));
    let patience = Patience::new(args.timeout, &interrupt);
    let mut build = match Build::begin(dir, plan, patience, &mut say) {
        Ok(build) => build,
        Err(error) => {
            // A directory that was made for nothing goes again; one with anything in it stays.
            drop(lock);
            if Devnet::load(dir).is_err() {
                claim::leave(dir);
            }
            return Err(error);
        }
    };
    let made = build.complete();
    let mut devnet = build.devnet;
    match made {
        Ok(report) => {
            let value = report.to_json(dir);
            let mut people = table::arrivals(&report.rows);
            if args.once {
                take_down(dir, &mut devnet, false, &interrupt)?;
                claim::leave(dir);
                people.push_str("\neverything held; the devnet is stopped and removed\n");
            } else {
                people.push_str(&next_steps(dir, &devnet));
            }
            Ok(Shown::new(value, people))
        }
        Err(error) => {
            if !json {
                show_logs(&devnet, &error);
            }
            if matches!(error, DevnetError::Interrupted) {
                take_down(dir, &mut devnet, false, &interrupt)?;
                claim::leave(dir);
            } else if args.once {
                let kept = take_down(dir, &mut devnet, true, &interrupt)?;
                // It is there to be looked at, and makes room for the next one.
                devnet.kept = false;
                devnet.save(dir)?;
                complain(&format!("devnet: {}", kept.people.trim_end()));
            } else {
                complain(&format!(
                    "devnet: nodes that run are left running, their files are in {}; `ocm devnet \
                     down` ends and removes them",
                    dir.display()
                ));
            }
            Err(error)
        }
    }
}

/// `ocm devnet down`.
fn take_down(
    dir: &Path,
    devnet: &mut Devnet,
    keep: bool,
    interrupt: &Interrupt,
) -> Result<Shown, DevnetError> {
    let running = devnet.running();
    let all: Vec<usize> = (0..devnet.nodes.len()).collect();
    let unending = process::stop(devnet, &all, interrupt);
    if let Some(error) = unending.into_iter().next() {
        return Err(error);
    }
    for index in all {
        devnet.set_pid(index, None);
    }
    devnet.kept = keep;
    devnet.save(dir)?;
    let what = if keep {
        hosts::remove(devnet, dir)?;
        format!("files are kept in {}", dir.display())
    } else {
        claim::remove(dir, devnet)?;
        format!("{} is removed", dir.display())
    };
    let nodes = if running == 1 { "1 node is".into() } else { format!("{running} nodes are") };
    let people = format!("{nodes} stopped, {what}\n");
    Ok(Shown::new(json!({"dir": dir, "stopped": running, "kept": keep}), people))
}

/// `ocm devnet status`.
fn status(devnet: &Devnet) -> Result<Shown, DevnetError> {
    let row = |index: usize| -> Result<Row, DevnetError> {
        let entry = devnet.node(index)?;
        Ok(match (entry.standing(&devnet.executable), entry.pid) {
            (Standing::Ours, _) => {
                let node = Node::of(devnet, index, None)?;
                Row::ask(devnet, &node)
                    .unwrap_or_else(|_| Row::without_answer(entry, "not answering"))
            }
            (_, None) => Row::without_answer(entry, "stopped"),
            (Standing::Stranger | Standing::Gone, Some(_)) => Row::without_answer(entry, "ended"),
        })
    };
    let rows = (0..devnet.nodes.len()).map(row).collect::<Result<Vec<Row>, DevnetError>>()?;
    let items: Vec<Json> = rows.iter().map(Row::to_json).collect();
    let value = json!({"items": items, "next": null, "spaces": devnet.spaces});
    Ok(Shown::new(value, table::states(&rows)))
}

/// What to try with a devnet that runs.
fn next_steps(dir: &Path, devnet: &Devnet) -> String {
    let program = std::env::args_os().next().map_or_else(|| "ocm".into(), PathBuf::from);
    let is_default = claim::absolute(Path::new(".devnet")).is_ok_and(|default| default == dir);
    let mut begin = format!("  {} devnet", program.display());
    if !is_default {
        begin.push_str(&format!(" --dir {}", dir.display()));
    }
    let last = devnet.nodes.len() - 1;
    let groups = match last {
        1 => "0/1".to_owned(),
        2 => "0,1/2".to_owned(),
        _ => format!("0-{}/{last}", last - 1),
    };
    let lines = [
        "exec 0 -- memory add --title \"The bridge is open\"".to_owned(),
        format!("exec {last} -- memory list"),
        format!("exec {last} -- sync status"),
        format!("kill {last}"),
        format!("start {last}"),
        format!("partition {groups}"),
        "heal".to_owned(),
        "status".to_owned(),
        "down".to_owned(),
    ];
    let links = ["loss 0,1 30%", "rate 1 64kbit", "move 1", "nat 1"].map(str::to_owned);
    let links = links.iter().filter(|_| devnet.site.is_some());
    let lines: String = links.chain(&lines).map(|line| format!("{begin} {line}\n")).collect();
    format!("\nthe federation is running; try\n{lines}")
}

/// The ends of the logs of the nodes that miss something.
fn show_logs(devnet: &Devnet, error: &DevnetError) {
    let nodes = error.nodes();
    for index in nodes.iter().take(TAILS) {
        let Ok(node) = devnet.node(*index) else { continue };
        let tail = process::log_tail(&node.log, TAIL);
        if !tail.is_empty() {
            complain(&format!("--- the end of {}\n{tail}\n---", node.log.display()));
        }
    }
    if nodes.len() > TAILS {
        let others = nodes.len() - TAILS;
        complain(&format!("--- and the logs of {others} more, in node-I/log of the devnet\n---"));
    }
}

fn print(shown: &Shown, json: bool) -> Result<(), DevnetError> {
    let mut output = std::io::stdout().lock();
    let text = match (json, output.is_terminal()) {
        (false, _) => shown.people.clone(),
        (true, true) => format!("{:#}\n", shown.json),
        (true, false) => format!("{}\n", shown.json),
    };
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(DevnetError::Output)
}

/// Says something beside the data, without what a terminal would act on.
fn complain(text: &str) {
    let visible = |c: char| {
        if c.is_control() && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c }
    };
    let text: String = text.chars().map(visible).collect();
    // Where standard error is gone too, only the exit code is left to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}
