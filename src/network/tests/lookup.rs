//! Nodes that find each other by the spaces they hold.

use std::collections::BTreeSet;

use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig, RecordStore as _};
use libp2p::swarm::SwarmEvent;
use libp2p::{StreamProtocol, Swarm, identify, kad};
use ocm_discovery::LookupKey;
use ocm_node::Allowed;
use ocm_record::{RecordId, SpaceId};

use super::*;

fn space(n: u8) -> SpaceId {
    SpaceId(RecordId::from_bytes([n; 40]))
}

fn server(seed: u8, transport: Transport) -> NetworkConfig {
    NetworkConfig { lookup: Some(LookupMode::Server), ..config(seed, transport) }
}

/// A node that knows one other, and looks up.
fn client(seed: u8, transport: Transport, known: &Node) -> NetworkConfig {
    let bootstrap = vec![known.address.clone()];
    NetworkConfig { lookup: Some(LookupMode::Client), bootstrap, ..config(seed, transport) }
}

async fn holder(config: NetworkConfig, holds: u8) -> Node {
    let mut node = Node::start(config).await;
    node.network.look_up(space(holds));
    node
}

/// What is said of the lookup.
fn said(node: &Node) -> (Health, String) {
    let sources = node.network.sources().sources;
    let lookup = sources.into_iter().find(|source| source.source == Source::Lookup).unwrap();
    (lookup.health, lookup.detail)
}

fn names(node: &Node) -> BTreeSet<PeerId> {
    node.network.peers().iter().map(|info| info.peer).collect()
}

#[tokio::test]
async fn who_holds_a_space_finds_the_others_that_do_and_nobody_else() {
    for transport in TRANSPORTS {
        let known = Node::start(server(1, transport)).await;
        let idle = NetworkConfig { lookup: None, ..client(6, transport, &known) };
        let mut nodes = Vec::new();
        for (seed, holds) in [(2, 7), (3, 7), (4, 7), (5, 8)] {
            nodes.push(holder(client(seed, transport, &known), holds).await);
        }
        nodes.push(holder(idle, 7).await);
        nodes.push(known);
        let ids: Vec<PeerId> = nodes.iter().map(Node::id).collect();
        let of = |wanted: &[usize]| wanted.iter().map(|n| ids[*n]).collect::<BTreeSet<_>>();
        let all = [of(&[1, 2, 5]), of(&[0, 2, 5]), of(&[0, 1, 5])];
        let kept = "4 announcements of others are kept, of 2 spaces";
        until_state(&mut nodes, |nodes| {
            let met = all.iter().zip(nodes).all(|(wanted, node)| names(node) == *wanted);
            met && said(&nodes[5]).1.ends_with(kept)
        })
        .await;
        assert_eq!(names(&nodes[3]), of(&[5]), "it holds another space");
        assert_eq!(names(&nodes[4]), of(&[5]), "it is switched off there");
        assert_eq!(said(&nodes[4]), (Health::Off, "switched off".to_owned()));
        assert_eq!(said(&nodes[5]).0, Health::Working);
        let (health, detail) = said(&nodes[0]);
        assert_eq!(health, Health::Working);
        assert!(detail.contains("1 nodes can be asked") && detail.contains("1 spaces"), "{detail}");
        let found = nodes[..3].iter().flat_map(|node| node.network.peers());
        let found = found.filter(|info| info.source == Source::Lookup).count();
        assert!(found >= 3, "of each two one found the other: {found}");
        let mut scrape = String::new();
        encode(&mut scrape, &nodes[0].registry).unwrap();
        assert!(scrape.contains("libp2p_kad_query_result_get_providers_ok"), "{scrape}");
    }
}

