//! `ocm devnet up`: making a federation, and seeing that it is one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::UpArgs;
use super::check::{self, PeerName};
use super::claim;
use super::environment;
use super::error::{DevnetError, Missing, file};
use super::hosts::Hosts;
use super::ports;
use super::process;
use super::state::{Devnet, make_directory};
use super::table::{Row, peers_of};
use super::wait::{Look, Node, Patience, each};
use crate::client::escaped;

/// What a devnet is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The program that its nodes run.
    pub(crate) executable: PathBuf,
    /// How many nodes.
    pub(crate) nodes: usize,
    /// The first port, if it is not to be found.
    pub(crate) base_port: Option<u16>,
    /// Whether each is a host of its own.
    pub(crate) netns: bool,
    /// Variables that all nodes share.
    pub(crate) settings: BTreeMap<String, String>,
}

/// A federation in which everything was seen to hold.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) devnet: Devnet,
    pub(crate) rows: Vec<Row>,
    pub(crate) memories: Written,
}

/// The memories that were written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) shared: Json,
    pub(crate) closed: Json,
}

impl Report {
    /// `{dir, spaces, memories, items, next}`; an item is what `devnet status` shows of a node.
    pub(crate) fn to_json(&self, dir: &Path) -> Json {
        json!({
            "dir": dir,
            "spaces": self.devnet.spaces,
            "memories": {"shared": self.memories.shared["id"], "closed": self.memories.closed["id"]},
            "items": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
            "next": null,
        })
    }
}

/// A devnet that is being made. What has been started is in `devnet` at every moment, so that it
/// can be ended whatever fails.
pub(crate) struct Build<'a> {
    pub(crate) devnet: Devnet,
    dir: &'a Path,
    patience: Patience,
    say: &'a mut dyn FnMut(&str),
    nodes: Vec<Node>,
    /// Keeps the ports from others until the nodes have them.
    _base: ports::Base,
}

impl<'a> Build<'a> {
    /// Claims the directory, which must be locked, and the ports.
    pub(crate) fn begin(
        dir: &'a Path,
        plan: Plan,
        patience: Patience,
        say: &'a mut dyn FnMut(&str),
    ) -> Result<Self, DevnetError> {
        if claim::clear(dir)? {
            say("removed what a devnet whose nodes have all ended left behind");
        }
        let choose = if plan.netns { ports::of_hosts } else { ports::choose };
        let base = choose(plan.base_port, plan.nodes)?;
        let mut devnet = Devnet::plan(dir, plan.executable, plan.nodes, base.port, plan.settings)?;
        if plan.netns {
            Hosts::plan(&mut devnet, dir)?;
        }
        devnet.save(dir)?;
        for node in &devnet.nodes {
            make_directory(&node.data_dir)?;
        }
        Ok(Self { devnet, dir, patience, say, nodes: Vec::new(), _base: base })
    }

    /// Makes the federation, and looks at all that it must show.
    pub(crate) fn complete(&mut self) -> Result<Report, DevnetError> {
        let count = self.devnet.nodes.len();
        if self.devnet.site.is_some() {
            self.tell(&format!("making {count} hosts"));
            Hosts::raise(&self.devnet, self.dir)?;
        }
        self.tell(&format!("making {count} identities"));
        self.identify()?;
        self.tell("node 0 makes the spaces and grants roles");
        let invitations = self.found()?;
        self.tell(&format!("starting {count} nodes"));
        for index in 0..count {
            self.start(index)?;
        }
        each(&self.all(), &self.patience, "every node is ready", |node, _| check::ready(node))?;
        self.tell("connecting them");
        each(&self.all(), &self.patience, "every node is connected", |node, _| {
            check::connected(node, &peers_of(&self.devnet, node.index(), false))
        })?;
        self.join(&invitations)?;
        self.tell("writing a memory into each space on node 0");
        let (memories, arrived, closed_arrived) = self.write()?;
        self.tell("comparing what they store");
        self.compare()?;
        self.tell("looking for traces of the closed space on the last node");
        self.look_for_leaks(&memories)?;
        let rows = self.rows(&arrived, &closed_arrived)?;
        Ok(Report { devnet: self.devnet.clone(), rows, memories })
    }

    fn tell(&mut self, what: &str) {
        (self.say)(what);
    }

    fn all(&self) -> Vec<&Node> {
        self.nodes.iter().collect()
    }

    /// The nodes that are in the closed space.
    fn members(&self) -> Vec<&Node> {
        self.nodes.iter().take(self.nodes.len().saturating_sub(1)).collect()
    }

