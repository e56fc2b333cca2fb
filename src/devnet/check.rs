//! What a federation must show: each question is one look at one node.

use std::io::Read as _;
use std::path::Path;

use ocm_record::SpaceId;
use serde_json::Value as Json;

use super::error::{DevnetError, Missing, file};
use super::wait::{Look, Node};
use crate::client::{ClientError, escaped};

/// Looks between two requests to compare now.
const COMPARE_EVERY: usize = 25;

fn not_yet<T>(error: &ClientError) -> Look<T> {
    Look::NotYet(error.to_string())
}

fn is_not_found(error: &ClientError) -> bool {
    matches!(error, ClientError::Problem(problem)
        if matches!(problem.reason(), "not-found" | "unknown-space"))
}

/// Another node, as it is called and known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerName {
    pub(crate) index: usize,
    pub(crate) peer_id: String,
}

/// Whether the node says that it is ready.
pub(crate) fn ready(node: &Node) -> Look<()> {
    match node.ready() {
        Ok(answer) if answer.json()["ready"] == true => Look::There(()),
        Ok(answer) => Look::NotYet(format!("is not ready: {}", answer.text())),
        Err(error) => not_yet(&error),
    }
}

/// Which of these the node is connected to, and which not.
fn split(node: &Node, peers: &[PeerName]) -> Result<(Vec<String>, Vec<String>), ClientError> {
    let answer = node.get("/peers")?;
    let is_there = |peer: &&PeerName| {
        answer.items().iter().any(|item| item["peer_id"] == peer.peer_id.as_str())
    };
    let (there, missing): (Vec<_>, Vec<_>) = peers.iter().partition(is_there);
    let names = |peers: Vec<&PeerName>| {
        peers.into_iter().map(|peer| format!("node {}", peer.index)).collect()
    };
    Ok((names(there), names(missing)))
}

/// Whether the node is connected to all of these.
pub(crate) fn connected(node: &Node, expected: &[PeerName]) -> Look<()> {
    match split(node, expected) {
        Ok((_, missing)) if missing.is_empty() => Look::There(()),
        Ok((_, missing)) => Look::NotYet(format!("is not connected to {}", missing.join(", "))),
        Err(error) => not_yet(&error),
    }
}

/// Whether the node is connected to none of these.
pub(crate) fn apart(node: &Node, from: &[PeerName]) -> Look<()> {
    match split(node, from) {
        Ok((there, _)) if there.is_empty() => Look::There(()),
        Ok((there, _)) => Look::NotYet(format!("is still connected to {}", there.join(", "))),
        Err(error) => not_yet(&error),
    }
}

/// Whether the node is connected to this one, and with an address that is this one's.
pub(crate) fn connected_at(node: &Node, peer: &PeerName, address: &str) -> Look<()> {
    let answer = match node.get("/peers") {
        Ok(answer) => answer,
        Err(error) => return not_yet(&error),
    };
    let at = |item: &&Json| item["peer_id"] == peer.peer_id.as_str();
    let (index, found) = (peer.index, answer.items().iter().find(at));
    match found.and_then(|item| item["address"].as_str()) {
        Some(found) if found.contains(address) => Look::There(()),
        Some(found) => Look::NotYet(format!("is connected to node {index} at {found}")),
        None => Look::NotYet(format!("is not connected to node {index}")),
    }
}

/// Whether a space has arrived at the node, with the node's own role in it.
pub(crate) fn joined(node: &Node, space: &str, role: &str) -> Look<()> {
    match node.get(&format!("/v1/spaces/{}", escaped(space))) {
        Ok(answer) if answer.json()["name"].is_null() => {
            Look::NotYet(format!("nothing of space {space} has arrived"))
        }
        Ok(answer) if answer.json()["role"] == role => Look::There(()),
        Ok(answer) => Look::NotYet(format!(
            "has the role {} in space {space}, and not yet that of {role}",
            answer.json()["role"]
        )),
        Err(error) => not_yet(&error),
    }
}

