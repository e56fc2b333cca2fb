//! The form of records and bodies: one encoding each, every limit exact, every bit counted.

use ipld_core::ipld::Ipld;
use ocm_record::{
    Body, Boot, Did, Draft, Kind, Malformed, MemoryId, RecordId, SALT_LEN, SignedRecord, SpaceId,
    Time, VerifyError, from_canonical, limits, to_canonical,
};
use proptest::prelude::*;

use crate::fixture::{assemble, body, class_of_form, draft, key, named, read, signed};

fn any_id() -> impl Strategy<Value = RecordId> {
    (0..1u64 << 60, any::<[u8; 32]>())
        .prop_map(|(time, hash)| RecordId::from_parts(Time(time), hash))
}

fn any_content() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        any::<i64>().prop_map(|n| Ipld::Integer(n.into())),
        any::<u64>().prop_map(|n| Ipld::Integer(n.into())),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Ipld::Float),
        any::<String>().prop_map(Ipld::String),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Ipld::Bytes),
        any_id().prop_map(|id| Ipld::Link(id.cid())),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Ipld::List),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Ipld::Map),
        ]
    })
}

prop_compose! {
    fn any_body()(
        salt in any::<[u8; SALT_LEN]>(),
        lineage in prop::collection::vec(any_id(), 0..5),
        content in any_content(),
    ) -> Body {
        Body { salt, lineage, content }
    }
}

prop_compose! {
    /// Every shape that the rules of form allow.
    fn any_draft()(
        kind in prop_oneof![
            1..11u64, Just(0), Just(63), Just(64), Just(1 << 40), Just(u64::MAX)
        ].prop_map(Kind),
        space in any_id(),
        memory in any_id(),
        plc in prop::option::of("[a-z2-7]{24}"),
        boot in any::<[u8; 16]>(),
        prev in prop::option::of((any_id(), 2..u64::MAX)),
        deps in prop::collection::btree_set(any_id(), 0..=limits::DEPS),
        auth in prop::collection::btree_set(any_id(), 0..=limits::AUTH),
        belongs in any::<bool>(),
        ahead in 1..1u64 << 50,
    ) -> Draft {
        let genesis = kind == Kind::GENESIS;
        let belongs = match kind {
            Kind::GENESIS | Kind::GRANT | Kind::REVOCATION | Kind::IDENTITY => false,
            Kind::CHANGE => belongs && !deps.is_empty(),
            Kind::OFFER | Kind::CLAIM | Kind::ACKNOWLEDGEMENT => belongs,
            _ => true,
        };
        let latest = deps.iter().chain([&space]).chain(prev.as_ref().map(|(id, _)| id))
            .map(RecordId::time).max().unwrap();
        Draft {
            space: if genesis { SpaceId::GENESIS } else { SpaceId(space) },
            kind,
            memory: belongs.then_some(MemoryId(memory)),
            author: plc.map(|id| format!("did:plc:{id}").parse().unwrap()),
            boot: Boot::from_bytes(boot),
            seq: if genesis { 1 } else { prev.map_or(1, |(_, seq)| seq) },
            prev: prev.filter(|_| !genesis).map(|(id, _)| id),
            deps: if genesis { vec![] } else { deps.into_iter().collect() },
            auth: if genesis { vec![] } else { auth.into_iter().collect() },
            time: Time(latest.0 + ahead),
        }
    }
}

/// The places in a canonical text where an item begins.
fn heads(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut heads) = (0, Vec::new());
    while at < bytes.len() {
        heads.push(at);
        let (major, info) = (bytes[at] >> 5, bytes[at] & 0x1f);
        let width = if info < 24 { 0 } else { 1 << (info - 24) };
        let argument = if info < 24 {
            usize::from(info)
        } else {
            bytes[at + 1..=at + width].iter().fold(0, |n, b| n << 8 | usize::from(*b))
        };
        at += 1 + width + if matches!(major, 2 | 3) { argument } else { 0 };
    }
    heads
}

