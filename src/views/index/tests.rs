use std::collections::BTreeMap;

use ocm_memory::{Place, Summary};
use ocm_node::layout::SpaceEntry;
use ocm_record::{Did, SigningKey, Time, to_canonical};
use proptest::prelude::*;

use super::super::harness::Shelf;
use super::super::list::{Cut, list};
use super::super::{Area, Filter, count};
use super::*;

const NUMBER: SpaceNumber = SpaceNumber(7);

fn space() -> SpaceId {
    SpaceId(RecordId::from_parts(Time::from_millis(1), [1; 32]))
}

fn author(n: u8) -> Did {
    Did::from(SigningKey::from_seed(&[n; 32]).public())
}

/// A shelf with a space, its rows written through the index, and what they should be.
struct Model {
    shelf: Shelf,
    rows: BTreeMap<MemoryId, Row>,
}

impl Model {
    fn new() -> Self {
        let shelf = Shelf::default();
        let entry = to_canonical(&SpaceEntry { id: space() });
        shelf.entries.write().unwrap().insert(layout::space(NUMBER), entry);
        Self { shelf, rows: BTreeMap::new() }
    }

    fn write(&mut self, rows: BTreeMap<MemoryId, Row>) {
        let change = |(memory, row): (&MemoryId, &Row)| Change {
            memory: *memory,
            before: match self.shelf.get(&layout::row(NUMBER, memory)).unwrap() {
                None => Before::Absent,
                Some(bytes) => match Row::decode(&bytes) {
                    Some(row) => Before::Terms(Terms::of(&row)),
                    None => Before::Unreadable,
                },
            },
            after: Terms::of(row),
            row: row.encode(),
        };
        let changes: Vec<Change> = rows.iter().map(change).collect();
        let mut left = &changes[..];
        while !left.is_empty() {
            let mut batch = Batch::default();
            let taken = write(&self.shelf, (space(), NUMBER), left, &mut batch).unwrap();
            left = &left[taken..];
            assert!(batch.bytes() < crate::store::BATCH_BYTES);
            assert!(
                batch.writes.iter().flat_map(|(_, value)| value).all(|value| value.len() < 65536)
            );
            self.shelf.apply(&batch);
        }
        self.rows.extend(rows);
    }

    fn blocks(&self) -> Vec<u16> {
        let entries = self.shelf.entries.read().unwrap();
        let (from, to) = layout::blocks(NUMBER, Aspect::Words.number());
        entries.range(from..to).map(|(_, table)| Table::read(table).unwrap().rows()).collect()
    }

