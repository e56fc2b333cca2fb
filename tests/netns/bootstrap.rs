//! A name in place of an address.

use std::time::{Duration, Instant};

use crate::node::{Node, exchange, host, site, until_joined};

const QUIET: [(&str, &str); 3] = [
    ("OCM_NETWORK_BEACON", "false"),
    ("OCM_NETWORK_MDNS", "false"),
    ("OCM_NETWORK_REMEMBER", "false"),
];

#[test]
fn a_name_whose_address_changes_is_found_again_within_a_minute() {
    let Some(site) = site("a bootstrap name") else { return };
    let lan = site.lan().unwrap();
    let seed_host = host(&site, "seed", &lan, &["10.1.0.2/24"]);
    let looking = host(&site, "looking", &lan, &["10.1.0.1/24"]);
    let names = |address: &str| {
        let text = format!("127.0.0.1 localhost\n{address} seed.example\n");
        looking.lock().unwrap().write_etc("hosts", &text).unwrap();
    };
    names("10.1.0.2");
    let mut seed = Node::start(&seed_host, &QUIET);
    let name = [("OCM_SEED_PEERS", "seed.example:8080")];
    let node = Node::start(&looking, &[&QUIET[..], &name].concat());
    until_joined(&[&node, &seed]);
    assert_eq!(node.peers()[&seed.peer], "bootstrap");
    // It vanishes without a word, and comes back elsewhere.
    seed_host.lock().unwrap().set_link("eth0", false).unwrap();
    seed.kill();
    seed_host.lock().unwrap().set_addresses("eth0", &["10.1.0.77/24"]).unwrap();
    seed_host.lock().unwrap().set_link("eth0", true).unwrap();
    seed.spawn();
    names("10.1.0.77");
    let changed = Instant::now();
    seed.until("is found at its new address", |seed| seed.peers().get(&node.peer).map(drop));
    let took = changed.elapsed();
    assert!(took < Duration::from_secs(60), "it took {took:?}");
    until_joined(&[&node, &seed]);
    exchange(&[&node, &seed]);
}

#[test]
fn a_name_that_does_not_resolve_is_named_by_doctor() {
    let Some(site) = site("a bootstrap name that is none") else { return };
    let lan = site.lan().unwrap();
    let seeds = [("OCM_SEED_PEERS", "nowhere.invalid:8080,10.1.0.2:8080")];
    let settings = [&QUIET[..], &seeds].concat();
    let node = Node::start(&host(&site, "a", &lan, &["10.1.0.1/24"]), &settings);
    node.until("says that neither answers", |node| {
        let (state, text) = node.doctor()["bootstrap"].clone();
        let named =
            text.contains("cannot resolve nowhere.invalid") && text.contains("10.1.0.2:8080: ");
        (state == "fault" && named).then_some(())
    });
    let seed = Node::start(&host(&site, "b", &lan, &["10.1.0.2/24"]), &QUIET);
    until_joined(&[&node, &seed]);
    node.until("says that one answers", |node| {
        let (state, text) = node.doctor()["bootstrap"].clone();
        (state == "warning" && text.starts_with("1 of 2") && text.contains("nowhere.invalid"))
            .then_some(())
    });
}
