//! What is too large for gossip travels as a header, and its body is fetched.

use ocm_record::SignedRecord;
use serde_json::json;

use crate::node::{READ_OPEN, TestNode, Transport};
use crate::puppet::{Heard, Puppet};

over_both!(a_large_body_is_announced_and_fetched);

async fn a_large_body_is_announced_and_fetched(transport: Transport) {
    let a = TestNode::start(transport, &[]).await;
    let space = a.create_space("square", READ_OPEN).await;
    let b = TestNode::start(transport, &[&a]).await;
    b.join(space).await;
    let c = TestNode::start(transport, &[&b]).await;
    c.join(space).await;
    a.write(space, &json!({"title": "small"})).await.unwrap();
    c.until_content(space, 1).await;

    let mut listener = Puppet::start(transport, 30);
    listener.meet(&c).await;
    listener.join_gossip(&c, space).await;
    let text = "0123456789".repeat(5 * 1024);
    let large = a.write(space, &json!({"title": "large", "text": text})).await.unwrap();
    for node in [&b, &c] {
        listener.during(node.until_content(space, 2)).await;
        assert_eq!(node.content(space, large)["text"], json!(text));
        assert_eq!(node.handle().status().core.held, (0, 0));
    }
    // Two hops further on it is still announced, without its body.
    listener
        .until("it is announced", |listener| {
            listener.heard.iter().find_map(|heard| match heard {
                Heard::Gossip { data, .. } => {
                    let record = SignedRecord::decode(data).unwrap();
                    (record.id() == large.0).then(|| {
                        assert!(!record.has_body() && data.len() < 1024, "{} bytes", data.len());
                    })
                }
                _ => None,
            })
        })
        .await;
    // Nobody is blamed for a header without its body.
    assert_eq!((b.connections().len(), c.connections().len()), (2, 2));
    assert_eq!(b.admissions("reject", "wrong_body"), 0);
}
