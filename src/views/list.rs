//! Lists of memories, newest first, read from their rows.

use std::collections::VecDeque;

use ocm_memory::Summary;
use ocm_node::layout::{self, SpaceNumber};
use ocm_node::storage::{Key, ReadError, Reader};
use ocm_record::{Did, MemoryId, RecordId, SpaceId, Time};
use serde_json::json;

use super::find::{number_of, spaces};
use super::{MemoryPlace, Row, ViewError, Views, limits};

/// Rows read at once from one space.
const CHUNK: usize = 128;

/// What a list shall hold. A memory is in it when everything that is given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The space; all spaces without one.
    pub space: Option<SpaceId>,
    /// Its content's `type`.
    pub kind: Option<String>,
    /// One of its tags.
    pub tag: Option<String>,
    /// Who began it.
    pub author: Option<Did>,
    /// Begun at this time or later, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Begun before this time, in milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
    /// How its title or its text begins, in capitals or not.
    pub text: Option<String>,
    /// Only memories begun before this one: the cursor.
    pub before: Option<MemoryId>,
    /// Items of a page, from 1 to [`limits::PAGE`].
    pub limit: usize,
}

/// One memory of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its space.
    pub space: SpaceId,
    /// The memory.
    pub memory: MemoryId,
    /// Its row.
    pub row: Row,
}

/// One page of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// Newest first. There may be fewer than asked for, or none, although more follow: see
    /// [`limits::PAGE_ROWS`].
    pub items: Vec<Item>,
    /// Where the next page begins ([`Filter::before`]); `None` when nothing is left.
    pub next: Option<MemoryId>,
}

impl Views {
    /// A page of memories, newest first by the time they were begun. Rows that are due are made
    /// first.
    ///
    /// # Errors
    /// When the space is not held here, or the store fails.
    pub async fn list(&self, filter: Filter) -> Result<Page, ViewError> {
        match filter.space {
            Some(space) => self.settle(space).await?,
            None => self.settle_all().await?,
        }
        self.off_thread(move |store| list(store, &Cut::of(filter))).await
    }
}

/// A filter, its words cut as the rows' are.
struct Cut {
    filter: Filter,
    text: Option<String>,
}

impl Cut {
    fn of(mut filter: Filter) -> Self {
        let cut = Summary::of(&json!({ "type": filter.kind, "tags": [filter.tag] }));
        filter.kind = cut.kind;
        filter.tag = cut.tags.into_iter().next();
        let text = filter.text.take().map(|text| text.to_lowercase());
        Self { filter, text }
    }

    fn takes(&self, row: &Row) -> bool {
        let Self { filter, text } = self;
        let summary = &row.summary;
        let begins = |value: &Option<String>, text: &str| {
            value.as_ref().is_some_and(|value| value.to_lowercase().starts_with(text))
        };
        filter.kind.as_ref().is_none_or(|kind| summary.kind.as_ref() == Some(kind))
            && filter.tag.as_ref().is_none_or(|tag| summary.tags.contains(tag))
            && filter.author.is_none_or(|author| row.author == Some(author))
            && text
                .as_ref()
                .is_none_or(|text| begins(&summary.title, text) || begins(&summary.text, text))
    }
}

/// The rows of one space, newest first, read as they are needed.
struct Rows {
    space: SpaceId,
    number: SpaceNumber,
    from: Key,
    to: Key,
    ready: VecDeque<(MemoryId, Vec<u8>)>,
}

impl Rows {
    fn begin(space: SpaceId, number: SpaceNumber, filter: &Filter) -> Self {
        let (mut from, mut to) = layout::rows(number);
        let at = |ms| {
            let first = RecordId::from_parts(Time::from_millis(ms), [0; 32]);
            layout::row(number, &MemoryId(first))
        };
        if let Some(since) = filter.since_ms {
            from = from.max(at(since));
        }
        let ends = [filter.until_ms.map(at), filter.before.map(|m| layout::row(number, &m))];
        to = ends.into_iter().flatten().fold(to, Key::min);
        Self { space, number, from, to, ready: VecDeque::new() }
    }

    fn newest(&mut self, store: &dyn Reader) -> Result<Option<MemoryId>, ReadError> {
        if self.ready.is_empty() && self.from < self.to {
            let rows = store.scan_back(&self.from, &self.to, CHUNK)?;
            match rows.last() {
                Some((oldest, _)) => self.to.clone_from(oldest),
                None => self.to.clone_from(&self.from),
            }
            self.ready.extend(
                rows.into_iter().filter_map(|(key, row)| Some((layout::memory_of(&key)?, row))),
            );
        }
        Ok(self.ready.front().map(|(memory, _)| *memory))
    }
}

fn list(store: &dyn Reader, cut: &Cut) -> Result<Page, ViewError> {
    let filter = &cut.filter;
    let held = match filter.space {
        Some(space) => vec![(space, number_of(store, space)?)],
        None => spaces(store)?,
    };
    let mut open: Vec<Rows> =
        held.into_iter().map(|(space, number)| Rows::begin(space, number, filter)).collect();
    let limit = filter.limit.clamp(1, limits::PAGE);
    let mut page = Page::default();
    let mut last = None;
    for looked_at in 0.. {
        let mut newest: Option<(MemoryId, usize)> = None;
        for (at, rows) in open.iter_mut().enumerate() {
            newest = newest.max(rows.newest(store)?.map(|memory| (memory, at)));
        }
        let Some((memory, at)) = newest else { break };
        if page.items.len() == limit || looked_at == limits::PAGE_ROWS {
            page.next = last;
            break;
        }
        last = Some(memory);
        let rows = &mut open[at];
        let Some((_, bytes)) = rows.ready.pop_front() else { break };
        let place = MemoryPlace { space: rows.space, number: rows.number, memory };
        let row = match Row::decode(&bytes) {
            Some(row) => Some(row),
            // Damaged, or another version's: rows can be made again from the records.
            None => Row::make(store, &place)?,
        };
        if let Some(row) = row.filter(|row| cut.takes(row)) {
            page.items.push(Item { space: rows.space, memory, row });
        }
    }
    Ok(page)
}
