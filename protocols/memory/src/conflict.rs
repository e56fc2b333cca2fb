//! Concurrent values, who wrote them, and the choice of one.

use automerge::{ObjId, ObjType, Prop, ROOT, ReadDoc as _, Value as AmValue};
use ipld_core::ipld::Ipld;
use ocm_record::{Did, RecordId};
use serde::Serialize;
use serde_json::Value;

use crate::document::RenderError;
use crate::edit::{Edit, EditError, check_edits};
use crate::limits;
use crate::path::{Path, Step};
use crate::records::Records;
use crate::render::View;
use crate::tree::Node;
use crate::value::value_of;

/// A place where several different values stand. As JSON: `{path, values}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conflict {
    /// Where.
    pub path: Path,
    /// The values, the shown one first, the others by record.
    pub values: Vec<ConflictValue>,
}

/// One of several concurrent values. As JSON: `{value, author, record, shown}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConflictValue {
    /// The value, as [`crate::Document::content`] would show it.
    pub value: Value,
    /// Who put it there. What a list, map or text holds may have been written by others since.
    pub author: Did,
    /// In which record.
    pub record: RecordId,
    /// Whether it is the one that the content shows.
    pub shown: bool,
}

/// Why there is nothing to take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// The record wrote none of the values that conflict.
    #[error("record {0} wrote none of the conflicting values; `conflicts` lists those that did")]
    NotThere(RecordId),
    /// The edits that would write the value are beyond a limit.
    #[error("the value cannot be written by one record: {0}")]
    Edits(#[from] EditError),
    /// The counter holds more than one record can add up.
    #[error("the counter at {0} is too large to be written by one record")]
    Counter(Path),
    /// The memory has no view.
    #[error(transparent)]
    Render(#[from] RenderError),
}

pub(crate) struct Found {
    path: Path,
    values: Vec<FoundValue>,
}

struct FoundValue {
    node: Node,
    author: Did,
    record: RecordId,
    shown: bool,
}

impl From<&Found> for Conflict {
    fn from(found: &Found) -> Self {
        let values = found.values.iter().map(|value| ConflictValue {
            value: value.node.to_json(),
            author: value.author,
            record: value.record,
            shown: value.shown,
        });
        Self { path: found.path.clone(), values: values.collect() }
    }
}

/// Outer places come before the places inside them.
pub(crate) fn conflicts(records: &Records, view: &View) -> Result<Vec<Found>, RenderError> {
    let mut search = Search { records, view, found: Vec::new() };
    search.object(ObjType::Map, &ROOT, &Path::default())?;
    Ok(search.found)
}

struct Search<'a> {
    records: &'a Records,
    view: &'a View,
    found: Vec<Found>,
}

