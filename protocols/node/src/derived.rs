//! What a store holds besides records and sets, made again from the records: for a store of which
//! a part was lost.
//!
//! A lost record comes again from peers. A lost mark, place or row does not: what rests on it would
//! be wrong for good. So where anything was lost, all of it is made again, in the way in which
//! records that are admitted bring it about.

use ocm_record::{Set, SignedRecord, SpaceId, verify_batch};

use crate::layout::{self, SpaceEntry, SpaceNumber};
use crate::origin::Origin;
use crate::sets::Writes;
use crate::space::Space;
use crate::storage::{Batch, ReadError, Reader};

/// Entries that one batch removes, or records that it reads.
const ENTRIES: usize = 256;

/// Whether [`rebuild`] was begun and did not come to its end.
///
/// # Errors
/// When the store cannot be read.
pub fn is_unfinished(store: &dyn Reader) -> Result<bool, ReadError> {
    Ok(store.get(&layout::unfinished())?.is_some())
}

/// Makes everything but records and sets anew. Rows are removed, and all memories listed as due.
/// Cut short, it is to be begun again: [`is_unfinished`] tells.
///
/// `write` makes a batch durable, and then `store` shows it. Damaged records are passed over: they
/// are found and fetched again like any other damage.
///
/// # Errors
/// When the store cannot be read, or what `write` returns.
pub fn rebuild<E: From<ReadError>>(
    store: &dyn Reader,
    mut write: impl FnMut(Writes) -> Result<(), E>,
) -> Result<(), E> {
    write(vec![(layout::unfinished(), Some(Vec::new()))])?;
    for (from, to) in layout::derived() {
        loop {
            let entries = store.scan(&from, &to, ENTRIES)?;
            if entries.is_empty() {
                break;
            }
            write(entries.into_iter().map(|(key, _)| (key, None)).collect())?;
        }
    }
    for number in numbers(store)? {
        rebuild_space(store, number, &mut write)?;
    }
    write(vec![(layout::unfinished(), None)])
}

/// The spaces of which there are records.
fn numbers(store: &dyn Reader) -> Result<Vec<SpaceNumber>, ReadError> {
    let (mut from, to) = layout::all_records();
    let mut numbers = Vec::new();
    while let Some((key, _)) = store.scan(&from, &to, 1)?.first() {
        let Some((number, _, _)) = layout::record_of(key) else {
            return Err(ReadError::Corrupt(format!("the key {key:02x?}")));
        };
        numbers.push(number);
        from = layout::records(number, Set::Content).1;
    }
    Ok(numbers)
}

fn rebuild_space<E: From<ReadError>>(
    store: &dyn Reader,
    number: SpaceNumber,
    write: &mut impl FnMut(Writes) -> Result<(), E>,
) -> Result<(), E> {
    let mut space: Option<Space> = None;
    for set in [Set::Authority, Set::Content] {
        let (mut from, to) = layout::records(number, set);
        loop {
            let page = store.scan(&from, &to, ENTRIES)?;
            let Some((last, _)) = page.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            let mut batch = Batch::new();
            let whole = page.iter().filter_map(|(key, value)| read(key, value));
            let mut admitted = Vec::new();
            for record in verify_batch(whole.collect()).into_iter().flatten() {
                let held = space.get_or_insert_with(|| {
                    restore_entry(number, record.space(), &mut batch);
                    Space::new(record.space(), number)
                });
                if (record.space(), record.set()) == (held.id, set) {
                    held.admit(&record, &mut batch, store)?;
                    admitted.push((record.id(), Origin::Local));
                }
            }
            if let Some(space) = &mut space {
                space.seal(&mut batch, store)?;
                // The records themselves stay as they are.
                batch.writes.retain(|(key, _)| layout::record_of(key).is_none());
                write(batch.writes)?;
                space.commit(admitted, store)?;
            }
        }
    }
    Ok(())
}

/// A stored record that is what its key says.
fn read(key: &[u8], value: &[u8]) -> Option<SignedRecord> {
    let record = SignedRecord::decode(layout::unseal(value)?).ok()?;
    (layout::last_id(key) == Some(record.id())).then_some(record)
}

/// What a number stands for may be lost, too.
fn restore_entry(number: SpaceNumber, space: SpaceId, batch: &mut Batch) {
    batch.put(layout::space(number), ocm_record::to_canonical(&SpaceEntry { id: space }));
}
