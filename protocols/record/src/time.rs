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

    /// The first reading of a millisecond. A reading has 48 bits for it (until the year 10889):
    /// later milliseconds count as the last there is.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        const LAST: u64 = (1 << 48) - 1;
        Self((if millis < LAST { millis } else { LAST }) << 16)
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

    /// A time for a new record: later than `after` (the latest of what the record builds on) and
    /// than every reading before, whatever the clock says, save readings that were far ahead only
    /// because what they built on was. `None` when no time is left.
    pub fn tick(&mut self, after: Time, now_ms: u64) -> Option<Time> {
        let floor = self.last.max(after).next()?;
        let time = floor.max(Time::from_millis(now_ms));
        // Its own readings it follows even when the machine's clock was set back behind them.
        if after <= self.last || !time.is_far_ahead(now_ms) {
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
    fn a_machine_set_back_by_a_day_still_gets_rising_times() {
        let mut clock = Clock::default();
        let day = 24 * 60 * 60 * 1000;
        let mut last = clock.tick(Time(0), 2 * day).unwrap();
        for _ in 0..3 {
            let next = clock.tick(Time(0), day).unwrap();
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn a_millisecond_past_the_last_does_not_wrap() {
        let last = Time::from_millis((1 << 48) - 1);
        assert_eq!(last.millis(), (1 << 48) - 1);
        assert_eq!(Time::from_millis(1 << 48), last);
        assert_eq!(Time::from_millis(u64::MAX), last);
        assert!(last < Time::LAST);
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
