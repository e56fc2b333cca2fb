//! What is written on one node is read on the others.

use ocm_space::Role;
use serde_json::json;

use crate::node::{MEMBERS, READ_OPEN, TestNode, Transport};

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_over_tcp() {
    three_nodes(Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_over_quic() {
    three_nodes(Transport::Quic).await;
}

/// Two nodes share two spaces; a third knows only the second of them, and joins late.
async fn three_nodes(transport: Transport) {
    let a = TestNode::start(transport, &[]).await;
    let open = a.create_space("open", READ_OPEN).await;
    let closed = a.create_space("closed", MEMBERS).await;
    let first = a.write(open, &json!({"title": "first"})).await.unwrap();
    let hidden = a.write(closed, &json!({"title": "hidden"})).await.unwrap();

    let b = TestNode::start(transport, &[&a]).await;
    b.join(open).await;
    b.join(closed).await;
    a.grant(open, b.did(), Role::Writer).await;
    a.grant(closed, b.did(), Role::Writer).await;
    b.until_content(open, 1).await;
    b.until_content(closed, 1).await;
    assert_eq!(b.content(open, first), json!({"title": "first"}));
    assert_eq!(b.content(closed, hidden), json!({"title": "hidden"}));

    // The late joiner knows only b, gets what a wrote, and nothing of what it may not read.
    let c = TestNode::start(transport, &[&b]).await;
    c.join(open).await;
    c.join(closed).await;
    c.until_content(open, 1).await;
    assert_eq!(c.content(open, first), json!({"title": "first"}));

    b.until_writer(open).await;
    let second = b.write(open, &json!({"title": "second"})).await.unwrap();
    a.until_content(open, 2).await;
    c.until_content(open, 2).await;
    assert_eq!(c.content(open, second), json!({"title": "second"}));
    assert!(c.write(open, &json!({"title": "no right"})).await.is_err());

    let more = a.write(closed, &json!({"title": "more"})).await.unwrap();
    b.until_content(closed, 2).await;
    assert_eq!(b.content(closed, more), json!({"title": "more"}));
    a.until_equal(open, 1).await;
    b.until_equal(open, 2).await;
    let status = c.handle().status();
    let held = status.core.spaces.iter().find(|space| space.id == closed).unwrap();
    assert_eq!((held.parity.authority.count, held.parity.content.count), (0, 0));
    assert!(status.core.peers.iter().all(|peer| !peer.shared.contains_key(&closed)));
}
