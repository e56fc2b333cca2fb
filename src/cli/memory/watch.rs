//! `ocm memory watch`: memories as they are written and changed.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::Value as Json;

use super::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{clean, cut, field, print_json, short_end, short_id, time};
use crate::client::{Client, ClientError, escaped};

/// Characters of a title.
const WIDTH: usize = 60;

/// What is watched.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Only this memory, which is shown as it is first: its id, or the beginning of it
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,
    /// The space to watch; `all` for every space [default: space.default]
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    space: Option<String>,
}

/// Shows memories until the node stops.
pub(crate) fn run(what: Watch, context: &mut Context<'_, '_>) -> Result<Exit, Failure> {
    let client = context.client()?;
    let space = match (&what.id, what.space.as_deref()) {
        (Some(_), _) | (None, Some("all")) => None,
        (None, _) => Some(context.space(what.space.clone())?),
    };
    if what.id.is_none() {
        let watched = match &space {
            Some(space) => {
                format!("watching the space {space}; `--space all` watches every space")
            }
            None => "watching every space".to_owned(),
        };
        context.note(&watched)?;
    }
    // Heard before it is read: what changes in between is shown, and not missed.
    let feed = client.events(space.as_deref())?;
    let only = match what.id {
        Some(id) => {
            let memory = read(&client, &id)?;
            show(&memory, &field(&memory, "author"), context)?;
            Some(field(&memory, "id"))
        }
        None => None,
    };
    for event in feed {
        let event = event?;
        if event.name == "lagged" {
            context.note("some changes were missed: this listener is slower than the node")?;
        }
        let Some(id) = event.data["memory"].as_str() else { continue };
        if event.name != "record" || only.as_ref().is_some_and(|only| only != id) {
            continue;
        }
        match read(&client, id) {
            Ok(memory) => show(&memory, &field(&event.data, "author"), context)?,
            Err(why) => context.note(&format!("{} cannot be shown: {why}", short_id(id)))?,
        }
    }
    Err(Failure::Ended(format!("the node at {} ended the feed: it is stopping", client.address())))
}

fn read(client: &Client, id: &str) -> Result<Json, ClientError> {
    let answer = client.get(&format!("/v1/memories/{}", escaped(id)), &[])?;
    Ok(answer.json().clone())
}

/// A memory as it is since somebody wrote.
fn show(memory: &Json, by: &str, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let line = if context.global.json {
        print_json(&memory.to_string(), false)
    } else {
        let content = &memory["content"];
        let what = if memory["records"] == 1 { "added" } else { "edited" };
        let titles = [field(content, "title"), field(content, "text")];
        let title = titles.into_iter().find(|title| !title.is_empty()).unwrap_or_default();
        let conflicts = match memory["conflicts"].as_u64() {
            None | Some(0) => "",
            Some(_) => "  (concurrent values: see `ocm memory conflicts`)",
        };
        let (when, id) = (time(&memory["updated"]), short_id(&field(memory, "id")));
        let (by, title) = (short_end(by), cut(&title, WIDTH));
        clean(&format!("{when}  {id}  {what} by {by}  {title}{conflicts}"))
    };
    writeln!(context.io.output, "{line}")?;
    context.io.output.flush()?;
    Ok(())
}
