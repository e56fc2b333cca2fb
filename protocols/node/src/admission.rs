//! The one door: what is decided on a record, whatever its origin.

use std::collections::VecDeque;

use ocm_discovery::PeerId;
use ocm_record::{Malformed, RecordId, SignedRecord, SpaceId, VerifiedRecord, VerifyError};

use crate::input::{JobId, MessageId};
use crate::limits;
use crate::node::{After, Job, Node, Purpose, Slot};
use crate::origin::Origin;
use crate::output::{GossipVerdict, Output};
use crate::snapshot::RefusalEntry;
use crate::storage::{ReadError, Reader};
use crate::verdict::{Hold, Refuse, Reject, Verdict};

impl Node {
    /// The checks that need no signature: size, form, space, known id, known copy.
    fn precheck(
        &self,
        decoded: Result<SignedRecord, Malformed>,
        space: Option<SpaceId>,
        store: &dyn Reader,
    ) -> Result<Result<SignedRecord, Checked>, ReadError> {
        let record = match decoded {
            Ok(record) => record,
            Err(error) => return Ok(Err(Checked(None, error.into()))),
        };
        let id = record.id();
        let decided = |verdict| Ok(Err(Checked(Some(id), verdict)));
        if space.is_some_and(|space| record.space() != space) {
            return decided(Verdict::Reject(Reject::WrongSpace));
        }
        let Some(space) = self.spaces.get(&record.space()) else {
            return decided(Verdict::Hold(Hold::UnknownSpace));
        };
        if space.knows_in(record.kind().set(), &id, store)? {
            return decided(Verdict::Duplicate);
        }
        if let Some(refuse) = self.refused.get(&id) {
            return decided(Verdict::Refuse(*refuse));
        }
        if !self.worthless.is_empty()
            && let Some(error) = self.worthless.get(&record.copy_hash())
        {
            return decided((*error).into());
        }
        if self.held.contains(&id) {
            return decided(Verdict::Hold(Hold::Dependency(Vec::new())));
        }
        Ok(Ok(record))
    }

    /// Decides on a verified record, and on every held one that waited for it.
    pub(crate) fn admit(
        &mut self,
        record: VerifiedRecord,
        origin: Origin,
        store: &dyn Reader,
    ) -> Result<Verdict, ReadError> {
        let mut first = None;
        let mut open = VecDeque::from([(record, origin)]);
        while let Some((record, origin)) = open.pop_front() {
            let verdict = self.admit_one(&record, origin, store)?;
            if matches!(verdict, Verdict::Accept | Verdict::Refuse(_)) {
                let waited = self.held.release(&record.id());
                open.extend(waited.into_iter().map(|held| (held.record, held.origin)));
            }
            first.get_or_insert(verdict);
        }
        Ok(first.unwrap_or(Verdict::Duplicate))
    }

    fn admit_one(
        &mut self,
        record: &VerifiedRecord,
        origin: Origin,
        store: &dyn Reader,
    ) -> Result<Verdict, ReadError> {
        let (id, header) = (record.id(), record.header());
        let Some(space) = self.spaces.get_mut(&record.space()) else {
            return Ok(Verdict::Hold(Hold::UnknownSpace));
        };
        let verdict = if space.knows_in(record.set(), &id, store)? {
            Verdict::Duplicate
        } else if header.deps.iter().chain(&header.auth).any(|id| self.refused.get(id).is_some()) {
            Verdict::Refuse(Refuse::Descendant)
        } else {
            space.judge(record, store)?
        };
        match &verdict {
            Verdict::Accept => {
                space.admit(record, &mut self.batch, store)?;
                let begins = space.begins_gossip(record);
                let genesis = header.kind == ocm_record::Kind::GENESIS;
                let space = space.id;
                self.clock.observe(record.time(), self.now);
                self.note_admitted(space, id, origin);
                if begins {
                    self.out.push(Output::Subscribe(space));
                }
                if genesis {
                    self.begun.push(space);
                }
            }
            Verdict::Hold(Hold::Dependency(missing) | Hold::Authority(missing)) => {
                // The owner is told at once; a record of ours never stands later by surprise. And
                // a copy without its body could not stand later, but would mask the whole one.
                if origin != Origin::Local && record.body_bytes().is_some() {
                    self.held.insert(record.clone(), origin, missing.clone());
                }
            }
            Verdict::Refuse(refuse) => self.refused.insert(id, *refuse),
            Verdict::Duplicate | Verdict::Hold(_) | Verdict::Reject(_) => {}
        }
        self.count(&verdict, Some(record.space()), Some(id), origin.peer());
        Ok(verdict)
    }