impl Search<'_> {
    fn object(&mut self, kind: ObjType, id: &ObjId, path: &Path) -> Result<(), RenderError> {
        let doc = &self.view.doc;
        match kind {
            ObjType::Map | ObjType::Table => {
                for item in doc.map_range(id, ..) {
                    let inner = match item.value {
                        automerge::ValueRef::Object(kind) => Some((kind, item.id())),
                        automerge::ValueRef::Scalar(_) => None,
                    };
                    let key = item.key.into_owned();
                    let prop = Prop::Map(key.clone());
                    self.place(id, prop, item.conflict, inner, || path.then(key))?;
                }
            }
            ObjType::List => {
                for item in doc.list_range(id, ..) {
                    let inner = match item.value {
                        automerge::ValueRef::Object(kind) => Some((kind, item.id())),
                        automerge::ValueRef::Scalar(_) => None,
                    };
                    let (index, conflict) = (item.index, item.conflict);
                    self.place(id, Prop::Seq(index), conflict, inner, || path.then(index))?;
                }
            }
            ObjType::Text => {}
        }
        Ok(())
    }

    fn place(
        &mut self,
        object: &ObjId,
        prop: Prop,
        conflict: bool,
        inner: Option<(ObjType, ObjId)>,
        path: impl FnOnce() -> Path,
    ) -> Result<(), RenderError> {
        if !conflict && inner.is_none() {
            return Ok(());
        }
        let path = path();
        if conflict {
            let shown = self.view.doc.get(object, prop.clone())?.map(|(_, id)| id);
            let values = self.view.doc.get_all(object, prop)?;
            self.note(&path, &values, shown.as_ref());
        }
        match inner {
            Some((kind, id)) => self.object(kind, &id, &path),
            None => Ok(()),
        }
    }

    fn note(&mut self, path: &Path, values: &[(AmValue<'_>, ObjId)], shown: Option<&ObjId>) {
        let mut found: Vec<FoundValue> = values
            .iter()
            .filter_map(|(value, id)| {
                let record = self.view.writer_of(id)?;
                Some(FoundValue {
                    node: Node::read_value(&self.view.doc, value, id),
                    author: self.records.get(&record)?.author(),
                    record,
                    shown: Some(id) == shown,
                })
            })
            .collect();
        if found.windows(2).any(|pair| pair[0].node != pair[1].node) {
            found.sort_by_key(|value| (!value.shown, value.record));
            self.found.push(Found { path: path.clone(), values: found });
        }
    }
}

/// See [`crate::Document::take`].
pub(crate) fn take(
    conflicts: &[Found],
    at: Option<&Path>,
    record: RecordId,
) -> Result<Vec<Edit>, TakeError> {
    let mut taken: Vec<&Path> = Vec::new();
    let mut edits = Vec::new();
    for conflict in conflicts {
        let wanted = at.is_none_or(|at| conflict.path == *at);
        let value = conflict.values.iter().find(|value| value.record == record);
        // What lies inside a value that was taken came with it.
        let covered = taken.iter().any(|outer| conflict.path.is_within(outer));
        if let Some(value) = value.filter(|_| wanted && !covered) {
            write(&conflict.path, &value.node, &mut edits)?;
            taken.push(&conflict.path);
        }
    }
    if taken.is_empty() {
        return Err(TakeError::NotThere(record));
    }
    check_edits(&edits)?;
    Ok(edits)
}

/// Edits that put a copy of `node` at `path`.
fn write(path: &Path, node: &Node, edits: &mut Vec<Edit>) -> Result<(), TakeError> {
    let (path, too_many) = (path.clone(), edits.len() > limits::EDITS);
    if too_many {
        return Err(EditError::TooMany(edits.len()).into());
    }
    if let Some(value) = plain(node) {
        edits.push(Edit::Set { path, value });
        return Ok(());
    }
    match node {
        Node::Text(text) => {
            edits.push(Edit::Text { path: path.clone() });
            if !text.is_empty() {
                edits.push(Edit::Splice { path, index: 0, delete: 0, text: text.clone() });
            }
        }
        Node::Counter(count) => {
            let mut left = *count;
            edits.push(Edit::Delete { path: path.clone() });
            loop {
                let by = left.clamp(-limits::INCREMENT, limits::INCREMENT);
                edits.push(Edit::Increment { path: path.clone(), by });
                left -= by;
                if left == 0 {
                    break;
                }
                if edits.len() > limits::EDITS {
                    return Err(TakeError::Counter(path));
                }
            }
        }
        Node::Map(map) => {
            edits.push(Edit::Set { path: path.clone(), value: Ipld::Map([].into()) });
            for (key, inner) in map {
                write(&path.then(key.as_str()), inner, edits)?;
            }
        }
        Node::List(items) => {
            edits.push(Edit::Set { path: path.clone(), value: Ipld::List(Vec::new()) });
            for (index, inner) in items.iter().enumerate() {
                let at = index as u64;
                let value = plain(inner);
                let special = value.is_none();
                let value = value.unwrap_or(Ipld::Null);
                edits.push(Edit::Insert { path: path.clone(), index: at, value });
                if special {
                    write(&path.then(Step::Index(at)), inner, edits)?;
                }
            }
        }
        Node::Scalar(_) | Node::Bytes(_) => {}
    }
    Ok(())
}

/// The value that one `set` writes, for what holds no text and no counter.
fn plain(node: &Node) -> Option<Ipld> {
    match node {
        Node::Scalar(value) => Some(value_of(value)),
        Node::Bytes(bytes) => Some(Ipld::Bytes(bytes.clone())),
        Node::Counter(_) | Node::Text(_) => None,
        Node::List(items) => items.iter().map(plain).collect::<Option<_>>().map(Ipld::List),
        Node::Map(map) => map
            .iter()
            .map(|(key, inner)| plain(inner).map(|value| (key.clone(), value)))
            .collect::<Option<_>>()
            .map(Ipld::Map),
    }
}
