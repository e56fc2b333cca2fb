//! What a service manager is told, as systemd has it (sd_notify(3)). Without one, nothing is.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// The node serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being loaded again; [`ready`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager is not told of the reload"),
    }
}

/// The node is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Tells the service manager that the event loop lives, while it does: the loop shows anew what it is
/// every second.
pub(super) struct Watchdog<T> {
    ticks: Option<Interval>,
    shown: watch::Receiver<T>,
}

impl<T> Watchdog<T> {
    /// Of this process, where its manager asks for one; `shown` is what the loop shows.
    pub(super) fn new(shown: watch::Receiver<T>) -> Self {
        Self::every(sd_notify::watchdog_enabled(), shown)
    }

    /// Thrice within the time after which the manager takes the process for dead.
    fn every(within: Option<Duration>, shown: watch::Receiver<T>) -> Self {
        let ticks = within.map(|within| {
            let pause = (within / 3).max(Duration::from_millis(1));
            let mut ticks = interval_at(Instant::now() + pause, pause);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { ticks, shown }
    }

    /// Completes at each tick, after the manager was told if there was something to tell; never where
    /// no manager asks.
    pub(super) async fn feed(&mut self) {
        if self.lives().await {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// At the next tick: whether the loop has shown itself since the last one.
    async fn lives(&mut self) -> bool {
        let Some(ticks) = &mut self.ticks else { return std::future::pending().await };
        ticks.tick().await;
        let lives = self.shown.has_changed().unwrap_or(false);
        self.shown.mark_unchanged();
        if !lives {
            tracing::warn!("the event loop has not shown itself; the service manager is not told");
        }
        lives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_loop_that_shows_itself_is_told_of() {
        let (show, shown) = watch::channel(0);
        let mut watchdog = Watchdog::every(Some(Duration::from_millis(30)), shown);
        for shows in [true, true, false, false, true] {
            if shows {
                show.send_replace(1);
            }
            assert_eq!(watchdog.lives().await, shows);
        }
        drop(show);
        assert!(!watchdog.lives().await, "the loop is gone");
    }

    #[tokio::test]
    async fn without_a_manager_nothing_is_told() {
        let (_show, shown) = watch::channel(0);
        let mut watchdog = Watchdog::every(None, shown);
        assert!(futures::FutureExt::now_or_never(watchdog.feed()).is_none());
    }
}
