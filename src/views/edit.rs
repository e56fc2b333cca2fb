//! Edits: from content or a patch to a record that the core writes.

use ipld_core::ipld::Ipld;
use ocm_memory::{Document, Edit, PatchError, TakeError, content_of, create_edits, encode_edits};
use ocm_node::layout::SpaceNumber;
use ocm_node::storage::Reader;
use ocm_node::{Command, Reply, limits};
use ocm_record::{Body, MemoryId, RecordId, SALT_LEN, SpaceId};
use serde_json::Value;

use super::find::number_of;
use super::read::Assembly;
use super::{MemoryPlace, Reading, STRIPES, ViewError, Views};

/// Edits, and the records that they build on.
struct Change {
    deps: Vec<RecordId>,
    edits: Vec<Edit>,
}

impl Views {
    /// Starts a memory with this content, a JSON object. Durable when this returns.
    ///
    /// # Errors
    /// When the content makes no record, this node may not write, or the store fails.
    pub async fn create(&self, space: SpaceId, content: Value) -> Result<MemoryPlace, ViewError> {
        Ok(self.begin(space, &content).await?.0)
    }

    /// As [`Self::create`]; returns what the memory reads as. Where that follows from what was
    /// written, whole and verified a moment ago, it is not read again.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn create_and_show(
        &self,
        space: SpaceId,
        content: Value,
    ) -> Result<Reading, ViewError> {
        let (place, edits) = self.begin(space, &content).await?;
        let Some(content) = content_of(edits) else { return self.read(place).await };
        let own = self.handle().status().core.did;
        Ok(Reading {
            place,
            author: Some(own),
            content: Some(content),
            heads: vec![place.memory.0],
            cause: None,
            updated: place.memory.0.time(),
            records: 1,
            authors: vec![own],
            voids: Vec::new(),
            conflicts: 0,
        })
    }

    async fn begin(
        &self,
        space: SpaceId,
        content: &Value,
    ) -> Result<(MemoryPlace, Vec<Edit>), ViewError> {
        let number = self.number_of(space).await?;
        // No longer than it took to read the content.
        let edits = create_edits(content)?;
        let fitting = fitting(&edits)?;
        let record = self.write(space, None, Vec::new(), fitting).await?;
        Ok((MemoryPlace { space, number, memory: MemoryId(record) }, edits))
    }

    /// The number of a space in the store. Most are in what is shown of the node.
    async fn number_of(&self, space: SpaceId) -> Result<SpaceNumber, ViewError> {
        let status = self.handle().status();
        match status.core.spaces.iter().find(|held| held.id == space) {
            Some(held) => Ok(held.number),
            None => self.off_thread(move |store| number_of(store, space)).await,
        }
    }

    /// Starts many memories at once, with these contents. Each becomes one, or fails alone; those
    /// that become one are durable when this returns, by one flush for as many as one command
    /// begins. `turn` is given up when all have their place before those that are written later.
    ///
    /// # Errors
    /// As [`Self::create`], for all of them: none is begun. What goes wrong after some are durable
    /// is said of each of the others.
    pub async fn create_many<T: Send>(
        &self,
        space: SpaceId,
        contents: Vec<Value>,
        turn: T,
    ) -> Result<Vec<Result<MemoryId, ViewError>>, ViewError> {
        self.number_of(space).await?;
        let prepare = |content: Value| measured(&create_edits(&content)?);
        let prepared = self
            .off_thread(move |_| Ok(contents.into_iter().map(prepare).collect::<Vec<_>>()))
            .await?;
        let mut parts = Parts::default();
        let fits: Vec<Result<(), ViewError>> = prepared
            .into_iter()
            .map(|edits| edits.map(|(edits, size)| parts.push(edits, size)))
            .collect();
        let mut turn = Some(turn);
        let mut begun = Vec::with_capacity(fits.len());
        let mut left = parts.0.len();
        for Part { memories, .. } in parts.0 {
            left -= 1;
            let count = memories.len();
            let turn = if left == 0 { turn.take() } else { None };
            match self.begin_many(space, memories, turn).await {
                Ok(part) => begun.extend(part),
                Err(error) if begun.is_empty() => return Err(error),
                Err(error) => begun.extend(std::iter::repeat_n(Err(error), count)),
            }
        }
        let mut begun = begun.into_iter();
        let missing = || ViewError::Aborted("a batch was answered in part".to_owned());
        Ok(fits
            .into_iter()
            .map(|fits| fits.and_then(|()| begun.next().ok_or_else(missing)?))
            .collect())
    }

    /// Starts the memories of one command.
    async fn begin_many<T: Send>(
        &self,
        space: SpaceId,
        memories: Vec<Ipld>,
        turn: T,
    ) -> Result<Vec<Result<MemoryId, ViewError>>, ViewError> {
        let command = Command::Begin { space, memories };
        match self.handle().command_in_turn(command, turn).await?? {
            Reply::Begun(begun) => {
                Ok(begun.into_iter().map(|memory| memory.map_err(ViewError::from)).collect())
            }
            other => Err(ViewError::Aborted(format!("a batch was answered with {other:?}"))),
        }
    }

    /// Applies a JSON merge patch (RFC 7396) to a memory. Returns the record that was written;
    /// `None` when the content is as the patch wants it already.
    ///
    /// # Errors
    /// As [`Self::create`]; also when the memory is not held here or cannot be rendered.
    pub async fn patch(
        &self,
        place: MemoryPlace,
        patch: Value,
    ) -> Result<Option<RecordId>, ViewError> {
        self.change(place, move |document| Ok(document.map_err(PatchError::from)?.patch(&patch)?))
            .await
    }

    /// Puts the values that a record wrote in the place of those that conflict with them.
    /// Returns the record that was written.
    ///
    /// # Errors
    /// As [`Self::patch`], and [`TakeError::NotThere`] when the record wrote no such value.
    pub async fn take(
        &self,
        place: MemoryPlace,
        record: RecordId,
    ) -> Result<Option<RecordId>, ViewError> {
        self.change(place, move |document| {
            Ok(document.map_err(TakeError::from)?.take(None, record)?)
        })
        .await
    }

    /// Makes edits on a memory as it is now, and writes them. Edits of one memory wait for each
    /// other.
    async fn change(
        &self,
        place: MemoryPlace,
        edits: impl FnOnce(Result<Document, ocm_memory::RenderError>) -> Result<Vec<Edit>, ViewError>
        + Send
        + 'static,
    ) -> Result<Option<RecordId>, ViewError> {
        let _alone = self.0.edits[stripe(&place.memory)].lock().await;
        let change = self.off_thread(move |store| plan(store, &place, edits)).await?;
        if change.edits.is_empty() {
            return Ok(None);
        }
        let edits = fitting(&change.edits)?;
        self.write(place.space, Some(place.memory), change.deps, edits).await.map(Some)
    }

    async fn write(
        &self,
        space: SpaceId,
        memory: Option<MemoryId>,
        deps: Vec<RecordId>,
        edits: Ipld,
    ) -> Result<RecordId, ViewError> {
        match self.handle().command(Command::Change { space, memory, deps, edits }).await?? {
            Reply::Record { id, .. } => Ok(id),
            other => Err(ViewError::Aborted(format!("a change was answered with {other:?}"))),
        }
    }
}

