//! `ocm bundle export`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;
use data_encoding::BASE64;
use ocm_record::{RecordId, Set, from_canonical};
use ocm_sync::{BundleHead, BundleWriter};
use serde_bytes::ByteBuf;
use serde_json::{Value as Json, json};

use super::{CLEAR, PassphraseArgs, ask};
use crate::bundle::{BundleDraft, Lock};
use crate::cli::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Shown, count, field, time};
use crate::client::{Client, escaped};
use crate::config::PASSPHRASE_FILE_VARIABLE;

/// What is to be exported.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The space [default: space.default]
    #[arg(long, value_name = "ID")]
    space: Option<String>,
    /// Only content records from a time on (RFC 3339, or milliseconds since 1970); or `parity`: what
    /// was missing where the last imported bundle was written
    #[arg(long, value_name = "TIME|parity")]
    since: Option<String>,
    /// Of --since parity: the last bundle of this peer [default: of anyone]
    #[arg(long, value_name = "PEERID|DID", requires = "since")]
    peer: Option<String>,
    /// Encrypt to this public key, age1…; may be given several times
    #[arg(long, value_name = "RECIPIENT", conflicts_with_all = ["passphrase", "passphrase_file"])]
    recipient: Vec<String>,
    /// Encrypt with a passphrase, asked for at the terminal
    #[arg(long, conflicts_with = "passphrase_file")]
    passphrase: bool,
    #[command(flatten)]
    source: PassphraseArgs,
    /// Do not encrypt, although only members may read the space
    #[arg(long, conflicts_with_all = ["recipient", "passphrase", "passphrase_file"])]
    plain: bool,
    /// Write over the file if there is one
    #[arg(long)]
    force: bool,
}

/// `ocm bundle export FILE`.
pub(super) fn run(export: &Export, mut context: Context<'_, '_>) -> Result<Exit, Failure> {
    let since = since(export.since.as_deref(), export.peer.as_deref())?;
    let client = context.client()?;
    let space = context.space(export.space.clone())?;
    let lock = lock(export, &mut context)?;
    let path = format!("/v1/spaces/{}/bundle", escaped(&space));
    let plan = client.post(&path, Some(&json!({ "since": since })))?;
    let plan = plan.json();
    if plan["read"] != "open" && lock.is_none() && !export.plain {
        return Err(Failure::Usage(format!(
            "only members may read the space {}: encrypt it with --recipient age1…, --passphrase or \
             --passphrase-file, or give --plain to write it readable by whoever finds it",
            field(plan, "name")
        )));
    }
    let head = BASE64
        .decode(field(plan, "head").as_bytes())
        .ok()
        .and_then(|bytes| BundleHead::decode(&bytes).ok())
        .ok_or_else(|| anyhow!("the node made a head that is none: it is of another version"))?;
    let mut draft = BundleDraft::create(&export.file, export.force, lock.as_ref())?;
    let (mut writer, first) = BundleWriter::begin(&head);
    draft.write(&first)?;
    let mut damaged: Vec<RecordId> = Vec::new();
    let (mut pages, began) = (0_u64, Instant::now());
    for range in plan["ranges"].as_array().into_iter().flatten() {
        let mut next = Some(field(range, "from"));
        while let Some(from) = next.take() {
            let page = fetch(&client, &path, range, &from)?;
            damaged.extend(page.damaged);
            if !page.records.is_empty() {
                draft.write(&writer.page(page.set, &page.records))?;
                pages += 1;
            }
            next = page.next.map(|id| id.to_string());
            let (authority, content) = writer.records();
            context.progress(began, authority + content, plan["records"].as_u64())?;
        }
    }
    let (authority, content) = writer.records();
    if !damaged.is_empty() {
        context.progress_done()?;
        let ids: Vec<String> = damaged.iter().map(ToString::to_string).collect();
        return Err(Failure::Wrong(format!(
            "{} damaged here, which the bundle would state to be in it, so that nothing was written: {}; \
             what is damaged was set aside: export again, and get it again from a peer or a bundle",
            count(ids.len() as u64, "record is", "records are"),
            ids.join(", ")
        )));
    }
    draft.write(&writer.end())?;
    let bytes = draft.finish()?;
    context.progress_done()?;
    let shown = shown(export, plan, (authority, content), pages, bytes, lock.is_some());
    let Context { global, io, .. } = context;
    crate::cli::print(&shown, &global, io)
}

/// `since`, as the API takes it.
fn since(since: Option<&str>, peer: Option<&str>) -> Result<Json, Failure> {
    match (since, peer) {
        (Some("parity"), peer) => Ok(json!({ "parity": peer })),
        (_, Some(peer)) => Err(Failure::Usage(format!(
            "--peer {peer} says whose bundle --since parity goes by; with a time it means nothing"
        ))),
        (None, None) => Ok(Json::Null),
        (Some(text), None) => Ok(match text.parse::<u64>() {
            Ok(millis) => millis.into(),
            Err(_) => text.into(),
        }),
    }
}

