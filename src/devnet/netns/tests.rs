//! Hosts that are made and removed. They need root, and say so elsewhere.

use std::io::Write as _;
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::*;

/// Whether these tests can run; as root they must.
fn possible() -> bool {
    match can_run() {
        Ok(()) => true,
        Err(error @ NetnsError::NotRoot) => {
            // Straight to the stream: the test runner keeps to itself what `eprintln!` says.
            let _ = writeln!(std::io::stderr(), "skipped: hosts in namespaces: {error}");
            false
        }
        Err(error) => panic!("as root, hosts in namespaces must be possible: {error}"),
    }
}

/// A socket of a host. A program that another test begins to run holds what was open here for a
/// moment, also after it was closed.
fn bound(host: &Host, port: u16) -> UdpSocket {
    let bind = || UdpSocket::bind(("0.0.0.0", port));
    let socket = (0..100).find_map(|_| match host.within(bind).unwrap() {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            std::thread::sleep(Duration::from_millis(10));
            None
        }
        other => Some(other.unwrap()),
    });
    let socket = socket.expect("the port is never free");
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket
}

/// Datagrams from one host to an address, of which another hears one in so many tries, a tenth of a
/// second each.
fn is_heard(from: &Host, to: &str, at: &Host, tries: usize) -> bool {
    let (sender, receiver) = (bound(from, 9), bound(at, 9));
    (0..tries).any(|_| {
        // A route or a card that is not there is an error, or not, as the system likes.
        let _ = sender.send_to(b"hello", to);
        receiver.recv(&mut [0; 8]).is_ok()
    })
}

/// Whether one host is heard by another, on a machine that may have much else to do.
fn reaches(from: &Host, to: &str, at: &Host) -> bool {
    is_heard(from, to, at, 100)
}

/// Whether it is not.
fn misses(from: &Host, to: &str, at: &Host) -> bool {
    !is_heard(from, to, at, 3)
}

#[test]
fn hosts_of_one_lan_hear_each_other_and_no_other_until_a_cable_is_pulled() {
    if !possible() {
        return;
    }
    let site = Site::new().unwrap();
    let (one, two) = (site.lan().unwrap(), site.lan().unwrap());
    let mut hosts: Vec<Host> = ["a", "b", "c"].map(|label| site.host(label).unwrap()).into();
    hosts[0].plug("eth0", &one, &["10.1.0.1/24"]).unwrap();
    hosts[1].plug("eth0", &one, &["10.1.0.2/24"]).unwrap();
    hosts[2].plug("eth0", &two, &["10.1.0.3/24"]).unwrap();
    assert!(reaches(&hosts[0], "10.1.0.255:9", &hosts[1]));
    assert!(misses(&hosts[0], "10.1.0.255:9", &hosts[2]));
    hosts[1].set_link("eth0", false).unwrap();
    assert!(misses(&hosts[0], "10.1.0.255:9", &hosts[1]));
    hosts[1].set_link("eth0", true).unwrap();
    assert!(reaches(&hosts[0], "10.1.0.2:9", &hosts[1]));
    hosts[1].set_addresses("eth0", &["10.1.0.7/24"]).unwrap();
    assert!(misses(&hosts[0], "10.1.0.2:9", &hosts[1]));
    assert!(reaches(&hosts[0], "10.1.0.7:9", &hosts[1]));
    hosts[2].unplug("eth0").unwrap();
    hosts[2].plug("eth0", &one, &["10.1.0.3/24"]).unwrap();
    assert!(reaches(&hosts[0], "10.1.0.3:9", &hosts[2]), "it moved");
    let error = hosts[2].set_link("eth1", true).unwrap_err().to_string();
    assert!(error.contains("eth1"), "{error}");
}

#[test]
fn a_router_joins_two_lans() {
    if !possible() {
        return;
    }
    let site = Site::new().unwrap();
    let (one, two) = (site.lan().unwrap(), site.lan().unwrap());
    let [mut a, mut b, mut router] = ["a", "b", "router"].map(|label| site.host(label).unwrap());
    a.plug("eth0", &one, &["10.1.0.2/24"]).unwrap();
    b.plug("eth0", &two, &["10.2.0.2/24"]).unwrap();
    router.plug("eth0", &one, &["10.1.0.1/24"]).unwrap();
    router.plug("eth1", &two, &["10.2.0.1/24"]).unwrap();
    a.route("default", [10, 1, 0, 1].into()).unwrap();
    b.route("default", [10, 2, 0, 1].into()).unwrap();
    assert!(misses(&a, "10.2.0.2:9", &b));
    router.forward().unwrap();
    assert!(reaches(&a, "10.2.0.2:9", &b));
}

