//! How commands fail.

use std::ffi::OsString;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::server::{Reply, Server};
use super::{Person, Ran, memory, once};
use crate::cli::{Exit, Io, run};

#[test]
fn a_node_that_does_not_run_is_told_with_the_remedy() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let person = Person::new().set("OCM_API_LISTEN", &address);
    let told = |ran: &Ran| {
        assert_eq!(ran.exit, Exit::Unreachable);
        assert!(ran.errors.contains(&format!("the node at {address} cannot be reached")));
        assert!(ran.errors.contains("start it with `ocm node`"), "{}", ran.errors);
    };
    told(&person.run_with(&["status"], b""));
    // Without a token, too, that no node runs is the first thing to know.
    std::fs::remove_file(person.dir.path().join("api.token")).unwrap();
    told(&person.run_with(&["status"], b""));
    let ran = person.run_with(&["status", "--json"], b"");
    let problem: Json = serde_json::from_str(&ran.errors).unwrap();
    assert_eq!(problem["type"], "urn:ocm:not-reachable");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Unreachable, ""));
}

#[test]
fn a_missing_token_is_told_with_the_remedy() {
    let server = Server::new([("GET /ping", Reply::text(200, "text/plain", "pong"))]);
    let person = Person::new();
    std::fs::remove_file(person.dir.path().join("api.token")).unwrap();
    let ran = person.ask(&server, &["status"]);
    assert_eq!(ran.exit, Exit::Refused);
    assert!(
        ran.errors.contains("api.token") && ran.errors.contains("--data-dir"),
        "{}",
        ran.errors
    );
}

#[test]
fn a_configured_token_goes_before_the_file() {
    let server = Server::new([("POST /v1/stop", Reply::text(202, "application/json", ""))]);
    let person = Person::new().set("OCM_API_TOKEN", "configured-token-1");
    let ran = person.ask(&server, &["stop", "--json"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, "{}\n"));
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer configured-token-1"));
}

#[test]
fn problems_keep_their_json_and_their_exit_code() {
    let body = json!({"type": "urn:ocm:ambiguous-id", "title": "Ambiguous id", "status": 409,
        "detail": "v0m3 names 2 memories", "matches": ["v0m3a", "v0m3b"]});
    let reply = || Reply::json(409, body.clone());
    let ran = once("GET /v1/memories/v0m3", reply(), &["memory", "get", "v0m3", "--json"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::NotFound, ""));
    assert_eq!(serde_json::from_str::<Json>(&ran.errors).unwrap(), body);
    let ran = once("GET /v1/memories/v0m3", reply(), &["memory", "get", "v0m3"]);
    assert_eq!(ran.errors, "error: v0m3 names 2 memories\n  v0m3a\n  v0m3b\n");
}

#[test]
fn what_is_no_ocm_node_is_told_apart() {
    for reply in [
        Reply::text(200, "text/html", "<html>"),
        Reply::text(502, "text/html", "<html>"),
        Reply::json(404, json!({"error": "no such page"})),
        Reply::text(302, "text/html", ""),
    ] {
        let ran = once("GET /status", reply, &["status"]);
        assert_eq!(ran.exit, Exit::Failed);
        assert!(ran.errors.contains("does not speak OCM's API"), "{}", ran.errors);
    }
}

#[test]
fn a_node_that_does_not_answer_times_out() {
    let ran = once("GET /status", Reply::Silence, &["status", "--timeout", "0.05"]);
    assert_eq!(ran.exit, Exit::TimedOut);
    assert!(ran.errors.contains("did not answer within 0.05 s"), "{}", ran.errors);
    let ran = once("GET /status", Reply::Hangup, &["status"]);
    assert_eq!(ran.exit, Exit::Unreachable);
    assert!(ran.errors.contains("ended the connection"), "{}", ran.errors);
}

/// Output that someone has stopped reading.
struct Closed;

impl std::io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let feed = "event: record\nid: 1\ndata: 1\n\n";
    let mut damaged = memory();
    damaged["verified"] = false.into();
    let server = Server::new([
        ("GET /v1/events", Reply::text(200, "text/event-stream", feed)),
        ("GET /v1/memories/v1", Reply::json(200, damaged)),
    ]);
    let person = Person::new();
    let close = |args: &[&str]| {
        let mut errors = Vec::new();
        let mut io = Io {
            input: &mut std::io::empty(),
            output: &mut Closed,
            errors: &mut errors,
            terminal: false,
            pause: &mut |_: Duration| {},
        };
        let address = server.address();
        let args = ["ocm", "--api", &address].into_iter().chain(args.iter().copied());
        let exit = run(args.map(OsString::from), &person.environment(), &mut io);
        (exit, String::from_utf8(errors).unwrap())
    };
    assert_eq!(close(&["events"]), (Exit::Done, String::new()));
    // What was found wrong stays wrong.
    assert_eq!(close(&["memory", "verify", "v1"]), (Exit::Wrong, String::new()));
}

#[test]
fn flags_that_would_change_nothing_of_a_devnet_are_refused() {
    let person = Person::new();
    for flag in ["--network-quic=false", "--config=/none.toml", "--set=network.mdns=false"] {
        let ran = person.run_with(&["devnet", "--dir", "/none", "status", flag], b"");
        assert_eq!(ran.exit, Exit::Usage, "{}", ran.errors);
        let name = flag.split('=').next().unwrap();
        assert!(ran.errors.contains(name), "{flag}: {}", ran.errors);
        assert!(ran.errors.contains("would change nothing"), "{}", ran.errors);
    }
}
