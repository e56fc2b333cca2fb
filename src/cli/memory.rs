//! Memories: writing, reading, editing, checking.

mod content;
pub(super) mod lines;
mod show;
pub(super) mod watch;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use self::content::{Changes, New};
use super::Context;
use super::exit::{Exit, Failure};
use super::output::{Shown, field};
use super::page::Page;
use crate::client::{Client, escaped};

/// The commands on memories.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub(super) enum Memory {
    #[command(flatten)]
    Asked(Asked),
    /// Follow memories: a line whenever one is written or changed, here or elsewhere
    #[command(after_help = "\
Examples:
  ocm memory watch
  ocm memory watch v0m3f1q2
  ocm memory watch --space all --json | jq .content.title

It shows what happens from now on, until the node stops; --json prints the whole memory each time. \
What was missed meanwhile is in `ocm memory list`.")]
    Watch(watch::Watch),
    /// Write records out as JSON lines, signed as they are
    #[command(after_help = "\
Examples:
  ocm memory export > village.jsonl
  ocm memory export v0m3f1q2 | ocm --data-dir ~/other --api 127.0.0.1:7846 memory import -

Each line has a record's header, signature and body in base64: all that says who may write, then the \
changes. Whoever has them can check and admit them. A file for a stick, compressed and encrypted, \
is `ocm bundle export`.")]
    Export(lines::Export),
    /// Admit records from JSON lines, as if a peer had brought them
    #[command(after_help = "\
Example:
  ocm memory import village.jsonl

Every record is checked; what was here already changes nothing. The space has to be joined first \
(`ocm space join`). Lines that are not admitted are named with \
the reason, and the command then exits 1. Contents that are to be signed by you are `ocm import`'s.")]
    Import(lines::Import),
}

/// Those that the node answers once.
#[derive(Debug, Subcommand)]
pub(super) enum Asked {
    /// Write a memory
    #[command(
        visible_alias = "new",
        after_help = "Examples:\n  ocm memory add --title 'Well 7' --type reading --tag water \
                      --data '{\"level_m\": 2.4}'\n  ocm memory add --file visit.json --tag \
                      field-trip\n  echo '{\"title\": \"From a script\"}' | ocm memory add --file - \
                      --json\n\nFlags are laid over what --content or --file gives."
    )]
    Add {
        #[command(flatten)]
        new: New,
        /// The space to write it into [default: space.default]
        #[arg(long, value_name = "ID")]
        space: Option<String>,
    },
    /// Show a memory, checked again
    #[command(after_help = "Example:\n  ocm memory get v0m3f1q2 --json")]
    Get {
        #[command(flatten)]
        memory: Id,
    },
    /// List memories, the newest first
    #[command(
        after_help = "Example:\n  ocm memory list --type reading --since 2026-01-01T00:00:00Z"
    )]
    List {
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        page: Page,
    },
    /// Count memories, by the filters of a list
    #[command(after_help = "Example:\n  ocm memory count --space all --tag water")]
    Count {
        #[command(flatten)]
        filters: Filters,
    },
    /// Change what is given and leave the rest
    #[command(
        after_help = "Examples:\n  ocm memory edit v0m3f1q2 --title 'Well 7 (north)' --unset \
                      place.lat\n  ocm memory edit v0m3f1q2 --patch '{\"data\": {\"level_m\": \
                      2.5}}'\n\nA patch is a JSON merge patch (RFC 7396): null removes, lists are \
                      replaced. Flags are laid over it."
    )]
    Edit {
        #[command(flatten)]
        memory: Id,
        #[command(flatten)]
        changes: Changes,
    },
    /// Show who changed what, when, and in which record
    #[command(after_help = "Example:\n  ocm memory history v0m3f1q2")]
    History {
        #[command(flatten)]
        memory: Id,
    },
    /// Show concurrent values, or settle on one of them
    #[command(after_help = "Example:\n  ocm memory conflicts v0m3f1q2 --take v0m3f1r8")]
    Conflicts {
        #[command(flatten)]
        memory: Id,
        /// Settle on the value that this record gave, by an edit
        #[arg(long, value_name = "RECORD", value_parser = NonEmptyStringValueParser::new())]
        take: Option<String>,
    },
    /// Check stored bytes, signatures and authority again; exits 6 if anything is wrong
    #[command(after_help = "Example:\n  ocm memory verify v0m3f1q2 && echo sound")]
    Verify {
        #[command(flatten)]
        memory: Id,
    },
}

/// Which memory.
#[derive(Debug, Args)]
pub(super) struct Id {
    /// Its id, or the beginning of it
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: String,
}

impl Id {
    fn path(&self, rest: &str) -> String {
        format!("/v1/memories/{}{rest}", escaped(&self.id))
    }
}

