//! Lists of memories, newest first, read from their rows.

use std::collections::VecDeque;

use ocm_memory::Summary;
use ocm_node::layout::{self, SpaceNumber};
use ocm_node::storage::{Key, ReadError, Reader, Value};
use ocm_record::{Did, MemoryId, RecordId, SpaceId, Time};
use serde_json::json;

use super::find::{number_of, spaces};
use super::term::{Area, Wanted, fold};
use super::walk::Walk;
use super::{MemoryPlace, Row, ViewError, Views, limits};

/// Rows read at once from one space.
const CHUNK: usize = 128;

/// What a list shall hold. A memory is in it when everything that is given holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// The space; all spaces without one.
    pub space: Option<SpaceId>,
    /// Its content's `type`.
    pub kind: Option<String>,
    /// One of its tags, of which a list knows the first 32.
    pub tag: Option<String>,
    /// Who began it.
    pub author: Option<Did>,
    /// Begun at this time or later, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Begun before this time, in milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
    /// How its title or its text begins, in capitals or not.
    pub text: Option<String>,
    /// Where it happened, by its place's coordinates.
    pub area: Option<Area>,
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
    /// [`limits::PAGE_LOOKS`].
    pub items: Vec<Item>,
    /// Where the next page begins ([`Filter::before`]); `None` when nothing is left.
    pub next: Option<MemoryId>,
    /// How many memories have records that are not in the list yet ([`Views::unrendered`]).
    pub unrendered: u64,
}

impl Views {
    /// A page of memories, newest first by the time they were begun. Rows that are due are made
    /// first, for [`limits::LIST_WAIT`] at most: [`Page::unrendered`] tells what is left.
    ///
    /// # Errors
    /// When the space is not held here, or the store fails.
    pub async fn list(&self, filter: Filter) -> Result<Page, ViewError> {
        let unrendered = self.settle_for(filter.space, limits::LIST_WAIT).await?;
        let page =
            self.off_thread(move |store| list(store, &Cut::of(filter), limits::PAGE_LOOKS)).await?;
        Ok(Page { unrendered, ..page })
    }
}

impl Filter {
    /// Where the rows of a space lie that are of the time that is asked for.
    pub(super) fn range(&self, number: SpaceNumber) -> (Key, Key) {
        let (mut from, mut to) = layout::rows(number);
        let at = |ms| {
            let first = RecordId::from_parts(Time::from_millis(ms), [0; 32]);
            layout::row(number, &MemoryId(first))
        };
        if let Some(since) = self.since_ms {
            from = from.max(at(since));
        }
        let ends = [self.until_ms.map(at), self.before.map(|m| layout::row(number, &m))];
        to = ends.into_iter().flatten().fold(to, Key::min);
        (from, to)
    }
}

/// The row that these stored bytes are.
pub(super) fn read_row(
    store: &dyn Reader,
    place: &MemoryPlace,
    bytes: &[u8],
) -> Result<Option<Row>, ReadError> {
    match Row::decode(bytes) {
        Some(row) => Ok(Some(row)),
        // Damaged, or another version's: rows can be made again from the records.
        None => Row::make(store, place),
    }
}

/// A filter, its words cut as the rows' are and its text in lower case, and the terms that it asks
/// for.
pub(super) struct Cut {
    pub(super) filter: Filter,
    pub(super) wanted: Wanted,
}

impl Cut {
    pub(super) fn of(mut filter: Filter) -> Self {
        let cut = Summary::of(&json!({ "type": filter.kind, "tags": [filter.tag] }));
        filter.kind = cut.kind;
        filter.tag = cut.tags.into_iter().next();
        filter.text = filter.text.map(|text| fold(&text));
        let wanted = Wanted::of(&filter);
        Self { filter, wanted }
    }

    pub(super) fn takes(&self, row: &Row) -> bool {
        let Self { filter, .. } = self;
        let summary = &row.summary;
        let begins = |value: &Option<String>, text: &str| {
            value.as_ref().is_some_and(|value| fold(value).starts_with(text))
        };
        filter.kind.as_ref().is_none_or(|kind| summary.kind.as_ref() == Some(kind))
            && filter.tag.as_ref().is_none_or(|tag| summary.tags.contains(tag))
            && filter.author.is_none_or(|author| row.author == Some(author))
            && filter
                .text
                .as_ref()
                .is_none_or(|text| begins(&summary.title, text) || begins(&summary.text, text))
            && filter.area.is_none_or(|area| area.contains(summary.place.as_ref()))
    }
}