#[tokio::test]
async fn one_that_nobody_was_met_to_ask_says_so_and_asks_who_comes() {
    let mut nodes = vec![
        holder(NetworkConfig { lookup: Some(LookupMode::Client), ..config(1, Transport::Tcp) }, 7)
            .await,
        Node::start(config(2, Transport::Tcp)).await,
    ];
    connect(&mut nodes, 0, 1).await;
    let (health, detail) = said(&nodes[0]);
    assert!(matches!(health, Health::Troubled(_)) && detail.contains("nobody to ask"), "{detail}");
    nodes.push(Node::start(server(3, Transport::Tcp)).await);
    // It comes to the one that asks.
    connect(&mut nodes, 2, 0).await;
    until_state(&mut nodes, |nodes| said(&nodes[2]).1.contains("1 announcements")).await;
}

#[tokio::test]
async fn whoever_is_many_nodes_away_is_found() {
    let mut nodes = vec![Node::start(server(1, Transport::Tcp)).await];
    for seed in 2..=10 {
        let bootstrap = vec![nodes.last().unwrap().address.clone()];
        let next = NetworkConfig { bootstrap, ..server(seed, Transport::Tcp) };
        nodes.push(Node::start(next).await);
    }
    // Each of the two knows one end of the chain.
    let ends = [&nodes[0], &nodes[9]].map(|end| end.address.clone());
    for (seed, end) in (11..).zip(ends) {
        let lookup = Some(LookupMode::Client);
        let config = NetworkConfig { lookup, bootstrap: vec![end], ..config(seed, Transport::Tcp) };
        nodes.push(holder(config, 7).await);
    }
    let [a, b] = [nodes[10].id(), nodes[11].id()];
    until_state(&mut nodes, |nodes| {
        nodes[10].network.is_connected(&b) && nodes[11].network.is_connected(&a)
    })
    .await;
}

/// A, which holds a space with B; both know S, and T knows S, too. B found, A is connected with all.
async fn with_a_stranger() -> [Node; 4] {
    let s = Node::start(server(1, Transport::Tcp)).await;
    let known = vec![s.address.clone()];
    let t = NetworkConfig { bootstrap: known, ..server(2, Transport::Tcp) };
    let mut nodes = vec![s, Node::start(t).await];
    until_state(&mut nodes, |nodes| said(&nodes[0]).1.contains("1 nodes can be asked")).await;
    for seed in [3, 4] {
        let config = client(seed, Transport::Tcp, &nodes[0]);
        nodes.push(holder(config, 7).await);
    }
    let mut nodes: [Node; 4] = nodes.try_into().ok().unwrap();
    let [t, b] = [nodes[1].id(), nodes[3].id()];
    until_state(&mut nodes, |nodes| {
        let a = &nodes[2].network;
        let idle = nodes[2..].iter().all(|node| said(node).1.contains("2 answered last"));
        a.is_connected(&t) && a.is_connected(&b) && idle
    })
    .await;
    nodes
}

#[tokio::test]
async fn strangers_are_left_and_those_who_share_a_space_are_not() {
    let mut nodes = Box::pin(with_a_stranger()).await;
    let [s, t, a, b] = [0, 1, 2, 3].map(|n: usize| nodes[n].id());
    let found = |nodes: &[Node; 4], peer| {
        nodes[2].network.peers().iter().find(|info| info.peer == peer).unwrap().source
    };
    assert_eq!(found(&nodes, s), Source::Bootstrap);
    assert_eq!(found(&nodes, t), Source::Lookup, "it was asked, for it is near the key");
    assert!(nodes[2].network.worth_remembering().iter().all(|known| known.peer != t));
    nodes[2].network.shares_with([b]);
    nodes[3].network.shares_with([a]);
    assert!(nodes[2].network.is_stranger(&t));
    nodes[2].network.reservations.entry(t).or_default();
    assert!(!nodes[2].network.is_stranger(&t), "it relays for this node");
    nodes[2].network.reservations.clear();
    nodes[2].network.leave_strangers(0);
    assert!(nodes[2].network.is_connected(&t), "a moment ago");
    nodes[2].network.leave_strangers(u64::MAX);
    disconnected(&mut nodes, 2, t).await;
    disconnected(&mut nodes, 1, a).await;
    assert_eq!(names(&nodes[2]), [s, b].into());
    for (at, gone) in [(2, t), (1, a)] {
        let table = &nodes[at].network.table;
        assert_eq!(table.source(&gone), None, "neither dials the other for having met it");
    }
}

