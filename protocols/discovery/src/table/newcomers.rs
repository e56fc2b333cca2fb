//! How many new peers each source on the link may bring.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::TableLimits;

/// An IPv6 network brings as many as so many of its hosts: one of them leaves room for the others, and
/// one that makes addresses up brings no more than that.
const NETWORK_HOSTS: u32 = 4;

/// How many may come in a row, and milliseconds until there may be one more.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    refill_ms: u64,
}

impl Rate {
    fn of_host(limits: &TableLimits) -> Self {
        Self { burst: limits.newcomer_burst, refill_ms: limits.newcomer_refill_ms.max(1) }
    }

    fn of_network(limits: &TableLimits) -> Self {
        let host = Self::of_host(limits);
        let refill_ms = (host.refill_ms / u64::from(NETWORK_HOSTS)).max(1);
        Self { burst: host.burst.saturating_mul(NETWORK_HOSTS), refill_ms }
    }
}

/// What one source may still bring.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    since: u64,
}

impl Bucket {
    /// The bucket as it is at this moment.
    fn at(self, rate: Rate, now: u64) -> Self {
        let refilled = now.saturating_sub(self.since) / rate.refill_ms;
        let more = u32::try_from(refilled).unwrap_or(u32::MAX);
        Self {
            left: self.left.saturating_add(more).min(rate.burst),
            since: self.since.saturating_add(refilled.saturating_mul(rate.refill_ms)),
        }
    }
}

/// The sources that brought new peers lately.
#[derive(Debug, Clone, Default)]
struct Buckets(BTreeMap<IpAddr, Bucket>);

impl Buckets {
    /// The bucket of a source at this moment, among at most `most`. Where all places are taken, the
    /// source that may bring the most loses its own: nothing is forgotten of one that has brought too
    /// many, and a newcomer finds room. `None` where there is no place at all.
    fn of(&mut self, source: IpAddr, rate: Rate, most: usize, now: u64) -> Option<&mut Bucket> {
        if !self.0.contains_key(&source) && self.0.len() >= most {
            let fullest = self.0.iter().min_by_key(|(source, bucket)| {
                let bucket = bucket.at(rate, now);
                (u32::MAX - bucket.left, bucket.since, **source)
            });
            let fullest = *fullest?.0;
            self.0.remove(&fullest);
        }
        let full = Bucket { left: rate.burst, since: now };
        let bucket = self.0.entry(source).or_insert(full);
        *bucket = bucket.at(rate, now);
        Some(bucket)
    }

    /// Forgets the sources that may bring as many as any.
    fn expire(&mut self, rate: Rate, now: u64) {
        self.0.retain(|_, bucket| bucket.at(rate, now).left < rate.burst);
    }
}

/// The rates of addresses, and of the networks in which one host takes as many as it likes.
#[derive(Debug, Clone, Default)]
pub(super) struct Newcomers {
    hosts: Buckets,
    networks: Buckets,
}

impl Newcomers {
    /// One new peer from an address, if its rate and that of its network allow.
    pub(super) fn spend(&mut self, from: IpAddr, limits: &TableLimits, now: u64) -> bool {
        let (from, most) = (from.to_canonical(), limits.newcomer_sources);
        let mut network = network_of(from)
            .and_then(|network| self.networks.of(network, Rate::of_network(limits), most, now));
        if network.as_ref().is_some_and(|network| network.left == 0) {
            return false;
        }
        let host = self.hosts.of(from, Rate::of_host(limits), most, now);
        let Some(host) = host.filter(|host| host.left > 0) else { return false };
        host.left -= 1;
        if let Some(network) = &mut network {
            network.left -= 1;
        }
        true
    }

    /// Forgets those that may bring as many as any.
    pub(super) fn expire(&mut self, limits: &TableLimits, now: u64) {
        self.hosts.expire(Rate::of_host(limits), now);
        self.networks.expire(Rate::of_network(limits), now);
    }

    /// The addresses and the networks whose rate is watched.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.hosts.0.len(), self.networks.0.len())
    }
}

/// The /64 of an IPv6 address.
fn network_of(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from(u128::from(ip) & (!0 << 64)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> TableLimits {
        TableLimits { newcomer_burst: 2, newcomer_sources: 3, ..TableLimits::default() }
    }

    fn spends(newcomers: &mut Newcomers, from: &str, now: u64) -> bool {
        newcomers.spend(from.parse().unwrap(), &limits(), now)
    }

    #[test]
    fn one_more_comes_each_second_however_often_it_is_tried() {
        let mut all = Newcomers::default();
        let came: Vec<u64> =
            (0..5_000).step_by(300).filter(|now| spends(&mut all, "10.0.0.1", *now)).collect();
        assert_eq!(came, [0, 300, 1_200, 2_100, 3_000, 4_200]);
        assert!(!spends(&mut all, "::ffff:10.0.0.1", 4_800), "the same address");
    }

    #[test]
    fn a_host_of_an_ipv6_network_leaves_room_for_the_others_and_made_up_addresses_for_other_networks()
     {
        let mut all = Newcomers::default();
        let one = (0..100).filter(|_| spends(&mut all, "2001:db8::1", 0)).count();
        assert_eq!(one, 2, "as of any address");
        assert!(spends(&mut all, "2001:db8::2", 0));
        let made_up = (10..100).filter(|n| spends(&mut all, &format!("2001:db8::{n}"), 0)).count();
        assert_eq!(made_up, 5, "with the three before as many as of four");
        assert!(!spends(&mut all, "2001:db8::ffff", 249));
        assert!(spends(&mut all, "2001:db8::ffff", 250), "and four a second");
        assert!(spends(&mut all, "2001:db8:0:1::1", 0) && spends(&mut all, "10.0.0.1", 0));
    }

    #[test]
    fn where_all_places_are_taken_the_source_that_brought_least_makes_room() {
        let mut all = Newcomers::default();
        for from in ["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            assert!(spends(&mut all, from, 0));
        }
        // Ever other sources: each is let in, and none of them is that which has brought too many.
        for n in 0..1_000 {
            assert!(spends(&mut all, &format!("2001:db8:0:{n:x}::1"), 1));
            assert!(!spends(&mut all, "10.0.0.1", 1), "it is not forgotten: {n}");
            assert_eq!(all.len(), (3, 3.min(n + 1)));
        }
        all.expire(&limits(), 1_500);
        assert_eq!(all.len(), (1, 0), "the others may bring as many as any");
        all.expire(&limits(), 2_000);
        assert_eq!(all.len(), (0, 0));
        let none = TableLimits { newcomer_sources: 0, ..limits() };
        assert!(!all.spend([10, 0, 0, 1].into(), &none, 0) && all.len() == (0, 0));
    }
}