#[test]
fn nothing_is_left_of_what_was_dropped_or_whose_process_is_gone() {
    if !possible() {
        return;
    }
    let site = Site::new().unwrap();
    let host = site.host("a").unwrap();
    let mut process = host.command("sleep").arg("1000").spawn().unwrap();
    // What is still on its way there is not found.
    let place = |path: &Path| std::fs::metadata(path).map(|at| at.ino()).ok();
    let there = place(&Path::new("/run/netns").join(host.name()));
    while place(Path::new(&format!("/proc/{}/ns/net", process.id()))) != there {
        std::thread::yield_now();
    }
    host.write_etc("hosts", "10.1.0.1 a\n").unwrap();
    let places = [Path::new("/run/netns"), Path::new("/etc/netns")].map(|p| p.join(host.name()));
    assert!(places.iter().all(|place| place.exists()));
    drop(host);
    assert!(places.iter().all(|place| !place.exists()));
    assert!(!process.wait().unwrap().success(), "what ran there was killed");

    // No process of this id started at that time.
    let dead = format!("ocm-{}-1-0-dead", std::process::id());
    command::run("ip", &["netns", "add", &dead]).unwrap();
    let _again = Site::new().unwrap();
    assert!(!Path::new("/run/netns").join(&dead).exists());
}

#[test]
fn an_error_names_the_command_and_what_it_said() {
    if !possible() {
        return;
    }
    let site = Site::new().unwrap();
    let lan = site.lan().unwrap();
    let error = site.host("a").unwrap().plug("eth0", &lan, &["nonsense/24"]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("address add nonsense/24") && text.contains("Error"), "{text}");
}

/// The address that a datagram comes from where it is heard; `None` if it is not.
fn seen_from(from: &Host, port: u16, to: &str, at: &Host) -> Option<std::net::SocketAddr> {
    let (sender, receiver) = (bound(from, port), bound(at, 9));
    (0..100).find_map(|_| {
        // A route that is not there yet is an error, or not, as the system likes.
        let _ = sender.send_to(b"hello", to);
        receiver.recv_from(&mut [0; 8]).ok().map(|(_, from)| from)
    })
}

#[test]
fn a_host_behind_a_nat_is_seen_at_the_router_and_is_not_reached_from_outside() {
    if !possible() {
        return;
    }
    for nat in [Nat::Cone, Nat::Symmetric] {
        let site = Site::new().unwrap();
        let (wan, home) = (site.lan().unwrap(), site.lan().unwrap());
        let mut hosts: Vec<Host> =
            ["inside", "router", "near", "far"].map(|label| site.host(label).unwrap()).into();
        hosts[0].plug("eth0", &home, &["10.1.0.2/24"]).unwrap();
        hosts[1].plug("eth0", &wan, &["203.0.113.11/24"]).unwrap();
        hosts[1].plug("eth1", &home, &["10.1.0.1/24"]).unwrap();
        hosts[2].plug("eth0", &wan, &["203.0.113.1/24"]).unwrap();
        hosts[3].plug("eth0", &wan, &["203.0.113.2/24"]).unwrap();
        hosts[0].route("default", [10, 1, 0, 1].into()).unwrap();
        hosts[1].nat("eth0", nat).unwrap();
        let near = seen_from(&hosts[0], 4000, "203.0.113.1:9", &hosts[2]).unwrap();
        let far = seen_from(&hosts[0], 4000, "203.0.113.2:9", &hosts[3]).unwrap();
        assert_eq!([near.ip(), far.ip()], [[203, 0, 113, 11]; 2].map(std::net::IpAddr::from));
        match nat {
            Nat::Cone => assert_eq!([near.port(), far.port()], [4000; 2]),
            Nat::Symmetric => assert_ne!(near.port(), far.port()),
        }
        // Not even with a route.
        hosts[2].route("10.1.0.0/24", [203, 0, 113, 11].into()).unwrap();
        assert!(misses(&hosts[2], "10.1.0.2:9", &hosts[0]));
    }
}

/// Datagrams of a kilobyte that a socket keeps until they are read.
const SENT: usize = 60;

