//! The golden vectors of discovery, in `tests/vectors` of the repository: written from fixed
//! seeds, compared with what is stored, and checked against what they claim.

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use ipld_core::ipld::Ipld;
use ocm_discovery::{
    Beacon, BeaconError, CERTIFICATE_LIFE_MS, CLOCK_TOLERANCE_MS, Certificate, CertificateError,
    LookupKey, PeerId, PeerIdError, VerifiedCertificate,
};
use ocm_record::{Boot, Did, SigningKey, SpaceId, from_canonical, sign_statement, to_canonical};
use serde_json::{Value, json};

/// A moment in June 2025, in milliseconds.
const NOW: u64 = 1_750_000_000_000;
const DAY: u64 = 24 * 60 * 60 * 1000;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn peer(n: u8) -> PeerId {
    PeerId::new(key(n).public())
}

/// Holds the stored file equal to what is made now, or writes it where the environment says so.
/// Returns what is stored.
fn golden(file: &str, made: &Value) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(file);
    if std::env::var_os("OCM_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(made).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
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
    HEXLOWER.decode(text(entry, field).as_bytes()).unwrap()
}

fn tampered(name: &str, bytes: impl AsRef<[u8]>, error: &str) -> Value {
    json!({ "name": name, "bytes": hex(bytes), "error": error })
}

/// The parts of an encoded array.
fn parts(bytes: &[u8]) -> Vec<Ipld> {
    let Ipld::List(parts) = from_canonical(bytes).unwrap() else { panic!("an array") };
    parts
}

/// An encoded array with one part replaced, and nothing signed anew.
fn replaced(bytes: &[u8], at: usize, with: Ipld) -> Vec<u8> {
    let mut parts = parts(bytes);
    parts[at] = with;
    to_canonical(&Ipld::List(parts))
}

fn word(text: &str) -> Ipld {
    Ipld::String(text.into())
}

fn number(n: u64) -> Ipld {
    Ipld::Integer(n.into())
}

fn blob(bytes: impl AsRef<[u8]>) -> Ipld {
    Ipld::Bytes(bytes.as_ref().to_vec())
}

/// A statement of these fields, with the signatures of these seeds over it at its end.
fn signed(kind: &'static str, fields: &[Ipld], by: &[u8]) -> Vec<u8> {
    let mut all = vec![word(&format!("ocm/1/{kind}"))];
    all.extend_from_slice(fields);
    all.extend(by.iter().map(|n| blob(sign_statement(&key(*n), kind, fields).as_bytes())));
    to_canonical(&Ipld::List(all))
}

