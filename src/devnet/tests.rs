//! Waiting and checking, against fake nodes; and the command line.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{CommandFactory as _, Parser};
use serde_json::{Value as Json, json};

use super::check::{self, PeerName};
use super::error::{DevnetError, Missing};
use super::fake::{Fake, devnet_of, list};
use super::interrupt::Interrupt;
use super::state::Devnet;
use super::table::{Row, peers_of};
use super::wait::{Look, Node, Patience, each};
use super::{DevnetArgs, DevnetCommand};

const SPACE: &str = "v0000000000000000000000000000000000000000000000000000000000000000";

fn nodes(devnet: &Devnet) -> Vec<Node> {
    let node = |index| Node::of(devnet, index, None).unwrap();
    (0..devnet.nodes.len()).map(node).collect()
}

fn patience(millis: u64) -> Patience {
    Patience::new(Duration::from_millis(millis), &Interrupt::default())
}

#[test]
fn a_federation_that_comes_together_is_waited_for() {
    let fakes = Fake::start_all(3);
    let (_dir, devnet) = devnet_of(&fakes);
    let nodes = nodes(&devnet);
    let all: Vec<&Node> = nodes.iter().collect();
    fakes[2].answer("GET /ready", 503, json!({"ready": false, "store": "opening"}));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            fakes[2].answer("GET /ready", 200, json!({"ready": true}));
            std::thread::sleep(Duration::from_millis(100));
            Fake::connect_all(&fakes);
        });
        let begun = Instant::now();
        each(&all, &patience(20_000), "ready", |node, _| check::ready(node)).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(90));
        let found = each(&all, &patience(20_000), "connected", |node, _| {
            match check::connected(node, &peers_of(&devnet, node.index(), false)) {
                Look::There(()) => Look::There(node.index()),
                Look::NotYet(what) => Look::NotYet(what),
            }
        });
        assert_eq!(found.unwrap(), [0, 1, 2]);
        assert!(begun.elapsed() >= Duration::from_millis(190));
    });
}

#[test]
fn what_is_late_is_told_with_the_node_that_misses_it() {
    let fakes = Fake::start_all(3);
    let (_dir, devnet) = devnet_of(&fakes);
    let nodes = nodes(&devnet);
    Fake::connect_all(&fakes);
    fakes[1].answer("GET /peers", 200, list(vec![json!({"peer_id": "peer-0"})]));
    let all: Vec<&Node> = nodes.iter().collect();
    let error = each(&all, &patience(60), "every node is connected", |node, _| {
        check::connected(node, &peers_of(&devnet, node.index(), false))
    })
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "after 0.06 s, waiting until every node is connected:\n  node 1: is not connected to node 2"
    );
    assert_eq!((error.code(), error.nodes()), (7, vec![1]));
    assert_eq!(error.to_json()["nodes"], json!([1]));
}

#[test]
fn a_node_that_does_not_answer_is_late_and_one_that_ends_fails_at_once() {
    let fakes = Fake::start_all(2);
    let (_dir, mut devnet) = devnet_of(&fakes);
    // Nothing listens on the port of the discard service.
    devnet.nodes[1].api = "127.0.0.1:9".into();
    let silent = Node::of(&devnet, 1, None).unwrap();
    let error = each(&[&silent], &patience(30), "ready", |node, _| check::ready(node)).unwrap_err();
    assert!(matches!(&error, DevnetError::Late { missing, .. } if missing[0].node == 1));
    assert!(error.to_string().contains("cannot be reached"), "{error}");

    let mut child = Command::new("sh").args(["-c", "exit 3"]).stdin(Stdio::null()).spawn().unwrap();
    child.wait().unwrap();
    let ended = Node::of(&devnet, 1, Some(child)).unwrap();
    let first = Node::of(&devnet, 0, None).unwrap();
    let begun = Instant::now();
    let never = |node: &Node, _| match node.index() {
        0 => Look::NotYet("never".into()),
        _ => check::ready(node),
    };
    let error = each::<()>(&[&first, &ended], &patience(60_000), "ready", never).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for the other one");
    let DevnetError::Failed { missing, .. } = &error else { panic!("{error}") };
    let what = "its process ended (exit status: 3)".into();
    assert_eq!(missing, &[Missing { node: 1, what }]);
    assert_eq!(error.code(), 1);
}

