//! Lists that come in pages.

use clap::Args;
use serde_json::Value as Json;

use super::exit::Failure;
use super::output::Shown;
use crate::client::{Answer, Client};

/// Items that a list fetches in all; what a person can still look at is far less.
const MOST_LISTED: usize = 100_000;
/// Items that one request for a whole list asks for, the most that the API gives.
const PAGE: u16 = 500;

/// Which of them.
#[derive(Debug, Args)]
pub(super) struct Page {
    /// How many at most, from 1 to 500 [default: 50]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: Option<u16>,
    /// Where the list before ended
    #[arg(long)]
    cursor: Option<String>,
    /// Not one page but all of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// A page of a list, or all of it.
pub(super) struct Listed {
    /// The first page.
    answer: Answer,
    items: Vec<Json>,
    all: bool,
}

impl Page {
    /// All pages, from the first.
    pub(super) const ALL: Self = Self { limit: None, cursor: None, all: true };

    /// Asks for it. `narrow` says by what a list that is too long can be made shorter.
    pub(super) fn fetch(
        self,
        client: &Client,
        path: &str,
        mut query: Vec<(&str, String)>,
        narrow: &str,
    ) -> Result<Listed, Failure> {
        let Self { limit, cursor, all } = self;
        let limit = if all { Some(PAGE) } else { limit };
        query.extend(limit.map(|limit| ("limit", limit.to_string())));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let answer = client.get(path, &query)?;
        let mut items = answer.items().to_vec();
        let mut next = next(&answer).filter(|_| all);
        while let Some(cursor) = next {
            if items.len() >= MOST_LISTED {
                return Err(Failure::Usage(format!(
                    "there are more than {MOST_LISTED}: narrow the list with {narrow}, or go on \
                     from --cursor {cursor}"
                )));
            }
            query.retain(|(name, _)| *name != "cursor");
            query.push(("cursor", cursor.clone()));
            let page = client.get(path, &query)?;
            items.extend_from_slice(page.items());
            next = self::next(&page);
            if next.as_ref() == Some(&cursor) {
                let error = format!("the list does not go on after --cursor {cursor}");
                return Err(anyhow::Error::msg(error).into());
            }
        }
        Ok(Listed { answer, items, all })
    }
}

fn next(answer: &Answer) -> Option<String> {
    answer.json()["next"].as_str().map(str::to_owned)
}

impl Listed {
    pub(super) fn items(&self) -> &[Json] {
        &self.items
    }

    /// What the first page says beside its items.
    pub(super) fn json(&self) -> &Json {
        self.answer.json()
    }

    /// Where the list goes on, unless this is all of it.
    fn next(&self) -> Option<String> {
        next(&self.answer).filter(|_| !self.all)
    }

    /// As it is shown, with these notes, and last with where it goes on.
    pub(super) fn shown(self, people: String, notes: impl FnOnce(Shown) -> Shown) -> Shown {
        if let Some(next) = self.next() {
            let shown = notes(Shown::answer(&self.answer, people));
            return shown.note(format!("there are more: --cursor {next}, or --all"));
        }
        let mut whole = self.answer.json().clone();
        whole["items"] = Json::Array(self.items);
        whole["next"] = Json::Null;
        notes(Shown::value(&whole, people))
    }
}
