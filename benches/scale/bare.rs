//! What writing costs at least: batches of records in sled, each flushed and synced, signatures made
//! and verified, and round trips of bare HTTP and libp2p.

use std::fs::File;
use std::time::Instant;

use futures::StreamExt as _;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::SwarmEvent;
use ocm_record::{Boot, Draft, Kind, RecordId, SigningKey, SpaceId, Time, sign_batch};
use tempfile::TempDir;

use crate::fill::Log;
use crate::floor;
use crate::http::WRITE;
use crate::process::own_cpu;
use crate::process::{say, wait_for_the_end};
use crate::times::Times;
use crate::transfer::runtime;

/// How long it takes to make batches of so many records durable, one after the other, and the seconds
/// of processor time of all.
pub(crate) fn commits(records: usize, batches: usize) -> (Times, f64) {
    let dir = TempDir::new().unwrap();
    let db = floor::open(dir.path());
    let file = File::open(dir.path().join("db")).unwrap();
    let space = SpaceId(RecordId::of_header(Time(1), b"a space"));
    let mut log = Log::new(space, vec![space.0]);
    let batches: Vec<sled::Batch> = (0..batches)
        .map(|_| {
            let mut batch = sled::Batch::default();
            for record in log.by_ref().take(records) {
                batch.insert(floor::key(&record.id()), record.encode());
            }
            batch
        })
        .collect();
    let mut batches = batches.into_iter();
    let before = own_cpu();
    let times = Times::measure(batches.len(), |_| {
        db.apply_batch(batches.next().unwrap()).unwrap();
        db.flush().unwrap();
        file.sync_data().unwrap();
    });
    (times, own_cpu() - before)
}

/// A process that answers every write at once, as the API would, from nothing. It says where it
/// listens.
pub(crate) fn http(answer: &str) {
    runtime().block_on(async {
        let answer = axum::body::Bytes::from(answer.to_owned());
        let write = async move |_body: axum::body::Bytes| {
            let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
            (axum::http::StatusCode::CREATED, json, answer)
        };
        let router = axum::Router::new().route(WRITE, axum::routing::post(write));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        say(&listener.local_addr().unwrap().to_string());
        let end = async { tokio::task::spawn_blocking(wait_for_the_end).await.unwrap() };
        axum::serve(listener, router).with_graceful_shutdown(end).await.unwrap();
    });
}

/// How many records a second one core signs, and verifies in groups of so many.
pub(crate) fn signatures(group: usize) -> f64 {
    let key = SigningKey::from_seed(&[7; 32]);
    let draft = |n: usize| Draft {
        space: SpaceId(RecordId::of_header(Time(1), b"a space")),
        kind: Kind::CHANGE,
        memory: None,
        author: None,
        boot: Boot::from_bytes([7; 16]),
        seq: 1,
        prev: None,
        deps: Vec::new(),
        auth: Vec::new(),
        time: Time(2 + n as u64),
    };
    let unsigned = |n| draft(n).prepare(key.public(), vec![7; 320]).unwrap();
    let mut groups: Vec<Vec<_>> = (0..100).map(|_| (0..group).map(unsigned).collect()).collect();
    let times = Times::measure(groups.len(), |_| {
        std::hint::black_box(sign_batch(groups.pop().unwrap(), &key));
    });
    group as f64 / (times.median() / 1000.0)
}

/// How long a request and its answer of a record's size take between two connected peers.
pub(crate) fn round_trips(count: usize) -> Times {
    let work = async move {
        let (mut asking, mut answering) = (floor::swarm(), floor::swarm());
        answering.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = answering.select_next_some().await {
                break address;
            }
        };
        tokio::spawn(async move {
            loop {
                let event = answering.select_next_some().await;
                if let SwarmEvent::Behaviour(Event::Message {
                    message: Message::Request { channel, .. },
                    ..
                }) = event
                {
                    answering.behaviour_mut().send_response(channel, vec![7; 500]).unwrap();
                }
            }
        });
        asking.dial(address).unwrap();
        let peer = loop {
            let event = asking.select_next_some().await;
            if let SwarmEvent::ConnectionEstablished { peer_id, .. } = event {
                break peer_id;
            }
        };
        let mut times = Vec::new();
        for n in 0..count {
            let began = Instant::now();
            asking.behaviour_mut().send_request(&peer, n as u64);
            loop {
                let event = asking.select_next_some().await;
                if let SwarmEvent::Behaviour(Event::Message {
                    message: Message::Response { .. },
                    ..
                }) = event
                {
                    break;
                }
            }
            times.push(began.elapsed());
        }
        Times::of(times)
    };
    runtime().block_on(work)
}
