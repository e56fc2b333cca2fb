//! The golden vectors of memories, in `tests/vectors` of the repository: written from fixed seeds,
//! compared with what is stored, and checked against what they claim. They pin the one Automerge
//! change that every node must make of a record.

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use ipld_core::ipld;
use ipld_core::ipld::Ipld;
use ocm_record::{
    Body, Boot, Draft, Kind, MemoryId, RecordId, SignedRecord, SigningKey, SpaceId, Time,
    VerifiedRecord, from_canonical, to_canonical,
};
use serde_json::{Value, json};

use super::{Document, RenderError, Void};
use crate::edit::{EditError, decode_edits, encode_edits};

/// A moment in June 2025, in milliseconds.
const NOW: u64 = 1_750_000_000_000;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn golden(file: &str, made: &Value) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(file);
    if std::env::var_os("OCM_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(made).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(&stored, made, "{file} differs: nodes would no longer show the same");
    for list in ["valid", "tampered"] {
        let mut names: Vec<_> = list_of(&stored, list).iter().map(|v| text(v, "name")).collect();
        assert!(names.len() > 1, "{file} has {list} entries");
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{file}: names are unique");
    }
    stored
}

fn list_of<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    file[list].as_array().unwrap()
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_else(|| panic!("no {field} in {entry}"))
}

fn nested(levels: usize) -> Ipld {
    (0..levels).fold(Ipld::Null, |inner, _| Ipld::List(vec![inner]))
}

