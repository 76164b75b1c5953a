use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use futures::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};

use super::*;
use crate::model::{EngineSpec, Event, EventKind};
use crate::store::{MemoryStore, SqliteStore};
use crate::testing::store::FailingStore;

fn nothing() -> impl FnMut(Table, usize) + Send {
    |_, _| {}
}

/// A store with so many events and engines, and one document in every other table.
async fn filled(store: Arc<dyn Store>, events: usize, engines: usize) -> Arc<dyn Store> {
    let mut documents: Vec<(Table, String, Value)> = Vec::new();
    for number in 0..events {
        let event = Event::new(EventKind::Login, format!("event {number} \u{1f980}")).tagged("docker");
        documents.push((tables::EVENTS, event.id.to_string(), serde_json::to_value(&event).unwrap()));
    }
    for number in 0..engines {
        let id = format!("engine-{number:04}");
        let spec = EngineSpec::new(id.parse().unwrap(), format!("sim://{id}").parse().unwrap());
        documents.push((tables::ENGINES, id, serde_json::to_value(&spec).unwrap()));
    }
    documents.push((tables::PLATFORM, "name".to_owned(), json!("the first")));
    documents.push((tables::ACCOUNTS, "admin".to_owned(), json!({ "hash": "h", "odd": [1.0, u64::MAX, 0.1] })));
    for table in [tables::DRAINED_ENGINES, tables::JOIN_TOKENS, tables::TOKENS] {
        documents.push((table, "one".to_owned(), json!(true)));
    }
    stream::iter(documents)
        .for_each_concurrent(512, |(table, key, body)| {
            let store = store.clone();
            async move { store.insert(table, &key, body).await.map(drop).unwrap() }
        })
        .await;
    store
}

