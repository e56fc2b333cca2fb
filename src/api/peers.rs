//! Peers: who is connected, and what is asked of the network.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ocm_discovery::PeerId;
use ocm_record::{Did, SpaceId};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::{Input, List, Name, Nothing, Parameters};
use super::moment::Moment;
use super::problem::{Problem, Reason};
use crate::handle::{NetworkCommand, NetworkReply};

#[derive(Serialize)]
pub(super) struct Peer {
    peer_id: PeerId,
    did: Option<Did>,
    address: String,
    path: &'static str,
    transport: &'static str,
    direction: &'static str,
    since: Moment,
    rtt_ms: Option<f64>,
    source: &'static str,
    agent: Option<String>,
    shared_spaces: Vec<SpaceId>,
}

fn to_ms(micros: u64) -> f64 {
    // Exact up to 285 years.
    micros as f64 / 1000.0
}

pub(super) async fn list(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Json<List<Peer>> {
    let status = api.0.handle.status();
    let peers = status.network.connections.iter().map(|connection| {
        let known = status.core.peers.iter().find(|peer| peer.peer == connection.peer);
        Peer {
            peer_id: connection.peer,
            did: known.and_then(|peer| peer.did),
            address: connection.address.clone(),
            path: if connection.relayed { "relayed" } else { "direct" },
            transport: connection.transport,
            direction: connection.direction,
            since: Moment(connection.since_ms),
            rtt_ms: connection.rtt_us.map(to_ms),
            source: connection.source,
            agent: connection.agent.clone(),
            shared_spaces: known
                .map(|peer| peer.shared.keys().copied().collect())
                .unwrap_or_default(),
        }
    });
    Json(peers.collect())
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Address {
    address: String,
}

pub(super) async fn connect(
    State(api): State<Api>,
    Input(Address { address }): Input<Address>,
) -> Result<(StatusCode, Json<Address>), Problem> {
    api.0.handle.network(NetworkCommand::Connect(address.clone())).await??;
    Ok((StatusCode::ACCEPTED, Json(Address { address })))
}

pub(super) async fn forget(
    State(api): State<Api>,
    Input(Address { address }): Input<Address>,
) -> Result<Json<Address>, Problem> {
    api.0.handle.network(NetworkCommand::Forget(address.clone())).await??;
    Ok(Json(Address { address }))
}

fn peer_of(name: &str) -> Result<PeerId, Problem> {
    name.parse().map_err(Problem::bad)
}

#[derive(Serialize)]
pub(super) struct Pinged {
    peer_id: PeerId,
    rtt_ms: f64,
}

pub(super) async fn ping(
    State(api): State<Api>,
    Name(peer): Name,
) -> Result<Json<Pinged>, Problem> {
    let peer_id = peer_of(&peer)?;
    match api.0.handle.network(NetworkCommand::Ping(peer_id)).await?? {
        NetworkReply::RoundTrip(micros) => Ok(Json(Pinged { peer_id, rtt_ms: to_ms(micros) })),
        NetworkReply::Done => Err(Problem::new(
            Reason::Internal,
            format!("the ping of {peer_id} was answered without a time"),
        )),
    }
}

#[derive(Serialize)]
pub(super) struct Blocked {
    peer_id: PeerId,
    blocked: bool,
}

pub(super) async fn block(
    State(api): State<Api>,
    Name(peer): Name,
) -> Result<Json<Blocked>, Problem> {
    let peer_id = peer_of(&peer)?;
    api.0.handle.network(NetworkCommand::Block(peer_id)).await??;
    Ok(Json(Blocked { peer_id, blocked: true }))
}

pub(super) async fn unblock(
    State(api): State<Api>,
    Name(peer): Name,
) -> Result<Json<Blocked>, Problem> {
    let peer_id = peer_of(&peer)?;
    api.0.handle.network(NetworkCommand::Unblock(peer_id)).await??;
    Ok(Json(Blocked { peer_id, blocked: false }))
}
