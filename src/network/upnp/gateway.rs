//! A router on the link that maps ports (UPnP: the service `WANIPConnection` of an internet gateway
//! device): finding it, and asking it.
//!
//! Whoever is on the link can answer the search. So an answer counts only for the host that it came
//! from, nothing is fetched from elsewhere, no redirect is followed, and what is read ends at
//! [`ANSWER_BYTES`] and [`ANSWER_TIME`]; the libraries at hand have no such limits.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use roxmltree::{Document, Node, ParsingOptions};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use ureq::http::Uri;

use crate::network::address::Transport;

/// Where gateways listen for the search.
const SEARCHED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);

/// What is searched for. Devices of the second version answer to the first one, too.
const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\
    ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\n\r\n";

/// How long an answer to the search may take: the two seconds that [`SEARCH`] gives, and one on
/// the way. It is asked twice, for datagrams are lost.
const SEARCH_TIME: Duration = Duration::from_secs(3);

/// Answers to one search that are looked at; a link has one gateway, seldom two.
const ANSWERS: usize = 8;

/// Bytes of an answer to the search: those of one datagram.
const DATAGRAM_BYTES: usize = 1500;

/// Bytes of a description or an answer that are read; those of gateways have a few thousand.
const ANSWER_BYTES: u64 = 64 << 10;

/// XML nodes of a description or an answer, of some hundred in practice.
const ANSWER_NODES: u32 = 4096;

/// How long one request may take in all.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// Characters of what a gateway says that are shown.
const SAID: usize = 80;

/// The services that map ports.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// A gateway, and this host's address on its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) own: Ipv4Addr,
    /// Where it is asked, a URL.
    control: String,
    /// The service that is asked there.
    service: &'static str,
}

/// Why a gateway is not found, or does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    /// Nobody answered.
    #[error("no router on this network answers to UPnP")]
    None,
    /// What answered is no gateway that can be asked.
    #[error("what answers to UPnP at {0} is no router that maps ports: {1}")]
    Unfit(IpAddr, String),
    /// The search could not be sent.
    #[error("the search for a router cannot be sent: {0}")]
    Search(#[from] io::Error),
    /// A request came to nothing.
    #[error("the router did not answer: {0}")]
    Silent(String),
    /// An answer that says nothing.
    #[error("the router's answer is not understood: {0}")]
    Form(String),
    /// It refused: the code of UPnP, and its words.
    #[error("the router refused: {1} (UPnP error {0})")]
    Refused(u32, String),
}

/// Another host has the port.
pub(super) const CONFLICT: u32 = 718;
/// Only mappings that last for ever are made.
pub(super) const PERMANENT_ONLY: u32 = 725;

/// Searches on the networks that these addresses of this host are on; the first that answers and can
/// be asked is taken.
pub(super) async fn search(own: &[Ipv4Addr]) -> Result<Gateway, GatewayError> {
    let searches = own.iter().map(|own| Box::pin(search_from(*own)));
    let (mut unfit, mut searches) = (None, searches.collect::<Vec<_>>());
    while !searches.is_empty() {
        let (found, _, rest) = futures::future::select_all(searches).await;
        match found {
            Ok(gateway) => return Ok(gateway),
            Err(GatewayError::None) => {}
            Err(other) => unfit = Some(other),
        }
        searches = rest;
    }
    Err(unfit.unwrap_or(GatewayError::None))
}

async fn search_from(own: Ipv4Addr) -> Result<Gateway, GatewayError> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_multicast_if_v4(&own)?;
    socket.set_multicast_ttl_v4(2)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(own, 0).into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    for _ in 0..2 {
        socket.send_to(SEARCH.as_bytes(), SEARCHED).await?;
    }
    let (end, mut unfit) = (Instant::now() + SEARCH_TIME, None);
    let mut seen = Vec::new();
    let mut datagram = [0; DATAGRAM_BYTES];
    while seen.len() < ANSWERS {
        let Ok(received) = timeout_at(end, socket.recv_from(&mut datagram)).await else { break };
        // An error tells of a host that does not listen.
        let Ok((length, from)) = received else { continue };
        let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
        if seen.contains(&(from, text.clone())) {
            continue;
        }
        seen.push((from, text.clone()));
        let from = from.ip();
        let found = match location(&text, from) {
            Ok(location) => blocking(move || describe(&location, from)).await,
            Err(why) => Err(GatewayError::Unfit(from, why)),
        };
        match found {
            Ok((control, service)) => return Ok(Gateway { own, control, service }),
            Err(why) => unfit = Some(why),
        }
    }
    Err(unfit.unwrap_or(GatewayError::None))
}

/// Where an answer to the search says that the description is, if that is on the host that it came
/// from.
fn location(answer: &str, from: IpAddr) -> Result<Uri, String> {
    let value = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("location").then(|| value.trim())
    });
    let value = value.ok_or("it does not say where its description is")?;
    let uri: Uri = value.parse().map_err(|_| format!("{} is no URL", said(value)))?;
    is_at(&uri, from)
        .then_some(uri)
        .ok_or_else(|| format!("it names another host, {}", said(value)))
}

