//! Vectors of statements of parity, and of what an audit commits to and proves.

use ocm_record::{
    Boot, Draft, Kind, SignedRecord, SigningKey, SpaceId, Time, from_canonical, to_canonical,
};
use ocm_sync::{PEER_ID_LEN, Parity, SetDigest, Statement, Terms, commitment, proof};
use serde_bytes::{ByteArray, ByteBuf};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::messages::{of_parity, parity};
use crate::vectors::{NOW, bytes, golden, hex, list_of, named, peer, text};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn camp() -> SpaceId {
    "v06bn886vt0001diaipecqvhrf31o0rub7dt9hseci0f83cr7573m9llot6kpi8j3".parse().unwrap()
}

fn terms_of(entry: &Value) -> Terms {
    let part = |field| -> [u8; PEER_ID_LEN] { bytes(entry, field).try_into().unwrap() };
    Terms {
        space: text(entry, "space").parse().unwrap(),
        from: part("from"),
        to: part("to"),
        nonce: bytes(entry, "nonce").try_into().unwrap(),
    }
}

fn parity_of(entry: &Value) -> Parity {
    let set = |set: &Value| SetDigest {
        count: set["count"].as_u64().unwrap(),
        digest: bytes(set, "digest").try_into().unwrap(),
    };
    let parity = &entry["parity"];
    Parity {
        authority: set(&parity["authority"]),
        content: set(&parity["content"]),
        missing_bodies: parity["missing_bodies"].as_u64().unwrap(),
    }
}

#[test]
fn statement_of_parity() {
    let terms = Terms { space: camp(), from: peer(1), to: peer(2), nonce: [4; 32] };
    let nothing = SetDigest { count: 0, digest: ocm_sync::SetHash::new().digest() };
    let empty = Parity { authority: nothing, content: nothing, missing_bodies: 0 };
    let entry = |name: &str, seed: u8, terms: &Terms, parity: Parity, time: u64| {
        let statement = Statement::sign(&key(seed), terms, parity, time);
        json!({
            "name": name,
            "seed": hex([seed; 32]),
            "key": hex(key(seed).public().as_bytes()),
            "space": terms.space.to_string(),
            "from": hex(terms.from),
            "to": hex(terms.to),
            "nonce": hex(terms.nonce),
            "parity": of_parity(&parity),
            "time": time,
            "bytes": hex(to_canonical(&statement)),
        })
    };
    let made = |name: &str, field: &str, value: String| {
        let mut entry = entry(name, 2, &terms, parity(), NOW);
        entry[field] = json!(value);
        entry["error"] = json!("signature");
        entry.as_object_mut().unwrap().remove("seed");
        entry
    };
    let other_count = {
        let more = SetDigest { count: parity().content.count + 1, ..parity().content };
        let statement = Statement::sign(&key(2), &terms, parity(), NOW);
        let (_, time, signature): (Parity, u64, ByteBuf) =
            from_canonical(&to_canonical(&statement)).unwrap();
        hex(to_canonical(&(Parity { content: more, ..parity() }, time, signature)))
    };
    let later = {
        let statement = Statement::sign(&key(2), &terms, parity(), NOW);
        let signature = ByteBuf::from(statement.signature().as_bytes().to_vec());
        hex(to_canonical(&(parity(), NOW + 1, signature)))
    };
    let file = json!({
        "about": "A statement of parity (protocols/README.md, section 13), as it stands in code 6: \
                  parity, time, and the signature by `key` under the terms beside it.",
        "valid": [
            entry("of two sets", 2, &terms, parity(), NOW),
            entry("of nothing", 1, &Terms { from: peer(2), to: peer(1), ..terms }, empty, 0),
        ],
        "tampered": [
            made("passed on to another peer", "to", hex(peer(3))),
            made("shown as another peer's", "from", hex(peer(3))),
            made("sent back", "to", hex(peer(1))),
            made("in a later connection", "nonce", hex([5; 32])),
            made("of another space", "space", named(0, 1).to_string()),
            made("by another key", "key", hex(key(1).public().as_bytes())),
            made("of one record more", "bytes", other_count),
            made("of a later moment", "bytes", later),
        ],
    });
    let file = golden("parity.json", &file);
    let read = |entry: &Value| from_canonical::<Statement>(&bytes(entry, "bytes")).unwrap();
    let public =
        |entry: &Value| ocm_record::PublicKey::from_bytes(bytes(entry, "key").try_into().unwrap());
    for entry in list_of(&file, "valid") {
        let statement = read(entry);
        let parity = statement.verify(&public(entry), &terms_of(entry)).unwrap();
        assert_eq!((parity, statement.time()), (parity_of(entry), entry["time"].as_u64().unwrap()));
        // What the signature covers, put together by hand.
        let terms = terms_of(entry);
        let set = |set: SetDigest| (set.count, ByteArray::new(set.digest));
        let covered = to_canonical(&(
            "ocm/1/parity",
            ByteArray::new(*terms.space.0.as_bytes()),
            ByteArray::new(terms.from),
            ByteArray::new(terms.to),
            ByteArray::new(terms.nonce),
            set(parity.authority),
            set(parity.content),
            parity.missing_bodies,
            statement.time(),
        ));
        assert!(public(entry).verifies(&covered, statement.signature()));
    }
    for entry in list_of(&file, "tampered") {
        assert_eq!(text(entry, "error"), "signature");
        assert!(read(entry).verify(&public(entry), &terms_of(entry)).is_err(), "{}", entry["name"]);
    }
}

