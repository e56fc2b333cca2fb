//! Every order of arrival gives one content, whatever the records say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use fixture::*;
use ipld_core::ipld::Ipld;
use ocm_memory::{
    Conflict, Document, Edit, HistoryEntry, Path, RenderError, Step, Void, content_of,
    encode_edits, first_content,
};
use ocm_record::{RecordId, VerifiedRecord};
use proptest::prelude::*;
use serde_json::Value;

/// Everything that is to be a function of the set.
type Shown = (Value, Vec<(RecordId, Void)>, Vec<Conflict>, u64, Vec<RecordId>, Vec<HistoryEntry>);

fn shown(document: &Document) -> Result<Shown, RenderError> {
    Ok((
        document.content()?,
        document.voids()?,
        document.conflicts()?,
        document.resolved()?,
        document.heads(),
        document.history()?,
    ))
}

fn value() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        (0i128..3).prop_map(Ipld::Integer),
        Just(Ipld::Integer(u64::MAX.into())),
        Just(Ipld::Float(0.5)),
        "[xé]{0,2}".prop_map(Ipld::String),
        Just(Ipld::Bytes(vec![7])),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Ipld::List),
            prop::collection::btree_map("[ab]?", inner, 0..3).prop_map(Ipld::Map),
        ]
    })
}

fn place() -> impl Strategy<Value = Path> {
    let step = prop_oneof![
        4 => prop::sample::select(vec!["l", "m", "text", "n", "a", ""]).prop_map(Step::from),
        1 => (0u64..3).prop_map(Step::from),
    ];
    prop_oneof![
        3 => prop::sample::select(vec!["l", "m", "text", "n"]).prop_map(Path::key),
        2 => (prop::sample::select(vec!["l", "m"]), step.clone())
            .prop_map(|(key, step)| Path::key(key).then(step)),
        1 => prop::collection::vec(step, 1..4).prop_map(Path),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (place(), value()).prop_map(|(path, value)| Edit::Set { path, value }),
        2 => place().prop_map(|path| Edit::Delete { path }),
        2 => (place(), 0u64..3, value())
            .prop_map(|(path, index, value)| Edit::Insert { path, index, value }),
        3 => (place(), 0u64..4, 0u64..3, "[aé😀]{0,3}")
            .prop_map(|(path, index, delete, text)| Edit::Splice { path, index, delete, text }),
        2 => (place(), -2i64..3).prop_map(|(path, by)| Edit::Increment { path, by }),
        1 => place().prop_map(|path| Edit::Text { path }),
    ]
}

/// An edit of those that begin a memory, mostly.
fn beginning() -> impl Strategy<Value = Edit> {
    prop_oneof![
        8 => (place(), value()).prop_map(|(path, value)| Edit::Set { path, value }),
        4 => place().prop_map(|path| Edit::Text { path }),
        4 => (place(), "[aé😀]{0,3}")
            .prop_map(|(path, text)| Edit::Splice { path, index: 0, delete: 0, text }),
        1 => edit(),
    ]
}

/// An edit that mostly fits the content the first record makes.
fn fitting() -> impl Strategy<Value = Edit> {
    let top = |key| Path::key(key);
    prop_oneof![
        (0u64..2, value()).prop_map(move |(index, value)| Edit::Insert {
            path: top("l"),
            index,
            value
        }),
        (0u64..3, 0u64..2, "[aé😀]{1,2}").prop_map(move |(index, delete, text)| Edit::Splice {
            path: top("text"),
            index,
            delete,
            text
        }),
        (prop::sample::select(vec!["a", "b"]), value())
            .prop_map(move |(key, value)| Edit::Set { path: top("m").then(key), value }),
        (-2i64..3).prop_map(move |by| Edit::Increment { path: top("n"), by }),
        (0u64..2, value())
            .prop_map(move |(at, value)| Edit::Set { path: top("l").then(at), value }),
        (0u64..2).prop_map(move |at| Edit::Delete { path: top("l").then(at) }),
        Just(Edit::Delete { path: Path::key("m").then("a") }),
    ]
}

#[derive(Debug, Clone)]
enum Content {
    Edits(Vec<Edit>),
    Garbage,
    Bodyless(Vec<Edit>),
    Odd(Ipld),
}

