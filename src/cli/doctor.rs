//! `ocm doctor`.

use serde_json::{Value as Json, json};

use super::Context;
use super::exit::{Exit, Failure};
use super::output::{Shown, field, table};
use crate::client::ClientError;
use crate::doctor::{RunningNode, State, examine};

/// `ocm doctor`: exits 6 where something does not work.
pub(super) fn run(context: &Context<'_, '_>) -> Result<Shown, Failure> {
    let running = match context.client()?.get("/status", &[]) {
        Ok(answer) => Some(running_node(answer.json())),
        // Without a node there is less to ask, and no less to look at.
        Err(ClientError::NotReachable { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let findings = examine(&context.loaded.config, running.as_ref());
    let rows = findings.iter().map(|finding| {
        let state = match finding.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Fault => "FAULT",
        };
        let remedy = finding.remedy.clone().unwrap_or_default();
        [finding.check.to_owned(), state.to_owned(), finding.text.clone(), remedy]
    });
    let people = table(["CHECK", "STATE", "FOUND", "REMEDY"], rows.collect());
    let faults = findings.iter().any(|finding| finding.state == State::Fault);
    let value = json!({ "items": findings, "next": null });
    Ok(Shown::value(&value, people).exit(if faults { Exit::Wrong } else { Exit::Done }))
}

fn running_node(status: &Json) -> RunningNode {
    let sources = status["sources"].as_array().map_or(&[][..], Vec::as_slice);
    RunningNode {
        peers: status["peers"].as_u64().unwrap_or_default(),
        sources: sources
            .iter()
            .map(|source| (field(source, "name"), field(source, "state"), field(source, "detail")))
            .collect(),
    }
}
