//! Pauses that grow.

use crate::limits;

/// Milliseconds until something that failed so often before is tried again.
pub(super) const fn pause_after(attempts: u32) -> u64 {
    let pause = limits::STUCK_MIN_MS << if attempts < 16 { attempts } else { 16 };
    if pause < limits::STUCK_MAX_MS { pause } else { limits::STUCK_MAX_MS }
}

/// When something that failed is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) attempts: u32,
    pub(super) due: u64,
}

impl Pause {
    pub(super) const fn new(now: u64) -> Self {
        Self { first: now, last: now, attempts: 0, due: now }
    }

    /// Whether it was tried so often that it is listed.
    pub(super) const fn is_quarantined(&self) -> bool {
        self.attempts >= limits::QUARANTINE_ATTEMPTS
    }

    pub(super) fn failed(&mut self, now: u64) {
        let pause = pause_after(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        self.last = now;
        self.due = now + pause;
    }

    /// The clock was set back by so much.
    pub(super) fn turn_back(&mut self, by: u64) {
        for at in [&mut self.first, &mut self.last, &mut self.due] {
            *at = at.saturating_sub(by);
        }
    }
}
