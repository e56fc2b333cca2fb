//! The body of a grant: who gets which role.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use ocm_record::{Did, Kind, PublicKey};

use crate::limits;
use crate::role::Role;

/// The body of a grant (`protocols/README.md`, section 6): a map with `to` and `role`, and
/// optionally `key`, `kinds` and `expires`; unknown keys are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who gets the role.
    pub to: Did,
    /// Which.
    pub role: Role,
    /// The only key under which it counts. It restricts; it never lets one DID speak as another.
    pub key: Option<PublicKey>,
    /// The only kinds it permits.
    pub kinds: Option<Vec<Kind>>,
    /// Milliseconds since the Unix epoch: a record whose own time is later is not permitted.
    pub expires: Option<u64>,
}

/// Why a body is no grant that can be acted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// A key is missing or has another shape: the grant has no effect.
    #[error("the grant has no valid {0:?}")]
    Field(&'static str),
    /// It asks for what this version does not do: the record is held.
    #[error(
        "the grant uses {0:?}, which this version of ocm does not implement; upgrade to use it"
    )]
    Unsupported(&'static str),
}

/// Keys with a meaning that is not implemented here. Ignoring them would widen the grant.
const UNSUPPORTED: [&str; 3] = ["boot", "max_records", "max_bytes"];

impl Grant {
    /// The content of the body.
    #[must_use]
    pub fn to_ipld(&self) -> Ipld {
        let mut map = BTreeMap::from([
            ("to".to_owned(), Ipld::String(self.to.to_string())),
            ("role".to_owned(), Ipld::String(self.role.to_string())),
        ]);
        if let Some(key) = self.key {
            map.insert("key".into(), Ipld::Bytes(key.as_bytes().to_vec()));
        }
        if let Some(kinds) = &self.kinds {
            let kinds = kinds.iter().map(|k| Ipld::Integer(k.0.into())).collect();
            map.insert("kinds".into(), Ipld::List(kinds));
        }
        if let Some(expires) = self.expires {
            map.insert("expires".into(), Ipld::Integer(expires.into()));
        }
        Ipld::Map(map)
    }

    /// Reads the content of a body.
    ///
    /// # Errors
    /// See [`GrantError`].
    pub fn from_ipld(content: &Ipld) -> Result<Self, GrantError> {
        let Ipld::Map(map) = content else { return Err(GrantError::Field("map")) };
        if let Some(key) = UNSUPPORTED.into_iter().find(|key| map.contains_key(*key)) {
            return Err(GrantError::Unsupported(key));
        }
        let text = |key: &'static str| match map.get(key) {
            Some(Ipld::String(text)) => Ok(text),
            _ => Err(GrantError::Field(key)),
        };
        let number = |value: &Ipld| match value {
            Ipld::Integer(n) => u64::try_from(*n).ok(),
            _ => None,
        };
        Ok(Self {
            to: text("to")?.parse().map_err(|_| GrantError::Field("to"))?,
            role: text("role")?.parse().map_err(|_| GrantError::Field("role"))?,
            key: match map.get("key") {
                None => None,
                Some(Ipld::Bytes(bytes)) => Some(PublicKey::from_bytes(
                    bytes.as_slice().try_into().map_err(|_| GrantError::Field("key"))?,
                )),
                Some(_) => return Err(GrantError::Field("key")),
            },
            kinds: match map.get("kinds") {
                None => None,
                Some(Ipld::List(kinds)) if kinds.len() <= limits::KINDS => Some(
                    kinds
                        .iter()
                        .map(|k| number(k).map(Kind))
                        .collect::<Option<_>>()
                        .ok_or(GrantError::Field("kinds"))?,
                ),
                Some(_) => return Err(GrantError::Field("kinds")),
            },
            expires: match map.get("expires") {
                None => None,
                Some(value) => Some(number(value).ok_or(GrantError::Field("expires"))?),
            },
        })
    }

    /// Whether this grant lets `author` write a record of this kind with this key at this time.
    #[must_use]
    pub fn permits(&self, author: &Did, key: &PublicKey, kind: Kind, millis: u64) -> bool {
        let named = self.kinds.as_ref().is_some_and(|kinds| kinds.contains(&kind));
        let by_role = match self.role {
            // An agent's kinds are those its grant names, but never those that give power.
            Role::Agent if self.kinds.is_some() => {
                named && !matches!(kind, Kind::GENESIS | Kind::GRANT | Kind::REVOCATION)
            }
            role => role.may_write(kind) && (self.kinds.is_none() || named),
        };
        by_role
            && self.to == *author
            && self.key.is_none_or(|only| only == *key)
            && self.expires.is_none_or(|until| millis <= until)
    }
}
