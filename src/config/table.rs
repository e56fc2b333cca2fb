//! The table: every key with its type, its default, its sources and what it does.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use libp2p::Multiaddr;
use ocm_record::SpaceId;

use super::address::{BeaconHost, Host, PeerAddress, PeerName};
use super::handle::Handle;
use super::key::{Preset, settings};
use super::secret::{NetworkKey, Seed, Token};
use super::value::{Limit, Setting, choice};
use crate::network::IpRange;

choice! {
    /// A set of defaults for one purpose; every other source takes precedence over it.
    Profile {
        /// The defaults of the table.
        Default = "default",
        /// One node on a developer's machine: bound to loopback, verbose.
        Development = "development",
        /// As production, but more is logged.
        Staging = "staging",
        /// A node that others rely on: found by the addresses that it is given, and logging for a
        /// collector.
        Production = "production",
        /// A node that a test starts: in memory, on free ports of loopback, alone.
        Testing = "testing",
    }
}

choice! {
    /// What the records are kept in.
    Backend {
        /// The sled store on disk.
        Sled = "sled",
        /// Memory; everything is gone when the node stops.
        Memory = "memory",
    }
}

choice! {
    /// What is done for the lookup of peers by space.
    Lookup {
        /// Nothing.
        Off = "off",
        /// The node announces itself for its spaces, and asks who else did.
        Client = "client",
        /// It also answers others.
        Server = "server",
    }
}

choice! {
    /// How much is logged; each level includes those before it.
    Level {
        /// Nothing.
        Off = "off",
        /// What has failed and needs a person.
        Error = "error",
        /// What is wrong and is being dealt with.
        Warn = "warn",
        /// What a person wants to read of a healthy node.
        Info = "info",
        /// What helps to find a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// When a new log file is begun, in UTC.
    Rotate {
        /// Each hour.
        Hourly = "hourly",
        /// Each day.
        Daily = "daily",
        /// Never: there is one file.
        Never = "never",
    }
}

choice! {
    /// The form of the log.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object on each line.
        Json = "json",
    }
}

