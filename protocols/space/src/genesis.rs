//! The body of a genesis: what a space is.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use ocm_record::Did;
use serde::{Deserialize, Serialize};

use crate::limits;

/// Who may do something in a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Everyone.
    Open,
    /// Whoever holds a role.
    #[default]
    Members,
}

impl Access {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Members => "members",
        }
    }
}

/// The policy of a space. Members only, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// Who may write changes.
    pub write: Access,
    /// Who may be served, and told of, what the space holds.
    pub read: Access,
}

/// The body of a genesis (`protocols/README.md`, section 6): a map with `name`, `nonce`,
/// `policy` and `owners`; other keys are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// A name for people; names are not unique, ids are.
    pub name: String,
    /// Random bytes, so that the id of a members-only space cannot be guessed.
    pub nonce: [u8; 32],
    /// The policy.
    pub policy: Policy,
    /// The owners in order of seniority; the first is the genesis author.
    pub owners: Vec<Did>,
}

/// Why a body is no genesis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// A key is missing or has another shape.
    #[error("the genesis has no valid {0:?}")]
    Field(&'static str),
    /// The name is too long.
    #[error("a name has at most {max} characters, this has {0}", max = limits::NAME_CHARS)]
    Name(usize),
    /// Too many owners, or one twice, or none.
    #[error("a genesis names 1 to {max} different owners", max = limits::OWNERS)]
    Owners,
}

impl Genesis {
    /// The content of the body.
    #[must_use]
    pub fn to_ipld(&self) -> Ipld {
        let access = |a: Access| Ipld::String(a.name().into());
        Ipld::Map(BTreeMap::from([
            ("name".into(), Ipld::String(self.name.clone())),
            ("nonce".into(), Ipld::Bytes(self.nonce.to_vec())),
            (
                "policy".into(),
                Ipld::Map(BTreeMap::from([
                    ("read".into(), access(self.policy.read)),
                    ("write".into(), access(self.policy.write)),
                ])),
            ),
            (
                "owners".into(),
                Ipld::List(self.owners.iter().map(|o| Ipld::String(o.to_string())).collect()),
            ),
        ]))
    }

    /// Reads the content of a body.
    ///
    /// # Errors
    /// When it is no genesis: the record is refused, and the space has no beginning.
    pub fn from_ipld(content: &Ipld) -> Result<Self, GenesisError> {
        let Ipld::Map(map) = content else { return Err(GenesisError::Field("map")) };
        let Some(Ipld::String(name)) = map.get("name") else {
            return Err(GenesisError::Field("name"));
        };
        let genesis = Self {
            name: name.clone(),
            nonce: match map.get("nonce") {
                Some(Ipld::Bytes(nonce)) => {
                    nonce.as_slice().try_into().map_err(|_| GenesisError::Field("nonce"))?
                }
                _ => return Err(GenesisError::Field("nonce")),
            },
            policy: match map.get("policy") {
                Some(Ipld::Map(policy)) => {
                    Policy { write: access(policy, "write")?, read: access(policy, "read")? }
                }
                None => Policy::default(),
                Some(_) => return Err(GenesisError::Field("policy")),
            },
            owners: match map.get("owners") {
                Some(Ipld::List(owners)) => owners
                    .iter()
                    .map(|owner| match owner {
                        Ipld::String(did) => did.parse().ok(),
                        _ => None,
                    })
                    .collect::<Option<_>>()
                    .ok_or(GenesisError::Field("owners"))?,
                _ => return Err(GenesisError::Field("owners")),
            },
        };
        genesis.check()?;
        Ok(genesis)
    }

    /// Whether the limits hold.
    ///
    /// # Errors
    /// The first limit that does not.
    pub fn check(&self) -> Result<(), GenesisError> {
        let chars = self.name.chars().count();
        if chars > limits::NAME_CHARS {
            return Err(GenesisError::Name(chars));
        }
        let mut distinct = self.owners.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != self.owners.len() || !(1..=limits::OWNERS).contains(&distinct.len()) {
            return Err(GenesisError::Owners);
        }
        Ok(())
    }
}

fn access(policy: &BTreeMap<String, Ipld>, key: &'static str) -> Result<Access, GenesisError> {
    match policy.get(key) {
        None => Ok(Access::Members),
        Some(Ipld::String(text)) if text == "open" => Ok(Access::Open),
        Some(Ipld::String(text)) if text == "members" => Ok(Access::Members),
        Some(_) => Err(GenesisError::Field(key)),
    }
}
