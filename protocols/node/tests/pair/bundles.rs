//! Two cores that never meet, and a stick between them.

use ipld_core::ipld;
use ocm_node::bundle::{BundlePlan, BundleSince, NotKept, Whom, Witnessed, exporter, read_range};
use ocm_node::{Command, CommandError, Input, Output, Reply, Verdict, layout};
use ocm_record::{RecordId, Set, SpaceId};
use ocm_space::Access;
use ocm_sync::{BundleHead, BundleReader, BundleValue, BundleWriter, Comparison, Span};

use crate::rig::{NOW, Rig, connect, talk};

impl Rig {
    fn ask(&mut self, command: Command) -> Result<Reply, CommandError> {
        self.ask_at(NOW, command)
    }

    fn ask_at(&mut self, now: u64, command: Command) -> Result<Reply, CommandError> {
        let input = Input::Command { ticket: 0, command };
        let mut outputs = self.node.handle(input, now, &self.disk).unwrap();
        let refused =
            outputs.iter().position(|o| matches!(o, Output::Reply { result: Err(_), .. }));
        if let Some(at) = refused
            && let Output::Reply { result: Err(error), .. } = outputs.remove(at)
        {
            self.carry_out(now, outputs);
            return Err(error);
        }
        self.carry_out(now, outputs);
        Ok(self.replies.pop().unwrap())
    }

    fn plan(&mut self, space: SpaceId, since: BundleSince) -> BundlePlan {
        match self.ask(Command::Bundle { space, since }).unwrap() {
            Reply::Bundle(plan) => *plan,
            other => panic!("{other:?}"),
        }
    }

    /// A bundle, as bytes.
    fn bundle(&mut self, space: SpaceId, since: BundleSince) -> Vec<u8> {
        let plan = self.plan(space, since);
        let number = self.disk.spaces()[&space];
        let (mut writer, mut bytes) = BundleWriter::begin(&plan.head);
        let parts = [(Set::Authority, &plan.authority), (Set::Content, &plan.content)];
        for (set, spans) in parts {
            for span in spans {
                let mut next = Some(span.from);
                while let Some(from) = next {
                    let span = Span { from, ..*span };
                    let read = read_range(&self.disk, number, set, span).unwrap();
                    assert_eq!(read.damaged, []);
                    if !read.records.is_empty() {
                        bytes.extend(writer.page(set, &read.records));
                    }
                    next = read.next;
                }
            }
        }
        let (authority, content) = writer.records();
        assert_eq!(authority + content, plan.records);
        bytes.extend(writer.end());
        bytes
    }

    /// Imports the pages of a bundle: its head, and what became of the records.
    fn pages(&mut self, bundle: &[u8]) -> (BundleHead, Vec<Verdict>) {
        let mut reader = BundleReader::default();
        reader.feed(bundle);
        let (mut head, mut all) = (None, Vec::new());
        while let Some(value) = reader.next_value().unwrap() {
            match value {
                BundleValue::Head(its) => head = Some(*its),
                BundleValue::Page { records, .. } => {
                    let space = Some(head.as_ref().unwrap().space);
                    let records = records.into_iter().map(|record| record.into_vec()).collect();
                    match self.ask(Command::Import { space, records }).unwrap() {
                        Reply::Imported(verdicts) => all.extend(verdicts),
                        other => panic!("{other:?}"),
                    }
                }
                BundleValue::End => reader.finish().unwrap(),
            }
        }
        (head.unwrap(), all)
    }

    fn witness(&mut self, head: BundleHead) -> Witnessed {
        self.witness_at(NOW, head).unwrap()
    }

    fn witness_at(&mut self, now: u64, head: BundleHead) -> Result<Witnessed, CommandError> {
        match self.ask_at(now, Command::Witness { head: Box::new(head) })? {
            Reply::Witnessed(witnessed) => Ok(witnessed),
            other => panic!("{other:?}"),
        }
    }

    fn import(&mut self, bundle: &[u8]) -> (Witnessed, Vec<Verdict>) {
        let (head, verdicts) = self.pages(bundle);
        (self.witness(head), verdicts)
    }

