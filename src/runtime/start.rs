//! Starting and stopping, in order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ocm_discovery::PeerId;
use ocm_node::storage::{Batch, ReadError};
use ocm_node::{Allowed, Identity, Node, OpenError, Output, Settings, layout};
use ocm_record::{Boot, Did};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::event_loop::{Ends, EventLoop, LoopError, now_ms};
use super::peers::{KeptPeers, PeersFile};
use super::reload::Reload;
use super::service::{self, Watchdog};
use super::stop;
use crate::api::{Api, ApiConfig, BatchLimits, ServeError, token};
use crate::config::{Backend, Config, ConfigError, Loaded, Lookup, NetworkKey, PeerName, Token};
use crate::doctor::{self, Finding};
use crate::handle::{FEED, Handle, QUEUE, SharedReader, Status, Stopping, Tuning};
use crate::identity::{self, IdentityError};
use crate::network::{BeaconConfig, LookupMode, Network, NetworkConfig, RelayLimits};
use crate::store::{
    Commit, MemoryFrontier, Observer, OpenOptions, Opened, Store,
    memory::{MemoryBackend, MemoryDisk},
};
use crate::telemetry::logging;
use crate::telemetry::metrics::{Metrics, Registry, Scrape};
use crate::views::Views;

/// What `ocm node` is told besides the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeFlags {
    /// Start although the store lost something: see `store::OpenOptions`.
    pub accept_loss: bool,
}

