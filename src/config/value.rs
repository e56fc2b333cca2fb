//! From a text or a TOML value to a typed setting, and back to what is shown.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use libp2p::Multiaddr;
use ocm_record::SpaceId;
use serde_json::Value as Json;

/// A value as it stands in its source, before it has a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raw {
    /// From a flag, the environment or a secret's file: a text still to be parsed.
    Text(String),
    /// A TOML string.
    String(String),
    /// A TOML integer, in decimal.
    Integer(String),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array of strings.
    Strings(Vec<String>),
    /// Anything else that TOML can say, and no setting is: a float, a date, a table.
    Other(&'static str),
}

impl Raw {
    /// The value as an error message quotes it.
    pub(crate) fn quoted(&self) -> String {
        match self {
            Self::Text(text) | Self::String(text) => format!("{:?}", shortened(text)),
            Self::Integer(digits) => shortened(digits),
            Self::Boolean(value) => value.to_string(),
            Self::Strings(items) => shortened(&format!("{items:?}")),
            Self::Other(what) => (*what).to_owned(),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The digits of a number; a TOML string is none, a text from the environment may be.
    fn digits(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.trim()),
            Self::Integer(digits) => Some(digits),
            _ => None,
        }
    }
}

/// At most 120 characters of a text, for messages.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 120;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a setting's value must keep to beyond its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Nothing beyond the type.
    None,
    /// A whole number from the first to the second, both included.
    Range(u64, u64),
    /// A list of at most so many entries.
    Items(usize),
}

/// A type that a setting can have.
pub(crate) trait Setting: Sized {
    /// Whether an empty text means "not set", where the setting is optional.
    const EMPTY_IS_UNSET: bool = true;

    /// Whether its flag, given without a value, means `true`.
    const IS_SWITCH: bool = false;

    /// What a value of this type is, completing "expected …".
    fn expected(limit: Limit) -> String;

    /// The typed value.
    ///
    /// # Errors
    /// What is wrong with it, where more can be said than [`Setting::expected`] says.
    fn read(raw: &Raw, limit: Limit) -> Result<Self, Option<String>>;

    /// What holds where no source says anything; nothing, unless the setting is optional.
    fn unset() -> Option<Self> {
        None
    }

    /// The value as it is shown; a secret shows only whether it is set.
    fn show(&self) -> Json;
}

impl Setting for bool {
    const IS_SWITCH: bool = true;

    fn expected(_: Limit) -> String {
        "true or false".into()
    }
    fn read(raw: &Raw, _: Limit) -> Result<Self, Option<String>> {
        match raw {
            Raw::Boolean(value) => Ok(*value),
            Raw::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err(None),
            },
            _ => Err(None),
        }
    }
    fn show(&self) -> Json {
        (*self).into()
    }
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn expected(limit: Limit) -> String {
                match limit {
                    Limit::Range(low, high) => format!("a whole number from {low} to {high}"),
                    _ => format!("a whole number from 0 to {}", <$type>::MAX),
                }
            }
            fn read(raw: &Raw, limit: Limit) -> Result<Self, Option<String>> {
                let number: $type = raw.digits().ok_or(None)?.parse().map_err(|_| None)?;
                match limit {
                    Limit::Range(low, high) if !(low..=high).contains(&u64::from(number)) => {
                        Err(None)
                    }
                    _ => Ok(number),
                }
            }
            fn show(&self) -> Json {
                (*self).into()
            }
        }
    )*};
}
number!(u16, u32, u64);

impl Setting for PathBuf {
    fn expected(_: Limit) -> String {
        "a path".into()
    }
    fn read(raw: &Raw, _: Limit) -> Result<Self, Option<String>> {
        match raw.text().ok_or(None)? {
            "" => Err(Some("it is empty".into())),
            text if text.starts_with('~') => {
                Err(Some("`~` is not expanded here: write the directory in full".into()))
            }
            text if text.contains('\0') => Err(Some("it contains a NUL byte".into())),
            text => Ok(text.into()),
        }
    }
    fn show(&self) -> Json {
        self.display().to_string().into()
    }
}

