//! Views over the core itself and a store in memory.

mod damage;
mod edits;
mod find;
mod foreign;
mod lists;

use ocm_record::{Kind, RecordId, SignedRecord};
use serde_json::json;

use super::harness::Harness;
use super::*;

async fn list(views: &Views, filter: Filter) -> Vec<Item> {
    views.list(Filter { limit: 100, ..filter }).await.unwrap().items
}

fn titles(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.row.summary.title.as_deref().unwrap_or("-")).collect()
}

/// The grant that a node holds.
fn grant(node: &Harness) -> RecordId {
    let records = node.shelf.records();
    let mut records = records.iter().map(|bytes| SignedRecord::decode(bytes).unwrap());
    records.find(|record| record.kind() == Kind::GRANT).unwrap().id()
}
