//! Records that peers offer and that were not admitted in several tries.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use ocm_discovery::PeerId;
use ocm_node::{StuckList, StuckRecord};
use ocm_record::{RecordId, Set, SpaceId};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::{List, Parameters, no_cursor, page_size};
use super::moment::Moment;
use super::problem::Problem;

/// A record that a peer offers and that was not admitted in several tries.
#[derive(Serialize)]
struct Quarantined {
    space: SpaceId,
    id: RecordId,
    set: &'static str,
    peer_id: PeerId,
    verdict: &'static str,
    reason: &'static str,
    text: String,
    first: Moment,
    last: Moment,
    attempts: u32,
    next: Moment,
}

impl From<&StuckRecord> for Quarantined {
    fn from(stuck: &StuckRecord) -> Self {
        Self {
            space: stuck.space,
            id: stuck.id,
            set: match stuck.set {
                Set::Authority => "authority",
                Set::Content => "content",
            },
            peer_id: stuck.peer,
            verdict: stuck.verdict,
            reason: stuck.reason,
            text: stuck.text.clone(),
            first: Moment(stuck.first_ms),
            last: Moment(stuck.last_ms),
            attempts: stuck.attempts,
            next: Moment(stuck.next_ms),
        }
    }
}

/// A page of those that are listed of each space, the latest to be first offered at the top; how many
/// there are in all, and how many of them are in no page.
#[derive(Serialize)]
pub(super) struct QuarantinedList {
    #[serde(flatten)]
    list: List<Quarantined>,
    total: usize,
    unlisted: usize,
}

/// Where a record stands in the list: by when it was first offered, latest first. Further tries do not
/// move it, so that no page misses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position(Reverse<u64>, RecordId, PeerId);

impl From<&StuckRecord> for Position {
    fn from(stuck: &StuckRecord) -> Self {
        Self(Reverse(stuck.first_ms), stuck.id, stuck.peer)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0.0, self.1, self.2)
    }
}

impl FromStr for Position {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or_else(no_cursor);
        let first = part()?.parse().map_err(|_| no_cursor())?;
        let id = part()?.parse().map_err(|_| no_cursor())?;
        let peer = part()?.parse().map_err(|_| no_cursor())?;
        Ok(Self(Reverse(first), id, peer))
    }
}

impl QuarantinedList {
    fn new(
        stuck: &BTreeMap<SpaceId, StuckList>,
        only: Option<SpaceId>,
        after: Option<Position>,
        limit: usize,
    ) -> Self {
        let lists =
            || stuck.iter().filter(move |(space, _)| only.is_none_or(|only| only == **space));
        let mut listed: Vec<&StuckRecord> = lists().flat_map(|(_, of)| &of.latest).collect();
        let total = lists().map(|(_, of)| of.total).sum::<usize>();
        let unlisted = total.saturating_sub(listed.len());
        listed.retain(|stuck| after.is_none_or(|after| Position::from(*stuck) > after));
        listed.sort_by_key(|stuck| Position::from(*stuck));
        let more = listed.len() > limit;
        listed.truncate(limit);
        let next = listed.last().filter(|_| more).map(|last| Position::from(*last).to_string());
        let items = listed.into_iter().map(Quarantined::from).collect();
        Self { list: List { items, next }, total, unlisted }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    space: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    Parameters(Wanted { space, limit, cursor }): Parameters<Wanted>,
) -> Result<Json<QuarantinedList>, Problem> {
    let limit = page_size(limit)?;
    let after = cursor.map(|cursor| cursor.parse()).transpose()?;
    let only = match space {
        Some(space) => Some(api.0.views.resolve_space(&space).await?),
        None => None,
    };
    let status = api.0.handle.status();
    Ok(Json(QuarantinedList::new(&status.core.stuck, only, after, limit)))
}

#[cfg(test)]
mod tests {
    use ocm_record::SigningKey;
    use serde_json::{Value, json};

    use super::*;

    fn peer() -> PeerId {
        PeerId::new(SigningKey::from_seed(&[1; 32]).public())
    }

    #[test]
    fn what_is_quarantined_is_listed_by_space_with_how_many_there_are() {
        let space = |n| SpaceId(RecordId::from_bytes([n; 40]));
        let stuck = |n: u8, first_ms: u64| StuckRecord {
            space: space(n),
            id: RecordId::from_bytes([first_ms as u8; 40]),
            set: Set::Content,
            peer: peer(),
            verdict: "refuse",
            reason: "not_permitted",
            text: "refused: no right".into(),
            first_ms,
            // Tried in the opposite order.
            last_ms: 100 - first_ms,
            attempts: 3,
            next_ms: 60_000,
        };
        let lists = BTreeMap::from([
            (space(1), StuckList { total: 300, latest: vec![stuck(1, 9), stuck(1, 7)] }),
            (space(2), StuckList { total: 1, latest: vec![stuck(2, 8)] }),
        ]);
        let page = |only, after, limit| {
            serde_json::to_value(QuarantinedList::new(&lists, only, after, limit)).unwrap()
        };
        let told = |only| page(only, None, 50);
        let times = |told: &Value| -> Vec<String> {
            let items = told["items"].as_array().unwrap();
            items.iter().map(|item| item["first"].as_str().unwrap()[20..23].to_owned()).collect()
        };
        let all = told(None);
        assert_eq!((&all["total"], &all["unlisted"]), (&json!(301), &json!(298)));
        assert_eq!(all["next"], Value::Null, "what is in no page is behind no cursor");
        assert_eq!(times(&all), ["009", "008", "007"]);
        let one = told(Some(space(2)));
        assert_eq!(one["total"], 1);
        assert_eq!(times(&one), ["008"]);
        assert_eq!(one["items"][0]["space"], space(2).to_string());
        let none = told(Some(space(3)));
        assert_eq!(none, json!({"items": [], "next": null, "total": 0, "unlisted": 0}));
        // Page by page, each once.
        let (mut after, mut pages) = (None, Vec::new());
        loop {
            let page = page(None, after, 2);
            assert_eq!((&page["total"], &page["unlisted"]), (&json!(301), &json!(298)));
            pages.push(times(&page));
            let Some(next) = page["next"].as_str() else { break };
            after = Some(next.parse::<Position>().unwrap());
        }
        assert_eq!(pages, [vec!["009", "008"], vec!["007"]]);
        let full = page(None, None, 3);
        assert_eq!((times(&full).len(), &full["next"]), (3, &Value::Null));
        for wrong in ["", "9", "9.x.y", "x", "-1.v.v"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }
}
