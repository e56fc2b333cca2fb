//! Addresses: found, configured, remembered, kept and forgotten.

use super::*;

#[tokio::test]
async fn a_bootstrap_address_is_tried_until_someone_is_there() {
    for transport in TRANSPORTS {
        let port = free_port(transport);
        let host = match transport {
            Transport::Tcp => format!("/ip4/127.0.0.1/tcp/{port}"),
            Transport::Quic => format!("/ip4/127.0.0.1/udp/{port}/quic-v1"),
        };
        let mut waiting = config(1, transport);
        // The name, and the address with a PeerId, of one and the same node.
        let later = PeerId::new(SigningKey::from_seed(&[2; 32]).public());
        waiting.bootstrap = vec![format!("localhost:{port}"), format!("{host}/p2p/{later}")];
        let mut first = [Node::start(waiting).await];
        until_state(&mut first, |nodes| {
            nodes[0].network.sources().bootstrap.iter().all(|e| e.failures > 0)
        })
        .await;
        let sources = first[0].network.sources().sources;
        let health = &sources.iter().find(|s| s.source == Source::Bootstrap).unwrap().health;
        assert!(matches!(health, Health::Failing(_)));

        let mut second = config(2, transport);
        second.port = port;
        let [first] = first;
        let mut nodes = [first, Node::start(second).await];
        until(&mut nodes, 0, |e| (*e == NetworkEvent::Connected { peer: later }).then_some(()))
            .await;
        until_state(&mut nodes, |nodes| {
            nodes[0].network.sources().bootstrap.iter().all(|e| e.cause.is_none())
        })
        .await;
    }
}

#[tokio::test]
async fn another_peer_than_the_one_named_is_not_taken() {
    let mut nodes = [
        Node::start(config(1, Transport::Tcp)).await,
        Node::start(config(2, Transport::Tcp)).await,
    ];
    let stranger = PeerId::new(SigningKey::from_seed(&[3; 32]).public());
    let address = format!("{}/p2p/{stranger}", nodes[1].address);
    nodes[0].network.dial(&address).unwrap();
    let outcome = until(&mut nodes, 0, |e| match e {
        NetworkEvent::Dialled { outcome, .. } => Some(outcome.clone()),
        _ => None,
    })
    .await;
    assert!(outcome.unwrap_err().contains(&nodes[1].id().to_string()));
    assert!(nodes[0].network.peers().is_empty());
}

