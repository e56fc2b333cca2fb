//! Both sides of a partition go on, and agree afterwards.

use ocm::handle::NetworkCommand;
use ocm_memory::encode_edits;
use ocm_node::Command;
use ocm_space::Role;
use serde_json::{Value, json};

use crate::node::{MEMBERS, READ_OPEN, TestNode, Transport};

over_both!(
    edits_on_both_sides_converge_in_an_open_space,
    edits_on_both_sides_converge_in_a_closed_space,
);

async fn edits_on_both_sides_converge_in_an_open_space(transport: Transport) {
    partition(transport, READ_OPEN).await;
}

async fn edits_on_both_sides_converge_in_a_closed_space(transport: Transport) {
    partition(transport, MEMBERS).await;
}

async fn set_apart(one: &TestNode, other: &TestNode, apart: bool) {
    for (node, peer) in [(one, other.running.peer), (other, one.running.peer)] {
        let command =
            if apart { NetworkCommand::Block(peer) } else { NetworkCommand::Unblock(peer) };
        node.network(command).await;
    }
    for (node, peer) in [(one, other.running.peer), (other, one.running.peer)] {
        node.until("is apart, or not", |status| {
            status.network.connections.iter().any(|c| c.peer == peer) != apart
        })
        .await;
    }
}

/// a on one side, b and c on the other.
async fn partition(transport: Transport, policy: ocm_space::Policy) {
    let a = TestNode::start(transport, &[]).await;
    let b = TestNode::start(transport, &[&a]).await;
    let c = TestNode::start(transport, &[&a, &b]).await;
    let nodes = [&a, &b, &c];
    let space = a.create_space("shared", policy).await;
    for node in [&b, &c] {
        node.join(space).await;
        a.grant(space, node.did(), Role::Writer).await;
    }
    let first = json!({"title": "first", "tags": ["x"], "text": "one two"});
    let memory = a.write(space, &first).await.unwrap();
    for node in nodes {
        node.until_content(space, 1).await;
        node.until_writer(space).await;
        node.until_connected(2).await;
    }

    set_apart(&a, &b, true).await;
    set_apart(&a, &c, true).await;
    a.patch(space, memory, &json!({"title": "by a", "text": "zero one two"})).await;
    b.patch(space, memory, &json!({"title": "by b", "text": "one two three"})).await;
    c.until_content(space, 2).await;
    c.patch(space, memory, &json!({"only": "by c"})).await;
    b.until_content(space, 3).await;
    assert_eq!(a.count(space), 2);
    assert_eq!(a.content(space, memory)["title"], json!("by a"));
    assert_eq!(b.content(space, memory)["title"], json!("by b"));

    set_apart(&a, &b, false).await;
    set_apart(&a, &c, false).await;
    for node in nodes {
        node.until_content(space, 4).await;
        node.until_equal(space, 2).await;
    }
    let shown = a.content(space, memory);
    assert_eq!(shown["text"], json!("zero one two three"), "texts merge");
    assert_eq!(shown["only"], json!("by c"));
    let mut taken = None;
    for node in nodes {
        assert_eq!(node.content(space, memory), shown);
        let conflicts = node.document(space, memory).conflicts().unwrap();
        let [conflict] = conflicts.as_slice() else { panic!("{conflicts:?}") };
        assert_eq!(conflict.path, ocm_memory::Path::key("title"));
        let mut values: Vec<(Value, _)> =
            conflict.values.iter().map(|value| (value.value.clone(), value.author)).collect();
        values.sort_by_key(|(value, _)| value.to_string());
        assert_eq!(values, [(json!("by a"), a.did()), (json!("by b"), b.did())]);
        assert_eq!(conflict.values[0].value, shown["title"], "the shown one is first");
        // Take the one that is not shown.
        taken = Some((conflict.values[1].record, conflict.values[1].value.clone()));
    }

    let (record, value) = taken.unwrap();
    let document = c.document(space, memory);
    let edits = encode_edits(&document.take(None, record).unwrap());
    let deps = document.deps_for_edit();
    c.command(Command::Change { space, memory: Some(memory), deps, edits }).await.unwrap();
    for node in nodes {
        node.until_content(space, 5).await;
        assert_eq!(node.content(space, memory)["title"], value);
        assert_eq!(node.document(space, memory).conflicts().unwrap(), []);
    }
}
