//! The golden vectors of what peers say, in `tests/vectors` of the repository: written from fixed
//! values, compared with what is stored, and checked against what they claim.

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use ocm_record::{RecordId, SigningKey, Time};
use ocm_sync::PEER_ID_LEN;
use serde_json::{Value, json};

/// A moment in June 2025, in milliseconds.
pub(crate) const NOW: u64 = 1_750_000_000_000;

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

/// An id that names nothing, `millis` after [`NOW`].
pub(crate) fn named(millis: u64, n: u8) -> RecordId {
    RecordId::from_parts(Time::from_millis(NOW + millis), [n; 32])
}

/// The first two ids of `id.json`.
pub(crate) fn two_ids() -> [RecordId; 2] {
    let first = named(0, 0xa5);
    [first, RecordId::of_header(Time(first.time().0 + 513), b"")]
}

/// The PeerId of the key of a seed.
pub(crate) fn peer(seed: u8) -> [u8; PEER_ID_LEN] {
    let key = SigningKey::from_seed(&[seed; 32]).public();
    [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20], &key.as_bytes()[..]].concat().try_into().unwrap()
}

/// Holds the stored file equal to what is made now, or writes it where the environment says so.
/// Returns what is stored.
pub(crate) fn golden(file: &str, made: &Value) -> Value {
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

pub(crate) fn list_of<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    file[list].as_array().unwrap()
}

pub(crate) fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_else(|| panic!("no {field} in {entry}"))
}

pub(crate) fn bytes(entry: &Value, field: &str) -> Vec<u8> {
    HEXLOWER.decode(text(entry, field).as_bytes()).unwrap()
}

pub(crate) fn tampered(name: &str, bytes: impl AsRef<[u8]>, error: &str) -> Value {
    json!({ "name": name, "bytes": hex(bytes), "error": error })
}

pub(crate) fn ids_of(ids: &Value) -> Vec<RecordId> {
    ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect()
}

pub(crate) fn shown(ids: &[RecordId]) -> Value {
    ids.iter().map(RecordId::to_string).collect()
}

/// Apart those that are too long to be stored: they are checked all the same.
pub(crate) fn apart(entries: impl IntoIterator<Item = Value>) -> (Value, Vec<Value>) {
    const LONG: usize = 4096;
    let (short, long): (Vec<Value>, Vec<Value>) =
        entries.into_iter().partition(|entry| text(entry, "bytes").len() <= LONG);
    (short.into(), long)
}
