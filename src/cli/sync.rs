//! Comparing spaces with peers, and the live feed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::{Map, Value as Json};

use super::Context;
use super::exit::{Exit, Failure};
use super::output::{Shown, clean, count, field, print_json, short_end, short_id, table, time};
use super::page::Page;
use crate::client::{Answer, Client};

/// How often a wait looks again.
const LOOK: Duration = Duration::from_millis(250);

/// The commands on comparisons.
#[derive(Debug, Subcommand)]
pub(super) enum Sync {
    /// Show how each space compared with each peer, also with those that are away; exits 6 where a
    /// connected one differs, or one does not prove what it claims
    #[command(after_help = "Example:\n  ocm sync status --wait-equal 30")]
    Status {
        /// Only this space
        #[arg(long, value_name = "ID")]
        space: Option<String>,
        /// Compare, until a comparison made from now on finds each peer equal; exits 7 if none does in time
        #[arg(long, value_name = "SECONDS", value_parser = super::seconds)]
        wait_equal: Option<Duration>,
    },
    /// List the records that peers offer and that cannot be admitted, with the cause
    #[command(after_help = "Example:\n  ocm sync quarantined")]
    Quarantined {
        /// Only of this space
        #[arg(long, value_name = "ID")]
        space: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Compare with every peer now
    #[command(after_help = "Example:\n  ocm sync now")]
    Now {
        /// Only this space
        #[arg(long, value_name = "ID")]
        space: Option<String>,
    },
}

/// `ocm sync …`.
pub(super) fn run(command: Sync, context: &mut Context<'_, '_>) -> Result<Shown, Failure> {
    let client = context.client()?;
    match command {
        Sync::Now { space } => {
            let answer = compare(&client, space.as_deref())?;
            let sessions = answer.json()["sessions"].as_u64().unwrap_or(0);
            let begun = count(sessions, "comparison begins", "comparisons begin");
            Ok(Shown::answer(&answer, begun))
        }
        Sync::Quarantined { space, page } => {
            let query = of_space(space.as_deref());
            let list = page.fetch(&client, "/v1/quarantined", query, "--space")?;
            let number = |name: &str| list.json()[name].as_u64().unwrap_or(0);
            let (total, unlisted) = (number("total"), number("unlisted"));
            let people = quarantined(list.items());
            Ok(list.shown(people, |shown| match unlisted {
                0 if total == 0 => shown.note("no record waits in vain"),
                0 => shown,
                more => shown.note(format!(
                    "{more} of {total} are in no page: of each space the latest are listed"
                )),
            }))
        }
        Sync::Status { space, wait_equal: None } => {
            let answer = parities(&client, space.as_deref())?;
            let wrong = |row: &Json| {
                row["state"] == "unproved" || (is_connected(row) && row["state"] == "differs")
            };
            let differs = answer.items().iter().any(wrong);
            let exit = if differs { Exit::Wrong } else { Exit::Done };
            let shown = Shown::answer(&answer, rows(&answer)).exit(exit);
            Ok(if answer.items().is_empty() {
                shown.note("no peer shares a space, now or before; see `ocm peers`")
            } else {
                shown
            })
        }
        Sync::Status { space, wait_equal: Some(wait) } => {
            await_equal(&client, space.as_deref(), wait, context)
        }
    }
}

/// Whether the peer of a row is connected.
fn is_connected(row: &Json) -> bool {
    row["connected"] == true
}

fn of_space(space: Option<&str>) -> Vec<(&'static str, String)> {
    space.map(|space| ("space", space.to_owned())).into_iter().collect()
}

fn parities(client: &Client, space: Option<&str>) -> Result<Answer, Failure> {
    Ok(client.get("/v1/sync", &of_space(space))?)
}

fn quarantined(items: &[Json]) -> String {
    let rows = items.iter().map(|item| {
        [
            short_id(&field(item, "id")),
            short_id(&field(item, "space")),
            short_end(&field(item, "peer_id")),
            time(&item["first"]),
            field(item, "attempts"),
            time(&item["next"]),
            clean(&field(item, "text")),
        ]
    });
    let head = ["RECORD", "SPACE", "PEER", "FIRST SEEN", "TRIES", "NEXT TRY", "CAUSE"];
    table(head, rows.collect())
}

fn compare(client: &Client, space: Option<&str>) -> Result<Answer, Failure> {
    let body = space.map(|space| ("space".to_owned(), space.into()));
    Ok(client.post("/v1/sync", Some(&Json::Object(Map::from_iter(body))))?)
}

/// Each comparison by space and peer, with its time.
fn times(answer: &Answer) -> BTreeMap<(String, String), String> {
    let rows = answer.items().iter().filter(|row| is_connected(row));
    rows.map(|row| ((field(row, "space"), field(row, "peer_id")), field(row, "at"))).collect()
}

fn await_equal(
    client: &Client,
    space: Option<&str>,
    wait: Duration,
    context: &mut Context<'_, '_>,
) -> Result<Shown, Failure> {
    let end = Instant::now() + wait;
    // A result from before says nothing of what was written since.
    let before = times(&parities(client, space)?);
    loop {
        compare(client, space)?;
        let answer = parities(client, space)?;
        let now = times(&answer);
        let stale = now.iter().any(|(which, at)| before.get(which) == Some(at));
        let mut connected = answer.items().iter().filter(|row| is_connected(row));
        let equal = connected.all(|row| row["state"] == "equal");
        if equal && !stale && !now.is_empty() {
            return Ok(Shown::answer(&answer, rows(&answer)));
        }
        if Instant::now() >= end {
            let shown = Shown::answer(&answer, rows(&answer)).exit(Exit::TimedOut);
            let why = if now.is_empty() {
                "no connected peer shares a space; see `ocm peers`"
            } else if equal {
                "what is shown was compared before, and a peer has not answered since"
            } else {
                "not every peer is equal; the cause stands beside it"
            };
            let note = format!("timed out after {} s: {why}", wait.as_secs_f64());
            return Ok(shown.note(note));
        }
        (context.io.pause)(LOOK);
    }
}

fn rows(answer: &Answer) -> String {
    let stored = |side: &Json| match (side["authority"].as_u64(), side["content"].as_u64()) {
        (Some(authority), Some(content)) => {
            let missing = side["missing_bodies"].as_u64().filter(|missing| *missing > 0);
            let missing = missing
                .map(|n| format!(" ({} missing)", count(n, "body", "bodies")))
                .unwrap_or_default();
            format!("{authority}+{content}{missing}")
        }
        _ => String::new(),
    };
    let rows = answer.items().iter().map(|row| {
        let name = field(row, "name");
        let since = match row["state"].as_str() {
            Some("equal") => &row["equal_since"],
            Some("differs") => &row["differs_since"],
            _ => &row["at"],
        };
        [
            if name.is_empty() { short_id(&field(row, "space")) } else { name },
            short_end(&field(row, "peer_id")),
            if is_connected(row) {
                field(row, "state")
            } else if row["by"] == "bundle" {
                format!("{} (by bundle)", field(row, "state"))
            } else {
                format!("{} (away)", field(row, "state"))
            },
            stored(&row["ours"]),
            stored(&row["theirs"]),
            time(if since.is_null() { &row["at"] } else { since }),
            field(row, "cause"),
        ]
    });
    let head = ["SPACE", "PEER", "PARITY", "OURS", "THEIRS", "SINCE", "CAUSE"];
    table(head, rows.collect())
}

/// `ocm events`.
pub(super) fn events(space: Option<&str>, context: &mut Context<'_, '_>) -> Result<Exit, Failure> {
    let client = context.client()?;
    for event in client.events(space)? {
        let event = event?;
        let number = event.number.map(|number| number.to_string()).unwrap_or_default();
        let data = print_json(&event.data.to_string(), false);
        let line = if context.global.json {
            print_json(&event.to_json().to_string(), false)
        } else {
            clean(&format!("{} {number} {data}", event.name))
        };
        writeln!(context.io.output, "{line}")?;
        context.io.output.flush()?;
        if event.name == "lagged" {
            context.note("some events were lost: this listener is slower than the node")?;
        }
    }
    Err(Failure::Ended(format!("the node at {} ended the feed: it is stopping", client.address())))
}
