//! Bundles, against a node that says what each test wants to hear.

use std::path::PathBuf;

use ocm_discovery::{Certificate, PeerId};
use ocm_record::{Did, RecordId, Set, SigningKey, SpaceId};
use ocm_sync::{BundleHead, BundleWriter, Parity, SetDigest, Since};
use serde_bytes::ByteBuf;
use serde_json::{Value as Json, json};

use super::server::{Reply, Server};
use super::{ALICE, MEMORY, PEER, Person, Ran, SPACE, problem};
use crate::bundle::BundleDraft;
use crate::cli::Exit;

const RECORDS: &str =
    "POST /v1/spaces/v0000000000000000000000000000000000000000000000000000000000000000/records";
const STATEMENT: &str = "POST /v1/spaces/v0000000000000000000000000000000000000000000000000000000000000000/bundle/statement";
const SHOW: &str =
    "GET /v1/spaces/v0000000000000000000000000000000000000000000000000000000000000000";

/// A bundle with two pages, of what is no record: the node of these tests does not look.
fn bundle(person: &Person) -> PathBuf {
    let (author, peer) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let did = Did::from(author.public());
    let certificate = Certificate::issue(&peer, &author, did, 1000, 2000).unwrap().encode();
    let from = PeerId::new(peer.public()).to_bytes();
    let set = |count| SetDigest { count, digest: [9; 32] };
    let parity = Parity { authority: set(1), content: set(2), missing_bodies: 0 };
    let head = BundleHead::sign(
        &author,
        (SpaceId(RecordId::MIN), from),
        certificate,
        (Since::Time(1_700_000_000_000), &[1, 2, 4]),
        (parity, 1500),
        vec![0xe1],
    );
    let path = person.dir.path().join("bundle");
    let mut draft = BundleDraft::create(&path, false, None).unwrap();
    let (mut writer, bytes) = BundleWriter::begin(&head);
    draft.write(&bytes).unwrap();
    for set in [Set::Authority, Set::Content] {
        draft.write(&writer.page(set, &[ByteBuf::from(vec![7]), ByteBuf::from(vec![8])])).unwrap();
    }
    draft.write(&writer.end()).unwrap();
    draft.finish().unwrap();
    path
}

fn admitted(accepted: u64, items: &Json) -> Reply {
    Reply::json(200, json!({"accepted": accepted, "duplicates": 0, "items": items}))
}

fn held(id: &str) -> Json {
    json!({"index": 1, "id": id, "verdict": "hold", "reason": "authority",
           "text": "held: 1 authority records it names are not here yet"})
}

fn compared(state: &str, not_kept: Option<&str>) -> Reply {
    let side = |content| json!({"authority": 1, "content": content, "missing_bodies": 0});
    Reply::json(
        200,
        json!({
            "peer_id": PEER, "did": ALICE, "time": "2026-01-31T09:30:01Z", "state": state,
            "ours": side(3), "theirs": side(2), "kept": not_kept.is_none(), "not_kept": not_kept,
        }),
    )
}

fn space() -> (&'static str, Reply) {
    (SHOW, Reply::json(200, json!({"id": SPACE, "name": "river"})))
}

fn import(person: &Person, server: &Server, more: &[&str]) -> Ran {
    let path = bundle(person);
    let ran = person.ask(server, &[&["bundle", "import", path.to_str().unwrap()], more].concat());
    std::fs::remove_file(path).unwrap();
    ran
}

#[test]
fn a_space_is_not_joined_without_its_first_record() {
    let server = Server::new([(SHOW, problem("unknown-space", 404, "not held"))]);
    let ran = import(&Person::new(), &server, &["--join"]);
    assert_eq!(ran.exit, Exit::Wrong, "{ran:?}");
    assert!(ran.errors.contains("has not the first record of the space"), "{ran:?}");
    assert_eq!(server.requests().len(), 1, "nobody was asked to join");
}

#[test]
fn what_was_held_is_looked_at_again_at_the_end() {
    let shown = format!("GET /v1/records/{MEMORY}");
    for (found, line, exit) in [
        (Reply::json(200, json!({"id": MEMORY})), "4 new, 0 here already", Exit::Done),
        (
            problem("not-found", 404, "none"),
            "3 new, 0 here already, 1 held (authority)",
            Exit::Failed,
        ),
    ] {
        let server = Server::new([
            space(),
            (RECORDS, admitted(1, &json!([held(MEMORY)]))),
            (RECORDS, admitted(2, &json!([]))),
            (&shown, found),
            (STATEMENT, compared("equal", None)),
        ]);
        let ran = import(&Person::new(), &server, &[]);
        assert_eq!(ran.exit, exit, "{ran:?}");
        assert_eq!(
            ran.out,
            format!(
                "4 records in 2 pages: {line}\nthe bundle is whole\nthis node holds the same as \
                 …vnc6iDEp held at 2026-01-31 09:30:01Z\n"
            )
        );
        let named = ran.errors.contains("authority records it names are not here yet");
        assert_eq!(named, exit == Exit::Failed, "{ran:?}");
    }
}

#[test]
fn people_read_what_differs_and_programs_every_record() {
    let item =
        json!({"index": 0, "id": null, "verdict": "reject", "reason": "malformed", "text": "no"});
    let replies = || {
        Server::new([
            space(),
            (RECORDS, admitted(1, &json!([item]))),
            (RECORDS, admitted(2, &json!([]))),
            (STATEMENT, compared("differs", Some("older"))),
        ])
    };
    let person = Person::new();
    let ran = import(&person, &replies(), &[]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.out.contains("3 new, 0 here already, 1 rejected (malformed)\n"), "{ran:?}");
    assert!(
        ran.out.ends_with(
            "this node does not hold the same as …vnc6iDEp held at 2026-01-31 09:30:01Z: 1 here and \
             1 there of authority, 3 here and 2 there of content (not kept: a later comparison with \
             it is known)\n"
        ),
        "{ran:?}"
    );
    assert!(ran.errors.contains("content from 2023-11-14 22:13:20Z on, written at"), "{ran:?}");
    assert!(ran.errors.contains("a record without an id: no\n"), "{ran:?}");
    let hint = format!("`ocm bundle export --since parity --peer {PEER} FILE`");
    assert!(ran.errors.contains(&hint), "{ran:?}");
    let ran = import(&person, &replies(), &["--json"]);
    let lines: Vec<Json> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["bundle"]["since"], "2023-11-14T22:13:20.000Z");
    let judged = json!({"record": null, "verdict": "reject", "reason": "malformed", "text": "no"});
    assert_eq!(lines[1], judged);
    assert_eq!(lines[2]["not_admitted"][0]["count"], 1);
    assert_eq!(
        (&lines[2]["whole"], &lines[2]["comparison"]["state"]),
        (&json!(true), &json!("differs"))
    );
}

#[test]
fn a_terminal_shows_how_far_it_is_and_a_failure_that_it_goes_on() {
    let person = Person { terminal: true, ..Person::new() };
    let stopping = problem("stopping", 503, "the node is stopping");
    let server = Server::new([space(), (RECORDS, admitted(2, &json!([]))), (RECORDS, stopping)]);
    let ran = import(&person, &server, &[]);
    assert_eq!(ran.exit, Exit::Unreachable, "{ran:?}");
    assert!(ran.errors.contains("2 records, "), "{ran:?}");
    assert!(ran.errors.contains("1 page was imported before this; begin again"), "{ran:?}");
    assert_eq!(server.requests().len(), 3, "nothing is asked after it");
}
