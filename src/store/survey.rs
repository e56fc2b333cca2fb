//! Walks a range to its end, past what cannot be read.

use ocm_node::storage::Key;

use super::backend::{Backend, Direction, KEY_BYTES, StoreError};

/// Entries read at a time.
const PAGE: usize = 256;

/// A range that cannot be read. Entries between two damaged places close to each other may be
/// counted in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    /// Everything from this key on,
    pub(super) from: Key,
    /// and before this one, is unreadable.
    pub(super) to: Key,
    /// What the engine said.
    pub(super) cause: String,
}

/// What a walk did not reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Missed {
    /// Ranges that cannot be read, ascending.
    pub(super) gaps: Vec<Gap>,
    /// The engine gave up, and the walk with it: the last gap is all that was left.
    pub(super) broken: bool,
}

/// Calls `visit` with every readable entry of `from..to`, ascending, and returns what was missed.
///
/// # Errors
/// What `visit` returns, and any failure of the engine that is not damage.
pub(super) fn survey(
    backend: &dyn Backend,
    from: &[u8],
    to: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<Missed, StoreError> {
    let mut missed = Missed::default();
    let mut next = from.to_vec();
    let mut page = PAGE;
    loop {
        match backend.scan(&next, to, page, Direction::Ascending) {
            Ok(entries) => {
                for (key, value) in &entries {
                    visit(key, value)?;
                }
                if entries.len() < page {
                    return Ok(missed);
                }
                if let Some((last, _)) = entries.last() {
                    next = after(last);
                }
            }
            // A long answer fails for its last entry: go one by one up to the damage.
            Err(StoreError::Corrupt { .. }) if page > 1 => page = 1,
            Err(error @ StoreError::Corrupt { .. }) => {
                let (end, broken) = match past_damage(backend, &next, to) {
                    Ok(end) => (end, false),
                    Err(StoreError::Broken { .. }) => (to.to_vec(), true),
                    Err(error) => return Err(error),
                };
                let gap = Gap { from: next, to: end.clone(), cause: error.to_string() };
                missed.gaps.push(gap);
                missed.broken = broken;
                if broken {
                    return Ok(missed);
                }
                next = end;
                page = PAGE;
            }
            // Each further question may take the engine seconds to give up on.
            Err(error @ StoreError::Broken { .. }) => {
                let gap = Gap { from: next, to: to.to_vec(), cause: error.to_string() };
                missed.gaps.push(gap);
                missed.broken = true;
                return Ok(missed);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The smallest key above `key`.
pub(super) fn after(key: &[u8]) -> Key {
    let mut next = key.to_vec();
    next.push(0);
    next
}

/// A key from which the range can be read again; `to` when there is none. `from` cannot be read.
///
/// Bisects the space of keys, bit by bit.
fn past_damage(backend: &dyn Backend, from: &[u8], to: &[u8]) -> Result<Key, StoreError> {
    let readable = |key: &[u8]| match backend.scan(key, to, 1, Direction::Ascending) {
        Ok(_) => Ok(true),
        Err(StoreError::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error),
    };
    // The greatest key known to be unreadable, grown from its most significant bit.
    let mut bad = vec![0; KEY_BYTES];
    for at in 0..KEY_BYTES * 8 {
        let mut key = bad.clone();
        key[at / 8] |= 0x80 >> (at % 8);
        if key.as_slice() <= from || (key.as_slice() < to && !readable(&key)?) {
            bad = key;
        }
    }
    // The next key above it, in as few bytes as can be read: an entry's key may end with zeros.
    let Some(last) = bad.iter().rposition(|byte| *byte != u8::MAX) else { return Ok(to.to_vec()) };
    bad.truncate(last + 1);
    bad[last] += 1;
    while bad.as_slice() < to {
        if bad.as_slice() > from && readable(&bad)? {
            return Ok(bad);
        }
        if bad.len() >= KEY_BYTES {
            break;
        }
        bad.push(0);
    }
    Ok(to.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_node::storage::{Batch, Value};

    /// Entries 0 to 99 under two-byte keys, of which some ranges cannot be read, as with sled: a
    /// scan fails when it enters the range.
    struct Damaged(&'static [(u8, u8)]);

    /// From this entry on the engine gives up.
    const BROKEN: u8 = 90;

    impl Damaged {
        fn bad(&self, at: usize) -> bool {
            self.0.iter().any(|(start, end)| (usize::from(*start)..usize::from(*end)).contains(&at))
        }
    }

    impl Backend for Damaged {
        fn get(&self, _: &[u8]) -> Result<Option<Value>, StoreError> {
            Ok(None)
        }

        fn scan(
            &self,
            from: &[u8],
            to: &[u8],
            limit: usize,
            _: Direction,
        ) -> Result<Vec<(Key, Value)>, StoreError> {
            let mut found = Vec::new();
            for at in 0..100u8 {
                let key = vec![1, at];
                // The page of an entry reaches to the next entry's key.
                let entered = from < [1, at + 1].as_slice() && key.as_slice() < to;
                if entered && self.bad(at as usize) && found.len() < limit {
                    return Err(StoreError::Corrupt { action: "scan", cause: at.to_string() });
                }
                if key.as_slice() >= from && key.as_slice() < to && found.len() < limit {
                    found.push((key, vec![at]));
                }
            }
            Ok(found)
        }

        fn apply(&self, _: &Batch) -> Result<(), StoreError> {
            Ok(())
        }

        fn flush(&self) -> Result<(), StoreError> {
            Ok(())
        }

        fn close(&self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    fn walk(damaged: &Damaged) -> (Vec<u8>, Vec<Gap>) {
        let mut seen = Vec::new();
        let missed = survey(damaged, &[1], &[2], |_, value| {
            seen.push(value[0]);
            Ok(())
        });
        (seen, missed.unwrap().gaps)
    }

    #[test]
    fn everything_readable_is_visited_once_around_a_gap() {
        for bad in [&[(0, 1)], &[(40, 47)], &[(99, 100)], &[(5, 5)]] {
            let damaged = Damaged(bad);
            let (seen, gaps) = walk(&damaged);
            let expected: Vec<u8> = (0..100).filter(|at| !damaged.bad(usize::from(*at))).collect();
            assert_eq!(seen, expected, "{bad:?}");
            assert_eq!(gaps.len(), usize::from(expected.len() < 100));
        }
    }

    #[test]
    fn a_wholly_damaged_range_ends() {
        let (seen, gaps) = walk(&Damaged(&[(0, 100)]));
        assert!(seen.is_empty());
        assert_eq!((gaps.len(), gaps[0].to.clone()), (1, vec![1, 100]));
    }

    /// As [`Damaged`], and broken from [`BROKEN`] on.
    struct Broken(Damaged);

    impl Backend for Broken {
        fn get(&self, _: &[u8]) -> Result<Option<Value>, StoreError> {
            Ok(None)
        }

        fn scan(
            &self,
            from: &[u8],
            to: &[u8],
            limit: usize,
            direction: Direction,
        ) -> Result<Vec<(Key, Value)>, StoreError> {
            let found = self.0.scan(from, to, limit, direction)?;
            if found.len() < limit || found.iter().any(|(_, value)| value[0] >= BROKEN) {
                return Err(StoreError::Broken { action: "scan", cause: "lost".to_owned() });
            }
            Ok(found)
        }

        fn apply(&self, _: &Batch) -> Result<(), StoreError> {
            Ok(())
        }

        fn flush(&self) -> Result<(), StoreError> {
            Ok(())
        }

        fn close(&self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn an_engine_that_gives_up_ends_the_walk_there() {
        let mut seen = 0;
        let missed = survey(&Broken(Damaged(&[(40, 50)])), &[1], &[2], |_, _| {
            seen += 1;
            Ok(())
        });
        let missed = missed.unwrap();
        assert!(missed.broken);
        assert_eq!(missed.gaps.last().unwrap().to, [2]);
        assert!(seen < BROKEN, "{seen}");
    }

    #[test]
    fn two_gaps_lose_at_most_what_lies_between() {
        let (seen, _) = walk(&Damaged(&[(10, 12), (60, 61)]));
        assert!((0..10).all(|at| seen.contains(&at)) && (61..100).all(|at| seen.contains(&at)));
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
