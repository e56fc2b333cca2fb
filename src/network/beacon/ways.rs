//! Where beacons are heard and sent: the sockets, and the addresses of the interfaces.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;

/// The multicast group of beacons over IPv6: of the local link, and not one of those that are
/// assigned for ever (the 1 in `ff12`), as OCM has none. The rest spells `ocm`.
pub(super) const GROUP: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x6f, 0x636d);

/// IPv6 addresses of this machine that beacons are sent from.
const ADDRESSES: usize = 16;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// What is sent to an address of this machine, or to an IPv4 broadcast address.
    Address(IpAddr),
    /// What is sent from this IPv6 address to the group, on the interface of this number: the
    /// group is told the address that the sender can be dialled at.
    From(Ipv6Addr, u32),
    /// What is sent to the group on the interface of this number.
    Group(u32),
}

/// The open sockets.
#[derive(Debug, Default)]
pub(super) struct Ways {
    pub(super) open: BTreeMap<Way, UdpSocket>,
}

impl Ways {
    /// Opens what is wanted and not open, and closes what is no longer wanted. Returns why one of
    /// the configured addresses cannot be listened on, if so.
    pub(super) fn follow(
        &mut self,
        bind: &[IpAddr],
        interfaces: &[if_addrs::Interface],
        port: u16,
    ) -> Option<(IpAddr, io::Error)> {
        let wanted = wanted(bind, interfaces);
        self.open.retain(|way, _| wanted.contains(way));
        let mut cause = None;
        for way in wanted {
            if self.open.contains_key(&way) {
                continue;
            }
            match (way.open(port), way) {
                (Ok(socket), _) => {
                    self.open.insert(way, socket);
                }
                // Without IPv6 the broadcast goes on as before; the interface's broadcast address
                // is a help to hearing, not a condition of it.
                (Err(e), Way::Address(ip)) if ip.is_ipv4() && bind.contains(&ip) => {
                    cause = Some((ip, e));
                }
                (Err(e), way) => tracing::debug!(?way, error = %e, "no beacons are heard there"),
            }
        }
        cause
    }

    /// The socket to send to an address from.
    pub(super) fn towards(&self, to: &SocketAddr) -> Option<&UdpSocket> {
        let fits = |way: &Way| matches!(way, Way::Address(ip) if ip.is_ipv4() == to.is_ipv4());
        self.open.iter().find(|(way, _)| fits(way)).map(|(_, socket)| socket)
    }

    /// Each socket to send to the group from, and where the group is for it.
    pub(super) fn to_group(&self, port: u16) -> impl Iterator<Item = (&UdpSocket, SocketAddr)> {
        self.open.iter().filter_map(move |(way, socket)| match way {
            Way::From(_, interface) => {
                Some((socket, SocketAddrV6::new(GROUP, port, 0, *interface).into()))
            }
            _ => None,
        })
    }
}

impl Way {
    fn open(self, port: u16) -> io::Result<UdpSocket> {
        let address: SocketAddr = match self {
            Self::Address(ip) => SocketAddr::new(ip, port),
            Self::From(ip, _) => SocketAddr::new(ip.into(), port),
            // Only Unix binds to a group; elsewhere a socket that hears everything joins it.
            Self::Group(_) if !cfg!(unix) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
            Self::Group(interface) => SocketAddrV6::new(GROUP, port, 0, interface).into(),
        };
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        if address.is_ipv4() {
            socket.set_broadcast(true)?;
        } else {
            socket.set_only_v6(true)?;
        }
        match self {
            Self::Address(_) => {}
            Self::From(_, interface) => socket.set_multicast_if_v6(interface)?,
            Self::Group(interface) => socket.join_multicast_v6(&GROUP, interface)?,
        }
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(address))?;
        UdpSocket::from_std(socket.into())
    }
}

/// The interfaces of now; none when the system does not tell.
pub(in crate::network) fn interfaces() -> Vec<if_addrs::Interface> {
    if_addrs::get_if_addrs().unwrap_or_default()
}

