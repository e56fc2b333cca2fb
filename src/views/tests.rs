use std::sync::atomic::Ordering;
use std::time::Duration;

use ocm_memory::TakeError;
use ocm_node::layout;
use ocm_record::{Kind, MemoryId, RecordId, Time};
use serde_json::json;

use super::harness::Harness;
use super::*;

async fn list(views: &Views, filter: Filter) -> Vec<Item> {
    views.list(Filter { limit: 100, ..filter }).await.unwrap().items
}

fn titles(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.row.summary.title.as_deref().unwrap_or("-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_what_is_durable_and_leaves_no_marks() {
    let node = Harness::start(1);
    let space = node.space("logs").await;
    for n in 0..150 {
        node.views.create(space, json!({"title": format!("t{n}")})).await.unwrap();
    }
    assert_eq!(node.shelf.count(b'd'), 150);
    assert_eq!(node.views.unrendered(None).await.unwrap(), 150);
    let items = node.views.list(Filter { limit: 500, ..Filter::default() }).await.unwrap().items;
    let expected: Vec<String> = (0..150).rev().map(|n| format!("t{n}")).collect();
    assert_eq!(titles(&items), expected);
    assert_eq!((node.shelf.count(b'd'), node.shelf.count(b'v')), (0, 150));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lists_meanwhile_each_memory_is_counted_once() {
    let node = Harness::start(1);
    let space = node.space("logs").await;
    let running = tokio::spawn({
        let views = node.views.clone();
        async move { views.run().await }
    });
    let all = || Filter { limit: 10, tag: Some("t".into()), ..Filter::default() };
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let views = node.views.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    let content = json!({"title": format!("t{n}"), "tags": ["t"]});
                    let place = views.create(space, content).await.unwrap();
                    if n % 5 == 0 {
                        views.patch(place, json!({"title": "again"})).await.unwrap();
                    }
                    // Some of those who wait for a list go away.
                    let listed = views.list(all());
                    let _ = tokio::time::timeout(Duration::from_micros(n * 20), listed).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let counted = node.views.count(all()).await.unwrap();
    assert_eq!(counted, Count { count: 200, complete: true, unrendered: 0 });
    let counted = node.views.count(Filter { tag: None, ..all() }).await.unwrap();
    assert_eq!(counted.count, 200);
    node.handle.stop().await.unwrap();
    running.await.unwrap().unwrap();
}

/// The row of a memory of one record is made without a document, and is the one that this shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_the_same_with_and_without_a_document() {
    let node = Harness::start(1);
    let space = node.space("logs").await;
    for content in [
        json!({}),
        json!({"title": "Well", "text": "dry\nsince May", "type": "log", "tags": ["a", 1, "b"]}),
        json!({"at": "2024-05-01", "place": {"name": "North", "lat": 1.5, "lon": -20}, "data": [1]}),
    ] {
        let place = node.views.create(space, content.clone()).await.unwrap();
        let all = Filter { limit: 1, ..Filter::default() };
        let listed = node.views.list(all).await.unwrap().items.remove(0);
        let rendered = Row::make(&*node.shelf, &place).unwrap();
        assert_eq!(Some(listed.row), rendered, "{content}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_waits_for_rows_only_so_long() {
    let node = Harness::start(1);
    let space = node.space("logs").await;
    for n in 0..3 {
        node.views.create(space, json!({"title": format!("t{n}")})).await.unwrap();
    }
    let busy = node.views.0.settling.lock().await;
    let left = node.views.settle_for(Some(space), Duration::ZERO).await;
    assert_eq!(left, Ok(3));
    assert_eq!(node.views.settle_for(None, Duration::ZERO).await, Ok(3));
    drop(busy);
    let all = || Filter { limit: 10, space: Some(space), ..Filter::default() };
    let page = node.views.list(all()).await.unwrap();
    assert_eq!((page.items.len(), page.unrendered), (3, 0));
    let counted = node.views.count(all()).await.unwrap();
    assert_eq!(counted, Count { count: 3, complete: true, unrendered: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_left_by_a_crash_are_settled_at_start_and_events_after_it() {
    let node = Harness::start(1);
    let space = node.space("logs").await;
    node.views.create(space, json!({"title": "before"})).await.unwrap();
    let again = Harness::start_over(1, node.shelf.clone());
    let views = again.views.clone();
    let running = tokio::spawn(async move { views.run().await });
    let settled = async |rows: usize| {
        for _ in 0..500 {
            if (again.shelf.count(b'd'), again.shelf.count(b'v')) == (0, rows) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} marks, {} rows", again.shelf.count(b'd'), again.shelf.count(b'v'));
    };
    settled(1).await;
    again.views.create(space, json!({"title": "after"})).await.unwrap();
    settled(2).await;
    again.handle.stop().await.unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_filters_and_spaces() {
    let node = Harness::start(1);
    let (one, two) = (node.space("one").await, node.space("two").await);
    for n in 0..5 {
        let space = if n % 2 == 0 { one } else { two };
        let tag = if n < 3 { "early" } else { "late" };
        let content = json!({"title": format!("Day {n}"), "type": "log", "tags": [tag, "all"]});
        node.views.create(space, content).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    node.views.create(two, json!({"text": "der Brunnen"})).await.unwrap();
    let all = || Filter { limit: 2, ..Filter::default() };
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = node.views.list(Filter { before, ..all() }).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(titles(&seen), ["-", "Day 4", "Day 3", "Day 2", "Day 1", "Day 0"]);
    assert!(seen.windows(2).all(|pair| pair[0].memory > pair[1].memory));

    let shown = async |filter: Filter| {
        let items = list(&node.views, filter).await;
        titles(&items).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let none = Filter::default;
    assert_eq!(shown(Filter { space: Some(two), ..none() }).await, ["-", "Day 3", "Day 1"]);
    assert_eq!(shown(Filter { tag: Some("late".into()), ..none() }).await, ["Day 4", "Day 3"]);
    assert_eq!(shown(Filter { kind: Some("log".into()), ..none() }).await.len(), 5);
    assert_eq!(shown(Filter { kind: Some("lo".into()), ..none() }).await.len(), 0);
    assert_eq!(shown(Filter { text: Some("DER b".into()), ..none() }).await, ["-"]);
    assert_eq!(shown(Filter { text: Some("day 2".into()), ..none() }).await, ["Day 2"]);
    assert_eq!(shown(Filter { author: Some(node.did), ..none() }).await.len(), 6);
    let other = ocm_record::Did::from(ocm_record::SigningKey::from_seed(&[9; 32]).public());
    assert_eq!(shown(Filter { author: Some(other), ..none() }).await.len(), 0);
    let at = seen[3].memory.0.time().millis();
    let since = shown(Filter { since_ms: Some(at), ..none() }).await;
    assert_eq!(since, ["-", "Day 4", "Day 3", "Day 2"]);
    assert_eq!(shown(Filter { until_ms: Some(at), ..none() }).await, ["Day 1", "Day 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_found_by_their_beginning() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let first = node.views.create(space, json!({"title": "a"})).await.unwrap();
    let place = node.views.resolve_memory(&first.memory.to_string()).await.unwrap();
    assert_eq!(place, first);
    let change = node.views.patch(first, json!({"title": "b"})).await.unwrap().unwrap();
    assert_eq!(node.views.resolve_memory(&first.memory.to_string()[..40]).await, Ok(first));
    assert_eq!(node.views.resolve_memory(&first.memory.to_string()[..5]).await, Ok(first));
    let second = node.views.create(space, json!({"title": "c"})).await.unwrap();
    let ambiguous = node.views.resolve_memory(&first.memory.to_string()[..5]).await;
    let Err(ViewError::Ambiguous { candidates, .. }) = ambiguous else { panic!("{ambiguous:?}") };
    assert_eq!(candidates, [first.memory.0, second.memory.0]);

    let found = node.views.resolve_record(&change.to_string()[..30]).await.unwrap();
    assert_eq!((found.record, found.space), (change, space));
    let genesis = node.views.resolve_record(&space.to_string()).await.unwrap();
    assert_eq!(genesis.set, ocm_record::Set::Authority);
    assert_eq!(node.views.resolve_space(&space.to_string()[..20]).await, Ok(space));

    let missing = RecordId::from_parts(Time::from_millis(5), [1; 32]).to_string();
    for result in [
        node.views.resolve_memory(&missing).await.err(),
        node.views.resolve_space(&missing).await.err(),
        node.views.resolve_record(&missing).await.err(),
    ] {
        assert!(matches!(result, Some(ViewError::NotFound { .. })), "{result:?}");
    }
    for wrong in ["", "v", "vabc", "abcdefgh", "vABCDEF", "vwxyz", &format!("{missing}0")] {
        let result = node.views.resolve_memory(wrong).await;
        assert!(matches!(result, Err(ViewError::NoId(_))), "{wrong:?}: {result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_one_memory_at_once_do_not_fork_it() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let place = node.views.create(space, json!({"title": "x"})).await.unwrap();
    let edits = (0..20).map(|n| {
        let views = node.views.clone();
        tokio::spawn(async move { views.patch(place, json!({format!("k{n}"): n})).await })
    });
    for edit in edits.collect::<Vec<_>>() {
        assert!(edit.await.unwrap().unwrap().is_some());
    }
    let reading = node.views.read(place).await.unwrap();
    assert_eq!((reading.records, reading.heads.len(), reading.conflicts), (21, 1, 0));
    assert_eq!(reading.content.unwrap()["k19"], 19);
    assert_eq!(node.views.patch(place, json!({"k19": 19})).await, Ok(None));
    assert_eq!(node.views.read(place).await.unwrap().records, 21, "no record for no edit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_taken_and_counted_once() {
    let (here, there) = (Harness::start(1), Harness::start(2));
    let space = here.space("one").await;
    here.admit(space, &there).await;
    let place = here.fork(&there, space).await;
    let reading = here.views.read(place).await.unwrap();
    assert_eq!((reading.conflicts, reading.heads.len(), reading.cause.as_deref()), (1, 2, None));
    assert_eq!(reading.authors.len(), 2);
    let conflicts = here.views.conflicts(place).await.unwrap();
    let hidden = conflicts[0].values.iter().find(|value| !value.shown).unwrap().clone();
    assert_eq!(list(&here.views, Filter::default()).await[0].row.conflicts, 1);
    assert_eq!(here.views.resolved(), 0);
    here.views.take(place, hidden.record).await.unwrap().unwrap();
    let reading = here.views.read(place).await.unwrap();
    assert_eq!((reading.conflicts, reading.heads.len()), (0, 1));
    assert_eq!(reading.content.unwrap()["title"], hidden.value);
    assert_eq!(list(&here.views, Filter::default()).await[0].row.conflicts, 0);
    assert_eq!(here.views.resolved(), 1);
    here.views.patch(place, json!({"title": "later"})).await.unwrap();
    list(&here.views, Filter::default()).await;
    assert_eq!(here.views.resolved(), 1);
    let again = here.views.take(place, hidden.record).await;
    assert_eq!(again, Err(ViewError::Take(TakeError::NotThere(hidden.record))));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_names_limit_and_size() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let result = node.views.create(space, json!({"text": "x".repeat(70_000)})).await;
    let Err(ViewError::TooLarge { size, limit }) = result else { panic!("{result:?}") };
    assert_eq!(limit, 60 * 1024);
    assert!(size > 70_000);
    let most = node.views.create(space, json!({"text": "x".repeat(61_000)})).await;
    assert!(most.is_ok(), "{most:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_never_vanishes() {
    let (here, there) = (Harness::start(1), Harness::start(2));
    let space = here.space("one").await;
    here.admit(space, &there).await;
    let place = here.fork(&there, space).await;
    let other = here.views.create(space, json!({"title": "whole"})).await.unwrap();
    let heads = here.views.read(place).await.unwrap().heads;
    let whole = here.shelf.entries.read().unwrap().clone();
    let restore = || *here.shelf.entries.write().unwrap() = whole.clone();
    let cause = async || here.views.read(place).await.unwrap().cause.unwrap_or_default();
    assert_eq!(cause().await, "");

    // A bit of the body, then of the signature's neighbourhood, then all of it.
    here.shelf.damage(&heads[0], |bytes| *bytes.last_mut().unwrap() ^= 1);
    let text = cause().await;
    assert!(text.contains(&heads[0].to_string()), "{text}");
    let reading = here.views.read(place).await.unwrap();
    assert_eq!(reading.records, 3);
    let (history, damaged) = here.views.history(place).await.unwrap();
    assert_eq!((history.len(), damaged.len()), (2, 1));
    restore();
    here.shelf.damage(&place.memory.0, Vec::clear);
    assert!(cause().await.contains(&place.memory.to_string()));
    assert_eq!(here.views.read(place).await.unwrap().author, None);
    restore();

    // The store says that an entry is damaged.
    let key = layout::record(place.number, ocm_record::Set::Content, &heads[1]);
    *here.shelf.corrupt.write().unwrap() = vec![key.clone()];
    assert!(cause().await.contains("a test made it so"));
    here.shelf.corrupt.write().unwrap().clear();

    // A record is gone, and the one that begins the memory.
    here.shelf.entries.write().unwrap().remove(&key);
    assert!(cause().await.contains("is gone"));
    let first = layout::record(place.number, ocm_record::Set::Content, &place.memory.0);
    restore();
    here.shelf.entries.write().unwrap().remove(&first);
    assert!(cause().await.contains("begins the memory, is not stored"));
    restore();

    // A body that is missing is not forgotten by anyone.
    here.shelf.damage(&heads[0], |bytes| {
        let record = ocm_record::SignedRecord::decode(bytes).unwrap().verify().unwrap();
        *bytes = record.encode_without_body();
    });
    assert!(cause().await.contains("the body of record"), "{}", cause().await);
    restore();

    // The grant that one of the authors writes by.
    let grant = here.shelf.records().into_iter().find_map(|bytes| {
        let record = ocm_record::SignedRecord::decode(&bytes).unwrap();
        (record.kind() == Kind::GRANT).then(|| record.id())
    });
    here.shelf.damage(&grant.unwrap(), |bytes| bytes[60] ^= 1);
    assert!(cause().await.contains(&grant.unwrap().to_string()), "{}", cause().await);
    assert_eq!(here.views.read(other).await.unwrap().cause, None, "its author needs no grant");
    restore();
    assert_eq!(cause().await, "");

    // A list says so too, and shows the others.
    here.shelf.damage(&heads[0], |bytes| *bytes.last_mut().unwrap() ^= 1);
    let items = list(&here.views, Filter::default()).await;
    assert_eq!(items.len(), 2);
    assert_eq!(items[0].row.cause, None);
    assert!(items[1].row.cause.as_ref().is_some_and(|cause| cause.contains("damaged")));
    assert_eq!(here.shelf.count(b'd'), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_made_again_for_the_answer() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let place = node.views.create(space, json!({"title": "x"})).await.unwrap();
    list(&node.views, Filter::default()).await;
    let key = layout::row(place.number, &place.memory);
    node.shelf.entries.write().unwrap().insert(key, vec![0xff]);
    assert_eq!(titles(&list(&node.views, Filter::default()).await), ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_is_said() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    node.views.create(space, json!({"title": "x"})).await.unwrap();
    node.shelf.full.store(true, Ordering::Relaxed);
    let result = node.views.settle(space).await;
    assert_eq!(result, Err(ViewError::Write("a test made it so".into())));
    assert_eq!(node.shelf.count(b'd'), 1);
    node.shelf.full.store(false, Ordering::Relaxed);
    assert_eq!(node.views.settle(space).await, Ok(()));
    assert_eq!(node.shelf.count(b'd'), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_without_records_end() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let place = node.views.create(space, json!({"title": "x"})).await.unwrap();
    let nowhere = MemoryId(RecordId::from_parts(Time::from_millis(7), [3; 32]));
    let key = layout::dirty(place.number, 99);
    node.shelf.entries.write().unwrap().insert(key, nowhere.0.as_bytes().to_vec());
    assert_eq!(titles(&list(&node.views, Filter::default()).await), ["x"]);
    assert_eq!(node.shelf.count(b'd'), 0);
    let gone = MemoryPlace { memory: nowhere, ..place };
    assert_eq!(node.views.read(gone).await, Err(ViewError::NoMemory(nowhere)));
}

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