    fn begin(&mut self, space: SpaceId, memories: i128) -> Vec<RecordId> {
        let all: Vec<_> = (0..memories).map(|n| ipld!([[0, ["n"], n]])).collect();
        let mut ids = Vec::new();
        for memories in all.chunks(ocm_node::limits::BEGUN_MEMORIES) {
            match self.ask(Command::Begin { space, memories: memories.to_vec() }).unwrap() {
                Reply::Begun(begun) => {
                    ids.extend(begun.into_iter().map(|memory| memory.unwrap().0));
                }
                other => panic!("{other:?}"),
            }
        }
        ids
    }

    fn count(&self, space: SpaceId) -> u64 {
        self.node.snapshot().spaces.iter().find(|s| s.id == space).unwrap().parity.content.count
    }
}

/// Two writers of one space that have never met: the first owns it.
fn apart(read: Access) -> (Rig, Rig, SpaceId) {
    let (mut a, mut b) = (Rig::new(1), Rig::new(2));
    let space = a.create(read);
    a.grant(space, b.did);
    b.command(Command::Join { space });
    (a, b, space)
}

#[test]
fn a_stick_alone_brings_both_to_parity_and_both_know_it() {
    let (mut a, mut b, space) = apart(Access::Members);
    a.begin(space, 1500);
    let (first, verdicts) = b.import(&a.bundle(space, BundleSince::All));
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Accept));
    assert_eq!(verdicts.len(), 1502);
    assert_eq!((first.comparison, first.not_kept), (Comparison::Equal, None));
    assert_eq!((first.exporter.peer, first.exporter.did), (a.peer, a.did));

    // Back with what the first does not have, and no more.
    b.begin(space, 7);
    let anyone = BundleSince::Parity(Whom::Anyone);
    let (back, verdicts) = a.import(&b.bundle(space, anyone));
    let accepted = verdicts.iter().filter(|verdict| **verdict == Verdict::Accept).count();
    assert_eq!((back.comparison, accepted), (Comparison::Equal, 7));
    assert!(verdicts.len() < 30, "{} records for 7", verdicts.len());
    assert_eq!(a.count(space), 1507);
    // What the second knows of the first is from before.
    let known = |rig: &Rig, of: &Rig| rig.node.snapshot().parity(space, of.peer).cloned().unwrap();
    let of_first = known(&b, &a);
    assert!(of_first.differs_since_ms.is_some() && of_first.ours.content.count == 1500);
    assert!(known(&a, &b).equal_since_ms.is_some() && known(&a, &b).stated.is_by_bundle());
    // A third bundle tells it, with nothing but authority records in it.
    for whom in [Whom::Peer(b.peer), Whom::Did(b.did), Whom::Anyone] {
        let plan = a.plan(space, BundleSince::Parity(whom));
        assert_eq!((plan.records, plan.content), (2, vec![]));
    }
    let (third, _) = b.import(&a.bundle(space, anyone));
    assert_eq!((third.comparison, third.not_kept), (Comparison::Equal, None));
    assert!(known(&b, &a).equal_since_ms.is_some());
    // It is kept, with what the next bundle needs.
    let mut again = Rig::open(2, std::mem::take(&mut b.disk));
    assert!(known(&again, &a).equal_since_ms.is_some());
    assert_eq!(again.plan(space, BundleSince::Parity(Whom::Peer(a.peer))).content, []);
}

#[test]
fn what_came_late_with_an_old_time_is_in_the_next_bundle() {
    let (mut a, mut b, space) = apart(Access::Open);
    let mut c = Rig::new(3);
    a.grant(space, c.did);
    c.command(Command::Join { space });
    c.import(&a.bundle(space, BundleSince::All));
    let late = c.begin(space, 1);
    let from_c = c.bundle(space, BundleSince::All);
    a.begin(space, 2000);
    b.import(&a.bundle(space, BundleSince::All));
    a.import(&b.bundle(space, BundleSince::All));
    // Older than all that the second has.
    a.import(&from_c);
    let since = BundleSince::Parity(Whom::Peer(b.peer));
    let (witnessed, verdicts) = b.import(&a.bundle(space, since));
    assert_eq!(witnessed.comparison, Comparison::Equal);
    assert!(b.disk.holds(&space, &late[0]));
    assert!(verdicts.len() < 100, "{}", verdicts.len());
    // By its time it would have been missed.
    let after = a.plan(space, BundleSince::Time(NOW + 1));
    assert!(after.content.iter().all(|span| !span.contains(&late[0])));
    let all = a.plan(space, BundleSince::Time(late[0].time().millis()));
    assert!(all.content.iter().any(|span| span.contains(&late[0])));
}

