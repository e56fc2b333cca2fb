//! `ocm import`: many memories from a file of JSON lines.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::Context;
use super::exit::{Exit, Failure};
use super::output::{clean, count, cut, print_json};
use crate::client::{Client, ClientError};

/// Bytes of the longest line: what the API takes of one memory.
const LONGEST_LINE: u64 = 1024 * 1024;
/// Bytes of lines past which a batch takes no further one; the API takes 6 MiB.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Batches that are under way at once, so that one can be signed while another is written.
const UNDER_WAY: usize = 2;

/// What the answer to a batch may take beyond the time that the node has for it.
const MARGIN: Duration = Duration::from_secs(5);

/// The HTTP status of a batch that is larger than the node takes.
const TOO_LARGE: u16 = 413;

/// The fields that memories have by convention; of these a line has at least one.
const FIELDS: [&str; 8] = ["type", "title", "text", "at", "place", "tags", "data", "attachments"];

/// Keys that are named of a line that has none of them, and characters of each.
const KEYS_NAMED: usize = 8;
const KEY_WIDTH: usize = 40;

/// Takes away what stands on the line of a terminal.
const CLEAR: &str = "\r\x1b[K";

/// What is to be imported.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file of JSON lines; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The space of lines that name none [default: space.default]
    #[arg(long, value_name = "ID")]
    space: Option<String>,
    /// Begin with this line; those before it are left out
    #[arg(long, value_name = "LINE", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// End with this line
    #[arg(long, value_name = "LINE")]
    to: Option<u64>,
}

/// One line that is not empty.
struct Line {
    number: u64,
    /// The item of a batch, or why the line is none.
    item: Result<Json, String>,
}

/// The lines of a file, in batches.
struct Lines<'a> {
    source: BufReader<Box<dyn Read + 'a>>,
    name: String,
    number: u64,
    from: u64,
    to: u64,
    ended: bool,
}

/// Says what becomes of the lines.
struct Report<'a> {
    json: bool,
    /// Whether a line at a terminal shows how far it is.
    progress: bool,
    quiet: bool,
    output: &'a mut dyn Write,
    errors: &'a mut dyn Write,
    began: Instant,
    written: u64,
    failed: u64,
    /// The last line of which it is known what became of it.
    last: u64,
    /// Lines of which that is not known, from the first to the last, where a batch failed.
    unknown: Option<(u64, u64)>,
}

/// `ocm import FILE`.
pub(super) fn run(import: Import, context: Context<'_, '_>) -> Result<Exit, Failure> {
    let Import { file, space, from, to } = import;
    let batch = Duration::from_secs(context.loaded.config.api.batch_timeout_seconds.into());
    let client = context.client_with(patience(context.global.timeout, batch))?;
    let Context { global, loaded, io, .. } = context;
    // Each line may name its own, so that there need be none.
    let space = space.or_else(|| loaded.config.space.default.map(|id| id.to_string()));
    let most = loaded.config.api.batch_memories as usize;
    let lines = Lines::open(&file, io.input, (from, to.unwrap_or(u64::MAX)))?;
    let quiet = global.quiet > 0;
    let mut report = Report {
        json: global.json,
        progress: io.terminal && !quiet,
        quiet,
        output: io.output,
        errors: io.errors,
        began: Instant::now(),
        written: 0,
        failed: 0,
        last: from - 1,
        unknown: None,
    };
    let done = stream(lines, &client, space.as_deref(), most, &mut report);
    report.end(done)
}

/// How long to wait for the answer to a batch that may take so long.
fn patience(timeout: Duration, batch: Duration) -> Duration {
    timeout.max(batch + MARGIN)
}

/// What became of the items of a batch, as far as that is known, and why no further.
type Heard = (Vec<Json>, Result<(), Failure>);

