//! Records to be measured with.

use ipld_core::ipld::Ipld;
use ocm_memory::{create_edits, encode_edits};
use ocm_record::{Body, Boot, Draft, Kind, RecordId, SignedRecord, SigningKey, SpaceId, Time};
use serde_json::json;

/// A moment in 2023, in milliseconds: the time of the first record.
const BEGIN: u64 = 1_700_000_000_000;

/// Who writes the records.
pub(crate) fn author() -> SigningKey {
    SigningKey::from_seed(&[77; 32])
}

/// Records of one log, one after the other, each the beginning of a memory with some 300 bytes of
/// content.
pub(crate) struct Log {
    space: SpaceId,
    auth: Vec<RecordId>,
    seq: u64,
    prev: Option<RecordId>,
    begin: u64,
}

impl Log {
    pub(crate) fn new(space: SpaceId, auth: Vec<RecordId>) -> Self {
        let begin = BEGIN.max(space.0.time().millis() + 1);
        Self { space, auth, seq: 0, prev: None, begin }
    }
}

impl Iterator for Log {
    type Item = SignedRecord;

    fn next(&mut self) -> Option<SignedRecord> {
        let n = self.seq;
        let kind = ["note", "sighting", "delivery"][n as usize % 3];
        let content = json!({
            "title": format!("observation {n}"),
            "type": kind,
            "tags": [format!("t{}", n % 50)],
            "text": "x".repeat(200),
        });
        let edits: Ipld = encode_edits(&create_edits(&content).unwrap());
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&n.to_le_bytes());
        let body = Body { salt, lineage: Vec::new(), content: edits };
        let draft = Draft {
            space: self.space,
            kind: Kind::CHANGE,
            memory: None,
            author: None,
            boot: Boot::from_bytes([1; 16]),
            seq: n + 1,
            prev: self.prev,
            deps: Vec::new(),
            auth: self.auth.clone(),
            time: Time::from_millis(self.begin + n),
        };
        let record = draft.sign(&author(), body.encode()).unwrap();
        self.seq += 1;
        self.prev = Some(record.id());
        Some(record)
    }
}
