//! The index of the rows of a space: which terms occur in which block of rows.
//!
//! Rows lie in the order of their memories' ids, which is that of time. They are cut into blocks
//! of some hundred neighbours; for each block and [`Aspect`], a table says how many of its rows
//! have a term. A list for which something is asked reads the tables, some bytes for each row,
//! and then the rows of the blocks in which everything that is asked for occurs. Blocks divide all
//! ids among them: each reaches from its first id, the key of its tables, to the next one's.
//!
//! All keys are in the order of time, like the rows': the index grows at its end, and costs no
//! memory. It is written together with the rows it tells of.

use std::collections::BTreeMap;

use ocm_node::layout::{self, SpaceNumber};
use ocm_node::storage::{Batch, ReadError, Reader, Value};
use ocm_record::{MemoryId, RecordId, SpaceId};

use super::term::{Aspect, Term, Terms};
use super::{MemoryPlace, Row};

/// Rows of a full block: what comes behind them begins the next. One that grows in the middle is
/// divided when it has twice as many.
pub(super) const BLOCK: u16 = 256;
/// Terms in a table of a full block, and half of what a table has at most: 30 KB are well below
/// what one value of the store may have.
const TERMS: usize = 1500;
/// Blocks that one batch may change, at most: with 90 KB each and the rows that they are of, what
/// one batch of the store may have.
const BLOCKS: usize = 64;

/// Bytes before the entries of a table: how many rows, and the last of them.
const HEAD: usize = 42;
/// Bytes of an entry: the term, and how many rows have it.
const ENTRY: usize = 10;

/// A table as it is stored: read in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    head: &'a [u8; HEAD],
    entries: &'a [[u8; ENTRY]],
}

impl<'a> Table<'a> {
    /// Reads a stored table; `None` when the bytes are none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, entries) = bytes.split_first_chunk()?;
        let (entries, []) = entries.as_chunks() else { return None };
        Some(Self { head, entries })
    }

    /// How many rows the block has.
    pub(super) fn rows(&self) -> u16 {
        u16::from_be_bytes([self.head[0], self.head[1]])
    }

    /// The last memory of the block.
    pub(super) fn last(&self) -> MemoryId {
        let mut id = [0; 40];
        id.copy_from_slice(&self.head[2..]);
        MemoryId(RecordId::from_bytes(id))
    }

    /// How many of its rows have a term.
    pub(super) fn count(&self, term: Term) -> u16 {
        let at = self.entries.binary_search_by_key(&term, |entry| entry_of(entry).0);
        at.map_or(0, |at| entry_of(&self.entries[at]).1)
    }
}

fn entry_of(entry: &[u8; ENTRY]) -> (Term, u16) {
    let (term, rows) = entry.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    (number(term), u16::try_from(number(rows)).unwrap_or(u16::MAX))
}

/// The tables of one aspect of some blocks that begin before the row of key `to`, each with the
/// first id of its block, newest first; none when there are no more.
pub(super) fn blocks_before(
    store: &dyn Reader,
    space: SpaceNumber,
    aspect: Aspect,
    to: &[u8],
) -> Result<Vec<(MemoryId, Value)>, ReadError> {
    let (from, mut end) = layout::blocks(space, aspect.number());
    if let Some(memory) = layout::memory_of(to) {
        end = layout::block(space, aspect.number(), &memory);
    }
    let blocks = store.scan_back(&from, &end, BLOCKS)?;
    Ok(blocks
        .into_iter()
        .filter_map(|(key, table)| Some((layout::block_of(&key)?, table)))
        .collect())
}

/// A block that is being changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    /// The first id behind it; none behind the last block.
    end: Option<MemoryId>,
    /// The last memory in it.
    last: MemoryId,
    rows: u16,
    tables: [BTreeMap<Term, u16>; 3],
    /// Whether its tables do not tell of its rows: they are made again from these.
    unknown: bool,
}

impl Block {
    fn new(end: Option<MemoryId>) -> Self {
        let last = MemoryId(RecordId::MIN);
        Self { end, last, rows: 0, tables: Default::default(), unknown: false }
    }

    /// Whether a row behind all others has no place in it.
    fn is_full(&self, terms: &Terms) -> bool {
        let mut tables = Aspect::ALL.into_iter().zip(&self.tables);
        self.rows >= BLOCK
            || tables.any(|(aspect, table)| table.len() + terms.get(aspect).len() > TERMS)
    }

    fn is_overfull(&self) -> bool {
        self.rows > 2 * BLOCK || self.tables.iter().any(|table| table.len() > 2 * TERMS)
    }

    fn add(&mut self, memory: MemoryId, terms: &Terms) {
        self.rows += 1;
        self.last = self.last.max(memory);
        for (aspect, table) in Aspect::ALL.into_iter().zip(&mut self.tables) {
            for term in terms.get(aspect) {
                *table.entry(*term).or_default() += 1;
            }
        }
    }

    fn remove(&mut self, terms: &Terms) {
        self.rows = self.rows.saturating_sub(1);
        for (aspect, table) in Aspect::ALL.into_iter().zip(&mut self.tables) {
            for term in terms.get(aspect) {
                let count = table.get(term).map_or(0, |count| count.saturating_sub(1));
                if count == 0 {
                    table.remove(term);
                } else {
                    table.insert(*term, count);
                }
            }
        }
    }