/// Sends items to be written. As many at once as `most`, which is halved where the node takes
/// fewer: of what is too large it writes nothing.
fn send(client: &Client, space: Option<&str>, mut items: Vec<Json>, most: &AtomicUsize) -> Heard {
    let mut outcomes = Vec::with_capacity(items.len());
    while !items.is_empty() {
        let count = items.len().min(most.load(Ordering::Relaxed)).max(1);
        let part: Vec<Json> = items.drain(..count).collect();
        let mut body = json!({ "items": part });
        if let Some(space) = space {
            body["space"] = space.into();
        }
        match client.post("/v1/memories:batch", Some(&body)) {
            Ok(answer) if answer.items().len() == count => {
                outcomes.extend_from_slice(answer.items());
            }
            Ok(answer) => {
                let said = answer.items().len();
                let why = anyhow!("the node says of {said} what became of them, not of {count}");
                return (outcomes, Err(why.into()));
            }
            Err(ClientError::Problem(problem)) if problem.status == TOO_LARGE && count > 1 => {
                most.fetch_min(count / 2, Ordering::Relaxed);
                if let Json::Array(part) = body["items"].take() {
                    items.splice(..0, part);
                }
            }
            Err(error) => return (outcomes, Err(error.into())),
        }
    }
    (outcomes, Ok(()))
}

/// Sends batch after batch, in the order of the lines: while one is under way the next is read, and
/// follows it. After a failure nothing more is sent, and what is under way is waited for.
fn stream(
    mut lines: Lines<'_>,
    client: &Client,
    space: Option<&str>,
    most: usize,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    let most = &AtomicUsize::new(most);
    std::thread::scope(|scope| {
        let senders: [_; UNDER_WAY] = std::array::from_fn(|_| {
            let (bodies, to_send) = sync_channel::<Vec<Json>>(1);
            let (answered, answers) = sync_channel::<Heard>(1);
            scope.spawn(move || {
                for items in to_send {
                    // Ends with the one that reads.
                    if answered.send(send(client, space, items, most)).is_err() {
                        return;
                    }
                }
            });
            (bodies, answers)
        });
        let mut turns = senders.iter().cycle();
        let mut under_way = VecDeque::new();
        let mut done = Ok(());
        let mut next = lines.batch(most.load(Ordering::Relaxed));
        loop {
            let sending = done.is_ok() && next.as_ref().is_ok_and(|batch| !batch.is_empty());
            if sending && under_way.len() < UNDER_WAY {
                let (mut batch, (bodies, answers)) = (next?, turns.next().ok_or_else(died)?);
                let items = batch.iter_mut().filter_map(|line| line.item.as_mut().ok());
                bodies.send(items.map(Json::take).collect()).map_err(|_| died())?;
                under_way.push_back((batch, answers));
                next = lines.batch(most.load(Ordering::Relaxed));
            } else if let Some((sent, answers)) = under_way.pop_front() {
                let heard: Heard = answers.recv().map_err(|_| died())?;
                let heard = report.answered(&sent, heard);
                let lines = sent.iter().find(|line| line.number > report.last).zip(sent.last());
                let lines = lines.map(|(first, last)| (first.number, last.number));
                match (heard, done.is_ok()) {
                    (Err(failure), true) => {
                        report.unknown = lines;
                        done = Err(failure);
                    }
                    // It followed one that failed, and fared no better.
                    (Err(_), false) => report.unknown = report.unknown.zip(lines).map(both),
                    (Ok(()), _) => {}
                }
            } else {
                return done.and(next.map(drop));
            }
        }
    })
}

/// From the first line of one to the last of the other.
const fn both(((first, _), (_, last)): ((u64, u64), (u64, u64))) -> (u64, u64) {
    (first, last)
}

fn died() -> Failure {
    anyhow!("a thread that sends batches has died").into()
}

