//! A router that maps ports when it is asked to (`miniupnpd`), and nodes behind it.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ocm::devnet::netns::{Lan, Nat, Site};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::nat::{ALONE, until_connected};
use crate::node::{Node, SharedHost, exchange, host, site};

const UPNP: [(&str, &str); 3] = [ALONE[0], ALONE[1], ("OCM_ENABLE_UPNP", "true")];

/// The chains that the router's daemon writes mappings into.
const CHAINS: &str = "table inet filter {
    chain miniupnpd {
    }
    chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd
    }
    chain prerouting_miniupnpd {
    }
    chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd
    }
    chain postrouting_miniupnpd {
    }
    chain postrouting { type nat hook postrouting priority 100; policy accept; jump postrouting_miniupnpd
    }
}
";

/// A router whose daemon maps ports; what is behind it is `10.9.0.0/24`.
pub(crate) struct Router {
    host: SharedHost,
    inside: Lan,
    dir: TempDir,
    daemon: Option<Child>,
}

fn done(mut command: Command, input: &str) -> String {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Router {
    /// A router with this outer address.
    pub(crate) fn new(site: &Site, wan: &Lan, outer: &str) -> Self {
        let inside = site.lan().unwrap();
        let host = host(site, "router", wan, &[&format!("{outer}/24")]);
        {
            let mut host = host.lock().unwrap();
            host.plug("eth1", &inside, &["10.9.0.1/24"]).unwrap();
            host.nat("eth0", Nat::Cone).unwrap();
        }
        let mut router = Self { host, inside, dir: TempDir::new().unwrap(), daemon: None };
        // As home routers do, it lets in what it maps.
        let mapped = ["-m", "conntrack", "--ctstate", "DNAT", "-j", "ACCEPT"];
        let mut command = router.command("iptables");
        command.args(["-w", "-I", "FORWARD", "-i", "eth0"]).args(mapped);
        done(command, "");
        router.start();
        router
    }

    fn command(&self, program: &str) -> Command {
        self.host.lock().unwrap().command(program)
    }

    fn nft(&self, input: &str) {
        let mut command = self.command("nft");
        command.args(["-f", "-"]);
        done(command, input);
    }

    /// Starts its daemon, which knows of no mapping.
    fn start(&mut self) {
        self.nft(CHAINS);
        let path = self.dir.path().join("miniupnpd.conf");
        let text = "ext_ifname=eth0\nlistening_ip=eth1\nhttp_port=0\nsecure_mode=yes\n\
                    uuid=6b1e4c0e-0000-4000-8000-000000000001\n\
                    allow 1024-65535 10.9.0.0/24 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n";
        std::fs::write(&path, text).unwrap();
        let mut command = self.command("miniupnpd");
        command.args(["-d", "-f"]).arg(&path).arg("-P").arg(self.dir.path().join("pid"));
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemon = Some(quiet.spawn().expect("miniupnpd and nftables are to be installed"));
    }

    /// Ends its daemon, and all that it mapped.
    fn stop(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        self.nft("delete table inet filter\n");
    }

    /// How many ports it maps.
    fn mapped(&self) -> usize {
        let mut command = self.command("nft");
        command.args(["list", "chain", "inet", "filter", "prerouting_miniupnpd"]);
        done(command, "").matches("dnat").count()
    }

    /// A host behind it.
    pub(crate) fn host(&self, site: &Site, number: u8) -> SharedHost {
        let inside = host(site, "home", &self.inside, &[&format!("10.9.0.{number}/24")]);
        inside.lock().unwrap().route("default", [10, 9, 0, 1].into()).unwrap();
        inside
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.stop();
        }
    }
}

