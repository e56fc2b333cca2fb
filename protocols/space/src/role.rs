//! Roles, and what each may write.

use std::fmt;
use std::str::FromStr;

use ocm_record::Kind;
use serde::{Deserialize, Serialize};

/// What a grant makes of a DID, strongest first. Every role may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Writes everything, grants included.
    Owner,
    /// Writes changes, offers, forgets of its own memories, identities, and kinds unknown here.
    Writer,
    /// Software that writes the kinds its grant names; changes unless it says otherwise.
    Agent,
    /// Reads; writes only what binds its own keys.
    Reader,
    /// Carries the space for others and writes nothing.
    Relay,
}

impl Role {
    /// Every role, strongest first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Writer, Self::Agent, Self::Reader, Self::Relay];

    /// Whether this role may write records of a kind, where its grant names no kinds.
    #[must_use]
    pub fn may_write(self, kind: Kind) -> bool {
        match self {
            Self::Owner => true,
            Self::Writer => {
                matches!(kind, Kind::CHANGE | Kind::OFFER | Kind::FORGET | Kind::IDENTITY)
                    || !(Kind::GENESIS.0..=Kind::ACKNOWLEDGEMENT.0).contains(&kind.0)
            }
            Self::Agent => kind == Kind::CHANGE,
            Self::Reader => kind == Kind::IDENTITY,
            Self::Relay => false,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Writer => "writer",
            Self::Agent => "agent",
            Self::Reader => "reader",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| {
            format!("{text:?} is no role: use owner, writer, agent, reader or relay")
        })
    }
}
