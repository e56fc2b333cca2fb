//! Taking up a changed configuration while the node runs.

use super::start::Running;
use crate::config::{Change, Config, ConfigError, Loaded};
use crate::telemetry::logging::Logging;

/// Where a changed configuration comes from, and the log, which is the process's.
pub(super) struct Reload<'a> {
    pub(super) logging: Logging,
    pub(super) load: &'a dyn Fn() -> Result<Loaded, ConfigError>,
}

impl Reload<'_> {
    /// Loads the configuration again and takes up what can change without a restart; the log says
    /// what was, and what was not and why. One with anything wrong in it changes nothing.
    pub(super) async fn take_up(&self, config: &mut Config, running: &Running) {
        let new = match (self.load)() {
            Ok(loaded) => loaded.config,
            Err(error) => {
                tracing::error!(%error, "the configuration is wrong; the one in effect stays");
                return;
            }
        };
        let changes = config.changes(&new);
        if changes.is_empty() {
            tracing::info!("the configuration has not changed");
        }
        for Change { key } in &changes {
            let (name, value) = (key.name(), key.value(&new));
            if key.reloadable {
                tracing::info!(key = %name, %value, "configured anew");
            } else {
                tracing::warn!(key = %name, %value, "takes effect at the next start");
            }
        }
        let level = config.logging.level;
        adopt(config, &new);
        if level != config.logging.level
            && let Err(error) = self.logging.set_level(config.logging.level)
        {
            tracing::warn!(%error, "the level of the log stays");
            config.logging.level = level;
        }
        match running.configure(config).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the seed peers stay as they were"),
            Err(error) => tracing::debug!(%error, "nothing is configured any more"),
        }
    }
}

/// Takes the values of the keys that are reloadable, and no others.
fn adopt(config: &mut Config, new: &Config) {
    config.logging.level = new.logging.level;
    config.network.seed_peers.clone_from(&new.network.seed_peers);
    config.network.max_peers = new.network.max_peers;
    config.network.sync_interval_seconds = new.network.sync_interval_seconds;
    config.api.batch_memories = new.api.batch_memories;
    config.api.batch_timeout_seconds = new.api.batch_timeout_seconds;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Overrides};

    #[test]
    fn what_the_table_calls_reloadable_is_what_is_taken_up() {
        let environment = Environment::from_iter([("HOME", "/nonexistent/home")]);
        let load = |flags: Overrides| Config::load(&flags, &environment).unwrap().config;
        let old = load(Overrides::new());
        let new = Overrides::new()
            .set("logging.level", "debug")
            .set("network.seed_peers", "192.0.2.7:8080")
            .set("network.max_peers", "7")
            .set("network.sync_interval_seconds", "7")
            .set("api.batch_memories", "7")
            .set("api.batch_timeout_seconds", "7")
            .set("network.port", "7")
            .set("api.listen", "127.0.0.1:9");
        let new = load(new);
        let mut taken = old.clone();
        adopt(&mut taken, &new);
        let names = |changes: Vec<Change>| -> Vec<String> {
            changes.into_iter().map(|change| change.key.name()).collect()
        };
        let left = taken.changes(&new);
        assert!(left.iter().all(|change| !change.key.reloadable));
        assert_eq!(names(left), ["network.port", "api.listen"]);
        let reloadable = crate::config::KEYS.iter().filter(|key| key.reloadable);
        let reloadable: Vec<String> = reloadable.map(|key| key.name()).collect();
        assert_eq!(names(old.changes(&taken)), reloadable);
    }
}
