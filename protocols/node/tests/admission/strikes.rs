//! What breaks the protocol, and what that costs.

use ocm_discovery::PeerId;
use ocm_node::{Input, Output, limits};
use ocm_record::SigningKey;
use ocm_sync::{Parity, PushVerdict, Refusal, Request, Response, SetDigest};

use crate::host::*;
use crate::peer::*;
use crate::scribe::*;

/// Sends bytes as a request: the answer, and whether the connection is ended.
fn send(host: &mut Host, peer: &Peer, bytes: Vec<u8>) -> (Response, bool) {
    let channel = host.number();
    let out = host.tell(Input::Request { peer: peer.id, channel, bytes });
    (Response::decode(&answer(&out, channel).unwrap()).unwrap(), disconnects(&out, peer.id))
}

#[test]
fn the_third_malformed_request_ends_the_connection() {
    let scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, 2);
    let other = Peer::connect(&mut host, 3);
    let malformed = Response::Refused { reason: Refusal::MALFORMED };
    let unsupported = Response::Refused { reason: Refusal::UNSUPPORTED };
    for (bytes, ends) in [(vec![], false), (vec![0x82, 2], false), (vec![0xff; 40], true)] {
        assert_eq!(send(&mut host, &peer, vec![0x81, 23]), (unsupported.clone(), false));
        assert_eq!(send(&mut host, &peer, bytes), (malformed.clone(), ends));
        // Good requests in between change nothing.
        let (answer, ended) =
            send(&mut host, &other, Request::Spaces { tags: vec![] }.encode().unwrap());
        assert_eq!((answer, ended), (Response::Spaces { shared: vec![] }, false));
    }
}

/// Connects again. Whether it is let in.
fn comes_again(host: &mut Host, peer: &Peer) -> bool {
    host.tell(Input::Disconnected(peer.id));
    let out = host.tell(Input::Connected(peer.id));
    let banned = disconnects(&out, peer.id);
    assert_eq!(banned, host.node.snapshot().peers.iter().all(|shown| shown.peer != peer.id));
    !banned
}

#[test]
fn breaches_outlast_the_connection_and_the_third_keeps_a_peer_away_for_a_while() {
    let scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, 2);
    assert!(!send(&mut host, &peer, vec![]).1);
    assert!(comes_again(&mut host, &peer));
    assert!(!send(&mut host, &peer, vec![]).1);
    assert!(comes_again(&mut host, &peer));
    assert!(send(&mut host, &peer, vec![]).1, "two of the three were in earlier connections");
    assert!(!comes_again(&mut host, &peer));
    // Whoever else acts for the same DID is not meant.
    Peer::connect(&mut host, 3);
    host.now += limits::BANNED_MS - 1;
    assert!(!comes_again(&mut host, &peer));
    // A clock that is set back makes the pause no longer.
    let before = host.now;
    host.now -= 1000;
    host.tell(Input::Tick);
    host.now = before - 1000 + 1;
    assert!(comes_again(&mut host, &peer));
    assert!(send(&mut host, &peer, vec![]).1, "nothing was forgotten");
    host.now += limits::STRIKES_FOR_MS;
    assert!(comes_again(&mut host, &peer));
    for ends in [false, false, true] {
        assert_eq!(send(&mut host, &peer, vec![]).1, ends, "all was forgotten");
    }
}

#[test]
fn breaches_of_many_names_are_forgotten_oldest_first() {
    let scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let breaks = |host: &mut Host, n: usize| {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        let peer = PeerId::new(SigningKey::from_seed(&seed).public());
        host.now += 1;
        host.tell(Input::Connected(peer));
        let channel = host.number();
        let out = host.tell(Input::Request { peer, channel, bytes: vec![] });
        host.tell(Input::Disconnected(peer));
        disconnects(&out, peer)
    };
    assert!(!breaks(&mut host, 0) && !breaks(&mut host, 0));
    for n in 1..=limits::STRIKERS {
        assert!(!breaks(&mut host, n));
    }
    assert!(!breaks(&mut host, 0), "its two breaches went first");
    assert!(!breaks(&mut host, limits::STRIKERS));
    assert!(breaks(&mut host, limits::STRIKERS), "the latest are remembered");
}