#[test]
fn a_memory_is_there_when_it_is_verified_and_the_same() {
    let fakes = Fake::start_all(1);
    let (_dir, devnet) = devnet_of(&fakes);
    let node = Node::of(&devnet, 0, None).unwrap();
    let written = json!({"id": "v1", "space": SPACE, "author": "did:key:z1", "heads": ["v1"],
        "content": {"title": "Hello"}, "verified": true});
    let late = |look| match look {
        Look::NotYet(what) => what,
        Look::There(()) => panic!("it is not there"),
    };
    assert_eq!(late(check::shows(&node, &written)), "does not have memory v1");
    let mut shown = written.clone();
    shown["verified"] = false.into();
    shown["cause"] = "a signature is wrong".into();
    fakes[0].answer("GET /v1/memories/v1", 200, shown.clone());
    let what = late(check::shows(&node, &written));
    assert!(what.contains("not verified") && what.contains("a signature is wrong"), "{what}");
    shown["verified"] = true.into();
    shown["content"]["title"] = "Hallo".into();
    fakes[0].answer("GET /v1/memories/v1", 200, shown);
    assert!(late(check::shows(&node, &written)).contains("content"));
    fakes[0].answer("GET /v1/memories/v1", 200, written.clone());
    assert_eq!(check::shows(&node, &written), Look::There(()));
}

#[test]
fn a_space_is_joined_when_its_role_is_known() {
    let fakes = Fake::start_all(1);
    let (_dir, devnet) = devnet_of(&fakes);
    let node = Node::of(&devnet, 0, None).unwrap();
    let path = format!("GET /v1/spaces/{SPACE}");
    let look = |name: Json, role: Json| {
        fakes[0].answer(&path, 200, json!({"id": SPACE, "name": name, "role": role}));
        check::joined(&node, SPACE, "writer")
    };
    assert!(matches!(look(Json::Null, Json::Null), Look::NotYet(what) if what.contains("arrived")));
    assert!(matches!(look("n".into(), Json::Null), Look::NotYet(what) if what.contains("role")));
    assert_eq!(look("n".into(), "writer".into()), Look::There(()));
}

#[test]
fn comparisons_are_asked_for_again_and_parity_told() {
    let fakes = Fake::start_all(2);
    let (_dir, devnet) = devnet_of(&fakes);
    let node = Node::of(&devnet, 0, None).unwrap();
    let peers = peers_of(&devnet, 0, false);
    let row = |state: &str| {
        json!({"space": SPACE, "peer_id": "peer-1", "connected": true, "state": state,
        "cause": null, "ours": {"authority": 2, "content": 1}})
    };
    fakes[0].answer("GET /v1/sync", 200, list(vec![row("differs")]));
    let error = each(&[&node], &patience(400), "equal", |node, attempt| {
        check::equal(node, attempt, SPACE, &peers)
    })
    .unwrap_err();
    assert!(error.to_string().contains("with node 1: differs"), "{error}");
    let asked = fakes[0].asked("POST /v1/sync");
    assert!(asked >= 1 && asked < fakes[0].asked("GET /v1/sync"));
    fakes[0].answer("GET /v1/sync", 200, list(vec![row("equal")]));
    assert_eq!(check::equal(&node, 0, SPACE, &peers), Look::There(()));
}

