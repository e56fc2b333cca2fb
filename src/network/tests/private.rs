//! Private networks: a key that both sides must have, and lists of those that are spoken to.

use ocm_node::Allowed;

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

#[tokio::test]
async fn where_peer_ids_are_listed_others_are_refused_before_a_word() {
    for transport in TRANSPORTS {
        let friend = Node::start(config(2, transport)).await;
        let allowed = Allowed { peers: [friend.id()].into(), ..Allowed::default() };
        let choosy = NetworkConfig { allowed: Some(allowed), ..config(1, transport) };
        let mut nodes =
            [Node::start(choosy).await, friend, Node::start(config(3, transport)).await];
        let (address, own) = (nodes[0].address.clone(), nodes[0].id());
        for at in [2, 1] {
            nodes[at].network.dial(&address).unwrap();
        }
        until(&mut nodes, 1, |e| (*e == NetworkEvent::Connected { peer: own }).then_some(())).await;
        until(&mut nodes, 2, |e| matches!(e, NetworkEvent::Dialled { .. }).then_some(())).await;
        until_state(&mut nodes, |nodes| !nodes[2].network.is_connected(&own)).await;
        let (friend, stranger) = (nodes[1].id(), nodes[2].id());
        assert!(nodes[0].network.is_connected(&friend));
        assert!(!nodes[0].unread.contains(&NetworkEvent::Connected { peer: stranger }));
        let address = nodes[2].address.clone();
        nodes[0].network.dial(&address).unwrap();
        let outcome = until(&mut nodes, 0, |e| match e {
            NetworkEvent::Dialled { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await;
        assert!(outcome.unwrap_err().contains("allow"), "nor does this node go to them");
    }
}

#[tokio::test]
async fn who_is_not_listed_by_peer_id_is_not_remembered_from_an_earlier_run() {
    let [friend, stranger] = [2, 3].map(|n| PeerId::new(SigningKey::from_seed(&[n; 32]).public()));
    let known = |peer| Remembered {
        peer,
        addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()],
        last: now_ms(),
    };
    let remembered = vec![known(friend), known(stranger)];
    let allowed = Some(Allowed { peers: [friend].into(), ..Allowed::default() });
    let config = NetworkConfig { allowed, remembered, ..config(1, Transport::Tcp) };
    let node = Node::start(config).await;
    let peers: Vec<PeerId> =
        node.network.worth_remembering().into_iter().map(|known| known.peer).collect();
    assert_eq!(peers, [friend]);
}

#[tokio::test]
async fn who_is_turned_away_is_not_remembered_and_who_proves_itself_is() {
    let did = ocm_record::Did::from(SigningKey::from_seed(&[9; 32]).public());
    let allowed = Some(Allowed { dids: [did].into(), ..Allowed::default() });
    let choosy = NetworkConfig { allowed, ..config(1, Transport::Tcp) };
    let mut nodes = [
        Node::start(choosy).await,
        Node::start(config(2, Transport::Tcp)).await,
        Node::start(config(3, Transport::Tcp)).await,
    ];
    let (friend, stranger) = (nodes[1].id(), nodes[2].id());
    connect(&mut nodes, 0, 1).await;
    connect(&mut nodes, 0, 2).await;
    let remembers = |nodes: &[Node]| -> Vec<PeerId> {
        nodes[0].network.worth_remembering().into_iter().map(|known| known.peer).collect()
    };
    assert_eq!(remembers(&nodes), [], "nobody has proved anything");
    nodes[0].network.trust(friend);
    for peer in [friend, stranger] {
        assert_eq!(remembers(&nodes), [friend]);
        nodes[0].network.disconnect(peer);
        disconnected(&mut nodes, 0, peer).await;
    }
    assert!(!remembers(&nodes).contains(&stranger));
}

#[tokio::test]
async fn who_has_proved_nothing_yet_has_no_part_in_gossip() {
    let did = ocm_record::Did::from(SigningKey::from_seed(&[9; 32]).public());
    let allowed = Allowed { dids: [did].into(), ..Allowed::default() };
    let choosy = NetworkConfig { allowed: Some(allowed), ..config(1, Transport::Tcp) };
    let mut nodes = [Node::start(choosy).await, Node::start(config(2, Transport::Tcp)).await];
    let other = nodes[1].id();
    for node in &mut nodes {
        node.network.subscribe(TOPIC).unwrap();
    }
    connect(&mut nodes, 0, 1).await;
    // What it says comes after that it listens, so that this is known then.
    within(async {
        for n in 0_u32.. {
            if nodes[1].network.publish(TOPIC, n.to_be_bytes().into()) == Ok(Published::Sent) {
                return;
            }
            let soon = tokio::time::timeout(Duration::from_millis(10), next_of(&mut nodes)).await;
            if let Ok((at, event)) = soon {
                nodes[at].unread.push(event);
            }
        }
    })
    .await;
    until(&mut nodes, 0, |e| matches!(e, NetworkEvent::Gossip { .. }).then_some(())).await;
    assert_ne!(nodes[0].network.publish(TOPIC, b"before".to_vec()), Ok(Published::Sent));
    nodes[0].network.trust(other);
    assert_eq!(nodes[0].network.publish(TOPIC, b"after".to_vec()), Ok(Published::Sent));
    let first = until(&mut nodes, 1, |e| match e {
        NetworkEvent::Gossip { data, .. } => Some(data.clone()),
        _ => None,
    })
    .await;
    assert_eq!(first, b"after");
}

#[tokio::test]
async fn who_was_blocked_in_an_earlier_run_is_blocked_in_this_one() {
    let other = Node::start(config(2, Transport::Tcp)).await;
    let blocked = vec![other.id()];
    let mut nodes =
        [Node::start(NetworkConfig { blocked, ..config(1, Transport::Tcp) }).await, other];
    let (address, own) = (nodes[0].address.clone(), nodes[0].id());
    assert_eq!(nodes[0].network.blocked().count(), 1);
    nodes[1].network.dial(&address).unwrap();
    until(&mut nodes, 1, |e| matches!(e, NetworkEvent::Dialled { .. }).then_some(())).await;
    until_state(&mut nodes, |nodes| !nodes[1].network.is_connected(&own)).await;
    assert!(nodes[0].network.peers().is_empty());
}
