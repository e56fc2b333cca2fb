//! Importing many memories.

use serde_json::{Value as Json, json};

use super::server::{Reply, Server};
use super::{MEMORY, Person, Ran, SPACE, problem};
use crate::cli::Exit;

const ROUTE: &str = "POST /v1/memories:batch";

/// An answer to so many items; those at these places failed.
fn answer(count: usize, failed: &[usize]) -> Reply {
    let item = |index: usize| {
        if failed.contains(&index) {
            let error = json!({"type": "urn:ocm:too-large", "title": "Too large", "status": 413,
                "detail": "the change is too large"});
            json!({"index": index, "error": error})
        } else {
            json!({"index": index, "id": MEMORY, "memory": MEMORY})
        }
    };
    let items: Vec<Json> = (0..count).map(item).collect();
    let written = count - failed.len();
    Reply::json(200, json!({"items": items, "written": written, "failed": failed.len()}))
}

fn import(server: &Server, person: &Person, more: &[&str], input: &str) -> Ran {
    let address = server.address();
    let args = [&["--api", &address, "import", "-"], more].concat();
    person.run_with(&args, input.as_bytes())
}

fn lines(ran: &Ran) -> Vec<Json> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lines_are_items_and_bad_ones_are_named() {
    let server = Server::new([(ROUTE, answer(4, &[2]))]);
    let person = Person::new().set("OCM_SPACE_DEFAULT", SPACE);
    let input = "{\"title\": \"a\"}\n\n  \n{\"space\": \"v123\", \"content\": {\"title\": \"b\"}}\r\n\
                 {\"content\": \"a text\", \"text\": \"c\"}\n[1]\n{\"content\": {}, \"data\": 1}";
    let ran = import(&server, &person, &[], input);
    assert_eq!(ran.exit, Exit::Failed, "{ran:?}");
    assert_eq!(ran.out, "3 memories written, 2 lines failed\n");
    assert_eq!(ran.errors, "line 5: the change is too large\nline 6: it is no JSON object\n");
    let items = json!([
        {"content": {"title": "a"}},
        {"space": "v123", "content": {"title": "b"}},
        {"content": {"content": "a text", "text": "c"}},
        {"content": {"content": {}, "data": 1}},
    ]);
    assert_eq!(server.requests()[0].json(), json!({"space": SPACE, "items": items}));
}

#[test]
fn a_line_that_would_show_nothing_is_not_written() {
    let record = json!({"id": MEMORY, "set": "content", "header": "AA==", "signature": "AA==",
        "body": null});
    let many: serde_json::Map<String, Json> =
        (0..10).map(|n| (format!("k{n}{}", "x".repeat(1000)), n.into())).collect();
    let lines = [
        record,
        json!({}),
        json!({"Title": "Well", "txt": "dry"}),
        json!({"space": SPACE, "content": {"level": 2}}),
        Json::Object(many),
        json!({"title": "Well", "level": 2}),
    ];
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let server = Server::new([(ROUTE, answer(1, &[]))]);
    let ran = import(&server, &Person::new(), &[], &input);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Failed, "1 memory written, 5 lines failed\n"));
    let told: Vec<&str> = ran.errors.lines().collect();
    assert!(told[0].starts_with("line 1: it is a signed record"), "{}", told[0]);
    assert!(told[0].contains("`ocm memory import`"), "{}", told[0]);
    assert!(told[1].contains("it is empty") && told[1].contains("title, text"), "{}", told[1]);
    assert!(told[2].contains("it has only Title, txt, and none of type, title"), "{}", told[2]);
    assert!(told[3].contains("it has only level, and"), "{}", told[3]);
    assert!(told[4].contains("k7") && told[4].contains(" and 2 more keys"), "{}", told[4]);
    assert!(told[4].len() < 800 && told.len() == 5, "{ran:?}");
    let sent = json!([{"content": {"title": "Well", "level": 2}}]);
    assert_eq!(server.requests()[0].json()["items"], sent);
}

#[test]
fn a_batch_has_no_more_lines_than_is_set() {
    let server = Server::new([]).repeating(ROUTE, answer(2, &[]));
    let person = Person::new().set("OCM_API_BATCH_MEMORIES", "2");
    let input: String = (0..10).map(|n| format!("{{\"data\": {n}}}\n")).collect();
    let ran = import(&server, &person, &[], &input);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, "10 memories written, 0 lines failed\n"));
    // Two are under way at once, so that this server may take up either first.
    let mut sent: Vec<String> =
        server.requests().iter().map(|request| request.json()["items"].to_string()).collect();
    sent.sort();
    let pair =
        |n: usize| format!(r#"[{{"content":{{"data":{n}}}}},{{"content":{{"data":{}}}}}]"#, n + 1);
    assert_eq!(sent, [0, 2, 4, 6, 8].map(pair));
}

