//! Networks on this machine's loopback, talking over real sockets.

use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures::StreamExt as _;
use ocm_discovery::{PeerId, Remembered, Sighting, Source};
use ocm_record::{Boot, SigningKey};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;

const TOPIC: &str = "/ocm/1/vtest";

/// Both transports in turn.
const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Quic];

/// A node of these tests: alone until told otherwise.
fn config(seed: u8, transport: Transport) -> NetworkConfig {
    NetworkConfig {
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        port: 0,
        tcp: transport == Transport::Tcp,
        quic: transport == Transport::Quic,
        mdns: false,
        beacon: None,
        ban: Duration::from_secs(600),
        ..NetworkConfig::new(SigningKey::from_seed(&[seed; 32]), Boot::from_bytes([seed; 16]))
    }
}

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap()
}

struct Node {
    network: Network,
    registry: Registry,
    /// Where it listens.
    address: String,
    /// What happened and was not waited for.
    unread: Vec<NetworkEvent>,
}

impl Node {
    async fn start(config: NetworkConfig) -> Self {
        let mut registry = Registry::default();
        let network = Network::start(config, &mut registry).unwrap();
        let mut node = Self { network, registry, address: String::new(), unread: Vec::new() };
        node.network.set_tick(Duration::from_millis(20));
        node.address = within(async {
            loop {
                if let NetworkEvent::Listening { address } = node.network.next().await {
                    return address;
                }
            }
        })
        .await;
        node
    }

    fn id(&self) -> PeerId {
        self.network.peer_id()
    }

    /// `host:port` of this node.
    fn host_port(&self) -> String {
        let parts: Vec<&str> = self.address.split('/').collect();
        format!("{}:{}", parts[2], parts[4])
    }
}

/// Nothing here takes half a minute, whatever else the machine does.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("it took too long")
}

/// Drives all nodes until `wanted` finds what it waits for in an event of node `at`, looking at
/// the unread ones first.
async fn until<T>(
    nodes: &mut [Node],
    at: usize,
    mut wanted: impl FnMut(&NetworkEvent) -> Option<T>,
) -> T {
    let unread = &mut nodes[at].unread;
    if let Some((n, found)) = unread.iter().enumerate().find_map(|(n, e)| Some((n, wanted(e)?))) {
        unread.remove(n);
        return found;
    }
    within(async {
        loop {
            let (n, event) = next_of(nodes).await;
            if n == at
                && let Some(found) = wanted(&event)
            {
                return found;
            }
            nodes[n].unread.push(event);
        }
    })
    .await
}

/// The next event of any node.
async fn next_of(nodes: &mut [Node]) -> (usize, NetworkEvent) {
    let next = nodes
        .iter_mut()
        .enumerate()
        .map(|(n, node)| Box::pin(async move { (n, node.network.next().await) }));
    futures::future::select_all(next).await.0
}

/// Drives all nodes until `done`, which is asked after every event and every hundredth of a
/// second.
async fn until_state(nodes: &mut [Node], mut done: impl FnMut(&[Node]) -> bool) {
    within(async {
        while !done(nodes) {
            let event = tokio::time::timeout(Duration::from_millis(10), next_of(nodes)).await;
            if let Ok((n, event)) = event {
                nodes[n].unread.push(event);
            }
        }
    })
    .await;
}

async fn connect(nodes: &mut [Node], from: usize, to: usize) {
    let (address, peer, own) = (nodes[to].address.clone(), nodes[to].id(), nodes[from].id());
    nodes[from].network.dial(&address).unwrap();
    until(nodes, from, |e| (*e == NetworkEvent::Connected { peer }).then_some(())).await;
    until(nodes, to, |e| (*e == NetworkEvent::Connected { peer: own }).then_some(())).await;
}

async fn disconnected(nodes: &mut [Node], at: usize, peer: PeerId) {
    until(nodes, at, |e| (*e == NetworkEvent::Disconnected { peer }).then_some(())).await;
}

