//! What an Automerge document shows, as a tree that knows text from strings and counters from
//! numbers.

use std::collections::BTreeMap;

use automerge::{ObjId, ObjType, ReadDoc, ScalarValue, Value as AmValue, ValueRef};
use serde_json::{Map, Value};

use crate::value::bytes_to_json;

/// A part of the content. The types that JSON does not tell apart stay apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// Null, a truth value, a number or a string.
    Scalar(Value),
    Bytes(Vec<u8>),
    Counter(i64),
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

impl Node {
    /// The whole content.
    pub(crate) fn read(doc: &impl ReadDoc) -> Self {
        Self::read_object(doc, ObjType::Map, &automerge::ROOT)
    }

    /// One value, as Automerge's single reads return it.
    pub(crate) fn read_value(doc: &impl ReadDoc, value: &AmValue<'_>, id: &ObjId) -> Self {
        match value {
            AmValue::Object(kind) => Self::read_object(doc, *kind, id),
            AmValue::Scalar(scalar) => Self::of_scalar(scalar),
        }
    }

    fn read_ref(doc: &impl ReadDoc, value: ValueRef<'_>, id: impl FnOnce() -> ObjId) -> Self {
        match value {
            ValueRef::Object(kind) => Self::read_object(doc, kind, &id()),
            ValueRef::Scalar(scalar) => Self::of_scalar(&ScalarValue::from(scalar)),
        }
    }

    /// Nesting is bounded: a path has 16 steps at most, and a value 16 levels.
    fn read_object(doc: &impl ReadDoc, kind: ObjType, id: &ObjId) -> Self {
        match kind {
            ObjType::Map | ObjType::Table => Self::Map(
                doc.map_range(id, ..)
                    .map(|item| {
                        let inner = Self::read_ref(doc, item.value.clone(), || item.id());
                        (item.key.into_owned(), inner)
                    })
                    .collect(),
            ),
            ObjType::List => Self::List(
                doc.list_range(id, ..)
                    .map(|item| Self::read_ref(doc, item.value.clone(), || item.id()))
                    .collect(),
            ),
            ObjType::Text => Self::Text(doc.text(id).unwrap_or_default()),
        }
    }

    fn of_scalar(scalar: &ScalarValue) -> Self {
        Self::Scalar(match scalar {
            ScalarValue::Bytes(bytes) => return Self::Bytes(bytes.clone()),
            ScalarValue::Counter(counter) => return Self::Counter(counter.into()),
            ScalarValue::Str(s) => s.as_str().into(),
            ScalarValue::Int(n) | ScalarValue::Timestamp(n) => (*n).into(),
            ScalarValue::Uint(n) => (*n).into(),
            ScalarValue::F64(x) => (*x).into(),
            ScalarValue::Boolean(b) => (*b).into(),
            // Unknown types come from other writers of Automerge bytes, which are never loaded.
            ScalarValue::Null | ScalarValue::Unknown { .. } => Value::Null,
        })
    }

    /// As JSON: texts are strings, counters integers, bytes in the form of DAG-JSON.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Scalar(value) => value.clone(),
            Self::Bytes(bytes) => bytes_to_json(bytes),
            Self::Counter(n) => (*n).into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(map) => Value::Object(
                map.iter().map(|(key, node)| (key.clone(), node.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}
