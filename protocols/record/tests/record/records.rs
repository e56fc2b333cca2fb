//! Vectors of headers and of whole records.

use ipld_core::ipld::Ipld;
use ocm_record::{
    Body, Did, Draft, Header, Kind, MemoryId, RecordId, SALT_LEN, SignedRecord, SpaceId,
    VerifiedRecord, from_canonical, to_canonical,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::bodies::edits;
use super::{bytes, golden, list, list_of, tampered, text, word};
use crate::fixture::{
    assemble, class_of_form, draft, header, hex, key, named, public, read, signature, signed,
};

/// One record of every shape, with the seed of the key that signs it.
fn records() -> Vec<(&'static str, u8, Draft, Vec<u8>)> {
    let with = |content| Body { salt: [9; SALT_LEN], lineage: vec![], content }.encode();
    let map = || Ipld::Map([("any".to_owned(), word("thing"))].into());
    let change = || Draft { kind: Kind::CHANGE, auth: vec![named(1, 1)], ..draft() };
    let memory = Some(MemoryId(named(2, 2)));
    vec![
        (
            "genesis",
            1,
            Draft { space: SpaceId::GENESIS, kind: Kind::GENESIS, ..draft() },
            with(map()),
        ),
        ("grant", 1, Draft { seq: 2, prev: Some(named(0, 1)), ..draft() }, with(map())),
        ("change that starts a memory", 2, change(), with(edits())),
        (
            "change with deps",
            2,
            Draft {
                memory,
                seq: 300,
                prev: Some(named(3, 3)),
                deps: vec![named(2, 2), named(3, 4)],
                ..change()
            },
            with(edits()),
        ),
        (
            "change with all that fits",
            2,
            Draft {
                memory,
                seq: u64::MAX,
                prev: Some(named(3, 3)),
                deps: (0..16).map(|n| named(3, n)).collect(),
                auth: (0..8).map(|n| named(1, n)).collect(),
                author: Some("did:plc:ewvi7nxzyoun6zhxrhs64oiz".parse().unwrap()),
                ..change()
            },
            with(edits()),
        ),
        ("kind 64, of a memory", 2, Draft { kind: Kind(64), memory, ..draft() }, with(map())),
        ("forget", 2, Draft { kind: Kind::FORGET, memory, ..draft() }, with(map())),
        ("an empty body", 2, change(), vec![]),
        ("a body that is no body", 2, change(), b"void".to_vec()),
    ]
}

pub(super) fn record(n: usize) -> VerifiedRecord {
    let (_, seed, draft, body) = records().remove(n);
    draft.sign(&key(seed), body).unwrap().verify().unwrap()
}

fn meaning(header: &Header) -> Value {
    let ids = |ids: &[RecordId]| ids.iter().map(RecordId::to_string).collect::<Value>();
    json!({
        "space": header.space.to_string(),
        "kind": header.kind.0,
        "memory": header.memory.map(|memory| memory.to_string()),
        "author": header.author.map(|author| author.to_string()),
        "key": hex(header.key.as_bytes()),
        "boot": hex(header.boot.as_bytes()),
        "seq": header.seq,
        "prev": header.prev.map(|prev| prev.to_string()),
        "deps": ids(&header.deps),
        "auth": ids(&header.auth),
        "time": header.time.0,
        "body": hex(header.body),
        "size": header.size,
    })
}

/// The header of a record with one element of its array replaced.
fn replaced(record: usize, at: usize, with: Ipld) -> Vec<u8> {
    let Ipld::List(mut items) = from_canonical(self::record(record).header_bytes()).unwrap() else {
        panic!("a header is an array")
    };
    items[at] = with;
    to_canonical(&Ipld::List(items))
}

#[test]
fn signed_header() {
    let entry = |n: usize| {
        let (name, seed, ..) = records()[n];
        let record = record(n);
        json!({
            "name": name,
            "bytes": hex(record.header_bytes()),
            "id": record.id().to_string(),
            "cid": record.id().cid().to_string(),
            "meaning": meaning(record.header()),
            "seed": hex([seed; 32]),
            "signature": hex(record.signature().as_bytes()),
        })
    };
    let raw = |id: RecordId| Ipld::Bytes(id.as_bytes().to_vec());
    let ids = |n: u8| list((0..n).map(|n| raw(named(1, n))));
    let number = |n: u64| Ipld::Integer(n.into());
    let own_did = word(&Did::from(key(2).public()).to_string());
    let zero = raw(RecordId::MIN);
    let rule = |name: &str, bytes: Vec<u8>| tampered(name, bytes, "rule");
    let shape = |name: &str, bytes: Vec<u8>| tampered(name, bytes, "not-canonical");
    let bytes_of = |n: usize| record(n).header_bytes().to_vec();
    let (grant, start, deps, of_memory) = (1, 2, 3, 5);
    let made = json!({
        "about": "A header, its id and its signature (protocols/README.md, section 3). \
                  `tampered` fails to decode, whatever signature and body go with it.",
        "valid": (0..records().len()).map(entry).collect::<Value>(),
        "tampered": [
            tampered("version 2", replaced(start, 0, word("ocm/2")), "version"),
            tampered("version 2 of another shape",
                to_canonical(&list([word("ocm/2"), word("new")])), "version"),
            rule("a tag that is none of ocm's", replaced(start, 0, word("xyz/1"))),
            rule("a grant in no space", replaced(grant, 1, zero)),
            rule("a genesis in a space", replaced(0, 1, raw(named(0, 1)))),
            rule("a grant made a genesis", replaced(grant, 2, number(1))),
            rule("a grant of a memory", replaced(grant, 3, raw(named(2, 2)))),
            rule("kind 64 of no memory", replaced(of_memory, 3, Ipld::Null)),
            rule("a change of a memory on nothing", replaced(deps, 9, list([]))),
            rule("the author that the key gives", replaced(start, 4, own_did)),
            shape("an author that is no DID", replaced(start, 4, word("did:key:z6Mk"))),
            shape("a key of 31 bytes", replaced(start, 5, Ipld::Bytes(vec![1; 31]))),
            shape("a boot of 15 bytes", replaced(start, 6, Ipld::Bytes(vec![7; 15]))),
            rule("seq 0", replaced(start, 7, number(0))),
            rule("seq 2 after nothing", replaced(start, 7, number(2))),
            rule("seq 1 after a record", replaced(deps, 7, number(1))),
            shape("a negative seq", replaced(start, 7, Ipld::Integer(-1))),
            rule("17 deps", replaced(deps, 9, ids(17))),
            rule("deps out of order", replaced(deps, 9,
                list([raw(named(3, 4)), raw(named(2, 2))]))),
            rule("a dep twice", replaced(deps, 9, list([raw(named(2, 2)), raw(named(2, 2))]))),
            rule("9 auth", replaced(start, 10, ids(9))),
            rule("auth out of order", replaced(start, 10,
                list([raw(named(2, 2)), raw(named(1, 1))]))),
            rule("the time of its dep", replaced(deps, 11, number(named(3, 4).time().0))),
            rule("the time of its space", replaced(start, 11, number(named(0, 1).time().0))),
            rule("time 2^64 - 1", replaced(start, 11, number(u64::MAX))),
            shape("a hash of 31 bytes", replaced(start, 12, Ipld::Bytes(vec![1; 31]))),
            rule("a body of 61441 bytes", replaced(start, 13, number(61_441))),
            shape("a size of 2^32", replaced(start, 13, number(1 << 32))),
            shape("13 elements", {
                let mut bytes = bytes_of(7);
                bytes[0] -= 1;
                bytes.truncate(bytes.len() - 1);
                bytes
            }),
            shape("15 elements", {
                let mut bytes = bytes_of(start);
                bytes[0] += 1;
                [bytes, vec![0xf6]].concat()
            }),
            shape("a byte after it", [bytes_of(start), vec![0]].concat()),
            shape("a byte too few", bytes_of(start)[..100].to_vec()),
            shape("its length written long", [&[0x98, 14], &bytes_of(start)[1..]].concat()),
            shape("an array of unknown length",
                [&[0x9f], &bytes_of(start)[1..], &[0xff]].concat()),
            shape("its kind written long", {
                let bytes = bytes_of(start);
                let kind = 1 + 6 + 42;
                assert_eq!(bytes[kind], 4);
                [&bytes[..kind], &[0x18, 4], &bytes[kind + 1..]].concat()
            }),
            tampered("past 2 KiB", to_canonical(&list([
                word("ocm/2"), Ipld::Bytes(vec![0; 2048])
            ])), "size"),
        ],
    });
    let file = golden("header.json", &made);
    for (n, entry) in list_of(&file, "valid").iter().enumerate() {
        let (.., body) = records().remove(n);
        let whole = assemble(&bytes(entry, "bytes"), &bytes(entry, "signature"), Some(&body));
        let record = read(&whole).unwrap();
        assert_eq!(record.header().encode(), bytes(entry, "bytes"));
        assert_eq!(meaning(record.header()), entry["meaning"]);
        assert_eq!(record.id().to_string(), text(entry, "id"));
        assert_eq!(record.id().cid().to_string(), text(entry, "cid"));
        assert_eq!(record.id().hash(), <[u8; 32]>::from(Sha256::digest(bytes(entry, "bytes"))));
        let (public, sig) = (record.header().key, signature(&bytes(entry, "signature")));
        assert!(public.verifies(&bytes(entry, "bytes"), &sig));
    }
    for entry in list_of(&file, "tampered") {
        for body in [None, Some(&b""[..])] {
            let whole = signed(&key(2), &bytes(entry, "bytes"), body);
            let error = SignedRecord::decode(&whole).unwrap_err();
            assert_eq!(class_of_form(&error), text(entry, "error"), "{}", entry["name"]);
        }
    }
}

#[test]
fn whole_record() {
    let entry = |(name, bytes): (&str, Vec<u8>)| {
        let record = read(&bytes).unwrap();
        json!({
            "name": name,
            "bytes": hex(&bytes),
            "id": record.id().to_string(),
            "space": record.space().to_string(),
            "memory": record.memory().map(|memory| memory.to_string()),
            "author": record.author().to_string(),
            "body": record.body_bytes().map(hex),
            "copy_hash": hex(Sha256::digest(&bytes)),
        })
    };
    let (start, grant) = (record(2), record(1));
    let parts = |record: &VerifiedRecord| {
        (record.header_bytes().to_vec(), record.signature().as_bytes().to_vec())
    };
    let (head, sig) = parts(&start);
    let said = start.body_bytes().unwrap().to_vec();
    let forgotten = assemble(&head, &sig, None);
    let mut all: Vec<(&str, Vec<u8>)> =
        (0..records().len()).map(|n| (records()[n].0, record(n).encode())).collect();
    all.push(("change that starts a memory, forgotten", forgotten));

    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let by = |name: &str, key: [u8; 32], error: &str| {
        let header = header(public(&key), 1, &said).encode();
        tampered(name, assemble(&header, &sig, Some(&said)), error)
    };
    let small = |y: u8| std::array::from_fn(|i| if i == 0 { y } else { 0 });
    let high = |y: u8| {
        std::array::from_fn(|i| match i {
            0 => y,
            31 => 0x7f,
            _ => 0xff,
        })
    };
    let elsewhere = |at, id: RecordId| {
        let moved = replaced(3, at, Ipld::Bytes(id.as_bytes().to_vec()));
        let (_, sig) = parts(&record(3));
        assemble(&moved, &sig, record(3).body_bytes())
    };
    let array = |items: Vec<Ipld>| to_canonical(&Ipld::List(items));
    let part = |bytes: &[u8]| Ipld::Bytes(bytes.to_vec());
    let whole = start.encode();
    let made = json!({
        "about": "A whole record: header, signature, body or null (protocols/README.md, \
                  section 3). `tampered` fails to decode or to verify.",
        "valid": all.into_iter().map(entry).collect::<Value>(),
        "tampered": [
            tampered("a bit of the signature's point", assemble(&head, &flipped(&sig, 0), Some(&said)),
                "signature"),
            tampered("a bit of the signature's scalar",
                assemble(&head, &flipped(&sig, 40), Some(&said)), "signature"),
            tampered("a bit of the body", assemble(&head, &sig, Some(&flipped(&said, 30))), "body"),
            tampered("a body cut short", assemble(&head, &sig, Some(&said[1..])), "body"),
            tampered("a size that is not the body's", {
                let size = Ipld::Integer(said.len() as i128 + 1);
                signed(&key(2), &replaced(2, 13, size), Some(&said))
            }, "body"),
            tampered("another record's body", assemble(&head, &sig, grant.body_bytes()), "body"),
            tampered("a bit of the boot", assemble(&{
                let at = head.windows(16).position(|bytes| bytes == [7; 16]).unwrap();
                flipped(&head, at)
            }, &sig, Some(&said)), "signature"),
            tampered("another record's signature", assemble(&head, &parts(&grant).1, Some(&said)),
                "signature"),
            tampered("another key's signature", signed(&key(3), &head, Some(&said)), "signature"),
            tampered("replayed into another space", elsewhere(1, named(0, 9)), "signature"),
            tampered("replayed into another memory", elsewhere(3, named(2, 9)), "signature"),
            tampered("a grant without its body",
                assemble(grant.header_bytes(), &parts(&grant).1, None), "rule"),
            by("the neutral point for a key", small(1), "key-small-order"),
            by("a point of order 4 for a key", small(0), "key-small-order"),
            by("p + 1 for a key", high(0xee), "key-not-canonical"),
            by("no point for a key", small(2), "key-not-a-point"),
            tampered("a header of version 2",
                assemble(&replaced(2, 0, word("ocm/2")), &sig, Some(&said)), "version"),
            tampered("a signature of 63 bytes", assemble(&head, &sig[1..], Some(&said)),
                "not-canonical"),
            tampered("without its third element", array(vec![part(&head), part(&sig)]),
                "not-canonical"),
            tampered("with a fourth element",
                array(vec![part(&head), part(&sig), part(&said), Ipld::Null]), "not-canonical"),
            tampered("its header not as bytes",
                array(vec![from_canonical(&head).unwrap(), part(&sig), part(&said)]),
                "not-canonical"),
            tampered("a byte after it", [&whole[..], &[0]].concat(), "not-canonical"),
            tampered("a byte too few", &whole[..whole.len() - 1], "not-canonical"),
            tampered("an array of unknown length", [&[0x9f], &whole[1..], &[0xff]].concat(),
                "not-canonical"),
            tampered("nothing", [], "not-canonical"),
        ],
    });
    let file = golden("record.json", &made);
    for entry in list_of(&file, "valid") {
        let decoded = SignedRecord::decode(&bytes(entry, "bytes")).unwrap();
        assert_eq!(hex(decoded.copy_hash()), text(entry, "copy_hash"));
        let record = decoded.verify().unwrap();
        assert_eq!(record.encode(), bytes(entry, "bytes"));
        assert_eq!(record.id().to_string(), text(entry, "id"));
        assert_eq!(record.space().to_string(), text(entry, "space"));
        assert_eq!(record.author().to_string(), text(entry, "author"));
        let memory = record.memory().map(|memory| memory.to_string());
        assert_eq!(json!(memory), entry["memory"]);
        assert_eq!(json!(record.body_bytes().map(hex)), entry["body"]);
    }
    for entry in list_of(&file, "tampered") {
        let class = read(&bytes(entry, "bytes")).unwrap_err();
        assert_eq!(class, text(entry, "error"), "{}", entry["name"]);
    }
}
