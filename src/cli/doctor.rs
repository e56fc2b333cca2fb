//! `ocm doctor`.

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::Context;
use super::exit::{Exit, Failure};
use super::output::{Shown, clean, field, short_id, table};
use super::page::Page;
use crate::client::{Client, ClientError, TokenError};
use crate::doctor::{Answered, HeldSpace, RunningNode, State, examine};

/// `ocm doctor`: exits 6 where something does not work.
pub(super) fn run(context: &Context<'_, '_>) -> Result<Shown, Failure> {
    let client = context.client()?;
    // Without the node there is less to ask, and no less to look at.
    let answered = match client.get("/status", &[]) {
        Ok(answer) => Answered::Node(Box::new(running_node(&client, answer.json())?)),
        Err(ClientError::NotReachable { .. }) => Answered::Nobody,
        Err(error) if is_of_another(&error) => {
            Answered::Stranger { address: client.address().to_string() }
        }
        Err(error) => Answered::Unclear { cause: error.to_string() },
    };
    let findings = examine(&context.loaded, &answered);
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

/// Whether a node says no that does not know this one's token, or has none of its own here.
fn is_of_another(error: &ClientError) -> bool {
    match error {
        ClientError::Problem(problem) => problem.reason() == "unauthorized",
        ClientError::Token(error) => matches!(error, TokenError::Missing(_)),
        _ => false,
    }
}

fn running_node(client: &Client, status: &Json) -> Result<RunningNode, Failure> {
    let sources = status["sources"].as_array().map_or(&[][..], Vec::as_slice);
    let spaces = client.get("/v1/spaces", &[])?;
    let held = |space: &Json| {
        let (id, name) = (field(space, "id"), field(space, "name"));
        // Only its genesis is there, and names its owner alone.
        let is_alone = space["policy"]["read"] == "members" && space["records"]["authority"] == 1;
        let name = if name.is_empty() { short_id(&id) } else { clean(&name) };
        HeldSpace { id, name, is_alone }
    };
    Ok(RunningNode {
        spaces: spaces.items().iter().map(held).collect(),
        comparisons: read(client, "/v1/sync")?,
        quarantined: {
            let path = "/v1/quarantined";
            take(Page::ALL.fetch(client, path, Vec::new(), "--space")?.items(), path)?
        },
        peers: status["peers"].as_u64().unwrap_or_default(),
        blocked: status["blocked"].as_array().map_or(0, |blocked| blocked.len() as u64),
        network_key: status["network_key"].as_str().map(clean),
        sources: sources
            .iter()
            .map(|source| (field(source, "name"), field(source, "state"), field(source, "detail")))
            .collect(),
    })
}

/// The items of a list, as far as they are looked at.
fn read<T: DeserializeOwned>(client: &Client, path: &str) -> Result<Vec<T>, Failure> {
    take(client.get(path, &[])?.items(), path)
}

fn take<T: DeserializeOwned>(items: &[Json], path: &str) -> Result<Vec<T>, Failure> {
    let read: Result<Vec<T>, _> = items.iter().map(|item| T::deserialize(item)).collect();
    Ok(read.with_context(|| format!("the node's answer to {path} cannot be read"))?)
}
