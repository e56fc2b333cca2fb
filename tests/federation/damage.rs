//! A damaged store is noticed when the node starts, and nothing damaged is ever served.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocm::handle::Status;
use ocm::runtime::NodeFlags;
use ocm::store::{OpenOptions, Store, Unobserved};
use ocm_node::layout::SpaceNumber;
use ocm_node::storage::Batch;
use ocm_node::{Event, layout};
use ocm_record::{MemoryId, RecordId, Set, SpaceId};
use serde_json::json;

use crate::node::{Place, READ_OPEN, TestNode, Transport};

const MEMORIES: usize = 200;
const ACCEPT: NodeFlags = NodeFlags { accept_loss: true };

fn data_file(place: &Path) -> PathBuf {
    place.join("store/sled/db")
}

fn flip(file: &Path, at: u64, bit: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, at).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Another place with the same files.
fn twin(place: &Place) -> Place {
    let twin = Place::new(Transport::Tcp, &[("network.enable_network_calls", "false")]);
    copy(place.path(), twin.path());
    twin
}

/// A stopped node with memories in one space, opened once more so that the store has a snapshot.
async fn filled() -> (Place, SpaceId, Vec<MemoryId>) {
    let node = TestNode::start(Transport::Tcp, &[]).await;
    let space = node.create_space("archive", READ_OPEN).await;
    let memories = node.write_many(space, 0..MEMORIES).await;
    let place = node.restart(&[]).await.stop().await;
    (place, space, memories)
}

