//! What a node tells of where it is reached from outside, and what it does for those who ask it.

use libp2p::core::Transport as _;
use libp2p::core::transport::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::{Config, SwarmEvent};
use libp2p::{Multiaddr, Swarm, autonat, noise, tcp, yamux};

use super::*;

#[tokio::test]
async fn peers_are_told_the_addresses_that_the_owner_gave() {
    let told = "/ip4/203.0.113.7/tcp/9999";
    let external = [format!("{told}/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq")];
    let external = external.iter().map(|text| text.parse().unwrap()).collect();
    let given = NetworkConfig { external, ..config(1, Transport::Tcp) };
    let mut nodes = [Node::start(given).await, Node::start(config(2, Transport::Tcp)).await];
    assert_eq!(nodes[0].network.listen_addresses(), [told, &nodes[0].address]);
    connect(&mut nodes, 0, 1).await;
    // Of what it is told, a peer takes the ports alone.
    let (peer, at) = (nodes[0].id(), "/ip4/127.0.0.1/tcp/9999");
    until_state(&mut nodes, |nodes| nodes[1].network.table.knows(&peer, at)).await;
    assert!(!nodes[1].network.table.knows(&peer, told));
}

/// A swarm that asks whoever it is connected with to dial it, wherever that is.
fn asker() -> Swarm<autonat::Behaviour> {
    let keypair = Keypair::generate_ed25519();
    let peer = keypair.public().to_peer_id();
    let transport = tcp::tokio::Transport::default()
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&keypair).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    let config = autonat::Config {
        boot_delay: Duration::ZERO,
        retry_interval: Duration::from_millis(50),
        throttle_server_period: Duration::ZERO,
        only_global_ips: false,
        ..autonat::Config::default()
    };
    let behaviour = autonat::Behaviour::new(peer, config);
    let config =
        Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
    Swarm::new(transport, behaviour, peer, config)
}

#[tokio::test]
async fn nobody_has_a_node_dial_an_address_that_is_not_public() {
    let mut node = Node::start(config(1, Transport::Tcp)).await;
    let mut asker = asker();
    asker.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    asker.dial(node.address.parse::<Multiaddr>().unwrap()).unwrap();
    let refused = within(async {
        loop {
            tokio::select! {
                _ = node.network.next() => {}
                event = asker.select_next_some() => {
                    let SwarmEvent::Behaviour(autonat::Event::OutboundProbe(
                        autonat::OutboundProbeEvent::Error {
                            error: autonat::OutboundProbeError::Response(error), ..
                        },
                    )) = event
                    else {
                        continue;
                    };
                    return error;
                }
            }
        }
    })
    .await;
    assert_eq!(refused, autonat::ResponseError::DialRefused);
    assert_eq!(node.network.reachability(), Reachability::Unknown);
}
