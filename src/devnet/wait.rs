//! Waiting for nodes: each is looked at by itself until what is awaited is there.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::error::{DevnetError, Missing};
use super::hosts;
use super::interrupt::Interrupt;
use super::process::Standing;
use super::state::{Devnet, NodeEntry};
use crate::client::{Answer, Client, ClientError, Feed, TokenSource};

/// How long one request to a node may take.
const REQUEST: Duration = Duration::from_secs(10);
/// Between the first looks at a node.
const SOON: Duration = Duration::from_millis(10);
/// Between later looks, so that many nodes leave the machine room for their work.
const LATER: Duration = Duration::from_millis(100);

/// A node that is spoken to.
#[derive(Debug)]
pub(crate) struct Node {
    /// What is recorded of it.
    pub(crate) entry: NodeEntry,
    client: Client,
    /// The site of its host, if it has one of its own.
    site: Option<String>,
    executable: std::path::PathBuf,
    /// Its process, if this process started it.
    child: Mutex<Option<Child>>,
}

impl Node {
    /// A node of a devnet, with its process if this process has just started it.
    pub(crate) fn of(
        devnet: &Devnet,
        index: usize,
        child: Option<Child>,
    ) -> Result<Self, DevnetError> {
        let entry = devnet.node(index)?.clone();
        let address = entry.api.parse().map_err(|why: crate::client::AddressError| {
            DevnetError::State { path: super::STATE_FILE.into(), reason: why.to_string() }
        })?;
        let token = TokenSource::of_data_dir(&entry.data_dir);
        Ok(Self {
            client: Client::new(address, token, REQUEST),
            site: devnet.site.clone(),
            executable: devnet.executable.clone(),
            child: Mutex::new(child),
            entry,
        })
    }

    /// Its index.
    pub(crate) fn index(&self) -> usize {
        self.entry.index
    }

    /// Why its process is no more, if it is not.
    pub(crate) fn ended(&self) -> Option<String> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = child.as_mut() {
            return match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(format!("its process ended ({status})")),
                Err(error) => Some(format!("its process cannot be waited for: {error}")),
            };
        }
        let pid = self.entry.pid?;
        match self.entry.standing(&self.executable) {
            Standing::Ours => None,
            Standing::Stranger | Standing::Gone => Some(format!("its process {pid} has ended")),
        }
    }

    /// Asks it something, from its own host if it has one.
    fn ask<T: Send>(
        &self,
        question: impl FnOnce(&Client) -> Result<T, ClientError> + Send,
    ) -> Result<T, ClientError> {
        let Some(site) = &self.site else { return question(&self.client) };
        let answer = hosts::within(site, &self.entry, || question(&self.client));
        answer.unwrap_or_else(|error| {
            Err(ClientError::NotReachable {
                address: self.client.address().clone(),
                cause: error.to_string(),
                hint: "start the node again with `ocm devnet start`, which makes its host, too",
            })
        })
    }

    /// Whether it is ready; see [`Client::ready`].
    pub(crate) fn ready(&self) -> Result<Answer, ClientError> {
        self.ask(Client::ready)
    }

    /// `GET` of a path.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.ask(|client| client.get(path, &[]))
    }

    /// `POST` to a path, which must succeed; `what` says what for.
    pub(crate) fn post(
        &self,
        path: &str,
        body: Option<&Json>,
        what: &str,
    ) -> Result<Answer, DevnetError> {
        self.ask(|client| client.post(path, body)).map_err(|source| self.refused(what, source))
    }

    /// `POST` to a path.
    pub(crate) fn try_post(&self, path: &str, body: &Json) -> Result<Answer, ClientError> {
        self.ask(|client| client.post(path, Some(body)))
    }

    /// What happens there from now on, in a space.
    pub(crate) fn feed(&self, space: &str) -> Result<Feed, DevnetError> {
        let feed = self.ask(|client| client.events(Some(space)));
        feed.map_err(|source| self.refused("let its feed be heard", source))
    }

    /// `GET` of a path, which must succeed; `what` says what for.
    pub(crate) fn read(&self, path: &str, what: &str) -> Result<Answer, DevnetError> {
        self.get(path).map_err(|source| self.refused(what, source))
    }

    /// The text of a member of an answer, which must be there.
    pub(crate) fn text(
        &self,
        answer: &Answer,
        member: &'static str,
        what: &str,
    ) -> Result<String, DevnetError> {
        answer.json()[member].as_str().map(str::to_owned).ok_or_else(|| DevnetError::Answer {
            index: self.index(),
            what: what.to_owned(),
            lacks: member,
            answer: answer.text().chars().take(500).collect(),
        })
    }

    /// The failure to have it do something.
    pub(crate) fn refused(&self, what: &str, source: ClientError) -> DevnetError {
        DevnetError::Refused {
            index: self.index(),
            what: what.to_owned(),
            source: Box::new(source),
        }
    }
}