#[derive(Debug, Clone)]
struct Plan {
    author: u8,
    boot: u8,
    /// Counted back from the record itself; more than there are: the first.
    deps: Vec<usize>,
    authority: bool,
    content: Content,
}

fn plan() -> impl Strategy<Value = Plan> {
    let content = prop_oneof![
        12 => prop::collection::vec(fitting(), 0..3).prop_map(Content::Edits),
        8 => prop::collection::vec(edit(), 0..3).prop_map(Content::Edits),
        1 => Just(Content::Garbage),
        1 => prop::collection::vec(fitting(), 1..3).prop_map(Content::Bodyless),
        1 => value().prop_map(Content::Odd),
    ];
    // Mostly one dependency, few authors and processes: runs, twins and twins of twins abound.
    let deps = prop_oneof![
        5 => prop::collection::vec(1usize..4, 1),
        2 => prop::collection::vec(1usize..8, 1..4),
        1 => prop::collection::vec(1usize..30, 1),
    ];
    (0u8..3, 0u8..2, deps, prop::bool::weighted(0.1), content).prop_map(
        |(author, boot, deps, authority, content)| Plan { author, boot, deps, authority, content },
    )
}

/// The first record, then one for each plan. With the bodies that some copies lack.
fn records(plans: Vec<Plan>) -> (Vec<VerifiedRecord>, Vec<VerifiedRecord>) {
    let mut scribe = Scribe::default();
    let start = [
        set(["l"], ipld_core::ipld!([0, {"a": 1}])),
        set(["m"], ipld_core::ipld!({"a": 1})),
        text(["text"]),
        splice(["text"], 0, 0, "añ😀"),
        increment(["n"], 1),
    ];
    let mut ids = vec![scribe.write(0, &[], &start)];
    let mut whole = vec![];
    for (i, plan) in plans.into_iter().enumerate() {
        let deps = plan.deps.iter().map(|back| ids[ids.len().saturating_sub(*back)]);
        let authority = RecordId::from_parts(ELSEWHERE, [plan.author; 32]);
        let deps = deps.chain(plan.authority.then_some(authority)).collect();
        let salt = i as u8;
        let (body, bodyless) = match plan.content {
            Content::Edits(edits) => (body_of(encode_edits(&edits), salt), false),
            Content::Bodyless(edits) => (body_of(encode_edits(&edits), salt), true),
            Content::Garbage => (vec![0xff; 9], false),
            Content::Odd(value) => (body_of(value, salt), false),
        };
        let (author, boot) = (plan.author, plan.boot);
        let millis = 2000 + i as u64;
        ids.push(scribe.push(Draught { author, boot, deps, millis, body }));
        if bodyless {
            let last = scribe.records.pop().unwrap();
            scribe.records.push(without_body(&last));
            whole.push(last);
        }
    }
    (scribe.records, whole)
}

