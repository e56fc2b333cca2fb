//! A store that is damaged, or takes nothing.

use std::sync::atomic::Ordering;

use ocm_node::layout;

use super::*;

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
    let grant = grant(&here);
    here.shelf.damage(&grant, |bytes| bytes[60] ^= 1);
    assert!(cause().await.contains(&grant.to_string()), "{}", cause().await);
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
