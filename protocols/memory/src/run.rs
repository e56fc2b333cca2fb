//! Actors: the names under which Automerge knows the authors of changes.
//!
//! A run is a chain of records by one process, each building on the one before and nothing else.
//! Its actor comes from the id of its first record. Where a run forks, because one process wrote
//! twins or a hostile one pretends to, every branch has an actor of its own that begins with the
//! same bytes, so that ties with others fall as they did.

use ocm_record::RecordId;

use crate::records::Records;

/// Bytes that all branches of a run share.
const RUN_LEN: usize = 16;

/// The actor of a record. `actor_of` gives that of the record it continues.
pub(crate) fn actor<'a>(
    records: &Records,
    id: &RecordId,
    actor_of: impl FnOnce(&RecordId) -> Option<&'a [u8]>,
) -> Vec<u8> {
    let first = || id.hash()[..RUN_LEN].to_vec();
    let Some(leader) = records.continues(id) else { return first() };
    let Some(run) = actor_of(&leader) else { return first() };
    if records.has_twin(&leader) {
        let shared = run.get(..RUN_LEN).unwrap_or(run);
        [shared, &id.hash()].concat()
    } else {
        run.to_vec()
    }
}
