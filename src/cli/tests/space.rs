//! Commands on spaces.

use serde_json::{Value as Json, json};

use super::server::{Reply, Server};
use super::{BOB, Person, SPACE};
use crate::cli::Exit;

#[test]
fn spaces_are_made_listed_and_granted() {
    let server = Server::new([
        ("POST /v1/spaces", Reply::json(201, json!({"id": SPACE, "name": "river"}))),
        (
            "GET /v1/spaces",
            Reply::json(
                200,
                json!({"next": null, "items": [
                    {"id": SPACE, "name": "river", "policy": {"write": "members", "read": "open"},
                     "role": "owner", "memories": 12, "records": {"authority": 3, "content": 40},
                     "default": true},
                    {"id": "v1", "name": null, "policy": null, "role": null, "memories": 0,
                     "records": {"authority": 0, "content": 0}, "default": false},
                ]}),
            ),
        ),
        (
            &format!("POST /v1/spaces/{SPACE}/grants"),
            Reply::json(201, json!({"id": "v9", "space": SPACE, "to": BOB, "role": "writer"})),
        ),
        (
            "GET /v1/spaces/v0m3/invitation",
            Reply::json(200, json!({"invitation": "ocm1abc", "addresses": ["/ip4/1.2.3.4/tcp/1"]})),
        ),
    ]);
    let person = Person::new().set("OCM_SPACE_DEFAULT", SPACE);
    let ran = person.ask(&server, &["space", "create", "river", "--read", "open"]);
    assert_eq!(ran.out, format!("space {SPACE} made: river\n"));
    let ran = person.ask(&server, &["space", "list"]);
    assert_eq!(
        ran.out,
        format!(
            "   NAME               ROLE   WRITE    READ  MEMORIES  RECORDS  ID\n\
             *  river              owner  members  open  12        3+40     {SPACE}\n   \
             (not arrived yet)                        0         0+0      v1\n"
        )
    );
    let ran = person.ask(&server, &["space", "grant", BOB, "--role", "writer", "--kinds", "4,7"]);
    assert_eq!(ran.out, format!("{BOB} is now writer in {SPACE} (grant v9)\n"));
    let ran = person.ask(&server, &["space", "invite", "v0m3"]);
    assert_eq!((ran.out.as_str(), ran.errors.as_str()), ("ocm1abc\n", ""));
    let sent = server.requests();
    assert_eq!(sent[0].json(), json!({"name": "river", "read": "open"}));
    assert_eq!(sent[2].json(), json!({"to": BOB, "role": "writer", "kinds": [4, 7]}));
    let ran = person.ask(&server, &["space", "grant", BOB, "--role", "king"]);
    assert_eq!(ran.exit, Exit::Usage);
}

#[test]
fn a_join_waits_until_something_has_arrived() {
    let join = || ("POST /v1/spaces/join", Reply::json(200, json!({"id": "v1", "addresses": []})));
    let space = |name: Json| Reply::json(200, json!({"id": "v1", "name": name}));
    let parity = |items: Json| Reply::json(200, json!({"next": null, "items": items}));
    let server = Server::new([
        join(),
        ("GET /v1/spaces/v1", space(Json::Null)),
        ("GET /v1/spaces/v1", space("river".into())),
        ("GET /v1/spaces/v1/parity", parity(json!([]))),
        ("GET /v1/spaces/v1", space("river".into())),
        ("GET /v1/spaces/v1/parity", parity(json!([{"state": "equal"}]))),
    ]);
    let ran = Person::new().ask(&server, &["space", "join", "ocm1abc", "--wait"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, "name  river\nid    v1\n"));
    assert_eq!(server.requests()[0].json(), json!({"invitation": "ocm1abc"}));

    let server = Server::new([join()]).repeating("GET /v1/spaces/v1", space(Json::Null));
    let ran = Person::new().ask(&server, &["space", "join", "ocm1abc", "--wait=0.05"]);
    assert_eq!(ran.exit, Exit::TimedOut);
    assert!(ran.errors.contains("space v1 has not arrived in 0.05 s"), "{}", ran.errors);
}
