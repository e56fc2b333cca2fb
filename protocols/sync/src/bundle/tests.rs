use ocm_record::{
    Boot, Draft, Kind, RecordId, Set, SignedRecord, SigningKey, SpaceId, Time, to_canonical,
};
use proptest::prelude::*;
use serde_bytes::ByteBuf;

use super::*;
use crate::parity::{Parity, SetDigest};

fn key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn space() -> SpaceId {
    SpaceId(RecordId::of_header(Time(1), b"a space"))
}

fn record(n: u64, kind: Kind) -> Vec<u8> {
    let draft = Draft {
        space: space(),
        kind,
        memory: None,
        author: None,
        boot: Boot::from_bytes([1; 16]),
        seq: 1,
        prev: None,
        deps: Vec::new(),
        auth: Vec::new(),
        time: Time(2 + n),
    };
    draft.prepare(key().public(), vec![n as u8; 20]).unwrap().sign(&key()).encode()
}

fn page(from: u64, count: u64, kind: Kind) -> Vec<ByteBuf> {
    (from..from + count).map(|n| record(n, kind).into()).collect()
}

fn head(since: Since) -> BundleHead {
    let set = |count| SetDigest { count, digest: [count as u8; 32] };
    let parity = Parity { authority: set(3), content: set(5), missing_bodies: 0 };
    let description = crate::describe(&crate::SumTree::default()).unwrap();
    let from = [7; crate::PEER_ID_LEN];
    BundleHead::sign(
        &key(),
        (space(), from),
        vec![9; 40],
        (since, &[1, 2, 4]),
        (parity, 77),
        description,
    )
}

/// The values of a bundle, each with its bytes.
fn values() -> Vec<(BundleValue, Vec<u8>)> {
    let head = head(Since::All);
    let (mut writer, bytes) = BundleWriter::begin(&head);
    let mut values = vec![(BundleValue::Head(Box::new(head)), bytes)];
    for (set, from, count, kind) in [
        (Set::Authority, 0, 3, Kind::GRANT),
        (Set::Content, 0, 4, Kind::CHANGE),
        (Set::Content, 4, 1, Kind::CHANGE),
    ] {
        let records = page(from, count, kind);
        let bytes = writer.page(set, &records);
        values.push((BundleValue::Page { set, records }, bytes));
    }
    assert_eq!(writer.records(), (3, 5));
    values.push((BundleValue::End, writer.end()));
    values
}

/// What can be read, and why no more.
fn read(bytes: &[u8], chunk: usize) -> (Vec<BundleValue>, Result<(), BundleError>) {
    let mut reader = BundleReader::default();
    let mut values = Vec::new();
    for part in bytes.chunks(chunk.max(1)) {
        reader.feed(part);
        loop {
            match reader.next_value() {
                Ok(Some(value)) => values.push(value),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next_value(), Err(error.clone()), "it stays so");
                    assert_eq!(reader.finish(), Err(error.clone()));
                    return (values, Err(error));
                }
            }
        }
    }
    (values, reader.finish())
}