#[test]
fn peer_id() {
    let entry = |n: u8| {
        json!({
            "name": format!("the seed of {n}s"),
            "seed": hex([n; 32]),
            "key": hex(key(n).public().as_bytes()),
            "bytes": hex(peer(n).to_bytes()),
            "text": peer(n).to_string(),
        })
    };
    let good = peer(1).to_string();
    let of_text = |name: &str, text: String| json!({ "name": name, "text": text, "error": "text" });
    let raw = peer(1).to_bytes();
    let with = |at: usize, byte: u8| {
        let mut raw = raw;
        raw[at] = byte;
        raw
    };
    let made = json!({
        "about": "A PeerId (protocols/README.md, section 2): libp2p's name of an Ed25519 key.",
        "valid": [entry(1), entry(2), entry(200)],
        "tampered": [
            tampered("37 bytes", &raw[..37], "bytes"),
            tampered("39 bytes", [&raw[..], &[0]].concat(), "bytes"),
            tampered("another multihash", with(0, 0x12), "bytes"),
            tampered("another length", with(1, 0x25), "bytes"),
            tampered("another type of key", with(3, 0x02), "bytes"),
            of_text("nothing", String::new()),
            of_text("upper case", good.to_uppercase()),
            of_text("a character too few", good[..51].to_owned()),
            of_text("a character too many", format!("{good}1")),
            of_text("a leading zero", format!("1{good}")),
            of_text("multibase", format!("z{good}")),
            of_text("a space after it", format!("{good} ")),
            of_text("an RSA peer", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".into()),
            of_text(
                "a secp256k1 peer",
                "16Uiu2HAkvzWjCtxYKDQEFkxkWpvd8grkJZhcDEVRgXoTJeNfiMwa".into()
            ),
            of_text("a DID", Did::from(key(1).public()).to_string()),
        ],
    });
    let file = golden("peer_id.json", &made);
    for entry in list_of(&file, "valid") {
        let peer: PeerId = text(entry, "text").parse().unwrap();
        assert_eq!(peer.to_bytes().to_vec(), bytes(entry, "bytes"));
        assert_eq!(PeerId::try_from(&bytes(entry, "bytes")[..]), Ok(peer));
        assert_eq!(peer.public_key().as_bytes().to_vec(), bytes(entry, "key"));
        assert_eq!(peer.to_string(), text(entry, "text"));
    }
    for entry in list_of(&file, "tampered") {
        let error = match entry.get("bytes") {
            Some(_) => PeerId::try_from(&bytes(entry, "bytes")[..]).unwrap_err(),
            None => text(entry, "text").parse::<PeerId>().unwrap_err(),
        };
        let class = match error {
            PeerIdError::Bytes(_) => "bytes",
            PeerIdError::Text(_) => "text",
        };
        assert_eq!(class, text(entry, "error"), "{}", entry["name"]);
    }
}

#[test]
fn beacon() {
    let plain =
        Beacon { peer: peer(1), boot: Boot::from_bytes([9; 16]), tcp: 8080, udp: 8080, time: NOW };
    let beacons = [
        ("both ports", plain),
        ("TCP only", Beacon { udp: 0, ..plain }),
        ("QUIC only, at the end of time", Beacon { tcp: 0, udp: 65_535, time: u64::MAX, ..plain }),
    ];
    let meaning = |beacon: &Beacon| {
        json!({
            "peer": beacon.peer.to_string(),
            "boot": hex(beacon.boot.as_bytes()),
            "tcp": beacon.tcp,
            "udp": beacon.udp,
            "time": beacon.time,
        })
    };
    let entry = |(name, beacon): &(&str, Beacon)| {
        let bytes = hex(beacon.sign(&key(1)).unwrap());
        json!({ "name": name, "seed": hex([1; 32]), "bytes": bytes, "meaning": meaning(beacon) })
    };
    let good = plain.sign(&key(1)).unwrap();
    let fields = |tcp: u64, udp: u64| {
        [blob(peer(1).to_bytes()), blob([9; 16]), number(tcp), number(udp), number(NOW)]
    };
    let unsigned = to_canonical(&Ipld::List(parts(&good)[..6].to_vec()));
    let shape = |name: &str, bytes: Vec<u8>| tampered(name, bytes, "not-canonical");
    let forged = |name: &str, bytes: Vec<u8>| tampered(name, bytes, "signature");
    let as_certificate = signed("cert", &fields(8080, 8080), &[1]);
    let made = json!({
        "about": "A beacon (protocols/README.md, section 12). `tampered` is dropped.",
        "valid": beacons.iter().map(entry).collect::<Value>(),
        "tampered": [
            shape("nothing", vec![]),
            shape("no signature", unsigned),
            shape("a byte after it", [&good[..], &[0]].concat()),
            shape("a byte too few", good[..good.len() - 1].to_vec()),
            tampered("513 bytes", [0x80; 513], "size"),
            shape("another version", replaced(&good, 0, word("ocm/2/beacon"))),
            shape("a certificate's tag", replaced(&good, 0, word("ocm/1/cert"))),
            shape("a PeerId of another type", replaced(&good, 1, blob([0; 38]))),
            shape("a boot of 15 bytes", replaced(&good, 2, blob([9; 15]))),
            shape("port 65536", replaced(&good, 3, number(65_536))),
            shape("a negative port", replaced(&good, 3, Ipld::Integer(-1))),
            tampered("no port", signed("beacon", &fields(0, 0), &[1]), "port"),
            forged("another peer", replaced(&good, 1, blob(peer(2).to_bytes()))),
            forged("another boot", replaced(&good, 2, blob([8; 16]))),
            forged("another TCP port", replaced(&good, 3, number(8081))),
            forged("another UDP port", replaced(&good, 4, number(8081))),
            forged("another time", replaced(&good, 5, number(NOW + 1))),
            forged("another key's signature", signed("beacon", &fields(8080, 8080), &[2])),
            forged("signed as a certificate", replaced(&as_certificate, 0, word("ocm/1/beacon"))),
        ],
    });
    let file = golden("beacon.json", &made);
    for entry in list_of(&file, "valid") {
        let beacon = Beacon::verify(&bytes(entry, "bytes")).unwrap();
        assert_eq!(meaning(&beacon), entry["meaning"], "{}", entry["name"]);
        assert_eq!(beacon.sign(&key(1)).unwrap(), bytes(entry, "bytes"));
    }
    for entry in list_of(&file, "tampered") {
        let class = match Beacon::verify(&bytes(entry, "bytes")).unwrap_err() {
            BeaconError::TooLong => "size",
            BeaconError::Malformed(_) => "not-canonical",
            BeaconError::NoPort => "port",
            BeaconError::Signature(_) => "signature",
        };
        assert_eq!(class, text(entry, "error"), "{}", entry["name"]);
    }
}

fn class(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::TooLong(_) => "size",
        CertificateError::Malformed(_) => "not-canonical",
        CertificateError::OtherPeer { .. } => "other-peer",
        CertificateError::OtherKey(_) => "other-key",
        CertificateError::Never { .. } => "never",
        CertificateError::TooLongLived(_) => "too-long-lived",
        CertificateError::TooEarly { .. } => "too-early",
        CertificateError::Expired { .. } => "expired",
        CertificateError::PeerSignature => "peer-signature",
        CertificateError::DidSignature(_) => "did-signature",
    }
}

