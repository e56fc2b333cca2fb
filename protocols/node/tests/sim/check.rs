//! What must hold, after every step and at the end.

use std::collections::BTreeMap;

use ocm_discovery::PeerId;
use ocm_memory::Document;
use ocm_node::layout::{self, SpaceNumber};
use ocm_node::{Node, ParityState, Settings, limits, view};
use ocm_record::{Did, Kind, MemoryId, RecordId, Set, SignedRecord, SpaceId, VerifiedRecord};
use ocm_sync::{Comparison, Parity, PushVerdict, Request, Response, Statement};

use crate::dice::Dice;
use crate::hostile::PRYING;
use crate::schedule::{CLOSED, FREE, OPEN};
use crate::site::{Channel, Site};
use crate::world::World;

/// Milliseconds after which a federation that works again holds the same everywhere.
pub(crate) const HEAL_WITHIN: u64 = 120_000;
/// Milliseconds after the longest pause between comparisons until parity is shown.
pub(crate) const PARITY_WITHIN: u64 = 60_000;
/// Ticks in one second past which a core is spinning.
pub(crate) const TICKS_PER_SECOND: u32 = 300;
/// Requests to one peer that have no answer yet.
const OPEN_REQUESTS: usize = 64;
/// Milliseconds within which every request is answered.
const ANSWER_WITHIN: u64 = 20_000;

/// A record that just became durable: verified, in its place, with all it builds on, by someone
/// with a right.
pub(crate) fn stored(world: &mut World, at: usize, key: &[u8], value: &[u8]) {
    let record = world.ledger.verify(value);
    let (id, header) = (record.id(), record.header());
    let disk = &world.sites[at].disk;
    let number = SpaceNumber(u32::from_be_bytes(key[1..5].try_into().unwrap()));
    assert_eq!(key, layout::record(number, record.set(), &id), "a record lies under its own key");
    let space = record.space();
    assert_eq!(disk.spaces().get(&space), Some(&number), "a record lies in its own space");
    assert!(record.body_bytes().is_some(), "{id} is stored without its body");
    for needed in header.deps.iter().chain(&header.auth) {
        assert!(disk.record(number, needed).is_some(), "{id} is stored on {at} without {needed}");
    }
    if header.kind == Kind::CHANGE {
        let memory = record.memory().unwrap();
        let marked = disk.has_key(&layout::memory_record(number, &memory, &id));
        assert_eq!(marked, memory.0 != id, "the mark of {id}");
        world.sites[at].arrived.push((memory, id));
    }
    let free = world.spaces[FREE] == Some(space);
    assert!(
        free && header.kind == Kind::CHANGE || world.ledger.has_role(&space, &record.author()),
        "{id} is stored on {at}, and its author has no right"
    );
    assert!(
        at != outsider(world) || world.spaces[CLOSED] != Some(space),
        "who is no member stores {id} of the closed space"
    );
}

/// The honest node that is a member of no space.
pub(crate) fn outsider(world: &World) -> usize {
    world.plan.nodes - 1
}

/// Whether everyone who runs `at` may read the space.
pub(crate) fn may_read(world: &World, at: usize, space: usize) -> bool {
    space != CLOSED
        || if at < world.plan.nodes { at != outsider(world) } else { world.is_insider(at) }
}

/// Something leaves a node.
pub(crate) fn sent(world: &World, at: usize, to: usize, bytes: &[u8]) {
    assert!(bytes.len() <= ocm_sync::limits::MESSAGE_BYTES, "a message of {} bytes", bytes.len());
    if let Some(space) = world.spaces[CLOSED]
        && !may_read(world, to, CLOSED)
    {
        let name = space.0.hash();
        let told = bytes.windows(name.len()).any(|part| part == name);
        assert!(!told, "{at} tells {to}, who is no member, of the closed space");
    }
}

/// What is published is ours, and durable.
pub(crate) fn published(site: &Site, space: &SpaceId, bytes: &[u8]) {
    let record = SignedRecord::decode(bytes).unwrap();
    assert!(site.disk.holds(space, &record.id()), "{record:?} is published before the flush");
}