fn record() -> SignedRecord {
    let draft = Draft {
        space: camp(),
        kind: Kind::CHANGE,
        memory: None,
        author: None,
        boot: Boot::from_bytes([7; 16]),
        seq: 1,
        prev: None,
        deps: vec![],
        auth: vec![],
        time: Time::from_millis(NOW + 5000),
    };
    draft.sign(&key(2), vec![0xf6]).unwrap()
}

#[test]
fn audit() {
    let (a, b, ours, theirs) = (peer(1), peer(2), [3; 32], [4; 32]);
    let record = record();
    let verified = record.clone().verify().unwrap();
    let committed = |name: &str, from, to, secret: [u8; 32], parity: Parity| {
        json!({
            "name": name,
            "from": hex(from),
            "to": hex(to),
            "space": camp().to_string(),
            "secret": hex(secret),
            "parity": of_parity(&parity),
            "commitment": hex(commitment(&from, &to, &camp(), &secret, &parity)),
        })
    };
    let proved = |name: &str, prover, asker, asker_secret: [u8; 32], prover_secret: [u8; 32]| {
        json!({
            "name": name,
            "prover": hex(prover),
            "asker": hex(asker),
            "asker_secret": hex(asker_secret),
            "prover_secret": hex(prover_secret),
            "record": hex(record.encode()),
            "proof": hex(proof(&prover, &asker, &asker_secret, &prover_secret, &verified)),
        })
    };
    let claim = |mut entry: Value, field: &str, value: [u8; 32]| {
        entry[field] = json!(hex(value));
        entry["error"] = json!("digest");
        entry
    };
    let commits = commitment(&a, &b, &camp(), &ours, &parity());
    let proves = proof(&b, &a, &ours, &theirs, &verified);
    let made = json!({
        "about": "An audit (protocols/README.md, section 10): what a node commits to, and the proof \
                  that it has a record. `tampered` is not the hash of what stands beside it.",
        "valid": [
            committed("a commitment", a, b, ours, parity()),
            committed("the other side's", b, a, theirs, parity()),
            proved("a proof", b, a, ours, theirs),
            proved("in the other direction", a, b, theirs, ours),
        ],
        "tampered": [
            claim(committed("echoed", b, a, ours, parity()), "commitment", commits),
            claim(committed("of another secret", a, b, theirs, parity()), "commitment", commits),
            claim(proved("echoed proof", a, b, theirs, ours), "proof", proves),
            claim(proved("of an earlier audit", b, a, [9; 32], theirs), "proof", proves),
        ],
    });
    let file = golden("audit.json", &made);
    // Put together by hand.
    let hash = |entry: &Value| -> ([u8; 32], Vec<u8>) {
        let part = |field: &str| bytes(entry, field);
        if entry.get("commitment").is_some() {
            let space: SpaceId = text(entry, "space").parse().unwrap();
            let parts = [
                b"ocm/1/audit/commit".to_vec(),
                part("from"),
                part("to"),
                space.0.as_bytes().to_vec(),
                part("secret"),
                to_canonical(&parity_of(entry)),
            ];
            return (Sha256::digest(parts.concat()).into(), part("commitment"));
        }
        // 83, the header's head and bytes, 5840 and the signature, 41 and the body of one byte.
        let record = part("record");
        let (head, body) = (record.len() - 2 - 66, record.len() - 1);
        let parts = [
            b"ocm/1/audit/proof".to_vec(),
            part("prover"),
            part("asker"),
            part("asker_secret"),
            part("prover_secret"),
            record[3..head].to_vec(),
            vec![1],
            record[body..].to_vec(),
        ];
        (Sha256::digest(parts.concat()).into(), part("proof"))
    };
    for entry in list_of(&file, "valid") {
        let (made, claimed) = hash(entry);
        assert_eq!(made.to_vec(), claimed, "{}", entry["name"]);
    }
    for entry in list_of(&file, "tampered") {
        assert_eq!(text(entry, "error"), "digest");
        let (made, claimed) = hash(entry);
        assert_ne!(made.to_vec(), claimed, "{}", entry["name"]);
    }
}