#[test]
fn a_statement_of_parity_that_does_not_hold_is_a_breach() {
    let scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, OWNER);
    let ours = host.space(scribe.space).parity;
    let tag = peer.tag(scribe.space);
    let says = |peer: &Peer, parity| peer.statement(scribe.space, parity);
    // True, and rightly signed: compared and kept.
    let honest = Request::Parity { tag, statement: says(&peer, ours) };
    let (answer, _) = send(&mut host, &peer, honest.encode().unwrap());
    let Response::Parity { statement } = answer else { panic!("{answer:?}") };
    assert_eq!(peer.read(scribe.space, &statement), Ok(ours));
    let kept = host.node.snapshot().parity(scribe.space, peer.id).unwrap().clone();
    assert_eq!((kept.theirs, kept.stated.time()), (ours, NOW));
    let more = SetDigest { count: ours.content.count + 1, ..ours.content };
    let elsewhere = Scribe::named("elsewhere", CLOSED).space;
    for (what, statement) in [
        ("for another space", peer.statement(elsewhere, ours)),
        ("sent back", statement),
        ("counts that are not those of the digest", says(&peer, Parity { content: more, ..ours })),
    ] {
        let request = Request::Parity { tag, statement }.encode().unwrap();
        let (answer, _) = send(&mut host, &peer, request);
        assert_eq!(answer, Response::Refused { reason: Refusal::MALFORMED }, "{what}");
        let after = host.node.snapshot().parity(scribe.space, peer.id).unwrap().clone();
        assert_eq!(after.stated, kept.stated, "{what} is not kept");
    }
    let banned = host.tell(Input::Connected(peer.id));
    assert!(banned.is_empty(), "it is connected, and on its way out");
    assert!(!comes_again(&mut host, &peer));
}

#[test]
fn malformed_reconciliation_is_a_breach() {
    let scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, OWNER);
    let tag = peer.tag(scribe.space);
    let set = ocm_record::Set::Content;
    let request = Request::Reconcile { tag, set, message: vec![0x62].into(), room: u32::MAX }
        .encode()
        .unwrap();
    for ends in [false, false, true] {
        let (answer, ended) = send(&mut host, &peer, request.clone());
        assert_eq!(answer, Response::Refused { reason: Refusal::MALFORMED });
        assert_eq!(ended, ends);
    }
}

#[test]
fn pushing_what_is_worthless_is_a_breach_and_what_is_refused_is_none() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, OWNER);
    let start = scribe.start(OWNER, &[]);
    let stranger = scribe.start(3, &[]);
    let orphan = scribe.change(OWNER, &start, &[]);
    let harmless = [stranger.encode(), orphan.encode(), orphan.encode_without_body()];
    for _ in 0..5 {
        let verdicts = peer.push(&mut host, scribe.space, &harmless);
        assert_eq!(verdicts, [PushVerdict::Refuse, PushVerdict::Hold, PushVerdict::Hold]);
    }
    // A page is one breach, however many of its records are bad.
    let bad = [forged(&start), forged(&orphan), b"no record".to_vec()];
    let request = peer.push_request(scribe.space, &bad).encode().unwrap();
    for ends in [false, false, true] {
        let (answer, ended) = send(&mut host, &peer, request.clone());
        let Response::Pushed { verdicts } = answer else { panic!("{answer:?}") };
        assert_eq!(verdicts[0], PushVerdict::Reject);
        assert_eq!(verdicts[2], PushVerdict::Reject);
        assert_eq!(ended, ends);
    }
    let elsewhere = Scribe::named("elsewhere", CLOSED);
    let verdicts = peer.push(&mut host, scribe.space, &[elsewhere.genesis.encode()]);
    assert_eq!(verdicts, [PushVerdict::Reject], "it was sent as a record of this space");
}

#[test]
fn answers_that_are_none_are_breaches() {
    let scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let peer = Peer::id(OWNER);
    host.tell(Input::Connected(peer));
    let mut ended = false;
    let mut answered = 0;
    for _ in 0..10 {
        let out = if ended { vec![] } else { host.wait(6000) };
        for out in out {
            if let Output::Send { request, .. } = out {
                answered += 1;
                let out = host.tell(Input::Response { request, bytes: vec![0x80] });
                ended |= disconnects(&out, peer);
            }
        }
    }
    assert!(ended);
    assert_eq!(answered, 3);
}

#[test]
fn nothing_is_answered_before_a_hello_that_proves_something() {
    let scribe = Scribe::new(READ_OPEN);
    let mut host = scribe.host(OWNER);
    let id = Peer::id(2);
    host.tell(Input::Connected(id));
    let fetch = Request::Fetch { tag: [1; 32], ids: vec![], room: u32::MAX }.encode().unwrap();
    let refused = Response::Refused { reason: Refusal::HELLO }.encode().unwrap();
    assert_eq!(host.ask(id, fetch), refused);
    // A certificate of another peer, and one that has ended.
    let stolen = Peer::connect(&mut host, 3).hello(NOW);
    let old = Peer::connect(&mut host, 2).hello(NOW - 40 * DAY);
    for hello in [stolen, old] {
        let bytes = Request::Hello(hello).encode().unwrap();
        let channel = host.number();
        let out = host.tell(Input::Request { peer: id, channel, bytes });
        assert!(disconnects(&out, id));
    }
}
