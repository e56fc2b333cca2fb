//! Commands on memories.

use serde_json::{Value as Json, json};

use super::server::{Reply, Server};
use super::{ALICE, BOB, MEMORY, Person, SPACE, TOKEN, memory, once, problem};
use crate::cli::Exit;

#[test]
fn add_prints_the_id_or_the_memory() {
    let reply = || Reply::json(201, memory());
    let ran = once("POST /v1/memories", reply(), &["memory", "add", "--title", "Well 7"]);
    assert_eq!((ran.exit, ran.out), (Exit::Done, format!("added memory {MEMORY}\n")));

    let server = Server::new([("POST /v1/memories", reply())]);
    let person = Person::new().set("OCM_SPACE_DEFAULT", SPACE);
    let ran = person.ask(&server, &["memory", "add", "--title", "Well 7", "--json"]);
    assert_eq!(ran.out.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Json>(&ran.out).unwrap(), memory());
    let sent = &server.requests()[0];
    assert_eq!(sent.json(), json!({"space": SPACE, "content": {"title": "Well 7"}}));
    assert_eq!(sent.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(sent.header("host"), Some(server.address().as_str()));
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(sent.header("origin"), None);
}

#[test]
fn add_reads_standard_input() {
    let server = Server::new([("POST /v1/memories", Reply::json(201, memory()))]);
    let address = server.address();
    let args = ["--api", &address, "memory", "add", "--space", "v123", "--file", "-", "--tag", "t"];
    let ran = Person::new().run_with(&args, br#"{"title": "piped"}"#);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.errors);
    let content = json!({"title": "piped", "tags": ["t"]});
    assert_eq!(server.requests()[0].json(), json!({"space": "v123", "content": content}));
}

#[test]
fn without_a_space_the_command_says_how_to_name_one() {
    let server = Server::new([]);
    let ran = Person::new().ask(&server, &["memory", "add", "--title", "x"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.errors.contains("--space ID") && ran.errors.contains("space.default"));
    assert!(server.requests().is_empty());
}

#[test]
fn a_memory_is_shown_to_people() {
    let ran = once(
        &format!("GET /v1/memories/{MEMORY}"),
        Reply::json(200, memory()),
        &["memory", "get", MEMORY],
    );
    let shown = format!(
        "id        {MEMORY}
title     Well 7
type      reading
at        2026-01-31 09:30:00Z
place     Ford (-3.25, 170.5)
tags      water, north
text      low
          very low
level     2.4
author    {ALICE}
space     {SPACE}
created   2026-01-31 09:30:01Z
records   1
verified  yes
"
    );
    assert_eq!(ran.out, shown);
}

#[test]
fn json_is_the_apis_own_on_one_line_or_indented_for_a_terminal() {
    let text = r#"{"verified": true, "id": "v1", "content": {"n": 1.50}}"#;
    let reply = || Reply::text(200, "application/json", text);
    let ran = once("GET /v1/memories/v1", reply(), &["memory", "get", "v1", "--json"]);
    assert_eq!(ran.out, "{\"verified\":true,\"id\":\"v1\",\"content\":{\"n\":1.50}}\n");

    let server = Server::new([("GET /v1/memories/v1", reply())]);
    let mut person = Person::new();
    person.terminal = true;
    let ran = person.ask(&server, &["memory", "get", "v1", "--json"]);
    assert!(ran.out.starts_with("{\n  \"verified\": true,\n  \"id\": \"v1\","), "{}", ran.out);
}

#[test]
fn ids_are_sent_as_given_and_escaped() {
    let server =
        Server::new([("GET /v1/memories/v0m%2F..%3Fa", problem("not-found", 404, "none"))]);
    let ran = Person::new().ask(&server, &["memory", "get", "v0m/..?a"]);
    assert_eq!((ran.exit, ran.errors.as_str()), (Exit::NotFound, "error: none\n"));
}

#[test]
fn verify_exits_with_6_and_the_cause() {
    let route = format!("GET /v1/memories/{MEMORY}");
    let ran = once(&route, Reply::json(200, memory()), &["memory", "verify", MEMORY]);
    assert_eq!((ran.exit, ran.out), (Exit::Done, format!("verified: {MEMORY} (1 record)\n")));
    let mut damaged = memory();
    damaged["verified"] = false.into();
    damaged["cause"] = "the signature of v1 does not match".into();
    let ran = once(&route, Reply::json(200, damaged), &["memory", "verify", MEMORY]);
    let told = format!("not verified: {MEMORY}: the signature of v1 does not match\n");
    assert_eq!((ran.exit, ran.out), (Exit::Wrong, told));
}

fn listed(id: &str, title: &str) -> Json {
    json!({"id": id, "space": SPACE, "author": ALICE, "type": "reading", "title": title,
        "excerpt": null, "at": null, "place": null, "tags": ["a", "b"],
        "created": "2026-01-31T09:30:01.500Z", "updated": "2026-01-31T09:30:01.500Z",
        "records": 1, "heads": 1, "conflicts": 2, "ahead": false})
}

#[test]
fn a_list_is_a_table_with_a_way_on() {
    let server = Server::new([(
        "GET /v1/memories",
        Reply::json(
            200,
            json!({"items": [listed(MEMORY, "Well\u{1b}[2J 7")], "next": "c1", "unrendered": 7}),
        ),
    )]);
    let person = Person::new().set("OCM_SPACE_DEFAULT", SPACE);
    let ran = person.ask(&server, &["memory", "list", "--text", "a b&c", "--limit", "1"]);
    assert_eq!(
        ran.out,
        "\
ID                    TITLE       TYPE     TAGS  AUTHOR     CREATED
v0m3f1q2000000000000  Well\u{fffd}[2J 7  reading  a, b  …EGta2doK  2026-01-31 09:30:01Z  2 conflicts
"
    );
    assert_eq!(
        ran.errors,
        "7 memories that have just arrived or changed are not in this yet: ask again soon\n\
         there are more: --cursor c1, or --all\n"
    );
    assert_eq!(server.requests()[0].query, format!("space={SPACE}&text=a%20b%26c&limit=1"));
}

#[test]
fn a_whole_list_is_fetched_page_by_page() {
    let page = |items: &[Json], next: Option<&str>| {
        Reply::json(200, json!({"items": items, "next": next, "unrendered": 0}))
    };
    let (one, two) = (listed("v1", "one"), listed("v2", "two"));
    let server = Server::new([
        ("GET /v1/memories", page(std::slice::from_ref(&one), Some("c1"))),
        ("GET /v1/memories", page(std::slice::from_ref(&two), None)),
    ]);
    let args = ["memory", "list", "--space", "all", "--all", "--json"];
    let ran = Person::new().ask(&server, &args);
    let whole: Json = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(whole, json!({"items": [one, two], "next": null, "unrendered": 0}));
    let queries: Vec<String> = server.requests().into_iter().map(|r| r.query).collect();
    assert_eq!(queries, ["limit=500", "limit=500&cursor=c1"]);

    let stuck = Server::new([
        ("GET /v1/memories", page(&[listed("v1", "one")], Some("c1"))),
        ("GET /v1/memories", page(&[listed("v1", "one")], Some("c1"))),
    ]);
    let ran = Person::new().ask(&stuck, &args);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.errors.contains("does not go on"), "{}", ran.errors);
}

#[test]
fn a_count_says_when_it_is_none_of_all() {
    let reply = |complete: bool| {
        Reply::json(200, json!({"count": 40, "complete": complete, "unrendered": 0}))
    };
    let server = Server::new([
        ("GET /v1/memories/count", reply(true)),
        ("GET /v1/memories/count", reply(false)),
    ]);
    let args = ["memory", "count", "--space", "all", "--bbox", "-1.5,2,3,4"];
    let ran = Person::new().ask(&server, &args);
    assert_eq!((ran.out.as_str(), ran.errors.as_str()), ("40\n", ""));
    let ran = Person::new().ask(&server, &args);
    assert_eq!(ran.out, "at least 40\n");
    assert_eq!(ran.errors, "there are more: narrow the count with --since and --until\n");
    assert_eq!(server.requests()[0].query, "bbox=-1.5%2C2%2C3%2C4");
}

#[test]
fn an_edit_is_sent_as_a_merge_patch() {
    let server = Server::new([("PATCH /v1/memories/v0m3", Reply::json(200, memory()))]);
    let args = ["memory", "edit", "v0m3", "--title", "new", "--unset", "place.lat"];
    let ran = Person::new().ask(&server, &args);
    assert_eq!(ran.out, format!("edited memory {MEMORY}\n"));
    let sent = &server.requests()[0];
    assert_eq!(sent.json(), json!({"title": "new", "place": {"lat": null}}));
    assert_eq!(sent.header("content-type"), Some("application/merge-patch+json"));
}

#[test]
fn conflicts_name_values_and_authors_and_can_be_settled() {
    let reply = Reply::json(
        200,
        json!({"next": null, "items": [{
            "path": ["place", "name"], "shown": "Bridge", "values": [
                {"value": "Bridge", "author": ALICE, "record": "v1", "time": "2026-01-31T09:30:01.500Z"},
                {"value": "Ford", "author": BOB, "record": "v2", "time": "2026-01-31T09:31:00Z"},
            ],
        }]}),
    );
    let ran = once("GET /v1/memories/v0m3/conflicts", reply, &["memory", "conflicts", "v0m3"]);
    assert_eq!(
        ran.out,
        format!(
            "place.name\n* \"Bridge\"\n    by      {ALICE} at 2026-01-31 09:30:01Z\n    record  \
             v1\n  \"Ford\"\n    by      {BOB} at 2026-01-31 09:31:00Z\n    record  v2\n"
        )
    );
    let server = Server::new([("POST /v1/memories/v0m3/conflicts", Reply::json(200, memory()))]);
    let ran = Person::new().ask(&server, &["memory", "conflicts", "v0m3", "--take", "v2"]);
    assert_eq!(ran.out, format!("settled in memory {MEMORY}\n"));
    assert_eq!(server.requests()[0].json(), json!({"take": "v2"}));
}

#[test]
fn a_history_tells_who_changed_what() {
    let reply = Reply::json(
        200,
        json!({"next": null, "items": [
            {"record": "v1", "author": ALICE, "time": "2026-01-31T09:30:01.500Z",
             "edits": [{"op": "set", "path": ["title"], "value": "Well 7"}]},
            {"record": "v2", "author": BOB, "time": "2026-01-31T09:31:00Z", "void": "past a limit",
             "edits": [{"op": "splice", "path": ["text"], "index": 0, "delete": 1, "text": "l"}]},
        ]}),
    );
    let ran = once("GET /v1/memories/v0m3/history", reply, &["memory", "history", "v0m3"]);
    assert_eq!(
        ran.out,
        format!(
            "2026-01-31 09:30:01Z  {ALICE}  v1\n  set title = \"Well 7\"\n2026-01-31 09:31:00Z  \
             {BOB}  v2\n  splice text delete 1 index 0 text \"l\"\n  without effect: past a limit\n"
        )
    );
}

fn wrote(record: &str, memory: Option<&str>) -> String {
    let data = json!({"id": record, "memory": memory, "author": BOB});
    format!("event: record\nid: 1\ndata: {data}\n\n")
}

#[test]
fn watch_shows_each_memory_that_is_written_or_changed() {
    let feed = [
        wrote("v1", Some(MEMORY)),
        wrote("v2", None),
        "event: peer\nid: 2\ndata: {\"memory\": \"v9\"}\n\n".into(),
        "event: lagged\nid: 3\ndata: {\"missed\": 7}\n\n".into(),
        wrote("v3", Some("v9")),
        wrote("v4", Some(MEMORY)),
    ]
    .concat();
    let mut edited = memory();
    edited["records"] = 2.into();
    edited["conflicts"] = 1.into();
    let path = format!("GET /v1/memories/{MEMORY}");
    let replies = || {
        [
            ("GET /v1/events", Reply::text(200, "text/event-stream", &feed)),
            (path.as_str(), Reply::json(200, memory())),
            ("GET /v1/memories/v9", problem("not-found", 404, "it is gone")),
            (path.as_str(), Reply::json(200, edited.clone())),
        ]
    };
    let server = Server::new(replies());
    let ran = Person::new().ask(&server, &["memory", "watch", "--space", SPACE]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.out);
    assert!(lines[0].contains("added by …") && lines[0].contains("Well 7"), "{}", lines[0]);
    assert!(lines[1].contains("edited by …") && lines[1].contains("conflicts"), "{}", lines[1]);
    assert!(ran.errors.contains("were missed") && ran.errors.contains("it is gone"));
    let told = format!("watching the space {SPACE}; `--space all` watches every space\n");
    assert!(ran.errors.starts_with(&told), "{}", ran.errors);
    assert_eq!(ran.exit, Exit::Unreachable, "the feed ends with the node");
    assert_eq!(server.requests()[0].query, format!("space={SPACE}"));

    let server = Server::new(replies());
    let ran = Person::new().ask(&server, &["memory", "watch", "--space", "all", "--json"]);
    let lines: Vec<Json> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines, [memory(), edited.clone()]);
    assert_eq!(server.requests()[0].query, "");
    assert!(ran.errors.starts_with("watching every space\n"), "{}", ran.errors);
}

#[test]
fn watch_of_one_memory_begins_with_it_as_it_is() {
    let feed = [wrote("v1", Some("v9")), wrote("v2", Some(MEMORY))].concat();
    let path = format!("GET /v1/memories/{MEMORY}");
    let server = Server::new([
        ("GET /v1/events", Reply::text(200, "text/event-stream", &feed)),
        ("GET /v1/memories/v0m", Reply::json(200, memory())),
        (path.as_str(), Reply::json(200, memory())),
    ]);
    let ran = Person::new().ask(&server, &["memory", "watch", "v0m"]);
    assert_eq!(ran.out.lines().count(), 2, "{}", ran.out);
    assert!(!ran.errors.contains("watching"), "{}", ran.errors);
    assert_eq!(server.requests().len(), 3, "the other memory is not read");

    let server = Server::new([
        ("GET /v1/events", Reply::text(200, "text/event-stream", "")),
        ("GET /v1/memories/v0m", problem("not-found", 404, "no memory begins with v0m")),
    ]);
    let ran = Person::new().ask(&server, &["memory", "watch", "v0m"]);
    assert_eq!(ran.exit, Exit::NotFound);
}
