//! Signals.

use tokio::signal::unix::{SignalKind, signal};

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
