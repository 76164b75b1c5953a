//! `paas-server store`, as a process that somebody may kill.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use paas_core::store::{KeyRange, SqliteStore, Store, Table, tables};
use serde_json::json;

use crate::program::{program, stderr, stdout};
use crate::support::TIMEOUT;

/// How many events there are to be copied.
const EVENTS: usize = 20_000;

fn store(arguments: &[&str]) -> Command {
    let mut command = program(&["store"]);
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    store(arguments).output().unwrap()
}

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

async fn fill(path: &Path, events: usize) {
    let store = SqliteStore::open(path).await.unwrap();
    store.insert(tables::PLATFORM, "name", json!("first")).await.unwrap();
    store.insert(tables::ACCOUNTS, "admin", json!({ "password_hash": "secret" })).await.unwrap();
    let keys = (0..events).map(|number| format!("{number:06}"));
    let inserts = keys.map(|key| {
        let store = &store;
        async move { store.insert(tables::EVENTS, &key, json!({ "message": key })).await.map(drop).unwrap() }
    });
    let inserts: Vec<_> = inserts.collect();
    futures::future::join_all(inserts).await;
}

async fn contents(path: &Path) -> Vec<(Table, String, serde_json::Value)> {
    let store = SqliteStore::open(path).await.unwrap();
    let mut all = Vec::new();
    for table in tables::ALL.into_iter().chain([tables::TRANSFERS]) {
        let documents = store.list(table, &KeyRange::all()).await.unwrap();
        all.extend(documents.into_iter().map(|document| (table, document.key, document.body)));
    }
    all
}

/// How much was written to a database, with its log.
fn size(path: &Path) -> u64 {
    let of = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    of(path) + of(&path.with_extension("db-wal"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_killed_goes_on_and_ends_identical() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from.db"), folder.path().join("to.db"));
    fill(&from, EVENTS).await;
    let arguments = ["copy", "--from", &url(&from), "--to", &url(&to)];
    let mut copying = store(&arguments).stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while size(&to) < 500_000 {
        assert!(copying.try_wait().unwrap().is_none() && began.elapsed() < TIMEOUT, "nothing is copied");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    copying.kill().unwrap();
    copying.wait().unwrap();
    let half = contents(&to).await.len();
    assert!((10..EVENTS).contains(&half), "killed in the middle, not at {half}");
    let started = program(&["--store", &url(&to), "--listen", "127.0.0.1:0", "--no-engine"]).output().unwrap();
    assert!(stderr(&started).contains("run it again to its end"), "{}", stderr(&started));
    let done = output(&arguments);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stdout(&done).contains("Copied 20002 documents"), "{}", stdout(&done));
    assert!(contents(&to).await == contents(&from).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_where_the_server_looks_for_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let (from, file) = (folder.path().join("paas.db"), folder.path().join("backup"));
    fill(&from, 100).await;
    let file = file.to_str().unwrap();
    let written = output(&["backup", file, "--data-dir", folder.path().to_str().unwrap()]);
    assert!(written.status.success(), "{}", stderr(&written));
    assert!(stdout(&written).contains("Wrote 102 documents"), "{}", stdout(&written));
    let new = folder.path().join("new");
    let restored = output(&["restore", file, "--data-dir", new.to_str().unwrap()]);
    assert!(restored.status.success(), "{}", stderr(&restored));
    assert!(contents(&new.join("paas.db")).await == contents(&from).await);
    let again = output(&["backup", file, "--store", &url(&from)]);
    assert!(stderr(&again).contains("there is a file"), "{}", stderr(&again));
    fs::write(file, &fs::read(file).unwrap()[..500]).unwrap();
    let other = folder.path().join("other.db");
    let damaged = output(&["restore", file, "--store", &url(&other)]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(stderr(&damaged).contains("cut off"), "{}", stderr(&damaged));
    assert!(contents(&other).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_platform_is_taken_over_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("paas.db");
    fill(&path, 1).await;
    let place = url(&path);
    let taken = output(&["adopt", "second", "--store", &place]);
    assert!(taken.status.success(), "{}", stderr(&taken));
    let said = stdout(&taken);
    assert!(said.starts_with("Containers of platform first, and of second, are this store's now.\n"), "{said}");
    assert!(said.contains("if none is of second, the server says so"), "{said}");
    let adopted =
        |(table, key, _): &&(Table, String, serde_json::Value)| *table == tables::PLATFORM && key == "adopted";
    let kept = contents(&path).await;
    assert_eq!(kept.iter().find(adopted).unwrap().2, json!(["second"]));
    let own = output(&["adopt", "first", "--store", &place]);
    assert!(own.status.success() && contents(&path).await == kept);
    let wrong = output(&["adopt", "no name", "--store", &place]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("must be the id of a platform"), "{}", stderr(&wrong));
    assert!(contents(&path).await == kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from.db"), folder.path().join("to.db"));
    fill(&from, 1).await;
    fill(&to, 2).await;
    let nowhere = url(&folder.path().join("nowhere.db"));
    for (arguments, why) in [
        (["copy", "--from", &nowhere, "--to", &url(&to)], "there is no file"),
        (["copy", "--from", &url(&from), "--to", &url(&from)], "are the same store"),
        (["copy", "--from", &url(&from), "--to", "memory:"], "gone when this program ends"),
        (["copy", "--from", &url(&from), "--to", &url(&to)], "give an empty store"),
        (["copy", "--from", &url(&from), "--to", "rethinkdb://u:secret@127.0.0.1:1/p"], "no connection to 127.0.0.1:1"),
        (["copy", "--from", &url(&from), "--to", "rethinkdbs://u:secret@127.0.0.1:1/p"], "TLS"),
    ] {
        let refused = output(&arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        let said = stderr(&refused);
        assert!(said.contains(why) && !said.contains("secret"), "{said}");
    }
    assert!(!folder.path().join("nowhere.db").exists(), "nothing is made by looking");
    let missing = output(&["restore", "/nowhere/backup", "--data-dir", folder.path().join("d").to_str().unwrap()]);
    assert!(stderr(&missing).contains("there is no file"));
    assert!(!folder.path().join("d").exists());
    let help = store(&["copy", "--help"]).env("PAAS_STORE_FROM", "rethinkdb://u:secret@h/p").output().unwrap();
    assert!(stdout(&help).contains("PAAS_STORE_FROM") && !stdout(&help).contains("secret"));
}