/// Runs a node until it is told to stop. At each SIGHUP it loads the configuration again.
///
/// # Errors
/// When it cannot start, or had to end: the message says why and what to do. A process that ends
/// with an error recovers by its next start.
pub fn run(
    loaded: &Loaded,
    flags: NodeFlags,
    load: &dyn Fn() -> Result<Loaded, ConfigError>,
) -> anyhow::Result<()> {
    let mut config = loaded.config.clone();
    let rust_log = std::env::var("RUST_LOG").ok();
    let logging = logging::init(&config.logging, rust_log.as_deref())?;
    for Finding { text, remedy, .. } in doctor::check_exposure(loaded) {
        tracing::warn!("{text}; {}", remedy.unwrap_or_default());
    }
    if let Err(IdentityError::Absent(_)) = identity::load(&config) {
        let made = super::init(loaded)?;
        config.space.default = config.space.default.or(made.personal_space);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("ocm")
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(config, flags, Reload { logging, load }));
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

/// Tells the metrics of commits, on the store's thread.
struct Measure(Metrics);

impl Observer for Measure {
    fn committed(&self, commit: &Commit) {
        self.0.committed(commit.commit);
        self.0.flushed(commit.flush);
    }

    fn poisoned(&self, cause: &str) {
        tracing::error!(%cause, "the store takes no more writes");
    }

    fn rebuilding(&self, counted: u64, of: u64) {
        // Some ten lines, however many records there are.
        let step = (of / 10).max(1);
        if counted == 0 || counted == of || counted / step != counted.saturating_sub(512) / step {
            tracing::info!(counted, of, "making the sets again from the records");
        }
    }
}

/// A running node.
pub struct Running {
    /// Who it speaks as.
    pub did: Did,
    /// Its transport identity.
    pub peer: PeerId,
    /// How it is called in what it shows.
    pub name: String,
    /// Where its API listens.
    pub api: SocketAddr,
    handle: Handle,
    views: Views,
    serves: Api,
    store: Arc<Store>,
    stop: oneshot::Sender<()>,
    stop_api: oneshot::Sender<()>,
    looping: JoinHandle<Result<(), LoopError>>,
    serving: JoinHandle<Result<(), ServeError>>,
    rendering: JoinHandle<()>,
}

impl Running {
    /// Starts a node: keys, store, core, network, API, in this order; what fails first is told.
    ///
    /// # Errors
    /// Why it cannot start, and what to do.
    pub async fn start(config: &Config, flags: NodeFlags) -> anyhow::Result<Self> {
        let (keys, _) = identity::load_or_create(config)?;
        let (did, peer) = (identity::did(&keys), identity::peer_id(&keys));
        let name = config.identity.shown(&peer.to_string()).to_owned();

        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, &name);
        let observer: Arc<dyn Observer> = Arc::new(Measure(metrics.clone()));
        // Reads the whole store; nothing else is to be done before it is open.
        let seed = identity::random_seed()?;
        let open = || open_node(config, flags, &observer, &keys, seed);
        let (store, node, first) = tokio::task::block_in_place(open)?;
        let reader: SharedReader = Arc::new(store.reader());

        let token = api_token(config)?;
        let listener = crate::api::listen(config.api.listen).await?;
        let api_address = listener.local_addr().context("the API's address")?;
        let kept = KeptPeers::load(&config.data_dir, now_ms())?;
        let network = if config.network.enable_network_calls {
            Some(Network::start(network_config(config, &keys, &kept)?, &mut registry)?)
        } else {
            None
        };

        let (jobs, job_queue) = mpsc::channel(QUEUE);
        let (feed, _) = broadcast::channel(FEED);
        let (status, shown) = watch::channel(Arc::new(Status {
            core: node.snapshot(),
            network: network.as_ref().map(super::status::of_network).unwrap_or_default().into(),
            shown: std::time::Instant::now(),
            queues: BTreeMap::new(),
        }));
        let handle = Handle::new(jobs, shown, feed.clone(), reader);
        let views = Views::new(handle.clone());
        let scrape = Scrape::new(registry);
        let api = Api::new(
            handle.clone(),
            views.clone(),
            api_config(config, &name, token, api_address),
            Arc::new(move || scrape.encode().unwrap_or_default()),
        );

        let (stop_api, api_stopped) = oneshot::channel::<()>();
        let serves = api.clone();
        let serving = tokio::spawn(crate::api::serve(listener, api, async move {
            // Sent, or dropped: both mean stop.
            let _ = api_stopped.await;
        }));
        let rendering = tokio::spawn(render(views.clone(), metrics.clone()));
        let (stop, stopped) = oneshot::channel::<()>();
        let peers_file = PeersFile::new(&config.data_dir, kept);
        let ends = Ends { jobs: job_queue, status, feed };
        let event_loop = EventLoop::new(node, network, store.clone(), metrics, peers_file, ends)
            .context("the system gives no thread to verify on")?;
        let looping = tokio::spawn(event_loop.run(first, async move {
            let _ = stopped.await;
        }));
        Ok(Self {
            did,
            peer,
            name,
            api: api_address,
            handle,
            views,
            serves,
            store,
            stop,
            stop_api,
            looping,
            serving,
            rendering,
        })
    }

    /// A handle on the node.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Its views.
    #[must_use]
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// Takes up what of a configuration can change while a node runs: its [`crate::config::Key`]s that
    /// are `reloadable`, but for the level of the log, which is the process's.
    ///
    /// # Errors
    /// When the node is stopping; the inner result says what was not taken up.
    pub async fn configure(&self, config: &Config) -> Result<Result<(), String>, Stopping> {
        self.serves.limit_batches(batch_limits(config));
        let tuning = Tuning {
            seed_peers: seed_peers(config),
            max_peers: config.network.max_peers,
            settings: core_settings(config),
        };
        self.handle.configure(tuning).await
    }

    /// Completes when the node has ended by itself: told to by its API, or by a fault.
    pub async fn ended(&mut self) {
        while !self.looping.is_finished() {
            let mut watch = self.handle.watch();
            // The loop holds the other end: this fails when the loop is gone.
            while watch.changed().await.is_ok() {}
            tokio::task::yield_now().await;
        }
    }

    /// Stops the node: the loop, the API, then the store, whose lock is free afterwards.
    ///
    /// # Errors
    /// Why the node had to end, if it did, or what failed at the end.
    pub async fn stop(self) -> anyhow::Result<()> {
        // The loop may have ended by itself.
        let _ = self.stop.send(());
        let ended = self.looping.await.context("the event loop ended by a fault")?;
        drop(self.stop_api);
        self.rendering.abort();
        // Open requests are answered or cut off: nothing they wait for will happen any more.
        if tokio::time::timeout(Duration::from_secs(3), self.serving).await.is_err() {
            tracing::debug!("some API connections were cut off");
        }
        ended?;
        let store = self.store;
        let frontier = tokio::task::spawn_blocking(move || store.close()).await??;
        tracing::info!(commit = frontier.commit, records = frontier.records.count, "stopped");
        Ok(())
    }
}

async fn serve(mut config: Config, flags: NodeFlags, reload: Reload<'_>) -> anyhow::Result<()> {
    // Heard from the first moment: a start that reads a large store takes its time.
    let mut hangups = stop::hangups();
    let mut running = Running::start(&config, flags).await?;
    if config.network.enable_network_calls {
        let mut status = running.handle.watch();
        let listens = status.wait_for(|status| listens(&config, &status.network.listen));
        // The addresses are only shown; a listener that fails says so in the log.
        let _ = tokio::time::timeout(Duration::from_secs(5), listens).await;
    }
    ready(&config, &running);
    service::ready();
    let mut watchdog = Watchdog::new(running.handle.watch());
    let mut stopped = std::pin::pin!(stop::signalled());
    loop {
        tokio::select! {
            () = &mut stopped => break,
            () = running.ended() => break,
            () = hangups.next() => {
                service::reloading();
                reload.take_up(&mut config, &running).await;
                service::ready();
            }
            () = watchdog.feed() => {}
        }
    }
    service::stopping();
    running.stop().await
}

