//! A node under a service manager: what it tells it, and a configuration that changes meanwhile.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::PATIENCE;
use crate::process::{Client, Process};

/// Where a manager hears what its service says.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(at: &Path) -> Self {
        let socket = UnixDatagram::bind(at).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Waits until it is told this, and gives what it was told before.
    fn hears(&self, wanted: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let mut datagram = [0; 4096];
            let length = self.0.recv(&mut datagram).expect("nothing more is told");
            let told = String::from_utf8_lossy(&datagram[..length]);
            if told.lines().any(|line| line == wanted) {
                return before;
            }
            before.extend(told.lines().map(str::to_owned));
        }
    }
}

fn batch_of(client: &Client, count: usize) -> (u16, Value) {
    let items: Vec<Value> =
        (0..count).map(|n| json!({"content": {"title": n.to_string()}})).collect();
    client.ask("POST", "/v1/memories:batch", Some(&json!({ "items": items }))).unwrap()
}

/// Whether a peer connects in time.
fn is_joined(client: &Client) -> bool {
    let began = std::time::Instant::now();
    while began.elapsed() < PATIENCE {
        if !client.get("/peers")["items"].as_array().unwrap().is_empty() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    false
}

#[test]
fn a_service_tells_its_manager_and_takes_up_what_can_change() {
    let (dir, other_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut other = Process::spawn(other_dir.path());
    let (other_client, _) = other.until_ready(other_dir.path());
    let address = other_client.get("/status")["listen"][0].as_str().unwrap().to_owned();

    let file = dir.path().join("node.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("[api]\nbatch_memories = 5\n");
    let socket = dir.path().join("notify");
    let manager = Manager::listen(&socket);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let mut node = Process::spawn_with(&BTreeMap::from([
        ("OCM_DATA_DIR", text(dir.path())),
        ("OCM_CONFIG", text(&file)),
        ("NOTIFY_SOCKET", text(&socket)),
        ("WATCHDOG_USEC", "3000000".to_owned()),
    ]));
    let (client, _) = node.until_ready(dir.path());
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    let pid = Pid::from_raw(node.pid().try_into().unwrap()).unwrap();
    let reload = || {
        kill_process(pid, Signal::HUP).unwrap();
        manager.hears("RELOADING=1");
        manager.hears("READY=1");
    };

    assert_eq!(batch_of(&client, 6).0, 413);
    write(&format!("[api]\nbatch_memories = 6\n[network]\nseed_peers = [\"{address}\"]\n"));
    reload();
    assert_eq!(batch_of(&client, 6).0, 200);
    assert!(is_joined(&client), "the new seed peer is not dialled");

    write("[api]\nbatch_memories = 7\nno_such_key = 1\n");
    reload();
    assert_eq!(batch_of(&client, 7).0, 413, "a configuration with a fault is taken up in part");

    kill_process(pid, Signal::TERM).unwrap();
    manager.hears("STOPPING=1");
    assert!(node.until_ended().success());
}
