//! Vectors of bundles: the values, as they stand behind the first line once decompressed.

use ocm_record::{Set, SigningKey, SpaceId};
use ocm_sync::{
    BUNDLE_MAGIC, BundleError, BundleHead, BundleReader, BundleValue, BundleWriter, Since, SumTree,
    describe,
};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use crate::messages::{of_parity, parity};
use crate::vectors::{NOW, bytes, golden, hex, list_of, peer, tampered, text, two_ids};

fn head(since: Since) -> BundleHead {
    let space: SpaceId =
        "v06bn886vt0001diaipecqvhrf31o0rub7dt9hseci0f83cr7573m9llot6kpi8j3".parse().unwrap();
    let set: SumTree = two_ids().into_iter().collect();
    let key = SigningKey::from_seed(&[2; 32]);
    let kinds = [1, 2, 4];
    let description = describe(&set).unwrap();
    BundleHead::sign(
        &key,
        (space, peer(1)),
        vec![1, 2, 3],
        (since, &kinds),
        (parity(), NOW),
        description,
    )
}

/// What is no record is left to admission, so that any bytes serve.
fn pages() -> [(Set, Vec<ByteBuf>); 2] {
    let records = |bytes: &[u8]| vec![ByteBuf::from(bytes.to_vec())];
    [(Set::Authority, records(&[10, 11])), (Set::Content, records(&[12]))]
}

fn written(since: Since) -> Vec<u8> {
    let (mut writer, mut all) = BundleWriter::begin(&head(since));
    for (set, records) in pages() {
        all.extend(writer.page(set, &records));
    }
    all.extend(writer.end());
    all
}

fn of_since(since: Since) -> Value {
    match since {
        Since::All => Value::Null,
        Since::Time(time) => json!(time),
        Since::Parity { peer, time } => json!({"peer": hex(peer), "time": time}),
    }
}

fn of_head(head: &BundleHead) -> Value {
    json!({
        "space": head.space.to_string(),
        "from": hex(head.from),
        "certificate": hex(&head.certificate),
        "since": of_since(head.statement.since()),
        "kinds": head.statement.kinds(),
        "parity": of_parity(head.statement.claims()),
        "time": head.statement.time(),
        "description": hex(&head.description),
    })
}

fn read(bytes: &[u8]) -> Result<Vec<BundleValue>, BundleError> {
    let mut reader = BundleReader::default();
    reader.feed(bytes);
    let mut values = Vec::new();
    while let Some(value) = reader.next_value()? {
        values.push(value);
    }
    reader.finish().map(|()| values)
}

fn class(error: &BundleError) -> &'static str {
    match error {
        BundleError::Length(_) => "size",
        BundleError::Check => "check",
        BundleError::Value(_) => "not-canonical",
        BundleError::Code(_) => "code",
        BundleError::Order(_) => "order",
        BundleError::Counts { .. } => "counts",
        BundleError::Cut => "cut",
    }
}

#[test]
fn values_of_a_bundle() {
    let entry = |name: &str, since: Since| {
        json!({
            "name": name,
            "seed": hex([2; 32]),
            "head": of_head(&head(since)),
            "pages": pages().map(|(set, records)| json!({
                "set": set,
                "records": records.iter().map(hex).collect::<Vec<_>>(),
            })),
            "bytes": hex(written(since)),
        })
    };
    let whole = written(Since::All);
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] ^= byte;
        bytes
    };
    let first = 4 + u32::from_be_bytes(*whole.first_chunk().unwrap()) as usize + 16;
    let made = json!({
        "about": "The values of a bundle, behind its first line and decompressed: \
                  protocols/README.md, section 14. `head` is signed by the key of `seed`; its \
                  certificate is none, its records are none either.",
        "magic": hex(BUNDLE_MAGIC),
        "valid": [
            entry("all", Since::All),
            entry("from a time on", Since::Time(NOW - 1000)),
            entry("what a peer lacked", Since::Parity { peer: peer(3), time: NOW - 1000 }),
        ],
        "tampered": [
            tampered("a bit of the head", changed(30, 1), "check"),
            tampered("a bit of a check", changed(first - 1, 1), "check"),
            tampered("a length of none", changed(first + 3, whole[first + 3]), "size"),
            tampered("a length past the limit", changed(first, 1), "size"),
            tampered("without its end", &whole[..whole.len() - 10], "cut"),
            tampered("a value twice", [&whole[..first], &whole[..]].concat(), "check"),
            tampered("bytes behind the end", [&whole[..], &[0]].concat(), "order"),
        ],
    });
    let stored = golden("bundle.json", &made);
    for entry in list_of(&stored, "valid") {
        let values = read(&bytes(entry, "bytes")).unwrap();
        let [BundleValue::Head(head), a, b, BundleValue::End] = &values[..] else {
            panic!("{values:?}");
        };
        assert_eq!(of_head(head), entry["head"]);
        let seed = bytes(entry, "seed").try_into().unwrap();
        assert_eq!(head.verify(&SigningKey::from_seed(&seed).public()), Ok(parity()));
        for (value, (set, records)) in [a, b].into_iter().zip(pages()) {
            assert_eq!(*value, BundleValue::Page { set, records });
        }
    }
    for entry in list_of(&stored, "tampered") {
        let error = read(&bytes(entry, "bytes")).unwrap_err();
        assert_eq!(class(&error), text(entry, "error"), "{entry}");
    }
}