    /// Those to which the spaces come from node 0.
    fn others<'n>(nodes: &[&'n Node]) -> Vec<&'n Node> {
        nodes.iter().skip(1).copied().collect()
    }

    fn first(&self) -> Result<&Node, DevnetError> {
        self.nodes.first().ok_or(DevnetError::NotRunning(0))
    }

    fn shared(&self) -> String {
        self.devnet.spaces.shared.clone().unwrap_or_default()
    }

    fn closed(&self) -> String {
        self.devnet.spaces.closed.clone().unwrap_or_default()
    }

    /// Has every node make its identity, which the grants name.
    fn identify(&mut self) -> Result<(), DevnetError> {
        let (devnet, patience) = (&self.devnet, &self.patience);
        let answers: Vec<Result<Json, DevnetError>> = std::thread::scope(|scope| {
            let begin = |index| scope.spawn(move || init(devnet, index, patience));
            let threads: Vec<_> = (0..devnet.nodes.len()).map(begin).collect();
            let broken = |_| Err(DevnetError::Interrupted);
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(broken)).collect()
        });
        for (index, answer) in answers.into_iter().enumerate() {
            let answer = answer?;
            let text = |member: &'static str| {
                answer[member].as_str().map(str::to_owned).ok_or_else(|| DevnetError::Answer {
                    index,
                    what: "make its identity".into(),
                    lacks: member,
                    answer: answer.to_string(),
                })
            };
            let (did, peer_id) = (text("did")?, text("peer_id")?);
            if let Some(node) = self.devnet.nodes.get_mut(index) {
                (node.did, node.peer_id) = (did, peer_id);
            }
        }
        self.devnet.save(self.dir)
    }

    /// Starts node 0 alone, has it make the spaces and grant the roles, and stops it: every node,
    /// the first too, is then started with the shared space as its default. Returns an invitation
    /// to each space.
    fn found(&mut self) -> Result<[String; 2], DevnetError> {
        self.start(0)?;
        each(&self.all(), &self.patience, "node 0 is ready", |node, _| check::ready(node))?;
        let first = self.first()?;
        let make = |name: &str, read: &str| -> Result<String, DevnetError> {
            let body = json!({"name": name, "write": "members", "read": read});
            let what = format!("make the space {name}");
            first.text(&first.post("/v1/spaces", Some(&body), &what)?, "id", &what)
        };
        let (shared, closed) = (make("devnet", "open")?, make("devnet closed", "members")?);
        let grant = |space: &str, nodes: usize| -> Result<(), DevnetError> {
            for node in self.devnet.nodes.iter().take(nodes).skip(1) {
                self.patience.interrupt().check()?;
                let path = format!("/v1/spaces/{}/grants", escaped(space));
                let body = json!({"to": node.did, "role": "writer"});
                first.post(&path, Some(&body), &format!("make node {} a writer", node.index))?;
            }
            Ok(())
        };
        let count = self.devnet.nodes.len();
        grant(&shared, count)?;
        grant(&closed, count - 1)?;
        let invite = |space: &str| -> Result<String, DevnetError> {
            let what = "make an invitation";
            let path = format!("/v1/spaces/{}/invitation", escaped(space));
            first.text(&first.read(&path, what)?, "invitation", what)
        };
        let invitations = [invite(&shared)?, invite(&closed)?];
        self.nodes.clear();
        if let Some(error) = process::stop(&self.devnet, &[0], self.patience.interrupt()).pop() {
            return Err(error);
        }
        self.patience.interrupt().check()?;
        self.devnet.set_pid(0, None);
        self.devnet.spaces.shared = Some(shared);
        self.devnet.spaces.closed = Some(closed);
        self.devnet.save(self.dir)?;
        Ok(invitations)
    }

    /// Starts a node, and records its process before anything else.
    fn start(&mut self, index: usize) -> Result<(), DevnetError> {
        self.patience.interrupt().check()?;
        let child = process::start(&self.devnet, self.devnet.node(index)?)?;
        self.devnet.set_pid(index, Some(child.id()));
        self.nodes.push(Node::of(&self.devnet, index, Some(child))?);
        self.devnet.save(self.dir)
    }

    /// Has all join the shared space, and all but the last the closed one.
    fn join(&self, [shared, closed]: &[String; 2]) -> Result<(), DevnetError> {
        let joining = |nodes: &[&Node], invitation: &str, space: &str, phase| {
            let body = json!({"invitation": invitation});
            for node in Self::others(nodes) {
                node.post("/v1/spaces/join", Some(&body), "join a space")?;
            }
            each(&Self::others(nodes), &self.patience, phase, |node, _| {
                check::joined(node, space, "writer")
            })
        };
        let phase = "every node is a writer of the shared space";
        joining(&self.all(), shared, &self.shared(), phase)?;
        let phase = "every member is a writer of the closed space";
        joining(&self.members(), closed, &self.closed(), phase)?;
        Ok(())
    }

    /// Writes the memories, and measures how long each takes to every node that is to have it, in
    /// milliseconds.
    fn write(&self) -> Result<(Written, Vec<u64>, Vec<u64>), DevnetError> {
        let first = self.first()?;
        let write = |space: String, title: &str| -> Result<(Json, Instant), DevnetError> {
            let text =
                "Written by `ocm devnet up`, signed by node 0, verified wherever it is read.";
            let body = json!({
                "space": space,
                "content": {"type": "note", "title": title, "text": text, "tags": ["devnet"]},
            });
            let answer = first.post("/v1/memories", Some(&body), "write a memory")?;
            let written = Instant::now();
            first.text(&answer, "id", "write a memory")?;
            Ok((answer.json().clone(), written))
        };
        let arrival = |nodes: &[&Node], memory: &Json, written: Instant, phase| {
            each(nodes, &self.patience, phase, |node, _| match check::shows(node, memory) {
                Look::There(()) => Look::There(milliseconds(written.elapsed())),
                Look::NotYet(what) => Look::NotYet(what),
            })
        };
        let (shared, written) = write(self.shared(), "Hello from node 0")?;
        let phase = "every node shows the memory of the shared space, verified";
        let arrived = arrival(&self.all(), &shared, written, phase)?;
        let (closed, written) = write(self.closed(), "For the members only")?;
        let phase = "every member shows the memory of the closed space, verified";
        let closed_arrived = arrival(&self.members(), &closed, written, phase)?;
        Ok((Written { shared, closed }, arrived, closed_arrived))
    }

    /// Waits until all say that they store the same.
    fn compare(&self) -> Result<(), DevnetError> {
        let (shared, closed) = (self.shared(), self.closed());
        let (devnet, patience) = (&self.devnet, &self.patience);
        each(&self.all(), patience, "all are equal in the shared space", |node, attempt| {
            check::equal(node, attempt, &shared, &peers_of(devnet, node.index(), false))
        })?;
        each(&self.members(), patience, "all members are equal in the closed space", |node, n| {
            check::equal(node, n, &closed, &peers_of(devnet, node.index(), true))
        })?;
        each(&self.all(), patience, "every node counts the memory", |node, _| {
            check::counts(node, &shared)
        })?;
        Ok(())
    }

    fn look_for_leaks(&self, memories: &Written) -> Result<(), DevnetError> {
        let Some(last) = self.nodes.last() else { return Ok(()) };
        let closed = self.closed();
        let memory = memories.closed["id"].as_str().unwrap_or_default();
        let mut missing: Vec<Missing> = check::traces(last, &closed, memory)?;
        let last = PeerName { index: last.index(), peer_id: last.entry.peer_id.clone() };
        for node in self.members() {
            missing.extend(check::tells(node, &last, &closed)?);
        }
        if missing.is_empty() { Ok(()) } else { Err(DevnetError::Leaked { missing }) }
    }

    fn rows(&self, arrived: &[u64], closed_arrived: &[u64]) -> Result<Vec<Row>, DevnetError> {
        let row = |node: &Node| {
            let index = node.index();
            let mut row = Row::ask(&self.devnet, node)
                .map_err(|source| node.refused("say how it fares", source))?;
            if index > 0 {
                row.arrived_ms = arrived.get(index).copied();
                row.closed_arrived_ms = closed_arrived.get(index).copied();
            }
            Ok(row)
        };
        self.nodes.iter().map(row).collect()
    }
}

