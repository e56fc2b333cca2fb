//! Damaged files: noticed at open or when read, never a shorter answer.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use super::*;

const RECORDS: u64 = 600;
const BODY: usize = 900;

/// A closed store of [`RECORDS`], over several segments of the engine.
fn filled(directory: &Path, body_bytes: usize) {
    let mut rig = Rig::new(open_sled(directory).unwrap());
    for n in 0..RECORDS {
        rig.submit(record(n, body_bytes)).unwrap();
        if n % 10 == 9 {
            for _ in 0..10 {
                rig.acks.blocking_recv().unwrap().result.unwrap();
            }
        }
    }
    rig.store.close().unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcomes {
    intact: u32,
    refused: u32,
}

/// Opens a damaged store, and fails unless the damage is harmless or noticed.
fn judge(directory: &Path, what: &str, outcomes: &mut Outcomes) {
    let opened = match open_sled(directory) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(error.to_string().len() > 40, "{what}: {error}");
            outcomes.refused += 1;
            return;
        }
    };
    let reader = opened.store.reader();
    for n in 0..RECORDS {
        match reader.get(&record_key(n)) {
            Ok(Some(value)) => assert_eq!(value, body(n, value.len()), "{what}: record {n}"),
            Ok(None) => panic!("{what}: record {n} is silently gone"),
            Err(error) => panic!("{what}: record {n} was not read at open: {error}"),
        }
    }
    assert_eq!(records(&reader).len() as u64, RECORDS, "{what}: a scan is silently shorter");
    outcomes.intact += 1;
}

fn flip(file: &Path, at: u64, bit: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at).unwrap();
}

fn flip_everywhere(original: &Path, steps: u64) -> Outcomes {
    let scratch = tempfile::tempdir().unwrap();
    let length = fs::metadata(original.join("sled/db")).unwrap().len();
    let mut outcomes = Outcomes::default();
    for step in 0..steps {
        let directory = scratch.path().join(step.to_string());
        copy(original, &directory);
        let at = (length - 1) * step / (steps - 1);
        flip(&directory.join("sled/db"), at, (step % 8) as u8);
        judge(&directory, &format!("bit flipped at {at} of {length}"), &mut outcomes);
        fs::remove_dir_all(&directory).unwrap();
    }
    outcomes
}

#[test]
fn a_flipped_bit_is_noticed_while_the_log_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), BODY);
    let outcomes = flip_everywhere(dir.path(), 48);
    assert!(outcomes.refused > 0, "{outcomes:?}");
}

#[test]
fn a_flipped_bit_is_noticed_after_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), BODY);
    open_sled(dir.path()).unwrap().store.close().unwrap();
    let outcomes = flip_everywhere(dir.path(), 48);
    assert!(outcomes.refused > 0, "{outcomes:?}");
}

#[test]
fn a_truncated_data_file_is_noticed() {
    for snapshot in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), BODY);
        if snapshot {
            open_sled(dir.path()).unwrap().store.close().unwrap();
        }
        let length = fs::metadata(dir.path().join("sled/db")).unwrap().len();
        let mut outcomes = Outcomes::default();
        for tenth in 0..10 {
            let scratch = tempfile::tempdir().unwrap();
            copy(dir.path(), scratch.path());
            let file =
                fs::OpenOptions::new().write(true).open(scratch.path().join("sled/db")).unwrap();
            file.set_len(length * tenth / 10).unwrap();
            judge(scratch.path(), &format!("cut to {tenth}0 %"), &mut outcomes);
        }
        assert!(outcomes.refused >= 8, "snapshot {snapshot}: {outcomes:?}");
    }
}

#[test]
fn a_lost_or_damaged_side_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(open_sled(dir.path()).unwrap());
    for n in 0..60 {
        rig.commit(record(n, 60_000)).unwrap();
    }
    rig.store.close().unwrap();
    open_sled(dir.path()).unwrap().store.close().unwrap();
    let names: Vec<_> = fs::read_dir(dir.path().join("sled/blobs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(!names.is_empty(), "large pages go to side files");
    for name in names {
        for lost in [true, false] {
            let scratch = tempfile::tempdir().unwrap();
            copy(dir.path(), scratch.path());
            let file = scratch.path().join("sled/blobs").join(&name);
            if lost {
                fs::remove_file(&file).unwrap();
            } else {
                flip(&file, fs::metadata(&file).unwrap().len() / 2, 3);
            }
            match open_sled(scratch.path()) {
                Err(_) => {}
                Ok(opened) => {
                    let reader = opened.store.reader();
                    let missing = (0..60).filter(|n| reader.get(&record_key(*n)) == Ok(None));
                    assert_eq!(missing.count(), 0, "silently gone");
                }
            }
        }
    }
}

#[test]
fn damaged_pages_are_salvaged_when_the_loss_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), BODY);
    open_sled(dir.path()).unwrap().store.close().unwrap();
    let data = dir.path().join("sled/db");
    let length = fs::metadata(&data).unwrap().len();
    let before = fs::read(&data).unwrap();
    let hit = (1..200).any(|step| {
        fs::write(&data, &before).unwrap();
        flip(&data, length * step / 200, 0);
        match open_sled(dir.path()) {
            Err(OpenError::Frontier(error)) => error.to_string().contains("entries could be read"),
            _ => false,
        }
    });
    assert!(hit, "no flip hit a live page");
    let opened = open_accepting(dir.path()).unwrap();
    assert!(opened.repairs.iter().any(|line| line.contains("sled.damaged-1")), "{opened:?}");
    let kept = records(&opened.store.reader());
    assert!(kept.len() as u64 > RECORDS * 9 / 10, "one page of {RECORDS} lost: {}", kept.len());
    assert!(dir.path().join("sled.damaged-1/db").exists());
    let mut rig = Rig::new(opened);
    for n in (0..RECORDS).filter(|n| !kept.contains(n)) {
        rig.commit(record(n, BODY)).unwrap();
    }
    rig.store.close().unwrap();
    let opened = open_sled(dir.path()).unwrap();
    assert_eq!(records(&opened.store.reader()).len() as u64, RECORDS);
}

