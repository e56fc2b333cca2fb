//! Nobody is punished for saying a thing twice, or for coming back.

use ocm_space::Role;
use ocm_sync::PushVerdict;
use serde_json::json;

use crate::node::{READ_OPEN, TestNode, Transport};
use crate::puppet::Puppet;

over_both!(duplicates_cost_nothing, restarts_cost_nothing);

async fn duplicates_cost_nothing(transport: Transport) {
    let node = TestNode::start(transport, &[]).await;
    let space = node.create_space("square", READ_OPEN).await;
    let mut puppet = Puppet::start(transport, 40);
    let grant = node.grant(space, puppet.did(), Role::Writer).await;
    puppet.meet(&node).await;
    puppet.join_gossip(&node, space).await;
    let record = puppet.sign(space, vec![grant], &json!({"title": "once"})).encode();
    assert_eq!(
        puppet.push(&node, space, std::slice::from_ref(&record)).await,
        [PushVerdict::Accept]
    );
    for _ in 0..20 {
        let twice = [record.clone(), record.clone()];
        assert_eq!(puppet.push(&node, space, &twice).await, [PushVerdict::Duplicate; 2]);
    }
    // Known by one way, it comes by the other; and two new ones, twice in one page.
    puppet.publish(space, record).await;
    puppet
        .during(node.until("sees the duplicate", |status| {
            status.core.admissions.get(&("duplicate", "none")).is_some_and(|n| *n >= 41)
        }))
        .await;
    let new = puppet.sign(space, vec![grant], &json!({"title": "twice"})).encode();
    let verdicts = puppet.push(&node, space, &[new.clone(), new]).await;
    assert_eq!(verdicts, [PushVerdict::Accept, PushVerdict::Duplicate]);
    for n in 0..5 {
        let record = puppet.sign(space, vec![grant], &json!({"n": n})).encode();
        puppet.publish(space, record.clone()).await;
        puppet.during(node.until_content(space, 3 + n)).await;
        assert_eq!(puppet.push(&node, space, &[record]).await, [PushVerdict::Duplicate]);
    }
    assert_eq!(node.connections(), [puppet.id()]);
    assert!(puppet.connected.contains(&node.running.peer));
    assert_eq!(node.space(space).tallies.equivocations, 0);
    assert_eq!(node.handle().status().core.refused, []);
}

/// A node that comes and goes, in good order and without a word, is welcome every time.
async fn restarts_cost_nothing(transport: Transport) {
    let node = TestNode::start(transport, &[]).await;
    let space = node.create_space("square", READ_OPEN).await;
    let mut other = TestNode::start(transport, &[&node]).await;
    other.join(space).await;
    for n in 0..6 {
        node.write(space, &json!({"n": n})).await.unwrap();
        other.until_content(space, n + 1).await;
        other.until_equal(space, 1).await;
        other = other.restart(&[&node]).await;
    }
    for n in 0..6 {
        let mut puppet = Puppet::start(transport, 41);
        puppet.meet(&node).await;
        let tag = puppet.tag_to(node.running.peer, space);
        let request = ocm_sync::Request::Spaces { tags: vec![tag] };
        let shared = ocm_sync::Response::Spaces { shared: vec![0] };
        assert_eq!(puppet.ask(&node, &request).await, shared, "after {n} times");
    }
}
