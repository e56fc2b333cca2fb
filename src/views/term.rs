//! What rows are looked for by: each word, beginning of a text and place is a term.

use ocm_memory::Place;
use sha2::{Digest as _, Sha256};

use super::Row;
use super::list::Filter;

/// Characters of the beginnings of titles and texts that are terms of their own. A longer
/// beginning is looked for by the longest of these that it holds.
const PREFIXES: [usize; 5] = [1, 2, 4, 8, 16];
/// The sides of the cells of three grids over the globe, in tenths of a degree, the widest first.
const GRIDS: [u16; 3] = [100, 10, 1];
/// Cells that a box is looked for by, at most: the finest grid is taken in which it has no more.
const BOX_CELLS: u32 = 64;

/// The first eight bytes of the SHA-256 of an aspect, a name and a value. Two terms that are one
/// by chance make a list look at a few rows more; a count that they fool has to have been made so
/// by whoever wrote both.
pub(super) type Term = u64;

/// The sorts of terms. Each has tables of its own, so that a list reads those it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aspect {
    /// Types, tags and authors: a row with the term is a match.
    Words,
    /// Beginnings of titles and texts.
    Texts,
    /// Cells.
    Places,
}

impl Aspect {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Words, Self::Texts, Self::Places];

    /// As in a key.
    pub(super) const fn number(self) -> u8 {
        self as u8
    }
}

/// The terms of a row by aspect, each aspect's sorted and unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Terms([Vec<Term>; 3]);

impl Terms {
    /// The terms of a row.
    pub(super) fn of(row: &Row) -> Self {
        let summary = &row.summary;
        let kind = summary.kind.iter().map(|kind| word("type", kind));
        let author = row.author.iter().map(|did| word("author", &did.to_string()));
        let tags = summary.tags.iter().map(|tag| word("tag", tag));
        let words = kind.chain(author).chain(tags).collect();
        let texts = summary.title.iter().chain(&summary.text).flat_map(|text| {
            let text = fold(text);
            PREFIXES.map(|chars| first(&text, chars).map(prefix))
        });
        let cells = point(summary.place.as_ref()).into_iter().flat_map(|(lat, lon)| {
            (0..GRIDS.len()).map(move |grid| cell(grid, row_of(grid, lat), column_of(grid, lon)))
        });
        let mut terms = Self([words, texts.flatten().collect(), cells.collect()]);
        for terms in &mut terms.0 {
            terms.sort_unstable();
            terms.dedup();
        }
        terms
    }

    /// Those of an aspect.
    pub(super) fn get(&self, aspect: Aspect) -> &[Term] {
        &self.0[aspect as usize]
    }
}

/// What a filter asks for, by aspect: in each, all of these must hold, and each holds where any of
/// its terms is found. Nothing is asked for where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    terms: [Vec<Vec<Term>>; 3],
    only_words: bool,
}

impl Wanted {
    /// What a filter asks for; its words are cut as those of rows are, its text is in lower case.
    pub(super) fn of(filter: &Filter) -> Self {
        let kind = filter.kind.iter().map(|kind| vec![word("type", kind)]);
        let author = filter.author.iter().map(|did| vec![word("author", &did.to_string())]);
        let tag = filter.tag.iter().map(|tag| vec![word("tag", tag)]);
        let words = kind.chain(author).chain(tag).collect();
        let texts = filter.text.iter().filter_map(|text| {
            let longest = PREFIXES.iter().rev().find_map(|chars| first(text, *chars));
            longest.map(|text| vec![prefix(text)])
        });
        let places = filter.area.iter().map(Area::cells).filter(|cells| !cells.is_empty());
        Self {
            terms: [words, texts.collect(), places.collect()],
            only_words: filter.text.is_none() && filter.area.is_none(),
        }
    }

    /// What is asked for in an aspect.
    pub(super) fn get(&self, aspect: Aspect) -> &[Vec<Term>] {
        &self.terms[aspect as usize]
    }

    /// The aspects in which anything is asked for.
    pub(super) fn aspects(&self) -> impl Iterator<Item = Aspect> {
        Aspect::ALL.into_iter().filter(|aspect| !self.get(*aspect).is_empty())
    }

    /// The words asked for, where nothing else is: the rows that have them are those that match.
    pub(super) fn only_words(&self) -> Option<&[Vec<Term>]> {
        self.only_words.then(|| self.get(Aspect::Words))
    }
}

/// A box on the globe, as the bounding box of RFC 7946, section 5: it is one around the
/// antimeridian where `west` lies east of `east`. Borders belong to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// Longitude in degrees, from -180 to 180.
    pub west: f64,
    /// Latitude in degrees, from -90 to 90, at most `north`.
    pub south: f64,
    /// Longitude in degrees, from -180 to 180.
    pub east: f64,
    /// Latitude in degrees, from -90 to 90.
    pub north: f64,
}

impl Area {
    /// Whether a place lies in it; one without both coordinates lies nowhere.
    pub(super) fn contains(&self, place: Option<&Place>) -> bool {
        point(place).is_some_and(|(lat, lon)| {
            let (from_west, to_east) = (lon >= self.west, lon <= self.east);
            let between =
                if self.west <= self.east { from_west && to_east } else { from_west || to_east };
            between && lat >= self.south && lat <= self.north
        })
    }