impl Report<'_> {
    /// Says what became of the lines of a batch, to the first of which it is not known.
    fn answered(&mut self, batch: &[Line], (outcomes, ended): Heard) -> Result<(), Failure> {
        let mut outcomes = outcomes.iter();
        for Line { number, item } in batch {
            match item {
                Err(why) => self.line(*number, &Json::Null, &problem(why))?,
                Ok(_) => match outcomes.next() {
                    Some(outcome) => self.line(*number, &outcome["id"], &outcome["error"])?,
                    None => break,
                },
            }
        }
        self.output.flush()?;
        ended?;
        if self.progress {
            let rate = self.written as f64 / self.began.elapsed().as_secs_f64();
            let (done, last) = (memories(self.written), self.last);
            write!(self.errors, "{CLEAR}{done} written, {rate:.0}/s, line {last}")?;
            self.errors.flush()?;
        }
        Ok(())
    }

    fn line(&mut self, number: u64, id: &Json, error: &Json) -> Result<(), Failure> {
        self.last = number;
        let failed = !error.is_null();
        *(if failed { &mut self.failed } else { &mut self.written }) += 1;
        if self.json {
            let line = if failed {
                json!({"line": number, "error": error})
            } else {
                json!({"line": number, "id": id, "memory": id})
            };
            writeln!(self.output, "{}", print_json(&line.to_string(), false))?;
        } else if failed {
            let clear = if self.progress { CLEAR } else { "" };
            let detail = error["detail"].as_str().unwrap_or("it was not written");
            writeln!(self.errors, "{clear}{}", clean(&format!("line {number}: {detail}")))?;
        }
        Ok(())
    }

    fn end(self, done: Result<(), Failure>) -> Result<Exit, Failure> {
        let (written, failed) = (memories(self.written), count(self.failed, "line", "lines"));
        if self.progress {
            write!(self.errors, "{CLEAR}")?;
        }
        if let Err(failure) = done {
            if failure.exit() != Exit::Done && !self.quiet {
                let go_on = match self.unknown {
                    // A later batch was answered.
                    Some((first, last)) if last < self.last => format!(
                        "go on with --from {first} --to {last}, then with --from {}",
                        self.last + 1
                    ),
                    Some((first, _)) => format!("go on with --from {first}"),
                    None => format!("go on with --from {}", self.last + 1),
                };
                writeln!(
                    self.errors,
                    "{written} written, {failed} failed; {go_on} (a batch that was cut short may \
                     be written)"
                )?;
            }
            return Err(failure);
        }
        if self.json {
            let last = (self.last > 0).then_some(self.last);
            let summary =
                json!({"written": self.written, "failed": self.failed, "last_line": last});
            writeln!(self.output, "{}", print_json(&summary.to_string(), false))?;
        } else {
            writeln!(self.output, "{written} written, {failed} failed")?;
        }
        self.output.flush()?;
        Ok(if self.failed == 0 { Exit::Done } else { Exit::Failed })
    }
}

fn memories(number: u64) -> String {
    count(number, "memory", "memories")
}

/// A line that is no item, as the API would say it.
fn problem(why: &str) -> Json {
    json!({"type": "urn:ocm:bad-request", "title": "Wrong request", "status": 400, "detail": why})
}

impl<'a> Lines<'a> {
    fn open(file: &Path, input: &'a mut dyn Read, (from, to): (u64, u64)) -> Result<Self, Failure> {
        let name = file.display().to_string();
        let source: Box<dyn Read + 'a> = if name == "-" {
            Box::new(input)
        } else {
            let file = File::open(file)
                .map_err(|error| Failure::Usage(format!("cannot read {name}: {error}")))?;
            Box::new(file)
        };
        Ok(Self { source: BufReader::new(source), name, number: 0, from, to, ended: false })
    }

    /// The next lines; none at the end.
    fn batch(&mut self, most: usize) -> Result<Vec<Line>, Failure> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while !self.ended && self.number < self.to && batch.len() < most && bytes < BATCH_BYTES {
            let text = self.next_line();
            let text =
                text.map_err(|error| anyhow!("cannot read {} further: {error}", self.name))?;
            let item = match text {
                _ if self.number < self.from => continue,
                Ok(text) if text.iter().all(u8::is_ascii_whitespace) => continue,
                Ok(text) => {
                    bytes += text.len();
                    item(&text)
                }
                Err(why) => Err(why),
            };
            batch.push(Line { number: self.number, item });
        }
        Ok(batch)
    }

    /// A line as it stands there, or why it cannot be taken. At the end an empty one.
    fn next_line(&mut self) -> std::io::Result<Result<Vec<u8>, String>> {
        let mut text = Vec::new();
        let mut limited = (&mut self.source).take(LONGEST_LINE + 1);
        limited.read_until(b'\n', &mut text)?;
        if text.is_empty() {
            self.ended = true;
            return Ok(Ok(text));
        }
        self.number += 1;
        if text.len() as u64 > LONGEST_LINE && text.last() != Some(&b'\n') {
            self.source.skip_until(b'\n')?;
            return Ok(Err(format!("it has more than {LONGEST_LINE} bytes: split the memory")));
        }
        Ok(Ok(text))
    }
}

