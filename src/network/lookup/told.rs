//! What is believed of addresses that others tell of.

use std::net::IpAddr;

use libp2p::Multiaddr;

use crate::network::address::{head_of, is_public, multiaddr, parts, transport_of};
use crate::network::connected::without_peer;

/// Addresses taken of one peer from one who tells of it, and from one that announces itself.
pub(super) const ADDRESSES: usize = 6;

/// How far an address is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Host,
    Private,
    Public,
}

/// `None` for what nobody is ever dialled at.
fn reach(ip: IpAddr) -> Option<Reach> {
    let ip = ip.to_canonical();
    let special = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets()[0] == 0 || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    match ip {
        _ if special || ip.is_multicast() => None,
        _ if ip.is_loopback() => Some(Reach::Host),
        _ if is_public(ip) => Some(Reach::Public),
        _ => Some(Reach::Private),
    }
}

/// Whether an address is believed that is told by someone at `teller` (`None`: nobody knows where):
/// a public one by anyone, one of a private network by a host of one, loopback by this machine. So
/// nobody has this node knock at the doors of its own network from outside. (The rule of Ethereum's
/// discovery, `CheckRelayIP`.)
fn is_believed(teller: Option<IpAddr>, address: &Multiaddr) -> bool {
    let from = teller.and_then(reach).unwrap_or(Reach::Public);
    let reach = head_of(address).and_then(reach);
    reach.is_some_and(|reach| reach >= from) && transport_of(address).is_some()
}

/// What is believed of the addresses that someone at `teller` tells of, without the PeerId.
pub(super) fn believed(teller: Option<IpAddr>, told: &[Multiaddr]) -> Vec<Multiaddr> {
    let told = told.iter().map(without_peer);
    let mut believed: Vec<Multiaddr> = Vec::new();
    for address in told.filter(|address| is_believed(teller, address)) {
        if believed.len() < ADDRESSES && !believed.contains(&address) {
            believed.push(address);
        }
    }
    believed
}

/// Where someone is who announces itself from `teller`: the ports that it names at the address that it
/// is seen at, which it may not know, and what is believed of what it says.
pub(super) fn announced(teller: Option<IpAddr>, told: &[Multiaddr]) -> Vec<Multiaddr> {
    let mut addresses: Vec<Multiaddr> = Vec::new();
    let ports = told.iter().filter_map(|address| parts(&without_peer(address)));
    let ip = teller.filter(|ip| reach(*ip).is_some());
    let seen = ports.filter_map(|(_, port, transport)| Some(multiaddr(ip?, port, transport)));
    for address in seen {
        // One for each transport, as a rule.
        if addresses.len() < 2 && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    for address in believed(teller, told) {
        if addresses.len() < ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";
    const PEER: &str = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn who_is_far_away_tells_of_no_address_nearby() {
        let public = ["/ip4/203.0.113.7/tcp/1", "/ip6/2001:db8::7/udp/1/quic-v1"];
        let private = ["/ip4/10.0.0.7/tcp/1", "/ip4/100.64.0.1/tcp/1", "/ip6/fd00::7/tcp/1"];
        let host = ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip6/::ffff:127.0.0.1/tcp/1"];
        let never = [
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/169.254.169.254/tcp/80",
            "/ip4/224.0.0.1/tcp/1",
            "/ip4/255.255.255.255/tcp/1",
            "/ip6/::/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/ff02::1/tcp/1",
            "/dns4/router.lan/tcp/80",
            "/ip4/203.0.113.7/udp/53",
            "/ip4/203.0.113.7/tcp/1/ws",
        ];
        let tellers = [
            (None, 1),
            (ip("198.51.100.1"), 1),
            (ip("2001:db8::1"), 1),
            (ip("192.168.1.1"), 2),
            (ip("fd00::1"), 2),
            (ip("127.0.0.1"), 3),
        ];
        for (teller, believed_of) in tellers {
            let groups = [&public[..], &private, &host];
            for (n, group) in groups.into_iter().enumerate() {
                let told = addresses(group);
                let expected = if n < believed_of { told.clone() } else { Vec::new() };
                assert_eq!(believed(teller, &told), expected, "{teller:?}");
            }
            assert_eq!(believed(teller, &addresses(&never)), [], "{teller:?}");
        }
        let circuit = |head: &str| addresses(&[&format!("{head}/p2p/{RELAY}/p2p-circuit")]);
        let far = ip("198.51.100.1");
        assert_eq!(believed(far, &circuit("/ip4/203.0.113.7/tcp/1")).len(), 1);
        assert_eq!(believed(far, &circuit("/ip4/10.0.0.7/tcp/1")), []);
    }

    #[test]
    fn few_are_taken_and_no_names() {
        let many: Vec<String> = (1..2000).map(|n| format!("/ip4/203.0.113.7/tcp/{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(believed(None, &addresses(&many)).len(), ADDRESSES);
        let named = format!("/ip4/203.0.113.7/tcp/1/p2p/{PEER}");
        let twice = believed(None, &addresses(&[&named, "/ip4/203.0.113.7/tcp/1"]));
        assert_eq!(twice, addresses(&["/ip4/203.0.113.7/tcp/1"]));
    }

    #[test]
    fn one_that_does_not_know_how_it_is_seen_is_found_there() {
        let told = addresses(&["/ip4/10.0.0.5/tcp/8080", "/ip4/10.0.0.5/udp/8080/quic-v1"]);
        let seen = ["/ip4/203.0.113.7/tcp/8080", "/ip4/203.0.113.7/udp/8080/quic-v1"];
        assert_eq!(announced(ip("203.0.113.7"), &told), addresses(&seen));
        assert_eq!(announced(ip("10.0.0.5"), &told), told);
        let cards: Vec<String> = (1..9).map(|n| format!("/ip4/198.51.100.{n}/tcp/8080")).collect();
        let cards: Vec<&str> = cards.iter().map(String::as_str).collect();
        let of_cards = announced(ip("203.0.113.7"), &addresses(&cards));
        assert_eq!(of_cards[..1], addresses(&seen[..1]), "where it is seen comes first");
        assert_eq!(of_cards.len(), ADDRESSES);
        assert_eq!(announced(None, &told), []);
        let ports: Vec<String> = (1..2000).map(|n| format!("/ip4/10.0.0.5/tcp/{n}")).collect();
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        assert_eq!(announced(ip("203.0.113.7"), &addresses(&ports)).len(), 2);
        let circuit = format!("/ip4/198.51.100.1/tcp/1/p2p/{RELAY}/p2p-circuit");
        let both = addresses(&[&circuit, "/ip4/10.0.0.5/tcp/8080"]);
        let expected = addresses(&["/ip4/203.0.113.7/tcp/8080", &circuit]);
        assert_eq!(announced(ip("203.0.113.7"), &both), expected, "through a relay, too");
    }
}