/// What is to be open for these addresses to be reachable at. Bound to one address, the broadcast
/// of its interface needs a socket of its own.
pub(super) fn wanted(bind: &[IpAddr], interfaces: &[if_addrs::Interface]) -> Vec<Way> {
    let mut wanted: Vec<Way> = bind.iter().copied().map(Way::Address).collect();
    if cfg!(unix) && !bind.iter().any(|ip| ip.is_ipv4() && ip.is_unspecified()) {
        let broadcasts = broadcasts(bind, interfaces).into_iter();
        wanted.extend(broadcasts.map(|ip| Way::Address(ip.into())));
    }
    for (ip, interface) in sources(bind, interfaces).into_iter().take(ADDRESSES) {
        wanted.extend([Way::From(ip, interface), Way::Group(interface)]);
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// The IPv6 addresses that beacons are sent from to the group, with the numbers of their
/// interfaces. One of the local link alone (`fe80::…`) is none: nobody can dial it without knowing
/// the link. Nor is one of a tunnel, which leads to a single other side.
fn sources(bind: &[IpAddr], interfaces: &[if_addrs::Interface]) -> Vec<(Ipv6Addr, u32)> {
    let every = bind.iter().any(|ip| ip.is_ipv6() && ip.is_unspecified());
    let mut found: Vec<(Ipv6Addr, u32)> = interfaces
        .iter()
        .filter(|interface| !interface.is_p2p())
        .filter_map(|interface| match &interface.addr {
            if_addrs::IfAddr::V6(address) => Some((address.ip, interface.index?)),
            if_addrs::IfAddr::V4(_) => None,
        })
        .filter(|(ip, _)| !ip.is_loopback() && !ip.is_unicast_link_local())
        .filter(|(ip, _)| every || bind.contains(&IpAddr::V6(*ip)))
        .collect();
    found.sort_unstable();
    found
}

/// The broadcast addresses of the interfaces that these addresses stand for. One that leads to a
/// single other side, as a tunnel of a VPN does, has none.
pub(super) fn broadcasts(bind: &[IpAddr], interfaces: &[if_addrs::Interface]) -> Vec<Ipv4Addr> {
    const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
    let every = bind.iter().any(|ip| ip.is_ipv4() && ip.is_unspecified());
    let mut found = Vec::new();
    if every || bind.iter().any(|ip| ip.is_ipv4() && ip.is_loopback()) {
        found.push(LOOPBACK);
    }
    for interface in interfaces {
        if let if_addrs::IfAddr::V4(address) = &interface.addr
            && let Some(broadcast) = address.broadcast.filter(|_| !interface.is_p2p())
            && !address.ip.is_loopback()
            && (every || bind.contains(&IpAddr::V4(address.ip)))
        {
            // Where none was set up, the system names the address itself: then the one that stands
            // for whatever network is there.
            let set_up = broadcast != address.ip;
            found.push(if set_up { broadcast } else { Ipv4Addr::BROADCAST });
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(
        ip: [u8; 4],
        broadcast: Option<[u8; 4]>,
        is_p2p: bool,
    ) -> (IpAddr, if_addrs::Interface) {
        let ip = Ipv4Addr::from(ip);
        let netmask = Ipv4Addr::new(255, 255, 255, 0);
        let broadcast = broadcast.map(Ipv4Addr::from);
        let addr =
            if_addrs::IfAddr::V4(if_addrs::Ifv4Addr { ip, netmask, prefixlen: 24, broadcast });
        let oper_status = if_addrs::IfOperStatus::Up;
        let name = ip.to_string();
        (ip.into(), if_addrs::Interface { name, addr, index: None, oper_status, is_p2p })
    }

    #[test]
    fn a_tunnel_has_no_broadcast_and_no_listener_for_one() {
        let (lan, lan_is) = interface([10, 0, 0, 2], Some([10, 0, 0, 255]), false);
        let (bare, bare_is) = interface([10, 1, 0, 2], Some([10, 1, 0, 2]), false);
        let (tunnel, tunnel_is) = interface([10, 2, 0, 2], None, true);
        let (other, other_is) = interface([10, 3, 0, 2], Some([10, 3, 0, 2]), true);
        let (silent, silent_is) = interface([10, 4, 0, 2], None, false);
        let all = [lan_is, bare_is, tunnel_is, other_is, silent_is];
        for ip in [tunnel, other, silent] {
            assert!(broadcasts(&[ip], &all).is_empty());
            assert_eq!(wanted(&[ip], &all), [Way::Address(ip)]);
        }
        assert_eq!(broadcasts(&[lan, tunnel], &all), [Ipv4Addr::new(10, 0, 0, 255)]);
        assert_eq!(broadcasts(&[bare], &all), [Ipv4Addr::BROADCAST], "none was set up");
        let every = broadcasts(&[Ipv4Addr::UNSPECIFIED.into()], &all);
        let loopback = Ipv4Addr::new(127, 255, 255, 255);
        assert_eq!(every, [Ipv4Addr::new(10, 0, 0, 255), loopback, Ipv4Addr::BROADCAST]);
    }

    #[test]
    fn over_ipv6_the_group_of_each_interface_is_told_by_every_address_that_can_be_dialled() {
        let interface = |ip: &str, index| if_addrs::Interface {
            name: ip.to_owned(),
            addr: if_addrs::IfAddr::V6(if_addrs::Ifv6Addr {
                ip: ip.parse().unwrap(),
                netmask: Ipv6Addr::UNSPECIFIED,
                prefixlen: 64,
                broadcast: None,
            }),
            index,
            oper_status: if_addrs::IfOperStatus::Up,
            is_p2p: false,
        };
        let all = [
            interface("::1", Some(1)),
            interface("fe80::2", Some(2)),
            interface("fd00::2", Some(2)),
            interface("2001:db8::2", Some(2)),
            interface("fd01::3", Some(3)),
            interface("fd02::4", None),
            if_addrs::Interface { is_p2p: true, ..interface("fd03::5", Some(5)) },
        ];
        let ip = |text: &str| -> Ipv6Addr { text.parse().unwrap() };
        let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let (one, two, three) = (ip("2001:db8::2"), ip("fd00::2"), ip("fd01::3"));
        let from = [Way::From(one, 2), Way::From(two, 2), Way::From(three, 3)];
        let groups = [Way::Group(2), Way::Group(3)];
        assert_eq!(wanted(&[any], &all), [&[Way::Address(any)], &from[..], &groups].concat());
        let only = wanted(&[two.into()], &all);
        assert_eq!(only, [Way::Address(two.into()), Way::From(two, 2), Way::Group(2)]);
        assert_eq!(wanted(&[Ipv4Addr::UNSPECIFIED.into()], &all).len(), 1);
    }
}
