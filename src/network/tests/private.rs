//! Private networks: a key that both sides must have.

use super::*;

fn private(seed: u8, key: Option<u8>) -> NetworkConfig {
    let key = key.map(|byte| PreSharedKey::new([byte; 32]));
    NetworkConfig { key, ..config(seed, Transport::Tcp) }
}

#[tokio::test]
async fn nodes_with_one_key_speak_to_each_other() {
    let mut nodes =
        [Node::start(private(1, Some(7))).await, Node::start(private(2, Some(7))).await];
    let (address, other) = (nodes[1].host_port(), nodes[1].id());
    nodes[0].network.dial(&address).unwrap();
    until(&mut nodes, 0, |event| match event {
        NetworkEvent::Connected { peer } if *peer == other => Some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn with_another_key_or_none_nobody_is_spoken_to() {
    for (ours, theirs) in [(Some(7), Some(8)), (Some(7), None), (None, Some(7))] {
        let mut nodes =
            [Node::start(private(1, ours)).await, Node::start(private(2, theirs)).await];
        let address = nodes[1].host_port();
        nodes[0].network.dial(&address).unwrap();
        let cause = until(&mut nodes, 0, |event| match event {
            NetworkEvent::Connected { .. } => panic!("{ours:?} and {theirs:?} speak"),
            NetworkEvent::Dialled { outcome, .. } => Some(outcome.clone().unwrap_err()),
            _ => None,
        })
        .await;
        let hint = cause.contains("network.key");
        assert_eq!(hint, ours.is_some(), "{ours:?} and {theirs:?}: {cause}");
        assert!(nodes.iter().all(|node| node.network.peers().is_empty()));
    }
}
