//! How things are shown: to people as tables and aligned lines, to programs as JSON.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value as Json;

use super::exit::Exit;
use crate::client::Answer;

/// Characters of an id where it is shortened: its time, and enough of its hash to be unique.
const SHORT_ID: usize = 20;

/// What a command has to show.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    /// For `--json`: the text of one JSON value.
    pub(crate) json: String,
    /// For people; whole lines.
    pub(crate) people: String,
    /// For people, beside the data.
    pub(crate) notes: Vec<String>,
    /// How the command ends.
    pub(crate) exit: Exit,
}

impl Shown {
    /// An answer of the API, and what people see of it.
    pub(crate) fn answer(answer: &Answer, people: impl Into<String>) -> Self {
        Self::text(answer.text().to_owned(), people)
    }

    /// A value made here, and what people see of it.
    pub(crate) fn value(value: &Json, people: impl Into<String>) -> Self {
        Self::text(value.to_string(), people)
    }

    fn text(json: String, people: impl Into<String>) -> Self {
        let mut people = people.into();
        if !people.is_empty() && !people.ends_with('\n') {
            people.push('\n');
        }
        Self { json, people, notes: Vec::new(), exit: Exit::Done }
    }

    /// Adds something to say beside the data.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Sets how the command ends.
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

/// JSON as it is printed: indented for a terminal, else on one line. Keys keep their order and
/// numbers their digits; what a terminal would act on is escaped.
pub(crate) fn print_json(text: &str, indented: bool) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let line = |out: &mut String, depth: usize| {
        if indented {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    let (mut in_string, mut escaped, mut opened) = (false, false, false);
    for c in text.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            match c {
                '\u{7f}'..='\u{9f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                _ => out.push(c),
            }
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        // An empty list or object stays on its line.
        if opened != closes {
            line(&mut out, depth);
        }
        opened = matches!(c, '{' | '[');
        out.push(c);
        match c {
            '{' | '[' => depth += 1,
            ',' => line(&mut out, depth),
            ':' if indented => out.push(' '),
            '"' => in_string = true,
            _ => {}
        }
    }
    out
}

/// A table for people, one line for each row; nothing where there are no rows.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// Aligned names and values.
#[derive(Debug, Default)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One more, unless the value is empty. A value of several lines is indented.
    pub(crate) fn add(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((clean(name), value));
        }
        self
    }

    /// The lines.
    pub(crate) fn render(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        for (name, value) in &self.0 {
            for (at, line) in value.lines().enumerate() {
                let name = if at == 0 { name } else { "" };
                out.push_str(format!("{name:width$}  {line}").trim_end());
                out.push('\n');
            }
        }
        out
    }
}

/// Text from anyone, on one line, without what a terminal would act on.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() { ' ' } else { visible(c) }).collect()
}

/// The same, with its lines.
pub(crate) fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { visible(c) }).collect()
}

fn visible(c: char) -> char {
    // Marks that turn the direction of what follows could make one name look like another.
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns { char::REPLACEMENT_CHARACTER } else { c }
}

/// The beginning of a text, marked where it was cut.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.truncate(cut.trim_end().len());
    cut + "…"
}

/// A member of an object as text: strings as they are, null and absence as nothing, the rest as
/// JSON.
pub(crate) fn field(object: &Json, name: &str) -> String {
    plain(&object[name])
}

/// A value as text on one line.
pub(crate) fn plain(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => clean(text),
        Json::Bool(true) => "yes".into(),
        Json::Bool(false) => "no".into(),
        other => clean(&other.to_string()),
    }
}

/// A list of values as text.
pub(crate) fn list(value: &Json) -> String {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().map(plain).collect::<Vec<_>>().join(", ")
}

/// The beginning of an id, which serves as one wherever an id is asked for.
pub(crate) fn short_id(id: &str) -> String {
    clean(&id.chars().take(SHORT_ID).collect::<String>())
}

