//! What a node keeps for others: who announced itself under which key.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lookup::LookupKey;
use crate::peer_id::PeerId;

/// How long an announcement is kept: one hour, in milliseconds. Whoever is still there repeats it
/// within [`crate::LOOKUP_BACKOFF`]'s longest pause.
pub const PROVIDED_MS: u64 = 60 * 60 * 1000;

/// Limits of what is kept. Past each, what is there stays and the newcomer is not taken: whoever
/// comes late with many names drives out nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderLimits {
    /// Announcements in all: some 500 bytes each.
    pub announcements: usize,
    /// Under one key: as many as one answer has.
    pub per_key: usize,
    /// Of one peer: as many as a node has spaces.
    pub per_peer: usize,
    /// From one network ([`network_of`]), or through the relays in it.
    pub per_network: usize,
    /// From one network under one key, so that names made up on one host fill no answer.
    pub per_network_and_key: usize,
    /// Addresses of one announcement; further ones are left out.
    pub addresses: usize,
    /// Characters of an address; a longer one is left out.
    pub address_len: usize,
}

impl Default for ProviderLimits {
    fn default() -> Self {
        Self {
            announcements: 8192,
            per_key: 20,
            per_peer: 256,
            per_network: 1024,
            per_network_and_key: 4,
            addresses: 6,
            address_len: 256,
        }
    }
}

/// What came of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// Kept.
    New,
    /// It was there; it is fresh again, with these addresses.
    Renewed,
    /// A limit is reached.
    Full,
    /// It names no address that can be kept.
    NoAddress,
}

#[derive(Debug, Clone)]
struct Provider {
    addresses: Vec<String>,
    network: Option<IpAddr>,
    until: u64,
}

/// Who announced itself under which key. All times `now` are milliseconds on one clock that does not
/// run backwards.
#[derive(Debug, Clone)]
pub struct Providers {
    limits: ProviderLimits,
    keys: BTreeMap<LookupKey, BTreeMap<PeerId, Provider>>,
    len: usize,
    peers: BTreeMap<PeerId, usize>,
    networks: BTreeMap<IpAddr, usize>,
}

impl Providers {
    /// Nobody, within these limits.
    #[must_use]
    pub const fn new(limits: ProviderLimits) -> Self {
        Self {
            limits,
            keys: BTreeMap::new(),
            len: 0,
            peers: BTreeMap::new(),
            networks: BTreeMap::new(),
        }
    }

    /// Takes note that `peer`, which speaks from the address `from` (through a relay: the relay's), announces itself under a key at
    /// these addresses (texts the shell can dial). Loopback is no network: there is but one host.
    pub fn announce(
        &mut self,
        key: LookupKey,
        peer: PeerId,
        from: Option<IpAddr>,
        addresses: Vec<String>,
        now: u64,
    ) -> Announced {
        let limits = self.limits;
        let mut addresses = addresses;
        addresses.retain(|address| address.len() <= limits.address_len);
        addresses.truncate(limits.addresses);
        if addresses.is_empty() {
            return Announced::NoAddress;
        }
        let network = from.and_then(network_of);
        let until = now.saturating_add(PROVIDED_MS);
        let known = self.remove(&key, &peer).is_some();
        self.forget_old(&key, now);
        if self.is_full(&key, &peer, network) {
            return Announced::Full;
        }
        self.keys.entry(key).or_default().insert(peer, Provider { addresses, network, until });
        self.len += 1;
        *self.peers.entry(peer).or_default() += 1;
        if let Some(network) = network {
            *self.networks.entry(network).or_default() += 1;
        }
        if known { Announced::Renewed } else { Announced::New }
    }

    fn is_full(&self, key: &LookupKey, peer: &PeerId, network: Option<IpAddr>) -> bool {
        let limits = &self.limits;
        let of_key = self.keys.get(key);
        let beside = |network| {
            let others = of_key.into_iter().flat_map(BTreeMap::values);
            others.filter(|other| other.network == Some(network)).count()
        };
        self.len >= limits.announcements
            || of_key.is_some_and(|of_key| of_key.len() >= limits.per_key)
            || self.peers.get(peer) >= Some(&limits.per_peer)
            || network.is_some_and(|network| {
                self.networks.get(&network) >= Some(&limits.per_network)
                    || beside(network) >= limits.per_network_and_key
            })
    }

    fn remove(&mut self, key: &LookupKey, peer: &PeerId) -> Option<Provider> {
        let of_key = self.keys.get_mut(key)?;
        let provider = of_key.remove(peer)?;
        if of_key.is_empty() {
            self.keys.remove(key);
        }
        self.len -= 1;
        less(&mut self.peers, peer);
        if let Some(network) = provider.network {
            less(&mut self.networks, &network);
        }
        Some(provider)
    }

