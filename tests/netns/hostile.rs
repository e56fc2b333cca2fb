//! Those who make things up on the link.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ocm_discovery::{Beacon, PeerId};
use ocm_record::{Boot, SigningKey};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::lan::{BEACON_ALONE, MDNS_ALONE};
use crate::node::{Node, exchange, host, site, until_joined};

/// How many peers are made up.
const CROWD: u16 = 10_000;

fn made_up(n: u16) -> SigningKey {
    let mut seed = [66; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_seed(&seed)
}

/// A beacon in the name of a key.
fn beacon(key: &SigningKey, tcp: u16) -> Vec<u8> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let time = u64::try_from(time).unwrap();
    let (peer, boot) = (PeerId::new(key.public()), Boot::from_bytes([6; 16]));
    Beacon { peer, boot, tcp, udp: 0, time }.sign(key).unwrap()
}

/// An answer of multicast DNS that names a peer at an address, for a lifetime of a century.
fn century(key: &SigningKey, address: &str) -> Vec<u8> {
    const CENTURY: u32 = 100 * 365 * 24 * 3600;
    let (peer, service) = (PeerId::new(key.public()).to_string(), "_p2p._udp.local");
    let name = |text: &str| -> Vec<u8> {
        let labels = text
            .split('.')
            .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
        labels.chain([0]).collect()
    };
    let own = name(&format!("{}.{service}", &peer[peer.len() - 40..]));
    let text = format!("dnsaddr={address}/p2p/{peer}");
    let text = [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let record = |of: &[u8], kind: u8, data: &[u8]| {
        let size = u16::try_from(data.len()).unwrap().to_be_bytes();
        [of, &[0, kind, 0, 1], &CENTURY.to_be_bytes(), &size, data].concat()
    };
    // An answer: no question, one pointer, one text beside it.
    let header = [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    [&header[..], &record(&name(service), 12, &own), &record(&own, 16, &text)].concat()
}

/// What sends a datagram, and is told how many were sent before.
type Sender = Box<dyn FnMut(usize, &[u8])>;

/// From the one address of the flooder.
fn by_one(to: SocketAddr) -> impl FnOnce() -> Sender + Send {
    move || {
        // Bound to its card, it needs no route to a group.
        let socket = UdpSocket::bind("10.1.0.66:0").unwrap();
        socket.set_broadcast(true).unwrap();
        Box::new(move |_, datagram| {
            // A full queue is what a flood is made of.
            let _ = socket.send_to(datagram, to);
        })
    }
}

/// From an address that is made up, each in a network of its own.
fn by_ever_others(to: [SocketAddr; 2]) -> impl FnOnce() -> Sender + Send {
    move || {
        Box::new(move |n, datagram| {
            let made_up = Ipv6Addr::from((0xfd00_0066_u128 << 96) | ((n as u128) << 64) | 1);
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
            socket.set_freebind_v6(true).unwrap();
            socket.bind(&SocketAddr::from((made_up, 0)).into()).unwrap();
            // As above.
            let _ = socket.send_to(datagram, &to[n % to.len()].into());
        })
    }
}

/// Sends datagrams from a host over and over while something is done.
fn while_flooding<T>(
    from: &ocm::devnet::netns::Host,
    open: impl FnOnce() -> Sender + Send,
    datagrams: &[Vec<u8>],
    work: impl FnOnce() -> T,
) -> T {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = Stop(&ended);
        scope.spawn(|| {
            from.within(|| {
                let mut send = open();
                for (n, datagram) in datagrams.iter().cycle().enumerate() {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    send(n, datagram);
                    // Some five thousand a second: what a small host can do, and no more than this
                    // machine does beside all else.
                    if n % 50 == 0 {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            })
            .unwrap();
        });
        let done = work();
        drop(stop);
        done
    })
}

#[test]
fn ten_thousand_made_up_beacons_keep_nobody_from_being_found() {
    let Some(site) = site("a flood of beacons") else { return };
    let lan = site.lan().unwrap();
    let mut flooder = site.host("flooder").unwrap();
    flooder.plug("eth0", &lan, &["10.1.0.66/24"]).unwrap();
    let crowd: Vec<Vec<u8>> = (0..CROWD).map(|n| beacon(&made_up(n), 1)).collect();
    let to = (Ipv4Addr::new(10, 1, 0, 255), 8081).into();
    let first = Node::start(&host(&site, "a", &lan, &["10.1.0.1/24"]), &BEACON_ALONE);
    while_flooding(&flooder, by_one(to), &crowd, || {
        first.until("sees the flood", |node| {
            let status = node.get("/status");
            let sources = status["sources"].as_array()?.clone();
            let beacon = sources.into_iter().find(|source| source["name"] == "beacon")?;
            (beacon["state"] == "troubled").then_some(())
        });
        let second = Node::start(&host(&site, "b", &lan, &["10.1.0.2/24"]), &BEACON_ALONE);
        until_joined(&[&first, &second]);
        exchange(&[&first, &second]);
        for node in [&first, &second] {
            let (state, text) = node.doctor()["beacon"].clone();
            assert_eq!(state, "warning");
            assert!(text.contains("floods the port, last from 10.1.0.66"), "{text}");
        }
    });
}

#[test]
fn beacons_from_made_up_networks_keep_nobody_from_being_found() {
    let Some(site) = site("a flood from made-up networks") else { return };
    let lan = site.lan().unwrap();
    let mut flooder = site.host("flooder").unwrap();
    flooder.plug("eth0", &lan, &["fd00::66/64"]).unwrap();
    let crowd: Vec<Vec<u8>> = (0..CROWD).map(|n| beacon(&made_up(n), 1)).collect();
    let to = ["[fd00::1]:8081", "[fd00::2]:8081"].map(|to| to.parse().unwrap());
    let start =
        |label, addresses: &[_]| Node::start(&host(&site, label, &lan, addresses), &BEACON_ALONE);
    let first = start("a", &["10.1.0.1/24", "fd00::1/64"]);
    while_flooding(&flooder, by_ever_others(to), &crowd, || {
        // More were made up than are kept: whoever comes next takes the place of one that failed.
        first.until("has heard of more than it keeps", |node| {
            let (state, text) = node.doctor()["beacon"].clone();
            let heard: u32 = text.split_once(' ')?.0.parse().ok()?;
            let flooded = state == "warning" && text.contains("last from fd00:66:");
            (flooded && heard > 512).then_some(())
        });
        let second = start("b", &["10.1.0.2/24", "fd00::2/64"]);
        until_joined(&[&first, &second]);
        exchange(&[&first, &second]);
    });
}

/// Two nodes see that multicast DNS is flooded by these, and stay connected.
fn stop_at_a_flood_of_mdns(test: &str, crowd: &[Vec<u8>]) {
    let Some(site) = site(test) else { return };
    let lan = site.lan().unwrap();
    let mut flooder = site.host("flooder").unwrap();
    flooder.plug("eth0", &lan, &["10.1.0.66/24"]).unwrap();
    let to = (Ipv4Addr::new(224, 0, 0, 251), 5353).into();
    let start = |label, address| Node::start(&host(&site, label, &lan, &[address]), &MDNS_ALONE);
    let nodes = [start("a", "10.1.0.1/24"), start("b", "10.1.0.2/24")];
    until_joined(&[&nodes[0], &nodes[1]]);
    while_flooding(&flooder, by_one(to), crowd, || {
        for node in &nodes {
            node.until("stops at too many", |node| {
                let (state, text) = node.doctor()["mdns"].clone();
                (state == "fault" && text.contains("more than 1024 names or 4096 addresses"))
                    .then_some(())
            });
        }
        until_joined(&[&nodes[0], &nodes[1]]);
        exchange(&[&nodes[0], &nodes[1]]);
    });
    // After the flood it looks again.
    let late = start("c", "10.1.0.3/24");
    until_joined(&[&nodes[0], &nodes[1], &late]);
}

#[test]
fn names_that_are_to_last_a_century_are_stopped_at_a_thousand() {
    let crowd: Vec<Vec<u8>> =
        (0..CROWD).map(|n| century(&made_up(n), "/ip4/10.1.0.66/tcp/1")).collect();
    stop_at_a_flood_of_mdns("a flood of mDNS", &crowd);
}

#[test]
fn one_name_with_ever_other_ports_is_stopped_at_some_thousand() {
    let one = made_up(1);
    let crowd: Vec<Vec<u8>> =
        (1..=CROWD).map(|port| century(&one, &format!("/ip4/10.1.0.66/tcp/{port}"))).collect();
    stop_at_a_flood_of_mdns("a flood of ports", &crowd);
}

#[test]
fn a_false_address_leads_to_nobody_and_is_named() {
    let Some(site) = site("a false address") else { return };
    let lan = site.lan().unwrap();
    let honest = host(&site, "b", &lan, &["10.1.0.2/24"]);
    let nodes = [
        Node::start(&host(&site, "a", &lan, &["10.1.0.1/24"]), &BEACON_ALONE),
        Node::start(&honest, &BEACON_ALONE),
    ];
    until_joined(&[&nodes[0], &nodes[1]]);
    // Somebody who is not there, said to be where the second node is.
    let absent = made_up(1);
    let lie = || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(&beacon(&absent, 8080), "10.1.0.1:8081").unwrap();
    };
    let name = PeerId::new(absent.public()).to_string();
    nodes[0].until("names the false address", |node| {
        honest.lock().unwrap().within(lie).unwrap();
        let (state, text) = node.doctor()["beacon"].clone();
        let wanted = format!("/ip4/10.1.0.2/tcp/8080, told for {name}, led to {}", nodes[1].peer);
        (state == "warning" && text.contains(&wanted)).then_some(())
    });
    until_joined(&[&nodes[0], &nodes[1]]);
}

#[test]
fn a_copied_key_is_named_on_both_hosts_and_neither_dials_the_other() {
    let Some(site) = site("a copied key") else { return };
    let lan = site.lan().unwrap();
    let first = Node::start(&host(&site, "a", &lan, &["10.1.0.1/24"]), &[]);
    let dir = TempDir::new().unwrap();
    let keys = first.dir().join("keys");
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    for file in std::fs::read_dir(&keys).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.path().join("keys").join(file.file_name())).unwrap();
    }
    let copy = Node::start_in(&host(&site, "b", &lan, &["10.1.0.2/24"]), &[], Arc::new(dir));
    assert_eq!(first.peer, copy.peer);
    let other = Node::start(&host(&site, "c", &lan, &["10.1.0.3/24"]), &[]);
    for (node, at) in [(&first, "10.1.0.2"), (&copy, "10.1.0.1")] {
        node.until("names the copy", |node| {
            let (state, text) = node.doctor().get("key")?.clone();
            (state == "fault" && text.contains(at)).then_some(())
        });
        assert!(!node.peers().contains_key(&node.peer));
    }
    other.until_peers(&[&first]);
}
