//! The tree of commands, its help and its flags; the configuration.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use serde_json::Value as Json;

use super::Person;
use crate::cli::{Cli, Exit};
use crate::config::Overrides;

#[test]
fn the_tree_of_commands_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example_and_the_help_tells_exit_codes() {
    fn walk(command: &clap::Command, path: &str) {
        for sub in command.get_subcommands() {
            let path = format!("{path} {}", sub.get_name());
            if sub.has_subcommands() {
                walk(sub, &path);
                continue;
            }
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example") && help.contains(&path), "{path} has no example");
        }
    }
    let command = Cli::command();
    walk(&command, "ocm");
    let ran = Person::new().run_with(&["--help"], b"");
    assert_eq!((ran.exit, ran.errors.as_str()), (Exit::Done, ""));
    assert!(ran.out.contains("Exit codes:") && ran.out.contains("7  timed out"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'));
}

/// The words of a command as a shell has them.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for sign in command.chars() {
        match sign {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            sign => words.last_mut().unwrap().push(sign),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn the_command_lines_of_the_readme_are_commands() {
    const README: &str = include_str!("../../../README.md");
    let parse = |command: &str| {
        let words = words(command);
        let (_, rest) = words.split_first().unwrap();
        Cli::try_parse_from(std::iter::once("ocm").chain(rest.iter().map(String::as_str)))
    };
    let mut seen = 0;
    for line in README.lines() {
        let Some(line) = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")) else {
            continue;
        };
        let line = line.split("  #").next().unwrap();
        // A command in the arguments of another is none that could be split off here.
        for command in line.split(['&', ';', '|']).filter(|command| !command.contains("$(")) {
            let command = command.trim();
            let programs = ["ocm ", "target/release/ocm ", "mill ", "ford "];
            if programs.iter().any(|program| command.starts_with(program)) {
                seen += 1;
                if let Err(error) = parse(command) {
                    panic!("{command}: {error}");
                }
            }
        }
    }
    assert!(seen > 40, "{seen} command lines were found");
    // In the text, what a command needs may be left out.
    let spans = README.split('`').skip(1).step_by(2).filter(|span| span.starts_with("ocm "));
    for span in spans {
        let wanting = [
            ErrorKind::MissingRequiredArgument,
            ErrorKind::DisplayHelp,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ];
        if let Err(error) = parse(&span.replace('\n', " ")) {
            assert!(wanting.contains(&error.kind()), "{span}: {error}");
        }
    }
}

#[test]
fn a_misspelt_command_is_corrected() {
    let ran = Person::new().run_with(&["memroy", "list"], b"");
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.errors.contains("'memory'"), "{}", ran.errors);
}

#[test]
fn the_configuration_is_shown_checked_and_begun_without_a_node() {
    let person = Person::new().set("OCM_NETWORK_PORT", "9001");
    let ran = person.run_with(&["config", "show", "--origin"], b"");
    assert_eq!(ran.exit, Exit::Done, "{}", ran.errors);
    let line = ran.out.lines().find(|line| line.starts_with("network.port = 9001")).unwrap();
    assert!(line.ends_with("# environment OCM_NETWORK_PORT"), "{line}");
    let ran = person.run_with(&["config", "show", "--json"], b"");
    assert!(serde_json::from_str::<Json>(&ran.out).unwrap()["items"].is_array());

    let ran = person.run_with(&["config", "init"], b"");
    let file = person.dir.path().join("ocm.toml");
    assert_eq!((ran.exit, ran.out), (Exit::Done, format!("wrote {}\n", file.display())));
    let ran = person.run_with(&["config", "check"], b"");
    assert_eq!(ran.exit, Exit::Done, "{}", ran.errors);
    assert!(ran.out.contains(&file.display().to_string()));
    let ran = person.run_with(&["config", "init"], b"");
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.errors.contains("exists and is not overwritten"), "{}", ran.errors);

    let ran = person.run_with(&["config", "check", "--set", "network.prot=1"], b"");
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.errors.contains("network.port"), "{}", ran.errors);
    let named = person.dir.path().join("other.toml");
    let ran = person.run_with(&["--config", named.to_str().unwrap(), "config", "init"], b"");
    assert!(ran.exit == Exit::Done && Path::new(&named).exists(), "{}", ran.errors);
}

