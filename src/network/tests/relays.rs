//! Nodes that are reached through another one.

use libp2p::Multiaddr;

use super::*;
use crate::network::address::{ip_of, is_relayed};

fn relay(seed: u8, transport: Transport, limits: RelayLimits) -> NetworkConfig {
    NetworkConfig { relay: Some(limits), ..config(seed, transport) }
}

/// A node that reserves a place at another one.
fn guest(seed: u8, transport: Transport, relay: &Node) -> NetworkConfig {
    NetworkConfig { relays: vec![relay.address.clone()], ..config(seed, transport) }
}

fn circuit(node: &Node) -> Option<String> {
    node.network.listen_addresses().into_iter().find(|text| text.contains("/p2p-circuit"))
}

/// The address by which a node is reached, once it has its place.
async fn announced(nodes: &mut [Node], at: usize) -> String {
    until_state(nodes, |nodes| circuit(&nodes[at]).is_some()).await;
    circuit(&nodes[at]).unwrap()
}

async fn answers(nodes: &mut [Node], from: usize, to: usize) {
    let (own, peer) = (nodes[from].id(), nodes[to].id());
    let request = nodes[from].network.request(peer, b"who?".to_vec());
    let channel = until(nodes, to, |e| match e {
        NetworkEvent::Request { peer, channel, bytes } if *peer == own && *bytes == b"who?" => {
            Some(*channel)
        }
        _ => None,
    })
    .await;
    nodes[to].network.respond(channel, b"it is I".to_vec()).unwrap();
    let wanted = NetworkEvent::Response { request, peer, bytes: b"it is I".to_vec() };
    until(nodes, from, |e| (*e == wanted).then_some(())).await;
}

/// Two nodes that only know a relay, of which the second dials the first through it.
async fn meet(mut configs: [NetworkConfig; 2], relay: Node) -> [Node; 3] {
    for config in &mut configs {
        config.relays = vec![relay.address.clone()];
    }
    let [a, b] = configs;
    let mut nodes = [Node::start(a).await, Node::start(b).await, relay];
    let address = announced(&mut nodes, 0).await;
    nodes[1].network.dial(&address).unwrap();
    let [a, b] = [0, 1].map(|at: usize| nodes[at].id());
    until_state(&mut nodes, |nodes| {
        nodes[0].network.is_connected(&b) && nodes[1].network.is_connected(&a)
    })
    .await;
    nodes
}

#[tokio::test]
async fn peers_meet_through_a_relay_as_who_they_are() {
    for transport in TRANSPORTS {
        let host = Node::start(relay(3, transport, RelayLimits::default())).await;
        let mut nodes = Box::pin(meet([config(1, transport), config(2, transport)], host)).await;
        answers(&mut nodes, 0, 1).await;
        answers(&mut nodes, 1, 0).await;
        let (a, b, host) = (nodes[0].id(), nodes[1].id(), nodes[2].id());
        for (at, other) in [(0, b), (1, a)] {
            let peers = nodes[at].network.peers();
            let info = |peer| peers.iter().find(|info| info.peer == peer).unwrap();
            assert_eq!((info(other).relayed, info(host).relayed), (true, false));
            assert_eq!(info(other).transport, Some(transport));
            let address: Multiaddr = info(other).addresses[0].parse().unwrap();
            assert!(is_relayed(&address));
            assert_eq!(ip_of(&address), None, "it is not where the relay is");
            let (health, detail) = nodes[at].network.sources().relays.unwrap();
            assert_eq!(health, Health::Working, "{detail}");
        }
        // Nothing but the circuit leads there, and it is known for the next run.
        let remembered = nodes[1].network.worth_remembering();
        let known = remembered.iter().find(|known| known.peer == a).unwrap();
        assert!(known.addresses.iter().all(|address| address.ends_with("/p2p-circuit")));
        // Who is blocked is blocked through a relay, too, and the relay is not.
        nodes[0].network.block(b);
        disconnected(&mut nodes, 1, a).await;
        let outcome = until(&mut nodes, 1, |e| match e {
            NetworkEvent::Dialled { outcome: Err(_), address } if is_circuit(address) => Some(()),
            NetworkEvent::Disconnected { peer } if *peer == a => Some(()),
            _ => None,
        });
        outcome.await;
        assert!(nodes[0].network.is_connected(&host));
        assert!(!nodes[0].network.is_connected(&b));
    }
}

