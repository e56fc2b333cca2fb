//! `ocm bundle import`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use ocm_node::bundle::exporter;
use ocm_record::{SignedRecord, to_canonical};
use ocm_sync::{BundleHead, BundleValue, Since};
use serde_bytes::ByteBuf;
use serde_json::{Value as Json, json};

use super::report::{Ended, Tally, say_head};
use super::{PassphraseArgs, ask, warn_of};
use crate::bundle::{BundleFile, Key, Stopped};
use crate::cli::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{count, field};
use crate::client::{Client, ClientError, escaped};
use crate::invitation::Invitation;

/// What is to be imported.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The bundle
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only if it is of this space: its id, or the beginning of it
    #[arg(long, value_name = "ID")]
    space: Option<String>,
    /// Join the space if this node does not hold it yet
    #[arg(long)]
    join: bool,
    /// The file of secret keys to decrypt with, as `age-keygen` writes it
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    source: PassphraseArgs,
}

/// `ocm bundle import FILE`.
pub(super) fn run(import: &Import, mut context: Context<'_, '_>) -> Result<Exit, Failure> {
    let client = context.client()?;
    let mut key = Key::default();
    for path in &import.identity {
        warn_of(path, &mut context)?;
        key.add_identities(path)?;
    }
    if let Some(passphrase) = import.source.read(&mut context)? {
        key.set_passphrase(passphrase)?;
    }
    let at_terminal = context.io.terminal;
    let asked = || at_terminal.then(|| ask("Passphrase: ").ok()).flatten().map(Into::into);
    let mut file = BundleFile::open(&import.file, &key, asked)?;
    let name = import.file.display();
    let head = match file.next_value() {
        Ok(Some(BundleValue::Head(head))) => *head,
        Ok(_) => return Err(Failure::Wrong(format!("{name} is a bundle without a head"))),
        Err(Stopped::Io(error)) => {
            return Err(Failure::Usage(format!("cannot read {name}: {error}")));
        }
        Err(stopped) => {
            return Err(Failure::Wrong(format!(
                "nothing can be read of the bundle {name}: {stopped}"
            )));
        }
    };
    let exporter = exporter(&head)
        .map_err(|error| Failure::Wrong(format!("{name}: {error}; nothing was imported")))?;
    let first = file.next_value();
    let space = enter(import, &head, &first, &client, &mut context)?;
    say_head(&head, &exporter, &space, file.is_encrypted(), &mut context)?;
    let mut tally = Tally::default();
    let path = format!("/v1/spaces/{}", escaped(&field(&space, "id")));
    let ended = pages(&mut file, first, &client, &path, &mut tally, &mut context)?;
    tally.settle(&client)?;
    let compared = client.post_bytes(&format!("{path}/bundle/statement"), head.encode());
    let compared = match compared {
        Ok(answer) => Ok(answer.json().clone()),
        // Nothing of the space came before the cut.
        Err(ClientError::Problem(problem)) => Err(problem.to_string()),
        Err(error) => return Err(error.into()),
    };
    let whole_space = head.statement.since() == Since::All;
    tally.end((&file, &ended), &compared, whole_space, &mut context)
}

/// What is read of a bundle at once.
type Read = Result<Option<BundleValue>, Stopped>;

/// The space of a bundle, as this node holds it. One that it does not hold is joined only where the
/// `first` page has the record that the space is named by.
fn enter(
    import: &Import,
    head: &BundleHead,
    first: &Read,
    client: &Client,
    context: &mut Context<'_, '_>,
) -> Result<Json, Failure> {
    let id = head.space.to_string();
    let name = import.file.display();
    if let Some(wanted) = &import.space
        && !id.starts_with(wanted.as_str())
    {
        return Err(Failure::Usage(format!(
            "{name} is a bundle of the space {id}, not of {wanted}: nothing was imported"
        )));
    }
    let path = format!("/v1/spaces/{}", escaped(&id));
    match client.get(&path, &[]) {
        Ok(answer) => return Ok(answer.json().clone()),
        Err(ClientError::Problem(problem))
            if matches!(problem.reason(), "unknown-space" | "not-found") => {}
        Err(error) => return Err(error.into()),
    }
    if !import.join {
        return Err(Failure::NotFound(format!(
            "{name} is a bundle of the space {id}, which this node does not hold: import it with \
             --join, or join the space with an invitation first (`ocm space join`)"
        )));
    }
    let begins = |record: &ByteBuf| {
        SignedRecord::decode(record).is_ok_and(|record| record.id() == head.space.0)
    };
    match first {
        Ok(Some(BundleValue::Page { records, .. })) if records.iter().any(begins) => {}
        Err(stopped) => {
            return Err(Failure::Wrong(format!("{name}: {stopped}; nothing was imported")));
        }
        Ok(_) => {
            return Err(Failure::Wrong(format!(
                "{name} has not the first record of the space {id}, so nothing was imported, and the \
                 space was not joined: take another bundle of it, or join it with an invitation \
                 (`ocm space join`)"
            )));
        }
    }
    let invitation =
        Invitation { space: head.space, name: String::new(), addresses: Vec::new(), genesis: None };
    let body = json!({ "invitation": invitation.to_string() });
    client.post("/v1/spaces/join", Some(&body))?;
    context.note(&format!("joined the space {id}"))?;
    Ok(client.get(&path, &[])?.json().clone())
}

/// Imports page after page; each is durable before the next is read.
fn pages(
    file: &mut BundleFile,
    first: Read,
    client: &Client,
    path: &str,
    tally: &mut Tally,
    context: &mut Context<'_, '_>,
) -> Result<Ended, Failure> {
    let began = Instant::now();
    let mut first = Some(first);
    loop {
        match first.take().unwrap_or_else(|| file.next_value()) {
            Ok(Some(BundleValue::Page { records, .. })) => {
                let answer = client
                    .post_bytes(&format!("{path}/records"), to_canonical::<[ByteBuf]>(&records));
                let answer = answer.inspect_err(|_| {
                    // The failure itself is told by whoever called.
                    let _ = context.note(&format!(
                        "{} imported before this; begin again, and it goes on there",
                        count(file.pages() - 1, "page was", "pages were")
                    ));
                })?;
                tally.take(answer.json(), context)?;
                let (authority, content) = file.records();
                context.progress(began, authority + content, None)?;
                if tally.is_worthless() {
                    return Ok(Ended::Worthless);
                }
            }
            Ok(Some(BundleValue::Head(_) | BundleValue::End)) => {}
            Ok(None) => return Ok(Ended::Whole),
            Err(stopped) => return Ok(Ended::Stopped(stopped)),
        }
    }
}
