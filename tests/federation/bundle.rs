//! Nodes that never meet, and files that somebody carries between them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use age::secrecy::ExposeSecret as _;
use ocm::bundle::{BundleDraft, BundleFile, Key};
use ocm::cli::{Exit, Io};
use ocm::config::Environment;
use ocm_memory::{create_edits, encode_edits};
use ocm_node::{Command, Reply};
use ocm_record::{RecordId, Set, SpaceId};
use ocm_space::Role;
use ocm_sync::{BundleHead, BundleValue, BundleWriter};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{MEMBERS, PATIENCE, Place, READ_OPEN, TestNode, Transport};
use crate::process::{Client, Process};

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) errors: String,
}

impl Ran {
    fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What an import says at its end.
    fn summary(&self) -> Value {
        self.lines().pop().unwrap_or_else(|| panic!("{self:?}"))
    }

    pub(crate) fn done(self) -> Self {
        assert_eq!(self.exit, Exit::Done, "{self:?}");
        self
    }
}

/// Runs a command line against the node that serves at `api` and lives in `dir`.
fn run(api: &str, dir: &Path, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let mut io = Io {
        input: &mut std::io::empty(),
        output: &mut out,
        errors: &mut errors,
        terminal: false,
        pause: &mut std::thread::sleep,
    };
    let own = [("OCM_DATA_DIR", dir.to_str().unwrap())];
    let environment = Environment::from_iter(own.iter().chain(variables).copied());
    let args = ["ocm", "--api", api].into_iter().chain(args.iter().copied()).map(Into::into);
    let exit = ocm::cli::run(args, &environment, &mut io);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { exit, out: text(out), errors: text(errors) }
}

impl TestNode {
    async fn ocm_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Ran {
        let (api, dir) = (self.running.api.to_string(), self.place().path().to_owned());
        let owned = |text: &&str| (*text).to_owned();
        let args: Vec<String> = args.iter().map(owned).collect();
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| (owned(name), owned(value))).collect();
        tokio::task::spawn_blocking(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let variables: Vec<(&str, &str)> =
                variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            run(&api, &dir, &variables, &args)
        })
        .await
        .unwrap()
    }

    pub(crate) async fn ocm(&self, args: &[&str]) -> Ran {
        self.ocm_with(&[], args).await
    }

    async fn export(&self, space: SpaceId, file: &Path, more: &[&str]) -> Ran {
        let space = space.to_string();
        let args = ["bundle", "export", "--space", &space, file.to_str().unwrap(), "--json"];
        self.ocm(&[&args, more].concat()).await
    }

    async fn import(&self, file: &Path, more: &[&str]) -> Ran {
        self.ocm(&[&["bundle", "import", file.to_str().unwrap(), "--json"], more].concat()).await
    }

    /// The comparison with another node, as `ocm sync status` shows it.
    async fn compared(&self, with: &TestNode) -> Value {
        let shown = self.ocm(&["sync", "status", "--json"]).await.done();
        let peer = with.running.peer.to_string();
        let rows = shown.lines()[0]["items"].clone();
        let row = rows.as_array().unwrap().iter().find(|row| row["peer_id"] == peer);
        row.cloned().unwrap_or_else(|| panic!("{rows}"))
    }

    pub(crate) async fn begin(&self, space: SpaceId, memories: u64) {
        for first in (0..memories).step_by(1000) {
            let edits = |n| encode_edits(&create_edits(&json!({"n": n})).unwrap());
            let memories = (first..memories.min(first + 1000)).map(edits).collect();
            let reply = self.command(Command::Begin { space, memories }).await.unwrap();
            let Reply::Begun(begun) = reply else { panic!("{reply:?}") };
            assert!(begun.iter().all(Result::is_ok));
        }
    }
}

/// A node without a network.
pub(crate) async fn alone() -> TestNode {
    Place::new(Transport::Tcp, &[("network.enable_network_calls", "false")]).start(&[]).await
}

