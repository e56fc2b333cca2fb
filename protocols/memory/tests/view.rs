//! What a memory shows, record by record.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use fixture::*;
use ipld_core::ipld;
use ipld_core::ipld::Ipld;
use ocm_memory::{Document, EditError, Misfit, RenderError, Void, limits};
use ocm_record::{Did, MemoryId, RecordId, SigningKey};
use serde_json::{Value, json};

fn build(scribe: &Scribe) -> Document {
    Document::build(scribe.records.iter().cloned()).unwrap()
}

fn content(scribe: &Scribe) -> Value {
    build(scribe).content().unwrap()
}

/// A memory of one record with these edits.
fn single(edits: &[ocm_memory::Edit]) -> Document {
    let mut scribe = Scribe::default();
    scribe.write(1, &[], edits);
    build(&scribe)
}

#[test]
fn nothing_is_an_empty_object() {
    let document = Document::build([]).unwrap();
    assert_eq!(document.content().unwrap(), json!({}));
    assert_eq!((document.memory(), document.is_empty()), (None, true));
    assert!(document.heads().is_empty() && document.deps_for_edit().is_empty());
}

#[test]
fn every_type_of_value_is_shown() {
    let value = ipld!({
        "null": null, "true": true, "int": (-3), "float": 1.5, "text": "é", "list": [1, [], {"a": "b"}],
        "": "no key", "bytes": (Ipld::Bytes(vec![1, 2, 3])), "large": (Ipld::Integer(u64::MAX.into())),
        "least": (Ipld::Integer(i64::MIN.into())),
    });
    let document = single(&[set(["v"], value), text(["text"]), increment(["n"], -5)]);
    assert_eq!(
        document.content().unwrap(),
        json!({
            "v": {
                "null": null, "true": true, "int": -3, "float": 1.5, "text": "é",
                "list": [1, [], {"a": "b"}], "": "no key", "bytes": {"/": {"bytes": "AQID"}},
                "large": u64::MAX, "least": i64::MIN,
            },
            "text": "", "n": -5
        })
    );
    assert!(document.voids().unwrap().is_empty());
}

#[test]
fn edits_act_one_after_the_other() {
    let document = single(&[
        set(["list"], ipld!(["a", "b"])),
        insert(["list"], 2, ipld!("d")),
        insert(["list"], 2, ipld!({"c": []})),
        set(["list", "0"], ipld!("A")),
        delete(["list", "1"]),
        insert(["list", "1", "c"], 0, ipld!(1)),
        set(["map"], ipld!({"x": 1, "y": 2})),
        delete(["map", "x"]),
        text(["map", "t"]),
        splice(["map", "t"], 0, 0, "a😀b"),
        splice(["map", "t"], 2, 1, "é"),
        increment(["count"], 2),
        increment(["count"], 3),
        text(["list", "0"]),
        splice(["list", "0"], 0, 0, "now a text"),
    ]);
    assert_eq!(
        document.content().unwrap(),
        json!({
            "list": ["now a text", {"c": [1]}, "d"],
            "map": {"y": 2, "t": "a😀é"},
            "count": 5
        })
    );
}

#[test]
fn deleting_what_is_absent_has_no_effect() {
    let document = single(&[
        set(["a"], ipld!([1])),
        delete(["b"]),
        delete(["b", "c", "d"]),
        delete(["a", "1"]),
        delete(["a", "7", "x"]),
    ]);
    assert_eq!(document.content().unwrap(), json!({"a": [1]}));
    assert!(document.voids().unwrap().is_empty());
}

