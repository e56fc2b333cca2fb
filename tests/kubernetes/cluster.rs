//! What an overlay of `config/kubernetes` makes, and what a cluster would make of it for a pod.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};

/// What the image sets, by its Dockerfile.
pub(crate) fn image_environment() -> BTreeMap<String, String> {
    let dockerfile = include_str!("../../Dockerfile").replace("\\\n", " ");
    let (_, image) = dockerfile.rsplit_once("\nFROM ").unwrap();
    let set = image.lines().filter_map(|line| line.strip_prefix("ENV "));
    let set = set.flat_map(str::split_whitespace).map(|set| set.split_once('=').unwrap());
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The text of a value.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// All that an overlay makes.
pub(crate) struct Cluster(pub(crate) Vec<Value>);

impl Cluster {
    /// Renders an overlay; `None` where no program is that does.
    pub(crate) fn render(overlay: &str) -> Option<Self> {
        // The first may bring the program that all then use.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn: MutexGuard<'_, ()> = ONE_AT_A_TIME.lock().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kubernetes/render.sh");
        let ran = Command::new(script).arg(overlay).stderr(Stdio::inherit()).output().unwrap();
        if ran.status.code() == Some(69) && std::env::var_os("CI").is_none() {
            // Straight to the stream: the test runner keeps to itself what `eprintln!` says.
            let told = "skipped: manifests: neither kubectl nor kustomize is here";
            let _ = writeln!(std::io::stderr(), "{told}");
            return None;
        }
        assert!(ran.status.success(), "{overlay} is not rendered");
        let made = String::from_utf8(ran.stdout).unwrap();
        Some(Self(serde_saphyr::from_multiple(&made).unwrap()))
    }

    pub(crate) fn the(&self, kind: &str) -> &Value {
        let mut of_kind = self.0.iter().filter(|made| made["kind"] == kind);
        let found = of_kind.next().unwrap_or_else(|| panic!("there is no {kind}"));
        assert!(of_kind.next().is_none(), "there is more than one {kind}");
        found
    }

    pub(crate) fn pod(&self) -> &Value {
        &self.the("StatefulSet")["spec"]["template"]["spec"]
    }

    pub(crate) fn container(&self) -> &Value {
        let containers = self.pod()["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    /// The environment of a pod's container, as Kubernetes makes it up: of the image, of the map,
    /// and its own, in which names stand for what came before.
    pub(crate) fn environment(&self, pod: &BTreeMap<&str, String>) -> BTreeMap<String, String> {
        let (map, container) = (self.the("ConfigMap"), self.container());
        let from = json!([{"configMapRef": {"name": map["metadata"]["name"]}}]);
        assert_eq!(container["envFrom"], from);
        let mut environment = image_environment();
        for (name, value) in map["data"].as_object().unwrap() {
            environment.insert(name.clone(), text(value).to_owned());
        }
        for variable in container["env"].as_array().unwrap() {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some(field) => pod[field].clone(),
                None => environment
                    .iter()
                    .fold(text(&variable["value"]).to_owned(), |value, (name, other)| {
                        value.replace(&format!("$({name})"), other)
                    }),
            };
            assert!(!value.contains("$("), "{value} names what is not there");
            environment.insert(text(&variable["name"]).to_owned(), value);
        }
        environment
    }
}