/// A push is answered: what was taken is durable, and stays so.
pub(crate) fn answered(world: &mut World, at: usize, waiting: &Channel, response: &Response) {
    // Whoever has nothing of the space yet may be asked about it.
    let holds = world.spaces[CLOSED].filter(|id| world.sites[at].disk.holds(id, &id.0));
    if waiting.request > PRYING && holds.is_some() {
        let silent = match response {
            Response::Unknown | Response::Refused { .. } => true,
            Response::Spaces { shared } => shared.is_empty(),
            _ => false,
        };
        assert!(silent, "{at} tells who is no member of the closed space: {response:?}");
    }
    let Response::Pushed { verdicts } = response else { return };
    let Ok(Request::Push { records, .. }) = Request::decode(&waiting.bytes) else {
        panic!("something else than a push is answered like one")
    };
    assert_eq!(records.len(), verdicts.len(), "a verdict for each record");
    for (bytes, verdict) in records.iter().zip(verdicts) {
        if matches!(verdict, PushVerdict::Accept | PushVerdict::Duplicate) {
            let record = SignedRecord::decode(bytes).unwrap();
            promise(&mut world.sites[at], record.space(), record.id());
        }
    }
}

/// Someone was told that a record is durable here.
pub(crate) fn promise(site: &mut Site, space: SpaceId, id: RecordId) {
    assert!(site.disk.holds(&space, &id), "{id} is acknowledged before the flush");
    site.promised.insert((space, id));
}

pub(crate) fn nothing_promised_is_missing(site: &Site, at: usize) {
    for (space, id) in &site.promised {
        assert!(site.disk.holds(space, id), "{at} has lost {id}, which it acknowledged");
    }
}

pub(crate) fn limits_hold(site: &Site) {
    let Some(node) = &site.node else { return };
    let snapshot = node.snapshot();
    let (records, bytes) = snapshot.held;
    assert!(records <= limits::HELD_RECORDS && bytes <= limits::HELD_BYTES, "{records}, {bytes}");
    assert!(snapshot.refused.len() <= limits::LISTED_REFUSALS);
    assert!(snapshot.sessions <= limits::SESSIONS_PER_SPACE * snapshot.spaces.len());
    assert!(snapshot.batches >= site.disk.queued(), "what waits for the disk waits in the core");
    let mut open: BTreeMap<usize, usize> = BTreeMap::new();
    for to in site.asked.values() {
        *open.entry(*to).or_default() += 1;
    }
    let most = open.values().max().copied().unwrap_or_default();
    assert!(most <= OPEN_REQUESTS, "{most} requests to one peer at once");
}

/// The sets that a node stores of a space.
pub(crate) fn sets(
    site: &Site,
    space: &SpaceId,
) -> Option<[std::collections::BTreeSet<RecordId>; 2]> {
    let number = *site.disk.spaces().get(space)?;
    Some([Set::Authority, Set::Content].map(|set| site.disk.ids(number, set)))
}

/// Everyone who may hold a space holds the same of it.
pub(crate) fn converged(world: &World) -> Result<(), String> {
    for (index, space) in world.spaces.iter().enumerate() {
        let Some(space) = space else { continue };
        let first = sets(&world.sites[0], space).ok_or("the first node has no space")?;
        for (at, site) in world.sites.iter().enumerate() {
            if !may_read(world, at, index) {
                continue;
            }
            let own = sets(site, space).ok_or_else(|| format!("{at} has no space {index}"))?;
            if own != first {
                let lacking = |a: usize| first[a].difference(&own[a]).count();
                let more = |a: usize| own[a].difference(&first[a]).count();
                return Err(format!(
                    "node {at} lacks {} and {} of space {index}, node 0 {} and {}",
                    lacking(0),
                    lacking(1),
                    more(0),
                    more(1)
                ));
            }
        }
    }
    Ok(())
}

/// Every two honest nodes that are connected and share a space show each other as equal in it.
pub(crate) fn parity_is_shown(world: &World) -> Result<(), String> {
    for (a, b) in &world.plan.edges {
        for (at, other) in [(*a, *b), (*b, *a)] {
            if at >= world.plan.nodes || other >= world.plan.nodes {
                continue;
            }
            let snapshot = world.sites[at].node.as_ref().unwrap().snapshot();
            let peer = world.sites[other].peer;
            let shown = snapshot
                .peers
                .iter()
                .find(|shown| shown.peer == peer)
                .ok_or_else(|| format!("{at} and {other} are not connected"))?;
            for (index, space) in world.spaces.iter().enumerate() {
                let Some(space) = space else { continue };
                let shares = shown.shared.contains_key(space);
                let state = snapshot.parity(*space, peer);
                if !may_read(world, at, index) || !may_read(world, other, index) {
                    // Who has nothing of it may still believe what was true of two empty replicas.
                    let empty = at == outsider(world);
                    assert!(empty || !shares, "{at} shares space {index} with {other}");
                    continue;
                }
                if !shares {
                    return Err(format!("{at} does not share space {index} with {other}"));
                }
                let own = &snapshot.spaces.iter().find(|own| own.id == *space).unwrap().parity;
                let state = state
                    .ok_or_else(|| format!("{at} has not compared space {index} with {other}"))?;
                if state.comparison != Comparison::Equal || state.ours != *own {
                    let found = &state.comparison;
                    return Err(format!("{at} finds {other} {found:?} in space {index}"));
                }
            }
        }
    }
    Ok(())
}