/// `ocm init --json` of a node.
fn init(devnet: &Devnet, index: usize, patience: &Patience) -> Result<Json, DevnetError> {
    let mut command = process::command(devnet, devnet.node(index)?);
    command.args(["init", "--json"]);
    let output = run(command, patience, index)?;
    serde_json::from_slice(&output).map_err(|why| DevnetError::Answer {
        index,
        what: "make its identity".into(),
        lacks: "JSON",
        answer: format!("{} ({why})", String::from_utf8_lossy(&output)),
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Runs a short command of a node to its end, and gives what it printed.
fn run(mut command: Command, patience: &Patience, index: usize) -> Result<Vec<u8>, DevnetError> {
    let program = PathBuf::from(command.get_program());
    let failed = |source| DevnetError::Run { program: program.clone(), source };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    loop {
        if child.try_wait().map_err(failed)?.is_some() {
            break;
        }
        if patience.is_over() || patience.interrupt().times() > 0 {
            // It may have ended in between, which is as good.
            let _ = child.kill();
            let _ = child.wait();
            patience.interrupt().check()?;
            let what = "makes its identity".to_owned();
            return Err(patience.late("it has an identity", vec![Missing { node: index, what }]));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let what = format!("`{} init` ended ({}): {}", program.display(), output.status, said.trim());
    Err(DevnetError::Failed {
        phase: "it has an identity",
        missing: vec![Missing { node: index, what }],
    })
}

/// The program of this process, absolute.
pub(crate) fn own_program() -> Result<PathBuf, DevnetError> {
    let found = std::env::current_exe().map_err(file("find", "the program of this process"))?;
    Ok(std::fs::canonicalize(&found).unwrap_or(found))
}

/// The plan that follows from this process's program and environment.
pub(crate) fn plan(args: &UpArgs) -> Result<Plan, DevnetError> {
    Ok(Plan {
        executable: own_program()?,
        nodes: usize::from(args.nodes),
        base_port: args.base_port,
        netns: args.netns,
        settings: environment::settings(|name| std::env::var(name).ok()),
    })
}
