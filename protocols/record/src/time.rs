//! Hybrid logical time.

use serde::{Deserialize, Serialize};

/// How far a record may be ahead of this node's clock and still advance it: 10 minutes, in
/// milliseconds. A record further ahead is admitted and marked, but one wrong clock must not drag
/// every other along.
pub const FAR_AHEAD_MS: u64 = 10 * 60 * 1000;

/// A hybrid logical clock's reading: milliseconds since the Unix epoch in the upper 48 bits, a
/// counter in the lower 16 (Kulkarni et al., "Logical Physical Clocks", 2014).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// The last time a record can have. The next, 2^64-1, is the infinity of range
    /// reconciliation and is rejected in a header.
    pub const LAST: Self = Self(u64::MAX - 1);

    /// The first reading of a millisecond.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis << 16)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// The next reading, or `None` at the end of time.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        (self < Self::LAST).then(|| Self(self.0 + 1))
    }

    /// Whether this is too far ahead of `now_ms` to be believed.
    #[must_use]
    pub fn is_far_ahead(self, now_ms: u64) -> bool {
        self.millis() > now_ms.saturating_add(FAR_AHEAD_MS)
    }
}

/// The clock of one node: it never runs backwards, and never behind what it has seen, save what
/// lies too far ahead.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    last: Time,
}

impl Clock {
    /// Takes note of an admitted record's time. Returns whether the time was too far ahead, and
    /// so was not followed.
    pub fn observe(&mut self, time: Time, now_ms: u64) -> bool {
        let far = time.is_far_ahead(now_ms);
        if !far {
            self.last = self.last.max(time);
        }
        far
    }

    /// A time for a new record: later than every reading before and than `after` (the latest of
    /// what the record builds on), whatever the clock says. `None` when no time is left.
    pub fn tick(&mut self, after: Time, now_ms: u64) -> Option<Time> {
        let floor = self.last.max(after).next()?;
        let time = floor.max(Time::from_millis(now_ms));
        if !time.is_far_ahead(now_ms) {
            self.last = time;
        }
        Some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_later_than_everything_before() {
        let mut clock = Clock::default();
        let first = clock.tick(Time(0), 1000).unwrap();
        assert_eq!(first, Time::from_millis(1000));
        assert!(clock.tick(Time(0), 1000).unwrap() > first, "same millisecond");
        assert!(clock.tick(Time(0), 10).unwrap() > first, "clock set back");
    }

    #[test]
    fn a_dependency_far_ahead_is_passed_but_not_followed() {
        let mut clock = Clock::default();
        let far = Time::from_millis(FAR_AHEAD_MS * 3);
        assert!(clock.observe(far, 0));
        assert!(clock.tick(far, 0).unwrap() > far);
        assert!(clock.tick(Time(0), 5).unwrap() < far, "the clock itself stayed");
    }

    #[test]
    fn the_end_of_time_is_an_error() {
        assert_eq!(Clock::default().tick(Time::LAST, 0), None);
    }
}
