//! Comparisons, the feed, and peers.

use serde_json::{Value as Json, json};

use super::server::{Reply, Server};
use super::{BOB, PEER, Person, SPACE, once, problem};
use crate::cli::Exit;

fn list(state: &str, at: &str) -> Json {
    json!({"next": null, "items": [{
        "space": SPACE, "name": "river", "peer_id": PEER, "did": BOB, "connected": true, "state": state,
        "equal_since": if state == "equal" { Some(at) } else { None }, "at": at,
        "cause": if state == "equal" { None } else { Some("not yet asked") },
        "ours": {"authority": 3, "content": 12, "missing_bodies": 0},
        "theirs": {"authority": 3, "content": 11, "missing_bodies": 1},
    }]})
}

fn parity(state: &str, at: &str) -> Reply {
    Reply::json(200, list(state, at))
}

#[test]
fn parity_is_a_table_and_a_difference_exits_with_6() {
    let at = "2026-01-31T09:30:01Z";
    let ran = once("GET /v1/sync", parity("differs", at), &["sync", "status"]);
    assert_eq!(ran.exit, Exit::Wrong);
    assert_eq!(
        ran.out,
        "SPACE  PEER       PARITY   OURS  THEIRS                 SINCE                 CAUSE\n\
         river  …vnc6iDEp  differs  3+12  3+11 (1 body missing)  2026-01-31 09:30:01Z  not yet \
         asked\n"
    );
    assert_eq!(once("GET /v1/sync", parity("equal", at), &["sync", "status"]).exit, Exit::Done);
}

#[test]
fn since_is_when_the_state_began_where_that_is_known() {
    let at = "2026-01-31T09:30:01Z";
    let shown = |state: &str| {
        let mut list = list(state, at);
        let row = &mut list["items"][0];
        row["equal_since"] = json!((state == "equal").then_some("2026-01-31T07:00:00Z"));
        row["differs_since"] = json!((state != "equal").then_some("2026-01-31T08:00:00Z"));
        once("GET /v1/sync", Reply::json(200, list), &["sync", "status"]).out
    };
    for (state, since) in
        [("equal", "07:00:00Z"), ("differs", "08:00:00Z"), ("changed since", "09:30:01Z")]
    {
        let shown = shown(state);
        assert!(shown.contains(&format!("  2026-01-31 {since}")), "{state}: {shown}");
    }
}

#[test]
fn a_comparison_by_a_bundle_is_marked() {
    let mut list = list("equal", "2026-01-31T09:30:01Z");
    list["items"][0]["connected"] = json!(false);
    list["items"][0]["by"] = json!("bundle");
    let ran = once("GET /v1/sync", Reply::json(200, list), &["sync", "status"]);
    assert!(ran.out.contains("  equal (by bundle)  "), "{ran:?}");
}

#[test]
fn who_is_away_is_shown_and_neither_waited_for_nor_wrong() {
    let at = "2026-01-31T09:30:01Z";
    let away = |state: &str| {
        let mut list = list(state, at);
        list["items"][0]["connected"] = json!(false);
        Reply::json(200, list)
    };
    let ran = once("GET /v1/sync", away("differs"), &["sync", "status"]);
    assert_eq!(ran.exit, Exit::Done);
    assert!(ran.out.contains("differs (away)"), "{}", ran.out);
    // Who lied is wrong wherever it is.
    assert_eq!(once("GET /v1/sync", away("unproved"), &["sync", "status"]).exit, Exit::Wrong);
    assert_eq!(once("GET /v1/sync", parity("unproved", at), &["sync", "status"]).exit, Exit::Wrong);
    let server = Server::new([])
        .repeating("POST /v1/sync", Reply::json(202, json!({"sessions": 1})))
        .repeating("GET /v1/sync", away("equal"));
    let ran = Person::new().ask(&server, &["sync", "status", "--wait-equal", "0.05"]);
    assert_eq!(ran.exit, Exit::TimedOut);
}

#[test]
fn what_waits_in_vain_is_a_table() {
    let list = json!({"next": "c1", "total": 45, "unlisted": 40, "items": [{
        "space": SPACE, "id": SPACE, "set": "content", "peer_id": PEER, "verdict": "refuse",
        "reason": "not_permitted", "text": "refused: no right", "first": "2026-01-31T09:30:01Z",
        "last": "2026-01-31T10:30:01Z", "attempts": 6, "next": "2026-01-31T11:02:01Z",
    }]});
    let ran = once("GET /v1/quarantined", Reply::json(200, list), &["sync", "quarantined"]);
    assert!(ran.out.contains("2026-01-31 09:30:01Z  6"), "{}", ran.out);
    assert!(ran.out.contains("refused: no right"), "{}", ran.out);
    assert!(ran.errors.contains("there are more: --cursor c1, or --all"), "{}", ran.errors);
    assert!(ran.errors.contains("40 of 45 are in no page"), "{}", ran.errors);
    let page = |id: &str, next: Option<&str>| {
        let list = json!({"items": [{"id": id}], "next": next, "total": 2, "unlisted": 0});
        ("GET /v1/quarantined", Reply::json(200, list))
    };
    let server = Server::new([page("v1", Some("c1")), page("v2", None)]);
    let ran = Person::new().ask(&server, &["sync", "quarantined", "--all", "--json"]);
    let whole = json!({"items": [{"id": "v1"}, {"id": "v2"}], "next": null, "total": 2,
        "unlisted": 0});
    assert_eq!(serde_json::from_str::<Json>(&ran.out).unwrap(), whole);
    let asked: Vec<String> =
        server.requests().iter().map(|request| format!("{request:?}")).collect();
    assert!(asked[0].contains("limit=500") && asked[1].contains("cursor=c1"), "{asked:?}");
    let none = Reply::json(200, json!({"next": null, "items": [], "total": 0, "unlisted": 0}));
    let ran = once("GET /v1/quarantined", none, &["sync", "quarantined"]);
    assert!(ran.errors.contains("no record waits in vain"), "{}", ran.errors);
    assert!(!ran.errors.contains("more"), "{}", ran.errors);
}