/// The API's secret: the configured one, or the data directory's own. Either way it is in the
/// data directory, where the command line finds it.
fn api_token(config: &Config) -> anyhow::Result<Token> {
    match &config.api.token {
        None => Ok(token::load_or_create(&config.data_dir)?),
        Some(configured) => Ok(token::write(configured.clone(), &config.data_dir)?),
    }
}

fn api_config(config: &Config, name: &str, token: Token, listen: SocketAddr) -> ApiConfig {
    ApiConfig {
        listen,
        hosts: config.api.hosts.iter().map(ToString::to_string).collect(),
        token,
        handle: name.to_owned(),
        data_dir: config.data_dir.clone(),
        store: config.database.path.clone(),
        default_space: config.space.default,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        batch: batch_limits(config),
        addresses: config.network.external_addresses.iter().map(ToString::to_string).collect(),
        started_ms: now_ms(),
    }
}

fn batch_limits(config: &Config) -> BatchLimits {
    BatchLimits {
        memories: config.api.batch_memories as usize,
        timeout: Duration::from_secs(u64::from(config.api.batch_timeout_seconds)),
    }
}

fn core_settings(config: &Config) -> Settings {
    Settings {
        compare_every_ms: u64::from(config.network.sync_interval_seconds) * 1000,
        allowed: allowed(config),
    }
}

fn store_options(config: &Config, flags: NodeFlags) -> OpenOptions {
    OpenOptions {
        accept_loss: flags.accept_loss,
        cache_bytes: u64::from(config.database.cache_mib) * 1024 * 1024,
        ..OpenOptions::default()
    }
}

/// Opens the store, and the core on what lies in it. A set that is found damaged on the way is made
/// again.
fn open_node(
    config: &Config,
    flags: NodeFlags,
    observer: &Arc<dyn Observer>,
    keys: &Identity,
    seed: [u8; 32],
) -> anyhow::Result<(Arc<Store>, Node, Vec<Output>)> {
    let mut made_again = false;
    loop {
        let store = open_store(config, flags, observer.clone())?;
        let settings = core_settings(config);
        match Node::open(keys.clone(), settings, seed, now_ms(), &store.reader()) {
            Ok((node, first)) => return Ok((store, node, first)),
            Err(OpenError::Read(error @ ReadError::Set { space, set, .. })) if !made_again => {
                tracing::warn!("{error}; it is made again from the records");
                made_again = true;
                let mut batch = Batch::new();
                batch.delete(layout::set_head(space, set));
                store.submit(0, batch, &mpsc::unbounded_channel().0)?;
                store.close()?;
            }
            Err(error) => {
                return Err(error).context(
                    "the node cannot be read back from its store: restore it, or start once with \
                     --accept-loss and fetch what is missing from peers",
                );
            }
        }
    }
}

fn open_store(
    config: &Config,
    flags: NodeFlags,
    observer: Arc<dyn Observer>,
) -> anyhow::Result<Arc<Store>> {
    let options = store_options(config, flags);
    let Opened { store, repairs, audited, .. } = match config.database.backend {
        Backend::Sled => Store::open(&config.database.path, options, observer)?,
        Backend::Memory => {
            let place = Box::new(MemoryFrontier::default());
            Store::open_on(
                Arc::new(MemoryBackend::open(MemoryDisk::new())),
                place,
                options,
                observer,
            )?
        }
    };
    for repair in repairs {
        tracing::warn!("{repair}");
    }
    if !audited {
        tracing::info!(
            "the store is too large to be read through at each start; `ocm doctor` does, while the node is stopped"
        );
    }
    Ok(Arc::new(store))
}

