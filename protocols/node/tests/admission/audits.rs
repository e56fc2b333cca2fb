//! Whether a peer holds what it states.

use ocm_node::{Input, Output, ParityState, RequestId, limits};
use ocm_record::{RecordId, VerifiedRecord};
use ocm_sync::{Parity, Request, Response, commitment, proof};

use crate::host::*;
use crate::peer::*;
use crate::scribe::*;

/// A host, and a peer that has stated the same as it.
struct Scene {
    host: Host,
    peer: Peer,
    scribe: Scribe,
    records: Vec<VerifiedRecord>,
    secret: [u8; 32],
}

/// What the host asks, of the audit only.
fn asked(out: &[Output], peer: &Peer) -> Option<(RequestId, Request)> {
    out.iter().find_map(|out| match out {
        Output::Send { peer: to, request, bytes } if *to == peer.id => {
            let asked = Request::decode(bytes).unwrap();
            matches!(asked, Request::Commit { .. } | Request::Prove { .. })
                .then_some((*request, asked))
        }
        _ => None,
    })
}

impl Scene {
    fn new(records: usize) -> Self {
        let mut scribe = Scribe::new(READ_OPEN);
        let mut host = scribe.host(OWNER);
        let mut all = vec![scribe.genesis.clone()];
        for _ in 1..records {
            let record = scribe.start(OWNER, &[]);
            host.accept(&record);
            all.push(record);
        }
        let peer = Peer::connect(&mut host, OWNER);
        let mut scene = Self { host, peer, scribe, records: all, secret: [8; 32] };
        scene.state(scene.ours());
        scene
    }

    fn ours(&self) -> Parity {
        self.host.space(self.scribe.space).parity
    }

    fn state(&mut self, parity: Parity) {
        let statement = self.peer.statement(self.scribe.space, parity);
        let tag = self.peer.tag(self.scribe.space);
        let answer = self.peer.ask(&mut self.host, &Request::Parity { tag, statement });
        assert!(matches!(answer, Response::Parity { .. }), "{answer:?}");
    }

    fn shown(&self) -> ParityState {
        self.host.node.snapshot().parity(self.scribe.space, self.peer.id).unwrap().clone()
    }

    /// Lets time pass until the host begins an audit.
    fn begins(&mut self, within: u64) -> Option<(RequestId, [u8; 32])> {
        let out = self.host.wait(within);
        let (request, asked) = asked(&out, &self.peer)?;
        let Request::Commit { tag, commitment } = asked else { panic!("{asked:?}") };
        assert_eq!(tag, self.peer.tag_from(self.scribe.space));
        Some((request, commitment))
    }

    fn parts(&self) -> ([u8; 38], [u8; 38]) {
        (self.peer.id.to_bytes(), self.host.peer().to_bytes())
    }

    /// Is bound to a parity: what the host tells and asks then.
    fn bound(&mut self, request: RequestId, parity: Parity) -> Option<(RequestId, Told)> {
        let (own, host) = self.parts();
        let commitment = commitment(&own, &host, &self.scribe.space, &self.secret, &parity);
        let bytes = Response::Commit { commitment }.encode().unwrap();
        let out = self.host.tell(Input::Response { request, bytes });
        let (request, asked) = asked(&out, &self.peer)?;
        let Request::Prove { secret, parity, ids, .. } = asked else { panic!("{asked:?}") };
        Some((request, Told { secret, parity, ids }))
    }

    fn proofs(&self, told: &Told) -> Vec<Option<[u8; 32]>> {
        let (own, host) = self.parts();
        let of = |id: &RecordId| {
            let record = self.records.iter().find(|record| record.id() == *id)?;
            Some(proof(&own, &host, &told.secret, &self.secret, record))
        };
        told.ids.iter().map(of).collect()
    }

    /// Ends an audit. Whether that ends the connection.
    fn ends(
        &mut self,
        request: RequestId,
        secret: [u8; 32],
        parity: Parity,
        proofs: Vec<Option<[u8; 32]>>,
    ) -> bool {
        let bytes = Response::Proved { secret, parity, proofs }.encode().unwrap();
        disconnects(&self.host.tell(Input::Response { request, bytes }), self.peer.id)
    }
}

/// What the host tells with its question.
struct Told {
    secret: [u8; 32],
    parity: Parity,
    ids: Vec<RecordId>,
}

