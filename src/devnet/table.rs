//! How a devnet is shown: one row for each node, for people and as JSON.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value as Json, json};

use super::check::{self, Parity, PeerName};
use super::mesh::neighbours;
use super::state::{Devnet, NodeEntry};
use super::wait::Node;
use crate::client::{ClientError, escaped};

/// What is shown of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) entry: NodeEntry,
    /// `running`, `not ready`, `not answering`, `stopped`, or `ended` when nobody stopped it.
    pub(crate) state: &'static str,
    /// Connected peers.
    pub(crate) peers: Option<u64>,
    /// Blocked peers.
    pub(crate) blocked: Option<u64>,
    /// Memories in the shared space.
    pub(crate) memories: Option<u64>,
    /// With how many of its neighbours it stores the same in the shared space.
    pub(crate) parity: Option<Parity>,
    /// The same in the closed space; `None` for the last node.
    pub(crate) closed_parity: Option<Parity>,
    /// Milliseconds until the memory of the shared space was here, verified.
    pub(crate) arrived_ms: Option<u64>,
    /// The same in the closed space.
    pub(crate) closed_arrived_ms: Option<u64>,
}

impl Row {
    /// A row of a node of which nothing is known but that it is in this state.
    pub(crate) fn without_answer(entry: &NodeEntry, state: &'static str) -> Self {
        Self {
            entry: entry.clone(),
            state,
            peers: None,
            blocked: None,
            memories: None,
            parity: None,
            closed_parity: None,
            arrived_ms: None,
            closed_arrived_ms: None,
        }
    }

    /// What a running node says of itself.
    pub(crate) fn ask(devnet: &Devnet, node: &Node) -> Result<Self, ClientError> {
        let ready = node.ready()?.json()["ready"] == true;
        let mut row =
            Self::without_answer(&node.entry, if ready { "running" } else { "not ready" });
        let status = node.get("/status")?;
        row.peers = status.json()["peers"].as_u64();
        row.blocked = status.json()["blocked"].as_array().map(|blocked| blocked.len() as u64);
        let compared = node.get("/v1/sync")?;
        if let Some(shared) = &devnet.spaces.shared {
            let space = node.get(&format!("/v1/spaces/{}", escaped(shared)))?;
            row.memories = space.json()["memories"].as_u64();
            let peers = peers_of(devnet, node.index(), false);
            row.parity = Some(check::parity(compared.items(), shared, &peers, 0).0);
        }
        if let Some(closed) = &devnet.spaces.closed
            && node.index() + 1 < devnet.nodes.len()
        {
            let peers = peers_of(devnet, node.index(), true);
            row.closed_parity = Some(check::parity(compared.items(), closed, &peers, 0).0);
        }
        Ok(row)
    }

    /// As JSON: what `devnet.json` says of the node, and what it says of itself.
    pub(crate) fn to_json(&self) -> Json {
        let parity = |parity: Option<Parity>| {
            parity.map(|parity| json!({"equal": parity.equal, "of": parity.of}))
        };
        json!({
            "index": self.entry.index,
            "state": self.state,
            "pid": self.entry.pid,
            "did": self.entry.did,
            "peer_id": self.entry.peer_id,
            "api": self.entry.api,
            "data_dir": self.entry.data_dir,
            "host": self.entry.host,
            "peers": self.peers,
            "blocked": self.blocked,
            "memories": self.memories,
            "parity": {"shared": parity(self.parity), "closed": parity(self.closed_parity)},
            "arrived_ms": {"shared": self.arrived_ms, "closed": self.closed_arrived_ms},
        })
    }
}

/// The nodes that a node is connected with, all or those that are in the closed space.
pub(crate) fn peers_of(devnet: &Devnet, index: usize, closed: bool) -> Vec<PeerName> {
    let nodes = devnet.nodes.len();
    neighbours(index, nodes)
        .filter(|peer| !closed || peer + 1 < nodes)
        .filter_map(|peer| devnet.nodes.get(peer))
        .map(|node| PeerName { index: node.index, peer_id: node.peer_id.clone() })
        .collect()
}

/// The table that ends `devnet up`.
pub(crate) fn arrivals(rows: &[Row]) -> String {
    let head = ["NODE", "PEER", place_of(rows), "MEMORIES", "PARITY", "ARRIVED", "CLOSED SPACE"];
    let line = |row: &Row| {
        let closed = match (row.closed_parity, row.closed_arrived_ms) {
            (Some(parity), Some(ms)) => format!("{}, {ms} ms", equal(Some(parity))),
            (Some(parity), None) => equal(Some(parity)),
            (None, _) => "knows nothing of it".into(),
        };
        let arrived = row.arrived_ms.map_or_else(|| "written here".into(), |ms| format!("{ms} ms"));
        [
            row.entry.name(),
            short(&row.entry.peer_id),
            place(&row.entry),
            number(row.memories),
            equal(row.parity),
            arrived,
            closed,
        ]
    };
    render(head, rows.iter().map(line))
}

