//! What passes to and from the library, tried without a network.

use std::net::Ipv4Addr;

use libp2p::swarm::ConnectionHandlerEvent;
use libp2p::swarm::behaviour::ConnectionEstablished;
use ocm_discovery::ProviderLimits;
use ocm_record::SigningKey;

use super::*;
use crate::network::to_libp2p;

fn key(n: u8) -> LookupKey {
    LookupKey::from_bytes(&[n; 32]).unwrap()
}

fn peer(seed: u16) -> PeerId {
    let mut bytes = [1; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    let name = ocm_discovery::PeerId::new(SigningKey::from_seed(&bytes).public());
    to_libp2p(&name).unwrap()
}

fn server() -> Behaviour {
    Behaviour::new(peer(0), LookupMode::Server, vec!["100.64.0.0/16".parse().unwrap()], None)
}

fn choosy() -> Behaviour {
    Behaviour { allowed: Some(Allowed::default()), ..server() }
}

/// Has a peer connect. Returns whether it was asked something as it did.
fn connects(behaviour: &mut Behaviour, id: usize, peer: PeerId) -> bool {
    let id = ConnectionId::new_unchecked(id);
    let address: Multiaddr = "/ip4/198.51.100.1/tcp/1".parse().unwrap();
    let (role, port_use) = (Endpoint::Dialer, PortUse::New);
    let handler = behaviour
        .handle_established_outbound_connection(id, peer, &address, role, port_use)
        .unwrap();
    let endpoint =
        ConnectedPoint::Dialer { address: address.clone(), role_override: role, port_use };
    behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id: peer,
        connection_id: id,
        endpoint: &endpoint,
        failed_addresses: &[],
        other_established: 0,
    }));
    asks_at_once(handler)
}

/// Whether a handler has a question waiting.
fn asks_at_once(mut handler: Handler) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    matches!(
        handler.poll(&mut context),
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { .. })
    )
}

/// Polls to the end. Returns who was asked, and whom queries want to speak with.
fn polled(behaviour: &mut Behaviour) -> (Vec<PeerId>, Vec<PeerId>) {
    let mut context = Context::from_waker(std::task::Waker::noop());
    let (mut asked, mut wanted) = (Vec::new(), Vec::new());
    while let Poll::Ready(wish) = behaviour.poll(&mut context) {
        match wish {
            ToSwarm::NotifyHandler { peer_id, event, .. } if is_question(&event) => {
                asked.push(peer_id);
            }
            ToSwarm::GenerateEvent(Event::Wanted { peer, .. }) => wanted.push(peer),
            _ => {}
        }
    }
    (asked, wanted)
}

fn told(peer: PeerId, addresses: &[String]) -> KadPeer {
    let multiaddrs = addresses.iter().map(|text| text.parse().unwrap()).collect();
    KadPeer { node_id: peer, multiaddrs, connection_ty: kad::ConnectionType::CanConnect }
}

fn at(ip: Ipv4Addr) -> End {
    End { ip: Some(ip.into()), counted: Some(ip.into()) }
}

fn host(n: u8) -> End {
    at(Ipv4Addr::new(198, 51, 100, n))
}

fn announces(behaviour: &mut Behaviour, peer: PeerId, from: End, of: &LookupKey) {
    let addresses: Vec<String> = (1..=500).map(|n| format!("/ip4/203.0.113.7/tcp/{n}")).collect();
    let (key, provider) = (RecordKey::new(of.as_bytes()), told(peer, &addresses));
    assert!(behaviour.heard(peer, from, Said::AddProvider { key, provider }).is_none());
}