#[test]
fn edits() {
    let most = i128::from(crate::limits::INCREMENT);
    let large = Ipld::Integer(u64::MAX.into());
    let least = Ipld::Integer(i64::MIN.into());
    let blob = Ipld::Bytes(vec![0, 255]);
    let long = Ipld::List(vec![Ipld::String("k".into()); 16]);
    let valid = [
        ("none", ipld!([])),
        ("set", ipld!([[0, ["title"], "Well"]])),
        (
            "set of every type",
            ipld!([[0, ["a", 3], {
                "b": true, "i": (-3), "f": 1.5, "n": null, "s": "é", "x": (blob), "l": [1, [], {}],
                "big": (large), "low": (least),
            }]]),
        ),
        ("delete", ipld!([[1, ["place", "lat"]]])),
        ("insert", ipld!([[2, ["tags"], 0, "camp"]])),
        ("splice", ipld!([[3, ["text"], 4, 5, "🏕"]])),
        ("increment, the most and the least", {
            ipld!([[4, ["n"], (Ipld::Integer(most))], [4, ["n"], (Ipld::Integer(-most))]])
        }),
        ("text", ipld!([[5, ["text"]]])),
        ("16 steps, 16 levels", ipld!([[0, (long.clone()), (nested(16))]])),
    ];
    let entry = |(name, content): &(&str, Ipld)| {
        let edits = decode_edits(content).unwrap();
        let meaning = serde_json::to_value(edits).unwrap();
        json!({ "name": name, "bytes": hex(to_canonical(content)), "meaning": meaning })
    };
    let link = Ipld::Link(RecordId::MIN.cid());
    let past = Ipld::Integer(i128::from(u64::MAX) + 1);
    let longer = Ipld::List(vec![Ipld::String("k".into()); 17]);
    let bad = [
        ("no list", ipld!({}), "list"),
        ("1001 edits", Ipld::List(vec![ipld!([1, ["a"]]); 1001]), "count"),
        ("no array", ipld!(["set"]), "form"),
        ("nothing in it", ipld!([[]]), "form"),
        ("operation 6", ipld!([[6, ["a"]]]), "form"),
        ("a negative operation", ipld!([[(-1), ["a"]]]), "form"),
        ("set without a value", ipld!([[0, ["a"]]]), "form"),
        ("set with too much", ipld!([[0, ["a"], 1, 2]]), "form"),
        ("delete with a value", ipld!([[1, ["a"], 1]]), "form"),
        ("insert without a position", ipld!([[2, ["a"], "v"]]), "form"),
        ("insert at a negative position", ipld!([[2, ["a"], (-1), 1]]), "form"),
        ("splice with no text", ipld!([[3, ["a"], 0, 1]]), "form"),
        ("splice that deletes less than nothing", ipld!([[3, ["a"], 0, (-1), "t"]]), "form"),
        ("increment by a float", ipld!([[4, ["a"], 1.5]]), "form"),
        ("increment by too much", ipld!([[4, ["a"], (Ipld::Integer(most + 1))]]), "increment"),
        ("decrement by too much", ipld!([[4, ["a"], (Ipld::Integer(-most - 1))]]), "increment"),
        ("text with a text", ipld!([[5, ["a"], "t"]]), "form"),
        ("a path as text", ipld!([[1, "a"]]), "form"),
        ("no step", ipld!([[1, []]]), "path"),
        ("17 steps", ipld!([[1, (longer)]]), "path"),
        ("a step that is null", ipld!([[1, [null]]]), "form"),
        ("a negative step", ipld!([[1, [(-1)]]]), "form"),
        ("17 levels", ipld!([[0, ["a"], (nested(17))]]), "depth"),
        ("a link", ipld!([[0, ["a"], [(link)]]]), "form"),
        ("the second of two", ipld!([[1, ["a"]], [6, ["a"]]]), "form"),
    ];
    let made = json!({
        "about": "The content of a change (protocols/README.md, section 4). `tampered` is a value, \
                  and no list of edits: its record is void.",
        "valid": valid.iter().map(entry).collect::<Value>(),
        "tampered": bad.iter().map(|(name, content, error)| {
            json!({ "name": name, "bytes": hex(to_canonical(content)), "error": error })
        }).collect::<Value>(),
    });
    let file = golden("edits.json", &made);
    let content = |entry: &Value| -> Ipld {
        from_canonical(&HEXLOWER.decode(text(entry, "bytes").as_bytes()).unwrap()).unwrap()
    };
    for entry in list_of(&file, "valid") {
        let edits = decode_edits(&content(entry)).unwrap();
        assert_eq!(serde_json::to_value(&edits).unwrap(), entry["meaning"], "{}", entry["name"]);
        assert_eq!(encode_edits(&edits), content(entry));
    }
    for entry in list_of(&file, "tampered") {
        let class = match decode_edits(&content(entry)).unwrap_err() {
            EditError::NotAList => "list",
            EditError::TooMany(_) => "count",
            EditError::Form { .. } => "form",
            EditError::PathLength { .. } => "path",
            EditError::ValueDepth { .. } => "depth",
            EditError::Increment { .. } => "increment",
        };
        assert_eq!(class, text(entry, "error"), "{}", entry["name"]);
    }
    // DAG-CBOR has no form for it.
    assert!(matches!(decode_edits(&ipld!([[0, ["a"], (past)]])), Err(EditError::Form { .. })));
}

/// Writes the changes of one memory.
#[derive(Default)]
struct Scribe {
    memory: Option<MemoryId>,
    records: Vec<VerifiedRecord>,
}

impl Scribe {
    fn write(&mut self, by: u8, boot: u8, deps: &[RecordId], content: Ipld) -> RecordId {
        let number = self.records.len() as u8;
        let draft = Draft {
            space: SpaceId(RecordId::from_parts(Time(1), [9; 32])),
            kind: Kind::CHANGE,
            memory: self.memory,
            author: None,
            boot: Boot::from_bytes([boot; 16]),
            seq: 1,
            prev: None,
            deps: deps.to_vec(),
            auth: vec![],
            time: Time::from_millis(NOW + u64::from(number)),
        };
        let body = Body { salt: [number; 16], lineage: vec![], content }.encode();
        let key = SigningKey::from_seed(&[by; 32]);
        let record = draft.sign(&key, body).unwrap().verify().unwrap();
        self.memory = record.memory();
        self.records.push(record.clone());
        record.id()
    }

    /// The last record without its body.
    fn strip(&mut self) {
        let record = self.records.pop().unwrap();
        let bytes = record.encode_without_body();
        self.records.push(SignedRecord::decode(&bytes).unwrap().verify().unwrap());
    }
}