/// The same items in another order, by a seed.
fn shuffled<T: Clone>(items: &[T], seed: u64) -> Vec<T> {
    let mut items = items.to_vec();
    let mut state = seed | 1;
    for i in (1..items.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(i, (state >> 33) as usize % (i + 1));
    }
    items
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn one_set_one_view(
        plans in prop::collection::vec(plan(), 0..24),
        seed in any::<u64>(),
        portion in 1usize..8,
    ) {
        let (records, whole) = records(plans);
        let fresh = Document::build(records.iter().cloned()).unwrap();
        let expected = shown(&fresh).unwrap();

        let mut one_by_one = Document::build([]).unwrap();
        for record in &records {
            one_by_one.add([record.clone()]).unwrap();
        }
        prop_assert_eq!(&shown(&one_by_one).unwrap(), &expected, "one by one, in order");

        let mut any_order = Document::build([]).unwrap();
        for records in shuffled(&records, seed).chunks(portion) {
            any_order.add(records.iter().cloned()).unwrap();
        }
        prop_assert_eq!(&shown(&any_order).unwrap(), &expected, "in any order");

        // Some again, and the bodies that were missing.
        let full: Vec<_> = records.iter().chain(&whole).cloned().collect();
        let expected = shown(&Document::build(full.iter().cloned()).unwrap()).unwrap();
        for record in shuffled(&full, seed.rotate_left(9)) {
            any_order.add([record]).unwrap();
        }
        prop_assert_eq!(&shown(&any_order).unwrap(), &expected, "with every body");
    }

    #[test]
    fn taking_settles_what_it_takes(plans in prop::collection::vec(plan(), 4..20)) {
        let (mut records, _) = records(plans);
        let mut document = Document::build(records.iter().cloned()).unwrap();
        for conflict in document.conflicts().unwrap() {
            let value = &conflict.values[conflict.values.len() - 1];
            // An earlier take may have settled it, or moved it.
            let now = document.conflicts().unwrap();
            if now.iter().all(|other| *other != conflict) {
                continue;
            }
            let edits = document.take(Some(&conflict.path), value.record).unwrap();
            let millis = 100_000 + records.len() as u64;
            let deps = document.deps_for_edit();
            let body = body_of(encode_edits(&edits), 0);
            let draught = Draught { author: 9, boot: 0, deps, millis, body };
            let record = change(document.memory(), draught);
            let resolved = document.resolved().unwrap();
            document.add([record.clone()]).unwrap();
            records.push(record);
            if document.heads().len() == 1 {
                let content = document.content().unwrap();
                let at = content.pointer(&conflict.path.to_string());
                prop_assert_eq!(at, Some(&value.value));
                prop_assert!(document.conflicts().unwrap().iter().all(|c| c.path != conflict.path));
                prop_assert!(document.resolved().unwrap() > resolved);
            }
        }
    }
}

proptest! {
    #[test]
    fn the_content_of_a_single_record_needs_no_document(
        edits in prop::collection::vec(beginning(), 0..6)
    ) {
        let mut scribe = Scribe::default();
        let id = scribe.write(1, &[], &edits);
        let document = Document::build(scribe.records.clone()).unwrap();
        if let Some(content) = first_content(&scribe.records[0]) {
            prop_assert_eq!(content, document.content().unwrap());
            prop_assert_eq!(document.voids().unwrap(), []);
            prop_assert_eq!(document.heads(), [id]);
            prop_assert_eq!(document.conflicts().unwrap().len(), 0);
            prop_assert_eq!(document.resolved().unwrap(), 0);
        }
    }

    #[test]
    fn a_created_memory_needs_no_document(
        content in prop::collection::btree_map("[a-c]{1,2}|text|title", value(), 0..6)
    ) {
        let content = Value::Object(
            content.into_iter().filter_map(|(key, value)| Some((key, json(&value)?))).collect()
        );
        let mut scribe = Scribe::default();
        let edits = ocm_memory::create_edits(&content).unwrap();
        scribe.write(1, &[], &edits);
        prop_assert_eq!(first_content(&scribe.records[0]), Some(content.clone()));
        prop_assert_eq!(content_of(edits), Some(content));
    }
}

/// A value as people write one; `None` for what Automerge refuses.
fn json(value: &Ipld) -> Option<Value> {
    Some(match value {
        Ipld::Integer(n) => u64::try_from(*n).unwrap().into(),
        Ipld::Float(x) => (*x).into(),
        Ipld::String(s) => s.as_str().into(),
        Ipld::Bool(b) => (*b).into(),
        Ipld::List(items) => Value::Array(items.iter().map(json).collect::<Option<_>>()?),
        Ipld::Map(map) => Value::Object(
            map.iter()
                .map(|(key, item)| {
                    Some((Some(key).filter(|key| !key.is_empty())?.clone(), json(item)?))
                })
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

#[test]
fn what_only_a_document_can_show() {
    let set = |key: &str| set([key], Ipld::Integer(1));
    let mut scribe = Scribe::default();
    let first = scribe.write(1, &[], &[set("a")]);
    scribe.write(1, &[first], &[set("b")]);
    assert!(first_content(&scribe.records[0]).is_some());
    assert_eq!(first_content(&scribe.records[1]), None, "it begins no memory");
    assert_eq!(first_content(&without_body(&scribe.records[0])), None);
    for edits in [vec![increment(["n"], 1)], vec![set("a"), delete(["a"])], vec![set("")]] {
        let mut scribe = Scribe::default();
        scribe.write(1, &[], &edits);
        assert_eq!(first_content(&scribe.records[0]), None, "{edits:?}");
    }
}
