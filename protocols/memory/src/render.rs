//! From records to one Automerge document: each becomes exactly one change, made at exactly the
//! heads that it names.
//!
//! A change made at the current heads is made in place. Any other is made in a fork, which holds
//! the past of that change and nothing else, and merged. Forks are dear, so records are taken
//! branch by branch: a fork goes on with what follows in its branch, and is copied, not made
//! again, for records that name the same heads.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{Automerge, Change, ChangeHash, ReadDoc as _, TextEncoding};
use ocm_record::RecordId;

use crate::apply::{Applied, apply, apply_empty};
use crate::document::{RenderError, Void};
use crate::edit::{Edit, decode_edits};
use crate::past::Pasts;
use crate::records::Records;
use crate::run;

/// One record, rendered.
#[derive(Debug, Clone)]
pub(crate) struct Rendered {
    pub(crate) change: ChangeHash,
    pub(crate) actor: Vec<u8>,
    /// How many places it made one value of several, or why it has no effect.
    pub(crate) outcome: Result<u64, Void>,
}

/// An Automerge document and what became of each record in it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) doc: Automerge,
    rendered: BTreeMap<RecordId, Rendered>,
    by_change: BTreeMap<ChangeHash, RecordId>,
    /// The records that no rendered one names.
    heads: BTreeSet<RecordId>,
}

/// The fork that the last change was made in, if it was made in one.
struct Branch {
    doc: Automerge,
    /// The only head of `doc`.
    tip: RecordId,
}

/// Changes made in forks and not merged yet, each after what it builds on.
#[derive(Default)]
struct Unmerged {
    changes: Vec<Change>,
    ids: BTreeSet<RecordId>,
}

impl View {
    pub(crate) fn new() -> Self {
        Self {
            doc: Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint),
            rendered: BTreeMap::new(),
            by_change: BTreeMap::new(),
            heads: BTreeSet::new(),
        }
    }

    pub(crate) fn contains(&self, id: &RecordId) -> bool {
        self.rendered.contains_key(id)
    }

    /// In the order of ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RecordId, &Rendered)> {
        self.rendered.iter()
    }

    /// The record that made the value with this id.
    pub(crate) fn writer_of(&self, value: &automerge::ObjId) -> Option<RecordId> {
        self.by_change.get(&self.doc.hash_for_opid(value)?).copied()
    }

    /// Renders these records of the set, which are not rendered yet, while all they build on is
    /// rendered or among them.
    pub(crate) fn render(
        &mut self,
        records: &Records,
        pasts: &Pasts,
        new: &BTreeSet<RecordId>,
    ) -> Result<(), RenderError> {
        let order = Order::new(records, new);
        let shared = order.shared_heads();
        let mut base: Option<(Vec<RecordId>, Automerge)> = None;
        let mut branch: Option<Branch> = None;
        let mut unmerged = Unmerged::default();

        for (id, deps) in order {
            let edits = edits_of(records, pasts, &id);
            let actor = run::actor(records, &id, |leader| {
                self.rendered.get(leader).map(|rendered| rendered.actor.as_slice())
            });

            if let Some(open) = branch.as_mut().filter(|open| deps == [open.tip]) {
                let rendered = make(&mut open.doc, actor, edits);
                open.tip = id;
                unmerged.push(&open.doc, id, &rendered)?;
                self.note(id, &deps, rendered);
            } else if self.heads.iter().all(|head| deps.contains(head)) {
                unmerged.merge_into(&mut self.doc)?;
                branch = None;
                if shared.contains(&deps) {
                    base = Some((deps.clone(), self.doc.clone()));
                }
                let rendered = make(&mut self.doc, actor, edits);
                self.note(id, &deps, rendered);
            } else {
                if deps.iter().any(|dep| unmerged.ids.contains(dep)) {
                    unmerged.merge_into(&mut self.doc)?;
                }
                let mut doc = match &base {
                    Some((heads, doc)) if *heads == deps => doc.clone(),
                    _ => self.fork(&deps)?,
                };
                if shared.contains(&deps) && base.as_ref().is_none_or(|(heads, _)| *heads != deps) {
                    base = Some((deps.clone(), doc.clone()));
                }
                let rendered = make(&mut doc, actor, edits);
                unmerged.push(&doc, id, &rendered)?;
                self.note(id, &deps, rendered);
                branch = Some(Branch { doc, tip: id });
            }
        }
        unmerged.merge_into(&mut self.doc)
    }

    fn fork(&self, deps: &[RecordId]) -> Result<Automerge, RenderError> {
        let heads: Vec<ChangeHash> = deps
            .iter()
            .filter_map(|dep| self.rendered.get(dep).map(|rendered| rendered.change))
            .collect();
        Ok(self.doc.fork_at(&heads)?)
    }

    fn note(&mut self, id: RecordId, deps: &[RecordId], rendered: Rendered) {
        for dep in deps {
            self.heads.remove(dep);
        }
        self.heads.insert(id);
        self.by_change.insert(rendered.change, id);
        self.rendered.insert(id, rendered);
    }
}