#[test]
fn settings_before_and_after_a_command_all_hold() {
    let shown = |args: &[&str]| Person::new().run_with(args, b"");
    let set = "--set";
    let ran = shown(&[
        set,
        "network.port=9001",
        "--set=logging.level=warn",
        set,
        "network.max_peers=7",
        "config",
        set,
        "network.mdns=false",
        "show",
        set,
        "network.max_peers=8",
    ]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.errors);
    for line in [
        "network.port = 9001",
        "logging.level = \"warn\"",
        "network.mdns = false",
        "network.max_peers = 8",
    ] {
        assert!(ran.out.lines().any(|shown| shown.starts_with(line)), "{line}: {}", ran.out);
    }
    // What follows `--` belongs to another program.
    let args = ["--set", "a=1", "--", "--set", "b=1"].map(OsString::from);
    assert_eq!(Overrides::new().with_settings_of(&args), Overrides::new().set("a", "1"));
    let ran = shown(&[set, "network.port=9001", "config", "show", "--network-port", "9002"]);
    assert!(ran.out.contains("network.port = 9002"), "{}", ran.out);
    let ran = shown(&[set, "network.prot=1", "config", "check", set, "network.port=1"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.errors.contains("network.prot"), "{}", ran.errors);
}

#[test]
fn flags_that_contradict_or_make_no_sense_are_refused() {
    for args in [
        &["status", "-v", "-q"][..],
        &["status", "--timeout", "0"],
        &["status", "--api", "https://node:1"],
        &["memory", "list", "--limit", "501"],
        &["memory", "get", ""],
        &["memory", "add", "--content", "{}", "--file", "-"],
    ] {
        assert_eq!(Person::new().run_with(args, b"").exit, Exit::Usage, "{args:?}");
    }
    let ran = Person::new().set("OCM_API_LISTEN", "127.0.0.1:0").run_with(&["status"], b"");
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.errors.contains("--api"), "{}", ran.errors);
}

#[test]
fn a_network_key_is_made_that_a_node_takes() {
    let made = || Person::new().run_with(&["config", "network-key"], b"").out;
    let (one, other) = (made(), made());
    assert!(one.starts_with("/key/swarm/psk/1.0.0/\n/base16/\n") && one != other, "{one}");
    let person = Person::new().set("OCM_NETWORK_KEY", &one);
    let ran = person.run_with(&["config", "show"], b"");
    assert!(ran.out.contains("network.key = (set)") || ran.out.contains("(set)"), "{}", ran.errors);
    assert!(!ran.out.contains(one.lines().last().unwrap()), "the key is shown");
    let person = person.set("OCM_NETWORK_TCP", "false");
    let ran = person.run_with(&["config", "check"], b"");
    assert!(
        ran.exit == Exit::Usage && ran.errors.contains("does not cover QUIC"),
        "{}",
        ran.errors
    );
}

#[test]
fn completions_are_printed_for_each_shell() {
    for (shell, sign) in [("bash", "complete -F _ocm"), ("zsh", "#compdef ocm"), ("fish", "ocm")] {
        let ran = Person::new().run_with(&["completions", shell], b"");
        assert_eq!((ran.exit, ran.errors.as_str()), (Exit::Done, ""));
        assert!(ran.out.contains(sign) && ran.out.contains("memory"), "{shell}: {}", ran.out);
    }
    assert_eq!(Person::new().run_with(&["completions", "cmd"], b"").exit, Exit::Usage);
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    fn names(command: &clap::Command, name: &str, into: &mut Vec<String>) {
        into.push(format!("{name}.1"));
        for sub in command.get_subcommands() {
            names(sub, &format!("{name}-{}", sub.get_name()), into);
        }
    }
    let person = Person::new();
    let ran = person.run_with(&["man"], b"");
    assert_eq!((ran.exit, ran.errors.as_str()), (Exit::Done, ""));
    assert!(ran.out.contains(".TH ocm 1") && ran.out.contains("Exit codes"), "{}", ran.out);

    let directory = person.dir.path().join("share/man1");
    let ran = person.run_with(&["man", directory.to_str().unwrap()], b"");
    assert_eq!((ran.exit, ran.errors.as_str()), (Exit::Done, ""));
    let mut expected = Vec::new();
    names(&Cli::command(), "ocm", &mut expected);
    expected.sort_unstable();
    let written = std::fs::read_dir(&directory).unwrap();
    let mut written: Vec<String> =
        written.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    written.sort_unstable();
    assert_eq!(written, expected);

    let ran = person.run_with(&["man", "/proc/nowhere"], b"");
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.errors.contains("/proc/nowhere"), "{}", ran.errors);
}
