//! Ids that are given in part.

use ocm_record::{RecordId, Time};

use super::*;

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
