//! A peer whose every word the test chooses: a bare network with a valid certificate, that speaks
//! the federation protocol and gossip by hand.

use std::collections::{BTreeMap, BTreeSet};

use ocm::network::{
    Network, NetworkConfig, NetworkEvent, Published, RequestFailure, RequestId, TOPIC_PREFIX,
    Verdict,
};
use ocm_discovery::{CERTIFICATE_LIFE_MS, Certificate, PeerId};
use ocm_memory::{create_edits, encode_edits};
use ocm_record::{Body, Boot, Did, Draft, Kind, RecordId, SignedRecord, SigningKey, SpaceId, Time};
use ocm_sync::{Hello, PushVerdict, Request, Response, SpaceTag, Statement, Terms, space_tag};
use prometheus_client::registry::Registry;
use serde_json::Value;

use crate::node::{PATIENCE, TestNode, Transport};

/// What came in, in its order.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    Request(PeerId, Request),
    Gossip { peer: PeerId, topic: String, data: Vec<u8> },
    Disconnected(PeerId),
}

pub(crate) struct Puppet {
    pub(crate) network: Network,
    pub(crate) author: SigningKey,
    pub(crate) peer: SigningKey,
    /// What it shows in its hello.
    pub(crate) certificate: Vec<u8>,
    /// The spaces it recognises when they are named to it, and says it stores the same of.
    pub(crate) shares: Vec<SpaceId>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) connected: BTreeSet<PeerId>,
    nonce: [u8; 32],
    /// The nonces of those who said hello.
    nonces: BTreeMap<PeerId, [u8; 32]>,
    answers: BTreeMap<RequestId, Result<Vec<u8>, RequestFailure>>,
    seq: u64,
    prev: BTreeMap<SpaceId, RecordId>,
}

pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

pub(crate) fn topic(space: SpaceId) -> String {
    format!("{TOPIC_PREFIX}{space}")
}

/// A certificate as a node of ours would make it.
pub(crate) fn certificate(peer: &SigningKey, author: &SigningKey) -> Vec<u8> {
    let (did, now) = (Did::from(author.public()), now_ms());
    Certificate::issue(peer, author, did, now, now + CERTIFICATE_LIFE_MS).unwrap().encode()
}

impl Puppet {
    /// One with keys of its own, made from `seed`; it listens nowhere.
    pub(crate) fn start(transport: Transport, seed: u8) -> Self {
        let peer = SigningKey::from_seed(&[seed; 32]);
        let author = SigningKey::from_seed(&[seed + 100; 32]);
        let mut config = NetworkConfig::new(peer.clone(), Boot::from_bytes([seed; 16]));
        config.bind = vec![std::net::Ipv4Addr::LOCALHOST.into()];
        config.port = 0;
        config.tcp = matches!(transport, Transport::Tcp);
        config.quic = matches!(transport, Transport::Quic);
        config.mdns = false;
        config.beacon = None;
        let network = Network::start(config, &mut Registry::default()).unwrap();
        Self {
            network,
            certificate: certificate(&peer, &author),
            author,
            peer,
            shares: Vec::new(),
            heard: Vec::new(),
            connected: BTreeSet::new(),
            nonce: ocm::identity::random_seed().unwrap(),
            nonces: BTreeMap::new(),
            answers: BTreeMap::new(),
            seq: 0,
            prev: BTreeMap::new(),
        }
    }

    pub(crate) fn did(&self) -> Did {
        Did::from(self.author.public())
    }

    pub(crate) fn id(&self) -> PeerId {
        self.network.peer_id()
    }

