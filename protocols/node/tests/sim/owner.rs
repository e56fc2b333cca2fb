//! What owners do with their nodes, and what they are told.

use std::collections::BTreeSet;

use ipld_core::ipld::Ipld;
use ocm_memory::{Edit, Path, encode_edits};
use ocm_node::layout;
use ocm_node::storage::Reader as _;
use ocm_node::{Command, CommandError, Input, Reply, Ticket};
use ocm_record::{Did, MemoryId, RecordId, Set, SpaceId};
use ocm_space::{Access, Grant, Policy, Role};

use crate::bundles;
use crate::check;
use crate::forge;
use crate::schedule::{Act, CLOSED, FREE, OPEN};
use crate::site::Wish;
use crate::world::{World, tell};

impl World {
    pub(crate) fn act(&mut self, act: Act) {
        if self.healing {
            return;
        }
        tell!(self, "act: {act:?}");
        match act {
            Act::Create(space) => self.create(space),
            Act::Join { at, space } => self.join(at, space),
            Act::Grant { to, space } => {
                let by = usize::from(self.dice.percent(30));
                let role = match self.dice.below(10) {
                    0 => Role::Reader,
                    1 | 2 => Role::Owner,
                    _ => Role::Writer,
                };
                if to != check::outsider(self) {
                    self.grant(by, self.sites[to].did, space, role);
                }
            }
            Act::GrantInsider { space } => self.grant_insider(space),
            Act::Write { at, space } => self.write(at, space, None),
            Act::Edit { at, space } => {
                let memory = self.any_memory(at, space);
                self.write(at, space, memory);
            }
            // Asked for at once, and carried out together.
            Act::Burst { at, space } => {
                self.together = Some(Vec::new());
                for _ in 0..20 {
                    let memory = self.any_memory(at, space);
                    self.write(at, space, memory);
                }
                let commands = self.together.take().unwrap();
                self.input(at, Input::Commands(commands));
            }
            Act::Begin { at, space } => {
                if let Some(id) = self.spaces[space] {
                    let count = 1 + self.dice.below(8);
                    let one = |_| encode_edits(&forge::edits(&mut self.dice, true));
                    let memories = (0..count).map(one).collect();
                    self.command(at, Command::Begin { space: id, memories }, Wish::Begin(id));
                }
                // Something written meanwhile follows.
                if self.dice.percent(50) {
                    let memory = self.any_memory(at, space);
                    self.write(at, space, memory);
                }
            }
            Act::Large { at, space } => {
                let value = Ipld::Bytes(vec![7; 45_000]);
                let edit = Edit::Set { path: Path::key("data"), value };
                self.change(at, space, None, Vec::new(), encode_edits(&[edit]));
            }
            Act::Import { at, from, space } => self.import(at, from, space),
            Act::Carry { to, from, space } => self.write_bundle(to, from, space),
            Act::Sync { at } => {
                self.command(at, Command::Sync { space: None }, Wish::Sync);
            }
            Act::Crash { at, off_for } => self.crash(at, off_for),
            Act::Partition => self.partition(),
            Act::Heal => self.end_partition(),
            Act::Cut { a, b } => {
                let link = self.links.current(a, b);
                self.drop_link(link);
            }
        }
        check::parity_is_exact(self);
    }

    pub(crate) fn command(&mut self, at: usize, command: Command, wish: Wish) {
        if self.sites[at].node.is_none() {
            return;
        }
        self.next_ticket += 1;
        let ticket: Ticket = self.next_ticket;
        self.sites[at].wishes.insert(ticket, wish);
        match &mut self.together {
            Some(commands) => commands.push((ticket, command)),
            None => self.input(at, Input::Command { ticket, command }),
        }
    }

    fn create(&mut self, space: usize) {
        let (write, read) = match space {
            OPEN => (Access::Members, Access::Open),
            CLOSED => (Access::Members, Access::Members),
            _ => (Access::Open, Access::Open),
        };
        let command =
            Command::CreateSpace { name: format!("space {space}"), policy: Policy { write, read } };
        self.command(0, command, Wish::Create(space));
    }

    fn join(&mut self, at: usize, space: usize) {
        if let Some(space) = self.spaces[space] {
            self.command(at, Command::Join { space }, Wish::Join(space));
        }
    }

    pub(crate) fn grant(&mut self, by: usize, to: Did, space: usize, role: Role) {
        if let Some(space) = self.spaces[space] {
            let grant = Grant { to, role, key: None, kinds: None, expires: None };
            self.command(by, Command::Grant { space, grant }, Wish::Grant(space));
        }
    }

    fn any_memory(&mut self, at: usize, space: usize) -> Option<MemoryId> {
        let number = *self.sites[at].disk.spaces().get(&self.spaces[space]?)?;
        let ids = self.sites[at].disk.ids(number, Set::Content);
        // Few memories, so that many edits meet in each.
        let memories: Vec<MemoryId> = ids
            .iter()
            .filter_map(|id| self.ledger.records[id].memory())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .take(4)
            .collect();
        self.dice.pick(&memories).copied()
    }

    /// The records of a memory on this disk that no other of them names.
    fn heads(&self, at: usize, space: &SpaceId, memory: &MemoryId) -> Vec<RecordId> {
        let disk = &self.sites[at].disk;
        let Some(number) = disk.spaces().get(space).copied() else { return Vec::new() };
        let (from, to) = layout::memory_records(number, memory);
        let ids: Vec<RecordId> = disk
            .scan(&from, &to, usize::MAX)
            .unwrap()
            .iter()
            .map(|(key, _)| layout::last_id(key).unwrap())
            .chain(disk.record(number, &memory.0).map(|_| memory.0))
            .collect();
        let named: BTreeSet<RecordId> =
            ids.iter().flat_map(|id| self.ledger.records[id].header().deps.clone()).collect();
        ids.into_iter().filter(|id| !named.contains(id)).collect()
    }

