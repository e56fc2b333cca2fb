//! Signatures, made and checked beside the loop: one job after the other, each on all cores.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use ocm_node::JobId;
use ocm_record::{
    SignedRecord, SigningKey, UnsignedRecord, VerifiedRecord, VerifyError, sign_batch, verify_batch,
};
use tokio::sync::mpsc::UnboundedSender;

/// Records below which a job is not worth a second core.
const SHARE: usize = 128;

/// What became of the records of a job, in their order.
pub(super) type Verified = (JobId, Vec<Result<VerifiedRecord, VerifyError>>);

/// What is to be done with the records of a job.
enum Task {
    Verify(Vec<SignedRecord>),
    Sign(Box<SigningKey>, Vec<UnsignedRecord>),
}

/// A thread that signs and verifies. Jobs end in the order in which they were begun, so that the
/// pages of one session are admitted as they came, and this node's own records as they follow each
/// other. It ends when this is dropped.
pub(super) struct Verifier(Sender<(JobId, Task)>);

impl Verifier {
    /// Starts the thread; results go to `done`.
    pub(super) fn start(done: UnboundedSender<Verified>) -> std::io::Result<Self> {
        let (to, jobs) = channel();
        thread::Builder::new().name("verify".to_owned()).spawn(move || run(&jobs, &done))?;
        Ok(Self(to))
    }

    /// Begins to verify.
    pub(super) fn verify(&self, job: JobId, records: Vec<SignedRecord>) {
        self.begin(job, Task::Verify(records));
    }

    /// Begins to sign, and to verify what was signed.
    pub(super) fn sign(&self, job: JobId, key: SigningKey, records: Vec<UnsignedRecord>) {
        self.begin(job, Task::Sign(Box::new(key), records));
    }

    fn begin(&self, job: JobId, task: Task) {
        // The thread ends with this, or with the loop that wants its results.
        let _ = self.0.send((job, task));
    }
}

fn run(jobs: &Receiver<(JobId, Task)>, done: &UnboundedSender<Verified>) {
    while let Ok((job, task)) = jobs.recv() {
        let results = match task {
            Task::Verify(records) => on_all_cores(records, verify_batch),
            Task::Sign(key, records) => on_all_cores(records, |part| sign_batch(part, &key)),
        };
        if done.send((job, results)).is_err() {
            return;
        }
    }
}

/// Does the work in as many parts as there are cores; the results are in the order of the items.
fn on_all_cores<T: Send, R: Send>(
    mut items: Vec<T>,
    work: impl Fn(Vec<T>) -> Vec<R> + Sync,
) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(cores).max(SHARE);
    let mut parts = Vec::new();
    while items.len() > share {
        parts.push(items.split_off(items.len() - share));
    }
    thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> =
            parts.into_iter().rev().map(|part| scope.spawn(move || work(part))).collect();
        let mut done = work(items);
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_record::{Boot, Draft, Kind, RecordId, SpaceId, Time};

    fn key() -> SigningKey {
        SigningKey::from_seed(&[1; 32])
    }

    fn unsigned(n: u64) -> UnsignedRecord {
        let draft = Draft {
            space: SpaceId(RecordId::of_header(Time(1), b"a space")),
            kind: Kind::CHANGE,
            memory: None,
            author: None,
            boot: Boot::from_bytes([1; 16]),
            seq: 1,
            prev: None,
            deps: Vec::new(),
            auth: Vec::new(),
            time: Time(2 + n),
        };
        draft.prepare(key().public(), vec![7; 20]).unwrap()
    }

    fn record(n: u64, good: bool) -> SignedRecord {
        let mut bytes = unsigned(n).sign(&key()).encode();
        if !good {
            let at = bytes.len() - 40;
            bytes[at] ^= 1;
        }
        SignedRecord::decode(&bytes).unwrap()
    }

    #[tokio::test]
    async fn jobs_end_in_their_order_and_records_keep_theirs() {
        let (done, mut results) = tokio::sync::mpsc::unbounded_channel();
        let verifier = Verifier::start(done).unwrap();
        let jobs: Vec<u64> = vec![700, 1, 129, 0, 300];
        for (job, count) in (0..).zip(&jobs) {
            verifier.verify(job, (0..*count).map(|n| record(n, n % 100 != 17)).collect());
        }
        verifier.sign(5, key(), (0..400).map(unsigned).collect());
        for (expected, count) in (0..).zip(jobs.into_iter().chain([400])) {
            let (job, verified) = results.recv().await.unwrap();
            assert_eq!((job, verified.len() as u64), (expected, count));
            for (n, result) in (0..).zip(verified) {
                match result {
                    Ok(record) => assert_eq!(record.time(), Time(2 + n)),
                    Err(_) => assert_eq!((job < 5, n % 100), (true, 17)),
                }
            }
        }
    }
}