#[tokio::test]
async fn who_was_found_is_remembered_when_it_is_gone() {
    let mut nodes = Box::pin(with_a_stranger()).await;
    let [stranger, own, found] = [1, 2, 3].map(|n: usize| nodes[n].id());
    // Whoever came has said where it listens.
    until_state(&mut nodes, |nodes| {
        let peers = nodes[2].network.peers();
        peers.iter().any(|info| info.peer == found && info.agent.is_some())
    })
    .await;
    let [s, t, a, b] = nodes;
    let mut nodes = [s, t, a];
    nodes[2].network.shares_with([found]);
    // It stops.
    let mut stopped = b;
    stopped.network.disconnect(own);
    until_state(std::slice::from_mut(&mut stopped), |nodes| !nodes[0].network.is_connected(&own))
        .await;
    drop(stopped);
    disconnected(&mut nodes, 2, found).await;
    nodes[2].network.disconnect(stranger);
    disconnected(&mut nodes, 2, stranger).await;
    nodes[2].network.shares_with([]);
    let remembered = nodes[2].network.worth_remembering();
    let is_remembered = |peer| remembered.iter().any(|known| known.peer == peer);
    assert!(is_remembered(found), "{remembered:?}");
    assert!(!is_remembered(stranger), "no space was shared with it");
}

#[tokio::test]
async fn who_is_not_spoken_to_is_neither_dialled_nor_kept_by_lookups() {
    let known = Node::start(server(1, Transport::Tcp)).await;
    let blocking = client(2, Transport::Tcp, &known);
    let listing = client(3, Transport::Tcp, &known);
    let [blocked, unlisted] = [4, 5].map(|seed| client(seed, Transport::Tcp, &known));
    let listed = [known.id(), PeerId::new(blocked.peer_key.public())].into();
    let allowed = Some(Allowed { peers: listed, ..Allowed::default() });
    let blocked_name = PeerId::new(blocked.peer_key.public());
    let mut nodes = vec![
        holder(NetworkConfig { blocked: vec![blocked_name], ..blocking }, 7).await,
        holder(NetworkConfig { allowed, ..listing }, 7).await,
        holder(blocked, 7).await,
        holder(unlisted, 7).await,
        known,
    ];
    let ids: Vec<PeerId> = nodes.iter().map(Node::id).collect();
    let pairs = [(0, 3), (1, 2), (2, 3)];
    until_state(&mut nodes, |nodes| {
        pairs.iter().all(|(one, other)| nodes[*one].network.is_connected(&ids[*other]))
    })
    .await;
    for (one, other) in [(0, 2), (1, 0), (1, 3)] {
        assert!(!nodes[one].network.is_connected(&ids[other]), "{one} and {other}");
        assert_eq!(nodes[one].network.table.source(&ids[other]), None);
    }
}

#[tokio::test]
async fn who_has_yet_to_prove_its_did_is_not_answered() {
    let did = ocm_record::Did::from(SigningKey::from_seed(&[9; 32]).public());
    let allowed = Some(Allowed { dids: [did].into(), ..Allowed::default() });
    let known = Node::start(NetworkConfig { allowed, ..server(1, Transport::Tcp) }).await;
    let config = client(2, Transport::Tcp, &known);
    let mut nodes = [known, holder(config, 7).await];
    let peer = nodes[1].id();
    until(&mut nodes, 0, |e| (*e == NetworkEvent::Connected { peer }).then_some(())).await;
    let hears = |node: &Node| {
        let lookup = node.network.swarm.behaviour().lookup.as_ref().unwrap();
        lookup.speaks_to(&to_libp2p(&peer).unwrap())
    };
    assert!(!hears(&nodes[0]));
    nodes[0].network.trust(peer);
    assert!(hears(&nodes[0]));
    let disconnected_peer = nodes[0].id();
    nodes[1].network.disconnect(disconnected_peer);
    disconnected(&mut nodes, 0, peer).await;
    until(&mut nodes, 0, |e| (*e == NetworkEvent::Connected { peer }).then_some(())).await;
    assert!(!hears(&nodes[0]), "once more, for another connection");
}

