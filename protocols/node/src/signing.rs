//! Records of our own that are signed away from the loop: many memories begun at once, what several
//! commands that waited write, and what is written after them meanwhile.
//!
//! Places in the log and times are given out at once; the signatures, which take most of the time,
//! are made elsewhere. Jobs end in their order, so that the log is admitted, and becomes durable,
//! in its order too: a crash leaves no gap in it. What is turned away leaves one.

use ipld_core::ipld::Ipld;
use ocm_record::{Kind, MemoryId, RecordId, SpaceId, UnsignedRecord, VerifiedRecord, VerifyError};

use crate::input::Ticket;
use crate::limits;
use crate::node::{After, Node};
use crate::origin::Origin;
use crate::output::{CommandError, Output, Reply};
use crate::random;
use crate::space::OwnLog;
use crate::storage::{ReadError, Reader};
use crate::verdict::Verdict;

/// Commands whose records are being signed, of one space.
#[derive(Debug)]
pub(crate) struct Signing {
    space: SpaceId,
    commands: Vec<Waiting>,
}

/// Records that are to be signed, in the order of their log, and the commands that want them.
#[derive(Debug, Default)]
pub(crate) struct Unsigned {
    records: Vec<UnsignedRecord>,
    bytes: usize,
    commands: Vec<Waiting>,
}

/// A command that waits for signatures.
#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    wanted: Wanted,
    /// What it asked for, in its order: the id of each record on its way.
    items: Vec<Result<RecordId, CommandError>>,
}

/// What a command that waits for signatures wrote, which gives its reply its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One record, of this memory.
    One(Option<MemoryId>),
    /// The beginnings of many memories.
    Many,
}

impl Node {
    /// Begins many memories. An error means that none is begun.
    pub(crate) fn begin(
        &mut self,
        ticket: Ticket,
        space: SpaceId,
        memories: Vec<Ipld>,
    ) -> Result<(), CommandError> {
        if memories.len() > limits::BEGUN_MEMORIES {
            return Err(CommandError::Invalid(format!(
                "a batch has at most {} memories, this one has {}: split it",
                limits::BEGUN_MEMORIES,
                memories.len()
            )));
        }
        let mut log = self.own_log(space)?;
        let mut items = Vec::with_capacity(memories.len());
        let mut bytes = 0;
        for edits in memories {
            let draft = self.draft(space, log, Kind::CHANGE, None, Vec::new())?;
            let body = random::encode_body(&mut self.rng, Vec::new(), edits);
            let record = draft.prepare(self.author.public(), body).map_err(CommandError::from);
            if let Ok(record) = &record {
                bytes += record.bytes();
                if bytes > limits::BEGUN_BYTES {
                    return Err(CommandError::Invalid(format!(
                        "the memories of a batch have at most {} bytes, memory {} of this one \
                         goes past that: split it",
                        limits::BEGUN_BYTES,
                        items.len() + 1
                    )));
                }
                log = OwnLog::ending_with(record);
            }
            items.push(record);
        }
        self.sign_elsewhere(ticket, space, Wanted::Many, items);
        Ok(())
    }

    /// Whether records of a space are being signed elsewhere, or are to be.
    pub(crate) fn is_signing(&self, space: &SpaceId) -> bool {
        self.unsigned.contains_key(space)
            || self.spaces.get(space).is_some_and(|space| space.signing > 0)
    }

    /// Has the records of a command signed elsewhere, together with those of others: they go on, one
    /// after the other, where the log of their space ends.
    pub(crate) fn sign_elsewhere(
        &mut self,
        ticket: Ticket,
        id: SpaceId,
        wanted: Wanted,
        prepared: Vec<Result<UnsignedRecord, CommandError>>,
    ) {
        let mut records = Vec::with_capacity(prepared.len());
        let mut items = Vec::with_capacity(prepared.len());
        for record in prepared {
            items.push(record.map(|record| {
                let id = record.id();
                records.push(record);
                id
            }));
        }
        let waiting = Waiting { ticket, wanted, items };
        let (Some(space), Some(last)) = (self.spaces.get_mut(&id), records.last()) else {
            return self.promise(waiting.reply());
        };
        space.log = OwnLog::ending_with(last);
        if records.len() >= limits::BULK_MEMORIES {
            space.begun_in_bulk = self.now;
        }
        let bytes: usize = records.iter().map(UnsignedRecord::bytes).sum();
        let fits = self.unsigned.get(&id).is_none_or(|open| {
            open.records.len() + records.len() <= limits::SIGNED_TOGETHER
                && open.bytes + bytes <= limits::BEGUN_BYTES
        });
        if !fits {
            self.sign_all();
        }
        let open = self.unsigned.entry(id).or_default();
        open.records.extend(records);
        open.bytes += bytes;
        open.commands.push(waiting);
    }

    /// Has signed what waits for it.
    pub(crate) fn sign_all(&mut self) {
        for (id, Unsigned { records, commands, .. }) in std::mem::take(&mut self.unsigned) {
            let job = self.next_id();
            self.spaces.entry(id).and_modify(|space| space.signing += 1);
            self.signing.insert(job, Signing { space: id, commands });
            self.out.push(Output::Sign { job, key: self.author.clone(), records });
        }
    }

    /// Admits what was signed.
    pub(crate) fn signed(
        &mut self,
        mut signing: Signing,
        results: Vec<Result<VerifiedRecord, VerifyError>>,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let items = signing.commands.iter_mut().flat_map(|command| &mut command.items);
        for (item, result) in items.filter(|item| item.is_ok()).zip(results) {
            let verdict = match result {
                Ok(record) => self.admit(record, Origin::Local, store)?,
                Err(error) => error.into(),
            };
            if verdict != Verdict::Accept {
                *item = Err(CommandError::NotAdmitted(verdict.to_string()));
            }
        }
        if let Some(space) = self.spaces.get_mut(&signing.space) {
            space.signing -= 1;
        }
        for command in signing.commands {
            self.promise(command.reply());
        }
        Ok(())
    }
}

impl Waiting {
    fn reply(self) -> After {
        let mut items = self.items.into_iter();
        let reply = match (self.wanted, items.next()) {
            (Wanted::One(memory), Some(item)) => item.map(|id| Reply::Record { id, memory }),
            (_, first) => {
                let all = first.into_iter().chain(items).map(|item| item.map(MemoryId));
                Ok(Reply::Begun(all.collect()))
            }
        };
        After::Reply(self.ticket, reply)
    }
}