settings! {
    /// The configuration of a node, each value checked.
    Config {
        /// The directory that holds all a node keeps: its store, keys, token and this file.
        /// It cannot be set in the file that was found inside it.
        data_dir: PathBuf {
            env: "OCM_DATA_DIR", preset: Preset::Derived("$XDG_DATA_HOME/ocm, else $HOME/.local/share/ocm"),
        }
        /// The set of defaults to start from: default; development (loopback only, verbose);
        /// staging and production (seed peers only, JSON logs, more cache and peers);
        /// testing (in memory, free ports of loopback, no discovery). Each is a file in
        /// config/profiles.
        profile: Profile { env: "OCM_PROFILE", preset: Preset::Text("default"), }
    }

    /// The store.
    database: Database {
        /// The directory of the store.
        path: PathBuf { env: "OCM_DATABASE_PATH", preset: Preset::Derived("<data_dir>/store"), }
        /// sled keeps the records on disk; memory forgets them when the node stops.
        backend: Backend { env: "OCM_DATABASE_BACKEND", preset: Preset::Text("sled"), }
        /// The page cache of sled. Resident memory is a few times this.
        cache_mib: u32 {
            env: "OCM_DATABASE_CACHE_MIB", preset: Preset::Text("32"),
            limit: Limit::Range(8, 65_536), unit: "MiB",
        }
    }

    /// Federation with other nodes, and their discovery.
    network: Network {
        /// The port of the federation: TCP, and UDP for QUIC. 0 takes a free one.
        port: u16 { env: "OCM_NETWORK_PORT", preset: Preset::Text("8080"), limit: Limit::Range(0, 65_535), }
        /// The UDP port on which beacons are sent and heard. 0 takes a free one, on which only
        /// nodes that name it in `beacon_hosts` are heard.
        discovery_port: u16 {
            env: "OCM_DISCOVERY_PORT", preset: Preset::Text("8081"), limit: Limit::Range(0, 65_535),
        }
        /// The address of this machine that federation and discovery use; the API has its own
        /// (`api.listen`). :: is every address, IPv6 and IPv4; 0.0.0.0 is every IPv4 address.
        bind_address: IpAddr { env: "OCM_BIND_ADDRESS", preset: Preset::Text("::"), }
        /// Whether the node uses the network at all. When false it listens for no peer and dials
        /// none; the API still answers.
        enable_network_calls: bool { env: "OCM_ENABLE_NETWORK_CALLS", preset: Preset::Text("true"), }
        /// Peers to dial for ever, with backoff: multiaddrs, with or without /p2p/…, or host:port.
        /// DNS names are resolved again each time.
        seed_peers: Vec<PeerAddress> {
            env: "OCM_SEED_PEERS", preset: Preset::Text(""), limit: Limit::Items(256), reloadable: true, }
        /// Relays at which to reserve a place, by which this node is reached though nobody can dial
        /// it, as behind a router: multiaddrs or host:port, as of `seed_peers`. A place is held also
        /// while peers can dial this node. Without any, one that peers found nobody can dial holds a
        /// place at up to two of its peers that relay.
        relays: Vec<PeerAddress> {
            env: "OCM_NETWORK_RELAYS", preset: Preset::Text(""), limit: Limit::Items(8),
        }
        /// Whether to relay for others, who reserve a place here: at most 128 of them, and as many
        /// connections, each of an hour and 256 MiB at most.
        relay: bool { env: "OCM_NETWORK_RELAY", preset: Preset::Text("false"), }
        /// Whether to have the router map the ports of this node (UPnP), so that one at home is reached
        /// from outside. Off unless its owner wants a door in the router opened; then turn it on only
        /// where those on the local network may be trusted with saying which router that is.
        upnp: bool { env: "OCM_ENABLE_UPNP", preset: Preset::Text("false"), }
        /// The addresses that invitations name, and no others; without any, they name up to eight of
        /// those that the node listens on and is reached at. Names that outlive an address stand here
        /// (/dns/node.example/tcp/8080). Peers are told them, too, and by a relay those who reserve a
        /// place.
        external_addresses: Vec<Multiaddr> {
            env: "OCM_NETWORK_EXTERNAL_ADDRESSES", preset: Preset::Text(""), limit: Limit::Items(16),
        }
        /// Whether to find peers on the local network by multicast DNS.
        mdns: bool { env: "OCM_NETWORK_MDNS", preset: Preset::Text("true"), }
        /// Whether to find peers by the signed UDP beacon on `discovery_port`.
        beacon: bool { env: "OCM_NETWORK_BEACON", preset: Preset::Text("true"), }
        /// Hosts that beacons are sent to besides the broadcast address: names or addresses, with
        /// or without :port.
        beacon_hosts: Vec<BeaconHost> {
            env: "OCM_NETWORK_BEACON_HOSTS", preset: Preset::Text(""), limit: Limit::Items(32),
        }
        /// Whether to dial peers that were connected in the last week, in earlier runs, too.
        remember: bool { env: "OCM_NETWORK_REMEMBER", preset: Preset::Text("true"), }
        /// Whether to look up who else holds the spaces that everyone may read, among the nodes that
        /// take part: off; client (announces itself there and asks); server (also answers and keeps
        /// announcements for others: for a node that everyone can dial). Members-only spaces are
        /// neither announced nor asked for.
        lookup: Lookup { env: "OCM_NETWORK_LOOKUP", preset: Preset::Text("off"), }
        /// Whether to listen and dial with TCP.
        tcp: bool { env: "OCM_NETWORK_TCP", preset: Preset::Text("true"), }
        /// Whether to listen and dial with QUIC.
        quic: bool { env: "OCM_NETWORK_QUIC", preset: Preset::Text("true"), }
        /// The key of a private network, which `ocm config network-key` makes: this node speaks to
        /// those that have it, too, and to nobody else. It does not cover QUIC, which is then off.
        key: Option<NetworkKey> { env: "OCM_NETWORK_KEY", preset: Preset::Unset, secret: true, }
        /// The only peers that this node speaks to, as PeerIds or DIDs; empty is everyone. Where all are
        /// PeerIds, others are refused before a word is said; one that has to prove a DID has twenty
        /// seconds for that, and is neither served nor heard before.
        allow: Vec<PeerName> {
            env: "OCM_NETWORK_ALLOW", preset: Preset::Text(""), limit: Limit::Items(1024),
        }
        /// Connections with peers at one time; further ones are refused. A quarter of them is kept
        /// for those that this node begins, so that nobody from outside can take them all.
        max_peers: u32 {
            env: "OCM_NETWORK_MAX_PEERS", preset: Preset::Text("128"),
            limit: Limit::Range(1, 4096), unit: "connections", reloadable: true, }
        /// Connections that others begin from one IP address at one time; further ones are refused.
        max_connections_per_address: u32 {
            env: "OCM_NETWORK_MAX_CONNECTIONS_PER_ADDRESS", preset: Preset::Text("32"),
            limit: Limit::Range(1, 4096), unit: "connections",
        }
        /// The same from one network: a /24 of IPv4 or a /48 of IPv6; in private and link-local
        /// networks each address counts by itself.
        max_connections_per_network: u32 {
            env: "OCM_NETWORK_MAX_CONNECTIONS_PER_NETWORK", preset: Preset::Text("64"),
            limit: Limit::Range(1, 4096), unit: "connections",
        }
        /// Peers behind one IP address before all of them lose their standing in gossip.
        max_peers_per_address: u32 {
            env: "OCM_NETWORK_MAX_PEERS_PER_ADDRESS", preset: Preset::Text("16"),
            limit: Limit::Range(1, 4096), unit: "peers",
        }
        /// Ranges of IP addresses (10.0.0.0/8, or one address) to which none of these three limits
        /// applies: of a proxy that many peers come through, say, or of one's own machines. Loopback
        /// always is exempt.
        exempt_addresses: Vec<IpRange> {
            env: "OCM_NETWORK_EXEMPT_ADDRESSES", preset: Preset::Text(""), limit: Limit::Items(64),
        }
        /// The longest pause between two comparisons of a space with a peer while nothing changes;
        /// each is moved by a random part of it, so that nodes do not keep step. A change is
        /// compared within a second or so.
        sync_interval_seconds: u32 {
            env: "OCM_NETWORK_SYNC_INTERVAL_SECONDS", preset: Preset::Text("30"),
            limit: Limit::Range(1, 86_400), unit: "seconds", reloadable: true, }
    }

    /// Who the node is.
    identity: Identity {
        /// The name shown for this node, and the label `node` of its metrics. Without one, the end
        /// of its PeerId stands there.
        handle: Option<Handle> { env: "OCM_IDENTITY_HANDLE", preset: Preset::Unset, }
        /// The seed from which the first start (or `ocm init`) derives the identity's key, 32 bytes in
        /// base64. Without one, the key is fresh. It is kept in <data_dir>/keys, and not needed
        /// again; a start with another one is refused.
        seed: Option<Seed> { env: "OCM_IDENTITY_SEED", preset: Preset::Unset, secret: true, }
    }

    /// The HTTP API.
    api: Api {
        /// Where the API listens. Port 0 takes a free one.
        listen: SocketAddr { env: "OCM_API_LISTEN", preset: Preset::Text("127.0.0.1:7845"), }
        /// The names by which the API may be addressed (the Host header, without its port). A page
        /// of another name that the owner visits cannot reach the node.
        hosts: Vec<Host> {
            env: "OCM_API_HOSTS", preset: Preset::Text("localhost,127.0.0.1,::1"),
            limit: Limit::Items(64),
        }
        /// The token that requests carry. Without one, the node writes its own into the data
        /// directory, with mode 600.
        token: Option<Token> { env: "OCM_API_TOKEN", preset: Preset::Unset, secret: true, }
        /// Memories that one batch begins: as many as `POST /v1/memories:batch` takes, and as
        /// `ocm import` sends at once. A larger batch costs fewer flushes, and the others who write
        /// wait longer for it.
        batch_memories: u32 {
            env: "OCM_API_BATCH_MEMORIES", preset: Preset::Text("500"),
            limit: Limit::Range(1, 1000), unit: "memories", reloadable: true, }
        /// How long a batch may take until it is answered; half of that is for its body to come.
        /// What was not answered in time may be written all the same.
        batch_timeout_seconds: u32 {
            env: "OCM_API_BATCH_TIMEOUT_SECONDS", preset: Preset::Text("30"),
            limit: Limit::Range(1, 60), unit: "seconds", reloadable: true, }
    }

    /// Where commands work when they name no space.
    space: Space {
        /// The id of the space that commands use without `--space`. `ocm init` sets it to the
        /// personal space.
        default: Option<SpaceId> { env: "OCM_SPACE_DEFAULT", preset: Preset::Unset, }
    }

    /// The log, which goes to standard error, or to files.
    logging: Logging {
        /// How much OCM logs: off, error, warn, info, debug or trace. Libraries log warnings, and
        /// from debug on what they call info; RUST_LOG, where it is set, decides instead.
        level: Level { env: "OCM_LOG_LEVEL", preset: Preset::Text("info"), reloadable: true, }
        /// text for people, json for collectors: one object on each line.
        format: LogFormat { env: "OCM_LOG_FORMAT", preset: Preset::Text("text"), }
        /// The directory of log files, made if it is absent and then open to this user alone.
        /// Without one, the log goes to standard error.
        directory: Option<PathBuf> { env: "OCM_LOG_DIRECTORY", preset: Preset::Unset, }
        /// When a new file is begun, in UTC: hourly, daily or never. They are called
        /// `ocm.<when>.log`; the only one, `ocm.log`.
        rotate: Rotate { env: "OCM_LOG_ROTATE", preset: Preset::Text("daily"), }
        /// Log files that are kept beside the one that is written; older ones are removed when another
        /// is begun, and with them whatever in the directory begins with ocm and ends with log.
        keep: u32 {
            env: "OCM_LOG_KEEP", preset: Preset::Text("14"), limit: Limit::Range(1, 1000), unit: "files",
        }
    }
}