/// Parity is equal exactly when the sets are; also while much is under way.
pub(crate) fn parity_is_exact(world: &mut World) {
    for at in 0..world.plan.nodes {
        let Some(node) = &world.sites[at].node else { continue };
        // What is durable and not yet acknowledged is not compared either.
        let snapshot = node.snapshot();
        if snapshot.batches > 0 {
            continue;
        }
        for space in &snapshot.spaces {
            let sets = sets(&world.sites[at], &space.id).unwrap();
            world.ledger.note_parity(sets, &space.parity);
        }
        for ((space, peer), state) in &snapshot.parities {
            compared_truly(world, at, (space, peer), state);
        }
    }
}

/// A comparison says what was compared: what the peer signed for this node, and what an honest one
/// did store when it did.
fn compared_truly(
    world: &World,
    at: usize,
    (space, peer): (&SpaceId, &PeerId),
    state: &ParityState,
) {
    let equal = state.comparison == Comparison::Equal;
    assert_eq!(equal, state.ours == state.theirs, "parity is not what was compared");
    assert_eq!(equal && state.comparable, state.equal_since_ms.is_some());
    assert!(equal || state.differs_since_ms.is_some(), "a difference has begun at some time");
    let other = world.peers[peer];
    let own = world.sites[at].peer;
    let Did::Key(key) = state.did else { panic!("{} speaks", state.did) };
    assert_eq!(
        state.stated.verify(&key, *space, peer, &own),
        Ok(state.theirs),
        "{at} keeps no statement"
    );
    if let Some(site) = world.sites.get(other) {
        assert_eq!(state.did, site.did, "node {other} speaks for itself");
        assert!(
            world.ledger.stated.contains(&(other, *space, state.theirs)),
            "{at} has of {other} what it never stated: {:?}",
            state.theirs
        );
        assert_eq!(state.doubt, None, "node {at} doubts honest node {other}");
    } else if state.theirs.authority.count + state.theirs.content.count > 0 {
        let passed = state.audit.is_some_and(|audit| audit.passed);
        assert!(!passed, "{other} proves to {at} what it does not have");
    }
    let (here, there) = (state.here.total(), state.there.total());
    assert!(!equal || (state.exact && here + there == 0), "{here} and {there} miss where none do");
    if state.exact && !equal {
        let total = |parity: &Parity| parity.authority.count + parity.content.count;
        assert_eq!(total(&state.ours) + here, total(&state.theirs) + there, "an exact difference");
    }
}

/// A node states what it stores: what an honest node says of its sets is true of them.
pub(crate) fn stated(world: &mut World, at: usize, statement: &Statement) {
    let parity = *statement.claims();
    let site = &world.sites[at];
    let snapshot = site.node.as_ref().unwrap().snapshot();
    let of: Vec<SpaceId> =
        snapshot.spaces.iter().filter(|own| own.parity == parity).map(|own| own.id).collect();
    assert!(!of.is_empty(), "{at} states what it does not show");
    for space in of {
        if world.ledger.stated.insert((at, space, parity)) && snapshot.batches == 0 {
            let sets = sets(&world.sites[at], &space).unwrap();
            world.ledger.note_parity(sets, &parity);
        }
    }
}

/// What a node that starts again has kept of its comparisons: nothing but what it had compared.
pub(crate) fn comparisons_are_kept(world: &mut World, at: usize) {
    let snapshot = world.sites[at].node.as_ref().unwrap().snapshot();
    for ((space, peer), state) in &snapshot.parities {
        let before = world.sites[at].compared.get(&(*space, *peer));
        let before = before.unwrap_or_else(|| panic!("{at} has compared nothing with {peer}"));
        assert!(state.at_ms <= *before, "{at} keeps a comparison that was not made");
        compared_truly(world, at, (space, peer), state);
    }
    world.summary.kept += snapshot.parities.len() as u64;
}

/// Whether anything is on its way to a disk.
pub(crate) fn any_writes(world: &World) -> bool {
    let nodes = world.sites.iter().filter_map(|site| site.node.as_ref());
    nodes.map(Node::snapshot).any(|snapshot| snapshot.batches > 0)
}

