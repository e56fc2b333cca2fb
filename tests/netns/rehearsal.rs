//! A rehearsal of the cluster that `config/kubernetes` makes: each pod a host with an address of its
//! own, which is another one at each start, found by the names that a DNS server tells; its volume a
//! directory that stays. What the pods are given, and what they are probed with, is the overlay's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocm::devnet::netns::{Lan, Site};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Cluster, text};
use crate::node::{Node, SharedHost, host, site, until_joined};

const NAMESPACE: &str = "ocm";
const DNS: &str = "10.42.0.2";
/// How soon everyone must hold the same.
const MINUTE: Duration = Duration::from_secs(60);

/// The cluster's DNS server, which tells the names of the pods that are there, ready or not.
struct Names {
    child: Child,
    records: BTreeMap<String, String>,
    dir: TempDir,
    _host: SharedHost,
}

impl Names {
    fn start(site: &Site, lan: &Lan) -> Self {
        let version = Command::new("dnsmasq").arg("--version").output();
        version.expect("dnsmasq is missing: it belongs to the package dnsmasq-base");
        let (dir, host) =
            (TempDir::new().unwrap(), host(site, "dns", lan, &[&format!("{DNS}/16")]));
        let file = dir.path().join("hosts");
        std::fs::write(&file, "").unwrap();
        let child = host
            .lock()
            .unwrap()
            .command("dnsmasq")
            .args(["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null"])
            .args(["--pid-file=", "--user=root", "--no-resolv", "--no-hosts", "--bind-interfaces"])
            .args(["--local=/cluster.local/", "--local-ttl=5"])
            .arg(format!("--listen-address={DNS}"))
            .arg(format!("--addn-hosts={}", file.display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !host.lock().unwrap().within(is_served).unwrap() {
            assert!(began.elapsed() < MINUTE, "dnsmasq does not answer");
        }
        Self { child, records: BTreeMap::new(), dir, _host: host }
    }

    /// Tells of a pod at an address, or of none.
    fn tell(&mut self, name: &str, address: Option<&str>) {
        match address {
            Some(address) => self.records.insert(name.to_owned(), address.to_owned()),
            None => self.records.remove(name),
        };
        let lines = self.records.iter().fold(String::new(), |mut lines, (name, address)| {
            writeln!(lines, "{address} {name}").unwrap();
            lines
        });
        std::fs::write(self.dir.path().join("hosts"), lines).unwrap();
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "dnsmasq does not run: {ended:?}");
        // It reads its file again.
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), Signal::HUP).unwrap();
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the DNS server answers a question from this host.
fn is_served() -> bool {
    // Its header, and the name `local` with type A in class IN.
    let mut question = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend_from_slice(b"\x05local\x00\x00\x01\x00\x01");
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.connect((DNS, 53)).unwrap();
    // Where nobody listens yet, either is an error.
    socket.send(&question).is_ok() && socket.recv(&mut [0; 512]).is_ok()
}

/// A set of pods, and what outlives them.
struct Set {
    manifest: Cluster,
    pods: BTreeMap<usize, Node>,
    volumes: BTreeMap<usize, Arc<TempDir>>,
    names: Names,
    /// The part of an address that the next pod gets.
    next: u8,
    secrets: TempDir,
    lan: Lan,
    site: Site,
}

impl Set {
    fn new(site: Site, manifest: Cluster) -> Self {
        let (lan, secrets) = (site.lan().unwrap(), TempDir::new().unwrap());
        std::fs::write(secrets.path().join("token"), "a-token-of-20-chars.\n").unwrap();
        let names = Names::start(&site, &lan);
        let (pods, volumes) = (BTreeMap::new(), BTreeMap::new());
        Self { manifest, pods, volumes, names, next: 0, secrets, lan, site }
    }

    fn name(number: usize) -> String {
        format!("ocm-{number}")
    }

    /// The environment of a pod's container, but for its volume.
    fn environment(&self, number: usize, address: &str) -> BTreeMap<String, String> {
        let pod = BTreeMap::from([
            ("metadata.name", Self::name(number)),
            ("metadata.namespace", NAMESPACE.to_owned()),
            ("status.podIP", address.to_owned()),
        ]);
        let mut environment = self.manifest.environment(&pod);
        environment.remove("OCM_DATA_DIR");
        let token = environment.get_mut("OCM_API_TOKEN_FILE").unwrap();
        let file = token.strip_prefix("/run/secrets/ocm/").unwrap();
        *token = self.secrets.path().join(file).to_str().unwrap().to_owned();
        environment
    }

