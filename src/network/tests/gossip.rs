//! What gossip passes on, and what it costs to send what is invalid.

use super::*;

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
        let mut nodes = Box::pin(line(transport)).await;
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
    let mut nodes = Box::pin(line(Transport::Tcp)).await;
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
