//! A client of a node's API that costs next to nothing: one connection, one request at a time.

use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Where memories are written.
pub(crate) const WRITE: &str = "/v1/memories";

/// A connection.
pub(crate) struct Http {
    stream: BufReader<TcpStream>,
    headers: String,
}

impl Http {
    /// Connects to the API of the node whose data lies in a directory.
    pub(crate) async fn connect(api: &str, dir: &Path) -> Self {
        let stream = TcpStream::connect(api).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let token = std::fs::read_to_string(dir.join("api.token")).unwrap();
        let headers = format!("host: {api}\r\nauthorization: Bearer {}\r\n", token.trim());
        Self { stream: BufReader::new(stream), headers }
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, usize) {
        let (headers, length) = (&self.headers, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{headers}content-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let (mut status, mut length) = (0, 0);
        let mut line = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).await.unwrap();
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.trim().parse().unwrap();
            } else if line.trim().is_empty() {
                return (status, length);
            }
        }
    }

    /// A request and its answer.
    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let (status, length) = self.ask(method, path, body).await;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await.unwrap();
        (status, answer)
    }

    /// Writes a memory; its id.
    pub(crate) async fn write(&mut self, body: &str) -> String {
        let (status, answer) = self.send("POST", WRITE, body).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Listens to the node's feed; this connection does nothing else from here on.
    pub(crate) async fn listen(mut self) -> Feed {
        assert_eq!(self.ask("GET", "/v1/events", "").await.0, 200);
        Feed(self.stream)
    }
}

/// What happens at a node.
pub(crate) struct Feed(BufReader<TcpStream>);

impl Feed {
    /// The memory of the next record that became durable there.
    pub(crate) async fn memory(&mut self) -> String {
        let mut line = String::new();
        let mut named = false;
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).await.unwrap() > 0, "the feed ended");
            if let Some(name) = line.strip_prefix("event: ") {
                named = name.trim() == "record";
            } else if let Some(data) = line.strip_prefix("data: ")
                && named
            {
                let data: Value = serde_json::from_str(data).unwrap();
                if let Some(memory) = data["memory"].as_str() {
                    return memory.to_owned();
                }
            }
        }
    }
}
