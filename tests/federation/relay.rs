//! Nodes pass on what they did not write.

use std::cell::RefCell;

use ocm_record::SignedRecord;
use ocm_space::Role;
use ocm_sync::Request;
use serde_json::json;

use crate::node::{MEMBERS, READ_OPEN, TestNode, Transport};
use crate::puppet::{Heard, Puppet, topic};

over_both!(
    a_chain_of_three_shares_both_spaces,
    gossip_is_passed_on_by_who_did_not_write_it,
    a_push_is_passed_on_by_who_did_not_write_it,
);

async fn a_chain_of_three_shares_both_spaces(transport: Transport) {
    let a = TestNode::start(transport, &[]).await;
    let b = TestNode::start(transport, &[&a]).await;
    let c = TestNode::start(transport, &[&b]).await;
    let open = a.create_space("open", READ_OPEN).await;
    let closed = a.create_space("closed", MEMBERS).await;
    for node in [&b, &c] {
        node.join(open).await;
        node.join(closed).await;
        a.grant(closed, node.did(), Role::Writer).await;
        a.grant(open, node.did(), Role::Writer).await;
    }
    for n in 0..5 {
        for (space, others) in [(open, [&b, &c]), (closed, [&b, &c])] {
            let memory = a.write(space, &json!({"n": n})).await.unwrap();
            for node in others {
                node.until_content(space, 2 * n + 1).await;
                assert_eq!(node.content(space, memory), json!({"n": n}));
            }
            c.until_writer(space).await;
            let memory = c.write(space, &json!({"back": n})).await.unwrap();
            for node in [&a, &b] {
                node.until_content(space, 2 * n + 2).await;
                assert_eq!(node.content(space, memory), json!({"back": n}));
            }
        }
    }
    b.until_equal(open, 2).await;
    b.until_equal(closed, 2).await;
    assert_eq!(a.connections(), [b.running.peer], "the ends of the chain never met");
    assert_eq!(c.connections(), [b.running.peer]);
}

async fn gossip_is_passed_on_by_who_did_not_write_it(transport: Transport) {
    let author = TestNode::start(transport, &[]).await;
    let space = author.create_space("square", READ_OPEN).await;
    let relay = TestNode::start(transport, &[&author]).await;
    relay.join(space).await;
    author.write(space, &json!({"title": "before"})).await.unwrap();
    relay.until_content(space, 1).await;

    let mut listener = Puppet::start(transport, 3);
    listener.meet(&relay).await;
    listener.join_gossip(&relay, space).await;
    // What is written before the author's mesh holds the relay arrives there by comparison, and
    // gossip never carries it: one after the other is written until gossip carries one.
    let written = RefCell::new(Vec::new());
    let writing = async {
        for count in 2.. {
            let memory = author.write(space, &json!({"title": "passed on"})).await.unwrap();
            written.borrow_mut().push(memory.0);
            relay.until_content(space, count).await;
        }
    };
    let by = relay.running.peer;
    let hearing = listener.until("a record comes by gossip", |listener| {
        listener.heard.iter().find_map(|heard| match heard {
            Heard::Gossip { peer, topic: on, data } if *on == topic(space) => {
                let record = SignedRecord::decode(data).unwrap().verify().unwrap();
                written.borrow().contains(&record.id()).then(|| assert_eq!(*peer, by))
            }
            _ => None,
        })
    });
    tokio::select! {
        () = hearing => {}
        () = writing => {}
    }
    assert!(!author.connections().contains(&listener.id()));
}

async fn a_push_is_passed_on_by_who_did_not_write_it(transport: Transport) {
    let author = TestNode::start(transport, &[]).await;
    let space = author.create_space("camp", MEMBERS).await;
    let relay = TestNode::start(transport, &[&author]).await;
    relay.join(space).await;
    let mut listener = Puppet::start(transport, 4);
    author.grant(space, relay.did(), Role::Relay).await;
    author.grant(space, listener.did(), Role::Reader).await;
    author.write(space, &json!({"title": "before"})).await.unwrap();
    relay.until_content(space, 1).await;

    listener.shares.push(space);
    listener.meet(&relay).await;
    let by = relay.running.peer;
    listener
        .until("the relay compares with it", |listener| {
            let tag = listener.tag_from(by, space);
            listener
                .heard
                .iter()
                .any(|heard| matches!(heard, Heard::Request(_, Request::Parity { tag: t, .. }) if *t == tag))
                .then_some(())
        })
        .await;
    let written = author.write(space, &json!({"title": "passed on"})).await.unwrap();
    listener
        .until("the record is pushed", |listener| {
            listener.heard.iter().find_map(|heard| match heard {
                Heard::Request(peer, Request::Push { records, .. }) => {
                    records.iter().find_map(|bytes| {
                        let record = SignedRecord::decode(bytes).unwrap().verify().unwrap();
                        (record.id() == written.0).then(|| assert_eq!(*peer, by))
                    })
                }
                _ => None,
            })
        })
        .await;
    assert!(!author.connections().contains(&listener.id()));
}