#[test]
fn a_wait_for_parity_takes_no_result_from_before() {
    let begun = || ("POST /v1/sync", Reply::json(202, json!({"sessions": 1})));
    let server = Server::new([
        ("GET /v1/sync", parity("equal", "2026-01-31T09:30:01Z")),
        begun(),
        ("GET /v1/sync", parity("equal", "2026-01-31T09:30:01Z")),
        begun(),
        ("GET /v1/sync", parity("differs", "2026-01-31T09:30:02Z")),
        begun(),
        ("GET /v1/sync", parity("equal", "2026-01-31T09:30:03Z")),
    ]);
    let ran = Person::new().ask(&server, &["sync", "status", "--wait-equal", "60"]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.errors);
    assert!(ran.out.contains("2026-01-31 09:30:03Z"), "{}", ran.out);
    assert_eq!(server.requests().len(), 7);

    let server = Server::new([])
        .repeating("POST /v1/sync", begun().1)
        .repeating("GET /v1/sync", parity("equal", "2026-01-31T09:30:01Z"));
    let ran = Person::new().ask(&server, &["sync", "status", "--wait-equal", "0.05"]);
    assert_eq!(ran.exit, Exit::TimedOut);
    assert!(ran.errors.contains("has not answered since"), "{}", ran.errors);
}

#[test]
fn peers_and_their_commands() {
    let server = Server::new([
        (
            "GET /peers",
            Reply::json(
                200,
                json!({"next": null, "items": [{
                    "peer_id": PEER, "did": BOB, "address": "/ip4/192.0.2.7/tcp/8080",
                    "path": "direct", "transport": "tcp",
                    "direction": "outbound", "since": "2026-01-31T09:30:01Z", "rtt_ms": 1.25,
                    "source": "bootstrap", "agent": "ocm/0.1.0", "shared_spaces": [SPACE],
                }]}),
            ),
        ),
        ("POST /v1/peers/connect", Reply::json(202, json!({"address": "node:1"}))),
        (
            &format!("POST /v1/peers/{PEER}/ping"),
            Reply::json(200, json!({"peer_id": PEER, "rtt_ms": 0.42})),
        ),
        (
            &format!("POST /v1/peers/{PEER}/block"),
            Reply::json(200, json!({"peer_id": PEER, "blocked": true})),
        ),
    ]);
    let person = Person::new();
    let ran = person.ask(&server, &["peers"]);
    let mut lines = ran.out.lines();
    assert!(lines.next().unwrap().starts_with("PEER  "));
    assert_eq!(
        lines.next().unwrap(),
        format!(
            "{PEER}  /ip4/192.0.2.7/tcp/8080  direct  tcp        outbound   1.2 ms  1       \
             2026-01-31 09:30:01Z  bootstrap  {BOB}"
        )
    );
    assert_eq!(person.ask(&server, &["peer", "connect", "node:1"]).out, "dialling node:1\n");
    let ran = person.ask(&server, &["peer", "ping", PEER]);
    assert_eq!(ran.out, format!("{PEER} answered in 0.4 ms\n"));
    let ran = person.ask(&server, &["peer", "block", PEER, "-q"]);
    assert_eq!(ran.out, format!("{PEER} is blocked\n"));
    assert_eq!(server.requests()[1].json(), json!({"address": "node:1"}));
}

#[test]
fn events_are_lines_until_the_node_stops() {
    let feed = ": hi\n\nevent: record\nid: 1\ndata: {\"id\": \"v1\"}\n\nevent: lagged\nid: 9\ndata: {\"lost\": 7}\n\n";
    let reply = || Reply::text(200, "text/event-stream", feed);
    let ran = once("GET /v1/events", reply(), &["events"]);
    assert_eq!(ran.out, "record 1 {\"id\":\"v1\"}\nlagged 9 {\"lost\":7}\n");
    assert_eq!(ran.exit, Exit::Unreachable);
    assert!(ran.errors.contains("some events were lost") && ran.errors.contains("stopping"));
    let ran = once("GET /v1/events", reply(), &["events", "--json"]);
    let lines: Vec<Json> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0], json!({"event": "record", "id": 1, "data": {"id": "v1"}}));
    assert_eq!(lines.len(), 2);
    let ran = once("GET /v1/events", problem("unauthorized", 401, "wrong token"), &["events"]);
    assert_eq!(ran.exit, Exit::Refused);
}
