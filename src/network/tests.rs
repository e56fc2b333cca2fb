//! Networks on this machine's loopback, talking over real sockets.

mod addresses;
mod gossip;
mod lookup;
mod outside;
mod private;
mod relays;

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
    /// Boxed, for it is large and futures hold several.
    network: Box<Network>,
    registry: Registry,
    /// Where it listens.
    address: String,
    /// What happened and was not waited for.
    unread: Vec<NetworkEvent>,
}

impl Node {
    async fn start(config: NetworkConfig) -> Self {
        let mut registry = Registry::default();
        let network = Box::new(Network::start(config, &mut registry).unwrap());
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
