//! Vectors of bodies.

use ipld_core::ipld::Ipld;
use ocm_record::{Body, BodyError, RecordId, SALT_LEN, to_canonical};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{bytes, golden, list, list_of, shown, tampered, text, word};
use crate::fixture::{hex, named};

pub(super) fn edits() -> Ipld {
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