/// The values of a plain bundle, some of them changed, written again with the right checks.
fn rewritten(
    from: &Path,
    to: &Path,
    head: impl Fn(BundleHead) -> BundleHead,
    page: impl Fn(Vec<ByteBuf>) -> Vec<ByteBuf>,
) {
    let mut file = BundleFile::open(from, &Key::default(), || None).unwrap();
    let mut draft = BundleDraft::create(to, false, None).unwrap();
    let mut writer = None;
    while let Some(value) = file.next_value().unwrap() {
        match value {
            BundleValue::Head(its) => {
                let (begun, bytes) = BundleWriter::begin(&head(*its));
                draft.write(&bytes).unwrap();
                writer = Some(begun);
            }
            BundleValue::Page { set, records } => {
                let writer = writer.as_mut().unwrap();
                let records = if set == Set::Content { page(records) } else { records };
                draft.write(&writer.page(set, &records)).unwrap();
            }
            BundleValue::End => draft.write(&writer.take().unwrap().end()).unwrap(),
        }
    }
    draft.finish().unwrap();
}

fn missing(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_alone_brings_two_nodes_to_parity_and_both_show_it() {
    let stick = TempDir::new().unwrap();
    let (a, b) = (alone().await, alone().await);
    let space = a.create_space("village", READ_OPEN).await;
    a.grant(space, b.did(), Role::Writer).await;
    let memory = a.write(space, &json!({"title": "the bridge is open"})).await.unwrap();
    let (there, back, again) =
        (missing(&stick, "there"), missing(&stick, "back"), missing(&stick, "again"));
    let exported = a.export(space, &there, &[]).await.done();
    assert_eq!(exported.lines()[0]["records"], json!({"authority": 2, "content": 1}));
    let imported = b.import(&there, &["--join"]).await.done();
    let summary = imported.summary();
    assert_eq!((&summary["whole"], &summary["accepted"]), (&json!(true), &json!(3)));
    assert_eq!(summary["comparison"]["state"], "equal");
    assert_eq!(b.content(space, memory), json!({"title": "the bridge is open"}));

    b.patch(space, memory, &json!({"title": "the bridge is closed"})).await;
    b.export(space, &back, &["--since", "parity"]).await.done();
    let summary = a.import(&back, &[]).await.done().summary();
    assert_eq!((&summary["accepted"], &summary["comparison"]["kept"]), (&json!(1), &json!(true)));
    assert_eq!(a.content(space, memory), json!({"title": "the bridge is closed"}));
    let row = a.compared(&b).await;
    assert_eq!((&row["state"], &row["by"]), (&json!("equal"), &json!("bundle")), "{row}");
    assert_eq!((&row["connected"], &row["at"]), (&json!(false), &row["statement"]["time"]));
    let signed = &row["statement"]["bundle"];
    assert_eq!(signed["lacking"]["peer_id"], a.running.peer.to_string(), "{row}");
    assert_eq!((&signed["kinds"], &row["statement"]["nonce"]), (&json!([1, 2, 4]), &json!(null)));
    // The other hears of it with the next bundle, in which there is nothing new.
    assert_eq!(b.compared(&a).await["state"], "changed since");
    let peer = b.running.peer.to_string();
    a.export(space, &again, &["--since", "parity", "--peer", &peer]).await.done();
    let summary = b.import(&again, &[]).await.done().summary();
    assert_eq!((&summary["accepted"], &summary["records"]["content"]), (&json!(0), &json!(0)));
    let row = b.compared(&a).await;
    assert_eq!((&row["state"], &row["by"]), (&json!("equal"), &json!("bundle")), "{row}");
    let of_space = b.client().get(&format!("/v1/spaces/{space}/parity"));
    assert_eq!(of_space["items"][0]["by"], "bundle");
    // Over a restart, too; and what is written then is not in what was stated.
    let b = b.restart(&[]).await;
    assert_eq!(b.compared(&a).await["state"], "equal");
    b.write(space, &json!({"title": "more"})).await.unwrap();
    b.until_content(space, 3).await;
    assert_eq!(b.compared(&a).await["state"], "changed since");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_what_became_of_a_bundle() {
    let stick = TempDir::new().unwrap();
    let (a, b) = (alone().await, alone().await);
    let space = a.create_space("village", READ_OPEN).await;
    a.begin(space, 3).await;
    let file = missing(&stick, "village");
    let (id, path) = (space.to_string(), file.to_str().unwrap());
    let said = a.ocm(&["bundle", "export", "--space", &id, path]).await.done();
    assert!(
        said.out.contains("1 authority and 3 content records of the space village"),
        "{said:?}"
    );
    let said = b.ocm(&["bundle", "import", path, "--join"]).await.done();
    let short = a.running.peer.to_string();
    let short = &short[short.len() - 8..];
    assert!(said.out.starts_with("4 records in 2 pages: 4 new, 0 here already\n"), "{said:?}");
    assert!(said.out.contains("the bundle is whole\n"), "{said:?}");
    assert!(said.out.contains(&format!("holds the same as …{short} held at ")), "{said:?}");
    assert!(said.errors.contains("all of it, written at"), "{said:?}");
    // Twice changes nothing.
    let before = b.space(space).parity;
    let said = b.ocm(&["bundle", "import", path]).await.done();
    assert!(said.out.starts_with("4 records in 2 pages: 0 new, 4 here already\n"), "{said:?}");
    assert_eq!(b.space(space).parity, before);
    // It is not written over.
    let said = a.ocm(&["bundle", "export", "--space", &id, path]).await;
    assert_eq!(said.exit, Exit::Usage);
    assert!(said.errors.contains("--force"), "{said:?}");
    a.ocm(&["bundle", "export", "--space", &id, path, "--force"]).await.done();
    assert_eq!(std::fs::read_dir(stick.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_a_space_that_is_not_held_or_not_meant_says_so() {
    let stick = TempDir::new().unwrap();
    let (a, b) = (alone().await, alone().await);
    let space = a.create_space("village", READ_OPEN).await;
    let file = missing(&stick, "village");
    a.export(space, &file, &[]).await.done();
    let said = b.import(&file, &[]).await;
    assert_eq!(said.exit, Exit::NotFound, "{said:?}");
    assert!(said.errors.contains(&space.to_string()) && said.errors.contains("--join"), "{said:?}");
    assert!(b.handle().status().core.spaces.iter().all(|held| held.id != space));
    let other = b.create_space("other", READ_OPEN).await.to_string();
    let said = b.import(&file, &["--join", "--space", &other]).await;
    assert_eq!(said.exit, Exit::Usage, "{said:?}");
    assert!(
        said.errors.contains(&other) && said.errors.contains("nothing was imported"),
        "{said:?}"
    );
    let prefix = &space.to_string()[..30];
    b.import(&file, &["--join", "--space", prefix]).await.done();
    // What nobody told of cannot be left out.
    let said = a.export(space, &missing(&stick, "back"), &["--since", "parity"]).await;
    assert_eq!(said.exit, Exit::Usage, "{said:?}");
    assert!(said.errors.contains("no bundle with this space has been imported"), "{said:?}");
    for since in ["yesterday", "2026-13-01T00:00:00Z"] {
        let said = a.export(space, &missing(&stick, "back"), &["--since", since]).await;
        assert_eq!(said.exit, Exit::Usage, "{said:?}");
    }
    let said = a.export(space, &missing(&stick, "back"), &["--since", "5", "--peer", "x"]).await;
    assert_eq!(said.exit, Exit::Usage, "{said:?}");
    assert!(!missing(&stick, "back").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_leaves_out_what_is_older() {
    let stick = TempDir::new().unwrap();
    let (a, b) = (alone().await, alone().await);
    let space = a.create_space("village", READ_OPEN).await;
    let old = a.write(space, &json!({"n": 1})).await.unwrap();
    let after = old.0.time().millis() + 1;
    while a.write(space, &json!({"n": 2})).await.unwrap().0.time().millis() < after {}
    let new = a.write(space, &json!({"n": 3})).await.unwrap();
    a.patch(space, old, &json!({"n": 4})).await;
    let file = missing(&stick, "late");
    let moment = jiff::Timestamp::from_millisecond(after as i64).unwrap().to_string();
    a.export(space, &file, &["--since", &moment]).await.done();
    let said = b.import(&file, &["--join"]).await;
    // The edit builds on what is older.
    assert_eq!(said.exit, Exit::Failed, "{said:?}");
    let summary = said.summary();
    let held = json!([{"verdict": "hold", "reason": "dependency", "count": 1}]);
    assert_eq!((&summary["not_admitted"], &summary["whole"]), (&held, &json!(true)));
    assert_eq!(summary["comparison"]["state"], "differs");
    let named = said.lines().into_iter().find(|line| line["verdict"] == "hold").unwrap();
    assert!(named["record"].as_str().unwrap().parse::<RecordId>().is_ok());
    assert!(b.stored(space, Set::Content, &new.0).is_some());
    assert!(b.stored(space, Set::Content, &old.0).is_none());
    // All of it brings the rest, and releases the edit.
    let all = missing(&stick, "all");
    a.export(space, &all, &[]).await.done();
    let summary = b.import(&all, &[]).await.done().summary();
    assert_eq!(summary["comparison"]["state"], "equal", "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_or_damaged_does_no_harm_and_says_how_far_it_went() {
    let stick = TempDir::new().unwrap();
    let (a, b) = (alone().await, alone().await);
    let space = a.create_space("village", READ_OPEN).await;
    a.begin(space, 3500).await;
    let whole = missing(&stick, "whole");
    a.export(space, &whole, &[]).await.done();
    let bytes = std::fs::read(&whole).unwrap();
    let broken = missing(&stick, "broken");
    b.join(space).await;
    // Before anything, within the head, within pages, at the very end.
    let mut last = 0;
    for tenths in [0, 1, 3, 6, 9] {
        let at = bytes.len() * tenths / 10 + usize::from(tenths == 0);
        std::fs::write(&broken, &bytes[..at]).unwrap();
        let said = b.import(&broken, &[]).await;
        assert_eq!(said.exit, Exit::Wrong, "{said:?}");
        if !said.out.is_empty() {
            let summary = said.summary();
            let read = summary["records"]["content"].as_u64().unwrap();
            assert_eq!(summary["whole"], json!(false));
            assert!(summary["cause"].as_str().unwrap().contains("cut"), "{summary}");
            assert_eq!(summary["not_admitted"], json!([]));
            assert!(read >= last && read % 1024 == 0, "{summary}");
            assert_eq!(b.count(space), read, "whole pages stay");
            last = read;
        }
    }
    assert!((1024..3500).contains(&last), "{last}");
    for tenths in [2, 5, 8] {
        let mut bytes = bytes.clone();
        let at = bytes.len() * tenths / 10;
        bytes[at] ^= 0x10;
        std::fs::write(&broken, &bytes).unwrap();
        let said = b.import(&broken, &[]).await;
        assert_eq!(said.exit, Exit::Wrong, "{said:?}");
        let people = b.ocm(&["bundle", "import", broken.to_str().unwrap()]).await;
        assert_eq!(people.exit, Exit::Wrong);
        let told = format!("{}{}", people.out, people.errors);
        assert!(told.contains("damaged") || told.contains("cut"), "{people:?}");
    }
    let summary = b.import(&whole, &[]).await.done().summary();
    assert_eq!(summary["comparison"]["state"], "equal");
    assert!(b.handle().status().core.refused.is_empty());

    // Something else, and another version.
    std::fs::write(&broken, "{\"title\": \"a memory\"}").unwrap();
    let said = b.import(&broken, &[]).await;
    assert!(said.exit == Exit::Wrong && said.errors.contains("is no bundle"), "{said:?}");
    let later = [b"OCM bundle 2\n", &bytes[13..]].concat();
    std::fs::write(&broken, later).unwrap();
    let said = b.import(&broken, &[]).await;
    assert!(said.exit == Exit::Wrong && said.errors.contains("version \\\"2\\\""), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_with_care_is_told_record_by_record() {
    let stick = TempDir::new().unwrap();
    let (a, b) = (alone().await, alone().await);
    let space = a.create_space("village", READ_OPEN).await;
    a.begin(space, 5).await;
    let (good, bad) = (missing(&stick, "good"), missing(&stick, "bad"));
    a.export(space, &good, &[]).await.done();
    b.join(space).await;
    // A head that claims another state than was signed: nothing of it is read.
    let other = a.create_space("other", READ_OPEN).await;
    rewritten(&good, &bad, |head| BundleHead { space: other, ..head }, |page| page);
    let said = b.import(&bad, &["--join"]).await;
    assert_eq!(said.exit, Exit::Wrong, "{said:?}");
    assert!(said.errors.contains("not signed by the DID"), "{said:?}");
    assert_eq!(b.count(space), 0);
    std::fs::remove_file(&bad).unwrap();
    // One record whose signature is another, and one left out, under checks that fit.
    let change = |mut page: Vec<ByteBuf>| {
        let at = page[1].len() - 80;
        page[1][at] ^= 1;
        page.remove(3);
        page
    };
    rewritten(&good, &bad, |head| head, change);
    let said = b.import(&bad, &[]).await;
    assert_eq!(said.exit, Exit::Failed, "{said:?}");
    let summary = said.summary();
    assert_eq!((&summary["whole"], &summary["accepted"]), (&json!(true), &json!(4)), "{summary}");
    assert_eq!(summary["not_admitted"][0]["verdict"], "reject");
    assert_eq!(summary["comparison"]["state"], "differs", "what is missing is told");
    let row = b.compared(&a).await;
    assert_eq!((&row["state"], &row["missing_here"]["total"]), (&json!("differs"), &json!(2)));
    // Records of another space in its pages.
    std::fs::remove_file(&bad).unwrap();
    let foreign = a.stored(other, Set::Authority, &other.0).unwrap();
    rewritten(&good, &bad, |head| head, |_| vec![ByteBuf::from(foreign.clone())]);
    let said = b.import(&bad, &[]).await;
    assert_eq!(said.exit, Exit::Wrong, "{said:?}");
    let content = a.write(other, &json!({"n": 1})).await.unwrap();
    let foreign = a.stored(other, Set::Content, &content.0).unwrap();
    std::fs::remove_file(&bad).unwrap();
    rewritten(&good, &bad, |head| head, |_| vec![ByteBuf::from(foreign.clone())]);
    let said = b.import(&bad, &[]).await;
    assert_eq!(said.summary()["not_admitted"][0]["reason"], "wrong_space", "{said:?}");
    // Nor is garbage without end read on.
    std::fs::remove_file(&bad).unwrap();
    let garbage = vec![ByteBuf::from(vec![7; 40]); 1000];
    rewritten(&good, &bad, |head| head, |_| garbage.clone());
    let said = b.import(&bad, &[]).await;
    assert_eq!((said.exit, said.summary()["whole"].clone()), (Exit::Failed, json!(true)));
    std::fs::remove_file(&bad).unwrap();
    a.begin(space, 3000).await;
    std::fs::remove_file(&good).unwrap();
    a.export(space, &good, &[]).await.done();
    rewritten(&good, &bad, |head| head, |_| garbage.clone());
    let said = b.import(&bad, &[]).await;
    assert_eq!(said.exit, Exit::Wrong);
    assert!(said.summary()["cause"].as_str().unwrap().contains("1024"), "{said:?}");
    assert_eq!(said.summary()["records"]["content"], json!(2000), "no more was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_members_may_read_is_encrypted() {
    let stick = TempDir::new().unwrap();
    let (a, b) = (alone().await, alone().await);
    let space = a.create_space("closed", MEMBERS).await;
    a.grant(space, b.did(), Role::Writer).await;
    a.write(space, &json!({"title": "a secret title"})).await.unwrap();
    let file = |name: &str| missing(&stick, name);
    let said = a.export(space, &file("plain"), &[]).await;
    assert_eq!(said.exit, Exit::Usage, "{said:?}");
    assert!(said.errors.contains("--plain") && said.errors.contains("--recipient"), "{said:?}");
    assert_eq!(std::fs::read_dir(stick.path()).unwrap().count(), 0, "nothing is left");
    a.export(space, &file("plain"), &["--plain"]).await.done();
    let holds = |name: &str| {
        let bytes = std::fs::read(file(name)).unwrap();
        bytes.windows(14).any(|part| part == b"a secret title")
    };

    let key = |name: &str| {
        let identity = age::x25519::Identity::generate();
        let path = file(name);
        std::fs::write(&path, identity.to_string().expose_secret()).unwrap();
        (identity.to_public().to_string(), path.to_str().unwrap().to_owned())
    };
    let ((to, own), (_, foreign)) = (key("own.key"), key("foreign.key"));
    a.export(space, &file("sealed"), &["--recipient", &to]).await.done();
    assert!(!holds("sealed"));
    let said = b.import(&file("sealed"), &["--join"]).await;
    assert!(said.exit == Exit::Refused && said.errors.contains("--identity"), "{said:?}");
    let said = b.import(&file("sealed"), &["--join", "--identity", &foreign]).await;
    assert!(
        said.exit == Exit::Refused && said.errors.contains("none of the identities"),
        "{said:?}"
    );
    assert!(b.handle().status().core.spaces.iter().all(|held| held.id != space));
    let summary = b.import(&file("sealed"), &["--join", "--identity", &own]).await.done().summary();
    assert_eq!(
        (&summary["accepted"], &summary["comparison"]["state"]),
        (&json!(3), &json!("equal"))
    );

    let secret = file("secret").to_str().unwrap().to_owned();
    std::fs::write(&secret, "four words for you\n").unwrap();
    std::fs::write(file("wrong"), "three words more\n").unwrap();
    b.write(space, &json!({"title": "an answer"})).await.unwrap();
    b.until_content(space, 2).await;
    b.export(space, &file("back"), &["--passphrase-file", &secret]).await.done();
    let said = a.import(&file("back"), &[]).await;
    assert!(said.exit == Exit::Refused && said.errors.contains("--passphrase-file"), "{said:?}");
    let wrong = file("wrong").to_str().unwrap().to_owned();
    let said = a.import(&file("back"), &["--passphrase-file", &wrong]).await;
    assert!(
        said.exit == Exit::Refused && said.errors.contains("passphrase is another"),
        "{said:?}"
    );
    let back = file("back");
    let args = ["bundle", "import", back.to_str().unwrap(), "--json"];
    let said = a.ocm_with(&[("OCM_BUNDLE_PASSPHRASE_FILE", &secret)], &args).await.done();
    assert_eq!(said.summary()["comparison"]["state"], "equal");
}

/// Memories in the space whose import is cut short by SIGKILL.
const MANY: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_goes_on_where_it_was() {
    let stick = TempDir::new().unwrap();
    let a = alone().await;
    let space = a.create_space("village", READ_OPEN).await;
    a.begin(space, MANY).await;
    let file = missing(&stick, "village");
    a.export(space, &file, &[]).await.done();
    let path = file.to_str().unwrap().to_owned();
    tokio::task::spawn_blocking(move || killed(space, &path)).await.unwrap();
}

fn killed(space: SpaceId, file: &str) {
    let dir = TempDir::new().unwrap();
    let offline = BTreeMap::from([
        ("OCM_DATA_DIR", dir.path().to_str().unwrap().to_owned()),
        ("OCM_ENABLE_NETWORK_CALLS", "false".to_owned()),
    ]);
    let start = || {
        let mut process = Process::spawn_with(&offline);
        let (client, _) = process.until_ready(dir.path());
        (process, client)
    };
    let records = |client: &Client| {
        let (status, space) = client.ask("GET", &format!("/v1/spaces/{space}"), None).unwrap();
        if status == 200 { space["records"]["content"].as_u64().unwrap() } else { 0 }
    };
    let until = |client: &Client, wanted: u64| {
        let began = Instant::now();
        while records(client) < wanted {
            assert!(began.elapsed() < PATIENCE, "{} of {wanted} came", records(client));
        }
    };
    let import = |client: &Client| {
        let api = client.api().strip_prefix("http://").unwrap().to_owned();
        run(&api, dir.path(), &[], &["bundle", "import", file, "--join", "--json"])
    };
    // First the node is killed under the import, then the import beside the node.
    let (mut process, client) = start();
    let said = std::thread::scope(|scope| {
        let importing = scope.spawn(|| import(&client));
        until(&client, MANY / 10);
        process.kill();
        importing.join().unwrap()
    });
    assert_eq!(said.exit, Exit::Unreachable, "{said:?}");
    assert!(said.errors.contains("begin again"), "{said:?}");
    let (_second, client) = start();
    let before = records(&client);
    assert!((1..MANY).contains(&before), "{before}");
    let mut importing = std::process::Command::new(env!("CARGO_BIN_EXE_ocm"))
        .args(["--api", client.api().strip_prefix("http://").unwrap(), "bundle", "import", file])
        .env_clear()
        .env("OCM_DATA_DIR", dir.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until(&client, before + MANY / 10);
    importing.kill().unwrap();
    importing.wait().unwrap();
    let middle = records(&client);
    let said = import(&client).done();
    let summary = said.summary();
    assert_eq!(summary["comparison"]["state"], "equal", "{summary}");
    let here = summary["duplicates"].as_u64().unwrap();
    assert!(here >= middle, "{here} of {middle} were here");
    assert_eq!(here + summary["accepted"].as_u64().unwrap(), MANY + 1);
    assert_eq!(records(&client), MANY);
}
