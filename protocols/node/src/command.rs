//! What the owner wants: records written here, which then pass the one door like any other.

use ipld_core::ipld::Ipld;
use ocm_record::{Draft, Kind, MemoryId, RecordId, SignedRecord, SpaceId, Time, VerifiedRecord};
use ocm_space::{Genesis, Grant, Policy};

use crate::input::{Command, Ticket};
use crate::limits;
use crate::node::{After, Node, Purpose};
use crate::origin::Origin;
use crate::output::{CommandError, Reply};
use crate::random;
use crate::space::Space;
use crate::storage::{ReadError, Reader};
use crate::verdict::Verdict;

impl Node {
    pub(crate) fn command(
        &mut self,
        ticket: Ticket,
        command: Command,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let result = match command {
            Command::CreateSpace { name, policy } => self.create_space(name, policy, store)?,
            Command::Join { space } => self.join(space),
            Command::Grant { space, grant } => self.grant(space, &grant, store)?,
            Command::Change { space, memory, deps, edits } => {
                self.change(space, memory, deps, edits, store)?
            }
            Command::Sync { space } => self.compare_now(space).map(Reply::Sessions),
            Command::Import { records } => {
                let bytes: usize = records.iter().map(Vec::len).sum();
                if records.len() <= limits::IMPORT_RECORDS && bytes <= limits::IMPORT_BYTES {
                    let purpose = Purpose::Import { ticket };
                    let records = records.iter().map(|bytes| SignedRecord::decode(bytes));
                    return self.verify_many(records, None, Origin::Import, purpose, store);
                }
                Err(CommandError::Invalid(format!(
                    "an import takes at most {} records and {} bytes at once, these are {} and \
                     {bytes}: split it",
                    limits::IMPORT_RECORDS,
                    limits::IMPORT_BYTES,
                    records.len()
                )))
            }
        };
        self.promise(After::Reply(ticket, result));
        Ok(())
    }

    fn create_space(
        &mut self,
        name: String,
        policy: Policy,
        store: &dyn Reader,
    ) -> Result<Result<Reply, CommandError>, ReadError> {
        if let Err(full) = self.check_room() {
            return Ok(Err(full));
        }
        let nonce = random::draw(&mut self.rng);
        let genesis = Genesis { name, nonce, policy, owners: vec![self.did] };
        if let Err(error) = genesis.check() {
            return Ok(Err(CommandError::Invalid(error.to_string())));
        }
        let Some(time) = self.clock.tick(Time(0), self.now) else {
            return Ok(Err(CommandError::EndOfTime));
        };
        let draft = Draft {
            space: SpaceId::GENESIS,
            kind: Kind::GENESIS,
            memory: None,
            author: None,
            boot: self.boot,
            seq: 1,
            prev: None,
            deps: Vec::new(),
            auth: Vec::new(),
            time,
        };
        let body = random::encode_body(&mut self.rng, Vec::new(), genesis.to_ipld());
        let record = match self.sign(draft, body) {
            Ok(record) => record,
            Err(error) => return Ok(Err(error)),
        };
        let space = record.space();
        self.add_space(space);
        Ok(self.write(&record, store)?.map(|_| Reply::Space(space)))
    }

    fn join(&mut self, space: SpaceId) -> Result<Reply, CommandError> {
        if !self.spaces.contains_key(&space) {
            self.check_room()?;
            self.add_space(space);
        }
        Ok(Reply::Space(space))
    }

    fn check_room(&self) -> Result<(), CommandError> {
        if self.spaces.len() < limits::SPACES {
            return Ok(());
        }
        Err(CommandError::Invalid(format!("a node replicates at most {} spaces", limits::SPACES)))
    }

    fn grant(
        &mut self,
        space: SpaceId,
        grant: &Grant,
        store: &dyn Reader,
    ) -> Result<Result<Reply, CommandError>, ReadError> {
        let content = grant.to_ipld();
        self.record(space, Kind::GRANT, None, Vec::new(), content, store)
    }

    fn change(
        &mut self,
        space: SpaceId,
        memory: Option<MemoryId>,
        deps: Vec<RecordId>,
        edits: Ipld,
        store: &dyn Reader,
    ) -> Result<Result<Reply, CommandError>, ReadError> {
        self.record(space, Kind::CHANGE, memory, deps, edits, store)
    }

    /// Writes a record into a space.
    fn record(
        &mut self,
        space: SpaceId,
        kind: Kind,
        memory: Option<MemoryId>,
        deps: Vec<RecordId>,
        content: Ipld,
        store: &dyn Reader,
    ) -> Result<Result<Reply, CommandError>, ReadError> {
        let draft = match self.draft(space, kind, memory, deps) {
            Ok(draft) => draft,
            Err(error) => return Ok(Err(error)),
        };
        let body = random::encode_body(&mut self.rng, Vec::new(), content);
        match self.sign(draft, body) {
            Ok(record) => self.write(&record, store),
            Err(error) => Ok(Err(error)),
        }
    }

    fn draft(
        &mut self,
        id: SpaceId,
        kind: Kind,
        memory: Option<MemoryId>,
        deps: Vec<RecordId>,
    ) -> Result<Draft, CommandError> {
        let space = self.spaces.get(&id).ok_or(CommandError::UnknownSpace(id))?;
        if space.state.genesis().is_none() {
            return Err(CommandError::EmptySpace(id));
        }
        let (seq, prev) = space.next_place();
        let named = deps.iter().chain(&prev).chain([&id.0]).map(RecordId::time).max();
        let time =
            self.clock.tick(named.unwrap_or_default(), self.now).ok_or(CommandError::EndOfTime)?;
        let auth = space
            .state
            .proof(&self.did, &self.author.public(), kind, time.millis())
            .ok_or(CommandError::NotPermitted { did: self.did, kind: kind.name() })?;
        let boot = self.boot;
        Ok(Draft { space: id, kind, memory, author: None, boot, seq, prev, deps, auth, time })
    }

    fn sign(&self, draft: Draft, body: Vec<u8>) -> Result<VerifiedRecord, CommandError> {
        let record = draft.sign(&self.author, body)?;
        record.verify().map_err(|error| CommandError::NotAdmitted(error.to_string()))
    }

    /// Admits a record of our own.
    fn write(
        &mut self,
        record: &VerifiedRecord,
        store: &dyn Reader,
    ) -> Result<Result<Reply, CommandError>, ReadError> {
        let reply = Reply::Record { id: record.id(), memory: record.memory() };
        Ok(match self.admit(record.clone(), Origin::Local, store)? {
            Verdict::Accept => {
                self.spaces.entry(record.space()).and_modify(|space: &mut Space| {
                    space.extend_log(record);
                });
                Ok(reply)
            }
            other => Err(CommandError::NotAdmitted(other.to_string())),
        })
    }
}
