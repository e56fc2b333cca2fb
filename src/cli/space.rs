//! Spaces: making, joining, inviting, granting.

use std::time::{Duration, Instant};

use clap::Subcommand;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use ocm_space::Role;
use serde_json::{Map, Value as Json, json};

use super::Context;
use super::exit::Failure;
use super::output::{Pairs, Shown, field, list, short_end, short_id, table, time};
use crate::client::{Answer, Client, escaped};

/// How often a join looks whether something has arrived.
const LOOK: Duration = Duration::from_millis(250);

/// The commands on spaces.
#[derive(Debug, Subcommand)]
pub(super) enum Space {
    /// Make a space; this node's identity owns it
    #[command(after_help = "Example:\n  ocm space create river-watch --read open")]
    Create {
        /// What it is called
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Who may write [default: members]
        #[arg(long, value_parser = ["members", "open"])]
        write: Option<String>,
        /// Who may read [default: members]
        #[arg(long, value_parser = ["members", "open"])]
        read: Option<String>,
    },
    /// List the spaces of this node
    #[command(after_help = "Example:\n  ocm space list")]
    List,
    /// Show a space
    #[command(after_help = "Example:\n  ocm space show v0m3f1q2")]
    Show {
        /// Its id, or the beginning of it [default: space.default]
        id: Option<String>,
    },
    /// Print an invitation: one word that names the space and addresses of this node
    #[command(
        after_help = "Example:\n  ocm space invite > invitation.txt\n\nAn invitation gives no \
                      right: an owner grants a role to whoever joins (`ocm space grant`)."
    )]
    Invite {
        /// The id of the space, or the beginning of it [default: space.default]
        id: Option<String>,
    },
    /// Replicate the space that an invitation names
    #[command(after_help = "Example:\n  ocm space join ocm1… --wait")]
    Join {
        /// The invitation
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        invitation: String,
        /// Wait until the space has arrived and was compared, for so long
        #[arg(
            long, value_name = "SECONDS", value_parser = super::seconds,
            num_args = 0..=1, require_equals = true, default_missing_value = "60"
        )]
        wait: Option<Duration>,
    },
    /// Give a DID a role in a space
    #[command(after_help = "Example:\n  ocm space grant did:key:z6Mk… --role writer")]
    Grant {
        /// Who gets it (`ocm identity show` prints one's own)
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        did: String,
        /// Which role
        #[arg(long, value_parser = PossibleValuesParser::new(Role::ALL.map(Role::name)))]
        role: String,
        /// Until when, as 2026-12-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// Only these kinds of records, by number, as 4,7
        #[arg(long, value_name = "KINDS", value_delimiter = ',')]
        kinds: Option<Vec<u64>>,
        /// The space [default: space.default]
        #[arg(long, value_name = "ID")]
        space: Option<String>,
    },
    /// List who has which role
    #[command(after_help = "Example:\n  ocm space members")]
    Members {
        /// The id of the space, or the beginning of it [default: space.default]
        id: Option<String>,
    },
}