/// What must hold once all is healed and equal.
pub(crate) fn at_the_end(world: &mut World) {
    converged(world).unwrap();
    parity_is_exact(world);
    for at in 0..world.plan.nodes {
        let site = &world.sites[at];
        limits_hold(site);
        nothing_promised_is_missing(site, at);
        let (sets, records) = site.disk.sums();
        assert_eq!(sets, records, "the sets of node {at} hold what it stored");
        let late = |channel: &&Channel| channel.since + ANSWER_WITHIN < world.now;
        assert_eq!(
            site.channels.values().filter(late).count(),
            0,
            "node {at} leaves requests open"
        );
        let snapshot = site.node.as_ref().unwrap().snapshot();
        if world.plan.hostile == 0 {
            assert_eq!(snapshot.held, (0, 0), "node {at} holds what nothing is missing of");
        }
        for ((verdict, _), times) in &snapshot.admissions {
            match *verdict {
                "refuse" => world.summary.refused += times,
                "reject" => world.summary.rejected += times,
                "hold" => world.summary.held += times,
                _ => {}
            }
        }
        for state in snapshot.parities.values() {
            world.summary.audited += u64::from(state.audit.is_some_and(|audit| audit.passed));
            world.summary.doubted += u64::from(state.doubt.is_some());
        }
        let twins = snapshot.spaces.iter().map(|space| space.tallies.equivocations).sum::<u64>();
        world.summary.twins += twins;
        assert_eq!(snapshot.batches, 0, "node {at} still takes something in");
        reopened(world, at);
    }
    world.summary.records = world.ledger.records.len() as u64;
    contents_are_equal(world);
}

/// A node that starts again shows what it showed before.
fn reopened(world: &World, at: usize) {
    let site = &world.sites[at];
    let before = site.node.as_ref().unwrap().snapshot();
    let settings = Settings { compare_every_ms: world.plan.compare_every, ..Settings::default() };
    let (node, _) = Node::open(
        site.identity.clone(),
        settings,
        [at as u8; 32],
        site.clock(world.now),
        &site.disk,
    )
    .unwrap();
    let after = node.snapshot();
    assert_ne!(before.boot, after.boot);
    for (which, state) in &after.parities {
        let known = &before.parities[which];
        assert!(state.at_ms <= known.at_ms, "node {at} keeps a comparison that was not made");
    }
    let mut before: Vec<_> = before.spaces.iter().map(|s| (s.id, s.parity, s.tallies)).collect();
    let mut after: Vec<_> = after.spaces.iter().map(|s| (s.id, s.parity, s.tallies)).collect();
    before.sort_by_key(|space| space.0);
    after.sort_by_key(|space| space.0);
    assert_eq!(before, after, "node {at} after a restart");
}

/// Every node renders the same content from what it stores, in whatever order that came.
fn contents_are_equal(world: &mut World) {
    let mut dice = Dice::new(world.seed);
    for index in [OPEN, CLOSED, FREE] {
        let Some(space) = world.spaces[index] else { continue };
        let readers: Vec<usize> =
            (1..world.plan.nodes).filter(|at| may_read(world, *at, index)).collect();
        let number = world.sites[0].disk.spaces()[&space];
        let mut memories: BTreeMap<MemoryId, ()> = BTreeMap::new();
        for id in world.sites[0].disk.ids(number, Set::Content) {
            memories.extend(world.ledger.records[&id].memory().map(|memory| (memory, ())));
        }
        for memory in memories.keys() {
            let read = view::read_memory(&world.sites[0].disk, number, memory).unwrap();
            assert!(read.damaged.is_empty());
            let changes = read.records.into_iter().filter(|r| r.header().kind == Kind::CHANGE);
            let first = Document::build(changes).unwrap();
            let (content, heads) = (first.content().unwrap(), first.heads());
            let Some(at) = dice.pick(&readers) else { continue };
            let other = render_as_arrived(world, *at, memory, &mut dice);
            assert_eq!(other.content().unwrap(), content, "memory {memory} on {at} and 0");
            assert_eq!(other.heads(), heads, "heads of {memory} on {at} and 0");
        }
    }
}

/// Renders a memory in the order in which its records became durable, in portions.
fn render_as_arrived(world: &World, at: usize, memory: &MemoryId, dice: &mut Dice) -> Document {
    let mut records: Vec<VerifiedRecord> = world.sites[at]
        .arrived
        .iter()
        .filter(|(of, _)| of == memory)
        .map(|(_, id)| world.ledger.records[id].clone())
        .collect();
    if dice.percent(30) {
        dice.shuffle(&mut records);
    }
    let mut document = Document::build([]).unwrap();
    while !records.is_empty() {
        let portion = 1 + dice.below(records.len());
        document.add(records.drain(..portion)).unwrap();
    }
    document
}
