//! The state of a space over its admitted authority records.

use std::collections::{BTreeMap, BTreeSet};

use ocm_record::{Did, Kind, PublicKey, RecordId, Set, SpaceId, VerifiedRecord};

use crate::genesis::{Access, Genesis, Policy};
use crate::grant::{Grant, GrantError};
use crate::limits;
use crate::role::Role;

/// Who holds a role, since which record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub did: Did,
    /// Which role.
    pub role: Role,
    /// The genesis or grant that gives it.
    pub by: RecordId,
    /// Who gave it.
    pub granter: Did,
    /// Until when, in milliseconds since the Unix epoch.
    pub expires: Option<u64>,
}

/// Why a record may not stand, or not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// These records of its `auth` are not here: hold it and ask for them.
    Missing(Vec<RecordId>),
    /// It needs what this version does not implement: hold it.
    Unsupported(&'static str),
    /// It has no right by its own `auth`: alike on every node, for ever.
    Refused(Refusal),
}

/// Why a record has no right to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Its body is no genesis, or the author is not its first owner.
    #[error("the record is no valid genesis of a space")]
    Genesis,
    /// Nothing in its `auth` permits its author to write this kind at this time with this key.
    #[error("no grant in the record's auth permits its author to write this kind")]
    NotPermitted,
    /// The closure of its `auth` is over the limit.
    #[error("the closure of the record's auth has more than {max} records", max = limits::AUTH_CLOSURE)]
    AuthorityTooDeep,
}

/// One admitted authority record, as far as rights go.
#[derive(Debug, Clone)]
struct Entry {
    author: Did,
    auth: Vec<RecordId>,
    grant: Option<Grant>,
}

/// The state of one space: a function of the set of authority records inserted.
#[derive(Debug, Clone)]
pub struct SpaceState {
    space: SpaceId,
    genesis: Option<Genesis>,
    entries: BTreeMap<RecordId, Entry>,
    grants_to: BTreeMap<Did, BTreeSet<RecordId>>,
}

impl SpaceState {
    /// A space of which only the name is known.
    #[must_use]
    pub fn new(space: SpaceId) -> Self {
        Self { space, genesis: None, entries: BTreeMap::new(), grants_to: BTreeMap::new() }
    }

    /// The space.
    #[must_use]
    pub fn space(&self) -> SpaceId {
        self.space
    }

