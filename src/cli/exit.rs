//! How a command ends: its exit code, and what is said when it failed.

use serde_json::{Map, Value as Json, json};

use crate::client::{AddressError, ClientError};
use crate::config::ConfigError;

/// The exit codes, as the help tells them.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage or configuration
  3  the node cannot be reached
  4  not found, or an id that is ambiguous
  5  not permitted, or refused
  6  checked and found wrong: not verified, parity differs, not ready, damaged
  7  timed out

Commands speak to the running node over its API; `init`, `identity`, `config`, `doctor`, `devnet`,
`completions` and `man` work without one.
Data goes to standard output, messages to standard error; --json prints what the API says.";

/// How the process exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Wrong usage or configuration.
    Usage,
    /// The node cannot be reached.
    Unreachable,
    /// Not found, or an ambiguous id.
    NotFound,
    /// Not permitted, or refused.
    Refused,
    /// Checked and found wrong.
    Wrong,
    /// Timed out.
    TimedOut,
    /// As a program that was run for the owner exited.
    As(u8),
}

impl Exit {
    /// The number that the process exits with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotFound => 4,
            Self::Refused => 5,
            Self::Wrong => 6,
            Self::TimedOut => 7,
            Self::As(code) => code,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The node did not answer, or said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No address follows from the configuration.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It did not come about in time.
    #[error("{0}")]
    TimedOut(String),
    /// The node ended what it was asked for.
    #[error("{0}")]
    Ended(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// It may not be done so, or not with what was given.
    #[error("{0}")]
    Refused(String),
    /// It was checked and found wrong.
    #[error("{0}")]
    Wrong(String),
    /// Standard output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            // Whoever read the output has enough of it.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) | Self::Other(_) => Exit::Failed,
            Self::Config(_) | Self::Address(_) | Self::Usage(_) => Exit::Usage,
            Self::TimedOut(_) => Exit::TimedOut,
            Self::NotFound(_) => Exit::NotFound,
            Self::Refused(_) => Exit::Refused,
            Self::Wrong(_) => Exit::Wrong,
            Self::Ended(_) => Exit::Unreachable,
            Self::Client(error) => match error {
                ClientError::NotReachable { .. } | ClientError::Broken { .. } => Exit::Unreachable,
                ClientError::Timeout { .. } => Exit::TimedOut,
                ClientError::Token(_) => Exit::Refused,
                ClientError::Unexpected { .. } => Exit::Failed,
                ClientError::Problem(problem) => of_reason(problem.reason()),
            },
        }
    }

    /// As a problem: the API's own where it is one, else of the same shape.
    pub(crate) fn to_json(&self) -> Json {
        if let Self::Client(ClientError::Problem(problem)) = self {
            let mut members: Map<String, Json> = problem.members.clone();
            members.entry("status").or_insert_with(|| problem.status.into());
            return Json::Object(members);
        }
        let (reason, title) = match self.exit() {
            Exit::Usage if matches!(self, Self::Usage(_)) => ("usage", "wrong usage"),
            Exit::Usage => ("configuration", "wrong configuration"),
            Exit::Unreachable => ("not-reachable", "the node cannot be reached"),
            Exit::Refused if matches!(self, Self::Refused(_)) => ("refused", "refused"),
            Exit::Refused => ("no-token", "no token"),
            Exit::TimedOut => ("timed-out", "timed out"),
            Exit::NotFound => ("not-found", "not found"),
            Exit::Wrong => ("wrong", "found wrong"),
            Exit::Done | Exit::Failed | Exit::As(_) => ("failed", "failed"),
        };
        json!({
            "type": format!("urn:ocm:{reason}"),
            "title": title,
            "status": null,
            "detail": self.to_string(),
        })
    }
}

/// The exit code for a reason of the API.
fn of_reason(reason: &str) -> Exit {
    match reason {
        "bad-request" | "too-large" => Exit::Usage,
        "stopping" => Exit::Unreachable,
        "not-found" | "ambiguous-id" | "unknown-space" => Exit::NotFound,
        "unauthorized" | "forbidden-host" | "forbidden-origin" | "not-permitted"
        | "not-admitted" => Exit::Refused,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Problem;

    #[test]
    fn every_reason_has_its_exit_code() {
        for (reason, exit) in [
            ("not-found", Exit::NotFound),
            ("ambiguous-id", Exit::NotFound),
            ("unknown-space", Exit::NotFound),
            ("bad-request", Exit::Usage),
            ("too-large", Exit::Usage),
            ("unauthorized", Exit::Refused),
            ("forbidden-host", Exit::Refused),
            ("forbidden-origin", Exit::Refused),
            ("not-permitted", Exit::Refused),
            ("not-admitted", Exit::Refused),
            ("empty-space", Exit::Failed),
            ("conflict", Exit::Failed),
            ("unavailable", Exit::Failed),
            ("internal", Exit::Failed),
            ("stopping", Exit::Unreachable),
        ] {
            let body = json!({"type": format!("urn:ocm:{reason}"), "title": "T"});
            let problem = Problem::read(400, body).unwrap();
            let failure = Failure::from(ClientError::from(problem));
            assert_eq!(failure.exit(), exit, "{reason}");
            assert_eq!(failure.to_json()["status"], 400);
        }
    }

    #[test]
    fn the_help_tells_every_code() {
        for code in 0..=7 {
            assert!(HELP.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