#[tokio::test]
async fn two_nodes_meet_and_know_of_each_other() {
    for transport in TRANSPORTS {
        let mut nodes =
            [Node::start(config(1, transport)).await, Node::start(config(2, transport)).await];
        connect(&mut nodes, 0, 1).await;
        let named =
            |n: &Node| n.network.peers().iter().any(|p| p.agent.is_some() && p.rtt.is_some());
        until_state(&mut nodes, |nodes| nodes.iter().all(named)).await;
        let (a, b) = (nodes[0].network.peers(), nodes[1].network.peers());
        assert_eq!((a.len(), b.len()), (1, 1));
        assert_eq!((a[0].peer, b[0].peer), (nodes[1].id(), nodes[0].id()));
        assert_eq!((a[0].transport, b[0].transport), (Some(transport), Some(transport)));
        assert_eq!((a[0].direction, b[0].direction), (Direction::Outbound, Direction::Inbound));
        assert_eq!((a[0].source, b[0].source), (Source::Bootstrap, Source::Incoming));
        assert_eq!(a[0].addresses, [nodes[1].address.clone()]);
        assert!(a[0].agent.as_ref().unwrap().starts_with("ocm/"));
        let mut scrape = String::new();
        encode(&mut scrape, &nodes[0].registry).unwrap();
        assert!(scrape.contains("libp2p_swarm_connections_established_total"), "{scrape}");
        assert!(scrape.contains("libp2p_bandwidth_bytes_total"));

        let peer = nodes[1].id();
        nodes[0].network.disconnect(peer);
        disconnected(&mut nodes, 0, peer).await;
        assert!(nodes[0].network.peers().is_empty());
    }
}

#[tokio::test]
async fn a_request_is_answered_once() {
    for transport in TRANSPORTS {
        let mut nodes =
            [Node::start(config(1, transport)).await, Node::start(config(2, transport)).await];
        connect(&mut nodes, 0, 1).await;
        let (own, peer) = (nodes[0].id(), nodes[1].id());
        let large = vec![7; FRAME_BYTES];
        let request = nodes[0].network.request(peer, large.clone());
        let channel = until(&mut nodes, 1, |e| match e {
            NetworkEvent::Request { peer, channel, bytes } if *peer == own && *bytes == large => {
                Some(*channel)
            }
            _ => None,
        })
        .await;
        let long = vec![0; FRAME_BYTES + 1];
        assert_eq!(
            nodes[1].network.respond(channel, long),
            Err(RespondError::TooLong(FRAME_BYTES + 1))
        );
        assert_eq!(nodes[1].network.respond(channel, b"pong".to_vec()), Ok(()));
        assert_eq!(nodes[1].network.respond(channel, Vec::new()), Err(RespondError::Gone));
        let wanted = NetworkEvent::Response { request, peer, bytes: b"pong".to_vec() };
        until(&mut nodes, 0, |e| (*e == wanted).then_some(())).await;
    }
}

#[tokio::test]
async fn what_cannot_be_asked_fails_with_its_reason() {
    let mut limited = config(1, Transport::Tcp);
    limited.limits.requests_out = 1;
    let mut nodes = [Node::start(limited).await, Node::start(config(2, Transport::Tcp)).await];
    let peer = nodes[1].id();
    let request = nodes[0].network.request(peer, vec![1]);
    let reason = RequestFailure::NotConnected;
    let failed = NetworkEvent::RequestFailed { request, peer, reason };
    until(&mut nodes, 0, |e| (*e == failed).then_some(())).await;
    connect(&mut nodes, 0, 1).await;
    let request = nodes[0].network.request(peer, vec![0; FRAME_BYTES + 1]);
    let reason = RequestFailure::TooLong(FRAME_BYTES + 1);
    let failed = NetworkEvent::RequestFailed { request, peer, reason };
    until(&mut nodes, 0, |e| (*e == failed).then_some(())).await;
    nodes[0].network.request(peer, vec![1]);
    let request = nodes[0].network.request(peer, vec![2]);
    let failed = NetworkEvent::RequestFailed { request, peer, reason: RequestFailure::TooMany(1) };
    until(&mut nodes, 0, |e| (*e == failed).then_some(())).await;
}

/// A line A - B - C, all listening to the topic, with meshes on both links.
async fn line(transport: Transport) -> [Node; 3] {
    let mut nodes = [
        Node::start(config(1, transport)).await,
        Node::start(config(2, transport)).await,
        Node::start(config(3, transport)).await,
    ];
    for node in &mut nodes {
        assert_eq!(node.network.subscribe(TOPIC), Ok(true));
    }
    connect(&mut nodes, 0, 1).await;
    connect(&mut nodes, 1, 2).await;
    until_state(&mut nodes, |nodes| {
        [1, 2, 1].iter().zip(nodes).all(|(n, node)| node.network.mesh(TOPIC).len() == *n)
    })
    .await;
    nodes
}

async fn gossip(nodes: &mut [Node], at: usize) -> (PeerId, GossipId, Vec<u8>) {
    until(nodes, at, |e| match e {
        NetworkEvent::Gossip { peer, message_id, topic, data } => {
            assert_eq!(topic, TOPIC);
            assert_eq!(*message_id, GossipId::of(TOPIC, data));
            Some((*peer, *message_id, data.clone()))
        }
        _ => None,
    })
    .await
}

