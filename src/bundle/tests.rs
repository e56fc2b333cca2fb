use std::path::Path;

use ocm_record::{RecordId, Set, SpaceId, Time};
use ocm_sync::{BundleHead, BundleValue, BundleWriter, Parity, SetDigest, Since};
use proptest::prelude::*;
use serde_bytes::ByteBuf;
use tempfile::TempDir;

use super::*;

const PASSPHRASE: &str = "correct horse";

fn head() -> BundleHead {
    let key = ocm_record::SigningKey::from_seed(&[1; 32]);
    let space = SpaceId(RecordId::of_header(Time(1), b"a space"));
    let none = SetDigest { count: 0, digest: [0; 32] };
    let parity = Parity { authority: none, content: none, missing_bodies: 0 };
    BundleHead::sign(&key, (space, [7; 38]), vec![1], (Since::All, &[1]), (parity, 5), vec![0xe1])
}

/// Records that admission would refuse; here they are bytes.
fn records(page: u8) -> Vec<ByteBuf> {
    (0..50).map(|n| ByteBuf::from(vec![page ^ n; 700])).collect()
}

fn write(path: &Path, lock: Option<&Lock>, pages: u8) -> u64 {
    let mut draft = BundleDraft::create(path, false, lock).unwrap();
    let (mut writer, first) = BundleWriter::begin(&head());
    draft.write(&first).unwrap();
    for page in 0..pages {
        draft.write(&writer.page(Set::Content, &records(page))).unwrap();
    }
    draft.write(&writer.end()).unwrap();
    draft.finish().unwrap()
}

fn open(path: &Path, key: &Key) -> Result<BundleFile, OpenError> {
    BundleFile::open(path, key, || None)
}

/// How many pages can be read, and why no more.
fn read(path: &Path, key: &Key) -> (u8, Result<(), Stopped>) {
    let mut file = open(path, key).unwrap();
    let mut pages = 0;
    loop {
        match file.next_value() {
            Ok(Some(BundleValue::Page { set: Set::Content, records: read })) => {
                assert_eq!(read, records(pages), "nothing is read that was not written");
                pages += 1;
            }
            Ok(Some(BundleValue::Head(read))) => assert_eq!((*read, pages), (head(), 0)),
            Ok(Some(BundleValue::End)) => {}
            Ok(Some(other)) => panic!("{other:?}"),
            Ok(None) => return (pages, Ok(())),
            Err(stopped) => return (pages, Err(stopped)),
        }
    }
}

fn passphrase() -> (Lock, Key) {
    let mut key = Key::default();
    key.set_passphrase(PASSPHRASE.into()).unwrap();
    (Lock::with_passphrase(PASSPHRASE.into()).unwrap(), key)
}

fn recipient(dir: &Path) -> (Lock, Key) {
    use age::secrecy::ExposeSecret as _;
    let identity = age::x25519::Identity::generate();
    let file = dir.join("identity.txt");
    std::fs::write(&file, format!("# a comment\n{}\n", identity.to_string().expose_secret()))
        .unwrap();
    let mut key = Key::default();
    key.add_identities(&file).unwrap();
    (Lock::to_recipients(&[identity.to_public().to_string()]).unwrap(), key)
}

#[test]
fn a_bundle_is_read_as_it_was_written() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("plain");
    let bytes = write(&path, None, 9);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
    assert!(matches!(read(&path, &Key::default()), (9, Ok(()))));
    assert!(std::fs::read(&path).unwrap().starts_with(b"OCM bundle 1\n"));
    assert!(!dir.path().join("plain.part").exists());

    let (lock, key) = recipient(dir.path());
    let path = dir.path().join("sealed");
    write(&path, Some(&lock), 9);
    assert!(matches!(read(&path, &key), (9, Ok(()))));
    assert!(open(&path, &key).unwrap().is_encrypted());
    let (_, other) = recipient(dir.path());
    let wrong = open(&path, &other).err().unwrap().to_string();
    assert!(wrong.contains("none of the identities"), "{wrong}");
    let none = open(&path, &passphrase().1).err().unwrap().to_string();
    assert!(none.contains("--identity"), "{none}");

    let (lock, key) = passphrase();
    let path = dir.path().join("secret");
    write(&path, Some(&lock), 2);
    assert!(matches!(read(&path, &key), (2, Ok(()))));
    let mut other = Key::default();
    other.set_passphrase("wrong".into()).unwrap();
    let wrong = open(&path, &other).err().unwrap().to_string();
    assert!(wrong.contains("the passphrase is another"), "{wrong}");
    let none = open(&path, &Key::default()).err().unwrap().to_string();
    assert!(none.contains("--passphrase-file"), "{none}");
    let asked = BundleFile::open(&path, &Key::default(), || Some(PASSPHRASE.to_owned().into()));
    assert!(asked.is_ok());
}

