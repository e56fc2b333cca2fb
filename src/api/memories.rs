//! Memories: contents, edits, history, conflicts.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ocm_memory::{Edit, Path};
use ocm_record::{Did, MemoryId, RecordId, SpaceId, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Api;
use super::body::{Input, List, Name, Nothing, Parameters};
use super::moment::Moment;
use super::problem::Problem;
use crate::views::Reading;

#[derive(Serialize)]
struct Void {
    record: RecordId,
    reason: String,
}

#[derive(Serialize)]
pub(super) struct Memory {
    id: MemoryId,
    space: SpaceId,
    author: Option<Did>,
    content: Option<Value>,
    heads: Vec<RecordId>,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    created: Moment,
    updated: Moment,
    records: u64,
    authors: Vec<Did>,
    voids: Vec<Void>,
    conflicts: u64,
    ahead: bool,
}

/// Whether a time lies so far ahead of this machine's clock that it is not believed.
pub(super) fn is_ahead(time: Time) -> bool {
    time.is_far_ahead(Moment::now().0)
}

impl From<Reading> for Memory {
    fn from(reading: Reading) -> Self {
        Self {
            id: reading.place.memory,
            space: reading.place.space,
            author: reading.author,
            content: reading.content,
            heads: reading.heads,
            verified: reading.cause.is_none(),
            cause: reading.cause,
            created: reading.place.memory.0.time().into(),
            updated: reading.updated.into(),
            records: reading.records,
            authors: reading.authors,
            voids: reading
                .voids
                .into_iter()
                .map(|(record, void)| Void { record, reason: void.to_string() })
                .collect(),
            conflicts: reading.conflicts,
            ahead: is_ahead(reading.updated),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    space: Option<String>,
    content: Value,
}

/// The space of a new memory: the one that is named, else the default.
pub(super) async fn space_for(api: &Api, named: Option<&str>) -> Result<SpaceId, Problem> {
    match named {
        Some(space) => Ok(api.0.views.resolve_space(space).await?),
        None => api.0.config.default_space.ok_or_else(|| {
            Problem::bad(
                "no space is named, and none is the default: name one, or set space.default",
            )
        }),
    }
}

pub(super) async fn create(
    State(api): State<Api>,
    Input(New { space, content }): Input<New>,
) -> Result<(StatusCode, Json<Memory>), Problem> {
    let space = space_for(&api, space.as_deref()).await?;
    let reading = api.0.views.create_and_show(space, content).await?;
    Ok((StatusCode::CREATED, Json(reading.into())))
}

pub(super) async fn show(
    State(api): State<Api>,
    Name(id): Name,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<Memory>, Problem> {
    let place = api.0.views.resolve_memory(&id).await?;
    Ok(Json(api.0.views.read(place).await?.into()))
}

pub(super) async fn patch(
    State(api): State<Api>,
    Name(id): Name,
    Input(patch): Input<Value>,
) -> Result<Json<Memory>, Problem> {
    let place = api.0.views.resolve_memory(&id).await?;
    api.0.views.patch(place, patch).await?;
    Ok(Json(api.0.views.read(place).await?.into()))
}

/// One record of a history.
#[derive(Serialize)]
pub(super) struct Entry {
    record: RecordId,
    author: Option<Did>,
    time: Moment,
    edits: Vec<Edit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    void: Option<String>,
}

pub(super) async fn history(
    State(api): State<Api>,
    Name(id): Name,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<List<Entry>>, Problem> {
    let place = api.0.views.resolve_memory(&id).await?;
    let (whole, damaged) = api.0.views.history(place).await?;
    let whole = whole.into_iter().map(|entry| Entry {
        record: entry.record,
        author: Some(entry.author),
        time: entry.time.into(),
        edits: entry.edits,
        void: entry.void.map(|void| void.to_string()),
    });
    let damaged = damaged.into_iter().map(|damaged| Entry {
        record: damaged.id,
        author: None,
        time: damaged.id.time().into(),
        edits: Vec::new(),
        void: Some(damaged.to_string()),
    });
    let mut entries: Vec<Entry> = whole.chain(damaged).collect();
    entries.sort_by_key(|entry| entry.record);
    Ok(Json(entries.into_iter().collect()))
}

#[derive(Serialize)]
struct ConflictValue {
    value: Value,
    author: Did,
    record: RecordId,
    time: Moment,
}

/// A place in which several concurrent values stand. `shown` is the record whose value the
/// content shows.
#[derive(Serialize)]
pub(super) struct Conflict {
    path: Path,
    shown: Option<RecordId>,
    values: Vec<ConflictValue>,
}

pub(super) async fn conflicts(
    State(api): State<Api>,
    Name(id): Name,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<List<Conflict>>, Problem> {
    let place = api.0.views.resolve_memory(&id).await?;
    let conflicts = api.0.views.conflicts(place).await?;
    let conflict = |conflict: ocm_memory::Conflict| Conflict {
        path: conflict.path,
        shown: conflict.values.iter().find(|value| value.shown).map(|value| value.record),
        values: conflict
            .values
            .into_iter()
            .map(|value| ConflictValue {
                value: value.value,
                author: value.author,
                record: value.record,
                time: value.record.time().into(),
            })
            .collect(),
    };
    Ok(Json(conflicts.into_iter().map(conflict).collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Taken {
    take: String,
}

pub(super) async fn take(
    State(api): State<Api>,
    Name(id): Name,
    Input(Taken { take }): Input<Taken>,
) -> Result<Json<Memory>, Problem> {
    let place = api.0.views.resolve_memory(&id).await?;
    let record = api.0.views.resolve_record(&take).await?.record;
    api.0.views.take(place, record).await?;
    Ok(Json(api.0.views.read(place).await?.into()))
}
