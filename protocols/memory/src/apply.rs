//! Edits, applied to an Automerge document.

use automerge::transaction::{CommitOptions, Transactable as _, Transaction};
use automerge::{
    ActorId, Automerge, AutomergeError, ChangeHash, ObjId, ObjType, Prop, ROOT, ReadDoc as _,
    ScalarValue, Value, hydrate,
};
use ipld_core::ipld::Ipld;

use crate::edit::Edit;
use crate::limits;
use crate::path::{Path, Step};
use crate::tree::Node;
use crate::value::in_cbor_order;

/// Why an edit does not fit the content at the heads that its record names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The path leads through, or ends at, something that is not there.
    #[error("{0} is absent")]
    Absent(Path),
    /// The path leads into a value that has no inside.
    #[error("{0} is no list and no map")]
    NoInside(Path),
    /// A key into a list, or a position into a map.
    #[error("the step to {0} is of the wrong kind: lists take positions, maps take keys")]
    Step(Path),
    /// A position past the end.
    #[error("{path} has {length} items or characters, position {index} is past its end")]
    PastEnd {
        /// The list or text.
        path: Path,
        /// Where the edit would act.
        index: u64,
        /// How long it is.
        length: u64,
    },
    /// Insertion into something else than a list.
    #[error("{0} is no list")]
    NotAList(Path),
    /// A splice of something else than a collaborative text.
    #[error("{0} is no collaborative text")]
    NotAText(Path),
    /// An increment of something else than a counter.
    #[error("{0} is no counter")]
    NotACounter(Path),
    /// Past [`limits::DELETED_CHARS`].
    #[error("the splices delete more than {max} characters", max = limits::DELETED_CHARS)]
    DeletesTooMuch,
    /// Automerge refused it.
    #[error("automerge: {0}")]
    Automerge(String),
}

impl From<AutomergeError> for Misfit {
    fn from(error: AutomergeError) -> Self {
        Self::Automerge(error.to_string())
    }
}

/// What became of a record.
pub(crate) struct Applied {
    /// Its one change.
    pub(crate) change: ChangeHash,
    /// Number of places where it made several concurrent values one, or why it has no effect:
    /// which edit, and what is wrong with it.
    pub(crate) outcome: Result<u64, (usize, Misfit)>,
}

/// Makes exactly one change of these edits, on top of everything in `doc`. When one of them does
/// not fit, none takes effect and the change is empty.
pub(crate) fn apply(doc: &mut Automerge, actor: &[u8], edits: &[Edit]) -> Applied {
    doc.set_actor(ActorId::from(actor));
    let mut transaction = doc.transaction();
    let mut writer = Writer { transaction: &mut transaction, deleted: 0, resolved: 0 };
    let outcome = edits
        .iter()
        .enumerate()
        .try_for_each(|(i, edit)| writer.edit(edit).map_err(|misfit| (i, misfit)))
        .map(|()| writer.resolved);
    let options = || CommitOptions::default().with_time(0);
    let change = match outcome {
        Ok(_) => transaction.commit_with(options()).0,
        Err(_) => {
            transaction.rollback();
            None
        }
    };
    Applied { change: change.unwrap_or_else(|| doc.empty_commit(options())), outcome }
}

/// Makes the change of a record without edits.
pub(crate) fn apply_empty(doc: &mut Automerge, actor: &[u8]) -> ChangeHash {
    doc.set_actor(ActorId::from(actor));
    doc.empty_commit(CommitOptions::default().with_time(0))
}

struct Writer<'a, 'd> {
    transaction: &'a mut Transaction<'d>,
    /// Characters deleted so far by the record.
    deleted: u64,
    resolved: u64,
}

/// A place in an object.
struct Place {
    object: ObjId,
    prop: Prop,
}