#[test]
fn an_edit_that_does_not_fit_voids_its_record() {
    let start = [
        set(["s"], ipld!("scalar")),
        set(["l"], ipld!([1, 2])),
        set(["m"], ipld!({"k": 1})),
        text(["t"]),
        splice(["t"], 0, 0, "añ😀"),
        increment(["n"], 1),
    ];
    let past_end =
        |steps: &[&str], index, length| Misfit::PastEnd { path: path_of(steps), index, length };
    let table = [
        (set(["x", "y"], ipld!(1)), Misfit::Absent(path_of(&["x"]))),
        (set(["s", "y"], ipld!(1)), Misfit::NoInside(path_of(&["s"]))),
        (set(["s", "y", "z"], ipld!(1)), Misfit::NoInside(path_of(&["s"]))),
        (set(["t", "0"], ipld!("x")), Misfit::NoInside(path_of(&["t"]))),
        (set(["l", "2"], ipld!(1)), past_end(&["l"], 2, 2)),
        (set(["l", "k"], ipld!(1)), Misfit::Step(path_of(&["l", "k"]))),
        (set(["m", "0"], ipld!(1)), Misfit::Step(path_of(&["m", "0"]))),
        (set(["0"], ipld!(1)), Misfit::Step(path_of(&["0"]))),
        (delete(["s", "y"]), Misfit::NoInside(path_of(&["s"]))),
        (delete(["t", "0"]), Misfit::NoInside(path_of(&["t"]))),
        (delete(["l", "k"]), Misfit::Step(path_of(&["l", "k"]))),
        (insert(["l"], 3, ipld!(1)), past_end(&["l"], 3, 2)),
        (insert(["l"], u64::MAX, ipld!(1)), past_end(&["l"], u64::MAX, 2)),
        (insert(["m"], 0, ipld!(1)), Misfit::NotAList(path_of(&["m"]))),
        (insert(["x"], 0, ipld!(1)), Misfit::Absent(path_of(&["x"]))),
        (insert(["t"], 0, ipld!("x")), Misfit::NotAList(path_of(&["t"]))),
        (splice(["t"], 4, 0, ""), past_end(&["t"], 4, 3)),
        (splice(["t"], 1, 3, ""), past_end(&["t"], 4, 3)),
        (splice(["t"], 1, u64::MAX, ""), past_end(&["t"], u64::MAX, 3)),
        (splice(["l"], 0, 0, "x"), Misfit::NotAText(path_of(&["l"]))),
        (splice(["s"], 0, 0, "x"), Misfit::NotAText(path_of(&["s"]))),
        (increment(["s"], 1), Misfit::NotACounter(path_of(&["s"]))),
        (increment(["m", "k"], 1), Misfit::NotACounter(path_of(&["m", "k"]))),
        (increment(["l", "2"], 1), past_end(&["l"], 2, 2)),
        (text(["t", "0"]), Misfit::NoInside(path_of(&["t"]))),
    ];
    for (bad, misfit) in table {
        let mut scribe = Scribe::default();
        let first = scribe.write(1, &[], &start);
        let before = content(&scribe);
        // Something good before and after: all of it goes, and what follows still applies.
        let good = [
            set(["new"], ipld!({"deep": [1, {}]})),
            delete(["l", "0"]),
            insert(["l"], 0, ipld!([9])),
            splice(["t"], 0, 1, "zz"),
            splice(["t"], 0, 2, "a"),
            increment(["n"], 5),
        ];
        let fitting: Vec<_> = good.iter().cloned().chain([bad.clone()]).collect();
        let id = scribe.write(1, &[first], &fitting);
        let document = build(&scribe);
        assert_eq!(
            document.voids().unwrap(),
            [(id, Void::Misfit { edit: good.len(), misfit })],
            "{bad:?}"
        );
        assert_eq!(document.content().unwrap(), before, "{bad:?}");
        scribe.write(1, &[id], &good);
        let after = content(&scribe);
        assert_eq!(after["n"], 6);
        assert_eq!((&after["t"], &after["l"]), (&json!("añ😀"), &json!([[9], 2])));
    }
}

fn path_of(steps: &[&str]) -> ocm_memory::Path {
    steps.iter().flat_map(|step| path([step]).0).collect()
}

