//! A client of the HTTP API of a running node: blocking, typed errors, no retries.
//!
//! ```no_run
//! use std::time::Duration;
//! use ocm::client::{Client, TokenSource};
//!
//! let token = TokenSource::of_data_dir("/var/lib/ocm".as_ref());
//! let node = Client::new("127.0.0.1:7845".parse()?, token, Duration::from_secs(10));
//! println!("{}", node.get("/status", &[])?.json()["did"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod error;
mod feed;
mod token;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use ureq::{Agent, Body, http};

pub use address::{Address, AddressError, DEFAULT_PORT};
pub use error::{ClientError, Problem};
pub use feed::{Event, Feed};
pub use token::{TOKEN_FILE, TokenError, TokenSource};

/// Bytes of the longest answer that is read.
pub const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;
/// How long to wait for a connection: where a node runs, it is there at once.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the live feed may be silent; a node sends comments far more often.
const SILENCE: Duration = Duration::from_secs(120);

type Query<'a> = [(&'a str, String)];

/// A client of one node.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    address: Address,
    token: TokenSource,
    timeout: Duration,
}

/// An answer: its JSON, and the text of it as the node wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    text: String,
    json: Json,
}

impl Answer {
    /// The JSON.
    #[must_use]
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// The text, with its order of keys and its numbers as the node wrote them.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The `items` of a list; none where this is no list.
    #[must_use]
    pub fn items(&self) -> &[Json] {
        self.json["items"].as_array().map_or(&[], Vec::as_slice)
    }
}

impl Client {
    /// A client of the API at an address. Each request may take as long as `timeout` in all.
    #[must_use]
    pub fn new(address: Address, token: TokenSource, timeout: Duration) -> Self {
        let agent = Agent::config_builder()
            // The token is for this node alone.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("ocm/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(timeout.min(CONNECT)))
            .build()
            .new_agent();
        Self { agent, address, token, timeout }
    }

    /// Where the node is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// `GET /ping`: whether a node answers.
    ///
    /// # Errors
    /// None answers, or something else does.
    pub fn ping(&self) -> Result<(), ClientError> {
        let response = self.run("GET", "/ping", &[], None, None)?;
        match self.text(response)? {
            (200, text) if text.trim() == "pong" => Ok(()),
            (status, _) => Err(self.unexpected(format!("/ping was answered with {status}"))),
        }
    }

