//! Edits made here, at once or in conflict.

use ocm_memory::TakeError;

use super::*;

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
