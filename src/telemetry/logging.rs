//! The log: lines for people or JSON objects for collectors, on standard error or in files.
//!
//! A JSON line has `timestamp` (RFC 3339, UTC), `level`, `message`, the event's own fields beside
//! them at the top, and `target`, the module that spoke. Fields of events must not bear one of
//! these names.

use std::io::IsTerminal;
use std::path::PathBuf;

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use super::log_file;
use crate::config::{self, Level, LogFormat};

/// The running log, to change its level.
#[derive(Debug, Clone)]
pub struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    by_rust_log: bool,
}

/// Why the log cannot be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RUST_LOG` does not parse.
    #[error("RUST_LOG={directives:?} is no list of target=level: {source}; correct or unset it")]
    Directives {
        /// What it is set to.
        directives: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The files cannot be written.
    #[error(
        "cannot write log files in {}: {cause}; choose another logging.directory, or unset it to log \
         to standard error", .directory.display()
    )]
    Files {
        /// Where they should be.
        directory: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// The process has a log already.
    #[error("the log is set up already; set it up once, at the start of the process")]
    Twice,
    /// `RUST_LOG` decides while it is set.
    #[error("RUST_LOG decides what is logged; restart without it to use logging.level")]
    ByRustLog,
    /// The log is gone.
    #[error("the log was shut down; restart the node")]
    Gone,
}

/// Sets the log of the process up: in files, or on standard error, in colour where that is a
/// terminal. `rust_log` is the value of `RUST_LOG`; where it is set and not empty it decides what is
/// logged, and the configured level does not.
///
/// # Errors
/// `RUST_LOG` does not parse, the files cannot be written, or the process has a log already.
pub fn init(to: &config::Logging, rust_log: Option<&str>) -> Result<Logging, LoggingError> {
    let (level, format) = (to.level, to.format);
    let (begun, logging) = match &to.directory {
        Some(directory) => {
            let files = log_file::open(directory, to.rotate, to.keep)?;
            let (subscriber, logging) = subscriber(level, format, rust_log, files, false)?;
            (subscriber.try_init(), logging)
        }
        None => {
            let colour = std::io::stderr().is_terminal();
            let (subscriber, logging) =
                subscriber(level, format, rust_log, std::io::stderr, colour)?;
            (subscriber.try_init(), logging)
        }
    };
    begun.map_err(|_| LoggingError::Twice)?;
    Ok(logging)
}

impl Logging {
    /// Logs at another level from now on.
    ///
    /// # Errors
    /// `RUST_LOG` decides, or the log is gone.
    pub fn set_level(&self, level: Level) -> Result<(), LoggingError> {
        if self.by_rust_log {
            return Err(LoggingError::ByRustLog);
        }
        self.filter.reload(filter_at(level)).map_err(|_| LoggingError::Gone)
    }
}

/// A log that writes to `writer`, and its handle.
fn subscriber<W>(
    level: Level,
    format: LogFormat,
    rust_log: Option<&str>,
    writer: W,
    colour: bool,
) -> Result<(impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync, Logging), LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let rust_log = rust_log.filter(|directives| !directives.trim().is_empty());
    let filter = match rust_log {
        Some(directives) => EnvFilter::try_new(directives).map_err(|source| {
            LoggingError::Directives { directives: directives.to_owned(), source }
        })?,
        None => filter_at(level),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(colour).boxed(),
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let logging = Logging { filter: handle, by_rust_log: rust_log.is_some() };
    Ok((tracing_subscriber::registry().with(filter).with(layer), logging))
}

/// OCM at this level; libraries at `warn`, and at `info` while we look for a fault.
fn filter_at(level: Level) -> EnvFilter {
    let libraries = match level {
        Level::Off => Level::Off,
        Level::Error => Level::Error,
        Level::Warn | Level::Info => Level::Warn,
        Level::Debug | Level::Trace => Level::Info,
    };
    EnvFilter::new(format!("{libraries},ocm={level}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::{debug, error, info, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn captured(
        level: Level,
        format: LogFormat,
        rust_log: Option<&str>,
        speak: impl FnOnce(&Logging),
    ) -> String {
        let out = Captured::default();
        let writer = out.clone();
        let (subscriber, logging) =
            subscriber(level, format, rust_log, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || speak(&logging));
        out.text()
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top() {
        let text = captured(Level::Info, LogFormat::Json, None, |_| {
            let _span = tracing::info_span!("session", peer = "p").entered();
            info!(peer_id = "alice-123", port = 8080, "OCM node \"started\"\nfor good");
            debug!("not at this level");
        });
        let line: Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = ["timestamp", "level", "message", "peer_id", "port", "target"];
        expected.sort_unstable();
        let mut sorted = fields.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "OCM node \"started\"\nfor good");
        assert_eq!(line["peer_id"], "alice-123");
        assert_eq!(line["port"], 8080);
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.ends_with('Z'), "{timestamp} is not UTC");
        let at: jiff::Timestamp = timestamp.parse().unwrap();
        let age = jiff::Timestamp::now().duration_since(at);
        assert!(age.as_secs().abs() < 60, "{timestamp} is not now");
    }

    #[test]
    fn a_text_line_is_for_people() {
        let text = captured(Level::Info, LogFormat::Text, None, |_| info!(port = 8080, "started"));
        assert!(text.contains("INFO") && text.contains("started port=8080"), "{text}");
        assert!(!text.contains('\u{1b}'), "colour where there is no terminal: {text:?}");
    }

    #[test]
    fn each_level_includes_those_before_it() {
        for (level, shown) in [
            (Level::Off, 0),
            (Level::Error, 1),
            (Level::Warn, 2),
            (Level::Info, 3),
            (Level::Debug, 4),
            (Level::Trace, 5),
        ] {
            let text = captured(level, LogFormat::Text, None, |_| {
                error!("e");
                warn!("w");
                info!("i");
                debug!("d");
                tracing::trace!("t");
            });
            assert_eq!(text.lines().count(), shown, "{level}: {text}");
        }
    }

    #[test]
    fn libraries_are_quieter() {
        let speak = |_: &Logging| {
            info!(target: "libp2p_swarm", "library");
            info!(target: "ocm_record", "ours");
        };
        let text = captured(Level::Info, LogFormat::Text, None, speak);
        assert!(text.contains("ours") && !text.contains("library"), "{text}");
        let text = captured(Level::Debug, LogFormat::Text, None, speak);
        assert!(text.contains("ours") && text.contains("library"), "{text}");
    }

    #[test]
    fn the_level_changes_while_running() {
        let text = captured(Level::Warn, LogFormat::Text, None, |logging| {
            info!("before");
            logging.set_level(Level::Info).unwrap();
            info!("after");
        });
        assert!(text.contains("after") && !text.contains("before"), "{text}");
    }

    #[test]
    fn rust_log_decides() {
        let directives = Some("ocm::telemetry=debug");
        let text = captured(Level::Error, LogFormat::Text, directives, |logging| {
            debug!("heard");
            warn!(target: "other", "unheard");
            assert!(matches!(logging.set_level(Level::Off), Err(LoggingError::ByRustLog)));
        });
        assert!(text.contains("heard") && !text.contains("unheard"), "{text}");
        let wrong =
            subscriber(Level::Info, LogFormat::Text, Some("ocm=loud"), std::io::sink, false);
        assert!(matches!(wrong.err(), Some(LoggingError::Directives { .. })));
        let empty = captured(Level::Info, LogFormat::Text, Some(""), |_| info!("heard"));
        assert!(empty.contains("heard"));
    }
}