#[test]
fn the_same_again_changes_nothing_and_verifies_nothing() {
    let (mut a, mut b, space) = apart(Access::Open);
    a.begin(space, 100);
    let bundle = a.bundle(space, BundleSince::All);
    b.import(&bundle);
    let before = b.export(space);
    // Nothing would be verified.
    b.verifies = false;
    let (witnessed, verdicts) = b.import(&bundle);
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Duplicate));
    assert_eq!((witnessed.comparison, witnessed.not_kept), (Comparison::Equal, None));
    assert_eq!(b.export(space), before);
}

#[test]
fn what_is_written_while_a_bundle_is_made_is_not_in_it() {
    let (mut a, mut b, space) = apart(Access::Open);
    let first = a.begin(space, 3);
    let plan = a.plan(space, BundleSince::All);
    let second = a.begin(space, 1);
    a.grant(space, Rig::new(3).did);
    let inside = |id| plan.content.iter().any(|span| span.contains(&id));
    assert!(first.into_iter().all(inside) && !inside(second[0]));
    let members = a.node.snapshot().spaces[0].state.members();
    let grants = members.iter().map(|member| member.by).collect::<Vec<_>>();
    let inside = grants.iter().filter(|id| plan.authority.iter().any(|span| span.contains(id)));
    assert_eq!((inside.count(), grants.len()), (2, 3));
    // So who had nothing is equal to what was stated, whatever was written meanwhile.
    let number = a.disk.spaces()[&space];
    for (set, spans) in [(Set::Authority, &plan.authority), (Set::Content, &plan.content)] {
        let read = read_range(&a.disk, number, set, spans[0]).unwrap();
        let records = read.records.into_iter().map(|record| record.into_vec()).collect();
        b.ask(Command::Import { space: Some(space), records }).unwrap();
    }
    assert_eq!(b.witness(plan.head).comparison, Comparison::Equal);
}

#[test]
fn what_is_not_known_is_told() {
    let (mut a, mut b, space) = apart(Access::Members);
    let nobody = a.ask(Command::Bundle { space, since: BundleSince::Parity(Whom::Anyone) });
    assert!(nobody.unwrap_err().to_string().contains("no bundle with this space"));
    assert_eq!(
        b.ask(Command::Bundle { space, since: BundleSince::All }),
        Err(CommandError::EmptySpace(space))
    );
    let bundle = a.bundle(space, BundleSince::All);
    let mut c = Rig::new(3);
    let (head, verdicts) = c.pages(&bundle);
    assert!(verdicts.iter().all(|v| (v.name(), v.reason()) == ("hold", "unknown_space")));
    assert_eq!(c.witness_at(NOW, head.clone()), Err(CommandError::UnknownSpace(space)));
    assert_eq!(b.witness_at(NOW, head), Err(CommandError::EmptySpace(space)));
    b.import(&bundle);
    let other = b.ask(Command::Bundle { space, since: BundleSince::Parity(Whom::Did(c.did)) });
    assert!(other.unwrap_err().to_string().contains(&c.did.to_string()));
}

#[test]
fn records_of_another_space_do_not_come_in() {
    let (mut a, mut b, space) = apart(Access::Open);
    let other = a.create(Access::Open);
    b.command(Command::Join { space: other });
    let records = a.export(other);
    match b.ask(Command::Import { space: Some(space), records }).unwrap() {
        Reply::Imported(verdicts) => {
            assert!(verdicts.iter().all(|v| (v.name(), v.reason()) == ("reject", "wrong_space")));
        }
        reply => panic!("{reply:?}"),
    }
    assert!(!b.holds(other));
}

