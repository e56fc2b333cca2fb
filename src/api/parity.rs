//! What two nodes store of a space, compared, and what the peer signed.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::HEXLOWER;
use ocm_discovery::PeerId;
use ocm_node::{Command, Missing, ParityState, PeerSnapshot, Reply, Stated};
use ocm_record::{Did, SpaceId};
use ocm_sync::{BundleStatement, Comparison, Parity, SetDigest, Since};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::{InSpace, List, Name, Nothing, OptionalInput, Parameters};
use super::moment::Moment;
use super::problem::{Problem, Reason};
use crate::handle::Status;

#[derive(Serialize)]
pub(super) struct Counts {
    authority: u64,
    content: u64,
    missing_bodies: u64,
}

impl From<&Parity> for Counts {
    fn from(parity: &Parity) -> Self {
        Self {
            authority: parity.authority.count,
            content: parity.content.count,
            missing_bodies: parity.missing_bodies,
        }
    }
}

/// Records that one side has and the other lacks, by why.
#[derive(Serialize)]
struct Lacking {
    total: u64,
    held: u64,
    refused: u64,
    rejected: u64,
    in_flight: u64,
    not_asked: u64,
    /// Of those held, refused or rejected.
    quarantined: u64,
}

impl From<&Missing> for Lacking {
    fn from(missing: &Missing) -> Self {
        Self {
            total: missing.total(),
            held: missing.held,
            refused: missing.refused,
            rejected: missing.rejected,
            in_flight: missing.in_flight,
            not_asked: missing.not_asked,
            quarantined: missing.quarantined,
        }
    }
}

#[derive(Serialize)]
struct Digest {
    count: u64,
    digest: String,
}

/// What the peer signed, with all that it takes to check the signature.
#[derive(Serialize)]
struct Statement {
    time: Moment,
    authority: Digest,
    content: Digest,
    missing_bodies: u64,
    /// What it is made out to; of a bundle, which is made out to nobody, there is none.
    nonce: Option<String>,
    /// What else is signed in a bundle.
    bundle: Option<OfBundle>,
    signature: String,
}

/// What the head of a bundle says besides (`protocols/README.md`, section 14).
#[derive(Serialize)]
struct OfBundle {
    after: Option<Moment>,
    lacking: Option<Lacked>,
    kinds: Vec<u64>,
    description: String,
}

#[derive(Serialize)]
struct Lacked {
    peer_id: Option<PeerId>,
    time: Moment,
}

impl From<&BundleStatement> for OfBundle {
    fn from(statement: &BundleStatement) -> Self {
        let (after, lacking) = match statement.since() {
            Since::All => (None, None),
            Since::Time(ms) => (Some(Moment(ms)), None),
            Since::Parity { peer, time } => {
                let peer_id = PeerId::try_from(&peer[..]).ok();
                (None, Some(Lacked { peer_id, time: Moment(time) }))
            }
        };
        let description = HEXLOWER.encode(&statement.description());
        Self { after, lacking, kinds: statement.kinds().to_vec(), description }
    }
}

impl From<&ParityState> for Statement {
    fn from(state: &ParityState) -> Self {
        let digest =
            |set: &SetDigest| Digest { count: set.count, digest: HEXLOWER.encode(&set.digest) };
        Self {
            time: Moment(state.stated.time()),
            authority: digest(&state.theirs.authority),
            content: digest(&state.theirs.content),
            missing_bodies: state.theirs.missing_bodies,
            nonce: match &state.stated {
                Stated::Session { nonce, .. } => Some(HEXLOWER.encode(nonce)),
                Stated::Bundle(_) => None,
            },
            bundle: match &state.stated {
                Stated::Session { .. } => None,
                Stated::Bundle(statement) => Some(OfBundle::from(statement)),
            },
            signature: HEXLOWER.encode(state.stated.signature().as_bytes()),
        }
    }
}

#[derive(Serialize)]
struct Audited {
    at: Moment,
    passed: bool,
}

/// How this node and a peer compare in a space.
#[derive(Serialize)]
pub(super) struct Compared {
    peer_id: PeerId,
    did: Option<Did>,
    connected: bool,
    state: &'static str,
    /// How they compared last: `session`, or `bundle`.
    by: Option<&'static str>,
    equal_since: Option<Moment>,
    differs_since: Option<Moment>,
    at: Option<Moment>,
    cause: Option<String>,
    ours: Option<Counts>,
    theirs: Option<Counts>,
    missing_here: Option<Lacking>,
    missing_there: Option<Lacking>,
    exact: Option<bool>,
    statement: Option<Statement>,
    audit: Option<Audited>,
    /// When the peer wrote the last bundle that came here: `ocm bundle export --since parity` leaves out
    /// what it had then.
    described: Option<Moment>,
}

#[derive(Serialize)]
pub(super) struct InSpaceCompared {
    space: SpaceId,
    name: Option<String>,
    #[serde(flatten)]
    compared: Compared,
}

/// What a node may know of a peer in a space.
struct Known<'a> {
    peer_id: PeerId,
    connected: Option<&'a PeerSnapshot>,
    parity: Option<&'a ParityState>,
    /// What is stored here.
    current: Option<&'a Parity>,
    denied: bool,
}

