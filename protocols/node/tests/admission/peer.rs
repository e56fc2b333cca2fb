//! Peers that talk to the node under test.

use ocm_discovery::{Certificate, PeerId};
use ocm_node::{Input, Output};
use ocm_record::SpaceId;
use ocm_sync::{
    Hello, Parity, PushVerdict, Request, Response, SpaceTag, Statement, Terms, space_tag,
};
use serde_bytes::ByteBuf;

use crate::host::*;

/// A peer as the node sees it: it has said hello, and knows the node's nonce.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    author: u8,
    own: PeerId,
    nonce: [u8; 32],
    nonce_of_node: [u8; 32],
}

impl Peer {
    pub(crate) fn id(n: u8) -> PeerId {
        PeerId::new(key(n + 100).public())
    }

    /// Connects the peer of a seed, which acts for the DID of that seed.
    pub(crate) fn connect(host: &mut Host, author: u8) -> Self {
        Self::meet(host, author).0
    }

    /// As [`Self::connect`], with what the node does then.
    pub(crate) fn meet(host: &mut Host, author: u8) -> (Self, Vec<Output>) {
        let id = Self::id(author);
        let mut out = host.tell(Input::Connected(id));
        let mut peer =
            Self { id, author, own: host.peer(), nonce: [author; 32], nonce_of_node: [0; 32] };
        let channel = host.number();
        let bytes = Request::Hello(peer.hello(host.now)).encode().unwrap();
        out.extend(host.tell(Input::Request { peer: id, channel, bytes }));
        match Response::decode(&answer(&out, channel).unwrap()).unwrap() {
            Response::Hello(hello) => peer.nonce_of_node = hello.nonce,
            other => panic!("{other:?}"),
        }
        (peer, out)
    }

    pub(crate) fn hello(&self, now: u64) -> Hello {
        let (peer, author) = (key(self.author + 100), key(self.author));
        let life = ocm_discovery::CERTIFICATE_LIFE_MS;
        let certificate =
            Certificate::issue(&peer, &author, did(self.author), now, now + life).unwrap();
        Hello {
            version: 1,
            agent: "test".into(),
            nonce: self.nonce,
            certificate: certificate.encode().into(),
            kinds: vec![],
        }
    }

    /// The tag by which it names a space to the node.
    pub(crate) fn tag(&self, space: SpaceId) -> SpaceTag {
        let (own, peer) = (self.own.to_bytes(), self.id.to_bytes());
        space_tag(&peer, &own, &self.nonce, &self.nonce_of_node, &space)
    }

    /// The tag by which the node names a space to it.
    pub(crate) fn tag_from(&self, space: SpaceId) -> SpaceTag {
        let (own, peer) = (self.own.to_bytes(), self.id.to_bytes());
        space_tag(&own, &peer, &self.nonce_of_node, &self.nonce, &space)
    }

    /// What it states of a space, as made out to the node.
    pub(crate) fn statement(&self, space: SpaceId, parity: Parity) -> Statement {
        let (from, to) = (self.id.to_bytes(), self.own.to_bytes());
        let terms = Terms { space, from, to, nonce: self.nonce_of_node };
        Statement::sign(&key(self.author), &terms, parity, NOW)
    }

    /// What the node stated to it, if it is rightly signed.
    pub(crate) fn read(
        &self,
        space: SpaceId,
        statement: &Statement,
    ) -> Result<Parity, ocm_sync::NotSigned> {
        let (from, to) = (self.own.to_bytes(), self.id.to_bytes());
        statement.verify(&key(OWNER).public(), &Terms { space, from, to, nonce: self.nonce })
    }

    pub(crate) fn ask(&self, host: &mut Host, request: &Request) -> Response {
        Response::decode(&host.ask(self.id, request.encode().unwrap())).unwrap()
    }

    /// Names a space; whether the node shares it.
    pub(crate) fn name(&self, host: &mut Host, space: SpaceId) -> bool {
        let response = self.ask(host, &Request::Spaces { tags: vec![self.tag(space)] });
        match response {
            Response::Spaces { shared } => shared == [0],
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn push_request(&self, space: SpaceId, records: &[Vec<u8>]) -> Request {
        let records = records.iter().map(|bytes| ByteBuf::from(bytes.clone())).collect();
        Request::Push { tag: self.tag(space), records }
    }

    pub(crate) fn push(
        &self,
        host: &mut Host,
        space: SpaceId,
        records: &[Vec<u8>],
    ) -> Vec<PushVerdict> {
        match self.ask(host, &self.push_request(space, records)) {
            Response::Pushed { verdicts } => verdicts,
            other => panic!("{other:?}"),
        }
    }
}
