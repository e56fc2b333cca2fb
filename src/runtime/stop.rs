//! Signals.

use std::io::IsTerminal as _;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Each SIGHUP from now on.
pub(super) struct Hangups(Option<Signal>);

/// Hears SIGHUP, which does not end the process any more; but one whose terminal it is goes with it.
pub(super) fn hangups() -> Hangups {
    if std::io::stderr().is_terminal() {
        return Hangups(None);
    }
    let heard = signal(SignalKind::hangup());
    if let Err(error) = &heard {
        tracing::warn!(%error, "SIGHUP cannot be heard: restart the node to configure it anew");
    }
    Hangups(heard.ok())
}

impl Hangups {
    /// Completes at the next one.
    pub(super) async fn next(&mut self) {
        let heard = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if heard.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Completes at the first SIGTERM or SIGINT. A second one ends the process at once: nothing
/// acknowledged is lost by that.
pub(super) async fn signalled() {
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals cannot be heard: stop the node with `ocm stop`");
        return std::future::pending().await;
    };
    let name = tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stopping; a second signal ends the process at once");
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        std::process::exit(130);
    });
}
