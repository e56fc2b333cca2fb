//! Every way to the same records ends in the same.

use ipld_core::ipld::Ipld;
use ocm_node::{Hold, Verdict};
use ocm_record::{Kind, RecordId, SignedRecord, VerifiedRecord};
use ocm_space::{Grant, Role};
use proptest::prelude::*;

use crate::host::*;
use crate::scribe::*;

/// One more record of a history. The numbers choose among what was written before.
#[derive(Debug, Clone, Copy)]
struct Move {
    what: u8,
    by: u8,
    picks: [u16; 4],
}

/// What is handed on of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Copies {
    Whole,
    WithoutBody,
    Both,
    AndForged,
    None,
}

struct History {
    scribe: Scribe,
    records: Vec<(VerifiedRecord, Copies)>,
    /// Those that stand where each arrives whole, as soon as it is written.
    standing: Vec<VerifiedRecord>,
}

fn pick<T: Clone>(items: &[T], number: u16) -> Option<T> {
    items.get(usize::from(number) % items.len().max(1)).cloned()
}

impl History {
    fn of(moves: &[Move]) -> Self {
        let scribe = Scribe::new(CLOSED);
        let mut host = scribe.host(OWNER);
        let mut history = Self { scribe, records: Vec::new(), standing: Vec::new() };
        for made in moves {
            let record = history.write(made);
            if host.judge(&record.encode()).stands() {
                history.standing.push(record.clone());
            }
            let copies = match (made.picks[3] % 16, record.header().kind) {
                (0, Kind::CHANGE) => Copies::WithoutBody,
                (1, Kind::CHANGE) => Copies::Both,
                (2, _) => Copies::AndForged,
                (3, _) if made.picks[3] % 32 == 3 => Copies::None,
                _ => Copies::Whole,
            };
            history.records.push((record, copies));
        }
        history.records.push((history.scribe.genesis.clone(), Copies::Whole));
        history
    }

    /// What was written before, of a kind; mostly only what stands.
    fn all(&self, kind: Kind, number: u16) -> Vec<VerifiedRecord> {
        let written = self.records.iter().map(|(record, _)| record.clone()).collect();
        let mut all = if number % 8 == 1 { written } else { self.standing.clone() };
        all.retain(|record: &VerifiedRecord| record.header().kind == kind);
        all
    }

    /// What a well-meaning author names: nothing for the owner, else a grant; now and then one
    /// to somebody else.
    fn auth(&self, by: u8, number: u16) -> Vec<RecordId> {
        if by == OWNER {
            return vec![];
        }
        let to_author = |grant: &VerifiedRecord| {
            let content = grant.body().unwrap().unwrap().content;
            Grant::from_ipld(&content).unwrap().to == did(by)
        };
        let mut grants = self.all(Kind::GRANT, number / 8);
        if !number.is_multiple_of(8) {
            grants.retain(to_author);
        }
        pick(&grants, number).map(|grant| grant.id()).into_iter().collect()
    }

