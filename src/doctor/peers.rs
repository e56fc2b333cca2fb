//! Whether the node has peers, and how it looks for them.

use super::{Answered, Finding, RunningNode};
use crate::config::Config;

/// Whether there are peers, and how each source of them does.
pub(super) fn check(config: &Config, answered: &Answered) -> Vec<Finding> {
    if !config.network.enable_network_calls {
        return vec![Finding::warning(
            "peers",
            "the network is switched off",
            "set network.enable_network_calls (OCM_ENABLE_NETWORK_CALLS) to true",
        )];
    }
    let node = match answered {
        Answered::Node(node) => node,
        Answered::Nobody => {
            return vec![Finding::warning(
                "peers",
                "the node is not running",
                "start it: `ocm node`",
            )];
        }
        // It is not known whether the node runs.
        Answered::Stranger { .. } | Answered::Unclear { .. } => return Vec::new(),
    };
    let mut findings = vec![check_connected(node)];
    findings.extend(node.sources.iter().map(|(name, state, detail)| {
        let check = "discovery";
        match state.as_str() {
            "off" => Finding::ok(check, format!("{name}: off, {detail}")),
            "troubled" => Finding::warning(check, format!("{name}: {detail}"), remedy(name)),
            "failed" => Finding::fault(check, format!("{name}: {detail}"), remedy(name)),
            _ => Finding::ok(check, format!("{name}: {detail}")),
        }
    }));
    findings
}

fn check_connected(node: &RunningNode) -> Finding {
    if node.peers > 0 {
        return Finding::ok("peers", format!("{} connected", node.peers));
    }
    Finding::warning(
        "peers",
        "isolated: no peer is connected",
        "give an address with `ocm peer connect ADDRESS`, or set network.seed_peers \
         (OCM_SEED_PEERS)",
    )
}

/// What to do about a source of peers that is not well.
fn remedy(source: &str) -> &'static str {
    match source {
        "mdns" => {
            "find out which host it is; or switch it off: network.mdns (OCM_NETWORK_MDNS) = false"
        }
        "beacon" => {
            "find out which host it is, or set network.discovery_port (OCM_DISCOVERY_PORT); or \
             switch it off: network.beacon (OCM_NETWORK_BEACON) = false"
        }
        "bootstrap" => {
            "correct network.seed_peers (OCM_SEED_PEERS), or `ocm peer forget ADDRESS` for one that \
             was given by `ocm peer connect`; they are tried again all the time"
        }
        "lookup" => {
            "give the address of a node that answers lookups, with network.lookup = server, in \
             network.seed_peers (OCM_SEED_PEERS) or by `ocm peer connect ADDRESS`; or switch it \
             off: network.lookup (OCM_NETWORK_LOOKUP) = off"
        }
        "key" => {
            "stop one of the two nodes; in the data directory of the copy, remove keys/peer.key \
             before it starts again"
        }
        "reachability" => {
            "nothing, where all peers are near; else have the router forward a port (network.upnp, \
             OCM_ENABLE_UPNP; or by hand, with network.external_addresses), or name relays: \
             network.relays (OCM_NETWORK_RELAYS)"
        }
        "upnp" => {
            "switch UPnP on in the router; or forward the port there by hand and name the outer \
             address in network.external_addresses (OCM_NETWORK_EXTERNAL_ADDRESSES); or be reached \
             through a relay: network.relays (OCM_NETWORK_RELAYS)"
        }
        _ => "see the log of the node",
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::tests::{found, healthy};
    use super::*;

    fn running(node: RunningNode) -> Answered {
        Answered::Node(Box::new(node))
    }

    #[test]
    fn isolation_and_failing_sources_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let config = healthy(dir.path());
        let source = |state: &str| ("beacon".into(), state.into(), "port 8081 is taken".into());
        let none = RunningNode::default();
        let alone = RunningNode { sources: vec![source("failed")], ..none.clone() };
        let findings = check(&config, &running(alone));
        found(&findings, "peers", State::Warning, "isolated");
        found(&findings, "discovery", State::Fault, "beacon: port 8081 is taken");
        let joined = RunningNode { peers: 2, sources: vec![source("ok")], ..none };
        let findings = check(&config, &running(joined.clone()));
        found(&findings, "peers", State::Ok, "2 connected");
        found(&findings, "discovery", State::Ok, "beacon");
        let flooded = RunningNode { sources: vec![source("troubled"), source("off")], ..joined };
        let findings = check(&config, &running(flooded));
        found(&findings, "discovery", State::Warning, "beacon: port 8081");
        found(&findings, "discovery", State::Ok, "beacon: off, ");
    }
}