/// A setting that a reader may expect and that is none here.
pub(crate) struct Absent {
    /// Its section and field in the file.
    pub(crate) section: &'static str,
    pub(crate) field: &'static str,
    /// Its environment variable, where it would have one.
    pub(crate) env: &'static str,
    /// Why there is none and what to do.
    pub(crate) reason: &'static str,
}

/// The settings that are refused with a reason of their own.
pub(crate) static ABSENT: &[Absent] = &[
    Absent {
        section: "database",
        field: "wal_mode",
        env: "OCM_DATABASE_WAL_MODE",
        reason: "is a setting of SQLite: the sled store has no such mode, its log is always on; \
                 remove it",
    },
    Absent {
        section: "database",
        field: "journal_mode",
        env: "OCM_DATABASE_JOURNAL_MODE",
        reason: "is a setting of SQLite: the sled store has none, every acknowledged record is \
                 synced to disk; remove it",
    },
    Absent {
        section: "identity",
        field: "plc_directory_url",
        env: "OCM_PLC_DIRECTORY_URL",
        reason: "is not supported by this version: identities are did:key and need no directory; \
                 remove it",
    },
];

/// Variables that begin with `OCM_` and are no key's.
pub(crate) static OTHER_VARIABLES: &[&str] = &[CONFIG_VARIABLE, PASSPHRASE_FILE_VARIABLE];

/// The variable that names the configuration file.
pub(crate) const CONFIG_VARIABLE: &str = "OCM_CONFIG";

/// The variable that names the file with the passphrase of bundles; only `ocm bundle` reads it.
pub(crate) const PASSPHRASE_FILE_VARIABLE: &str = "OCM_BUNDLE_PASSPHRASE_FILE";