/// A passphrase that was given twice.
fn asked(ask: &mut dyn FnMut(&str) -> std::io::Result<String>) -> Result<String, Failure> {
    let mut given = |prompt| {
        ask(prompt).map_err(|error| {
            Failure::Usage(format!(
                "--passphrase asks at a terminal, and no terminal can be used ({error}): name a file that holds \
                 the passphrase with --passphrase-file, or with {PASSPHRASE_FILE_VARIABLE}"
            ))
        })
    };
    let first = given("Passphrase: ")?;
    if given("The same again: ")? != first {
        return Err(Failure::Usage("the two passphrases differ".into()));
    }
    Ok(first)
}

fn lock(export: &Export, context: &mut Context<'_, '_>) -> Result<Option<Lock>, Failure> {
    if export.plain {
        return Ok(None);
    }
    if !export.recipient.is_empty() {
        return Ok(Some(Lock::to_recipients(&export.recipient)?));
    }
    if export.passphrase {
        return Ok(Some(Lock::with_passphrase(asked(&mut ask)?)?));
    }
    let passphrase = export.source.read(context)?;
    Ok(passphrase.map(Lock::with_passphrase).transpose()?)
}

/// A page of records, as the API gives it.
pub(in crate::cli) struct Page {
    pub(in crate::cli) set: Set,
    pub(in crate::cli) records: Vec<ByteBuf>,
    pub(in crate::cli) next: Option<RecordId>,
    pub(in crate::cli) damaged: Vec<RecordId>,
}

/// The first records of a range of a plan, from an id on.
pub(in crate::cli) fn fetch(
    client: &Client,
    path: &str,
    range: &Json,
    from: &str,
) -> Result<Page, Failure> {
    let set = if range["set"] == "authority" { Set::Authority } else { Set::Content };
    let query =
        [("set", field(range, "set")), ("from", from.to_owned()), ("to", field(range, "to"))];
    let bytes = client.get_bytes(&format!("{path}/page"), &query)?;
    let (records, next, damaged) = from_canonical(&bytes)
        .map_err(|error| anyhow!("the node gave a page that cannot be read: {error}"))?;
    Ok(Page { set, records, next, damaged })
}

fn shown(
    export: &Export,
    plan: &Json,
    (authority, content): (u64, u64),
    pages: u64,
    bytes: u64,
    encrypted: bool,
) -> Shown {
    let file = export.file.display().to_string();
    let value = json!({
        "file": file, "bytes": bytes, "encrypted": encrypted, "space": plan["space"],
        "name": plan["name"], "time": plan["time"], "pages": pages,
        "records": {"authority": authority, "content": content},
    });
    let people = format!(
        "wrote {file}: {authority} authority and {} of the space {}, as of {}; {bytes} bytes{}",
        count(content, "content record", "content records"),
        field(plan, "name"),
        time(&plan["time"]),
        if encrypted { ", encrypted" } else { "" }
    );
    Shown::value(&value, people)
}

impl Context<'_, '_> {
    /// Shows at a terminal how far it is.
    pub(super) fn progress(
        &mut self,
        began: Instant,
        done: u64,
        of: Option<u64>,
    ) -> Result<(), Failure> {
        if self.io.terminal && self.global.quiet == 0 {
            let rate = done as f64 / began.elapsed().as_secs_f64().max(0.001);
            let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
            write!(self.io.errors, "{CLEAR}{done}{of} records, {rate:.0}/s")?;
            self.io.errors.flush()?;
        }
        Ok(())
    }

    /// Takes that away.
    pub(super) fn progress_done(&mut self) -> Result<(), Failure> {
        if self.io.terminal && self.global.quiet == 0 {
            write!(self.io.errors, "{CLEAR}")?;
            self.io.errors.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_that_nobody_can_be_asked_for_names_the_file() {
        let told = |answers: [Result<&str, i32>; 2]| {
            let mut answers = answers.into_iter();
            let answer = |answer: Result<&str, i32>| {
                answer.map(str::to_owned).map_err(std::io::Error::from_raw_os_error)
            };
            asked(&mut |_| answer(answers.next().unwrap())).map_err(|failure| failure.to_string())
        };
        let none = told([Err(6), Err(6)]).unwrap_err();
        for part in ["--passphrase-file", "OCM_BUNDLE_PASSPHRASE_FILE", "no terminal"] {
            assert!(none.contains(part), "{none}");
        }
        assert_eq!(told([Ok("a"), Ok("b")]), Err("the two passphrases differ".to_owned()));
        assert_eq!(told([Ok("a"), Ok("a")]), Ok("a".to_owned()));
    }
}