    async fn step(&mut self) {
        match self.network.next().await {
            NetworkEvent::Connected { peer } => {
                self.connected.insert(peer);
            }
            NetworkEvent::Disconnected { peer } => {
                self.connected.remove(&peer);
                self.nonces.remove(&peer);
                self.heard.push(Heard::Disconnected(peer));
            }
            NetworkEvent::Request { peer, channel, bytes } => {
                let request = Request::decode(&bytes).unwrap();
                let answer = self.answer(peer, &request).encode().unwrap();
                // Whoever asked may have gone.
                let _ = self.network.respond(channel, answer);
                self.heard.push(Heard::Request(peer, request));
            }
            NetworkEvent::Response { request, bytes, .. } => {
                self.answers.insert(request, Ok(bytes));
            }
            NetworkEvent::RequestFailed { request, reason, .. } => {
                self.answers.insert(request, Err(reason));
            }
            NetworkEvent::Gossip { peer, message_id, topic, data } => {
                self.network.verdict(message_id, peer, Verdict::Accept);
                self.heard.push(Heard::Gossip { peer, topic, data });
            }
            _ => {}
        }
    }

    fn answer(&mut self, peer: PeerId, request: &Request) -> Response {
        match request {
            Request::Hello(hello) => {
                self.nonces.insert(peer, hello.nonce);
                Response::Hello(self.hello())
            }
            Request::Spaces { tags } => {
                let known: Vec<SpaceTag> =
                    self.shares.iter().map(|space| self.tag_from(peer, *space)).collect();
                let at = |tag| u16::try_from(tags.iter().position(|t| t == tag)?).ok();
                let mut shared: Vec<u16> = known.iter().filter_map(at).collect();
                shared.sort_unstable();
                Response::Spaces { shared }
            }
            Request::Parity { tag, statement } => {
                let Some(space) = self.shares.iter().find(|s| self.tag_from(peer, **s) == *tag)
                else {
                    return Response::Unknown;
                };
                let (from, to) = (self.id().to_bytes(), peer.to_bytes());
                let terms = Terms { space: *space, from, to, nonce: self.nonces[&peer] };
                let (parity, time) = (*statement.claims(), statement.time());
                Response::Parity { statement: Statement::sign(&self.author, &terms, parity, time) }
            }
            Request::Push { tag, records } if self.recognises(peer, tag) => {
                Response::Pushed { verdicts: vec![PushVerdict::Accept; records.len()] }
            }
            _ => Response::Unknown,
        }
    }

    fn recognises(&self, peer: PeerId, tag: &SpaceTag) -> bool {
        self.shares.iter().any(|space| self.tag_from(peer, *space) == *tag)
    }

    fn hello(&self) -> Hello {
        Hello {
            version: 1,
            agent: "puppet".into(),
            nonce: self.nonce,
            certificate: self.certificate.clone().into(),
            kinds: vec![1, 2, 4],
        }
    }

    /// The tag under which this names a space to a peer.
    pub(crate) fn tag_to(&self, peer: PeerId, space: SpaceId) -> SpaceTag {
        let (own, nonce) = (self.id().to_bytes(), &self.nonces[&peer]);
        space_tag(&own, &peer.to_bytes(), &self.nonce, nonce, &space)
    }

    /// The tag under which a peer names a space to this.
    pub(crate) fn tag_from(&self, peer: PeerId, space: SpaceId) -> SpaceTag {
        let (own, nonce) = (self.id().to_bytes(), &self.nonces[&peer]);
        space_tag(&peer.to_bytes(), &own, nonce, &self.nonce, &space)
    }

