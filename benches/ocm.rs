//! What a record costs: `cargo bench --bench ocm`, in under two minutes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use ocm::store::{Ack, AckSender, OpenOptions, Store, StoreReader, Unobserved};
use ocm_memory::{Document, create_edits, encode_edits};
use ocm_node::storage::Batch;
use ocm_node::{Command, Identity, Input, Node, Output, Reply, Settings};
use ocm_record::{
    Body, Boot, Draft, Kind, MemoryId, RecordId, SignedRecord, SigningKey, SpaceId, Time,
    VerifiedRecord, verify_batch,
};
use ocm_space::Policy;
use ocm_sync::{Initiator, SumTree, limits::RECONCILE_BYTES, respond};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Some 300 bytes of content.
fn content(n: u64) -> Value {
    json!({"title": format!("observation {n}"), "type": "note", "text": "x".repeat(230)})
}

fn key(n: u64) -> SigningKey {
    let mut seed = [1; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    SigningKey::from_seed(&seed)
}

fn some_space() -> SpaceId {
    SpaceId(RecordId::of_header(Time(1), b"a space"))
}

/// The `n`th record of a log: one that starts a memory, or changes it.
fn record(
    key: &SigningKey,
    n: u64,
    of: Option<(MemoryId, RecordId)>,
    edits: &Body,
) -> SignedRecord {
    let draft = Draft {
        space: some_space(),
        kind: Kind::CHANGE,
        memory: of.map(|(memory, _)| memory),
        author: None,
        boot: Boot::from_bytes([1; 16]),
        seq: n + 1,
        prev: (n > 0).then(|| RecordId::from_parts(Time(1), [2; 32])),
        deps: of.into_iter().map(|(_, head)| head).collect(),
        auth: Vec::new(),
        time: Time::from_millis(1_700_000_000_000 + n),
    };
    draft.sign(key, edits.encode()).unwrap()
}

fn body(content: ipld_core::ipld::Ipld) -> Body {
    Body { salt: [5; 16], lineage: Vec::new(), content }
}

fn start(key: &SigningKey, n: u64) -> SignedRecord {
    record(key, n, None, &body(encode_edits(&create_edits(&content(n)).unwrap())))
}

fn quick<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_millis(1500));
    group
}

fn verify(c: &mut Criterion) {
    let mut group = quick(c, "verify");
    let one_key: Vec<SignedRecord> = (0..256).map(|n| start(&key(0), n)).collect();
    let many_keys: Vec<SignedRecord> = (0..256).map(|n| start(&key(n), n)).collect();
    group.throughput(Throughput::Elements(1));
    group.bench_function("single", |b| b.iter(|| black_box(one_key[0].clone()).verify().unwrap()));
    group.throughput(Throughput::Elements(256));
    for (name, records) in [("256 of one key", &one_key), ("256 of many keys", &many_keys)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let verdicts = verify_batch(black_box(records.clone()));
                assert!(verdicts.iter().all(Result::is_ok));
            });
        });
    }
    group.finish();
}

/// A core and its store, as a process has them.
struct Writer {
    node: Node,
    store: Store,
    reader: StoreReader,
    space: SpaceId,
    acks: (AckSender, UnboundedReceiver<Ack>),
    now: u64,
    written: u64,
    _dir: TempDir,
}

impl Writer {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let opened = Store::open(dir.path(), OpenOptions::default(), Arc::new(Unobserved)).unwrap();
        let reader = opened.store.reader();
        let keys = Identity { author: key(1), peer: key(2) };
        let now = 1_700_000_000_000;
        let (node, _) = Node::open(keys, Settings::default(), [3; 32], now, &reader).unwrap();
        let mut writer = Self {
            node,
            store: opened.store,
            reader,
            space: some_space(),
            acks: unbounded_channel(),
            now,
            written: 0,
            _dir: dir,
        };
        let command = Command::CreateSpace { name: "bench".into(), policy: Policy::default() };
        let replies = writer.carry_out(vec![command]);
        let [Reply::Space(space)] = replies[..] else { panic!("{replies:?}") };
        writer.space = space;
        writer
    }

    /// Has the core sign and admit each, has the store make them durable, and takes the replies.
    fn carry_out(&mut self, commands: Vec<Command>) -> Vec<Reply> {
        let count = commands.len();
        let mut replies = Vec::with_capacity(count);
        for (ticket, command) in (0..).zip(commands) {
            self.now += 1;
            self.handle(Input::Command { ticket, command }, &mut replies);
        }
        while replies.len() < count {
            let ack = self.acks.1.blocking_recv().unwrap();
            ack.result.unwrap();
            self.handle(Input::Committed(ack.ticket), &mut replies);
        }
        replies
    }

    fn handle(&mut self, input: Input, replies: &mut Vec<Reply>) {
        for output in self.node.handle(input, self.now, &self.reader).unwrap() {
            match output {
                Output::Commit { batch, writes } => {
                    self.store.submit(batch, writes, &self.acks.0).unwrap();
                }
                Output::Reply { result, .. } => replies.push(result.unwrap()),
                _ => {}
            }
        }
    }

    /// As many new memories as one would write, at once.
    fn memories(&mut self, count: u64) -> Vec<Command> {
        let first = self.written;
        self.written += count;
        (first..first + count)
            .map(|n| Command::Change {
                space: self.space,
                memory: None,
                deps: Vec::new(),
                edits: encode_edits(&create_edits(&content(n)).unwrap()),
            })
            .collect()
    }
}