/// The table of `devnet status`.
pub(crate) fn states(rows: &[Row]) -> String {
    let head = [
        "NODE",
        "STATE",
        "PID",
        "PEER",
        place_of(rows),
        "PEERS",
        "MEMORIES",
        "PARITY",
        "CLOSED SPACE",
    ];
    let line = |row: &Row| {
        let blocked = row.blocked.filter(|blocked| *blocked > 0);
        let blocked = blocked.map(|blocked| format!(" ({blocked} blocked)")).unwrap_or_default();
        [
            row.entry.name(),
            row.state.to_owned(),
            number(row.entry.pid.map(u64::from)),
            short(&row.entry.peer_id),
            place(&row.entry),
            number(row.peers) + &blocked,
            number(row.memories),
            equal(row.parity),
            equal(row.closed_parity),
        ]
    };
    render(head, rows.iter().map(line))
}

/// What tells where nodes are: their hosts, or else their APIs.
fn place_of(rows: &[Row]) -> &'static str {
    if rows.iter().any(|row| row.entry.host.is_some()) { "HOST" } else { "API" }
}

fn place(entry: &NodeEntry) -> String {
    entry.host.as_ref().map_or_else(|| entry.api.clone(), ToString::to_string)
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".into(), |number| number.to_string())
}

fn equal(parity: Option<Parity>) -> String {
    parity.map_or_else(|| "-".into(), |Parity { equal, of }| format!("{equal}/{of} equal"))
}

/// The end of a PeerId, by which people tell them apart.
fn short(peer_id: &str) -> String {
    let skip = peer_id.chars().count().saturating_sub(8);
    let end: String = peer_id.chars().skip(skip).collect();
    if skip == 0 { end } else { format!("…{end}") }
}

fn render<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::super::state::{HostEntry, Nat};
    use super::*;

    fn rows() -> Vec<Row> {
        let mut devnet =
            Devnet::plan(Path::new("/net"), "/bin/ocm".into(), 3, 17_000, BTreeMap::new()).unwrap();
        for node in &mut devnet.nodes {
            node.peer_id = format!("12D3KooWabcdefg{}", node.index);
            node.pid = Some(100);
        }
        let parity = |equal, of| Some(Parity { equal, of });
        let row = |index: usize| Row {
            peers: Some(2),
            blocked: Some(0),
            memories: Some(1),
            parity: parity(2, 2),
            closed_parity: parity(1, 1),
            arrived_ms: Some(41),
            closed_arrived_ms: Some(7),
            ..Row::without_answer(&devnet.nodes[index], "running")
        };
        let mut rows = vec![row(0), row(1), row(2)];
        rows[0].arrived_ms = None;
        rows[0].closed_arrived_ms = None;
        (rows[2].closed_parity, rows[2].closed_arrived_ms) = (None, None);
        rows
    }

    #[test]
    fn the_table_of_arrivals_names_what_each_node_holds() {
        assert_eq!(
            arrivals(&rows()),
            "\
NODE    PEER       API              MEMORIES  PARITY     ARRIVED       CLOSED SPACE
node-0  …abcdefg0  127.0.0.1:17001  1         2/2 equal  written here  1/1 equal
node-1  …abcdefg1  127.0.0.1:17004  1         2/2 equal  41 ms         1/1 equal, 7 ms
node-2  …abcdefg2  127.0.0.1:17007  1         2/2 equal  41 ms         knows nothing of it
"
        );
    }

    #[test]
    fn the_table_of_states_tells_who_is_not_there() {
        let mut rows = rows();
        rows[1].blocked = Some(1);
        rows[2] = Row::without_answer(&rows[2].entry, "ended");
        let table = states(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[2].contains("2 (1 blocked)"), "{table}");
        assert!(lines[3].starts_with("node-2  ended    100"), "{table}");
        assert!(
            lines[3].ends_with("-      -              -       -          -")
                || lines[3].split_whitespace().filter(|cell| *cell == "-").count() == 4,
            "{table}"
        );
    }

    #[test]
    fn hosts_are_shown_with_what_their_links_do() {
        let mut rows = rows();
        for row in &mut rows {
            row.entry.host = Some(HostEntry {
                address: "198.18.2.1".parse().unwrap(),
                group: 1,
                nat: Some(Nat::Symmetric),
                loss_percent: 30,
                rate_bits: Some(64_000),
            });
        }
        let table = states(&rows);
        let host = "198.18.2.1, behind a NAT (symmetric), loses 30 %, 64 kbit/s, group 1";
        assert!(table.contains("HOST") && table.contains(host), "{table}");
        assert!(!table.contains("API"), "{table}");
        assert_eq!(rows[0].to_json()["host"]["nat"], "symmetric");
    }

    #[test]
    fn the_json_of_a_row_has_all_that_the_file_says_of_a_node() {
        let json = rows()[1].to_json();
        for member in ["index", "pid", "did", "peer_id", "api", "data_dir"] {
            assert!(!json[member].is_null(), "{member}");
        }
        assert_eq!(json["parity"]["shared"], json!({"equal": 2, "of": 2}));
        assert_eq!(json["arrived_ms"], json!({"shared": 41, "closed": 7}));
    }

    #[test]
    fn the_last_node_is_no_peer_in_the_closed_space() {
        let devnet =
            Devnet::plan(Path::new("/net"), "/bin/ocm".into(), 3, 17_000, BTreeMap::new()).unwrap();
        let indexes = |index, closed| -> Vec<usize> {
            peers_of(&devnet, index, closed).into_iter().map(|peer| peer.index).collect()
        };
        assert_eq!((indexes(0, false), indexes(0, true)), (vec![1, 2], vec![1]));
    }
}
