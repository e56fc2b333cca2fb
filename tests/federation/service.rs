//! A node under a service manager: what it tells it, a configuration that changes meanwhile, and the
//! units and profiles that are delivered.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::PATIENCE;
use crate::process::{Client, Process};

/// What keeps a node apart from others on this machine.
fn apart(dir: &TempDir) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("OCM_DATA_DIR", dir.path().to_str().unwrap().to_owned()),
        ("OCM_API_LISTEN", "127.0.0.1:0".to_owned()),
        ("OCM_NETWORK_PORT", "0".to_owned()),
        ("OCM_DISCOVERY_PORT", "0".to_owned()),
    ])
}

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
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if !client.get("/peers")["items"].as_array().unwrap().is_empty() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
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

#[test]
fn each_profile_starts_and_is_what_it_says() {
    // What is told of it: whether it is known at an address of this machine alone, whether it says
    // much, in JSON, and whether it keeps anything.
    let profiles = [
        ("default", (false, false, false, true)),
        ("development", (true, true, false, true)),
        ("staging", (false, true, true, true)),
        ("production", (false, false, true, true)),
        ("testing", (true, false, false, false)),
    ];
    for (profile, told) in profiles {
        let dir = TempDir::new().unwrap();
        let mut variables = apart(&dir);
        variables.insert("OCM_PROFILE", profile.to_owned());
        // What is only tried here speaks to no network around.
        if profile == "default" {
            variables.insert("OCM_NETWORK_MDNS", "false".to_owned());
            variables.insert("OCM_NETWORK_BEACON", "false".to_owned());
        }
        let mut node = Process::spawn_only(&variables);
        let (client, said) = node.until_ready(dir.path());
        assert_eq!(client.get("/ready")["ready"], true, "{profile}");
        let is_local = |at: &Value| at.as_str().unwrap().contains("/127.0.0.1/");
        let local = || client.get("/status")["listen"].as_array().unwrap().iter().all(is_local);
        // Addresses are told one after the other.
        let began = Instant::now();
        while local() && !told.0 && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let seen = (
            local(),
            said.contains("libp2p_swarm"),
            said.lines().any(|line| line.starts_with('{')),
            dir.path().join("store/sled").exists(),
        );
        assert_eq!(seen, told, "{profile}: {said}");
        let kept = ["mdns", "beacon"].iter().any(|source| said.contains(source));
        assert!(!kept || profile == "development", "{profile} looks around: {said}");
    }
}

#[test]
fn the_units_environment_is_one_that_a_node_starts_with() {
    let unit = include_str!("../../config/systemd/ocm.service");
    let environment = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let environment: BTreeMap<&str, String> = environment
        .map(|setting| setting.split_once('=').unwrap())
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    assert_eq!(environment["OCM_DATA_DIR"], "/var/lib/ocm");
    let dir = TempDir::new().unwrap();
    let mut variables = environment;
    variables.extend(apart(&dir));
    let mut node = Process::spawn_only(&variables);
    let (client, said) = node.until_ready(dir.path());
    assert_eq!(client.get("/ready")["ready"], true);
    assert!(!said.starts_with('{'), "{said}");
}

/// As its comments say, by systemd's own judgement. Without systemd there is none to ask.
#[test]
fn the_unit_is_sound_and_exposes_little() {
    use std::process::Command;
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        // Straight to the stream: the test runner keeps to itself what `eprintln!` says.
        let _ = writeln!(std::io::stderr(), "skipped: systemd-analyze is not installed here");
        return;
    };
    assert!(version.status.success());
    let dir = TempDir::new().unwrap();
    let unit = include_str!("../../config/systemd/ocm.service");
    let unit = unit.replace("/usr/local/bin/ocm", env!("CARGO_BIN_EXE_ocm"));
    let path = dir.path().join("ocm.service");
    std::fs::write(&path, unit).unwrap();
    let analyse = |args: &[&str]| {
        let ran = Command::new("systemd-analyze").args(args).arg(&path).output().unwrap();
        let told = [ran.stdout, ran.stderr].concat();
        (ran.status.success(), String::from_utf8_lossy(&told).into_owned())
    };
    // A unit's file name on the command line is looked at alone.
    let (sound, told) = analyse(&["verify", "--man=no", "--recursive-errors=no"]);
    assert!(sound && !told.contains("ocm.service"), "{told}");
    let (closed, told) = analyse(&["security", "--offline=true", "--threshold=20"]);
    assert!(closed, "{told}");
}
