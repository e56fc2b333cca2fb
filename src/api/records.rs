//! Single records, and those that were turned away.

use axum::Json;
use axum::extract::State;
use data_encoding::HEXLOWER;
use ipld_core::ipld::Ipld;
use ocm_discovery::PeerId;
use ocm_memory::decode_edits;
use ocm_record::{Did, Kind, MemoryId, RecordId, Set, SpaceId, VerifiedRecord};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Api;
use super::body::{List, Name, Nothing, Parameters};
use super::moment::Moment;
use super::problem::Problem;

/// A record as it is stored. What cannot be read is null.
#[derive(Serialize)]
pub(super) struct Record {
    id: RecordId,
    cid: String,
    space: SpaceId,
    set: Set,
    kind: Option<u64>,
    kind_name: Option<&'static str>,
    memory: Option<MemoryId>,
    author: Option<Did>,
    key: Option<String>,
    boot: Option<String>,
    seq: Option<u64>,
    prev: Option<RecordId>,
    deps: Vec<RecordId>,
    auth: Vec<RecordId>,
    time: Moment,
    size: Option<u32>,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    content: Value,
    header_hex: Option<String>,
    signature_hex: Option<String>,
}

pub(super) async fn show(
    State(api): State<Api>,
    Name(id): Name,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<Record>, Problem> {
    let place = api.0.views.resolve_record(&id).await?;
    let stored = api.0.views.record(place).await?;
    let record = stored.record.as_ref();
    let header = record.map(VerifiedRecord::header);
    Ok(Json(Record {
        id: place.record,
        cid: place.record.cid().to_string(),
        space: place.space,
        set: place.set,
        kind: stored.kind.map(|kind| kind.0),
        kind_name: stored.kind.map(Kind::name),
        memory: record.and_then(VerifiedRecord::memory),
        author: record.map(VerifiedRecord::author),
        key: header.map(|header| HEXLOWER.encode(header.key.as_bytes())),
        boot: header.map(|header| HEXLOWER.encode(header.boot.as_bytes())),
        seq: header.map(|header| header.seq),
        prev: header.and_then(|header| header.prev),
        deps: header.map(|header| header.deps.clone()).unwrap_or_default(),
        auth: header.map(|header| header.auth.clone()).unwrap_or_default(),
        time: place.record.time().into(),
        size: header.map(|header| header.size),
        verified: stored.cause.is_none(),
        cause: stored.cause.clone(),
        content: record.map_or(Value::Null, content_of),
        header_hex: record.map(|record| HEXLOWER.encode(record.header_bytes())),
        signature_hex: record.map(|record| HEXLOWER.encode(record.signature().as_bytes())),
    }))
}

/// What a body says: the edits of a change, as its history shows them; else what is there.
fn content_of(record: &VerifiedRecord) -> Value {
    let Some(Ok(body)) = record.body() else { return Value::Null };
    if record.header().kind == Kind::CHANGE
        && let Ok(edits) = decode_edits(&body.content)
    {
        return json!(edits);
    }
    to_json(&body.content)
}

/// As DAG-JSON writes it. Nesting is bounded by the decoder ([`ocm_record::limits::CBOR_DEPTH`]).
fn to_json(value: &Ipld) -> Value {
    match value {
        Ipld::Null => Value::Null,
        Ipld::Bool(b) => json!(b),
        Ipld::Integer(n) => i64::try_from(*n)
            .map(Value::from)
            .or_else(|_| u64::try_from(*n).map(Value::from))
            .unwrap_or_else(|_| json!(n.to_string())),
        Ipld::Float(x) => json!(x),
        Ipld::String(text) => json!(text),
        Ipld::Bytes(bytes) => {
            json!({ "/": { "bytes": data_encoding::BASE64_NOPAD.encode(bytes) } })
        }
        Ipld::List(items) => items.iter().map(to_json).collect(),
        Ipld::Map(map) => Value::Object(
            map.iter().map(|(key, value)| (key.clone(), to_json(value))).collect::<Map<_, _>>(),
        ),
        Ipld::Link(cid) => json!({ "/": cid.to_string() }),
    }
}

/// A record that was turned away.
#[derive(Serialize)]
pub(super) struct Refused {
    at: Moment,
    space: Option<SpaceId>,
    id: Option<RecordId>,
    verdict: &'static str,
    reason: &'static str,
    text: String,
    peer: Option<PeerId>,
}

pub(super) async fn refused(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Json<List<Refused>> {
    let status = api.0.handle.status();
    let refused = status.core.refused.iter().rev().map(|entry| Refused {
        at: Moment(entry.at_ms),
        space: entry.space,
        id: entry.id,
        verdict: entry.verdict,
        reason: entry.reason,
        text: entry.text.clone(),
        peer: entry.peer,
    });
    Json(refused.collect())
}