fn network_config(
    config: &Config,
    keys: &Identity,
    kept: &KeptPeers,
) -> anyhow::Result<NetworkConfig> {
    let boot = Boot::from_bytes({
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
        bytes
    });
    let settings = &config.network;
    let mut network = NetworkConfig::new(keys.peer.clone(), boot);
    network.bind = match settings.bind_address {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
        }
        one => vec![one],
    };
    network.port = settings.port;
    network.tcp = settings.tcp;
    network.key = settings.key.as_ref().map(NetworkKey::reveal);
    network.quic = settings.quic && network.key.is_none();
    network.mdns = settings.mdns && !settings.bind_address.is_loopback();
    network.beacon = settings.beacon.then(|| BeaconConfig {
        port: settings.discovery_port,
        hosts: settings.beacon_hosts.iter().map(ToString::to_string).collect(),
        ..BeaconConfig::default()
    });
    network.bootstrap = seed_peers(config);
    network.relays = settings.relays.iter().map(ToString::to_string).collect();
    network.relay = settings.relay.then(RelayLimits::default);
    network.external.clone_from(&settings.external_addresses);
    network.upnp = settings.upnp;
    network.remember = settings.remember;
    network.lookup = match settings.lookup {
        Lookup::Off => None,
        Lookup::Client => Some(LookupMode::Client),
        Lookup::Server => Some(LookupMode::Server),
    };
    network.remembered = kept.peers.clone();
    network.kept = kept.addresses.clone();
    network.blocked.clone_from(&kept.blocked);
    network.allowed = allowed(config);
    network.limits.connections = settings.max_peers;
    network.limits.connections_per_address = settings.max_connections_per_address as usize;
    network.limits.connections_per_network = settings.max_connections_per_network as usize;
    network.limits.peers_per_address = settings.max_peers_per_address as usize;
    network.exempt.clone_from(&settings.exempt_addresses);
    Ok(network)
}

/// Those that are spoken to, where not everyone is.
fn allowed(config: &Config) -> Option<Allowed> {
    let mut allowed = Allowed::default();
    for entry in &config.network.allow {
        match entry {
            PeerName::Peer(peer) => drop(allowed.peers.insert(*peer)),
            PeerName::Did(did) => drop(allowed.dids.insert(*did)),
        }
    }
    (allowed != Allowed::default()).then_some(allowed)
}

fn seed_peers(config: &Config) -> Vec<String> {
    config.network.seed_peers.iter().map(ToString::to_string).collect()
}

/// Renders what changes, and counts the conflicts that later edits resolved.
async fn render(views: Views, metrics: Metrics) {
    let mut counted = 0;
    let mut look = tokio::time::interval(Duration::from_secs(1));
    let mut rendering = std::pin::pin!(views.run());
    loop {
        tokio::select! {
            ended = &mut rendering => {
                if let Err(error) = ended {
                    tracing::error!(%error, "memories are no longer rendered in advance");
                }
                break;
            }
            _ = look.tick() => {
                let resolved = views.resolved();
                metrics.conflicts_resolved.inc_by(resolved - counted);
                counted = resolved;
            }
        }
    }
}

/// Whether each configured transport is listened on.
fn listens(config: &Config, addresses: &[String]) -> bool {
    let has = |part| addresses.iter().any(|address| address.contains(part));
    let network = &config.network;
    // The network key covers TCP alone, so that QUIC is off with it.
    let quic = network.quic && network.key.is_none();
    (!network.tcp || has("/tcp/")) && (!quic || has("/quic-v1"))
}