    /// What a filter finds is what a look at every row finds, in pages of any size.
    fn check(&self, filter: &Filter) {
        let cut = Cut::of(filter.clone());
        let within = |memory: &MemoryId| {
            let at = memory.0.time().millis();
            filter.since_ms.is_none_or(|since| at >= since)
                && filter.until_ms.is_none_or(|until| at < until)
        };
        let matches = |(memory, row): &(&MemoryId, &Row)| within(memory) && cut.takes(row);
        let expected: Vec<MemoryId> =
            self.rows.iter().rev().filter(matches).map(|(memory, _)| *memory).collect();
        let mut found = Vec::new();
        let mut before = None;
        loop {
            let cut = Cut::of(Filter { before, limit: 50, ..filter.clone() });
            let page = list(&self.shelf, &cut, 40).unwrap();
            found.extend(page.items.iter().map(|item| item.memory));
            assert!(page.next.is_none() || page.next != before, "it goes on");
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{filter:?}");
        let counted = count::count(&self.shelf, &cut).unwrap();
        assert_eq!(counted, (expected.len() as u64, true), "{filter:?}");
    }
}

fn row(seed: u64) -> Row {
    let pick = |shift: u32, of: u64| (seed >> shift) % of;
    let mut row = Row::for_test();
    row.author = Some(author(u8::try_from(pick(0, 3)).unwrap()));
    row.summary = Summary {
        kind: (pick(2, 4) > 0).then(|| format!("kind {}", pick(2, 4))),
        title: (pick(4, 5) > 0).then(|| format!("Title {}", pick(4, 997))),
        text: (pick(5, 3) > 0).then(|| format!("ÄRGER {} mit dem Brunnen", pick(6, 89))),
        at: None,
        place: (pick(7, 3) > 0).then(|| Place {
            name: None,
            lat: Some(pick(8, 1800) as f64 / 10.0 - 90.0),
            lon: Some(pick(9, 3600) as f64 / 10.0 - 180.0),
        }),
        tags: (0..pick(10, 4)).map(|n| format!("tag {}", pick(11, 50) + n)).collect(),
    };
    row
}

fn filters() -> Vec<Filter> {
    let none = Filter::default;
    let area = |west, south, east, north| Some(Area { west, south, east, north });
    let text = |text: &str| Some(text.to_owned());
    vec![
        none(),
        Filter { kind: text("kind 2"), ..none() },
        Filter { kind: text("no such kind"), ..none() },
        Filter { tag: text("tag 9"), ..none() },
        Filter { author: Some(author(1)), ..none() },
        Filter { author: Some(author(1)), tag: text("tag 9"), ..none() },
        Filter { text: text("title 77"), ..none() },
        Filter { text: text("ärger 8 mit dem brunnen"), ..none() },
        Filter { text: text(""), ..none() },
        Filter { area: area(-20.0, -30.0, 25.0, 5.0), ..none() },
        Filter { area: area(170.0, -90.0, -170.5, 90.0), kind: text("kind 1"), ..none() },
        Filter { area: area(1.0, 1.0, 1.2, 1.3), ..none() },
        Filter { since_ms: Some(300), until_ms: Some(700), ..none() },
        Filter { since_ms: Some(300), until_ms: Some(700), kind: text("kind 3"), ..none() },
        Filter { until_ms: Some(0), ..none() },
    ]
}

fn memory(seed: u64) -> MemoryId {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&seed.to_be_bytes());
    MemoryId(RecordId::from_parts(Time::from_millis(seed % 1000), hash))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn like_a_look_at_every_row(
        batches in prop::collection::vec(prop::collection::vec((any::<u64>(), any::<u64>()), 1..300), 1..8),
        again in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..100),
    ) {
        let mut model = Model::new();
        for batch in batches {
            model.write(batch.iter().map(|(id, seed)| (memory(*id), row(*seed))).collect());
        }
        let all: Vec<MemoryId> = model.rows.keys().copied().collect();
        model.write(again.iter().map(|(at, seed)| (*at.get(&all), row(*seed))).collect());
        for filter in filters() {
            model.check(&filter);
        }
        let blocks = model.blocks();
        prop_assert_eq!(blocks.iter().map(|rows| usize::from(*rows)).sum::<usize>(), all.len());
        prop_assert!(blocks.iter().all(|rows| *rows <= 2 * BLOCK));
    }
}

#[test]
fn what_comes_in_order_fills_its_blocks() {
    let mut model = Model::new();
    for start in (0..3000).step_by(100) {
        model.write((start..start + 100).map(|n| (in_order(n), row(n * 7919))).collect());
    }
    let blocks = model.blocks();
    assert_eq!(blocks.len(), 3000usize.div_ceil(usize::from(BLOCK)));
    assert!(blocks[..blocks.len() - 1].iter().all(|rows| *rows == BLOCK), "{blocks:?}");
}

fn in_order(n: u64) -> MemoryId {
    MemoryId(RecordId::from_parts(Time::from_millis(n), [0; 32]))
}

/// Rows that have as many terms as rows can, all different, keep to the sizes of the store.
#[test]
fn tables_are_bounded_by_their_terms() {
    let mut model = Model::new();
    let tags = |n: u64| (0..32).map(|tag| format!("{n}/{tag}")).collect();
    // From both ends, so that blocks are divided, too.
    for round in 0..4 {
        let rows = (0..100).map(|n| {
            let n = if round % 2 == 0 { 10_000 + round * 100 + n } else { 5_000 - round * 100 + n };
            let mut row = row(n);
            row.summary.tags = tags(n);
            (in_order(n), row)
        });
        model.write(rows.collect());
    }
    assert!(model.blocks().len() > 4);
    model.check(&Filter { tag: Some("10007/3".into()), ..Filter::default() });
    model.check(&Filter { tag: Some("4905/31".into()), ..Filter::default() });
}