#[tokio::test]
async fn who_has_yet_to_prove_its_did_learns_of_no_space() {
    let did = ocm_record::Did::from(SigningKey::from_seed(&[9; 32]).public());
    let allowed = Some(Allowed { dids: [did].into(), ..Allowed::default() });
    let lookup = Some(LookupMode::Client);
    let choosy = NetworkConfig { allowed, lookup, ..config(1, Transport::Tcp) };
    let mut nodes = [holder(choosy, 7).await, Node::start(server(2, Transport::Tcp)).await];
    let peer = nodes[1].id();
    let speaks = |nodes: &[Node]| {
        let peers = nodes[0].network.peers();
        !peers.is_empty() && peers.iter().all(|peer| peer.agent.is_some())
    };
    let nobody = |nodes: &[Node]| said(&nodes[0]).1.contains("nobody to ask");
    // It comes, and is turned away.
    connect(&mut nodes, 1, 0).await;
    until_state(&mut nodes, speaks).await;
    assert!(nobody(&nodes), "{}", said(&nodes[0]).1);
    nodes[0].network.disconnect(peer);
    disconnected(&mut nodes, 0, peer).await;
    assert!(nobody(&nodes) && nodes[0].network.lookups.is_idle());
    // It comes again, and proves itself.
    until_state(&mut nodes, speaks).await;
    assert!(nobody(&nodes), "{}", said(&nodes[0]).1);
    nodes[0].network.trust(peer);
    until_state(&mut nodes, |nodes| said(&nodes[1]).1.contains("1 announcements")).await;
    assert!(said(&nodes[0]).1.contains("1 nodes can be asked"));
    nodes[0].network.block(peer);
    assert!(nobody(&nodes), "{}", said(&nodes[0]).1);
}

/// A peer that speaks the protocol by the library alone, and says what it likes.
#[derive(libp2p::swarm::NetworkBehaviour)]
#[behaviour(to_swarm = "Said")]
struct Stranger {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
}

#[derive(Debug)]
enum Said {
    Kad(Box<kad::Event>),
    Identify,
}

impl From<kad::Event> for Said {
    fn from(event: kad::Event) -> Self {
        Self::Kad(Box::new(event))
    }
}

impl From<identify::Event> for Said {
    fn from(_: identify::Event) -> Self {
        Self::Identify
    }
}

