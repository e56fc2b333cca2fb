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
    let mut findings = vec![check_connected(config, node)];
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

/// Who is connected, and who is kept out.
fn check_connected(config: &Config, node: &RunningNode) -> Finding {
    let connected = match node.peers {
        0 => "isolated: no peer is connected".to_owned(),
        peers => format!("{peers} connected"),
    };
    let (mut found, mut remedies) = (vec![connected], Vec::new());
    if node.blocked > 0 {
        found.push(match node.blocked {
            1 => "1 peer is blocked".to_owned(),
            blocked => format!("{blocked} peers are blocked"),
        });
        remedies.push("let in who was blocked: `ocm peer unblock ID` (`ocm status` names them)");
    }
    if let Some(key) = &node.network_key {
        found.push(format!("network.key is set ({key}): only who has it is spoken to"));
        remedies
            .push("compare the network key's fingerprint with that of the others (`ocm status`)");
    }
    if !config.network.allow.is_empty() {
        let listed = config.network.allow.len();
        found.push(format!("network.allow is set: only the {listed} it names are spoken to"));
        remedies.push("name in network.allow (OCM_NETWORK_ALLOW) who is to be spoken to");
    }
    let found = found.join("; ");
    if node.peers > 0 {
        return Finding::ok("peers", found);
    }
    remedies.push(
        "give an address with `ocm peer connect ADDRESS`, or set network.seed_peers \
         (OCM_SEED_PEERS)",
    );
    Finding::warning("peers", found, remedies.join("; "))
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
        "relaying" => {
            "run it on a host with a public address; behind a load balancer or a forwarded port, name \
             the outer address in network.external_addresses (OCM_NETWORK_EXTERNAL_ADDRESSES); where \
             every place is taken, run another relay"
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
    use crate::config::PeerName;

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

    #[test]
    fn who_is_kept_out_is_told_with_isolation() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = healthy(dir.path());
        let of = |config: &Config, peers, blocked, key: Option<&str>| {
            let network_key = key.map(str::to_owned);
            let node = RunningNode { peers, blocked, network_key, ..RunningNode::default() };
            check(config, &running(node)).remove(0)
        };
        let plain = of(&config, 0, 0, None);
        assert_eq!(plain.text, "isolated: no peer is connected");
        assert!(plain.remedy.unwrap().starts_with("give an address"));
        let blocked = of(&config, 0, 1, None);
        assert_eq!(blocked.text, "isolated: no peer is connected; 1 peer is blocked");
        assert!(blocked.remedy.unwrap().contains("`ocm peer unblock ID`"));
        assert_eq!(of(&config, 3, 2, None).text, "3 connected; 2 peers are blocked");
        let private = of(&config, 0, 0, Some("c2f1"));
        found(
            std::slice::from_ref(&private),
            "peers",
            State::Warning,
            "network.key is set (c2f1): only who",
        );
        assert!(private.remedy.unwrap().contains("fingerprint"));
        found(&[of(&config, 1, 0, Some("c2f1"))], "peers", State::Ok, "(c2f1)");
        let did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
        config.network.allow = vec![PeerName::Did(did.parse().unwrap())];
        let listed = of(&config, 0, 0, None);
        assert!(listed.text.ends_with("network.allow is set: only the 1 it names are spoken to"));
        assert!(listed.remedy.unwrap().contains("network.allow (OCM_NETWORK_ALLOW)"));
    }
}
