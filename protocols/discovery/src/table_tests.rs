use super::*;
use ocm_record::PublicKey;
use proptest::prelude::*;

fn peer(n: u64) -> PeerId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    PeerId::new(PublicKey::from_bytes(bytes))
}

const BOOT: Boot = Boot::from_bytes([1; 16]);
const STARTED: u64 = 1_000_000;
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn table(limits: TableLimits) -> PeerTable {
    PeerTable::new(peer(0), BOOT, STARTED, limits)
}

fn beacon(n: u64, boot: u8, time: u64) -> Beacon {
    Beacon { peer: peer(n), boot: Boot::from_bytes([boot; 16]), tcp: 1, udp: 0, time }
}

fn at(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

#[test]
fn self_is_never_dialled_and_a_copy_is_reported() {
    let mut table = table(TableLimits::default());
    assert_eq!(table.heard(peer(0), "a", Source::Mdns, 0), Sighting::Own);
    table.connected(peer(0), Some("a"), Source::Incoming, 0);
    let mut hear = |boot, time| table.heard_beacon(&beacon(0, boot, time), HERE, &at("a"), 0);
    assert_eq!(hear(1, STARTED + 5), Sighting::Own);
    assert_eq!(hear(2, STARTED - 1), Sighting::Own, "a recording of an earlier run");
    let boot = Boot::from_bytes([2; 16]);
    assert_eq!(hear(2, STARTED + 5), Sighting::CopiedKey { boot });
    assert!(table.due(u64::MAX, 10, 0).is_empty());
    assert!(table.is_empty());
    assert_eq!((table.counts().own, table.counts().copied_key), (2, 1));
}

#[test]
fn a_peer_is_dialled_again_after_longer_and_longer_waits() {
    let mut table = table(TableLimits::default());
    assert_eq!(table.heard(peer(1), "a", Source::Beacon, 0), Sighting::New);
    assert_eq!(table.heard(peer(1), "b", Source::Mdns, 1), Sighting::Known);
    let first = table.due(1, 10, 0);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].addresses, ["b", "a"], "the fresher address first");
    assert!(table.due(1, 10, 0).is_empty(), "one dial at a time");
    table.dial_failed(&peer(1), 10, u64::MAX);
    assert!(table.due(1_009, 10, 0).is_empty());
    assert_eq!(table.due(1_010, 10, 0).len(), 1);
    table.dial_failed(&peer(1), 1_010, u64::MAX);
    assert!(table.due(3_009, 10, 0).is_empty());
    assert_eq!(table.due(3_010, 10, 0).len(), 1);
    table.connected(peer(1), Some("b"), Source::Incoming, 3_011);
    assert!(table.due(u64::MAX / 2, 10, 0).is_empty(), "connected");
    table.disconnected(&peer(1), 4_000, u64::MAX);
    assert!(table.due(7_999, 10, 0).is_empty(), "it hung up: that is a failure");
    assert_eq!(table.due(8_000, 10, 0).len(), 1);
    table.connected(peer(1), None, Source::Incoming, 9_000);
    table.disconnected(&peer(1), 19_000, 0);
    assert!(table.due(19_499, 10, 0).is_empty());
    assert_eq!(table.due(19_500, 10, 0).len(), 1, "the waits began anew");
    table.dial_failed(&peer(1), 19_600, 0);
    table.retry(&peer(1), 19_600);
    assert_eq!(table.due(19_600, 10, 0).len(), 1);
    let addresses = vec!["b".to_owned(), "a".to_owned()];
    let remembered = Remembered { peer: peer(1), addresses, last: 19_000 };
    assert_eq!(table.worth_remembering(20_000), [remembered]);
}

const DAY: u64 = 24 * 60 * 60 * 1000;