#[test]
fn damaged_tables_hide_nothing_and_are_made_again() {
    let mut model = Model::new();
    model.write((0..600).map(|n| (in_order(n), row(n * 31))).collect());
    let damage = |model: &Model| {
        let mut entries = model.shelf.entries.write().unwrap();
        for (_, table) in entries.iter_mut().filter(|(key, _)| key[0] == b'i') {
            table.truncate(50);
        }
    };
    damage(&model);
    for filter in filters() {
        model.check(&filter);
    }
    // A row in each block brings them back, each row that cannot be read being made again itself.
    model.write([5, 300, 599].map(|n| (in_order(n), row(n))).into());
    assert_eq!(model.blocks().iter().map(|rows| u64::from(*rows)).sum::<u64>(), 600);
    for filter in filters() {
        model.check(&filter);
    }
    let at = layout::row(NUMBER, &in_order(7));
    model.shelf.entries.write().unwrap().insert(at, vec![0xff]);
    model.write([(in_order(7), row(9))].into());
    for filter in filters() {
        model.check(&filter);
    }
}

/// A page ends after so many looks, and the next goes on from there: nothing is passed over.
#[test]
fn a_page_that_finds_nothing_ends() {
    let mut model = Model::new();
    let rows = 25_000;
    for start in (0..rows).step_by(250) {
        model.write(
            (start..start + 250)
                .map(|n| {
                    let mut row = Row::for_test();
                    // The index cannot tell these apart: they begin alike.
                    let last = if n == 3 { "end" } else { "other" };
                    row.summary.title = Some(format!("a title of many characters, {last}"));
                    (in_order(n), row)
                })
                .collect(),
        );
    }
    let text = Some("a title of many characters, end".into());
    let filter = Filter { text, kind: None, limit: 10, ..Filter::default() };
    let page = |before| {
        let cut = Cut::of(Filter { before, ..filter.clone() });
        list(&model.shelf, &cut, crate::views::limits::PAGE_LOOKS).unwrap()
    };
    let first = page(None);
    let (counted, complete) = count::count(&model.shelf, &Cut::of(filter.clone())).unwrap();
    assert!(first.items.is_empty() && first.next.is_some());
    assert_eq!((counted, complete), (0, false));
    let mut found = first.items.len();
    let mut before = first.next;
    while before.is_some() {
        let page = page(before);
        found += page.items.len();
        before = page.next;
    }
    assert_eq!(found, 1);
}

/// A space in which nothing is found does not hide what another has.
#[test]
fn a_space_out_of_looks_hides_no_other() {
    let mut model = Model::new();
    let plain = |n: u64| (in_order(n), Row::for_test());
    model.write((1000..6000).map(plain).collect());
    let other = SpaceId(RecordId::from_parts(Time::from_millis(2), [2; 32]));
    let number = SpaceNumber(8);
    let entry = to_canonical(&SpaceEntry { id: other });
    model.shelf.entries.write().unwrap().insert(layout::space(number), entry);
    // Older and newer than everything there, and in its midst.
    for n in [5, 3000, 9000] {
        let mut row = Row::for_test();
        row.summary.tags = vec!["rare".into()];
        let (memory, after) = (in_order(n), Terms::of(&row));
        let change = Change { memory, before: Before::Absent, after, row: row.encode() };
        let mut batch = Batch::default();
        write(&model.shelf, (other, number), &[change], &mut batch).unwrap();
        model.shelf.apply(&batch);
    }
    let mut found = Vec::new();
    let mut before = None;
    for _ in 0..100 {
        let filter = Filter { tag: Some("rare".into()), before, limit: 10, ..Filter::default() };
        let page = list(&model.shelf, &Cut::of(filter), 4).unwrap();
        found.extend(page.items.iter().map(|item| item.memory));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, [in_order(9000), in_order(3000), in_order(5)]);
}