/// What a look at a node found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look<T> {
    /// What was awaited.
    There(T),
    /// It is not there yet; why, in words.
    NotYet(String),
}

/// How long to wait, and what ends it early.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    within: Duration,
    until: Instant,
    interrupt: Interrupt,
}

impl Patience {
    /// So long from now.
    pub(crate) fn new(within: Duration, interrupt: &Interrupt) -> Self {
        Self { within, until: Instant::now() + within, interrupt: interrupt.clone() }
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// What to do about signals.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Everything that did not come about in time.
    pub(crate) fn late(&self, phase: &'static str, missing: Vec<Missing>) -> DevnetError {
        DevnetError::Late { phase, seconds: self.within.as_secs_f64(), missing }
    }
}

/// How waiting for one node ended without what was awaited.
enum Without {
    Late(Missing),
    Ended(Missing),
    /// Waiting for another node, or all of it, was given up.
    Left,
}

/// Looks at each of the nodes, all at the same time, until each has what is awaited. `look` is
/// told how many looks there were before. What came of them is in the order of the nodes.
///
/// # Errors
/// [`DevnetError::Late`] with what each node misses, [`DevnetError::Failed`] as soon as the
/// process of one ends, [`DevnetError::Interrupted`].
pub(crate) fn each<T: Send>(
    nodes: &[&Node],
    patience: &Patience,
    phase: &'static str,
    look: impl Fn(&Node, usize) -> Look<T> + Sync,
) -> Result<Vec<T>, DevnetError> {
    let give_up = AtomicBool::new(false);
    let one = |node: &Node| {
        let found = wait_for(node, patience, &give_up, &look);
        if matches!(found, Err(Without::Ended(_))) {
            give_up.store(true, Ordering::Relaxed);
        }
        found
    };
    let found: Vec<Result<T, Without>> = std::thread::scope(|scope| {
        let threads: Vec<_> = nodes.iter().map(|node| scope.spawn(|| one(node))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Without::Left)));
        joined.collect()
    });
    patience.interrupt.check()?;
    let (mut there, mut late, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for (found, node) in found.into_iter().zip(nodes) {
        match found {
            Ok(found) => there.push(found),
            Err(Without::Late(missing)) => late.push(missing),
            Err(Without::Ended(missing)) => ended.push(missing),
            Err(Without::Left) => late
                .push(Missing { node: node.index(), what: "was not waited for any longer".into() }),
        }
    }
    if !ended.is_empty() {
        return Err(DevnetError::Failed { phase, missing: ended });
    }
    if late.is_empty() { Ok(there) } else { Err(patience.late(phase, late)) }
}

fn wait_for<T>(
    node: &Node,
    patience: &Patience,
    give_up: &AtomicBool,
    look: &(impl Fn(&Node, usize) -> Look<T> + Sync),
) -> Result<T, Without> {
    for attempt in 0.. {
        let what = match look(node, attempt) {
            Look::There(found) => return Ok(found),
            Look::NotYet(what) => what,
        };
        if let Some(how) = node.ended() {
            return Err(Without::Ended(Missing { node: node.index(), what: how }));
        }
        if patience.is_over() {
            return Err(Without::Late(Missing { node: node.index(), what }));
        }
        if give_up.load(Ordering::Relaxed) || patience.interrupt.times() > 0 {
            break;
        }
        std::thread::sleep(if attempt < 100 { SOON } else { LATER });
    }
    Err(Without::Left)
}
