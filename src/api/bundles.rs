//! Bundles: what goes into one, page after page, and what came in one.
//!
//! The file is its owner's, who reads and writes it beside the node. Records travel between the two as
//! DAG-CBOR, as they are stored; nothing is kept here between two requests.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use ocm_discovery::PeerId;
use ocm_node::bundle::{BundlePlan, BundleSince, NotKept, Whom, Witnessed, read_range};
use ocm_node::{Command, Reply, Verdict};
use ocm_record::{Did, RecordId, Set, SignedRecord, SpaceId, from_canonical, to_canonical};
use ocm_space::Access;
use ocm_sync::{BundleHead, Comparison, Span};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::Api;
use super::body::{Input, Name, Parameters};
use super::moment::Moment;
use super::parity::Counts;
use super::problem::{Problem, Reason};

/// The content type of records and heads.
const CBOR: &str = "application/cbor";

/// Which content records a bundle is to hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Begin {
    /// Those from this time on: RFC 3339.
    Time(String),
    /// Those from this time on, in milliseconds since the Unix epoch.
    Millis(u64),
    /// Those that are missing where the last bundle came from.
    Parity(Parity),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parity {
    /// Of this PeerId, or of a peer of this DID; of anyone where it is null.
    parity: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    since: Option<Begin>,
}

impl Wanted {
    fn read(self) -> Result<BundleSince, Problem> {
        Ok(match self.since {
            None => BundleSince::All,
            Some(Begin::Time(text)) => {
                BundleSince::Time(Moment::parse(&text).map_err(Problem::bad)?.0)
            }
            Some(Begin::Millis(ms)) => BundleSince::Time(ms),
            Some(Begin::Parity(Parity { parity: None })) => BundleSince::Parity(Whom::Anyone),
            Some(Begin::Parity(Parity { parity: Some(text) })) => {
                let whom = match (text.parse::<PeerId>(), text.parse::<Did>()) {
                    (Ok(peer), _) => Whom::Peer(peer),
                    (_, Ok(did)) => Whom::Did(did),
                    _ => return Err(Problem::bad(format!("{text:?} is neither PeerId nor DID"))),
                };
                BundleSince::Parity(whom)
            }
        })
    }
}

#[derive(Serialize)]
struct Range {
    set: Set,
    from: RecordId,
    to: RecordId,
}

/// What a bundle is to be made of.
#[derive(Serialize)]
pub(super) struct Plan {
    space: SpaceId,
    name: Option<String>,
    read: Access,
    time: Moment,
    /// The head, signed, in base64.
    head: String,
    /// In the order in which they are to be asked for.
    ranges: Vec<Range>,
    records: u64,
}

fn unexpected(reply: &Reply) -> Problem {
    Problem::new(Reason::Internal, format!("the command was answered with {reply:?}"))
}

