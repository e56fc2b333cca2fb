//! Records that are not by whom they say, sent by a peer that is otherwise in order.

use ocm_discovery::PeerId;
use ocm_node::RefusalEntry;
use ocm_record::{RecordId, Set};
use ocm_space::Role;
use ocm_sync::PushVerdict;
use serde_json::json;

use crate::node::{READ_OPEN, TestNode, Transport};
use crate::puppet::{Heard, Puppet};

over_both!(a_forgery_ends_at_the_first_hop, a_forgery_is_rejected_when_pushed);

fn rejected(entries: &[RefusalEntry], id: RecordId, by: PeerId) -> bool {
    entries.iter().any(|entry| {
        entry.id == Some(id)
            && (entry.verdict, entry.reason) == ("reject", "bad_signature")
            && entry.peer == Some(by)
    })
}

/// author – first – third, and the forger speaks to the first only.
async fn a_forgery_ends_at_the_first_hop(transport: Transport) {
    let author = TestNode::start(transport, &[]).await;
    let space = author.create_space("square", READ_OPEN).await;
    let first = TestNode::start(transport, &[&author]).await;
    first.join(space).await;
    let third = TestNode::start(transport, &[&first]).await;
    third.join(space).await;
    author.write(space, &json!({"title": "true"})).await.unwrap();
    third.until_content(space, 1).await;

    let mut forger = Puppet::start(transport, 1);
    let peer = forger.id();
    forger.meet(&first).await;
    forger.join_gossip(&first, space).await;
    let (id, forged) = forger.forge(space, &author.did(), &json!({"title": "forged"}));
    forger.publish(space, forged).await;
    let seen = first.until("rejects", |status| rejected(&status.core.refused, id, peer));
    forger.during(seen).await;
    assert_eq!(first.stored(space, Set::Content, &id), None);

    // What comes after it on the same ways shows that it does not come.
    author.write(space, &json!({"title": "after"})).await.unwrap();
    forger.during(third.until_content(space, 2)).await;
    for node in [&author, &third] {
        let status = node.handle().status();
        assert_eq!(status.core.refused, [], "no other node has seen it");
        assert_eq!(node.count(space), 2);
    }

    // The third one costs the forger the connection, and it does not come back.
    for n in 0..2 {
        let (id, forged) = forger.forge(space, &author.did(), &json!({"title": n}));
        forger.publish(space, forged).await;
        let seen = first.until("rejects", |status| rejected(&status.core.refused, id, peer));
        forger.during(seen).await;
    }
    let own = first.running.peer;
    forger
        .until("it is cut off", |forger| {
            forger
                .heard
                .iter()
                .any(|heard| matches!(heard, Heard::Disconnected(p) if *p == own))
                .then_some(())
        })
        .await;
    forger.network.dial(&first.address()).unwrap();
    author.write(space, &json!({"title": "last"})).await.unwrap();
    forger.during(third.until_content(space, 3)).await;
    assert!(!first.connections().contains(&peer));
    assert_eq!(third.admissions("reject", "bad_signature"), 0);
}

/// A garbage copy of a true record does not mask it; the third page with forgeries ends the
/// connection.
async fn a_forgery_is_rejected_when_pushed(transport: Transport) {
    let author = TestNode::start(transport, &[]).await;
    let space = author.create_space("square", READ_OPEN).await;
    let mut forger = Puppet::start(transport, 2);
    forger.shares.push(space);
    let grant = author.grant(space, forger.did(), Role::Writer).await;
    forger.meet(&author).await;

    let honest = forger.sign(space, vec![grant], &json!({"title": "honest"}));
    let (garbage, honest) = (Puppet::garble(&honest), honest.encode());
    let (_, forged) = forger.forge(space, &author.did(), &json!({"title": "forged"}));
    for copy in [&garbage, &forged] {
        let verdicts = forger.push(&author, space, std::slice::from_ref(copy)).await;
        assert_eq!(verdicts, [PushVerdict::Reject]);
    }
    assert_eq!(author.count(space), 0);
    let verdicts = forger.push(&author, space, &[honest]).await;
    assert_eq!(verdicts, [PushVerdict::Accept]);
    forger.during(author.until_content(space, 1)).await;

    let tag = forger.tag_to(author.running.peer, space);
    let records = vec![forged.into()];
    let last = ocm_sync::Request::Push { tag, records };
    // The answer and the end of the connection race.
    let _ = forger.ask_raw(author.running.peer, &last).await;
    let own = author.running.peer;
    forger.until("it is cut off", |forger| (!forger.connected.contains(&own)).then_some(())).await;
    assert_eq!(author.count(space), 1);
}