    /// Who announced itself under a key in the last hour, and where each is.
    pub fn of(&self, key: &LookupKey, now: u64) -> impl Iterator<Item = (&PeerId, &[String])> {
        let of_key = self.keys.get(key).into_iter().flatten();
        of_key
            .filter(move |(_, provider)| provider.until > now)
            .map(|(peer, provider)| (peer, provider.addresses.as_slice()))
    }

    /// Forgets what was not repeated for an hour. To be called now and then.
    pub fn expire(&mut self, now: u64) {
        for key in self.keys.keys().copied().collect::<Vec<_>>() {
            self.forget_old(&key, now);
        }
    }

    fn forget_old(&mut self, key: &LookupKey, now: u64) {
        let of_key = self.keys.get(key).into_iter().flatten();
        let old = of_key.filter(|(_, provider)| provider.until <= now);
        for peer in old.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.remove(key, &peer);
        }
    }

    /// How many announcements are kept.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Under how many keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

/// The network that an address stands for, in which names are free to whoever is there: its /24 or
/// /48; of a private or link-local one, whose network stands for the people in one room as often as for
/// one attacker, the address itself; none of loopback.
#[must_use]
pub fn network_of(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => Some(v4.into()),
        IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => Some(v6.into()),
        IpAddr::V4(v4) => Some(Ipv4Addr::from(u32::from(v4) & (!0 << 8)).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from(u128::from(v6) & (!0 << 80)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_record::PublicKey;
    use proptest::prelude::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

    fn peer(n: u64) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        PeerId::new(PublicKey::from_bytes(bytes))
    }

    fn key(n: u8) -> LookupKey {
        LookupKey::from_bytes(&[n; 32]).unwrap()
    }

    fn host(network: u8, host: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(198, 51, network, host).into())
    }

    fn at(n: u64) -> Vec<String> {
        vec![format!("at {n}")]
    }

    fn found(providers: &Providers, of: u8, now: u64) -> Vec<PeerId> {
        providers.of(&key(of), now).map(|(peer, _)| *peer).collect()
    }

    #[test]
    fn who_announces_itself_is_found_for_an_hour() {
        let mut providers = Providers::new(ProviderLimits::default());
        assert_eq!(providers.announce(key(1), peer(1), HERE, at(1), 0), Announced::New);
        assert_eq!(providers.announce(key(2), peer(2), HERE, at(2), 5), Announced::New);
        assert_eq!(found(&providers, 1, PROVIDED_MS - 1), [peer(1)]);
        assert_eq!(found(&providers, 1, PROVIDED_MS), []);
        assert_eq!(found(&providers, 3, 0), []);
        assert_eq!(providers.announce(key(1), peer(1), HERE, at(9), 10), Announced::Renewed);
        let told: Vec<_> = providers.of(&key(1), PROVIDED_MS).collect();
        assert_eq!(told, [(&peer(1), at(9).as_slice())], "the newest addresses");
        providers.expire(PROVIDED_MS + 7);
        assert_eq!((providers.len(), providers.keys()), (1, 1));
        providers.expire(PROVIDED_MS + 10);
        assert!(providers.is_empty() && providers.peers.is_empty());
    }

    #[test]
    fn one_that_announces_itself_ten_thousand_times_has_one_place() {
        let mut providers = Providers::new(ProviderLimits::default());
        for n in 0..10_000 {
            providers.announce(key(1), peer(1), host(1, 1), at(n), n);
        }
        assert_eq!((providers.len(), providers.networks.len()), (1, 1));
        let mut taken = 0;
        for n in 0..10_000u32 {
            let mut bytes = [7; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            let key = LookupKey::from_bytes(&bytes).unwrap();
            taken += usize::from(
                providers.announce(key, peer(1), host(1, 1), at(1), 0) == Announced::New,
            );
        }
        assert_eq!(taken, ProviderLimits::default().per_peer - 1, "nor under many keys");
    }

    #[test]
    fn ten_thousand_names_of_one_host_keep_nobody_out() {
        let limits = ProviderLimits::default();
        let mut providers = Providers::new(limits);
        let mut taken = 0;
        for n in 0..10_000 {
            // Of the whole /24.
            let from = host(1, u8::try_from(n % 250).unwrap());
            taken +=
                usize::from(providers.announce(key(1), peer(n), from, at(n), n) == Announced::New);
        }
        assert_eq!(taken, limits.per_network_and_key);
        for n in 1..=4 {
            let honest = providers.announce(key(1), peer(20_000 + n), host(2, 1), at(n), 10_000);
            assert_eq!(honest, Announced::New);
        }
        for n in 0..100_000 {
            let bytes: Vec<u8> = n.to_string().bytes().cycle().take(32).collect();
            let key = LookupKey::from_bytes(&bytes).unwrap();
            providers.announce(key, peer(n), host(1, 1), at(n), 10_000);
        }
        assert!(providers.len() <= limits.per_network + 4, "{}", providers.len());
        assert_eq!(providers.announce(key(2), peer(7), host(3, 1), at(1), 0), Announced::New);
    }

    #[test]
    fn who_is_there_stays_until_it_is_no_longer_announced() {
        let limits = ProviderLimits { per_key: 2, announcements: 3, ..ProviderLimits::default() };
        let mut providers = Providers::new(limits);
        for n in [1, 2] {
            providers.announce(key(1), peer(n), HERE, at(n), n);
        }
        assert_eq!(providers.announce(key(1), peer(3), HERE, at(3), 3), Announced::Full);
        assert_eq!(providers.announce(key(1), peer(1), HERE, at(1), 100), Announced::Renewed);
        assert_eq!(providers.announce(key(2), peer(3), HERE, at(3), 3), Announced::New);
        assert_eq!(providers.announce(key(3), peer(4), HERE, at(4), 3), Announced::Full, "in all");
        let later = 2 + PROVIDED_MS;
        assert_eq!(providers.announce(key(1), peer(3), HERE, at(3), later), Announced::New);
        assert_eq!(found(&providers, 1, later), [peer(1), peer(3)]);
    }

    #[test]
    fn an_address_stands_for_its_network() {
        for (address, network) in [
            ("198.51.100.7", Some("198.51.100.0")),
            ("::ffff:198.51.100.7", Some("198.51.100.0")),
            ("2001:db8:1:2::3", Some("2001:db8:1::")),
            ("192.168.7.1", Some("192.168.7.1")),
            ("169.254.7.1", Some("169.254.7.1")),
            ("fd00::7", Some("fd00::7")),
            ("fe80::7", Some("fe80::7")),
            ("127.0.0.1", None),
            ("::1", None),
        ] {
            let network = network.map(|text| text.parse().unwrap());
            assert_eq!(network_of(address.parse().unwrap()), network, "{address}");
        }
    }

    #[test]
    fn addresses_are_few_and_short() {
        let limits = ProviderLimits { addresses: 2, address_len: 5, ..ProviderLimits::default() };
        let mut providers = Providers::new(limits);
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let long = texts(&["123456"]);
        assert_eq!(providers.announce(key(1), peer(1), HERE, long, 0), Announced::NoAddress);
        assert_eq!(providers.announce(key(1), peer(1), HERE, Vec::new(), 0), Announced::NoAddress);
        providers.announce(key(1), peer(1), HERE, texts(&["123456", "1", "2", "3"]), 0);
        assert_eq!(providers.of(&key(1), 0).next().unwrap().1, texts(&["1", "2"]));
    }

    proptest! {
        #[test]
        fn limits_hold_and_counts_are_true(
            steps in prop::collection::vec((0u8..4, 0u64..6, 0u8..4, 0u64..3), 1..200),
        ) {
            let limits = ProviderLimits {
                announcements: 8, per_key: 3, per_peer: 2, per_network: 4, per_network_and_key: 2,
                ..ProviderLimits::default()
            };
            let mut providers = Providers::new(limits);
            let mut now = 0;
            for (of, who, network, hours) in steps {
                now += hours * PROVIDED_MS / 2;
                let from = if network == 0 { HERE } else { host(network, 1) };
                let told = providers.announce(key(of), peer(who), from, at(who), now);
                prop_assert_eq!(told != Announced::Full, found(&providers, of, now).contains(&peer(who)));
                let all = || providers.keys.values().flat_map(|of_key| of_key.values());
                prop_assert_eq!(providers.len(), all().count());
                prop_assert!(providers.len() <= 8);
                for of_key in providers.keys.values() {
                    prop_assert!(!of_key.is_empty() && of_key.len() <= 3);
                    for n in 1..4 {
                        let network = host(n, 1).and_then(network_of);
                        prop_assert!(of_key.values().filter(|p| p.network == network).count() <= 2);
                    }
                }
                for (who, count) in &providers.peers {
                    let of_peer = providers.keys.values().filter(|k| k.contains_key(who)).count();
                    prop_assert!(of_peer == *count && of_peer <= 2);
                }
                for (network, count) in &providers.networks {
                    let there = all().filter(|p| p.network == Some(*network)).count();
                    prop_assert!(there == *count && there <= 4);
                }
            }
        }
    }
}