/// The rows of one space in which a list may find what it asks for, newest first, read as they are
/// needed.
struct Rows<'a> {
    space: SpaceId,
    number: SpaceNumber,
    walk: Walk<'a>,
    /// Looks that are left to it on this page.
    looks: usize,
    /// Where the stretch lies that is being read, down to `from`.
    from: Key,
    to: Key,
    ready: VecDeque<(MemoryId, Value)>,
}

impl<'a> Rows<'a> {
    fn begin(space: SpaceId, number: SpaceNumber, cut: &'a Cut, looks: usize) -> Self {
        let (walk, from, to) = (Walk::begin(number, cut), Key::new(), Key::new());
        Self { space, number, walk, looks, from, to, ready: VecDeque::new() }
    }

    /// The newest memory that is left; `None` when there is none, or no look is left.
    fn newest(&mut self, store: &dyn Reader) -> Result<Option<MemoryId>, ReadError> {
        while self.ready.is_empty() {
            if self.from >= self.to {
                let Some(stretch) = self.walk.next(store, &mut self.looks)? else {
                    return Ok(None);
                };
                (self.from, self.to) = (stretch.from, stretch.to);
            }
            let rows = store.scan_back(&self.from, &self.to, CHUNK)?;
            self.to = rows.last().map_or_else(|| self.from.clone(), |(oldest, _)| oldest.clone());
            let rows = rows.into_iter();
            self.ready.extend(rows.filter_map(|(key, row)| Some((layout::memory_of(&key)?, row))));
        }
        Ok(self.ready.front().map(|(memory, _)| *memory))
    }

    /// Everything from this id on has been looked at, and nothing more is on this page.
    fn stopped_at(&self) -> Option<MemoryId> {
        self.walk.passed().filter(|_| self.ready.is_empty())
    }

    /// Everything from this id on has been looked at; `None` when all has.
    fn looked_from(&self) -> Option<MemoryId> {
        let ready = self.ready.front().map(|(memory, _)| MemoryId(memory.0.successor()));
        ready.or_else(|| self.walk.passed())
    }
}

/// A page that takes so many looks at most, or one at each space.
pub(super) fn list(store: &dyn Reader, cut: &Cut, looks: usize) -> Result<Page, ViewError> {
    let filter = &cut.filter;
    let held = match filter.space {
        Some(space) => vec![(space, number_of(store, space)?)],
        None => spaces(store)?,
    };
    // Each space has its share: one in which nothing is found keeps no other from being listed.
    let looks = (looks / held.len().max(1)).max(1);
    let mut open: Vec<Rows<'_>> =
        held.into_iter().map(|(space, number)| Rows::begin(space, number, cut, looks)).collect();
    let limit = filter.limit.clamp(1, limits::PAGE);
    let mut page = Page::default();
    let mut last = None;
    loop {
        let mut newest: Option<(MemoryId, usize)> = None;
        for (at, rows) in open.iter_mut().enumerate() {
            newest = newest.max(rows.newest(store)?.map(|memory| (memory, at)));
        }
        let is_full = page.items.len() == limit;
        // Newer ones may follow in a space that is out of looks.
        let stopped = open.iter().filter_map(Rows::stopped_at).max();
        let next = newest.filter(|(memory, _)| stopped.is_none_or(|at| *memory >= at));
        let Some((memory, at)) = next.filter(|_| !is_full) else {
            let left = open.iter().filter_map(Rows::looked_from).max();
            // A full page goes on after its last memory, another where it had to stop.
            page.next = left.map(|left| last.filter(|_| is_full).unwrap_or(left));
            return Ok(page);
        };
        let rows = &mut open[at];
        let Some((_, bytes)) = rows.ready.pop_front() else { return Ok(page) };
        rows.looks = rows.looks.saturating_sub(1);
        last = Some(memory);
        let place = MemoryPlace { space: rows.space, number: rows.number, memory };
        if let Some(row) = read_row(store, &place, &bytes)?.filter(|row| cut.takes(row)) {
            page.items.push(Item { space: rows.space, memory, row });
        }
    }
}
