//! What two nodes store of a space, compared, and what the peer signed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::HEXLOWER;
use ocm_discovery::PeerId;
use ocm_node::{Command, Missing, ParityState, PeerSnapshot, Reply, StuckList, StuckRecord};
use ocm_record::{Did, RecordId, Set, SpaceId};
use ocm_sync::{Comparison, Parity, SetDigest};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::{InSpace, List, Name, Nothing, OptionalInput, Parameters, no_cursor, page_size};
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
struct Stated {
    time: Moment,
    authority: Digest,
    content: Digest,
    missing_bodies: u64,
    nonce: String,
    signature: String,
}

impl From<&ParityState> for Stated {
    fn from(state: &ParityState) -> Self {
        let digest =
            |set: &SetDigest| Digest { count: set.count, digest: HEXLOWER.encode(&set.digest) };
        Self {
            time: Moment(state.statement.time()),
            authority: digest(&state.theirs.authority),
            content: digest(&state.theirs.content),
            missing_bodies: state.theirs.missing_bodies,
            nonce: HEXLOWER.encode(&state.nonce),
            signature: HEXLOWER.encode(state.statement.signature().as_bytes()),
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
    equal_since: Option<Moment>,
    differs_since: Option<Moment>,
    at: Option<Moment>,
    cause: Option<String>,
    ours: Option<Counts>,
    theirs: Option<Counts>,
    missing_here: Option<Lacking>,
    missing_there: Option<Lacking>,
    exact: Option<bool>,
    statement: Option<Stated>,
    audit: Option<Audited>,
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
            statement: parity.map(Stated::from),
            audit: parity
                .and_then(|parity| parity.audit)
                .map(|audit| Audited { at: Moment(audit.at_ms), passed: audit.passed }),
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

/// A record that a peer offers and that was not admitted in several tries.
#[derive(Serialize)]
pub(super) struct Quarantined {
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

/// A page of the latest of each space, the latest to be offered first; how many there are in all, and how many of them
/// are in no page.
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

pub(super) async fn quarantined(
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
mod tests {
    use ocm_node::AuditState;
    use ocm_record::{RecordId, SigningKey};
    use ocm_sync::{Statement, Terms, compare};
    use serde_json::{Value, json};

    use super::*;

    fn parity(content: u64) -> Parity {
        let set = |count| SetDigest { count, digest: [count as u8; 32] };
        Parity { authority: set(2), content: set(content), missing_bodies: 0 }
    }

    fn peer() -> PeerId {
        PeerId::new(SigningKey::from_seed(&[1; 32]).public())
    }

    /// 12 records here, and as many as said there.
    fn state(there: u64) -> ParityState {
        let key = SigningKey::from_seed(&[2; 32]);
        let space = SpaceId(RecordId::MIN);
        let terms = Terms { space, from: peer().to_bytes(), to: [0; 38], nonce: [7; 32] };
        let (ours, theirs) = (parity(12), parity(there));
        let equal = ours == theirs;
        ParityState {
            did: Did::from(key.public()),
            nonce: [7; 32],
            at_ms: 2000,
            equal_since_ms: equal.then_some(1000),
            differs_since_ms: (!equal).then_some(1500),
            comparable: true,
            comparison: compare(&ours, &theirs),
            ours,
            theirs,
            statement: Statement::sign(&key, &terms, theirs, 1999),
            here: Missing::default(),
            there: Missing::default(),
            exact: equal,
            doubt: None,
            audit: None,
        }
    }

    fn shown(state: Option<&ParityState>, current: u64, denied: bool) -> Value {
        let current = parity(current);
        let current = Some(&current);
        let known = Known { peer_id: peer(), connected: None, parity: state, current, denied };
        serde_json::to_value(Compared::from(known)).unwrap()
    }

    #[test]
    fn a_statement_is_shown_with_all_that_it_takes_to_check_it() {
        let state = state(12);
        let shown = shown(Some(&state), 12, false);
        assert_eq!((&shown["state"], &shown["connected"]), (&json!("equal"), &json!(false)));
        assert_eq!(shown["equal_since"], "1970-01-01T00:00:01.000Z");
        assert_eq!(shown["did"], state.did.to_string());
        let statement = &shown["statement"];
        assert_eq!(statement["time"], "1970-01-01T00:00:01.999Z");
        assert_eq!(statement["content"], json!({"count": 12, "digest": "0c".repeat(32)}));
        assert_eq!(statement["nonce"], "07".repeat(32));
        let signature = HEXLOWER.encode(state.statement.signature().as_bytes());
        assert_eq!(statement["signature"], signature);
    }

    #[test]
    fn equal_is_said_only_of_what_is_stored_now_and_of_whom_is_believed() {
        let mut state = state(12);
        let says = |state: &ParityState| shown(Some(state), 12, false)["state"].clone();
        assert_eq!(says(&state), "equal");
        let changed = shown(Some(&state), 13, false);
        assert_eq!(changed["state"], "changed since");
        assert_eq!(changed["equal_since"], Value::Null);
        assert_eq!(shown(Some(&state), 12, true)["state"], "denied");
        assert_eq!(shown(None, 12, false)["state"], "not compared");
        state.audit = Some(AuditState { at_ms: 3000, passed: false });
        state.doubt = Some("3 of 16 proofs that it has a record are wrong".into());
        let doubted = shown(Some(&state), 12, false);
        assert_eq!(doubted["state"], "unproved");
        assert_eq!(
            doubted["cause"],
            "it does not prove what it claims: 3 of 16 proofs that it has a record are wrong"
        );
        assert_eq!(doubted["audit"], json!({"at": "1970-01-01T00:00:03.000Z", "passed": false}));
        (state.doubt, state.comparable) = (None, false);
        assert_eq!(says(&state), "not comparable");
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

    #[test]
    fn a_difference_is_told_with_its_causes() {
        let mut state = state(15);
        state.here =
            Missing { refused: 2, held: 1, not_asked: 1, quarantined: 3, ..Missing::default() };
        state.there = Missing { refused: 1, ..Missing::default() };
        let told = shown(Some(&state), 12, false);
        assert_eq!((&told["state"], &told["exact"]), (&json!("differs"), &json!(false)));
        assert_eq!(told["differs_since"], "1970-01-01T00:00:01.500Z");
        assert_eq!(
            told["cause"],
            "content records differ: 12 here, 15 there; at least 4 missing here (1 held, 2 \
             refused, 1 not asked, 3 of them quarantined) and 1 missing there (1 refused)"
        );
        assert_eq!(
            told["missing_here"],
            json!({"total": 4, "held": 1, "refused": 2, "rejected": 0, "in_flight": 0,
                "not_asked": 1, "quarantined": 3})
        );
        state.exact = true;
        let cause = shown(Some(&state), 12, false)["cause"].as_str().unwrap().to_owned();
        assert!(cause.contains("; 4 missing here"), "{cause}");
    }
}