#[test]
fn a_peer_of_an_earlier_run_is_remembered_for_a_week_after_it_was_connected() {
    let mut table = table(TableLimits::default());
    let remembered = |n, place, last| Remembered { peer: peer(n), addresses: at(place), last };
    // The clock of this run starts where the last one ended.
    let start = 100 * DAY;
    let (old, new) = (remembered(1, "a", start - 5 * DAY), remembered(2, "b", start));
    for known in [&old, &new, &remembered(3, "c", start - 8 * DAY)] {
        table.remember(known, start);
    }
    assert_eq!(table.source(&peer(3)), None, "too long ago");
    assert_eq!(table.due(start, 10, 0).len(), 2);
    for n in [1, 2] {
        table.dial_failed(&peer(n), start, 0);
    }
    table.heard(peer(4), "d", Source::Incoming, start);
    assert_eq!(table.worth_remembering(start + DAY), [old, new.clone()], "offline all the while");
    // Being heard of at that address is not the same as being connected.
    table.heard(peer(1), "a", Source::Beacon, start + DAY);
    table.expire(start + 3 * DAY);
    assert_eq!(table.source(&peer(1)), Some(Source::Remembered));
    assert_eq!(table.worth_remembering(start + 3 * DAY), [new]);
    table.connected(peer(2), None, Source::Incoming, start + 6 * DAY);
    let connected = remembered(2, "b", start + 20 * DAY);
    assert_eq!(table.worth_remembering(start + 20 * DAY), [connected], "it is connected");
    table.disconnected(&peer(2), start + 20 * DAY, 0);
    table.expire(start + 20 * DAY);
    assert_eq!(table.source(&peer(2)), None, "nobody was heard of at its address for weeks");
}

#[test]
fn where_a_peer_was_connected_for_long_is_not_forgotten_with_the_connection() {
    let mut table = table(TableLimits::default());
    table.heard(peer(1), "old", Source::Bootstrap, 0);
    table.connected(peer(1), Some("a"), Source::Bootstrap, 1);
    table.disconnected(&peer(1), 30 * DAY, 0);
    table.expire(30 * DAY + 1);
    let remembered = Remembered { peer: peer(1), addresses: at("a"), last: 30 * DAY };
    assert_eq!(table.worth_remembering(30 * DAY + 1), [remembered]);
    table.expire(38 * DAY);
    assert!(table.is_empty());
}

#[test]
fn a_place_is_forgotten_whoever_is_there_and_connected_or_not() {
    let mut table = table(TableLimits::default());
    table.connected(peer(1), Some("a"), Source::Bootstrap, 0);
    table.remember(&Remembered { peer: peer(2), addresses: at("a"), last: 0 }, 0);
    assert!(table.knows(&peer(1), "a") && table.knows(&peer(2), "a"));
    table.forget_place("a");
    assert!(!table.knows(&peer(1), "a") && !table.knows(&peer(2), "a"));
    table.disconnected(&peer(1), 60_000, 0);
    assert!(table.due(u64::MAX / 2, 10, 0).is_empty());
    assert!(table.worth_remembering(60_000).is_empty());
    table.expire(60_001);
    assert!(table.is_empty());
}

#[test]
fn a_dial_nobody_reports_on_is_not_waited_for_for_ever() {
    let mut table = table(TableLimits::default());
    table.heard(peer(1), "a", Source::Bootstrap, 0);
    assert_eq!(table.due(0, 10, 0).len(), 1);
    assert!(table.due(DIAL_LOST_MS, 10, 0).is_empty());
    table.due(DIAL_LOST_MS + 1, 10, 0);
    assert_eq!(table.due(DIAL_LOST_MS + 1_001, 10, 0).len(), 1);
}

