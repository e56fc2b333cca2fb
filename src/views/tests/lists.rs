//! Lists, counts and the rows they are made of.

use std::time::Duration;

use ocm_node::layout;
use ocm_record::{MemoryId, RecordId, Time};

use super::*;

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