fn ready(config: &Config, node: &Running) {
    eprintln!("OCM {} · {}", env!("CARGO_PKG_VERSION"), node.name);
    eprintln!("  did    {}", node.did);
    eprintln!("  peer   {}", node.peer);
    eprintln!("  data   {}", config.data_dir.display());
    eprintln!("  api    http://{}", node.api);
    if config.network.enable_network_calls {
        eprintln!("  listen {}", node.handle.status().network.listen.join(", "));
    } else {
        eprintln!("  listen nowhere: network.enable_network_calls is false");
    }
    eprintln!("OCM node is ready");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Overrides};

    fn config(variables: &[(&str, &str)]) -> Config {
        let home = [("HOME", "/nonexistent/home")];
        let environment: Environment = home.iter().chain(variables).copied().collect();
        Config::load(&Overrides::new(), &environment).unwrap().config
    }

    fn network(variables: &[(&str, &str)]) -> NetworkConfig {
        let key = |n| ocm_record::SigningKey::from_seed(&[n; 32]);
        let keys = Identity { author: key(1), peer: key(2) };
        network_config(&config(variables), &keys, &KeptPeers::default()).unwrap()
    }

    #[test]
    fn caches_limits_and_pauses_are_handed_on() {
        let cache =
            |variables: &[_]| store_options(&config(variables), NodeFlags::default()).cache_bytes;
        assert_ne!(cache(&[]), 128 << 20);
        assert_eq!(cache(&[("OCM_DATABASE_CACHE_MIB", "128")]), 128 << 20);
        let pause = |variables: &[_]| core_settings(&config(variables)).compare_every_ms;
        assert_ne!(pause(&[]), 5000);
        assert_eq!(pause(&[("OCM_NETWORK_SYNC_INTERVAL_SECONDS", "5")]), 5000);
        assert_ne!(network(&[]).limits.connections, 7);
        assert_eq!(network(&[("OCM_NETWORK_MAX_PEERS", "7")]).limits.connections, 7);
        assert_ne!(network(&[]).limits.peers_per_address, 3);
        let few = network(&[("OCM_NETWORK_MAX_PEERS_PER_ADDRESS", "3")]);
        assert_eq!(few.limits.peers_per_address, 3);
        assert!(network(&[]).exempt.is_empty());
        let exempt = network(&[("OCM_NETWORK_EXEMPT_ADDRESSES", "10.0.0.0/8")]).exempt;
        assert_eq!(exempt, ["10.0.0.0/8".parse().unwrap()]);
        let timeout = |variables: &[_]| {
            let dir = tempfile::tempdir().unwrap();
            let token = token::load_or_create(dir.path()).unwrap();
            let config = config(variables);
            api_config(&config, "mill", token, config.api.listen).batch.timeout.as_secs()
        };
        assert_ne!(timeout(&[]), 5);
        assert_eq!(timeout(&[("OCM_API_BATCH_TIMEOUT_SECONDS", "5")]), 5);
        let crowd = network(&[
            ("OCM_NETWORK_MAX_CONNECTIONS_PER_ADDRESS", "4"),
            ("OCM_NETWORK_MAX_CONNECTIONS_PER_NETWORK", "5"),
        ]);
        let limits = (crowd.limits.connections_per_address, crowd.limits.connections_per_network);
        assert_eq!(limits, (4, 5));
        let listed =
            [("OCM_NETWORK_ALLOW", "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK")];
        assert!(network(&[]).allowed.is_none() && network(&listed).allowed.is_some());
        assert!(core_settings(&config(&listed)).allowed.is_some());
        assert!(network(&[]).relay.is_none());
        assert!(network(&[("OCM_NETWORK_RELAY", "true")]).relay.is_some());
        assert!(!network(&[]).upnp && network(&[("OCM_ENABLE_UPNP", "true")]).upnp);
        assert!(network(&[]).mdns && !network(&[("OCM_NETWORK_MDNS", "off")]).mdns);
        assert!(network(&[]).remember && !network(&[("OCM_NETWORK_REMEMBER", "off")]).remember);
        let lookup = |mode| network(&[("OCM_NETWORK_LOOKUP", mode)]).lookup;
        assert_eq!((network(&[]).lookup, lookup("off")), (None, None));
        let modes = (Some(LookupMode::Client), Some(LookupMode::Server));
        assert_eq!((lookup("client"), lookup("server")), modes);
        let bind = |variables: &[_]| network(variables).bind.len();
        assert_eq!((bind(&[]), bind(&[("OCM_BIND_ADDRESS", "0.0.0.0")])), (2, 1));
        let hosts = |variables: &[_]| network(variables).beacon.unwrap().hosts;
        assert!(hosts(&[]).is_empty());
        assert_eq!(hosts(&[("OCM_NETWORK_BEACON_HOSTS", "10.0.0.7:9001")]), ["10.0.0.7:9001"]);
    }

    #[test]
    fn each_transport_is_waited_for_and_no_other() {
        let (tcp, quic) = ("/ip4/10.0.0.1/tcp/8080", "/ip4/10.0.0.1/udp/8080/quic-v1");
        let listens = |variables: &[_], addresses: &[&str]| {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            super::listens(&config(variables), &addresses)
        };
        assert!(!listens(&[], &[]) && !listens(&[], &[tcp]) && !listens(&[], &[quic]));
        assert!(listens(&[], &[quic, tcp]));
        assert!(listens(&[("OCM_NETWORK_QUIC", "false")], &[tcp]));
        assert!(listens(&[("OCM_NETWORK_TCP", "false")], &[quic]));
        let key = format!("/key/swarm/psk/1.0.0/\n/base16/\n{}", "00".repeat(32));
        assert!(listens(&[("OCM_NETWORK_KEY", &key)], &[tcp]));
    }

    #[test]
    fn multicast_dns_is_left_out_where_nobody_else_can_hear() {
        assert!(!network(&[("OCM_BIND_ADDRESS", "127.0.0.1")]).mdns);
    }
}