#[test]
fn bodies_that_say_nothing_are_void() {
    let mut scribe = Scribe::default();
    let first = scribe.write(1, &[], &[set(["a"], ipld!(1))]);
    let no_edits = scribe.write_content(1, 0, &[first], ipld!({"a": 1}));
    let unknown = scribe.write_content(1, 0, &[no_edits], ipld!([[9, ["a"]]]));
    let garbage = scribe.push(Draught {
        author: 1,
        boot: 0,
        deps: vec![unknown],
        millis: 1003,
        body: b"garbage".to_vec(),
    });
    let erased = scribe.write(1, &[garbage], &[set(["a"], ipld!(2))]);
    let last = scribe.write(1, &[erased], &[set(["b"], ipld!(3))]);
    let whole = scribe.records.clone();
    scribe.records[4] = without_body(&scribe.records[4]);

    let mut document = build(&scribe);
    let voids = document.voids().unwrap();
    assert!(matches!(
        &voids[..],
        [
            (a, Void::Edits(EditError::NotAList)),
            (b, Void::Edits(EditError::Form { edit: 0, .. })),
            (c, Void::Body(_)),
            (d, Void::BodyMissing),
        ] if [*a, *b, *c, *d] == [no_edits, unknown, garbage, erased]
    ));
    assert_eq!(document.content().unwrap(), json!({"a": 1, "b": 3}));
    assert_eq!(document.heads(), [last]);

    document.add([whole[4].clone()]).unwrap();
    assert_eq!(document.content().unwrap(), json!({"a": 2, "b": 3}), "the body came");
    document.add([without_body(&whole[4])]).unwrap();
    assert_eq!(
        document.content().unwrap(),
        json!({"a": 2, "b": 3}),
        "a poorer copy changes nothing"
    );
}

#[test]
fn splices_of_one_record_delete_so_much_and_no_more() {
    let most = limits::DELETED_CHARS as usize;
    let run = |deletes: &[usize]| {
        let mut scribe = Scribe::default();
        let long = "x".repeat(most + 1);
        let first = scribe.write(1, &[], &[text(["t"]), splice(["t"], 0, 0, &long)]);
        let edits: Vec<_> = deletes.iter().map(|n| splice(["t"], 0, *n as u64, "")).collect();
        scribe.write(1, &[first], &edits);
        build(&scribe)
    };
    assert_eq!(run(&[most - 1, 1]).content().unwrap(), json!({"t": "x"}));
    let voids = run(&[most, 1]).voids().unwrap();
    assert_eq!(voids[0].1, Void::Misfit { edit: 1, misfit: Misfit::DeletesTooMuch });
}

#[test]
fn concurrent_edits_meet() {
    let mut scribe = Scribe::default();
    let first = scribe.write(
        1,
        &[],
        &[
            text(["text"]),
            splice(["text"], 0, 0, "The well."),
            set(["tags"], ipld!(["water"])),
            increment(["visits"], 1),
        ],
    );
    let a = scribe.write(
        1,
        &[first],
        &[
            splice(["text"], 4, 0, "old "),
            insert(["tags"], 1, ipld!("a")),
            increment(["visits"], 1),
        ],
    );
    let b = scribe.write(
        2,
        &[first],
        &[splice(["text"], 8, 1, "!"), insert(["tags"], 1, ipld!("b")), increment(["visits"], 1)],
    );
    let shown = content(&scribe);
    assert_eq!(shown["text"], "The old well!");
    assert_eq!(shown["visits"], 3);
    let mut tags: Vec<_> = shown["tags"].as_array().unwrap().clone();
    tags.sort_by_key(ToString::to_string);
    assert_eq!(tags, [json!("a"), json!("b"), json!("water")]);
    let document = build(&scribe);
    assert_eq!((document.heads(), document.deps_for_edit()), (vec![a, b], vec![a, b]));
    assert!(document.conflicts().unwrap().is_empty());
}

#[test]
fn of_many_heads_the_newest_are_named() {
    let mut scribe = Scribe::default();
    let first = scribe.write(1, &[], &[]);
    let heads: Vec<RecordId> = (0..20)
        .map(|i| scribe.write(i + 2, &[first], &[set(["k"], ipld!((i32::from(i))))]))
        .collect();
    let mut document = build(&scribe);
    assert_eq!(document.heads(), heads);
    assert_eq!(document.deps_for_edit(), heads[4..]);
    let joined = scribe.write(1, &heads[4..], &[set(["k"], ipld!("one"))]);
    document.add(scribe.records.last().cloned()).unwrap();
    assert_eq!(document.heads(), [&heads[..4], &[joined]].concat());
    assert_eq!(document.conflicts().unwrap()[0].values.len(), 5);
}