/// A local write from the command to the reply: signed, admitted, committed, synced. Beside it,
/// what the store alone takes for one batch of as many values of that size.
fn write(c: &mut Criterion) {
    let mut group = quick(c, "write");
    for count in [1, 16, 128, 1000] {
        group.throughput(Throughput::Elements(count));
        let mut writer = Writer::new();
        group.bench_function(BenchmarkId::new("core and store", count), |b| {
            b.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    let commands = writer.memories(count);
                    let began = Instant::now();
                    writer.carry_out(commands);
                    spent += began.elapsed();
                }
                spent
            });
        });
        let mut writer = Writer::new();
        let value = start(&key(0), 0).encode();
        let mut next = 0u64;
        group.bench_function(BenchmarkId::new("one bare batch", count), |b| {
            b.iter_batched(
                || {
                    let mut batch = Batch::new();
                    for _ in 0..count {
                        next += 1;
                        batch.put([&[b'x'][..], &next.to_be_bytes()].concat(), value.clone());
                    }
                    batch
                },
                |batch| {
                    writer.store.submit(0, batch, &writer.acks.0).unwrap();
                    writer.acks.1.blocking_recv().unwrap().result.unwrap();
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Ids as they come in: times that rise, hashes without order.
fn ids(count: u64) -> Vec<RecordId> {
    let header = |n: u64| n.to_le_bytes();
    (0..count).map(|n| RecordId::of_header(Time((n + 1) << 16), &header(n))).collect()
}

fn set(ids: impl Iterator<Item = RecordId>) -> SumTree {
    let mut set = SumTree::default();
    for id in ids {
        set.insert(id).unwrap();
    }
    set
}

/// Runs both sides to the end. Returns the number of ids found missing, of rounds and of bytes.
fn reconcile_all(ours: &SumTree, theirs: &SumTree) -> (usize, usize, usize) {
    let (initiator, first) = Initiator::start(ours, RECONCILE_BYTES);
    let (mut message, mut found, mut rounds, mut bytes) = (Some(first), 0, 0, 0);
    while let Some(asked) = message {
        let answer = respond(theirs, &asked, RECONCILE_BYTES).unwrap();
        let step = initiator.step(ours, &answer).unwrap();
        rounds += 1;
        bytes += asked.len() + answer.len();
        found += step.need.len() + step.have.len();
        message = step.reply;
    }
    (found, rounds, bytes)
}

/// Both sides of a reconciliation, where one lacks records here and there.
fn reconcile(c: &mut Criterion) {
    let mut group = quick(c, "reconcile");
    for size in [10_000u64, 100_000] {
        let all = ids(size);
        let theirs = set(all.iter().copied());
        for missing in [0, 100, 1000] {
            let lacks = |n: u64| missing > 0 && n % (size / missing) == 7;
            let ours = set((0..).zip(&all).filter(|(n, _)| !lacks(*n)).map(|(_, id)| *id));
            let (found, rounds, bytes) = reconcile_all(&ours, &theirs);
            assert_eq!(found as u64, missing);
            println!("reconcile {size}, {missing} missing: {rounds} rounds, {bytes} bytes");
            group.bench_function(BenchmarkId::new(format!("{size}"), missing), |b| {
                b.iter(|| reconcile_all(black_box(&ours), black_box(&theirs)));
            });
        }
    }
    group.finish();
}

/// A memory that was started and then edited, one change after the other.
fn memory(edits: u64) -> Vec<VerifiedRecord> {
    let first = start(&key(0), 0).verify().unwrap();
    let memory = MemoryId(first.id());
    let mut document = Document::build([first.clone()]).unwrap();
    let mut records = vec![first];
    for n in 1..=edits {
        let patch = json!({"title": format!("observation, edit {n}"), "edits": n});
        let edits = document.patch(&patch).unwrap();
        let head = document.heads()[0];
        let change = record(&key(n % 3), n, Some((memory, head)), &body(encode_edits(&edits)));
        let change = change.verify().unwrap();
        document.add([change.clone()]).unwrap();
        records.push(change);
    }
    records
}

/// The content of a memory from its records, with nothing kept from before.
fn render(c: &mut Criterion) {
    let mut group = quick(c, "render");
    for edits in [0, 10, 100] {
        let records = memory(edits);
        group.bench_function(BenchmarkId::new("edits", edits), |b| {
            b.iter(|| Document::build(black_box(records.clone())).unwrap().content().unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, verify, write, reconcile, render);
criterion_main!(benches);
