//! The node itself: what it is, how it fares, and the records that it turned away.

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::Context;
use super::exit::{Exit, Failure};
use super::output::{
    Pairs, Shown, clean, count, field, list, plain, short_end, short_id, table, time,
};
use crate::client::Client;
use crate::config::Loaded;

/// The identity's commands.
#[derive(Debug, Subcommand)]
pub(super) enum Identity {
    /// Show the DID, the PeerId and where they come from; works without a running node
    #[command(after_help = "Example:\n  ocm identity show --json")]
    Show,
}

/// `ocm init`.
pub(super) fn init(loaded: &Loaded) -> Result<Shown, Failure> {
    let report = crate::runtime::init(loaded)?;
    let value = json!({
        "data_dir": report.data_dir,
        "config_file": report.config_file,
        "did": report.did,
        "peer_id": report.peer_id,
        "personal_space": report.personal_space,
        "created": report.created,
    });
    let mut pairs = Pairs::new();
    pairs
        .add("identity", report.did.to_string())
        .add("peer", report.peer_id.to_string())
        .add(
            "space",
            match report.personal_space {
                Some(space) => format!("{space} (personal)"),
                None => "none: the store is in memory".to_owned(),
            },
        )
        .add("data", report.data_dir.display().to_string())
        .add("config", report.config_file.display().to_string());
    let shown = Shown::value(&value, pairs.render());
    Ok(if report.created {
        shown.note("start the node with `ocm node`")
    } else {
        shown.note("this was there already; nothing was changed")
    })
}

/// `ocm identity show`.
pub(super) fn identity(loaded: &Loaded) -> Result<Shown, Failure> {
    let report = crate::runtime::identity(loaded)?;
    let value = json!({
        "did": report.did,
        "peer_id": report.peer_id,
        "handle": report.handle,
        "source": report.source,
    });
    let mut pairs = Pairs::new();
    pairs
        .add("did", field(&value, "did"))
        .add("peer", field(&value, "peer_id"))
        .add("handle", field(&value, "handle"))
        .add("source", field(&value, "source"));
    Ok(Shown::value(&value, pairs.render()))
}

/// `ocm health`.
pub(super) fn health(client: &Client, ready: bool) -> Result<Shown, Failure> {
    if !ready {
        let answer = client.health()?;
        let state = field(answer.json(), "status");
        let exit = if state == "ok" { Exit::Done } else { Exit::Wrong };
        return Ok(Shown::answer(&answer, state).exit(exit));
    }
    let answer = client.ready()?;
    if answer.json()["ready"] == true {
        return Ok(Shown::answer(&answer, "ready"));
    }
    let said = |name: &str| (name.to_owned(), &answer.json()[name]);
    let missing: Vec<String> = [said("store"), said("identity")]
        .into_iter()
        .filter(|(_, state)| **state != json!(true) && **state != json!("ok"))
        .map(|(name, state)| format!("{name} {}", plain(state)).trim_end().to_owned())
        .collect();
    let people = format!("not ready: {}", missing.join(", "));
    Ok(Shown::answer(&answer, people.trim_end_matches([':', ' '])).exit(Exit::Wrong))
}

/// `ocm status`.
pub(super) fn status(context: &Context<'_, '_>) -> Result<Shown, Failure> {
    let answer = context.client()?.get("/status", &[])?;
    let status = answer.json();
    let number = |value: &Json| value.as_u64().unwrap_or(0);
    let mut pairs = Pairs::new();
    pairs
        .add("node", field(status, "handle"))
        .add("did", field(status, "did"))
        .add("peer", field(status, "peer_id"))
        .add("version", field(status, "version"))
        .add("running", running(status))
        .add("data", field(status, "data_dir"))
        .add("api", field(status, "api"))
        .add("listen", list(&status["listen"]))
        .add("peers", peers(status))
        .add("spaces", field(status, "spaces"))
        .add("default", field(status, "default_space"))
        .add("memories", field(status, "memories"));
    let held = &status["held"];
    if number(&held["records"]) > 0 {
        let records = count(number(&held["records"]), "record waits", "records wait");
        pairs.add("held", format!("{records} for what they build on ({} bytes)", held["bytes"]));
    }
    for (name, member) in [("sessions", "sessions"), ("unrendered", "unrendered")] {
        if number(&status[member]) > 0 {
            pairs.add(name, field(status, member));
        }
    }
    for source in status["sources"].as_array().map_or(&[][..], Vec::as_slice) {
        let line = format!("{}  {}", field(source, "state"), field(source, "detail"));
        pairs.add(&field(source, "name"), line.trim());
    }
    pairs.add("blocked", list(&status["blocked"]));
    pairs.add("key", field(status, "network_key"));
    Ok(Shown::answer(&answer, pairs.render()))
}

fn running(status: &Json) -> String {
    match status["uptime_seconds"].as_f64() {
        Some(seconds) => format!("since {} ({})", time(&status["started_at"]), span(seconds)),
        None => String::new(),
    }
}

fn peers(status: &Json) -> String {
    let alone = status["isolated"] == true;
    format!("{}{}", field(status, "peers"), if alone { " (isolated)" } else { "" })
}

/// A span of time in its two largest units.
fn span(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| whole >= *size).unwrap_or(3);
    let mut rest = whole;
    let mut parts = Vec::new();
    for (name, size) in units.iter().skip(first).take(2) {
        parts.push(format!("{} {name}", rest / size));
        rest %= size;
    }
    parts.join(" ")
}

/// `ocm stop`.
pub(super) fn stop(context: &Context<'_, '_>) -> Result<Shown, Failure> {
    let answer = context.client()?.post("/v1/stop", None)?;
    Ok(Shown::answer(&answer, "the node is stopping"))
}

/// `ocm refused`.
pub(super) fn refused(context: &Context<'_, '_>) -> Result<Shown, Failure> {
    let answer = context.client()?.get("/v1/refused", &[])?;
    let rows = answer.items().iter().map(|item| {
        [
            time(&item["at"]),
            field(item, "verdict"),
            short_id(&field(item, "id")),
            short_id(&field(item, "space")),
            short_end(&field(item, "peer")),
            clean(&format!("{}: {}", field(item, "reason"), field(item, "text"))),
        ]
    });
    let people = table(["AT", "VERDICT", "RECORD", "SPACE", "PEER", "REASON"], rows.collect());
    let shown = Shown::answer(&answer, people);
    Ok(if answer.items().is_empty() { shown.note("no record was turned away") } else { shown })
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_are_told_in_two_units() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (59.9, "59 s"),
            (61.0, "1 min 1 s"),
            (3_600.0, "1 h 0 min"),
            (200_000.0, "2 d 7 h"),
            (f64::NAN, "0 s"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
