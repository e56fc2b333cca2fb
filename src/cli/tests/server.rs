//! A server that gives prepared replies, each once and in order, and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value as Json;

/// What is answered.
#[derive(Clone)]
pub(super) enum Reply {
    /// A status, a content type, a body.
    Body(u16, &'static str, String),
    /// Nothing, and the connection stays open.
    Silence,
    /// Nothing, and the connection ends.
    Hangup,
}

impl Reply {
    #[expect(clippy::needless_pass_by_value, reason = "every caller has just made it")]
    pub(super) fn json(status: u16, body: Json) -> Self {
        let kind = if status < 400 { "application/json" } else { "application/problem+json" };
        Self::Body(status, kind, body.to_string())
    }

    pub(super) fn text(status: u16, kind: &'static str, body: &str) -> Self {
        Self::Body(status, kind, body.to_owned())
    }
}

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Request {
    route: String,
    pub(super) query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    pub(super) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        let mut next = |lines: &mut BufReader<&TcpStream>| {
            line.clear();
            lines.read_line(&mut line).ok().filter(|n| *n > 0).map(|_| line.trim_end().to_owned())
        };
        let first = next(&mut lines)?;
        let mut parts = first.split(' ');
        let (method, target) = (parts.next()?, parts.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = Vec::new();
        loop {
            let line = next(&mut lines)?;
            let Some((key, value)) = line.split_once(": ") else { break };
            headers.push((key.to_ascii_lowercase(), value.to_owned()));
        }
        let (route, query) = (format!("{method} {path}"), query.to_owned());
        let mut request = Self { route, query, headers, body: String::new() };
        let length: u64 = request.header("content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = Vec::new();
        lines.take(length).read_to_end(&mut body).ok()?;
        request.body = String::from_utf8_lossy(&body).into_owned();
        Some(request)
    }
}

#[derive(Default)]
struct State {
    replies: Vec<(String, Reply)>,
    repeating: Vec<(String, Reply)>,
    requests: Vec<Request>,
    silent: Vec<TcpStream>,
    closing: bool,
}

impl State {
    fn reply(&mut self, route: &str) -> Reply {
        if let Some(at) = self.replies.iter().position(|(known, _)| known == route) {
            return self.replies.remove(at).1;
        }
        let repeating = self.repeating.iter().find(|(known, _)| known == route);
        repeating.map_or_else(
            || Reply::text(418, "text/plain", &format!("nothing was prepared for {route}")),
            |(_, reply)| reply.clone(),
        )
    }
}

/// The server; it ends when it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Gives these replies to requests of these methods and paths.
    pub(super) fn new<'a>(replies: impl IntoIterator<Item = (&'a str, Reply)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let replies = replies.into_iter().map(|(route, reply)| (route.to_owned(), reply)).collect();
        let state = Arc::new(Mutex::new(State { replies, ..State::default() }));
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                if shared.lock().unwrap().closing {
                    return;
                }
                if let Some(request) = Request::read(&stream) {
                    answer(stream, request, &mut shared.lock().unwrap());
                }
            }
        });
        Self { address, state, thread: Some(thread) }
    }

    /// Gives this reply as often as it is asked for.
    pub(super) fn repeating(self, route: &str, reply: Reply) -> Self {
        self.state.lock().unwrap().repeating.push((route.to_owned(), reply));
        self
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }
}

fn answer(mut stream: TcpStream, request: Request, state: &mut State) {
    let reply = state.reply(&request.route);
    state.requests.push(request);
    match reply {
        Reply::Silence => state.silent.push(stream),
        Reply::Hangup => {}
        Reply::Body(status, kind, body) => {
            let head = format!(
                "HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n",
                body.len()
            );
            // A client that has seen enough may be gone.
            let _ = stream.write_all((head + &body).as_bytes());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.lock().unwrap().closing = true;
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
