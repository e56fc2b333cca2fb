//! A key: one row of the table that flags, environment, file, display and documentation share.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;

use super::value::{Limit, Raw, Setting};
use super::{Config, Origin, Problem};

/// What a key has when no source sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// This value, written as the environment would write it.
    Text(&'static str),
    /// A value that follows from others, described by this text.
    Derived(&'static str),
    /// Nothing: the key is optional.
    Unset,
}

/// One key of the configuration and all that is known of it.
pub struct Key {
    /// The section in the file; empty for the keys at its top.
    pub section: &'static str,
    /// The name within the section.
    pub field: &'static str,
    /// The environment variable. A secret's has a twin with `_FILE` appended.
    pub env: &'static str,
    /// What holds when nothing sets it.
    pub preset: Preset,
    /// What the value is bound by, beyond its type.
    pub limit: Limit,
    /// The unit of a number; empty for none.
    pub unit: &'static str,
    /// Whether a running node takes a new value up; the others need a restart.
    pub reloadable: bool,
    /// Whether the value is never shown and has no flag of its own.
    pub secret: bool,
    /// Whether its flag may stand without a value, for `true`.
    pub switch: bool,
    /// What it does, line by line.
    pub doc: &'static [&'static str],
    pub(crate) expected: fn(Limit) -> String,
    pub(crate) check: fn(&Raw, Limit) -> Result<Json, Option<String>>,
    pub(crate) show: fn(&Config) -> Json,
}

impl Key {
    /// The name as it is written everywhere but inside a section: `network.port`.
    #[must_use]
    pub fn name(&self) -> String {
        if self.section.is_empty() {
            self.field.to_owned()
        } else {
            format!("{}.{}", self.section, self.field)
        }
    }

    /// The name of its flag without the dashes: `network-port`; a secret's names a file that
    /// holds it: `api-token-file`.
    #[must_use]
    pub fn flag(&self) -> String {
        let flag = self.name().replace(['.', '_'], "-");
        if self.secret { flag + "-file" } else { flag }
    }

    /// The variable that names a file holding the value; only a secret has one.
    #[must_use]
    pub fn env_file(&self) -> Option<String> {
        self.secret.then(|| format!("{}_FILE", self.env))
    }

    /// What a value of it must be, completing "expected …".
    #[must_use]
    pub fn expected(&self) -> String {
        (self.expected)(self.limit)
    }

    /// The value that a configuration has for it; of a secret only whether it is set.
    #[must_use]
    pub fn value(&self, config: &Config) -> Json {
        (self.show)(config)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Declares the typed configuration and the table of its keys together, so that neither can hold
/// a key the other lacks.
macro_rules! settings {
    (
        $(#[doc = $config_doc:literal])*
        $config:ident {
            $($(#[doc = $top_doc:literal])* $top:ident: $top_type:ty { $($top_row:tt)* })*
        }
        $(
            $(#[doc = $section_doc:literal])*
            $section:ident: $section_type:ident {
                $($(#[doc = $doc:literal])* $field:ident: $type:ty { $($row:tt)* })*
            }
        )*
    ) => {
        $(#[doc = $config_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $config {
            $($(#[doc = $top_doc])* pub $top: $top_type,)*
            $($(#[doc = $section_doc])* pub $section: $section_type,)*
        }

        $(
            $(#[doc = $section_doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $section_type {
                $($(#[doc = $doc])* pub $field: $type,)*
            }
        )*

        /// Every key, in the order of the documented file.
        pub static KEYS: &[$crate::config::key::Key] = &[
            $($crate::config::key::row!(
                "", $top: $top_type, [$($top_doc),*], |c| &c.$top, $($top_row)*
            ),)*
            $($($crate::config::key::row!(
                stringify!($section), $field: $type, [$($doc),*], |c| &c.$section.$field, $($row)*
            ),)*)*
        ];

        /// Every section with its description.
        pub(crate) static SECTIONS: &[(&str, &[&str])] =
            &[$((stringify!($section), &[$($section_doc),*]),)*];

        impl $config {
            /// Builds the typed configuration from the value in effect for each key.
            ///
            /// # Errors
            /// The key whose value is missing or does not fit its type.
            pub(crate) fn build(
                values: &$crate::config::key::Effective,
            ) -> Result<Self, $crate::config::Problem> {
                Ok(Self {
                    $($top: values.take($crate::config::key::find(
                        KEYS, "", stringify!($top),
                    )?)?,)*
                    $($section: $section_type {
                        $($field: values.take($crate::config::key::find(
                            KEYS, stringify!($section), stringify!($field),
                        )?)?,)*
                    },)*
                })
            }
        }
    };
}
pub(crate) use settings;

/// One row of the table.
macro_rules! row {
    (
        $section:expr, $field:ident: $type:ty, [$($doc:literal),*], |$c:ident| $get:expr,
        env: $env:literal, preset: $preset:expr,
        $(limit: $limit:expr,)? $(unit: $unit:literal,)?
        $(reloadable: $reloadable:literal,)? $(secret: $secret:literal,)?
    ) => {
        $crate::config::key::Key {
            section: $section,
            field: stringify!($field),
            env: $env,
            preset: $preset,
            limit: $crate::config::key::limit!($($limit)?),
            unit: concat!($($unit)?),
            reloadable: false $(|| $reloadable)?,
            secret: false $(|| $secret)?,
            switch: <$type as Setting>::IS_SWITCH,
            doc: &[$($doc),*],
            expected: <$type as Setting>::expected,
            check: |raw, limit| {
                <$type as Setting>::read(raw, limit).map(|value| Setting::show(&value))
            },
            show: |$c| Setting::show($get),
        }
    };
}
pub(crate) use row;

/// The limit of a row that may have none.
macro_rules! limit {
    () => {
        $crate::config::value::Limit::None
    };
    ($limit:expr) => {
        $limit
    };
}
pub(crate) use limit;

/// The row of a section's field.
///
/// # Errors
/// There is none; the two are declared together, so that this cannot be.
pub(crate) fn find<'a>(keys: &'a [Key], section: &str, field: &str) -> Result<&'a Key, Problem> {
    keys.iter()
        .find(|key| key.section == section && key.field == field)
        .ok_or_else(|| Problem::Missing { key: format!("{section}.{field}") })
}

/// The value in effect for each key that has one, by its name, as its source has it.
#[derive(Debug, Default)]
pub(crate) struct Effective(pub(crate) BTreeMap<String, Raw>);

impl Effective {
    /// The typed value of a key.
    ///
    /// # Errors
    /// It is missing and not optional, or does not fit the type.
    pub(crate) fn take<T: Setting>(&self, key: &Key) -> Result<T, Problem> {
        let name = key.name();
        let Some(raw) = self.0.get(&name) else {
            return T::unset().ok_or(Problem::Missing { key: name });
        };
        T::read(raw, key.limit).map_err(|why| Problem::wrong(key, raw, &Origin::Default, why))
    }
}
