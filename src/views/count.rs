//! How many memories there are.

use ocm_node::layout::{self, SpaceNumber};
use ocm_node::storage::{ReadError, Reader};
use ocm_record::SpaceId;

use super::find::{number_of, spaces};
use super::list::{Cut, read_row};
use super::walk::{Stretch, Walk};
use super::{Filter, MemoryPlace, ViewError, Views, limits};

/// Rows read at once.
const CHUNK: usize = 128;

/// How many memories a list would show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// So many were counted.
    pub count: u64,
    /// Whether these are all. A count for which several things are asked reads rows, and ends after
    /// [`limits::PAGE_LOOKS`].
    pub complete: bool,
    /// How many memories have records that are not counted yet ([`Views::unrendered`]).
    pub unrendered: u64,
}

impl Views {
    /// How many memories a list of them all would show; its cursor and limit count for nothing.
    /// Where nothing but a type, a tag, an author or a time is asked for, the index tells. Rows
    /// that are due are made first, as in [`Views::list`].
    ///
    /// # Errors
    /// When the space is not held here, or the store fails.
    pub async fn count(&self, filter: Filter) -> Result<Count, ViewError> {
        let unrendered = self.settle_for(filter.space, limits::LIST_WAIT).await?;
        let filter = Filter { before: None, ..filter };
        let (count, complete) =
            self.off_thread(move |store| count(store, &Cut::of(filter))).await?;
        Ok(Count { count, complete, unrendered })
    }
}

pub(super) fn count(store: &dyn Reader, cut: &Cut) -> Result<(u64, bool), ViewError> {
    let held = match cut.filter.space {
        Some(space) => vec![(space, number_of(store, space)?)],
        None => spaces(store)?,
    };
    let mut count = 0;
    let mut looks = limits::PAGE_LOOKS;
    for place in held {
        let mut walk = Walk::begin(place.1, cut);
        while let Some(stretch) = walk.next(store, &mut looks)? {
            count += match stretch.matches {
                Some(matches) => u64::from(matches),
                None => count_rows(store, place, cut, &stretch, &mut looks)?,
            };
        }
        if walk.passed().is_some() {
            return Ok((count, false));
        }
    }
    Ok((count, true))
}

/// Counts the rows of a stretch that match, all of them: a block has a few hundred.
fn count_rows(
    store: &dyn Reader,
    (space, number): (SpaceId, SpaceNumber),
    cut: &Cut,
    stretch: &Stretch,
    looks: &mut usize,
) -> Result<u64, ReadError> {
    let mut from = stretch.from.clone();
    let mut count = 0;
    loop {
        let rows = store.scan(&from, &stretch.to, CHUNK)?;
        let Some((last, _)) = rows.last() else { return Ok(count) };
        from = [last.as_slice(), &[0]].concat();
        *looks = looks.saturating_sub(rows.len());
        for (key, value) in &rows {
            let Some(memory) = layout::memory_of(key) else { continue };
            let row = read_row(store, &MemoryPlace { space, number, memory }, value)?;
            count += u64::from(row.is_some_and(|row| cut.takes(&row)));
        }
    }
}
