//! Spaces: what is shared together, and who belongs to it.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::HEXLOWER_PERMISSIVE;
use ocm_node::{Command, Reply, SpaceSnapshot};
use ocm_record::{Did, Kind, PublicKey, RecordId, Set, SpaceId};
use ocm_space::{Access, Grant, Policy, Role};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::{Input, List, Name, Nothing, Parameters};
use super::moment::Moment;
use super::problem::{Problem, Reason};
use super::status::Records;
use crate::handle::{NetworkCommand, Status};
use crate::invitation::{self, Invitation};
use crate::views::RecordPlace;

#[derive(Serialize)]
pub(super) struct Space {
    id: SpaceId,
    name: Option<String>,
    policy: Option<Policy>,
    role: Option<Role>,
    owners: Vec<Did>,
    memories: u64,
    records: Records,
    held: usize,
    equivocations: u64,
    default: bool,
}

impl Space {
    fn of(api: &Api, status: &Status, space: &SpaceSnapshot) -> Self {
        let genesis = space.state.genesis();
        Self {
            id: space.id,
            name: genesis.map(|genesis| genesis.name.clone()),
            policy: genesis.map(|genesis| genesis.policy),
            role: space.state.role(&status.core.did),
            owners: genesis.map(|genesis| genesis.owners.clone()).unwrap_or_default(),
            memories: space.tallies.memories,
            records: Records {
                authority: space.parity.authority.count,
                content: space.parity.content.count,
            },
            held: space.held,
            equivocations: space.tallies.equivocations,
            default: api.0.config.default_space == Some(space.id),
        }
    }
}

/// How long a change that is durable may take to be shown.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

/// Looks at a space once `shows` holds for it: what is durable is shown a moment later.
async fn look<T>(
    api: &Api,
    id: SpaceId,
    shows: impl Fn(&SpaceSnapshot) -> bool,
    show: impl FnOnce(&Status, &SpaceSnapshot) -> T,
) -> Result<T, Problem> {
    let mut watch = api.0.handle.watch();
    let shown = watch
        .wait_for(|status| status.core.spaces.iter().any(|space| space.id == id && shows(space)));
    let status = match tokio::time::timeout(SHOWN_WITHIN, shown).await {
        Ok(Ok(status)) => status.clone(),
        Ok(Err(_)) => return Err(crate::handle::Stopping.into()),
        Err(_) => api.0.handle.status(),
    };
    match status.core.spaces.iter().find(|space| space.id == id) {
        Some(space) => Ok(show(&status, space)),
        None => Err(Problem::new(Reason::UnknownSpace, format!("space {id} is not held here"))),
    }
}

/// The space that a text names.
async fn find<T>(
    api: &Api,
    text: &str,
    show: impl FnOnce(&Status, &SpaceSnapshot) -> T,
) -> Result<T, Problem> {
    let id = api.0.views.resolve_space(text).await?;
    look(api, id, |_| true, show).await
}

