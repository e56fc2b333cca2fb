//! Configuration: flag over environment over file over profile, each value checked.
//!
//! One table ([`KEYS`]) drives everything: the typed [`Config`], the flags ([`Overrides`]), the
//! variables, the file, `ocm config show --origin` and the documented `config/ocm.toml`. A name
//! that is not in it is an error wherever it stands, and so is a value that does not fit; all
//! errors are told at once ([`ConfigError`]).
//!
//! ```
//! use ocm::config::{Config, Environment, Overrides};
//!
//! let env = Environment::from_iter([("HOME", "/home/ada"), ("OCM_NETWORK_PORT", "9000")]);
//! let loaded = Config::load(&Overrides::new().set("network.mdns", "false"), &env)?;
//! assert_eq!(loaded.config.network.port, 9000);
//! assert_eq!(loaded.origins["network.port"].to_string(), "environment OCM_NETWORK_PORT");
//! # Ok::<(), ocm::config::ConfigError>(())
//! ```

mod address;
mod error;
mod exposure;
mod flag;
mod handle;
mod key;
mod load;
mod origin;
mod secret;
mod show;
mod source;
mod suggestion;
mod table;
mod template;
mod value;

#[cfg(test)]
mod tests;

pub use address::{AddressError, BeaconHost, Host, PeerAddress, PeerName};
pub use error::{ConfigError, Conflict, Problem, WrongValue};
pub use exposure::Exposure;
pub use flag::Overrides;
pub use handle::Handle;
pub use key::{Key, Preset};
pub use load::{Change, FILE_NAME, Loaded};
pub use origin::Origin;
pub use secret::{NetworkKey, Seed, Token};
pub use show::{render_show, show_json};
pub use source::Environment;
pub(crate) use table::PASSPHRASE_FILE_VARIABLE;
pub use table::{
    Api, Backend, Config, Database, Identity, KEYS, Level, LogFormat, Logging, Lookup, Network,
    Profile, Rotate, Space,
};
pub use template::{InitError, init_file, render_file};
pub use value::Limit;
