//! Signatures, checked beside the loop: one job after the other, each on all cores.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use ocm_node::JobId;
use ocm_record::{SignedRecord, VerifiedRecord, VerifyError, verify_batch};
use tokio::sync::mpsc::UnboundedSender;

/// Records below which a job is not worth a second core.
const SHARE: usize = 128;

/// What became of the records of a job, in their order.
pub(super) type Verified = (JobId, Vec<Result<VerifiedRecord, VerifyError>>);

/// A thread that verifies. Jobs end in the order in which they were begun, so that the pages of one
/// session are admitted as they came. It ends when this is dropped.
pub(super) struct Verifier(Sender<(JobId, Vec<SignedRecord>)>);

impl Verifier {
    /// Starts the thread; results go to `done`.
    pub(super) fn start(done: UnboundedSender<Verified>) -> std::io::Result<Self> {
        let (to, jobs) = channel();
        thread::Builder::new().name("verify".to_owned()).spawn(move || run(&jobs, &done))?;
        Ok(Self(to))
    }

    /// Begins a job.
    pub(super) fn begin(&self, job: JobId, records: Vec<SignedRecord>) {
        // The thread ends with this, or with the loop that wants its results.
        let _ = self.0.send((job, records));
    }
}

fn run(jobs: &Receiver<(JobId, Vec<SignedRecord>)>, done: &UnboundedSender<Verified>) {
    while let Ok((job, records)) = jobs.recv() {
        if done.send((job, verify(records))).is_err() {
            return;
        }
    }
}

fn verify(mut records: Vec<SignedRecord>) -> Vec<Result<VerifiedRecord, VerifyError>> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = records.len().div_ceil(cores).max(SHARE);
    let mut parts = Vec::new();
    while records.len() > share {
        parts.push(records.split_off(records.len() - share));
    }
    thread::scope(|scope| {
        let others: Vec<_> =
            parts.into_iter().rev().map(|part| scope.spawn(|| verify_batch(part))).collect();
        let mut verified = verify_batch(records);
        for other in others {
            match other.join() {
                Ok(more) => verified.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        verified
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_record::{Boot, Draft, Kind, RecordId, SigningKey, SpaceId, Time};

    fn record(n: u64, good: bool) -> SignedRecord {
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
        let record = draft.sign(&SigningKey::from_seed(&[1; 32]), vec![7; 20]).unwrap();
        let mut bytes = record.encode();
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
            verifier.begin(job, (0..*count).map(|n| record(n, n % 100 != 17)).collect());
        }
        for (expected, count) in (0..).zip(jobs) {
            let (job, verified) = results.recv().await.unwrap();
            assert_eq!((job, verified.len() as u64), (expected, count));
            for (n, result) in (0..).zip(verified) {
                match result {
                    Ok(record) => assert_eq!(record.time(), Time(2 + n)),
                    Err(_) => assert_eq!(n % 100, 17),
                }
            }
        }
    }
}
