//! Signals that ask the launcher to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::error::DevnetError;

/// How often SIGINT, SIGTERM or SIGHUP came. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Counts signals from now on, instead of ending by them.
    pub(crate) fn listen() -> Result<Self, DevnetError> {
        Self::listen_to([SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
    }

    fn listen_to(kinds: [SignalKind; 3]) -> Result<Self, DevnetError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(DevnetError::Signals)?;
        let [mut first, mut second, mut third] = {
            let _entered = runtime.enter();
            let [first, second, third] =
                kinds.map(|kind| signal(kind).map_err(DevnetError::Signals));
            [first?, second?, third?]
        };
        let heard = Self::default();
        let counter = heard.clone();
        let count = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = first.recv() => {}
                        _ = second.recv() => {}
                        _ = third.recv() => {}
                    }
                    counter.0.fetch_add(1, Ordering::Relaxed);
                }
            });
        };
        // It lives as long as the process: signals would have no effect without it.
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(count)
            .map_err(DevnetError::Signals)?;
        Ok(heard)
    }

    /// How often.
    pub(crate) fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// As if a signal came.
    #[cfg(test)]
    pub(crate) fn raise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// An error if a signal came.
    pub(crate) fn check(&self) -> Result<(), DevnetError> {
        if self.times() == 0 { Ok(()) } else { Err(DevnetError::Interrupted) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn signals_are_counted() {
        // Not those that other tests listen to.
        let kinds = [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::quit()];
        let interrupt = Interrupt::listen_to(kinds).unwrap();
        interrupt.check().unwrap();
        for (sent, kind) in [(1, Signal::USR1), (2, Signal::USR2)] {
            kill_process(getpid(), kind).unwrap();
            let begun = Instant::now();
            while interrupt.times() < sent && begun.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(interrupt.times(), sent);
        }
        assert!(matches!(interrupt.check(), Err(DevnetError::Interrupted)));
    }
}