fn stranger() -> Swarm<Stranger> {
    let mut config = kad::Config::new(StreamProtocol::new(LOOKUP_PROTOCOL));
    config.set_substreams_timeout(Duration::from_secs(1));
    let (tcp, yamux) = (libp2p::tcp::Config::default(), libp2p::yamux::Config::default);
    let swarm = libp2p::SwarmBuilder::with_new_identity().with_tokio();
    let mut swarm = swarm
        .with_tcp(tcp, libp2p::noise::Config::new, yamux)
        .unwrap()
        .with_behaviour(|key| {
            let own = key.public().to_peer_id();
            let store = MemoryStoreConfig { max_providers_per_key: 1000, ..Default::default() };
            let store = MemoryStore::with_config(own, store);
            let identify = identify::Config::new("ocm/1".to_owned(), key.public());
            Stranger {
                kad: kad::Behaviour::with_config(own, store, config),
                identify: identify::Behaviour::new(identify),
            }
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    swarm.behaviour_mut().kad.set_mode(Some(kad::Mode::Server));
    swarm
}

/// Drives a stranger and nodes until `wanted` finds what it waits for in what the stranger says, or
/// in the nodes.
async fn with_stranger<T>(
    swarm: &mut Swarm<Stranger>,
    nodes: &mut [Node],
    mut wanted: impl FnMut(&[Node], Option<&SwarmEvent<Said>>) -> Option<T>,
) -> T {
    within(async {
        loop {
            let mut said = None;
            tokio::select! {
                event = swarm.select_next_some() => said = Some(event),
                (n, event) = next_of(nodes) => nodes[n].unread.push(event),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
            if let Some(found) = wanted(nodes, said.as_ref()) {
                return found;
            }
        }
    })
    .await
}

#[tokio::test]
async fn made_up_answers_lead_to_nobody_and_are_named() {
    let mut liar = stranger();
    liar.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let bystander = Node::start(config(2, Transport::Tcp)).await;
    let key = kad::RecordKey::new(LookupKey::of(&space(7)).as_bytes());
    for _ in 0..1000 {
        let made_up = Keypair::generate_ed25519().public().to_peer_id();
        let addresses = vec![bystander.address.parse().unwrap()];
        let record = kad::ProviderRecord::new(key.clone(), made_up, addresses);
        liar.behaviour_mut().kad.store_mut().add_provider(record).unwrap();
    }
    let mut nodes = [bystander];
    let place = with_stranger(&mut liar, &mut nodes, |_, said| match said {
        Some(SwarmEvent::NewListenAddr { address, .. }) => Some(address.to_string()),
        _ => None,
    })
    .await;
    let asks = NetworkConfig {
        lookup: Some(LookupMode::Client),
        bootstrap: vec![place],
        ..config(1, Transport::Tcp)
    };
    let mut nodes = [nodes.into_iter().next().unwrap(), holder(asks, 7).await];
    let detail = with_stranger(&mut liar, &mut nodes, |nodes, _| match said(&nodes[1]) {
        (Health::Troubled(_), detail) if detail.contains("an address was false") => Some(detail),
        _ => None,
    })
    .await;
    assert!(detail.contains("20 peers were told of"), "as many as one answer has: {detail}");
    let liar = from_libp2p(liar.local_peer_id()).unwrap();
    let met = names(&nodes[1]);
    assert!(met.is_subset(&[liar, nodes[0].id()].into()), "who is there is who it is: {met:?}");
    assert!(nodes[1].network.table.len() <= 22);
}

#[tokio::test]
async fn values_are_not_stored() {
    let mut nodes = [Node::start(server(1, Transport::Tcp)).await];
    let mut swarm = stranger();
    let name = to_libp2p(&nodes[0].id()).unwrap();
    swarm.behaviour_mut().kad.add_address(&name, nodes[0].address.parse().unwrap());
    // It is heard, and keeps announcements.
    swarm.add_external_address("/ip4/127.0.0.1/tcp/9".parse().unwrap());
    swarm.behaviour_mut().kad.start_providing(kad::RecordKey::new(&[7; 32])).unwrap();
    with_stranger(&mut swarm, &mut nodes, |nodes, _| {
        said(&nodes[0]).1.contains("1 announcements").then_some(())
    })
    .await;
    let record = kad::Record::new(vec![7; 32], vec![1; 1000]);
    swarm.behaviour_mut().kad.put_record(record, kad::Quorum::One).unwrap();
    let stored = with_stranger(&mut swarm, &mut nodes, |_, said| match said {
        Some(SwarmEvent::Behaviour(Said::Kad(event))) => match &**event {
            kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::PutRecord(result),
                ..
            } => Some(result.clone()),
            _ => None,
        },
        _ => None,
    })
    .await;
    assert!(matches!(
        stored,
        Err(kad::PutRecordError::QuorumFailed { success, .. }) if success.is_empty()
    ));
}
