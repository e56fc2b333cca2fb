//! When a node compares: on connecting, on a hint, and by a timer that grows while nothing differs.

use ocm_node::{Command, GossipVerdict, Input, Output, limits};
use ocm_record::SpaceId;
use ocm_sync::{Parity, Request, Response};

use crate::host::*;
use crate::peer::*;
use crate::scribe::*;

/// When the host asked a peer to compare, in milliseconds after it began.
fn probes(
    host: &mut Host,
    peer: &Peer,
    space: SpaceId,
    millis: u64,
    theirs: fn(Parity) -> Parity,
) -> Vec<u64> {
    let (begun, until) = (host.now, host.now + millis);
    let mut times = Vec::new();
    let mut open = host.tell(Input::Tick);
    loop {
        for out in std::mem::take(&mut open) {
            let Output::Send { peer: to, request, bytes } = out else { continue };
            if to != peer.id {
                continue;
            }
            let ours = host.space(space).parity;
            let bytes = match Request::decode(&bytes).unwrap() {
                Request::Parity { .. } => {
                    times.push(host.now - begun);
                    let statement = peer.statement(space, theirs(ours));
                    Response::Parity { statement }
                }
                // A session that finds nothing to move.
                Request::Reconcile { .. } => Response::Reconcile { message: vec![0xe1].into() },
                Request::Range { .. } => Response::Range { records: vec![], next: None },
                _ => Response::Busy,
            };
            open.extend(host.tell(Input::Response { request, bytes: bytes.encode().unwrap() }));
        }
        if !open.is_empty() {
            continue;
        }
        let Some(at) = host.node.next_deadline().filter(|at| *at <= until) else { break };
        host.now = at.max(host.now + 1);
        open = host.tell(Input::Tick);
    }
    host.now = until;
    times
}

fn scene() -> (Host, Peer, SpaceId) {
    let scribe = Scribe::new(READ_OPEN);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, OWNER);
    // Named by the peer: compared at once.
    let tags = vec![peer.tag(scribe.space)];
    let channel = host.number();
    let bytes = Request::Spaces { tags }.encode().unwrap();
    let out = host.tell_slowly(Input::Request { peer: peer.id, channel, bytes });
    let asked = sent_to(&out, peer.id);
    assert!(matches!(asked[..], [Request::Parity { .. }]), "{asked:?}");
    // Nothing came back.
    for out in out {
        if let Output::Send { request, .. } = out {
            host.tell(Input::RequestFailed { request, timed_out: true });
        }
    }
    (host, peer, scribe.space)
}

/// Whether a pause is the one planned, moved by up to a quarter, the next tick included.
fn about(pause: u64, planned: u64) -> bool {
    (planned - planned / 4..=planned + planned / 4 + 1000).contains(&pause)
}

#[test]
fn pauses_double_while_nothing_differs() {
    // A session that moves nothing counts as that, too.
    for theirs in [|ours| ours, |ours| Parity { missing_bodies: 1, ..ours }] {
        let (mut host, peer, space) = scene();
        let times = probes(&mut host, &peer, space, 2 * 3_600_000, theirs);
        // Two statements of one comparison, where there was a session.
        let mut pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        pauses.retain(|pause| *pause > 0);
        let mut planned = 2 * limits::INTERVAL_MIN_MS;
        for pause in &pauses {
            assert!(about(*pause, planned), "{pauses:?}, {planned}");
            planned = (planned * 2).min(limits::INTERVAL_MAX_MS);
        }
        assert!(pauses.len() > 10 && planned == limits::INTERVAL_MAX_MS, "{pauses:?}");
    }
}

#[test]
fn a_change_here_is_compared_within_a_second_however_long_the_pause() {
    let mut scribe = Scribe::new(READ_OPEN);
    let (mut host, peer, space) = scene();
    probes(&mut host, &peer, space, 3_600_000, |ours| ours);
    host.accept(&scribe.start(OWNER, &[]));
    let times = probes(&mut host, &peer, space, 30_000, |ours| ours);
    assert!(times[0] <= 1000, "{times:?}");
}

/// When the host asked a peer to compare while a record came every 50 milliseconds for so long, and
/// in the ten seconds after, in milliseconds after the first.
fn probes_in_a_flow(host: &mut Host, peer: &Peer, scribe: &mut Scribe, millis: u64) -> Vec<u64> {
    let mut times = Vec::new();
    for at in (0..millis).step_by(50) {
        let record = scribe.start(OWNER, &[]);
        let (verdict, out) = host.gossip(peer.id, scribe.space, record.encode());
        assert_eq!(verdict, GossipVerdict::Accept);
        assert!(sent_to(&out, peer.id).is_empty(), "nothing is asked for a record's sake");
        let asked = probes(host, peer, scribe.space, 50, |ours| ours);
        times.extend(asked.into_iter().map(|after| at + after));
    }
    let asked = probes(host, peer, scribe.space, 10_000, |ours| ours);
    times.extend(asked.into_iter().map(|after| millis + after));
    times
}