/// Other encodings of the same value: every length and number written longer, every string in
/// one chunk of unknown length, the whole as an array of unknown length, a byte after it.
fn other_encodings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut others = vec![[bytes, &[0x00]].concat(), [&[0x9f], &bytes[1..], &[0xff]].concat()];
    for at in heads(bytes) {
        let (major, info) = (bytes[at] & 0xe0, bytes[at] & 0x1f);
        if major == 0xe0 {
            continue;
        }
        let width = if info < 24 { 0 } else { 1 << (info - 24) };
        let argument = if info < 24 { &[info][..] } else { &bytes[at + 1..=at + width] };
        for longer in (0..4).filter(|w| 1 << w > width) {
            let mut wide = vec![0; 1 << longer];
            let from = wide.len() - argument.len();
            wide[from..].copy_from_slice(argument);
            let head = major | (24 + longer as u8);
            others.push([&bytes[..at], &[head], &wide, &bytes[at + 1 + width..]].concat());
        }
        if matches!(major, 0x40 | 0x60) {
            let length = argument.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            let end = at + 1 + width + length;
            others.push(
                [&bytes[..at], &[major | 0x1f], &bytes[at..end], &[0xff], &bytes[end..]].concat(),
            );
        }
    }
    others
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_encoded_is_decoded(draft in any_draft(), said in any_body(), signer in 1..9u8) {
        let body = said.encode();
        let record = draft.clone().sign(&key(signer), body.clone()).unwrap();
        let bytes = record.encode();
        prop_assert!(bytes.len() <= limits::RECORD_BYTES);
        let read = SignedRecord::decode(&bytes).unwrap();
        prop_assert_eq!(read.id(), record.id());
        prop_assert_eq!(read.encode(), &bytes[..]);
        prop_assert_eq!(read.copy_hash(), record.copy_hash());
        let (made, read) = (record.verify().unwrap(), read.verify().unwrap());
        prop_assert_eq!(made.header(), read.header());
        prop_assert_eq!(made.header_bytes(), read.header_bytes());
        prop_assert_eq!((made.body_bytes(), made.signature()), (read.body_bytes(), read.signature()));
        let header = read.header();
        prop_assert_eq!(header.encode(), read.header_bytes());
        prop_assert_eq!(RecordId::of_header(draft.time, read.header_bytes()), read.id());
        prop_assert_eq!(
            (header.kind, header.memory, header.author, header.boot, header.seq, header.prev),
            (draft.kind, draft.memory, draft.author, draft.boot, draft.seq, draft.prev)
        );
        prop_assert_eq!((&header.deps, &header.auth), (&draft.deps, &draft.auth));
        prop_assert_eq!((header.time, header.space), (draft.time, draft.space));
        prop_assert_eq!(header.author(), draft.author.unwrap_or(Did::Key(key(signer).public())));
        prop_assert_eq!(read.body_bytes(), Some(&body[..]));
        prop_assert_eq!(read.body(), Some(Ok(said)));
    }

    #[test]
    fn an_id_is_known_before_its_record_is_signed(draft in any_draft(), said in any_body()) {
        let unsigned = draft.clone().prepare(key(1).public(), said.encode()).unwrap();
        let (id, space) = (unsigned.id(), unsigned.space());
        let record = unsigned.clone().sign(&key(1));
        prop_assert_eq!((record.id(), record.space()), (id, space));
        prop_assert_eq!(record.encode(), draft.sign(&key(1), said.encode()).unwrap().encode());
        let own = ocm_record::sign(unsigned.clone(), &key(1)).unwrap();
        prop_assert_eq!(own.encode(), record.encode());
        let others = ocm_record::sign(unsigned.clone(), &key(2)).map(|_| ());
        prop_assert_eq!(others, Err(VerifyError::Signature));
        prop_assert_eq!(unsigned.sign(&key(2)).verify().map(|_| ()), Err(VerifyError::Signature));
    }

    #[test]
    fn only_one_encoding_of_a_header_is_read(draft in any_draft(), signer in 1..9u8) {
        let author = key(signer);
        let record = draft.sign(&author, vec![0x80]).unwrap().verify().unwrap();
        prop_assert!(read(&signed(&author, record.header_bytes(), Some(&[0x80]))).is_ok());
        for other in other_encodings(record.header_bytes()) {
            let verdict = read(&signed(&author, &other, Some(&[0x80]))).map(|r| r.id());
            prop_assert_eq!(verdict, Err("not-canonical"), "{:02x?}", other);
        }
    }

    #[test]
    fn only_one_encoding_of_a_record_is_read(draft in any_draft()) {
        let bytes = draft.sign(&key(1), vec![0x80]).unwrap().encode();
        for other in other_encodings(&bytes) {
            prop_assert_eq!(read(&other).map(|r| r.id()), Err("not-canonical"), "{:02x?}", other);
        }
    }

    #[test]
    fn only_one_encoding_of_a_body_is_read(body in any_body()) {
        let bytes = body.encode();
        prop_assert_eq!(Body::decode(&bytes), Ok(body));
        for other in other_encodings(&bytes) {
            prop_assert!(Body::decode(&other).is_err(), "{:02x?}", other);
        }
    }

    #[test]
    fn ids_sort_as_their_texts_do(
        a in any::<([u8; 8], [u8; 32])>(), b in any::<([u8; 8], [u8; 32])>(), same in any::<bool>(),
    ) {
        let id = |time: [u8; 8], hash| RecordId::from_parts(Time(u64::from_be_bytes(time)), hash);
        let (a, b) = (id(a.0, a.1), id(if same { a.0 } else { b.0 }, b.1));
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        prop_assert_eq!(a.cmp(&b), a.time().cmp(&b.time()).then(a.hash().cmp(&b.hash())));
        prop_assert_eq!(a.to_string().parse(), Ok(a));
        prop_assert_eq!(RecordId::try_from(&a.as_bytes()[..]), Ok(a));
        prop_assert_eq!(from_canonical(&to_canonical(&a)), Ok(a));
    }
}

