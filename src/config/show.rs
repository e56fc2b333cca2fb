//! Every effective value and where it came from, as text and as JSON.

use serde_json::{Value as Json, json};

use super::Loaded;
use super::table::KEYS;

/// Every key with its value, one `key = value` on a line, in the order of the table. With `origin`,
/// each line ends in a comment that says where the value came from. An optional key that is not set
/// is a comment; a secret shows only that it is set.
#[must_use]
pub fn render_show(loaded: &Loaded, origin: bool) -> String {
    let lines: Vec<(String, String)> = KEYS
        .iter()
        .map(|key| {
            let line = match key.value(&loaded.config) {
                Json::Null => format!("# {} is not set", key.name()),
                value => format!("{} = {}", key.name(), toml_literal(&value)),
            };
            (line, loaded.origin(key).to_string())
        })
        .collect();
    let widest = lines.iter().map(|(line, _)| line.chars().count()).filter(|n| *n <= 60).max();
    let width = widest.unwrap_or(0);
    let mut text = String::new();
    for (line, from) in lines {
        if origin {
            text.push_str(&format!("{line:width$}  # {from}\n"));
        } else {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// The same as `{"items": […], "next": null}`, each item `{key, value, origin: {source, detail},
/// env, unit, reloadable, secret}`; the value of a secret is `"(set)"` or null.
#[must_use]
pub fn show_json(loaded: &Loaded) -> Json {
    let items: Vec<Json> = KEYS
        .iter()
        .map(|key| {
            let origin = loaded.origin(key);
            json!({
                "key": key.name(),
                "value": key.value(&loaded.config),
                "origin": { "source": origin.source(), "detail": origin.detail() },
                "env": key.env,
                "unit": if key.unit.is_empty() { Json::Null } else { key.unit.into() },
                "reloadable": key.reloadable,
                "secret": key.secret,
            })
        })
        .collect();
    json!({ "items": items, "next": null })
}

/// A shown value as TOML writes it.
pub(crate) fn toml_literal(value: &Json) -> String {
    match value {
        Json::String(text) => toml::Value::String(text.clone()).to_string(),
        Json::Array(items) => {
            format!("[{}]", items.iter().map(toml_literal).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