/// Memories of every sort, by name.
fn memories() -> Vec<(&'static str, Vec<VerifiedRecord>)> {
    let memory = |write: &dyn Fn(&mut Scribe)| {
        let mut scribe = Scribe::default();
        write(&mut scribe);
        scribe.records
    };
    let all = memory(&|s| {
        let blob = Ipld::Bytes(vec![1, 2, 3]);
        let large = Ipld::Integer(u64::MAX.into());
        let value = ipld!({
            "bb": [1, [true, null], {"z": 1, "aa": (-2)}], "a": 1.5, "x": (blob), "u": (large),
        });
        s.write(
            1,
            1,
            &[],
            ipld!([
                [0, ["title"], "Intake desk"],
                [0, ["data"], (value)],
                [5, ["text"]],
                [3, ["text"], 0, 0, "Grüße 🏕"],
                [3, ["text"], 6, 1, "an alle"],
                [0, ["tags"], ["a", "b"]],
                [2, ["tags"], 1, "camp"],
                [1, ["tags", 0]],
                [4, ["count"], 5],
                [4, ["count"], (-2)],
                [1, ["data", "a"]],
                [1, ["nothing"]],
                [0, ["title"], "Intake desk"],
            ]),
        );
    });
    let run = memory(&|s| {
        let a = s.write(1, 1, &[], ipld!([[0, ["n"], 1]]));
        let b = s.write(1, 1, &[a], ipld!([[0, ["n"], 2]]));
        let c = s.write(1, 1, &[b], ipld!([]));
        s.write(1, 2, &[c], ipld!([[0, ["m"], 3]]));
    });
    let conflict = memory(&|s| {
        let a = s.write(1, 1, &[], ipld!([[0, ["title"], "old"], [5, ["text"]], [4, ["n"], 1]]));
        let edits = |title: &str, at: u8, by: u8| {
            let (at, by) = (Ipld::Integer(at.into()), Ipld::Integer(by.into()));
            ipld!([
                [0, ["title"], (Ipld::String(title.into()))],
                [3, ["text"], (at), 0, (Ipld::String(title.into()))],
                [4, ["n"], (by)]
            ])
        };
        let b = s.write(1, 1, &[a], edits("left", 0, 2));
        let c = s.write(2, 1, &[a], edits("right", 0, 3));
        s.write(3, 1, &[b, c], ipld!([[3, ["text"], 0, 1, "L"]]));
    });
    let resolved = memory(&|s| {
        let a = s.write(1, 1, &[], ipld!([[0, ["title"], "old"]]));
        let b = s.write(1, 1, &[a], ipld!([[0, ["title"], "left"]]));
        let c = s.write(2, 1, &[a], ipld!([[0, ["title"], {"is": "right"}]]));
        s.write(2, 1, &[b, c], ipld!([[0, ["title"], "both"]]));
    });
    let twins = memory(&|s| {
        let a = s.write(1, 1, &[], ipld!([[0, ["n"], 1]]));
        let b = s.write(1, 1, &[a], ipld!([[0, ["n"], 2]]));
        s.write(1, 1, &[a], ipld!([[0, ["n"], 3]]));
        let d = s.write(1, 1, &[b], ipld!([[0, ["n"], 4]]));
        s.write(1, 1, &[b], ipld!([[0, ["n"], 5]]));
        s.write(1, 1, &[d], ipld!([[0, ["n"], 6]]));
    });
    let voids = memory(&|s| {
        let a = s.write(1, 1, &[], ipld!([[0, ["n"], 1], [0, ["s"], "scalar"]]));
        let b = s.write(1, 1, &[a], ipld!([[0, ["n"], 2], [0, ["s", "in"], 1]]));
        let c = s.write(1, 1, &[b], ipld!({"no": "edits"}));
        let d = s.write(1, 1, &[c], ipld!([[0, ["n"], 3]]));
        s.strip();
        s.write(1, 1, &[d], ipld!([[0, ["m"], 4]]));
    });
    let authority = memory(&|s| {
        let grant = RecordId::from_parts(Time(2), [3; 32]);
        let a = s.write(1, 1, &[grant], ipld!([[0, ["n"], 1]]));
        s.write(1, 1, &[a, grant], ipld!([[0, ["n"], 2]]));
    });
    vec![
        ("one record, every operation", all),
        ("a run, and another process", run),
        ("a conflict", conflict),
        ("a conflict resolved", resolved),
        ("twins, and twins of twins", twins),
        ("void: a misfit, no edits, no body", voids),
        ("upon authority records", authority),
    ]
}

