//! A set as one peer is to see it reconciled: what is stored, and what is not to be asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocm_record::{RecordId, Set};
use ocm_sync::{Changes, Node, NodeNumber, Nodes, Tree, Update};

use crate::layout::SpaceNumber;
use crate::sets::{self, StoredNodes};
use crate::storage::{ReadError, Reader};

/// The nodes of a stored set's tree, but for some that are changed in memory.
pub(crate) struct SeenNodes<'a> {
    stored: StoredNodes<'a>,
    changed: BTreeMap<NodeNumber, Arc<Node>>,
}

/// A stored set with some ids more: those of records that a peer offers and that cannot be admitted.
/// Reconciled with that peer, they are found on both sides, whether they would have been asked for
/// singly or as part of a range.
pub(crate) type SeenSet<'a> = Tree<SeenNodes<'a>>;

impl Nodes for SeenNodes<'_> {
    type Error = ReadError;

    fn node(&self, number: NodeNumber) -> Result<Arc<Node>, ReadError> {
        match self.changed.get(&number) {
            Some(node) => Ok(node.clone()),
            None => self.stored.node(number),
        }
    }

    fn misfit(&self, number: NodeNumber) -> ReadError {
        self.stored.misfit(number)
    }
}

/// The set with `more` ids; what is stored of them counts once.
pub(crate) fn open<'a>(
    store: &'a dyn Reader,
    space: SpaceNumber,
    set: Set,
    more: &[RecordId],
) -> Result<SeenSet<'a>, ReadError> {
    let (root, stored) = sets::parts(store, space, set)?;
    let mut update = Update::new(root, &stored);
    for id in more {
        update.insert(id)?;
    }
    let Changes { root, nodes } = update.finish();
    let changed = nodes.into_iter().filter_map(|(number, node)| Some((number, Arc::new(node?))));
    let changed = changed.collect();
    Ok(Tree::new(root, SeenNodes { stored, changed }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ocm_record::Time;
    use ocm_sync::{Span, SumTree};
    use proptest::prelude::*;

    use super::*;
    use crate::layout;
    use crate::storage::{Key, Value};

    #[derive(Default)]
    struct Shelf(BTreeMap<Key, Value>);

    impl Reader for Shelf {
        fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
            Ok(self.0.get(key).cloned())
        }
        fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Key, Value)>, ReadError> {
            Ok(Vec::new())
        }
        fn scan_back(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Key, Value)>, ReadError> {
            Ok(Vec::new())
        }
    }

    fn id(n: u16) -> RecordId {
        RecordId::from_parts(Time(u64::from(n / 3)), [n as u8; 32])
    }

    proptest! {
        #[test]
        fn it_is_the_union_of_both_and_changes_nothing(
            stored in prop::collection::btree_set(0u16..2000, 0..400),
            more in prop::collection::btree_set(0u16..2000, 0..20),
            from in 0u16..2000, to in 0u16..2000, limit in 0usize..90,
        ) {
            let mut shelf = Shelf::default();
            let writes: Vec<_> = stored
                .iter()
                .map(|n| (layout::record(SpaceNumber(1), Set::Content, &id(*n)), Some(vec![1])))
                .collect();
            for (key, value) in sets::follow(&writes, &shelf).unwrap().0 {
                shelf.0.insert(key, value.unwrap());
            }
            let before = shelf.0.clone();
            let more: Vec<RecordId> = more.iter().map(|n| id(*n)).collect();
            let seen = open(&shelf, SpaceNumber(1), Set::Content, &more).unwrap();
            let stored = stored.iter().map(|n| id(*n));
            let union: BTreeSet<RecordId> = stored.chain(more.iter().copied()).collect();
            let naive: SumTree = union.iter().copied().collect();
            let span = Span { from: id(from), to: id(to) };
            prop_assert_eq!(seen.total(), naive.total());
            prop_assert_eq!(seen.before(&id(to)).unwrap(), naive.before(&id(to)).unwrap());
            prop_assert_eq!(seen.list(span, limit).unwrap(), naive.list(span, limit).unwrap());
            prop_assert_eq!(seen.contains(&id(from)).unwrap(), union.contains(&id(from)));
            for position in [0, union.len() as u64 / 2, union.len() as u64] {
                prop_assert_eq!(seen.at(position).unwrap(), naive.at(position).unwrap());
            }
            prop_assert_eq!(shelf.0, before);
        }
    }
}
