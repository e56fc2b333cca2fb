//! What a list shows of a memory.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Characters of a short field (type, time, place, tag) that are kept.
const WORD: usize = 64;
/// Characters of the title that are kept.
const TITLE: usize = 200;
/// Characters of the text that are kept.
const EXCERPT: usize = 280;
/// Tags that are kept.
const TAGS: usize = 32;

/// What a list shows of a memory whose content follows the convention `{type, title, text, at,
/// place: {name, lat, lon}, tags, …}`. Everything is optional; a field of another type counts as
/// absent. Long texts are cut (title 200 characters, text 280, others 64), and of tags 32 are
/// kept, since content may come from anyone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// What kind of memory it is.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The beginning of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When it happened, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Its tags, those that are strings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Where something happened.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Latitude in degrees, from -90 to 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    /// Longitude in degrees, from -180 to 180.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lon: Option<f64>,
}

impl Summary {
    /// The summary of a content.
    #[must_use]
    pub fn of(content: &Value) -> Self {
        let tags = content.get("tags").and_then(Value::as_array);
        Self {
            kind: text(content, "type", WORD),
            title: text(content, "title", TITLE),
            text: text(content, "text", EXCERPT),
            at: text(content, "at", WORD),
            place: content.get("place").and_then(Place::of),
            tags: tags
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .take(TAGS)
                .map(|tag| cut(tag, WORD))
                .collect(),
        }
    }
}

impl Place {
    /// A name, or an object that tells something.
    fn of(place: &Value) -> Option<Self> {
        let degrees = |key: &str, most: f64| {
            place.get(key).and_then(Value::as_f64).filter(|degrees| degrees.abs() <= most)
        };
        let found = Self {
            name: place.as_str().map(|name| cut(name, WORD)).or_else(|| text(place, "name", WORD)),
            lat: degrees("lat", 90.0),
            lon: degrees("lon", 180.0),
        };
        (found != Self::default()).then_some(found)
    }
}

fn text(object: &Value, key: &str, most: usize) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(|text| cut(text, most))
}

/// The text, or its beginning and an ellipsis.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_conventional_memory() {
        let content = json!({
            "type": "event", "title": "Well dug", "text": "By hand.", "at": "2024-05-01",
            "place": {"name": "North", "lat": 1.5, "lon": -20}, "tags": ["water", "work"],
            "data": {"depth": 12}
        });
        let summary = Summary::of(&content);
        assert_eq!(summary.kind.as_deref(), Some("event"));
        let shown = serde_json::to_value(&summary).unwrap();
        let mut expected = content;
        expected.as_object_mut().unwrap().remove("data");
        expected["place"]["lon"] = json!(-20.0);
        assert_eq!(shown, expected);
    }

    #[test]
    fn wrong_types_count_as_absent() {
        for content in [
            json!(null),
            json!([]),
            json!({}),
            json!({"type": 1, "title": ["x"], "text": {}, "at": 5, "place": 7, "tags": "a"}),
            json!({"place": {"name": 1, "lat": "2", "lon": 181}, "tags": [1, null]}),
        ] {
            assert_eq!(Summary::of(&content), Summary::default(), "{content}");
        }
        assert_eq!(Summary::of(&json!({"tags": [1, "a"]})).tags, ["a"]);
        let place = Summary::of(&json!({"place": "Here"})).place.unwrap();
        assert_eq!(place.name.as_deref(), Some("Here"));
    }

    #[test]
    fn long_values_are_cut_at_characters() {
        let long = "é".repeat(1000);
        let summary = Summary::of(&json!({"title": long, "text": long, "tags": vec![long; 99]}));
        assert_eq!(summary.title.unwrap().chars().count(), TITLE);
        assert!(summary.text.unwrap().ends_with("é…"));
        assert_eq!((summary.tags.len(), summary.tags[0].chars().count()), (TAGS, WORD));
    }
}