/// The TCP address outside that a node says leads to it, once it does.
fn mapped(node: &Node) -> String {
    node.until("is mapped", |node| {
        let (_, status) = node.ask("GET", "/status", None)?;
        let listen = status["listen"].as_array()?.clone();
        let mut listen = listen.iter().filter_map(Value::as_str);
        let mapped = |a: &&str| a.starts_with("/ip4/11.0.0.11/tcp/");
        listen.find(mapped).map(str::to_owned)
    })
}

/// Whether a TCP connection from a host is taken.
fn is_let_in(from: &SharedHost, address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    let connect = move || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
    from.lock().unwrap().within(connect).unwrap()
}

#[test]
fn nodes_behind_a_router_that_maps_ports_are_reached_from_outside() {
    let Some(site) = site("ports mapped by UPnP") else { return };
    let wan = site.lan().unwrap();
    let mut router = Router::new(&site, &wan, "11.0.0.11");
    let outside = host(&site, "far", &wan, &["11.0.0.1/24"]);
    let far = Node::start(&outside, &ALONE);

    let closed = Node::start(&router.host(&site, 4), &ALONE);
    let (state, said) = closed.doctor()["upnp"].clone();
    assert_eq!((state.as_str(), said.as_str()), ("ok", "off, switched off"));
    assert!(!is_let_in(&outside, "11.0.0.11:8080"));
    assert_eq!(router.mapped(), 0);

    let mut home = Node::start(&router.host(&site, 2), &UPNP);
    assert_eq!(mapped(&home), "/ip4/11.0.0.11/tcp/8080");
    let (state, said) = home.doctor()["upnp"].clone();
    assert_eq!(state, "ok", "{said}");
    assert!(said.contains("11.0.0.11:8080 (tcp) leads to 10.9.0.2:8080"), "{said}");
    let space = home.get("/status")["default_space"].as_str().unwrap().to_owned();
    let invitation = home.get(&format!("/v1/spaces/{space}/invitation"));
    assert!(invitation.to_string().contains("/ip4/11.0.0.11/tcp/8080/p2p/"), "{invitation}");
    far.post("/v1/peers/connect", &json!({"address": mapped(&home)}));
    until_connected(&far, &home, "direct");
    exchange(&[&far, &home]);

    // A second one at the same home has another port outside.
    let other = Node::start(&router.host(&site, 3), &UPNP);
    let address = mapped(&other);
    assert_ne!(address, mapped(&home));
    far.post("/v1/peers/connect", &json!({ "address": address }));
    until_connected(&far, &other, "direct");

    // The router forgets everything.
    router.stop();
    assert!(!is_let_in(&outside, "11.0.0.11:8080"));
    router.start();
    home.until("is mapped again", |_| is_let_in(&outside, "11.0.0.11:8080").then_some(()));

    // Who stops leaves no door open.
    other.until("is mapped again", |_| (router.mapped() == 4).then_some(()));
    home.stop();
    assert_eq!(router.mapped(), 2);
}

#[test]
fn a_router_that_is_itself_behind_another_one_is_named() {
    let Some(site) = site("UPnP behind two routers") else { return };
    let wan = site.lan().unwrap();
    let router = Router::new(&site, &wan, "192.168.7.2");
    let home = Node::start(&router.host(&site, 2), &UPNP);
    home.until("says why", |home| {
        let (state, said) = home.doctor()["upnp"].clone();
        (state == "fault" && said.contains("behind another one")).then_some(())
    });
    assert_eq!(router.mapped(), 0);
    let listen = home.get("/status")["listen"].to_string();
    assert!(!listen.contains("192.168.7.2"), "{listen}");
}

#[test]
fn a_network_without_such_a_router_is_named() {
    let Some(site) = site("UPnP without a router that maps ports") else { return };
    let lan = site.lan().unwrap();
    let home = Node::start(&host(&site, "home", &lan, &["10.9.0.2/24"]), &UPNP);
    home.until("says why", |home| {
        let (state, said) = home.doctor()["upnp"].clone();
        (state == "fault" && said.contains("no router on this network answers")).then_some(())
    });
}
