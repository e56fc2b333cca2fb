//! Imported records that no edit made here would write: of unknown kinds, beside each other without
//! end, far ahead.

use ipld_core::ipld::Ipld;
use ocm_node::{Command, Reply, Verdict};
use ocm_record::{
    Body, Boot, Draft, Kind, MemoryId, RecordId, SALT_LEN, SignedRecord, SigningKey, SpaceId, Time,
};
use serde_json::Value;

use super::*;
use crate::views::harness::now;

/// A change that begins a memory, or builds on what began one.
fn change(space: SpaceId, memory: Option<MemoryId>, time: Time) -> Draft {
    Draft {
        space,
        kind: Kind::CHANGE,
        memory,
        author: None,
        boot: Boot::from_bytes([7; 16]),
        seq: 1,
        prev: None,
        deps: memory.iter().map(|memory| memory.0).collect(),
        auth: Vec::new(),
        time,
    }
}

fn edits(content: &Value) -> Ipld {
    ocm_memory::encode_edits(&ocm_memory::create_edits(content).unwrap())
}

/// Signs a record by the key of a seed.
fn sign(draft: Draft, seed: u8, content: Ipld) -> Vec<u8> {
    let body = Body { salt: [0; SALT_LEN], lineage: Vec::new(), content };
    draft.sign(&SigningKey::from_seed(&[seed; 32]), body.encode()).unwrap().encode()
}

