//! `ocm memory export` and `ocm memory import`: records as JSON lines, signed as they are.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use data_encoding::BASE64;
use ocm_record::{Set, SignedRecord, SpaceId, from_canonical, to_canonical};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::json;

use crate::cli::Context;
use crate::cli::bundle::export::fetch;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{count, field, print_json};
use crate::client::{Client, ClientError, escaped};

/// Records that are sent at once, and their bytes: what one request may have.
const PAGE_RECORDS: usize = 512;
const PAGE_BYTES: usize = 512 * 1024;
/// Bytes of the longest line: more than the largest record has in base64.
const LINE_BYTES: usize = 1024 * 1024;
/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// Lines that people are shown by number.
const NAMED: u64 = 10;

/// What is to be exported.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// Only this memory (and all that says who may write): its id, or the beginning of it
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,
    /// The space [default: space.default]
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    space: Option<String>,
    /// Write it out although only members may read the space
    #[arg(long)]
    plain: bool,
}

/// What is to be imported.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The file of lines; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// One record, a line: its parts in base64. A forgotten body is null.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(skip_deserializing)]
    id: String,
    #[serde(skip_deserializing)]
    set: &'static str,
    header: String,
    signature: String,
    body: Option<String>,
}

/// A record's parts, as its bytes have them.
type Parts = (ByteBuf, ByteBuf, Option<ByteBuf>);

impl Line {
    fn of(set: Set, bytes: &[u8]) -> anyhow::Result<Self> {
        let record = SignedRecord::decode(bytes)?;
        let (header, signature, body): Parts = from_canonical(bytes)?;
        Ok(Self {
            id: record.id().to_string(),
            set: if set == Set::Authority { "authority" } else { "content" },
            header: BASE64.encode(&header),
            signature: BASE64.encode(&signature),
            body: body.map(|body| BASE64.encode(&body)),
        })
    }

    fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let part = |name, text: &String| {
            let bytes = BASE64.decode(text.as_bytes());
            bytes.map(ByteBuf::from).map_err(|why| anyhow!("its {name} is no base64: {why}"))
        };
        let body = self.body.as_ref().map(|body| part("body", body)).transpose()?;
        let parts: Parts =
            (part("header", &self.header)?, part("signature", &self.signature)?, body);
        Ok(to_canonical(&parts))
    }
}

/// `ocm memory export`.
pub(in crate::cli) fn export(what: Export, context: &mut Context<'_, '_>) -> Result<Exit, Failure> {
    let client = context.client()?;
    let (space, only) = match &what.id {
        Some(id) => {
            let memory = client.get(&format!("/v1/memories/{}", escaped(id)), &[])?;
            (field(memory.json(), "space"), Some(field(memory.json(), "id")))
        }
        None => (context.space(what.space)?, None),
    };
    let path = format!("/v1/spaces/{}/bundle", escaped(&space));
    let plan = client.post(&path, Some(&json!({ "since": null })))?;
    let plan = plan.json();
    if plan["read"] != "open" && !what.plain {
        return Err(Failure::Usage(format!(
            "only members may read the space {}: give --plain to write it readable by whoever finds \
             it, or encrypt it with `ocm bundle export`",
            field(plan, "name")
        )));
    }
    let (mut written, mut damaged) = (0_u64, 0_u64);
    for range in plan["ranges"].as_array().into_iter().flatten() {
        let mut next = Some(field(range, "from"));
        while let Some(from) = next.take() {
            let page = fetch(&client, &path, range, &from)?;
            damaged += page.damaged.len() as u64;
            for record in &page.records {
                let left_out = page.set == Set::Content
                    && only.is_some()
                    && memory_of(record)?.as_ref() != only.as_ref();
                if !left_out {
                    let line = Line::of(page.set, record)?;
                    let line = serde_json::to_string(&line).map_err(anyhow::Error::from)?;
                    writeln!(context.io.output, "{line}")?;
                    written += 1;
                }
            }
            next = page.next.map(|id| id.to_string());
        }
    }
    context.io.output.flush()?;
    context.note(&format!("exported {}", count(written, "record", "records")))?;
    if damaged == 0 {
        return Ok(Exit::Done);
    }
    let left =
        count(damaged, "record is damaged here and was", "records are damaged here and were");
    context.note(&format!("{left} left out: `ocm doctor` names the cause"))?;
    Ok(Exit::Wrong)
}

