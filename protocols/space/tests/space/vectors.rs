//! The golden vectors of the space, in `tests/vectors` of the repository: written from fixed
//! seeds, compared with what is stored, and checked against what they claim.

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use ipld_core::ipld::Ipld;
use ocm_record::{Body, Kind, SALT_LEN};
use ocm_space::{Access, Genesis, GenesisError, Grant, GrantError, Policy, Role, limits};
use serde_json::{Value, json};

use crate::fixture::{NOW, did, genesis, grant, key, members_only, open, with};

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
    stored
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_else(|| panic!("no {field} in {entry}"))
}

/// The bytes of a body with this content.
fn encode(content: Ipld) -> String {
    HEXLOWER.encode(&Body { salt: [9; SALT_LEN], lineage: vec![], content }.encode())
}

fn content(entry: &Value) -> Ipld {
    let bytes = HEXLOWER.decode(text(entry, "bytes").as_bytes()).unwrap();
    Body::decode(&bytes).unwrap().content
}

fn tampered(name: &str, content: Ipld, error: &str) -> Value {
    json!({ "name": name, "bytes": encode(content), "error": error })
}

fn without(content: Ipld, key: &str) -> Ipld {
    let Ipld::Map(mut map) = content else { panic!("a map") };
    map.remove(key).unwrap();
    Ipld::Map(map)
}

fn word(text: &str) -> Ipld {
    Ipld::String(text.into())
}

#[test]
fn genesis_body() {
    let meaning = |genesis: &Genesis| {
        json!({
            "name": genesis.name,
            "nonce": HEXLOWER.encode(&genesis.nonce),
            "write": genesis.policy.write,
            "read": genesis.policy.read,
            "owners": genesis.owners.iter().map(|did| did.to_string()).collect::<Value>(),
        })
    };
    let entry = |name: &str, genesis: &Genesis, bytes: String| json!({ "name": name, "bytes": bytes, "meaning": meaning(genesis) });
    let plain = genesis(members_only(), &[1]);
    let mut plc = genesis(Policy { write: Access::Open, read: Access::Members }, &[1]);
    plc.owners.push("did:plc:ewvi7nxzyoun6zhxrhs64oiz".parse().unwrap());
    let many: Vec<u8> = (1..=32).collect();
    let most = Genesis { name: "\u{e9}".repeat(limits::NAME_CHARS), ..genesis(open(), &many) };
    let full = || plain.to_ipld();
    let owners = |n: u8| Ipld::List((1..=n).map(|n| word(&did(n).to_string())).collect());
    let policy = |key: &str, value| Ipld::Map([(key.to_owned(), value)].into());
    let made = json!({
        "about": "The body of a genesis (protocols/README.md, section 6). `tampered` is a body, \
                  and no genesis.",
        "valid": [
            entry("members only, one owner", &plain, encode(full())),
            entry("write open, two owners", &plc, encode(plc.to_ipld())),
            entry("all that fits", &most, encode(most.to_ipld())),
            entry("no policy said", &plain, encode(without(full(), "policy"))),
            entry("a key that nobody knows", &plain, encode(with(full(), "new", Ipld::Null))),
        ],
        "tampered": [
            tampered("no map", Ipld::List(vec![]), "field:map"),
            tampered("no name", without(full(), "name"), "field:name"),
            tampered("a name of 129", with(full(), "name", word(&"a".repeat(129))), "name"),
            tampered("no nonce", without(full(), "nonce"), "field:nonce"),
            tampered("a nonce of 31", with(full(), "nonce", Ipld::Bytes(vec![4; 31])),
                "field:nonce"),
            tampered("a policy that is null", with(full(), "policy", Ipld::Null), "field:policy"),
            tampered("write for friends", with(full(), "policy", policy("write", word("friends"))),
                "field:write"),
            tampered("read true", with(full(), "policy", policy("read", Ipld::Bool(true))),
                "field:read"),
            tampered("no owners", with(full(), "owners", owners(0)), "owners"),
            tampered("33 owners", with(full(), "owners", owners(33)), "owners"),
            tampered("an owner twice", with(full(), "owners",
                Ipld::List(vec![word(&did(1).to_string()); 2])), "owners"),
            tampered("an owner who is no DID", with(full(), "owners",
                Ipld::List(vec![word("ada")])), "field:owners"),
        ],
    });
    let file = golden("genesis.json", &made);
    for entry in file["valid"].as_array().unwrap() {
        let genesis = Genesis::from_ipld(&content(entry)).unwrap();
        assert_eq!(meaning(&genesis), entry["meaning"], "{}", entry["name"]);
        assert_eq!(Genesis::from_ipld(&genesis.to_ipld()), Ok(genesis));
    }
    for entry in file["tampered"].as_array().unwrap() {
        let class = match Genesis::from_ipld(&content(entry)).unwrap_err() {
            GenesisError::Field(field) => format!("field:{field}"),
            GenesisError::Name(_) => "name".into(),
            GenesisError::Owners => "owners".into(),
        };
        assert_eq!(class, text(entry, "error"), "{}", entry["name"]);
    }
}

