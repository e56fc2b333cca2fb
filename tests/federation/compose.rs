//! The nodes of `devnet/compose.yml`, as processes: each with the environment that the image and the
//! file give it, on the ports that they name. Where a container has an address of its own, a process
//! has one of loopback.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{image_environment, text};
use crate::node::PATIENCE;
use crate::process::{Client, Process};

/// A service of the file, and where it lives here.
struct Service {
    name: String,
    said: Value,
    /// Of loopback, and no other process's.
    address: String,
    /// What its volume holds.
    volume: TempDir,
}

impl Service {
    /// Where a secret's file is shown to the container.
    fn secrets(&self, from: &Value, dir: &Path) -> BTreeMap<String, PathBuf> {
        let secrets = self.said["secrets"].as_array().unwrap().iter().map(|secret| {
            let file = text(&from[text(&secret["source"])]["file"]);
            let file = file.strip_prefix("secrets/").unwrap();
            (format!("/run/secrets/{}", text(&secret["target"])), dir.join(file))
        });
        secrets.collect()
    }

    /// Its environment, with what is its container's own in the place that it has here.
    fn environment(
        &self,
        addresses: &BTreeMap<String, String>,
        secrets: &BTreeMap<String, PathBuf>,
    ) -> BTreeMap<String, String> {
        let mut environment = image_environment();
        for (name, value) in self.said["environment"].as_object().unwrap() {
            environment.insert(name.clone(), text(value).to_owned());
        }
        let volumes = self.said["volumes"].as_array().unwrap();
        assert_eq!(volumes, &[json!(format!("{}:/var/lib/ocm", self.name))]);
        for value in environment.values_mut() {
            if let Some(file) = secrets.get(value) {
                *value = file.to_str().unwrap().to_owned();
            }
            if let Some(below) = value.strip_prefix("/var/lib/ocm") {
                *value = format!("{}{below}", self.volume.path().to_str().unwrap());
            }
            *value = value.replace("0.0.0.0:", &format!("{}:", self.address));
            for (name, address) in addresses {
                *value = value.replace(&format!("{name}:"), &format!("{address}:"));
                *value = value.replace(&format!("/dns/{name}/"), &format!("/ip4/{address}/"));
            }
        }
        environment.insert("OCM_BIND_ADDRESS".to_owned(), self.address.clone());
        environment
    }
}

/// Waits for what must come to hold.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn post(client: &Client, path: &str, body: &Value) -> Value {
    let (status, answer) = client.ask("POST", path, Some(body)).unwrap();
    assert!((200..300).contains(&status), "{path}: {answer}");
    answer
}

/// Addresses of loopback that no other process of this machine is likely to have taken.
pub(crate) fn address(number: usize) -> String {
    let own = std::process::id() % 65_000;
    format!("127.{}.{}.{}", 64 + number, own / 250, 1 + own % 250)
}

#[test]
fn the_nodes_of_the_compose_file_find_each_other_and_reach_parity() {
    let file = include_str!("../../devnet/compose.yml");
    let file: Value = serde_saphyr::from_str(file).unwrap();
    let services: Vec<Service> = file["services"]
        .as_object()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(number, (name, said))| Service {
            name: name.clone(),
            said: said.clone(),
            address: address(number),
            volume: TempDir::new().unwrap(),
        })
        .collect();
    assert_eq!(services.len(), 3);
    let dir = TempDir::new().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("devnet/secrets.sh");
    assert!(Command::new(script).arg(dir.path()).status().unwrap().success());

    let addresses =
        services.iter().map(|service| (service.name.clone(), service.address.clone())).collect();
    let nodes: Vec<(Process, Client)> = services
        .iter()
        .map(|service| {
            let secrets = service.secrets(&file["secrets"], dir.path());
            let environment = service.environment(&addresses, &secrets);
            let named = environment.iter().map(|(name, value)| (name.as_str(), value.clone()));
            let mut process = Process::spawn_only(&named.collect());
            let (client, _) = process.until_ready(service.volume.path());
            let token = std::fs::read_to_string(&secrets["/run/secrets/token"]).unwrap();
            let client = client.with_token(token.trim());
            let api = text(&service.said["ports"][0]).rsplit_once(':').unwrap().1;
            assert_eq!(client.api(), format!("http://{}:{api}", service.address));
            assert_eq!(client.get("/status")["handle"], service.name);
            let federation = json!(format!("/ip4/{}/tcp/8080", service.address));
            until("it does not listen where it should", || {
                client.get("/status")["listen"].as_array().unwrap().contains(&federation)
            });
            (process, client)
        })
        .collect();
    let clients: Vec<&Client> = nodes.iter().map(|(_, client)| client).collect();

    // Their own name is among those that each is given.
    for client in &clients {
        until("the others are not found", || {
            client.get("/peers")["items"].as_array().unwrap().len() == 2
        });
    }
    let space = post(clients[0], "/v1/spaces", &json!({"name": "village", "read": "open"}));
    let space = text(&space["id"]);
    post(clients[0], "/v1/memories", &json!({"space": space, "content": {"title": "The bridge"}}));
    let invitation = clients[0].get(&format!("/v1/spaces/{space}/invitation"));
    let peer = clients[0].get("/status")["peer_id"].clone();
    let named = format!("/ip4/{}/tcp/8080/p2p/{}", services[0].address, text(&peer));
    assert_eq!(invitation["addresses"], json!([named]), "what stands for the service's name");
    for client in &clients[1..] {
        let invitation = json!({"invitation": invitation["invitation"]});
        post(client, "/v1/spaces/join", &invitation);
    }
    let parity = format!("/v1/spaces/{space}/parity");
    for client in &clients {
        until("they do not reach parity", || {
            let compared = client.get(&parity);
            let compared = compared["items"].as_array().unwrap();
            let is_equal =
                |peer: &&Value| peer["state"] == "equal" && peer["theirs"]["content"] == 1;
            compared.iter().filter(is_equal).count() == 2
        });
    }
}