/// One field, edited on both sides of a partition.
fn divided() -> (Scribe, [RecordId; 3]) {
    let mut scribe = Scribe::default();
    let first = scribe.write(1, &[], &[set(["title"], ipld!("Well")), set(["m"], ipld!({}))]);
    let a = scribe.write(
        1,
        &[first],
        &[set(["title"], ipld!("Well A")), set(["m", "x"], ipld!([1])), set(["same"], ipld!(0))],
    );
    let b = scribe.write(
        2,
        &[first],
        &[
            set(["title"], ipld!("Well B")),
            text(["m", "x"]),
            splice(["m", "x"], 0, 0, "b"),
            set(["same"], ipld!(0)),
        ],
    );
    (scribe, [first, a, b])
}

#[test]
fn conflicts_name_every_value_its_author_and_its_record() {
    let (scribe, [_, a, b]) = divided();
    let document = build(&scribe);
    let did = |seed: u8| Did::from(SigningKey::from_seed(&[seed; 32]).public());
    let conflicts = document.conflicts().unwrap();
    let paths: Vec<String> = conflicts.iter().map(|c| c.path.to_string()).collect();
    assert_eq!(paths, ["/m/x", "/title"], "equal values are no conflict");
    let shown = document.content().unwrap();
    for (conflict, place, values) in [
        (&conflicts[0], &shown["m"]["x"], [json!([1]), json!("b")]),
        (&conflicts[1], &shown["title"], [json!("Well A"), json!("Well B")]),
    ] {
        assert_eq!(conflict.values.len(), 2);
        assert!(conflict.values[0].shown && !conflict.values[1].shown);
        assert_eq!(&conflict.values[0].value, place);
        for (value, record, author) in [(&values[0], a, did(1)), (&values[1], b, did(2))] {
            let found = conflict.values.iter().find(|v| v.record == record).unwrap();
            assert_eq!((&found.value, found.author), (value, author));
        }
    }
    let json = serde_json::to_value(&conflicts[1]).unwrap();
    assert_eq!(json["path"], json!(["title"]));
    assert!(json["values"][0]["record"].is_string() && json["values"][0]["author"].is_string());
    assert_eq!(document.resolved().unwrap(), 0);
}

#[test]
fn a_conflict_is_settled_by_taking_a_record() {
    for (taken, title, x) in [(1, "Well A", json!([1])), (2, "Well B", json!("b"))] {
        let (mut scribe, ids) = divided();
        let mut document = build(&scribe);
        let edits = document.take(None, ids[taken]).unwrap();
        scribe.write(3, &document.deps_for_edit(), &edits);
        document.add(scribe.records.last().cloned()).unwrap();
        assert_eq!(document.content().unwrap(), json!({"title": title, "m": {"x": x}, "same": 0}));
        assert!(document.conflicts().unwrap().is_empty());
        assert_eq!(document.resolved().unwrap(), 2);
        assert!(document.take(None, ids[taken]).is_err(), "nothing is left to take");
    }
    let (mut scribe, ids) = divided();
    let mut document = build(&scribe);
    let edits = document.take(Some(&path(["title"])), ids[2]).unwrap();
    assert_eq!(edits, [set(["title"], ipld!("Well B"))]);
    scribe.write(3, &document.deps_for_edit(), &edits);
    document.add(scribe.records.last().cloned()).unwrap();
    assert_eq!(document.conflicts().unwrap().len(), 1);
    assert_eq!(document.resolved().unwrap(), 1);
    assert!(document.take(None, ids[0]).is_err(), "the first record wrote none of them");
}

#[test]
fn what_is_taken_keeps_its_types() {
    let mut scribe = Scribe::default();
    let first = scribe.write(1, &[], &[set(["k"], ipld!(0))]);
    let a = scribe.write(
        1,
        &[first],
        &[
            set(["k"], ipld!({"list": [0, 1], "m": {}})),
            text(["k", "list", "0"]),
            splice(["k", "list", "0"], 0, 0, "text in list"),
            increment(["k", "m", "count"], 3),
            text(["k", "m", "empty"]),
        ],
    );
    scribe.write(2, &[first], &[set(["k"], ipld!("other"))]);
    let mut document = build(&scribe);
    let edits = document.take(None, a).unwrap();
    let taken = scribe.write(1, &document.deps_for_edit(), &edits);
    scribe.write(
        2,
        &[taken],
        &[
            splice(["k", "list", "0"], 0, 4, "TEXT"),
            increment(["k", "m", "count"], 1),
            splice(["k", "m", "empty"], 0, 0, "no more"),
        ],
    );
    document.add(scribe.records[3..].iter().cloned()).unwrap();
    assert_eq!(document.voids().unwrap(), []);
    assert_eq!(
        document.content().unwrap(),
        json!({"k": {"list": ["TEXT in list", 1], "m": {"count": 4, "empty": "no more"}}})
    );
}

