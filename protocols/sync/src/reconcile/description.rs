//! A set described for whoever is not there to ask: one answer of a responder, kept and compared
//! later.

use ocm_record::RecordId;

use super::ReconcileError;
use super::frame::Frame;
use super::responder::Answer;
use super::wire::{Message, Mode, Side};
use crate::limits;
use crate::set::{Span, Sum, successor};
use crate::tree::{Nodes, Tree};

/// Parts into which a set is described: with a million ids, one that differs costs two thousand.
const PARTS: u64 = 512;

/// Describes a set as a responder does that is asked for all of it in 512 parts: a list of a small
/// set, sums of the ranges of a large one. At most [`limits::DESCRIPTION_BYTES`].
///
/// # Errors
/// When the set cannot be read.
pub fn describe<N: Nodes>(set: &Tree<N>) -> Result<Vec<u8>, N::Error> {
    let mut answer = Answer::new(set, Frame::new(limits::DESCRIPTION_BYTES));
    answer.take(Span::all(), &Mode::Split(PARTS))?;
    Ok(answer.into_bytes())
}

/// The ranges in which a set has something that, by a description of another, may be missing there:
/// ascending, and apart from each other. What is outside of them is in the other set, unless somebody
/// made ids whose sums are alike.
///
/// # Errors
/// When the description is malformed or the set cannot be read.
pub fn beyond<N: Nodes>(
    set: &Tree<N>,
    description: &[u8],
) -> Result<Vec<Span>, ReconcileError<N::Error>> {
    let mut message = Message::read(Side::Responder, description)?;
    let mut beyond = Beyond { spans: Vec::new() };
    let mut walk = set.walk();
    let mut below = |bound: &RecordId| walk.before(bound).map_err(ReconcileError::Set);
    let mut end = RecordId::MIN;
    while let Some(range) = message.next_range()? {
        end = range.span.to;
        match range.mode {
            Mode::Sum(theirs) => {
                let from = below(&range.span.from)?;
                beyond.add(range.span, &below(&range.span.to)?.minus(&from), &theirs);
            }
            // The gaps between the ids that are listed.
            Mode::List(ids) => {
                let mut from = range.span.from;
                for (to, next) in ids
                    .iter()
                    .map(|id| (*id, successor(id)))
                    .chain([(range.span.to, range.span.to)])
                {
                    if from < to {
                        let before = below(&from)?;
                        let ours = below(&to)?.minus(&before);
                        beyond.add(Span { from, to }, &ours, &Sum::EMPTY);
                    }
                    from = next;
                }
            }
            // Nothing is said of it.
            Mode::Skip | Mode::Split(_) => {
                let from = below(&range.span.from)?;
                beyond.add(range.span, &below(&range.span.to)?.minus(&from), &Sum::EMPTY);
            }
        }
    }
    let rest = Span { from: end, to: Span::end() };
    let from = below(&rest.from)?;
    beyond.add(rest, &set.total().minus(&from), &Sum::EMPTY);
    Ok(beyond.spans)
}

struct Beyond {
    spans: Vec<Span>,
}

impl Beyond {
    /// Takes a range of which both sums are known.
    fn add(&mut self, span: Span, ours: &Sum, theirs: &Sum) {
        if ours.count == 0 || ours == theirs {
            return;
        }
        match self.spans.last_mut() {
            Some(last) if last.to == span.from => last.to = span.to,
            _ => self.spans.push(span),
        }
    }
}

#[cfg(test)]
mod tests {
    use ocm_record::Time;
    use proptest::prelude::*;

    use super::*;
    use crate::tree::SumTree;

    fn id(n: u64) -> RecordId {
        let hash = blake3::hash(&n.to_be_bytes());
        RecordId::from_parts(Time(n / 3), *hash.as_bytes())
    }

    fn set(ids: impl IntoIterator<Item = u64>) -> SumTree {
        ids.into_iter().map(id).collect()
    }

    fn inside(spans: &[Span], id: &RecordId) -> bool {
        spans.iter().any(|span| span.contains(id))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the other set lacks is in a range; what both have is left out but beside that.
        #[test]
        fn nothing_that_is_missing_is_left_out(
            shared in prop::collection::btree_set(0u64..100_000, 0..3_000),
            ours in prop::collection::btree_set(0u64..100_000, 0..20),
            theirs in prop::collection::btree_set(0u64..100_000, 0..20),
        ) {
            let here = set(shared.iter().chain(&ours).copied());
            let there = set(shared.iter().chain(&theirs).copied());
            let description = describe(&there).unwrap();
            prop_assert!(description.len() <= limits::DESCRIPTION_BYTES);
            let spans = beyond(&here, &description).unwrap();
            for pair in spans.windows(2) {
                prop_assert!(pair[0].to < pair[1].from);
            }
            for n in &ours {
                let missing = !shared.contains(n) && !theirs.contains(n);
                prop_assert!(!missing || inside(&spans, &id(*n)));
            }
            // A range of sums holds no more than twice a part of the set, and there is one for each
            // id that differs at most.
            let sent: u64 = spans
                .iter()
                .map(|span| {
                    here.before(&span.to).unwrap().minus(&here.before(&span.from).unwrap()).count
                })
                .sum();
            let differing = (ours.len() + theirs.len()) as u64;
            let part = 2 * (there.len() / PARTS + 16);
            prop_assert!(sent <= differing * (part + 1), "{} for {}", sent, differing);
        }

        #[test]
        fn any_bytes_are_compared_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let here = set(0..100);
            for bytes in [bytes.clone(), [vec![0xe1], bytes].concat()] {
                if let Ok(spans) = beyond(&here, &bytes) {
                    prop_assert!(spans.iter().all(|span| span.from < span.to));
                }
            }
        }
    }

    #[test]
    fn equal_sets_differ_nowhere_and_an_empty_one_lacks_everything() {
        let large = set(0..20_000);
        assert_eq!(beyond(&large, &describe(&large).unwrap()), Ok(Vec::new()));
        let all = beyond(&large, &describe(&set([])).unwrap()).unwrap();
        assert_eq!(all, [Span::all()]);
        assert_eq!(beyond(&set([]), &describe(&large).unwrap()), Ok(Vec::new()));
        // A description that stops early says nothing of the rest.
        assert_eq!(beyond(&large, &[0xe1]).unwrap(), [Span::all()]);
    }
}