#[test]
fn a_batch_that_the_node_does_not_take_is_sent_in_halves() {
    let too_large = || problem("too-large", 413, "a batch has at most 3 memories, this one has 4");
    let sent = |server: &Server| -> Vec<Json> {
        server.requests().iter().map(|request| request.json()["items"].clone()).collect()
    };
    let person = Person::new().set("OCM_API_BATCH_MEMORIES", "4");
    let input = r#"{"data":0} {"data":1} {"data":2} {"data":3}"#.replace(' ', "\n");
    let items = |from: usize, to: usize| -> Json {
        (from..to).map(|n| json!({"content": {"data": n}})).collect()
    };

    let server =
        Server::new([(ROUTE, too_large()), (ROUTE, answer(2, &[])), (ROUTE, answer(2, &[1]))]);
    let ran = import(&server, &person, &[], &input);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Failed, "3 memories written, 1 line failed\n"));
    assert_eq!(ran.errors, "line 4: the change is too large\n");
    assert_eq!(sent(&server), [items(0, 4), items(0, 2), items(2, 4)]);

    // What was written before a failure is not to be sent again.
    let stopping = problem("stopping", 503, "the node is stopping");
    let server = Server::new([(ROUTE, too_large()), (ROUTE, answer(2, &[])), (ROUTE, stopping)]);
    let ran = import(&server, &person, &[], &input);
    assert_eq!(ran.exit, Exit::Unreachable, "{ran:?}");
    assert!(ran.errors.contains("2 memories written"), "{ran:?}");
    assert!(ran.errors.contains("go on with --from 3 ("), "{ran:?}");

    // A single one that is too large is not sent again and again.
    let server = Server::new([]).repeating(ROUTE, too_large());
    let ran = import(&server, &person, &[], &input);
    assert!(ran.errors.contains("go on with --from 1 ("), "{ran:?}");
    assert_eq!(sent(&server), [items(0, 4), items(0, 2), items(0, 1)]);
}

#[test]
fn programs_hear_of_each_line() {
    let server = Server::new([(ROUTE, answer(2, &[1]))]);
    let ran = import(&server, &Person::new(), &["--json"], "{\"title\":1}\n{\n{\"title\":2}\n");
    assert_eq!((ran.exit, ran.errors.as_str()), (Exit::Failed, ""));
    let lines = lines(&ran);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0], json!({"line": 1, "id": MEMORY, "memory": MEMORY}));
    assert_eq!(
        (&lines[1]["line"], &lines[1]["error"]["type"]),
        (&json!(2), &json!("urn:ocm:bad-request"))
    );
    assert_eq!((&lines[2]["line"], &lines[2]["error"]["status"]), (&json!(3), &json!(413)));
    assert_eq!(lines[3], json!({"written": 1, "failed": 2, "last_line": 3}));
    // No space is named: each line may name its own, and the node has a default.
    assert_eq!(server.requests()[0].json().get("space"), None);
}

#[test]
fn what_is_cut_short_says_where_to_go_on() {
    let server = Server::new([]).repeating(ROUTE, problem("stopping", 503, "the node is stopping"));
    let person = Person::new().set("OCM_API_BATCH_MEMORIES", "2");
    let ran = import(&server, &person, &["--from", "3"], &"{\"data\":1}\n".repeat(60));
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Unreachable, ""));
    assert!(ran.errors.contains("0 memories written"), "{ran:?}");
    assert!(ran.errors.contains("go on with --from 3 ("), "{ran:?}");
    assert!(server.requests().len() <= 2, "nothing is sent after a failure");

    let server = Server::new([]).repeating(ROUTE, answer(2, &[]));
    let ran = import(
        &server,
        &person,
        &["--from", "3", "--to", "6", "--json"],
        &"{\"data\":1}\n".repeat(9),
    );
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    let numbers: Vec<Json> = lines(&ran).iter().map(|line| line["line"].clone()).collect();
    assert_eq!(json!(numbers), json!([3, 4, 5, 6, null]));
}

#[test]
fn a_line_that_is_too_long_is_left_out() {
    let server = Server::new([(ROUTE, answer(2, &[]))]);
    let long = format!("{{\"text\": \"{}\"}}", "x".repeat(1 << 20));
    let ran =
        import(&server, &Person::new(), &[], &format!("{{\"data\":1}}\n{long}\n{{\"data\":2}}"));
    assert_eq!(ran.out, "2 memories written, 1 line failed\n");
    assert!(ran.errors.starts_with("line 2: ") && ran.errors.contains("1048576 bytes"), "{ran:?}");
    assert_eq!(server.requests()[0].json()["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_terminal_shows_how_far_it_is() {
    let server = Server::new([(ROUTE, answer(1, &[]))]);
    let person = Person { terminal: true, ..Person::new() };
    let ran = import(&server, &person, &[], "{\"data\":1}");
    assert!(ran.errors.contains("1 memory written") && ran.errors.contains("line 1"), "{ran:?}");
    let server = Server::new([(ROUTE, answer(1, &[]))]);
    assert_eq!(import(&server, &person, &["--quiet"], "{\"data\":1}").errors, "");
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let server = Server::new([]);
    let ran = Person::new().ask(&server, &["import", "/none/there.jsonl"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.errors.contains("/none/there.jsonl"), "{ran:?}");
}
