//! Who comes late gets everything, in as many pages as it takes.

use serde_json::json;

use crate::node::{READ_OPEN, TestNode, Transport};

const MEMORIES: usize = 1_500;
const EDITS: usize = 30;

over_both!(a_late_joiner_gets_all_history);

/// The author of it all is gone when the late joiner comes.
async fn a_late_joiner_gets_all_history(transport: Transport) {
    let a = TestNode::start(transport, &[]).await;
    let space = a.create_space("archive", READ_OPEN).await;
    let memories = a.write_many(space, 0..MEMORIES).await;
    let edited: Vec<_> = memories.iter().step_by(MEMORIES / EDITS).copied().collect();
    for memory in &edited {
        a.patch(space, *memory, &json!({"edited": true})).await;
    }
    let total = (MEMORIES + EDITS) as u64;
    assert_eq!(a.count(space), total);

    let b = TestNode::start(transport, &[&a]).await;
    b.join(space).await;
    b.until_content(space, total).await;
    b.until_equal(space, 1).await;
    let parity = a.space(space).parity;
    a.stop().await;

    let c = TestNode::start(transport, &[&b]).await;
    c.join(space).await;
    c.until_content(space, total).await;
    c.until_equal(space, 1).await;
    assert_eq!(c.space(space).parity, parity);
    for (n, memory) in memories.iter().enumerate().step_by(7) {
        let content = c.content(space, *memory);
        assert_eq!(content["n"], json!(n));
        assert_eq!(content.get("edited").is_some(), edited.contains(memory));
    }
}
