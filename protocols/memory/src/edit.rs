//! Edits: what an author meant to change.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::limits;
use crate::path::{Path, Step};
use crate::value::json_of;

/// One edit of a memory's content (`protocols/README.md`, section 4). It acts on the content as
/// its author saw it, after the edits before it in the same record. Indexes count Unicode
/// scalars in texts and items in lists.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Puts a value under a key, or in the place of an item.
    Set {
        /// Where.
        path: Path,
        /// What: scalars, lists and maps, no links.
        value: Ipld,
    },
    /// Removes what is there. Removing what is absent has no effect.
    Delete {
        /// What.
        path: Path,
    },
    /// Puts a new item into a list.
    Insert {
        /// The list.
        path: Path,
        /// The item's position, at most the length of the list.
        index: u64,
        /// The item.
        value: Ipld,
    },
    /// Removes and inserts characters of a collaborative text.
    Splice {
        /// The text.
        path: Path,
        /// Where to begin.
        index: u64,
        /// How many characters to remove.
        delete: u64,
        /// What to put in their place.
        text: String,
    },
    /// Adds to a counter; where nothing is, a counter begins at 0.
    Increment {
        /// The counter.
        path: Path,
        /// What to add, between -2^32 and 2^32.
        by: i64,
    },
    /// Puts a new, empty collaborative text.
    Text {
        /// Where.
        path: Path,
    },
}

/// Why a list is no list of edits. The index counts edits from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The content of the body is no list.
    #[error("the content of a change is a list of edits")]
    NotAList,
    /// Too many.
    #[error("{0} edits in one record, at most {max} are allowed: write several", max = limits::EDITS)]
    TooMany(usize),
    /// Not an edit of a known form.
    #[error("edit {edit}: {what}")]
    Form {
        /// Which.
        edit: usize,
        /// What it should be.
        what: &'static str,
    },
    /// The path is empty or too long.
    #[error("edit {edit}: a path of {steps} steps, from 1 to {max} are allowed", max = limits::PATH_STEPS)]
    PathLength {
        /// Which.
        edit: usize,
        /// Its steps.
        steps: usize,
    },
    /// The value is nested too deeply.
    #[error("edit {edit}: the value is nested deeper than {max} levels", max = limits::VALUE_DEPTH)]
    ValueDepth {
        /// Which.
        edit: usize,
    },
    /// An increment past its limit.
    #[error("edit {edit}: increment by {by}, at most {max} either way is allowed", max = limits::INCREMENT)]
    Increment {
        /// Which.
        edit: usize,
        /// What it adds.
        by: i128,
    },
}

impl Edit {
    /// Where it acts.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Set { path, .. }
            | Self::Delete { path }
            | Self::Insert { path, .. }
            | Self::Splice { path, .. }
            | Self::Increment { path, .. }
            | Self::Text { path } => path,
        }
    }

    fn encode(&self) -> Ipld {
        let integer = |n: u64| Ipld::Integer(n.into());
        let (op, rest) = match self {
            Self::Set { value, .. } => (0, vec![value.clone()]),
            Self::Delete { .. } => (1, vec![]),
            Self::Insert { index, value, .. } => (2, vec![integer(*index), value.clone()]),
            Self::Splice { index, delete, text, .. } => {
                (3, vec![integer(*index), integer(*delete), Ipld::String(text.clone())])
            }
            Self::Increment { by, .. } => (4, vec![Ipld::Integer((*by).into())]),
            Self::Text { .. } => (5, vec![]),
        };
        let steps = self.path().0.iter().map(|step| match step {
            Step::Key(key) => Ipld::String(key.clone()),
            Step::Index(index) => integer(*index),
        });
        let head = [Ipld::Integer(op), Ipld::List(steps.collect())];
        Ipld::List(head.into_iter().chain(rest).collect())
    }

    fn decode(edit: usize, item: &Ipld) -> Result<Self, EditError> {
        let wrong = |what| EditError::Form { edit, what };
        let Ipld::List(parts) = item else { return Err(wrong("an edit is an array")) };
        let (Some(Ipld::Integer(op)), Some(path)) = (parts.first(), parts.get(1)) else {
            return Err(wrong("an edit begins with an operation and a path"));
        };
        let path = decode_path(edit, path)?;
        let rest = parts.get(2..).unwrap_or_default();
        let index = |n: &i128, what| u64::try_from(*n).map_err(|_| wrong(what));
        match (*op, rest) {
            (0, [value]) => Ok(Self::Set { path, value: check_value(edit, value)? }),
            (0, _) => Err(wrong("set takes a path and a value")),
            (1, []) => Ok(Self::Delete { path }),
            (1, _) => Err(wrong("delete takes a path")),
            (2, [Ipld::Integer(at), value]) => Ok(Self::Insert {
                path,
                index: index(at, "an index is not negative")?,
                value: check_value(edit, value)?,
            }),
            (2, _) => Err(wrong("insert takes a path, an index and a value")),
            (3, [Ipld::Integer(at), Ipld::Integer(delete), Ipld::String(text)]) => {
                Ok(Self::Splice {
                    path,
                    index: index(at, "an index is not negative")?,
                    delete: index(delete, "a number of characters is not negative")?,
                    text: text.clone(),
                })
            }
            (3, _) => Err(wrong("splice takes a path, an index, a number and a text")),
            (4, [Ipld::Integer(by)]) => match i64::try_from(*by) {
                Ok(small) if small.unsigned_abs() <= limits::INCREMENT.unsigned_abs() => {
                    Ok(Self::Increment { path, by: small })
                }
                _ => Err(EditError::Increment { edit, by: *by }),
            },
            (4, _) => Err(wrong("increment takes a path and an integer")),
            (5, []) => Ok(Self::Text { path }),
            (5, _) => Err(wrong("text takes a path")),
            _ => Err(wrong("the operation is unknown")),
        }
    }
}

