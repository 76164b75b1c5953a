//! What is particular to SQLite; the rest is the conformance suite's.

use std::fs;
use std::os::unix::fs::PermissionsExt;

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