    /// Starts pods, all at once, each with an address that none had before.
    fn start(&mut self, numbers: &[usize]) {
        let service = text(&self.manifest.the("Service")["metadata"]["name"]).to_owned();
        let mut places = Vec::new();
        for &number in numbers {
            self.next += 1;
            let address = format!("10.42.1.{}", self.next);
            let host = host(&self.site, "pod", &self.lan, &[&format!("{address}/16")]);
            let domain = format!("{NAMESPACE}.svc.cluster.local");
            let resolver = format!(
                "nameserver {DNS}\nsearch {domain} svc.cluster.local cluster.local\noptions ndots:5\n"
            );
            host.lock().unwrap().write_etc("resolv.conf", &resolver).unwrap();
            let name = format!("{}.{service}.{domain}", Self::name(number));
            self.names.tell(&name, Some(&address));
            let volume =
                self.volumes.entry(number).or_insert_with(|| Arc::new(TempDir::new().unwrap()));
            places.push((number, host, volume.clone(), self.environment(number, &address)));
        }
        let started: Vec<(usize, Node)> = std::thread::scope(|scope| {
            let starting: Vec<_> = places
                .iter()
                .map(|(number, host, volume, environment)| {
                    scope.spawn(move || {
                        let settings: Vec<(&str, &str)> = environment
                            .iter()
                            .map(|(name, value)| (name.as_str(), value.as_str()))
                            .collect();
                        (*number, Node::start_in(host, &settings, volume.clone()))
                    })
                })
                .collect();
            starting.into_iter().map(|starting| starting.join().unwrap()).collect()
        });
        self.pods.extend(started);
    }

    /// Ends pods as a cluster does, all at once. Their volumes stay.
    fn stop(&mut self, numbers: &[usize]) {
        for number in numbers {
            self.pods[number].signal(Signal::TERM);
        }
        let service = text(&self.manifest.the("Service")["metadata"]["name"]).to_owned();
        for number in numbers {
            let mut node = self.pods.remove(number).unwrap();
            assert!(node.until_ended().success(), "it does not end in good order");
            let name = Self::name(*number);
            self.names.tell(&format!("{name}.{service}.{NAMESPACE}.svc.cluster.local"), None);
        }
    }

    fn nodes(&self) -> Vec<&Node> {
        self.pods.values().collect()
    }

    /// Whether a probe of a pod passes.
    fn passes(&self, probe: &str, number: usize) -> bool {
        let (probe, node) = (&self.manifest.container()[probe], &self.pods[&number]);
        let command = probe["exec"]["command"].as_array().unwrap();
        let began = Instant::now();
        let mut asking = node.host.lock().unwrap().command(env!("CARGO_BIN_EXE_ocm"));
        let answer = asking
            .args(command[1..].iter().map(text))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment(number, ""))
            .env("OCM_DATA_DIR", node.dir())
            .env("OCM_API_HOSTS", "localhost")
            .output()
            .unwrap();
        let within = Duration::from_secs(probe["timeoutSeconds"].as_u64().unwrap());
        answer.status.success() && began.elapsed() < within
    }

    /// Asserts which pods are counted ready.
    fn assert_ready(&self, numbers: &[usize]) {
        let ready: Vec<usize> = self
            .pods
            .keys()
            .copied()
            .filter(|&number| self.passes("readinessProbe", number))
            .collect();
        assert_eq!(ready, numbers);
    }
}

/// Writes a memory.
fn write(node: &Node, space: &str) {
    node.post("/v1/memories", &json!({"space": space, "content": {"title": "Written here"}}));
}

fn join(node: &Node, invitation: &Value) {
    node.post("/v1/spaces/join", &json!({"invitation": invitation["invitation"]}));
}