    /// Counts a verdict, and lists it where it turned a record away.
    pub(crate) fn count(
        &mut self,
        verdict: &Verdict,
        space: Option<SpaceId>,
        id: Option<RecordId>,
        peer: Option<PeerId>,
    ) {
        *self.admissions.entry((verdict.name(), verdict.reason())).or_default() += 1;
        let listed = matches!(
            verdict,
            Verdict::Reject(_)
                | Verdict::Refuse(_)
                | Verdict::Hold(Hold::Unsupported(_) | Hold::Body)
        );
        if listed {
            if self.refusals.len() == limits::LISTED_REFUSALS {
                self.refusals.pop_front();
            }
            self.refusals.push_back(RefusalEntry {
                at_ms: self.now,
                space,
                id,
                verdict: verdict.name(),
                reason: verdict.reason(),
                text: verdict.to_string(),
                peer,
            });
        }
    }

    /// A gossip message: verified singly and judged at once.
    pub(crate) fn gossip(
        &mut self,
        peer: PeerId,
        message: MessageId,
        space: SpaceId,
        bytes: &[u8],
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        if !self.is_allowed(&peer) {
            self.out.push(Output::Judge { message, gossip: GossipVerdict::Ignore });
            return Ok(());
        }
        let origin = Origin::Gossip(peer);
        let verdict = match self.precheck(SignedRecord::decode(bytes), Some(space), store)? {
            Err(Checked(id, verdict)) => {
                self.count(&verdict, Some(space), id, Some(peer));
                verdict
            }
            Ok(record) => {
                let (id, copy) = (record.id(), record.copy_hash());
                match record.verify() {
                    Err(error) => self.worthless_copy(copy, error, space, id, peer),
                    Ok(record) => self.admit(record, origin, store)?,
                }
            }
        };
        // A header without its body that passed every other check is worth passing on.
        let hint = |id: Option<RecordId>| id.map(|id| vec![id]);
        let (gossip, wanted) = match &verdict {
            Verdict::Accept => (GossipVerdict::Accept, None),
            Verdict::Hold(Hold::Body) => {
                (GossipVerdict::Accept, hint(SignedRecord::decode(bytes).ok().map(|r| r.id())))
            }
            Verdict::Hold(Hold::Dependency(ids) | Hold::Authority(ids)) => {
                (GossipVerdict::Ignore, Some(ids.clone()))
            }
            Verdict::Duplicate | Verdict::Hold(_) | Verdict::Refuse(_) => {
                (GossipVerdict::Ignore, None)
            }
            Verdict::Reject(_) => (GossipVerdict::Reject, None),
        };
        self.out.push(Output::Judge { message, gossip });
        if let Some(ids) = wanted {
            self.fetch_hint(peer, space, ids);
        }
        Ok(())
    }

    fn worthless_copy(
        &mut self,
        copy: [u8; 32],
        error: VerifyError,
        space: SpaceId,
        id: RecordId,
        peer: PeerId,
    ) -> Verdict {
        self.worthless.insert(copy, error);
        let verdict = Verdict::from(error);
        self.count(&verdict, Some(space), Some(id), Some(peer));
        verdict
    }