#[tokio::test]
async fn gossip_passes_on_what_is_accepted_and_nothing_else() {
    for transport in TRANSPORTS {
        let mut nodes = line(transport).await;
        let [a, b] = [nodes[0].id(), nodes[1].id()];
        for (verdict, text) in [(Verdict::Reject, "bad"), (Verdict::Ignore, "so-so")] {
            let sent = nodes[0].network.publish(TOPIC, text.into());
            assert_eq!(sent, Ok(Published::Sent));
            let (from, id, data) = gossip(&mut nodes, 1).await;
            assert_eq!((from, data.as_slice()), (a, text.as_bytes()));
            assert!(nodes[1].network.verdict(id, from, verdict));
            assert!(!nodes[1].network.verdict(id, from, Verdict::Ignore), "one verdict each");
        }
        assert_eq!(nodes[0].network.publish(TOPIC, b"bad".to_vec()), Ok(Published::Again));
        assert_eq!(nodes[0].network.publish(TOPIC, b"good".to_vec()), Ok(Published::Sent));
        let (from, id, _) = gossip(&mut nodes, 1).await;
        assert!(nodes[1].network.verdict(id, from, Verdict::Accept));
        let (from, id, data) = gossip(&mut nodes, 2).await;
        assert_eq!((from, data.as_slice()), (b, &b"good"[..]), "and the others never came");
        assert!(nodes[2].network.verdict(id, from, Verdict::Accept));
        assert!(!nodes[2].unread.iter().any(|e| matches!(e, NetworkEvent::Gossip { .. })));
    }
}

#[tokio::test]
async fn one_invalid_message_costs_the_mesh_and_three_the_connection() {
    let mut nodes = line(Transport::Tcp).await;
    let [a, b] = [nodes[0].id(), nodes[1].id()];
    for n in 0..3 {
        nodes[0].network.publish(TOPIC, vec![n]).unwrap();
        let (from, id, _) = gossip(&mut nodes, 1).await;
        assert!(nodes[1].network.verdict(id, from, Verdict::Reject));
        if n == 0 {
            until_state(&mut nodes, |nodes| !nodes[1].network.mesh(TOPIC).contains(&a)).await;
            assert!(nodes[1].network.is_connected(&a));
        }
    }
    let banned = NetworkEvent::Banned { peer: a, time: Duration::from_secs(600) };
    until(&mut nodes, 1, |e| (*e == banned).then_some(())).await;
    disconnected(&mut nodes, 1, a).await;
    disconnected(&mut nodes, 0, b).await;
    let c = nodes[2].id();
    assert!(nodes[1].network.is_connected(&c), "the others stay");
    // The ban ends by the operator's word, or with its time.
    nodes[1].network.unblock(a);
    until(&mut nodes, 1, |e| (*e == NetworkEvent::Connected { peer: a }).then_some(())).await;
}

#[tokio::test]
async fn a_ban_ends_with_its_time() {
    let mut short = config(2, Transport::Tcp);
    short.ban = Duration::from_millis(50);
    let mut nodes = [Node::start(config(1, Transport::Tcp)).await, Node::start(short).await];
    connect(&mut nodes, 0, 1).await;
    let peer = nodes[0].id();
    for n in 0..3 {
        nodes[1].network.verdict(GossipId([n; 20]), peer, Verdict::Reject);
    }
    disconnected(&mut nodes, 1, peer).await;
    until(&mut nodes, 1, |e| (*e == NetworkEvent::Connected { peer }).then_some(())).await;
}

#[tokio::test]
async fn topics_and_messages_have_limits() {
    let mut limited = config(1, Transport::Tcp);
    limited.limits.topics = 1;
    let mut node = Node::start(limited).await;
    assert_eq!(node.network.subscribe(TOPIC), Ok(true));
    assert_eq!(node.network.subscribe(TOPIC), Ok(false));
    assert_eq!(node.network.subscribe("/ocm/1/vother"), Err(GossipError::TooManyTopics(1)));
    assert!(matches!(node.network.subscribe("/eth2/x"), Err(GossipError::NoTopic(_))));
    assert_eq!(node.network.publish(TOPIC, vec![0]), Ok(Published::Nobody));
    let long = vec![0; GOSSIP_BYTES];
    assert_eq!(node.network.publish(TOPIC, long), Err(GossipError::TooLong(GOSSIP_BYTES)));
}