fn is_at(uri: &Uri, host: IpAddr) -> bool {
    uri.scheme_str() == Some("http")
        && uri.host().and_then(|name| name.parse::<IpAddr>().ok()) == Some(host)
}

/// The control URL and the service in the description at a place.
fn describe(location: &Uri, from: IpAddr) -> Result<(String, &'static str), GatewayError> {
    let unfit = |why: String| GatewayError::Unfit(from, why);
    let answer = agent().get(location).call().and_then(|mut answer| read(&mut answer));
    let text = answer.map_err(|e| unfit(e.to_string()))?;
    let (service, path, base) = service_of(&text).map_err(unfit)?;
    let base = base.and_then(|base| base.parse().ok()).unwrap_or_else(|| location.clone());
    let control = match path.parse::<Uri>() {
        Ok(uri) if uri.scheme().is_some() => uri,
        _ => {
            let authority = base.authority().map_or("", |authority| authority.as_str());
            let url = format!("http://{authority}/{}", path.trim_start_matches('/'));
            url.parse().map_err(|_| unfit(format!("{} is no URL", said(&path))))?
        }
    };
    if !is_at(&control, from) {
        return Err(unfit(format!("it names another host, {}", said(&control.to_string()))));
    }
    Ok((control.to_string(), service))
}

/// The service that maps ports, its control URL, and the base of that where one is given.
fn service_of(text: &str) -> Result<(&'static str, String, Option<String>), String> {
    let document = parse(text)?;
    let child = |node: Node<'_, '_>, name: &str| {
        let child = node.children().find(|child| is(child, name));
        child.and_then(|child| child.text()).map(|text| text.trim().to_owned())
    };
    let base = child(document.root_element(), "URLBase").filter(|base| !base.is_empty());
    let services = || document.descendants().filter(|node| is(node, "service"));
    for wanted in SERVICES {
        let fits = |node: &Node<'_, '_>| child(*node, "serviceType").as_deref() == Some(wanted);
        if let Some(control) = services().find(fits).and_then(|node| child(node, "controlURL")) {
            return Ok((wanted, control, base));
        }
    }
    Err("it has no service for that".to_owned())
}

/// Whether an element is called so, whatever its namespace.
fn is(node: &Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

impl Gateway {
    #[cfg(test)]
    pub(super) const fn at(own: Ipv4Addr, control: String) -> Self {
        Self { own, control, service: SERVICES[1] }
    }

    /// The address of its outer side; 0.0.0.0 where it has none.
    pub(super) async fn external(&self) -> Result<Ipv4Addr, GatewayError> {
        let said_it = self.ask("GetExternalIPAddress", &[], Some("NewExternalIPAddress")).await?;
        if said_it.is_empty() {
            return Ok(Ipv4Addr::UNSPECIFIED);
        }
        said_it.parse().map_err(|_| GatewayError::Form(said(&said_it)))
    }

    /// Maps one of its ports to one of this host, for `lease`; zero is for ever.
    pub(super) async fn map(
        &self,
        transport: Transport,
        external: u16,
        internal: u16,
        lease: Duration,
    ) -> Result<(), GatewayError> {
        let arguments = [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", external.to_string()),
            ("NewProtocol", protocol(transport).to_owned()),
            ("NewInternalPort", internal.to_string()),
            ("NewInternalClient", self.own.to_string()),
            ("NewEnabled", "1".to_owned()),
            ("NewPortMappingDescription", "OCM".to_owned()),
            ("NewLeaseDuration", lease.as_secs().to_string()),
        ];
        self.ask("AddPortMapping", &arguments, None).await.map(drop)
    }

    /// Ends a mapping.
    pub(super) async fn unmap(
        &self,
        transport: Transport,
        external: u16,
    ) -> Result<(), GatewayError> {
        let arguments = [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", external.to_string()),
            ("NewProtocol", protocol(transport).to_owned()),
        ];
        self.ask("DeletePortMapping", &arguments, None).await.map(drop)
    }

    /// One action. Returns the value wanted of its answer.
    async fn ask(
        &self,
        action: &'static str,
        arguments: &[(&str, String)],
        wanted: Option<&'static str>,
    ) -> Result<String, GatewayError> {
        let (service, control) = (self.service, self.control.clone());
        let arguments: String =
            arguments.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
        let body = format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope \
             xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{action} xmlns:u=\"{service}\">{arguments}</u:{action}></s:Body></s:Envelope>\r\n"
        );
        blocking(move || {
            let request = agent()
                .post(&control)
                .header("Content-Type", "text/xml; charset=\"utf-8\"")
                .header("SOAPAction", format!("\"{service}#{action}\""));
            let silent = |e: ureq::Error| GatewayError::Silent(e.to_string());
            let mut answer = request.send(&body).map_err(silent)?;
            let status = answer.status();
            let text = read(&mut answer).map_err(silent)?;
            answer_of(status.is_success(), &text, wanted)
                .unwrap_or_else(|why| Err(GatewayError::Form(format!("HTTP {status}, {why}"))))
        })
        .await
    }
}

