//! Bundles, carried from one machine to another by hand.

use std::collections::VecDeque;

use ocm_node::bundle::{BundlePlan, BundleSince, NotKept, Whom, Witnessed, read_range};
use ocm_node::{Command, Reply, Verdict};
use ocm_record::{Set, SpaceId};
use ocm_sync::{BundleHead, BundleReader, BundleValue, BundleWriter, Span};

use crate::check;
use crate::ledger::Sets;
use crate::site::Wish;
use crate::world::World;

/// A bundle on its way.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    /// Who wrote it, for whom.
    from: usize,
    to: usize,
    space: SpaceId,
    /// What its writer stored when it was asked.
    sets: Sets,
    /// Whether it holds all of that, or what the other lacked.
    whole: bool,
    head: Option<Box<BundleHead>>,
    pages: VecDeque<Vec<Vec<u8>>>,
}

impl World {
    /// Has a machine write a bundle for another.
    pub(crate) fn write_bundle(&mut self, to: usize, from: usize, space: usize) {
        let Some(id) = self.spaces[space] else { return };
        if to != from && check::may_read(self, to, space) {
            self.begin_bundle(to, from, id, BundleSince::All);
        }
    }

    fn begin_bundle(&mut self, to: usize, from: usize, space: SpaceId, since: BundleSince) {
        let Some(sets) = check::sets(&self.sites[from], &space) else { return };
        let whole = since == BundleSince::All;
        let (head, pages) = (None, VecDeque::new());
        let carried = Carried { from, to, space, sets, whole, head, pages };
        self.command(from, Command::Bundle { space, since }, Wish::Bundle(Box::new(carried)));
    }

    /// It is written while other things happen, as a file, and read by the other machine.
    pub(crate) fn written(&mut self, mut carried: Box<Carried>, plan: &BundlePlan) {
        let claims = *plan.head.statement.claims();
        self.ledger.note_parity(carried.sets.clone(), &claims);
        self.ledger.stated.insert((carried.from, carried.space, claims));
        let disk = &self.sites[carried.from].disk;
        let number = disk.spaces()[&carried.space];
        let (mut writer, mut file) = BundleWriter::begin(&plan.head);
        for (set, spans) in [(Set::Authority, &plan.authority), (Set::Content, &plan.content)] {
            for span in spans {
                let mut next = Some(span.from);
                while let Some(from) = next {
                    let read = read_range(disk, number, set, Span { from, ..*span }).unwrap();
                    // Pages of any size are pages.
                    for records in read.records.chunks(1 + self.dice.below(7)) {
                        file.extend(writer.page(set, records));
                    }
                    next = read.next;
                }
            }
        }
        file.extend(writer.end());
        let mut reader = BundleReader::default();
        reader.feed(&file);
        while let Some(value) = reader.next_value().unwrap() {
            match value {
                BundleValue::Head(head) => carried.head = Some(head),
                BundleValue::Page { records, .. } => {
                    let records = records.into_iter().map(|record| record.into_vec());
                    carried.pages.push_back(records.collect());
                }
                BundleValue::End => reader.finish().unwrap(),
            }
        }
        self.next_page(carried);
    }

    fn next_page(&mut self, mut carried: Box<Carried>) {
        let (to, space) = (carried.to, Some(carried.space));
        match carried.pages.pop_front() {
            Some(records) => {
                self.command(to, Command::Import { space, records }, Wish::Page(carried));
            }
            None => {
                let head = carried.head.take().unwrap();
                self.command(to, Command::Witness { head }, Wish::Witness(carried));
            }
        }
    }

    /// A page was imported: all of it stands, since it stood where it comes from, and what it builds on
    /// came before it or was known to be there.
    pub(crate) fn page_imported(&mut self, carried: Box<Carried>, verdicts: &[Verdict]) {
        // An authority record may rest on one that comes in a later page.
        let held =
            |verdict: &Verdict| matches!(verdict, Verdict::Hold(ocm_node::Hold::Authority(_)));
        let unknown = |verdict: &Verdict| verdict.reason() == "unknown_space";
        let fine = |verdict: &Verdict| verdict.stands() || held(verdict) || unknown(verdict);
        assert!(verdicts.iter().all(fine), "{} does not admit {verdicts:?}", carried.to);
        if !verdicts.iter().any(unknown) {
            self.next_page(carried);
        }
    }

    /// All of it was imported: nothing is missing that its writer had.
    pub(crate) fn witnessed(&mut self, carried: &Carried, witnessed: &Witnessed) {
        let here = check::sets(&self.sites[carried.to], &carried.space).unwrap();
        for (here, there) in here.iter().zip(&carried.sets) {
            assert!(there.is_subset(here), "{} lacks what was in the bundle", carried.to);
        }
        assert_eq!(witnessed.exporter.peer, self.sites[carried.from].peer);
        assert_ne!(witnessed.not_kept, Some(NotKept::Own));
        self.summary.stated += u64::from(witnessed.not_kept.is_none());
        self.summary.carried += u64::from(!carried.whole);
        if self.dice.percent(60)
            && check::may_read(self, carried.from, self.index_of(carried.space))
        {
            // Back with what is missing there, after more was written.
            let peer = self.sites[carried.from].peer;
            let since = BundleSince::Parity(Whom::Peer(peer));
            self.begin_bundle(carried.from, carried.to, carried.space, since);
        }
    }

    fn index_of(&self, space: SpaceId) -> usize {
        self.spaces.iter().position(|id| *id == Some(space)).unwrap()
    }
}

/// What an owner is told of a bundle.
pub(crate) fn told(world: &mut World, wish: Wish, reply: Reply) {
    match (wish, reply) {
        (Wish::Bundle(carried), Reply::Bundle(plan)) => world.written(carried, &plan),
        (Wish::Page(carried), Reply::Imported(verdicts)) => {
            world.page_imported(carried, &verdicts);
        }
        (Wish::Witness(carried), Reply::Witnessed(witnessed)) => {
            world.witnessed(&carried, &witnessed);
        }
        (wish, reply) => panic!("{wish:?} is answered with {reply:?}"),
    }
}
