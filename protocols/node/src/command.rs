//! What the owner wants: records written here, which then pass the one door like any other.

use ipld_core::ipld::Ipld;
use ocm_record::{Draft, Kind, MemoryId, RecordId, SignedRecord, SpaceId, Time, UnsignedRecord};
use ocm_space::{Genesis, Policy};

use crate::input::{Command, Ticket};
use crate::limits;
use crate::node::{After, Node, Purpose};
use crate::origin::Origin;
use crate::output::{CommandError, Reply};
use crate::random;
use crate::signing::Wanted;
use crate::space::OwnLog;
use crate::storage::{ReadError, Reader};
use crate::verdict::Verdict;

impl Node {
    /// Carries out commands. What one alone writes is signed at once; of several it is signed
    /// elsewhere, together.
    pub(crate) fn commands(
        &mut self,
        commands: impl IntoIterator<Item = (Ticket, Command), IntoIter: ExactSizeIterator>,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let commands = commands.into_iter();
        let alone = commands.len() == 1;
        for (ticket, command) in commands {
            self.command(ticket, command, alone, store)?;
        }
        self.sign_all();
        Ok(())
    }

    fn command(
        &mut self,
        ticket: Ticket,
        command: Command,
        alone: bool,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let result = match command {
            Command::CreateSpace { name, policy } => self.create_space(name, policy, store)?,
            Command::Join { space } => self.join(space),
            Command::Grant { space, grant } => {
                let prepared =
                    self.prepare(space, Kind::GRANT, (None, Vec::new()), grant.to_ipld());
                return self.record(ticket, prepared, alone, store);
            }
            Command::Change { space, memory, deps, edits } => {
                let prepared = self.prepare(space, Kind::CHANGE, (memory, deps), edits);
                return self.record(ticket, prepared, alone, store);
            }
            Command::Begin { space, memories } => match self.begin(ticket, space, memories) {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            },
            Command::Bundle { space, since } => self.bundle(space, since, store)?,
            Command::Witness { head } => self.witness(&head),
            Command::Reread { space, ids } => {
                self.page(space, &ids, u32::MAX, store)?;
                Ok(Reply::Reread)
            }
            Command::Sync { space } => self.compare_now(space).map(Reply::Sessions),
            Command::Import { space, records } => {
                let bytes: usize = records.iter().map(Vec::len).sum();
                if records.len() <= limits::IMPORT_RECORDS && bytes <= limits::IMPORT_BYTES {
                    let purpose = Purpose::Import { ticket };
                    let records = records.iter().map(|bytes| SignedRecord::decode(bytes));
                    return self.verify_many(records, space, Origin::Import, purpose, store);
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
        let record = match draft.prepare(self.author.public(), body) {
            Ok(record) => record,
            Err(error) => return Ok(Err(error.into())),
        };
        let space = record.space();
        self.add_space(space);
        Ok(self.write(record, store)?.map(|_| Reply::Space(space)))
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

    /// Makes the next record of this node's log in a space, but for its signature.
    fn prepare(
        &mut self,
        space: SpaceId,
        kind: Kind,
        (memory, deps): (Option<MemoryId>, Vec<RecordId>),
        content: Ipld,
    ) -> Result<UnsignedRecord, CommandError> {
        let log = self.own_log(space)?;
        let draft = self.draft(space, log, kind, memory, deps)?;
        let body = random::encode_body(&mut self.rng, Vec::new(), content);
        Ok(draft.prepare(self.author.public(), body)?)
    }

    /// Writes a record. Where others are being signed for its space, it follows on the same way, so
    /// that the log is written in its order.
    fn record(
        &mut self,
        ticket: Ticket,
        prepared: Result<UnsignedRecord, CommandError>,
        alone: bool,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let result = match prepared {
            Ok(record) if !alone || self.is_signing(&record.space()) => {
                let wanted = Wanted::One(record.memory());
                self.sign_elsewhere(ticket, record.space(), wanted, vec![Ok(record)]);
                return Ok(());
            }
            Ok(record) => self.write(record, store)?,
            Err(error) => Err(error),
        };
        self.promise(After::Reply(ticket, result));
        Ok(())
    }

    /// Where this node's log in a space ends.
    pub(crate) fn own_log(&self, id: SpaceId) -> Result<OwnLog, CommandError> {
        let space = self.spaces.get(&id).ok_or(CommandError::UnknownSpace(id))?;
        if space.state.genesis().is_none() {
            return Err(CommandError::EmptySpace(id));
        }
        Ok(space.log)
    }

    /// The next record of this node's log in a space.
    pub(crate) fn draft(
        &mut self,
        id: SpaceId,
        log: OwnLog,
        kind: Kind,
        memory: Option<MemoryId>,
        deps: Vec<RecordId>,
    ) -> Result<Draft, CommandError> {
        let space = self.spaces.get(&id).ok_or(CommandError::UnknownSpace(id))?;
        let named = deps.iter().chain(&log.last).chain([&id.0]).map(RecordId::time).max();
        let time =
            self.clock.tick(named.unwrap_or_default(), self.now).ok_or(CommandError::EndOfTime)?;
        let auth = space
            .state
            .proof(&self.did, &self.author.public(), kind, time.millis())
            .ok_or(CommandError::NotPermitted { did: self.did, kind: kind.name() })?;
        let (seq, prev, boot) = (log.seq + 1, log.last, self.boot);
        Ok(Draft { space: id, kind, memory, author: None, boot, seq, prev, deps, auth, time })
    }

    /// Signs and admits a record of our own.
    fn write(
        &mut self,
        unsigned: UnsignedRecord,
        store: &dyn Reader,
    ) -> Result<Result<Reply, CommandError>, ReadError> {
        let log = OwnLog::ending_with(&unsigned);
        let record = match ocm_record::sign(unsigned, &self.author) {
            Ok(record) => record,
            Err(error) => return Ok(Err(CommandError::NotAdmitted(error.to_string()))),
        };
        let reply = Reply::Record { id: record.id(), memory: record.memory() };
        let space = record.space();
        Ok(match self.admit(record, Origin::Local, store)? {
            Verdict::Accept => {
                self.spaces.entry(space).and_modify(|space| space.log = log);
                Ok(reply)
            }
            other => Err(CommandError::NotAdmitted(other.to_string())),
        })
    }
}
