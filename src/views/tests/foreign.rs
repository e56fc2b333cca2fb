//! Imported records that no edit made here would write: of unknown kinds, beside each other without
//! end, far ahead.

use ocm_record::{Kind, MemoryId, RecordId, Time};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn records_of_unknown_kinds_change_nothing() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let place = node.views.create(space, json!({"title": "x"})).await.unwrap();
    let nowhere = MemoryId(RecordId::from_parts(Time::from_millis(7), [3; 32]));
    let strange = [place.memory, nowhere].map(|memory| {
        let draft = ocm_record::Draft {
            space,
            kind: Kind(64),
            memory: Some(memory),
            author: None,
            boot: ocm_record::Boot::from_bytes([memory.0.as_bytes()[39]; 16]),
            seq: 1,
            prev: None,
            deps: Vec::new(),
            auth: Vec::new(),
            time: Time::from_millis(super::harness::now() + 1000),
        };
        let body = ocm_record::Body {
            salt: [0; ocm_record::SALT_LEN],
            lineage: Vec::new(),
            content: ipld_core::ipld::Ipld::Null,
        };
        let key = ocm_record::SigningKey::from_seed(&[1; 32]);
        draft.sign(&key, body.encode()).unwrap().encode()
    });
    let imported = node.command(ocm_node::Command::Import { records: strange.to_vec() }).await;
    assert_eq!(imported, ocm_node::Reply::Imported(vec![ocm_node::Verdict::Accept; 2]));
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
    let key = ocm_record::SigningKey::from_seed(&[1; 32]);
    let long = json!({"text": "a".repeat(59_000)});
    let edits = ocm_memory::create_edits(&long).unwrap();
    let body = ocm_record::Body {
        salt: [0; ocm_record::SALT_LEN],
        lineage: Vec::new(),
        content: ocm_memory::encode_edits(&edits),
    };
    let record = |n: u64| {
        let mut boot = [7; 16];
        boot[..8].copy_from_slice(&n.to_be_bytes());
        let draft = ocm_record::Draft {
            space,
            kind: Kind::CHANGE,
            memory: Some(place.memory),
            author: None,
            boot: ocm_record::Boot::from_bytes(boot),
            seq: 1,
            prev: None,
            deps: vec![place.memory.0],
            auth: Vec::new(),
            time: Time::from_millis(super::harness::now() + 1000),
        };
        draft.sign(&key, body.encode()).unwrap().encode()
    };
    let enough = ocm_memory::limits::BYTES as u64 / 59_000 + 1;
    for first in (0..enough).step_by(100) {
        let records = (first..enough.min(first + 100)).map(record).collect();
        let reply = node.command(ocm_node::Command::Import { records }).await;
        let ocm_node::Reply::Imported(verdicts) = reply else { panic!("{reply:?}") };
        assert!(verdicts.iter().all(|v| *v == ocm_node::Verdict::Accept), "{verdicts:?}");
    }
    let reading = node.views.read(place).await.unwrap();
    assert_eq!(reading.content, None);
    assert!(reading.cause.unwrap().contains("too large"));
    let edited = node.views.patch(place, json!({"title": "z"})).await;
    assert!(edited.unwrap_err().to_string().contains("too large"));
    assert_eq!(node.views.read(other).await.unwrap().content, Some(json!({"title": "y"})));
}

/// A record by another node, this far ahead, that gives a memory of theirs and ours a text.
async fn write_ahead(here: &Harness, there: &Harness, place: MemoryPlace, ahead_ms: u64) {
    here.admit(place.space, there).await;
    let grant = here.shelf.records().into_iter().find_map(|bytes| {
        let record = ocm_record::SignedRecord::decode(&bytes).unwrap();
        (record.kind() == Kind::GRANT).then(|| record.id())
    });
    let time = Time::from_millis(super::harness::now() + ahead_ms);
    let auth = grant.into_iter().collect();
    write_foreign(here, place, 2, auth, time, &json!({"other": "ahead"})).await;
}

/// A change of a memory by the key of a seed, at any time, built on what begins the memory.
async fn write_foreign(
    here: &Harness,
    place: MemoryPlace,
    seed: u8,
    auth: Vec<RecordId>,
    time: Time,
    content: &serde_json::Value,
) {
    let edits = ocm_memory::create_edits(content).unwrap();
    let content = ocm_memory::encode_edits(&edits);
    let draft = ocm_record::Draft {
        space: place.space,
        kind: Kind::CHANGE,
        memory: Some(place.memory),
        author: None,
        boot: ocm_record::Boot::from_bytes([7; 16]),
        seq: 1,
        prev: None,
        deps: vec![place.memory.0],
        auth,
        time,
    };
    let body = ocm_record::Body { salt: [0; ocm_record::SALT_LEN], lineage: Vec::new(), content };
    let key = ocm_record::SigningKey::from_seed(&[seed; 32]);
    let records = vec![draft.sign(&key, body.encode()).unwrap().encode()];
    let reply = here.command(ocm_node::Command::Import { records }).await;
    assert_eq!(reply, ocm_node::Reply::Imported(vec![ocm_node::Verdict::Accept]));
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
    let edits = ocm_memory::create_edits(&json!({"title": "x"})).unwrap();
    let content = ocm_memory::encode_edits(&edits);
    let draft = ocm_record::Draft {
        space,
        kind: Kind::CHANGE,
        memory: None,
        author: None,
        boot: ocm_record::Boot::from_bytes([7; 16]),
        seq: 1,
        prev: None,
        deps: Vec::new(),
        auth: Vec::new(),
        time: Time::from_millis(super::harness::now() + 2 * limits::BUILD_ON_AHEAD_MS),
    };
    let body = ocm_record::Body { salt: [0; ocm_record::SALT_LEN], lineage: Vec::new(), content };
    let key = ocm_record::SigningKey::from_seed(&[1; 32]);
    let record = draft.sign(&key, body.encode()).unwrap();
    let memory = record.id().to_string();
    let records = vec![record.encode()];
    let reply = node.command(ocm_node::Command::Import { records }).await;
    assert_eq!(reply, ocm_node::Reply::Imported(vec![ocm_node::Verdict::Accept]));
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
    write_foreign(&node, place, 1, Vec::new(), Time::LAST, &last).await;
    for title in ["y", "z"] {
        node.views.patch(place, json!({"title": title})).await.unwrap().unwrap();
    }
    let reading = node.views.read(place).await.unwrap();
    assert_eq!(reading.content, Some(json!({"title": "z"})), "two edits later than one");
    assert_eq!((reading.conflicts, reading.heads.len(), reading.cause), (1, 2, None));
}
