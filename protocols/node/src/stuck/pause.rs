//! Pauses that grow.

use crate::limits;

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

    /// 1 when it was tried so often that it is listed, else 0.
    pub(super) fn is_quarantined(&self) -> u64 {
        u64::from(self.attempts >= limits::QUARANTINE_ATTEMPTS)
    }

    pub(super) fn failed(&mut self, now: u64) {
        let pause = limits::STUCK_MIN_MS << self.attempts.min(16);
        self.attempts = self.attempts.saturating_add(1);
        self.last = now;
        self.due = now + pause.min(limits::STUCK_MAX_MS);
    }
}
