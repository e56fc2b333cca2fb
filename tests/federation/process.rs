//! A node as a process of its own, and what programs ask of its API.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::node::PATIENCE;

/// A running process; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    stderr: Option<BufReader<std::process::ChildStderr>>,
}

/// A client of one node.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    api: String,
    token: String,
}

/// The command `ocm node`, told nothing.
fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocm"));
    command
        .arg("node")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The command `ocm node` on a directory, told by its environment only.
fn command(dir: &Path) -> Command {
    let mut command = bare();
    command
        .env("OCM_DATA_DIR", dir)
        .env("OCM_API_LISTEN", "127.0.0.1:0")
        .env("OCM_NETWORK_PORT", "0")
        .env("OCM_BIND_ADDRESS", "127.0.0.1")
        .env("OCM_NETWORK_MDNS", "false")
        .env("OCM_NETWORK_BEACON", "false")
        .env("OCM_LOG_LEVEL", "warn");
    command
}

/// Runs a node that is to end by itself, and returns how it ended and what it said.
pub(crate) fn run_to_end(dir: &Path) -> (ExitStatus, String) {
    let mut child = command(dir).spawn().unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while stderr.read_line(&mut said).unwrap() > 0 {
        assert!(!said.contains("OCM node is ready"), "it runs: {said}");
    }
    (child.wait().unwrap(), said)
}

impl Process {
    pub(crate) fn spawn(dir: &Path) -> Self {
        let data_dir = dir.to_str().unwrap().to_owned();
        Self::spawn_with(&BTreeMap::from([("OCM_DATA_DIR", data_dir)]))
    }

    /// Starts a node with these variables, over those that keep it to this machine.
    pub(crate) fn spawn_with(variables: &BTreeMap<&str, String>) -> Self {
        Self::begin(command(Path::new("")).envs(variables))
    }

    /// Starts a node with these variables and nothing else.
    pub(crate) fn spawn_only(variables: &BTreeMap<&str, String>) -> Self {
        Self::begin(bare().envs(variables))
    }

    fn begin(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = Some(BufReader::new(child.stderr.take().unwrap()));
        Self { child, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads what it says until it is ready, and returns that, too.
    pub(crate) fn until_ready(&mut self, dir: &Path) -> (Client, String) {
        let mut said = String::new();
        let mut stderr = self.stderr.take().unwrap();
        while !said.contains("OCM node is ready") {
            let read = stderr.read_line(&mut said).unwrap();
            assert!(read > 0, "it ended before it was ready: {said}");
        }
        let api = said.lines().find_map(|line| line.trim().strip_prefix("api"));
        let api = api.unwrap().trim().to_owned();
        // Whatever else it says goes to the test's own output.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                eprintln!("{line}");
            }
        });
        (Client::new(api, dir), said)
    }

    /// SIGKILL: nothing of it runs any more afterwards.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn until_ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Client {
    /// A client of the node that serves at `api` and lives in `dir`.
    pub(crate) fn new(api: String, dir: &Path) -> Self {
        let token = std::fs::read_to_string(dir.join("api.token")).unwrap().trim().to_owned();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE));
        Self { agent: config.build().new_agent(), api, token }
    }

    /// Asks; `None` when no whole answer came.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.api))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(body.map(Value::to_string).unwrap_or_default())
            .unwrap();
        let mut answer = self.agent.run(request).ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.body_mut().read_json().ok()?))
    }

    /// Where it asks: `http://host:port`.
    pub(crate) fn api(&self) -> &str {
        &self.api
    }

    /// The same with another token.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    /// The status of the answer to a question to a host of this name.
    pub(crate) fn get_as_host(&self, host: &str, path: &str) -> u16 {
        let request = ureq::http::Request::builder()
            .uri(format!("{}{path}", self.api))
            .header("host", host)
            .header("authorization", format!("Bearer {}", self.token))
            .body(())
            .unwrap();
        self.agent.run(request).unwrap().status().as_u16()
    }

    /// Asks what must succeed, and is no JSON.
    pub(crate) fn text(&self, path: &str) -> String {
        let request = ureq::http::Request::builder()
            .uri(format!("{}{path}", self.api))
            .header("authorization", format!("Bearer {}", self.token))
            .body(())
            .unwrap();
        self.agent.run(request).unwrap().body_mut().read_to_string().unwrap()
    }

    /// Asks what must succeed.
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, None).unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }
}
