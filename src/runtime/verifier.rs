//! Signatures, made and checked beside the loop, each large job on all cores.

use std::num::NonZero;
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use ocm_node::JobId;
use ocm_record::{
    SignedRecord, SigningKey, UnsignedRecord, VerifiedRecord, VerifyError, sign_batch, verify_batch,
};
use tokio::sync::mpsc::UnboundedSender;

/// Records below which a job is not worth a second core.
const SHARE: usize = 32;

/// What became of the records of a job, in their order; or a thread has died, and with it its jobs.
pub(super) type Verified = Result<(JobId, Vec<Result<VerifiedRecord, VerifyError>>), Died>;

/// A thread that makes or verifies signatures has died.
#[derive(Debug)]
pub(super) struct Died;

/// Tells that its thread dies, when it is dropped because of that.
struct Watch(UnboundedSender<Verified>);

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(Err(Died));
        }
    }
}

/// Two threads: one verifies, one signs. Jobs of a thread end in the order in which they were begun,
/// so that the pages of one session are admitted as they came, and this node's own records as they
/// follow each other; and what the owner writes waits for no peer's pages. They end when this is
/// dropped.
pub(super) struct Verifier {
    verify: Sender<(JobId, Vec<SignedRecord>)>,
    sign: Sender<(JobId, (SigningKey, Vec<UnsignedRecord>))>,
}

impl Verifier {
    /// Starts the threads; results go to `done`.
    pub(super) fn start(done: UnboundedSender<Verified>) -> std::io::Result<Self> {
        let verify = begin("verify", done.clone(), |records| on_all_cores(records, verify_batch))?;
        let sign = begin("sign", done, |(key, records)| {
            on_all_cores(records, |part| sign_batch(part, &key))
        })?;
        Ok(Self { verify, sign })
    }

    /// Begins to verify.
    pub(super) fn verify(&self, job: JobId, records: Vec<SignedRecord>) {
        // The thread ends with this, or with the loop that wants its results.
        let _ = self.verify.send((job, records));
    }

    /// Begins to sign, and to verify what was signed.
    pub(super) fn sign(&self, job: JobId, key: SigningKey, records: Vec<UnsignedRecord>) {
        // As above.
        let _ = self.sign.send((job, (key, records)));
    }
}

/// Starts a thread that does one kind of job.
fn begin<T: Send + 'static>(
    name: &str,
    done: UnboundedSender<Verified>,
    work: impl Fn(T) -> Vec<Result<VerifiedRecord, VerifyError>> + Send + 'static,
) -> std::io::Result<Sender<(JobId, T)>> {
    let (to, jobs) = channel::<(JobId, T)>();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let done = Watch(done);
        while let Ok((job, records)) = jobs.recv() {
            if done.0.send(Ok((job, work(records)))).is_err() {
                return;
            }
        }
    })?;
    Ok(to)
}

/// Does the work in as many parts as there are cores; the results are in the order of the items.
fn on_all_cores<T: Send, R: Send>(
    mut items: Vec<T>,
    work: impl Fn(Vec<T>) -> Vec<R> + Sync,
) -> Vec<R> {
    if items.len() <= SHARE {
        return work(items);
    }
    let share = items.len().div_ceil(cores()).max(SHARE);
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

/// How many cores there are; to ask the system takes as long as a signature.
fn cores() -> usize {
    static CORES: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));
    *CORES
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
        let counts = [700, 1, 129, 0, 300, 400, 3];
        let signs = |job: u64| job >= 5;
        for (job, count) in (0..).zip(counts) {
            if signs(job) {
                verifier.sign(job, key(), (0..count).map(unsigned).collect());
            } else {
                verifier.verify(job, (0..count).map(|n| record(n, n % 100 != 17)).collect());
            }
        }
        let mut ended = Vec::new();
        for _ in counts {
            let (job, verified) = results.recv().await.unwrap().unwrap();
            ended.push(job);
            assert_eq!(verified.len() as u64, counts[job as usize]);
            for (n, result) in (0..).zip(verified) {
                match result {
                    Ok(record) => assert_eq!(record.time(), Time(2 + n)),
                    Err(_) => assert_eq!((signs(job), n % 100), (false, 17)),
                }
            }
        }
        // Those of each kind in their order.
        ended.sort_by_key(|job| signs(*job));
        assert_eq!(ended, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[tokio::test]
    async fn the_death_of_a_thread_is_told_while_another_lives() {
        let (done, mut results) = tokio::sync::mpsc::unbounded_channel();
        let dying = begin("dying", done.clone(), |()| panic!("as the test asks for")).unwrap();
        let living = begin("living", done, |()| Vec::new()).unwrap();
        dying.send((1, ())).unwrap();
        assert!(matches!(results.recv().await, Some(Err(Died))));
        living.send((2, ())).unwrap();
        assert!(matches!(results.recv().await, Some(Ok((2, done))) if done.is_empty()));
    }
}