/// A line is the content of a memory, or `{"space": …, "content": …}` with nothing else in it.
fn item(text: &[u8]) -> Result<Json, String> {
    let value: Json =
        serde_json::from_slice(text).map_err(|why| format!("it is not JSON: {why}"))?;
    let Json::Object(object) = value else { return Err("it is no JSON object".to_owned()) };
    if ["header", "signature"].iter().all(|part| object.contains_key(*part)) {
        return Err("it is a signed record, as `ocm memory export` writes them: admit it with \
                    `ocm memory import`"
            .to_owned());
    }
    let item = match object.get("content") {
        Some(Json::Object(_)) if object.keys().all(|key| key == "content" || key == "space") => {
            Json::Object(object)
        }
        _ => json!({ "content": object }),
    };
    let keys = item["content"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    match shows_nothing(keys) {
        Some(why) => Err(why),
        None => Ok(item),
    }
}

/// Why a memory with these keys would show nothing, where it would: it has none that memories have
/// by convention. What else an application keeps may stand beside them.
fn shows_nothing<'a>(keys: impl Iterator<Item = &'a str>) -> Option<String> {
    let keys: Vec<&str> = keys.collect();
    if keys.iter().any(|key| FIELDS.contains(key)) {
        return None;
    }
    let named: Vec<String> = keys.iter().take(KEYS_NAMED).map(|key| cut(key, KEY_WIDTH)).collect();
    let found = match keys.len().checked_sub(KEYS_NAMED) {
        _ if keys.is_empty() => "it is empty".to_owned(),
        None | Some(0) => format!("it has only {}", named.join(", ")),
        Some(more) => format!("it has only {} and {more} more keys", named.join(", ")),
    };
    let fields = FIELDS.join(", ");
    Some(format!(
        "{found}, and none of {fields}: the memory would show nothing. Give it one of them, and keep \
         what is your own beside it or in data"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_take_as_long_as_the_node_has_for_a_batch() {
        let [short, long] = [30, 60].map(Duration::from_secs);
        assert_eq!(patience(short, long), long + MARGIN);
        assert_eq!(patience(long * 2, long), long * 2);
    }

    #[test]
    fn lines_in_doubt_are_told_from_those_that_are_written() {
        let hint = |last: u64, unknown: Option<(u64, u64)>| {
            let (mut output, mut errors) = (Vec::new(), Vec::new());
            let report = Report {
                json: true,
                progress: false,
                quiet: false,
                output: &mut output,
                errors: &mut errors,
                began: Instant::now(),
                written: 0,
                failed: 0,
                last,
                unknown,
            };
            assert!(report.end(Err(died())).is_err());
            String::from_utf8(errors).unwrap()
        };
        assert!(hint(500, None).contains("go on with --from 501 ("));
        assert!(hint(500, Some((501, 1000))).contains("go on with --from 501 ("));
        let both = "go on with --from 501 --to 1000, then with --from 1501 (";
        assert!(hint(1500, Some((501, 1000))).contains(both));
    }
}