/// Everything that a store has.
async fn contents(store: &dyn Store) -> BTreeMap<(Table, String), Value> {
    let mut all = BTreeMap::new();
    for table in tables::ALL.into_iter().chain([tables::TRANSFERS]) {
        let documents = store.list(table, &KeyRange::all()).await.unwrap();
        all.extend(documents.into_iter().map(|document| ((table, document.key), document.body)));
    }
    all
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_events_go_there_and_back_also_when_cut_off_half_way() {
    let folder = tempfile::tempdir().unwrap();
    let source = filled(memory(), 100_000, 1000).await;
    let expected = contents(&*source).await;
    let path = folder.path().join("db");
    let cut_off = FailingStore::new(Arc::new(SqliteStore::open(&path).await.unwrap()));
    cut_off.fail_after_writes(Some(40_000));
    let error = copy(&*source, &cut_off, &mut nothing()).await.unwrap_err();
    assert!(matches!(error, TransferError::Store { what: "write", .. }), "{error}");
    drop(cut_off);
    let sqlite = SqliteStore::open(&path).await.unwrap();
    let half = check_whole(&sqlite).await.unwrap_err();
    assert!(half.to_string().contains("run it again"), "{half}");
    let report = copy(&*source, &sqlite, &mut nothing()).await.unwrap();
    assert_eq!(report.total(), expected.len());
    assert!((60_000..=62_000).contains(&report.changes), "it went on where it ended: {}", report.changes);
    assert!(contents(&sqlite).await == expected);
    let back = memory();
    copy(&sqlite, &*back, &mut nothing()).await.unwrap();
    assert!(contents(&*back).await == expected);
    let again = copy(&sqlite, &*back, &mut nothing()).await.unwrap();
    assert_eq!((again.changes, again.total()), (0, expected.len()), "what is done is done");
}

#[cfg(feature = "rethinkdb")]
#[tokio::test(flavor = "multi_thread")]
async fn documents_go_to_rethinkdb_and_back() {
    let double = crate::testing::rethinkdb::RethinkDouble::start().await.unwrap();
    let source = filled(memory(), 2000, 20).await;
    let rethinkdb = crate::store::RethinkDbStore::open(&double.url("paas")).await.unwrap();
    let mut told = BTreeMap::new();
    copy(&*source, &rethinkdb, &mut |table, count| {
        told.insert(table, count);
    })
    .await
    .unwrap();
    assert_eq!((told[&tables::EVENTS], told[&tables::ENGINES]), (2000, 20));
    let back = memory();
    copy(&rethinkdb, &*back, &mut nothing()).await.unwrap();
    assert_eq!(contents(&*back).await, contents(&*source).await);
}

#[tokio::test]
async fn every_point_is_one_to_go_on_from() {
    let source = filled(memory(), 250, 5).await;
    let expected = contents(&*source).await;
    // The mark is a write as well, and so is its end.
    for writes in 0..expected.len() + 2 {
        let target = Arc::new(FailingStore::new(memory()));
        target.fail_after_writes(Some(writes));
        assert!(copy(&*source, &*target, &mut nothing()).await.is_err(), "after {writes} writes");
        assert_eq!(check_whole(&*target).await.is_err(), writes > 0, "and no server starts on it");
        target.fail_after_writes(None);
        target.fail_after_reads(Some(5));
        assert!(copy(&*source, &*target, &mut nothing()).await.is_err());
        target.fail_after_reads(None);
        copy(&*source, &*target, &mut nothing()).await.unwrap();
        assert!(contents(&*target).await == expected, "after {writes} writes");
        check_whole(&*target).await.unwrap();
    }
}

#[tokio::test]
async fn documents_that_are_large_together_go_one_after_the_other() {
    let source = memory();
    for number in 0..5 {
        source.insert(tables::ENGINES, &number.to_string(), json!("x".repeat(900_000))).await.unwrap();
    }
    let target = memory();
    let report = copy(&*source, &*target, &mut nothing()).await.unwrap();
    assert_eq!(report.changes, 5);
    assert!(contents(&*target).await == contents(&*source).await);
}

#[tokio::test]
async fn an_attempt_is_gone_on_with_though_the_source_changed() {
    let source = filled(memory(), 50, 5).await;
    let target = Arc::new(FailingStore::new(memory()));
    target.fail_after_writes(Some(30));
    copy(&*source, &*target, &mut nothing()).await.unwrap_err();
    let admin = source.get(tables::ACCOUNTS, "admin").await.unwrap().unwrap();
    source.replace(tables::ACCOUNTS, "admin", admin.version, json!("another")).await.unwrap();
    let newest = source.list(tables::EVENTS, &KeyRange::all()).await.unwrap();
    source.delete(tables::EVENTS, &newest[0].key, None).await.unwrap();
    target.fail_after_writes(None);
    copy(&*source, &*target, &mut nothing()).await.unwrap();
    assert_eq!(contents(&*target).await, contents(&*source).await);
}

#[tokio::test]
async fn a_store_with_something_else_is_refused_and_left_as_it_is() {
    let source = filled(memory(), 5, 5).await;
    let target = filled(memory(), 3, 2).await;
    let before = contents(&*target).await;
    let error = copy(&*source, &*target, &mut nothing()).await.unwrap_err();
    assert!(matches!(error, TransferError::NotEmpty { .. }), "{error}");
    assert_eq!(contents(&*target).await, before);
    // Nor is a part of one thing filled up with another.
    let half = Arc::new(FailingStore::new(memory()));
    half.fail_after_writes(Some(3));
    copy(&*source, &*half, &mut nothing()).await.unwrap_err();
    half.fail_after_writes(None);
    let other = memory();
    other.insert(tables::PLATFORM, "name", json!("another")).await.unwrap();
    let error = copy(&*other, &*half, &mut nothing()).await.unwrap_err();
    assert!(error.to_string().contains("a part of something else"), "{error}");
    // Nor is a half copied further.
    let error = copy(&*half, &*memory(), &mut nothing()).await.unwrap_err();
    assert!(matches!(error, TransferError::Store { what: "use", .. }), "{error}");
}

#[tokio::test]
async fn a_source_that_changes_meanwhile_is_found() {
    let source = filled(memory(), 5, 5).await;
    let target = memory();
    let changing = source.clone();
    let mut progress = move |table: Table, _: usize| {
        if table == tables::TOKENS {
            let _ = changing.insert(tables::ACCOUNTS, "late", json!(1)).now_or_never();
        }
    };
    let error = copy(&*source, &*target, &mut progress).await.unwrap_err();
    assert!(matches!(&error, TransferError::Differs { key, .. } if key == "late"), "{error}");
    assert!(check_whole(&*target).await.is_err());
    copy(&*source, &*target, &mut nothing()).await.unwrap();
}

#[tokio::test]
async fn no_platform_starts_on_a_half() {
    let source = filled(memory(), 5, 5).await;
    let half = Arc::new(FailingStore::new(memory()));
    half.fail_after_writes(Some(3));
    copy(&*source, &*half, &mut nothing()).await.unwrap_err();
    half.fail_after_writes(None);
    let error = crate::controller::Controller::builder().store(half).build().await.unwrap_err();
    assert!(format!("{error:?}").contains("was not finished"), "{error:?}");
}

#[tokio::test]
async fn a_backup_gives_back_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    let source = filled(memory(), 1234, 10).await;
    let report = backup(&*source, &path).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(backup(&*source, &path).await, Err(TransferError::FileExists(_))));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    let target = Arc::new(FailingStore::new(memory()));
    target.fail_after_writes(Some(700));
    restore(&path, &*target, &mut nothing()).await.unwrap_err();
    target.fail_after_writes(None);
    let restored = restore(&path, &*target, &mut nothing()).await.unwrap();
    assert_eq!(restored.documents, report.documents);
    assert_eq!(restored.to_string().split(':').next(), Some("1249 documents"));
    assert_eq!(contents(&*target).await, contents(&*source).await);
    let taken = filled(memory(), 1, 1).await;
    assert!(matches!(restore(&path, &*taken, &mut nothing()).await, Err(TransferError::NotEmpty { .. })));
}

