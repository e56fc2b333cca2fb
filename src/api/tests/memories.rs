use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};

use super::{Server, text};
use crate::views::harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn memories_from_creation_to_conflict() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let (server, there) = (Server::over(node, Some(space)), Harness::start(2));
    server.node.admit(space, &there).await;
    let did = server.node.did.to_string();
    let content = json!({"type": "log", "title": "Well", "text": "dry", "tags": ["water"],
                         "place": {"name": "North", "lat": 1.5}});
    let memory = server.post("/v1/memories", json!({"content": content}), 201).await;
    let id = text(&memory["id"]).to_owned();
    let at = format!("/v1/memories/{id}");
    assert_eq!(
        memory,
        json!({
            "id": id, "space": space, "author": did, "content": content, "heads": [id],
            "verified": true, "created": memory["created"], "updated": memory["created"],
            "records": 1, "authors": [did], "voids": [], "conflicts": 0, "ahead": false,
        })
    );
    assert_eq!(server.get(&at).await, memory);
    assert_eq!(server.get(&at[..at.len() - 30]).await, memory);
    let same = server.call("PATCH", &at, Some(json!({"title": "Well"}))).await;
    assert_eq!(same, (200, memory.clone()), "nothing changes, so nothing is written");

    let patch = server
        .request("PATCH", &at)
        .header("content-type", "application/merge-patch+json")
        .body(Body::from(r#"{"text": "dry again", "tags": null}"#))
        .unwrap();
    let (status, _, body) = server.send(patch, "127.0.0.1:5").await;
    assert_eq!(status, 200, "{body}");
    let memory: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(memory["content"]["text"], "dry again");
    assert!(memory["content"].get("tags").is_none());
    assert_eq!((&memory["records"], &memory["verified"]), (&json!(2), &json!(true)));
    assert_eq!(server.refused("PATCH", &at, Some(json!([1]))).await, (400, "bad-request".into()));
    let huge = json!({"data": "x".repeat(70_000)});
    let (status, problem) = server.call("PATCH", &at, Some(huge)).await;
    assert_eq!((status, &problem["limit"]), (413, &json!(60 * 1024)));
    assert!(problem["size"].as_u64().unwrap() > 70_000);

    let history = server.get(&format!("{at}/history")).await;
    let items = history["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!((&items[0]["record"], &items[0]["author"]), (&json!(id), &json!(did)));
    assert_eq!(items[1]["edits"][0], json!({"op": "delete", "path": ["tags"]}));
    assert!(items[1].get("void").is_none() && items[1]["time"].is_string());
    assert_eq!(server.get(&format!("{at}/conflicts")).await, json!({"items": [], "next": null}));

    // Both sides change the title.
    there.hear(&server.node).await;
    let theirs = there.views.resolve_memory(&id).await.unwrap();
    there.views.patch(theirs, json!({"title": "Spring"})).await.unwrap();
    server.call("PATCH", &at, Some(json!({"title": "Fountain"}))).await;
    server.node.hear(&there).await;
    let conflicts = server.get(&format!("{at}/conflicts")).await;
    let conflict = &conflicts["items"][0];
    assert_eq!(conflict["path"], json!(["title"]));
    let values = conflict["values"].as_array().unwrap();
    let mut titles: Vec<&str> = values.iter().map(|value| text(&value["value"])).collect();
    titles.sort_unstable();
    assert_eq!(titles, ["Fountain", "Spring"]);
    assert!(values.iter().any(|value| value["author"] == there.did.to_string()));
    let other = values.iter().find(|value| value["record"] != conflict["shown"]).unwrap();
    let taken =
        server.post(&format!("{at}/conflicts"), json!({"take": other["record"]}), 200).await;
    assert_eq!(taken["content"]["title"], other["value"]);
    assert_eq!((&taken["conflicts"], &taken["verified"]), (&json!(0), &json!(true)));
    let again = json!({"take": other["record"]});
    let again = server.refused("POST", &format!("{at}/conflicts"), Some(again)).await;
    assert_eq!(again, (409, "conflict".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_filters_and_prefixes() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let server = Server::over(node, Some(space));
    for n in 0..5 {
        let content = json!({"type": "log", "title": format!("Day {n}"), "text": "long text",
                             "tags": [format!("t{}", n % 2)], "at": "2025-05-01",
                             "place": {"lat": 50.0 + f64::from(n), "lon": -7.5}});
        server.post("/v1/memories", json!({"content": content}), 201).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let all = server.get("/v1/memories").await;
    let items = all["items"].as_array().unwrap();
    assert_eq!((items.len(), &all["next"]), (5, &json!(null)));
    assert_eq!(
        items[0],
        json!({
            "id": items[0]["id"], "space": space, "author": server.node.did, "type": "log",
            "title": "Day 4", "excerpt": "long text", "at": "2025-05-01",
            "place": {"lat": 54.0, "lon": -7.5},
            "tags": ["t0"], "created": items[0]["created"], "updated": items[0]["created"],
            "records": 1, "heads": 1, "conflicts": 0, "ahead": false,
        })
    );
    let page = server.get("/v1/memories?limit=3").await;
    let next = server.get(&format!("/v1/memories?limit=3&cursor={}", text(&page["next"]))).await;
    assert_eq!((&next["items"][1], &next["next"]), (&items[4], &json!(null)));
    let count = async |query: &str| {
        let list = server.get(&format!("/v1/memories?{query}")).await;
        let listed = list["items"].as_array().unwrap().len();
        let counted = server.get(&format!("/v1/memories/count?{query}")).await;
        assert_eq!(counted, json!({"count": listed, "complete": true, "unrendered": 0}));
        listed
    };
    assert_eq!(count("tag=t1").await, 2);
    assert_eq!(count("type=note").await, 0);
    assert_eq!(count("text=day%203").await, 1);
    assert_eq!(count("text=LONG").await, 5);
    assert_eq!(count("bbox=-8,51,-7,53").await, 3);
    assert_eq!(count("bbox=-8,51,-7,53&tag=t0").await, 1);
    assert_eq!(count(&format!("author={}", server.node.did)).await, 5);
    assert_eq!(count(&format!("space={space}")).await, 5);
    assert_eq!(count(&format!("since={}", text(&items[1]["created"]))).await, 2);
    assert_eq!(count(&format!("until={}", text(&items[1]["created"]))).await, 3);

    let short = &text(&items[0]["id"])[..6];
    let (status, problem) = server.call("GET", &format!("/v1/memories/{short}"), None).await;
    assert_eq!((status, text(&problem["type"])), (409, "urn:ocm:ambiguous-id"));
    assert_eq!(problem["candidates"].as_array().unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_not_verified_and_named() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let server = Server::over(node, Some(space));
    let memory =
        server.post("/v1/memories", json!({"content": {"title": "true words"}}), 201).await;
    let id = text(&memory["id"]);
    let record = server.get(&format!("/v1/records/{id}")).await;
    assert_eq!(
        (&record["verified"], &record["set"], &record["kind"], &record["seq"]),
        (&json!(true), &json!("content"), &json!(4), &json!(2))
    );
    assert_eq!((&record["memory"], &record["prev"]), (&json!(id), &json!(space)));
    assert_eq!(record["content"][0]["op"], "set");
    assert!(text(&record["cid"]).starts_with("bafyrei"));
    assert_eq!(text(&record["signature_hex"]).len(), 128);
    assert!(record.get("cause").is_none());
    let genesis = server.get(&format!("/v1/records/{space}")).await;
    assert_eq!((&genesis["content"]["name"], &genesis["verified"]), (&json!("one"), &json!(true)));

    let flip = |find: &'static [u8]| {
        server.node.shelf.damage(&id.parse().unwrap(), |bytes| {
            let at = bytes.windows(find.len()).position(|window| window == find).unwrap();
            bytes[at] ^= 0x20;
        });
    };
    flip(b"true words");
    let memory = server.get(&format!("/v1/memories/{id}")).await;
    assert_eq!(memory["verified"], false);
    let cause = text(&memory["cause"]);
    assert!(cause.contains(id) && cause.contains("body does not match"), "{cause}");
    assert_ne!(memory["content"]["title"], "True words");
    let record = server.get(&format!("/v1/records/{id}")).await;
    assert_eq!((&record["verified"], &record["author"]), (&json!(false), &json!(null)));
    assert!(text(&record["cause"]).contains("body does not match"));
    let list = server.get("/v1/memories").await;
    assert!(text(&list["items"][0]["cause"]).contains("damaged"), "{list}");
    let history = server.get(&format!("/v1/memories/{id}/history")).await;
    assert!(text(&history["items"][0]["void"]).contains("damaged"));
    flip(b"True words");
    assert_eq!(server.get(&format!("/v1/memories/{id}")).await["verified"], true);
}
