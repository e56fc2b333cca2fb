//! How long to wait after a failure.

/// Exponential backoff with jitter: after n failures in a row the wait is drawn evenly from the
/// upper half of `min(cap, base · 2^n)`. So nodes that lost the same peer together do not come
/// back together, and no wait is shorter than half the one intended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before jitter after no failure, in milliseconds.
    pub base_ms: u64,
    /// The longest wait, in milliseconds.
    pub cap_ms: u64,
}

/// For addresses the operator gave: from one second to half a minute, for ever. A name whose address
/// changes is found again within a minute, though the old address keeps its last dial waiting.
pub const BOOTSTRAP_BACKOFF: Backoff = Backoff { base_ms: 1_000, cap_ms: 30_000 };

/// For peers heard of: from one second to ten minutes; a peer that is not heard of again expires.
pub const PEER_BACKOFF: Backoff = Backoff { base_ms: 1_000, cap_ms: 600_000 };

impl Backoff {
    /// The wait, in milliseconds, after this many failures in a row. `random` is any random
    /// number: the same one gives waits that never shrink as failures grow.
    #[must_use]
    pub fn delay(&self, failures: u32, random: u64) -> u64 {
        let factor = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
        let full = self.base_ms.saturating_mul(factor).min(self.cap_ms);
        let half = full / 2;
        let share = u128::from(full - half) * u128::from(random) / u128::from(u64::MAX);
        // `share` is at most full - half, which fits.
        full.min(half.saturating_add(u64::try_from(share).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_and_the_last_wait() {
        assert_eq!(BOOTSTRAP_BACKOFF.delay(0, 0), 500);
        assert_eq!(BOOTSTRAP_BACKOFF.delay(0, u64::MAX), 1_000);
        assert_eq!(BOOTSTRAP_BACKOFF.delay(u32::MAX, 0), 15_000);
        assert_eq!(BOOTSTRAP_BACKOFF.delay(u32::MAX, u64::MAX), 30_000);
    }

    proptest! {
        #[test]
        fn waits_grow_and_are_bounded(
            base_ms in 0u64..1 << 40,
            cap_ms in 0u64..1 << 40,
            failures: u32,
            random: u64,
        ) {
            let backoff = Backoff { base_ms, cap_ms };
            for failures in [failures, failures % 70] {
                let (now, next) =
                    (backoff.delay(failures, random), backoff.delay(failures.saturating_add(1), random));
                prop_assert!(now <= next);
                prop_assert!(next <= cap_ms);
                prop_assert!(now >= base_ms.min(cap_ms) / 2);
            }
        }
    }
}
