//! Vectors of signatures outside the sets.

use ipld_core::ipld::Ipld;
use ocm_record::{from_canonical, sign_statement, to_canonical, verify_statement};
use serde_json::{Value, json};

use super::records::record;
use super::{bytes, golden, list, list_of, text, word};
use crate::fixture::{hex, key, public, signature};

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
