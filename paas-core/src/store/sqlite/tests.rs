//! What is particular to SQLite; the rest is the conformance suite's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;

use super::*;

const THINGS: Table = Table::new("things");

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("db")).await.unwrap();
    crate::testing::store::conforms(Arc::new(store)).await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path).await.unwrap();
    let inserts = (0..500).map(|number| {
        let store = &store;
        async move { store.insert(THINGS, &format!("{number:03}"), json!(number)).await.unwrap() }
    });
    futures::future::join_all(inserts).await;
    drop(store);
    let store = SqliteStore::open(&path).await.unwrap();
    let found = store.list(THINGS, &KeyRange::all()).await.unwrap();
    assert_eq!(found.len(), 500);
    let newest = found.iter().map(|document| document.version).max().unwrap();
    assert!(store.insert(THINGS, "later", json!(1)).await.unwrap() > newest, "versions go on after a restart");
}

#[tokio::test]
async fn others_on_the_machine_cannot_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let _store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

async fn refusal(path: &Path) -> String {
    let error = SqliteStore::open(path).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Broken);
    error.to_string()
}

#[tokio::test]
async fn a_file_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let first = SqliteStore::open(&path).await.unwrap();
    assert!(refusal(&path).await.contains("another server uses it"));
    drop(first);
    assert!(SqliteStore::open(&path).await.is_ok());
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let text = "this is a letter, not a database".repeat(100);
    fs::write(&path, &text).unwrap();
    assert!(refusal(&path).await.contains("no SQLite database"));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path).await.unwrap();
    for number in 0..200 {
        store.insert(THINGS, &format!("{number:03}"), json!("x".repeat(500))).await.unwrap();
    }
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 20_000, "the log was written back");
    bytes[8_192..16_384].fill(0xA5);
    fs::write(&path, &bytes).unwrap();
    assert!(refusal(&path).await.contains("damaged"));
    bytes.truncate(10_000);
    fs::write(&path, &bytes).unwrap();
    refusal(&path).await;
}

#[tokio::test]
async fn a_file_that_lost_everything_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    fs::write(&path, "").unwrap();
    assert!(refusal(&path).await.contains("empty"));
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    // A database that is gone while its log is still there.
    let path = folder.path().join("other");
    fs::write(folder.path().join("other-wal"), "a log").unwrap();
    assert!(refusal(&path).await.contains("its log (-wal) is there"));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_database_that_was_only_half_made_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    fs::write(folder.path().join("db.new"), "half").unwrap();
    fs::write(folder.path().join("db.new-wal"), "half").unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    store.insert(THINGS, "a", json!(1)).await.unwrap();
    let names =
        |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert!(names(folder.path()).iter().all(|name| !name.to_string_lossy().contains(".new")));
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE letters (text TEXT); PRAGMA user_version = 1; PRAGMA application_id = 7;")
        .unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    assert!(refusal(&path).await.contains("another program"));
    assert_eq!(fs::read(&path).unwrap(), before);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA application_id = 0;").unwrap();
    drop(other);
    assert!(refusal(&path).await.contains("its tables are gone"));
}

/// The schema as version 1 made it.
const VERSION_1: &str = "
    CREATE TABLE documents (tbl TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (tbl, key)) WITHOUT ROWID;
    CREATE TABLE counter (last_version INTEGER NOT NULL);
    INSERT INTO counter VALUES (41);
    INSERT INTO documents VALUES ('things', 'old', 41, '\"from before\"');
    PRAGMA user_version = 1;
";

#[tokio::test]
async fn a_database_of_an_older_program_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
    for _ in 0..2 {
        let store = SqliteStore::open(&path).await.unwrap();
        let found = store.get(THINGS, "old").await.unwrap().unwrap();
        assert_eq!((found.body, found.version), (json!("from before"), Version(41)));
    }
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.insert(THINGS, "new", json!(1)).await.unwrap(), Version(42));
    drop(store);
    let version: u32 =
        Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version as usize, schema::newest());
}

#[tokio::test]
async fn a_change_is_on_the_disk_before_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.insert(THINGS, "a", json!("written")).await.unwrap();
    // What the files hold while the store is still open is what a machine that lost its power would find.
    for (name, copy) in [("db", "copy"), ("db-wal", "copy-wal")] {
        fs::copy(folder.path().join(name), folder.path().join(copy)).unwrap();
    }
    let copy = SqliteStore::open(&folder.path().join("copy")).await.unwrap();
    assert_eq!(copy.get(THINGS, "a").await.unwrap().unwrap().body, json!("written"));
}

