//! The HTTP API: how people and programs on this machine speak to the running node.
//!
//! JSON over HTTP/1.1, `snake_case`, ids as their text, times as RFC 3339 in UTC with
//! milliseconds. Lists are `{"items": […], "next": cursor or null}`. Every error, whatever makes
//! it, is `application/problem+json` (`problem`). Every request passes the guard (`guard`)
//! before a route sees it: a web page that the owner visits must not reach the node.
//!
//! Routes are grouped by noun, one file each. They read the node through [`Handle`] and
//! [`Views`] only.

mod batch;
mod body;
mod bundles;
mod events;
mod guard;
mod listing;
mod memories;
mod moment;
mod parity;
mod peers;
mod problem;
mod quarantined;
mod records;
mod spaces;
mod status;
pub mod token;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use ocm_record::SpaceId;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore, watch};

pub use problem::{Problem, Reason};

use crate::config::Token;
use crate::handle::Handle;
use crate::views::Views;

/// Limits of the API.
pub mod limits {
    /// Bytes of a request's body: 1 MiB, more than the largest record and a JSON form of it.
    pub const BODY_BYTES: usize = 1024 * 1024;
    /// Bytes of the body of a batch: 6 MiB. Its records may be larger, since a number of three
    /// characters has nine bytes in one; they are begun by as many commands as that takes.
    pub const BATCH_BYTES: usize = 6 * 1024 * 1024;
    /// Batches that lie in memory at once; more wait for their turn.
    pub const BATCHES: usize = 4;
    /// Bytes of the body of a batch that come in a second at least, on the whole: 64 KiB, a batch of
    /// ordinary memories in some seconds. Slower ones lose their place among [`BATCHES`].
    pub const BATCH_BYTES_A_SECOND: usize = 64 * 1024;
    /// The part of the time that a batch may take for which its body may lag behind that: a sixth.
    pub const BATCH_PATIENCE: u32 = 6;
    /// Requests that are answered at once; past it a request is told to come again.
    pub const REQUESTS: usize = 256;
    /// Seconds without a word of the event loop, which shows itself every second, after which the
    /// process does not count as healthy.
    pub const SHOWN_SECONDS: u64 = 30;
    /// Listeners to the live feed at once.
    pub const LISTENERS: usize = 64;
    /// Seconds that a request may take, the live feed excepted.
    pub const REQUEST_SECONDS: u64 = 60;
    /// Seconds that open requests have to end when the node stops.
    pub const STOP_SECONDS: u64 = 5;
    /// Characters of a text that a list is filtered by.
    pub const FILTER_CHARS: usize = 100;
}

/// What the API is told about the process it speaks for.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// The address it listens on, as bound.
    pub listen: SocketAddr,
    /// More names by which the API may be called: hosts, without a port.
    pub hosts: Vec<String>,
    /// The secret that a request must bring.
    pub token: Token,
    /// The node's name for people.
    pub handle: String,
    /// Where the node keeps what is its own.
    pub data_dir: PathBuf,
    /// Where the store lies, for its size.
    pub store: PathBuf,
    /// The space of a new memory for which none is named.
    pub default_space: Option<SpaceId>,
    /// The version of this program.
    pub version: String,
    /// What batches may have at the start.
    pub batch: BatchLimits,
    /// Multiaddrs that invitations name, and no others. Without any, those at which others reach
    /// this node.
    pub addresses: Vec<String>,
    /// When the process started, in milliseconds since the Unix epoch.
    pub started_ms: u64,
}

/// What a batch may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Memories that it begins, at most.
    pub memories: usize,
    /// How long it may take.
    pub timeout: Duration,
}

/// Gives the text of all metrics, in the OpenMetrics format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The API of one node. Cloning is cheap.
#[derive(Clone)]
pub struct Api(Arc<Parts>);

struct Parts {
    handle: Handle,
    views: Views,
    config: ApiConfig,
    metrics: Metrics,
    requests: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    batch: watch::Sender<BatchLimits>,
    /// Held from when a batch has been received until it has its place in the order of writes.
    batch_turn: Mutex<()>,
    stopping: watch::Sender<bool>,
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error(
        "the API cannot listen on {address}: {error}; another node may be running there \
         (see `ocm status`): stop it, or set api.listen to another address"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The listener failed.
    #[error("the API on {address} ended: {error}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
}

/// Begins to listen. With port 0 the system chooses one: see [`TcpListener::local_addr`].
///
/// # Errors
/// [`ServeError::Listen`], which names the address and the remedy.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| ServeError::Listen { address, error })
}