#[test]
fn a_head_that_was_changed_is_not_believed() {
    let (mut a, mut b, space) = apart(Access::Open);
    let bundle = a.bundle(space, BundleSince::All);
    let (head, _) = b.pages(&bundle);
    let (mut c, shared) = (Rig::new(3), a.create(Access::Open));
    let foreign = c.create(Access::Open);
    let another = c.plan(foreign, BundleSince::All).head;
    let changed = [
        BundleHead { space: shared, ..head.clone() },
        BundleHead { from: another.from, ..head.clone() },
        BundleHead { certificate: another.certificate.clone(), ..head.clone() },
        BundleHead { statement: another.statement.clone(), ..head.clone() },
        BundleHead { description: vec![0xe1].into(), ..head.clone() },
        BundleHead { from: [0; 38], ..head.clone() },
        // Another's in all but the space.
        BundleHead { space, ..another },
    ];
    for changed in changed {
        assert!(exporter(&changed).is_err());
        assert!(matches!(b.witness_at(NOW, changed), Err(CommandError::Invalid(_))));
    }
    assert_eq!(b.node.snapshot().parities.len(), 0);
    assert_eq!(b.witness(head).not_kept, None);
}

#[test]
fn a_statement_that_says_nothing_of_now_is_not_kept() {
    let (mut a, mut b, space) = apart(Access::Members);
    let at = |rig: &mut Rig, now| match rig
        .ask_at(now, Command::Bundle { space, since: BundleSince::All })
        .unwrap()
    {
        Reply::Bundle(plan) => plan.head,
        other => panic!("{other:?}"),
    };
    b.import(&a.bundle(space, BundleSince::All));
    let day = 24 * 60 * 60 * 1000;
    let (old, new, far) = (at(&mut a, NOW + 1), at(&mut a, NOW + 2), at(&mut a, NOW + 3 * day));
    assert_eq!(b.witness_at(NOW, far).unwrap().not_kept, Some(NotKept::Ahead));
    assert_eq!(b.witness_at(NOW, new).unwrap().not_kept, None);
    assert_eq!(b.witness_at(NOW, old.clone()).unwrap().not_kept, Some(NotKept::Older));
    let own = at(&mut b, NOW + 5);
    assert_eq!(b.witness(own).not_kept, Some(NotKept::Own));
    // Who holds no role is not shown, whatever it has.
    let mut c = Rig::new(3);
    c.command(Command::Join { space });
    c.pages(&a.bundle(space, BundleSince::All));
    let strange = at(&mut c, NOW + 6);
    let witnessed = b.witness(strange);
    assert_eq!(
        (witnessed.comparison, witnessed.not_kept),
        (Comparison::Equal, Some(NotKept::Stranger))
    );
    assert_eq!(b.node.snapshot().parities.len(), 1);

    // A comparison over a connection takes its place, and stays until a later bundle.
    let mut now = NOW + 10_000;
    connect(&mut a, &mut b, now);
    talk(&mut a, &mut b, &mut now, 3000);
    let peer = a.peer;
    let stated = |rig: &Rig| rig.node.snapshot().parity(space, peer).unwrap().stated.clone();
    assert!(!stated(&b).is_by_bundle());
    let during = at(&mut a, now);
    assert_eq!(b.witness_at(now, during).unwrap().not_kept, Some(NotKept::Connected));
    b.give(now, Input::Disconnected(a.peer));
    assert_eq!(b.witness_at(now, old).unwrap().not_kept, Some(NotKept::Older));
    assert!(!stated(&b).is_by_bundle());
    let later = at(&mut a, now + 5000);
    assert_eq!(b.witness_at(now + 6000, later).unwrap().not_kept, None);
    assert!(stated(&b).is_by_bundle());
    assert_eq!(b.node.snapshot().parity(space, a.peer).unwrap().at_ms, now + 5000);
}

