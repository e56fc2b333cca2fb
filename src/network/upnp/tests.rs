//! Against a double that answers as routers do; a real one is asked in `tests/netns/upnp.rs`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

fn inner(port: u16) -> Inner {
    (Transport::Tcp, SocketAddrV4::new(OWN, port))
}

fn mapped(inner: Inner, outer: &str, confirmed: Instant) -> BTreeMap<Inner, Mapping> {
    BTreeMap::from([(inner, Mapping { outer: outer.parse().unwrap(), confirmed })])
}

/// Answers each request by a script, which is told the request.
fn double(script: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Gateway {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let control = format!("http://{}/ctl", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = request(&mut stream);
            // A client that has read enough goes.
            let _ = stream.write_all(&script(&request));
        }
    });
    Gateway { own: OWN, control, service: search::SERVICES[1] }
}

fn request(stream: &mut TcpStream) -> String {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"</s:Envelope>\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

fn http(status: &str, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}", body.len());
    format!("{head}\r\n\r\n{body}").into_bytes()
}

fn refusal(code: u32) -> Vec<u8> {
    let body =
        format!("<e><errorCode>{code}</errorCode><errorDescription>No</errorDescription></e>");
    http("500 Internal Server Error", &body)
}

fn value(request: &str, name: &str) -> String {
    let (_, rest) = request.split_once(&format!("<{name}>")).unwrap();
    rest.split_once("</").unwrap().0.to_owned()
}

#[tokio::test]
async fn a_port_that_another_host_has_is_left_to_it() {
    let gateway = double(|request| match value(request, "NewExternalPort").as_str() {
        "8080" => refusal(CONFLICT),
        _ => http("200 OK", "<r/>"),
    });
    let port = map(&gateway, Transport::Tcp, 8080, 8080).await.unwrap();
    assert!((49_152..=65_535).contains(&port), "{port}");
    let never = double(|_| refusal(CONFLICT));
    let error = map(&never, Transport::Tcp, 8080, 8080).await.unwrap_err();
    assert_eq!(error.to_string(), "the router refused: No (UPnP error 718)");
}

#[tokio::test]
async fn a_router_without_leases_maps_for_ever() {
    let gateway = double(|request| match value(request, "NewLeaseDuration").as_str() {
        "0" => http("200 OK", "<r/>"),
        _ => refusal(PERMANENT_ONLY),
    });
    assert_eq!(map(&gateway, Transport::Quic, 8080, 9000).await.unwrap(), 9000);
}

#[tokio::test]
async fn what_is_asked_names_this_host_alone() {
    let gateway = double(|request| {
        let of = |name| value(request, name);
        let fits = of("NewInternalClient") == "10.1.0.2"
            && of("NewInternalPort") == "8080"
            && of("NewProtocol") == "UDP"
            && request.contains("WANIPConnection:1#AddPortMapping");
        if fits { http("200 OK", "<r/>") } else { refusal(402) }
    });
    assert_eq!(map(&gateway, Transport::Quic, 8080, 9000).await.unwrap(), 9000);
}

#[tokio::test]
async fn an_answer_without_end_is_read_to_the_limit() {
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    let gateway = double(move |_| [head.clone(), vec![b' '; 1 << 20]].concat());
    let error = gateway.external().await.unwrap_err();
    assert!(matches!(&error, GatewayError::Silent(_)), "{error:?}");
}

#[test]
fn a_mapping_that_is_not_renewed_holds_as_long_as_its_lease() {
    let (now, listened) = (Instant::now(), BTreeSet::from([inner(8080)]));
    let failed = || Round { cause: Some("no answer".to_owned()), ..Round::default() };
    let mut mappings = Mappings::default();
    assert!(matches!(mappings.health(&listened).0, Health::Failing(_)));
    let found = Round { mapped: mapped(inner(8080), "11.0.0.1:8080", now), ..Round::default() };
    mappings.take_up(found, &listened, now);
    assert_eq!(mappings.health(&listened).0, Health::Working);
    assert_eq!(mappings.addresses(), BTreeSet::from(["/ip4/11.0.0.1/tcp/8080".parse().unwrap()]));
    mappings.take_up(failed(), &listened, now + LEASE / 2);
    assert!(matches!(mappings.health(&listened).0, Health::Troubled(why) if why == "no answer"));
    assert_eq!(mappings.addresses().len(), 1);
    mappings.take_up(failed(), &listened, now + LEASE);
    assert!(mappings.addresses().is_empty());
    assert!(matches!(mappings.health(&listened).0, Health::Failing(why) if why == "no answer"));
}

