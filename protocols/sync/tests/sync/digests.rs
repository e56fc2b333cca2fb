//! Vectors of what stands for a set: its digest, and its sum.

use ocm_record::{RecordId, Time};
use ocm_sync::{SetHash, Sum, SumTree};
use serde_json::{Value, json};

use crate::vectors::{bytes, golden, hex, ids_of, list_of, named, shown, text, two_ids};

/// The digest of a set, and its sum.
fn digest(ids: &[RecordId]) -> ([u8; 32], Sum) {
    let mut hash = SetHash::new();
    let mut tree = SumTree::default();
    for id in ids {
        hash.add(id);
        assert!(tree.insert(*id).unwrap());
    }
    assert_eq!(tree.len(), ids.len() as u64);
    (hash.digest(), tree.total())
}

#[test]
fn set() {
    let [one, two] = two_ids();
    let last = RecordId::from_parts(Time::LAST, [0xff; 32]);
    let many: Vec<RecordId> = (0..300).map(|n| named(n / 7, n as u8)).collect();
    let many = {
        let mut many = many;
        many.sort_unstable();
        many.dedup();
        many
    };
    let sets = [
        ("no id", vec![]),
        ("one id", vec![one]),
        ("two ids", vec![one, two]),
        ("the other id", vec![two]),
        ("the lowest and the highest there can be", vec![RecordId::MIN, last]),
        ("hashes that carry", vec![named(0, 0xff), named(1, 0xff)]),
        ("many ids, some of one time", many),
    ];
    let entry = |(name, ids): &(&str, Vec<RecordId>)| {
        let (digest, sum) = digest(ids);
        let mut lanes = SetHash::new();
        ids.iter().for_each(|id| lanes.add(id));
        json!({
            "name": name,
            "ids": shown(ids),
            "count": sum.count,
            "lanes_begin": hex(&lanes.to_bytes()[..32]),
            "digest": hex(digest),
            "sum": hex(sum.sum),
        })
    };
    // Each shows what another set has.
    let wrong = |name: &str, ids: &[RecordId], of: &[RecordId]| {
        let mut entry = entry(&(name, of.to_vec()));
        entry["ids"] = shown(ids);
        entry["error"] = json!("digest");
        entry
    };
    let hash = |last: u8| {
        let mut hash = [0; 32];
        hash[31] = last;
        RecordId::from_parts(Time(5), hash)
    };
    let made = json!({
        "about": "A set of ids: the digest that peers compare, and the sum of the ids \
                  (protocols/README.md, section 10). `tampered` has another digest.",
        "valid": sets.iter().map(entry).collect::<Value>(),
        "tampered": [
            wrong("an id less", &[one], &[one, two]),
            wrong("another time", &[named(1, 0xa5)], &[one]),
            wrong("another hash", &[named(0, 0xa6)], &[one]),
            wrong("equal sums", &[hash(1), hash(4)], &[hash(2), hash(3)]),
        ],
    });
    let file = golden("set.json", &made);
    for entry in list_of(&file, "valid") {
        let mut ids = ids_of(&entry["ids"]);
        // In no order.
        ids.reverse();
        let (digest, sum) = digest(&ids);
        assert_eq!(digest.to_vec(), bytes(entry, "digest"), "{}", entry["name"]);
        assert_eq!(json!(sum.count), entry["count"]);
        assert_eq!(sum.sum.to_vec(), bytes(entry, "sum"));
        let mut lanes = SetHash::new();
        ids.iter().for_each(|id| lanes.add(id));
        assert_eq!(lanes.to_bytes()[..32], bytes(entry, "lanes_begin"));
    }
    for entry in list_of(&file, "tampered") {
        assert_eq!(text(entry, "error"), "digest");
        let (digest, _) = digest(&ids_of(&entry["ids"]));
        assert_ne!(digest.to_vec(), bytes(entry, "digest"), "{}", entry["name"]);
    }
}