    /// The cells of the finest grid in which it has few enough; none where it has too many in each.
    fn cells(&self) -> Vec<Term> {
        for grid in (0..GRIDS.len()).rev() {
            let rows = row_of(grid, self.south)..=row_of(grid, self.north);
            let (west, east) = (column_of(grid, self.west), column_of(grid, self.east));
            let last = column_of(grid, 180.0);
            let (one, two) = if self.west <= self.east {
                (west..=east, None)
            } else {
                (west..=last, Some(0..=east))
            };
            let columns = || one.clone().chain(two.clone().into_iter().flatten());
            let count = (rows.end() - rows.start() + 1) * count(columns());
            if count <= BOX_CELLS {
                let cells =
                    rows.flat_map(|row| columns().map(move |column| cell(grid, row, column)));
                return cells.collect();
            }
        }
        Vec::new()
    }
}

fn count(items: impl Iterator) -> u32 {
    items.map(|_| 1).sum()
}

fn point(place: Option<&Place>) -> Option<(f64, f64)> {
    let place = place?;
    place.lat.zip(place.lon)
}

/// Which row of a grid a latitude lies in, from the south.
fn row_of(grid: usize, lat: f64) -> u32 {
    cells_from(lat + 90.0, grid)
}

/// Which column of a grid a longitude lies in, from the antimeridian.
fn column_of(grid: usize, lon: f64) -> u32 {
    cells_from(lon + 180.0, grid)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 3600")]
fn cells_from(degrees: f64, grid: usize) -> u32 {
    (degrees.max(0.0) * 10.0 / f64::from(GRIDS[grid])) as u32
}

fn cell(grid: usize, row: u32, column: u32) -> Term {
    let value = [GRIDS[grid].into(), row, column].map(u32::to_be_bytes);
    term(Aspect::Places, "cell", value.as_flattened())
}

fn word(name: &str, value: &str) -> Term {
    term(Aspect::Words, name, value.as_bytes())
}

fn prefix(text: &str) -> Term {
    term(Aspect::Texts, "", text.as_bytes())
}

fn term(aspect: Aspect, name: &str, value: &[u8]) -> Term {
    let mut hash = Sha256::new();
    hash.update([aspect.number()]);
    hash.update(name);
    hash.update([0]);
    hash.update(value);
    let hash: [u8; 32] = hash.finalize().into();
    hash.iter().take(8).fold(0, |term, byte| term << 8 | u64::from(*byte))
}

/// A text as it is compared: in lower case, and each letter alike wherever it stands in a word.
pub(super) fn fold(text: &str) -> String {
    text.to_lowercase().replace('ς', "σ")
}

/// The first so many characters; `None` where there are fewer.
fn first(text: &str, chars: usize) -> Option<&str> {
    let (last, char) = text.char_indices().nth(chars - 1)?;
    text.get(..last + char.len_utf8())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_lies_in_a_box_is_in_its_cells(
            (south, west) in (-90.0..=90.0f64, -180.0..180.0f64),
            (height, width) in prop_oneof![
                (0.0..180.0f64, 0.0..360.0f64), (0.0..5.0f64, 0.0..5.0f64), (0.0..0.5f64, 0.0..0.5f64)
            ],
            (up, right) in (0.0..=1.0f64, 0.0..=1.0f64),
        ) {
            let area = Area {
                west,
                south,
                east: if west + width > 180.0 { west + width - 360.0 } else { west + width },
                north: (south + height).min(90.0),
            };
            let lat = (south + up * (area.north - south)).clamp(south, area.north);
            let lon = west + right * width;
            let lon = if lon > 180.0 { (lon - 360.0).min(area.east) } else { lon };
            let place = Place { name: None, lat: Some(lat), lon: Some(lon) };
            prop_assume!(area.contains(Some(&place)));
            let mut row = Row::for_test();
            row.summary.place = Some(place.clone());
            let cells = area.cells();
            prop_assert!(u32::try_from(cells.len()).unwrap() <= BOX_CELLS);
            let found = cells.iter().any(|cell| Terms::of(&row).get(Aspect::Places).contains(cell));
            prop_assert!(found || cells.is_empty());
        }
    }

    #[test]
    fn a_box_around_the_antimeridian() {
        let area = Area { west: 170.0, south: -10.0, east: -170.0, north: 10.0 };
        let place = |lat, lon| Place { name: None, lat: Some(lat), lon: Some(lon) };
        for (lon, inside) in [(175.0, true), (180.0, true), (-175.0, true), (0.0, false)] {
            assert_eq!(area.contains(Some(&place(0.0, lon))), inside, "{lon}");
        }
        assert!(!area.contains(Some(&Place { name: None, lat: Some(0.0), lon: None })));
        assert!(!area.contains(None));
        let globe = Area { west: -180.0, south: -90.0, east: 180.0, north: 90.0 };
        assert!(globe.cells().is_empty());
    }

    #[test]
    fn beginnings_are_of_whole_characters() {
        assert_eq!(first("äöü", 2), Some("äö"));
        assert_eq!(first("äöü", 4), None);
        assert_eq!(first("", 1), None);
    }
}