#[test]
fn a_peer_that_has_the_records_passes_soon_and_is_audited_rarely() {
    let mut scene = Scene::new(40);
    assert_eq!(scene.shown().audit, None);
    let (request, commits) = scene.begins(2 * limits::AUDIT_AFTER_MS).unwrap();
    let ours = scene.ours();
    let (request, told) = scene.bound(request, ours).unwrap();
    assert_eq!(told.parity, ours);
    let (own, host) = scene.parts();
    let bound = commitment(&host, &own, &scene.scribe.space, &told.secret, &told.parity);
    assert_eq!(commits, bound, "it tells what it is bound to");
    assert!(told.ids.len() > 8 && told.ids.is_sorted_by(|a, b| a < b), "{}", told.ids.len());
    let proofs = scene.proofs(&told);
    assert!(!scene.ends(request, scene.secret, ours, proofs));
    let shown = scene.shown();
    assert!(shown.audit.unwrap().passed && shown.doubt.is_none());
    assert!(scene.begins(limits::AUDIT_EVERY_MS / 2).is_none(), "not so soon again");
    assert!(scene.begins(limits::AUDIT_EVERY_MS).is_some());
}

#[test]
fn a_peer_that_only_echoes_is_found_out_and_shown_so_until_it_passes() {
    let mut scene = Scene::new(10);
    let ours = scene.ours();
    let (request, _) = scene.begins(2 * limits::AUDIT_AFTER_MS).unwrap();
    let (request, told) = scene.bound(request, ours).unwrap();
    // It sends back what it heard.
    let wrong = vec![Some(told.secret); told.ids.len()];
    assert!(!scene.ends(request, scene.secret, ours, wrong), "one breach");
    let shown = scene.shown();
    assert!(!shown.audit.unwrap().passed);
    assert!(shown.doubt.unwrap().contains("are wrong"));
    // Whatever it states, it stays doubted.
    scene.state(ours);
    assert!(scene.shown().doubt.is_some());
    let (request, _) = scene.begins(2 * limits::INTERVAL_MAX_MS).unwrap();
    let (request, told) = scene.bound(request, ours).unwrap();
    let proofs = scene.proofs(&told);
    scene.ends(request, scene.secret, ours, proofs);
    assert_eq!(scene.shown().doubt, None);
}

#[test]
fn what_does_not_fit_the_commitment_or_the_question_is_a_breach() {
    let mut scene = Scene::new(10);
    let ours = scene.ours();
    for breach in 0..3 {
        let (request, _) = scene.begins(2 * limits::INTERVAL_MAX_MS).unwrap();
        let (request, told) = scene.bound(request, ours).unwrap();
        let mut proofs = scene.proofs(&told);
        let secret = if breach == 0 { [9; 32] } else { scene.secret };
        let parity = if breach == 1 { Parity { missing_bodies: 1, ..ours } } else { ours };
        if breach == 2 {
            proofs.pop();
        }
        assert_eq!(scene.ends(request, secret, parity, proofs), breach == 2);
        assert!(!scene.shown().audit.unwrap().passed);
    }
}

#[test]
fn a_peer_that_lost_a_record_fails_and_breaks_nothing() {
    let mut scene = Scene::new(5);
    let ours = scene.ours();
    for _ in 0..4 {
        let (request, _) = scene.begins(2 * limits::INTERVAL_MAX_MS).unwrap();
        let (request, told) = scene.bound(request, ours).unwrap();
        let mut proofs = scene.proofs(&told);
        proofs[0] = None;
        assert!(!scene.ends(request, scene.secret, ours, proofs), "it is never sent away");
        let shown = scene.shown();
        assert!(shown.doubt.unwrap().contains("cannot prove that it has 1 of"));
    }
}

#[test]
fn what_changes_meanwhile_decides_nothing() {
    let mut scene = Scene::new(5);
    let ours = scene.ours();
    let (request, _) = scene.begins(2 * limits::AUDIT_AFTER_MS).unwrap();
    // The peer is bound to something else, honestly.
    let other = Parity { missing_bodies: 1, ..ours };
    let (request, told) = scene.bound(request, other).unwrap();
    let proofs = scene.proofs(&told);
    assert!(!scene.ends(request, scene.secret, other, proofs));
    assert_eq!(scene.shown().audit, None);
    // Something comes here between the two questions.
    let (request, _) = scene.begins(2 * limits::AUDIT_RETRY_MS).unwrap();
    let late = scene.scribe.start(OWNER, &[]);
    scene.host.accept(&late);
    assert!(scene.bound(request, ours).is_none(), "nothing is told of the past");
    assert!(scene.begins(limits::AUDIT_EVERY_MS).is_none(), "the two are not equal");
    scene.records.push(late);
    scene.state(scene.ours());
    let (request, _) = scene.begins(2 * limits::AUDIT_AFTER_MS).unwrap();
    // No answer decides nothing either, and it is tried again.
    scene.host.tell(Input::RequestFailed { request, timed_out: true });
    assert_eq!(scene.shown().audit, None);
    assert!(scene.begins(4 * limits::AUDIT_RETRY_MS).is_some(), "it was in vain before");
}

