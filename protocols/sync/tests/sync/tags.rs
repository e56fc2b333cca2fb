//! Vectors of space tags.

use ocm_record::SpaceId;
use ocm_sync::space_tag;
use serde_json::{Value, json};

use crate::vectors::{bytes, golden, hex, list_of, named, peer, text};

#[test]
fn tag() {
    let (a, b, m, n) = (peer(1), peer(2), [3; 32], [4; 32]);
    let camp: SpaceId =
        "v06bn886vt0001diaipecqvhrf31o0rub7dt9hseci0f83cr7573m9llot6kpi8j3".parse().unwrap();
    let entry =
        |name: &str, from: [u8; 38], to: [u8; 38], m: [u8; 32], n: [u8; 32], space: SpaceId| {
            json!({
                "name": name,
                "sender": hex(from),
                "receiver": hex(to),
                "sender_nonce": hex(m),
                "receiver_nonce": hex(n),
                "space": space.to_string(),
                "bytes": hex(space_tag(&from, &to, &m, &n, &space)),
            })
        };
    // Each claims the first tag, of which one part is another.
    let claim = |name: &str, mut entry: Value| {
        entry["name"] = json!(name);
        entry["bytes"] = json!(hex(space_tag(&a, &b, &m, &n, &camp)));
        entry["error"] = json!("tag");
        entry
    };
    let other = SpaceId(named(0, 1));
    let made = json!({
        "about": "A space tag (protocols/README.md, section 8). `tampered` is no tag of that \
                  space between those peers.",
        "valid": [
            entry("one way", a, b, m, n, camp),
            entry("the other way", b, a, n, m, camp),
            entry("of another space", a, b, m, n, other),
        ],
        "tampered": [
            claim("echoed", entry("", b, a, n, m, camp)),
            claim("from another peer", entry("", peer(3), b, m, n, camp)),
            claim("to another peer", entry("", a, peer(3), m, n, camp)),
            claim("in a later connection", entry("", a, b, [5; 32], n, camp)),
            claim("nonces swapped", entry("", a, b, n, m, camp)),
            claim("of another space", entry("", a, b, m, n, other)),
        ],
    });
    let file = golden("tag.json", &made);
    let tag = |entry: &Value| {
        let peer = |field| bytes(entry, field).try_into().unwrap();
        let nonce = |field| bytes(entry, field).try_into().unwrap();
        let space = text(entry, "space").parse().unwrap();
        space_tag(
            &peer("sender"),
            &peer("receiver"),
            &nonce("sender_nonce"),
            &nonce("receiver_nonce"),
            &space,
        )
    };
    for entry in list_of(&file, "valid") {
        assert_eq!(tag(entry).to_vec(), bytes(entry, "bytes"));
    }
    for entry in list_of(&file, "tampered") {
        assert_eq!(text(entry, "error"), "tag");
        assert_ne!(tag(entry).to_vec(), bytes(entry, "bytes"), "{}", entry["name"]);
    }
}
