//! Vectors of reconciliation: what each side says, round by round.

use ocm_record::{RecordId, Time};
use ocm_sync::{Initiator, ReconcileError, SumTree, WireError, limits, respond};
use serde_json::{Value, json};

use crate::vectors::{
    apart, bytes, golden, hex, ids_of, list_of, named, shown, tampered, text, two_ids,
};

fn tree(ids: &[RecordId]) -> SumTree {
    let mut tree = SumTree::default();
    ids.iter().for_each(|id| assert!(tree.insert(*id).unwrap()));
    tree
}

/// The messages of a whole conversation, and what it found.
fn conversation(ours: &[RecordId], theirs: &[RecordId]) -> (Value, Vec<RecordId>, Vec<RecordId>) {
    let (ours, theirs) = (tree(ours), tree(theirs));
    let (asker, mut message) = Initiator::start(&ours, limits::RECONCILE_BYTES);
    let (mut rounds, mut need, mut have) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let answer = respond(&theirs, &message, limits::RECONCILE_BYTES).unwrap();
        rounds.push(json!({ "asker": hex(&message), "responder": hex(&answer) }));
        let step = asker.step(&ours, &answer).unwrap();
        need.extend(step.need);
        for span in step.missing {
            need.extend(theirs.list(span, usize::MAX).unwrap());
        }
        have.extend(step.have);
        match step.reply {
            Some(reply) => message = reply,
            None => {
                need.sort_unstable();
                have.sort_unstable();
                return (rounds.into(), need, have);
            }
        }
        assert!(rounds.len() < 10);
    }
}

/// Ids whose times and hashes lie close together.
fn crowd(count: u64) -> Vec<RecordId> {
    let id = |n: u64| {
        let mut hash = [7; 32];
        hash[..4].copy_from_slice(&((n / 4) as u32).to_be_bytes());
        hash[8] = (n % 4) as u8;
        RecordId::from_parts(Time::from_millis(1_750_000_000_000 + n / 40), hash)
    };
    (0..count).map(id).collect()
}

#[test]
fn both_sides() {
    let [one, two] = two_ids();
    let all = crowd(200);
    let without = |gone: &[usize]| -> Vec<RecordId> {
        let kept = |(at, _): &(usize, &RecordId)| !gone.contains(at);
        all.iter().enumerate().filter(kept).map(|(_, id)| *id).collect()
    };
    let extremes = vec![RecordId::MIN, RecordId::from_parts(Time::LAST, [0xff; 32])];
    let pairs = [
        ("no ids on either side", vec![], vec![]),
        ("equal", vec![one, two], vec![one, two]),
        ("the asker lacks one", vec![one], vec![one, two]),
        ("the responder lacks one", vec![one, two], vec![two]),
        ("the asker has none", vec![], vec![one, two]),
        ("the lowest and the highest there can be", vec![], extremes),
        ("many, equal", all.clone(), all.clone()),
        ("many, each lacks some", without(&[3, 77, 78]), without(&[0, 120, 199])),
        ("many, the asker has none", vec![], crowd(40)),
        ("so many that no list is sent for a short one", vec![one], crowd(270)),
        ("sums tell the one that the asker lacks", without(&[120]), all.clone()),
        ("sums tell the one that the responder lacks", all.clone(), without(&[120])),
        ("sums tell nothing: two and one differ", without(&[120, 121]), without(&[7])),
    ];
    let entry = |(name, ours, theirs): &(&str, Vec<RecordId>, Vec<RecordId>)| {
        let (rounds, need, have) = conversation(ours, theirs);
        json!({
            "name": name,
            "asker": shown(ours),
            "responder": shown(theirs),
            "rounds": rounds,
            "needed": shown(&need),
            "lacking": shown(&have),
        })
    };
    let made = json!({
        "about": "Reconciliation (protocols/README.md, section 10): two sets, every message of \
                  both sides, what the asker needs and what the responder lacks. Another responder \
                  may describe a range in other parts. `tampered` is a message that a responder \
                  refuses.",
        "valid": pairs.iter().map(entry).collect::<Value>(),
        "tampered": apart(malformed()).0,
    });
    let file = golden("reconciliation.json", &made);
    for entry in list_of(&file, "valid") {
        let (ours, theirs) = (tree(&ids_of(&entry["asker"])), tree(&ids_of(&entry["responder"])));
        let (asker, first) = Initiator::start(&ours, limits::RECONCILE_BYTES);
        let (mut next, mut need, mut have) = (Some(first), Vec::new(), Vec::new());
        for round in entry["rounds"].as_array().unwrap() {
            assert_eq!(next, Some(bytes(round, "asker")), "{}", entry["name"]);
            let answer = respond(&theirs, &bytes(round, "asker"), limits::RECONCILE_BYTES).unwrap();
            assert_eq!(answer, bytes(round, "responder"), "{}", entry["name"]);
            let step = asker.step(&ours, &answer).unwrap();
            need.extend(step.need);
            for span in step.missing {
                need.extend(theirs.list(span, usize::MAX).unwrap());
            }
            have.extend(step.have);
            next = step.reply;
        }
        assert_eq!(next, None);
        need.sort_unstable();
        have.sort_unstable();
        assert_eq!(need, ids_of(&entry["needed"]));
        assert_eq!(have, ids_of(&entry["lacking"]));
        // Together they say what the sets say.
        let missing = |of: &SumTree, in_: &SumTree| -> Vec<RecordId> {
            let there: Vec<_> = in_.iter().collect();
            of.iter().filter(|id| !there.contains(id)).collect()
        };
        assert_eq!(need, missing(&theirs, &ours));
        assert_eq!(have, missing(&ours, &theirs));
    }
    check_malformed(&file);
}

