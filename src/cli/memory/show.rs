//! What people see of memories.

use serde_json::Value as Json;

use crate::cli::output::{
    Pairs, clean, clean_lines, count, cut, field, list as joined, plain, short_end, short_id,
    table, time,
};

/// Characters of a title or a value in a list.
const WIDTH: usize = 48;
/// The keys of a content that have a line of their own above the rest.
const KNOWN: [&str; 7] = ["title", "type", "text", "at", "place", "tags", "data"];

/// A memory.
pub(super) fn memory(memory: &Json) -> String {
    let content = &memory["content"];
    let mut pairs = Pairs::new();
    pairs
        .add("id", field(memory, "id"))
        .add("title", field(content, "title"))
        .add("type", field(content, "type"))
        .add("at", time(&content["at"]))
        .add("place", place(&content["place"]))
        .add("tags", tags(&content["tags"]))
        .add("text", content["text"].as_str().map(clean_lines).unwrap_or_default());
    pairs.add("data", plain(&content["data"]));
    for (key, value) in content.as_object().into_iter().flatten() {
        if !KNOWN.contains(&key.as_str()) {
            pairs.add(key, plain(value));
        }
    }
    pairs
        .add("author", field(memory, "author"))
        .add("space", field(memory, "space"))
        .add("created", time(&memory["created"]));
    if memory["updated"] != memory["created"] {
        pairs.add("updated", time(&memory["updated"]));
    }
    let others = memory["authors"].as_array().filter(|authors| authors.len() > 1);
    if others.is_some() {
        pairs.add("authors", joined(&memory["authors"]).replace(", ", "\n"));
    }
    pairs.add("records", field(memory, "records"));
    let conflicts = memory["conflicts"].as_u64().unwrap_or(0);
    if conflicts > 0 {
        pairs.add("conflicts", format!("{conflicts} (see `ocm memory conflicts ID`)"));
    }
    for void in memory["voids"].as_array().into_iter().flatten() {
        let record = short_id(&field(void, "record"));
        pairs.add("void", format!("{record} has no effect: {}", field(void, "reason")));
    }
    if memory["ahead"] == true {
        pairs.add("ahead", "its time lies ahead of this node's clock");
    }
    pairs.add("verified", verdict(memory));
    pairs.render()
}

/// Whether a memory was found sound, and what is said of it.
pub(super) fn verified(memory: &Json) -> (bool, String) {
    let id = field(memory, "id");
    if memory["verified"] == true {
        let records = count(memory["records"].as_u64().unwrap_or(0), "record", "records");
        return (true, format!("verified: {id} ({records})"));
    }
    (false, format!("not verified: {id}: {}", cause(memory)))
}

fn verdict(memory: &Json) -> String {
    if memory["verified"] == true { "yes".into() } else { format!("no: {}", cause(memory)) }
}

fn cause(memory: &Json) -> String {
    let cause = field(memory, "cause");
    if cause.is_empty() { "the node gives no cause".into() } else { cause }
}

fn place(place: &Json) -> String {
    if !place.is_object() {
        return plain(place);
    }
    let name = field(place, "name");
    match (place["lat"].as_f64(), place["lon"].as_f64()) {
        (Some(lat), Some(lon)) => format!("{name} ({lat}, {lon})").trim_start().to_owned(),
        _ => name,
    }
}

fn tags(tags: &Json) -> String {
    if tags.is_array() { joined(tags) } else { plain(tags) }
}

/// A list of memories.
pub(super) fn list(items: &[Json]) -> String {
    let rows = items.iter().map(|memory| {
        let title = field(memory, "title");
        let title = if title.is_empty() { field(memory, "excerpt") } else { title };
        let conflicts = memory["conflicts"].as_u64().unwrap_or(0);
        let mut marks = Vec::new();
        if conflicts > 0 {
            marks.push(count(conflicts, "conflict", "conflicts"));
        }
        if memory["ahead"] == true {
            marks.push("ahead".into());
        }
        [
            short_id(&field(memory, "id")),
            cut(&title, WIDTH),
            cut(&field(memory, "type"), WIDTH),
            cut(&tags(&memory["tags"]), WIDTH),
            short_end(&field(memory, "author")),
            time(&memory["created"]),
            marks.join(", "),
        ]
    });
    table(["ID", "TITLE", "TYPE", "TAGS", "AUTHOR", "CREATED", ""], rows.collect())
}

/// The records of a memory, each with what it changed.
pub(super) fn history(items: &[Json]) -> String {
    let mut lines = String::new();
    for entry in items {
        let (when, author) = (time(&entry["time"]), field(entry, "author"));
        lines.push_str(&format!("{when}  {author}  {}\n", short_id(&field(entry, "record"))));
        for edit in entry["edits"].as_array().into_iter().flatten() {
            lines.push_str(&format!("  {}\n", edited(edit)));
        }
        let void = field(entry, "void");
        if !void.is_empty() {
            lines.push_str(&format!("  without effect: {void}\n"));
        }
    }
    lines
}

/// One edit on a line: what, where, and the new value.
fn edited(edit: &Json) -> String {
    let op = edit["op"].as_str().or_else(|| edit["edit"].as_str());
    let Some(op) = op else { return cut(&plain(edit), 2 * WIDTH) };
    let mut line = format!("{} {}", clean(op), path(&edit["path"]));
    for (key, value) in edit.as_object().into_iter().flatten() {
        match key.as_str() {
            "op" | "edit" | "path" => {}
            "value" => line.push_str(&format!(" = {value}")),
            _ => line.push_str(&format!(" {key} {value}")),
        }
    }
    cut(&clean(&line), 2 * WIDTH)
}

/// A path as people write it: `place.name`, `tags.0`.
fn path(path: &Json) -> String {
    match path.as_array() {
        Some(steps) => steps.iter().map(plain).collect::<Vec<_>>().join("."),
        None => plain(path),
    }
}

/// The concurrent values of a memory; the one that is shown is marked. Records and authors stand
/// in full: `--take` wants the one, and the other is what it is about.
pub(super) fn conflicts(items: &[Json]) -> String {
    let mut lines = String::new();
    for conflict in items {
        lines.push_str(&path(&conflict["path"]));
        lines.push('\n');
        for value in conflict["values"].as_array().into_iter().flatten() {
            let shown = value["shown"] == true
                || (value["shown"].is_null() && value["value"] == conflict["shown"]);
            let mark = if shown { '*' } else { ' ' };
            let text = cut(&clean(&value["value"].to_string()), 2 * WIDTH);
            lines.push_str(&format!("{mark} {text}\n"));
            let (author, when) = (field(value, "author"), time(&value["time"]));
            lines.push_str(&format!("    by      {author} at {when}\n"));
            lines.push_str(&format!("    record  {}\n", field(value, "record")));
        }
    }
    lines
}
