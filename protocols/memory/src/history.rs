//! Who changed what, when, in which record.

use ocm_record::{Did, RecordId, Time};
use serde::{Serialize, Serializer};

use crate::document::Void;
use crate::edit::{Edit, decode_edits};
use crate::records::Records;
use crate::render::View;

/// One record of a memory. As JSON: `{record, author, time, edits, void}`, `time` in milliseconds
/// since the Unix epoch, `void` the reason as a text, or null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryEntry {
    /// The record.
    pub record: RecordId,
    /// Who wrote it.
    pub author: Did,
    /// When, by its author's clock.
    #[serde(serialize_with = "as_millis")]
    pub time: Time,
    /// What its author meant to change; empty when that cannot be read.
    pub edits: Vec<Edit>,
    /// Why it has no effect, if it has none.
    #[serde(serialize_with = "as_text")]
    pub void: Option<Void>,
}

fn as_millis<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.millis())
}

#[expect(clippy::ref_option, reason = "the form that serde calls")]
fn as_text<S: Serializer>(void: &Option<Void>, serializer: S) -> Result<S::Ok, S::Error> {
    match void {
        Some(void) => serializer.collect_str(void),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn history(records: &Records, view: &View) -> Vec<HistoryEntry> {
    view.iter()
        .filter_map(|(id, rendered)| records.get(id).map(|record| (record, rendered)))
        .map(|(record, rendered)| HistoryEntry {
            record: record.id(),
            author: record.author(),
            time: record.time(),
            edits: record
                .body()
                .and_then(Result::ok)
                .and_then(|body| decode_edits(&body.content).ok())
                .unwrap_or_default(),
            void: rendered.outcome.as_ref().err().cloned(),
        })
        .collect()
}
