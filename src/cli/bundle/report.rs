//! What is said of a bundle that is imported, and of what becomes of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ocm_discovery::PeerId;
use ocm_node::bundle::Exporter;
use ocm_sync::{BundleHead, Since};
use serde_json::{Value as Json, json};

use super::CLEAR;
use crate::bundle::{BundleFile, Stopped};
use crate::cli::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{clean, count, field, print_json, short_end, short_id, time};
use crate::client::{Client, ClientError, escaped};

/// Records that are no records, or may not stand for ever, after which no more is read: the writer of a
/// bundle admitted what is in it by the same rules.
const WORTHLESS: u64 = 1024;
/// Held records that are remembered, to see at the end whether they stand.
const HELD: usize = 1024;
/// Records that people are shown by name.
const NAMED: usize = 10;

/// A record that was not admitted.
struct Named {
    id: String,
    verdict: String,
    reason: String,
    text: String,
}

/// What has become of the records so far.
#[derive(Default)]
pub(super) struct Tally {
    accepted: u64,
    duplicates: u64,
    /// The others, by verdict and reason.
    others: BTreeMap<(String, String), u64>,
    /// The first of them, for people.
    named: Vec<Named>,
    /// Those that were held, by their ids.
    held: Vec<Named>,
    /// Of those that were held, how many stand.
    released: u64,
    /// Those that no further try will make stand.
    worthless: u64,
}

/// How a bundle ended.
pub(super) enum Ended {
    Whole,
    Stopped(Stopped),
    Worthless,
}

/// What a bundle is.
pub(super) fn say_head(
    head: &BundleHead,
    exporter: &Exporter,
    space: &Json,
    encrypted: bool,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    let written = head.statement.time();
    if context.global.json {
        let since = match head.statement.since() {
            Since::All => Json::Null,
            Since::Time(ms) => json!(moment(ms)),
            Since::Parity { peer, time } => {
                let peer = PeerId::try_from(&peer[..]).ok();
                json!({"parity": peer, "time": moment(time)})
            }
        };
        let claims = head.statement.claims();
        let value = json!({"bundle": {
            "space": head.space, "peer_id": exporter.peer, "did": exporter.did,
            "time": moment(written), "since": since, "encrypted": encrypted,
            "stored": {"authority": claims.authority.count, "content": claims.content.count},
        }});
        return context.line(&value);
    }
    let what = match head.statement.since() {
        Since::All => "all of it".to_owned(),
        Since::Time(ms) => format!("content from {} on", time(&ms.into())),
        Since::Parity { peer, time: at } => {
            let peer = PeerId::try_from(&peer[..]).ok();
            let peer = peer.map(|peer| short_end(&peer.to_string())).unwrap_or_default();
            format!("what {peer} did not have at {}", time(&at.into()))
        }
    };
    let name = field(space, "name");
    let name = if name.is_empty() { field(space, "id") } else { name };
    context.note(&format!(
        "bundle of the space {name}: {what}, written at {} by {} ({})",
        time(&written.into()),
        short_end(&exporter.peer.to_string()),
        exporter.did
    ))
}

/// A time as the API writes it.
fn moment(ms: u64) -> Option<String> {
    let time = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
    Some(format!("{time:.3}"))
}

impl Tally {
    /// Takes what became of the records of a page.
    pub(super) fn take(
        &mut self,
        answer: &Json,
        context: &mut Context<'_, '_>,
    ) -> Result<(), Failure> {
        self.accepted += answer["accepted"].as_u64().unwrap_or(0);
        self.duplicates += answer["duplicates"].as_u64().unwrap_or(0);
        for item in answer["items"].as_array().into_iter().flatten() {
            let named = Named {
                id: field(item, "id"),
                verdict: field(item, "verdict"),
                reason: field(item, "reason"),
                text: field(item, "text"),
            };
            if matches!(&*named.verdict, "reject" | "refuse") || named.id.is_empty() {
                self.worthless += 1;
            }
            if context.global.json {
                let id = Some(&named.id).filter(|id| !id.is_empty());
                context.line(&json!({
                    "record": id, "verdict": named.verdict, "reason": named.reason,
                    "text": named.text,
                }))?;
            }
            *self.others.entry((named.verdict.clone(), named.reason.clone())).or_default() += 1;
            if named.verdict == "hold" && !named.id.is_empty() && self.held.len() < HELD {
                self.held.push(named);
            } else if self.named.len() < NAMED {
                self.named.push(named);
            }
        }
        Ok(())
    }

    /// Whether so much of it is worthless that no more is to be read.
    pub(super) const fn is_worthless(&self) -> bool {
        self.worthless > WORTHLESS
    }

