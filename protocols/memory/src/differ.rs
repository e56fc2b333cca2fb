//! From JSON to edits.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::document::RenderError;
use crate::edit::{Edit, EditError, check_edits};
use crate::limits;
use crate::path::{Path, Step};
use crate::text::{common_ends, splices};
use crate::tree::Node;
use crate::value::{bytes_of_json, in_cbor_order, json_depth, value_of};

/// Edits of one list beyond which the list is written anew instead.
const LIST_EDITS: usize = 200;

/// The key at the top whose text is collaborative.
const TEXT: &str = "text";

/// Why a patch, or a content, makes no edits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The content would not be an object.
    #[error("the content of a memory is a JSON object, this is {0}")]
    NotAnObject(&'static str),
    /// A value is nested too deeply.
    #[error(
        "the value at {path} is nested {depth} levels deep, at most {max} are allowed",
        max = limits::VALUE_DEPTH
    )]
    Depth {
        /// Where.
        path: Path,
        /// Its levels.
        depth: usize,
    },
    /// More edits than one record may carry, or another limit of edits.
    #[error(transparent)]
    Edits(#[from] EditError),
    /// The memory has no view to compare with.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// The edits that start a memory with this content, a JSON object. The top-level key `text`
/// becomes collaborative text when it is a string.
///
/// # Errors
/// [`PatchError`]. The size of the record's body is for the caller to check.
pub fn create_edits(content: &Value) -> Result<Vec<Edit>, PatchError> {
    diff(&Node::Map([].into()), content)
}

/// The edits that turn `current` into `target`.
pub(crate) fn diff(current: &Node, target: &Value) -> Result<Vec<Edit>, PatchError> {
    let kind = match target {
        Value::Object(_) => None,
        Value::Array(_) => Some("an array"),
        Value::String(_) => Some("a string"),
        Value::Number(_) => Some("a number"),
        Value::Bool(_) => Some("true or false"),
        Value::Null => Some("null"),
    };
    if let Some(kind) = kind {
        return Err(PatchError::NotAnObject(kind));
    }
    let mut differ = Differ::default();
    if let (Node::Map(map), Value::Object(object)) = (current, target) {
        differ.map(map, object, &Path::default())?;
    }
    check_edits(&differ.edits)?;
    Ok(differ.edits)
}

#[derive(Default)]
struct Differ {
    edits: Vec<Edit>,
    /// Characters that the splices so far delete.
    deleted: usize,
}

impl Differ {
    fn value(&mut self, current: &Node, target: &Value, path: &Path) -> Result<(), PatchError> {
        if current == target {
            return Ok(());
        }
        let inside = path.len() < limits::PATH_STEPS;
        match (current, target) {
            (Node::Map(map), Value::Object(object))
                if inside && bytes_of_json(object).is_none() =>
            {
                self.map(map, object, path)
            }
            (Node::List(items), Value::Array(array)) if inside => self.list(items, array, path),
            (Node::Text(old), Value::String(new)) => {
                self.text(old, new, path);
                Ok(())
            }
            (Node::Counter(old), Value::Number(new)) => {
                let by = new.as_i64().and_then(|new| new.checked_sub(*old));
                match by.filter(|by| by.unsigned_abs() <= limits::INCREMENT.unsigned_abs()) {
                    Some(by) => {
                        self.edits.push(Edit::Increment { path: path.clone(), by });
                        Ok(())
                    }
                    None => self.set(target, path),
                }
            }
            _ => self.set(target, path),
        }
    }

    fn map(
        &mut self,
        current: &std::collections::BTreeMap<String, Node>,
        target: &Map<String, Value>,
        path: &Path,
    ) -> Result<(), PatchError> {
        let keys: BTreeSet<&String> = current.keys().chain(target.keys()).collect();
        for (key, ()) in in_cbor_order(keys.into_iter().map(|key| (key, ()))) {
            let path = path.then(key.as_str());
            match (current.get(key), target.get(key)) {
                (Some(old), Some(new)) => self.value(old, new, &path)?,
                (None, Some(new)) => self.set(new, &path)?,
                (Some(_), None) => self.edits.push(Edit::Delete { path }),
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Keeps what is equal at both ends. Of the rest, items that stand at the same place and are
    /// both maps or both lists are compared inside; others are deleted and inserted, so that
    /// what two people insert concurrently both stays.
    fn list(&mut self, current: &[Node], target: &[Value], path: &Path) -> Result<(), PatchError> {
        let (prefix, suffix) = common_ends(current, target);
        let old = &current[prefix..current.len() - suffix];
        let new = &target[prefix..target.len() - suffix];
        let before = (self.edits.len(), self.deleted);
        if old.len() == new.len() {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                let at = prefix + i;
                let alike = matches!(
                    (old, new),
                    (Node::Map(_), Value::Object(_))
                        | (Node::List(_), Value::Array(_))
                        | (Node::Text(_), Value::String(_))
                );
                if alike || old == new {
                    self.value(old, new, &path.then(at))?;
                } else {
                    self.edits.push(Edit::Delete { path: path.then(at) });
                    self.insert(at, new, path)?;
                }
            }
        } else {
            for _ in old {
                self.edits.push(Edit::Delete { path: path.then(prefix) });
            }
            for (i, new) in new.iter().enumerate() {
                self.insert(prefix + i, new, path)?;
            }
        }
        if self.edits.len() - before.0 > LIST_EDITS {
            self.edits.truncate(before.0);
            self.deleted = before.1;
            self.set(&Value::Array(target.to_vec()), path)?;
        }
        Ok(())
    }

    fn insert(&mut self, at: usize, value: &Value, path: &Path) -> Result<(), PatchError> {
        check_depth(value, || path.then(at))?;
        let value = value_of(value);
        self.edits.push(Edit::Insert { path: path.clone(), index: at as u64, value });
        Ok(())
    }

    fn set(&mut self, value: &Value, path: &Path) -> Result<(), PatchError> {
        match value {
            Value::String(text) if is_text(path) => self.new_text(text, path),
            _ => {
                check_depth(value, || path.clone())?;
                self.edits.push(Edit::Set { path: path.clone(), value: value_of(value) });
            }
        }
        Ok(())
    }

    fn new_text(&mut self, text: &str, path: &Path) {
        self.edits.push(Edit::Text { path: path.clone() });
        if !text.is_empty() {
            let (path, text) = (path.clone(), text.to_owned());
            self.edits.push(Edit::Splice { path, index: 0, delete: 0, text });
        }
    }

    fn text(&mut self, old: &str, new: &str, path: &Path) {
        let splices = splices(old, new);
        let deleted = self.deleted + splices.iter().map(|splice| splice.delete).sum::<usize>();
        if deleted as u64 > limits::DELETED_CHARS {
            self.new_text(new, path);
            return;
        }
        self.deleted = deleted;
        self.edits.extend(splices.into_iter().map(|splice| Edit::Splice {
            path: path.clone(),
            index: splice.index as u64,
            delete: splice.delete as u64,
            text: splice.text,
        }));
    }
}

fn is_text(path: &Path) -> bool {
    matches!(&path.0[..], [Step::Key(key)] if key == TEXT)
}

fn check_depth(value: &Value, path: impl FnOnce() -> Path) -> Result<(), PatchError> {
    match json_depth(value) {
        depth if depth > limits::VALUE_DEPTH => Err(PatchError::Depth { path: path(), depth }),
        _ => Ok(()),
    }
}

/// Whether content and JSON look the same.
impl PartialEq<Value> for Node {
    fn eq(&self, json: &Value) -> bool {
        match (self, json) {
            (Self::Scalar(a), b) => a == b,
            (Self::Counter(a), b) => b.as_i64() == Some(*a),
            (Self::Text(a), Value::String(b)) => a == b,
            (Self::Bytes(a), Value::Object(b)) => bytes_of_json(b).as_ref() == Some(a),
            (Self::List(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
            }
            (Self::Map(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| a == b))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(entries: impl IntoIterator<Item = (&'static str, Node)>) -> Node {
        Node::Map(entries.into_iter().map(|(key, node)| (key.to_owned(), node)).collect())
    }

    fn list(items: &[i64]) -> Node {
        Node::List(items.iter().map(|n| Node::Scalar((*n).into())).collect())
    }

    fn shown(edits: &[Edit]) -> Value {
        serde_json::to_value(edits).unwrap()
    }

    #[test]
    fn a_new_memory() {
        let content = json!({"title": "Well", "text": "Dry.", "at": null, "x": {"y": [1]}});
        assert_eq!(
            shown(&create_edits(&content).unwrap()),
            json!([
                {"op": "set", "path": ["x"], "value": {"y": [1]}},
                {"op": "set", "path": ["at"], "value": null},
                {"op": "text", "path": ["text"]},
                {"op": "splice", "path": ["text"], "index": 0, "delete": 0, "text": "Dry."},
                {"op": "set", "path": ["title"], "value": "Well"},
            ])
        );
        assert_eq!(create_edits(&json!({})), Ok(vec![]));
        assert_eq!(create_edits(&json!([])), Err(PatchError::NotAnObject("an array")));
    }

    #[test]
    fn only_what_differs_is_edited() {
        let current = map([
            ("same", Node::Text("same".into())),
            ("count", Node::Counter(5)),
            ("bytes", Node::Bytes(vec![1])),
            ("inner", map([("a", list(&[1])), ("b", list(&[]))])),
            ("gone", list(&[])),
        ]);
        let target = json!({
            "same": "same", "count": 5, "bytes": {"/": {"bytes": "AQ"}},
            "inner": {"a": [1], "b": []}, "gone": []
        });
        assert_eq!(diff(&current, &target), Ok(vec![]));
        let target = json!({
            "same": "some", "count": 7, "bytes": {"/": {"bytes": "Ag"}},
            "inner": {"a": [1], "b": "x"}
        });
        assert_eq!(
            shown(&diff(&current, &target).unwrap()),
            json!([
                {"op": "delete", "path": ["gone"]},
                {"op": "splice", "path": ["same"], "index": 1, "delete": 1, "text": "o"},
                {"op": "set", "path": ["bytes"], "value": {"/": {"bytes": "Ag"}}},
                {"op": "increment", "path": ["count"], "by": 2},
                {"op": "set", "path": ["inner", "b"], "value": "x"},
            ])
        );
    }

    #[test]
    fn lists_keep_their_ends() {
        let edits = |old: &[i64], new: Value| {
            shown(&diff(&map([("l", list(old))]), &json!({ "l": new })).unwrap())
        };
        assert_eq!(
            edits(&[1, 2], json!([1, 2, 3])),
            json!([{"op": "insert", "path": ["l"], "index": 2, "value": 3}])
        );
        assert_eq!(edits(&[1, 2, 3], json!([1, 3])), json!([{"op": "delete", "path": ["l", 1]}]));
        assert_eq!(
            edits(&[1, 2, 3], json!([1, 9, 3])),
            json!([
                {"op": "delete", "path": ["l", 1]},
                {"op": "insert", "path": ["l"], "index": 1, "value": 9},
            ])
        );
        let long: Vec<i64> = (0..300).collect();
        let (edits, new) = (edits(&long, json!([7])), json!([7]));
        assert_eq!(edits, json!([{"op": "set", "path": ["l"], "value": new}]));
    }

    #[test]
    fn limits_are_named() {
        let deep = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(create_edits(&json!({"a": deep(16)})).is_ok());
        let error = create_edits(&json!({"a": {"b": deep(16)}})).unwrap_err();
        assert_eq!(error, PatchError::Depth { path: Path::key("a"), depth: 17 });
        assert!(error.to_string().contains("/a") && error.to_string().contains("16"), "{error}");

        let wide = |n: usize| (0..n).map(|i| (i.to_string(), json!(i))).collect::<Map<_, _>>();
        assert!(create_edits(&Value::Object(wide(1000))).is_ok());
        let error = create_edits(&Value::Object(wide(1001))).unwrap_err();
        assert_eq!(error, PatchError::Edits(EditError::TooMany(1001)));
        assert!(error.to_string().contains("1001") && error.to_string().contains("1000"));
    }

    #[test]
    fn a_text_that_loses_more_than_splices_may_delete_is_begun_anew() {
        let old = "x".repeat(20_000);
        let edits = diff(&map([("text", Node::Text(old))]), &json!({"text": "y"})).unwrap();
        assert_eq!(
            shown(&edits),
            json!([
                {"op": "text", "path": ["text"]},
                {"op": "splice", "path": ["text"], "index": 0, "delete": 0, "text": "y"},
            ])
        );
    }
}
