//! `ocm memory export` and `ocm memory import`: records as JSON lines, signed as they are.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
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
const LINE_BYTES: u64 = 1024 * 1024;
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
    let mut lines: Box<dyn BufRead> = if name == "-" {
        let mut all = Vec::new();
        context.io.input.read_to_end(&mut all).map_err(unread)?;
        Box::new(Cursor::new(all))
    } else {
        Box::new(BufReader::new(File::open(&what.file).map_err(unread)?))
    };
    let (mut page, mut tally) = (Page::default(), Tally::default());
    for number in 1.. {
        let mut text = Vec::new();
        let read = (&mut lines).take(LINE_BYTES).read_until(b'\n', &mut text).map_err(unread)?;
        if read == 0 {
            break;
        }
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
