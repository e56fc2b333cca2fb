//! `ocm devnet --netns`, from the command line: links are cut, lose packets, are slow and move.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::node::{PATIENCE, site};

/// A devnet that is taken down with this.
struct Devnet(TempDir);

impl Devnet {
    /// One of so many hosts; `None` where there cannot be any.
    fn up(test: &str, nodes: &str) -> Option<Self> {
        site(test)?;
        let devnet = Self(TempDir::new().unwrap());
        devnet.done(&["up", "--netns", "--nodes", nodes]);
        Some(devnet)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocm"));
        let dir = self.0.path().join("devnet");
        command.args(["--json", "devnet", "--dir"]).arg::<&Path>(&dir).args(args).output().unwrap()
    }

    /// What a command answers that must succeed.
    fn done(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {said}"))
    }

    fn refused(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.run(args);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// How a node is connected with each other one: path and address, by PeerId.
    fn peers(&self, index: usize) -> Vec<(String, String, String)> {
        let answer = self.done(&["exec", &index.to_string(), "--", "peers"]);
        let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
        let items = answer["items"].as_array().unwrap();
        items.iter().map(|i| (text(i, "peer_id"), text(i, "path"), text(i, "address"))).collect()
    }

    fn write(&self, index: usize, title: &str) -> String {
        let added =
            self.done(&["exec", &index.to_string(), "--", "memory", "add", "--title", title]);
        added["id"].as_str().unwrap().to_owned()
    }

    /// Writes on each node, and waits until every node has all of it; how many memories.
    fn load(&self) -> u64 {
        let load = self.done(&["load", "--rate", "10", "--seconds", "2", "--size", "500"]);
        assert_eq!(load["arrived"], load["written"], "{load}");
        load["written"].as_u64().filter(|written| *written > 0).unwrap()
    }

    fn until_shown(&self, index: usize, memory: &str) {
        let began = Instant::now();
        while !self.shows(index, memory) {
            assert!(began.elapsed() < PATIENCE, "node {index} never has {memory}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn shows(&self, index: usize, memory: &str) -> bool {
        let output = self.run(&["exec", &index.to_string(), "--", "memory", "get", memory]);
        match output.status.code() {
            Some(0) => true,
            // It is not there.
            Some(4) => false,
            other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// What the names of this devnet's namespaces begin with.
    fn site(&self) -> String {
        let state = std::fs::read(self.0.path().join("devnet/devnet.json")).unwrap();
        let state: Value = serde_json::from_slice(&state).unwrap();
        format!("{}-", state["site"].as_str().unwrap())
    }

    fn namespaces(&self) -> Vec<String> {
        let site = self.site();
        names().into_iter().filter(|name| name.starts_with(&site)).collect()
    }

    /// What a program prints that is run on a host, or on the switch.
    fn on(&self, host: &str, command: &[&str]) -> String {
        let namespace = self.site() + host;
        let output = Command::new("ip").args(["netns", "exec", &namespace]).args(command).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// Sees that the kernel was told of the rate of both links, and of the loss of node 1's.
    fn see_links_act(&self) {
        for host in ["node-0", "node-1"] {
            let queue = self.on(host, &["tc", "qdisc", "show", "dev", "eth0"]);
            assert!(queue.contains("tbf") && queue.contains("rate 10Mbit"), "{host}: {queue}");
        }
        let rules = self.on("switch", &["iptables", "-S", "FORWARD"]);
        for direction in ["in", "out"] {
            assert!(rules.contains(&format!("--physdev-{direction} node-1-eth0")), "{rules}");
        }
        assert!(!rules.contains("node-0-eth0") && rules.contains("--probability 0.1"), "{rules}");
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}

/// All namespaces of the machine.
fn names() -> Vec<String> {
    let names = std::fs::read_dir("/run/netns").unwrap().flatten();
    names.filter_map(|name| name.file_name().into_string().ok()).collect()
}

#[test]
fn a_partition_cuts_links_and_ends_with_all_having_the_same() {
    let Some(devnet) = Devnet::up("devnet, partition", "3") else { return };
    assert_eq!(devnet.done(&["partition", "0,1/2"])["partition"], "0,1/2");
    assert_eq!(devnet.peers(2), [], "it is alone");
    assert_eq!(devnet.peers(0).len(), 1);
    let (left, right) = (devnet.write(0, "left"), devnet.write(2, "right"));
    assert!(!devnet.shows(2, &left) && !devnet.shows(0, &right));
    devnet.done(&["heal"]);
    devnet.until_shown(2, &left);
    devnet.until_shown(0, &right);
    let written = devnet.load();
    let rows = devnet.done(&["status"]);
    assert_eq!(rows["items"][2]["memories"], written + 3, "{rows}");
}

#[test]
fn a_devnet_is_whole_again_after_its_hosts_were_removed_and_nothing_is_left_of_it_in_the_end() {
    let Some(devnet) = Devnet::up("devnet, kept", "2") else { return };
    assert_eq!(devnet.namespaces().len(), 3, "two hosts and the switch");
    devnet.done(&["rate", "0,1", "10mbit"]);
    devnet.done(&["loss", "1", "10%"]);
    devnet.see_links_act();
    devnet.done(&["down", "--keep"]);
    assert_eq!(devnet.namespaces(), [""; 0]);
    // A router is put there, replaced and taken away; nobody is waited for who does not run.
    for args in
        [&["nat", "1"][..], &["nat", "1", "symmetric"], &["nat", "1", "--off"], &["move", "1"]]
    {
        assert_eq!(devnet.done(args)["connected"], false);
    }
    devnet.see_links_act();
    devnet.done(&["start", "0"]);
    devnet.done(&["start", "1"]);
    devnet.load();
    let rows = devnet.done(&["status"]);
    let host = |index: usize| rows["items"][index]["host"].clone();
    assert_eq!((&host(0)["rate_bits"], &host(1)["loss_percent"]), (&10_000_000.into(), &10.into()));
    // A copy of its directory has none of its hosts.
    let all = devnet.namespaces();
    let copy = devnet.0.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(devnet.0.path().join("devnet/devnet.json"), copy.join("devnet.json")).unwrap();
    let of_copy = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocm"));
        command.args(["devnet", "--dir"]).arg(&copy).args(args).output().unwrap()
    };
    let said = String::from_utf8(of_copy(&["loss", "0", "10%"]).stderr).unwrap();
    assert!(said.contains("is a copy of the devnet in"), "{said}");
    assert_eq!(devnet.namespaces(), all);
    devnet.done(&["down"]);
    assert!(names().iter().all(|name| !all.contains(name)));
}

#[test]
fn hosts_move_and_go_behind_routers_and_are_found_again() {
    let Some(devnet) = Devnet::up("devnet, move and NAT", "3") else { return };
    let (code, said) = devnet.refused(&["nat", "0"]);
    assert!(code == Some(2) && said.contains("relay"), "{said}");
    let moved = devnet.done(&["move", "1"]);
    let address = moved["host"]["address"].as_str().unwrap();
    assert_ne!(address, "198.18.0.2");
    let at = |peers: &[(String, String, String)], address: &str| {
        peers.iter().any(|(_, _, found)| found.contains(&format!("/ip4/{address}/")))
    };
    assert!(at(&devnet.peers(0), address) && at(&devnet.peers(2), address));
    // Each translates each port to another one: they only meet through the relay.
    devnet.done(&["nat", "1", "symmetric"]);
    let behind = devnet.done(&["nat", "2", "symmetric"]);
    assert_eq!(behind["host"]["nat"], "symmetric");
    let paths = |index| -> Vec<String> {
        let mut paths: Vec<String> =
            devnet.peers(index).into_iter().map(|(_, path, _)| path).collect();
        paths.sort_unstable();
        paths
    };
    assert_eq!((paths(1), paths(2)), (vec!["direct".into(), "relayed".into()], paths(1)));
    let memory = devnet.write(1, "from behind a router");
    devnet.until_shown(2, &memory);
    devnet.load();
    devnet.done(&["nat", "2", "--off"]);
    assert_eq!(paths(2), ["direct", "direct"]);
}

#[test]
fn a_devnet_of_processes_has_no_links_and_one_whose_directory_is_gone_is_removed() {
    let Some(devnet) = Devnet::up("devnet, no links", "2") else { return };
    let plain = Devnet(TempDir::new().unwrap());
    plain.done(&["up", "--nodes", "2"]);
    for args in [&["loss", "0", "10%"][..], &["rate", "0", "1mbit"], &["move", "0"], &["nat", "1"]]
    {
        let (code, said) = plain.refused(args);
        assert!(code == Some(2) && said.contains("--netns"), "{said}");
    }
    let all = devnet.namespaces();
    std::fs::remove_dir_all(devnet.0.path().join("devnet")).unwrap();
    devnet.done(&["up", "--netns", "--nodes", "2"]);
    assert!(names().iter().all(|name| !all.contains(name)));
}