/// Imports records that must be admitted.
async fn accept(node: &Harness, records: &[Vec<u8>]) {
    let reply = node.command(Command::Import { space: None, records: records.to_vec() }).await;
    assert_eq!(reply, Reply::Imported(vec![Verdict::Accept; records.len()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_unknown_kinds_change_nothing() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let place = node.views.create(space, json!({"title": "x"})).await.unwrap();
    let nowhere = MemoryId(RecordId::from_parts(Time::from_millis(7), [3; 32]));
    let strange = [place.memory, nowhere].map(|memory| {
        let boot = Boot::from_bytes([memory.0.as_bytes()[39]; 16]);
        let draft = change(space, Some(memory), Time::from_millis(now() + 1000));
        let draft = Draft { kind: Kind(64), boot, deps: Vec::new(), ..draft };
        sign(draft, 1, Ipld::Null)
    });
    accept(&node, &strange).await;
    assert_eq!(titles(&list(&node.views, Filter::default()).await), ["x"]);
    assert_eq!((node.shelf.count(b'd'), node.shelf.count(b'v')), (0, 1));
    let reading = node.views.read(place).await.unwrap();
    assert_eq!((reading.records, reading.cause), (2, None));
    assert_eq!(reading.content, Some(json!({"title": "x"})));
    node.views.patch(place, json!({"title": "y"})).await.unwrap().unwrap();
    assert_eq!(titles(&list(&node.views, Filter::default()).await), ["y"]);
    let gone = MemoryPlace { memory: nowhere, ..place };
    assert_eq!(node.views.read(gone).await, Err(ViewError::NoMemory(nowhere)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_of_concurrent_changes_without_end_is_shown_as_too_large() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let place = node.views.create(space, json!({"title": "x"})).await.unwrap();
    let other = node.views.create(space, json!({"title": "y"})).await.unwrap();
    let long = edits(&json!({"text": "a".repeat(59_000)}));
    let record = |n: u64| {
        let mut boot = [7; 16];
        boot[..8].copy_from_slice(&n.to_be_bytes());
        let draft = change(space, Some(place.memory), Time::from_millis(now() + 1000));
        sign(Draft { boot: Boot::from_bytes(boot), ..draft }, 1, long.clone())
    };
    let enough = ocm_memory::limits::BYTES as u64 / 59_000 + 1;
    for first in (0..enough).step_by(100) {
        let records: Vec<_> = (first..enough.min(first + 100)).map(record).collect();
        accept(&node, &records).await;
    }
    let reading = node.views.read(place).await.unwrap();
    assert_eq!(reading.content, None);
    assert!(reading.cause.unwrap().contains("too large"));
    let edited = node.views.patch(place, json!({"title": "z"})).await;
    assert!(edited.unwrap_err().to_string().contains("too large"));
    assert_eq!(node.views.read(other).await.unwrap().content, Some(json!({"title": "y"})));
}

/// A record by another node, this far ahead, that adds to a memory of ours.
async fn write_ahead(here: &Harness, there: &Harness, place: MemoryPlace, ahead_ms: u64) {
    here.admit(place.space, there).await;
    let draft = change(place.space, Some(place.memory), Time::from_millis(now() + ahead_ms));
    let draft = Draft { auth: vec![grant(here)], ..draft };
    accept(here, &[sign(draft, 2, edits(&json!({"other": "ahead"})))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_follow_each_other_however_far_ahead_another_record_is() {
    let year = 365 * 24 * 60 * 60 * 1000;
    let limit = limits::BUILD_ON_AHEAD_MS;
    // Edits build on it up to the limit, and leave it beside them past that.
    for (ahead, heads) in [(9 * year, 1), (limit, 1), (11 * year, 2), (8000 * year, 2)] {
        let (here, there) = (Harness::start(1), Harness::start(2));
        let space = here.space("one").await;
        let place = here.views.create(space, json!({"text": "one"})).await.unwrap();
        let other = here.views.create(space, json!({"text": "one"})).await.unwrap();
        write_ahead(&here, &there, place, ahead).await;
        let mut last = None;
        for text in ["one two", "one two three", "one two three four"] {
            let patch = json!({ "text": text });
            let edit = here.views.patch(place, patch.clone()).await.unwrap().unwrap();
            let found = here.views.resolve_record(&edit.to_string()).await.unwrap();
            let record = here.views.record(found).await.unwrap().record.unwrap();
            if let Some(last) = last.replace(edit) {
                assert_eq!(record.header().deps, [last], "{ahead}: each builds on the one before");
            }
            here.views.patch(other, patch).await.unwrap().unwrap();
            let fresh = here.views.create(space, json!({ "text": text })).await.unwrap();
            here.views.patch(fresh, json!({"text": "changed"})).await.unwrap().unwrap();
        }
        let reading = here.views.read(place).await.unwrap();
        let text = "one two three four";
        assert_eq!(reading.content, Some(json!({"text": text, "other": "ahead"})));
        assert_eq!((reading.heads.len(), reading.conflicts, reading.cause), (heads, 0, None));
        assert_eq!(here.views.read(other).await.unwrap().content, Some(json!({ "text": text })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_begun_far_ahead_is_edited_all_the_same() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let time = Time::from_millis(now() + 2 * limits::BUILD_ON_AHEAD_MS);
    let record = sign(change(space, None, time), 1, edits(&json!({"title": "x"})));
    let memory = SignedRecord::decode(&record).unwrap().id().to_string();
    accept(&node, &[record]).await;
    let place = node.views.resolve_memory(&memory).await.unwrap();
    for title in ["y", "z"] {
        node.views.patch(place, json!({"title": title})).await.unwrap().unwrap();
    }
    let reading = node.views.read(place).await.unwrap();
    assert_eq!(reading.content, Some(json!({"title": "z"})));
    assert_eq!((reading.conflicts, reading.heads.len(), reading.cause), (0, 1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_at_the_end_of_time_freezes_no_memory() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let place = node.views.create(space, json!({"title": "x"})).await.unwrap();
    let last = json!({"title": "last"});
    let draft = change(space, Some(place.memory), Time::LAST);
    accept(&node, &[sign(draft, 1, edits(&last))]).await;
    for title in ["y", "z"] {
        node.views.patch(place, json!({"title": title})).await.unwrap().unwrap();
    }
    let reading = node.views.read(place).await.unwrap();
    assert_eq!(reading.content, Some(json!({"title": "z"})), "two edits later than one");
    assert_eq!((reading.conflicts, reading.heads.len(), reading.cause), (1, 2, None));
}
