//! Values between DAG-CBOR and JSON.
//!
//! What JSON has no form for, bytes, is written as DAG-JSON writes it:
//! `{"/": {"bytes": "<base64 without padding>"}}`.

use data_encoding::BASE64_NOPAD;
use ipld_core::ipld::Ipld;
use serde_json::{Map, Value};

/// Bytes as JSON.
pub(crate) fn bytes_to_json(bytes: &[u8]) -> Value {
    serde_json::json!({ "/": { "bytes": BASE64_NOPAD.encode(bytes) } })
}

/// The bytes that a JSON object stands for, when it is the one form of bytes.
pub(crate) fn bytes_of_json(object: &Map<String, Value>) -> Option<Vec<u8>> {
    let only = |map: &Map<String, Value>| (map.len() == 1).then_some(());
    only(object)?;
    let inner = object.get("/")?.as_object()?;
    only(inner)?;
    BASE64_NOPAD.decode(inner.get("bytes")?.as_str()?.as_bytes()).ok()
}

/// A value as JSON. Links and what JSON numbers cannot hold never stand in an edit.
pub(crate) fn json_of(value: &Ipld) -> Value {
    match value {
        Ipld::Null => Value::Null,
        Ipld::Bool(b) => Value::Bool(*b),
        Ipld::Integer(n) => i64::try_from(*n)
            .map(Value::from)
            .or_else(|_| u64::try_from(*n).map(Value::from))
            .unwrap_or_else(|_| Value::String(n.to_string())),
        Ipld::Float(x) => Value::from(*x),
        Ipld::String(s) => Value::String(s.clone()),
        Ipld::Bytes(b) => bytes_to_json(b),
        Ipld::List(items) => Value::Array(items.iter().map(json_of).collect()),
        Ipld::Map(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), json_of(value))).collect())
        }
        Ipld::Link(cid) => serde_json::json!({ "/": cid.to_string() }),
    }
}

/// JSON as a value.
pub(crate) fn value_of(json: &Value) -> Ipld {
    match json {
        Value::Null => Ipld::Null,
        Value::Bool(b) => Ipld::Bool(*b),
        Value::Number(n) => number_of(n),
        Value::String(s) => Ipld::String(s.clone()),
        Value::Array(items) => Ipld::List(items.iter().map(value_of).collect()),
        Value::Object(object) => match bytes_of_json(object) {
            Some(bytes) => Ipld::Bytes(bytes),
            None => Ipld::Map(object.iter().map(|(k, v)| (k.clone(), value_of(v))).collect()),
        },
    }
}

fn number_of(number: &serde_json::Number) -> Ipld {
    if let Some(n) = number.as_i64() {
        Ipld::Integer(n.into())
    } else if let Some(n) = number.as_u64() {
        Ipld::Integer(n.into())
    } else {
        // A JSON number is finite, and one that is no integer of 64 bits is read as a float.
        Ipld::Float(number.as_f64().unwrap_or_default())
    }
}

/// Keys in the order in which DAG-CBOR writes them: by length, then by bytes.
pub(crate) fn in_cbor_order<'a, V>(
    entries: impl IntoIterator<Item = (&'a String, V)>,
) -> Vec<(&'a String, V)> {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by(|(a, _), (b, _)| (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes())));
    entries
}

/// Levels of lists and maps in a JSON value; bytes are a scalar.
pub(crate) fn json_depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(json_depth).max().unwrap_or(0),
        Value::Object(object) if bytes_of_json(object).is_none() => {
            1 + object.values().map(json_depth).max().unwrap_or(0)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_round_trips() {
        for json in [
            json!(null),
            json!(true),
            json!(-1),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1.5),
            json!(1.0),
            json!("text"),
            json!([1, [2], {"a": {}}]),
            json!({"/": {"bytes": "AQID"}}),
            json!({"/": {"bytes": "not base64!"}}),
            json!({"/": {"bytes": "AQID"}, "other": 1}),
        ] {
            assert_eq!(json_of(&value_of(&json)), json);
        }
        assert_eq!(value_of(&json!({"/": {"bytes": "AQID"}})), Ipld::Bytes(vec![1, 2, 3]));
        assert!(matches!(value_of(&json!({"/": {"bytes": "AQID="}})), Ipld::Map(_)));
        assert!(matches!(value_of(&json!(1.0)), Ipld::Float(_)), "a float stays a float");
    }

    #[test]
    fn depth_counts_containers() {
        assert_eq!(json_depth(&json!(1)), 0);
        assert_eq!(json_depth(&json!([])), 1);
        assert_eq!(json_depth(&json!({"a": [1], "b": 2})), 2);
        assert_eq!(json_depth(&json!({"/": {"bytes": ""}})), 0);
    }
}
