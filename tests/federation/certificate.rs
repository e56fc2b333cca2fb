//! Peers whose certificate proves nothing are let go.

use ocm_discovery::{CERTIFICATE_LIFE_MS, CLOCK_TOLERANCE_MS, Certificate};
use ocm_record::{Did, SigningKey};
use ocm_sync::{Refusal, Request, Response};
use serde_json::json;

use crate::node::{READ_OPEN, TestNode, Transport};
use crate::puppet::{Puppet, certificate, now_ms};

over_both!(a_foreign_certificate_ends_the_connection);

/// Changes the last byte: the DID's signature.
fn tampered(mut certificate: Vec<u8>) -> Vec<u8> {
    *certificate.last_mut().unwrap() ^= 1;
    certificate
}

fn expired(peer: &SigningKey, author: &SigningKey) -> Vec<u8> {
    let until = now_ms() - CLOCK_TOLERANCE_MS - 60_000;
    let did = Did::from(author.public());
    Certificate::issue(peer, author, did, until - CERTIFICATE_LIFE_MS, until).unwrap().encode()
}

async fn a_foreign_certificate_ends_the_connection(transport: Transport) {
    let node = TestNode::start(transport, &[]).await;
    let space = node.create_space("square", READ_OPEN).await;
    node.write(space, &json!({"title": "hello"})).await.unwrap();
    let own = node.running.peer;
    let other = SigningKey::from_seed(&[250; 32]);
    let made = |puppet: &Puppet| {
        let (peer, author) = (&puppet.peer, &puppet.author);
        [
            ("another peer's", certificate(&other, author)),
            ("not signed by the DID", tampered(certificate(peer, author))),
            ("over", expired(peer, author)),
            ("no certificate", b"certificate".to_vec()),
            ("empty", Vec::new()),
        ]
    };
    for n in 0..5 {
        let mut puppet = Puppet::start(transport, 10 + n);
        let (what, foreign) = made(&puppet)[usize::from(n)].clone();
        puppet.certificate = foreign;
        puppet.connect(&node).await;
        // Whichever side says hello first: the node disconnects.
        puppet.until(what, |puppet| (!puppet.connected.contains(&own)).then_some(())).await;
        let known = node.handle().status();
        assert!(known.core.peers.iter().all(|peer| peer.did.is_none()), "{what}: {known:#?}");
    }

    // Without a hello nothing is answered; with a good one everything is.
    let mut puppet = Puppet::start(transport, 20);
    let good = std::mem::take(&mut puppet.certificate);
    puppet.network.dial(&node.address()).unwrap();
    let request = Request::Spaces { tags: Vec::new() };
    let mut first = None;
    puppet
        .until("it is connected", |puppet| {
            if puppet.connected.contains(&own) {
                first = Some(puppet.network.request(own, request.encode().unwrap()));
            }
            first
        })
        .await;
    let refused = puppet.answer_to(first.unwrap()).await;
    if let Ok(bytes) = refused {
        let refusal = Response::Refused { reason: Refusal::HELLO };
        assert_eq!(Response::decode(&bytes).unwrap(), refusal);
    }
    puppet.until("it is let go", |puppet| (!puppet.connected.contains(&own)).then_some(())).await;
    puppet.certificate = good;
    puppet.meet(&node).await;
    let tag = puppet.tag_to(own, space);
    let shared = puppet.ask(&node, &Request::Spaces { tags: vec![tag] }).await;
    assert_eq!(shared, Response::Spaces { shared: vec![0] });
    let did = puppet.did();
    node.until("knows it", |status| status.core.peers.iter().any(|p| p.did == Some(did))).await;
}