    /// `GET /health`: liveness, and nothing else.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn health(&self) -> Result<Answer, ClientError> {
        let response = self.run("GET", "/health", &[], None, None)?;
        let (status, text) = self.text(response)?;
        match serde_json::from_str::<Json>(&text) {
            Ok(json) if status == 503 && json["status"].is_string() => Ok(Answer { text, json }),
            _ => self.judge(status, text),
        }
    }

    /// `GET /ready`: whether the node is ready, and what it is that is not.
    ///
    /// # Errors
    /// See [`ClientError`]; a node that is not ready is no error.
    pub fn ready(&self) -> Result<Answer, ClientError> {
        let response = self.run("GET", "/ready", &[], None, None)?;
        let (status, text) = self.text(response)?;
        match serde_json::from_str::<Json>(&text) {
            Ok(json) if status == 503 && json["ready"] == false => Ok(Answer { text, json }),
            _ => self.judge(status, text),
        }
    }

    /// `GET` of a path that answers with JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get(&self, path: &str, query: &Query<'_>) -> Result<Answer, ClientError> {
        self.ask("GET", path, query, None)
    }

    /// `POST` to a path, with a JSON body if there is one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post(&self, path: &str, body: Option<&Json>) -> Result<Answer, ClientError> {
        self.ask("POST", path, &[], body)
    }

    /// `PATCH` of a path with a JSON merge patch.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn patch(&self, path: &str, patch: &Json) -> Result<Answer, ClientError> {
        self.ask("PATCH", path, &[], Some(patch))
    }

    /// `GET` of a path that answers with bytes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get_bytes(&self, path: &str, query: &Query<'_>) -> Result<Vec<u8>, ClientError> {
        let token = self.token()?;
        let response = self.run("GET", path, query, None, Some(&token))?;
        if response.status() != 200 {
            return Err(match self.answer(response) {
                Err(error) => error,
                Ok(_) => self.unexpected(format!("{path} did not answer with bytes")),
            });
        }
        let body = response.into_body().into_with_config().limit(LONGEST_ANSWER);
        body.read_to_vec().map_err(|error| self.failure(error))
    }

    /// `POST` of bytes of DAG-CBOR to a path that answers with JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post_bytes(&self, path: &str, bytes: Vec<u8>) -> Result<Answer, ClientError> {
        let token = self.token()?;
        let response =
            self.run("POST", path, &[], Some(("application/cbor", bytes)), Some(&token))?;
        self.answer(response)
    }

    /// `GET /v1/events`: what happens from now on, in one space or all.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn events(&self, space: Option<&str>) -> Result<Feed, ClientError> {
        let query: Vec<_> = space.map(|space| ("space", space.to_owned())).into_iter().collect();
        let token = self.token()?;
        let response = self.run("GET", "/v1/events", &query, None, Some(&token))?;
        if response.status() != 200 {
            return Err(match self.answer(response) {
                Err(error) => error,
                Ok(_) => self.unexpected("/v1/events did not begin a feed".into()),
            });
        }
        if response.body().mime_type() != Some("text/event-stream") {
            return Err(self.unexpected("/v1/events is no text/event-stream".into()));
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Feed::new(Box::new(body), self.address.clone()))
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        query: &Query<'_>,
        body: Option<&Json>,
    ) -> Result<Answer, ClientError> {
        let kind =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = body.map(|body| (kind, body.to_string().into_bytes()));
        let token = self.token()?;
        let response = self.run(method, path, query, body, Some(&token))?;
        self.answer(response)
    }

    /// The token. Where there is none, that no node runs is the more useful thing to say.
    fn token(&self) -> Result<String, ClientError> {
        match self.token.read() {
            Ok(token) => Ok(token),
            Err(error) => {
                self.ping()?;
                Err(error.into())
            }
        }
    }

    fn run(
        &self,
        method: &str,
        path: &str,
        query: &Query<'_>,
        body: Option<(&str, Vec<u8>)>,
        token: Option<&str>,
    ) -> Result<http::Response<Body>, ClientError> {
        let mut url = format!("http://{}{path}", self.address);
        for (at, (name, value)) in query.iter().enumerate() {
            let mark = if at == 0 { '?' } else { '&' };
            url.push_str(&format!("{mark}{name}={}", escaped(value)));
        }
        let mut request = http::Request::builder().method(method).uri(&url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some((kind, _)) = &body {
            request = request.header("content-type", *kind);
        }
        let begun = Instant::now();
        let wrong = |error: http::Error| self.unexpected(format!("{url} is no request: {error}"));
        let feed = path == "/v1/events";
        let result = if method == "GET" {
            self.agent.run(self.limited(request.body(()).map_err(wrong)?, feed))
        } else {
            let bytes = body.map(|(_, bytes)| bytes).unwrap_or_default();
            self.agent.run(self.limited(request.body(bytes).map_err(wrong)?, feed))
        };
        let took = begun.elapsed();
        match &result {
            Ok(answer) => tracing::debug!(method, url, status = answer.status().as_u16(), ?took),
            Err(error) => tracing::debug!(method, url, %error, ?took),
        }
        result.map_err(|error| self.failure(error))
    }

    fn limited<S: ureq::AsSendBody>(
        &self,
        request: http::Request<S>,
        feed: bool,
    ) -> http::Request<S> {
        let config = self.agent.configure_request(request);
        if feed {
            config.timeout_recv_response(Some(self.timeout)).timeout_per_read(Some(SILENCE)).build()
        } else {
            config.timeout_global(Some(self.timeout)).build()
        }
    }

    fn text(&self, response: http::Response<Body>) -> Result<(u16, String), ClientError> {
        let status = response.status().as_u16();
        let body = response.into_body().into_with_config().limit(LONGEST_ANSWER);
        match body.read_to_string() {
            Ok(text) => Ok((status, text)),
            Err(error) => Err(self.failure(error)),
        }
    }

    fn answer(&self, response: http::Response<Body>) -> Result<Answer, ClientError> {
        let (status, text) = self.text(response)?;
        self.judge(status, text)
    }

    fn judge(&self, status: u16, text: String) -> Result<Answer, ClientError> {
        let success = (200..300).contains(&status);
        if success && text.trim().is_empty() {
            return Ok(Answer { text: "{}".into(), json: json!({}) });
        }
        let json = serde_json::from_str(&text);
        if success {
            return match json {
                Ok(json) => Ok(Answer { text, json }),
                Err(why) => Err(self.unexpected(format!("{status} and no JSON: {why}"))),
            };
        }
        match json.ok().and_then(|json| Problem::read(status, json)) {
            Some(problem) => Err(problem.into()),
            None => Err(self.unexpected(format!("status {status}"))),
        }
    }

    fn unexpected(&self, detail: String) -> ClientError {
        ClientError::Unexpected { address: self.address.clone(), detail }
    }

    fn failure(&self, error: ureq::Error) -> ClientError {
        use ureq::{Error, Timeout};
        let address = self.address.clone();
        let hint = if self.address.is_local() {
            "start it with `ocm node`"
        } else {
            "check the address, the network, and that the node listens there (api.listen)"
        };
        let not_reachable =
            |cause: String| ClientError::NotReachable { address: address.clone(), cause, hint };
        match error {
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                not_reachable("no connection in time".into())
            }
            Error::Timeout(_) => {
                ClientError::Timeout { address, seconds: self.timeout.as_secs_f64() }
            }
            Error::HostNotFound => not_reachable("no such host".into()),
            Error::ConnectionFailed => not_reachable("no connection".into()),
            Error::Io(error) => match error.kind() {
                ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof => {
                    ClientError::Broken { address, cause: error.to_string() }
                }
                ErrorKind::TimedOut => {
                    ClientError::Timeout { address, seconds: self.timeout.as_secs_f64() }
                }
                ErrorKind::ConnectionRefused => not_reachable("nothing listens there".into()),
                _ => not_reachable(error.to_string()),
            },
            other => self.unexpected(other.to_string()),
        }
    }
}

/// A segment of a path or a value of a query, with everything escaped that has a meaning there.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