pub(super) async fn list(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Json<List<Space>> {
    let status = api.0.handle.status();
    Json(status.core.spaces.iter().map(|space| Space::of(&api, &status, space)).collect())
}

pub(super) async fn show(
    State(api): State<Api>,
    Name(id): Name,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<Space>, Problem> {
    Ok(Json(find(&api, &id, |status, space| Space::of(&api, status, space)).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    name: String,
    #[serde(default)]
    write: Access,
    #[serde(default)]
    read: Access,
}

pub(super) async fn create(
    State(api): State<Api>,
    Input(New { name, write, read }): Input<New>,
) -> Result<(StatusCode, Json<Space>), Problem> {
    if name.trim().is_empty() {
        return Err(Problem::bad("a space has a name"));
    }
    let policy = Policy { write, read };
    match api.0.handle.command(Command::CreateSpace { name, policy }).await?? {
        Reply::Space(id) => {
            let begun = |space: &SpaceSnapshot| space.state.genesis().is_some();
            let show = |status: &Status, space: &SpaceSnapshot| Space::of(&api, status, space);
            Ok((StatusCode::CREATED, Json(look(&api, id, begun, show).await?)))
        }
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> Problem {
    Problem::new(Reason::Internal, format!("the command was answered with {reply:?}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Invited {
    invitation: String,
}

#[derive(Serialize)]
struct Unreached {
    address: String,
    reason: String,
}

#[derive(Serialize)]
pub(super) struct Joined {
    id: SpaceId,
    /// Those that are dialled from now on.
    addresses: Vec<String>,
    name: String,
    /// Those that cannot be dialled, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_dialled: Vec<Unreached>,
}

pub(super) async fn join(
    State(api): State<Api>,
    Input(Invited { invitation }): Input<Invited>,
) -> Result<Json<Joined>, Problem> {
    let invitation: Invitation = invitation.parse().map_err(Problem::bad)?;
    let id = match api.0.handle.command(Command::Join { space: invitation.space }).await?? {
        Reply::Space(id) => id,
        other => return Err(unexpected(&other)),
    };
    if let Some(genesis) = invitation.genesis {
        let records = vec![genesis];
        api.0.handle.command(Command::Import { space: Some(id), records }).await??;
    }
    let name = invitation.name;
    let mut joined = Joined { id, addresses: Vec::new(), name, not_dialled: Vec::new() };
    for address in invitation.addresses {
        match api.0.handle.network(NetworkCommand::Connect(address.clone())).await? {
            Ok(_) => joined.addresses.push(address),
            Err(failure) => {
                joined.not_dialled.push(Unreached { address, reason: failure.to_string() });
            }
        }
    }
    look(&api, id, |_| true, |_, _| ()).await?;
    Ok(Json(joined))
}

#[derive(Serialize)]
pub(super) struct Member {
    did: Did,
    role: Role,
    by: RecordId,
    granter: Did,
    expires: Option<Moment>,
}

pub(super) async fn members(
    State(api): State<Api>,
    Name(id): Name,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<List<Member>>, Problem> {
    let members = find(&api, &id, |_, space| space.state.members()).await?;
    let member = |member: ocm_space::Member| Member {
        did: member.did,
        role: member.role,
        by: member.by,
        granter: member.granter,
        expires: member.expires.map(Moment),
    };
    Ok(Json(members.into_iter().map(member).collect()))
}

/// A kind, by its number or its name.
#[derive(Deserialize)]
#[serde(untagged)]
enum KindName {
    Number(u64),
    Name(String),
}

impl KindName {
    fn read(self) -> Result<Kind, Problem> {
        match self {
            Self::Number(number) => Ok(Kind(number)),
            Self::Name(name) => (1..64)
                .map(Kind)
                .find(|kind| kind.name() == name && name != "unknown")
                .ok_or_else(|| Problem::bad(format!("{name:?} is no kind of record"))),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGrant {
    to: String,
    role: String,
    expires: Option<String>,
    kinds: Option<Vec<KindName>>,
    key: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Granted {
    id: RecordId,
    space: SpaceId,
    to: Did,
    role: Role,
}

fn key_of(text: &str) -> Result<PublicKey, Problem> {
    let wrong =
        || Problem::bad(format!("{text:?} is no key: give 64 hexadecimal characters or a did:key"));
    if let Some(key) = text.parse::<Did>().ok().and_then(|did| did.key()) {
        return Ok(key);
    }
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| wrong())?;
    let key = PublicKey::from_bytes(bytes.try_into().map_err(|_| wrong())?);
    key.check().map_err(Problem::bad)?;
    Ok(key)
}

impl NewGrant {
    fn read(self) -> Result<Grant, Problem> {
        let kinds: Option<Vec<Kind>> = match self.kinds {
            None => None,
            Some(kinds) if kinds.len() > ocm_space::limits::KINDS => {
                return Err(Problem::bad(format!(
                    "a grant names at most {} kinds, this names {}",
                    ocm_space::limits::KINDS,
                    kinds.len()
                )));
            }
            Some(kinds) => Some(kinds.into_iter().map(KindName::read).collect::<Result<_, _>>()?),
        };
        let expires =
            self.expires.as_deref().map(Moment::parse).transpose().map_err(Problem::bad)?;
        Ok(Grant {
            to: self.to.parse().map_err(Problem::bad)?,
            role: self.role.parse().map_err(Problem::bad)?,
            key: self.key.as_deref().map(key_of).transpose()?,
            kinds,
            expires: expires.map(|moment| moment.0),
        })
    }
}

pub(super) async fn grant(
    State(api): State<Api>,
    Name(space): Name,
    Input(new): Input<NewGrant>,
) -> Result<(StatusCode, Json<Granted>), Problem> {
    let grant = new.read()?;
    let (to, role) = (grant.to, grant.role);
    let space = api.0.views.resolve_space(&space).await?;
    match api.0.handle.command(Command::Grant { space, grant }).await?? {
        Reply::Record { id, .. } => {
            let given = |space: &SpaceSnapshot| space.state.members().iter().any(|m| m.by == id);
            look(&api, space, given, |_, _| ()).await?;
            Ok((StatusCode::CREATED, Json(Granted { id, space, to, role })))
        }
        other => Err(unexpected(&other)),
    }
}

/// Addresses that an invitation names where none are configured: those of a few cards and relays, and
/// not so many that the word is long.
const NAMED: usize = 8;

#[derive(Serialize)]
pub(super) struct Shown {
    invitation: String,
    space: SpaceId,
    name: String,
    addresses: Vec<String>,
}

pub(super) async fn invite(
    State(api): State<Api>,
    Name(space): Name,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<Shown>, Problem> {
    let (mut invitation, empty, open) = find(&api, &space, |status, space| {
        let genesis = space.state.genesis();
        let invitation = Invitation {
            space: space.id,
            name: genesis.map(|genesis| genesis.name.clone()).unwrap_or_default(),
            addresses: addresses(&api, status),
            genesis: None,
        };
        let place = RecordPlace {
            space: space.id,
            number: space.number,
            set: Set::Authority,
            record: space.id.0,
        };
        let open = (space.state.policy().read == Access::Open).then_some(place);
        (invitation, genesis.is_none(), open)
    })
    .await?;
    if empty {
        return Err(Problem::new(
            Reason::EmptySpace,
            format!(
                "nothing of space {} has arrived yet, so this node could not serve it to a guest",
                invitation.space
            ),
        ));
    }
    if let Some(place) = open {
        let stored = api.0.views.record(place).await?;
        let genesis = stored.record.map(|record| record.encode());
        invitation.genesis = genesis.filter(|bytes| bytes.len() <= invitation::GENESIS_BYTES);
    }
    let text = invitation.to_string();
    let Invitation { space, name, addresses, .. } = invitation;
    Ok(Json(Shown { invitation: text, space, name, addresses }))
}

/// Where a guest finds this node: the addresses that are configured, and no others; else those at
/// which it is reached.
fn addresses(api: &Api, status: &Status) -> Vec<String> {
    let configured = &api.0.config.addresses;
    let addresses =
        if configured.is_empty() { reached(&status.network.listen) } else { configured.clone() };
    let peer = status.core.peer;
    let named = addresses.into_iter().map(|address| {
        if address.contains("/p2p/") { address } else { format!("{address}/p2p/{peer}") }
    });
    named
        .filter(|address| address.len() <= invitation::ADDRESS_BYTES)
        .take(invitation::ADDRESSES)
        .collect()
}

/// Of the addresses that a node listens on, those that an invitation names: those through relays
/// first, which lead here from everywhere; of a host that is reached over TCP only that, since a
/// guest learns of the rest there; of this machine alone, only where there is nothing else.
fn reached(listen: &[String]) -> Vec<String> {
    fn host(address: &str) -> Option<&str> {
        address.split('/').nth(2)
    }
    let is_relayed = |address: &str| address.contains("/p2p-circuit");
    let is_own = |a: &&String| a.starts_with("/ip4/127.") || a.starts_with("/ip6/::1/");
    let (own, others): (Vec<&String>, Vec<&String>) = listen.iter().partition(is_own);
    let all = if others.is_empty() { own } else { others };
    let (relayed, direct): (Vec<&String>, Vec<&String>) =
        all.into_iter().partition(|address| is_relayed(address));
    let by_tcp: BTreeSet<Option<&str>> =
        direct.iter().filter(|a| a.contains("/tcp/")).map(|a| host(a)).collect();
    let direct = direct.iter().filter(|a| a.contains("/tcp/") || !by_tcp.contains(&host(a)));
    relayed.iter().chain(direct).take(NAMED).map(|address| (*address).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_names_where_others_reach_this_node_once() {
        let listen = [
            "/ip4/10.0.0.7/tcp/8080",
            "/ip4/10.0.0.7/udp/8080/quic-v1",
            "/ip4/127.0.0.1/tcp/8080",
            "/ip4/192.0.2.7/udp/8080/quic-v1",
            "/ip6/2001:db8::7/tcp/8080",
            "/ip6/2001:db8::7/udp/8080/quic-v1",
            "/ip6/::1/udp/8080/quic-v1",
            "/ip4/192.0.2.1/tcp/8080/p2p/A/p2p-circuit/p2p/B",
        ]
        .map(str::to_owned);
        let named = [
            "/ip4/192.0.2.1/tcp/8080/p2p/A/p2p-circuit/p2p/B",
            "/ip4/10.0.0.7/tcp/8080",
            "/ip4/192.0.2.7/udp/8080/quic-v1",
            "/ip6/2001:db8::7/tcp/8080",
        ];
        assert_eq!(reached(&listen), named);
        let alone = &listen[2..3];
        assert_eq!(reached(alone), alone, "nodes of one machine invite each other");
        let many: Vec<String> = (0..99).map(|n| format!("/ip4/10.0.{n}.1/tcp/1")).collect();
        assert_eq!(reached(&many), many[..NAMED]);
    }
}
