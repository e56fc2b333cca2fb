//! Errors as answers: problem details (RFC 9457) with a closed set of types.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use ocm_memory::{PatchError, TakeError};
use ocm_node::CommandError;
use serde_json::{Map, Value, json};

use crate::handle::{NetworkFailure, Stopping};
use crate::views::ViewError;

/// Why a request was not answered as asked: the `type` of the problem, after `urn:ocm:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `not-found`: there is nothing of that name here.
    NotFound,
    /// `ambiguous-id`: the beginning of an id is that of several.
    AmbiguousId,
    /// `bad-request`: the request itself is wrong.
    BadRequest,
    /// `unauthorized`: the token is missing or wrong.
    Unauthorized,
    /// `forbidden-host`: the API was called by a name that is not its own.
    ForbiddenHost,
    /// `forbidden-origin`: a web page of another origin sent the request.
    ForbiddenOrigin,
    /// `not-permitted`: this node's DID may not write that.
    NotPermitted,
    /// `unknown-space`: the space is not held here.
    UnknownSpace,
    /// `empty-space`: nothing of the space has arrived yet.
    EmptySpace,
    /// `not-admitted`: the record that was made was not admitted.
    NotAdmitted,
    /// `conflict`: it cannot be done in the present state.
    Conflict,
    /// `too-large`: past a limit of size.
    TooLarge,
    /// `unavailable`: not now; come again.
    Unavailable,
    /// `stopping`: the node is ending.
    Stopping,
    /// `internal`: a fault in this program, or of its disk.
    Internal,
}

impl Reason {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::AmbiguousId => "ambiguous-id",
            Self::BadRequest => "bad-request",
            Self::Unauthorized => "unauthorized",
            Self::ForbiddenHost => "forbidden-host",
            Self::ForbiddenOrigin => "forbidden-origin",
            Self::NotPermitted => "not-permitted",
            Self::UnknownSpace => "unknown-space",
            Self::EmptySpace => "empty-space",
            Self::NotAdmitted => "not-admitted",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::Unavailable => "unavailable",
            Self::Stopping => "stopping",
            Self::Internal => "internal",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::AmbiguousId => "Not the only one",
            Self::BadRequest => "Wrong request",
            Self::Unauthorized => "Token missing or wrong",
            Self::ForbiddenHost => "Called by a foreign name",
            Self::ForbiddenOrigin => "Sent by a foreign web page",
            Self::NotPermitted => "Not permitted",
            Self::UnknownSpace => "Space not held here",
            Self::EmptySpace => "Nothing of the space has arrived",
            Self::NotAdmitted => "Record not admitted",
            Self::Conflict => "Not possible in the present state",
            Self::TooLarge => "Too large",
            Self::Unavailable => "Not available now",
            Self::Stopping => "Node is stopping",
            Self::Internal => "Internal fault",
        }
    }

    /// The HTTP status that goes with it, unless the case says otherwise.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotFound | Self::UnknownSpace => StatusCode::NOT_FOUND,
            Self::AmbiguousId | Self::EmptySpace | Self::Conflict => StatusCode::CONFLICT,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::ForbiddenHost | Self::ForbiddenOrigin | Self::NotPermitted => {
                StatusCode::FORBIDDEN
            }
            Self::NotAdmitted => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error answer: `{type, title, status, detail}` and whatever else helps.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    reason: Reason,
    status: StatusCode,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    /// A problem with its own story, which names the offending value and the remedy.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, status: reason.status(), detail: detail.into(), more: Map::new() }
    }

    pub(super) fn bad(detail: impl std::fmt::Display) -> Self {
        Self::new(Reason::BadRequest, detail.to_string())
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.more.insert(key.to_owned(), value);
        self
    }

    /// Whether it says something of the node, not of what was asked.
    pub(super) fn is_of_node(&self) -> bool {
        matches!(self.reason, Reason::Unavailable | Reason::Stopping | Reason::Internal)
    }

    /// The problem as JSON.
    pub(super) fn into_json(self) -> Value {
        let mut body = Map::from_iter([
            ("type".to_owned(), json!(format!("urn:ocm:{}", self.reason.name()))),
            ("title".to_owned(), json!(self.reason.title())),
            ("status".to_owned(), json!(self.status.as_u16())),
            ("detail".to_owned(), json!(self.detail)),
        ]);
        body.extend(self.more);
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, self.into_json().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(super) async fn no_route(uri: Uri) -> Problem {
    Problem::new(Reason::NotFound, format!("there is nothing at {}", uri.path()))
}

pub(super) async fn no_method(method: Method, uri: Uri) -> Problem {
    Problem::bad(format!("{method} is not possible at {}", uri.path()))
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

impl From<Stopping> for Problem {
    fn from(stopping: Stopping) -> Self {
        Self::new(Reason::Stopping, stopping.to_string())
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let reason = match &error {
            CommandError::UnknownSpace(_) => Reason::UnknownSpace,
            CommandError::EmptySpace(_) => Reason::EmptySpace,
            CommandError::NotPermitted { .. } => Reason::NotPermitted,
            CommandError::Malformed(ocm_record::Malformed::Size { .. }) => Reason::TooLarge,
            CommandError::Malformed(_) | CommandError::Invalid(_) => Reason::BadRequest,
            CommandError::NotAdmitted(_) => Reason::NotAdmitted,
            CommandError::EndOfTime => Reason::Conflict,
            CommandError::Store(_) => Reason::Internal,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<NetworkFailure> for Problem {
    fn from(failure: NetworkFailure) -> Self {
        let reason = match &failure {
            NetworkFailure::Address(_) | NetworkFailure::Own(_) => Reason::BadRequest,
            NetworkFailure::NotConnected(_) | NetworkFailure::NotKept(..) => Reason::NotFound,
            NetworkFailure::Kept(_) => Reason::Internal,
            NetworkFailure::NoAnswer(..) => Reason::Unavailable,
            NetworkFailure::Off | NetworkFailure::Configured(_) => Reason::Conflict,
        };
        Self::new(reason, failure.to_string())
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        let detail = error.to_string();
        let reason = match error {
            ViewError::TooShort(_) => Reason::AmbiguousId,
            ViewError::Ambiguous { candidates, .. } => {
                return Self::new(Reason::AmbiguousId, detail)
                    .with("candidates", json!(candidates));
            }
            ViewError::TooLarge { size, limit } => {
                let problem = Self::new(Reason::TooLarge, detail);
                return problem.with("size", json!(size)).with("limit", json!(limit));
            }
            ViewError::Command(error) => return error.into(),
            ViewError::Stopping(stopping) => return stopping.into(),
            ViewError::NoId(_) => Reason::BadRequest,
            ViewError::NotFound { .. } | ViewError::NoMemory(_) => Reason::NotFound,
            ViewError::NoSpace(_) => Reason::UnknownSpace,
            ViewError::Take(TakeError::NotThere(_)) => Reason::Conflict,
            ViewError::Patch(PatchError::Render(_)) | ViewError::Take(TakeError::Render(_)) => {
                Reason::Internal
            }
            ViewError::Patch(_) => Reason::BadRequest,
            ViewError::Take(_) => Reason::Conflict,
            ViewError::Read(_) | ViewError::Write(_) | ViewError::Aborted(_) => Reason::Internal,
        };
        Self::new(reason, detail)
    }
}
