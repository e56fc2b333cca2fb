//! What a stranger learns of a members-only space: nothing, not even that it is here.

use ocm_node::{Command, Input};
use ocm_record::{Set, VerifiedRecord};
use ocm_space::Role;
use ocm_sync::{Parity, Request, Response, SetDigest};
use serde_bytes::ByteBuf;

use crate::host::*;
use crate::peer::*;
use crate::scribe::*;

const STRANGER: u8 = 9;

/// A node that holds a closed space with content, one that does not, and a stranger to both who
/// knows the space's name.
fn pair() -> (Scribe, [(Host, Peer); 2]) {
    let mut scribe = Scribe::new(CLOSED);
    let start = scribe.start(OWNER, &[]);
    let mut holds = scribe.host(OWNER);
    holds.accept(&start);
    let hosts = [holds, Host::new(OWNER)].map(|mut host| {
        let stranger = Peer::connect(&mut host, STRANGER);
        (host, stranger)
    });
    (scribe, hosts)
}

/// Every request about a space.
fn requests(peer: &Peer, scribe: &mut Scribe) -> Vec<(&'static str, Request)> {
    let tag = peer.tag(scribe.space);
    let start = scribe.start(STRANGER, &[]);
    let grant = scribe.grant(STRANGER, STRANGER, Role::Owner, &[]);
    let of_other = scribe.grant(OWNER, 8, Role::Writer, &[]);
    let set = SetDigest { count: 0, digest: [0; 32] };
    let parity = Parity { authority: set, content: set, missing_bodies: 0 };
    let message = ByteBuf::from(vec![0xe1, 0, 0, 2, 0]);
    let push = |records: &[Vec<u8>]| peer.push_request(scribe.space, records);
    vec![
        ("spaces", Request::Spaces { tags: vec![tag] }),
        (
            "authority",
            Request::Reconcile {
                tag,
                set: Set::Authority,
                message: message.clone(),
                room: u32::MAX,
            },
        ),
        ("content", Request::Reconcile { tag, set: Set::Content, message, room: u32::MAX }),
        (
            "malformed",
            Request::Reconcile { tag, set: Set::Content, message: vec![1].into(), room: u32::MAX },
        ),
        ("fetch the genesis", Request::Fetch { tag, ids: vec![scribe.space.0], room: u32::MAX }),
        ("fetch nothing", Request::Fetch { tag, ids: vec![], room: u32::MAX }),
        ("parity", Request::Parity { tag, statement: peer.statement(scribe.space, parity) }),
        ("commit", Request::Commit { tag, commitment: [1; 32] }),
        ("prove", Request::Prove { tag, secret: [1; 32], parity, ids: vec![] }),
        ("push nothing", push(&[])),
        ("push content", push(&[start.encode()])),
        ("push the genesis", push(&[scribe.genesis.encode()])),
        ("push no record", push(&[b"no record".to_vec()])),
        ("push a grant by oneself", push(&[grant.encode()])),
        ("push a grant to another", push(&[scribe.genesis.encode(), of_other.encode()])),
        ("push too much", push(&vec![scribe.genesis.encode(); 65])),
        ("push a forged genesis", push(&[forged(&scribe.genesis)])),
    ]
}

#[test]
fn a_closed_space_and_none_answer_alike() {
    let (mut scribe, mut hosts) = pair();
    let count = requests(&hosts[0].1, &mut scribe).len();
    let shared_none = Response::Spaces { shared: vec![] }.encode().unwrap();
    let unknown = Response::Unknown.encode().unwrap();
    assert_eq!(unknown, [0x81, 7]);
    for n in 0..count {
        for (holds, (host, peer)) in hosts.iter_mut().enumerate() {
            let (name, request) = requests(peer, &mut scribe).swap_remove(n);
            let expected = if n == 0 { &shared_none } else { &unknown };
            let bytes = host.ask(peer.id, request.encode().unwrap());
            assert_eq!(&bytes, expected, "{name}, {holds}");
            let snapshot = host.node.snapshot();
            assert!(snapshot.peers.iter().all(|peer| peer.shared.is_empty()), "{name}");
        }
    }
}

/// The same, while records the stranger pushed are still being verified.
#[test]
fn a_closed_space_and_none_answer_alike_under_load() {
    let (scribe, hosts) = pair();
    let answers = hosts.map(|(mut host, peer)| {
        let bytes = peer.push_request(scribe.space, &[forged(&scribe.genesis)]).encode().unwrap();
        let mut last = None;
        for channel in 0..20 {
            let request = Input::Request { peer: peer.id, channel, bytes: bytes.clone() };
            // Verification is never done: what is answered is answered at once.
            last = answer(&host.tell_slowly(request), channel).or(last);
        }
        last
    });
    let [held, none] = answers;
    assert_eq!(none, Some(vec![0x81, 7]));
    assert!(held.is_none() || held == none, "a held space answers {held:02x?}");
}

