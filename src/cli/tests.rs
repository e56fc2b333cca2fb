//! Whole command lines against a small server that answers as the API does.

mod bundle;
mod failure;
mod import;
mod memory;
mod node;
mod server;
mod space;
mod sync;
mod tree;

use std::ffi::OsString;

use serde_json::{Value as Json, json};

use self::server::{Reply, Server};
use super::{Exit, Io, run};
use crate::config::Environment;

const SPACE: &str = "v0000000000000000000000000000000000000000000000000000000000000000";
const MEMORY: &str = "v0m3f1q20000000000000000000000000000000000000000000000000000001a";
const ALICE: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
const BOB: &str = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH";
const PEER: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// What a command did.
#[derive(Debug)]
struct Ran {
    exit: Exit,
    out: String,
    errors: String,
}

/// A person at a command line: a data directory, variables, a node's address.
struct Person {
    dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
    terminal: bool,
}

impl Person {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("api.token"), TOKEN).unwrap();
        Self { dir, variables: Vec::new(), terminal: false }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn environment(&self) -> Environment {
        let dir = self.dir.path().to_str().unwrap().to_owned();
        let own = [("OCM_DATA_DIR".to_owned(), dir)];
        Environment::from_iter(own.into_iter().chain(self.variables.iter().cloned()))
    }

    fn run_with(&self, args: &[&str], mut input: &[u8]) -> Ran {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let mut io = Io {
            input: &mut input,
            output: &mut out,
            errors: &mut errors,
            terminal: self.terminal,
            pause: &mut |_| {},
        };
        let args = ["ocm"].iter().chain(args).map(OsString::from);
        let exit = run(args, &self.environment(), &mut io);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { exit, out: text(out), errors: text(errors) }
    }

    fn ask(&self, server: &Server, args: &[&str]) -> Ran {
        self.run_with(&[&["--api", &server.address()], args].concat(), b"")
    }
}

/// Runs one command against one reply to one request.
fn once(route: &str, reply: Reply, args: &[&str]) -> Ran {
    let server = Server::new([(route, reply)]);
    Person::new().set("OCM_SPACE_DEFAULT", SPACE).ask(&server, args)
}

fn memory() -> Json {
    json!({
        "id": MEMORY, "space": SPACE, "author": ALICE,
        "content": {
            "title": "Well 7", "type": "reading", "text": "low\nvery low", "level": 2.4,
            "place": {"name": "Ford", "lat": -3.25, "lon": 170.5}, "tags": ["water", "north"],
            "at": "2026-01-31T09:30:00Z",
        },
        "heads": [MEMORY], "verified": true, "created": "2026-01-31T09:30:01.500Z",
        "updated": "2026-01-31T09:30:01.500Z", "records": 1, "authors": [ALICE], "voids": [],
        "conflicts": 0, "ahead": false,
    })
}

fn problem(reason: &str, status: u16, detail: &str) -> Reply {
    let kind = format!("urn:ocm:{reason}");
    Reply::json(status, json!({"type": kind, "title": reason, "status": status, "detail": detail}))
}
