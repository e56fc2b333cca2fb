//! The environment of a node, which is all that tells it what to be.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Command;

use super::mesh::neighbours;
use super::ports;
use super::state::{Devnet, NodeEntry};

/// Variables of the launcher that its nodes get too; every other one of OCM is kept from them.
const PASSED_ON: &[&str] = &[
    "OCM_DATABASE_CACHE_MIB",
    "OCM_LOG_FORMAT",
    "OCM_LOG_LEVEL",
    "OCM_NETWORK_QUIC",
    "OCM_NETWORK_SYNC_INTERVAL_SECONDS",
    "OCM_NETWORK_TCP",
];

/// What nodes have unless the launcher's environment says otherwise: less memory than a node that
/// is alone on its machine, and comparisons as often as someone who watches would like them.
const PRESETS: &[(&str, &str)] =
    &[("OCM_DATABASE_CACHE_MIB", "16"), ("OCM_NETWORK_SYNC_INTERVAL_SECONDS", "5")];

/// The variables that all nodes of a new devnet share, from the launcher's own.
pub(crate) fn settings(of_launcher: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let presets = PRESETS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let passed_on =
        PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), of_launcher(name)?)));
    presets.chain(passed_on).collect()
}

/// The variables of a node.
pub(crate) fn of_node(devnet: &Devnet, node: &NodeEntry) -> BTreeMap<String, OsString> {
    let hosts = devnet.site.is_some();
    let seeds: Vec<String> = neighbours(node.index, devnet.nodes.len())
        .filter_map(|index| devnet.nodes.get(index))
        .map(|peer| seed(devnet, peer))
        .collect();
    let mut variables: BTreeMap<String, OsString> =
        devnet.settings.iter().map(|(name, value)| (name.clone(), value.into())).collect();
    let mut set = |name: &str, value: OsString| {
        variables.insert(name.to_owned(), value);
    };
    set("OCM_DATA_DIR", node.data_dir.clone().into());
    set("OCM_IDENTITY_HANDLE", node.name().into());
    set("OCM_BIND_ADDRESS", if hosts { "0.0.0.0" } else { "127.0.0.1" }.into());
    set("OCM_NETWORK_PORT", node.port.to_string().into());
    set("OCM_API_LISTEN", node.api.clone().into());
    set("OCM_NETWORK_MDNS", "false".into());
    set("OCM_NETWORK_BEACON", "false".into());
    set("OCM_SEED_PEERS", seeds.join(",").into());
    match devnet.nodes.first().filter(|_| hosts) {
        Some(first) if first.index == node.index => set("OCM_NETWORK_RELAY", "true".into()),
        Some(first) => set("OCM_NETWORK_RELAYS", seed(devnet, first).into()),
        None => {}
    }
    if let Some(ports) = ports::of_node(devnet.base_port, node.index) {
        set("OCM_DISCOVERY_PORT", ports.discovery.to_string().into());
    }
    if let Some(shared) = &devnet.spaces.shared {
        set("OCM_SPACE_DEFAULT", shared.into());
    }
    variables
}

/// Where a node is found, as it stands among the seed peers of others.
pub(crate) fn seed(devnet: &Devnet, peer: &NodeEntry) -> String {
    match devnet.site {
        Some(_) => format!("{}:{}", peer.name(), peer.port),
        None => format!("127.0.0.1:{}", peer.port),
    }
}

/// Gives a command the environment of a node: what this process has, but nothing of OCM's and
/// nothing of a service manager's, and then the node's own.
pub(crate) fn apply(command: &mut Command, variables: &BTreeMap<String, OsString>) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OCM_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NOTIFY_SOCKET").envs(variables);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn devnet(nodes: usize) -> Devnet {
        let settings = settings(|name| (name == "OCM_LOG_LEVEL").then(|| "debug".into()));
        Devnet::plan(Path::new("/net"), "/bin/ocm".into(), nodes, 17_000, settings).unwrap()
    }

    #[test]
    fn a_node_is_told_everything_by_its_environment() {
        let mut devnet = devnet(3);
        let of = |devnet: &Devnet| of_node(devnet, devnet.node(1).unwrap());
        assert!(!of(&devnet).contains_key("OCM_SPACE_DEFAULT"));
        devnet.spaces.shared = Some("v123".into());
        let expected = [
            ("OCM_API_LISTEN", "127.0.0.1:17004"),
            ("OCM_BIND_ADDRESS", "127.0.0.1"),
            ("OCM_DATABASE_CACHE_MIB", "16"),
            ("OCM_DATA_DIR", "/net/node-1"),
            ("OCM_DISCOVERY_PORT", "17005"),
            ("OCM_IDENTITY_HANDLE", "node-1"),
            ("OCM_LOG_LEVEL", "debug"),
            ("OCM_NETWORK_BEACON", "false"),
            ("OCM_NETWORK_MDNS", "false"),
            ("OCM_NETWORK_PORT", "17003"),
            ("OCM_NETWORK_SYNC_INTERVAL_SECONDS", "5"),
            ("OCM_SEED_PEERS", "127.0.0.1:17000,127.0.0.1:17006"),
            ("OCM_SPACE_DEFAULT", "v123"),
        ];
        let expected: BTreeMap<String, OsString> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        assert_eq!(of(&devnet), expected);
    }

    #[test]
    fn nodes_that_are_hosts_go_by_name_and_meet_at_the_first() {
        let mut devnet = devnet(3);
        devnet.site = Some("ocm-devnet-1-2".into());
        let of = |index| of_node(&devnet, devnet.node(index).unwrap());
        assert_eq!(of(1)["OCM_SEED_PEERS"], "node-0:17000,node-2:17006");
        assert_eq!(of(1)["OCM_BIND_ADDRESS"], "0.0.0.0");
        assert_eq!(of(1)["OCM_NETWORK_RELAYS"], "node-0:17000");
        assert!(of(0).get("OCM_NETWORK_RELAY").is_some_and(|relay| relay == "true"));
        assert!(
            !of(0).contains_key("OCM_NETWORK_RELAYS") && !of(1).contains_key("OCM_NETWORK_RELAY")
        );
        // Nobody reaches their API from elsewhere.
        assert_eq!(of(1)["OCM_API_LISTEN"], "127.0.0.1:17004");
    }

    #[test]
    fn only_some_variables_of_the_launcher_reach_its_nodes() {
        let all = settings(|name| Some(format!("<{name}>")));
        assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), PASSED_ON);
        assert_eq!(all["OCM_DATABASE_CACHE_MIB"], "<OCM_DATABASE_CACHE_MIB>");
        assert_eq!(settings(|_| None).len(), PRESETS.len());
    }

    #[test]
    fn the_configuration_knows_every_variable_and_accepts_its_value() {
        let devnet = devnet(10);
        let variables = of_node(&devnet, devnet.node(9).unwrap());
        let environment: crate::config::Environment = variables
            .iter()
            .map(|(name, value)| (name.clone(), value.to_str().unwrap().to_owned()))
            .collect();
        let flags = crate::config::Overrides::new();
        let config = crate::config::Config::load(&flags, &environment).unwrap().config;
        assert_eq!(config.api.listen.to_string(), "127.0.0.1:17028");
        assert_eq!((config.network.port, config.network.seed_peers.len()), (17_027, 9));
        assert!(!config.network.mdns && !config.network.beacon);
    }
}