#[test]
fn a_flood_of_announcements_costs_a_few_places() {
    let mut behaviour = server();
    for _ in 0..10_000 {
        announces(&mut behaviour, peer(1), host(1), &key(7));
    }
    assert_eq!(behaviour.kept(), (1, 1));
    let others = behaviour.inner.store_mut().others(&key(7));
    assert_eq!(others[0].1.len(), ProviderLimits::default().addresses);
    for n in 2..200 {
        announces(&mut behaviour, peer(n), host(n.to_be_bytes()[1]), &key(7));
    }
    assert_eq!(behaviour.kept(), (ProviderLimits::default().per_network_and_key, 1));
    announces(&mut behaviour, peer(999), at(Ipv4Addr::new(192, 0, 2, 1)), &key(7));
    let others = behaviour.inner.store_mut().others(&key(7));
    assert!(others.iter().any(|(of, _)| *of == peer(999)), "another finds a place");
    // In another's name, and under what is no key.
    let (key, provider) = (RecordKey::new(&[8; 32]), told(peer(1), &[]));
    assert!(behaviour.heard(peer(2), host(2), Said::AddProvider { key, provider }).is_none());
    let (key, provider) = (RecordKey::new(&[8; 31]), told(peer(2), &[]));
    assert!(behaviour.heard(peer(2), host(2), Said::AddProvider { key, provider }).is_none());
    assert_eq!(behaviour.kept().1, 1);
}

#[test]
fn who_comes_through_a_relay_counts_as_the_relay() {
    let relay = peer(1);
    let comes = |behaviour: &mut Behaviour, n: u16, head: &str| {
        let (id, guest) = (ConnectionId::new_unchecked(n.into()), peer(n));
        let endpoint = ConnectedPoint::Listener {
            local_addr: format!("{head}/p2p/{relay}/p2p-circuit").parse().unwrap(),
            send_back_addr: format!("/p2p/{guest}").parse().unwrap(),
        };
        behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: guest,
            connection_id: id,
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
        let provider = told(guest, &["/ip4/203.0.113.7/tcp/1".to_owned()]);
        let key = RecordKey::new(key(7).as_bytes());
        behaviour.on_connection_handler_event(guest, id, Said::AddProvider { key, provider });
    };
    let mut behaviour = server();
    for n in 2..200 {
        comes(&mut behaviour, n, "/ip4/198.51.100.1/tcp/1");
    }
    let of_network = ProviderLimits::default().per_network_and_key;
    assert_eq!(behaviour.kept(), (of_network, 1));
    comes(&mut behaviour, 200, "/ip4/192.0.2.1/tcp/1");
    assert_eq!(behaviour.kept().0, of_network + 1, "another relay");
    for n in 201..211 {
        comes(&mut behaviour, n, "/ip4/100.64.0.1/tcp/1");
    }
    assert_eq!(behaviour.kept().0, of_network + 11, "a relay in an exempt range");
}

#[test]
fn an_answer_names_a_few_peers_at_a_few_addresses() {
    let mut behaviour = server();
    let query_id = behaviour.ask(&key(7));
    let addresses: Vec<String> = (1..=500).map(|n| format!("/ip4/203.0.113.7/tcp/{n}")).collect();
    let all: Vec<KadPeer> = (1..=300).map(|n| told(peer(n), &addresses)).collect();
    let (closer_peers, provider_peers) = (all.clone(), all);
    let said = Said::GetProvidersRes { closer_peers, provider_peers, query_id };
    let Some(Said::GetProvidersRes { closer_peers, provider_peers, .. }) =
        behaviour.heard(peer(400), host(1), said)
    else {
        panic!("the library hears of it")
    };
    assert_eq!((closer_peers.len(), provider_peers.len()), (PEERS_TOLD, 0));
    assert!(closer_peers.iter().all(|peer| peer.multiaddrs.len() == ADDRESSES));
    assert_eq!(behaviour.events.len(), PEERS_TOLD);
    for event in &behaviour.events {
        let Event::Found { addresses, from, .. } = event else { panic!("{event:?}") };
        assert_eq!((addresses.len(), *from), (ADDRESSES, host(1).ip));
    }
    behaviour.events.clear();
    // At the doors of this network, told from outside.
    let provider_peers = vec![told(peer(5), &["/ip4/192.168.1.1/tcp/80".to_owned()])];
    let said = Said::GetProvidersRes { closer_peers: Vec::new(), provider_peers, query_id };
    behaviour.heard(peer(400), host(1), said);
    assert!(behaviour.events.is_empty());
}

