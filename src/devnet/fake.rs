//! Nodes for tests: servers that answer as the API of nodes does, and nothing behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::state::Devnet;

/// The federation port of the first fake node, by which connections are asked for.
const BASE: u16 = 17_000;

/// One fake node. All that are started together know each other.
pub(super) struct Fake {
    index: usize,
    address: String,
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    links: BTreeSet<(usize, usize)>,
    blocked: BTreeSet<(usize, usize)>,
    answers: BTreeMap<(usize, String), (u16, Json)>,
    asked: Vec<(usize, String, Json)>,
}

impl Fake {
    /// Starts so many, which are connected to nobody.
    pub(super) fn start_all(count: usize) -> Vec<Self> {
        let world = Arc::new(Mutex::new(World::default()));
        (0..count).map(|index| Self::start(index, &world)).collect()
    }

    fn start(index: usize, world: &Arc<Mutex<World>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = world.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let world = served.clone();
                std::thread::spawn(move || serve(stream.unwrap(), index, &world));
            }
        });
        Self { index, address, world: world.clone() }
    }

    /// Connects each with each.
    pub(super) fn connect_all(fakes: &[Self]) {
        for one in fakes {
            for other in fakes.iter().filter(|other| other.index > one.index) {
                one.world.lock().unwrap().links.insert((one.index, other.index));
            }
        }
    }

    /// From now on, a request such as `GET /peers` is answered so.
    pub(super) fn answer(&self, request: &str, status: u16, body: Json) {
        let key = (self.index, request.to_owned());
        self.world.lock().unwrap().answers.insert(key, (status, body));
    }

    /// How often it was asked this.
    pub(super) fn asked(&self, request: &str) -> usize {
        let asked = &self.world.lock().unwrap().asked;
        asked.iter().filter(|(index, asked, _)| *index == self.index && asked == request).count()
    }

    /// What it was told with this request, each time.
    pub(super) fn told(&self, request: &str) -> Vec<Json> {
        let asked = &self.world.lock().unwrap().asked;
        let asked =
            asked.iter().filter(|(index, asked, _)| *index == self.index && asked == request);
        asked.map(|(_, _, body)| body.clone()).collect()
    }

    /// The PeerIds that it blocks.
    pub(super) fn blocked(&self) -> Vec<String> {
        self.world.lock().unwrap().blocked_by(self.index)
    }

    /// The PeerIds that it is connected to.
    pub(super) fn peers(&self) -> Vec<String> {
        self.world.lock().unwrap().peers_of(self.index)
    }
}

impl World {
    fn blocked_by(&self, index: usize) -> Vec<String> {
        let blocked = self.blocked.iter().filter(|(by, _)| *by == index);
        blocked.map(|(_, peer)| format!("peer-{peer}")).collect()
    }

    fn peers_of(&self, index: usize) -> Vec<String> {
        let other = |(one, two): &(usize, usize)| match (*one == index, *two == index) {
            (true, _) => Some(*two),
            (_, true) => Some(*one),
            _ => None,
        };
        let peers: BTreeSet<usize> = self.links.iter().filter_map(other).collect();
        peers.into_iter().map(|peer| format!("peer-{peer}")).collect()
    }

    fn handle(&mut self, index: usize, request: &str, body: &Json) -> (u16, Json) {
        self.asked.push((index, request.to_owned(), body.clone()));
        if let Some(answer) = self.answers.get(&(index, request.to_owned())) {
            return answer.clone();
        }
        let pair = |one: usize, two: usize| (one.min(two), one.max(two));
        let action = request.strip_prefix("POST /v1/peers/peer-").and_then(|rest| {
            let (peer, action) = rest.split_once('/')?;
            Some((peer.parse::<usize>().ok()?, action))
        });
        match (request, action) {
            (_, Some((peer, "block"))) => {
                self.blocked.insert((index, peer));
                self.links.remove(&pair(index, peer));
                (200, json!({"blocked": true}))
            }
            (_, Some((peer, "unblock"))) => {
                self.blocked.remove(&(index, peer));
                (200, json!({"blocked": false}))
            }
            ("POST /v1/peers/connect", _) => {
                let address = body["address"].as_str().unwrap();
                let port: u16 = address.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
                let peer = usize::from((port - BASE) / 3);
                let open = [(index, peer), (peer, index)];
                if !open.iter().any(|blocked| self.blocked.contains(blocked)) {
                    self.links.insert(pair(index, peer));
                }
                (202, json!({"address": address}))
            }
            ("POST /v1/sync", _) => (202, json!({"sessions": 0})),
            ("GET /ready", _) => (200, json!({"ready": true})),
            ("GET /status", _) => (200, json!({"blocked": self.blocked_by(index), "peers": 0})),
            ("GET /peers", _) => {
                let item = |peer: String| json!({"peer_id": peer, "shared_spaces": []});
                (200, list(self.peers_of(index).into_iter().map(item).collect()))
            }
            ("GET /v1/spaces" | "GET /v1/sync" | "GET /v1/refused", _) => (200, list(Vec::new())),
            _ => (404, json!({"type": "urn:ocm:not-found", "title": "not found", "status": 404})),
        }
    }
}

/// A list, as the API has them.
#[expect(clippy::needless_pass_by_value, reason = "reads better where lists are made")]
pub(super) fn list(items: Vec<Json>) -> Json {
    json!({"items": items, "next": null})
}

fn serve(mut stream: TcpStream, index: usize, world: &Mutex<World>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let (mut request, mut length) = (String::new(), 0);
    lines.read_line(&mut request).unwrap();
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).unwrap();
    let body = serde_json::from_slice(&body).unwrap_or(Json::Null);
    let Some((request, _)) = request.rsplit_once(" HTTP/") else { return };
    let (status, answer) = world.lock().unwrap().handle(index, request, &body);
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        answer.len()
    );
    stream.write_all((head + &answer).as_bytes()).unwrap();
}

/// A devnet of fake nodes, in a directory of its own. Its nodes have no processes.
pub(super) fn devnet_of(fakes: &[Fake]) -> (TempDir, Devnet) {
    let dir = TempDir::new().unwrap();
    let program = Path::new("/bin/ocm").to_owned();
    let mut devnet = Devnet::plan(dir.path(), program, fakes.len(), BASE, BTreeMap::new()).unwrap();
    for (node, fake) in devnet.nodes.iter_mut().zip(fakes) {
        node.api.clone_from(&fake.address);
        node.peer_id = format!("peer-{}", node.index);
        std::fs::create_dir(&node.data_dir).unwrap();
        std::fs::write(node.data_dir.join("api.token"), "0123456789abcdef\n").unwrap();
    }
    (dir, devnet)
}
