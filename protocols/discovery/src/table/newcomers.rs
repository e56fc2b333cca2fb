//! How many new peers each source on the link may bring.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::TableLimits;

/// What one source may still bring: one more each time that [`TableLimits::newcomer_refill_ms`]
/// passes.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    since: u64,
}

impl Bucket {
    /// The bucket as it is at this moment.
    fn at(self, limits: &TableLimits, now: u64) -> Self {
        let refill = limits.newcomer_refill_ms.max(1);
        let refilled = now.saturating_sub(self.since) / refill;
        let more = u32::try_from(refilled).unwrap_or(u32::MAX);
        Self {
            left: self.left.saturating_add(more).min(limits.newcomer_burst),
            since: self.since.saturating_add(refilled.saturating_mul(refill)),
        }
    }
}

/// The rates of the sources that brought new peers lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Newcomers {
    buckets: BTreeMap<IpAddr, Bucket>,
}

impl Newcomers {
    /// One new peer from an address, if the rate of its source allows. Where all places are taken,
    /// the source that may bring the most loses its own: nothing is forgotten of one that has
    /// brought too many, and a newcomer finds room.
    pub(super) fn spend(&mut self, from: IpAddr, limits: &TableLimits, now: u64) -> bool {
        let source = source_of(from);
        if !self.buckets.contains_key(&source) && self.buckets.len() >= limits.newcomer_sources {
            let fullest = self.buckets.iter().min_by_key(|(source, bucket)| {
                let bucket = bucket.at(limits, now);
                (u32::MAX - bucket.left, bucket.since, **source)
            });
            let Some(fullest) = fullest.map(|(source, _)| *source) else { return false };
            self.buckets.remove(&fullest);
        }
        let full = Bucket { left: limits.newcomer_burst, since: now };
        let bucket = self.buckets.entry(source).or_insert(full);
        *bucket = bucket.at(limits, now);
        let allowed = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        allowed
    }

    /// Forgets the sources that may bring as many as any.
    pub(super) fn expire(&mut self, limits: &TableLimits, now: u64) {
        self.buckets.retain(|_, bucket| bucket.at(limits, now).left < limits.newcomer_burst);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }
}

/// What shares a rate: an IPv4 address, or the /64 of an IPv6 address, in which one host takes as
/// many addresses as it likes.
fn source_of(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & (!0 << 64)).into(),
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
    fn a_network_of_ipv6_is_one_source_and_an_address_of_ipv4() {
        let mut all = Newcomers::default();
        for n in 0..2 {
            assert!(spends(&mut all, &format!("2001:db8::{n}"), 0));
            assert!(spends(&mut all, &format!("10.0.0.{n}"), 0));
        }
        assert!(!spends(&mut all, "2001:db8::ffff:1", 0), "an address made up beside them");
        assert!(spends(&mut all, "::ffff:10.0.0.1", 0), "the same address");
        assert!(!spends(&mut all, "10.0.0.1", 0));
        assert!(spends(&mut all, "10.0.0.0", 0));
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn one_more_comes_each_second_however_often_it_is_tried() {
        let mut all = Newcomers::default();
        let came: Vec<u64> =
            (0..5_000).step_by(300).filter(|now| spends(&mut all, "10.0.0.1", *now)).collect();
        assert_eq!(came, [0, 300, 1_200, 2_100, 3_000, 4_200]);
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
            assert_eq!(all.len(), 3);
        }
        all.expire(&limits(), 1_500);
        assert_eq!(all.len(), 1, "the others may bring as many as any");
        all.expire(&limits(), 2_000);
        assert_eq!(all.len(), 0);
        let none = TableLimits { newcomer_sources: 0, ..limits() };
        assert!(!all.spend([10, 0, 0, 1].into(), &none, 0) && all.len() == 0);
    }
}
