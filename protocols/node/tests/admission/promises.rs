//! Nothing is said of a record before it is durable, but for the verdict that passes it on.

use std::collections::VecDeque;

use ocm_node::layout;
use ocm_node::storage::Batch;
use ocm_node::view::read_verified;
use ocm_node::{
    BatchId, Command, CommandError, Event, GossipVerdict, Input, Output, Reply, Verdict, limits,
};
use ocm_record::{MemoryId, RecordId, Set, SpaceId, Time, sign_batch, verify_batch};
use ocm_space::Role;
use ocm_sync::{PushVerdict, Request, Response};

use crate::host::*;
use crate::peer::*;
use crate::scribe::*;

/// Takes the commits out of what a node does. They are on their way, and nothing of them is on the
/// disk.
fn commits(out: Vec<Output>) -> (Vec<(BatchId, Batch)>, Vec<Output>) {
    let mut batches = Vec::new();
    let mut rest = Vec::new();
    for out in out {
        match out {
            Output::Commit { batch, writes } => batches.push((batch, writes)),
            other => rest.push(other),
        }
    }
    (batches, rest)
}

/// Makes a batch durable, and says so.
fn commit(host: &mut Host, (batch, writes): (BatchId, Batch)) -> Vec<Output> {
    host.disk.write(writes);
    host.tell_slowly(Input::Committed(batch))
}

/// Whether any of this tells someone that a record stands.
fn tells(out: &[Output]) -> bool {
    out.iter().any(|out| {
        matches!(
            out,
            Output::Reply { .. }
                | Output::Respond { .. }
                | Output::Publish { .. }
                | Output::Send { .. }
                | Output::Event(Event::Record { .. })
        )
    })
}

fn change(space: SpaceId) -> Command {
    Command::Change { space, memory: None, deps: vec![], edits: title("x") }
}

#[test]
fn a_reply_follows_its_commit() {
    let scribe = Scribe::new(READ_OPEN);
    let mut host = scribe.host(OWNER);
    let mut open = VecDeque::new();
    for ticket in 1..=3 {
        let command = change(scribe.space);
        let (batches, out) = commits(host.tell_slowly(Input::Command { ticket, command }));
        assert!(!tells(&out), "{out:?}");
        open.push_back((batches, ticket));
    }
    assert_eq!(host.space(scribe.space).parity.content.count, 0, "nothing is durable yet");
    while let Some((mut batches, expected)) = open.pop_front() {
        assert_eq!(batches.len(), 1, "one commit for each command");
        let out = commit(&mut host, batches.remove(0));
        let replied: Vec<_> = out
            .iter()
            .filter_map(|out| match out {
                Output::Reply { ticket, result } => Some((*ticket, result.is_ok())),
                _ => None,
            })
            .collect();
        assert_eq!(replied, [(expected, true)]);
        let published = out.iter().filter(|out| matches!(out, Output::Publish { .. })).count();
        assert_eq!(published, 1);
        assert_eq!(host.space(scribe.space).parity.content.count, expected);
    }
}