/// A bit of header, signature or body, or of what holds them together, flipped: never a record
/// again, neither this one nor another.
#[test]
fn every_flipped_bit_is_noticed() {
    let full = Draft {
        kind: Kind::CHANGE,
        memory: Some(MemoryId(named(2, 3))),
        seq: 2,
        prev: Some(named(3, 4)),
        deps: vec![named(4, 5), named(4, 6)],
        auth: vec![named(5, 7)],
        author: Some("did:plc:ewvi7nxzyoun6zhxrhs64oiz".parse().unwrap()),
        ..draft()
    };
    let said = body(Ipld::List(vec![Ipld::String("said".into())]));
    let whole = full.sign(&key(1), said).unwrap();
    let verified = whole.clone().verify().unwrap();
    let forgotten = assemble(verified.header_bytes(), verified.signature().as_bytes(), None);
    let small = draft().sign(&key(2), body(Ipld::Null)).unwrap().encode();
    for bytes in [whole.encode(), forgotten, small] {
        assert!(read(&bytes).is_ok());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
    }
}

fn refused(draft: Draft) -> &'static str {
    class_of_form(&draft.sign(&key(1), vec![0x80]).unwrap_err())
}

#[test]
fn deps_and_auth_are_limited_exactly() {
    let ids = |n: usize| (0..n as u8).map(|n| named(1, n)).collect::<Vec<_>>();
    let with = |deps, auth| Draft { deps: ids(deps), auth: ids(auth), ..draft() };
    for (deps, auth) in [(limits::DEPS, 0), (0, limits::AUTH), (limits::DEPS, limits::AUTH)] {
        assert!(with(deps, auth).sign(&key(1), vec![0x80]).is_ok());
    }
    assert_eq!(refused(with(limits::DEPS + 1, 0)), "rule");
    assert_eq!(refused(with(0, limits::AUTH + 1)), "rule");
    let twice = Draft { deps: [ids(16), ids(16)].concat(), ..draft() };
    assert!(twice.sign(&key(1), vec![0x80]).is_ok(), "signing sorts and drops what is repeated");
}

