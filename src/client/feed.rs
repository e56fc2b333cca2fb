//! The live feed: server-sent events, read one at a time.

use std::io::{BufRead, BufReader, ErrorKind, Read};

use serde_json::{Value as Json, json};

use super::address::Address;
use super::error::ClientError;

/// Bytes of the longest line that is read; the data of an event is one line.
const LONGEST_LINE: u64 = 1024 * 1024;
/// Lines of data in one event.
const MOST_LINES: usize = 64;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened: `record`, `peer`, `parity`, `lagged`, …
    pub name: String,
    /// Its number in the node's process.
    pub number: Option<u64>,
    /// More, as JSON.
    pub data: Json,
}

impl Event {
    /// As one object: `{event, id, data}`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        json!({ "event": self.name, "id": self.number, "data": self.data })
    }
}

/// The events of a node from now on; it ends when the node ends it. Dropping it ends it too.
pub struct Feed {
    lines: BufReader<Box<dyn Read + Send>>,
    address: Address,
    ended: bool,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Feed {
    pub(super) fn new(body: Box<dyn Read + Send>, address: Address) -> Self {
        Self { lines: BufReader::new(body), address, ended: false }
    }

    fn line(&mut self) -> Result<Option<String>, ClientError> {
        let mut bytes = Vec::new();
        let broken = |e: &std::io::Error| ClientError::Broken {
            address: self.address.clone(),
            cause: e.to_string(),
        };
        match (&mut self.lines).take(LONGEST_LINE).read_until(b'\n', &mut bytes) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(broken(&error)),
        }
        if bytes.pop_if(|last| *last == b'\n').is_none() && bytes.len() as u64 == LONGEST_LINE {
            return Err(self.unexpected(format!("a line of more than {LONGEST_LINE} bytes")));
        }
        bytes.pop_if(|last| *last == b'\r');
        String::from_utf8(bytes).map(Some).map_err(|_| self.unexpected("not UTF-8".into()))
    }

    fn unexpected(&self, detail: String) -> ClientError {
        ClientError::Unexpected { address: self.address.clone(), detail }
    }

    fn read(&mut self) -> Result<Option<Event>, ClientError> {
        let mut name = String::from("message");
        let mut number = None;
        let mut data: Vec<String> = Vec::new();
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if data.is_empty() {
                    name = "message".into();
                    continue;
                }
                let text = data.join("\n");
                let data = serde_json::from_str(&text)
                    .map_err(|why| self.unexpected(format!("an event's data is no JSON: {why}")))?;
                return Ok(Some(Event { name, number, data }));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut name),
                "id" => number = value.parse().ok(),
                "data" if data.len() < MOST_LINES => data.push(value.to_owned()),
                "data" => {
                    return Err(self.unexpected(format!("an event of over {MOST_LINES} lines")));
                }
                // Comments keep the connection alive; other fields have no meaning here.
                _ => {}
            }
        }
        Ok(None)
    }
}

impl Iterator for Feed {
    type Item = Result<Event, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(text: &'static [u8]) -> Feed {
        Feed::new(Box::new(text), "127.0.0.1:1".parse().unwrap())
    }

    #[test]
    fn events_are_read_between_comments() {
        let text = b": hello\n\nevent: record\nid: 7\ndata: {\"id\":\ndata: \"v1\"}\n\r\n: still here\n\ndata:1\n\nevent: cut";
        let events: Vec<Event> = feed(text).map(Result::unwrap).collect();
        assert_eq!(
            events,
            [
                Event { name: "record".into(), number: Some(7), data: json!({"id": "v1"}) },
                Event { name: "message".into(), number: None, data: json!(1) },
            ]
        );
    }

    #[test]
    fn what_is_no_event_ends_the_feed_with_an_error() {
        let mut feed = feed(b"data: {\n\ndata: 1\n\n");
        assert!(matches!(feed.next(), Some(Err(ClientError::Unexpected { .. }))));
        assert!(feed.next().is_none());
    }

    #[test]
    fn no_line_is_read_without_end() {
        let body = Box::new(std::io::repeat(b'x'));
        let mut feed = Feed::new(body, "127.0.0.1:1".parse().unwrap());
        let error = feed.next().unwrap().unwrap_err();
        assert!(error.to_string().contains("a line of more than"), "{error}");
    }
}
