//! embedded-cluster.md 7, 8 and 18 at the level of the store.

use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use jiff::SignedDuration;
use pitstop_api::Clock;
use serde_json::json;

use super::*;
use crate::kinds::FieldKey;

const THINGS: (&str, &str) = ("", "things");
const KEYS: &[FieldKey] = &[FieldKey {
    key: "spec.nodeName",
    pointers: &["/spec/nodeName"],
    absent: "",
}];

#[derive(Debug)]
struct HandClock(Mutex<Timestamp>);

impl HandClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Timestamp::UNIX_EPOCH)))
    }

    fn advance(&self, by: SignedDuration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

fn options(data: Option<&Path>, history: usize, clock: SharedClock) -> Options {
    let spec = CollectionSpec {
        stored_as: THINGS,
        field_keys: KEYS,
        durability: Durability::Sync,
    };
    let other = CollectionSpec {
        stored_as: ("", "others"),
        ..spec
    };
    Options {
        data: data.map(Path::to_owned),
        clock,
        history,
        collections: vec![spec, other],
    }
}

fn memory(history: usize) -> (Store, CollectionId) {
    let store = Store::open(options(None, history, HandClock::new())).unwrap();
    let things = store.collection(THINGS).unwrap();
    (store, things)
}

fn on_disk(folder: &Path) -> (Store, CollectionId) {
    let store = Store::open(options(Some(folder), 100, HandClock::new())).unwrap();
    let things = store.collection(THINGS).unwrap();
    (store, things)
}

fn draft(name: &str, node: &str) -> Draft {
    let object = json!({
        "apiVersion": "v1", "kind": "Thing",
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "labels": {"app": name}},
        "spec": {"nodeName": node},
    });
    Draft::new(&object, KEYS)
}

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

/// The writer is a thread of its own, so nothing but this future has to be driven.
fn acknowledged(commit: Commit) -> Arc<Stored> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(commit.durable())
        .unwrap()
}

fn create(store: &Store, c: CollectionId, name: &str) -> u64 {
    let commit = store
        .put(c, &key(name), draft(name, ""), Expect::Absent, Durability::Sync)
        .unwrap();
    acknowledged(commit).version
}

fn replace(store: &Store, c: CollectionId, name: &str, node: &str) -> u64 {
    let at = store.get(c, &key(name)).unwrap().version;
    let commit = store
        .put(
            c,
            &key(name),
            draft(name, node),
            Expect::Version(at),
            Durability::Sync,
        )
        .unwrap();
    acknowledged(commit).version
}

fn delete(store: &Store, c: CollectionId, name: &str) -> u64 {
    let at = store.get(c, &key(name)).unwrap().version;
    let commit = store.remove(c, &key(name), at, Durability::Sync).unwrap();
    acknowledged(commit).version
}

fn names(page: &Page) -> Vec<&str> {
    page.items.iter().map(|o| &*o.key.name).collect()
}

fn on_node(node: &str) -> Filter {
    let term = FieldTerm::new("spec.nodeName", false, node.to_owned(), KEYS).unwrap();
    Filter {
        fields: vec![term],
        ..Filter::default()
    }
}

#[test]
fn bytes_carry_the_version_and_the_frame_shares_them() {
    let (store, c) = memory(10);
    let version = create(&store, c, "a");
    let stored = store.get(c, &key("a")).unwrap();
    assert_eq!(
        stored.decode()["metadata"]["resourceVersion"],
        version.to_string()
    );
    let metadata: serde_json::Value = serde_json::from_slice(&stored.metadata()).unwrap();
    assert_eq!(metadata, stored.decode()["metadata"]);
    let frame: serde_json::Value = serde_json::from_slice(&stored.frame()).unwrap();
    assert_eq!(frame, json!({"type": "ADDED", "object": stored.decode()}));
    assert!(stored.frame().ends_with(b"}\n"));
}

#[test]
fn a_deletion_has_a_version_of_its_own_and_the_last_state() {
    let (store, c) = memory(10);
    let made = create(&store, c, "a");
    let deleted = delete(&store, c, "a");
    assert_eq!(deleted, made + 1);
    let batch = store.changes_after(c, made, 10).unwrap();
    let frame: serde_json::Value = serde_json::from_slice(&batch.changes[0].new.frame()).unwrap();
    assert_eq!(frame["type"], "DELETED");
    assert_eq!(
        frame["object"]["metadata"]["resourceVersion"],
        deleted.to_string()
    );
    let metadata: serde_json::Value = serde_json::from_slice(&batch.changes[0].new.metadata()).unwrap();
    assert_eq!(metadata["labels"]["app"], "a");
}

