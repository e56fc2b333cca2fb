//! A node on a host of its own, as a process, and what a test asks of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use ocm::devnet::netns::{Host, NetnsError, Site, can_run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// A site for a test; `None` when it cannot be, which is said. As root it must be.
pub(crate) fn site(test: &str) -> Option<Site> {
    static POSSIBLE: OnceLock<Result<(), NetnsError>> = OnceLock::new();
    match POSSIBLE.get_or_init(can_run) {
        Ok(()) => Some(Site::new().unwrap()),
        Err(error @ NetnsError::NotRoot) => {
            // Straight to the stream: the test runner keeps to itself what `eprintln!` says.
            let _ = writeln!(std::io::stderr(), "skipped: {test}: {error}");
            None
        }
        Err(error) => panic!("as root, hosts in namespaces must be possible: {error}"),
    }
}

/// A host that a test may change while nodes run on it.
pub(crate) type SharedHost = Arc<Mutex<Host>>;

/// A host with one card.
pub(crate) fn host(
    site: &Site,
    label: &str,
    lan: &ocm::devnet::netns::Lan,
    addresses: &[&str],
) -> SharedHost {
    let mut host = site.host(label).unwrap();
    host.plug("eth0", lan, addresses).unwrap();
    Arc::new(Mutex::new(host))
}

/// `ocm node` on a host; killed when it is dropped.
pub(crate) struct Node {
    pub(crate) host: SharedHost,
    pub(crate) peer: String,
    pub(crate) did: String,
    settings: Vec<(String, String)>,
    api: String,
    child: RefCell<Option<Child>>,
    dir: Arc<TempDir>,
}

impl Node {
    /// Starts a node with the defaults and these variables, and waits until it answers.
    pub(crate) fn start(host: &SharedHost, settings: &[(&str, &str)]) -> Self {
        Self::start_in(host, settings, Arc::new(TempDir::new().unwrap()))
    }

    /// The same in a directory that may hold a node's data.
    pub(crate) fn start_in(
        host: &SharedHost,
        settings: &[(&str, &str)],
        dir: Arc<TempDir>,
    ) -> Self {
        let settings: Vec<(String, String)> =
            settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let api = settings.iter().find(|(key, _)| key == "OCM_API_LISTEN");
        let api = api.map_or("127.0.0.1:7845", |(_, value)| value.as_str()).to_owned();
        let mut node = Self {
            host: host.clone(),
            peer: String::new(),
            did: String::new(),
            settings,
            api,
            child: RefCell::new(None),
            dir,
        };
        node.spawn();
        node
    }

    /// Starts its process.
    pub(crate) fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"));
        let log = log.unwrap();
        let mut command = self.host.lock().unwrap().command(env!("CARGO_BIN_EXE_ocm"));
        let child = command
            .arg("node")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("OCM_DATA_DIR", self.dir.path())
            .env("OCM_LOG_LEVEL", "debug")
            .env("OCM_NETWORK_SYNC_INTERVAL_SECONDS", "5")
            .envs(self.settings.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        *self.child.borrow_mut() = Some(child.unwrap());
        let status = self.until("answers and listens", |node| {
            node.ask("GET", "/status", None)
                .filter(|(_, status)| status["listen"].as_array().is_some_and(|l| !l.is_empty()))
        });
        self.peer = status.1["peer_id"].as_str().unwrap().to_owned();
        self.did = status.1["did"].as_str().unwrap().to_owned();
    }

