//! Batches: many memories begun at once, each acknowledged by itself, those of one space by one
//! flush.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use futures::StreamExt as _;
use ocm_record::{MemoryId, RecordId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout_at};

use super::body::refuse;
use super::memories::space_for;
use super::problem::{Problem, Reason};
use super::{Api, BatchLimits, limits};

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
    let limits = *api.0.batch.borrow();
    let begun = AtomicBool::new(false);
    match tokio::time::timeout(limits.timeout, carry_out(&api, request, limits, &begun)).await {
        Ok(outcomes) => outcomes.map(Json),
        Err(_) => {
            let what = if begun.into_inner() {
                "done: it may be written all the same"
            } else {
                "begun: nothing of it is written"
            };
            Err(Problem::new(
                Reason::Unavailable,
                format!(
                    "within {} seconds the batch was not {what}; send smaller ones, or allow more \
                     with api.batch_timeout_seconds",
                    limits.timeout.as_secs()
                ),
            ))
        }
    }
}

/// Sets `begun` before anything is written.
async fn carry_out(
    api: &Api,
    request: Request,
    limits: BatchLimits,
    begun: &AtomicBool,
) -> Result<Outcomes, Problem> {
    // Never closed. What is read meanwhile lies in memory.
    let _place = api.0.batches.acquire().await;
    let request = receive(request, limits.timeout).await?;
    // Batches are written in the order in which they were received, although several are under way.
    let mut turn = Some(api.0.batch_turn.lock().await);
    let batch = Json::<Batch>::from_request(request, &()).await;
    let Json(Batch { space, items }) = batch.map_err(|rejection| refuse(&rejection))?;
    let (count, limit) = (items.len(), limits.memories);
    if count > limit {
        return Err(Problem::new(
            Reason::TooLarge,
            format!(
                "a batch has at most {limit} memories, this one has {count}: split it, or allow \
                 more with api.batch_memories"
            ),
        ));
    }
    let mut outcomes = Sofar::default();
    // Those that name no space come first: where theirs cannot be written, nothing is.
    let mut spaces: BTreeMap<Option<String>, Vec<(usize, Value)>> = BTreeMap::new();
    for (index, item) in items.into_iter().enumerate() {
        match serde_json::from_value::<New>(item) {
            Ok(New { space, content }) => spaces.entry(space).or_default().push((index, content)),
            Err(error) => {
                outcomes.items.insert(index, Err(Problem::bad(error)));
            }
        }
    }
    let mut left = spaces.len();
    for (named, contents) in spaces {
        left -= 1;
        let turn = if left == 0 { turn.take() } else { None };
        let (indexes, contents): (Vec<usize>, Vec<Value>) = contents.into_iter().unzip();
        let results = match &outcomes.fault {
            Some(fault) => Err(fault.clone()),
            None => {
                begun.store(true, Ordering::Relaxed);
                write(api, named.as_deref().or(space.as_deref()), contents, turn).await
            }
        };
        outcomes.take(indexes, results, named.is_none())?;
    }
    let items: Vec<Outcome> = outcomes
        .items
        .into_iter()
        .map(|(index, outcome)| match outcome {
            Ok(memory) => Outcome::Written { index, id: memory.0, memory },
            Err(problem) => Outcome::Failed { index, error: problem.into_json() },
        })
        .collect();
    let written = items.iter().filter(|item| matches!(item, Outcome::Written { .. })).count();
    Ok(Outcomes { written, failed: items.len() - written, items })
}

/// The request with its whole body at hand: who is slow to send one holds up nobody else's turn. Who is
/// slower than [`limits::BATCH_BYTES_A_SECOND`] on the whole and a sixth of `timeout`, or takes half of
/// that, loses the place.
async fn receive(request: Request, timeout: Duration) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let mut chunks = body.into_data_stream();
    let (begun, mut bytes) = (Instant::now(), Vec::new());
    loop {
        let earned = bytes.len() as f64 / limits::BATCH_BYTES_A_SECOND as f64;
        let pace = timeout / limits::BATCH_PATIENCE + Duration::from_secs_f64(earned);
        let until = begun + pace.min(timeout / 2);
        let Ok(chunk) = timeout_at(until, chunks.next()).await else {
            let detail = format!(
                "of the body of the batch {} bytes came within {:.1} seconds: send {} a second or \
                 more, and all of it within {:.1} seconds; nothing of it is written",
                bytes.len(),
                begun.elapsed().as_secs_f64(),
                limits::BATCH_BYTES_A_SECOND,
                (timeout / 2).as_secs_f64()
            );
            let problem = Problem::new(Reason::Unavailable, detail);
            return Err(problem.with_status(StatusCode::REQUEST_TIMEOUT));
        };
        let Some(chunk) = chunk else { break };
        let chunk = chunk.map_err(|error| Problem::bad(format!("the body broke off: {error}")))?;
        if bytes.len() + chunk.len() > limits::BATCH_BYTES {
            let limit = limits::BATCH_BYTES;
            let detail = format!("the body of a batch has at most {limit} bytes: split it");
            return Err(Problem::new(Reason::TooLarge, detail));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// What became of the items so far.
#[derive(Default)]
struct Sofar {
    items: BTreeMap<usize, Result<MemoryId, Problem>>,
    /// What befell the node after some were written: nothing more is.
    fault: Option<Problem>,
}

impl Sofar {
    /// Takes what became of the items of one space. A problem is one of the whole request where
    /// the space is the batch's own, or the node failed, and nothing is written; else it is said
    /// of these items, so that what is written is acknowledged.
    fn take(
        &mut self,
        indexes: Vec<usize>,
        results: Result<Vec<Result<MemoryId, Problem>>, Problem>,
        own: bool,
    ) -> Result<(), Problem> {
        match results {
            Ok(results) => self.items.extend(indexes.into_iter().zip(results)),
            Err(problem) => {
                if own || problem.is_of_node() {
                    if !self.items.values().any(Result::is_ok) {
                        return Err(problem);
                    }
                    self.fault = Some(problem.clone());
                }
                self.items.extend(indexes.into_iter().map(|index| (index, Err(problem.clone()))));
            }
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_acknowledged_when_the_node_fails_after_it() {
        let fault = || Problem::new(Reason::Internal, "the disk is full");
        let memory = MemoryId(RecordId::of_header(ocm_record::Time(1), b"one"));
        let mut outcomes = Sofar::default();
        // Nothing is written yet.
        assert_eq!(outcomes.take(vec![0], Err(fault()), false), Err(fault()));
        assert_eq!(outcomes.take(vec![3], Ok(vec![Ok(memory)]), false), Ok(()));
        let unknown = Problem::new(Reason::UnknownSpace, "no such space");
        assert_eq!(outcomes.take(vec![2], Err(unknown.clone()), false), Ok(()));
        assert_eq!(outcomes.fault, None, "that is the item's own affair");
        assert_eq!(outcomes.take(vec![0, 1], Err(fault()), false), Ok(()));
        assert_eq!(outcomes.fault, Some(fault()));
        let items: Vec<_> = outcomes.items.into_values().collect();
        assert_eq!(items, [Err(fault()), Err(fault()), Err(unknown), Ok(memory)]);
    }
}