#[test]
fn writes_are_refused_when_what_they_expect_does_not_hold() {
    let (store, c) = memory(10);
    let made = create(&store, c, "a");
    let refused = |expect| {
        store
            .put(c, &key("a"), draft("a", ""), expect, Durability::Sync)
            .unwrap_err()
    };
    assert_eq!(refused(Expect::Absent), WriteError::Exists);
    assert_eq!(refused(Expect::Version(made + 1)), WriteError::Conflict);
    let missing = store.remove(c, &key("b"), made, Durability::Sync).unwrap_err();
    assert_eq!(missing, WriteError::Missing);
    assert_eq!(store.version(), made, "a refused write uses no version");
}

#[test]
fn indexed_fields_follow_the_object() {
    let (store, c) = memory(10);
    for name in ["a", "b", "c"] {
        create(&store, c, name);
    }
    replace(&store, c, "b", "n1");
    let list = |node| store.list(c, &ListQuery::default(), &on_node(node)).unwrap();
    assert_eq!(names(&list("n1")), ["b"]);
    assert_eq!(names(&list("")), ["a", "c"]);
    replace(&store, c, "b", "n2");
    assert_eq!(names(&list("n1")), [""; 0]);
    delete(&store, c, "b");
    assert_eq!(names(&list("n2")), [""; 0]);
}

/// embedded-cluster.md 20, example 14.
#[test]
fn pages_of_a_list_show_one_state() {
    let (store, c) = memory(100);
    for name in ["a", "b", "c", "d", "e"] {
        create(&store, c, name);
    }
    let query = ListQuery {
        limit: 2,
        ..ListQuery::default()
    };
    let first = store.list(c, &query, &Filter::default()).unwrap();
    assert_eq!((names(&first), first.remaining), (vec!["a", "b"], Some(3)));

    delete(&store, c, "c");
    create(&store, c, "cc");
    replace(&store, c, "d", "n1");

    let mut rest = Vec::new();
    let mut after = first.more_after.clone();
    while after.is_some() {
        let query = ListQuery {
            limit: 2,
            at: Some(first.version),
            after,
            ..ListQuery::default()
        };
        let page = store.list(c, &query, &Filter::default()).unwrap();
        assert_eq!(page.version, first.version);
        rest.extend(
            page.items
                .iter()
                .map(|o| (o.key.name.to_string(), o.field(0).to_owned())),
        );
        after = page.more_after;
    }
    let expected = ["c", "d", "e"].map(|name| (name.to_owned(), String::new()));
    assert_eq!(rest, expected);
    let later = store.changes_after(c, first.version, 10).unwrap();
    assert_eq!(later.changes.len(), 3);
}

#[test]
fn an_index_is_not_asked_about_a_state_that_is_past() {
    let (store, c) = memory(100);
    create(&store, c, "a");
    let past = replace(&store, c, "a", "n1");
    replace(&store, c, "a", "n2");
    let query = ListQuery {
        at: Some(past),
        ..ListQuery::default()
    };
    assert_eq!(names(&store.list(c, &query, &on_node("n1")).unwrap()), ["a"]);
    assert_eq!(names(&store.list(c, &query, &on_node("n2")).unwrap()), [""; 0]);
}

#[test]
fn history_is_cut_by_count() {
    let (store, c) = memory(3);
    let first = create(&store, c, "a");
    for _ in 0..4 {
        replace(&store, c, "a", "n");
    }
    let gone = store.check_resume(c, first).unwrap_err();
    assert_eq!(
        gone,
        Gone {
            requested: first,
            oldest: first + 1
        }
    );
    assert!(store.check_resume(c, first + 1).is_ok());
    assert_eq!(store.changes_after(c, first + 1, 10).unwrap().changes.len(), 3);
    assert!(store.changes_after(c, first, 10).is_err());
}

/// embedded-cluster.md 8, end: the window of changes is kept, whatever form old versions are kept in.
#[test]
fn old_versions_take_little_room_and_are_read_as_they_were_written() {
    const WRITES: usize = 3_000;
    let (store, things) = memory(WRITES);
    let names = ["a", "b", "c"];
    let start = names.map(|name| create(&store, things, name))[2];
    let written = (0..WRITES).map(|i| {
        let name = names[i % 3];
        replace(&store, things, name, &format!("node-{i}"));
        let stored = store.get(things, &key(name)).unwrap();
        (stored.version, stored.frame())
    });
    let written: Vec<(u64, Bytes)> = written.collect();
    let changes = store.changes_after(things, start, WRITES).unwrap().changes;
    let read: Vec<(u64, Bytes)> = changes.iter().map(|c| (c.version, c.new.frame())).collect();
    assert!(read == written);
    for (version, frame) in written.iter().step_by(97) {
        let query = ListQuery {
            at: Some(*version),
            ..ListQuery::default()
        };
        let page = store.list(things, &query, &Filter::default()).unwrap();
        let found = page.items.iter().find(|stored| stored.version == *version);
        assert_eq!(found.unwrap().frame(), frame);
        assert!(frame.ends_with(&[found.unwrap().bytes().as_ref(), b"}\n"].concat()));
    }
    let n_packed = changes.iter().filter(|change| !change.new.is_whole()).count();
    assert!(n_packed > WRITES / 2, "{n_packed} of {WRITES}");
}

