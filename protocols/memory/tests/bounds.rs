//! Limits on a record's own past, and the cost of rendering large memories.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use fixture::*;
use ipld_core::ipld;
use ocm_memory::{Document, PastLimit, Void, limits};
use ocm_record::RecordId;

/// A chain of `length` records by one author, which count but for those between the first and the last `with`.
fn chain(scribe: &mut Scribe, length: usize, with: usize) -> RecordId {
    let mut last = scribe.records.last().map(ocm_record::VerifiedRecord::id);
    for i in 0..length {
        let counts = i == 0 || i + with >= length;
        let edits = if counts { vec![increment(["n"], 1)] } else { vec![] };
        last = Some(scribe.write(1, last.as_slice(), &edits));
    }
    last.unwrap()
}

#[test]
fn a_past_holds_so_many_changes() {
    let most = limits::PAST_CHANGES as usize;
    let mut scribe = Scribe::default();
    let last_good = chain(&mut scribe, most, 2);
    let beyond = scribe.write(1, &[last_good], &[increment(["n"], 1)]);
    let after = scribe.write(1, &[beyond], &[increment(["n"], 1)]);
    // Concurrent ones have a past of their own: a short one, and one that joins two.
    let early = scribe.records[most - 3].id();
    let short = scribe.write(2, &[early], &[increment(["n"], 1)]);
    let joined = scribe.write(2, &[short, last_good], &[increment(["n"], 1)]);
    let second = scribe.records[most - 2].id();
    let exact = scribe.write(3, &[short, second], &[increment(["n"], 1)]);

    let mut document = Document::build(scribe.records.iter().cloned()).unwrap();
    let limit = Void::Limit(PastLimit::Changes);
    let expected: Vec<_> =
        [beyond, after, joined, exact].iter().map(|id| (*id, limit.clone())).collect();
    // `exact` holds most - 1 of the chain, `short` and itself: one too many.
    assert_eq!(document.voids().unwrap(), expected);
    assert_eq!(document.content().unwrap()["n"], 4);

    let third = scribe.records[most - 3].id();
    let fits = scribe.write(4, &[short, third], &[increment(["n"], 1)]);
    document.add([scribe.records.last().unwrap().clone()]).unwrap();
    assert_eq!(document.voids().unwrap(), expected);
    assert!(document.heads().contains(&fits));
    assert_eq!(document.content().unwrap()["n"], 5);
}

#[test]
fn a_past_holds_so_many_bytes() {
    let mut scribe = Scribe::default();
    let big = "x".repeat(60_000);
    let body = |records: &[ocm_record::VerifiedRecord]| -> u64 {
        records.iter().map(|record| u64::from(record.header().size)).sum()
    };
    let mut last = scribe.write(1, &[], &[]);
    loop {
        let id = scribe.write(1, &[last], &[set(["k"], ipld!(big.as_str()))]);
        if body(&scribe.records) > limits::PAST_BYTES {
            break;
        }
        last = id;
    }
    let full = scribe.records.last().unwrap().id();
    let mut document = Document::build(scribe.records.iter().cloned()).unwrap();
    let limit = Void::Limit(PastLimit::Bytes);
    assert_eq!(document.voids().unwrap(), [(full, limit.clone())]);

    // What an erased body weighed still counts: the limit falls alike before and after.
    let erased: Vec<_> = scribe.records.iter().map(without_body).collect();
    let forgotten = Document::build(erased).unwrap();
    assert_eq!(forgotten.voids().unwrap().last(), Some(&(full, limit)));

    let fits = scribe.write(1, &[last], &[set(["k"], ipld!("small"))]);
    document.add([scribe.records.last().unwrap().clone()]).unwrap();
    assert_eq!(document.voids().unwrap().len(), 1);
    assert!(document.heads().contains(&fits));
}

/// 400 concurrent branches on one parent, each of three records, and a merge of some.
#[test]
fn wide_memories_render() {
    let mut scribe = Scribe::default();
    let first = scribe.write(0, &[], &[set(["l"], ipld!([])), text(["text"])]);
    let mut tips = vec![];
    for author in 0..200u8 {
        for boot in 0..2 {
            let edits = |n| {
                let edits = [insert(["l"], n, ipld!("x")), splice(["text"], n, 0, "y")];
                ocm_memory::encode_edits(&edits)
            };
            let mut tip = first;
            for n in 0..3 {
                tip = scribe.write_content(author, boot, &[tip], edits(n));
            }
            tips.push(tip);
        }
    }
    scribe.write(1, &tips[..16], &[splice(["text"], 48, 0, "z")]);
    let document = Document::build(scribe.records.iter().cloned()).unwrap();
    assert_eq!(document.voids().unwrap(), []);
    let content = document.content().unwrap();
    assert_eq!(content["l"].as_array().unwrap().len(), 1200);
    assert_eq!(content["text"].as_str().unwrap().len(), 1201);
    assert_eq!(document.heads().len(), 400 - 16 + 1);
}
