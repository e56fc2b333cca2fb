//! Views over the core itself and a store in memory.

mod damage;
mod edits;
mod find;
mod foreign;
mod lists;

use serde_json::json;

use super::harness::Harness;
use super::*;

async fn list(views: &Views, filter: Filter) -> Vec<Item> {
    views.list(Filter { limit: 100, ..filter }).await.unwrap().items
}

fn titles(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.row.summary.title.as_deref().unwrap_or("-")).collect()
}
