//! What a transfer costs at least: the same records in pages of 1,000 over bare libp2p
//! request-response, verified as batches, one batch of sled, one flush and one sync per page.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Instant;

use futures::StreamExt as _;
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::request_response::{self, Event, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use ocm_record::{RecordId, SignedRecord, SpaceId, Time, verify_batch};
use tempfile::TempDir;

use crate::fill::Log;
use crate::process::{Part, disk, say, wait_for_the_end};
use crate::transfer::{Took, runtime};

const PAGE: u64 = 1000;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bytes;

impl request_response::Codec for Bytes {
    type Protocol = StreamProtocol;
    type Request = u64;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<u64> {
        let mut page = [0; 8];
        io.read_exact(&mut page).await?;
        Ok(u64::from_be_bytes(page))
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        page: u64,
    ) -> io::Result<()> {
        io.write_all(&page.to_be_bytes()).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await
    }
}

pub(crate) type Bare = request_response::Behaviour<Bytes>;

pub(crate) fn swarm() -> Swarm<Bare> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| {
            let protocol = (StreamProtocol::new("/floor"), ProtocolSupport::Full);
            Bare::new([protocol], request_response::Config::default())
        })
        .unwrap()
        .build()
}

fn run(work: impl Future<Output = ()>) {
    runtime().block_on(work);
}

/// A key that sorts as the records do, as the store of a node has them.
pub(crate) fn key(id: &RecordId) -> Vec<u8> {
    [&[b'r', 0, 0, 0, 0, 1], &id.as_bytes()[..]].concat()
}

pub(crate) fn open(dir: &Path) -> sled::Db {
    sled::Config::new().path(dir).cache_capacity(64 << 20).open().unwrap()
}

/// Fills a directory with the records, in their order.
fn fill(dir: &Path, count: usize) {
    let db = open(dir);
    let space = SpaceId(RecordId::of_header(Time(1), b"a space"));
    let mut log = Log::new(space, vec![space.0]).take(count).peekable();
    while log.peek().is_some() {
        let mut batch = sled::Batch::default();
        for record in log.by_ref().take(PAGE as usize) {
            batch.insert(key(&record.id()), record.encode());
        }
        db.apply_batch(batch).unwrap();
    }
    db.flush().unwrap();
}

/// A process that answers with page after page.
pub(crate) fn serve(dir: &Path) {
    let db = open(dir);
    run(async {
        let mut swarm = swarm();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let end = tokio::task::spawn_blocking(wait_for_the_end);
        let mut end = std::pin::pin!(end);
        let mut rest = db.iter();
        loop {
            let event = tokio::select! {
                _ = &mut end => return,
                event = swarm.select_next_some() => event,
            };
            match event {
                SwarmEvent::NewListenAddr { address, .. } => say(&address.to_string()),
                SwarmEvent::Behaviour(Event::Message {
                    message: Message::Request { channel, .. },
                    ..
                }) => {
                    let mut page = Vec::new();
                    for entry in rest.by_ref().take(PAGE as usize) {
                        let (_, value) = entry.unwrap();
                        page.extend_from_slice(&(value.len() as u32).to_be_bytes());
                        page.extend_from_slice(&value);
                    }
                    swarm.behaviour_mut().send_response(channel, page).unwrap();
                }
                _ => {}
            }
        }
    });
}

/// A process that asks for page after page, and makes each durable.
pub(crate) fn receive(dir: &Path, from: &str, count: u64) {
    let db = open(dir);
    let file = File::open(dir.join("db")).unwrap();
    let address: Multiaddr = from.parse().unwrap();
    run(async {
        let mut swarm = swarm();
        swarm.dial(address).unwrap();
        let mut began = Instant::now();
        let mut done = 0;
        while done < count {
            let (peer, page) = match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    began = Instant::now();
                    (peer_id, Vec::new())
                }
                SwarmEvent::Behaviour(Event::Message {
                    peer,
                    message: Message::Response { response, .. },
                    ..
                }) => (peer, response),
                _ => continue,
            };
            let mut records = Vec::new();
            let mut rest = &page[..];
            while let Some((length, more)) = rest.split_first_chunk::<4>() {
                let (record, more) = more.split_at(u32::from_be_bytes(*length) as usize);
                records.push(SignedRecord::decode(record).unwrap());
                rest = more;
            }
            done += records.len() as u64;
            let mut batch = sled::Batch::default();
            for record in verify_batch(records) {
                let record = record.unwrap();
                batch.insert(key(&record.id()), record.encode());
            }
            if !page.is_empty() {
                db.apply_batch(batch).unwrap();
                db.flush().unwrap();
                file.sync_data().unwrap();
            }
            if done < count {
                swarm.behaviour_mut().send_request(&peer, done);
            }
        }
        say(&began.elapsed().as_secs_f64().to_string());
        tokio::task::spawn_blocking(wait_for_the_end).await.unwrap();
    });
}

pub(crate) fn measure(count: usize) -> Took {
    let (full, fresh) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fill(full.path(), count);
    let mut sender = Part::start(&["floor-serve", full.path().to_str().unwrap()]);
    let address = sender.line();
    let into = fresh.path().to_str().unwrap();
    let mut receiver = Part::start(&["floor-receive", into, &address, &count.to_string()]);
    let seconds: f64 = receiver.line().parse().unwrap();
    let took = Took {
        seconds,
        receiver_mb: receiver.peak(),
        sender_mb: sender.peak(),
        bytes_per_record: disk(fresh.path()) as f64 / count as f64,
    };
    receiver.end();
    sender.end();
    took
}