fn is_circuit(address: &str) -> bool {
    address.contains("/p2p-circuit/")
}

#[tokio::test]
async fn a_relay_of_a_private_network_serves_those_inside() {
    let private = |config| NetworkConfig { key: Some(PreSharedKey::new([7; 32])), ..config };
    let host = relay(3, Transport::Tcp, RelayLimits::default());
    let host = Node::start(private(host)).await;
    let inside = [1, 2].map(|seed| private(config(seed, Transport::Tcp)));
    let mut nodes = Box::pin(meet(inside, host)).await;
    answers(&mut nodes, 0, 1).await;
}

#[tokio::test]
async fn a_full_relay_says_so_and_its_next_place_is_taken() {
    let limits = RelayLimits { reservations: 1, ..RelayLimits::default() };
    let host = Node::start(relay(3, Transport::Tcp, limits)).await;
    let first = Node::start(guest(1, Transport::Tcp, &host)).await;
    let second = guest(2, Transport::Tcp, &host);
    let mut nodes = vec![host, first];
    announced(&mut nodes, 1).await;
    nodes.push(Node::start(second).await);
    until_state(&mut nodes, |nodes| match nodes[2].network.sources().relays.unwrap().0 {
        Health::Failing(cause) => cause.contains("resource limit exceeded"),
        _ => false,
    })
    .await;
    assert_eq!(circuit(&nodes[2]), None);
    drop(nodes.remove(1));
    announced(&mut nodes, 1).await;
}

#[tokio::test]
async fn a_relay_tells_how_many_places_are_taken_and_where_it_is_reached() {
    let told = |node: &Node| node.network.sources().relaying.unwrap();
    let limits = RelayLimits { reservations: 2, ..RelayLimits::default() };
    let host = Node::start(relay(3, Transport::Tcp, limits.clone())).await;
    let none = "no public address of it is known: peers on other networks cannot use it";
    let (health, detail) = told(&host);
    assert_eq!(health, Health::Troubled(none.to_owned()));
    assert_eq!(detail, format!("0 of 2 places are taken; {none}"));
    let external = vec!["/dns4/relay.example/tcp/8080".parse().unwrap()];
    let known = NetworkConfig { external, ..relay(4, Transport::Tcp, limits) };
    let host = Node::start(known).await;
    let first = Node::start(guest(1, Transport::Tcp, &host)).await;
    let second = guest(2, Transport::Tcp, &host);
    let mut nodes = vec![host, first];
    announced(&mut nodes, 1).await;
    assert!(nodes[1].network.sources().relaying.is_none());
    let one = "1 of 2 places are taken; it is at /dns4/relay.example/tcp/8080, as far as is known";
    until_state(&mut nodes, |nodes| told(&nodes[0]) == (Health::Working, one.to_owned())).await;
    nodes.push(Node::start(second).await);
    announced(&mut nodes, 2).await;
    let full = Health::Troubled("every place is taken".to_owned());
    until_state(&mut nodes, |nodes| told(&nodes[0]).0 == full).await;
    assert!(told(&nodes[0]).1.starts_with("2 of 2"));
    // Whoever leaves gives its place up.
    drop(nodes.pop());
    until_state(&mut nodes, |nodes| told(&nodes[0]) == (Health::Working, one.to_owned())).await;
}

#[tokio::test]
async fn whoever_does_not_relay_is_named() {
    let host = Node::start(config(3, Transport::Tcp)).await;
    let guest = Node::start(guest(1, Transport::Tcp, &host)).await;
    let mut nodes = [guest, host];
    until_state(&mut nodes, |nodes| match nodes[0].network.sources().relays.unwrap().0 {
        Health::Failing(cause) => cause.contains("does not support"),
        _ => false,
    })
    .await;
}