#[tokio::test]
async fn a_file_that_another_program_has_locked_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    drop(SqliteStore::open(&path).await.unwrap());
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(refusal(&path).await.contains("another program has it locked"));
    drop(other);
    assert!(SqliteStore::open(&path).await.is_ok());
}

/// A small disk of its own, for as long as this lives.
struct Disk {
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Disk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        Self::run(&["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs"], &path)
            .then_some(Self { path, _folder: folder })
    }

    fn run(command: &[&str], path: &Path) -> bool {
        let done = std::process::Command::new(command[0]).args(&command[1..]).arg(path).status();
        done.is_ok_and(|status| status.success())
    }

    fn set_read_only(&self, read_only: bool) {
        let options = if read_only { "remount,ro" } else { "remount,rw" };
        assert!(Self::run(&["mount", "-o", options], &self.path));
    }

    /// Writes until nothing fits any more.
    fn fill(&self) {
        let filler = std::io::copy(&mut std::io::repeat(1), &mut fs::File::create(self.path.join("filler")).unwrap());
        assert_eq!(filler.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    fn empty(&self) {
        fs::remove_file(self.path.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Self::run(&["umount", "-l"], &self.path);
    }
}

#[tokio::test]
async fn a_full_disk_is_told_at_the_start_and_at_a_change() {
    let Some(disk) = Disk::mount() else { return skip("a_full_disk_is_told_at_the_start_and_at_a_change") };
    disk.fill();
    let refused = SqliteStore::open(&disk.path.join("new")).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Full);
    assert!(refused.to_string().contains("the disk is full where"), "{refused}");
    disk.empty();
    let path = disk.path.join("db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.insert(THINGS, "before", json!(1)).await.unwrap();
    disk.fill();
    let error = store.insert(THINGS, "large", json!("x".repeat(100_000))).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    let told = format!("the disk is full where {} lies; make room there", path.display());
    assert!(error.to_string().contains(&told), "{error}");
    assert_eq!(store.get(THINGS, "before").await.unwrap().unwrap().body, json!(1), "what is there can be read");
    assert_eq!(store.get(THINGS, "large").await.unwrap(), None);
    disk.empty();
    store.insert(THINGS, "after", json!(2)).await.unwrap();
    drop(store);
    disk.fill();
    let refused = SqliteStore::open(&path).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot open the store: the store has no room ({told})"));
    disk.empty();
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.list(THINGS, &KeyRange::all()).await.unwrap().len(), 2, "nothing was lost");
}

#[tokio::test]
async fn a_read_only_disk_is_told_at_the_start() {
    let Some(disk) = Disk::mount() else { return skip("a_read_only_disk_is_told_at_the_start") };
    let path = disk.path.join("db");
    drop(SqliteStore::open(&path).await.unwrap());
    disk.set_read_only(true);
    let refused = refusal(&path).await;
    assert!(refused.contains("read-only"), "{refused}");
    assert!(refusal(&disk.path.join("new")).await.contains("read-only"));
    disk.set_read_only(false);
    assert!(SqliteStore::open(&path).await.is_ok());
}

#[tokio::test]
async fn a_read_only_file_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    drop(SqliteStore::open(&path).await.unwrap());
    // Of root, no permission keeps anything; what SQLite itself finds is the same for both.
    let connection = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut connection = connection;
    assert!(matches!(schema::check(&mut connection), Err(schema::Unfit::ReadOnly)));
}

/// Mounting a disk takes root.
fn skip(test: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: no disk can be mounted here");
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    drop(SqliteStore::open(&path).await.unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(refusal(&path).await.contains("version 99"));
}

#[tokio::test]
async fn impossible_paths_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(&folder.path().join("nowhere/db")).await.contains("there is no folder"));
    assert!(refusal(folder.path()).await.contains("it is a folder"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_frees_no_place_that_is_still_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("db")).await.unwrap());
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    // As many reads as there are connections, whose callers leave while the reads go on.
    for _ in 0..READERS {
        let wait = wait.clone();
        let read = store.read("get", THINGS, "", move |_| {
            let _ = wait.lock().unwrap().recv();
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), read).await.is_err());
    }
    // Others wait for a connection, where they used to be told that there is none.
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.get(THINGS, "one").await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(release);
    assert_eq!(waiting.await.unwrap().unwrap(), None);
}