#[test]
fn every_trace_of_the_closed_space_is_found() {
    let fakes = Fake::start_all(2);
    let (_dir, devnet) = devnet_of(&fakes);
    let (first, last) = (Node::of(&devnet, 0, None).unwrap(), Node::of(&devnet, 1, None).unwrap());
    let memory = SPACE.replace('0', "1");
    let traces = || -> Vec<String> {
        let found = check::traces(&last, SPACE, &memory).unwrap();
        assert!(found.iter().all(|missing| missing.node == 1));
        found.into_iter().map(|missing| missing.what).collect()
    };
    assert_eq!(traces(), [""; 0]);
    fakes[1].answer(&format!("GET /v1/records/{memory}"), 200, json!({}));
    fakes[1].answer("GET /v1/spaces", 200, list(vec![json!({"id": SPACE})]));
    fakes[1].answer("GET /peers", 200, list(vec![json!({"shared_spaces": [SPACE]})]));
    std::fs::write(devnet.nodes[1].data_dir.join("log"), format!("space {SPACE} is here")).unwrap();
    let found = traces();
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[0], format!("answers GET /v1/records/{memory}"));
    assert!(found[3].contains("node-1/log"), "{found:?}");
    // An answer that is neither is no proof of absence.
    fakes[1].answer(
        &format!("GET /v1/memories/{memory}"),
        500,
        json!({"type": "urn:ocm:internal"}),
    );
    assert!(matches!(check::traces(&last, SPACE, &memory), Err(DevnetError::Refused { .. })));

    let name = PeerName { index: 1, peer_id: "peer-1".into() };
    Fake::connect_all(&fakes);
    assert!(check::tells(&first, &name, SPACE).unwrap().is_empty());
    let item = json!({"peer_id": "peer-1", "shared_spaces": [SPACE]});
    fakes[0].answer("GET /peers", 200, list(vec![item]));
    assert_eq!(check::tells(&first, &name, SPACE).unwrap().len(), 1);
}

#[test]
fn a_signal_ends_waiting() {
    let fakes = Fake::start_all(1);
    let (_dir, devnet) = devnet_of(&fakes);
    let node = Node::of(&devnet, 0, None).unwrap();
    let interrupt = Interrupt::default();
    let patience = Patience::new(Duration::from_secs(60), &interrupt);
    let error = each::<()>(&[&node], &patience, "never", |_, attempt| {
        if attempt == 1 {
            interrupt.raise();
        }
        Look::NotYet("never".into())
    });
    assert!(matches!(error, Err(DevnetError::Interrupted)));
}

#[test]
fn a_running_node_tells_its_row() {
    let fakes = Fake::start_all(3);
    let (_dir, mut devnet) = devnet_of(&fakes);
    devnet.spaces.shared = Some(SPACE.into());
    devnet.spaces.closed = Some(SPACE.replace('0', "1"));
    fakes[2].answer(&format!("GET /v1/spaces/{SPACE}"), 200, json!({"memories": 4}));
    fakes[2].answer("GET /status", 200, json!({"peers": 2, "blocked": ["peer-0"]}));
    let row = json!({"space": SPACE, "peer_id": "peer-1", "connected": true, "state": "equal"});
    fakes[2].answer("GET /v1/sync", 200, list(vec![row]));
    let row = Row::ask(&devnet, &Node::of(&devnet, 2, None).unwrap()).unwrap();
    assert_eq!((row.state, row.peers, row.blocked), ("running", Some(2), Some(1)));
    assert_eq!((row.memories, row.closed_parity), (Some(4), None));
    assert_eq!(row.parity.map(|parity| (parity.equal, parity.of)), Some((1, 2)));
}