#[tokio::test]
async fn a_node_that_is_led_to_itself_counts_nobody() {
    for transport in TRANSPORTS {
        let port = free_port(transport);
        let mut own = config(1, transport);
        own.port = port;
        own.bind = vec![Ipv4Addr::UNSPECIFIED.into()];
        own.bootstrap = vec![format!("127.0.0.1:{port}")];
        let mut nodes = [Node::start(own).await];
        let id = nodes[0].id();
        let me = Some(ocm_discovery::Led::Own);
        until_state(&mut nodes, |nodes| {
            nodes[0].network.sources().bootstrap[0].led.iter().any(|(_, led)| *led == me)
        })
        .await;
        let discovery = nodes[0].network.sources();
        assert_eq!((discovery.bootstrap[0].failures, &discovery.bootstrap[0].cause), (0, &None));
        // By an address that the swarm does not know for its own, the handshake tells.
        let text = match transport {
            Transport::Tcp => format!("/ip4/127.0.0.2/tcp/{port}"),
            Transport::Quic => format!("/ip4/127.0.0.2/udp/{port}/quic-v1"),
        };
        nodes[0].network.dial(&text).unwrap();
        let outcome = until(&mut nodes, 0, |e| match e {
            NetworkEvent::Dialled { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await;
        assert_eq!(outcome, Ok(id));
        nodes[0].network.block(id);
        assert!(nodes[0].network.blocked().next().is_none());
        assert!(nodes[0].network.peers().is_empty());
        assert!(!nodes[0].unread.iter().any(|e| matches!(e, NetworkEvent::Connected { .. })));
    }
}

fn with_beacon(seed: u8, port: u16) -> NetworkConfig {
    let beacon = BeaconConfig { port, hosts: Vec::new(), interval: Duration::from_millis(200) };
    NetworkConfig { beacon: Some(beacon), ..config(seed, Transport::Tcp) }
}

#[tokio::test]
async fn nodes_find_each_other_by_their_beacons() {
    let port = free_port(Transport::Quic);
    let mut nodes =
        [Node::start(with_beacon(1, port)).await, Node::start(with_beacon(2, port)).await];
    let peer = nodes[1].id();
    let new = NetworkEvent::Sighting { peer, source: Source::Beacon, sighting: Sighting::New };
    until(&mut nodes, 0, |e| {
        let known = *e == new || *e == NetworkEvent::Connected { peer };
        known.then_some(())
    })
    .await;
    until_state(&mut nodes, |nodes| nodes[0].network.is_connected(&peer)).await;
    let sources = nodes[0].network.sources().sources;
    let beacon = sources.iter().find(|s| s.source == Source::Beacon).unwrap();
    assert_eq!(beacon.health, Health::Working);
}

#[tokio::test]
async fn a_copy_of_this_nodes_key_is_reported_and_never_dialled() {
    let port = free_port(Transport::Quic);
    let mut copy = with_beacon(1, port);
    copy.boot = Boot::from_bytes([2; 16]);
    let mut nodes = [Node::start(with_beacon(1, port)).await, Node::start(copy).await];
    let peer = nodes[0].id();
    let sighting = Sighting::CopiedKey { boot: Boot::from_bytes([2; 16]) };
    let copied = NetworkEvent::Sighting { peer, source: Source::Beacon, sighting };
    until(&mut nodes, 0, |e| (*e == copied).then_some(())).await;
    let discovery = nodes[0].network.sources();
    assert!(discovery.copied_key > 0);
    assert_eq!(discovery.copied_at.map(|(ip, _)| ip), Some(Ipv4Addr::LOCALHOST.into()));
    assert!(nodes[0].network.peers().is_empty());
}

#[tokio::test]
async fn an_address_that_leads_to_another_peer_is_told() {
    let source = Source::Beacon;
    for transport in TRANSPORTS {
        let first = NetworkConfig {
            tcp: transport == Transport::Tcp,
            quic: transport == Transport::Quic,
            ..with_beacon(1, free_port(Transport::Quic))
        };
        let mut nodes = [Node::start(first).await, Node::start(config(2, transport)).await];
        let (address, found) = (nodes[1].address.clone(), nodes[1].id());
        let absent = PeerId::new(SigningKey::from_seed(&[3; 32]).public());
        let now = nodes[0].network.now_ms();
        nodes[0].network.table.heard(absent, &address, source, now);
        let health = |nodes: &[Node]| {
            let sources = nodes[0].network.sources().sources;
            sources.iter().find(|s| s.source == source).unwrap().health.clone()
        };
        until_state(&mut nodes, |nodes| matches!(health(nodes), Health::Troubled(_))).await;
        let Health::Troubled(text) = health(&nodes) else { panic!("it is told for ten minutes") };
        assert!(text.contains(&format!("{address}, told for {absent}, led to {found}")), "{text}");
        // Whoever is there is a peer as any other; the absent one is not looked for there again.
        until_state(&mut nodes, |nodes| nodes[0].network.is_connected(&found)).await;
        assert!(!nodes[0].network.table.knows(&absent, &address));
    }
}

#[tokio::test]
async fn a_beacon_without_its_port_is_a_state_and_no_end() {
    // Without SO_REUSEADDR nobody shares the port.
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut nodes = [Node::start(with_beacon(1, port)).await];
    let health = |nodes: &[Node]| {
        let sources = nodes[0].network.sources().sources;
        sources.iter().find(|s| s.source == Source::Beacon).unwrap().health.clone()
    };
    let Health::Failing(cause) = health(&nodes) else { panic!("it cannot be heard") };
    assert!(cause.contains(&port.to_string()) && cause.contains("OCM_DISCOVERY_PORT"));
    drop(taken);
    until_state(&mut nodes, |nodes| health(nodes) == Health::Working).await;
}

#[tokio::test]
async fn an_address_given_once_is_dialled_until_it_is_forgotten() {
    for transport in TRANSPORTS {
        let port = free_port(transport);
        let text = match transport {
            Transport::Tcp => format!("/ip4/127.0.0.1/tcp/{port}"),
            Transport::Quic => format!("/ip4/127.0.0.1/udp/{port}/quic-v1"),
        };
        // Given while nobody is there, and in the run before.
        let mut later = config(2, transport);
        later.port = port;
        let peer = PeerId::new(later.peer_key.public());
        let connected = |e: &NetworkEvent| (*e == NetworkEvent::Connected { peer }).then_some(());
        let mut first = [Node::start(config(1, transport)).await];
        first[0].network.dial(&text).unwrap();
        assert_eq!(first[0].network.kept().collect::<Vec<_>>(), [&text]);
        if transport == Transport::Tcp {
            let failed =
                |e: &NetworkEvent| matches!(e, NetworkEvent::Dialled { outcome: Err(_), .. });
            until(&mut first, 0, |e| failed(e).then_some(())).await;
        }
        let mut again = config(3, transport);
        again.kept = first[0].network.kept().map(str::to_owned).collect();
        let [first] = first;
        let mut nodes = [first, Node::start(again).await, Node::start(later).await];
        until(&mut nodes, 0, connected).await;
        until(&mut nodes, 1, connected).await;
        let unknown = nodes[0].network.forget("/ip4/127.0.0.1/tcp/1");
        assert_eq!(unknown, Err(ForgetError::NotKept));
        let remembers = |node: &Node| {
            let remembered = node.network.worth_remembering();
            remembered.iter().any(|known| known.peer == peer)
        };
        assert!(remembers(&nodes[0]));
        assert_eq!(nodes[0].network.forget(&text), Ok(()));
        assert!(nodes[0].network.is_connected(&peer), "the connection stays");
        assert_eq!(nodes[0].network.kept().count(), 0);
        assert!(nodes[0].network.sources().bootstrap.is_empty());
        assert!(!remembers(&nodes[0]) && remembers(&nodes[1]));
        // It is not dialled after the connection either, nor is it when it was lost before. The
        // other side is not to come here by itself.
        for at in [0, 1] {
            let own = nodes[at].id();
            nodes[2].network.block(own);
            disconnected(&mut nodes, at, peer).await;
        }
        assert_eq!(nodes[1].network.forget(&text), Ok(()));
        for node in &mut nodes[..2] {
            assert!(!remembers(node));
            let in_an_hour = node.network.now_ms() + 60 * 60 * 1000;
            assert!(node.network.table.due(in_an_hour, 10, 0).is_empty());
            assert!(node.network.bootstrap.due(in_an_hour, 0).is_empty());
        }
    }
}

#[tokio::test]
async fn an_address_forgotten_while_it_is_dialled_is_not_remembered() {
    let mut nodes = [
        Node::start(config(1, Transport::Tcp)).await,
        Node::start(config(2, Transport::Tcp)).await,
    ];
    let (text, peer) = (nodes[1].address.clone(), nodes[1].id());
    let network = &mut nodes[0].network;
    network.dial(&text).unwrap();
    network.dial_due();
    let resolved = network.resolving.next().await.unwrap();
    network.on_resolved(resolved);
    assert_eq!(network.dials.len(), 1);
    assert_eq!(network.forget(&text), Ok(()));
    until(&mut nodes, 0, |e| (*e == NetworkEvent::Connected { peer }).then_some(())).await;
    assert_eq!(nodes[0].network.worth_remembering(), []);
}

#[tokio::test]
async fn an_address_may_be_configured_and_kept() {
    let text = "/ip4/127.0.0.1/tcp/1";
    let mut both = config(1, Transport::Tcp);
    both.bootstrap = vec![text.to_owned()];
    let mut node = Node::start(both.clone()).await;
    assert_eq!(node.network.kept().count(), 0);
    node.network.dial(text).unwrap();
    assert_eq!(node.network.kept().collect::<Vec<_>>(), [text]);
    assert_eq!(node.network.sources().bootstrap.len(), 1, "and dialled once");
    // Kept by the run before, and not in this run's configuration.
    let mut kept = config(2, Transport::Tcp);
    kept.kept = node.network.kept().map(str::to_owned).collect();
    let later = Node::start(kept).await;
    assert_eq!(later.network.sources().bootstrap.len(), 1);
    assert_eq!(node.network.forget(text), Err(ForgetError::Configured));
    assert_eq!(node.network.kept().count(), 0);
    assert_eq!(node.network.sources().bootstrap.len(), 1, "dialled as configured");
    assert_eq!(node.network.forget(text), Err(ForgetError::Configured));
}

#[tokio::test]
async fn a_peer_of_an_earlier_run_is_dialled() {
    let b = Node::start(config(2, Transport::Tcp)).await;
    let mut a = config(1, Transport::Tcp);
    let at = |last| Remembered { peer: b.id(), addresses: vec![b.address.clone()], last };
    let before = at(now_ms());
    a.remembered = vec![before.clone()];
    let mut nodes = [Node::start(a).await, b];
    let peer = nodes[1].id();
    until(&mut nodes, 0, |e| (*e == NetworkEvent::Connected { peer }).then_some(())).await;
    assert_eq!(nodes[0].network.peers()[0].source, Source::Remembered);
    let remembered = nodes[0].network.worth_remembering();
    assert_eq!((remembered[0].peer, &remembered[0].addresses), (peer, &before.addresses));
    assert!(remembered.len() == 1 && remembered[0].last >= before.last);
}

#[tokio::test]
async fn a_peer_of_an_earlier_run_that_is_not_there_stays_remembered() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let now = now_ms();
    let known = |seed, last| {
        let peer = PeerId::new(SigningKey::from_seed(&[seed; 32]).public());
        Remembered { peer, addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()], last }
    };
    let mut config = config(1, Transport::Tcp);
    config.kept = vec!["127.0.0.1:1".to_owned()];
    // Connected two days ago, longer ago than a peer is remembered, and on a clock that ran ahead.
    config.remembered = vec![known(2, now - 2 * DAY), known(3, now - 8 * DAY), known(4, now + DAY)];
    let mut nodes = [Node::start(config).await];
    until_state(&mut nodes, |nodes| {
        let network = &nodes[0].network;
        network.dials.is_empty() && network.table.clone().due(network.now_ms(), 10, 0).is_empty()
    })
    .await;
    let network = &mut nodes[0].network;
    network.table.expire(network.now_ms());
    let mut remembered = network.worth_remembering();
    remembered.sort_by_key(|known| known.last);
    let expected = [known(2, now - 2 * DAY), known(4, now)];
    assert_eq!(remembered.len(), expected.len());
    for (found, expected) in remembered.iter().zip(&expected) {
        assert_eq!((found.peer, &found.addresses), (expected.peer, &expected.addresses));
        assert!(found.last.abs_diff(expected.last) < DAY, "{found:?}");
    }
    assert_eq!(network.forget("127.0.0.1:1"), Ok(()));
    assert_eq!(network.worth_remembering(), [], "nobody answered there in this run");
}

#[tokio::test]
async fn a_kept_address_outlasts_a_run_that_cannot_dial_it() {
    let mut off = config(1, Transport::Quic);
    off.tcp = false;
    off.kept = vec!["/ip4/127.0.0.1/tcp/1".to_owned()];
    let mut node = Node::start(off).await;
    assert_eq!(node.network.kept().collect::<Vec<_>>(), ["/ip4/127.0.0.1/tcp/1"]);
    assert!(node.network.sources().bootstrap.is_empty());
    assert_eq!(node.network.forget("/ip4/127.0.0.1/tcp/1"), Ok(()));
    assert_eq!(node.network.kept().count(), 0);
}

#[tokio::test]
async fn an_address_that_can_be_dialled_again_is_kept_once() {
    let mut many = config(1, Transport::Tcp);
    many.bootstrap =
        (0..ocm_discovery::BOOTSTRAP_ENTRIES).map(|n| format!("127.0.0.1:{}", n + 1)).collect();
    many.kept = vec![" 127.0.0.1:1000 ".to_owned()];
    many.port = 0;
    let mut node = Node::start(many).await;
    assert_eq!(node.network.kept().collect::<Vec<_>>(), ["127.0.0.1:1000"], "there is no room");
    let id = *node.network.entries.keys().next().unwrap();
    node.network.entries.remove(&id);
    node.network.bootstrap.remove(id);
    node.network.dial("127.0.0.1:1000").unwrap();
    assert_eq!(node.network.kept().collect::<Vec<_>>(), ["127.0.0.1:1000"]);
    assert_eq!(node.network.forget("127.0.0.1:1000"), Ok(()));
    assert_eq!(node.network.kept().count(), 0);
}
