//! A devnet under load, from the command line.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A devnet that is taken down with this.
struct Net(TempDir);

impl Net {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocm"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OCM_")) {
            command.env_remove(name);
        }
        let dir = self.0.path().join("devnet");
        command.args(["devnet", "--dir"]).arg::<&Path>(&dir).args(args).output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(args);
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{args:?}: {told}");
        serde_json::from_slice(&ran.stdout).unwrap()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}

#[test]
fn a_load_reaches_every_node_and_its_figures_agree() {
    let net = Net(TempDir::new().unwrap());
    let none = net.run(&["load", "--rate", "1", "--seconds", "1"]);
    assert_eq!(none.status.code(), Some(4), "there is no devnet yet");
    net.json(&["up", "--nodes", "3", "--timeout", "120", "--json"]);
    let past = net.run(&["load", "--rate", "100000", "--seconds", "86400"]);
    assert_eq!(past.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&past.stderr).contains("at most 1000000"));

    let memories = |net: &Net| -> Vec<u64> {
        let status = net.json(&["status", "--json"]);
        let items = status["items"].as_array().unwrap();
        items.iter().map(|item| item["memories"].as_u64().unwrap()).collect()
    };
    let before = memories(&net);
    let report = net.json(&["load", "--rate", "30", "--seconds", "2", "--size", "200", "--json"]);
    let written = report["written"].as_u64().unwrap();
    // A machine that is busy may write fewer in time, but never more.
    assert!((1..=60).contains(&written), "{report}");
    assert_eq!((&report["arrived"], &report["failed"]), (&written.into(), &0.into()), "{report}");
    // What a node shows of itself follows its records by some milliseconds.
    let after: Vec<u64> = before.iter().map(|count| count + written).collect();
    assert!((0..100).any(|_| memories(&net) == after), "{:?} and not {after:?}", memories(&net));
    let figure = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap();
    assert_eq!(figure("/rate/asked"), 30.0);
    let reached = figure("/rate/reached") * figure("/seconds");
    assert!((reached - written as f64).abs() < 1e-6, "{report}");
    let (p50, p99, max) =
        (figure("/reach_ms/p50"), figure("/reach_ms/p99"), figure("/reach_ms/max"));
    assert!(0.0 <= p50 && p50 <= p99 && p99 <= max, "{report}");
    assert!(figure("/rate/reached") <= figure("/rate/asked") * 1.05, "{report}");
    let cpu = report["cpu"].as_array().unwrap();
    assert_eq!(cpu.len(), 3);
    assert!(cpu.iter().all(|node| node["percent_of_a_core"].is_number()), "{report}");
    assert_eq!(report["interrupted"], false);

    net.run(&["kill", "1"]);
    let stopped = net.run(&["load", "--rate", "1", "--seconds", "1"]);
    assert_eq!(stopped.status.code(), Some(3), "every node is to run");
}
