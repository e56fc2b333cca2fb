//! What hostile peers make, and random edits.

use ipld_core::ipld::Ipld;
use ocm_memory::{Edit, Path, Step};
use ocm_record::{
    Body, Boot, Draft, Header, Kind, MemoryId, RecordId, SigningKey, SpaceId, Time, from_canonical,
    to_canonical,
};

use crate::dice::Dice;

/// Edits that fit mostly.
pub(crate) fn edits(dice: &mut Dice, first: bool) -> Vec<Edit> {
    let mut edits = Vec::new();
    if first {
        let title = format!("memory {}", dice.below(1000));
        edits.push(Edit::Set { path: Path::key("title"), value: Ipld::String(title) });
        edits.push(Edit::Text { path: Path::key("text") });
        edits.push(Edit::Set { path: Path::key("tags"), value: Ipld::List(Vec::new()) });
    }
    for _ in 0..1 + dice.below(3) {
        let word = format!("w{}", dice.below(100));
        edits.push(match dice.below(8) {
            0 | 1 => Edit::Set { path: Path::key("title"), value: Ipld::String(word) },
            2 => Edit::Increment { path: Path::key("count"), by: dice.below(9) as i64 - 4 },
            3 | 4 => Edit::Splice { path: Path::key("text"), index: 0, delete: 0, text: word },
            5 => Edit::Insert { path: Path::key("tags"), index: 0, value: Ipld::String(word) },
            6 => Edit::Delete { path: Path::key("title") },
            // Past the end or of the wrong sort: void where it does not fit.
            _ => Edit::Splice {
                path: Path::key("text").then(Step::Index(0)),
                index: 3,
                delete: 2,
                text: word,
            },
        });
    }
    edits
}

/// The three parts of a record's bytes.
fn parts(record: &[u8]) -> (Vec<u8>, Vec<u8>, Ipld) {
    let Ok(Ipld::List(mut items)) = from_canonical::<Ipld>(record) else {
        panic!("a record is an array")
    };
    let body = items.remove(2);
    match (&items[0], &items[1]) {
        (Ipld::Bytes(header), Ipld::Bytes(signature)) => (header.clone(), signature.clone(), body),
        _ => panic!("header and signature are bytes"),
    }
}

fn join(header: Vec<u8>, signature: Vec<u8>, body: Ipld) -> Vec<u8> {
    to_canonical(&Ipld::List(vec![Ipld::Bytes(header), Ipld::Bytes(signature), body]))
}

/// A copy of a true record, with the same header and another signature or body.
pub(crate) fn garbage_copy(dice: &mut Dice, record: &[u8]) -> Vec<u8> {
    let (header, mut signature, mut body) = parts(record);
    match (dice.below(2), &mut body) {
        (0, Ipld::Bytes(body)) => {
            let at = dice.below(body.len());
            body[at] ^= 1;
        }
        _ => {
            let at = dice.below(signature.len());
            signature[at] ^= 1 << dice.below(8);
        }
    }
    join(header, signature, body)
}

/// The record without its body.
pub(crate) fn stripped(record: &[u8]) -> Vec<u8> {
    let (header, signature, _) = parts(record);
    join(header, signature, Ipld::Null)
}

/// A record that says it is by the key of `like`, and is not.
pub(crate) fn forged(header: &Header, key: &SigningKey, body: Vec<u8>) -> Vec<u8> {
    let mut header = header.clone();
    header.time = Time(header.time.0 + 1);
    header.size = body.len() as u32;
    header.body = <sha2::Sha256 as sha2::Digest>::digest(&body).into();
    let bytes = header.encode();
    let signature = key.sign(&bytes);
    join(bytes, signature.as_bytes().to_vec(), Ipld::Bytes(body))
}

/// Where a record stands.
pub(crate) struct Place {
    pub(crate) space: SpaceId,
    pub(crate) memory: Option<MemoryId>,
    pub(crate) boot: Boot,
    pub(crate) seq: u64,
    pub(crate) prev: Option<RecordId>,
    pub(crate) deps: Vec<RecordId>,
    pub(crate) auth: Vec<RecordId>,
    pub(crate) time: Time,
}

/// A change, rightly signed.
pub(crate) fn change(key: &SigningKey, place: Place, body: Vec<u8>) -> (RecordId, Vec<u8>) {
    let Place { space, memory, boot, seq, prev, deps, auth, time } = place;
    let latest =
        deps.iter().chain(&prev).chain([&space.0]).map(RecordId::time).max().unwrap_or_default();
    let time = if time > latest { time } else { latest.next().unwrap_or(Time::LAST) };
    let draft = Draft {
        space,
        kind: Kind::CHANGE,
        memory,
        author: None,
        boot,
        seq,
        prev,
        deps,
        auth,
        time,
    };
    let record = draft.sign(key, body).expect("a change of good form");
    (record.id(), record.encode())
}

pub(crate) fn body(dice: &mut Dice, content: Ipld) -> Vec<u8> {
    Body { salt: dice.bytes(), lineage: Vec::new(), content }.encode()
}