/// What each record became, in the order of ids.
fn changes(document: &Document) -> Value {
    let void = |void: &Void| match void {
        Void::BodyMissing => "no-body",
        Void::Body(_) => "body",
        Void::Edits(_) => "edits",
        Void::Limit(_) => "limit",
        Void::Misfit { .. } => "misfit",
    };
    let view = document.view().unwrap();
    view.iter()
        .map(|(id, rendered)| {
            json!({
                "record": id.to_string(),
                "actor": hex(&rendered.actor),
                "change": hex(rendered.change.0),
                "void": rendered.outcome.as_ref().err().map(void),
            })
        })
        .collect()
}

#[test]
fn memory() {
    let bytes = |records: &[VerifiedRecord]| -> Value {
        records.iter().map(|record| hex(record.encode())).collect()
    };
    let entry = |(name, records): &(&str, Vec<VerifiedRecord>)| {
        let document = Document::build(records.iter().cloned()).unwrap();
        json!({
            "name": name,
            "records": bytes(records),
            "content": document.content().unwrap(),
            "conflicts": document.conflicts().unwrap().len(),
            "heads": document.heads().iter().map(RecordId::to_string).collect::<Value>(),
            "changes": changes(&document),
        })
    };
    let all = memories();
    let strange = {
        let draft = Draft {
            space: SpaceId(RecordId::from_parts(Time(1), [9; 32])),
            kind: Kind(64),
            memory: all[1].1[0].memory(),
            author: None,
            boot: Boot::from_bytes([1; 16]),
            seq: 1,
            prev: None,
            deps: vec![],
            auth: vec![],
            time: Time::from_millis(NOW),
        };
        let body = Body { salt: [0; 16], lineage: vec![], content: ipld!([]) }.encode();
        draft.sign(&SigningKey::from_seed(&[1; 32]), body).unwrap().verify().unwrap()
    };
    let foreign = |name: &str, records: &[VerifiedRecord]| json!({ "name": name, "records": bytes(records), "error": "foreign" });
    let made = json!({
        "about": "A memory (protocols/README.md, section 7): its records, what it shows, its heads, \
                  and for each record the actor and hash of its Automerge change. `tampered` are \
                  records that are not the changes of one memory.",
        "valid": all.iter().map(entry).collect::<Value>(),
        "tampered": [
            foreign("two memories", &[all[1].1[0].clone(), all[2].1[0].clone()]),
            foreign("a kind that nobody knows", &[all[1].1[0].clone(), strange]),
        ],
    });
    let file = golden("memory.json", &made);
    let records = |entry: &Value| -> Vec<VerifiedRecord> {
        let record = |bytes: &Value| {
            let bytes = HEXLOWER.decode(bytes.as_str().unwrap().as_bytes()).unwrap();
            SignedRecord::decode(&bytes).unwrap().verify().unwrap()
        };
        entry["records"].as_array().unwrap().iter().map(record).collect()
    };
    for entry in list_of(&file, "valid") {
        let forward = records(entry);
        let at_once = Document::build(forward.clone()).unwrap();
        let mut one_by_one = Document::build([]).unwrap();
        let mut backward = Document::build([]).unwrap();
        forward.iter().for_each(|record| one_by_one.add([record.clone()]).unwrap());
        forward.iter().rev().for_each(|record| backward.add([record.clone()]).unwrap());
        for document in [at_once, one_by_one, backward] {
            assert_eq!(document.content().unwrap(), entry["content"], "{}", entry["name"]);
            assert_eq!(changes(&document), entry["changes"], "{}", entry["name"]);
            assert_eq!(json!(document.conflicts().unwrap().len()), entry["conflicts"]);
        }
    }
    for entry in list_of(&file, "tampered") {
        assert_eq!(text(entry, "error"), "foreign");
        let result = Document::build(records(entry));
        assert!(matches!(result, Err(RenderError::Foreign { .. })), "{}", entry["name"]);
    }
}
