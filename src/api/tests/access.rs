use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::{HOST, Server};
use crate::api::limits;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_health_is_told() {
    let server = Server::start(1);
    let bare =
        |path: &str| Request::builder().uri(path).header("host", HOST).body(Body::empty()).unwrap();
    for path in ["/ping", "/health", "/ready"] {
        assert_eq!(server.send(bare(path), "192.0.2.1:5").await.0, 200, "{path}");
    }
    assert_eq!(server.send(bare("/ping"), "192.0.2.1:5").await.2, "pong");
    assert_eq!(server.send(bare("/metrics"), "127.0.0.1:5").await.0, 200);
    assert_eq!(server.send(bare("/metrics"), "[::1]:5").await.0, 200);
    assert_eq!(server.send(bare("/metrics"), "192.0.2.1:5").await.0, 401);
    for path in ["/status", "/stats", "/peers", "/v1/spaces", "/v1/events", "/nowhere"] {
        let (status, headers, body) = server.send(bare(path), "127.0.0.1:5").await;
        assert_eq!(
            (status.as_u16(), &headers["www-authenticate"]),
            (401, &"Bearer".parse().unwrap())
        );
        assert!(body.contains("api.token") && !body.contains(&server.token), "{body}");
    }
    for wrong in ["", "Bearer", "Bearer ", "Basic abc", "Bearer 00"] {
        let request = Request::builder().uri("/status").header("host", HOST);
        let request = request.header("authorization", wrong).body(Body::empty()).unwrap();
        assert_eq!(server.send(request, "127.0.0.1:5").await.0, 401, "{wrong:?}");
    }
    let post = Request::builder().method("POST").uri("/health").header("host", HOST);
    assert_eq!(server.send(post.body(Body::empty()).unwrap(), "127.0.0.1:5").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_names_and_pages_are_kept_out() {
    let server = Server::start(1);
    let ask = async |host: &[&str], origin: Option<&str>| {
        let mut request = Request::builder().uri("/status");
        for host in host {
            request = request.header("host", *host);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let token = format!("Bearer {}", server.token);
        let request = request.header("authorization", token).body(Body::empty()).unwrap();
        let (status, headers, body) = server.send(request, "127.0.0.1:5").await;
        assert!(headers.keys().all(|name| !name.as_str().starts_with("access-control")));
        let value: Value = serde_json::from_str(&body).unwrap();
        (status.as_u16(), value["type"].as_str().unwrap_or_default().to_owned())
    };
    for own in ["localhost", "LOCALHOST:1", "127.0.0.1:7845", "[::1]:7845", "node.example"] {
        assert_eq!(ask(&[own], None).await.0, 200, "{own}");
    }
    let foreign = (403, "urn:ocm:forbidden-host".to_owned());
    for host in ["evil.example", "localhost.evil.example", "192.0.2.1", "", "localhost:x"] {
        assert_eq!(ask(&[host], None).await, foreign, "{host}");
    }
    assert_eq!(ask(&[], None).await, foreign);
    assert_eq!(ask(&["localhost", "evil.example"], None).await, foreign);

    assert_eq!(ask(&["localhost:7845"], Some("http://localhost:7845")).await.0, 200);
    let page = (403, "urn:ocm:forbidden-origin".to_owned());
    for origin in [
        "http://localhost:3000",
        "https://localhost:7845",
        "http://127.0.0.1:7845",
        "http://evil.example",
        "null",
        "",
    ] {
        assert_eq!(ask(&["localhost:7845"], Some(origin)).await, page, "{origin}");
    }
    assert_eq!(ask(&["evil.example"], Some("http://evil.example")).await, foreign);
    let target = Request::builder().uri("http://evil.example/status").header("host", HOST);
    let target = target.body(Body::empty()).unwrap();
    assert_eq!(server.send(target, "127.0.0.1:5").await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_problems_too() {
    let server = Server::start(1);
    let bad = |status| (status, "bad-request".to_owned());
    assert_eq!(server.refused("GET", "/nowhere", None).await, (404, "not-found".into()));
    assert_eq!(server.refused("GET", "/v1/nowhere", None).await, (404, "not-found".into()));
    assert_eq!(server.refused("DELETE", "/v1/spaces", None).await, bad(405));
    assert_eq!(server.refused("POST", "/v1/spaces", None).await, bad(415));
    assert_eq!(server.refused("POST", "/v1/spaces", Some(json!({"nam": "x"}))).await, bad(422));
    assert_eq!(server.refused("POST", "/v1/spaces", Some(json!({"name": " "}))).await, bad(400));
    let long = json!({"name": "x".repeat(200)});
    assert_eq!(server.refused("POST", "/v1/spaces", Some(long)).await, bad(400));
    let policy = json!({"name": "x", "write": "all"});
    assert_eq!(server.refused("POST", "/v1/spaces", Some(policy)).await, bad(422));
    let huge = json!({"name": "x".repeat(limits::BODY_BYTES)});
    assert_eq!(
        server.refused("POST", "/v1/spaces", Some(huge.clone())).await,
        (413, "too-large".into())
    );
    assert_eq!(server.refused("POST", "/v1/sync", Some(huge)).await, (413, "too-large".into()));
    assert_eq!(server.refused("POST", "/v1/sync", Some(json!({"all": 1}))).await, bad(400));
    for query in [
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=x",
        "since=now",
        "author=me",
        "bbox=1,2,3",
        "bbox=1,2,3,4,5",
        "bbox=1,2,3,x",
        "bbox=1,20,3,4",
        "bbox=1,2,181,4",
        "bbox=1,2,NaN,4",
        "page=2",
        "space=me",
    ] {
        assert_eq!(server.refused("GET", &format!("/v1/memories?{query}"), None).await, bad(400));
    }
    for query in ["limit=5", "cursor=v0", "type=a&type=b"] {
        let path = format!("/v1/memories/count?{query}");
        assert_eq!(server.refused("GET", &path, None).await, bad(400));
    }
    let text = format!("/v1/memories?text={}", "x".repeat(101));
    assert_eq!(server.refused("GET", &text, None).await, bad(400));
    assert_eq!(server.refused("GET", "/status?x=1", None).await, bad(400));
    assert_eq!(server.refused("GET", "/v1/memories/%ff", None).await, bad(400));
    assert_eq!(server.refused("GET", "/v1/memories/v12", None).await, bad(400));
    let id = "v".to_owned() + &"1".repeat(64);
    for path in
        [format!("/v1/memories/{id}"), format!("/v1/records/{id}"), format!("/v1/spaces/{id}")]
    {
        assert_eq!(server.refused("GET", &path, None).await, (404, "not-found".into()));
    }
    let no_space = json!({"content": {"title": "x"}});
    assert_eq!(server.refused("POST", "/v1/memories", Some(no_space)).await, bad(400));
    let request = server.request("POST", "/v1/spaces").header("content-type", "application/json");
    let (status, headers, _) =
        server.send(request.body(Body::from("{not json")).unwrap(), "127.0.0.1:5").await;
    assert_eq!(
        (status.as_u16(), &headers["content-type"]),
        (400, &"application/problem+json".parse().unwrap())
    );
}