#[test]
fn bodies_are_limited_exactly() {
    let sign = |n: usize| draft().sign(&key(1), vec![0x5a; n]);
    let largest = sign(limits::BODY_BYTES).unwrap();
    let bytes = largest.encode();
    assert!(bytes.len() <= limits::RECORD_BYTES);
    assert!(read(&bytes).is_ok());
    assert_eq!(class_of_form(&sign(limits::BODY_BYTES + 1).unwrap_err()), "rule");

    let header = largest.verify().unwrap().header_bytes().to_vec();
    let longer = signed(&key(1), &header, Some(&vec![0x5a; limits::BODY_BYTES + 1]));
    assert_eq!(read(&longer).unwrap_err(), "size");
    let shorter = signed(&key(1), &header, Some(&vec![0x5a; limits::BODY_BYTES - 1]));
    assert_eq!(read(&shorter).unwrap_err(), "body");
}

/// No header of this version comes near its limit, so another version's stands in.
#[test]
fn headers_are_limited_exactly() {
    let header = |n: usize| {
        let of = |fill: usize| {
            to_canonical(&Ipld::List(vec![
                Ipld::String("ocm/2".into()),
                Ipld::Bytes(vec![0; fill]),
            ]))
        };
        let bytes = of(n - of(1024).len() + 1024);
        assert_eq!(bytes.len(), n);
        SignedRecord::decode(&assemble(&bytes, &[0; 64], None)).unwrap_err()
    };
    assert_eq!(header(limits::HEADER_BYTES), Malformed::Version("ocm/2".into()));
    assert!(matches!(
        header(limits::HEADER_BYTES + 1),
        Malformed::Size { bytes: 2049, limit: 2048, .. }
    ));
}

#[test]
fn records_are_limited_exactly() {
    const PAST: usize = limits::RECORD_BYTES + 1;
    let error = |n: usize| SignedRecord::decode(&vec![0x80; n]).unwrap_err();
    assert_eq!(class_of_form(&error(limits::RECORD_BYTES)), "not-canonical");
    assert!(matches!(
        error(PAST),
        Malformed::Size { bytes: PAST, limit: limits::RECORD_BYTES, .. }
    ));
}

#[test]
fn lineage_is_limited_exactly() {
    let body = |n: usize| Body {
        salt: [0; SALT_LEN],
        lineage: (0..n as u8).map(|n| named(1, n)).collect(),
        content: Ipld::Null,
    };
    assert!(Body::decode(&body(limits::LINEAGE).encode()).is_ok());
    assert!(Body::decode(&body(limits::LINEAGE + 1).encode()).is_err());
}

#[test]
fn times_are_limited_exactly() {
    let at = |time| Draft { time, ..draft() };
    assert!(at(Time::LAST).sign(&key(1), vec![]).is_ok());
    assert_eq!(refused(at(Time(u64::MAX))), "rule");

    let named = named(500, 1);
    let after = named.time();
    for build in [
        |id| Draft { deps: vec![id], ..draft() },
        |id| Draft { prev: Some(id), seq: 2, ..draft() },
        |id| Draft { space: SpaceId(id), ..draft() },
    ] {
        assert_eq!(refused(Draft { time: after, ..build(named) }), "rule");
        let next = Draft { time: after.next().unwrap(), ..build(named) };
        assert!(next.sign(&key(1), vec![]).is_ok());
    }
    let auth = Draft { auth: vec![named], time: after, ..draft() };
    assert!(auth.sign(&key(1), vec![]).is_ok(), "auth is no matter of time");
}

#[test]
fn only_a_change_may_come_without_its_body() {
    for kind in [2, 3, 4, 8, 10, 64] {
        let memory = (kind == 10 || kind == 64).then(|| MemoryId(named(1, 1)));
        let record = Draft { kind: Kind(kind), memory, ..draft() }.sign(&key(1), vec![]).unwrap();
        assert!(record.has_body());
        let record = record.verify().unwrap();
        let bare = assemble(record.header_bytes(), record.signature().as_bytes(), None);
        match read(&bare) {
            Ok(bare) => {
                assert_eq!(kind, 4);
                assert_eq!((bare.id(), bare.body_bytes()), (record.id(), None));
            }
            Err(class) => assert_eq!((class, kind == 4), ("rule", false)),
        }
    }
}