    /// Does its part while something else is waited for.
    pub(crate) async fn during<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                done = &mut other => return done,
                () = self.step() => {}
            }
        }
    }

    /// Does its part until something holds.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = holds(self) {
                return found;
            }
            let step = tokio::time::timeout_at(deadline, self.step()).await;
            assert!(step.is_ok(), "the puppet never saw that {what}: {:#?}", self.heard);
        }
    }

    /// Connects to a node, without a word.
    pub(crate) async fn connect(&mut self, node: &TestNode) {
        self.network.dial(&node.address()).unwrap();
        let peer = node.running.peer;
        self.until("it is connected", |puppet| puppet.connected.contains(&peer).then_some(()))
            .await;
    }

    /// Connects to a node and says hello.
    pub(crate) async fn meet(&mut self, node: &TestNode) {
        self.connect(node).await;
        let (peer, hello) = (node.running.peer, self.hello());
        match self.ask(node, &Request::Hello(hello)).await {
            Response::Hello(hello) => self.nonces.insert(peer, hello.nonce),
            other => panic!("{other:?}"),
        };
    }

    /// Listens to a space's topic until the node has this peer in its mesh, and the other way
    /// round.
    pub(crate) async fn join_gossip(&mut self, node: &TestNode, space: SpaceId) {
        let (topic, peer) = (topic(space), node.running.peer);
        self.network.subscribe(&topic).unwrap();
        self.until("the mesh stands", |puppet| {
            puppet.network.mesh(&topic).contains(&peer).then_some(())
        })
        .await;
    }

    pub(crate) async fn publish(&mut self, space: SpaceId, bytes: Vec<u8>) {
        let published = self.network.publish(&topic(space), bytes).unwrap();
        assert_eq!(published, Published::Sent);
    }

    /// Asks, and waits for the answer as it came.
    pub(crate) async fn ask_raw(
        &mut self,
        peer: PeerId,
        request: &Request,
    ) -> Result<Vec<u8>, RequestFailure> {
        let id = self.network.request(peer, request.encode().unwrap());
        self.answer_to(id).await
    }

    pub(crate) async fn answer_to(
        &mut self,
        request: RequestId,
    ) -> Result<Vec<u8>, RequestFailure> {
        self.until("it is answered", |puppet| puppet.answers.remove(&request)).await
    }

    pub(crate) async fn ask(&mut self, node: &TestNode, request: &Request) -> Response {
        let answer = self.ask_raw(node.running.peer, request).await.unwrap();
        Response::decode(&answer).unwrap()
    }

    /// Pushes records and waits for what became of them.
    pub(crate) async fn push(
        &mut self,
        node: &TestNode,
        space: SpaceId,
        records: &[Vec<u8>],
    ) -> Vec<PushVerdict> {
        let tag = self.tag_to(node.running.peer, space);
        let records = records.iter().cloned().map(Into::into).collect();
        match self.ask(node, &Request::Push { tag, records }).await {
            Response::Pushed { verdicts } => verdicts,
            other => panic!("{other:?}"),
        }
    }

    /// Signs a record that starts a memory, with its own key, whether it may or not.
    pub(crate) fn sign(
        &mut self,
        space: SpaceId,
        auth: Vec<RecordId>,
        content: &Value,
    ) -> SignedRecord {
        self.seq += 1;
        let prev = self.prev.get(&space).copied();
        let after = [space.0].into_iter().chain(prev).map(|id| id.time()).max().unwrap();
        let draft = Draft {
            space,
            kind: Kind::CHANGE,
            memory: None,
            author: None,
            boot: Boot::from_bytes([7; 16]),
            seq: if prev.is_none() { 1 } else { self.seq },
            prev,
            deps: Vec::new(),
            auth,
            time: after.next().unwrap().max(Time::from_millis(now_ms())),
        };
        let content = encode_edits(&create_edits(content).unwrap());
        let body = Body { salt: [3; 16], lineage: Vec::new(), content }.encode();
        let record = draft.sign(&self.author, body).unwrap();
        self.prev.insert(space, record.id());
        record
    }

    /// A copy of a record whose signature is not valid.
    pub(crate) fn garble(record: &SignedRecord) -> Vec<u8> {
        let signature = *record.clone().verify().unwrap().signature().as_bytes();
        let mut bytes = record.encode();
        let at = bytes.windows(64).position(|window| window == signature).unwrap();
        bytes[at] ^= 1;
        bytes
    }

    /// A record of its own that claims to be signed by another: form, hashes and rights are in
    /// order, the signature is not.
    pub(crate) fn forge(
        &mut self,
        space: SpaceId,
        victim: &Did,
        content: &Value,
    ) -> (RecordId, Vec<u8>) {
        let Did::Key(victim) = victim else { panic!("{victim} has no key of its own") };
        let mut bytes = self.sign(space, Vec::new(), content).encode();
        let own = *self.author.public().as_bytes();
        let at = bytes.windows(32).position(|window| window == own).unwrap();
        bytes[at..at + 32].copy_from_slice(victim.as_bytes());
        (SignedRecord::decode(&bytes).unwrap().id(), bytes)
    }
}