impl From<Known<'_>> for Compared {
    fn from(known: Known<'_>) -> Self {
        let Known { peer_id, connected, parity, current, denied } = known;
        let state = match parity {
            _ if denied => "denied",
            None => "not compared",
            Some(parity) if parity.doubt.is_some() => "unproved",
            Some(parity) if !parity.comparable => "not comparable",
            Some(parity) if Some(&parity.ours) != current => "changed since",
            Some(parity) if parity.comparison == Comparison::Equal => "equal",
            Some(_) => "differs",
        };
        let did = connected.and_then(|peer| peer.did);
        Self {
            peer_id,
            did: did.or_else(|| parity.map(|parity| parity.did)),
            connected: connected.is_some(),
            state,
            by: parity
                .map(|parity| if parity.stated.is_by_bundle() { "bundle" } else { "session" }),
            equal_since: parity
                .filter(|_| state == "equal")
                .and_then(|parity| parity.equal_since_ms)
                .map(Moment),
            differs_since: parity.and_then(|parity| parity.differs_since_ms).map(Moment),
            at: parity.map(|parity| Moment(parity.at_ms)),
            cause: match parity {
                _ if denied => {
                    Some("it says that it does not hold the space, or not for us".into())
                }
                None => None,
                Some(parity) => describe(parity),
            },
            ours: parity.map(|parity| Counts::from(&parity.ours)),
            theirs: parity.map(|parity| Counts::from(&parity.theirs)),
            missing_here: parity.map(|parity| Lacking::from(&parity.here)),
            missing_there: parity.map(|parity| Lacking::from(&parity.there)),
            exact: parity.map(|parity| parity.exact),
            statement: parity.map(Statement::from),
            audit: parity
                .and_then(|parity| parity.audit)
                .map(|audit| Audited { at: Moment(audit.at_ms), passed: audit.passed }),
            described: parity.and_then(|parity| parity.described_ms).map(Moment),
        }
    }
}

/// Why two nodes are not equal, for people.
fn describe(parity: &ParityState) -> Option<String> {
    if let Some(doubt) = &parity.doubt {
        return Some(format!("it does not prove what it claims: {doubt}"));
    }
    let missing = |missing: &Missing, place: &str| {
        let why: Vec<String> = [
            ("held", missing.held),
            ("refused", missing.refused),
            ("rejected", missing.rejected),
            ("in flight", missing.in_flight),
            ("not asked", missing.not_asked),
            ("of them quarantined", missing.quarantined),
        ]
        .into_iter()
        .filter(|(_, records)| *records > 0)
        .map(|(why, records)| format!("{records} {why}"))
        .collect();
        (!why.is_empty())
            .then(|| format!("{} missing {place} ({})", missing.total(), why.join(", ")))
    };
    let sets = match &parity.comparison {
        Comparison::Equal => return None,
        Comparison::AuthorityDiffers { ours, theirs } => {
            format!("authority records differ: {ours} here, {theirs} there")
        }
        Comparison::ContentDiffers { ours, theirs } => {
            format!("content records differ: {ours} here, {theirs} there")
        }
        Comparison::BodiesDiffer { ours, theirs } => {
            format!("missing bodies differ: {ours} here, {theirs} there")
        }
    };
    let sides = [missing(&parity.here, "here"), missing(&parity.there, "there")];
    let sides: Vec<String> = sides.into_iter().flatten().collect();
    if sides.is_empty() {
        return Some(sets);
    }
    let least = if parity.exact { "" } else { "at least " };
    Some(format!("{sets}; {least}{}", sides.join(" and ")))
}

/// Every peer that is known to share a space, connected or not.
fn compared(status: &Status, space: SpaceId) -> impl Iterator<Item = Compared> + '_ {
    let core = &status.core;
    let current = core.spaces.iter().find(|held| held.id == space).map(|held| &held.parity);
    let connected: BTreeMap<PeerId, &PeerSnapshot> =
        core.peers.iter().map(|peer| (peer.peer, peer)).collect();
    let shares =
        |peer: &PeerSnapshot| peer.shared.contains_key(&space) || peer.denied.contains(&space);
    let mut peers: BTreeSet<PeerId> =
        connected.values().filter(|peer| shares(peer)).map(|peer| peer.peer).collect();
    peers.extend(core.parities.keys().filter(|(of, _)| *of == space).map(|(_, peer)| *peer));
    peers.into_iter().map(move |peer_id| {
        let connected = connected.get(&peer_id).copied();
        let denied = connected.is_some_and(|peer| peer.denied.contains(&space));
        let parity = core.parity(space, peer_id);
        Compared::from(Known { peer_id, connected, parity, current, denied })
    })
}

pub(super) async fn of_space(
    State(api): State<Api>,
    Name(space): Name,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<List<Compared>>, Problem> {
    let space = api.0.views.resolve_space(&space).await?;
    let status = api.0.handle.status();
    Ok(Json(compared(&status, space).collect()))
}

pub(super) async fn list(
    State(api): State<Api>,
    Parameters(InSpace { space }): Parameters<InSpace>,
) -> Result<Json<List<InSpaceCompared>>, Problem> {
    let only = match space {
        Some(space) => Some(api.0.views.resolve_space(&space).await?),
        None => None,
    };
    let status = api.0.handle.status();
    let spaces = status.core.spaces.iter().filter(|space| only.is_none_or(|only| only == space.id));
    let items = spaces.flat_map(|space| {
        let name = space.state.genesis().map(|genesis| genesis.name.clone());
        compared(&status, space.id).map(move |compared| InSpaceCompared {
            space: space.id,
            name: name.clone(),
            compared,
        })
    });
    Ok(Json(items.collect()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    space: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Begun {
    sessions: usize,
}

pub(super) async fn sync(
    State(api): State<Api>,
    OptionalInput(Which { space }): OptionalInput<Which>,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    let space = match space {
        Some(space) => Some(api.0.views.resolve_space(&space).await?),
        None => None,
    };
    match api.0.handle.command(Command::Sync { space }).await?? {
        Reply::Sessions(sessions) => Ok((StatusCode::ACCEPTED, Json(Begun { sessions }))),
        other => Err(Problem::new(
            Reason::Internal,
            format!("the comparison was answered with {other:?}"),
        )),
    }
}

#[cfg(test)]
mod tests;
