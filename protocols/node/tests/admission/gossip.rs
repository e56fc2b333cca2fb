//! The verdict on a gossip message, and what follows from it.

use ipld_core::ipld::Ipld;
use ocm_node::{GossipVerdict, limits};
use ocm_record::{Kind, RecordId, VerifiedRecord, to_canonical};
use ocm_space::Role;
use ocm_sync::Request;

use crate::host::*;
use crate::peer::*;
use crate::scribe::*;

/// What is asked of a peer after a message.
fn fetched(out: &[ocm_node::Output], peer: &Peer) -> Vec<RecordId> {
    sent_to(out, peer.id)
        .into_iter()
        .filter_map(|request| match request {
            Request::Fetch { ids, .. } => Some(ids),
            _ => None,
        })
        .flatten()
        .collect()
}

/// A header of another version, in the array of a record.
fn later_version() -> Vec<u8> {
    let header = to_canonical(&Ipld::List(vec![Ipld::String("ocm/2".into())]));
    to_canonical(&Ipld::List(vec![Ipld::Bytes(header), Ipld::Bytes(vec![0; 64]), Ipld::Null]))
}

fn limited_grant(scribe: &mut Scribe) -> VerifiedRecord {
    let Ipld::Map(mut map) = grant(2, Role::Writer).to_ipld() else { panic!("a map") };
    map.insert("max_bytes".into(), Ipld::Integer(1));
    scribe.write(OWNER, Kind::GRANT, Ipld::Map(map), Parts::default())
}

#[test]
fn every_verdict_has_its_word_in_gossip() {
    use GossipVerdict::{Accept, Ignore, Reject};
    let mut scribe = Scribe::new(READ_OPEN);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, 2);
    assert!(peer.name(&mut host, scribe.space));
    host.wait(1000);
    let grant = scribe.grant(OWNER, 3, Role::Writer, &[]);
    let here = scribe.start(OWNER, &[]);
    host.accept(&here);
    let fresh = scribe.start(OWNER, &[]);
    let late = scribe.start(OWNER, &[]);
    let missing = scribe.start(OWNER, &[]);
    let orphan = scribe.change(OWNER, &missing, &[]);
    let orphan_header = scribe.change(OWNER, &missing, &[]);
    let unproven = scribe.start(3, &[grant.id()]);
    let stranger = scribe.start(4, &[]);
    let stranger_header = scribe.start(4, &[]);
    let child = scribe.change(OWNER, &stranger, &[]);
    let limited = limited_grant(&mut scribe);
    let elsewhere = Scribe::named("elsewhere", READ_OPEN);
    let torn = garbled(&late, *late.signature().as_bytes(), Some(b"another body"));
    let forged_header = garbled(&late, [7; 64], None);
    let cases: Vec<(&str, Vec<u8>, GossipVerdict, Vec<RecordId>)> = vec![
        ("good", fresh.encode(), Accept, vec![]),
        ("again", fresh.encode(), Ignore, vec![]),
        ("here by other ways", here.encode(), Ignore, vec![]),
        ("a known header", here.encode_without_body(), Ignore, vec![]),
        ("a header", late.encode_without_body(), Accept, vec![late.id()]),
        ("an orphan", orphan.encode(), Ignore, vec![missing.id()]),
        ("the orphan again", orphan.encode(), Ignore, vec![]),
        (
            "an orphan's header",
            orphan_header.encode_without_body(),
            Accept,
            vec![orphan_header.id()],
        ),
        ("without its grant", unproven.encode(), Ignore, vec![grant.id()]),
        ("without right", stranger.encode(), Ignore, vec![]),
        ("again without right", stranger.encode(), Ignore, vec![]),
        ("a header without right", stranger_header.encode_without_body(), Ignore, vec![]),
        ("upon what has no right", child.encode(), Ignore, vec![]),
        ("a grant that is not understood", limited.encode(), Ignore, vec![]),
        ("another version", later_version(), Ignore, vec![]),
        ("no record", b"no record".to_vec(), Reject, vec![]),
        ("nothing", vec![], Reject, vec![]),
        ("another space", elsewhere.genesis.encode(), Reject, vec![]),
        ("a forged copy", forged(&late), Reject, vec![]),
        ("the forged copy again", forged(&late), Reject, vec![]),
        ("a forged header", forged_header, Reject, vec![]),
        ("another body", torn, Reject, vec![]),
    ];
    for (name, bytes, expected, wanted) in cases {
        let (verdict, out) = host.gossip(peer.id, scribe.space, bytes);
        assert_eq!(verdict, expected, "{name}");
        assert_eq!(fetched(&out, &peer), wanted, "{name}");
        assert!(!disconnects(&out, peer.id), "{name}: gossip has scores of its own");
        // What was asked fails, so that the limit on requests under way is not met here.
        for out in out {
            if let ocm_node::Output::Send { request, .. } = out {
                host.tell(ocm_node::Input::RequestFailed { request, timed_out: false });
            }
        }
    }
    let unknown = elsewhere.genesis.encode();
    let (verdict, _) = host.gossip(peer.id, elsewhere.space, unknown);
    assert_eq!(verdict, Ignore, "a space that is not here");
    assert!(host.stores(&fresh) && !host.stores(&late));
    let (verdict, _) = host.gossip(peer.id, scribe.space, late.encode());
    assert_eq!(verdict, Accept, "the true record, after all that was said of it");
    assert!(host.stores(&late));
}

#[test]
fn hints_have_a_limit_and_go_to_peers_that_share_the_space() {
    let mut scribe = Scribe::new(READ_OPEN);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, 2);
    let unnamed = scribe.start(OWNER, &[]);
    let (_, out) = host.gossip(peer.id, scribe.space, unnamed.encode_without_body());
    assert_eq!(fetched(&out, &peer), [], "not shared with it");
    assert!(peer.name(&mut host, scribe.space));
    let mut asked = 0;
    for _ in 0..limits::HINTS_PER_PEER + 3 {
        let large = scribe.start(OWNER, &[]);
        let (verdict, out) = host.gossip(peer.id, scribe.space, large.encode_without_body());
        assert_eq!(verdict, GossipVerdict::Accept);
        asked += fetched(&out, &peer).len();
    }
    assert_eq!(asked, limits::HINTS_PER_PEER);
}

#[test]
fn what_is_written_here_is_published_whole_or_as_a_header() {
    let scribe = Scribe::new(READ_OPEN);
    let mut host = scribe.host(OWNER);
    for (length, whole) in [(10, true), (40_000, false)] {
        let edits = title(&"x".repeat(length));
        let command =
            ocm_node::Command::Change { space: scribe.space, memory: None, deps: vec![], edits };
        let out = host.tell(ocm_node::Input::Command { ticket: 1, command });
        let published: Vec<_> = out
            .iter()
            .filter_map(|out| match out {
                ocm_node::Output::Publish { space, bytes } if *space == scribe.space => Some(bytes),
                _ => None,
            })
            .collect();
        let [bytes] = published[..] else { panic!("{} messages", published.len()) };
        let record = ocm_record::SignedRecord::decode(bytes).unwrap();
        assert_eq!(record.has_body(), whole);
        assert!(bytes.len() <= limits::GOSSIP_BYTES);
        assert!(record.verify().is_ok());
    }
}