/// `ocm space …`.
pub(super) fn run(command: Space, context: &mut Context<'_, '_>) -> Result<Shown, Failure> {
    let client = context.client()?;
    let at = |id: &str, rest: &str| format!("/v1/spaces/{}{rest}", escaped(id));
    Ok(match command {
        Space::Create { name, write, read } => {
            let mut body = Map::from_iter([("name".to_owned(), Json::String(name))]);
            body.extend(write.map(|write| ("write".to_owned(), write.into())));
            body.extend(read.map(|read| ("read".to_owned(), read.into())));
            let answer = client.post("/v1/spaces", Some(&Json::Object(body)))?;
            let id = field(answer.json(), "id");
            let people = format!("space {id} made: {}", field(answer.json(), "name"));
            Shown::answer(&answer, people)
                .note("make it the default with space.default in the configuration")
        }
        Space::List => listed(&client.get("/v1/spaces", &[])?),
        Space::Show { id } => {
            let answer = client.get(&at(&context.space(id)?, ""), &[])?;
            Shown::answer(&answer, one(answer.json()))
        }
        Space::Invite { id } => {
            let answer = client.get(&at(&context.space(id)?, "/invitation"), &[])?;
            let shown = Shown::answer(&answer, field(answer.json(), "invitation"));
            let addresses = answer.json()["addresses"].as_array().map_or(0, Vec::len);
            if addresses == 0 {
                shown.note("it names no address: whoever joins must find this node otherwise")
            } else {
                shown
            }
        }
        Space::Join { invitation, wait } => {
            let body = json!({ "invitation": invitation });
            let answer = client.post("/v1/spaces/join", Some(&body))?;
            let id = field(answer.json(), "id");
            match wait {
                None => {
                    let name = field(answer.json(), "name");
                    Shown::answer(&answer, format!("joined {id} {name}").trim_end())
                        .note("`ocm space show` tells when it has arrived")
                }
                Some(wait) => arrived(&client, &at(&id, ""), wait, context)?,
            }
        }
        Space::Grant { did, role, expires, kinds, space } => {
            let mut body = Map::from_iter([
                ("to".to_owned(), Json::String(did)),
                ("role".to_owned(), Json::String(role)),
            ]);
            body.extend(expires.map(|expires| ("expires".to_owned(), expires.into())));
            body.extend(kinds.map(|kinds| ("kinds".to_owned(), kinds.into())));
            let path = at(&context.space(space)?, "/grants");
            let answer = client.post(&path, Some(&Json::Object(body)))?;
            let grant = answer.json();
            let people = format!(
                "{} is now {} in {} (grant {})",
                field(grant, "to"),
                field(grant, "role"),
                field(grant, "space"),
                field(grant, "id")
            );
            Shown::answer(&answer, people)
        }
        Space::Members { id } => {
            let answer = client.get(&at(&context.space(id)?, "/members"), &[])?;
            let rows = answer.items().iter().map(|member| {
                [
                    field(member, "did"),
                    field(member, "role"),
                    short_end(&field(member, "granter")),
                    short_id(&field(member, "by")),
                    time(&member["expires"]),
                ]
            });
            let head = ["DID", "ROLE", "GRANTED BY", "IN", "EXPIRES"];
            Shown::answer(&answer, table(head, rows.collect()))
        }
    })
}

fn listed(answer: &Answer) -> Shown {
    let rows = answer.items().iter().map(|space| {
        [
            if space["default"] == true { "*".into() } else { String::new() },
            name(space),
            field(space, "role"),
            field(&space["policy"], "write"),
            field(&space["policy"], "read"),
            field(space, "memories"),
            records(space),
            field(space, "id"),
        ]
    });
    let head = ["", "NAME", "ROLE", "WRITE", "READ", "MEMORIES", "RECORDS", "ID"];
    let shown = Shown::answer(answer, table(head, rows.collect()));
    if answer.items().is_empty() {
        shown.note("no space is here; `ocm space create NAME` makes one")
    } else {
        shown
    }
}

/// The name; null while nothing of the space has arrived.
fn name(space: &Json) -> String {
    let name = field(space, "name");
    if name.is_empty() { "(not arrived yet)".into() } else { name }
}

fn records(space: &Json) -> String {
    let records = &space["records"];
    match (records["authority"].as_u64(), records["content"].as_u64()) {
        (Some(authority), Some(content)) => format!("{authority}+{content}"),
        _ => String::new(),
    }
}

fn one(space: &Json) -> String {
    let mut pairs = Pairs::new();
    pairs.add("name", name(space)).add("id", field(space, "id"));
    if space["policy"].is_object() {
        let policy = &space["policy"];
        let text = format!("write {}, read {}", field(policy, "write"), field(policy, "read"));
        pairs.add("policy", text);
    }
    pairs
        .add("role", field(space, "role"))
        .add("owners", list(&space["owners"]).replace(", ", "\n"))
        .add("memories", field(space, "memories"));
    let records = &space["records"];
    if records.is_object() {
        let text = format!("{} authority, {} content", records["authority"], records["content"]);
        pairs.add("records", text);
    }
    for rare in ["held", "equivocations"] {
        if !matches!(field(space, rare).as_str(), "" | "0" | "[]") {
            pairs.add(rare, field(space, rare));
        }
    }
    if space["default"] == true {
        pairs.add("default", "yes");
    }
    pairs.render()
}

/// The space as soon as it is here, and was compared with a node that holds it.
fn arrived(
    client: &Client,
    path: &str,
    wait: Duration,
    context: &mut Context<'_, '_>,
) -> Result<Shown, Failure> {
    let end = Instant::now() + wait;
    loop {
        let answer = client.get(path, &[])?;
        if !answer.json()["name"].is_null()
            && !client.get(&format!("{path}/parity"), &[])?.items().is_empty()
        {
            return Ok(Shown::answer(&answer, one(answer.json())));
        }
        if Instant::now() >= end {
            return Err(Failure::TimedOut(format!(
                "space {} has not arrived in {} s: `ocm peers` shows whether a node that \
                 holds it is connected; in a members-only space an owner must grant a role first",
                field(answer.json(), "id"),
                wait.as_secs_f64()
            )));
        }
        (context.io.pause)(LOOK);
    }
}