    fn write(&mut self, made: &Move) -> VerifiedRecord {
        let Move { what, mut by, picks: [a, b, c, _] } = *made;
        let mut auth = self.auth(by, a);
        if auth.is_empty() && a % 4 != 1 {
            (by, auth) = (OWNER, vec![]);
        }
        let changes = self.all(Kind::CHANGE, b);
        let one = pick(&changes, b);
        let mut two = pick(&changes, c);
        if let Some(one) = one.as_ref().filter(|_| c % 4 != 0) {
            let same: Vec<_> =
                changes.iter().filter(|other| other.memory() == one.memory()).cloned().collect();
            two = pick(&same, c);
        }
        let parts = Parts { auth: auth.clone(), ..Parts::default() };
        let on = |deps: &[&VerifiedRecord]| Parts {
            memory: deps[0].memory(),
            deps: deps.iter().map(|dep| dep.id()).collect(),
            ..parts.clone()
        };
        let scribe = &mut self.scribe;
        match (what % 12, one, two) {
            (0 | 1, ..) => {
                let to = u8::try_from(b % 5).unwrap() + 1;
                let roles = [Role::Owner, Role::Writer, Role::Writer, Role::Agent, Role::Reader];
                scribe.grant(by, to, roles[usize::from(c) % roles.len()], &auth)
            }
            (2 | 3, Some(one), Some(two)) => {
                // Now and then of two memories, which refuses it.
                scribe.write(by, Kind::CHANGE, title("join"), on(&[&one, &two]))
            }
            (4..=6, Some(one), _) => scribe.write(by, Kind::CHANGE, title("next"), on(&[&one])),
            (7 | 11, one, _) => {
                let place = Some((200, 2 + u64::from(c % 2)));
                let deps = one.iter().collect::<Vec<_>>();
                let base = if deps.is_empty() { parts } else { on(&deps) };
                scribe.write(by, Kind::CHANGE, title("twin"), Parts { place, ..base })
            }
            (8, ..) => {
                let ahead = 400 * DAY;
                scribe.write(by, Kind::CHANGE, title("ahead"), Parts { ahead, ..parts })
            }
            (9, Some(one), _) => {
                // Content proves no right.
                let auth = [auth, vec![one.id()]].concat();
                scribe.write(by, Kind::CHANGE, title("proof"), Parts { auth, ..parts })
            }
            (10, Some(one), _) => {
                let kind = Kind(60 + u64::from(b % 10));
                scribe.write(by, kind, Ipld::Null, on(&[&one]))
            }
            _ => scribe.write(by, Kind::CHANGE, title("start"), parts),
        }
    }

    fn copies(&self) -> Vec<Vec<u8>> {
        let of = |(record, copies): &(VerifiedRecord, Copies)| match copies {
            Copies::Whole => vec![record.encode()],
            Copies::WithoutBody => vec![record.encode_without_body()],
            Copies::Both => vec![record.encode_without_body(), record.encode()],
            Copies::AndForged => vec![forged(record), record.encode()],
            Copies::None => vec![],
        };
        self.records.iter().flat_map(of).collect()
    }
}

/// One way to hand over copies: their order, by the numbers, with repetitions, in batches.
#[derive(Debug, Clone)]
struct Way {
    order: Vec<u16>,
    cuts: Vec<usize>,
}

impl Way {
    fn batches(&self, copies: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
        // Every copy once, and some twice.
        let all = copies.iter().chain(copies.iter().take(copies.len() / 3));
        let keys = self.order.iter().copied().cycle();
        let mut keyed: Vec<(u16, &Vec<u8>)> = keys.zip(all).collect();
        keyed.sort_by_key(|(key, _)| *key);
        let mut rest: Vec<Vec<u8>> = keyed.into_iter().map(|(_, copy)| copy.clone()).collect();
        let mut batches = Vec::new();
        let mut cuts = self.cuts.iter().cycle();
        while !rest.is_empty() {
            let cut = rest.len().min(*cuts.next().unwrap());
            let later = rest.split_off(cut);
            batches.push(std::mem::replace(&mut rest, later));
        }
        batches
    }
}

fn arb_move() -> impl Strategy<Value = Move> {
    (any::<u8>(), prop_oneof![Just(OWNER), 2u8..6], any::<[u16; 4]>())
        .prop_map(|(what, by, picks)| Move { what, by, picks })
}

fn arb_way() -> impl Strategy<Value = Way> {
    let cut = prop_oneof![Just(1), 1usize..6, Just(1000)];
    (prop::collection::vec(any::<u16>(), 80), prop::collection::vec(cut, 5))
        .prop_map(|(order, cuts)| Way { order, cuts })
}

fn deliver(history: &History, way: &Way) -> Host {
    let mut host = Host::new(OWNER);
    host.join(history.scribe.space);
    for batch in way.batches(&history.copies()) {
        host.import(batch);
    }
    // What is held without being kept comes again, as anti-entropy would bring it: that can
    // refuse more, and admits nothing.
    let ids = host.ids(history.scribe.space);
    for _ in 0..2 {
        host.import(history.copies());
    }
    assert_eq!(host.ids(history.scribe.space), ids, "once is enough for what stands");
    host
}