#[test]
fn what_gossip_goes_on_bringing_puts_a_comparison_off_for_seconds_at_most() {
    let mut scribe = Scribe::new(READ_OPEN);
    let (mut host, peer, space) = scene();
    probes(&mut host, &peer, space, 3_600_000, |ours| ours);
    let flow = 120_000;
    let times = probes_in_a_flow(&mut host, &peer, &mut scribe, flow);
    let most = limits::QUIET_WITHIN_MS + 100;
    let after = |from: u64| times.iter().find(|at| **at >= from).copied();
    for from in (0..flow).step_by(1000) {
        assert!(after(from).is_some_and(|at| at <= from + most), "{from}: {times:?}");
    }
    let in_flow = times.iter().filter(|at| **at < flow).count();
    // Put off by nothing there would be some four hundred statements, two of a comparison.
    assert!(in_flow < 150, "{in_flow} in two minutes: {times:?}");
    // It ends: what was last is compared when it is quiet.
    assert!(after(flow).is_some_and(|at| at <= flow + 1000), "{times:?}");
}

#[test]
fn what_is_too_much_for_gossip_puts_no_comparison_off() {
    let mut scribe = Scribe::new(READ_OPEN);
    let (mut host, peer, space) = scene();
    probes(&mut host, &peer, space, 3_600_000, |ours| ours);
    let first = scribe.start(OWNER, &[]);
    host.gossip(peer.id, space, first.encode());
    let many = (0..=limits::PUSH_RECORDS).map(|_| scribe.start(OWNER, &[]).encode()).collect();
    let ticket = host.number();
    host.tell(Input::Command { ticket, command: Command::Import { space: None, records: many } });
    let times = probes_in_a_flow(&mut host, &peer, &mut scribe, 2_000);
    assert!(times[0] <= 1000, "{times:?}");
}

#[test]
fn many_peers_are_compared_with_a_few_at_a_time() {
    let mut scribe = Scribe::new(READ_OPEN);
    let (mut host, first, space) = scene();
    let mut peers = vec![first];
    for n in 0..39 {
        let peer = Peer::connect(&mut host, n + 20);
        let tags = vec![peer.tag(space)];
        let (channel, bytes) = (host.number(), Request::Spaces { tags }.encode().unwrap());
        for out in host.tell(Input::Request { peer: peer.id, channel, bytes }) {
            if let Output::Send { request, .. } = out {
                host.tell(Input::RequestFailed { request, timed_out: false });
            }
        }
        peers.push(peer);
    }
    // Ticks for so long, answers everyone, and tells who was asked when.
    let live = |host: &mut Host, millis: u64, changes: &mut dyn FnMut(&mut Host)| {
        let begun = host.now;
        let mut asked = Vec::new();
        while host.now < begun + millis {
            host.now += 50;
            let mut open = host.tell(Input::Tick);
            while let Some(out) = open.pop() {
                let Output::Send { peer: to, request, bytes } = out else { continue };
                let peer = peers.iter().find(|peer| peer.id == to).unwrap();
                let answer = match Request::decode(&bytes).unwrap() {
                    Request::Parity { .. } => {
                        asked.push((host.now - begun, to));
                        let statement = peer.statement(space, host.space(space).parity);
                        Response::Parity { statement }
                    }
                    Request::Reconcile { .. } => Response::Reconcile { message: vec![0xe1].into() },
                    Request::Range { .. } => Response::Range { records: vec![], next: None },
                    _ => Response::Busy,
                };
                let bytes = answer.encode().unwrap();
                open.extend(host.tell(Input::Response { request, bytes }));
            }
            changes(host);
        }
        asked
    };
    live(&mut host, 600_000, &mut |_| {});
    let asked = live(&mut host, 10_000, &mut |host| host.accept(&scribe.start(OWNER, &[])));
    let first_probe: std::collections::BTreeMap<_, _> =
        asked.iter().rev().map(|(at, peer)| (*peer, *at)).collect();
    let asked = asked.len();
    assert_eq!(first_probe.len(), 40, "everyone is asked");
    assert!(first_probe.values().min() < Some(&2000), "{:?}", first_probe.values());
    // Each says what is stored at its begin and at its end.
    assert!(asked <= 2 * 40 * 4, "{asked} statements in ten seconds");
}

#[test]
fn a_hint_that_cannot_be_followed_leads_to_a_comparison() {
    let mut scribe = Scribe::new(READ_OPEN);
    let (mut host, peer, space) = scene();
    probes(&mut host, &peer, space, 3_600_000, |ours| ours);
    // More is announced at once than is fetched singly.
    let start = scribe.start(OWNER, &[]);
    for _ in 0..=limits::HINTS_PER_PEER {
        let hint = scribe.change(OWNER, &start, &[]);
        host.gossip(peer.id, space, hint.encode());
    }
    let times = probes(&mut host, &peer, space, 30_000, |ours| ours);
    assert!(times[0] <= 1000, "{times:?}");
}
