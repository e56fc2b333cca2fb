//! The live feed, as server-sent events.
//!
//! A feed is live and nothing more: it begins with what happens after it was asked for, and
//! `Last-Event-ID` is not honoured, because the node keeps no events (the numbers count from 1
//! in every process). Whoever was away catches up by the lists, which show everything durable.
//! A listener that is too slow loses the oldest events and hears how many in a `lagged` event.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures::StreamExt as _;
use ocm_node::Event;
use ocm_record::SpaceId;
use serde_json::{Value, json};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::body::{InSpace, Parameters};
use super::moment::Moment;
use super::problem::{Problem, Reason};
use super::{Api, limits};
use crate::handle::Numbered;

/// Seconds between the comments that keep a quiet feed open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn listen(
    State(api): State<Api>,
    Parameters(InSpace { space }): Parameters<InSpace>,
) -> Result<impl IntoResponse, Problem> {
    let only = match space {
        Some(space) => Some(api.0.views.resolve_space(&space).await?),
        None => None,
    };
    let place = api.0.listeners.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{} listeners have the feed already: end one", limits::LISTENERS);
        Problem::new(Reason::Unavailable, detail)
    })?;
    let mut stopping = api.0.stopping.subscribe();
    let stopped = async move {
        // An error says that the API is gone, which ends the feed too.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let messages = BroadcastStream::new(api.0.handle.feed())
        .filter_map(move |event| {
            // The place is given back when the stream is dropped.
            let _held = &place;
            std::future::ready(message(event, only))
        })
        .take_until(Box::pin(stopped))
        .map(Ok::<_, Infallible>);
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn message(
    event: Result<Arc<Numbered>, BroadcastStreamRecvError>,
    only: Option<SpaceId>,
) -> Option<Message> {
    let numbered = match event {
        Ok(numbered) => numbered,
        Err(BroadcastStreamRecvError::Lagged(missed)) => {
            let data = json!({ "missed": missed }).to_string();
            return Some(Message::default().event("lagged").data(data));
        }
    };
    let (name, space, mut data) = describe(&numbered.event);
    if only.is_some() && space != only {
        return None;
    }
    data["at"] = json!(Moment(numbered.at_ms));
    Some(Message::default().event(name).id(numbered.number.to_string()).data(data.to_string()))
}

/// An event's name, the space it is about, and what it tells.
fn describe(event: &Event) -> (&'static str, Option<SpaceId>, Value) {
    match event {
        Event::Record { space, id, kind, memory, author, time, from } => (
            "record",
            Some(*space),
            json!({
                "space": space,
                "id": id,
                "kind": kind.0,
                "kind_name": kind.name(),
                "memory": memory,
                "author": author,
                "time": Moment::from(*time),
                "from": from,
            }),
        ),
        Event::PeerKnown { peer, did } => {
            ("peer", None, json!({ "peer_id": peer, "did": did, "state": "known" }))
        }
        Event::PeerGone { peer } => ("peer", None, json!({ "peer_id": peer, "state": "gone" })),
        Event::Compared { peer, space, equal } => {
            ("parity", Some(*space), json!({ "peer_id": peer, "space": space, "equal": equal }))
        }
        Event::SessionEnded { peer, space, outcome } => (
            "session",
            Some(*space),
            json!({ "peer_id": peer, "space": space, "outcome": outcome }),
        ),
        Event::Damaged { id } => ("damaged", None, json!({ "id": id })),
    }
}
