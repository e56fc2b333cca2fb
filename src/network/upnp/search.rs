//! Finding a router that maps ports (SSDP, and the description of a device).
//!
//! Whoever is on the link can answer the search. So an answer counts only for the host that it came
//! from, at a private address, and nothing is fetched from elsewhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use roxmltree::Node;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use ureq::http::Uri;

use super::gateway::{Gateway, GatewayError, agent, blocking, is, parse, read, said};

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

/// The services that map ports.
pub(super) const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

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
    if !matches!(from, IpAddr::V4(ip) if ip.is_private()) {
        return Err("it is not on a private network".to_owned());
    }
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

#[cfg(test)]
mod tests {
    use super::super::gateway::ANSWER_NODES;
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
        for host in ["127.0.0.1", "198.51.100.7", "169.254.169.254", "fd00::1"] {
            let place = format!("http://{host}/rootDesc.xml");
            assert!(location(&answer(&place), host.parse().unwrap()).is_err(), "{host}");
        }
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
}