#[test]
fn what_is_not_heard_of_again_expires() {
    let mut table = table(TableLimits::default());
    table.heard(peer(1), "a", Source::Beacon, 0);
    table.heard(peer(2), "b", Source::Mdns, 0);
    table.heard(peer(3), "c", Source::Remembered, 0);
    table.heard(peer(4), "d", Source::Beacon, 0);
    table.connected(peer(4), None, Source::Beacon, 0);
    table.heard(peer(2), "b", Source::Mdns, 500_000);
    table.expire(600_001);
    assert_eq!(table.source(&peer(1)), None);
    assert_eq!(table.source(&peer(2)), Some(Source::Mdns));
    assert_eq!(table.source(&peer(3)), Some(Source::Remembered));
    assert_eq!(table.source(&peer(4)), Some(Source::Beacon), "connected");
    table.expire(8 * 24 * 60 * 60 * 1000);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_flood_of_names_drives_out_nobody_good() {
    let limits = TableLimits { peers: 8, per_source: 4, ..TableLimits::default() };
    let mut table = table(limits);
    table.heard(peer(1), "a", Source::Mdns, 0);
    table.connected(peer(1), Some("a"), Source::Mdns, 0);
    table.disconnected(&peer(1), 0, 0);
    for n in 10..1000 {
        table.heard(peer(n), "x", Source::Mdns, 1);
    }
    assert_eq!(table.source(&peer(1)), Some(Source::Mdns));
    assert_eq!(table.len(), 4);
    assert_eq!(table.heard(peer(2), "b", Source::Bootstrap, 1), Sighting::New);
    // Whoever failed makes room for a newcomer.
    let dialled = table.due(1, 10, 0);
    assert!(dialled.iter().any(|c| c.peer == peer(10)));
    table.dial_failed(&peer(10), 2, 0);
    assert_eq!(table.heard(peer(3), "c", Source::Mdns, 2), Sighting::New);
    assert_eq!(table.source(&peer(10)), None);
}

#[test]
fn new_peers_from_one_source_are_rate_limited() {
    let limits = TableLimits { newcomer_burst: 2, newcomer_sources: 2, ..TableLimits::default() };
    let mut table = table(limits);
    let there = |n| IpAddr::from([10, 0, 0, n]);
    let mut hear = |n, from, now| table.heard_beacon(&beacon(n, 9, 0), from, &at("a"), now);
    assert_eq!(hear(1, there(1), 0), Sighting::New);
    assert_eq!(hear(2, there(1), 0), Sighting::New);
    assert_eq!(hear(3, there(1), 999), Sighting::RateLimited);
    assert_eq!(hear(1, there(1), 999), Sighting::Known, "a known peer costs nothing");
    assert_eq!(hear(3, there(1), 1_000), Sighting::New);
    assert_eq!(hear(4, there(2), 1_000), Sighting::New);
    assert_eq!(hear(5, there(3), 1_000), Sighting::New, "many sources shut nobody out");
    assert_eq!(hear(6, there(1), 1_000), Sighting::RateLimited);
    assert_eq!(table.counts().rate_limited, 2);
}

#[test]
fn whoever_makes_up_sources_shuts_out_nobody_else() {
    let mut table = table(TableLimits::default());
    let told = at("a");
    let mut hear = |n, from: IpAddr| table.heard_beacon(&beacon(n, 9, 0), from, &told, 0);
    // One host, all addresses of its network.
    for n in 0..10_000_u32 {
        let made_up = std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(n));
        let expected = if n < 256 { Sighting::New } else { Sighting::RateLimited };
        assert_eq!(hear(1_000 + u64::from(n), made_up.into()), expected);
    }
    assert_eq!(hear(1, "2001:db8:0:1::7".parse().unwrap()), Sighting::New);
    assert_eq!(hear(2, [10, 0, 0, 7].into()), Sighting::New);
    // And with ever other networks, as far as the table goes.
    for n in 0..10_000_u64 {
        let network = std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | (u128::from(n) << 64));
        hear(100_000 + n, network.into());
    }
    assert_eq!(hear(3, [10, 0, 0, 8].into()), Sighting::Full);
    assert_eq!(table.len(), TableLimits::default().per_source);
    // What fails makes room, and so does whoever was not heard for a minute.
    let tried = table.due(0, 1, 0);
    table.dial_failed(&tried[0].peer, 0, 0);
    assert_eq!(table.heard_beacon(&beacon(3, 9, 0), [10, 0, 0, 8].into(), &told, 0), Sighting::New);
}