macro_rules! parsed {
    ($($type:ty, $expected:literal;)*) => {$(
        impl Setting for $type {
            fn expected(_: Limit) -> String {
                $expected.into()
            }
            fn read(raw: &Raw, _: Limit) -> Result<Self, Option<String>> {
                raw.text().ok_or(None)?.trim().parse().map_err(|_| None)
            }
            fn show(&self) -> Json {
                self.to_string().into()
            }
        }
    )*};
}
parsed! {
    IpAddr, "an IP address of this machine, as 0.0.0.0, 127.0.0.1 or ::";
    SocketAddr, "an IP address and a port, as 127.0.0.1:7845 or [::1]:7845";
    SpaceId, "the id of a space in full (`v` and 64 characters, as `ocm space list` prints it)";
    Multiaddr, "a multiaddr, as /ip4/192.0.2.7/tcp/8080 or /dns4/node.example.org/udp/8080/quic-v1";
}

impl<T: Setting> Setting for Option<T> {
    fn unset() -> Option<Self> {
        Some(None)
    }
    fn expected(limit: Limit) -> String {
        T::expected(limit)
    }
    fn read(raw: &Raw, limit: Limit) -> Result<Self, Option<String>> {
        match raw.text() {
            Some("") if T::EMPTY_IS_UNSET => Ok(None),
            _ => T::read(raw, limit).map(Some),
        }
    }
    fn show(&self) -> Json {
        self.as_ref().map_or(Json::Null, Setting::show)
    }
}

/// The entries of a list that is one text: with commas between them, or as an array, whose quotes a
/// shell may have taken.
fn entries(text: &str) -> Vec<&str> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    // Brackets are also around an IPv6 address.
    let is_array = |inner: &&str| {
        inner.starts_with(['"', '\''])
            || !inner.contains(['[', ']']) && inner.parse::<Ipv6Addr>().is_err()
    };
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).map(str::trim);
    match inner.filter(is_array) {
        None => text.split(',').map(str::trim).collect(),
        Some("") => Vec::new(),
        Some(inner) => {
            let inner = inner.strip_suffix(',').unwrap_or(inner);
            inner.split(',').map(|entry| unquoted(entry.trim())).collect()
        }
    }
}

/// What stands between the quotes around a text, if there are any.
fn unquoted(text: &str) -> &str {
    let within = |quote| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

/// A list: an array of strings in the file, one text elsewhere, see [`entries`].
impl<T: Setting> Setting for Vec<T> {
    fn expected(limit: Limit) -> String {
        let most = match limit {
            Limit::Items(most) => format!(" at most {most} entries"),
            _ => " entries".into(),
        };
        format!(
            "a list of{most} (a TOML array, or separated by commas), each {}",
            T::expected(limit)
        )
    }
    fn read(raw: &Raw, limit: Limit) -> Result<Self, Option<String>> {
        let texts: Vec<&str> = match raw {
            Raw::Text(text) => entries(text),
            Raw::Strings(items) => items.iter().map(String::as_str).collect(),
            _ => return Err(None),
        };
        if let Limit::Items(most) = limit
            && texts.len() > most
        {
            return Err(Some(format!("it has {} entries", texts.len())));
        }
        let entry = |text: &str| {
            T::read(&Raw::String(text.to_owned()), limit).map_err(|why| {
                Some(match why {
                    Some(why) => format!("entry {:?}: {why}", shortened(text)),
                    None => format!("entry {:?} is none", shortened(text)),
                })
            })
        };
        texts.into_iter().map(entry).collect()
    }
    fn show(&self) -> Json {
        self.iter().map(Setting::show).collect()
    }
}

/// A setting that takes one of a few words; letters may be of either case.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$word_doc])* $variant,)*
        }

        impl $name {
            /// Every value, in the order of its declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word that stands for it in the configuration.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::config::value::Setting for $name {
            fn expected(_: $crate::config::value::Limit) -> String {
                format!("one of {}", [$($word),*].join(", "))
            }
            fn read(
                raw: &$crate::config::value::Raw,
                _: $crate::config::value::Limit,
            ) -> Result<Self, Option<String>> {
                let text = raw.word().ok_or(None)?;
                Self::ALL.iter().find(|each| each.as_str() == text).copied().ok_or(None)
            }
            fn show(&self) -> serde_json::Value {
                self.as_str().into()
            }
        }
    };
}
pub(crate) use choice;

impl Raw {
    /// A word in lower case, without the space around it.
    pub(crate) fn word(&self) -> Option<String> {
        self.text().map(|text| text.trim().to_ascii_lowercase())
    }

    /// The text of a setting whose form is checked by its own type.
    pub(crate) fn trimmed(&self) -> Option<&str> {
        self.text().map(str::trim)
    }
}
