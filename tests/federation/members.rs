//! Who has no role writes nothing, and is told nothing of what it may not read.

use ocm_record::{RecordId, Set, SpaceId, Time};
use ocm_space::Role;
use ocm_sync::{Initiator, PushVerdict, Request, Response, SumTree};
use serde_json::json;

use crate::node::{MEMBERS, READ_OPEN, TestNode, Transport};
use crate::puppet::{Heard, Puppet};

over_both!(a_record_without_right_is_refused, a_stranger_is_served_nothing_of_a_closed_space,);

async fn a_record_without_right_is_refused(transport: Transport) {
    let owner = TestNode::start(transport, &[]).await;
    let space = owner.create_space("square", READ_OPEN).await;
    let other = TestNode::start(transport, &[&owner]).await;
    other.join(space).await;
    let grant = owner.grant(space, other.did(), Role::Writer).await;
    other.until_writer(space).await;
    other.write(space, &json!({"title": "granted"})).await.unwrap();
    owner.until_content(space, 1).await;

    let mut stranger = Puppet::start(transport, 5);
    let peer = stranger.id();
    stranger.meet(&owner).await;
    // Without a proof, and with the proof of another's right.
    let none = stranger.sign(space, Vec::new(), &json!({"title": "no right"}));
    let borrowed = stranger.sign(space, vec![grant], &json!({"title": "another's right"}));
    let (none, borrowed) = ((none.id(), none.encode()), (borrowed.id(), borrowed.encode()));
    let pushed = [none.1.clone(), borrowed.1.clone()];
    let verdicts = stranger.push(&owner, space, &pushed).await;
    assert_eq!(verdicts, [PushVerdict::Refuse; 2]);
    owner.until("refuses both", |status| status.core.refused.len() == 2).await;
    let refused = owner.handle().status().core.refused.clone();
    for id in [none.0, borrowed.0] {
        let entry = refused.iter().find(|entry| entry.id == Some(id)).unwrap();
        assert_eq!((entry.verdict, entry.reason), ("refuse", "not_permitted"));
        assert_eq!((entry.peer, entry.space), (Some(peer), Some(space)));
        assert_eq!(owner.stored(space, Set::Content, &id), None);
    }

    // By gossip it is no fault of whoever passes it on: nobody is punished, and nobody hears it.
    stranger.join_gossip(&owner, space).await;
    for n in 0..4 {
        let record = stranger.sign(space, Vec::new(), &json!({"n": n}));
        let id = record.id();
        stranger.publish(space, record.encode()).await;
        let seen = owner.until("refuses", |status| {
            status.core.refused.iter().any(|entry| entry.id == Some(id))
        });
        stranger.during(seen).await;
    }
    owner.write(space, &json!({"title": "after"})).await.unwrap();
    stranger.during(other.until_content(space, 2)).await;
    assert_eq!(other.handle().status().core.refused, []);
    assert_eq!((owner.count(space), other.count(space)), (2, 2));
    assert!(owner.connections().contains(&peer));
}

