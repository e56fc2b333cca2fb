//! Batches: many memories begun at once, each acknowledged by itself, all by one flush.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use ocm_record::{MemoryId, RecordId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::MutexGuard;

use super::body::refuse;
use super::memories::space_for;
use super::problem::{Problem, Reason};
use super::{Api, limits};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    /// Where memories go that name no space.
    space: Option<String>,
    items: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    space: Option<String>,
    content: Value,
}

/// What became of one item.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    /// It is durable.
    Written { index: usize, id: RecordId, memory: MemoryId },
    /// It is not, and why: a problem.
    Failed { index: usize, error: Value },
}

/// What became of all of them, in their order.
#[derive(Serialize)]
pub(super) struct Outcomes {
    items: Vec<Outcome>,
    written: usize,
    failed: usize,
}

/// Begins the memories of a batch. An item that cannot be written fails alone; a problem with the
/// batch's own space, or with the node, is one of the whole request.
pub(super) async fn create(
    State(api): State<Api>,
    request: Request,
) -> Result<Json<Outcomes>, Problem> {
    let limit = api.0.config.batch_timeout;
    match tokio::time::timeout(limit, carry_out(&api, request)).await {
        Ok(outcomes) => outcomes.map(Json),
        Err(_) => Err(Problem::new(
            Reason::Unavailable,
            format!(
                "the batch was not done within {} seconds; it may be written all the same: send \
                 smaller ones, or allow more with api.batch_timeout_seconds",
                limit.as_secs()
            ),
        )),
    }
}

async fn carry_out(api: &Api, request: Request) -> Result<Outcomes, Problem> {
    // Never closed. What is read meanwhile lies in memory.
    let _place = api.0.batches.acquire().await;
    // Batches are written in the order in which they came, although several are under way.
    let mut turn = Some(api.0.batch_turn.lock().await);
    let batch = Json::<Batch>::from_request(request, &()).await;
    let Json(Batch { space, items }) = batch.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let limit = limits::BATCH_BYTES;
            let detail = format!("the body of a batch has at most {limit} bytes: split it");
            return Problem::new(Reason::TooLarge, detail);
        }
        refuse(&rejection)
    })?;
    let (count, limit) = (items.len(), api.0.config.batch_memories);
    if count > limit {
        return Err(Problem::new(
            Reason::TooLarge,
            format!(
                "a batch has at most {limit} memories, this one has {count}: split it, or allow \
                 more with api.batch_memories"
            ),
        ));
    }
    let mut outcomes: BTreeMap<usize, Result<MemoryId, Problem>> = BTreeMap::new();
    // Those that name no space come first: where theirs cannot be written, nothing is.
    let mut spaces: BTreeMap<Option<String>, Vec<(usize, Value)>> = BTreeMap::new();
    for (index, item) in items.into_iter().enumerate() {
        match serde_json::from_value::<New>(item) {
            Ok(New { space, content }) => spaces.entry(space).or_default().push((index, content)),
            Err(error) => {
                outcomes.insert(index, Err(Problem::bad(error)));
            }
        }
    }
    let mut left = spaces.len();
    for (named, contents) in spaces {
        left -= 1;
        let turn = if left == 0 { turn.take() } else { None };
        let (indexes, contents): (Vec<usize>, Vec<Value>) = contents.into_iter().unzip();
        match write(api, named.as_deref().or(space.as_deref()), contents, turn).await {
            Ok(results) => outcomes.extend(indexes.into_iter().zip(results)),
            Err(problem) if named.is_none() || problem.is_of_node() => return Err(problem),
            Err(problem) => {
                outcomes.extend(indexes.into_iter().map(|index| (index, Err(problem.clone()))));
            }
        }
    }
    let items: Vec<Outcome> = outcomes
        .into_iter()
        .map(|(index, outcome)| match outcome {
            Ok(memory) => Outcome::Written { index, id: memory.0, memory },
            Err(problem) => Outcome::Failed { index, error: problem.into_json() },
        })
        .collect();
    let written = items.iter().filter(|item| matches!(item, Outcome::Written { .. })).count();
    Ok(Outcomes { written, failed: items.len() - written, items })
}

async fn write(
    api: &Api,
    space: Option<&str>,
    contents: Vec<Value>,
    turn: Option<MutexGuard<'_, ()>>,
) -> Result<Vec<Result<MemoryId, Problem>>, Problem> {
    let space = space_for(api, space).await?;
    let results = api.0.views.create_many(space, contents, turn).await?;
    Ok(results.into_iter().map(|result| result.map_err(Problem::from)).collect())
}
