//! What is written into a memory: from flags, from a file, from standard input.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value as Json};

use crate::cli::exit::Failure;

/// Bytes of the largest content: what the API takes.
const LARGEST: u64 = 1024 * 1024;

type Object = Map<String, Json>;

/// The fields that most memories have.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Content")]
pub(super) struct Fields {
    /// The title
    #[arg(long)]
    title: Option<String>,
    /// The text; collaborative: concurrent edits are merged
    #[arg(long)]
    text: Option<String>,
    /// What kind of memory it is
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// When it happened, as 2026-01-31T09:30:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// A tag; once for each, and all of them replace those there were
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// The name of the place
    #[arg(long, value_name = "NAME")]
    place_name: Option<String>,
    /// The latitude of the place, in degrees
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, value_parser = latitude)]
    lat: Option<f64>,
    /// The longitude of the place, in degrees
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, value_parser = longitude)]
    lon: Option<f64>,
    /// Anything more, as JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    data: Option<Json>,
}

/// The content of a new memory.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct New {
    #[command(flatten)]
    fields: Fields,
    /// The content as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object, conflicts_with = "file")]
    content: Option<Object>,
    /// A file that holds the content as a JSON object; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What is to change in a memory.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct Changes {
    #[command(flatten)]
    fields: Fields,
    /// A JSON merge patch: the JSON itself, a file, or - for standard input
    #[arg(long, value_name = "JSON|FILE|-")]
    patch: Option<String>,
    /// Remove a key; dots lead into objects, as place.lat
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
}

impl New {
    /// The content: what --content or --file gives, and the flags laid over it.
    pub(super) fn content(self, input: &mut dyn Read) -> Result<Object, Failure> {
        let base = match (self.content, self.file) {
            (Some(content), _) => Some(content),
            (None, Some(path)) => Some(read(&path.to_string_lossy(), input)?),
            (None, None) => None,
        };
        let given = base.is_some();
        let mut content = base.unwrap_or_default();
        self.fields.lay_over(&mut content);
        if content.is_empty() && !given {
            return Err(Failure::Usage(
                "there is nothing to write: give --title, --text or other flags, --content JSON, \
                 or --file FILE (- for standard input)"
                    .into(),
            ));
        }
        Ok(content)
    }
}

impl Changes {
    /// The merge patch: what --patch gives, the flags laid over it, and null for each --unset.
    pub(super) fn patch(self, input: &mut dyn Read) -> Result<Object, Failure> {
        let mut patch = match self.patch.as_deref() {
            None => Object::new(),
            Some(text) if text.trim_start().starts_with('{') => {
                object(text).map_err(|why| Failure::Usage(format!("--patch is no patch: {why}")))?
            }
            Some(path) => read(path, input)?,
        };
        let given = self.patch.is_some();
        self.fields.lay_over(&mut patch);
        for key in &self.unset {
            unset(&mut patch, key)?;
        }
        if patch.is_empty() && !given {
            return Err(Failure::Usage(
                "there is nothing to change: give --title, --text or other flags, --unset KEY, \
                 or --patch JSON"
                    .into(),
            ));
        }
        Ok(patch)
    }
}

impl Fields {
    fn lay_over(self, content: &mut Object) {
        let texts =
            [("title", self.title), ("text", self.text), ("type", self.r#type), ("at", self.at)];
        for (key, text) in texts {
            content.extend(text.map(|text| (key.to_owned(), Json::String(text))));
        }
        if !self.tags.is_empty() {
            content.insert("tags".into(), self.tags.into());
        }
        content.extend(self.data.map(|data| ("data".to_owned(), data)));
        let place = [
            ("name", self.place_name.map(Json::from)),
            ("lat", self.lat.map(Json::from)),
            ("lon", self.lon.map(Json::from)),
        ];
        for (key, value) in place {
            if let Some(value) = value {
                within(content, "place", |place| place.insert(key.into(), value));
            }
        }
    }
}

/// Works on the object under a key; whatever else is there gives way to one.
fn within<T>(object: &mut Object, key: &str, work: impl FnOnce(&mut Object) -> T) -> T {
    let mut inner = match object.remove(key) {
        Some(Json::Object(inner)) => inner,
        _ => Object::new(),
    };
    let result = work(&mut inner);
    object.insert(key.to_owned(), Json::Object(inner));
    result
}

fn unset(patch: &mut Object, key: &str) -> Result<(), Failure> {
    if key.split('.').any(str::is_empty) {
        return Err(Failure::Usage(format!("--unset {key:?} is no key: write title or place.lat")));
    }
    match key.split_once('.') {
        Some((first, rest)) => within(patch, first, |inner| unset(inner, rest)),
        None => {
            patch.insert(key.to_owned(), Json::Null);
            Ok(())
        }
    }
}

/// The object in a file, or in standard input.
fn read(path: &str, input: &mut dyn Read) -> Result<Object, Failure> {
    let (mut text, name) = (String::new(), if path == "-" { "standard input" } else { path });
    let wrong = |why: String| Failure::Usage(format!("cannot take the content from {name}: {why}"));
    let result = if path == "-" {
        input.take(LARGEST + 1).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text))
    };
    result.map_err(|why| wrong(why.to_string()))?;
    if text.len() as u64 > LARGEST {
        return Err(wrong(format!("it has more than {LARGEST} bytes, the most that is taken")));
    }
    object(&text).map_err(wrong)
}

