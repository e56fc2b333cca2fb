//! The nearest thing that exists to what was written.

use super::key::Key;
use super::table::KEYS;

/// How alike two names must be, from 0 to 1, for one to be suggested for the other.
const ALIKE: f64 = 0.6;

/// The nearest of the known names, if any is near: the shortest that goes on where this one ends, else
/// the one that is most like it.
pub(crate) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let known: Vec<String> = known.collect();
    let goes_on =
        |known: &&String| !name.is_empty() && known.trim_matches(['[', ']']).starts_with(name);
    if let Some(longer) = known.iter().filter(goes_on).min_by_key(|known| known.len()) {
        return Some(longer.clone());
    }
    known
        .into_iter()
        .map(|known| {
            (strsim::normalized_damerau_levenshtein(name, known.trim_matches(['[', ']'])), known)
        })
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// The key meant by a name: of the same name in another section, else the nearest.
pub(crate) fn nearest_key(name: &str) -> Option<&'static Key> {
    let field = name.rsplit('.').next().unwrap_or(name);
    KEYS.iter().find(|key| key.field == field).or_else(|| {
        let near = nearest(name, KEYS.iter().map(Key::name))
            .or_else(|| nearest(field, KEYS.iter().map(|key| key.field.to_owned())))?;
        KEYS.iter().find(|key| key.name() == near || key.field == near)
    })
}
