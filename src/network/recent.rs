//! Counting what happened in the last minute.

use std::time::Instant;

const SECONDS: u64 = 60;

/// How often something happened in the last minute, to the second.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    began: Instant,
    /// Each second of the last minute, at its number modulo 60.
    seconds: Box<[u64; SECONDS as usize]>,
    /// The number of the second counted last.
    last: u64,
}

impl Recent {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, seconds: Box::new([0; SECONDS as usize]), last: 0 }
    }

    pub(super) fn count(&mut self, now: Instant) {
        self.advance(now);
        if let Some(second) = self.seconds.get_mut((self.last % SECONDS) as usize) {
            *second += 1;
        }
    }

    pub(super) fn sum(&self, now: Instant) -> u64 {
        let second = self.second(now);
        let gone = usize::try_from(second - self.last).unwrap_or(usize::MAX);
        (0..SECONDS)
            .filter_map(|back| self.seconds.get((self.last.checked_sub(back)? % SECONDS) as usize))
            .take((SECONDS as usize).saturating_sub(gone))
            .sum()
    }

    /// The number of this second, no less than that of the one counted last.
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs().max(self.last)
    }

    fn advance(&mut self, now: Instant) {
        let second = self.second(now);
        for gone in (self.last + 1..=second).take(SECONDS as usize) {
            if let Some(second) = self.seconds.get_mut((gone % SECONDS) as usize) {
                *second = 0;
            }
        }
        self.last = second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_older_than_a_minute_no_longer_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut recent = Recent::new(start);
        for second in [0, 0, 30, 59] {
            recent.count(at(second));
        }
        assert_eq!(recent.sum(at(59)), 4);
        assert_eq!(recent.sum(at(60)), 2, "the first two are a minute ago");
        recent.count(at(70));
        assert_eq!(recent.sum(at(89)), 3);
        assert_eq!(recent.sum(at(90)), 2);
        assert_eq!(recent.sum(at(1_000)), 0);
        recent.count(at(5));
        assert_eq!(recent.sum(at(90)), 3, "a time that comes late counts with the last");
    }
}