impl Unmerged {
    fn push(
        &mut self,
        fork: &Automerge,
        id: RecordId,
        rendered: &Rendered,
    ) -> Result<(), RenderError> {
        let change = fork.get_change_by_hash(&rendered.change).ok_or_else(|| {
            RenderError::Automerge(format!("the change just made for {id} is not in its document"))
        })?;
        self.changes.push(change);
        self.ids.insert(id);
        Ok(())
    }

    fn merge_into(&mut self, doc: &mut Automerge) -> Result<(), RenderError> {
        self.ids.clear();
        if self.changes.is_empty() {
            return Ok(());
        }
        Ok(doc.apply_changes(std::mem::take(&mut self.changes))?)
    }
}

/// The edits of a record, or why it has none.
fn edits_of(records: &Records, pasts: &Pasts, id: &RecordId) -> Result<Vec<Edit>, Void> {
    if let Some(limit) = pasts.check(id) {
        return Err(Void::Limit(limit));
    }
    let body = records.get(id).and_then(ocm_record::VerifiedRecord::body);
    let body = body.ok_or(Void::BodyMissing)?.map_err(Void::Body)?;
    decode_edits(&body.content).map_err(Void::Edits)
}

fn make(doc: &mut Automerge, actor: Vec<u8>, edits: Result<Vec<Edit>, Void>) -> Rendered {
    let (change, outcome) = match edits {
        Ok(edits) => {
            let Applied { change, outcome } = apply(doc, &actor, &edits);
            (change, outcome.map_err(|(edit, misfit)| Void::Misfit { edit, misfit }))
        }
        Err(void) => (apply_empty(doc, &actor), Err(void)),
    };
    Rendered { change, actor, outcome }
}

/// Records in an order in which each comes after what it builds on, and, where there is a
/// choice, right after it.
struct Order {
    deps: BTreeMap<RecordId, Vec<RecordId>>,
    waiting_for: BTreeMap<RecordId, usize>,
    children: BTreeMap<RecordId, Vec<RecordId>>,
    ready: BTreeSet<RecordId>,
    last: Option<RecordId>,
}

impl Order {
    fn new(records: &Records, new: &BTreeSet<RecordId>) -> Self {
        let deps: BTreeMap<RecordId, Vec<RecordId>> =
            new.iter().map(|id| (*id, records.deps(id))).collect();
        let mut order = Self {
            waiting_for: BTreeMap::new(),
            children: BTreeMap::new(),
            ready: BTreeSet::new(),
            last: None,
            deps: BTreeMap::new(),
        };
        for (id, named) in &deps {
            let mut count = 0;
            for dep in named.iter().filter(|dep| deps.contains_key(*dep)) {
                order.children.entry(*dep).or_default().push(*id);
                count += 1;
            }
            if count == 0 {
                order.ready.insert(*id);
            } else {
                order.waiting_for.insert(*id, count);
            }
        }
        order.deps = deps;
        order
    }

    /// The heads that more than one record names.
    fn shared_heads(&self) -> BTreeSet<Vec<RecordId>> {
        let mut once = BTreeSet::new();
        let mut shared = BTreeSet::new();
        for deps in self.deps.values() {
            if !once.insert(deps) {
                shared.insert(deps.clone());
            }
        }
        shared
    }
}

impl Iterator for Order {
    type Item = (RecordId, Vec<RecordId>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut following = None;
        for child in self.last.and_then(|last| self.children.remove(&last)).unwrap_or_default() {
            if let Some(count) = self.waiting_for.get_mut(&child) {
                *count -= 1;
                if *count == 0 {
                    self.waiting_for.remove(&child);
                    self.ready.insert(child);
                    following = following.or(Some(child));
                }
            }
        }
        let id = following.or_else(|| self.ready.first().copied())?;
        self.ready.remove(&id);
        self.last = Some(id);
        Some((id, self.deps.remove(&id).unwrap_or_default()))
    }
}