/// Whether the node shows a memory, verified, as the node that wrote it showed it.
pub(crate) fn shows(node: &Node, written: &Json) -> Look<()> {
    let id = written["id"].as_str().unwrap_or_default();
    let shown = match node.get(&format!("/v1/memories/{}", escaped(id))) {
        Ok(answer) => answer,
        Err(error) if is_not_found(&error) => {
            return Look::NotYet(format!("does not have memory {id}"));
        }
        Err(error) => return not_yet(&error),
    };
    let shown = shown.json();
    if shown["verified"] != true {
        return Look::NotYet(format!("has memory {id}, not verified: {}", shown["cause"]));
    }
    for member in ["content", "author", "space", "heads"] {
        if shown[member] != written[member] {
            return Look::NotYet(format!(
                "shows memory {id} with the {member} {} instead of {}",
                shown[member], written[member]
            ));
        }
    }
    Look::There(())
}

/// With how many of the peers that were asked about a node stores the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Parity {
    pub(crate) equal: usize,
    pub(crate) of: usize,
}

/// The node's own account of its parity with these peers in a space. Only comparisons since the
/// space had this many content records count.
pub(crate) fn parity(
    items: &[Json],
    space: &str,
    peers: &[PeerName],
    content: u64,
) -> (Parity, Vec<String>) {
    let mut different = Vec::new();
    for peer in peers {
        let row = items
            .iter()
            .find(|item| item["space"] == space && item["peer_id"] == peer.peer_id.as_str());
        let state = match row {
            None => "not compared",
            Some(row) if row["connected"] != true => "not connected",
            Some(row) => row["state"].as_str().unwrap_or("unknown"),
        };
        let old = row.is_none_or(|row| row["ours"]["content"].as_u64().unwrap_or(0) < content);
        if state != "equal" {
            let cause = row.and_then(|row| row["cause"].as_str()).unwrap_or_default();
            let told = format!("with node {}: {state} {cause}", peer.index);
            different.push(told.trim_end().to_owned());
        } else if old {
            different.push(format!("with node {}: not compared since the memory came", peer.index));
        }
    }
    (Parity { equal: peers.len() - different.len(), of: peers.len() }, different)
}

/// Whether the node stores the same as each of these peers in a space, a memory included.
pub(crate) fn equal(node: &Node, attempt: usize, space: &str, peers: &[PeerName]) -> Look<()> {
    // What was compared before the memory came will be again, but not as soon as is wished here.
    if attempt.is_multiple_of(COMPARE_EVERY)
        && let Err(error) = node.post("/v1/sync", None, "compare with its peers")
    {
        return Look::NotYet(error.to_string());
    }
    match node.get("/v1/sync") {
        Err(error) => not_yet(&error),
        Ok(answer) => match parity(answer.items(), space, peers, 1).1 {
            different if different.is_empty() => Look::There(()),
            different => {
                Look::NotYet(format!("no parity in space {space}: {}", different.join("; ")))
            }
        },
    }
}

/// Whether the node lists one memory or more in a space.
pub(crate) fn counts(node: &Node, space: &str) -> Look<()> {
    match node.get(&format!("/v1/spaces/{}", escaped(space))) {
        Ok(answer) if answer.json()["memories"].as_u64() >= Some(1) => Look::There(()),
        Ok(answer) => {
            Look::NotYet(format!("counts {} memories in space {space}", answer.json()["memories"]))
        }
        Err(error) => not_yet(&error),
    }
}

/// Everything by which a node shows that it holds or was told something of a closed space, one of
/// whose memories is given.
///
/// # Errors
/// When the node does not answer, or its files cannot be read.
pub(crate) fn traces(node: &Node, space: &str, memory: &str) -> Result<Vec<Missing>, DevnetError> {
    let what = "say what it knows of the closed space";
    let mut found = Vec::new();
    for path in [
        format!("/v1/spaces/{}", escaped(space)),
        format!("/v1/memories/{}", escaped(memory)),
        // A memory has the id of its first record.
        format!("/v1/records/{}", escaped(memory)),
    ] {
        match node.get(&path) {
            Ok(_) => found.push(format!("answers GET {path}")),
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(node.refused(what, error)),
        }
    }
    for path in ["/v1/spaces", "/peers", "/v1/sync", "/v1/refused", "/status"] {
        if node.read(path, what)?.text().contains(space) {
            found.push(format!("names the closed space in GET {path}"));
        }
    }
    let id = space.parse::<SpaceId>().map_err(|why| DevnetError::Answer {
        index: node.index(),
        what: "make a space".into(),
        lacks: "id",
        answer: format!("{space}: {why}"),
    })?;
    let (hash, text) = (id.0.hash(), space.as_bytes());
    look_through(&node.entry.data_dir, &[&hash, text], &mut |path| {
        found.push(format!("holds the closed space's id in {}", path.display()));
    })?;
    Ok(found.into_iter().map(|what| Missing { node: node.index(), what }).collect())
}