/// The memory that a record is of.
fn memory_of(bytes: &[u8]) -> anyhow::Result<Option<String>> {
    let record = SignedRecord::decode(bytes)?.verify()?;
    Ok(record.memory().map(|memory| memory.to_string()))
}

/// Lines as they come, of which no more is kept than one may have.
#[derive(Default)]
struct Lines {
    /// What was read, and how much of it was given.
    read: Vec<u8>,
    given: usize,
    ended: bool,
    /// Whether the line at hand is longer than one may be.
    too_long: bool,
}

impl Lines {
    /// The next line, `None` in place of one that is too long; `None` at the end.
    fn next(&mut self, input: &mut dyn Read) -> std::io::Result<Option<Option<Vec<u8>>>> {
        loop {
            let rest = &self.read[self.given..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            if end.is_some() || (self.ended && (!rest.is_empty() || self.too_long)) {
                let line = rest[..end.unwrap_or(rest.len())].to_vec();
                self.given += end.map_or(rest.len(), |end| end + 1);
                let fits = !std::mem::take(&mut self.too_long) && line.len() <= LINE_BYTES;
                return Ok(Some(fits.then_some(line)));
            }
            if self.ended {
                return Ok(None);
            }
            self.read.drain(..std::mem::take(&mut self.given));
            if self.read.len() > LINE_BYTES {
                self.read.clear();
                self.too_long = true;
            }
            let filled = self.read.len();
            self.read.resize(filled + CHUNK, 0);
            let count = input.read(&mut self.read[filled..])?;
            self.read.truncate(filled + count);
            self.ended = count == 0;
        }
    }
}

/// Records of one space that are sent together, each with the number of its line.
#[derive(Default)]
struct Page {
    space: Option<SpaceId>,
    records: Vec<ByteBuf>,
    lines: Vec<u64>,
    bytes: usize,
}

/// What became of all.
#[derive(Default)]
struct Tally {
    accepted: u64,
    duplicates: u64,
    others: u64,
}

/// `ocm memory import FILE`.
pub(in crate::cli) fn import(
    what: &Import,
    context: &mut Context<'_, '_>,
) -> Result<Exit, Failure> {
    let client = context.client()?;
    let name = what.file.display().to_string();
    let unread = |why: std::io::Error| Failure::Usage(format!("cannot read {name}: {why}"));
    let mut file = match name.as_str() {
        "-" => None,
        _ => Some(File::open(&what.file).map_err(unread)?),
    };
    let (mut page, mut tally, mut lines) = (Page::default(), Tally::default(), Lines::default());
    for number in 1.. {
        let next = match &mut file {
            Some(file) => lines.next(file),
            None => lines.next(context.io.input),
        };
        let Some(text) = next.map_err(unread)? else { break };
        let Some(text) = text else {
            let why = format!("it has more than {LINE_BYTES} bytes");
            tally.turned_away(number, "no record", &why, context)?;
            continue;
        };
        if text.trim_ascii().is_empty() {
            continue;
        }
        let record = serde_json::from_slice::<Line>(&text)
            .map_err(anyhow::Error::from)
            .and_then(|line| line.bytes())
            .and_then(|bytes| Ok((SignedRecord::decode(&bytes)?.space(), bytes)));
        let (space, bytes) = match record {
            Ok(record) => record,
            Err(why) => {
                tally.turned_away(number, "no record", &format!("{why:#}"), context)?;
                continue;
            }
        };
        let full = page.records.len() == PAGE_RECORDS || page.bytes + bytes.len() > PAGE_BYTES;
        if full || page.space.is_some_and(|before| before != space) {
            send(&std::mem::take(&mut page), &client, &mut tally, context)?;
        }
        page.space = Some(space);
        page.bytes += bytes.len();
        page.lines.push(number);
        page.records.push(ByteBuf::from(bytes));
    }
    send(&page, &client, &mut tally, context)?;
    let Tally { accepted, duplicates, others } = tally;
    let line = if context.global.json {
        let all = json!({"accepted": accepted, "duplicates": duplicates, "not_admitted": others});
        print_json(&all.to_string(), false)
    } else {
        format!(
            "imported {}; {duplicates} were here already, {others} were not admitted",
            count(accepted, "record", "records")
        )
    };
    writeln!(context.io.output, "{line}")?;
    context.io.output.flush()?;
    Ok(if others == 0 { Exit::Done } else { Exit::Failed })
}

/// Has the records of a page admitted; those that were are durable then.
fn send(
    page: &Page,
    client: &Client,
    tally: &mut Tally,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    let Some(space) = page.space else { return Ok(()) };
    let path = format!("/v1/spaces/{space}/records");
    let answer = match client.post_bytes(&path, to_canonical::<[ByteBuf]>(&page.records)) {
        Err(ClientError::Problem(problem))
            if matches!(problem.reason(), "unknown-space" | "not-found") =>
        {
            return Err(Failure::NotFound(format!(
                "line {} is of the space {space}, which this node does not hold: join it first \
                 (`ocm space join`), and import again",
                page.lines[0]
            )));
        }
        answer => answer?,
    };
    let answer = answer.json();
    tally.accepted += answer["accepted"].as_u64().unwrap_or(0);
    tally.duplicates += answer["duplicates"].as_u64().unwrap_or(0);
    for item in answer["items"].as_array().into_iter().flatten() {
        let line = item["index"].as_u64().and_then(|at| page.lines.get(usize::try_from(at).ok()?));
        let verdict = format!("{} ({})", field(item, "verdict"), field(item, "reason"));
        tally.turned_away(
            line.copied().unwrap_or_default(),
            &verdict,
            &field(item, "text"),
            context,
        )?;
    }
    Ok(())
}

impl Tally {
    /// Counts a line whose record was not admitted, and says why.
    fn turned_away(
        &mut self,
        line: u64,
        verdict: &str,
        why: &str,
        context: &mut Context<'_, '_>,
    ) -> Result<(), Failure> {
        self.others += 1;
        if context.global.json {
            let item = json!({"line": line, "verdict": verdict, "text": why});
            writeln!(context.io.output, "{}", print_json(&item.to_string(), false))?;
        } else if self.others <= NAMED {
            context.note(&format!("line {line}: {verdict}: {why}"))?;
        } else if self.others == NAMED + 1 {
            context.note("and others: --json names them all")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one_and_a_long_one_counts_as_one() {
        let long = "x".repeat(3 * LINE_BYTES);
        let text = format!("one\n\n{long}\ntwo\n{}\nthree", "y".repeat(LINE_BYTES));
        let (mut lines, mut input) = (Lines::default(), text.as_bytes());
        let mut next = || lines.next(&mut input).unwrap();
        let line = |text: &str| Some(Some(text.as_bytes().to_vec()));
        assert_eq!((next(), next()), (line("one"), line("")));
        assert_eq!(next(), Some(None));
        assert_eq!(next(), line("two"));
        assert_eq!(next().unwrap().unwrap().len(), LINE_BYTES, "as long as one may be");
        assert_eq!((next(), next()), (line("three"), None));
        let (mut lines, mut input) = (Lines::default(), long.as_bytes());
        assert_eq!(lines.next(&mut input).unwrap(), Some(None), "it ends without a newline");
        assert_eq!(lines.next(&mut input).unwrap(), None);
    }
}
