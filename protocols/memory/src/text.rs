//! From one text to another by splices.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Characters that differ, on both sides together, up to which the smallest set of splices is
/// searched for: its time grows with the square. The search has no clock: the same texts always
/// give the same splices.
const FINE: usize = 2_000;

/// Splices beyond which one for the whole changed part is better: texts that have little in
/// common, of which single letters would be kept by chance.
const SPLICES: usize = 100;

/// Remove `delete` characters at `index` and put `text` there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splice {
    pub(crate) index: usize,
    pub(crate) delete: usize,
    pub(crate) text: String,
}

/// The splices that turn `old` into `new`, each acting on the result of those before it. Indexes
/// count Unicode scalars.
pub(crate) fn splices(old: &str, new: &str) -> Vec<Splice> {
    let old: Vec<char> = old.chars().collect();
    let new: Vec<char> = new.chars().collect();
    let (prefix, suffix) = common_ends(&old, &new);
    let from = &old[prefix..old.len() - suffix];
    let to = &new[prefix..new.len() - suffix];
    if from.is_empty() && to.is_empty() {
        return Vec::new();
    }
    let whole = || Splice { index: prefix, delete: from.len(), text: to.iter().collect() };
    if from.is_empty() || to.is_empty() || from.len() + to.len() > FINE {
        return vec![whole()];
    }
    let mut splices: Vec<Splice> = Vec::new();
    let mut index = prefix;
    let mut adjacent = false;
    for op in capture_diff_slices(Algorithm::Myers, from, to) {
        if let DiffOp::Equal { len, .. } = op {
            index += len;
            adjacent = false;
            continue;
        }
        let (delete, insert) = match op {
            DiffOp::Delete { old_len, .. } => (old_len, &to[..0]),
            _ => (op.old_range().len(), &to[op.new_range()]),
        };
        let open = if adjacent { splices.last_mut() } else { None };
        match open {
            Some(open) => {
                open.delete += delete;
                open.text.extend(insert);
            }
            None => splices.push(Splice { index, delete, text: insert.iter().collect() }),
        }
        index += insert.len();
        adjacent = true;
    }
    if splices.len() > SPLICES { vec![whole()] } else { splices }
}

/// How many items two sequences share at their beginnings, and then at their ends.
pub(crate) fn common_ends<A: PartialEq<B>, B>(old: &[A], new: &[B]) -> (usize, usize) {
    let prefix = old.iter().zip(new).take_while(|(a, b)| *a == *b).count();
    let suffix = old[prefix..].iter().rev().zip(new[prefix..].iter().rev());
    (prefix, suffix.take_while(|(a, b)| *a == *b).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replay(old: &str, splices: &[Splice]) -> String {
        let mut chars: Vec<char> = old.chars().collect();
        for s in splices {
            chars.splice(s.index..s.index + s.delete, s.text.chars());
        }
        chars.into_iter().collect()
    }

    #[test]
    fn small_changes_stay_small() {
        let one = |index, delete, text: &str| vec![Splice { index, delete, text: text.into() }];
        assert_eq!(splices("same", "same"), vec![]);
        assert_eq!(splices("", "new"), one(0, 0, "new"));
        assert_eq!(splices("old", ""), one(0, 3, ""));
        assert_eq!(splices("añb", "añ😀b"), one(2, 0, "😀"));
        assert_eq!(splices("one two three", "one 2 three"), one(4, 3, "2"));
        let two = splices("The well is dry.", "A well is dry!");
        assert!(two.len() >= 2 && two.iter().map(|s| s.delete).sum::<usize>() <= 4, "{two:?}");
    }

    #[test]
    fn large_changes_are_one_splice() {
        let (old, new) = ("ab".repeat(5_000), "ba".repeat(5_000));
        let found = splices(&old, &new);
        assert_eq!(found.len(), 1);
        assert_eq!(replay(&old, &found), new);
    }

    proptest! {
        #[test]
        fn splices_lead_to_the_new_text(
            old in "[ab é😀]{0,60}",
            new in "[ab é😀]{0,60}",
            noise_old in ".{0,300}",
            noise_new in ".{0,300}",
        ) {
            prop_assert_eq!(replay(&old, &splices(&old, &new)), new);
            prop_assert_eq!(replay(&noise_old, &splices(&noise_old, &noise_new)), noise_new);
        }
    }
}