/// Every request there is about a space.
fn requests(tag: [u8; 32], ids: &[RecordId], authority: &[u8], content: &[u8]) -> Vec<Request> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    let initiator = Initiator::start(&SumTree::default(), ocm_sync::limits::RECONCILE_BYTES);
    let message: serde_bytes::ByteBuf = initiator.1.into();
    let parity = ocm_sync::Parity {
        authority: ocm_sync::SetDigest { count: 0, digest: [0; 32] },
        content: ocm_sync::SetDigest { count: 0, digest: [0; 32] },
        missing_bodies: 0,
    };
    let terms = ocm_sync::Terms {
        space: ocm_record::SpaceId(RecordId::MIN),
        from: [0; 38],
        to: [1; 38],
        nonce: [2; 32],
    };
    let key = ocm_record::SigningKey::from_seed(&[3; 32]);
    let statement = ocm_sync::Statement::sign(&key, &terms, parity, 0);
    let push = |records: &[&[u8]]| Request::Push {
        tag,
        records: records.iter().map(|bytes| bytes.to_vec().into()).collect(),
    };
    vec![
        Request::Spaces { tags: vec![tag] },
        Request::Parity { tag, statement },
        Request::Reconcile { tag, set: Set::Authority, message: message.clone(), room: u32::MAX },
        Request::Reconcile { tag, set: Set::Content, message, room: u32::MAX },
        Request::Reconcile {
            tag,
            set: Set::Content,
            message: vec![1, 2, 3].into(),
            room: u32::MAX,
        },
        Request::Fetch { tag, ids, room: u32::MAX },
        push(&[content]),
        push(&[authority]),
        push(&[authority, content]),
        push(&[b"no record"]),
        push(&[]),
        Request::Commit { tag, commitment: [1; 32] },
        Request::Prove { tag, secret: [1; 32], parity, ids: vec![] },
    ]
}

async fn a_stranger_is_served_nothing_of_a_closed_space(transport: Transport) {
    let owner = TestNode::start(transport, &[]).await;
    let closed = owner.create_space("closed", MEMBERS).await;
    let member = TestNode::start(transport, &[&owner]).await;
    member.join(closed).await;
    owner.grant(closed, member.did(), Role::Writer).await;
    let memory = owner.write(closed, &json!({"title": "secret"})).await.unwrap();
    member.until_content(closed, 1).await;

    // The stranger knows every name and every byte, and has no role.
    let mut stranger = Puppet::start(transport, 6);
    let genesis = owner.stored(closed, Set::Authority, &closed.0).unwrap();
    let secret = owner.stored(closed, Set::Content, &memory.0).unwrap();
    let ids = [closed.0, memory.0];
    stranger.shares.push(closed);
    stranger.meet(&owner).await;
    let peer = owner.running.peer;
    let nowhere = SpaceId(RecordId::of_header(Time(closed.0.time().0), b"there is no such space"));

    let told = requests(stranger.tag_to(peer, closed), &ids, &genesis, &secret);
    let made_up = requests(stranger.tag_to(peer, nowhere), &ids, &genesis, &secret);
    let unknown = Response::Unknown.encode().unwrap();
    let none = Response::Spaces { shared: Vec::new() }.encode().unwrap();
    for (about_closed, about_nothing) in told.iter().zip(&made_up) {
        let here = stranger.ask_raw(peer, about_closed).await.unwrap();
        let nowhere = stranger.ask_raw(peer, about_nothing).await.unwrap();
        assert_eq!(here, nowhere, "{about_closed:?}");
        let spaces = matches!(about_closed, Request::Spaces { .. });
        assert_eq!(here, if spaces { none.clone() } else { unknown.clone() }, "{about_closed:?}");
    }

    // Nor is anything announced, pushed or gossiped to it while members share.
    let topic = crate::puppet::topic(closed);
    stranger.network.subscribe(&topic).unwrap();
    owner.write(closed, &json!({"title": "another"})).await.unwrap();
    stranger.during(member.until_content(closed, 2)).await;
    stranger.during(owner.until_equal(closed, 1)).await;
    let tag = stranger.tag_from(peer, closed);
    for heard in &stranger.heard {
        match heard {
            Heard::Request(_, Request::Hello(_)) => {}
            Heard::Request(_, Request::Spaces { tags }) => assert!(!tags.contains(&tag)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stranger.network.mesh(&topic), []);

    // With a role the same requests are answered.
    owner.grant(closed, stranger.did(), Role::Reader).await;
    for request in &told[..3] {
        let answer = stranger.ask_raw(peer, request).await.unwrap();
        assert!(answer != unknown && answer != none, "{request:?}");
    }
    match stranger.ask(&owner, &told[5]).await {
        Response::Records(page) => assert_eq!(page.records.len(), 2),
        other => panic!("{other:?}"),
    }
}