    /// Many records: prechecked now, verified away from the loop, admitted in the order of their
    /// ids when they come back. `space` is what they were sent for; an import names none.
    pub(crate) fn verify_many(
        &mut self,
        records: impl ExactSizeIterator<Item = Result<SignedRecord, Malformed>>,
        space: Option<SpaceId>,
        origin: Origin,
        purpose: Purpose,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let mut open = Vec::new();
        let mut slots = Vec::with_capacity(records.len());
        for decoded in records {
            slots.push(match self.precheck(decoded, space, store)? {
                Err(Checked(id, verdict)) => {
                    self.count(&verdict, space, id, origin.peer());
                    Slot::Decided(id, verdict)
                }
                Ok(record) => {
                    open.push(record.clone());
                    Slot::Verifying(record)
                }
            });
        }
        let job = self.next_id();
        self.jobs.insert(job, Job { origin, purpose, slots });
        if open.is_empty() {
            self.verified(job, Vec::new(), store)
        } else {
            self.out.push(Output::Verify { job, records: open });
            Ok(())
        }
    }

    /// The results of [`Self::verify_many`].
    pub(crate) fn verified(
        &mut self,
        job: JobId,
        results: Vec<Result<VerifiedRecord, VerifyError>>,
        store: &dyn Reader,
    ) -> Result<(), ReadError> {
        let Some(Job { origin, purpose, slots }) = self.jobs.remove(&job) else { return Ok(()) };
        let mut results = results.into_iter();
        let mut verdicts: Vec<(Option<RecordId>, Verdict)> = Vec::with_capacity(slots.len());
        let mut good: Vec<(VerifiedRecord, usize)> = Vec::new();
        for slot in slots {
            let verdict = match slot {
                Slot::Decided(id, verdict) => (id, verdict),
                Slot::Verifying(unverified) => match results.next() {
                    Some(Ok(record)) => {
                        good.push((record, verdicts.len()));
                        (Some(unverified.id()), Verdict::Duplicate)
                    }
                    Some(Err(error)) => {
                        let id = unverified.id();
                        self.worthless.insert(unverified.copy_hash(), error);
                        let verdict = Verdict::from(error);
                        self.count(&verdict, None, Some(id), origin.peer());
                        (Some(id), verdict)
                    }
                    None => break,
                },
            };
            verdicts.push(verdict);
        }
        // Dependencies have earlier times, hence lower ids; what an `auth` names may not.
        good.sort_by_key(|(record, _)| (record.set(), record.id()));
        for (record, at) in good {
            let verdict = self.admit(record, origin, store)?;
            verdicts[at].1 = verdict;
        }
        // What was held may have been released by a record later in the same page.
        for (id, verdict) in &mut verdicts {
            if let (Verdict::Hold(_), Some(id)) = (&*verdict, id)
                && self.stands(id, store)?
            {
                *verdict = Verdict::Accept;
            }
        }
        self.finish_job(purpose, verdicts);
        Ok(())
    }

    fn stands(&self, id: &RecordId, store: &dyn Reader) -> Result<bool, ReadError> {
        for space in self.spaces.values() {
            if space.knows(id, store)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn finish_job(&mut self, purpose: Purpose, verdicts: Vec<(Option<RecordId>, Verdict)>) {
        match purpose {
            Purpose::Push { channel, peer, space } => {
                let verdicts = verdicts.into_iter().map(|(_, verdict)| verdict).collect();
                self.promise(After::Pushed { channel, peer, space, verdicts });
            }
            Purpose::Session { peer, space, set, run } => {
                let verdicts =
                    verdicts.into_iter().filter_map(|(id, verdict)| Some((id?, verdict))).collect();
                self.promise(After::Fetched { peer, space, set, run, verdicts });
            }
            Purpose::Hint => {}
            Purpose::Import { ticket } => {
                let verdicts = verdicts.into_iter().map(|(_, verdict)| verdict).collect();
                self.promise(After::Reply(ticket, Ok(crate::output::Reply::Imported(verdicts))));
            }
        }
    }
}

/// A verdict that needed no signature, and the id it is about.
struct Checked(Option<RecordId>, Verdict);
