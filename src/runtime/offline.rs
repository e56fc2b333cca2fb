//! What needs the core and the store, but neither loop nor network: `ocm init`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use ocm_discovery::PeerId;
use ocm_node::{Command, Input, Node, Output, Reply, Settings};
use ocm_record::{Did, SpaceId, sign_batch, verify_batch};
use ocm_space::Policy;
use tokio::sync::mpsc;

use super::event_loop::now_ms;
use crate::config::{Backend, Loaded};
use crate::identity;
use crate::store::{OpenOptions, Store, Unobserved};

/// The name of the space that `ocm init` makes.
const PERSONAL: &str = "personal";

/// What `ocm init` did.
#[derive(Debug, Clone)]
pub struct InitReport {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The configuration file in it.
    pub config_file: PathBuf,
    /// Who the node speaks as.
    pub did: Did,
    /// Its transport identity.
    pub peer_id: PeerId,
    /// The space for the owner's own devices; `None` for a store in memory.
    pub personal_space: Option<SpaceId>,
    /// Whether anything was made; `false` when all of it was there.
    pub created: bool,
}

/// Who the node of a data directory is.
#[derive(Debug, Clone)]
pub struct IdentityReport {
    /// Who it speaks as.
    pub did: Did,
    /// Its transport identity.
    pub peer_id: PeerId,
    /// Its name for people, where it has one.
    pub handle: Option<String>,
    /// Where the key of the DID comes from.
    pub source: String,
}

/// Reads who the node is.
///
/// # Errors
/// When there is no identity yet, or it cannot be read.
pub fn identity(loaded: &Loaded) -> anyhow::Result<IdentityReport> {
    let config = &loaded.config;
    let keys = identity::load(config)?;
    Ok(IdentityReport {
        did: identity::did(&keys),
        peer_id: identity::peer_id(&keys),
        handle: config.identity.handle.as_ref().map(ToString::to_string),
        source: match config.identity.seed {
            Some(_) => "identity.seed".to_owned(),
            None => identity::directory(&config.data_dir).display().to_string(),
        },
    })
}

/// Makes identity, store, personal space and configuration file where they are missing. Nothing
/// that is there is changed.
///
/// # Errors
/// When a file cannot be made or read, or another process has the store.
pub fn init(loaded: &Loaded) -> anyhow::Result<InitReport> {
    let config = &loaded.config;
    crate::store::disk::create_directory(&config.data_dir)
        .with_context(|| format!("cannot make the directory {}", config.data_dir.display()))?;
    let (keys, made_keys) = identity::load_or_create(config)?;
    let config_file = config.data_dir.join(crate::config::FILE_NAME);
    let mut report = InitReport {
        data_dir: config.data_dir.clone(),
        config_file: config_file.clone(),
        did: identity::did(&keys),
        peer_id: identity::peer_id(&keys),
        personal_space: None,
        created: made_keys,
    };
    if config.database.backend == Backend::Sled {
        let (space, made_space) = personal_space(loaded, keys)?;
        report.personal_space = Some(space);
        report.created |= made_space;
    }
    if !config_file.exists() {
        let space = report.personal_space.map(|space| space.to_string());
        let values = space.iter().map(|space| ("space.default", space.as_str())).collect();
        crate::config::init_file(&config_file, &values)
            .with_context(|| format!("cannot write {}", config_file.display()))?;
        report.created = true;
    }
    Ok(report)
}

/// The personal space, made if the store holds no space at all.
fn personal_space(loaded: &Loaded, keys: ocm_node::Identity) -> anyhow::Result<(SpaceId, bool)> {
    let options = OpenOptions::default();
    let opened = Store::open(&loaded.config.database.path, options, Arc::new(Unobserved))?;
    let reader = opened.store.reader();
    let seed = identity::random_seed()?;
    let (mut node, _) = Node::open(keys, Settings::default(), seed, now_ms(), &reader)?;
    let own = node.snapshot().did;
    let personal = node.snapshot().spaces.into_iter().find(|space| {
        space
            .state
            .genesis()
            .is_some_and(|genesis| genesis.name == PERSONAL && genesis.owners.as_slice() == [own])
    });
    let made = personal.is_none();
    let space = match personal {
        Some(space) => space.id,
        None => {
            let command =
                Command::CreateSpace { name: PERSONAL.to_owned(), policy: Policy::default() };
            match carry_out(&mut node, &opened.store, command)? {
                Reply::Space(space) => space,
                other => bail!("making the personal space was answered with {other:?}"),
            }
        }
    };
    opened.store.close()?;
    Ok((space, made))
}

/// Has the core carry out one command, alone with its store.
fn carry_out(node: &mut Node, store: &Store, command: Command) -> anyhow::Result<Reply> {
    let reader = store.reader();
    let (acks, mut acked) = mpsc::unbounded_channel();
    let mut inputs = std::collections::VecDeque::from([Input::Command { ticket: 0, command }]);
    while let Some(input) = inputs.pop_front() {
        for output in node.handle(input, now_ms(), &reader)? {
            match output {
                Output::Commit { batch, writes } => {
                    store.submit(batch, writes, &acks)?;
                    let ack = acked.blocking_recv().context("the store's thread has ended")?;
                    ack.result?;
                    inputs.push_back(Input::Committed(batch));
                }
                Output::Verify { job, records } => {
                    inputs.push_back(Input::Verified { job, results: verify_batch(records) });
                }
                Output::Reply { result, .. } => return Ok(result?),
                Output::Sign { job, key, records } => {
                    inputs.push_back(Input::Verified { job, results: sign_batch(records, &key) });
                }
                // There is nobody to tell.
                _ => {}
            }
        }
    }
    bail!("the core gave no answer")
}