#[test]
fn the_answer_on_a_duplicate_waits_for_the_first() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let record = scribe.start(OWNER, &[]);
    let import = |host: &mut Host, ticket| {
        let records = vec![record.encode()];
        let mut out = host.tell_slowly(Input::Command {
            ticket,
            command: Command::Import { space: None, records },
        });
        if let Some(at) = out.iter().position(|out| matches!(out, Output::Verify { .. })) {
            let Output::Verify { job, records } = out.remove(at) else { panic!() };
            out.extend(host.tell_slowly(Input::Verified { job, results: verify_batch(records) }));
        }
        commits(out)
    };
    let (mut batches, out) = import(&mut host, 1);
    assert!(!tells(&out));
    let (none, out) = import(&mut host, 2);
    assert!(none.is_empty() && !tells(&out), "the first is still on its way: {out:?}");
    let first = batches.remove(0);
    let name = first.0;
    let out = commit(&mut host, first);
    let replies: Vec<_> = out
        .iter()
        .filter_map(|out| match out {
            Output::Reply { ticket, result: Ok(ocm_node::Reply::Imported(verdicts)) } => {
                Some((*ticket, verdicts[0].clone()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(replies, [(1, Verdict::Accept), (2, Verdict::Duplicate)]);
    // Another batch acknowledged twice, or one that never was, says nothing again.
    assert!(host.tell_slowly(Input::Committed(name)).is_empty());
    assert!(host.tell_slowly(Input::Committed(1_000_000)).is_empty());
}

/// The jobs of signing among these, done.
fn jobs(out: Vec<Output>) -> Vec<Input> {
    out.into_iter()
        .filter_map(|out| match out {
            Output::Sign { job, key, records } => {
                Some(Input::Verified { job, results: sign_batch(records, &key) })
            }
            _ => None,
        })
        .collect()
}

/// The one job of signing among these.
fn job(out: Vec<Output>) -> Option<Input> {
    let mut jobs = jobs(out);
    assert!(jobs.len() <= 1, "{jobs:?}");
    jobs.pop()
}

#[test]
fn what_follows_a_batch_that_is_being_signed_comes_after_it() {
    let scribe = Scribe::new(CLOSED);
    let (space, mut host) = (scribe.space, scribe.host(OWNER));
    let memories = vec![title("a"), title(&"x".repeat(61 * 1024)), title("b")];
    let command = Command::Begin { space, memories };
    let first = job(host.tell_slowly(Input::Command { ticket: 1, command })).unwrap();
    let out = host.tell_slowly(Input::Command { ticket: 2, command: change(space) });
    assert!(!tells(&out) && !out.iter().any(|out| matches!(out, Output::Commit { .. })));
    let second = job(out).unwrap();

    let mut replies = Vec::new();
    for input in [first, second] {
        let (mut batches, out) = commits(host.tell_slowly(input));
        assert_eq!((batches.len(), tells(&out)), (1, false), "one commit for each");
        for out in commit(&mut host, batches.remove(0)) {
            if let Output::Reply { ticket, result } = out {
                replies.push((ticket, result.unwrap()));
            }
        }
    }
    let [(1, Reply::Begun(begun)), (2, Reply::Record { id, memory })] = &replies[..] else {
        panic!("{replies:?}")
    };
    let [Ok(a), Err(CommandError::Malformed(_)), Ok(b)] = begun[..] else { panic!("{begun:?}") };
    assert_eq!(*memory, Some(MemoryId(*id)));
    let log: Vec<_> = [a.0, b.0, *id]
        .iter()
        .map(|id| {
            let at = layout::record(host.space(space).number, Set::Content, id);
            let record = read_verified(&host.disk.0[&at], id).unwrap();
            (record.header().seq, record.header().prev)
        })
        .collect();
    assert_eq!(log[1..], [(log[0].0 + 1, Some(a.0)), (log[0].0 + 2, Some(b.0))]);

    // Nothing is being signed: a record is signed at once, and goes on in the log.
    let (batches, out) =
        commits(host.tell_slowly(Input::Command { ticket: 3, command: change(space) }));
    assert_eq!((batches.len(), job(out).is_none()), (1, true));
}

#[test]
fn commands_that_waited_are_signed_and_made_durable_together() {
    let scribe = Scribe::new(READ_OPEN);
    let (space, mut host) = (scribe.space, scribe.host(OWNER));
    let other = SpaceId(RecordId::of_header(Time(1), b"another space"));
    let large = title(&"x".repeat(61 * 1024));
    let large = Command::Change { space, memory: None, deps: vec![], edits: large };
    let give = Command::Grant { space, grant: grant(OWNER + 1, Role::Writer) };
    let commands = [change(space), change(other), large, give, change(space)];
    let out = host.tell_slowly(Input::Commands((1..).zip(commands).collect()));
    let failed = |out: &Output| match out {
        Output::Reply { ticket, result: Err(_) } => Some(*ticket),
        _ => None,
    };
    let told: Vec<_> = out.iter().filter(|out| tells(std::slice::from_ref(out))).collect();
    let failed: Vec<_> = told.iter().filter_map(|out| failed(out)).collect();
    assert_eq!((failed, told.len()), (vec![2, 3], 2), "what fails holds up nothing");

    let (mut batches, out) = commits(host.tell_slowly(job(out).unwrap()));
    assert_eq!((batches.len(), tells(&out)), (1, false), "one commit for all");
    let out = commit(&mut host, batches.remove(0));
    let published = out.iter().filter(|out| matches!(out, Output::Publish { .. }));
    assert_eq!(published.count(), 3, "each goes its way");
    let mut log = Vec::new();
    for out in &out {
        if let Output::Reply { ticket, result } = out {
            let Ok(Reply::Record { id, .. }) = result else { panic!("{result:?}") };
            let set = if *ticket == 4 { Set::Authority } else { Set::Content };
            let at = layout::record(host.space(space).number, set, id);
            let record = read_verified(&host.disk.0[&at], id).unwrap();
            log.push((*ticket, record.id(), record.header().prev, record.header().seq));
        }
    }
    let [(1, a, _, seq), (4, b, after_a, _), (5, _, after_b, last)] = log[..] else {
        panic!("{log:?}")
    };
    assert_eq!((after_a, after_b, last), (Some(a), Some(b), seq + 2), "one log, in its order");
}

#[test]
fn commands_past_what_is_published_together_are_signed_in_several_jobs() {
    let scribe = Scribe::new(CLOSED);
    let (space, mut host) = (scribe.space, scribe.host(OWNER));
    let records = |out: &[Output]| -> Vec<usize> {
        let signed = |out: &Output| match out {
            Output::Sign { records, .. } => Some(records.len()),
            _ => None,
        };
        out.iter().filter_map(signed).collect()
    };
    let most = limits::SIGNED_TOGETHER;
    let many = (1..).zip(vec![change(space); most + 1]).collect();
    let out = host.tell_slowly(Input::Commands(many));
    assert_eq!(records(&out), [most, 1]);
    let mut replies = 0;
    for job in jobs(out) {
        let (mut batches, _) = commits(host.tell_slowly(job));
        let out = commit(&mut host, batches.remove(0));
        replies +=
            out.iter().filter(|out| matches!(out, Output::Reply { result: Ok(_), .. })).count();
    }
    assert_eq!(replies, most + 1);

    let begin = Command::Begin { space, memories: vec![title("x"); most] };
    let three = vec![(1, change(space)), (2, begin), (3, change(space))];
    let out = host.tell_slowly(Input::Commands(three));
    assert_eq!(records(&out), [1, most, 1], "a store takes no batch that is too large");
}

#[test]
fn a_batch_past_a_limit_or_without_a_right_begins_nothing() {
    let scribe = Scribe::new(CLOSED);
    let (space, mut host) = (scribe.space, scribe.host(OWNER));
    let begin = |memories| Command::Begin { space, memories };
    assert_eq!(host.command(begin(Vec::new())), Ok(Reply::Begun(Vec::new())));
    let many = vec![title("x"); limits::BEGUN_MEMORIES + 1];
    let large = vec![title(&"x".repeat(60_000)); limits::BEGUN_BYTES / 60_000 + 1];
    for memories in [many, large] {
        assert!(matches!(host.command(begin(memories)), Err(CommandError::Invalid(_))));
    }
    let mut stranger = scribe.host(OWNER + 1);
    let refused = stranger.command(begin(vec![title("x")]));
    assert!(matches!(refused, Err(CommandError::NotPermitted { .. })), "{refused:?}");
    assert_eq!(host.space(space).tallies.memories, 0);
    let all = vec![title("x"); limits::BEGUN_MEMORIES];
    let Ok(Reply::Begun(begun)) = host.command(begin(all)) else { panic!() };
    assert!(begun.iter().all(Result::is_ok));
    assert_eq!(host.space(space).tallies.memories, limits::BEGUN_MEMORIES as u64);
}

#[test]
fn what_is_not_durable_is_neither_served_nor_counted() {
    let mut scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, OWNER);
    assert!(peer.name(&mut host, scribe.space));
    host.wait(1000);
    let record = scribe.start(OWNER, &[]);
    let channel = host.number();
    let bytes = peer.push_request(scribe.space, &[record.encode()]).encode().unwrap();
    let out = host.tell_slowly(Input::Request { peer: peer.id, channel, bytes });
    let Some(Output::Verify { job, records }) = out.into_iter().next() else { panic!() };
    let results = verify_batch(records);
    let out = host.tell_slowly(Input::Verified { job, results });
    let (mut batches, out) = commits(out);
    assert!(!tells(&out), "{out:?}");
    let before = host.space(scribe.space).parity;
    assert_eq!(before.content.count, 0);
    let ids = vec![record.id()];
    let fetch = Request::Fetch { tag: peer.tag(scribe.space), ids: ids.clone(), room: u32::MAX }
        .encode()
        .unwrap();
    let asked = host.number();
    let out = host.tell_slowly(Input::Request { peer: peer.id, channel: asked, bytes: fetch });
    match Response::decode(&answer(&out, asked).unwrap()).unwrap() {
        Response::Records(page) => assert_eq!((page.records.len(), page.absent), (0, ids)),
        other => panic!("{other:?}"),
    }
    let out = commit(&mut host, batches.remove(0));
    let pushed = Response::decode(&answer(&out, channel).unwrap()).unwrap();
    assert_eq!(pushed, Response::Pushed { verdicts: vec![PushVerdict::Accept] });
    assert_eq!(host.space(scribe.space).parity.content.count, 1);
    let events = out.iter().filter(|out| matches!(out, Output::Event(Event::Record { .. })));
    assert_eq!(events.count(), 1);
}

#[test]
fn only_the_verdict_of_gossip_comes_before() {
    let mut scribe = Scribe::new(READ_OPEN);
    let mut host = scribe.host(OWNER);
    let peer = Peer::connect(&mut host, OWNER);
    let record = scribe.start(OWNER, &[]);
    let (peer, space, bytes) = (peer.id, scribe.space, record.encode());
    let out = host.tell_slowly(Input::Gossip { peer, message: 5, space, bytes });
    let (mut batches, out) = commits(out);
    let [Output::Judge { message: 5, gossip: GossipVerdict::Accept }] = out[..] else {
        panic!("{out:?}")
    };
    let out = commit(&mut host, batches.remove(0));
    assert!(out.iter().any(|out| matches!(out, Output::Event(Event::Record { .. }))));
    assert!(!out.iter().any(|out| matches!(out, Output::Publish { .. })), "gossip passes it on");
}

#[test]
fn a_crash_before_the_commit_leaves_nothing_behind() {
    let scribe = Scribe::new(CLOSED);
    let mut host = scribe.host(OWNER);
    let whole = host.disk.clone();
    let command = change(scribe.space);
    let out = host.tell_slowly(Input::Command { ticket: 1, command });
    assert!(out.iter().any(|out| matches!(out, Output::Commit { .. })) && !tells(&out));
    let mut again = Host::open(OWNER, 2, whole);
    assert_eq!(again.space(scribe.space).parity.content.count, 0);
    assert!(again.command(change(scribe.space)).is_ok());
    assert_eq!(again.space(scribe.space).tallies.memories, 1);
}

#[test]
fn a_clock_that_is_set_back_makes_no_bulk_last_longer() {
    let scribe = Scribe::new(CLOSED);
    let (space, mut host) = (scribe.space, scribe.host(OWNER));
    let memories = vec![title("a"); limits::BULK_MEMORIES];
    host.command(Command::Begin { space, memories }).unwrap();
    assert!(host.space(space).filling, "rows wait for more");
    host.now -= 3_600_000;
    host.tell(Input::Tick);
    assert!(host.space(space).filling, "it is as long ago as it was");
    host.now += limits::BULK_MS;
    host.tell(Input::Tick);
    assert!(!host.space(space).filling);
}
