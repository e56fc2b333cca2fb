//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

use super::table::Profile;

/// Where a value came from, from the weakest source to the strongest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The default of its key.
    Default,
    /// A profile's own default.
    Profile(Profile),
    /// A line of the configuration file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl Origin {
    /// The kind of source in one word: `default`, `profile`, `file`, `environment` or `flag`.
    #[must_use]
    pub fn source(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Profile(_) => "profile",
            Self::File { .. } => "file",
            Self::Environment(_) => "environment",
            Self::Flag(_) => "flag",
        }
    }

    /// Which profile, line, variable or flag it was; nothing for a default.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::Profile(profile) => Some(profile.to_string()),
            Self::File { path, line } => Some(format!("{}:{line}", path.display())),
            Self::Environment(name) | Self::Flag(name) => Some(name.clone()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail() {
            None => f.write_str(self.source()),
            Some(detail) => write!(f, "{} {detail}", self.source()),
        }
    }
}
