//! The two ordered sets of each space, kept in the store beside the records.
//!
//! A set is a head (root of its tree of sums, and LtHash) and the tree's nodes. Nobody writes them
//! by hand: they follow the keys of records. Whatever writes to a store passes its writes through
//! [`follow`], and writes what that adds in the same atomic batch, so that a set and its records
//! are never apart. Reading needs nothing in memory but the nodes on the way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ocm_record::{RecordId, Set};
use ocm_sync::{Changes, Node, NodeNumber, Nodes, Root, SetDigest, SetHash, Sum, Tree, Update};

use crate::layout::{self, SpaceNumber};
use crate::storage::{Key, ReadError, Reader, Value};

/// Writes of a batch: key and new value, or `None` to delete it.
pub type Writes = Vec<(Key, Option<Value>)>;

/// Records that one batch of a rebuild counts, or nodes that it removes.
const REBUILD_ENTRIES: usize = 512;

/// The head of a set: 66 bytes of the tree's root, and 2,048 of lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) root: Root,
    pub(crate) hash: SetHash,
}

impl Head {
    pub(crate) fn empty() -> Self {
        Self { root: Root::EMPTY, hash: SetHash::new() }
    }

    /// The head of a set; the empty one of a set that has none.
    pub(crate) fn read(
        store: &dyn Reader,
        space: SpaceNumber,
        set: Set,
    ) -> Result<Self, ReadError> {
        let bytes = match store.get(&layout::set_head(space, set)) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Self::empty()),
            Err(ReadError::Corrupt(cause)) => return Err(ReadError::Set { space, set, cause }),
            Err(error) => return Err(error),
        };
        Self::decode(&bytes).ok_or_else(|| ReadError::Set {
            space,
            set,
            cause: "its head is damaged".into(),
        })
    }

    pub(crate) fn digest(&self) -> SetDigest {
        SetDigest { count: self.root.sum.count, digest: self.hash.digest() }
    }

    fn encode(&self) -> Vec<u8> {
        let Root { node, levels, next, sum } = self.root;
        let mut bytes = vec![u8::from(node.is_some()), levels];
        for number in [node.unwrap_or_default(), next, sum.count] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&sum.sum);
        bytes.extend_from_slice(&self.hash.to_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let ([is_some, levels], rest) = bytes.split_first_chunk()?;
        let (numbers, rest) = rest.split_first_chunk::<24>()?;
        let (sum, lanes) = rest.split_first_chunk::<40>()?;
        let [node, next, count] = numbers.as_chunks::<8>().0 else { return None };
        let sum = Sum { count: u64::from_be_bytes(*count), sum: *sum };
        let node = (*is_some == 1).then(|| u64::from_be_bytes(*node));
        let root = Root { node, levels: *levels, next: u64::from_be_bytes(*next), sum };
        Some(Self { root, hash: SetHash::from_bytes(lanes).ok()? })
    }
}

/// Nodes that a reading of a set keeps, at most: some 3 MiB.
const KEPT_NODES: usize = 1024;

/// The nodes of one set's tree in the store. Those that were read are kept as long as this is: one
/// question to a set goes through its upper nodes again and again.
pub struct StoredNodes<'a> {
    store: &'a dyn Reader,
    space: SpaceNumber,
    set: Set,
    kept: RefCell<BTreeMap<NodeNumber, Arc<Node>>>,
}

impl<'a> StoredNodes<'a> {
    fn new(store: &'a dyn Reader, space: SpaceNumber, set: Set) -> Self {
        Self { store, space, set, kept: RefCell::default() }
    }

    fn damaged(&self, cause: String) -> ReadError {
        ReadError::Set { space: self.space, set: self.set, cause }
    }
}

impl Nodes for StoredNodes<'_> {
    type Error = ReadError;

    fn node(&self, number: NodeNumber) -> Result<Arc<Node>, ReadError> {
        if let Some(node) = self.kept.borrow().get(&number) {
            return Ok(node.clone());
        }
        let bytes = match self.store.get(&layout::set_node(self.space, self.set, number)) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(self.damaged(format!("node {number} is missing"))),
            Err(ReadError::Corrupt(cause)) => {
                return Err(self.damaged(format!("node {number}: {cause}")));
            }
            Err(error) => return Err(error),
        };
        let node = Node::decode(&bytes).map(Arc::new).ok_or_else(|| self.misfit(number))?;
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT_NODES {
            kept.clear();
        }
        kept.insert(number, node.clone());
        Ok(node)
    }

    fn misfit(&self, number: NodeNumber) -> ReadError {
        self.damaged(format!("node {number} does not fit its place"))
    }
}