    /// What was held may stand by now: what it waited for came in a later page.
    pub(super) fn settle(&mut self, client: &Client) -> Result<(), Failure> {
        for held in std::mem::take(&mut self.held) {
            match client.get(&format!("/v1/records/{}", escaped(&held.id)), &[]) {
                Ok(_) => {
                    self.released += 1;
                    let key = (held.verdict, held.reason);
                    if let Some(count) = self.others.get_mut(&key) {
                        *count -= 1;
                        if *count == 0 {
                            self.others.remove(&key);
                        }
                    }
                }
                Err(ClientError::Problem(problem)) if problem.reason() == "not-found" => {
                    if self.named.len() < NAMED {
                        self.named.push(held);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn end(
        self,
        (file, ended): (&BundleFile, &Ended),
        compared: &Result<Json, String>,
        whole_space: bool,
        context: &mut Context<'_, '_>,
    ) -> Result<Exit, Failure> {
        context.progress_done()?;
        let (authority, content) = file.records();
        let (pages, read) = (file.pages(), authority + content);
        let others: u64 = self.others.values().sum();
        let wrong = match ended {
            Ended::Whole => None,
            Ended::Stopped(stopped) => Some(stopped.to_string()),
            Ended::Worthless => Some(format!(
                "more than {WORTHLESS} of its records are none, or may not stand: no more was read"
            )),
        };
        let exit = match (&wrong, others) {
            (Some(_), _) => Exit::Wrong,
            (None, _) if compared.is_err() => Exit::Wrong,
            (None, 0) => Exit::Done,
            (None, _) => Exit::Failed,
        };
        if context.global.json {
            let verdicts: Vec<Json> = self
                .others
                .iter()
                .map(|((verdict, reason), count)| {
                    json!({"verdict": verdict, "reason": reason, "count": count})
                })
                .collect();
            let value = json!({
                "whole": wrong.is_none(), "cause": wrong, "pages": pages,
                "records": {"authority": authority, "content": content},
                "accepted": self.accepted + self.released, "duplicates": self.duplicates,
                "not_admitted": verdicts, "comparison": compared.as_ref().ok(),
                "not_compared": compared.as_ref().err(),
            });
            context.line(&value)?;
            return Ok(exit);
        }
        for Named { id, text, .. } in &self.named {
            let id = if id.is_empty() { "a record without an id".into() } else { short_id(id) };
            writeln!(context.io.errors, "{}", clean(&format!("{id}: {text}")))?;
        }
        if others > self.named.len() as u64 {
            let more = others - self.named.len() as u64;
            context.note(&format!("and {more} more, which --json names"))?;
        }
        let mut line = format!(
            "{} in {}: {} new, {} here already",
            count(read, "record", "records"),
            count(pages, "page", "pages"),
            self.accepted + self.released,
            self.duplicates
        );
        for ((verdict, reason), count) in &self.others {
            line.push_str(&format!(", {count} {} ({reason})", past(verdict)));
        }
        writeln!(context.io.output, "{}", clean(&line))?;
        match &wrong {
            None => writeln!(context.io.output, "the bundle is whole")?,
            Some(why) => writeln!(
                context.io.output,
                "{}",
                clean(&format!(
                    "the bundle is not whole after page {pages}: {why}; what was read before stays"
                ))
            )?,
        }
        match compared {
            Ok(compared) => {
                writeln!(context.io.output, "{}", clean(&of_comparison(compared)))?;
                for hint in hints(compared, whole_space) {
                    context.note(&hint)?;
                }
            }
            Err(why) => context.note(&format!("not compared with its writer: {why}"))?,
        }
        context.io.output.flush()?;
        Ok(exit)
    }
}

fn past(verdict: &str) -> &str {
    match verdict {
        "hold" => "held",
        "reject" => "rejected",
        "refuse" => "refused",
        other => other,
    }
}

/// What would make the two equal.
fn hints(compared: &Json, whole_space: bool) -> Vec<String> {
    if compared["state"] != "differs" || compared["not_kept"] == "own" {
        return Vec::new();
    }
    let stored = |side: &str| {
        let of = |set: &str| compared[side][set].as_u64().unwrap_or(0);
        of("authority").saturating_add(of("content"))
    };
    let mut hints = Vec::new();
    if stored("ours") > stored("theirs") {
        hints.push(format!(
            "for what is missing there: `ocm bundle export --since parity --peer {} FILE`",
            field(compared, "peer_id")
        ));
    }
    if stored("theirs") > stored("ours") && !whole_space {
        hints.push("this bundle does not hold the whole space: one without --since does".into());
    }
    hints
}

/// How this node compares with the writer of a bundle, in a sentence.
fn of_comparison(compared: &Json) -> String {
    let (peer, at) = (short_end(&field(compared, "peer_id")), time(&compared["time"]));
    let stored = |side: &str, set: &str| compared[side][set].as_u64().unwrap_or(0);
    let mut text = match compared["state"].as_str() {
        Some("equal") => format!("this node holds the same as {peer} held at {at}"),
        Some("not comparable") => {
            format!("this node and {peer} give effect to different kinds of record: not comparable")
        }
        _ => {
            let sets = ["authority", "content"].map(|set| {
                format!("{} here and {} there of {set}", stored("ours", set), stored("theirs", set))
            });
            format!("this node does not hold the same as {peer} held at {at}: {}", sets.join(", "))
        }
    };
    if let Some(why) = compared["not_kept"].as_str() {
        text.push_str(match why {
            "own" => " (it is a bundle of this node itself)",
            "connected" => " (not kept: the two are connected, and compare what they hold now)",
            "older" => " (not kept: a later comparison with it is known)",
            "ahead" => " (not kept: its time is more than a day ahead of the clock here)",
            "stranger" => " (not kept: its writer may not read the space, as far as is known here)",
            _ => " (not kept)",
        });
    }
    text
}

impl Context<'_, '_> {
    /// One JSON value on a line.
    fn line(&mut self, value: &Json) -> Result<(), Failure> {
        if self.io.terminal && self.global.quiet == 0 {
            write!(self.io.errors, "{CLEAR}")?;
        }
        writeln!(self.io.output, "{}", print_json(&value.to_string(), false))?;
        self.io.output.flush()?;
        Ok(())
    }
}