#[tokio::test]
async fn a_blocked_peer_is_cut_off_in_both_directions() {
    for transport in TRANSPORTS {
        let (mut a, b) = (config(1, transport), Node::start(config(2, transport)).await);
        a.bootstrap = vec![b.address.clone()];
        let mut nodes = [Node::start(a).await, b];
        let [a, b] = [nodes[0].id(), nodes[1].id()];
        let connected =
            |peer| move |e: &NetworkEvent| (*e == NetworkEvent::Connected { peer }).then_some(());
        until(&mut nodes, 0, connected(b)).await;
        until(&mut nodes, 1, connected(a)).await;
        nodes[1].network.block(a);
        disconnected(&mut nodes, 1, a).await;
        disconnected(&mut nodes, 0, b).await;
        // Out: refused here. In: the other side finds the door shut.
        let address = nodes[0].address.clone();
        nodes[1].network.dial(&address).unwrap();
        let outcome = until(&mut nodes, 1, |e| match e {
            NetworkEvent::Dialled { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await;
        assert!(outcome.unwrap_err().contains("block"));
        let address = nodes[1].address.clone();
        nodes[0].network.dial(&address).unwrap();
        until(&mut nodes, 0, |e| matches!(e, NetworkEvent::Dialled { .. }).then_some(())).await;
        until_state(&mut nodes, |nodes| !nodes[0].network.is_connected(&b)).await;
        assert!(!nodes[1].network.is_connected(&a));
        assert!(!nodes[1].unread.contains(&NetworkEvent::Connected { peer: a }));
        nodes[1].network.unblock(a);
        until(&mut nodes, 1, connected(a)).await;
    }
}

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

#[tokio::test]
async fn a_taken_port_is_named_with_its_remedy() {
    for transport in TRANSPORTS {
        let first = Node::start(config(1, transport)).await;
        let mut second = config(2, transport);
        second.port = first.host_port().rsplit(':').next().unwrap().parse().unwrap();
        let error = Network::start(second.clone(), &mut Registry::default()).err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, NetworkError::Listen { port, .. } if port == second.port));
        assert!(text.contains(&second.port.to_string()) && text.contains("OCM_NETWORK_PORT"));
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_an_error() {
    let start = |change: fn(&mut NetworkConfig)| {
        let mut config = config(1, Transport::Tcp);
        change(&mut config);
        Network::start(config, &mut Registry::default()).err()
    };
    assert!(matches!(start(|c| c.tcp = false), Some(NetworkError::NoTransport)));
    assert!(matches!(start(|c| c.bind.clear()), Some(NetworkError::NoAddress)));
    assert!(matches!(
        start(|c| c.bootstrap = vec!["nobody".into()]),
        Some(NetworkError::Bootstrap(AddressError::Form(_)))
    ));
    assert!(matches!(
        start(|c| c.bootstrap = vec!["/ip4/127.0.0.1/udp/1/quic-v1".into()]),
        Some(NetworkError::Bootstrap(AddressError::TurnedOff(_)))
    ));
}

/// A port that is free now.
fn free_port(transport: Transport) -> u16 {
    let address = match transport {
        Transport::Tcp => std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr(),
        Transport::Quic => std::net::UdpSocket::bind("0.0.0.0:0").unwrap().local_addr(),
    };
    address.unwrap().port()
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
    assert!(nodes[0].network.sources().copied_key > 0);
    assert!(nodes[0].network.peers().is_empty());
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
async fn a_part_of_the_connections_is_kept_for_those_begun_here() {
    let mut small = config(1, Transport::Tcp);
    small.limits.connections = 4;
    let mut nodes = vec![Node::start(small).await];
    for n in 2..=5 {
        nodes.push(Node::start(config(n, Transport::Tcp)).await);
    }
    for from in 1..=3 {
        connect(&mut nodes, from, 0).await;
    }
    // The fourth finds no room, and is let in when this node wants it.
    let (full, fourth) = (nodes[0].address.clone(), nodes[4].id());
    nodes[4].network.dial(&full).unwrap();
    until(&mut nodes, 4, |e| matches!(e, NetworkEvent::Dialled { .. }).then_some(())).await;
    until_state(&mut nodes, |nodes| nodes[4].network.peers().is_empty()).await;
    assert_eq!(nodes[0].network.peers().len(), 3);
    assert_eq!(nodes[4].network.forget(&full), Ok(()));
    connect(&mut nodes, 0, 4).await;
    assert!(nodes[0].network.is_connected(&fourth));
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
