//! Many programs that write to one node at once, a memory at a time.

use std::collections::BTreeSet;

use ipld_core::ipld::Ipld;
use ocm_node::{Command, CommandError};
use ocm_record::{MemoryId, RecordId, SpaceId, Time};
use serde_json::{Value, json};

use crate::node::{READ_OPEN, TestNode, Transport};
use crate::process::Client;

const WRITERS: usize = 64;
const EACH: usize = 8;

/// Writes memories, each when the one before is acknowledged. Returns their ids.
fn write(client: &Client, space: SpaceId, writer: usize) -> Vec<String> {
    let write = |n: usize| {
        let content = json!({"title": format!("{writer}-{n}"), "n": n});
        let body = json!({"space": space, "content": content});
        let (status, memory) = client.ask("POST", "/v1/memories", Some(&body)).unwrap();
        assert_eq!(status, 201, "{memory}");
        assert_eq!(memory["content"], content);
        let id = memory["id"].as_str().unwrap().to_owned();
        // What is acknowledged is there.
        let read = client.get(&format!("/v1/memories/{id}"));
        assert_eq!((&read["content"], &read["space"]), (&content, &json!(space)));
        assert_eq!((&read["verified"], &read["records"]), (&json!(true), &json!(1)));
        id
    };
    (0..EACH).map(write).collect()
}

/// Asks for what cannot be: too large, refused by the API; too large, refused by the core before it
/// is signed; a change of a memory that nobody knows, which is turned away once it is signed.
async fn fail(node: &TestNode, client: &Client, space: SpaceId) {
    let text = "x".repeat(ocm_record::limits::BODY_BYTES);
    let body = json!({"space": space, "content": {"text": text}});
    let client = client.clone();
    let asked =
        tokio::task::spawn_blocking(move || client.ask("POST", "/v1/memories", Some(&body)));
    let (status, problem) = asked.await.unwrap().unwrap();
    assert_eq!((status, &problem["type"]), (413, &json!("urn:ocm:too-large")), "{problem}");

    let change = |memory: Option<MemoryId>, edits| {
        let deps = memory.iter().map(|memory| memory.0).collect();
        node.command(Command::Change { space, memory, deps, edits })
    };
    let large = change(None, Ipld::String(text)).await;
    assert!(matches!(large, Err(CommandError::Malformed(_))), "{large:?}");
    let nobodys = MemoryId(RecordId::from_parts(Time::from_millis(1), [7; 32]));
    let astray = change(Some(nobodys), Ipld::List(Vec::new())).await;
    assert!(matches!(astray, Err(CommandError::NotAdmitted(_))), "{astray:?}");
}

/// The ids of all memories of a space, page by page.
fn list(client: &Client, space: SpaceId) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/v1/memories?space={space}&limit=100{cursor}"));
        assert_eq!(page["unrendered"], 0);
        let items = page["items"].as_array().unwrap();
        ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Value::String(next) = &page["next"] else { return ids };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_write_at_once_and_what_cannot_be_written_fails_alone() {
    let node = TestNode::start(Transport::Tcp, &[]).await;
    let client = node.client();
    let spaces =
        [node.create_space("one", READ_OPEN).await, node.create_space("two", READ_OPEN).await];
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (client, space) = (client.clone(), spaces[writer % 2]);
            tokio::task::spawn_blocking(move || write(&client, space, writer))
        })
        .collect();
    let mut failed = 0;
    while writers.iter().any(|writer| !writer.is_finished()) || failed < EACH {
        futures::future::join_all(spaces.map(|space| fail(&node, &client, space))).await;
        failed += 1;
    }
    let mut acknowledged = [Vec::new(), Vec::new()];
    for (writer, written) in writers.into_iter().enumerate() {
        acknowledged[writer % 2].extend(written.await.unwrap());
    }

    let ids: BTreeSet<&String> = acknowledged.iter().flatten().collect();
    assert_eq!(ids.len(), WRITERS * EACH, "each memory has an id of its own");
    for (space, mut acknowledged) in spaces.into_iter().zip(acknowledged) {
        let mut listed = list(&client, space);
        listed.sort_unstable();
        acknowledged.sort_unstable();
        assert_eq!(listed, acknowledged, "what was acknowledged is listed, and nothing else");
        let held = node.space(space);
        assert_eq!(held.parity.content.count, listed.len() as u64);
        assert_eq!((held.tallies.memories, held.tallies.equivocations), (listed.len() as u64, 0));
    }
    node.stop().await;
}