#[test]
fn ten_thousand_names_of_one_host_keep_nobody_waiting() {
    let mut table = table(TableLimits::default());
    let flooder = IpAddr::from([10, 0, 0, 66]);
    let places = ["/ip4/10.0.0.66/tcp/1".to_owned(), "/ip4/10.0.0.66/udp/1/quic-v1".to_owned()];
    for n in 1_000..11_000 {
        table.heard_beacon(&beacon(n, 9, 0), flooder, &places, 0);
    }
    assert_eq!((table.len(), table.counts().rate_limited), (64, 10_000 - 64));
    // Nobody answers there, yet every dial waits for an answer: at most so many at a time.
    assert_eq!(table.due(0, 100, 0).len(), 4);
    let honest = at("/ip4/10.0.0.7/tcp/1");
    assert_eq!(
        table.heard_beacon(&beacon(1, 9, 0), IpAddr::from([10, 0, 0, 7]), &honest, 1),
        Sighting::New
    );
    let due: Vec<PeerId> = table.due(1, 100, 0).into_iter().map(|c| c.peer).collect();
    assert_eq!(due, [peer(1)]);
    // A peer that was connected before is dialled wherever it is heard of.
    table.connected(peer(1), None, Source::Beacon, 2);
    table.disconnected(&peer(1), 100_000, 0);
    table.heard_beacon(&beacon(1, 9, 0), flooder, &places, 100_001);
    let due = table.due(101_000, 100, 0);
    assert!(due.iter().any(|c| c.peer == peer(1)), "{due:?}");
}

#[test]
fn names_told_by_multicast_dns_are_rate_limited_too() {
    let limits = TableLimits { newcomer_burst: 2, ..TableLimits::default() };
    let mut table = table(limits);
    let mut hear = |n| table.heard_from(peer(n), HERE, "a", Source::Mdns, 0);
    assert_eq!((hear(0), hear(1), hear(2)), (Sighting::Own, Sighting::New, Sighting::New));
    assert_eq!((hear(3), hear(2)), (Sighting::RateLimited, Sighting::Known));
}

#[test]
fn a_peer_that_comes_back_is_dialled_soon_however_long_it_was_away() {
    let mut table = table(TableLimits::default());
    for n in [1, 2] {
        table.heard(peer(n), "a", Source::Beacon, 0);
    }
    table.connected(peer(1), Some("a"), Source::Beacon, 0);
    table.disconnected(&peer(1), 20_000, u64::MAX);
    let mut now = 20_000;
    for _ in 0..20 {
        now += 600_000;
        assert_eq!(table.due(now, 10, 0).len(), 2);
        for n in [1, 2] {
            table.dial_failed(&peer(n), now, u64::MAX);
        }
    }
    for n in [1, 2] {
        table.heard(peer(n), "b", Source::Beacon, now);
    }
    assert!(table.due(now + NEARBY_WAIT_MS - 1, 10, 0).is_empty());
    let due = table.due(now + NEARBY_WAIT_MS, 10, 0);
    assert_eq!(due.len(), 1, "and one that was never connected waits");
    assert_eq!(
        (due[0].peer, &due[0].addresses[..]),
        (peer(1), &["b".to_owned(), "a".to_owned()][..])
    );
    // Nor does a peer remembered from another network wait once this node is there again.
    table.dial_failed(&peer(1), now + NEARBY_WAIT_MS, u64::MAX);
    table.retry_known(now + NEARBY_WAIT_MS);
    assert_eq!(table.due(now + NEARBY_WAIT_MS, 10, 0).len(), 1);
}

#[test]
fn what_is_said_on_the_link_drives_out_no_address_that_was_connected() {
    let limits = TableLimits { addresses: 2, ..TableLimits::default() };
    let mut table = table(limits);
    table.heard(peer(1), "good", Source::Incoming, 0);
    for (n, place) in ["x", "y", "z"].into_iter().enumerate() {
        table.heard(peer(1), place, Source::Beacon, 1 + n as u64);
    }
    assert!(table.knows(&peer(1), "good") && table.knows(&peer(1), "z"));
}