/// embedded-cluster.md 17.8: thousands of pods of one workload. Whatever becomes of the one that the others are kept
/// beside, they are what they were.
#[test]
fn objects_that_do_not_change_are_kept_beside_one_of_their_sort() {
    const OBJECTS: usize = 3_000;
    let store = Store::open(options(None, 10_000, HandClock::new())).unwrap();
    let c = store.collection(THINGS).unwrap();
    let draft = |i: usize, node: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "Thing",
            "metadata": {"name": format!("t{i}"), "namespace": "ns", "uid": format!("uid-{i}"), "labels": {"app": "a"}},
            "spec": {"nodeName": node, "what": "they all have in common, which is longer than their names"},
        });
        Draft::new(&object, KEYS)
    };
    let mut wanted = Vec::new();
    for i in 0..OBJECTS {
        let commit = store.put(
            c,
            &key(&format!("t{i}")),
            draft(i, "n"),
            Expect::Absent,
            Durability::Sync,
        );
        wanted.push(acknowledged(commit.unwrap()).bytes());
    }
    let stored = |i: usize| store.get(c, &key(&format!("t{i}"))).unwrap();
    let packed: Vec<usize> = (0..OBJECTS).filter(|i| !stored(*i).is_whole()).collect();
    assert!(packed.len() > OBJECTS / 4, "{} of {OBJECTS}", packed.len());
    assert!(packed.iter().all(|i| stored(*i).bytes() == wanted[*i]));
    let first = packed[0];
    for i in 0..first {
        let at = stored(i).version;
        let commit = if i % 2 == 0 {
            store.remove(c, &key(&format!("t{i}")), at, Durability::Sync)
        } else {
            store.put(
                c,
                &key(&format!("t{i}")),
                draft(i, "m"),
                Expect::Version(at),
                Durability::Sync,
            )
        };
        acknowledged(commit.unwrap());
    }
    for (i, wanted) in wanted.iter().enumerate().skip(first) {
        assert_eq!(stored(i).bytes(), *wanted);
        assert_eq!(stored(i).decode()["metadata"]["uid"], format!("uid-{i}"));
    }
}

#[test]
fn history_is_cut_by_age() {
    let clock = HandClock::new();
    let store = Store::open(options(None, 100, clock.clone())).unwrap();
    let c = store.collection(THINGS).unwrap();
    let first = create(&store, c, "a");
    clock.advance(SignedDuration::from_mins(11));
    create(&store, c, "b");
    assert!(store.check_resume(c, first - 1).is_err());
    assert!(store.check_resume(c, first).is_ok());
}

#[test]
fn a_version_from_the_future_is_not_kept() {
    let (store, c) = memory(10);
    let current = create(&store, c, "a");
    assert!(store.check_resume(c, current).is_ok());
    assert!(store.check_resume(c, current + 1).is_err());
}

#[test]
fn a_cut_batch_ends_at_its_last_change() {
    let (store, c) = memory(100);
    let start = store.version();
    for name in ["a", "b", "c"] {
        create(&store, c, name);
    }
    let batch = store.changes_after(c, start, 2).unwrap();
    assert_eq!((batch.changes.len(), batch.upto), (2, start + 2));
    let rest = store.changes_after(c, batch.upto, 2).unwrap();
    assert_eq!((rest.changes.len(), rest.upto), (1, start + 3));
}

#[test]
fn what_was_written_is_there_after_a_clean_end() {
    let folder = tempfile::tempdir().unwrap();
    let (store, c) = on_disk(folder.path());
    create(&store, c, "a");
    create(&store, c, "b");
    replace(&store, c, "a", "n1");
    let last = delete(&store, c, "b");
    let before = store.get(c, &key("a")).unwrap().bytes();
    drop(store);

    let (store, c) = on_disk(folder.path());
    let page = store.list(c, &ListQuery::default(), &Filter::default()).unwrap();
    assert_eq!(names(&page), ["a"]);
    assert_eq!(page.items[0].bytes(), before);
    assert_eq!(
        names(&store.list(c, &ListQuery::default(), &on_node("n1")).unwrap()),
        ["a"]
    );
    assert_eq!(store.version(), last, "a clean end wastes no versions");
    assert_eq!(create(&store, c, "c"), last + 1);
}

