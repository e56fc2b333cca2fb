//! Every route through the real router, over the core itself.

mod access;
mod batch;
mod bundles;
mod feed;
mod memories;
mod node;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::views::harness::{Harness, now};

const HOST: &str = "localhost:7845";

struct Server {
    node: Harness,
    api: Api,
    token: String,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(number: u8) -> Self {
        Self::over(Harness::start(number), None)
    }

    fn over(node: Harness, default_space: Option<SpaceId>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("db"), [0; 1000]).unwrap();
        let token = token::load_or_create(dir.path()).unwrap();
        let config = ApiConfig {
            listen: "127.0.0.1:7845".parse().unwrap(),
            hosts: vec!["node.example".into()],
            token: token.clone(),
            handle: "alice".into(),
            data_dir: dir.path().into(),
            store: dir.path().join("db"),
            default_space,
            version: "0.1.0".into(),
            batch: BatchLimits { memories: 5, timeout: Duration::from_secs(30) },
            addresses: Vec::new(),
            started_ms: now() - 5000,
        };
        let metrics: Metrics = Arc::new(|| "ocm_memories_total 1\n# EOF\n".to_owned());
        let api = Api::new(node.handle.clone(), node.views.clone(), config, metrics);
        Self { node, api, token: token.reveal().into(), _dir: dir }
    }

    /// A request as it is, from this client.
    async fn send(&self, request: Request<Body>, client: &str) -> (StatusCode, HeaderMap, String) {
        let client: SocketAddr = client.parse().unwrap();
        let mut request = request;
        request.extensions_mut().insert(ConnectInfo(client));
        let response = self.api.router().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 22).await.unwrap();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST)
            .header("authorization", format!("Bearer {}", self.token))
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = match body {
            Some(body) => self
                .request(method, path)
                .header("content-type", "application/json")
                .body(Body::from(body.to_string())),
            None => self.request(method, path).body(Body::empty()),
        };
        let (status, headers, text) = self.send(request.unwrap(), "127.0.0.1:50000").await;
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"));
        if !status.is_success() && status != StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(headers["content-type"], "application/problem+json", "{path}");
            assert_eq!(value["status"], status.as_u16());
            assert!(value["type"].as_str().unwrap().starts_with("urn:ocm:"));
            assert!(value["title"].is_string() && value["detail"].is_string());
        }
        assert_eq!(headers["cache-control"], "no-store");
        (status.as_u16(), value)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    async fn post(&self, path: &str, body: Value, expected: u16) -> Value {
        let (status, value) = self.call("POST", path, Some(body)).await;
        assert_eq!(status, expected, "{path}: {value}");
        value
    }

    async fn refused(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let (status, value) = self.call(method, path, body).await;
        assert!(status >= 400, "{path}: {value}");
        (status, value["type"].as_str().unwrap().replace("urn:ocm:", ""))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}