#[test]
fn grant_body() {
    let meaning = |grant: &Grant| {
        json!({
            "to": grant.to.to_string(),
            "role": grant.role,
            "key": grant.key.map(|key| HEXLOWER.encode(key.as_bytes())),
            "kinds": grant.kinds,
            "expires": grant.expires,
        })
    };
    let entry = |name: &str, grant: &Grant, bytes: String| json!({ "name": name, "bytes": bytes, "meaning": meaning(grant) });
    let roles = Role::ALL.map(|role| {
        let grant = grant(2, role);
        entry(role.name(), &grant, encode(grant.to_ipld()))
    });
    let all = Grant {
        key: Some(key(2).public()),
        kinds: Some(vec![Kind::CHANGE, Kind(u64::MAX)]),
        expires: Some(NOW),
        ..grant(2, Role::Agent)
    };
    let to_plc = Grant {
        to: "did:plc:ewvi7nxzyoun6zhxrhs64oiz".parse().unwrap(),
        kinds: Some(vec![]),
        ..grant(2, Role::Writer)
    };
    let full = || all.to_ipld();
    let others = [
        entry("key, kinds and expiry", &all, encode(full())),
        entry("to a did:plc, of no kind", &to_plc, encode(to_plc.to_ipld())),
        entry("a key that nobody knows", &all, encode(with(full(), "new", Ipld::Null))),
    ];
    let kinds = |n: usize| Ipld::List(vec![Ipld::Integer(4); n]);
    let made = json!({
        "about": "The body of a grant (protocols/README.md, section 6). `tampered` is a body, \
                  and no grant; what is unsupported is held.",
        "valid": roles.into_iter().chain(others).collect::<Value>(),
        "tampered": [
            tampered("no map", Ipld::Null, "field:map"),
            tampered("to nobody", without(full(), "to"), "field:to"),
            tampered("to no DID", with(full(), "to", word("ada")), "field:to"),
            tampered("no role", without(full(), "role"), "field:role"),
            tampered("a role in upper case", with(full(), "role", word("OWNER")), "field:role"),
            tampered("an unknown role", with(full(), "role", word("king")), "field:role"),
            tampered("a key of 31 bytes", with(full(), "key", Ipld::Bytes(vec![1; 31])),
                "field:key"),
            tampered("33 kinds", with(full(), "kinds", kinds(33)), "field:kinds"),
            tampered("a negative kind", with(full(), "kinds",
                Ipld::List(vec![Ipld::Integer(-1)])), "field:kinds"),
            tampered("an expiry that is null", with(full(), "expires", Ipld::Null),
                "field:expires"),
            tampered("for one boot", with(full(), "boot", Ipld::Bytes(vec![7; 16])),
                "unsupported:boot"),
            tampered("for ten records", with(full(), "max_records", Ipld::Integer(10)),
                "unsupported:max_records"),
            tampered("for ten bytes", with(full(), "max_bytes", Ipld::Integer(10)),
                "unsupported:max_bytes"),
        ],
    });
    let file = golden("grant.json", &made);
    for entry in file["valid"].as_array().unwrap() {
        let grant = Grant::from_ipld(&content(entry)).unwrap();
        assert_eq!(meaning(&grant), entry["meaning"], "{}", entry["name"]);
        assert_eq!(Grant::from_ipld(&grant.to_ipld()), Ok(grant));
    }
    for entry in file["tampered"].as_array().unwrap() {
        let class = match Grant::from_ipld(&content(entry)).unwrap_err() {
            GrantError::Field(field) => format!("field:{field}"),
            GrantError::Unsupported(field) => format!("unsupported:{field}"),
        };
        assert_eq!(class, text(entry, "error"), "{}", entry["name"]);
    }
}