/// Which memories.
#[derive(Debug, Args)]
pub(super) struct Filters {
    /// Of this space; `all` for every space [default: space.default]
    #[arg(long, value_name = "ID")]
    space: Option<String>,
    /// Of this type
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// With this tag, among the first 32 of a memory
    #[arg(long)]
    tag: Option<String>,
    /// By this author
    #[arg(long, value_name = "DID")]
    author: Option<String>,
    /// From this time on, as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Whose title or text begins so
    #[arg(long, value_name = "PREFIX")]
    text: Option<String>,
    /// Whose place lies in this box, in degrees: west,south,east,north
    #[arg(long, value_name = "W,S,E,N", allow_hyphen_values = true)]
    bbox: Option<String>,
}

/// `ocm memory …`.
pub(super) fn run(command: Asked, context: &mut Context<'_, '_>) -> Result<Shown, Failure> {
    let client = context.client()?;
    Ok(match command {
        Asked::Add { new, space } => {
            let space = context.space(space)?;
            let content = new.content(context.io.input)?;
            let body = json!({ "space": space, "content": content });
            let answer = client.post("/v1/memories", Some(&body))?;
            Shown::answer(&answer, format!("added memory {}", field(answer.json(), "id")))
        }
        Asked::Get { memory } => {
            let answer = client.get(&memory.path(""), &[])?;
            Shown::answer(&answer, show::memory(answer.json()))
        }
        Asked::List { filters, page } => list(filters, page, &client, context)?,
        Asked::Count { filters } => count(filters, &client, context)?,
        Asked::Edit { memory, changes } => {
            let patch = Json::Object(changes.patch(context.io.input)?);
            let answer = client.patch(&memory.path(""), &patch)?;
            Shown::answer(&answer, format!("edited memory {}", field(answer.json(), "id")))
        }
        Asked::History { memory } => {
            let answer = client.get(&memory.path("/history"), &[])?;
            Shown::answer(&answer, show::history(answer.items()))
        }
        Asked::Conflicts { memory, take: None } => {
            let answer = client.get(&memory.path("/conflicts"), &[])?;
            let shown = Shown::answer(&answer, show::conflicts(answer.items()));
            if answer.items().is_empty() {
                shown.note("there is no conflict")
            } else {
                shown.note("settle on a value with `ocm memory conflicts ID --take RECORD`")
            }
        }
        Asked::Conflicts { memory, take: Some(record) } => {
            let answer =
                client.post(&memory.path("/conflicts"), Some(&json!({ "take": record })))?;
            let left = answer.json()["conflicts"].as_u64().unwrap_or(0);
            let people = format!("settled in memory {}", field(answer.json(), "id"));
            let shown = Shown::answer(&answer, people);
            if left > 0 { shown.note(format!("{left} more to settle")) } else { shown }
        }
        Asked::Verify { memory } => {
            let answer = client.get(&memory.path(""), &[])?;
            let (sound, people) = show::verified(answer.json());
            let exit = if sound { Exit::Done } else { Exit::Wrong };
            Shown::answer(&answer, people).exit(exit)
        }
    })
}

impl Filters {
    fn query(self, context: &Context<'_, '_>) -> Result<Vec<(&'static str, String)>, Failure> {
        let Self { space, r#type, tag, author, since, until, text, bbox } = self;
        let space = match space.as_deref() {
            Some("all") => None,
            _ => Some(context.space(space)?),
        };
        let all = [
            ("space", space),
            ("type", r#type),
            ("tag", tag),
            ("author", author),
            ("since", since),
            ("until", until),
            ("text", text),
            ("bbox", bbox),
        ];
        Ok(all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

fn count(filters: Filters, client: &Client, context: &Context<'_, '_>) -> Result<Shown, Failure> {
    let answer = client.get("/v1/memories/count", &filters.query(context)?)?;
    let count = answer.json()["count"].as_u64().unwrap_or(0);
    let shown = if answer.json()["complete"] == false {
        let shown = Shown::answer(&answer, format!("at least {count}"));
        shown.note("there are more: narrow the count with --since and --until")
    } else {
        Shown::answer(&answer, format!("{count}"))
    };
    Ok(note_unrendered(shown, answer.json()))
}

/// Says so where the answer does not know all memories yet.
fn note_unrendered(shown: Shown, answer: &Json) -> Shown {
    match answer["unrendered"].as_u64() {
        None | Some(0) => shown,
        Some(left) => shown.note(format!(
            "{left} memories that have just arrived or changed are not in this yet: ask again soon"
        )),
    }
}

fn list(
    filters: Filters,
    page: Page,
    client: &Client,
    context: &Context<'_, '_>,
) -> Result<Shown, Failure> {
    let query = filters.query(context)?;
    let list = page.fetch(client, "/v1/memories", query, "--since, --type or --tag")?;
    let (people, none) = (show::list(list.items()), list.items().is_empty());
    let page = list.json().clone();
    let shown = list.shown(people, |shown| note_unrendered(shown, &page));
    Ok(if none { shown.note("no memory") } else { shown })
}
