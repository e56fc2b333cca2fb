//! Going back through the rows of a space, past the blocks in which a filter finds nothing.

use std::collections::VecDeque;

use ocm_node::layout::{self, SpaceNumber};
use ocm_node::storage::{Key, ReadError, Reader, Value};
use ocm_record::{MemoryId, RecordId};

use super::index::{self, Table};
use super::list::Cut;
use super::term::Aspect;

/// Rows next to each other, of one block, in which everything that is asked for occurs.
pub(super) struct Stretch {
    /// Where they begin.
    pub(super) from: Key,
    /// Where they end.
    pub(super) to: Key,
    /// How many of them match, where that is known without reading them.
    pub(super) matches: Option<u16>,
}

/// A walk through the blocks of a space, the newest first.
pub(super) struct Walk<'a> {
    number: SpaceNumber,
    cut: &'a Cut,
    /// Whose tables are read of every block.
    aspect: Aspect,
    from: Key,
    /// Everything from here on has been passed.
    to: Key,
    /// Tables that have been read, the newest last.
    blocks: VecDeque<(MemoryId, Value)>,
}

impl<'a> Walk<'a> {
    /// Begins a walk through what is of the time that is asked for.
    pub(super) fn begin(number: SpaceNumber, cut: &'a Cut) -> Self {
        let (from, to) = cut.filter.range(number);
        let aspect = cut.wanted.aspects().next().unwrap_or(Aspect::Words);
        Self { number, cut, aspect, from, to, blocks: VecDeque::new() }
    }

    /// The next stretch; `None` when there is none, or nothing is left of the `looks`. Each block
    /// takes one.
    pub(super) fn next(
        &mut self,
        store: &dyn Reader,
        looks: &mut usize,
    ) -> Result<Option<Stretch>, ReadError> {
        while self.from < self.to && *looks > 0 {
            if self.blocks.is_empty() {
                let found = index::blocks_before(store, self.number, self.aspect, &self.to)?;
                self.blocks.extend(found);
            }
            let Some((first, table)) = self.blocks.pop_front() else {
                self.to.clone_from(&self.from);
                return Ok(None);
            };
            *looks -= 1;
            let begin = layout::row(self.number, &first);
            let whole = begin >= self.from;
            let from = begin.max(self.from.clone());
            let to = std::mem::replace(&mut self.to, from.clone());
            let table = Table::read(&table);
            if self.may_match(store, &first, table)? {
                let known =
                    table.filter(|table| whole && layout::row(self.number, &table.last()) < to);
                let matches = known.and_then(|table| match self.cut.wanted.only_words()? {
                    [] => Some(table.rows()),
                    [word] => Some(word.iter().map(|term| table.count(*term)).sum()),
                    _ => None,
                });
                return Ok(Some(Stretch { from, to, matches }));
            }
        }
        Ok(None)
    }

    /// Whether everything that is asked for occurs in a block.
    fn may_match(
        &self,
        store: &dyn Reader,
        first: &MemoryId,
        table: Option<Table<'_>>,
    ) -> Result<bool, ReadError> {
        let wanted = &self.cut.wanted;
        let holds = |aspect: Aspect, table: Option<Table<'_>>| {
            // One that cannot be read tells nothing.
            table.is_none_or(|table| {
                let mut asked = wanted.get(aspect).iter();
                asked.all(|any| any.iter().any(|term| table.count(*term) > 0))
            })
        };
        if !holds(self.aspect, table) {
            return Ok(false);
        }
        for other in wanted.aspects().filter(|aspect| *aspect != self.aspect) {
            let table = store.get(&layout::block(self.number, other.number(), first))?;
            if !holds(other, table.as_deref().and_then(Table::read)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Everything from this id on has been passed; `None` when all has.
    pub(super) fn passed(&self) -> Option<MemoryId> {
        let passed = layout::memory_of(&self.to).unwrap_or(MemoryId(RecordId::MAX));
        (self.from < self.to).then_some(passed)
    }
}