#[test]
fn an_answer_out_of_turn_is_a_breach_and_ends_the_audit() {
    let mut scene = Scene::new(5);
    let (ours, id) = (scene.ours(), scene.peer.id);
    for breach in 0..3 {
        let (request, _) = scene.begins((4 * limits::AUDIT_RETRY_MS) << breach).unwrap();
        // Asked for proofs, it binds itself once more; asked to be bound, it proves.
        let (request, answer) = if breach % 2 == 0 {
            let (request, _) = scene.bound(request, ours).unwrap();
            (request, Response::Commit { commitment: [3; 32] })
        } else {
            let (secret, proofs) = (scene.secret, vec![]);
            (request, Response::Proved { secret, parity: ours, proofs })
        };
        let bytes = answer.encode().unwrap();
        let out = scene.host.tell(Input::Response { request, bytes });
        assert!(asked(&out, &scene.peer).is_none(), "nothing more is told or asked");
        assert_eq!(disconnects(&out, id), breach == 2, "each is a breach");
        assert_eq!(scene.shown().audit, None);
        assert!(scene.begins((limits::AUDIT_RETRY_MS / 2) << breach).is_none());
    }
}

#[test]
fn a_peer_that_is_bound_to_other_than_it_states_is_audited_more_and_more_rarely() {
    let mut scene = Scene::new(5);
    let ours = scene.ours();
    let other = Parity { missing_bodies: 1, ..ours };
    let (mut request, _) = scene.begins(2 * limits::AUDIT_AFTER_MS).unwrap();
    for n in 0..5 {
        let (proving, told) = scene.bound(request, other).unwrap();
        let proofs = scene.proofs(&told);
        assert!(!scene.ends(proving, scene.secret, other, proofs), "it may be honest");
        scene.state(ours);
        let pause = limits::AUDIT_RETRY_MS << n;
        assert!(scene.begins(pause / 2).is_none(), "{n}");
        request = scene.begins(pause).unwrap().0;
    }
    // Once it passes, it counts anew.
    let (proving, told) = scene.bound(request, ours).unwrap();
    let proofs = scene.proofs(&told);
    scene.ends(proving, scene.secret, ours, proofs);
    assert!(scene.shown().audit.unwrap().passed);
}

#[test]
fn an_auditor_is_answered_only_with_what_it_was_bound_to() {
    let mut scene = Scene::new(8);
    let (own, host) = scene.parts();
    let (space, ours, secret) = (scene.scribe.space, scene.ours(), [5; 32]);
    let tag = scene.peer.tag(space);
    let mut ids: Vec<RecordId> = scene.records.iter().map(VerifiedRecord::id).collect();
    ids.push(RecordId::MIN);
    ids.sort_unstable();
    let prove = Request::Prove { tag, secret, parity: ours, ids: ids.clone() };
    let nothing = scene.peer.ask(&mut scene.host, &prove);
    assert_eq!(nothing, Response::Busy, "nothing was begun");
    let commits = commitment(&own, &host, &space, &secret, &ours);
    let commit = Request::Commit { tag, commitment: commits };
    let first = scene.peer.ask(&mut scene.host, &commit);
    assert_eq!(scene.peer.ask(&mut scene.host, &commit), first, "asked again, it is the same");
    let other = Request::Prove { tag, secret: [6; 32], parity: ours, ids: ids.clone() };
    assert_eq!(scene.peer.ask(&mut scene.host, &other), Response::Busy);
    let Response::Proved { secret: theirs, parity, proofs } =
        scene.peer.ask(&mut scene.host, &prove)
    else {
        panic!("it is bound")
    };
    let bound = commitment(&host, &own, &space, &theirs, &parity);
    assert_eq!(first, Response::Commit { commitment: bound });
    assert_eq!(parity, ours);
    for (id, told) in ids.iter().zip(proofs) {
        let record = scene.records.iter().find(|record| record.id() == *id);
        assert_eq!(told, record.map(|record| proof(&host, &own, &secret, &theirs, record)));
    }
}