#[test]
fn who_is_not_listed_is_neither_dialled_nor_remembered() {
    let mut table = table(TableLimits { newcomer_burst: 1, ..TableLimits::default() });
    table.connected(peer(9), Some("a"), Source::Incoming, 0);
    table.take_only([peer(1)].into());
    for n in [9, 2] {
        assert_eq!(table.heard_from(peer(n), HERE, "a", Source::Mdns, 0), Sighting::Unlisted);
        assert_eq!(table.heard_beacon(&beacon(n, 9, 0), HERE, &at("a"), 0), Sighting::Unlisted);
        table.connected(peer(n), Some("a"), Source::Incoming, 0);
        table.remember(&Remembered { peer: peer(n), addresses: at("a"), last: 0 }, 0);
    }
    assert!(table.is_empty());
    let copied = table.heard_beacon(&beacon(0, 9, STARTED), HERE, &at("a"), 0);
    assert!(matches!(copied, Sighting::CopiedKey { .. }), "{copied:?}");
    assert_eq!(table.heard_from(peer(1), HERE, "a", Source::Mdns, 0), Sighting::New);
}

#[test]
fn who_is_turned_away_is_dialled_after_longer_and_longer_waits_and_not_remembered() {
    let mut table = table(TableLimits::default());
    table.connected(peer(1), Some("a"), Source::Bootstrap, 0);
    table.disconnected(&peer(1), 60_000, 0);
    assert_eq!(table.worth_remembering(60_000).len(), 1);
    let mut now = 60_000;
    for wait in [1_000, 2_000, 4_000, 8_000, 16_000] {
        table.connected(peer(1), Some("a"), Source::Bootstrap, now);
        now += 20_000;
        table.turned_away(&peer(1), now, u64::MAX);
        // The connection has gone, too; and it is heard on the link all the while.
        table.disconnected(&peer(1), now, 0);
        table.heard(peer(1), "a", Source::Beacon, now);
        assert!(table.due(now + wait - 1, 10, 0).is_empty(), "before {wait} ms");
        assert_eq!(table.due(now + wait, 10, 0).len(), 1, "after {wait} ms");
        assert!(table.worth_remembering(now).is_empty());
        now += wait;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Heard(u64, u8, usize),
    Beacon(u64, u8),
    Connected(u64, usize),
    Disconnected(u64),
    Failed(u64),
    Due(usize),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0u64..40;
    prop_oneof![
        4 => (n.clone(), any::<u8>(), 0usize..5).prop_map(|(n, a, s)| Step::Heard(n, a, s)),
        4 => (n.clone(), any::<u8>()).prop_map(|(n, ip)| Step::Beacon(n, ip)),
        1 => (n.clone(), 0usize..5).prop_map(|(n, s)| Step::Connected(n, s)),
        1 => n.clone().prop_map(Step::Disconnected),
        2 => n.prop_map(Step::Failed),
        2 => (0usize..6).prop_map(Step::Due),
        1 => Just(Step::Expire),
    ]
}

proptest! {
    #[test]
    fn caps_hold_whatever_is_heard(
        steps in prop::collection::vec((step(), 0u64..100_000, any::<u64>()), 0..300),
    ) {
        let limits = TableLimits {
            peers: 12, per_source: 5, addresses: 3, address_len: 4,
            newcomer_burst: 3, newcomer_refill_ms: 1_000, newcomer_sources: 4, stranger_dials: 2,
        };
        let (mut a, mut now) = (table(limits), 0);
        let mut b = a.clone();
        for (step, wait, random) in steps {
            now += wait;
            for table in [&mut a, &mut b] {
                match step.clone() {
                    Step::Heard(n, address, s) => {
                        table.heard(peer(n), &address.to_string(), Source::ALL[s], now);
                    }
                    Step::Beacon(n, ip) => {
                        let from = match ip % 2 {
                            0 => IpAddr::from([10, 0, 0, ip]),
                            _ => IpAddr::from([0xfd00, 0, 0, ip.into(), 0, 0, 0, n as u16]),
                        };
                        table.heard_beacon(&beacon(n, 9, now), from, &at(&ip.to_string()), now);
                    }
                    Step::Connected(n, s) => table.connected(peer(n), Some("a"), Source::ALL[s], now),
                    Step::Disconnected(n) => table.disconnected(&peer(n), now, random),
                    Step::Failed(n) => table.dial_failed(&peer(n), now, random),
                    Step::Due(limit) => {
                        let due = table.due(now, limit, random);
                        prop_assert!(due.len() <= limit);
                        for candidate in due {
                            prop_assert!(candidate.peer != peer(0));
                            prop_assert!((1..=3).contains(&candidate.addresses.len()));
                            prop_assert!(table.peers[&candidate.peer].connected.is_none());
                        }
                    }
                    Step::Expire => table.expire(now),
                }
                prop_assert!(table.len() <= limits.peers);
                let (hosts, networks) = table.newcomers.len();
                prop_assert!(hosts.max(networks) <= limits.newcomer_sources);
                prop_assert!(table.counts().peers.values().all(|n| *n <= limits.per_source));
                prop_assert!(table.peers.values().all(|e| e.addresses.len() <= limits.addresses));
                prop_assert!(table.source(&peer(0)).is_none());
            }
        }
        prop_assert_eq!(format!("{a:?}"), format!("{b:?}"), "the same calls, the same table");
    }
}

#[test]
fn what_other_nodes_say_is_soon_forgotten_and_comes_at_a_rate() {
    let mut table = table(TableLimits { newcomer_burst: 2, ..TableLimits::default() });
    let mut tell = |n, now| table.heard_from(peer(n), HERE, "a", Source::Lookup, now);
    assert_eq!(
        [1, 2, 3].map(|n| tell(n, 0)),
        [Sighting::New, Sighting::New, Sighting::RateLimited]
    );
    assert_eq!(tell(3, 1_000), Sighting::New, "one more each second");
    table.forget(&peer(1));
    assert_eq!(table.len(), 2);
    for due in table.due(1_000, 10, 0) {
        table.forget(&due.peer);
    }
    assert_eq!(table.len(), 2, "they are being dialled");
    table.connected(peer(2), Some("a"), Source::Lookup, 1_000);
    table.dial_failed(&peer(3), 1_000, 0);
    table.forget(&peer(2));
    table.expire(10 * 60_000 + 1_001);
    assert_eq!(table.counts().peers[&Source::Lookup], 1, "who is connected stays");
    let sources = [Source::Lookup, Source::Incoming];
    assert!(table.is_known_only_by(&peer(2), &sources));
    assert!(!table.is_known_only_by(&peer(2), &sources[1..]));
    assert!(!table.is_known_only_by(&peer(9), &sources), "not known at all");
    table.heard(peer(4), "b", Source::Lookup, 0);
    table.connected(peer(4), Some("c"), Source::Bootstrap, 0);
    assert!(!table.is_known_only_by(&peer(4), &sources), "the operator told of it, too");
    table.disconnected(&peer(4), 1, 0);
    table.forget(&peer(4));
    table.disconnected(&peer(2), 11 * 60_000, 0);
    table.forget(&peer(2));
    assert!(table.is_empty());
}

#[test]
fn with_whom_a_space_was_shared_is_remembered_for_a_week() {
    let mut table = table(TableLimits::default());
    let sources = [Source::Lookup];
    for n in [1, 2] {
        table.heard(peer(n), "a", Source::Lookup, 0);
        table.connected(peer(n), Some("a"), Source::Lookup, 0);
        assert!(table.is_passing(&peer(n), &sources));
    }
    table.shares(&peer(1));
    table.shares(&peer(3));
    assert!(!table.is_passing(&peer(1), &sources));
    assert!(table.is_known_only_by(&peer(1), &sources));
    for n in [1, 2] {
        table.disconnected(&peer(n), 20_000, 0);
    }
    let shared = |now: u64, table: &mut PeerTable| {
        table.expire(now);
        let remembered = table.worth_remembering(now).into_iter();
        remembered.map(|known| known.peer).collect::<Vec<_>>()
    };
    let life_ms = Source::Lookup.life_ms();
    assert_eq!(shared(20_000 + life_ms, &mut table), [peer(1), peer(2)]);
    assert_eq!(shared(20_001 + life_ms, &mut table), [peer(1)]);
    assert!(!table.is_passing(&peer(1), &sources), "also while it is away");
    assert_eq!(shared(20_000 + REMEMBERED_MS, &mut table), [peer(1)]);
    assert_eq!(shared(20_001 + REMEMBERED_MS, &mut table), []);
    assert!(table.is_empty(), "who is not known shares nothing");
}