fn json(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|why| format!("not JSON: {why}"))
}

fn object(text: &str) -> Result<Object, String> {
    match json(text)? {
        Json::Object(object) => Ok(object),
        _ => Err("not a JSON object, as {\"title\": \"…\"}".into()),
    }
}

fn latitude(text: &str) -> Result<f64, String> {
    degrees(text, 90.0)
}

fn longitude(text: &str) -> Result<f64, String> {
    degrees(text, 180.0)
}

fn degrees(text: &str, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(degrees) if (-most..=most).contains(&degrees) => Ok(degrees),
        _ => Err(format!("expected degrees from -{most} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Add {
        #[command(flatten)]
        new: New,
    }

    #[derive(Parser)]
    struct Change {
        #[command(flatten)]
        changes: Changes,
    }

    fn content(args: &[&str], input: &str) -> Result<Json, String> {
        let add = Add::try_parse_from(["add"].iter().chain(args)).map_err(|e| e.to_string())?;
        add.new.content(&mut input.as_bytes()).map(Json::Object).map_err(|e| e.to_string())
    }

    fn patch(args: &[&str], input: &str) -> Result<Json, String> {
        let edit =
            Change::try_parse_from(["edit"].iter().chain(args)).map_err(|e| e.to_string())?;
        edit.changes.patch(&mut input.as_bytes()).map(Json::Object).map_err(|e| e.to_string())
    }

    #[test]
    fn flags_make_a_content() {
        let args = [
            "--title",
            "Well 7",
            "--text",
            "low",
            "--type",
            "reading",
            "--at",
            "2026",
            "--tag",
            "a",
            "--tag",
            "b",
            "--place-name",
            "Ford",
            "--lat",
            "-3.25",
            "--lon",
            "170",
            "--data",
            "[1, null]",
        ];
        let made = json!({
            "title": "Well 7", "text": "low", "type": "reading", "at": "2026", "tags": ["a", "b"],
            "place": {"name": "Ford", "lat": -3.25, "lon": 170.0}, "data": [1, null],
        });
        assert_eq!(content(&args, "").unwrap(), made);
    }

    #[test]
    fn flags_are_laid_over_a_file_standard_input_or_content() {
        let base =
            r#"{"title": "old", "tags": ["x", "y"], "place": {"name": "Ford", "lat": 1}, "n": 1}"#;
        let flags = ["--title", "new", "--tag", "z", "--lat", "2"];
        let made = json!({
            "title": "new", "tags": ["z"], "place": {"name": "Ford", "lat": 2.0}, "n": 1,
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), base).unwrap();
        let from = |source: [&str; 2], input: &str| {
            content(&[&source[..], &flags[..]].concat(), input).unwrap()
        };
        assert_eq!(from(["--content", base], ""), made);
        assert_eq!(from(["--file", "-"], base), made);
        assert_eq!(from(["--file", file.path().to_str().unwrap()], ""), made);
    }

    #[test]
    fn what_cannot_be_written_is_told() {
        for (args, input, told) in [
            (&[][..], "", "nothing to write"),
            (&["--file", "-"], "[1]", "standard input: not a JSON object"),
            (&["--file", "-"], "{", "standard input: not JSON"),
            (&["--file", "/none/there"], "", "/none/there"),
            (&["--content", "1"], "", "not a JSON object"),
            (&["--data", "{"], "", "not JSON"),
            (&["--lat", "90.1"], "", "from -90 to 90"),
            (&["--lon", "NaN"], "", "from -180 to 180"),
            (&["--content", "{}", "--file", "-"], "", "cannot be used with"),
        ] {
            let error = content(args, input).unwrap_err();
            assert!(error.contains(told), "{args:?}: {error}");
        }
        let large = format!("{{\"text\": \"{}\"}}", "x".repeat(1024 * 1024));
        assert!(content(&["--file", "-"], &large).unwrap_err().contains("1048576 bytes"));
        assert_eq!(content(&["--content", "{}"], "").unwrap(), json!({}));
    }

    #[test]
    fn an_edit_is_a_merge_patch() {
        assert_eq!(
            patch(&["--title", "new", "--unset", "data", "--unset", "place.lat"], "").unwrap(),
            json!({"title": "new", "data": null, "place": {"lat": null}})
        );
        let from = r#" {"title": "old", "place": {"name": "Ford"}}"#;
        let made = json!({"title": "new", "place": {"name": "Ford", "lat": null}});
        let flags = ["--title", "new", "--unset", "place.lat"];
        assert_eq!(patch(&[&["--patch", from], &flags[..]].concat(), "").unwrap(), made);
        assert_eq!(patch(&[&["--patch", "-"], &flags[..]].concat(), from).unwrap(), made);
        assert_eq!(patch(&["--patch", "{}"], "").unwrap(), json!({}));
        assert!(patch(&[], "").unwrap_err().contains("nothing to change"));
        assert!(patch(&["--unset", "a..b"], "").unwrap_err().contains("is no key"));
        assert!(patch(&["--patch", "{x"], "").unwrap_err().contains("not JSON"));
    }
}