impl Writer<'_, '_> {
    fn edit(&mut self, edit: &Edit) -> Result<(), Misfit> {
        match edit {
            Edit::Set { path, value } => {
                let place = self.place(path)?;
                self.resolving(&place, |this| this.put(&place, value))
            }
            Edit::Text { path } => {
                let place = self.place(path)?;
                self.resolving(&place, |this| {
                    this.transaction.put_object(
                        &place.object,
                        place.prop.clone(),
                        ObjType::Text,
                    )?;
                    Ok(())
                })
            }
            Edit::Delete { path } => {
                let place = match self.place(path) {
                    Ok(place) => place,
                    Err(Misfit::Absent(_) | Misfit::PastEnd { .. }) => return Ok(()),
                    Err(misfit) => return Err(misfit),
                };
                if self.transaction.get(&place.object, place.prop.clone())?.is_none() {
                    return Ok(());
                }
                self.resolving(&place, |this| {
                    Ok(this.transaction.delete(&place.object, place.prop.clone())?)
                })
            }
            Edit::Insert { path, index, value } => {
                let (kind, list) = self.object(&path.0)?;
                if kind != ObjType::List {
                    return Err(Misfit::NotAList(path.clone()));
                }
                let index = self.within(path, &list, *index)?;
                self.insert(&list, index, value)
            }
            Edit::Splice { path, index, delete, text } => {
                let (kind, object) = match self.object(&path.0) {
                    Err(Misfit::NoInside(at)) if at == *path => {
                        return Err(Misfit::NotAText(at));
                    }
                    other => other?,
                };
                if kind != ObjType::Text {
                    return Err(Misfit::NotAText(path.clone()));
                }
                let start = self.within(path, &object, *index)?;
                self.within(path, &object, index.saturating_add(*delete))?;
                self.deleted = self.deleted.saturating_add(*delete);
                if self.deleted > limits::DELETED_CHARS {
                    return Err(Misfit::DeletesTooMuch);
                }
                let delete = isize::try_from(*delete).map_err(|_| Misfit::DeletesTooMuch)?;
                Ok(self.transaction.splice_text(&object, start, delete, text)?)
            }
            Edit::Increment { path, by } => self.increment(path, *by),
        }
    }

    fn increment(&mut self, path: &Path, by: i64) -> Result<(), Misfit> {
        let place = self.place(path)?;
        match self.transaction.get(&place.object, place.prop.clone())? {
            None => {
                let zero = ScalarValue::counter(0);
                self.transaction.put(&place.object, place.prop.clone(), zero)?;
            }
            Some((Value::Scalar(scalar), _)) if scalar.is_counter() => {}
            Some(_) => return Err(Misfit::NotACounter(path.clone())),
        }
        self.resolving(&place, |this| {
            Ok(this.transaction.increment(&place.object, place.prop.clone(), by)?)
        })
    }

    /// Does `write`, and counts it when it makes several concurrent values one.
    fn resolving(
        &mut self,
        place: &Place,
        write: impl FnOnce(&mut Self) -> Result<(), Misfit>,
    ) -> Result<(), Misfit> {
        let before = self.is_concurrent(place)?;
        // In a list, what lies at the position after a deletion is another item.
        let moves = matches!(place.prop, Prop::Seq(_));
        let length = self.transaction.length(&place.object);
        write(self)?;
        if before {
            let gone = moves && self.transaction.length(&place.object) < length;
            if gone || !self.is_concurrent(place)? {
                self.resolved += 1;
            }
        }
        Ok(())
    }

    /// Whether several different values stand here.
    fn is_concurrent(&self, place: &Place) -> Result<bool, Misfit> {
        let values = self.transaction.get_all(&place.object, place.prop.clone())?;
        if values.len() < 2 {
            return Ok(false);
        }
        let mut nodes =
            values.iter().map(|(value, id)| Node::read_value(&*self.transaction, value, id));
        let first = nodes.next();
        Ok(nodes.any(|node| Some(&node) != first.as_ref()))
    }

    /// The object that the steps lead to.
    fn object(&self, steps: &[Step]) -> Result<(ObjType, ObjId), Misfit> {
        let mut at = (ObjType::Map, ROOT);
        for (depth, step) in steps.iter().enumerate() {
            let here = || Path(steps[..=depth].to_vec());
            let prop = self.step(at.0, &at.1, step, here)?;
            at = match self.transaction.get(&at.1, prop)? {
                None => return Err(Misfit::Absent(here())),
                Some((Value::Scalar(_), _)) => return Err(Misfit::NoInside(here())),
                Some((Value::Object(kind), id)) => (kind, id),
            };
        }
        Ok(at)
    }

