//! The golden vectors of the record, in `tests/vectors` of the repository: written from fixed
//! seeds, compared with what is stored, and checked against what they claim.

mod bodies;
mod names;
mod records;
mod statements;

use std::path::PathBuf;

use ipld_core::ipld::Ipld;
use serde_json::{Value, json};

use crate::fixture::{hex, unhex};

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
pub(super) fn golden(file: &str, made: &Value) -> Value {
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

pub(super) fn list_of<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    file[list].as_array().unwrap()
}

pub(super) fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_else(|| panic!("no {field} in {entry}"))
}

pub(super) fn bytes(entry: &Value, field: &str) -> Vec<u8> {
    unhex(text(entry, field))
}

pub(super) fn tampered(name: &str, bytes: impl AsRef<[u8]>, error: &str) -> Value {
    json!({ "name": name, "bytes": hex(bytes), "error": error })
}

/// A content as JSON, with a form for what JSON lacks.
pub(super) fn shown(content: &Ipld) -> Value {
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

pub(super) fn list(items: impl IntoIterator<Item = Ipld>) -> Ipld {
    Ipld::List(items.into_iter().collect())
}

pub(super) fn word(text: &str) -> Ipld {
    Ipld::String(text.into())
}
