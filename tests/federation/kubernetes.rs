//! What `config/kubernetes` makes, by both overlays: that its parts belong together and keep what a
//! cluster must keep to, and that a node starts with what they give it and answers their probes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Cluster, text};
use crate::compose::address;
use crate::process::{Client, Process};

const OVERLAYS: [&str; 2] = ["development", "production"];
/// Where a pod's own probes reach its API.
const OWN_API: &str = "127.0.0.1:7845";
const TOKEN: &str = "a-token-of-20-chars.";

/// Name, number and protocol of each port that the container has.
fn ports_of(cluster: &Cluster) -> BTreeMap<&str, (&Value, &Value)> {
    let ports = cluster.container()["ports"].as_array().unwrap().iter();
    ports.map(|port| (text(&port["name"]), (&port["containerPort"], &port["protocol"]))).collect()
}

/// The port of a policy's or a service's rule.
fn port_of(rule: &Value) -> (&Value, &Value) {
    (&rule["port"], &rule["protocol"])
}

#[test]
fn the_parts_of_each_overlay_belong_together() {
    for overlay in OVERLAYS {
        let Some(cluster) = Cluster::render(overlay) else { return };
        let (set, service) = (&cluster.the("StatefulSet")["spec"], cluster.the("Service"));
        let labels = &set["template"]["metadata"]["labels"];
        let selects = |selector: &Value| {
            let wanted = selector.as_object().unwrap();
            !wanted.is_empty() && wanted.iter().all(|(name, value)| &labels[name] == value)
        };
        let (budget, policy) = (cluster.the("PodDisruptionBudget"), cluster.the("NetworkPolicy"));
        let policy = &policy["spec"];
        for selector in [
            &set["selector"]["matchLabels"],
            &service["spec"]["selector"],
            &budget["spec"]["selector"]["matchLabels"],
            &policy["podSelector"]["matchLabels"],
            &set["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        ] {
            assert!(selects(selector), "{overlay}: {selector} does not select the pods");
        }
        assert_eq!(set["serviceName"], service["metadata"]["name"]);
        assert_eq!(service["spec"]["clusterIP"], "None");
        assert_eq!(service["spec"]["publishNotReadyAddresses"], true);

        // One set of ports: of the container, the service, the policy and the configuration.
        let ports = ports_of(&cluster);
        let numbers: Vec<_> = ports.values().copied().collect();
        let served = service["spec"]["ports"].as_array().unwrap();
        assert_eq!(served.len(), ports.len());
        for port in served {
            assert_eq!(ports[text(&port["targetPort"])], port_of(port));
        }
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        let rules = |direction: &str| policy[direction].as_array().unwrap().clone();
        for rule in rules("ingress") {
            assert!(!rule["from"].as_array().unwrap().is_empty(), "anyone may come in");
            for port in rule["ports"].as_array().unwrap() {
                assert!(numbers.contains(&port_of(port)), "{port} leads to nothing");
            }
        }
        let egress = rules("egress");
        assert!(egress.iter().all(|rule| !rule["to"].as_array().unwrap().is_empty()));
        assert!(egress.iter().any(|rule| rule["ports"][0]["port"] == 53), "no name is resolved");
        assert_eq!(egress[0]["ports"], rules("ingress")[0]["ports"]);

        // Where the others are found: the first pods, by names that outlive their addresses.
        let pod = BTreeMap::from([
            ("metadata.name", "ocm-0".to_owned()),
            ("metadata.namespace", text(&service["metadata"]["namespace"]).to_owned()),
            ("status.podIP", "10.1.2.3".to_owned()),
        ]);
        let environment = cluster.environment(&pod);
        let seeds: BTreeSet<String> =
            environment["OCM_SEED_PEERS"].split(',').map(str::to_owned).collect();
        let name = text(&cluster.the("StatefulSet")["metadata"]["name"]);
        let names = (0..set["replicas"].as_u64().unwrap()).map(|number| {
            format!("{name}-{number}.{}:{}", text(&set["serviceName"]), ports["federation"].0)
        });
        assert_eq!(seeds, names.collect());
        assert_eq!(environment["OCM_NETWORK_PORT"], ports["federation"].0.to_string());
        assert_eq!(environment["OCM_NETWORK_MDNS"], "false");
        assert_eq!(environment["OCM_IDENTITY_HANDLE"], "ocm-0");
        let (headless, port) = (text(&set["serviceName"]), ports["federation"].0);
        let named = format!("/dns/{name}-0.{headless}/tcp/{port}");
        assert_eq!(environment["OCM_NETWORK_EXTERNAL_ADDRESSES"], named);
        if let Some(listen) = environment.get("OCM_API_LISTEN") {
            assert_eq!(*listen, format!("0.0.0.0:{}", ports["api"].0));
            let hosts: Vec<&str> = environment["OCM_API_HOSTS"].split(',').collect();
            assert_eq!(hosts[..2], ["10.1.2.3", "ocm-0.ocm-headless"]);
        }
    }
}

#[test]
fn each_overlay_keeps_to_what_a_cluster_asks_for() {
    for overlay in OVERLAYS {
        let Some(cluster) = Cluster::render(overlay) else { return };
        let set = &cluster.the("StatefulSet")["spec"];
        assert_eq!(set["podManagementPolicy"], "Parallel");
        let retention = &set["persistentVolumeClaimRetentionPolicy"];
        assert_eq!(*retention, json!({"whenDeleted": "Retain", "whenScaled": "Retain"}));
        assert_eq!(cluster.the("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);

        // A user without rights, who can write nothing but the volume.
        let (pod, container) = (cluster.pod(), cluster.container());
        assert_eq!(pod["automountServiceAccountToken"], false);
        let user = &pod["securityContext"];
        assert_eq!((&user["runAsNonRoot"], &user["runAsUser"]), (&json!(true), &json!(65532)));
        assert_eq!(user["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(user["fsGroupChangePolicy"], "OnRootMismatch");
        let rights = &container["securityContext"];
        assert_eq!(rights["allowPrivilegeEscalation"], false);
        assert_eq!(rights["readOnlyRootFilesystem"], true);
        assert_eq!(rights["capabilities"], json!({"drop": ["ALL"]}));
        let dockerfile = include_str!("../../Dockerfile");
        assert!(dockerfile.contains("\nUSER 65532:65532\n"), "the image has another user");
        let resources = json!({
            "requests": {"memory": "128Mi", "cpu": "100m"},
            "limits": {"memory": "512Mi", "cpu": "500m"},
        });
        assert_eq!(container["resources"], resources);

        // None of the probes can be failed by a peer, nor by an answer that takes as long as it may.
        for (probe, ready) in
            [("startupProbe", true), ("readinessProbe", true), ("livenessProbe", false)]
        {
            let probe = &container[probe];
            let command = probe["exec"]["command"].as_array().unwrap();
            let command: Vec<&str> = command.iter().map(text).collect();
            let (timeout, rest) = command.split_last().unwrap();
            let mut wanted = vec!["/usr/local/bin/ocm", "--api", OWN_API, "health"];
            wanted.extend(ready.then_some("--ready"));
            wanted.push("--timeout");
            assert_eq!(rest, wanted);
            let within = probe["timeoutSeconds"].as_u64().unwrap();
            assert!(timeout.parse::<u64>().unwrap() < within);
        }

        // Secrets come as files that the cluster alone keeps.
        assert!(cluster.0.iter().all(|made| made["kind"] != "Secret"));
        let given = cluster.the("ConfigMap")["data"].as_object().unwrap().keys();
        let own = container["env"].as_array().unwrap().iter();
        let given: BTreeSet<&str> =
            given.map(String::as_str).chain(own.map(|variable| text(&variable["name"]))).collect();
        for key in ocm::config::KEYS.iter().filter(|key| key.secret) {
            assert!(!given.contains(key.env), "{} stands there in plain", key.env);
        }
        assert!(!given.contains("OCM_IDENTITY_SEED_FILE"), "all pods would be one node");
    }
}

/// Runs a probe as a cluster would: with its own command, until its time is over. What is a pod's
/// loopback has an address of its own here.
fn probe(
    container: &Value,
    name: &str,
    environment: &BTreeMap<String, String>,
) -> Option<ExitStatus> {
    let probe = &container[name];
    let command = probe["exec"]["command"].as_array().unwrap();
    let here = |word| if word == OWN_API { environment["OCM_API_LISTEN"].as_str() } else { word };
    let mut child = Command::new(env!("CARGO_BIN_EXE_ocm"))
        .args(command[1..].iter().map(text).map(here))
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let limit = Duration::from_secs(probe["timeoutSeconds"].as_u64().unwrap());
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if began.elapsed() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A pod of an overlay on a volume, as a process with an address of loopback.
fn start(environment: &BTreeMap<String, String>) -> (Process, Client) {
    let named = environment.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let mut process = Process::spawn_only(&named.collect());
    let (client, _) = process.until_ready(Path::new(&environment["OCM_DATA_DIR"]));
    (process, client)
}

#[test]
fn a_pod_alone_is_ready_and_the_same_when_it_comes_back_elsewhere() {
    for (number, overlay) in OVERLAYS.into_iter().enumerate() {
        let Some(cluster) = Cluster::render(overlay) else { return };
        let (volume, secrets) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let token = secrets.path().join("token");
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        let mounts = cluster.container()["volumeMounts"].as_array().unwrap();
        let mounted = |path: &str| mounts.iter().any(|mount| mount["mountPath"] == path);
        assert!(mounted("/var/lib/ocm"));
        // As a cluster gives a volume to a group.
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
        std::fs::set_permissions(volume.path(), PermissionsExt::from_mode(0o2770)).unwrap();

        let on_volume = |address: String| {
            let pod = BTreeMap::from([
                ("metadata.name", "ocm-0".to_owned()),
                ("metadata.namespace", "ocm".to_owned()),
                ("status.podIP", address.clone()),
            ]);
            let mut environment = cluster.environment(&pod);
            let data_dir = environment.get_mut("OCM_DATA_DIR").unwrap();
            let below = data_dir.strip_prefix("/var/lib/ocm/").unwrap();
            *data_dir = volume.path().join(below).to_str().unwrap().to_owned();
            if let Some(file) = environment.get_mut("OCM_API_TOKEN_FILE") {
                assert!(mounted("/run/secrets/ocm") && file == "/run/secrets/ocm/token");
                *file = token.to_str().unwrap().to_owned();
            }
            // What is every address of a pod, or its loopback, is one address here.
            environment.insert("OCM_API_LISTEN".to_owned(), format!("{address}:7845"));
            environment.insert("OCM_BIND_ADDRESS".to_owned(), address);
            environment
        };
        let probes = ["startupProbe", "readinessProbe", "livenessProbe"];
        let environment = on_volume(address(4 + number));
        let answer = |name| probe(cluster.container(), name, &environment);
        let passes = |name| answer(name).is_some_and(|status| status.success());
        assert!(!probes.into_iter().any(passes), "{overlay}: a probe passes without a node");

        let (mut process, client) = start(&environment);
        assert!(probes.into_iter().all(passes), "{overlay}: no peer is there, and a probe fails");
        assert_eq!(client.get("/ready")["isolated"], true);
        let who = client.get("/status")["peer_id"].clone();
        if overlay == "production" {
            let client = client.clone().with_token(TOKEN);
            assert_eq!(client.ask("GET", "/status", None).unwrap().0, 200);
            assert_eq!(client.get_as_host("ocm-0.ocm-headless", "/ready"), 200);
        }
        // The volume's own directory is as the cluster left it, so its files are left alone, too.
        assert_eq!(mode(volume.path()), 0o2770);
        let keys = Path::new(&environment["OCM_DATA_DIR"]).join("keys");
        for file in std::fs::read_dir(keys).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }

        let pid = Pid::from_raw(process.pid().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        assert!(!passes("readinessProbe"), "{overlay}: a frozen node is counted ready");
        kill_process(pid, Signal::CONT).unwrap();
        assert!(probes.into_iter().all(passes), "{overlay}: it goes on, and a probe fails");
        let (began, grace) = (Instant::now(), &cluster.pod()["terminationGracePeriodSeconds"]);
        kill_process(pid, Signal::TERM).unwrap();
        assert!(process.until_ended().success());
        assert!(began.elapsed() < Duration::from_secs(grace.as_u64().unwrap()));

        // The pod comes back with another address, and is who it was.
        let (_process, client) = start(&on_volume(address(6 + number)));
        assert_eq!(client.get("/status")["peer_id"], who);
    }
}
