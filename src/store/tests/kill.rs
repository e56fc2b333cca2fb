//! A real process, killed while it writes; and two that want one directory.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

const CHILD: &str = "store::tests::kill::writes_in_several_batches_are_acknowledged_in_order";
const DIRECTORY: &str = "OCM_TEST_STORE_CHILD";

/// What the child process of the tests below runs: this test binary with [`DIRECTORY`] set.
#[test]
fn writes_in_several_batches_are_acknowledged_in_order() {
    match std::env::var_os(DIRECTORY) {
        Some(directory) => {
            write_and_report(Path::new(&directory), u64::MAX, &mut std::io::stdout().lock());
        }
        None => {
            let dir = tempfile::tempdir().unwrap();
            let mut out = Vec::new();
            write_and_report(dir.path(), 200, &mut out);
            let expected: String = (0..200).map(|n| format!("acknowledged {n}\n")).collect();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            let opened = open_sled(dir.path()).unwrap();
            assert!(records(&opened.store.reader()).iter().copied().take(200).eq(0..200));
        }
    }
}

/// Writes records, with several batches in flight, until it is killed or so many are acknowledged,
/// and prints the number of each that is.
fn write_and_report(directory: &Path, enough: u64, out: &mut dyn Write) {
    let opened = open_sled(directory).unwrap();
    let first = records(&opened.store.reader()).last().map_or(0, |last| last + 1);
    let mut rig = Rig::new(opened);
    let mut submitted = first;
    for acknowledged in first..first.saturating_add(enough) {
        while submitted < acknowledged + 40 {
            rig.submit(record(submitted, 700)).unwrap();
            submitted += 1;
        }
        rig.acks.blocking_recv().unwrap().result.unwrap();
        writeln!(out, "acknowledged {acknowledged}").unwrap();
        out.flush().unwrap();
    }
}

fn spawn(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Reads acknowledgements until there are `n` more, kills the child, and returns the last one that
/// it printed.
fn kill_after(child: &mut Child, n: usize) -> u64 {
    let mut last = None;
    let mut count = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some(number) = line.unwrap().strip_prefix("acknowledged ") {
            last = Some(number.parse().unwrap());
            count += 1;
            if count == n {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(count >= n, "the child ended by itself after {count}");
    last.unwrap()
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..6 {
        let last = kill_after(&mut spawn(dir.path()), 1 + round * 37);
        let opened = open_sled(dir.path()).unwrap();
        assert!(opened.repairs.is_empty());
        let reader = opened.store.reader();
        let found = records(&reader);
        assert!(found.len() as u64 > last, "{} of {last} are there", found.len());
        assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>(), "in order, without a hole");
        let newest = reader.get(b"\x02newest").unwrap().unwrap();
        assert_eq!(newest, (found.len() as u64 - 1).to_be_bytes(), "no half batch");
        assert_eq!(opened.frontier.records.count, found.len() as u64);
        for n in found {
            assert_eq!(reader.get(&record_key(n)).unwrap().unwrap(), body(n, 700));
        }
    }
}

#[test]
fn a_second_process_is_refused_and_told_the_number_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = spawn(dir.path());
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    while !lines.next().unwrap().unwrap().starts_with("acknowledged") {}
    let error = open_sled(dir.path()).unwrap_err();
    let expected = child.id();
    assert!(
        matches!(&error, OpenError::Lock(LockError::Held { pid: Some(pid), .. }) if *pid == expected),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("process {expected} owns")), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    // The lock ends with the process.
    let opened = open_sled(dir.path()).unwrap();
    let second = open_sled(dir.path()).unwrap_err();
    assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
    drop(opened);
    std::thread::sleep(Duration::from_millis(1));
    drop(open_sled(dir.path()).unwrap());
}