#[test]
fn a_mapping_to_what_is_listened_on_no_more_is_dropped() {
    let (now, mut mappings) = (Instant::now(), Mappings::default());
    mappings.mapped = mapped(inner(8080), "11.0.0.1:8080", now);
    let failed = Round { cause: Some("no answer".to_owned()), ..Round::default() };
    mappings.take_up(failed, &BTreeSet::from([inner(9000)]), now);
    assert!(mappings.addresses().is_empty());
    assert_eq!(mappings.health(&BTreeSet::new()).0, Health::Off);
}

/// A router that maps a port for whoever asks first, and ends a mapping for anyone: its mappings, from
/// the outer port to the host and its port.
fn router() -> (Gateway, Arc<Mutex<BTreeMap<String, String>>>) {
    let mapped = Arc::new(Mutex::new(BTreeMap::new()));
    let table = Arc::clone(&mapped);
    let gateway = double(move |request| {
        if request.contains("#GetExternalIPAddress") {
            let address = "<NewExternalIPAddress>11.0.0.1</NewExternalIPAddress>";
            return http("200 OK", &format!("<r>{address}</r>"));
        }
        let (mut table, outer) = (table.lock().unwrap(), value(request, "NewExternalPort"));
        if request.contains("#DeletePortMapping") {
            return table.remove(&outer).map_or_else(|| refusal(714), |_| http("200 OK", "<r/>"));
        }
        let inner = ["NewInternalClient", "NewInternalPort"].map(|name| value(request, name));
        let inner = inner.join(":");
        if *table.entry(outer).or_insert_with(|| inner.clone()) == inner {
            http("200 OK", "<r/>")
        } else {
            refusal(CONFLICT)
        }
    });
    (gateway, mapped)
}

fn outer(round: &Round) -> Vec<(Inner, String)> {
    round.mapped.iter().map(|(inner, mapping)| (*inner, mapping.outer.to_string())).collect()
}

#[tokio::test]
async fn a_router_that_is_held_is_asked_again_from_the_same_address() {
    let (gateway, mapped) = router();
    let other = (Transport::Tcp, SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 3), 8080));
    let listened = BTreeSet::from([inner(8080), other]);
    // Nobody answers a search here: this host has neither address.
    let unknown = run(listened.clone(), Held::default()).await;
    assert!(unknown.cause.is_some() && unknown.gateway.is_none());
    let held = || Held { gateway: Some(gateway.clone()), ports: [(inner(8080), 9000)].into() };
    let round = run(listened, held()).await;
    assert_eq!(round.cause, None);
    assert_eq!(round.gateway.as_ref(), Some(&gateway));
    assert_eq!(outer(&round), [(inner(8080), "11.0.0.1:9000".to_owned())]);
    assert_eq!(*mapped.lock().unwrap(), [("9000".to_owned(), "10.1.0.2:8080".to_owned())].into());
    let gone = run(BTreeSet::from([other]), held()).await;
    assert!(gone.cause.is_some(), "where it is held from is listened on no more");
}

#[tokio::test]
async fn a_host_that_is_at_another_address_takes_its_outer_port_along() {
    let (gateway, mapped) = router();
    let held = Held { gateway: Some(gateway.clone()), ports: [(inner(8080), 8080)].into() };
    mapped.lock().unwrap().insert("8080".to_owned(), "10.1.0.2:8080".to_owned());
    let own = Ipv4Addr::new(10, 1, 0, 3);
    let other = (Transport::Tcp, SocketAddrV4::new(own, 8080));
    let (now, listened) = (Instant::now(), BTreeSet::from([inner(8080), other]));
    let before = self::mapped(inner(8080), "11.0.0.1:8080", now);
    let mut mappings = Mappings { mapped: before, ..Mappings::default() };
    let (mut round, public) = (Round::default(), Ipv4Addr::new(11, 0, 0, 1));
    map_at(&mut round, Gateway { own, ..gateway }, public, listened.clone(), held).await;
    assert_eq!(outer(&round), [(other, "11.0.0.1:8080".to_owned())]);
    assert_eq!(*mapped.lock().unwrap(), [("8080".to_owned(), "10.1.0.3:8080".to_owned())].into());
    // Also where not all is mapped.
    round.cause = Some("QUIC is not mapped".to_owned());
    mappings.take_up(round, &listened, now);
    assert_eq!(
        mappings.mapped.keys().collect::<Vec<_>>(),
        [&other],
        "what was ended leads nowhere"
    );
}

#[test]
fn another_outer_port_is_a_dynamic_one() {
    assert_eq!((other_port(0), other_port(u64::MAX)), (49_152, 65_535));
}
