//! How much a peer is asked for at once.

use crate::limits::{FAST_MS, ROOM, ROOM_FIRST, ROOM_LEAST, SLOW_MS};

/// The bytes that one answer of a peer may have, by how long its answers took: on a slow link, small
/// pages come in time where a large one never would, and leave room between them for all else.
///
/// What is pushed to it follows the same. As TCP does: twice as much after an answer that was quick although
/// it, or the push, was full, half after a slow one, and a quarter after none came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    room: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { room: ROOM_FIRST }
    }
}

impl Pace {
    /// Bytes of records, or of reconciliation, that an answer may have.
    pub(crate) const fn room(&self) -> u32 {
        self.room
    }

    /// An answer came after so long; it, or what it answers, has so many bytes.
    pub(crate) fn answered(&mut self, bytes: usize, millis: u64) {
        let full = bytes as u64 >= u64::from(self.room / 2);
        if millis > SLOW_MS {
            self.room = (self.room / 2).max(ROOM_LEAST);
        } else if full && millis < FAST_MS {
            self.room = self.room.saturating_mul(2).min(ROOM);
        }
    }

    /// No answer came in time.
    pub(crate) fn unanswered(&mut self) {
        self.room = (self.room / 4).max(ROOM_LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_full_answers_have_more_asked_for_and_slow_ones_less() {
        let mut pace = Pace::default();
        pace.answered(100, 1);
        assert_eq!(pace.room(), ROOM_FIRST, "a small answer tells nothing of the link");
        for _ in 0..20 {
            let room = pace.room() as usize;
            pace.answered(room, FAST_MS - 1);
        }
        assert_eq!(pace.room(), ROOM);
        pace.answered(ROOM as usize, SLOW_MS);
        assert_eq!(pace.room(), ROOM, "neither quick nor slow");
        pace.answered(1, SLOW_MS + 1);
        assert_eq!(pace.room(), ROOM / 2, "whatever it brought");
        pace.unanswered();
        assert_eq!(pace.room(), ROOM / 8);
        for _ in 0..20 {
            pace.unanswered();
        }
        assert_eq!(pace.room(), ROOM_LEAST);
    }

    /// A link of so many bytes a second: how many answers, of what is there in plenty, until one
    /// comes within the time of a request, and how long each takes in the end.
    fn settle(rate: u64) -> (usize, u64) {
        let mut pace = Pace::default();
        let (mut lost, mut last) = (0, 0);
        for _ in 0..40 {
            last = u64::from(pace.room()) * 1000 / rate;
            if last > 20_000 {
                lost += 1;
                pace.unanswered();
            } else {
                pace.answered(pace.room() as usize, last);
            }
        }
        (lost, last)
    }

    #[test]
    fn every_link_is_used_in_time() {
        for kbit in [4, 16, 64, 256, 1_000, 100_000] {
            let (lost, last) = settle(kbit * 1000 / 8);
            assert!(lost < 3, "{kbit} kbit/s: {lost} requests lost, three end a connection");
            assert!(last <= SLOW_MS || kbit < 16, "{kbit} kbit/s: {last} ms for one answer");
            assert!(last < 20_000, "{kbit} kbit/s: {last} ms");
        }
        assert_eq!(settle(100_000_000), (0, u64::from(ROOM) * 1000 / 100_000_000));
    }
}