    /// The genesis, once it is here.
    #[must_use]
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref()
    }

    /// The policy; members only until the genesis is here.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.genesis.as_ref().map_or_else(Policy::default, |genesis| genesis.policy)
    }

    /// Takes an admitted authority record into account. Records of other sets or spaces and
    /// repeated ones change nothing.
    pub fn insert(&mut self, record: &VerifiedRecord) {
        if record.set() != Set::Authority
            || record.space() != self.space
            || self.entries.contains_key(&record.id())
        {
            return;
        }
        let kind = record.header().kind;
        if kind == Kind::GENESIS {
            self.genesis = read_genesis(record);
        }
        let grant = (kind == Kind::GRANT).then(|| read_grant(record)).and_then(Result::ok);
        if let Some(grant) = &grant {
            self.grants_to.entry(grant.to).or_default().insert(record.id());
        }
        let auth = record.header().auth.clone();
        self.entries.insert(record.id(), Entry { author: record.author(), auth, grant });
    }

    /// Whether a record has the right to stand in this space, judged by its own `auth` alone
    /// (`protocols/README.md`, section 6). A pure function of the record and the closure of its
    /// `auth`: what else has been inserted makes no difference. A record of another space has no
    /// right here.
    ///
    /// # Errors
    /// See [`Denial`]. What is missing comes first, then what has no right, and last what only
    /// another version could judge.
    pub fn authorise(&self, record: &VerifiedRecord) -> Result<(), Denial> {
        let header = record.header();
        if record.space() != self.space {
            return Err(Denial::Refused(Refusal::NotPermitted));
        }
        if header.kind == Kind::GENESIS {
            return match read_genesis(record) {
                Some(_) => Ok(()),
                None => Err(Denial::Refused(Refusal::Genesis)),
            };
        }
        let Some(genesis) = &self.genesis else {
            return Err(Denial::Missing(vec![self.space.0]));
        };
        let closure = self.closure(&header.auth, limits::AUTH_CLOSURE)?;
        if header.author.is_some() {
            return Err(Denial::Unsupported("a key bound to another DID"));
        }
        let author = record.author();
        let role = closure
            .iter()
            .filter_map(|id| self.entries.get(id)?.grant.as_ref())
            .filter(|grant| grant.permits(&author, &header.key, header.kind, header.time.millis()))
            .map(|grant| grant.role)
            .chain(genesis.owners.contains(&author).then_some(Role::Owner))
            .min();
        match (role, header.kind) {
            (Some(_), Kind::FORGET) if role != Some(Role::Owner) => {
                return Err(Denial::Unsupported("a forget by whoever began the memory"));
            }
            (Some(_), _) => {}
            (None, kind) if open_to_all(genesis, kind) => {}
            (None, Kind::CLAIM) => {
                return Err(Denial::Unsupported("a claim by whoever holds a token"));
            }
            (None, _) => return Err(Denial::Refused(Refusal::NotPermitted)),
        }
        if header.kind == Kind::GRANT
            && let Err(GrantError::Unsupported(field)) = read_grant(record)
        {
            return Err(Denial::Unsupported(field));
        }
        Ok(())
    }

    /// The records named by `auth`, theirs, and so on: `limit` of them at most.
    fn closure(&self, auth: &[RecordId], limit: usize) -> Result<BTreeSet<RecordId>, Denial> {
        let mut missing = BTreeSet::new();
        let mut seen: BTreeSet<RecordId> = auth.iter().copied().collect();
        let mut open: Vec<RecordId> = auth.to_vec();
        while let Some(id) = open.pop() {
            if seen.len() > limit {
                return Err(Denial::Refused(Refusal::AuthorityTooDeep));
            }
            let Some(entry) = self.entries.get(&id) else {
                missing.insert(id);
                continue;
            };
            open.extend(entry.auth.iter().filter(|next| seen.insert(**next)));
        }
        if missing.is_empty() {
            Ok(seen)
        } else {
            Err(Denial::Missing(missing.into_iter().collect()))
        }
    }

    /// What a record of this kind, by this author and key, should name as `auth`; `None` when
    /// nothing here permits it. `millis` is the millisecond of the record's own time
    /// ([`ocm_record::Time::millis`]), which may be ahead of the clock's: grants expire by it.
    #[must_use]
    pub fn proof(
        &self,
        author: &Did,
        key: &PublicKey,
        kind: Kind,
        millis: u64,
    ) -> Option<Vec<RecordId>> {
        let genesis = self.genesis.as_ref()?;
        if *author != Did::Key(*key) {
            return None;
        }
        if genesis.owners.contains(author) {
            return Some(Vec::new());
        }
        self.grants(author)
            .filter(|(_, grant)| grant.permits(author, key, kind, millis))
            .filter(|(_, grant)| kind != Kind::FORGET || grant.role == Role::Owner)
            .find(|(id, _)| self.closure(&[*id], limits::AUTH_CLOSURE).is_ok())
            .map(|(id, _)| vec![id])
            .or_else(|| open_to_all(genesis, kind).then(Vec::new))
    }

    /// The records that show another node that `did` holds its role: the genesis, the grant of
    /// its strongest role, and what that grant rests on, each before those that need it. Empty
    /// when it holds none; the genesis alone for an owner whom that names.
    #[must_use]
    pub fn proof_of_membership(&self, did: &Did) -> Vec<RecordId> {
        let Some(genesis) = &self.genesis else { return Vec::new() };
        let mut ordered = vec![self.space.0];
        if genesis.owners.contains(did) {
            return ordered;
        }
        // The grant was admitted, so its own `auth` is within the limit.
        let whole = |id: &RecordId| self.closure(&[*id], limits::AUTH_CLOSURE + 1).is_ok();
        let Some((grant, _)) = self
            .grants(did)
            .filter(|(id, _)| whole(id))
            .min_by_key(|(id, grant)| (grant.role, *id))
        else {
            return Vec::new();
        };
        // An `auth` may carry a later time than the record that names it, so order by need:
        // depth first, each record after all that it names.
        let mut seen = BTreeSet::from([self.space.0]);
        let mut stack = vec![(grant, false)];
        while let Some((id, named_are_in)) = stack.pop() {
            if named_are_in {
                ordered.push(id);
            } else if seen.insert(id) {
                stack.push((id, true));
                let named = self.entries.get(&id).into_iter().flat_map(|entry| &entry.auth);
                stack.extend(named.map(|id| (*id, false)));
            }
        }
        ordered
    }

    fn grants(&self, did: &Did) -> impl Iterator<Item = (RecordId, &Grant)> {
        self.grants_to
            .get(did)
            .into_iter()
            .flatten()
            .filter_map(|id| Some((*id, self.entries.get(id)?.grant.as_ref()?)))
    }

    /// The strongest role a DID holds. A grant past its `expires` still counts here: expiry
    /// bounds records by their own time, it does not end a membership.
    #[must_use]
    pub fn role(&self, did: &Did) -> Option<Role> {
        if self.genesis.as_ref().is_some_and(|genesis| genesis.owners.contains(did)) {
            return Some(Role::Owner);
        }
        self.grants(did).map(|(_, grant)| grant.role).min()
    }

    /// Whether a DID may be served this space, and told that it is held here. Nobody may before
    /// the genesis is here.
    #[must_use]
    pub fn may_read(&self, did: &Did) -> bool {
        self.genesis.as_ref().is_some_and(|genesis| genesis.policy.read == Access::Open)
            || self.role(did).is_some()
    }

    /// Everyone who holds a role, owners of the genesis first.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let founder = self.genesis.as_ref().and_then(|genesis| genesis.owners.first().copied());
        let owners = self.genesis.iter().flat_map(|genesis| &genesis.owners).map(|owner| Member {
            did: *owner,
            role: Role::Owner,
            by: self.space.0,
            granter: founder.unwrap_or(*owner),
            expires: None,
        });
        let granted = self.entries.iter().filter_map(|(id, entry)| {
            let grant = entry.grant.as_ref()?;
            Some(Member {
                did: grant.to,
                role: grant.role,
                by: *id,
                granter: entry.author,
                expires: grant.expires,
            })
        });
        owners.chain(granted).collect()
    }
}

/// Whether everyone may write this kind in the space.
fn open_to_all(genesis: &Genesis, kind: Kind) -> bool {
    genesis.policy.write == Access::Open
        && matches!(kind, Kind::CHANGE | Kind::CLAIM | Kind::IDENTITY)
}

/// The genesis in a record, if its body is one and its author the first owner.
fn read_genesis(record: &VerifiedRecord) -> Option<Genesis> {
    let body = record.body()?.ok()?;
    let genesis = Genesis::from_ipld(&body.content).ok()?;
    (record.header().author.is_none() && genesis.owners.first() == Some(&record.author()))
        .then_some(genesis)
}

fn read_grant(record: &VerifiedRecord) -> Result<Grant, GrantError> {
    match record.body() {
        Some(Ok(body)) => Grant::from_ipld(&body.content),
        _ => Err(GrantError::Field("body")),
    }
}