/// A set, as stored.
pub type StoredSet<'a> = Tree<StoredNodes<'a>>;

/// Reads one of the sets of a space, from a store that shows one moment.
///
/// # Errors
/// When the set's head cannot be read.
pub fn open(store: &dyn Reader, space: SpaceNumber, set: Set) -> Result<StoredSet<'_>, ReadError> {
    let (root, nodes) = parts(store, space, set)?;
    Ok(Tree::new(root, nodes))
}

/// The root of a set's tree, and its nodes.
pub(crate) fn parts(
    store: &dyn Reader,
    space: SpaceNumber,
    set: Set,
) -> Result<(Root, StoredNodes<'_>), ReadError> {
    let root = Head::read(store, space, set)?.root;
    Ok((root, StoredNodes::new(store, space, set)))
}

/// What the sets become by these writes: to be written in the same atomic batch, after them. A
/// record's key that is written is in its set from then on, one that is deleted is not; where a key
/// occurs twice, the later write counts.
///
/// Gives with it the change of [`total`]: what is to be added to it.
///
/// # Errors
/// When the sets cannot be read.
pub fn follow(
    writes: &[(Key, Option<Value>)],
    store: &dyn Reader,
) -> Result<(Writes, Sum), ReadError> {
    let mut touched: BTreeMap<(SpaceNumber, Set), BTreeMap<RecordId, bool>> = BTreeMap::new();
    for (key, value) in writes {
        if let Some((space, set, id)) = layout::record_of(key) {
            touched.entry((space, set)).or_default().insert(id, value.is_some());
        }
    }
    let mut out = Writes::new();
    let mut change = Sum::EMPTY;
    for ((space, set), ids) in touched {
        let head = Head::read(store, space, set)?;
        let before = head.root.sum;
        change = change.plus(&update(store, space, set, head, ids, &mut out)?.minus(&before));
    }
    Ok((out, change))
}

/// Inserts and removes ids; appends what is to be written. Gives the sum of the set then.
fn update(
    store: &dyn Reader,
    space: SpaceNumber,
    set: Set,
    mut head: Head,
    ids: impl IntoIterator<Item = (RecordId, bool)>,
    out: &mut Writes,
) -> Result<Sum, ReadError> {
    let mut update = Update::new(head.root, StoredNodes::new(store, space, set));
    for (id, stays) in ids {
        if stays && update.insert(&id)? {
            head.hash.add(&id);
        } else if !stays && update.remove(&id)? {
            head.hash.remove(&id);
        }
    }
    let Changes { root, nodes } = update.finish();
    if root != head.root {
        head.root = root;
        out.push((layout::set_head(space, set), Some(head.encode())));
    }
    out.extend(nodes.into_iter().map(|(number, node)| {
        (layout::set_node(space, set, number), node.map(|node| node.encode()))
    }));
    Ok(root.sum)
}

/// The sum of all sets of all spaces.
///
/// # Errors
/// When the store cannot be read, [`ReadError::Set`] for a damaged head among them.
pub fn total(store: &dyn Reader) -> Result<Sum, ReadError> {
    let mut total = Sum::EMPTY;
    let (from, to) = layout::set_heads();
    for (key, _) in store.scan(&from, &to, usize::MAX)? {
        if let Some((space, set)) = layout::set_of(&key) {
            total = total.plus(&Head::read(store, space, set)?.root.sum);
        }
    }
    Ok(total)
}

/// Makes all sets anew from the keys of the records. Cut short, it leaves a [`total`] that differs
/// from that of the records, and is to be begun again.
///
/// `write` makes a batch durable, and then `store` shows it; it is told how many records have been
/// counted so far.
///
/// # Errors
/// When the records' keys cannot be read, or what `write` returns.
pub fn rebuild<E: From<ReadError>>(
    store: &dyn Reader,
    mut write: impl FnMut(Writes, u64) -> Result<(), E>,
) -> Result<(), E> {
    // The heads first: from here on the total is wrong until the end.
    for (from, to) in [layout::set_heads(), layout::all_set_nodes()] {
        loop {
            let entries = store.scan(&from, &to, REBUILD_ENTRIES)?;
            if entries.is_empty() {
                break;
            }
            write(entries.into_iter().map(|(key, _)| (key, None)).collect(), 0)?;
        }
    }
    let (mut from, to) = layout::all_records();
    let mut counted = 0;
    loop {
        let page: Writes = store
            .scan(&from, &to, REBUILD_ENTRIES)?
            .into_iter()
            .map(|(key, _)| (key, Some(Value::new())))
            .collect();
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = [last.as_slice(), &[0]].concat();
        counted += page.len() as u64;
        write(follow(&page, store)?.0, counted)?;
    }
}