/// Whether this node takes a peer, who has no role there, to share the closed space.
pub(crate) fn tells(
    node: &Node,
    peer: &PeerName,
    space: &str,
) -> Result<Vec<Missing>, DevnetError> {
    let peers = node.read("/peers", "list its peers")?;
    let shared = peers
        .items()
        .iter()
        .filter(|item| item["peer_id"] == peer.peer_id.as_str())
        .any(|item| item["shared_spaces"].to_string().contains(space));
    let what = format!("shares the closed space with node {}", peer.index);
    Ok(shared.then(|| Missing { node: node.index(), what }).into_iter().collect())
}

/// Tells each file of a directory that has one of the needles in it.
fn look_through(
    dir: &Path,
    needles: &[&[u8]],
    tell: &mut dyn FnMut(&Path),
) -> Result<(), DevnetError> {
    for entry in std::fs::read_dir(dir).map_err(file("read", dir))? {
        let entry = entry.map_err(file("read", dir))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(file("read", dir))?);
        if kind.is_dir() {
            look_through(&path, needles, tell)?;
        } else if kind.is_file() {
            match has_any(&path, needles) {
                Ok(true) => tell(&path),
                Ok(false) => {}
                // The node replaces some of its files as it runs.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(file("read", path)(error)),
            }
        }
    }
    Ok(())
}

fn has_any(path: &Path, needles: &[&[u8]]) -> std::io::Result<bool> {
    const PIECE: u64 = 1024 * 1024;
    let mut opened = std::fs::File::open(path)?;
    let overlap = needles.iter().map(|needle| needle.len()).max().unwrap_or(1) - 1;
    let mut piece: Vec<u8> = Vec::new();
    loop {
        // What lies across the border of two pieces is in the second.
        piece.drain(..piece.len().saturating_sub(overlap));
        let read = (&mut opened).take(PIECE).read_to_end(&mut piece)?;
        let has = |needle: &&[u8]| piece.windows(needle.len()).any(|window| window == *needle);
        if needles.iter().any(has) {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parity_counts_only_comparisons_that_saw_the_memory() {
        let peer = |index: usize| PeerName { index, peer_id: format!("peer-{index}") };
        let row = |peer: &str, space: &str, state: &str, content: u64| {
            json!({"peer_id": peer, "space": space, "connected": true, "state": state, "cause": null,
                "ours": {"authority": 2, "content": content, "missing_bodies": 0}})
        };
        let mut items = vec![
            row("peer-1", "v1", "equal", 1),
            row("peer-2", "v1", "equal", 0),
            row("peer-3", "v1", "differs", 1),
            row("peer-4", "v2", "equal", 1),
        ];
        items[2]["cause"] = "1 record is held".into();
        let peers = [peer(1), peer(2), peer(3), peer(4)];
        let (count, different) = parity(&items, "v1", &peers, 1);
        assert_eq!(count, Parity { equal: 1, of: 4 });
        assert_eq!(
            different,
            [
                "with node 2: not compared since the memory came",
                "with node 3: differs 1 record is held",
                "with node 4: not compared",
            ]
        );
        assert_eq!(parity(&items, "v1", &peers[..2], 0).0, Parity { equal: 2, of: 2 });
    }

    #[test]
    fn an_id_is_found_in_files_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let needle = [7_u8; 32];
        std::fs::create_dir(dir.path().join("store")).unwrap();
        std::fs::write(dir.path().join("api.token"), [7; 31]).unwrap();
        let mut across = vec![0_u8; 1024 * 1024 - 5];
        across.extend(needle);
        std::fs::write(dir.path().join("store/db"), &across).unwrap();
        let mut told = Vec::new();
        look_through(dir.path(), &[&needle, b"v1"], &mut |path| told.push(path.to_owned()))
            .unwrap();
        assert_eq!(told, [dir.path().join("store/db")]);
        assert!(has_any(&dir.path().join("api.token"), &[&[7; 31]]).unwrap());
        assert!(!has_any(&dir.path().join("api.token"), &[b"v1"]).unwrap());
    }
}