impl Api {
    /// The API of the node behind this handle.
    #[must_use]
    pub fn new(handle: Handle, views: Views, config: ApiConfig, metrics: Metrics) -> Self {
        Self(Arc::new(Parts {
            handle,
            views,
            batch: watch::Sender::new(config.batch),
            config,
            metrics,
            requests: Arc::new(Semaphore::new(limits::REQUESTS)),
            listeners: Arc::new(Semaphore::new(limits::LISTENERS)),
            batches: Arc::new(Semaphore::new(limits::BATCHES)),
            batch_turn: Mutex::new(()),
            stopping: watch::Sender::new(false),
        }))
    }

    /// Gives batches that begin from now on other limits.
    pub fn limit_batches(&self, batch: BatchLimits) {
        self.0.batch.send_replace(batch);
    }

    /// Every route, behind the guard. A request must carry its client's address
    /// (`ConnectInfo<SocketAddr>`), as [`serve`] sees to.
    pub fn router(&self) -> Router {
        let v1 = Router::new()
            .route("/peers/connect", post(peers::connect))
            .route("/peers/forget", post(peers::forget))
            .route("/peers/{peer}/ping", post(peers::ping))
            .route("/peers/{peer}/block", post(peers::block))
            .route("/peers/{peer}/unblock", post(peers::unblock))
            .route("/spaces", get(spaces::list).post(spaces::create))
            .route("/spaces/join", post(spaces::join))
            .route("/spaces/{id}", get(spaces::show))
            .route("/spaces/{id}/members", get(spaces::members))
            .route("/spaces/{id}/grants", post(spaces::grant))
            .route("/spaces/{id}/invitation", get(spaces::invite))
            .route("/spaces/{id}/parity", get(parity::of_space))
            .route("/spaces/{id}/records", post(bundles::admit))
            .route("/spaces/{id}/bundle", post(bundles::begin))
            .route("/spaces/{id}/bundle/page", get(bundles::page))
            .route("/spaces/{id}/bundle/statement", post(bundles::witness))
            .route("/memories", get(listing::list).post(memories::create))
            .route("/memories/count", get(listing::count))
            .route(
                "/memories:batch",
                post(batch::create).layer(DefaultBodyLimit::max(limits::BATCH_BYTES)),
            )
            .route("/memories/{id}", get(memories::show).patch(memories::patch))
            .route("/memories/{id}/history", get(memories::history))
            .route("/memories/{id}/conflicts", get(memories::conflicts).post(memories::take))
            .route("/records/{id}", get(records::show))
            .route("/refused", get(records::refused))
            .route("/quarantined", get(quarantined::list))
            .route("/sync", get(parity::list).post(parity::sync))
            .route("/events", get(events::listen))
            .route("/stop", post(status::stop));
        Router::new()
            .route("/ping", get(status::ping))
            .route("/health", get(status::health))
            .route("/ready", get(status::ready))
            .route("/status", get(status::show))
            .route("/stats", get(status::stats))
            .route("/peers", get(peers::list))
            .route("/metrics", get(status::metrics))
            .nest("/v1", v1)
            .fallback(problem::no_route)
            .method_not_allowed_fallback(problem::no_method)
            .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
            .layer(from_fn_with_state(self.clone(), guard::guard))
            .with_state(self.clone())
    }
}

/// Serves the API until `shutdown` ends; then lets open requests end, for
/// [`limits::STOP_SECONDS`] at most. Live feeds end at once.
///
/// # Errors
/// [`ServeError::Serve`] when the listener fails.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let address = api.0.config.listen;
    let mut stopping = api.0.stopping.subscribe();
    let stopper = api.clone();
    let stopped = async move {
        shutdown.await;
        stopper.0.stopping.send_replace(true);
    };
    let service = api.router().into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stopped);
    let grace = async {
        // The sender lives in `api`, which outlives this.
        let _ = stopping.wait_for(|stopping| *stopping).await;
        tokio::time::sleep(Duration::from_secs(limits::STOP_SECONDS)).await;
    };
    tokio::select! {
        served = server.into_future() => {
            served.map_err(|error| ServeError::Serve { address, error })
        }
        () = grace => Ok(()),
    }
}

#[cfg(test)]
mod tests;
