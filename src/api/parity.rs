//! What two nodes store of a space, compared. Only counts leave the node here; the digests that
//! were compared are the peers' own affair.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ocm_discovery::PeerId;
use ocm_node::{Command, ParityState, Reply};
use ocm_record::{Did, SpaceId};
use ocm_sync::{Comparison, Parity};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::{InSpace, List, Name, Nothing, OptionalInput, Parameters};
use super::moment::Moment;
use super::problem::{Problem, Reason};
use crate::handle::Status;

#[derive(Serialize)]
struct Counts {
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

#[derive(Serialize)]
pub(super) struct Compared {
    peer_id: PeerId,
    did: Option<Did>,
    state: &'static str,
    equal_since: Option<Moment>,
    at: Option<Moment>,
    cause: Option<String>,
    ours: Option<Counts>,
    theirs: Option<Counts>,
    not_admitted: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
pub(super) struct InSpaceCompared {
    space: SpaceId,
    name: Option<String>,
    #[serde(flatten)]
    compared: Compared,
}

impl Compared {
    fn new(
        peer_id: PeerId,
        did: Option<Did>,
        parity: Option<&ParityState>,
        current: Option<&Parity>,
    ) -> Self {
        let state = match parity {
            None => "not compared",
            Some(parity) if !parity.comparable => "not comparable",
            Some(parity) if Some(&parity.ours) != current => "changed since",
            Some(parity) if parity.comparison == Comparison::Equal => "equal",
            Some(_) => "differs",
        };
        Self {
            peer_id,
            did,
            state,
            equal_since: parity.and_then(|parity| parity.equal_since_ms).map(Moment),
            at: parity.map(|parity| Moment(parity.at_ms)),
            cause: parity.and_then(|parity| describe(&parity.comparison)),
            ours: parity.map(|parity| Counts::from(&parity.ours)),
            theirs: parity.map(|parity| Counts::from(&parity.theirs)),
            not_admitted: parity.map(|parity| parity.not_admitted.clone()).unwrap_or_default(),
        }
    }
}

fn describe(comparison: &Comparison) -> Option<String> {
    let (what, ours, theirs) = match comparison {
        Comparison::Equal => return None,
        Comparison::AuthorityDiffers { ours, theirs } => ("authority records", ours, theirs),
        Comparison::ContentDiffers { ours, theirs } => ("content records", ours, theirs),
        Comparison::BodiesDiffer { ours, theirs } => ("missing bodies", ours, theirs),
    };
    Some(format!("{what} differ: {ours} here, {theirs} there"))
}

fn compared(status: &Status, space: SpaceId) -> impl Iterator<Item = Compared> + '_ {
    let held = status.core.spaces.iter().find(|held| held.id == space);
    let current = held.map(|held| &held.parity);
    status.core.peers.iter().filter_map(move |peer| {
        let parity = peer.shared.get(&space)?;
        Some(Compared::new(peer.peer, peer.did, parity.as_ref(), current))
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