/// embedded-cluster.md 18, rule 4.
#[test]
fn watches_resume_at_the_last_version_on_disk_and_at_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (store, c) = on_disk(folder.path());
    let older = create(&store, c, "a");
    let last = create(&store, c, "b");
    let others = store.collection(("", "others")).unwrap();
    let newest = create(&store, others, "x");
    drop(store);

    let (store, c) = on_disk(folder.path());
    assert!(
        store.check_resume(c, older).is_err(),
        "its changes were in memory"
    );
    assert!(store.check_resume(c, last).is_ok());
    assert!(
        store.check_resume(c, newest).is_ok(),
        "nothing happened to things since"
    );
}

/// embedded-cluster.md 18, rule 2: as after a crash, nothing gave back what was set aside.
#[test]
fn versions_set_aside_before_a_crash_are_never_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, c) = on_disk(folder.path());
    let last = create(&store, c, "a");
    drop(store);
    // Opening sets a block aside; a process that is killed here leaves it so.
    let mut disk = disk::Disk::open(folder.path()).unwrap();
    let mut collections: Vec<_> = options(None, 10, HandClock::new())
        .collections
        .into_iter()
        .map(|s| Collection::new(s, 10))
        .collect();
    let set_aside = disk
        .recover(&mut collections, 10, Timestamp::UNIX_EPOCH)
        .unwrap()
        .reserved;
    drop(disk);

    let (store, c) = on_disk(folder.path());
    assert!(
        store.version() > set_aside,
        "{} may have been seen",
        store.version()
    );
    assert!(store.check_resume(c, last).is_ok(), "an idle informer goes on");
    assert!(store.check_resume(c, last + 1).is_err(), "what that was is lost");
    assert!(store.check_resume(c, set_aside).is_err());
    assert!(create(&store, c, "b") > set_aside);
}

#[test]
fn more_versions_are_set_aside_before_a_block_is_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let (store, c) = on_disk(folder.path());
    create(&store, c, "a");
    for _ in 0..2 * writer::BLOCK {
        let at = store.get(c, &key("a")).unwrap().version;
        let commit = store
            .put(
                c,
                &key("a"),
                draft("a", ""),
                Expect::Version(at),
                Durability::Relaxed,
            )
            .unwrap();
        drop(commit);
    }
    let last = store.version();
    drop(store);
    let (store, _) = on_disk(folder.path());
    assert_eq!(store.version(), last);
}

#[test]
fn a_folder_has_one_master() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, _) = on_disk(folder.path());
    let error = Store::open(options(Some(folder.path()), 10, HandClock::new()))
        .unwrap_err()
        .to_string();
    let expected = format!(
        "the data folder {} is in use by another pitstop (process {})",
        folder.path().display(),
        std::process::id()
    );
    assert_eq!(error, expected);
}

#[test]
fn a_closed_store_refuses_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (store, c) = on_disk(folder.path());
    store.close();
    let refused = store
        .put(c, &key("a"), draft("a", ""), Expect::Absent, Durability::Sync)
        .unwrap_err();
    assert_eq!(refused, WriteError::Closed);
}

/// A disk that is full after a while.
struct FullDisk {
    room: usize,
}

impl writer::Log for FullDisk {
    fn commit(&mut self, records: &[Record], _reserve: Option<u64>) -> Result<(), String> {
        self.room = self
            .room
            .checked_sub(records.len())
            .ok_or("no space left on device")?;
        Ok(())
    }
}

#[test]
fn a_write_that_the_disk_refused_is_not_acknowledged_and_none_after_it() {
    let writer = Writer::start(Box::new(FullDisk { room: 1 }), 1, 1 + writer::BLOCK);
    let append = |version| {
        let record = Record {
            collection: THINGS,
            key: key("a"),
            version,
            at: Timestamp::UNIX_EPOCH,
            object: None,
            durability: Durability::Sync,
        };
        let acknowledgement = writer.append(record)?.unwrap();
        acknowledgement.blocking_recv().map_err(|_| WriteError::Closed)?
    };
    assert_eq!(append(2), Ok(()));
    assert_eq!(append(3), Err(WriteError::Closed));
    assert_eq!(append(4), Err(WriteError::Closed));
    assert_eq!(writer.wait_until_reserved(5), Err(WriteError::Closed));
}
