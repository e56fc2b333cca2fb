//! Records as JSON lines, from one node to another.

use ocm::cli::Exit;
use ocm_node::Command;
use serde_json::{Value, json};

use crate::bundle::alone;
use crate::node::{MEMBERS, READ_OPEN};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_from_node_to_node_as_lines() {
    let (a, b) = (alone().await, alone().await);
    let space = a.create_space("village", READ_OPEN).await;
    a.begin(space, 1500).await;
    let of = space.to_string();
    let exported = a.ocm(&["memory", "export", "--space", &of]).await.done();
    assert_eq!(exported.out.lines().count(), 1501, "{}", exported.errors);
    let file = a.place().path().join("village.jsonl");
    let path = file.to_str().unwrap();
    std::fs::write(&file, &exported.out).unwrap();

    let ran = b.ocm(&["memory", "import", path]).await;
    assert_eq!(ran.exit, Exit::NotFound);
    assert!(ran.errors.contains(&of) && ran.errors.contains("ocm space join"), "{}", ran.errors);
    b.command(Command::Join { space }).await.unwrap();
    let all = |accepted, duplicates, not| json!({"accepted": accepted, "duplicates": duplicates, "not_admitted": not});
    let summary = |out: &str| serde_json::from_str::<Value>(out.lines().last().unwrap()).unwrap();
    let ran = b.ocm(&["memory", "import", path, "--json"]).await.done();
    assert_eq!(summary(&ran.out), all(1501, 0, 0));
    let ran = b.ocm(&["memory", "import", path, "--json"]).await.done();
    assert_eq!(summary(&ran.out), all(0, 1501, 0), "twice changes nothing");
    let again = b.ocm(&["memory", "export", "--space", &of]).await.done();
    assert_eq!(again.out, exported.out, "both hold the same");

    // One line of another signature, one that is cut, and one that is nothing.
    let c = alone().await;
    c.command(Command::Join { space }).await.unwrap();
    let mut lines: Vec<String> = exported.out.lines().take(20).map(str::to_owned).collect();
    let signature = |line: &str| serde_json::from_str::<Value>(line).unwrap()["signature"].clone();
    let (one, other) = (signature(&lines[5]), signature(&lines[6]));
    lines[5] = lines[5].replace(one.as_str().unwrap(), other.as_str().unwrap());
    lines[7].truncate(100);
    lines[9] = "{}".into();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let ran = c.ocm(&["memory", "import", path]).await;
    assert_eq!(ran.exit, Exit::Failed);
    for told in ["line 6: reject", "line 8: no record", "line 10: no record"] {
        assert!(ran.errors.contains(told), "{told}: {}", ran.errors);
    }
    assert!(ran.out.starts_with("imported 17 records; 0 were here already, 3 were"), "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_memory_is_exported_with_what_says_who_may_write() {
    let a = alone().await;
    let space = a.create_space("village", MEMBERS).await;
    a.begin(space, 3).await;
    let of = space.to_string();
    let listed = a.ocm(&["memory", "list", "--space", &of, "--json"]).await.done();
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    let id = listed["items"][1]["id"].as_str().unwrap();
    let ran = a.ocm(&["memory", "export", id]).await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.errors.contains("--plain") && ran.out.is_empty(), "{}", ran.errors);
    let ran = a.ocm(&["memory", "export", id, "--plain"]).await.done();
    let lines: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["set"], &lines[1]["set"]), (&json!("authority"), &json!("content")));
    assert_eq!(lines[1]["id"], id);
}