    fn write(&mut self, at: usize, space: usize, memory: Option<MemoryId>) {
        let Some(id) = self.spaces[space] else { return };
        let mut deps = memory.map(|memory| self.heads(at, &id, &memory)).unwrap_or_default();
        if self.dice.percent(15) && deps.len() > 1 {
            deps.truncate(1);
        }
        let newest = deps.len().saturating_sub(ocm_record::limits::DEPS);
        let edits = forge::edits(&mut self.dice, memory.is_none());
        self.change(at, space, memory, deps.split_off(newest), encode_edits(&edits));
    }

    fn change(
        &mut self,
        at: usize,
        space: usize,
        memory: Option<MemoryId>,
        deps: Vec<RecordId>,
        edits: Ipld,
    ) {
        if let Some(space) = self.spaces[space] {
            let command = Command::Change { space, memory, deps, edits };
            self.command(at, command, Wish::Change(space));
        }
    }

    /// Carries a space from one machine to another by hand, with something worthless among it.
    fn import(&mut self, at: usize, from: usize, space: usize) {
        let Some(id) = self.spaces[space] else { return };
        let disk = &self.sites[from].disk;
        let Some(number) = disk.spaces().get(&id).copied() else { return };
        if !check::may_read(self, at, space) {
            return;
        }
        let mut names = Vec::new();
        let mut records = Vec::new();
        for set in [Set::Authority, Set::Content] {
            for record in disk.ids(number, set) {
                names.push((id, record));
                records.push(disk.record(number, &record).unwrap().to_vec());
            }
        }
        if let Some(first) = records.first() {
            let copy = forge::garbage_copy(&mut self.dice, first);
            names.insert(0, names[0]);
            records.insert(0, copy);
        }
        self.command(at, Command::Import { space: None, records }, Wish::Import(names));
    }

    pub(crate) fn take_reply(
        &mut self,
        at: usize,
        ticket: Ticket,
        result: Result<Reply, CommandError>,
    ) {
        let wish = self.sites[at].wishes.remove(&ticket).expect("one reply to each command");
        tell!(self, "{at} is told: {wish:?} {result:?}");
        let outside = at == check::outsider(self);
        match (wish, result) {
            (Wish::Create(space), Ok(Reply::Space(id))) => {
                assert!(self.sites[at].disk.spaces().contains_key(&id), "begun before the flush");
                check::promise(&mut self.sites[at], id, id.0);
                self.spaces[space].get_or_insert(id);
            }
            (Wish::Join(space), Ok(Reply::Space(id))) => {
                assert_eq!(space, id);
                assert!(self.sites[at].disk.spaces().contains_key(&id), "joined before the flush");
            }
            (Wish::Grant(space), Ok(Reply::Record { id, .. })) => {
                check::promise(&mut self.sites[at], space, id);
            }
            (Wish::Change(space), Ok(Reply::Record { id, memory })) => {
                assert!(memory.is_some());
                assert!(!outside || self.spaces[FREE] == Some(space), "who is no member may write");
                check::promise(&mut self.sites[at], space, id);
            }
            (Wish::Begin(space), Ok(Reply::Begun(memories))) => {
                for memory in memories {
                    check::promise(&mut self.sites[at], space, memory.unwrap().0);
                }
            }
            (Wish::Import(names), Ok(Reply::Imported(verdicts))) => {
                assert_eq!(names.len(), verdicts.len());
                for ((space, id), verdict) in names.into_iter().zip(verdicts) {
                    if verdict.stands() {
                        check::promise(&mut self.sites[at], space, id);
                    }
                }
            }
            (Wish::Sync, Ok(Reply::Sessions(_))) => {}
            (wish @ (Wish::Bundle(_) | Wish::Page(_) | Wish::Witness(_)), Ok(reply)) => {
                bundles::told(self, wish, reply);
            }
            // It never had a bundle from there.
            (Wish::Bundle(_), Err(CommandError::Invalid(_))) => {}
            (
                _,
                Err(
                    CommandError::UnknownSpace(_)
                    | CommandError::EmptySpace(_)
                    | CommandError::NotPermitted { .. }
                    | CommandError::EndOfTime,
                ),
            ) => {}
            (wish, result) => panic!("{at} wished {wish:?} and is told {result:?}"),
        }
    }

    /// Sees to it that every space is begun, joined and open to all who are to have it. Returns
    /// the time when that is so.
    pub(crate) fn settle(&mut self) -> u64 {
        let deadline = self.now + check::HEAL_WITHIN;
        loop {
            self.run_until(self.now + 1500);
            let mut open = Vec::new();
            for space in [OPEN, CLOSED, FREE] {
                let Some(id) = self.spaces[space] else {
                    if space != FREE {
                        open.push(format!("create {space}"));
                        self.create(space);
                    }
                    continue;
                };
                for at in 1..self.plan.nodes {
                    if !self.sites[at].disk.spaces().contains_key(&id) {
                        open.push(format!("join {at} {space}"));
                        self.join(at, space);
                    }
                    let did = self.sites[at].did;
                    if at != check::outsider(self) && !self.ledger.has_role(&id, &did) {
                        open.push(format!("grant {at} {space}"));
                        self.grant(0, did, space, Role::Writer);
                    }
                }
            }
            if open.is_empty() {
                return self.now;
            }
            assert!(self.now < deadline, "owners wait for {open:?}");
        }
    }
}