/// What an answer says; the outer error is that it says nothing.
fn answer_of(
    success: bool,
    text: &str,
    wanted: Option<&str>,
) -> Result<Result<String, GatewayError>, String> {
    let document = parse(text)?;
    let value = |name: &str| {
        let node = document.descendants().find(|node| is(node, name));
        node.map(|node| node.text().unwrap_or_default().trim().to_owned())
    };
    if let Some(code) = value("errorCode").and_then(|code| code.parse().ok()) {
        let words = value("errorDescription").unwrap_or_default();
        return Ok(Err(GatewayError::Refused(code, said(&words))));
    }
    if !success {
        return Err("without a reason".to_owned());
    }
    match wanted {
        None => Ok(Ok(String::new())),
        Some(name) => value(name).map(Ok).ok_or_else(|| format!("without {name}")),
    }
}

fn parse(text: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions { nodes_limit: ANSWER_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|e| format!("no XML: {e}"))
}

fn read(answer: &mut ureq::http::Response<ureq::Body>) -> Result<String, ureq::Error> {
    answer.body_mut().with_config().limit(ANSWER_BYTES).lossy_utf8(true).read_to_string()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_TIME))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .build()
        .new_agent()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GatewayError> + Send + 'static,
) -> Result<T, GatewayError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(GatewayError::Silent(e.to_string())))
}

const fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Quic => "UDP",
    }
}

/// What a gateway says, for people: short, in one line.
fn said(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SAID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));

    #[test]
    fn an_answer_counts_for_the_host_that_it_came_from_alone() {
        let answer = |place: &str| format!("HTTP/1.1 200 OK\r\nLocation: {place}\r\nST: x\r\n\r\n");
        let good = location(&answer("http://10.1.0.1:5000/rootDesc.xml"), FROM).unwrap();
        assert_eq!((good.port_u16(), good.path()), (Some(5000), "/rootDesc.xml"));
        for place in [
            "http://127.0.0.1:7845/status",
            "http://10.1.0.2:5000/rootDesc.xml",
            "http://router.lan/rootDesc.xml",
            "https://10.1.0.1/rootDesc.xml",
            "file:///etc/passwd",
            "",
        ] {
            assert!(location(&answer(place), FROM).is_err(), "{place}");
        }
        assert!(location("HTTP/1.1 200 OK\r\n\r\n", FROM).is_err());
    }

    #[test]
    fn the_service_is_found_in_a_description() {
        let service = |kind: &str, control: &str| {
            format!(
                "<service><serviceType>urn:schemas-upnp-org:service:{kind}</serviceType>\
                 <controlURL>{control}</controlURL></service>"
            )
        };
        let of = |services: &str| {
            service_of(&format!(
                "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>\
                 <deviceList><device><serviceList>{services}</serviceList></device></deviceList>\
                 </device></root>"
            ))
        };
        let (other, ppp) = (service("L3:1", "/l3"), service("WANPPPConnection:1", "/ppp"));
        let ip = service("WANIPConnection:1", "/ip");
        assert_eq!(of(&format!("{other}{ppp}{ip}")).unwrap(), (SERVICES[1], "/ip".into(), None));
        assert_eq!(of(&format!("{other}{ppp}")).unwrap(), (SERVICES[2], "/ppp".into(), None));
        assert!(of(&other).is_err());
        assert!(service_of("no xml").is_err());
        let bomb = "<!DOCTYPE r [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><r>&b;</r>";
        assert!(service_of(bomb).is_err(), "no entities are expanded");
        let wide = format!("<r>{}</r>", "<a/>".repeat(ANSWER_NODES as usize));
        assert!(service_of(&wide).unwrap_err().contains("no XML"));
    }

    #[test]
    fn an_answer_says_a_value_or_why_not() {
        let body = |inner: &str| {
            format!(
                "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{inner}\
                 </s:Body></s:Envelope>"
            )
        };
        let wanted = Some("NewExternalIPAddress");
        let good =
            body("<u:R xmlns:u=\"x\"><NewExternalIPAddress>11.0.0.1</NewExternalIPAddress></u:R>");
        assert_eq!(answer_of(true, &good, wanted).unwrap().unwrap(), "11.0.0.1");
        assert!(answer_of(true, &body(""), wanted).is_err());
        assert_eq!(answer_of(true, &body(""), None).unwrap().unwrap(), "");
        assert!(answer_of(false, &body(""), None).is_err());
        let fault = body(
            "<s:Fault><detail><UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>718\
             </errorCode><errorDescription>ConflictInMappingEntry</errorDescription></UPnPError>\
             </detail></s:Fault>",
        );
        let refused = answer_of(false, &fault, None).unwrap().unwrap_err();
        assert!(
            matches!(&refused, GatewayError::Refused(CONFLICT, words) if words == "ConflictInMappingEntry")
        );
    }
}
