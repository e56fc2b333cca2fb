//! Records of our own that are signed away from the loop: many memories begun at once, and what is
//! written after them meanwhile.
//!
//! Places in the log and times are given out at once; the signatures, which take most of the time,
//! are made elsewhere. Jobs end in their order, so that the log is admitted, and becomes durable,
//! in its order too: a crash leaves no gap in it.

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

/// A command whose records are being signed.
#[derive(Debug)]
pub(crate) struct Signing {
    ticket: Ticket,
    space: SpaceId,
    wanted: Wanted,
    /// What the command asked for, in its order: the id of each record on its way.
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

    /// Whether records of a space are being signed elsewhere.
    pub(crate) fn is_signing(&self, space: &SpaceId) -> bool {
        self.spaces.get(space).is_some_and(|space| space.signing > 0)
    }

    /// Has the records of a command signed elsewhere: they go on, one after the other, where the
    /// log of their space ends.
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
        let job = self.next_id();
        let signing = Signing { ticket, space: id, wanted, items };
        if let Some(space) = self.spaces.get_mut(&id)
            && let Some(last) = records.last()
        {
            space.log = OwnLog::ending_with(last);
            space.signing += 1;
            if records.len() >= limits::BULK_MEMORIES {
                space.begun_in_bulk = self.now;
            }
            self.signing.insert(job, signing);
            self.out.push(Output::Sign { job, key: self.author.clone(), records });
        } else {
            self.promise(signing.reply());
        }
    }

    /// Admits what was signed.
    pub(crate) fn signed(
        &mut self,
        mut signing: Signing,
        results: Vec<Result<VerifiedRecord, VerifyError>>,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let made = signing.items.iter_mut().filter(|item| item.is_ok());
        for (item, result) in made.zip(results) {
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
        self.promise(signing.reply());
        Ok(())
    }
}

impl Signing {
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