/// Messages that no responder takes.
fn malformed() -> Vec<Value> {
    let with = |rest: &[u8]| [&[0xe1], rest].concat();
    let infinity = [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    vec![
        tampered("nothing", [], "short"),
        tampered("another form", [0x62, 0, 0, 0], "form"),
        tampered("a bound cut short", with(&[1]), "short"),
        tampered("no mode", with(&[0, 0]), "short"),
        tampered("a sum of 39 bytes", with(&[&[0, 0, 1, 7][..], &[9; 39]].concat()), "short"),
        tampered("a split without a number", with(&[0, 0, 3]), "short"),
        tampered("a varint that begins with 0", with(&[0x80, 1, 0, 0]), "varint"),
        tampered(
            "a varint past 64 bits",
            with(&[0x83, 255, 255, 255, 255, 255, 255, 255, 255, 0x7f]),
            "varint",
        ),
        tampered("a prefix of 33 bytes", with(&[&[2, 33][..], &[1; 33], &[0]].concat()), "bound"),
        tampered("infinity with a prefix", with(&[0, 1, 7, 0]), "bound"),
        tampered(
            "infinity in another form",
            with(&[&infinity[..], &[0, 0], &[2, 0, 0]].concat()),
            "bound",
        ),
        tampered("a bound below the one before", with(&[2, 1, 9, 0, 1, 1, 8, 0]), "bound"),
        tampered("a bound after infinity", with(&[0, 0, 0, 2, 0, 0]), "bound"),
        tampered("a list, which only a responder sends", with(&[0, 0, 2, 0]), "mode"),
        tampered("mode 4", with(&[0, 0, 4]), "mode"),
        tampered("4097 ranges", with(&[1, 0, 0].repeat(4097)), "ranges"),
        tampered("262145 bytes", with(&[0; 262_144]), "long"),
    ]
}

fn check_malformed(file: &Value) {
    for entry in list_of(file, "tampered").iter().chain(&apart(malformed()).1) {
        let result = respond(&SumTree::default(), &bytes(entry, "bytes"), limits::RECONCILE_BYTES);
        let Err(ReconcileError::Wire(error)) = result else {
            panic!("{}: {result:?}", entry["name"])
        };
        assert_eq!(class(&error), text(entry, "error"), "{}: {error}", entry["name"]);
    }
}

fn class(error: &WireError) -> &'static str {
    match error {
        WireError::Form(_) => "form",
        WireError::Long(_) => "long",
        WireError::Short => "short",
        WireError::Varint => "varint",
        WireError::Bound => "bound",
        WireError::Mode(_) => "mode",
        WireError::Listed => "listed",
        WireError::Ranges => "ranges",
        WireError::Ids => "ids",
    }
}