/// Whatever a stranger pushes, its connection ends for both or for neither.
#[test]
fn a_closed_space_and_none_end_the_connection_alike() {
    let (mut scribe, hosts) = pair();
    let orphan = {
        let parts = Parts { auth: vec![scribe.genesis.id()], ..Parts::default() };
        scribe.write(STRANGER, ocm_record::Kind::GRANT, title("none"), parts)
    };
    let ended = hosts.map(|(mut host, peer)| {
        let mut ended = false;
        let request = peer.push_request(scribe.space, &[forged(&orphan)]).encode().unwrap();
        for channel in 0..5 {
            let bytes = request.clone();
            let out = host.tell(Input::Request { peer: peer.id, channel, bytes });
            ended |= disconnects(&out, peer.id);
        }
        ended
    });
    assert_eq!(ended[0], ended[1]);
}

#[test]
fn presenting_ones_grant_opens_the_space() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, STRANGER);
    let owner = scribe.grant(OWNER, 4, Role::Owner, &[]);
    let grant = scribe.grant(4, STRANGER, Role::Reader, &[owner.id()]);
    let start = scribe.start(OWNER, &[]);
    host.accept(&start);
    assert!(!peer.name(&mut host, scribe.space));
    let encode = |records: &[&VerifiedRecord]| -> Vec<Vec<u8>> {
        records.iter().map(|record| record.encode()).collect()
    };
    // Half the proof is none, and is kept.
    let half = peer.push_request(scribe.space, &encode(&[&scribe.genesis, &grant]));
    assert_eq!(peer.ask(&mut host, &half), Response::Unknown);
    // Content among the proof makes it none.
    let mixed = peer.push_request(scribe.space, &encode(&[&scribe.genesis, &owner, &start]));
    assert_eq!(peer.ask(&mut host, &mixed), Response::Unknown);
    assert!(!host.stores(&owner));
    let whole = peer.push(&mut host, scribe.space, &encode(&[&scribe.genesis, &owner, &grant]));
    assert_eq!(whole.len(), 3);
    assert!(host.stores(&owner) && host.stores(&grant));
    assert!(peer.name(&mut host, scribe.space));
    let fetch =
        Request::Fetch { tag: peer.tag(scribe.space), ids: vec![start.id()], room: u32::MAX };
    match peer.ask(&mut host, &fetch) {
        Response::Records(page) => assert_eq!(page.records, [start.encode()]),
        other => panic!("{other:?}"),
    }
}

/// The tags that a node has sent a peer after another minute.
fn announced(host: &mut Host, peer: &Peer) -> Vec<ocm_sync::SpaceTag> {
    host.wait(60_000);
    host.take_sent(peer.id)
        .into_iter()
        .filter_map(|request| match request {
            Request::Spaces { tags } => Some(tags),
            _ => None,
        })
        .flatten()
        .collect()
}

#[test]
fn a_node_names_no_closed_space_to_a_stranger() {
    let closed = Scribe::new(CLOSED);
    let open = Scribe::named("open", READ_OPEN);
    let mut host = closed.host(OWNER);
    host.join(open.space);
    host.accept(&open.genesis);
    let stranger = Peer::connect(&mut host, STRANGER);
    let mut to_stranger = Vec::new();
    for _ in 0..4 {
        to_stranger.extend(announced(&mut host, &stranger));
        let member = Peer::connect(&mut host, OWNER);
        assert!(announced(&mut host, &member).contains(&member.tag_from(closed.space)));
        host.tell(Input::Disconnected(member.id));
        // Membership changes make a node name its spaces again.
        let grant = grant(3, Role::Reader);
        assert!(host.command(Command::Grant { space: closed.space, grant }).is_ok());
    }
    assert!(to_stranger.contains(&stranger.tag_from(open.space)));
    assert!(!to_stranger.contains(&stranger.tag_from(closed.space)));
}

/// A node that waits for a genesis shares the space with whoever names it; once the genesis says
/// members only, strangers among them are sent nothing more.
#[test]
fn who_shared_an_empty_space_is_no_member_of_it() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = Host::new(OWNER);
    host.join(scribe.space);
    let stranger = Peer::connect(&mut host, STRANGER);
    assert!(stranger.name(&mut host, scribe.space), "there is nothing to serve yet");
    host.take_sent(stranger.id);
    host.accept(&scribe.genesis);
    host.accept(&scribe.start(OWNER, &[]));
    let mine =
        Command::Change { space: scribe.space, memory: None, deps: vec![], edits: title("mine") };
    assert!(host.command(mine).is_ok());
    host.wait(60_000);
    assert!(!stranger.name(&mut host, scribe.space));
    let tag = stranger.tag_from(scribe.space);
    for request in host.take_sent(stranger.id) {
        match request {
            Request::Hello(_) => {}
            Request::Spaces { tags } => assert!(!tags.contains(&tag)),
            other => panic!("a stranger is sent {other:?}"),
        }
    }
}