    /// SIGKILL: nothing of it runs any more afterwards.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.borrow_mut().take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends its process a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.borrow();
        let pid = child.as_ref().expect("it runs").id().try_into().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits until it has ended, and tells how.
    pub(crate) fn until_ended(&mut self) -> ExitStatus {
        let mut child = self.child.borrow_mut().take().unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(LOOK);
        }
    }

    /// Has it stop in good order.
    pub(crate) fn stop(&mut self) {
        let (status, answer) = self.ask("POST", "/v1/stop", None).unwrap();
        assert_eq!(status, 202, "{answer}");
        self.until_ended();
    }

    /// Its next start is with these variables.
    pub(crate) fn set(&mut self, settings: &[(&str, &str)]) {
        self.settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether its log has this.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default().contains(text)
    }

    /// Asks its API, on its own loopback; `None` when no answer came.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let (status, text) = self.ask_text(method, path, body)?;
        Some((status, serde_json::from_str(&text).ok()?))
    }

    fn ask_text(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, String)> {
        let token = std::fs::read_to_string(self.dir.path().join("api.token")).ok()?;
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.api))
            .header("authorization", format!("Bearer {}", token.trim()))
            .header("content-type", "application/json")
            .body(body.map(Value::to_string).unwrap_or_default())
            .unwrap();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        let asked = self.host.lock().unwrap().within(move || {
            let mut answer = config.new_agent().run(request).ok()?;
            let status = answer.status().as_u16();
            Some((status, answer.body_mut().read_to_string().ok()?))
        });
        asked.unwrap()
    }

    /// Asks what must succeed.
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, None).expect(path);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", path, Some(body)).expect(path);
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    }

    /// The value of a metric with these labels, besides that of the node.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.ask_text("GET", "/metrics", None).unwrap();
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// What `ocm` says on this host with `--json`.
    pub(crate) fn cli(&self, args: &[&str]) -> Value {
        let mut command = self.host.lock().unwrap().command(env!("CARGO_BIN_EXE_ocm"));
        let output = command
            .args(args)
            .arg("--json")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("OCM_DATA_DIR", self.dir.path())
            .envs(self.settings.iter().map(|(k, v)| (k, v)))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {said}"))
    }

    /// What `ocm doctor` finds of its discovery: state and text, by the name of the source.
    pub(crate) fn doctor(&self) -> BTreeMap<String, (String, String)> {
        let answer = self.cli(&["doctor"]);
        let items = answer["items"].as_array().unwrap();
        let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
        items
            .iter()
            .filter(|item| item["check"] == "discovery")
            .filter_map(|item| {
                let (name, found) = item["text"].as_str()?.split_once(": ")?;
                Some((name.to_owned(), (text(item, "state"), found.to_owned())))
            })
            .collect()
    }

    /// Whom it is connected with, and how it heard of each.
    pub(crate) fn peers(&self) -> BTreeMap<String, String> {
        let answer = self.ask("GET", "/peers", None).map(|(_, answer)| answer).unwrap_or_default();
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
        items.iter().map(|item| (text(item, "peer_id"), text(item, "source"))).collect()
    }

    /// Waits until something is there.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let mut child = self.child.borrow_mut();
            let ended = child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "the process ended before it {what}: {ended:?}");
            drop(child);
            if began.elapsed() > PATIENCE {
                let status = self.ask("GET", "/status", None).map(|(_, status)| status);
                panic!("{} never {what}; peers {:?}; {status:#?}", self.peer, self.peers());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until it is connected with exactly these.
    pub(crate) fn until_peers(&self, others: &[&Self]) {
        let wanted: BTreeSet<&str> = others.iter().map(|node| node.peer.as_str()).collect();
        self.until("is connected with whom it should", |node| {
            let peers = node.peers();
            (peers.keys().map(String::as_str).collect::<BTreeSet<_>>() == wanted).then_some(())
        });
    }

    /// Asserts that it says it is alone, wherever it says so, and is ready all the same.
    pub(crate) fn assert_isolated(&self) {
        assert_eq!(self.get("/status")["isolated"], json!(true));
        let ready = self.get("/ready");
        assert_eq!((&ready["ready"], &ready["isolated"]), (&json!(true), &json!(true)));
        assert_eq!(self.metric("ocm_isolated"), 1.0);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- the end of the log of {}:\n{last}", self.peer);
        }
    }
}

/// Waits until all of them are connected with each other, and with nobody else.
pub(crate) fn until_joined(nodes: &[&Node]) {
    for node in nodes {
        let others: Vec<&Node> =
            nodes.iter().filter(|other| other.peer != node.peer).copied().collect();
        node.until_peers(&others);
    }
}

/// Has the first make an open space and write a memory in it, and waits until all have it.
pub(crate) fn exchange(nodes: &[&Node]) {
    let body = json!({"name": "table", "write": "open", "read": "open"});
    let space = nodes[0].post("/v1/spaces", &body)["id"].as_str().unwrap().to_owned();
    // It names no address: whoever is reached was found before.
    let invitation = ocm::invitation::Invitation {
        space: space.parse().unwrap(),
        name: "table".into(),
        addresses: Vec::new(),
        genesis: None,
    };
    for node in &nodes[1..] {
        node.post("/v1/spaces/join", &json!({"invitation": invitation.to_string()}));
    }
    let content = json!({"type": "note", "title": "Found", "text": "on the same table"});
    let body = json!({"space": space, "content": content});
    let memory = nodes[0].post("/v1/memories", &body)["id"].as_str().unwrap().to_owned();
    for node in &nodes[1..] {
        node.until("has the memory", |node| {
            let (status, answer) = node.ask("GET", &format!("/v1/memories/{memory}"), None)?;
            (status == 200 && answer["content"]["title"] == "Found").then_some(())
        });
    }
}
