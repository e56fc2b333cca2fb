use axum::body::Body;
use axum::extract::ConnectInfo;
use data_encoding::BASE64;
use ocm_record::{RecordId, Set, from_canonical, to_canonical};
use ocm_sync::BundleHead;
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{HOST, Server, text};
use crate::invitation::Invitation;

type Page = (Vec<ByteBuf>, Option<RecordId>, Vec<RecordId>);

impl Server {
    async fn bytes(&self, method: &str, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST)
            .header("authorization", format!("Bearer {}", self.token))
            .extension(ConnectInfo::<std::net::SocketAddr>("127.0.0.1:50000".parse().unwrap()))
            .body(Body::from(body))
            .unwrap();
        let response = self.api.router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 22).await.unwrap();
        (status, body.to_vec())
    }

    async fn send_cbor(&self, path: &str, body: Vec<u8>) -> (u16, Value) {
        let (status, answer) = self.bytes("POST", path, body).await;
        (status, serde_json::from_slice(&answer).unwrap())
    }

    async fn page(&self, space: &str, range: &Value, from: &str) -> Page {
        let (set, to) = (text(&range["set"]), text(&range["to"]));
        let path = format!("/v1/spaces/{space}/bundle/page?set={set}&from={from}&to={to}");
        let (status, body) = self.bytes("GET", &path, Vec::new()).await;
        assert_eq!(status, 200);
        from_canonical(&body).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_into_a_bundle_is_read_page_by_page_and_taken_in() {
    let (server, guest) = (Server::start(1), Server::start(2));
    let space = server.post("/v1/spaces", json!({"name": "camp", "read": "open"}), 201).await;
    let id = text(&space["id"]);
    // Records of 40 KB, of which a page takes 24.
    for n in 0..30 {
        let content = json!({"n": n, "text": "x".repeat(40_000)});
        server.post("/v1/memories", json!({"space": id, "content": content}), 201).await;
    }
    let at = |rest: &str| format!("/v1/spaces/{id}{rest}");
    let plan = server.post(&at("/bundle"), json!({}), 200).await;
    assert_eq!((&plan["name"], &plan["read"]), (&json!("camp"), &json!("open")));
    assert_eq!(plan["records"], 31);
    let head = BASE64.decode(text(&plan["head"]).as_bytes()).unwrap();
    let claims = *BundleHead::decode(&head).unwrap().statement.claims();
    assert_eq!((claims.authority.count, claims.content.count), (1, 30));
    let ranges = plan["ranges"].as_array().unwrap();
    let sets: Vec<_> = ranges.iter().map(|range| range["set"].clone()).collect();
    assert_eq!(sets, [json!(Set::Authority), json!(Set::Content)]);
    // What is written meanwhile is not in it.
    server.post("/v1/memories", json!({"space": id, "content": {"n": 31}}), 201).await;

    let mut pages = Vec::new();
    for range in ranges {
        let mut next = Some(text(&range["from"]).to_owned());
        while let Some(from) = next {
            let (records, more, lost) = server.page(id, range, &from).await;
            assert_eq!(lost, []);
            next = more.map(|id| id.to_string());
            pages.push(records);
        }
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1, 24, 6]);
    assert!(pages.iter().flatten().count() == 31);

    let wanted = guest.send_cbor(&at("/records"), to_canonical(&pages[0])).await;
    assert_eq!((wanted.0, text(&wanted.1["type"])), (404, "urn:ocm:not-found"));
    // Nothing but the space's name.
    let (space, name, addresses) = (id.parse().unwrap(), String::new(), Vec::new());
    let word = Invitation { space, name, addresses, genesis: None }.to_string();
    guest.post("/v1/spaces/join", json!({"invitation": word}), 200).await;
    let early = guest.send_cbor(&at("/bundle/statement"), head.clone()).await;
    assert_eq!((early.0, text(&early.1["type"])), (409, "urn:ocm:empty-space"));
    for page in &pages {
        let (status, answer) = guest.send_cbor(&at("/records"), to_canonical(page)).await;
        let all = json!({"accepted": page.len(), "duplicates": 0, "items": []});
        assert_eq!((status, answer), (200, all));
    }
    let (status, compared) = guest.send_cbor(&at("/bundle/statement"), head.clone()).await;
    assert_eq!(
        (status, &compared["state"], &compared["kept"]),
        (200, &json!("equal"), &json!(true))
    );
    assert_eq!(compared["did"], server.node.did.to_string());
    let own = server.send_cbor(&at("/bundle/statement"), head).await.1;
    assert_eq!((&own["state"], &own["not_kept"]), (&json!("differs"), &json!("own")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_bundle_is_a_problem_that_says_why() {
    let server = Server::start(1);
    let space = server.post("/v1/spaces", json!({"name": "camp"}), 201).await;
    let other = server.post("/v1/spaces", json!({"name": "other"}), 201).await;
    let at = |rest: &str| format!("/v1/spaces/{}{rest}", text(&space["id"]));
    for since in [
        json!("yesterday"),
        json!(-5),
        json!({"parity": "nobody"}),
        json!({"parity": null, "more": 1}),
        json!({"parity": null}),
        json!({"parity": server.node.did.to_string()}),
    ] {
        let refused = server.refused("POST", &at("/bundle"), Some(json!({"since": since}))).await;
        assert!(matches!(&*refused.1, "bad-request"), "{since}: {refused:?}");
    }
    for since in [json!(null), json!("2026-11-01T00:00:00Z"), json!(5)] {
        server.post(&at("/bundle"), json!({"since": since}), 200).await;
    }
    let reason = |(status, problem): (u16, Value)| (status, text(&problem["type"])[8..].to_owned());
    let bad = (400, "bad-request".to_owned());
    for body in [vec![], vec![0x80, 0x80], b"[]".to_vec(), vec![0x81, 0x01]] {
        assert_eq!(reason(server.send_cbor(&at("/records"), body).await), bad);
    }
    let many = to_canonical(&vec![ByteBuf::new(); 1025]);
    assert_eq!(reason(server.send_cbor(&at("/records"), many).await), bad);
    let large = to_canonical(&[ByteBuf::from(vec![0; 1 << 20])]);
    assert_eq!(server.bytes("POST", &at("/records"), large).await.0, 413);
    // What is no record is judged like any other.
    let none = to_canonical(&[ByteBuf::from(vec![1, 2])]);
    let (status, judged) = server.send_cbor(&at("/records"), none).await;
    let item = &judged["items"][0];
    assert_eq!((status, &item["verdict"], &item["id"]), (200, &json!("reject"), &json!(null)));
    assert_eq!((&item["index"], &item["reason"]), (&json!(0), &json!("malformed")));

    assert_eq!(reason(server.send_cbor(&at("/bundle/statement"), vec![1]).await), bad);
    let head = server.post(&at("/bundle"), json!({}), 200).await;
    let head = BASE64.decode(text(&head["head"]).as_bytes()).unwrap();
    let elsewhere = format!("/v1/spaces/{}/bundle/statement", text(&other["id"]));
    assert_eq!(reason(server.send_cbor(&elsewhere, head).await), bad);
    let path = at("/bundle/page?set=everything&from=v&to=v");
    assert_eq!(server.refused("GET", &path, None).await, (400, "bad-request".into()));
}