fn all() -> (Vec<BundleValue>, Vec<u8>) {
    let (values, bytes): (Vec<_>, Vec<_>) = values().into_iter().unzip();
    (values, bytes.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_is_read_as_it_was_written_however_it_comes(chunk in 1usize..5_000) {
        let (values, bytes) = all();
        prop_assert_eq!(read(&bytes, chunk), (values, Ok(())));
    }

    /// Whole values before a cut are kept, and the cut is told.
    #[test]
    fn a_cut_leaves_what_was_whole(at: prop::sample::Index, chunk in 1usize..2_000) {
        let (values, bytes) = all();
        let at = at.index(bytes.len());
        let (kept, ended) = read(&bytes[..at], chunk);
        prop_assert_eq!(ended, Err(BundleError::Cut));
        prop_assert_eq!(&kept[..], &values[..kept.len()]);
        let mut whole = 0;
        let ends = super::tests::values().into_iter().map(|(_, bytes)| { whole += bytes.len(); whole });
        prop_assert_eq!(kept.len(), ends.filter(|end| *end <= at).count());
    }

    /// No change of a byte gives a value that was not written, and none before it is lost.
    #[test]
    fn damage_is_found_where_it_is(at: prop::sample::Index, bit in 0u8..8, chunk in 1usize..2_000) {
        let (values, mut bytes) = all();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (kept, ended) = read(&bytes, chunk);
        prop_assert!(ended.is_err());
        prop_assert_eq!(&kept[..], &values[..kept.len()]);
        let mut whole = 0;
        let ends = super::tests::values().into_iter().map(|(_, bytes)| { whole += bytes.len(); whole });
        prop_assert_eq!(kept.len(), ends.filter(|end| *end <= at).count());
    }

    #[test]
    fn a_value_that_is_missing_or_stands_elsewhere_is_found(a in 0usize..5, b in 0usize..5) {
        let values = values();
        let mut parts: Vec<_> = values.iter().map(|(_, bytes)| bytes.clone()).collect();
        let moved = parts.remove(a);
        let (kept, ended) = read(&parts.concat(), 1000);
        prop_assert!(ended.is_err());
        prop_assert_eq!(kept.len(), a);
        parts.insert(b, moved);
        let (kept, ended) = read(&parts.concat(), 1000);
        prop_assert_eq!(ended.is_ok(), a == b);
        prop_assert!(kept.iter().zip(&values).all(|(kept, (value, _))| kept == value));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
        framed.extend_from_slice(&bytes);
        framed.extend_from_slice(&check(&[0; CHECK_BYTES], &bytes));
        for bytes in [bytes, framed] {
            prop_assert!(read(&bytes, 100).1.is_err());
        }
    }
}

/// Values with the right checks in any order.
fn framed(values: &[Vec<u8>]) -> Vec<u8> {
    let mut before = [0; CHECK_BYTES];
    let mut bytes = Vec::new();
    for value in values {
        before = check(&before, value);
        bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(&before);
    }
    bytes
}

#[test]
fn what_is_out_of_order_is_named() {
    let head = head(Since::All).encode();
    let page = |set: u8, records: Vec<ByteBuf>| to_canonical(&(PAGE, set, records));
    let end =
        |pages: u64, authority: u64, content: u64| to_canonical(&(END, pages, authority, content));
    let grants = |from| super::tests::page(from, 2, Kind::GRANT);
    let order = |values: &[Vec<u8>]| match read(&framed(values), 4096) {
        (_, Err(BundleError::Order(what))) => what,
        other => panic!("{other:?}"),
    };
    let start = || head.clone();
    let cases: [(Vec<Vec<u8>>, &str); 8] = [
        (vec![end(0, 0, 0)], "it does not begin with its head"),
        (vec![start(), start()], "it has a second head"),
        (vec![start(), page(0, vec![])], "a page has no records"),
        (vec![start(), page(0, grants(5)), page(0, grants(6))], "records do not ascend"),
        (vec![start(), page(0, grants(5)), page(0, grants(5))], "records do not ascend"),
        (vec![start(), page(1, grants(5))], "a record is in a page of the other set"),
        (
            vec![start(), page(1, vec![record(1, Kind::CHANGE).into()]), page(0, grants(5))],
            "authority records follow content records",
        ),
        (vec![start(), end(0, 0, 0), end(0, 0, 0)], "something follows its end"),
    ];
    for (values, what) in cases {
        assert_eq!(order(&values), what);
    }
    let told = read(&framed(&[start(), page(0, grants(5)), end(1, 3, 0)]), 4096).1;
    assert_eq!(told, Err(BundleError::Counts { told: 3, read: 2 }));
    assert_eq!(read(&framed(&[start(), vec![0x81, 9]]), 99).1, Err(BundleError::Code(9)));
    assert!(matches!(
        read(&framed(&[start(), page(2, grants(5))]), 99).1,
        Err(BundleError::Value(_))
    ));
    // A byte behind the end.
    let mut behind = framed(&[start(), end(0, 0, 0)]);
    behind.push(0);
    assert_eq!(read(&behind, 9).1, Err(BundleError::Order("something follows its end")));
}

#[test]
fn what_is_no_record_is_left_to_admission() {
    let page = to_canonical(&(PAGE, 0u8, [ByteBuf::from(vec![1, 2, 3])]));
    let (values, ended) = read(&framed(&[head(Since::All).encode(), page]), 4096);
    assert_eq!((values.len(), ended), (2, Err(BundleError::Cut)));
}

#[test]
fn a_length_reserves_nothing() {
    for length in [0, u32::MAX, crate::limits::BUNDLE_VALUE_BYTES as u32 + 1] {
        assert_eq!(read(&length.to_be_bytes(), 4).1, Err(BundleError::Length(length)));
    }
    // The longest that may be announced waits for its bytes.
    let longest = (crate::limits::BUNDLE_VALUE_BYTES as u32).to_be_bytes();
    assert_eq!(read(&longest, 4).1, Err(BundleError::Cut));
}

#[test]
fn a_statement_holds_as_it_was_made_and_not_otherwise() {
    let peer = [3; crate::PEER_ID_LEN];
    for since in [Since::All, Since::Time(5), Since::Parity { peer, time: 8 }] {
        let head = head(since);
        assert_eq!(BundleHead::decode(&head.encode()), Ok(head.clone()));
        assert_eq!(head.verify(&key().public()), Ok(*head.statement.claims()));
        assert_eq!((head.statement.since(), head.statement.time()), (since, 77));
        assert_eq!(head.statement.kinds(), [1, 2, 4]);
        let other = SigningKey::from_seed(&[2; 32]).public();
        assert!(head.verify(&other).is_err());
        assert!(
            BundleHead { from: [8; crate::PEER_ID_LEN], ..head.clone() }
                .verify(&key().public())
                .is_err()
        );
        let elsewhere = SpaceId(RecordId::of_header(Time(1), b"another"));
        assert!(BundleHead { space: elsewhere, ..head.clone() }.verify(&key().public()).is_err());
        assert!(
            BundleHead { description: vec![0xe1].into(), ..head.clone() }
                .verify(&key().public())
                .is_err()
        );
        // No bit of what is signed may change.
        let bytes = to_canonical(&head.statement);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(statement) = ocm_record::from_canonical(&bytes) {
                assert!(BundleHead { statement, ..head.clone() }.verify(&key().public()).is_err());
            }
        }
    }
}

#[test]
fn a_head_is_within_its_limits() {
    let good = head(Since::All);
    let long = BundleHead {
        certificate: vec![0; crate::limits::CERTIFICATE_BYTES + 1].into(),
        ..good.clone()
    };
    assert!(BundleHead::decode(&long.encode()).is_err());
    let long = BundleHead {
        description: vec![0; crate::limits::DESCRIPTION_BYTES + 1].into(),
        ..good.clone()
    };
    assert!(BundleHead::decode(&long.encode()).is_err());
    let parity = *good.statement.claims();
    let unsorted = BundleHead::sign(
        &key(),
        (space(), good.from),
        vec![],
        (Since::All, &[2, 1]),
        (parity, 1),
        vec![],
    );
    assert!(BundleHead::decode(&unsorted.encode()).is_err());
    // It is not to be taken for another: a record is none.
    assert!(SignedRecord::decode(&good.encode()).is_err());
}