pub(super) async fn begin(
    State(api): State<Api>,
    Name(space): Name,
    Input(wanted): Input<Wanted>,
) -> Result<Json<Plan>, Problem> {
    let since = wanted.read()?;
    let space = api.0.views.resolve_space(&space).await?;
    let plan = match api.0.handle.command(Command::Bundle { space, since }).await?? {
        Reply::Bundle(plan) => *plan,
        other => return Err(unexpected(&other)),
    };
    let status = api.0.handle.status();
    let held = status.core.spaces.iter().find(|held| held.id == space);
    let genesis = held.and_then(|held| held.state.genesis());
    let BundlePlan { head, read, authority, content, records } = plan;
    let range = |set| move |Span { from, to }| Range { set, from, to };
    let authority = authority.into_iter().map(range(Set::Authority));
    Ok(Json(Plan {
        space,
        name: genesis.map(|genesis| genesis.name.clone()),
        read,
        time: Moment(head.statement.time()),
        head: BASE64.encode(&head.encode()),
        ranges: authority.chain(content.into_iter().map(range(Set::Content))).collect(),
        records,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    set: Set,
    from: RecordId,
    to: RecordId,
}

/// The first records of a range, and where to go on: a DAG-CBOR array `[[records], next or null,
/// [ids of damaged records, which are left out]]`.
pub(super) async fn page(
    State(api): State<Api>,
    Name(space): Name,
    Parameters(Part { set, from, to }): Parameters<Part>,
) -> Result<Response, Problem> {
    let space = api.0.views.resolve_space(&space).await?;
    let status = api.0.handle.status();
    let Some(held) = status.core.spaces.iter().find(|held| held.id == space) else {
        return Err(Problem::new(Reason::UnknownSpace, format!("space {space} is not held here")));
    };
    let (reader, number) = (api.0.handle.reader().clone(), held.number);
    let read = move || read_range(&*reader, number, set, Span { from, to });
    let read = tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Problem::new(Reason::Internal, error.to_string()))?
        .map_err(|error| {
            let detail = format!("{error}; `ocm doctor` says what is damaged");
            Problem::new(Reason::Internal, detail)
        })?;
    if !read.damaged.is_empty() {
        let ids = read.damaged.clone();
        api.0.handle.command(Command::Reread { space, ids }).await??;
    }
    let body = to_canonical(&(read.records, read.next, read.damaged));
    let kind = HeaderValue::from_static(CBOR);
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// What became of a record that does not stand.
#[derive(Serialize)]
struct Judged {
    /// Its place among those that were sent, from 0.
    index: usize,
    id: Option<RecordId>,
    verdict: &'static str,
    reason: &'static str,
    text: String,
}

/// What became of records.
#[derive(Serialize)]
pub(super) struct Admitted {
    accepted: usize,
    duplicates: usize,
    /// Those that do not stand.
    items: Vec<Judged>,
}

/// Takes in records: a DAG-CBOR array of byte strings, at most 1,024, of one space. Answered when those
/// that were admitted are durable.
pub(super) async fn admit(
    State(api): State<Api>,
    Name(space): Name,
    body: Bytes,
) -> Result<Json<Admitted>, Problem> {
    let space = api.0.views.resolve_space(&space).await?;
    let records: Vec<ByteBuf> = from_canonical(&body).map_err(|error| {
        Problem::bad(format!("the body is no DAG-CBOR array of encoded records: {error}"))
    })?;
    let id = |bytes: &ByteBuf| SignedRecord::decode(bytes).ok().map(|record| record.id());
    let ids: Vec<Option<RecordId>> = records.iter().map(id).collect();
    let records = records.into_iter().map(ByteBuf::into_vec).collect();
    let command = Command::Import { space: Some(space), records };
    let verdicts = match api.0.handle.command(command).await?? {
        Reply::Imported(verdicts) => verdicts,
        other => return Err(unexpected(&other)),
    };
    let count = |wanted: Verdict| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    let (accepted, duplicates) = (count(Verdict::Accept), count(Verdict::Duplicate));
    let items = verdicts
        .iter()
        .zip(ids)
        .enumerate()
        .filter(|(_, (verdict, _))| !verdict.stands())
        .map(|(index, (verdict, id))| Judged {
            index,
            id,
            verdict: verdict.name(),
            reason: verdict.reason(),
            text: verdict.to_string(),
        })
        .collect();
    Ok(Json(Admitted { accepted, duplicates, items }))
}

/// How this node compares with the writer of a bundle.
#[derive(Serialize)]
pub(super) struct Compared {
    peer_id: PeerId,
    did: Did,
    time: Moment,
    state: &'static str,
    ours: Counts,
    theirs: Counts,
    /// Whether the comparison is kept.
    kept: bool,
    /// Why not: `own`, `connected`, `older`, `ahead`, `stranger`.
    not_kept: Option<&'static str>,
}

/// Compares with what the head of a bundle states, to be asked for when its records are here.
pub(super) async fn witness(
    State(api): State<Api>,
    Name(space): Name,
    body: Bytes,
) -> Result<Json<Compared>, Problem> {
    let space = api.0.views.resolve_space(&space).await?;
    let head = BundleHead::decode(&body)
        .map_err(|error| Problem::bad(format!("the body is no head of a bundle: {error}")))?;
    if head.space != space {
        let detail = format!("the bundle is of space {}, not of {space}", head.space);
        return Err(Problem::bad(detail));
    }
    let (time, theirs) = (head.statement.time(), *head.statement.claims());
    let command = Command::Witness { head: Box::new(head) };
    let Witnessed { exporter, ours, comparison, comparable, not_kept } =
        match api.0.handle.command(command).await?? {
            Reply::Witnessed(witnessed) => witnessed,
            other => return Err(unexpected(&other)),
        };
    let state = match comparison {
        _ if !comparable => "not comparable",
        Comparison::Equal => "equal",
        _ => "differs",
    };
    Ok(Json(Compared {
        peer_id: exporter.peer,
        did: exporter.did,
        time: Moment(time),
        state,
        ours: Counts::from(&ours),
        theirs: Counts::from(&theirs),
        kept: not_kept.is_none(),
        not_kept: not_kept.map(NotKept::name),
    }))
}