#[test]
fn a_bundle_that_begins_late_leaves_what_builds_on_more() {
    let (mut a, mut b, space) = apart(Access::Open);
    let first = a.begin(space, 1)[0];
    let memory = Some(ocm_record::MemoryId(first));
    let change = Command::Change { space, memory, deps: vec![first], edits: ipld!([]) };
    let Ok(Reply::Record { id, .. }) = a.ask_at(NOW + 10, change) else { panic!() };
    let (head, verdicts) = b.pages(&a.bundle(space, BundleSince::Time(NOW + 10)));
    let held: Vec<_> = verdicts.iter().filter(|v| **v != Verdict::Accept).collect();
    assert!(matches!(held[..], [v] if (v.name(), v.reason()) == ("hold", "dependency")));
    let witnessed = b.witness(head);
    assert_eq!(witnessed.comparison, Comparison::ContentDiffers { ours: 0, theirs: 2 });
    let state = b.node.snapshot().parity(space, a.peer).cloned().unwrap();
    assert_eq!((state.here.not_asked, state.exact), (2, false));
    // The whole one releases it.
    b.import(&a.bundle(space, BundleSince::All));
    assert!(b.disk.holds(&space, &id));
}

#[test]
fn what_is_damaged_is_left_out_and_named() {
    let mut a = Rig::new(1);
    let space = a.create(Access::Open);
    let ids = a.begin(space, 300);
    let number = a.disk.spaces()[&space];
    let key = layout::record(number, Set::Content, &ids[150]);
    a.disk.durable.get_mut(&key).unwrap()[60] ^= 1;
    let read = read_range(&a.disk, number, Set::Content, Span::all()).unwrap();
    assert_eq!((read.records.len(), read.next, read.damaged), (299, None, vec![ids[150]]));
    // From one id on, and below another.
    let span = Span { from: ids[100], to: ids[160] };
    let read = read_range(&a.disk, number, Set::Content, span).unwrap();
    assert_eq!((read.records.len(), read.damaged.len()), (59, 1));
    let none = Span { from: ids[7], to: ids[7] };
    assert_eq!(read_range(&a.disk, number, Set::Content, none).unwrap(), Default::default());
}

#[test]
fn whom_a_bundle_is_for_is_to_be_said_where_bundles_of_several_came() {
    let (mut a, mut b, space) = apart(Access::Open);
    let mut c = Rig::new(3);
    a.grant(space, c.did);
    c.command(Command::Join { space });
    let all = a.bundle(space, BundleSince::All);
    for rig in [&mut b, &mut c] {
        rig.import(&all);
        a.import(&rig.bundle(space, BundleSince::All));
    }
    let told = a.ask(Command::Bundle { space, since: BundleSince::Parity(Whom::Anyone) });
    let told = told.unwrap_err().to_string();
    for peer in [b.peer, c.peer] {
        assert!(told.contains(&peer.to_string()), "{told}");
        a.plan(space, BundleSince::Parity(Whom::Peer(peer)));
    }
}

#[test]
fn a_damaged_record_that_a_bundle_met_comes_again_by_a_bundle() {
    let (mut a, mut b, space) = apart(Access::Open);
    let ids = a.begin(space, 5);
    let whole = a.bundle(space, BundleSince::All);
    b.import(&whole);
    let at = ocm_node::layout::record(b.disk.spaces()[&space], Set::Content, &ids[2]);
    *b.disk.durable.get_mut(&at).unwrap().last_mut().unwrap() ^= 1;
    let mut b = Rig::open(2, std::mem::take(&mut b.disk));
    let number = b.disk.spaces()[&space];
    let span = b.plan(space, BundleSince::All).content[0];
    let damaged = read_range(&b.disk, number, Set::Content, span).unwrap().damaged;
    assert_eq!(damaged, [ids[2]]);
    assert_eq!(b.ask(Command::Reread { space, ids: ids.clone() }), Ok(Reply::Reread));
    assert_eq!(b.count(space), 4, "it is not counted as stored any more");
    let (compared, _) = b.import(&whole);
    assert_eq!((compared.comparison, b.count(space)), (Comparison::Equal, 5));
    assert_eq!(b.export(space), a.export(space));
}
