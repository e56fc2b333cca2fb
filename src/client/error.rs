//! What can go wrong between a command and the node it speaks to.

use std::fmt;

use serde_json::{Map, Value as Json};

use super::address::Address;
use super::token::TokenError;

/// Why there is no answer to work with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens at the address, or nothing leads there.
    #[error("the node at {address} cannot be reached ({cause}): {hint}")]
    NotReachable {
        /// Where.
        address: Address,
        /// What the system says.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// The connection ended before the answer; what was asked may have been done.
    #[error(
        "the node at {address} ended the connection before it answered ({cause}): it may have \
         stopped; see its log, and whether the request took effect"
    )]
    Broken {
        /// Where.
        address: Address,
        /// What the system says.
        cause: String,
    },
    /// No answer in time; what was asked may still be done.
    #[error("the node at {address} did not answer within {seconds} s: allow more with --timeout")]
    Timeout {
        /// Where.
        address: Address,
        /// The limit.
        seconds: f64,
    },
    /// There is no token to send.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The node said no, and why.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The answer is not one of this API.
    #[error(
        "what answers at {address} does not speak OCM's API ({detail}): check the address and \
         the version of the node"
    )]
    Unexpected {
        /// Where.
        address: Address,
        /// What was wrong.
        detail: String,
    },
}

/// A problem as the API states it (`application/problem+json`).
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// `urn:ocm:` and the reason, from a closed set.
    pub kind: String,
    /// The reason in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The whole story, with the remedy.
    pub detail: Option<String>,
    /// Everything the API said, these four included.
    pub members: Map<String, Json>,
}

impl std::error::Error for Problem {}

impl Problem {
    /// Reads a problem; `None` where this is none.
    #[must_use]
    pub fn read(status: u16, body: Json) -> Option<Self> {
        let Json::Object(members) = body else { return None };
        let text = |name: &str| members.get(name).and_then(Json::as_str).map(str::to_owned);
        let kind = text("type").filter(|kind| kind.starts_with("urn:ocm:"))?;
        let title = text("title").unwrap_or_else(|| kind.clone());
        let detail = text("detail").filter(|detail| !detail.is_empty());
        Some(Self { kind, title, status, detail, members })
    }

    /// The reason alone: `not-found`.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.kind.strip_prefix("urn:ocm:").unwrap_or(&self.kind)
    }

    /// What the API lists besides: the candidates of an ambiguous id.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        let lists = self.members.values().filter_map(Json::as_array);
        lists.flatten().filter_map(|item| match item {
            Json::Object(item) => item.get("id").and_then(Json::as_str),
            item => item.as_str(),
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let story = self.detail.as_deref().unwrap_or(&self.title);
        f.write_str(story)?;
        for id in self.listed().filter(|id| !story.contains(id)) {
            write!(f, "\n  {id}")?;
        }
        if self.reason() == "unauthorized" {
            f.write_str(" (is another node listening there? name yours with --data-dir or --api)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_problems_of_this_api_are_read() {
        let body = json!({"type": "urn:ocm:not-found", "title": "Not found", "status": 404,
            "detail": "no memory has the id v0000"});
        let problem = Problem::read(404, body).unwrap();
        assert_eq!((problem.reason(), problem.status), ("not-found", 404));
        assert_eq!(problem.to_string(), "no memory has the id v0000");
        assert!(Problem::read(500, json!({"type": "about:blank"})).is_none());
        assert!(Problem::read(500, json!("text")).is_none());
    }

    #[test]
    fn the_candidates_of_an_ambiguous_id_are_told_once() {
        let body = json!({"type": "urn:ocm:ambiguous-id", "title": "Ambiguous",
            "detail": "v123 names 2 memories, among them v123a", "matches": ["v123a", "v123b"]});
        let text = Problem::read(409, body).unwrap().to_string();
        assert_eq!(text, "v123 names 2 memories, among them v123a\n  v123b");
    }
}
