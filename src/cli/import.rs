//! `ocm import`: many memories from a file of JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::Context;
use super::exit::{Exit, Failure};
use super::output::{clean, count, print_json};
use crate::client::{Answer, Client, ClientError};

/// Bytes of the longest line: what the API takes of one memory.
const LONGEST_LINE: u64 = 1024 * 1024;
/// Bytes of lines past which a batch takes no further one; the API takes 6 MiB.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

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
}

/// `ocm import FILE`.
pub(super) fn run(import: Import, context: Context<'_, '_>) -> Result<Exit, Failure> {
    let Import { file, space, from } = import;
    let client = context.client()?;
    let Context { global, loaded, io } = context;
    // Each line may name its own, so that there need be none.
    let space = space.or_else(|| loaded.config.space.default.map(|id| id.to_string()));
    let most = loaded.config.api.batch_memories as usize;
    let lines = Lines::open(&file, io.input, from)?;
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
    };
    let done = stream(lines, &client, space.as_deref(), most, &mut report);
    report.end(done)
}

/// Sends batch after batch; the next one is read while one is under way.
fn stream(
    mut lines: Lines<'_>,
    client: &Client,
    space: Option<&str>,
    most: usize,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let (bodies, to_send) = sync_channel::<Json>(1);
        let (answered, answers) = sync_channel::<Result<Answer, ClientError>>(1);
        scope.spawn(move || {
            for body in to_send {
                // Ends with the one that reads.
                if answered.send(client.post("/v1/memories:batch", Some(&body))).is_err() {
                    return;
                }
            }
        });
        let died = || Failure::from(anyhow!("the thread that sends batches has died"));
        let mut under_way: Option<Vec<Line>> = None;
        loop {
            let batch = lines.batch(most);
            if let Some(sent) = under_way.take() {
                let answer = answers.recv().map_err(|_| died())?;
                report.answered(sent, &answer?)?;
            }
            let mut batch = batch?;
            if batch.is_empty() {
                return Ok(());
            }
            let items = batch.iter_mut().filter_map(|line| line.item.as_mut().ok());
            let items: Vec<Json> = items.map(Json::take).collect();
            let mut body = Map::from_iter([("items".to_owned(), Json::Array(items))]);
            body.extend(space.map(|space| ("space".to_owned(), json!(space))));
            bodies.send(Json::Object(body)).map_err(|_| died())?;
            under_way = Some(batch);
        }
    })
}

impl Report<'_> {
    /// Says what became of the lines of a batch.
    fn answered(&mut self, batch: Vec<Line>, answer: &Answer) -> Result<(), Failure> {
        let mut outcomes = answer.items().iter();
        for Line { number, item } in batch {
            match item {
                Err(why) => self.line(number, &Json::Null, &problem(&why))?,
                Ok(_) => {
                    let outcome = outcomes.next().ok_or_else(|| {
                        anyhow!("the node does not say what became of line {number}")
                    })?;
                    self.line(number, &outcome["id"], &outcome["error"])?;
                }
            }
        }
        self.output.flush()?;
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
                let next = self.last + 1;
                writeln!(
                    self.errors,
                    "{written} written, {failed} failed; go on with --from {next} (some of the \
                     lines from there on may be written)"
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
    fn open(file: &Path, input: &'a mut dyn Read, from: u64) -> Result<Self, Failure> {
        let name = file.display().to_string();
        let source: Box<dyn Read + 'a> = if name == "-" {
            Box::new(input)
        } else {
            let file = File::open(file)
                .map_err(|error| Failure::Usage(format!("cannot read {name}: {error}")))?;
            Box::new(file)
        };
        Ok(Self { source: BufReader::new(source), name, number: 0, from, ended: false })
    }

    /// The next lines; none at the end.
    fn batch(&mut self, most: usize) -> Result<Vec<Line>, Failure> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while !self.ended && batch.len() < most && bytes < BATCH_BYTES {
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
    match value {
        Json::Object(object) => {
            let whole = object.get("content").is_some_and(Json::is_object)
                && object.keys().all(|key| key == "content" || key == "space");
            Ok(if whole { Json::Object(object) } else { json!({ "content": object }) })
        }
        _ => Err("it is no JSON object".to_owned()),
    }
}