#[test]
fn any_later_edit_of_the_place_settles_it() {
    let (mut scribe, [_, a, b]) = divided();
    scribe.write(
        3,
        &[a, b],
        &[delete(["title"]), set(["m", "x"], ipld!(5)), set(["same"], ipld!(1))],
    );
    let document = build(&scribe);
    assert_eq!(document.resolved().unwrap(), 2, "two equal values were no conflict");
    assert_eq!(document.content().unwrap(), json!({"m": {"x": 5}, "same": 1}));
}

#[test]
fn history_tells_who_changed_what() {
    let mut scribe = Scribe::default();
    let first = scribe.write(1, &[], &[set(["a"], ipld!(1))]);
    scribe.write(2, &[first], &[delete(["a", "b"])]);
    let document = build(&scribe);
    let history = document.history().unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[0].edits, [set(["a"], ipld!(1))]);
    assert_eq!((history[0].record, &history[0].void), (first, &None));
    let json = serde_json::to_value(&history[1]).unwrap();
    assert_eq!(json["time"], 1001);
    assert_eq!(json["edits"], json!([{"op": "delete", "path": ["a", "b"]}]));
    assert_eq!(json["void"], "edit 0 does not fit: /a is no list and no map");
    assert!(json["author"].as_str().unwrap().starts_with("did:key:"));
}

#[test]
fn twins_both_stay_and_others_ties_fall_as_before() {
    // Author 1 and author 2 tie on one key; then a twin of author 1's record turns up.
    for other in 2..12 {
        let mut scribe = Scribe::default();
        let first = scribe.write(1, &[], &[set(["list"], ipld!([]))]);
        let one = scribe.write(1, &[first], &[set(["k"], ipld!("one"))]);
        scribe.write(other, &[first], &[set(["k"], ipld!("other"))]);
        scribe.write(1, &[one], &[insert(["list"], 0, ipld!("after one"))]);
        let mut document = build(&scribe);
        let before = document.content().unwrap();

        let twin = scribe.write(1, &[first], &[insert(["list"], 0, ipld!("twin"))]);
        let nested = scribe.write(1, &[twin], &[insert(["list"], 0, ipld!("nested"))]);
        scribe.write(1, &[twin], &[insert(["list"], 0, ipld!("nested twin"))]);
        scribe.write(1, &[nested], &[insert(["list"], 0, ipld!("last"))]);
        for record in &scribe.records[4..] {
            document.add([record.clone()]).unwrap();
        }
        let after = document.content().unwrap();
        assert_eq!(after["k"], before["k"]);
        let mut list: Vec<_> =
            after["list"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        list.sort_unstable();
        assert_eq!(list, ["after one", "last", "nested", "nested twin", "twin"]);
        assert_eq!(after, content(&scribe));
    }
}

#[test]
fn records_of_another_memory_are_not_taken() {
    let mut scribe = Scribe::default();
    scribe.write(1, &[], &[set(["a"], ipld!(1))]);
    let mut other = Scribe::default();
    let odd = other.write(2, &[], &[set(["a"], ipld!(2))]);
    let mut document = build(&scribe);
    let both = [other.records[0].clone(), scribe.records[0].clone()];
    assert_eq!(
        document.add(both),
        Err(RenderError::Foreign { record: odd, memory: MemoryId(scribe.records[0].id()) })
    );
    assert_eq!(document.content().unwrap(), json!({"a": 1}));
}

#[test]
fn authority_records_among_the_deps_are_no_heads() {
    let mut scribe = Scribe::default();
    let first = scribe.write(1, &[], &[set(["a"], ipld!(1))]);
    let claim = RecordId::from_parts(ELSEWHERE, [5; 32]);
    scribe.write(1, &[first, claim], &[set(["b"], ipld!(2))]);
    let document = build(&scribe);
    assert_eq!(document.content().unwrap(), json!({"a": 1, "b": 2}));
    assert_eq!(document.heads().len(), 1);
}

#[test]
fn a_document_may_be_rendered_on_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Document>();
}