/// Waits until each of them holds so many memories, and has found that the first three do, by whose
/// names all are found: within a minute.
fn until_equal(nodes: &[&Node], space: &str, memories: u64) {
    let began = Instant::now();
    for node in nodes {
        node.until("holds the same as the others", |node| {
            let (_, compared) = node.ask("GET", &format!("/v1/spaces/{space}/parity"), None)?;
            let is_equal = |other: &&Node| {
                compared["items"].as_array().unwrap().iter().any(|peer| {
                    peer["peer_id"] == other.peer
                        && peer["connected"] == true
                        && peer["state"] == "equal"
                        && peer["ours"]["content"] == memories
                        && peer["theirs"]["content"] == memories
                })
            };
            let mut others = nodes.iter().take(3).filter(|other| other.peer != node.peer);
            others.all(is_equal).then_some(())
        });
    }
    let took = began.elapsed();
    assert!(took < MINUTE, "they hold the same after {took:?}");
    eprintln!("{} nodes hold the same {memories} memories after {took:?}", nodes.len());
}

#[test]
fn a_cluster_holds_the_same_whatever_becomes_of_its_pods() {
    let Some(site) = site("the rehearsal of a cluster") else { return };
    let Some(manifest) = Cluster::render("production") else { return };
    let mut set = Set::new(site, manifest);

    // Three start at once; each finds its own name among those it is given.
    set.start(&[0, 1, 2]);
    until_joined(&set.nodes());
    let body = json!({"name": "table", "write": "open", "read": "open"});
    let space = text(&set.pods[&0].post("/v1/spaces", &body)["id"]).to_owned();
    let invitation = set.pods[&0].get(&format!("/v1/spaces/{space}/invitation"));
    // It names what outlives the pod's address.
    let lasting = format!("/dns/ocm-0.ocm-headless/tcp/8080/p2p/{}", set.pods[&0].peer);
    assert_eq!(invitation["addresses"], json!([lasting]));
    write(&set.pods[&0], &space);
    join(&set.pods[&1], &invitation);
    join(&set.pods[&2], &invitation);
    until_equal(&set.nodes(), &space, 1);
    set.assert_ready(&[0, 1, 2]);

    // All come back elsewhere, and each writes before it has found the others.
    let known: Vec<String> = set.nodes().iter().map(|node| node.peer.clone()).collect();
    set.stop(&[0, 1, 2]);
    set.start(&[0, 1, 2]);
    let came_back: Vec<String> = set.nodes().iter().map(|node| node.peer.clone()).collect();
    assert_eq!(came_back, known, "a volume keeps who a node is");
    set.nodes().iter().for_each(|node| write(node, &space));
    until_equal(&set.nodes(), &space, 4);
    until_joined(&set.nodes());
    set.assert_ready(&[0, 1, 2]);

    // Two more, and fewer again: the names of the first three lead the newcomers to everyone.
    set.start(&[3, 4]);
    join(&set.pods[&3], &invitation);
    join(&set.pods[&4], &invitation);
    until_equal(&set.nodes(), &space, 4);
    write(&set.pods[&4], &space);
    until_equal(&set.nodes(), &space, 5);
    set.assert_ready(&[0, 1, 2, 3, 4]);
    set.stop(&[3, 4]);
    write(&set.pods[&1], &space);
    until_equal(&set.nodes(), &space, 6);
    until_joined(&set.nodes());
    set.assert_ready(&[0, 1, 2]);

    // A volume is lost: who comes back is somebody else, and gets everything again.
    set.stop(&[1]);
    set.volumes.remove(&1);
    set.start(&[1]);
    assert_ne!(set.pods[&1].peer, known[1]);
    join(&set.pods[&1], &invitation);
    until_equal(&set.nodes(), &space, 6);
    set.assert_ready(&[0, 1, 2]);

    // One stands still: it is not counted ready, and the others go on without it.
    set.pods[&2].signal(Signal::STOP);
    set.assert_ready(&[0, 1]);
    assert!(!set.passes("livenessProbe", 2), "nobody would start it again");
    write(&set.pods[&0], &space);
    until_equal(&[&set.pods[&0], &set.pods[&1]], &space, 7);
    // It goes on where it stood.
    set.pods[&2].signal(Signal::CONT);
    until_equal(&set.nodes(), &space, 7);
    set.assert_ready(&[0, 1, 2]);
    // Or it is killed and started again, at the address that it had.
    set.pods[&2].signal(Signal::STOP);
    set.pods.get_mut(&2).unwrap().kill();
    set.assert_ready(&[0, 1]);
    write(&set.pods[&1], &space);
    set.pods.get_mut(&2).unwrap().spawn();
    until_equal(&set.nodes(), &space, 8);
    set.assert_ready(&[0, 1, 2]);
}