/// The sets can be made again: where nothing else is damaged, nobody has to accept a loss.
#[test]
fn damaged_sets_are_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(open_sled(dir.path()).unwrap());
    for n in 0..40 {
        let mut batch = Batch::new();
        (n * 100..n * 100 + 100).for_each(|n| batch.append(record(n, 20)));
        rig.commit(batch).unwrap();
    }
    let total = sets::total(&rig.store.reader()).unwrap();
    rig.store.close().unwrap();
    open_sled(dir.path()).unwrap().store.close().unwrap();
    let length = fs::metadata(dir.path().join("sled/db")).unwrap().len();
    let hit = (1..400).find_map(|step| {
        let scratch = tempfile::tempdir().unwrap();
        copy(dir.path(), scratch.path());
        flip(&scratch.path().join("sled/db"), length * step / 400, 0);
        let opened = open_sled(scratch.path()).ok()?;
        opened.repairs.first()?.contains("all of them in the sets").then_some((scratch, opened))
    });
    let (scratch, opened) = hit.expect("no flip hit a node alone");
    assert_eq!(opened.repairs[1..], ["the sets were made again from 4000 records"]);
    let reader = opened.store.reader();
    assert_eq!(records(&reader), (0..4000).collect::<Vec<_>>());
    assert_eq!(sets::total(&reader).unwrap(), total);
    assert!(scratch.path().join("sled.damaged-1/db").exists());
    let mut rig = Rig::new(opened);
    rig.commit(record(4000, 20)).unwrap();
    rig.store.close().unwrap();
    let again = open_sled(scratch.path()).unwrap();
    assert!(again.repairs.is_empty() && again.audited, "{:?}", again.repairs);
    assert_eq!(records(&again.store.reader()).len(), 4001);
}

#[test]
fn a_damaged_snapshot_is_named_and_set_aside_when_the_loss_is_accepted() {
    for cut in [0, 5, 40] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 100);
        open_sled(dir.path()).unwrap().store.close().unwrap();
        let snapshot = fs::read_dir(dir.path().join("sled"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap."))
            .expect("sled writes a snapshot when it opens");
        let bytes = fs::read(&snapshot).unwrap();
        fs::write(&snapshot, &bytes[..cut]).unwrap();
        let error = open_sled(dir.path()).unwrap_err();
        let named = matches!(&error, OpenError::Engine(SledOpenError::Snapshot { file, .. })
            if *file == snapshot);
        assert!(named && error.to_string().contains("move that file away"), "{error}");
        let opened = open_accepting(dir.path()).unwrap();
        assert!(!opened.repairs.is_empty());
        assert_eq!(records(&opened.store.reader()).len() as u64, RECORDS, "nothing was lost");
        drop(opened);
        assert!(open_sled(dir.path()).is_ok());
    }
}

#[test]
fn an_engine_beyond_repair_is_set_aside_whole() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 100);
    fs::write(dir.path().join("sled/conf"), b"not what sled wrote, at all").unwrap();
    let error = open_sled(dir.path()).unwrap_err();
    assert!(error.to_string().contains("--accept-loss"), "{error}");
    let opened = open_accepting(dir.path()).unwrap();
    assert!(records(&opened.store.reader()).is_empty());
    assert!(dir.path().join("sled.damaged-1/db").exists());
    assert_eq!(opened.repairs.len(), 3, "{:?}", opened.repairs);
}

#[test]
fn a_removed_frontier_file_or_engine_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 100);
    let text = fs::read(dir.path().join("frontier")).unwrap();
    fs::remove_file(dir.path().join("frontier")).unwrap();
    let error = open_sled(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Frontier(FrontierError::Missing { .. })), "{error}");
    fs::write(dir.path().join("frontier"), &text[..text.len() / 2]).unwrap();
    let error = open_sled(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Frontier(FrontierError::Unreadable { .. })), "{error}");
    fs::write(dir.path().join("frontier"), &text).unwrap();
    open_sled(dir.path()).unwrap().store.close().unwrap();
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let error = open_sled(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Frontier(FrontierError::Shorter { .. })), "{error}");
}

#[test]
fn everything_on_disk_is_the_owners_alone() {
    fn check(path: &Path) {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                check(&entry.unwrap().path());
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("store");
    let mut rig = Rig::new(open_sled(&directory).unwrap());
    rig.commit(record(1, 100)).unwrap();
    check(&directory);
    rig.store.close().unwrap();
    let opened = open_sled(&directory).unwrap();
    check(&directory);
    drop(opened);
}