fn decode_path(edit: usize, path: &Ipld) -> Result<Path, EditError> {
    let wrong = |what| EditError::Form { edit, what };
    let Ipld::List(steps) = path else { return Err(wrong("a path is an array")) };
    if steps.is_empty() || steps.len() > limits::PATH_STEPS {
        return Err(EditError::PathLength { edit, steps: steps.len() });
    }
    let step = |step: &Ipld| match step {
        Ipld::String(key) => Ok(Step::Key(key.clone())),
        Ipld::Integer(index) => {
            u64::try_from(*index).map(Step::Index).map_err(|_| wrong("an index is not negative"))
        }
        _ => Err(wrong("a path consists of texts and integers")),
    };
    steps.iter().map(step).collect::<Result<_, _>>().map(Path)
}

/// Refuses what has no place in the content: links, integers beyond 64 bits, floats that are not
/// finite, too many levels.
fn check_value(edit: usize, value: &Ipld) -> Result<Ipld, EditError> {
    fn walk(edit: usize, value: &Ipld, levels_left: usize) -> Result<(), EditError> {
        let wrong = |what| Err(EditError::Form { edit, what });
        let inner = || levels_left.checked_sub(1).ok_or(EditError::ValueDepth { edit });
        match value {
            Ipld::Link(_) => wrong("a value holds no links; name records in the lineage"),
            Ipld::Integer(n) if i64::try_from(*n).is_err() && u64::try_from(*n).is_err() => {
                wrong("an integer of a value lies between -2^63 and 2^64-1")
            }
            Ipld::Float(x) if !x.is_finite() => wrong("a float is finite"),
            Ipld::List(items) => {
                let inner = inner()?;
                items.iter().try_for_each(|item| walk(edit, item, inner))
            }
            Ipld::Map(map) => {
                let inner = inner()?;
                map.values().try_for_each(|item| walk(edit, item, inner))
            }
            _ => Ok(()),
        }
    }
    walk(edit, value, limits::VALUE_DEPTH)?;
    Ok(value.clone())
}

/// The content of a change's body. Limits are not checked here: see [`check_edits`].
#[must_use]
pub fn encode_edits(edits: &[Edit]) -> Ipld {
    Ipld::List(edits.iter().map(Edit::encode).collect())
}

/// Reads the content of a change's body, strictly.
///
/// # Errors
/// The first edit that is none; the record that carries it is void as a whole.
pub fn decode_edits(content: &Ipld) -> Result<Vec<Edit>, EditError> {
    let Ipld::List(items) = content else { return Err(EditError::NotAList) };
    if items.len() > limits::EDITS {
        return Err(EditError::TooMany(items.len()));
    }
    items.iter().enumerate().map(|(edit, item)| Edit::decode(edit, item)).collect()
}

/// Whether other nodes will read these edits: the limits and forms that [`decode_edits`] holds.
///
/// # Errors
/// What it would fail with; a record with these edits would be void.
pub fn check_edits(edits: &[Edit]) -> Result<(), EditError> {
    decode_edits(&encode_edits(edits)).map(drop)
}

