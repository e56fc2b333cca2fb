//! Vectors of DIDs and of ids.

use ocm_record::{Did, DidError, IdError, RecordId, Time};
use serde_json::{Value, json};

use super::{bytes, golden, list_of, tampered, text};
use crate::fixture::{hex, key, named, public};

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