#[test]
fn certificate() {
    let until = NOW + CERTIFICATE_LIFE_MS;
    let own = Did::from(key(2).public());
    let other = Did::from(key(3).public()).to_string();
    let plc: Did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz".parse().unwrap();
    let issue =
        |did, until| Certificate::issue(&key(1), &key(2), did, NOW, until).unwrap().encode();
    let entry = |name: &str, did: Did, until: u64, now: u64| {
        json!({
            "name": name,
            "peer_seed": hex([1; 32]),
            "did_seed": hex([2; 32]),
            "now": now,
            "bytes": hex(issue(did, until)),
            "meaning": {
                "peer": peer(1).to_string(),
                "did": did.to_string(),
                "key": hex(key(2).public().as_bytes()),
                "from": NOW,
                "until": until,
            },
        })
    };
    let good = issue(own, until);
    let sign = |from: u64, until: u64, kind: &'static str, by: &[u8]| {
        let key = blob(key(2).public().as_bytes());
        let did = word(&own.to_string());
        let fields = [blob(peer(1).to_bytes()), did, key, number(from), number(until)];
        signed(kind, &fields, by)
    };
    let at = |now: u64, name: &str, bytes: Vec<u8>, error: &str| {
        let mut entry = tampered(name, bytes, error);
        entry["now"] = json!(now);
        entry
    };
    let now = |name: &str, bytes: Vec<u8>, error: &str| at(NOW, name, bytes, error);
    let shape = |name: &str, bytes: Vec<u8>| now(name, bytes, "not-canonical");
    let forged = |name: &str, bytes: Vec<u8>| now(name, bytes, "peer-signature");
    let swapped = {
        let mut parts = parts(&good);
        parts.swap(6, 7);
        to_canonical(&Ipld::List(parts))
    };
    let by_one = to_canonical(&Ipld::List(parts(&good)[..7].to_vec()));
    let as_beacon = replaced(&sign(NOW, until, "beacon", &[1, 2]), 0, word("ocm/1/cert"));
    let made = json!({
        "about": "A certificate (protocols/README.md, section 13), shown at `now` by the peer of \
                  the seed of 1s. `tampered` proves nothing then.",
        "valid": [
            entry("for 30 days", own, until, NOW),
            entry("a day before it begins", own, until, NOW - DAY),
            entry("a day after it ended", own, until, until + CLOCK_TOLERANCE_MS),
            entry("for a millisecond", own, NOW + 1, NOW),
            entry("for a did:plc", plc, until, NOW),
        ],
        "tampered": [
            shape("nothing", vec![]),
            now("1025 bytes", vec![0x80; 1025], "size"),
            shape("a byte after it", [&good[..], &[0]].concat()),
            shape("a byte too few", good[..good.len() - 1].to_vec()),
            shape("signed by one", by_one),
            shape("a beacon's tag", replaced(&good, 0, word("ocm/1/beacon"))),
            shape("another version", replaced(&good, 0, word("ocm/2/cert"))),
            shape("no DID", replaced(&good, 2, word("ada"))),
            now("of another peer", replaced(&good, 1, blob(peer(3).to_bytes())), "other-peer"),
            now("for another DID", replaced(&good, 2, word(&other)), "other-key"),
            now("by another key", replaced(&good, 3, blob(key(3).public().as_bytes())),
                "other-key"),
            now("for no time", sign(NOW, NOW, "cert", &[1, 2]), "never"),
            now("ended before it begins", sign(NOW, NOW - 1, "cert", &[1, 2]), "never"),
            now("for a millisecond over 30 days", sign(NOW, until + 1, "cert", &[1, 2]),
                "too-long-lived"),
            at(NOW - DAY - 1, "more than a day early", good.clone(), "too-early"),
            at(until + DAY + 1, "more than a day late", good.clone(), "expired"),
            forged("another beginning", replaced(&good, 4, number(NOW + 1))),
            forged("another end", replaced(&good, 5, number(until - 1))),
            forged("a did:plc put in", replaced(&good, 2, word(&plc.to_string()))),
            forged("the signatures swapped", swapped),
            forged("the peer's signature by the DID", sign(NOW, until, "cert", &[2, 2])),
            now("the DID's signature by the peer", sign(NOW, until, "cert", &[1, 1]),
                "did-signature"),
            forged("signed as a beacon", as_beacon),
        ],
    });
    let file = golden("certificate.json", &made);
    let verify = |entry: &Value| -> Result<VerifiedCertificate, CertificateError> {
        let now = entry["now"].as_u64().unwrap();
        Certificate::decode(&bytes(entry, "bytes"))?.verify(&peer(1), now, CLOCK_TOLERANCE_MS)
    };
    for entry in list_of(&file, "valid") {
        let verified = verify(entry).unwrap();
        let meaning = &entry["meaning"];
        assert_eq!(verified.peer.to_string(), text(meaning, "peer"));
        assert_eq!(verified.did.to_string(), text(meaning, "did"));
        assert_eq!(verified.key.as_bytes().to_vec(), bytes(meaning, "key"));
        assert_eq!(json!(verified.until), meaning["until"]);
        let again = Certificate::decode(&bytes(entry, "bytes")).unwrap();
        assert_eq!(again.encode(), bytes(entry, "bytes"));
    }
    for entry in list_of(&file, "tampered") {
        let error = verify(entry).unwrap_err();
        assert_eq!(class(&error), text(entry, "error"), "{}: {error}", entry["name"]);
    }
}