/// A command line around the devnet's, with the flags that the real one has everywhere.
#[derive(Debug, Parser)]
struct Around {
    #[arg(long, global = true)]
    json: bool,
    #[arg(long, global = true, default_value = "30", value_parser = super::seconds)]
    timeout: Duration,
    #[command(subcommand)]
    command: AroundCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AroundCommand {
    Devnet(DevnetArgs),
}

fn parse(line: &str) -> Result<(bool, DevnetArgs), clap::Error> {
    let parsed = Around::try_parse_from(line.split(' '))?;
    let AroundCommand::Devnet(args) = parsed.command;
    Ok((parsed.json, args))
}

#[test]
fn the_command_line_is_read_within_that_of_the_program() {
    Around::command().debug_assert();
    let (json, args) = parse("ocm devnet up --nodes 10 --once --json --dir /n").unwrap();
    let DevnetCommand::Up(up) = args.command else { panic!("{args:?}") };
    assert!(json && up.once && args.dir.ends_with("n"));
    assert_eq!((up.nodes, up.timeout, up.base_port), (10, Duration::from_secs(60), None));
    let (_, args) = parse("ocm devnet up --timeout 5 --base-port 9000").unwrap();
    let DevnetCommand::Up(up) = args.command else { panic!("{args:?}") };
    assert_eq!((up.nodes, up.timeout, up.base_port), (3, Duration::from_secs(5), Some(9000)));
    assert!(args.dir.ends_with(".devnet"));
    for wrong in ["up --nodes 1", "up --nodes 65", "up --base-port 0", "exec 1 memory", "logs x"] {
        assert!(parse(&format!("ocm devnet {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn what_follows_the_dashes_belongs_to_the_command() {
    let (json, args) = parse("ocm devnet exec 1 -- memory get v1 --json --dir x").unwrap();
    let DevnetCommand::Exec { index, command } = args.command else { panic!("{args:?}") };
    assert!(!json && args.dir.ends_with(".devnet"));
    assert_eq!((index, command.join(" ".as_ref())), (1, "memory get v1 --json --dir x".into()));
    let (_, args) = parse("ocm devnet --dir net logs 2 -f").unwrap();
    assert!(matches!(args.command, DevnetCommand::Logs { index: 2, follow: true }));
    assert!(args.dir.ends_with("net"));
}

#[test]
fn a_command_on_no_devnet_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = |line: &str| {
        let line = format!("ocm devnet {line} --dir {}", dir.path().join("none").display());
        super::run(parse(&line).unwrap().1, true)
    };
    for line in ["status", "logs 0", "kill 0", "start 0", "partition 0/1", "heal", "down"] {
        assert_eq!(run(line), 4, "{line}");
    }
    assert!(!dir.path().join("none").exists());
}

#[test]
fn a_devnet_whose_nodes_have_ended_is_shown_and_removed() {
    let fakes = Fake::start_all(2);
    let (dir, mut devnet) = devnet_of(&fakes);
    devnet.set_pid(0, Some(u32::MAX));
    devnet.save(dir.path()).unwrap();
    let run = |line: &str| {
        let line = format!("ocm devnet {line} --dir {}", dir.path().display());
        super::run(parse(&line).unwrap().1, true)
    };
    assert_eq!(run("status"), 0);
    assert_eq!(run("kill 0"), 3);
    assert_eq!(run("kill 2"), 4);
    assert_eq!(run("partition 0/2"), 2);
    assert_eq!(run("down --keep"), 0);
    assert!(Devnet::load(dir.path()).unwrap().kept);
    assert_eq!(run("down"), 0);
    assert!(!dir.path().exists());
}

#[test]
fn a_devnet_of_a_program_that_is_none_of_ours_fails_and_leaves_its_log() {
    let dir = tempfile::tempdir().unwrap();
    // The program of this process is a test, which knows no command `init`.
    let line = format!("ocm devnet up --nodes 2 --once --dir {}", dir.path().display());
    assert_eq!(super::run(parse(&line).unwrap().1, true), 1);
    assert_eq!(Devnet::load(dir.path()).unwrap().running(), 0);
    std::fs::write(dir.path().join("letter"), "dear").unwrap();
    assert_eq!(super::run(parse(&line).unwrap().1, true), 2);
    assert!(dir.path().join("letter").exists());
}