    fn step(
        &self,
        kind: ObjType,
        object: &ObjId,
        step: &Step,
        here: impl Fn() -> Path,
    ) -> Result<Prop, Misfit> {
        match (kind, step) {
            (ObjType::Map, Step::Key(key)) => Ok(Prop::Map(key.clone())),
            (ObjType::List, Step::Index(index)) => {
                let length = self.transaction.length(object);
                match usize::try_from(*index) {
                    Ok(index) if index < length => Ok(Prop::Seq(index)),
                    _ => {
                        let mut path = here();
                        path.0.pop();
                        Err(Misfit::PastEnd { path, index: *index, length: length as u64 })
                    }
                }
            }
            (ObjType::Text, _) => {
                let mut path = here();
                path.0.pop();
                Err(Misfit::NoInside(path))
            }
            _ => Err(Misfit::Step(here())),
        }
    }

    /// The place that a path names: a key that may be absent, or an item that is there.
    fn place(&self, path: &Path) -> Result<Place, Misfit> {
        let Some((last, before)) = path.0.split_last() else {
            return Err(Misfit::Absent(path.clone()));
        };
        let (kind, object) = self.object(before)?;
        let prop = self.step(kind, &object, last, || path.clone())?;
        Ok(Place { object, prop })
    }

    /// A position up to and including the end.
    fn within(&self, path: &Path, object: &ObjId, index: u64) -> Result<usize, Misfit> {
        let length = self.transaction.length(object);
        match usize::try_from(index) {
            Ok(index) if index <= length => Ok(index),
            _ => Err(Misfit::PastEnd { path: path.clone(), index, length: length as u64 }),
        }
    }

    fn put(&mut self, place: &Place, value: &Ipld) -> Result<(), Misfit> {
        let prop = place.prop.clone();
        match container(value) {
            Some(kind) => {
                let id = self.transaction.put_object(&place.object, prop, kind)?;
                self.fill(&id, value)
            }
            None => Ok(self.transaction.put(&place.object, prop, scalar(value))?),
        }
    }

    fn insert(&mut self, list: &ObjId, index: usize, value: &Ipld) -> Result<(), Misfit> {
        match container(value) {
            Some(kind) => {
                let id = self.transaction.insert_object(list, index, kind)?;
                self.fill(&id, value)
            }
            None => Ok(self.transaction.insert(list, index, scalar(value))?),
        }
    }

    /// Writes the inside of a new list or map: items in order, keys in the order of DAG-CBOR,
    /// the inside of each before the next.
    fn fill(&mut self, object: &ObjId, value: &Ipld) -> Result<(), Misfit> {
        match value {
            Ipld::List(items) => {
                let mut index = 0;
                for run in items.chunk_by(|a, b| container(a).is_none() && container(b).is_none()) {
                    match run {
                        [one] if container(one).is_some() => self.insert(object, index, one)?,
                        scalars => self.transaction.splice(
                            object,
                            index,
                            0,
                            scalars.iter().map(|item| hydrate::Value::Scalar(scalar(item))),
                        )?,
                    }
                    index += run.len();
                }
                Ok(())
            }
            Ipld::Map(map) => in_cbor_order(map).into_iter().try_for_each(|(key, item)| {
                let place = Place { object: object.clone(), prop: Prop::Map(key.clone()) };
                self.put(&place, item)
            }),
            _ => Ok(()),
        }
    }
}

fn container(value: &Ipld) -> Option<ObjType> {
    match value {
        Ipld::List(_) => Some(ObjType::List),
        Ipld::Map(_) => Some(ObjType::Map),
        _ => None,
    }
}

/// A scalar as Automerge's: an integer is signed when it fits. Links and larger integers are
/// refused when an edit is read.
fn scalar(value: &Ipld) -> ScalarValue {
    match value {
        Ipld::Bool(b) => ScalarValue::Boolean(*b),
        Ipld::Integer(n) => i64::try_from(*n)
            .map(ScalarValue::Int)
            .or_else(|_| u64::try_from(*n).map(ScalarValue::Uint))
            .unwrap_or(ScalarValue::Null),
        Ipld::Float(x) => ScalarValue::F64(*x),
        Ipld::String(s) => ScalarValue::Str(s.as_str().into()),
        Ipld::Bytes(b) => ScalarValue::Bytes(b.clone()),
        Ipld::Null | Ipld::List(_) | Ipld::Map(_) | Ipld::Link(_) => ScalarValue::Null,
    }
}