#[tokio::test]
async fn a_place_is_renewed_before_it_lapses() {
    let limits = RelayLimits { reservation: Duration::from_secs(2), ..RelayLimits::default() };
    let host = Node::start(relay(3, Transport::Tcp, limits)).await;
    let guest = Node::start(guest(1, Transport::Tcp, &host)).await;
    let mut nodes = [guest, host];
    announced(&mut nodes, 0).await;
    let renewed = |nodes: &[Node]| {
        let mut scrape = String::new();
        encode(&mut scrape, &nodes[1].registry).unwrap();
        let line = scrape.lines().find(|line| {
            line.starts_with("libp2p_relay_events_total") && line.contains("ReservationReqAccepted")
        });
        line.is_some_and(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap() >= 3)
    };
    until_state(&mut nodes, renewed).await;
    assert!(circuit(&nodes[0]).is_some());
    let lost = |e: &NetworkEvent| matches!(e, NetworkEvent::ListenFailed { .. });
    assert!(!nodes[0].unread.iter().any(lost), "{:?}", nodes[0].unread);
}

#[test]
fn a_relay_is_not_behind_a_relay() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let host = PeerId::new(SigningKey::from_seed(&[3; 32]).public());
    let text = format!("/ip4/127.0.0.1/tcp/9/p2p/{host}/p2p-circuit/p2p/{host}");
    for relays in [text.as_str(), "nonsense"] {
        let config = NetworkConfig { relays: vec![relays.to_owned()], ..config(1, Transport::Tcp) };
        let error = Network::start(config, &mut Registry::default()).err().unwrap().to_string();
        assert!(error.contains("network.relays") && error.contains(relays), "{error}");
    }
}

#[tokio::test]
async fn who_was_met_through_a_relay_is_met_there_again_until_it_is_forgotten() {
    let host = Node::start(relay(3, Transport::Tcp, RelayLimits::default())).await;
    let host_address = host.address.clone();
    let configs = [config(1, Transport::Tcp), config(2, Transport::Tcp)];
    let [a, b, host] = Box::pin(meet(configs, host)).await;
    let (peer, address) = (a.id(), circuit(&a).unwrap());
    let remembered = b.network.worth_remembering();
    drop(b);
    // Of the way there it knows what it remembers, and nothing else.
    let relays = vec![host_address.clone()];
    let again = NetworkConfig { remembered, relays, ..config(2, Transport::Tcp) };
    let mut nodes = [a, Node::start(again).await, host];
    until_state(&mut nodes, |nodes| nodes[1].network.is_connected(&peer)).await;
    let known = |node: &Node| {
        let remembered = node.network.worth_remembering();
        let known = remembered.iter().find(|known| known.peer == peer);
        known.is_some_and(|known| known.addresses.iter().any(|text| text.contains("p2p-circuit")))
    };
    assert!(known(&nodes[1]));
    nodes[1].network.dial(&address).unwrap();
    assert_eq!(nodes[1].network.forget(&address), Ok(()));
    assert!(!known(&nodes[1]), "{:?}", nodes[1].network.worth_remembering());
    assert_eq!(nodes[1].network.forget(&host_address), Err(ForgetError::Configured));
}

#[tokio::test]
async fn a_circuit_has_an_end_and_another_follows() {
    let time = RelayLimits { circuit: Duration::from_secs(1), ..RelayLimits::default() };
    let bytes = RelayLimits { circuit_bytes: 64 << 10, ..RelayLimits::default() };
    for limits in [time, bytes] {
        let host = Node::start(relay(3, Transport::Tcp, limits)).await;
        let configs = [config(1, Transport::Tcp), config(2, Transport::Tcp)];
        let mut nodes = Box::pin(meet(configs, host)).await;
        let peer = nodes[0].id();
        until(&mut nodes, 1, |e| (*e == NetworkEvent::Connected { peer }).then_some(())).await;
        // More than the second relay passes on.
        nodes[1].network.request(peer, vec![7; 128 << 10]);
        disconnected(&mut nodes, 1, peer).await;
        until(&mut nodes, 1, |e| (*e == NetworkEvent::Connected { peer }).then_some(())).await;
    }
}
