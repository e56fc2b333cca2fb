//! What a node is survives its process, and belongs to one process at a time.

use ocm::runtime::NodeFlags;
use ocm_space::Role;
use serde_json::json;

use crate::node::{MEMBERS, READ_OPEN, TestNode, Transport};

over_both!(a_restart_keeps_everything);

async fn a_restart_keeps_everything(transport: Transport) {
    let a = TestNode::start(transport, &[]).await;
    let open = a.create_space("open", READ_OPEN).await;
    let closed = a.create_space("closed", MEMBERS).await;
    let b = TestNode::start(transport, &[&a]).await;
    for space in [open, closed] {
        b.join(space).await;
        a.grant(space, b.did(), Role::Writer).await;
        a.write(space, &json!({"title": "by a"})).await.unwrap();
        b.until_content(space, 1).await;
    }
    b.until_writer(closed).await;
    let memory = b.write(closed, &json!({"title": "by b"})).await.unwrap();
    a.until_content(closed, 2).await;
    let before = b.handle().status();
    let (did, peer) = (b.did(), b.running.peer);

    // No seeds: it remembers where the other was.
    let b = b.restart(&[]).await;
    let after = b.handle().status();
    assert_eq!((b.did(), b.running.peer), (did, peer));
    assert_ne!(after.core.boot, before.core.boot, "a boot is of one process");
    for space in [open, closed] {
        let held = |status: &ocm::handle::Status| {
            let held = status.core.spaces.iter().find(|held| held.id == space).unwrap();
            (held.parity, held.tallies, held.number, held.state.genesis().unwrap().name.clone())
        };
        assert_eq!(held(&after), held(&before));
    }
    assert_eq!(b.content(closed, memory), json!({"title": "by b"}));
    b.until_connected(1).await;

    // It goes on writing, in a new log, and is understood.
    b.patch(closed, memory, &json!({"title": "again by b"})).await;
    a.until_content(closed, 3).await;
    assert_eq!(a.content(closed, memory), json!({"title": "again by b"}));
    b.until_equal(closed, 1).await;
    assert_eq!(a.space(closed).tallies.equivocations, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_on_a_directory_is_refused_and_names_the_first() {
    let a = TestNode::start(Transport::Tcp, &[]).await;
    let space = a.create_space("mine", MEMBERS).await;
    let Err(cause) = a.place().try_start(&[], NodeFlags::default()).await else {
        panic!("two nodes share a directory");
    };
    let pid = std::process::id();
    assert!(cause.contains(&format!("process {pid} owns")), "{cause}");
    assert!(cause.contains("ocm stop"), "it says what to do: {cause}");
    // The first is none the worse for it.
    a.write(space, &json!({"title": "still here"})).await.unwrap();
    let a = a.restart(&[]).await;
    assert_eq!(a.count(space), 1);
}