#[test]
fn a_file_is_not_written_over_and_a_draft_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("bundle");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(BundleDraft::create(&path, false, None), Err(WriteError::Exists(_))));
    drop(BundleDraft::create(&path, true, None).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    BundleDraft::create(&path, true, None).unwrap().finish().unwrap();
    assert!(matches!(read(&path, &Key::default()), (0, Err(Stopped::Cut(_)))));
    // Of two at once the second is refused; what a crash left is written over.
    let path = dir.path().join("twice");
    let first = BundleDraft::create(&path, false, None).unwrap();
    assert!(matches!(BundleDraft::create(&path, false, None), Err(WriteError::Busy(_))));
    first.finish().unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(dir.path().join("twice.part"), vec![1; 10_000]).unwrap();
    assert!(write(&path, None, 1) < 10_000);
    assert!(matches!(read(&path, &Key::default()), (1, Ok(()))));
    std::fs::remove_file(&path).unwrap();
    // Nor is anything written through a link.
    std::os::unix::fs::symlink(dir.path().join("bundle"), dir.path().join("twice.part")).unwrap();
    assert!(matches!(BundleDraft::create(&path, false, None), Err(WriteError::Io { .. })));
    std::fs::remove_file(dir.path().join("twice.part")).unwrap();
    // One that was made in the meantime stays as well.
    let path = dir.path().join("other");
    let draft = BundleDraft::create(&path, false, None).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(draft.finish(), Err(WriteError::Exists(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn what_is_no_bundle_of_this_version_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        super::tests::open(&path, &Key::default())
    };
    for bytes in [&b""[..], b"OCN", b"{\"title\": \"a memory\"}", &[0; 5000]] {
        assert!(matches!(open(bytes), Err(OpenError::NoBundle(_))), "{bytes:?}");
    }
    let later = open(b"OCM bundle 17\nand more").err().unwrap();
    assert!(matches!(&later, OpenError::Version { version, .. } if version == "17"), "{later}");
    assert!(matches!(open(b"OCM bundle 1"), Err(OpenError::Cut(_))));
    assert!(matches!(open(AGE_MAGIC), Err(OpenError::WrongKey { .. })));
    let gone = super::tests::open(&dir.path().join("gone"), &Key::default());
    assert!(matches!(gone, Err(OpenError::Io { .. })));
}

#[test]
fn a_bomb_ends_at_its_first_value() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("bomb");
    let zeros = vec![0; 16 * 1024 * 1024];
    let bomb = [BUNDLE, &zstd::encode_all(&zeros[..], 19).unwrap()].concat();
    std::fs::write(&path, bomb).unwrap();
    assert!(matches!(read(&path, &Key::default()), (0, Err(Stopped::Damaged(_)))));
    // One that wants more memory than is given.
    let mut encoder = zstd::Encoder::new(BUNDLE.to_vec(), 3).unwrap();
    encoder.window_log(limits::WINDOW_LOG + 2).unwrap();
    encoder.include_contentsize(false).unwrap();
    std::io::Write::write_all(&mut encoder, &zeros).unwrap();
    std::fs::write(&path, encoder.finish().unwrap()).unwrap();
    let refused = read(&path, &Key::default()).1.unwrap_err().to_string();
    assert!(refused.contains("memory"), "{refused}");
}

const BUNDLE: &[u8] = ocm_sync::BUNDLE_MAGIC;

#[test]
fn a_head_without_end_is_not_read_to_its_end() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("head");
    let stanza = b"-> X25519 AAAA\nAAAA\n".as_slice();
    for endless in [stanza.repeat(200_000), vec![b'A'; 4_000_000]] {
        let mut file = [AGE_MAGIC, &endless].concat();
        std::fs::write(&path, &file).unwrap();
        assert!(matches!(open(&path, &Key::default()), Err(OpenError::Head(_))));
        file.truncate(30_000);
        std::fs::write(&path, &file).unwrap();
        assert!(matches!(open(&path, &Key::default()), Err(OpenError::WrongKey { .. })));
    }
    // As many recipients as there may be.
    let (_, key) = recipient(dir.path());
    let identity = std::fs::read_to_string(dir.path().join("identity.txt")).unwrap();
    let own: age::x25519::Identity = identity.lines().last().unwrap().parse().unwrap();
    let mut all: Vec<String> = (1..limits::RECIPIENTS)
        .map(|_| age::x25519::Identity::generate().to_public().to_string())
        .collect();
    all.push(own.to_public().to_string());
    let path = dir.path().join("many");
    write(&path, Some(&Lock::to_recipients(&all).unwrap()), 3);
    assert!(matches!(read(&path, &key), (3, Ok(()))));
}

#[test]
fn keys_that_are_none_are_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("identity");
    let mut key = Key::default();
    for (text, why) in [("", "no identity"), ("ssh-ed25519 AAAA", "line 1")] {
        std::fs::write(&path, text).unwrap();
        let said = key.add_identities(&path).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
    assert!(key.add_identities(&dir.path().join("gone")).is_err());
    std::fs::write(&path, "# a comment\n".repeat(6_000)).unwrap();
    let said = key.add_identities(&path).unwrap_err().to_string();
    assert!(said.contains("larger than 65536 bytes"), "{said}");
    let texts = ["age1nobody".to_owned()];
    assert!(Lock::to_recipients(&texts).err().unwrap().to_string().contains("age1nobody"));
    assert!(Lock::with_passphrase(String::new()).is_err());
    assert!(key::read_passphrase(&dir.path().join("gone")).is_err());
    std::fs::write(&path, "two words\r\n").unwrap();
    assert_eq!(key::read_passphrase(&path).unwrap(), "two words");
    std::fs::write(&path, "x".repeat(5000)).unwrap();
    assert!(key::read_passphrase(&path).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens to the file, pages are read as they were written, from the first on.
    #[test]
    fn a_cut_or_a_flipped_bit_is_found(
        sealed: bool, cut: bool, at: prop::sample::Index, bit in 0u8..8,
    ) {
        let dir = TempDir::new().unwrap();
        let (lock, key) = recipient(dir.path());
        let path = dir.path().join("bundle");
        write(&path, sealed.then_some(&lock), 6);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        std::fs::write(&path, &bytes).unwrap();
        if open(&path, &key).is_ok() {
            let (pages, ended) = read(&path, &key);
            prop_assert!(pages <= 6);
            if ended.is_ok() {
                // The head of a frame has a bit that says nothing.
                prop_assert!(!cut && pages == 6);
            }
        }
    }
}