#[test]
fn lookup() {
    // The genesis of section 3, and the id "counter 513, the hash of nothing".
    const SPACES: [(&str, &str); 2] = [
        ("the genesis", "v06bn886vt0001diaipecqvhrf31o0rub7dt9hseci0f83cr7573m9llot6kpi8j3"),
        ("an id", "v06bn886s00103otgoh19hv0s2idfnt68j5nri917lp0u8p4rid6a95cp3ds55e2l"),
    ];
    let space = |n: usize| SPACES[n].1.parse::<SpaceId>().unwrap();
    let key = |n| LookupKey::of(&space(n));
    let entry = |name: &str, n: usize, bytes: &[u8]| json!({ "name": name, "space": SPACES[n].1, "bytes": hex(bytes) });
    let wrong = |name, n, bytes| {
        let mut entry = entry(name, n, bytes);
        entry["error"] = json!("lookup-key");
        entry
    };
    let mut flipped = *key(0).as_bytes();
    flipped[31] ^= 1;
    let made = json!({
        "about": "Under which key the peers of a space are looked up (protocols/README.md, section 12). \
                  `tampered` is no key of that space.",
        "valid": [
            entry(SPACES[0].0, 0, key(0).as_bytes()),
            entry(SPACES[1].0, 1, key(1).as_bytes()),
        ],
        "tampered": [
            wrong("of another space", 0, key(1).as_bytes()),
            wrong("a bit changed", 0, &flipped),
            wrong("the hash in the id", 0, &space(0).0.hash()),
        ],
    });
    let file = golden("lookup.json", &made);
    let holds = |entry: &Value| {
        let space: SpaceId = text(entry, "space").parse().unwrap();
        LookupKey::of(&space).as_bytes().as_slice() == bytes(entry, "bytes")
    };
    for entry in list_of(&file, "valid") {
        assert!(holds(entry), "{entry}");
        let key = LookupKey::from_bytes(&bytes(entry, "bytes")).unwrap();
        assert_eq!(key.to_string(), text(entry, "bytes"));
    }
    for entry in list_of(&file, "tampered") {
        assert!(!holds(entry) && text(entry, "error") == "lookup-key", "{entry}");
    }
    assert_eq!(LookupKey::from_bytes(&[0; 31]), None);
    assert_eq!(LookupKey::from_bytes(&[0; 33]), None);
}