/// As an object: `{"op": "set", "path": ["title"], "value": "Well"}`, and with `index`, `delete`,
/// `text` and `by` for the operations that have them.
impl Serialize for Edit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = BTreeMap::new();
        let op = match self {
            Self::Set { value, .. } => {
                fields.insert("value", json_of(value));
                "set"
            }
            Self::Delete { .. } => "delete",
            Self::Insert { index, value, .. } => {
                fields.insert("index", (*index).into());
                fields.insert("value", json_of(value));
                "insert"
            }
            Self::Splice { index, delete, text, .. } => {
                fields.insert("index", (*index).into());
                fields.insert("delete", (*delete).into());
                fields.insert("text", text.as_str().into());
                "splice"
            }
            Self::Increment { by, .. } => {
                fields.insert("by", (*by).into());
                "increment"
            }
            Self::Text { .. } => "text",
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("op", op)?;
        map.serialize_entry("path", self.path())?;
        for (key, value) in fields {
            map.serialize_entry(key, &value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipld_core::ipld;

    fn nested(levels: usize) -> Ipld {
        (0..levels).fold(Ipld::Null, |inner, _| Ipld::List(vec![inner]))
    }

    #[test]
    fn the_six_forms() {
        let p = || Path::key("a").then(3usize);
        let table = [
            (Edit::Set { path: p(), value: ipld!({"x": 1}) }, ipld!([0, ["a", 3], {"x": 1}])),
            (Edit::Delete { path: p() }, ipld!([1, ["a", 3]])),
            (Edit::Insert { path: p(), index: 2, value: ipld!("v") }, ipld!([2, ["a", 3], 2, "v"])),
            (
                Edit::Splice { path: p(), index: 4, delete: 5, text: "t".into() },
                ipld!([3, ["a", 3], 4, 5, "t"]),
            ),
            (Edit::Increment { path: p(), by: -6 }, ipld!([4, ["a", 3], (-6)])),
            (Edit::Text { path: p() }, ipld!([5, ["a", 3]])),
        ];
        for (edit, form) in table {
            let content = Ipld::List(vec![form]);
            assert_eq!(encode_edits(std::slice::from_ref(&edit)), content);
            assert_eq!(decode_edits(&content), Ok(vec![edit]));
        }
        assert_eq!(decode_edits(&ipld!([])), Ok(vec![]));
    }

    #[test]
    fn limits_are_exact() {
        let set = |value| ipld!([[0, ["a"], (value)]]);
        let with_path = |n: usize| {
            Ipld::List(vec![Ipld::List(vec![
                Ipld::Integer(1),
                Ipld::List(vec![Ipld::String("k".into()); n]),
            ])])
        };
        let many = |n: usize| Ipld::List(vec![ipld!([1, ["a"]]); n]);
        let by = |n: i128| ipld!([[4, ["a"], (Ipld::Integer(n))]]);
        let most = i128::from(limits::INCREMENT);
        for good in [set(nested(16)), with_path(16), many(1000), by(most), by(-most)] {
            assert!(decode_edits(&good).is_ok());
        }
        for (bad, error) in [
            (set(nested(17)), EditError::ValueDepth { edit: 0 }),
            (with_path(17), EditError::PathLength { edit: 0, steps: 17 }),
            (with_path(0), EditError::PathLength { edit: 0, steps: 0 }),
            (many(1001), EditError::TooMany(1001)),
            (by(most + 1), EditError::Increment { edit: 0, by: most + 1 }),
            (by(-most - 1), EditError::Increment { edit: 0, by: -most - 1 }),
            (by(i128::from(i64::MIN)), EditError::Increment { edit: 0, by: i64::MIN.into() }),
        ] {
            assert_eq!(decode_edits(&bad), Err(error));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let cid = ocm_record::RecordId::MIN.cid();
        for bad in [
            ipld!({"a": 1}),
            ipld!([1]),
            ipld!([[]]),
            ipld!([[0]]),
            ipld!([["0", ["a"], 1]]),
            ipld!([[6, ["a"]]]),
            ipld!([[(-1), ["a"]]]),
            ipld!([[0, ["a"]]]),
            ipld!([[0, ["a"], 1, 2]]),
            ipld!([[0, "a", 1]]),
            ipld!([[0, [null], 1]]),
            ipld!([[0, [(-1)], 1]]),
            ipld!([[1, ["a"], 1]]),
            ipld!([[2, ["a"], (-1), 1]]),
            ipld!([[2, ["a"], 1]]),
            ipld!([[3, ["a"], 0, (-1), "t"]]),
            ipld!([[3, ["a"], 0, 1]]),
            ipld!([[3, ["a"], 0, 1, 2]]),
            ipld!([[4, ["a"], 1.5]]),
            ipld!([[5, ["a"], "t"]]),
            Ipld::List(vec![Ipld::List(vec![
                Ipld::Integer(0),
                ipld!(["a"]),
                Ipld::List(vec![Ipld::Link(cid)]),
            ])]),
            Ipld::List(vec![Ipld::List(vec![
                Ipld::Integer(0),
                ipld!(["a"]),
                Ipld::Integer(i128::from(u64::MAX) + 1),
            ])]),
            Ipld::List(vec![Ipld::List(vec![
                Ipld::Integer(0),
                ipld!(["a"]),
                Ipld::Float(f64::NAN),
            ])]),
        ] {
            assert!(decode_edits(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn as_json() {
        let edit = Edit::Splice { path: Path::key("text"), index: 1, delete: 2, text: "é".into() };
        assert_eq!(
            serde_json::to_value(edit).unwrap(),
            serde_json::json!({"op": "splice", "path": ["text"], "index": 1, "delete": 2, "text": "é"})
        );
    }
}
