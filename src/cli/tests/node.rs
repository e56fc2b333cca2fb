//! The node itself.

use serde_json::json;

use super::server::{Reply, Server};
use super::{ALICE, PEER, Person, SPACE, once, problem};
use crate::cli::Exit;

#[test]
fn health_is_terse_and_needs_no_token() {
    let server = Server::new([
        ("GET /health", Reply::json(200, json!({"status": "ok"}))),
        ("GET /ready", Reply::json(200, json!({"ready": true, "store": true, "identity": true}))),
        ("GET /ready", Reply::json(503, json!({"ready": false, "store": false, "identity": true}))),
    ]);
    let person = Person::new();
    std::fs::remove_file(person.dir.path().join("api.token")).unwrap();
    let ran = person.ask(&server, &["health"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, "ok\n"));
    let ran = person.ask(&server, &["health", "--ready"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, "ready\n"));
    let ran = person.ask(&server, &["health", "--ready"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Wrong, "not ready: store no\n"));
    assert!(server.requests().iter().all(|sent| sent.header("authorization").is_none()));
}

#[test]
fn status_shows_what_matters() {
    let status = json!({
        "version": "0.1.0", "handle": "alice", "did": ALICE, "peer_id": PEER, "boot": "00",
        "started_at": "2026-01-31T09:30:01Z", "uptime_seconds": 61, "data_dir": "/d",
        "listen": ["/ip4/0.0.0.0/tcp/8080"], "api": "127.0.0.1:7845", "default_space": SPACE,
        "isolated": true, "peers": 0, "spaces": 1, "memories": 2,
        "held": {"records": 1, "bytes": 300}, "sessions": 0, "unrendered": 0,
        "sources": [{"name": "mdns", "state": "ok", "detail": "2 heard"}], "blocked": [],
    });
    let ran = once("GET /status", Reply::json(200, status), &["status"]);
    assert_eq!(
        ran.out,
        format!(
            "node      alice
did       {ALICE}
peer      {PEER}
version   0.1.0
running   since 2026-01-31 09:30:01Z (1 min 1 s)
data      /d
api       127.0.0.1:7845
listen    /ip4/0.0.0.0/tcp/8080
peers     0 (isolated)
spaces    1
default   {SPACE}
memories  2
held      1 record waits for what they build on (300 bytes)
mdns      ok  2 heard
"
        )
    );
}

#[test]
fn the_doctor_goes_on_where_another_node_answers() {
    let unauthorized = || problem("unauthorized", 401, "the token is not this node's");
    let garbage = || Reply::text(200, "text/html", "<html>");
    for (reply, told) in [
        (unauthorized(), "another node answers at "),
        (garbage(), "does not speak OCM's API"),
        (Reply::Hangup, "ended the connection"),
    ] {
        let ran = once("GET /status", reply, &["doctor"]);
        assert_eq!((ran.exit, ran.errors.as_str()), (Exit::Wrong, ""));
        assert!(ran.out.contains(told) && ran.out.contains("OCM_API_LISTEN"), "{}", ran.out);
        for check in ["keys ", "clock ", "disk ", "store ", "api "] {
            assert!(ran.out.lines().any(|line| line.starts_with(check)), "{check}: {}", ran.out);
        }
    }
    // A node answers, and there is no token here: it is not the one of this directory.
    let server = Server::new([("GET /ping", Reply::text(200, "text/plain", "pong"))]);
    let person = Person::new();
    std::fs::remove_file(person.dir.path().join("api.token")).unwrap();
    let ran = person.ask(&server, &["doctor", "--json"]);
    assert_eq!(ran.exit, Exit::Wrong);
    let told = format!("another node answers at {}", server.address());
    assert!(ran.out.contains(&told), "{}", ran.out);
}

#[test]
fn refusals_are_listed_with_reason_and_peer() {
    let reply = Reply::json(
        200,
        json!({"next": null, "items": [{
            "at": "2026-01-31T09:30:01Z", "space": SPACE, "id": null, "verdict": "reject",
            "reason": "bad-signature", "text": "the signature does not match", "peer": PEER,
        }]}),
    );
    let ran = once("GET /v1/refused", reply, &["refused"]);
    let last = ran.out.lines().nth(1).unwrap();
    assert!(
        last.contains("reject") && last.ends_with("bad-signature: the signature does not match")
    );
}
