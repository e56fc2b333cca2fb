//! A node without a network is a whole node.

use ocm::handle::{NetworkCommand, NetworkFailure};
use serde_json::json;

use crate::node::{MEMBERS, Place, Transport};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_network_works_locally() {
    let place = Place::new(Transport::Tcp, &[("network.enable_network_calls", "false")]);
    let node = place.start(&[]).await;
    let space = node.create_space("mine", MEMBERS).await;
    let memory = node.write(space, &json!({"title": "alone"})).await.unwrap();
    node.patch(space, memory, &json!({"title": "still alone"})).await;
    let status = node.handle().status();
    assert_eq!((status.network.listen.len(), status.core.peers.len()), (0, 0));
    let peer = node.running.peer;
    let commands = [
        NetworkCommand::Connect("127.0.0.1:9".into()),
        NetworkCommand::Ping(peer),
        NetworkCommand::Block(peer),
    ];
    for command in commands {
        let answer = node.handle().network(command).await.unwrap();
        assert_eq!(answer, Err(NetworkFailure::Off));
    }
    let node = node.restart(&[]).await;
    assert_eq!(node.content(space, memory), json!({"title": "still alone"}));
    assert_eq!(node.count(space), 2);
}
