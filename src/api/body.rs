//! Requests, read strictly: what cannot be read is a problem that says why, and a field that
//! nobody knows is an error rather than ignored.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::limits;
use super::problem::{Problem, Reason};

/// The JSON body of a request.
pub(super) struct Input<T>(pub(super) T);

/// The JSON body of a request that may come without one.
pub(super) struct OptionalInput<T>(pub(super) T);

/// The parameters after the `?`.
pub(super) struct Parameters<T>(pub(super) T);

/// The one name in the path.
pub(super) struct Name(pub(super) String);

/// A list, as every list is answered.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self { items: items.into_iter().collect(), next: None }
    }
}

/// Items of a page for which no number is given.
const PAGE: usize = 50;

/// How many items a page has, where so many are asked for.
pub(super) fn page_size(limit: Option<usize>) -> Result<usize, Problem> {
    let (limit, most) = (limit.unwrap_or(PAGE), crate::views::limits::PAGE);
    if !(1..=most).contains(&limit) {
        let detail = format!("a page has 1 to {most} items, {limit} were asked for");
        return Err(Problem::bad(detail));
    }
    Ok(limit)
}

/// What is said of a cursor that is none.
pub(super) fn no_cursor() -> Problem {
    Problem::bad("the cursor is not one that a page of this list ended with")
}

fn too_large() -> Problem {
    Problem::new(
        Reason::TooLarge,
        format!("the body of a request has at most {} bytes", limits::BODY_BYTES),
    )
}

pub(super) fn refuse(rejection: &JsonRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large();
    }
    Problem::bad(rejection.body_text()).with_status(rejection.status())
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(refuse(&rejection)),
        }
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalInput<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes =
            Bytes::from_request(request, state).await.map_err(|e: BytesRejection| {
                match e.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => too_large(),
                    status => Problem::bad(e.body_text()).with_status(status),
                }
            })?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(Problem::bad)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::bad(rejection.body_text())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(rejection) => Err(Problem::bad(rejection.body_text())),
        }
    }
}

/// Parameters of a route that takes a space, or none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InSpace {
    pub(super) space: Option<String>,
}

/// Routes without parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}