#[test]
fn the_longest_answer_fits_a_message() {
    let (relay, guest) = (peer(1), peer(2));
    let longest = format!("/ip6/2001:db8::1/udp/65535/quic-v1/p2p/{relay}/p2p-circuit/p2p/{guest}");
    let longest: Multiaddr = longest.parse().unwrap();
    assert!(!believed(host(1).ip, std::slice::from_ref(&longest)).is_empty());
    // Each field has two bytes of its own, the lengths of a peer and of its list another.
    let of_peer = guest.to_bytes().len() + ADDRESSES * (longest.len() + 2) + 8;
    assert!(2 * PEERS_TOLD * of_peer + 100 <= MESSAGE_BYTES, "{of_peer}");
}

#[test]
fn one_that_has_yet_to_prove_itself_is_not_heard() {
    let mut behaviour = choosy();
    announces(&mut behaviour, peer(1), host(1), &key(7));
    assert_eq!(behaviour.kept(), (0, 0));
    behaviour.trust(peer(1));
    announces(&mut behaviour, peer(1), host(1), &key(7));
    assert_eq!(behaviour.kept(), (1, 1));
}

#[test]
fn one_that_has_yet_to_prove_itself_is_not_asked() {
    let place: Multiaddr = "/ip4/198.51.100.1/tcp/1".parse().unwrap();
    for mut behaviour in [server(), choosy()] {
        let open = behaviour.allowed.is_none();
        // Of two that may be asked, one is connected, the other is as the query wants it.
        for n in [1, 2] {
            assert!(behaviour.route(peer(n), place.clone()));
        }
        assert!(!connects(&mut behaviour, 1, peer(1)));
        behaviour.announce(&key(7)).unwrap();
        let asked = if open { vec![peer(1)] } else { Vec::new() };
        assert_eq!(polled(&mut behaviour), (asked, vec![peer(2)]));
        assert_eq!(connects(&mut behaviour, 2, peer(2)), open);
        assert_eq!(polled(&mut behaviour).0, []);
    }
    let mut behaviour = choosy();
    behaviour.route(peer(1), place);
    connects(&mut behaviour, 1, peer(1));
    behaviour.trust(peer(1));
    behaviour.announce(&key(7)).unwrap();
    assert_eq!(polled(&mut behaviour).0, [peer(1)], "once it has proved itself");
}

#[test]
fn one_network_does_not_fill_the_routing_table() {
    let mut behaviour = server();
    let at = |text: String| text.parse::<Multiaddr>().unwrap();
    let mut taken = 0;
    for n in 1..=200 {
        taken += usize::from(behaviour.route(peer(n), at(format!("/ip4/198.51.100.{n}/tcp/1"))));
    }
    assert_eq!(taken, ROUTES_PER_NETWORK);
    assert!(behaviour.route(peer(300), at("/ip4/192.0.2.1/tcp/1".into())), "another does");
    for port in 1..=1000 {
        behaviour.route(peer(300), at(format!("/ip4/192.0.2.1/tcp/{port}")));
    }
    let known = behaviour.inner.handle_pending_outbound_connection(
        ConnectionId::new_unchecked(0),
        Some(peer(300)),
        &[],
        Endpoint::Dialer,
    );
    assert_eq!(known.unwrap().len(), ADDRESSES, "those it named last");
    assert_eq!(behaviour.routes(), ROUTES_PER_NETWORK + 1);
    behaviour.unroute(&peer(300));
    assert_eq!(behaviour.routes(), ROUTES_PER_NETWORK);
    for (ip, names) in [("127.0.0.1", 400..412), ("100.64.0.1", 500..512)] {
        let mut exempt = server();
        for n in names {
            let taken = exempt.route(peer(n), at(format!("/ip4/{ip}/tcp/{n}")));
            assert!(taken, "loopback and configured ranges are exempt: {ip}");
        }
    }
}
