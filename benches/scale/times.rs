//! Many times of one thing.

use std::time::{Duration, Instant};

/// Times, the shortest first.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// Does something so many times.
    pub(crate) fn measure(count: usize, mut work: impl FnMut(usize)) -> Self {
        let time = |n| {
            let began = Instant::now();
            work(n);
            began.elapsed()
        };
        Self::of((0..count).map(time).collect())
    }

    /// The time, in milliseconds, within which that share of them lies.
    pub(crate) fn within(&self, share: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[(last as f64 * share).round() as usize].as_secs_f64() * 1000.0
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1000.0 / self.0.len() as f64
    }

    pub(crate) fn median(&self) -> f64 {
        self.within(0.5)
    }
}
