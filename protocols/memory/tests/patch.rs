//! A patch of JSON becomes edits, and the edits become the JSON that the patch asks for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use fixture::*;
use ocm_memory::{Document, Edit, Path, create_edits, merge_patch};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A memory with this content, and the scribe to write on.
fn memory(content: &Value) -> (Scribe, Document) {
    let mut scribe = Scribe::default();
    scribe.write(1, &[], &create_edits(content).unwrap());
    let document = Document::build(scribe.records.iter().cloned()).unwrap();
    (scribe, document)
}

fn write(scribe: &mut Scribe, document: &mut Document, edits: &[Edit]) {
    scribe.write(1, &document.deps_for_edit(), edits);
    document.add(scribe.records.last().cloned()).unwrap();
    assert_eq!(document.voids().unwrap(), []);
}

/// Patches a memory, checks that it shows the patched content, and returns the edits.
fn patched(content: &Value, patch: &Value) -> Vec<Edit> {
    let (mut scribe, mut document) = memory(content);
    assert_eq!(&document.content().unwrap(), content);
    let edits = document.patch(patch).unwrap();
    write(&mut scribe, &mut document, &edits);
    assert_eq!(document.content().unwrap(), merge_patch(content, patch), "{content} with {patch}");
    assert_eq!(document.patch(&json!({})).unwrap(), [], "nothing is left to do");
    edits
}

/// RFC 7396, appendix A, those whose original is an object, and all of them one level down.
#[test]
fn the_examples_of_the_rfc() {
    let table = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ];
    for (original, patch, result) in table {
        let under = |value: &Value| json!({ "v": value });
        assert_eq!(merge_patch(&under(&original), &under(&patch)), under(&result));
        patched(&under(&original), &under(&patch));
        if original.is_object() && patch.is_object() {
            patched(&original, &patch);
        }
    }
    patched(&json!({"v": {"a": "foo"}}), &json!({"v": null}));
    let (_, document) = memory(&json!({"a": "foo"}));
    assert!(document.patch(&json!(null)).is_err());
    assert!(document.patch(&json!(["c"])).is_err());
}

#[test]
fn edits_are_as_small_as_the_change() {
    let content = json!({
        "title": "Well", "text": "It is dry.", "tags": ["a", "b"], "place": {"name": "N", "lat": 1.5}
    });
    assert_eq!(patched(&content, &content), []);
    assert_eq!(
        patched(
            &content,
            &json!({"text": "It was dry.", "tags": ["a", "b", "c"], "place": {"lat": 2}})
        ),
        [
            insert(["tags"], 2, "c".to_owned().into()),
            splice(["text"], 3, 1, "wa"),
            set(["place", "lat"], 2.into()),
        ]
    );
    assert_eq!(
        patched(&json!({"a": 1}), &json!({"text": "new"})),
        [text(["text"]), splice(["text"], 0, 0, "new")]
    );
    assert_eq!(patched(&content, &json!({"text": 5})), [set(["text"], 5.into())]);
}

#[test]
fn a_plain_string_under_text_becomes_collaborative_when_it_changes() {
    let mut scribe = Scribe::default();
    scribe.write(1, &[], &[set(["text"], "plain".to_owned().into())]);
    let document = Document::build(scribe.records.iter().cloned()).unwrap();
    assert_eq!(document.patch(&json!({"text": "plain"})).unwrap(), []);
    assert_eq!(
        document.patch(&json!({"text": "plainer"})).unwrap(),
        [text(["text"]), splice(["text"], 0, 0, "plainer")]
    );
}

#[test]
fn tags_that_two_add_concurrently_both_stay() {
    let (mut scribe, document) = memory(&json!({"tags": ["old"], "text": "Hello"}));
    let base = document.deps_for_edit();
    for (author, patch) in [
        (2, json!({"tags": ["old", "x"], "text": "Hello, world"})),
        (3, json!({"tags": ["old", "y"], "text": "Oh, Hello"})),
    ] {
        scribe.write(author, &base, &document.patch(&patch).unwrap());
    }
    let document = Document::build(scribe.records.iter().cloned()).unwrap();
    let content = document.content().unwrap();
    let tags = content["tags"].as_array().unwrap();
    assert_eq!((tags.len(), &tags[0]), (3, &json!("old")));
    assert!(tags.contains(&json!("x")) && tags.contains(&json!("y")));
    assert_eq!(content["text"], "Oh, Hello, world");
}

#[test]
fn places_too_deep_for_a_path_are_written_from_above() {
    let nest = |levels: usize, core: Value| (0..levels).fold(core, |inner, _| json!({"k": inner}));
    let content = nest(16, json!({"x": 1}));
    patched(&content, &nest(16, json!({"x": 2})));
    // Deeper content, made by hand: 16 steps of path, and a value below.
    let mut scribe = Scribe::default();
    let first = scribe.write(1, &[], &create_edits(&content).unwrap());
    let steps = Path(vec!["k".into(); 16]);
    let deep = Edit::Set { path: steps, value: ipld_core::ipld!({"y": {"z": [1]}}) };
    scribe.write(1, &[first], &[deep]);
    let mut document = Document::build(scribe.records.iter().cloned()).unwrap();
    let target = nest(16, json!({"y": {"z": [2]}, "x": 5}));
    let expected = merge_patch(&document.content().unwrap(), &target);
    let edits = document.patch(&target).unwrap();
    write(&mut scribe, &mut document, &edits);
    assert_eq!(document.content().unwrap(), expected);
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..3).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from),
        "[abé😀 ]{0,6}".prop_map(Value::from),
        Just(json!({"/": {"bytes": "AQID"}})),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            object(inner),
        ]
    })
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec!["a", "b", "cc", "text", "tags", "", "/", "bytes"]);
    prop::collection::btree_map(key, inner, 0..6).prop_map(|map| {
        Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn patches_lead_where_the_rfc_says(
        content in object(json_value()),
        patches in prop::collection::vec(object(json_value()), 1..4),
    ) {
        let (mut scribe, mut document) = memory(&content);
        let mut expected = content;
        prop_assert_eq!(&document.content().unwrap(), &expected);
        for patch in patches {
            expected = merge_patch(&expected, &patch);
            let edits = document.patch(&patch).unwrap();
            write(&mut scribe, &mut document, &edits);
            prop_assert_eq!(&document.content().unwrap(), &expected);
        }
    }
}
