//! The content of a memory that is one record, without Automerge.

use ipld_core::ipld::Ipld;
use ocm_record::{Kind, VerifiedRecord};
use serde_json::Value;

use crate::edit::{Edit, decode_edits};
use crate::limits;
use crate::path::{Path, Step};
use crate::tree::Node;
use crate::value::json_of;

/// What [`Document::content`](crate::Document::content) shows of a memory of which this record, the
/// one that begins it, is all there is: most memories are such, and it is had many times quicker so.
///
/// `None` where it takes a [`Document`](crate::Document): for a record that does not begin a
/// memory, has no effect, or does more than writing values and texts under keys.
#[must_use]
pub fn first_content(record: &VerifiedRecord) -> Option<Value> {
    let header = record.header();
    if header.kind != Kind::CHANGE || header.memory.is_some() {
        return None;
    }
    if u64::from(header.size) > limits::PAST_BYTES {
        return None;
    }
    let body = record.body()?.ok()?;
    content_of(decode_edits(&body.content).ok()?)
}

/// As [`first_content`], of a record that is to begin a memory with these edits.
#[must_use]
pub fn content_of(edits: Vec<Edit>) -> Option<Value> {
    let mut content = Node::Map(Default::default());
    for edit in edits {
        match edit {
            Edit::Set { path, value } => *place(&mut content, &path)? = node(&value)?,
            Edit::Text { path } => *place(&mut content, &path)? = Node::Text(String::new()),
            Edit::Splice { path, index: 0, delete: 0, text } => match place(&mut content, &path)? {
                Node::Text(before) => before.insert_str(0, &text),
                _ => return None,
            },
            _ => return None,
        }
    }
    Some(content.to_json())
}

/// The place that a path of keys names, which holds null if nothing was there.
fn place<'a>(content: &'a mut Node, path: &Path) -> Option<&'a mut Node> {
    path.0.iter().try_fold(content, |inside, step| match (inside, step) {
        (Node::Map(map), Step::Key(key)) if !key.is_empty() => {
            Some(map.entry(key.clone()).or_insert(Node::Scalar(Value::Null)))
        }
        _ => None,
    })
}

/// A value as it stands in a document; `None` where Automerge refuses it.
fn node(value: &Ipld) -> Option<Node> {
    Some(match value {
        Ipld::List(items) => Node::List(items.iter().map(node).collect::<Option<_>>()?),
        Ipld::Map(map) => {
            let entry = |(key, item): (&String, &Ipld)| {
                (!key.is_empty()).then_some(())?;
                Some((key.clone(), node(item)?))
            };
            Node::Map(map.iter().map(entry).collect::<Option<_>>()?)
        }
        scalar => Node::Scalar(json_of(scalar)),
    })
}
