//! What strangers send: no input brings the decoder down, and none makes it reserve more memory
//! than a small record needs.

use ipld_core::ipld::Ipld;
use ocm_record::{Body, RecordId, SignedRecord, from_canonical, limits};
use proptest::prelude::*;

use crate::fixture::{assemble, body, draft, key};

/// Every way in.
fn decode(bytes: &[u8]) {
    let _ = SignedRecord::decode(bytes).map(|record| {
        let id = record.id();
        let _ = record.verify().map(|record| assert_eq!(record.id(), id));
    });
    let _ = SignedRecord::decode(&assemble(bytes, &[0; 64], Some(bytes)));
    let _ = Body::decode(bytes);
    let _ = from_canonical::<Ipld>(bytes);
    let _ = from_canonical::<Vec<RecordId>>(bytes);
    let _ = from_canonical::<String>(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        decode(&bytes);
    }

    #[test]
    fn spoilt_records_are_survived(
        at in any::<prop::sample::Index>(),
        cut in 0..12usize,
        put in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let said = body(Ipld::List(vec![Ipld::String("said".into()), Ipld::Integer(-70_000)]));
        for whole in [draft().sign(&key(1), said.clone()).unwrap().encode(), said.clone()] {
            let at = at.index(whole.len());
            let end = (at + cut).min(whole.len());
            decode(&[&whole[..at], &put, &whole[end..]].concat());
        }
    }

    #[test]
    fn arbitrary_texts_are_survived(text in ".*", digits in "[0-9a-v]{60,68}") {
        for text in [text.clone(), format!("v{digits}"), format!("did:key:{text}"),
            format!("did:key:z{digits}"), format!("did:plc:{text}")]
        {
            if let Ok(id) = text.parse::<RecordId>() {
                prop_assert_eq!(id.to_string(), &text[..]);
            }
            if let Ok(did) = text.parse::<ocm_record::Did>() {
                prop_assert_eq!(did.to_string(), &text[..]);
            }
        }
    }
}

/// Texts that promise far more than they hold, each at the largest size a body may have.
fn liars() -> Vec<(&'static str, Vec<u8>)> {
    let size = limits::BODY_BYTES;
    let filled = |head: &[u8]| [head, &vec![0; size - head.len()]].concat();
    let nested = |head: &[u8], levels: usize| filled(&head.repeat(levels));
    let mut all = vec![
        ("an array of 2^64 - 1", filled(&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255])),
        ("an array of 2^32 - 1", filled(&[0x9a, 255, 255, 255, 255])),
        ("a map of 2^63", filled(&[0xbb, 0x80, 0, 0, 0, 0, 0, 0, 0])),
        ("a map of 2^64 - 1", filled(&[0xbb, 255, 255, 255, 255, 255, 255, 255, 255])),
        ("bytes of 2^64 - 1", filled(&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255])),
        ("text of 2^32 - 1", filled(&[0x7a, 255, 255, 255, 255])),
        ("bytes of unknown length", filled(&[0x5f])),
        ("arrays of unknown length", vec![0x9f; size]),
        ("arrays in arrays", vec![0x81; size]),
        ("maps in maps", [0xa1, 0x60].repeat(size / 2)),
        ("tags on tags", [0xd8, 42].repeat(size / 2)),
        ("empty arrays", [&[0x99, 0xe0, 0x00][..], &vec![0x80; 0xe000]].concat()),
        ("zeros", [&[0x99, 0xe0, 0x00][..], &vec![0; 0xe000]].concat()),
    ];
    // Each level promises no more than what follows; together they promise 60 times that.
    all.push(("arrays that each promise all the rest", nested(&[0x99, 0xec, 0x00], 60)));
    all.push(("maps that each promise all the rest", nested(&[0xb9, 0x76, 0x00, 0x60], 60)));
    all
}

/// The name of this test, for the process that is started to run it in little memory.
const NAME: &str = "hostile::promises_reserve_no_memory";
const INSIDE: &str = "OCM_TEST_IN_LITTLE_MEMORY";

/// Run in a process of its own with 40 MiB of address space, half of which the process itself and
/// the largest honest text take: reserving what the texts promise ends it.
#[test]
#[cfg(target_os = "linux")]
fn promises_reserve_no_memory() {
    if std::env::var_os(INSIDE).is_some() {
        for (what, bytes) in liars() {
            eprintln!("{what}");
            decode(&bytes);
        }
        return;
    }
    let test = std::env::current_exe().unwrap();
    let run = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 40960 && exec \"$0\" --exact \"$1\" --test-threads=1 --nocapture"])
        .arg(test)
        .arg(NAME)
        .env(INSIDE, "1")
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {said}", run.status);
    assert_eq!(said.lines().count(), liars().len(), "every text was tried: {said}");
}

#[test]
fn promises_are_refused() {
    for (what, bytes) in liars() {
        let fine = matches!(what, "zeros" | "empty arrays");
        assert_eq!(from_canonical::<Ipld>(&bytes).is_ok(), fine, "{what}");
        assert!(SignedRecord::decode(&bytes).is_err(), "{what}");
        assert!(Body::decode(&bytes).is_err(), "{what}");
    }
}