    fn write(&self, space: SpaceNumber, first: &MemoryId, batch: &mut Batch) {
        for (aspect, table) in Aspect::ALL.into_iter().zip(&self.tables) {
            let mut value = Vec::with_capacity(HEAD + ENTRY * table.len());
            value.extend_from_slice(&self.rows.to_be_bytes());
            value.extend_from_slice(self.last.0.as_bytes());
            for (term, rows) in table {
                value.extend_from_slice(&term.to_be_bytes());
                value.extend_from_slice(&rows.to_be_bytes());
            }
            batch.put(layout::block(space, aspect.number(), first), value);
        }
    }
}

/// The row that a new one takes the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Before {
    /// There is none.
    Absent,
    /// It has these terms.
    Terms(Terms),
    /// It cannot be read.
    Unreadable,
}

/// A row that is to be written.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// Whose row.
    pub(super) memory: MemoryId,
    /// The row in the store.
    pub(super) before: Before,
    /// The terms of the row that takes its place.
    pub(super) after: Terms,
    /// Its bytes.
    pub(super) row: Value,
}

/// Writes rows, and what the index says of them: the first of these, as many as fit into a batch,
/// which is one at least. They are in ascending order of their memories.
pub(super) fn write(
    store: &dyn Reader,
    (space, number): (SpaceId, SpaceNumber),
    changes: &[Change],
    batch: &mut Batch,
) -> Result<usize, ReadError> {
    let mut blocks: BTreeMap<MemoryId, Block> = BTreeMap::new();
    let mut at: Option<MemoryId> = None;
    let mut taken = 0;
    for change in changes {
        let behind = |first: &MemoryId| {
            let end = blocks.get(first).and_then(|block| block.end);
            end.is_some_and(|end| change.memory >= end)
        };
        let first = match at.filter(|first| !behind(first)) {
            Some(first) => first,
            None if blocks.len() >= BLOCKS => break,
            None => {
                let (first, block) = load(store, number, &change.memory)?;
                blocks.insert(first, block);
                first
            }
        };
        at = Some(first);
        taken += 1;
        batch.put(layout::row(number, &change.memory), change.row.clone());
        let Some(block) = blocks.get_mut(&first) else { continue };
        match &change.before {
            // What comes in order is written into blocks that are never touched again.
            Before::Absent
                if change.memory > block.last && block.is_full(&change.after) && !block.unknown =>
            {
                let mut next = Block::new(block.end.replace(change.memory));
                next.add(change.memory, &change.after);
                blocks.insert(change.memory, next);
                at = Some(change.memory);
                continue;
            }
            Before::Absent => {}
            Before::Terms(before) => block.remove(before),
            Before::Unreadable => block.unknown = true,
        }
        block.add(change.memory, &change.after);
    }
    for (first, block) in blocks {
        if block.unknown || block.is_overfull() {
            divide(store, (space, number), &first, block.end, &changes[..taken], batch)?;
        } else {
            block.write(number, &first, batch);
        }
    }
    Ok(taken)
}

/// The block in which a memory lies, and its first id.
fn load(
    store: &dyn Reader,
    space: SpaceNumber,
    memory: &MemoryId,
) -> Result<(MemoryId, Block), ReadError> {
    let words = Aspect::Words.number();
    let (from, to) = layout::blocks(space, words);
    let behind = [layout::block(space, words, memory), vec![0]].concat();
    let found = store.scan_back(&from, &behind, 1)?.pop();
    let end = store.scan(&behind, &to, 1)?.first().and_then(|(key, _)| layout::block_of(key));
    let mut block = Block::new(end);
    let Some(first) = found.and_then(|(key, _)| layout::block_of(&key)) else {
        return Ok((MemoryId(RecordId::MIN), block));
    };
    for (aspect, terms) in Aspect::ALL.into_iter().zip(&mut block.tables) {
        let value = match store.get(&layout::block(space, aspect.number(), &first)) {
            Ok(value) => value,
            Err(ReadError::Corrupt(_)) => None,
            Err(error) => return Err(error),
        };
        match value.as_deref().and_then(Table::read) {
            Some(table) => {
                (block.rows, block.last) = (table.rows(), table.last());
                terms.extend(table.entries.iter().map(entry_of));
            }
            None => block.unknown = true,
        }
    }
    Ok((first, block))
}

/// Makes the tables of a block's rows anew, of several blocks where it has too many for one.
fn divide(
    store: &dyn Reader,
    (space, number): (SpaceId, SpaceNumber),
    first: &MemoryId,
    end: Option<MemoryId>,
    changes: &[Change],
    batch: &mut Batch,
) -> Result<(), ReadError> {
    let mut from = layout::row(number, first);
    let to = end.map_or_else(|| layout::rows(number).1, |end| layout::row(number, &end));
    let mut rows: BTreeMap<MemoryId, Terms> = BTreeMap::new();
    loop {
        let page = store.scan(&from, &to, usize::from(BLOCK))?;
        let Some((last, _)) = page.last() else { break };
        from = [last.as_slice(), &[0]].concat();
        for (key, value) in &page {
            let Some(memory) = layout::memory_of(key) else { continue };
            let row = match Row::decode(value) {
                Some(row) => Some(row),
                None => Row::make(store, &MemoryPlace { space, number, memory })?,
            };
            rows.extend(row.map(|row| (memory, Terms::of(&row))));
        }
    }
    let here =
        |change: &&Change| change.memory >= *first && end.is_none_or(|end| change.memory < end);
    rows.extend(changes.iter().filter(here).map(|c| (c.memory, c.after.clone())));
    let mut start = *first;
    let mut block = Block::new(end);
    for (memory, terms) in rows {
        if block.rows > 0 && block.is_full(&terms) {
            block.write(number, &start, batch);
            (start, block) = (memory, Block::new(end));
        }
        block.add(memory, &terms);
    }
    block.write(number, &start, batch);
    Ok(())
}

#[cfg(test)]
mod tests;