/// The verdict on every copy now that all have been seen, and what that says of the hold buffer.
fn verdicts(host: &mut Host, history: &History) -> Vec<bool> {
    let stored = host.ids(history.scribe.space);
    let (mut held, mut stripped) = (0, 0);
    let before = host.node.snapshot().held;
    let mut seen = Vec::new();
    let verdicts = history
        .copies()
        .iter()
        .map(|copy| {
            let record = SignedRecord::decode(copy).unwrap();
            let verdict = host.judge(copy);
            let missing: Vec<_> = record.needs().filter(|id| !stored.contains(id)).collect();
            match &verdict {
                Verdict::Duplicate => assert!(stored.contains(&record.id())),
                Verdict::Hold(Hold::Dependency(_) | Hold::Authority(_)) => {
                    assert!(!missing.is_empty(), "{record:?} is held and misses nothing");
                    if !seen.contains(&record.id()) {
                        seen.push(record.id());
                        held += 1;
                        // Without its body it may be kept or not.
                        stripped += usize::from(!record.has_body());
                    }
                }
                Verdict::Hold(Hold::Body) => assert!(!record.has_body()),
                Verdict::Refuse(_) | Verdict::Reject(_) => {}
                other => panic!("{record:?}: {other:?}, though it was judged before"),
            }
            verdict.stands()
        })
        .collect();
    assert_eq!(host.node.snapshot().held, before, "judging again holds nothing more");
    assert!(
        (held - stripped..=held).contains(&before.0),
        "what is held is what was handed over and misses something: {before:?}, {held}"
    );
    verdicts
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn admission_depends_on_no_order(
        moves in prop::collection::vec(arb_move(), 1..24),
        ways in [arb_way(), arb_way()],
    ) {
        let history = History::of(&moves);
        let space = history.scribe.space;
        let in_order = Way { order: (0..u16::MAX).collect(), cuts: vec![1000] };
        let mut hosts = ways.iter().chain([&in_order]).map(|way| deliver(&history, way));
        let mut first = hosts.next().unwrap();
        let reached = verdicts(&mut first, &history);
        let (ids, shown) = (first.ids(space), first.space(space));
        prop_assert!(ids.is_sorted() || ids.len() > 1);
        prop_assert!(ids.contains(&space.0), "the genesis is always there");
        for mut host in hosts {
            prop_assert_eq!(&verdicts(&mut host, &history), &reached);
            prop_assert_eq!(&host.ids(space), &ids);
            prop_assert_eq!(host.space(space).parity, shown.parity);
            prop_assert_eq!(host.space(space).tallies, shown.tallies);
            prop_assert_eq!(host.space(space).state.members(), shown.state.members());
        }
        // Again, and after a new start: nothing is added.
        let before = first.disk.clone();
        first.import(history.copies());
        prop_assert_eq!(&first.disk, &before);
        let mut again = first.reopen(2);
        prop_assert_eq!(again.space(space).parity, shown.parity);
        prop_assert_eq!(again.space(space).tallies, shown.tallies);
        for batch in ways[0].batches(&history.copies()) {
            again.import(batch);
        }
        prop_assert_eq!(&again.disk, &before);
    }
}

/// Chains that arrive last record first are admitted whole by the first.
#[test]
fn a_chain_stands_once_its_beginning_is_here() {
    let mut scribe = Scribe::new(CLOSED);
    let grant = scribe.grant(OWNER, 2, Role::Writer, &[]);
    let mut chain = vec![scribe.start(2, &[grant.id()])];
    for _ in 0..40 {
        let next = scribe.change(2, chain.last().unwrap(), &[grant.id()]);
        chain.push(next);
    }
    let mut host = Host::new(OWNER);
    host.join(scribe.space);
    for record in chain.iter().rev().chain([&grant]) {
        assert!(matches!(host.judge(&record.encode()), Verdict::Hold(_)));
    }
    assert_eq!(host.node.snapshot().held.0, chain.len() + 1);
    host.accept(&scribe.genesis);
    assert_eq!(host.node.snapshot().held, (0, 0));
    assert_eq!(host.ids(scribe.space).len(), chain.len() + 2);
    assert!(chain.iter().all(|record| host.stores(record)));
}