/// The end of a DID or a PeerId, by which people tell them apart.
pub(crate) fn short_end(name: &str) -> String {
    const END: usize = 8;
    let length = name.chars().count();
    if length <= END + 4 {
        return clean(name);
    }
    let end: String = name.chars().skip(length - END).collect();
    format!("…{}", clean(&end))
}

/// A time for people, in UTC to the second; what is no time stays as it is.
pub(crate) fn time(value: &Json) -> String {
    let parsed = match value {
        Json::String(text) => text.parse::<jiff::Timestamp>().ok(),
        value => value.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()),
    };
    match parsed {
        Some(time) => time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        None => plain(value),
    }
}

/// A number of things: `1 memory`, `2 memories`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_keeps_its_order_and_its_numbers() {
        let text = r#"{"z": 1.50, "a":[ ], "b": [1,{"c":"x, \"y\": {"}], "e":{}}"#;
        assert_eq!(
            print_json(text, false),
            r#"{"z":1.50,"a":[],"b":[1,{"c":"x, \"y\": {"}],"e":{}}"#
        );
        assert_eq!(
            print_json(text, true),
            "{\n  \"z\": 1.50,\n  \"a\": [],\n  \"b\": [\n    1,\n    {\n      \"c\": \
             \"x, \\\"y\\\": {\"\n    }\n  ],\n  \"e\": {}\n}"
        );
        assert_eq!(print_json("\"a\\\\\"", true), "\"a\\\\\"");
        assert_eq!(print_json("\"\u{9b}2J\"", true), "\"\\u009b2J\"");
    }

    #[test]
    fn printed_json_is_the_same_json() {
        let value = json!({"a": [[], {}, [[{"b": null}]]], "c": "\n\t\\\"\u{7f}", "d": -1e9});
        for indented in [false, true] {
            let text = print_json(&value.to_string(), indented);
            assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), value);
        }
    }

    #[test]
    fn a_table_is_aligned_and_has_no_trailing_space() {
        let rows = vec![["1".into(), "größer".into()], ["22".into(), String::new()]];
        assert_eq!(table(["ID", "NAME"], rows), "ID  NAME\n1   größer\n22\n");
        assert_eq!(table(["ID"], Vec::new()), "");
    }

    #[test]
    fn pairs_are_aligned_and_empty_ones_left_out() {
        let mut pairs = Pairs::new();
        pairs.add("id", "v1").add("title", "").add("text", "one\n\ntwo");
        assert_eq!(pairs.render(), "id    v1\ntext  one\n\n      two\n");
    }

    #[test]
    fn nothing_reaches_a_terminal_that_it_would_act_on() {
        assert_eq!(clean("a\u{1b}[2J\nb\u{202e}c"), "a\u{fffd}[2J b\u{fffd}c");
        assert_eq!(clean_lines("a\r\nb\tc\u{7}"), "a\u{fffd}\nb\tc\u{fffd}");
    }

    #[test]
    fn times_are_shown_to_the_second_in_utc() {
        assert_eq!(time(&json!("2025-11-20T23:33:01.123Z")), "2025-11-20 23:33:01Z");
        assert_eq!(time(&json!("2025-11-20T23:33:01+02:00")), "2025-11-20 21:33:01Z");
        assert_eq!(time(&json!(0)), "1970-01-01 00:00:00Z");
        assert_eq!(time(&json!("last spring")), "last spring");
        assert_eq!(time(&Json::Null), "");
    }

    #[test]
    fn long_things_are_cut_where_they_say_most() {
        assert_eq!(short_id(&format!("v{}", "0".repeat(64))), format!("v{}", "0".repeat(19)));
        assert_eq!(short_end("did:key:z6MkabcdefGHIJKLMN"), "…GHIJKLMN");
        assert_eq!(short_end("short"), "short");
        assert_eq!(cut("one two three", 9), "one two…");
        assert_eq!(cut("one", 3), "one");
    }
}
