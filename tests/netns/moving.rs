//! A host that moves to another network.

use crate::lan::{BEACON_ALONE, MDNS_ALONE};
use crate::node::{Node, exchange, host, site, until_joined};

/// A laptop leaves one network for another, where it has another address, and comes back.
fn move_about(test: &str, settings: &[(&str, &str)]) {
    let Some(site) = site(test) else { return };
    let (home, work) = (site.lan().unwrap(), site.lan().unwrap());
    let laptop = host(&site, "laptop", &home, &["10.1.0.9/24"]);
    let at_home = Node::start(&host(&site, "home", &home, &["10.1.0.2/24"]), settings);
    let at_work = Node::start(&host(&site, "work", &work, &["10.2.0.2/24"]), settings);
    let node = Node::start(&laptop, settings);
    until_joined(&[&node, &at_home]);
    let go = |lan, address| {
        let mut laptop = laptop.lock().unwrap();
        laptop.unplug("eth0").unwrap();
        laptop.plug("eth0", lan, &[address]).unwrap();
    };
    go(&work, "10.2.0.9/24");
    until_joined(&[&node, &at_work]);
    exchange(&[&node, &at_work]);
    // Those it left see that it is gone, and find it again at another address.
    at_home.until_peers(&[]);
    go(&home, "10.1.0.77/24");
    until_joined(&[&node, &at_home]);
    exchange(&[&node, &at_home]);
}

#[test]
fn a_host_that_moves_is_found_again_by_mdns() {
    move_about("moving, mDNS", &MDNS_ALONE);
}

#[test]
fn a_host_that_moves_is_found_again_by_the_beacon() {
    move_about("moving, beacon", &BEACON_ALONE);
}
