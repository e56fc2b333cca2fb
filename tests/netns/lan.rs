//! Hosts that find each other without any address given, and hosts that do not look.

use crate::node::{Node, exchange, host, site, until_joined};

pub(crate) const MDNS_ALONE: [(&str, &str); 1] = [("OCM_NETWORK_BEACON", "false")];
pub(crate) const BEACON_ALONE: [(&str, &str); 1] = [("OCM_NETWORK_MDNS", "false")];
const NEITHER: [(&str, &str); 2] = [("OCM_NETWORK_BEACON", "false"), ("OCM_NETWORK_MDNS", "false")];

/// Three nodes on one bridge find each other by one source alone, and exchange a memory.
fn find_each_other(test: &str, source: &str, settings: &[(&str, &str)]) {
    let Some(site) = site(test) else { return };
    let lan = site.lan().unwrap();
    let nodes = ["a", "b", "c"].map(|label| {
        let address = format!("10.1.0.{}/24", label.as_bytes()[0]);
        Node::start(&host(&site, label, &lan, &[&address]), settings)
    });
    let nodes: Vec<&Node> = nodes.iter().collect();
    until_joined(&nodes);
    let sources: Vec<String> = nodes.iter().flat_map(|node| node.peers().into_values()).collect();
    assert!(sources.iter().any(|by| by == source), "{sources:?}");
    assert!(sources.iter().all(|by| by == source || by == "incoming"), "{sources:?}");
    exchange(&nodes);
}

#[test]
fn three_hosts_find_each_other_by_mdns_alone() {
    find_each_other("by mDNS alone", "mdns", &MDNS_ALONE);
}

#[test]
fn three_hosts_find_each_other_by_the_beacon_alone() {
    find_each_other("by the beacon alone", "beacon", &BEACON_ALONE);
}

#[test]
fn without_both_hosts_stay_isolated_and_say_so() {
    let Some(site) = site("isolation") else { return };
    let lan = site.lan().unwrap();
    let start = |label, address, settings: &[_]| {
        Node::start(&host(&site, label, &lan, &[address]), settings)
    };
    let silent = [start("a", "10.1.0.1/24", &NEITHER), start("b", "10.1.0.2/24", &NEITHER)];
    for node in &silent {
        node.assert_isolated();
    }
    // Others that came later find each other and hear of nobody else, in all that time.
    let others = [start("c", "10.1.0.3/24", &[]), start("d", "10.1.0.4/24", &[])];
    until_joined(&[&others[0], &others[1]]);
    for node in &silent {
        node.assert_isolated();
        let found = node.doctor();
        for source in ["mdns", "beacon", "bootstrap"] {
            assert!(found[source].1.starts_with("off"), "{found:?}");
        }
        let answer = node.cli(&["doctor"]);
        let items = answer["items"].as_array().unwrap();
        let alone = items.iter().find(|item| item["check"] == "peers").unwrap();
        assert_eq!(alone["state"], "warning", "{alone}");
        assert!(alone["text"].as_str().unwrap().contains("isolated"), "{alone}");
    }
    for node in &others {
        assert_eq!(node.get("/ready")["isolated"], false);
        assert_eq!(node.metric("ocm_isolated"), 0.0);
    }
}

#[test]
fn a_beacon_to_a_configured_host_passes_a_router() {
    let Some(site) = site("beacons to configured hosts") else { return };
    let (one, two) = (site.lan().unwrap(), site.lan().unwrap());
    let (near, far) =
        (host(&site, "near", &one, &["10.1.0.2/24"]), host(&site, "far", &two, &["10.2.0.2/24"]));
    let router = host(&site, "router", &one, &["10.1.0.1/24"]);
    router.lock().unwrap().plug("eth1", &two, &["10.2.0.1/24"]).unwrap();
    router.lock().unwrap().forward().unwrap();
    near.lock().unwrap().route("default", [10, 1, 0, 1].into()).unwrap();
    far.lock().unwrap().route("default", [10, 2, 0, 1].into()).unwrap();
    near.lock().unwrap().write_etc("hosts", "10.2.0.2 far.example\n").unwrap();
    let alone = Node::start(&host(&site, "alone", &two, &["10.2.0.3/24"]), &MDNS_ALONE);
    // What is sent to one host reaches one node there: another one has a port of its own.
    let own_ports = [
        ("OCM_NETWORK_PORT", "9080"),
        ("OCM_DISCOVERY_PORT", "9081"),
        ("OCM_API_LISTEN", "127.0.0.1:9845"),
    ];
    let second = Node::start(&far, &[&BEACON_ALONE[..], &own_ports].concat());
    let far = Node::start(&far, &BEACON_ALONE);
    let names = [("OCM_NETWORK_BEACON_HOSTS", "far.example,far.example:9081"), BEACON_ALONE[0]];
    let near = Node::start(&near, &names);
    near.until_peers(&[&far, &second]);
    for node in [&far, &second] {
        assert_eq!(node.peers()[&near.peer], "beacon");
    }
    exchange(&[&far, &near, &second]);
    alone.assert_isolated();
}