#[tokio::test]
async fn an_empty_store_can_be_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    backup(&*memory(), &path).await.unwrap();
    let target = memory();
    assert_eq!(restore(&path, &*target, &mut nothing()).await.unwrap().total(), 0);
    assert!(contents(&*target).await.is_empty());
}

/// Restores a file that is no backup, and sees that nothing was written. Says why it was refused.
async fn refusal(content: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), content).unwrap();
    let target = memory();
    match restore(file.path(), &*target, &mut nothing()).await {
        Err(TransferError::NotABackup { why, .. }) => {
            assert!(contents(&*target).await.is_empty(), "something was written");
            why
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_backup_that_is_not_as_it_was_written_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    backup(&*filled(memory(), 3, 2).await, &path).await.unwrap();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        refusal(&whole[..length]).await;
    }
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        refusal(&damaged).await;
    }
    let text = String::from_utf8(whole.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        refusal(&[&whole[..], b"{}\n"].concat()).await,
        format!("something follows its end (line {})", lines.len() + 1)
    );
    assert!(refusal(b"{\"format\": \"other\"}\n").await.contains("does not begin as one"));
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    assert!(refusal(newer.as_bytes()).await.contains("newer program"));
}

/// A backup of these lines, with a checksum that is right.
fn sealed(header: &str, lines: &[&str]) -> Vec<u8> {
    use sha2::Digest;
    let text = std::iter::once(&header).chain(lines).map(|line| format!("{line}\n")).collect::<String>();
    let sum = hex::encode(sha2::Sha256::digest(&text));
    format!("{text}{}\n", json!({ "lines": lines.len() + 1, "sha256": sum })).into_bytes()
}

#[tokio::test]
async fn a_backup_that_somebody_made_up_is_refused() {
    let header = |count: usize| {
        let documents = json!({ "accounts": count });
        let created = "2026-01-01T00:00:00Z";
        json!({ "format": "paas-backup", "version": 1, "created": created, "program": "1", "documents": documents })
            .to_string()
    };
    let line = |table: &str, key: &str| json!({ "table": table, "key": key, "body": 1 }).to_string();
    let (a, b) = (line("accounts", "a"), line("accounts", "b"));
    for (count, lines, why) in [
        (1, vec![a.clone(), b.clone()], "not as many documents"),
        (2, vec![b.clone(), a.clone()], "out of order"),
        (2, vec![a.clone(), a.clone()], "out of order"),
        (1, vec![line("letters", "a")], "does not know"),
        (1, vec![line("accounts", "")], "a key that cannot be one"),
        (1, vec![line("accounts", &"k".repeat(200))], "a key that cannot be one"),
        (1, vec!["{}".to_owned()], "damaged"),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let found = refusal(&sealed(&header(count), &lines)).await;
        assert!(found.contains(why), "{found} for {lines:?}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), sealed(&header(2), &[&a, &b])).unwrap();
    assert_eq!(restore(file.path(), &*memory(), &mut nothing()).await.unwrap().total(), 2, "and this one is good");
}