/// Starts the node on damaged files: it says what is wrong and what to do, or nothing is missing.
/// Returns whether it started.
async fn judge(place: &Place, space: SpaceId, memories: &[MemoryId], what: &str) -> bool {
    match place.try_start(&[], NodeFlags::default()).await {
        Err(cause) => {
            let remedies = ["--accept-loss", "move that file away"];
            assert!(remedies.iter().any(|remedy| cause.contains(remedy)), "{what}: {cause}");
            false
        }
        Ok(node) => {
            assert_eq!(node.count(space), memories.len() as u64, "{what}");
            for (n, memory) in memories.iter().enumerate() {
                assert_eq!(node.content(space, *memory)["n"], json!(n), "{what}");
            }
            node.stop().await;
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_store_is_noticed() {
    let (place, space, memories) = filled().await;
    let length = fs::metadata(data_file(place.path())).unwrap().len();
    let mut refused = 0;
    for tenth in 0..10 {
        let cut = twin(&place);
        let file = fs::OpenOptions::new().write(true).open(data_file(cut.path())).unwrap();
        file.set_len(length * tenth / 10).unwrap();
        let started = judge(&cut, space, &memories, &format!("cut to {tenth}0 %")).await;
        refused += u32::from(!started);
    }
    // The engine takes space ahead of what it writes.
    assert!(refused >= 4, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_noticed() {
    let (place, space, memories) = filled().await;
    let length = fs::metadata(data_file(place.path())).unwrap().len();
    let mut refused = 0;
    for step in 0..24 {
        let damaged = twin(&place);
        let at = (length - 1) * step / 23;
        flip(&data_file(damaged.path()), at, step);
        let what = format!("bit flipped at {at} of {length}");
        refused += u32::from(!judge(&damaged, space, &memories, &what).await);
    }
    assert!(refused > 0, "no flip hit anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_comes_back_from_a_peer() {
    let (place, space, memories) = filled().await;
    let peer = TestNode::start(Transport::Tcp, &[]).await;
    let whole = place.start(&[&peer]).await;
    peer.join(space).await;
    peer.until_content(space, MEMORIES as u64).await;
    let place = whole.stop().await;
    let file = fs::OpenOptions::new().write(true).open(data_file(place.path())).unwrap();
    file.set_len(0).unwrap();
    let Err(cause) = place.try_start(&[&peer], NodeFlags::default()).await else {
        panic!("an empty store is taken for a whole one");
    };
    assert!(cause.contains("--accept-loss"), "{cause}");
    let node = place.try_start(&[&peer], ACCEPT).await.unwrap();
    // Nothing says any more which spaces it had.
    node.join(space).await;
    node.until_content(space, MEMORIES as u64).await;
    node.until_equal(space, 1).await;
    for (n, memory) in memories.iter().enumerate() {
        assert_eq!(node.content(space, *memory)["n"], json!(n));
    }
    // It is a node like any other again.
    let node = node.restart(&[&peer]).await;
    assert_eq!(node.count(space), MEMORIES as u64);
}

/// Changes one bit of stored values under the engine's checksums, as bad memory would.
fn alter(place: &Place, keys: &[Vec<u8>]) {
    let db = sled::open(place.path().join("store/sled")).unwrap();
    for key in keys {
        let mut value = db.get(key).unwrap().unwrap().to_vec();
        // Inside the signature, or the body behind it: the form stays.
        let at = value.len() - 60;
        value[at] ^= 4;
        db.insert(key.as_slice(), value).unwrap();
    }
    db.flush().unwrap();
}

/// Two records are altered, one of each set. The node says so when it starts; when told to go on
/// all the same it serves the rest, and gets the two again from whoever has them.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_not_served_and_comes_again() {
    let (place, space, memories) = filled().await;
    let whole = TestNode::start(Transport::Tcp, &[]).await;
    let node = place.start(&[&whole]).await;
    whole.join(space).await;
    node.grant(space, whole.did(), ocm_space::Role::Writer).await;
    whole.until_content(space, MEMORIES as u64).await;
    whole.until_equal(space, 1).await;
    let number = node.space(space).number;
    let grant = node.space(space).state.members();
    assert_eq!(grant.len(), 2);
    let parity = node.space(space).parity;
    let authority = {
        let (from, to) = layout::records(number, Set::Authority);
        let found = node.handle().reader().scan(&from, &to, 10).unwrap();
        found.last().map(|(key, _)| key.clone()).unwrap()
    };
    let place = node.stop().await;
    // It is not to meet the whole one again before that is asked for.
    fs::remove_file(place.path().join("peers.json")).unwrap();
    let content: RecordId = memories[17].0;
    alter(&place, &[authority, layout::record(number, Set::Content, &content)]);

    let Err(cause) = place.try_start(&[], NodeFlags::default()).await else {
        panic!("altered records are taken for whole ones");
    };
    assert!(cause.contains("--accept-loss"), "{cause}");

    let node = place.try_start(&[], ACCEPT).await.unwrap();
    node.until("listens", |status| !status.network.listen.is_empty()).await;
    assert_eq!(node.space(space).state.members().len(), 1, "a damaged grant grants nothing");
    let without =
        |status: &Status| status.core.spaces.iter().any(|s| s.parity.authority.count == 1);
    node.until("leaves the damaged grant out", without).await;
    let mut feed = node.handle().feed();
    let late = TestNode::start(Transport::Tcp, &[&node]).await;
    late.join(space).await;
    late.until_content(space, MEMORIES as u64 - 1).await;
    late.until_equal(space, 1).await;
    assert_eq!(late.handle().status().core.refused, [], "nothing damaged was served");
    assert!(late.stored(space, Set::Content, &content).is_none());
    let damaged = async {
        while !matches!(feed.recv().await.unwrap().event, Event::Damaged { id } if id == content) {}
    };
    tokio::time::timeout(crate::node::PATIENCE, damaged).await.unwrap();

    // Whoever has them gives them back.
    let command = ocm::handle::NetworkCommand::Connect(whole.address());
    node.network(command).await;
    node.until_content(space, MEMORIES as u64).await;
    node.until_equal(space, 1).await;
    late.until_content(space, MEMORIES as u64).await;
    for node in [&node, &late] {
        assert_eq!(node.space(space).parity, parity);
        assert_eq!(node.content(space, memories[17])["n"], json!(17));
        assert_eq!(node.space(space).tallies.equivocations, 0);
    }
    let node = node.restart(&[]).await;
    assert_eq!(node.space(space).parity, parity);
}

/// Takes nodes of the content's tree away, as if they had not been written.
async fn lose_nodes(place: &Place, space: SpaceNumber, numbers: std::ops::Range<u64>) {
    let directory = place.path().join("store");
    let opened = Store::open(&directory, OpenOptions::default(), Arc::new(Unobserved)).unwrap();
    let (to, mut acks) = tokio::sync::mpsc::unbounded_channel();
    let mut batch = Batch::new();
    numbers.for_each(|number| batch.delete(layout::set_node(space, Set::Content, number)));
    opened.store.submit(1, batch, &to).unwrap();
    acks.recv().await.unwrap().result.unwrap();
    opened.store.close().unwrap();
}

/// Who meets a damaged set ends, and has it again when it starts the next time.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_found_damaged_while_running_is_made_again_at_the_next_start() {
    let (place, space, _) = filled().await;
    let node = place.start(&[]).await;
    let (number, parity) = (node.space(space).number, node.space(space).parity);
    let place = node.stop().await;
    // The first leaf: nothing at the start leads there.
    lose_nodes(&place, number, 0..1).await;
    let node = place.start(&[]).await;
    node.until("listens", |status| !status.network.listen.is_empty()).await;
    let peer = TestNode::start(Transport::Tcp, &[&node]).await;
    peer.join(space).await;
    let (place, cause) = node.ended().await;
    assert!(cause.contains("set of space") && cause.contains("restart the node"), "{cause}");
    let node = place.start(&[&peer]).await;
    assert_eq!(node.space(space).parity, parity);
    peer.until_content(space, MEMORIES as u64).await;
    peer.until_equal(space, 1).await;
    assert_eq!(peer.space(space).parity, parity);
}

/// Who meets one when it starts has it again at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_found_damaged_at_the_start_is_made_again() {
    let (place, space, memories) = filled().await;
    let node = place.start(&[]).await;
    let (number, parity) = (node.space(space).number, node.space(space).parity);
    let place = node.stop().await;
    lose_nodes(&place, number, 0..100).await;
    let node = place.start(&[]).await;
    assert_eq!(node.space(space).parity, parity);
    node.write(space, &json!({"n": MEMORIES})).await.unwrap();
    assert_eq!(node.count(space), memories.len() as u64 + 1);
}
