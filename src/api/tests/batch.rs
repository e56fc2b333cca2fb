use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};

use super::{Server, text};
use crate::api::{Api, ApiConfig, BatchLimits, limits};
use crate::views::harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn each_item_of_a_batch_stands_or_falls_alone() {
    let node = Harness::start(1);
    let (first, second) = (node.space("one").await, node.space("two").await);
    let server = Server::over(node, Some(first));
    let content = |title: &str| json!({"title": title, "text": "dry"});
    let answer = server
        .post(
            "/v1/memories:batch",
            json!({"items": [
                {"content": content("a")},
                {"content": "no object"},
                {"content": {"text": "x".repeat(70_000)}},
                {"space": second, "content": content("b")},
                {"space": "v0000", "contents": {}},
            ]}),
            200,
        )
        .await;
    assert_eq!((&answer["written"], &answer["failed"]), (&json!(2), &json!(3)));
    let items = answer["items"].as_array().unwrap();
    let indexes: Vec<&Value> = items.iter().map(|item| &item["index"]).collect();
    assert_eq!(json!(indexes), json!([0, 1, 2, 3, 4]));
    for (at, reason, status) in
        [(1, "bad-request", 400), (2, "too-large", 413), (4, "bad-request", 400)]
    {
        let error = &items[at]["error"];
        assert_eq!(
            (text(&error["type"]), &error["status"]),
            (format!("urn:ocm:{reason}").as_str(), &json!(status))
        );
    }
    assert_eq!(items[2]["error"]["limit"], 60 * 1024);
    for (at, space, title) in [(0, first, "a"), (3, second, "b")] {
        assert_eq!(items[at]["id"], items[at]["memory"]);
        let memory = server.get(&format!("/v1/memories/{}", text(&items[at]["memory"]))).await;
        assert_eq!((&memory["space"], &memory["content"]), (&json!(space), &content(title)));
        assert_eq!((&memory["verified"], &memory["records"]), (&json!(true), &json!(1)));
    }

    // A space that an item names is the item's affair, that of the batch everyone's.
    let unknown = "v".to_owned() + &"0".repeat(64);
    let named = json!({"items": [{"space": unknown, "content": {}}, {"content": content("c")}]});
    let answer = server.post("/v1/memories:batch", named, 200).await;
    assert_eq!(text(&answer["items"][0]["error"]["type"]), "urn:ocm:not-found");
    assert_eq!(answer["written"], 1);
    let all = Some(json!({"space": unknown, "items": [{"content": {}}]}));
    assert_eq!(server.refused("POST", "/v1/memories:batch", all).await, (404, "not-found".into()));
    let nothing = server.post("/v1/memories:batch", json!({"items": []}), 200).await;
    assert_eq!(nothing, json!({"items": [], "written": 0, "failed": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_past_a_limit_says_which() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let server = Server::over(node, Some(space));
    let many = json!({"items": vec![json!({"content": {}}); 6]});
    let (status, problem) = server.call("POST", "/v1/memories:batch", Some(many)).await;
    let detail = text(&problem["detail"]);
    assert_eq!(status, 413);
    assert!(detail.contains("at most 5") && detail.contains("has 6"), "{detail}");
    assert!(detail.contains("api.batch_memories"), "{detail}");
    // More than another request may have, and then more than a batch may have.
    let large = |bytes: usize| Some(json!({"items": [{"content": {"data": "x".repeat(bytes)}}]}));
    let (status, answer) = server.call("POST", "/v1/memories:batch", large(2 << 20)).await;
    assert_eq!((status, &answer["failed"]), (200, &json!(1)));
    let (status, problem) = server.call("POST", "/v1/memories:batch", large(6 << 20)).await;
    assert_eq!(status, 413);
    assert!(text(&problem["detail"]).contains("6291456 bytes"), "{problem}");
    for (kind, body) in
        [("text/plain", "{}"), ("application/json", "[]"), ("application/json", "{")]
    {
        let request = server.request("POST", "/v1/memories:batch").header("content-type", kind);
        let (status, ..) =
            server.send(request.body(Body::from(body)).unwrap(), "127.0.0.1:5").await;
        assert!(status.is_client_error(), "{kind} {body}: {status}");
    }
    assert_eq!(server.get("/v1/memories").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_records_are_larger_than_one_command_takes_is_written() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let mut server = Server::over(node, Some(space));
    let batch = BatchLimits { memories: 500, timeout: Duration::from_secs(30) };
    let config = ApiConfig { batch, ..server.api.0.config.clone() };
    let (handle, views) = (server.node.handle.clone(), server.node.views.clone());
    server.api = Api::new(handle, views, config, server.api.0.metrics.clone());
    // Of each number 4 bytes here, and 9 in its record.
    let mut items = vec![json!({"content": {"data": vec![1.5; 2000]}}); 500];
    items[499] = json!({"content": 1});
    let answer = server.post("/v1/memories:batch", json!({"items": items}), 200).await;
    assert_eq!((&answer["written"], &answer["failed"]), (&json!(499), &json!(1)));
    let memory = text(&answer["items"][498]["memory"]).to_owned();
    let content = &server.get(&format!("/v1/memories/{memory}")).await["content"];
    assert_eq!(content["data"].as_array().unwrap().len(), 2000);
    assert_eq!(server.get("/status").await["memories"], 499);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_sent_slowly_holds_up_no_other() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let server = Server::over(node, Some(space));
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let slow = server
        .request("POST", "/v1/memories:batch")
        .header("content-type", "application/json")
        .body(Body::from_stream(never))
        .unwrap();
    let batch = json!({"items": [{"content": {}}]});
    tokio::select! {
        biased;
        answer = server.send(slow, "127.0.0.1:5") => panic!("{answer:?}"),
        answer = server.post("/v1/memories:batch", batch, 200) => assert_eq!(answer["written"], 1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_stall_lose_their_places() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let mut server = Server::over(node, Some(space));
    let batch = BatchLimits { memories: 5, timeout: Duration::from_secs(4) };
    let config = ApiConfig { batch, ..server.api.0.config.clone() };
    let (handle, views) = (server.node.handle.clone(), server.node.views.clone());
    server.api = Api::new(handle, views, config, server.api.0.metrics.clone());
    // As many as there are places for. Each sends a little, and then nothing.
    let stalled = || {
        let some = futures::stream::iter([Ok::<_, std::io::Error>(b"{".to_vec())]);
        let body = futures::StreamExt::chain(some, futures::stream::pending());
        let request = server.request("POST", "/v1/memories:batch");
        let request = request.header("content-type", "application/json");
        server.send(request.body(Body::from_stream(body)).unwrap(), "127.0.0.1:5")
    };
    let stalled = futures::future::join_all((0..limits::BATCHES).map(|_| stalled()));
    let batch = json!({"items": [{"content": {}}]});
    // It comes last, and is answered before its own time is over.
    let answer = server.post("/v1/memories:batch", batch, 200);
    let (stalled, answer) = futures::future::join(stalled, answer).await;
    assert_eq!(answer["written"], 1);
    for (status, _, body) in stalled {
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status.as_u16(), text(&problem["type"])), (408, "urn:ocm:unavailable"));
        let detail = text(&problem["detail"]);
        assert!(detail.contains("1 bytes came") && detail.contains("65536 a second"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_too_long_says_so() {
    let node = Harness::start(1);
    let space = node.space("one").await;
    let mut server = Server::over(node, Some(space));
    let batch = BatchLimits { memories: 5, timeout: Duration::ZERO };
    let config = ApiConfig { batch, ..server.api.0.config.clone() };
    let (handle, views) = (server.node.handle.clone(), server.node.views.clone());
    server.api = Api::new(handle, views, config, server.api.0.metrics.clone());
    // Its turn does not come.
    let turns = u32::try_from(crate::api::limits::BATCHES).unwrap();
    let _others = server.api.0.batches.clone().acquire_many_owned(turns).await.unwrap();
    let batch = Some(json!({"items": [{"content": {}}]}));
    let (status, problem) = server.call("POST", "/v1/memories:batch", batch).await;
    assert_eq!((status, text(&problem["type"])), (503, "urn:ocm:unavailable"));
    let detail = text(&problem["detail"]);
    assert!(detail.contains("0 seconds") && detail.contains("api.batch_timeout_seconds"));
    assert!(detail.contains("not begun"), "{detail}");
}
