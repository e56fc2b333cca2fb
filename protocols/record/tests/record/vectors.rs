//! The golden vectors of the record, in `tests/vectors` of the repository: written from fixed
//! seeds, compared with what is stored, and checked against what they claim.

use std::path::PathBuf;

use ipld_core::ipld::Ipld;
use ocm_record::{
    Body, BodyError, Did, DidError, Draft, Header, IdError, Kind, MemoryId, RecordId, SALT_LEN,
    SignedRecord, SpaceId, Time, VerifiedRecord, from_canonical, sign_statement, to_canonical,
    verify_statement,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::fixture::{
    assemble, class_of_form, draft, header, hex, key, named, public, read, signature, signed, unhex,
};

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(file)
}

/// What a file of vectors says.
pub(crate) fn stored(file: &str) -> Value {
    let text = std::fs::read_to_string(path(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Holds the stored file equal to what is made now, or writes it where the environment says so.
/// Returns what is stored.
fn golden(file: &str, made: &Value) -> Value {
    if std::env::var_os("OCM_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(made).unwrap();
        std::fs::write(path(file), text + "\n").unwrap();
    }
    let stored = stored(file);
    assert_eq!(&stored, made, "{file} differs: a byte on the wire has moved");
    for list in ["valid", "tampered"] {
        let mut names: Vec<_> = list_of(&stored, list).iter().map(|v| text(v, "name")).collect();
        assert!(names.len() > 1, "{file} has {list} entries");
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{file}: names are unique");
    }
    stored
}

fn list_of<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    file[list].as_array().unwrap()
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_else(|| panic!("no {field} in {entry}"))
}

fn bytes(entry: &Value, field: &str) -> Vec<u8> {
    unhex(text(entry, field))
}

fn tampered(name: &str, bytes: impl AsRef<[u8]>, error: &str) -> Value {
    json!({ "name": name, "bytes": hex(bytes), "error": error })
}

/// A content as JSON, with a form for what JSON lacks.
fn shown(content: &Ipld) -> Value {
    match content {
        Ipld::Null => Value::Null,
        Ipld::Bool(b) => json!(b),
        Ipld::Integer(n) => json!(i64::try_from(*n).unwrap()),
        Ipld::Float(x) => json!(x),
        Ipld::String(text) => json!(text),
        Ipld::Bytes(bytes) => json!({ "hex": hex(bytes) }),
        Ipld::List(items) => items.iter().map(shown).collect(),
        Ipld::Map(map) => map.iter().map(|(key, value)| (key.clone(), shown(value))).collect(),
        Ipld::Link(cid) => json!({ "link": cid.to_string() }),
    }
}

fn list(items: impl IntoIterator<Item = Ipld>) -> Ipld {
    Ipld::List(items.into_iter().collect())
}

fn word(text: &str) -> Ipld {
    Ipld::String(text.into())
}

#[test]
fn did() {
    let keys: Vec<Value> = [1u8, 2, 200]
        .iter()
        .map(|seed| {
            let key = key(*seed).public();
            json!({
                "name": format!("did:key of the seed of {seed}s"),
                "seed": hex([*seed; 32]),
                "bytes": hex(key.as_bytes()),
                "text": Did::from(key).to_string(),
            })
        })
        .collect();
    let plc = json!({ "name": "did:plc", "text": "did:plc:ewvi7nxzyoun6zhxrhs64oiz" });
    let good = Did::from(key(1).public()).to_string();
    let encoded = |codec: &[u8], key: &[u8]| {
        let text = multibase::encode(multibase::Base::Base58Btc, [codec, key].concat());
        format!("did:key:{text}")
    };
    let bad = [
        ("another method", "did:web:example.org".into(), "did-method"),
        ("no DID", good[4..].to_owned(), "did-method"),
        ("upper case", good.to_uppercase(), "did-method"),
        ("a space before it", format!(" {good}"), "did-method"),
        ("a fragment after it", format!("{good}#key"), "did-key"),
        ("a character too few", good[..good.len() - 1].into(), "did-key"),
        ("a leading zero", good.replace(":z", ":z1"), "did-key"),
        (
            "another base",
            {
                let raw = [&[0xed, 1][..], key(1).public().as_bytes()].concat();
                format!("did:key:{}", multibase::encode(multibase::Base::Base64Url, raw))
            },
            "did-key",
        ),
        ("an X25519 key", encoded(&[0xec, 1], &[5; 32]), "did-key"),
        ("a long varint", encoded(&[0xed, 0x81, 0], &[5; 32]), "did-key"),
        ("31 bytes", encoded(&[0xed, 1], &[5; 31]), "did-key"),
        ("33 bytes", encoded(&[0xed, 1], &[5; 33]), "did-key"),
        ("did:plc in upper case", "did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ".into(), "did-plc"),
        ("did:plc with a 1", "did:plc:1wvi7nxzyoun6zhxrhs64oiz".into(), "did-plc"),
        ("did:plc of 23", "did:plc:ewvi7nxzyoun6zhxrhs64oi".into(), "did-plc"),
    ];
    let bad: Vec<Value> = bad
        .iter()
        .map(|(name, text, error)| json!({ "name": name, "text": text, "error": error }))
        .collect();
    let made = json!({
        "about": "A DID as text (protocols/README.md, section 2). `bytes` is the Ed25519 key.",
        "valid": keys.into_iter().chain([plc]).collect::<Value>(),
        "tampered": bad,
    });
    let file = golden("did.json", &made);
    for entry in list_of(&file, "valid") {
        let did: Did = text(entry, "text").parse().unwrap();
        assert_eq!(did.to_string(), text(entry, "text"));
        assert_eq!(did.key(), entry.get("bytes").map(|_| public(&bytes(entry, "bytes"))));
    }
    for entry in list_of(&file, "tampered") {
        let class = match text(entry, "text").parse::<Did>().unwrap_err() {
            DidError::Method(_) => "did-method",
            DidError::Key(_) => "did-key",
            DidError::Plc(_) => "did-plc",
        };
        assert_eq!(class, text(entry, "error"), "{}", entry["name"]);
    }
}

#[test]
fn id() {
    let entry = |name: &str, id: RecordId| {
        json!({
            "name": name,
            "bytes": hex(id.as_bytes()),
            "text": id.to_string(),
            "cid": id.cid().to_string(),
            "millis": id.time().millis(),
            "counter": id.time().0 & 0xffff,
            "hash": hex(id.hash()),
        })
    };
    let some = named(0, 0xa5);
    let good = some.to_string();
    let counted = RecordId::of_header(Time(some.time().0 + 513), b"");
    let bad = [
        ("upper case", good.to_uppercase()),
        ("no prefix", good[1..].to_owned()),
        ("the prefix of another base", good.replacen('v', "b", 1)),
        ("a digit past v", format!("{}w", &good[..64])),
        ("a character too few", good[..64].to_owned()),
        ("a character too many", format!("{good}0")),
        ("padding", format!("{}=", &good[..64])),
        ("not ASCII", format!("{}\u{e9}", &good[..63])),
        ("its CID", some.cid().to_string()),
    ];
    let bad = bad.iter().map(|(name, text)| json!({ "name": name, "text": text, "error": "text" }));
    let long = [&some.as_bytes()[..], &[0]].concat();
    let short = tampered("39 bytes", &some.as_bytes()[1..], "length");
    let made = json!({
        "about": "A RecordId: its bytes, its text, and the CIDv1 of its hash \
                  (protocols/README.md, section 2).",
        "valid": [
            entry("a time without a counter", some),
            entry("counter 513, the hash of nothing", counted),
            entry("the lowest", RecordId::MIN),
            entry("the highest bytes", RecordId::MAX),
        ],
        "tampered": bad.chain([short, tampered("41 bytes", long, "length")]).collect::<Value>(),
    });
    let file = golden("id.json", &made);
    for entry in list_of(&file, "valid") {
        let id = RecordId::try_from(&bytes(entry, "bytes")[..]).unwrap();
        assert_eq!(text(entry, "text").parse(), Ok(id));
        assert_eq!(id.to_string(), text(entry, "text"));
        let time = entry["millis"].as_u64().unwrap() << 16 | entry["counter"].as_u64().unwrap();
        let hash = bytes(entry, "hash").try_into().unwrap();
        assert_eq!(RecordId::from_parts(Time(time), hash), id);
        let cid = cid::Cid::try_from(text(entry, "cid")).unwrap();
        assert_eq!((cid.version(), cid.codec()), (cid::Version::V1, 0x71));
        assert_eq!((cid.hash().code(), cid.hash().digest()), (0x12, &hash[..]));
    }
    for entry in list_of(&file, "tampered") {
        let error = match entry.get("bytes") {
            Some(_) => RecordId::try_from(&bytes(entry, "bytes")[..]).unwrap_err(),
            None => text(entry, "text").parse::<RecordId>().unwrap_err(),
        };
        let class = match error {
            IdError::Length(_) => "length",
            IdError::Text(_) => "text",
        };
        assert_eq!(class, text(entry, "error"), "{}", entry["name"]);
    }
}

fn edits() -> Ipld {
    let path = |keys: &[&str]| list(keys.iter().map(|key| word(key)));
    let number = |n: i128| Ipld::Integer(n);
    list([
        list([number(0), path(&["title"]), word("Intake desk")]),
        list([number(5), path(&["text"])]),
        list([number(3), path(&["text"]), number(0), number(0), word("Gr\u{fc}\u{df}e \u{1f3d5}")]),
        list([number(4), path(&["data", "count"]), number(-2)]),
        list([number(2), path(&["tags"]), number(0), word("camp")]),
        list([number(1), path(&["place", "lat"])]),
    ])
}

#[test]
fn body() {
    let bodies = [
        ("the edits of a change", vec![], edits()),
        ("a map, with lineage", vec![named(1, 1), named(2, 2)], {
            Ipld::Map(
                [
                    ("b".to_owned(), Ipld::Bytes(vec![0, 255])),
                    ("aa".to_owned(), Ipld::Float(-0.5)),
                    ("n".to_owned(), Ipld::Null),
                    ("link".to_owned(), Ipld::Link(named(3, 3).cid())),
                    ("big".to_owned(), Ipld::Integer(i64::MIN.into())),
                ]
                .into(),
            )
        }),
        ("nothing said", vec![], Ipld::Null),
    ];
    let entry = |(name, lineage, content): &(&str, Vec<RecordId>, Ipld)| {
        let body = Body { salt: [9; SALT_LEN], lineage: lineage.clone(), content: content.clone() };
        json!({
            "name": name,
            "bytes": hex(body.encode()),
            "sha256": hex(Sha256::digest(body.encode())),
            "salt": hex(body.salt),
            "lineage": lineage.iter().map(RecordId::to_string).collect::<Value>(),
            "content": shown(content),
        })
    };
    let raw = |salt: usize, lineage: usize, rest: &[u8]| {
        let ids = list((0..lineage).map(|n| Ipld::Bytes(named(1, n as u8).as_bytes().to_vec())));
        let start = to_canonical(&list([Ipld::Bytes(vec![9; salt]), ids]));
        [&[0x83], &start[1..], rest].concat()
    };
    let short_id = to_canonical(&list([
        Ipld::Bytes(vec![9; 16]),
        list([Ipld::Bytes(vec![1; 39])]),
        Ipld::Null,
    ]));
    let made = json!({
        "about": "A body: salt, lineage, content (protocols/README.md, section 4).",
        "valid": bodies.iter().map(entry).collect::<Value>(),
        "tampered": [
            tampered("a salt of 15 bytes", raw(15, 0, &[0xf6]), "not-canonical"),
            tampered("a salt of 17 bytes", raw(17, 0, &[0xf6]), "not-canonical"),
            tampered("65 records of lineage", raw(16, 65, &[0xf6]), "lineage"),
            tampered("a lineage of 39 bytes", short_id, "not-canonical"),
            tampered("no content", [&[0x82], &raw(16, 0, &[])[1..]].concat(), "not-canonical"),
            tampered("a fourth element", [&[0x84], &raw(16, 0, &[0xf6, 0xf6])[1..]].concat(),
                "not-canonical"),
            tampered("a byte after it", raw(16, 0, &[0xf6, 0xf6]), "not-canonical"),
            tampered("cut short", raw(16, 0, &[]), "not-canonical"),
            tampered("a number written long", raw(16, 0, &[0x18, 0x01]), "not-canonical"),
            tampered("a float of two bytes", raw(16, 0, &[0xf9, 0x3c, 0x00]), "not-canonical"),
            tampered("not a number", raw(16, 0, &[0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
                "not-canonical"),
            tampered("an array of unknown length", raw(16, 0, &[0x9f, 0xff]), "not-canonical"),
            tampered("keys out of order", raw(16, 0, &[0xa2, 0x61, b'b', 0, 0x61, b'a', 0]),
                "not-canonical"),
            tampered("a key twice", raw(16, 0, &[0xa2, 0x61, b'a', 0, 0x61, b'a', 0]),
                "not-canonical"),
            tampered("a number for a key", raw(16, 0, &[0xa1, 0x01, 0x00]), "not-canonical"),
            tampered("undefined", raw(16, 0, &[0xf7]), "not-canonical"),
            tampered("a tag that is no link", raw(16, 0, &[0xc1, 0x01]), "not-canonical"),
            tampered("text that is not UTF-8", raw(16, 0, &[0x61, 0xff]), "not-canonical"),
        ],
    });
    let file = golden("body.json", &made);
    for entry in list_of(&file, "valid") {
        let body = Body::decode(&bytes(entry, "bytes")).unwrap();
        assert_eq!(body.encode(), bytes(entry, "bytes"));
        assert_eq!(hex(body.salt), text(entry, "salt"));
        let lineage: Value = body.lineage.iter().map(RecordId::to_string).collect();
        assert_eq!((&lineage, &shown(&body.content)), (&entry["lineage"], &entry["content"]));
    }
    for entry in list_of(&file, "tampered") {
        let class = match Body::decode(&bytes(entry, "bytes")).unwrap_err() {
            BodyError::NotCanonical(_) => "not-canonical",
            BodyError::Lineage(_) => "lineage",
        };
        assert_eq!(class, text(entry, "error"), "{}", entry["name"]);
    }
}

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

fn record(n: usize) -> VerifiedRecord {
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

#[test]
fn statement() {
    let fields = || [word("any field"), Ipld::Integer(70_000), Ipld::Bytes(vec![1, 2, 3])];
    let entry = |name: &str, kind: &str, seed: u8, fields: &[Ipld]| {
        json!({
            "name": name,
            "kind": kind,
            "seed": hex([seed; 32]),
            "key": hex(key(seed).public().as_bytes()),
            "fields": hex(to_canonical(&Ipld::List(fields.to_vec()))),
            "bytes": hex(sign_statement(&key(seed), kind, fields).as_bytes()),
        })
    };
    let with = |name: &str, field: &str, value: &str| {
        let mut entry = entry(name, "parity", 1, &fields());
        entry[field] = json!(value);
        entry["error"] = json!("signature");
        entry.as_object_mut().unwrap().remove("seed");
        entry
    };
    let other = hex(key(2).public().as_bytes());
    let moved = hex(to_canonical(&list([word("any field"), Ipld::Integer(70_001)])));
    let neutral = hex([&[1][..], &[0; 31]].concat());
    let nothing = hex([&[1][..], &[0; 63]].concat());
    let mut weak = with("a key of small order, valid for every message", "key", &neutral);
    weak["bytes"] = json!(nothing);
    let made = json!({
        "about": "A signature outside the sets (protocols/README.md, section 13): `bytes` is the \
                  signature by `key` over the DAG-CBOR array of \"ocm/1/KIND\" and the fields, \
                  which stand here as an array of their own.",
        "valid": [
            entry("three fields", "parity", 1, &fields()),
            entry("no field", "forget", 2, &[]),
        ],
        "tampered": [
            with("another kind", "kind", "cert"),
            with("another key", "key", &other),
            with("other fields", "fields", &moved),
            with("another signature", "bytes",
                &hex(sign_statement(&key(1), "parity", &[]).as_bytes())),
            with("a record's signature", "bytes", &hex(record(1).signature().as_bytes())),
            weak,
        ],
    });
    let file = golden("statement.json", &made);
    let fields_of = |entry: &Value| {
        let Ipld::List(fields) = from_canonical(&bytes(entry, "fields")).unwrap() else {
            panic!("fields are an array")
        };
        fields
    };
    let verdict = |entry: &Value| {
        let kind: &'static str = String::leak(text(entry, "kind").to_owned());
        let sig = signature(&bytes(entry, "bytes"));
        verify_statement(&public(&bytes(entry, "key")), kind, &fields_of(entry), &sig)
    };
    for entry in list_of(&file, "valid") {
        verdict(entry).unwrap();
        let mut covered = vec![word(&format!("ocm/1/{}", text(entry, "kind")))];
        covered.extend(fields_of(entry));
        let sig = signature(&bytes(entry, "bytes"));
        let key = public(&bytes(entry, "key"));
        assert!(key.verifies(&to_canonical(&Ipld::List(covered)), &sig));
    }
    for entry in list_of(&file, "tampered") {
        assert_eq!(text(entry, "error"), "signature");
        assert!(verdict(entry).is_err(), "{}", entry["name"]);
    }
}