/// How many of so many datagrams of a kilobyte arrive that are sent at once.
fn arrive(from: &Host, to: &str, at: &Host, sent: usize) -> usize {
    let (sender, receiver) = (bound(from, 9), bound(at, 9));
    for _ in 0..sent {
        sender.send_to(&[0; 1000], to).unwrap();
    }
    (0..sent).take_while(|_| receiver.recv(&mut [0; 1000]).is_ok()).count()
}

#[test]
fn a_link_loses_what_it_is_to_and_lets_through_what_it_may() {
    if !possible() {
        return;
    }
    let site = Site::new().unwrap();
    let lan = site.lan().unwrap();
    let [mut a, mut b] = ["a", "b"].map(|label| site.host(label).unwrap());
    a.plug("eth0", &lan, &["10.1.0.1/24"]).unwrap();
    b.plug("eth0", &lan, &["10.1.0.2/24"]).unwrap();
    assert!(reaches(&a, "10.1.0.2:9", &b));
    assert_eq!(arrive(&a, "10.1.0.2:9", &b, SENT), SENT);
    // Each of 60 is lost by one chance of two: fewer than 8 or more than 52 arrive once in 10^9.
    site.set_losses(&[(&a, "eth0", 50)]).unwrap();
    for (from, to, at) in [(&a, "10.1.0.2:9", &b), (&b, "10.1.0.1:9", &a)] {
        let arrived = arrive(from, to, at, SENT);
        assert!((8..=52).contains(&arrived), "{arrived}");
    }
    site.set_losses(&[(&a, "eth0", 100)]).unwrap();
    assert_eq!(arrive(&a, "10.1.0.2:9", &b, 20), 0);
    site.set_losses(&[]).unwrap();
    assert_eq!(arrive(&a, "10.1.0.2:9", &b, SENT), SENT);
    // 32 kB go through at once, and what would wait for longer than 100 ms is lost.
    a.set_rate("eth0", Some(64_000)).unwrap();
    for (from, to, at) in [(&a, "10.1.0.2:9", &b), (&b, "10.1.0.1:9", &a)] {
        let arrived = arrive(from, to, at, SENT);
        assert!((20..=50).contains(&arrived), "{arrived}");
    }
    a.set_rate("eth0", None).unwrap();
    assert_eq!(arrive(&a, "10.1.0.2:9", &b, SENT), SENT);
}

/// Removes the lasting site of a name, whatever became of the test.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

#[test]
fn a_lasting_site_is_found_again_until_it_is_removed() {
    if !possible() {
        return;
    }
    let name = format!("ocm-devnet-{}-test", this_process());
    let _end = Removed(name.clone());
    for was in [false, true] {
        let site = Site::lasting(&name).unwrap();
        let lan = site.lan_called("lan-0").unwrap();
        for (label, address) in [("a", "10.1.0.1/24"), ("b", "10.1.0.2/24")] {
            let (mut host, there) = site.lasting_host(label).unwrap();
            assert_eq!(there, was);
            if !there {
                host.plug("eth0", &lan, &[address]).unwrap();
            }
        }
    }
    let site = Site::lasting(&name).unwrap();
    let [a, b] = ["a", "b"].map(|label| site.lasting_host(label).unwrap().0);
    assert!(reaches(&a, "10.1.0.2:9", &b));
    b.set_lan("eth0", &site.lan_called("lan-1").unwrap()).unwrap();
    assert!(misses(&a, "10.1.0.2:9", &b), "its cable is in another network");
    assert_eq!(within(a.name(), || bound_here(7)).unwrap(), Ok(()));
    // Nobody else removes it, although it is no process's.
    drop((a, b, site));
    assert!(sweep().unwrap().iter().all(|removed| !removed.starts_with(&name)));
    assert_eq!(sites(&name).unwrap(), [], "nobody says whose it is");
    write_etc(&format!("{name}-owner"), "whose", "ours").unwrap();
    assert_eq!(read_etc(&format!("{name}-owner"), "whose").as_deref(), Some("ours"));
    assert!(sites(&name).unwrap().iter().any(|(found, busy)| *found == name && !busy));
    remove(&name).unwrap();
    assert_eq!(sites(&name).unwrap(), []);
}

fn bound_here(port: u16) -> Result<(), String> {
    UdpSocket::bind(("10.1.0.1", port)).map(drop).map_err(|e| e.to_string())
}