/// What only an asker reads: the times in a responder's lists.
#[test]
fn answer() {
    let [one, two] = two_ids();
    let hash = |id: &RecordId| id.hash().to_vec();
    let time = |id: &RecordId| varint(id.time().0);
    let with = |rest: &[Vec<u8>]| [vec![0xe1, 0, 0, 2], rest.concat()].concat();
    let valid = [
        ("all equal", vec![0xe1], vec![]),
        ("one id", with(&[vec![1], time(&one), hash(&one)]), vec![one]),
        (
            "two ids",
            with(&[vec![2], time(&one), hash(&one), varint(513), hash(&two)]),
            vec![one, two],
        ),
        (
            "two ids of one time",
            with(&[vec![2], time(&one), vec![1; 32], vec![0], vec![2; 32]]),
            vec![named(0, 1), named(0, 2)],
        ),
    ];
    let listed = |name: &str, rest: &[Vec<u8>]| tampered(name, with(rest), "listed");
    let many = [vec![1], vec![7; 32]].concat().repeat(4097);
    let long = [tampered("4097 ids", with(&[varint(4097), many]), "ids")];
    let made = json!({
        "about": "An answer as an asker without ids reads it (protocols/README.md, \
                  section 10): what it needs then.",
        "valid": valid.iter().map(|(name, bytes, needed)| {
            json!({ "name": name, "bytes": hex(bytes), "needed": shown(needed) })
        }).collect::<Value>(),
        "tampered": [
            tampered("another form", [0x61], "form"),
            tampered("a split, which only an asker sends", [0xe1, 0, 0, 3, 2], "mode"),
            tampered("a list without times", with(&[vec![1], hash(&one)]), "short"),
            listed("an id twice", &[vec![2], time(&one), hash(&one), vec![0], hash(&one)]),
            listed("hashes out of order", &[vec![2], time(&one), vec![2; 32], vec![0], vec![1; 32]]),
            listed("a time past 64 bits",
                &[vec![2], time(&one), hash(&one), varint(u64::MAX), hash(&two)]),
            listed("an id past its range",
                &[vec![1], varint(u64::MAX), vec![0; 32]]),
        ],
    });
    let file = golden("answer.json", &made);
    let empty = SumTree::default();
    let (asker, _) = Initiator::start(&empty, limits::RECONCILE_BYTES);
    for entry in list_of(&file, "valid") {
        let step = asker.step(&empty, &bytes(entry, "bytes")).unwrap();
        assert_eq!(step.need, ids_of(&entry["needed"]), "{}", entry["name"]);
        assert_eq!((step.have, step.reply), (vec![], None));
    }
    for entry in list_of(&file, "tampered").iter().chain(&long) {
        let result = asker.step(&empty, &bytes(entry, "bytes"));
        let Err(ReconcileError::Wire(error)) = result else {
            panic!("{}: {result:?}", entry["name"])
        };
        assert_eq!(class(&error), text(entry, "error"), "{}: {error}", entry["name"]);
    }
}

/// Base 128, the highest digit first.
fn varint(mut value: u64) -> Vec<u8> {
    let mut digits = vec![(value & 0x7f) as u8];
    while value > 0x7f {
        value >>= 7;
        digits.insert(0, 0x80 | (value & 0x7f) as u8);
    }
    digits
}