/// Memories that one command can begin, and bytes that their records have at most.
#[derive(Default)]
struct Part {
    memories: Vec<Ipld>,
    bytes: usize,
}

/// Memories, as one command after the other begins them. One there is, even of none, so that the
/// core says whether this node may write.
struct Parts(Vec<Part>);

impl Default for Parts {
    fn default() -> Self {
        Self(vec![Part::default()])
    }
}

impl Parts {
    /// Adds a memory, whose body has so many bytes.
    fn push(&mut self, edits: Ipld, body: usize) {
        let bytes = body + ocm_record::limits::HEADER_BYTES;
        match self.0.last_mut() {
            Some(part)
                if part.bytes + bytes <= limits::BEGUN_BYTES
                    && part.memories.len() < limits::BEGUN_MEMORIES =>
            {
                part.memories.push(edits);
                part.bytes += bytes;
            }
            _ => self.0.push(Part { memories: vec![edits], bytes }),
        }
    }
}

/// Edits as they stand in a record, if they fit into one.
fn fitting(edits: &[Edit]) -> Result<Ipld, ViewError> {
    Ok(measured(edits)?.0)
}

/// As [`fitting`], with the bytes of the body.
fn measured(edits: &[Edit]) -> Result<(Ipld, usize), ViewError> {
    let body = Body { salt: [0; SALT_LEN], lineage: Vec::new(), content: encode_edits(edits) };
    let (size, limit) = (body.encode().len(), ocm_record::limits::BODY_BYTES);
    if size > limit {
        return Err(ViewError::TooLarge { size, limit });
    }
    Ok((body.content, size))
}

fn plan(
    store: &dyn Reader,
    place: &MemoryPlace,
    edits: impl FnOnce(Result<Document, ocm_memory::RenderError>) -> Result<Vec<Edit>, ViewError>,
) -> Result<Change, ViewError> {
    let assembly = Assembly::read(store, place)?;
    if assembly.is_empty() {
        return Err(ViewError::NoMemory(place.memory));
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let document = assembly.into_document_to_edit(u64::try_from(now).unwrap_or_default());
    let deps = document.as_ref().map(Document::deps_for_edit).unwrap_or_default();
    Ok(Change { deps, edits: edits(document)? })
}

/// The lock of a memory: by a byte of the hash in its id.
fn stripe(memory: &MemoryId) -> usize {
    usize::from(memory.0.hash()[0]) % STRIPES
}
