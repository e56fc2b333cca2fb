//! How the node fares.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use ocm_discovery::PeerId;
use ocm_node::Snapshot;
use ocm_record::{Did, SpaceId};
use serde::Serialize;

use super::body::{Nothing, Parameters};
use super::moment::Moment;
use super::problem::Problem;
use super::{Api, limits};
use crate::handle::{SourceHealth, Status};

pub(super) async fn ping() -> &'static str {
    "pong"
}

#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
}

/// The process answers, and its event loop lives: nothing else is said, so that nothing else
/// restarts it.
pub(super) async fn health(State(api): State<Api>) -> Response {
    match lives(&api.0.handle.status(), Instant::now()) {
        true => Json(Health { status: "ok" }).into_response(),
        false => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "stuck" })).into_response()
        }
    }
}

/// Whether the event loop has shown itself lately.
fn lives(status: &Status, now: Instant) -> bool {
    now.saturating_duration_since(status.shown) < Duration::from_secs(limits::SHOWN_SECONDS)
}

#[derive(Serialize)]
pub(super) struct Ready {
    ready: bool,
    /// The store can be read.
    store: bool,
    identity: bool,
    isolated: bool,
    peers: usize,
}

/// Store open, identity loaded. A node without peers is ready: it works alone for days.
pub(super) async fn ready(State(api): State<Api>) -> Response {
    let status = api.0.handle.status();
    let store = api.0.views.check_store().await.is_ok();
    // There is no core to take a status from without its keys.
    let identity = true;
    let stopping = *api.0.stopping.borrow();
    let peers = status.network.connections.len();
    let ready = store && identity && !stopping && lives(&status, Instant::now());
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Ready { ready, store, identity, isolated: peers == 0, peers })).into_response()
}

#[derive(Serialize)]
pub(super) struct Held {
    records: usize,
    bytes: usize,
}

impl Held {
    fn of(core: &Snapshot) -> Self {
        let (records, bytes) = core.held;
        Self { records, bytes }
    }
}

#[derive(Serialize)]
struct Source {
    name: &'static str,
    state: &'static str,
    detail: String,
}

impl From<&SourceHealth> for Source {
    fn from(source: &SourceHealth) -> Self {
        Self { name: source.name, state: source.state, detail: source.detail.clone() }
    }
}

#[derive(Serialize)]
pub(super) struct Shown {
    version: String,
    handle: String,
    did: Did,
    peer_id: PeerId,
    boot: String,
    started_at: Moment,
    uptime_seconds: u64,
    data_dir: String,
    listen: Vec<String>,
    api: String,
    default_space: Option<SpaceId>,
    isolated: bool,
    peers: usize,
    spaces: usize,
    memories: u64,
    held: Held,
    sessions: usize,
    unrendered: u64,
    /// Whether others can dial this node: `public`, `private` or `unknown`; null without a network.
    reachability: Option<&'static str>,
    sources: Vec<Source>,
    blocked: Vec<PeerId>,
    /// The fingerprint of the private network's key; null in the open one.
    network_key: Option<String>,
}

fn count_memories(status: &Status) -> u64 {
    status.core.spaces.iter().map(|space| space.tallies.memories).sum()
}

pub(super) async fn show(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<Shown>, Problem> {
    let status = api.0.handle.status();
    let config = &api.0.config;
    let (core, network) = (&status.core, &status.network);
    let started = Moment(config.started_ms);
    Ok(Json(Shown {
        version: config.version.clone(),
        handle: config.handle.clone(),
        did: core.did,
        peer_id: core.peer,
        boot: HEXLOWER.encode(core.boot.as_bytes()),
        started_at: started,
        uptime_seconds: Moment::now().0.saturating_sub(started.0) / 1000,
        data_dir: config.data_dir.display().to_string(),
        listen: network.listen.clone(),
        api: format!("http://{}", config.listen),
        default_space: config.default_space,
        isolated: network.connections.is_empty(),
        peers: network.connections.len(),
        spaces: core.spaces.len(),
        memories: count_memories(&status),
        held: Held::of(core),
        sessions: core.sessions,
        unrendered: api.0.views.unrendered(None).await?,
        reachability: network.reachability,
        sources: network.sources.iter().map(Source::from).collect(),
        blocked: network.blocked.clone(),
        network_key: network.network_key.clone(),
    }))
}

/// Records of the two sets.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Records {
    pub(super) authority: u64,
    pub(super) content: u64,
}

#[derive(Serialize)]
struct Admission {
    verdict: &'static str,
    reason: &'static str,
    count: u64,
}

#[derive(Serialize)]
struct Disk {
    store_bytes: Option<u64>,
    free_bytes: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Stats {
    memories: u64,
    records: Records,
    held: Held,
    admissions: Vec<Admission>,
    peers: usize,
    sessions: usize,
    queues: BTreeMap<&'static str, usize>,
    disk: Disk,
}

pub(super) async fn stats(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<Stats>, Problem> {
    let status = api.0.handle.status();
    let core = &status.core;
    let (store, data_dir) = (api.0.config.store.clone(), api.0.config.data_dir.clone());
    let disk = tokio::task::spawn_blocking(move || Disk {
        store_bytes: measure(&store, 4).ok(),
        free_bytes: rustix::fs::statvfs(&data_dir)
            .ok()
            .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
    })
    .await
    .map_err(|e| {
        Problem::new(super::Reason::Internal, format!("the disk was not measured: {e}"))
    })?;
    let mut records = Records::default();
    for space in &core.spaces {
        records.authority += space.parity.authority.count;
        records.content += space.parity.content.count;
    }
    Ok(Json(Stats {
        memories: count_memories(&status),
        records,
        held: Held::of(core),
        admissions: core
            .admissions
            .iter()
            .map(|(&(verdict, reason), &count)| Admission { verdict, reason, count })
            .collect(),
        peers: status.network.connections.len(),
        sessions: core.sessions,
        queues: status.queues.clone(),
        disk,
    }))
}

/// Bytes of a file, or of the files in a folder, so many folders deep.
fn measure(path: &Path, depth: usize) -> std::io::Result<u64> {
    let meta = std::fs::symlink_metadata(path)?;
    if !meta.is_dir() || depth == 0 {
        return Ok(meta.len());
    }
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        match measure(&entry?.path(), depth - 1) {
            Ok(more) => bytes += more,
            // Files of the store come and go.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

pub(super) async fn metrics(State(api): State<Api>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], (api.0.metrics)()).into_response()
}

#[derive(Serialize)]
pub(super) struct Stopped {
    stopping: bool,
}

pub(super) async fn stop(State(api): State<Api>) -> Result<(StatusCode, Json<Stopped>), Problem> {
    api.0.handle.stop().await?;
    Ok((StatusCode::ACCEPTED, Json(Stopped { stopping: true })))
}
