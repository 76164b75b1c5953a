//! Writes that are made together.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::json;

use super::{assert_refused, table};
use crate::store::{Action, KeyRange, MAX_WRITES, Store, StoreErrorKind, Table, Version, Write};

/// One commit inserts, replaces and deletes, in several tables; and every document it wrote has its version.
pub async fn writes_are_committed_together(store: &Arc<dyn Store>) {
    let (left, right) = (table(store, "conformance_commit").await, table(store, "conformance_commit_other").await);
    let old = store.insert(left, "replaced", json!("old")).await.unwrap();
    let to_delete = store.insert(left, "deleted", json!(1)).await.unwrap();
    store.insert(left, "deleted_whatever", json!(1)).await.unwrap();
    store.insert(right, "cleared", json!(1)).await.unwrap();
    let version = store
        .commit(vec![
            Write::new(left, "replaced", Action::Replace(old, json!("new"))),
            Write::new(left, "inserted", Action::Insert(json!({"float": 0.5, "list": [1]}))),
            Write::new(left, "deleted", Action::Delete(Some(to_delete))),
            Write::new(left, "deleted_whatever", Action::Delete(None)),
            Write::new(left, "never there", Action::Clear),
            Write::new(right, "cleared", Action::Clear),
            Write::new(right, "inserted", Action::Insert(json!("the same key elsewhere"))),
        ])
        .await
        .unwrap();
    assert_ne!(version, old, "a commit gives a version of its own");
    let there = |table: Table| async move {
        let found = store.list(table, &KeyRange::all()).await.unwrap();
        found.into_iter().map(|one| (one.key, one.version, one.body)).collect::<Vec<_>>()
    };
    let inserted = ("inserted".to_owned(), version, json!({"float": 0.5, "list": [1]}));
    let replaced = ("replaced".to_owned(), version, json!("new"));
    assert_eq!(there(left).await, [inserted, replaced], "every write is made, with the version of the commit");
    let elsewhere = ("inserted".to_owned(), version, json!("the same key elsewhere"));
    assert_eq!(there(right).await, [elsewhere], "in every table");
    let again = store.replace(left, "replaced", version, json!("newer")).await.unwrap();
    assert_ne!(again, version, "and the version is one like any other");
    assert!(store.commit(Vec::new()).await.is_ok(), "nothing is always done");
}

/// When one write is refused none is made, wherever in the commit it stands, and the error is that write's.
pub async fn a_refused_commit_writes_nothing(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_refused").await;
    let stale = store.insert(table, "there", json!(1)).await.unwrap();
    let version = store.replace(table, "there", stale, json!(2)).await.unwrap();
    let before = store.list(table, &KeyRange::all()).await.unwrap();
    let fine = |key: &str| Write::new(table, key, Action::Insert(json!("not to be seen")));
    for (write, kind) in [
        (Write::new(table, "there", Action::Insert(json!(3))), StoreErrorKind::AlreadyExists),
        (Write::new(table, "there", Action::Replace(stale, json!(3))), StoreErrorKind::VersionMismatch),
        (Write::new(table, "there", Action::Delete(Some(stale))), StoreErrorKind::VersionMismatch),
        (Write::new(table, "missing", Action::Replace(version, json!(3))), StoreErrorKind::NotFound),
        (Write::new(table, "missing", Action::Replace(Version(0), json!(3))), StoreErrorKind::NotFound),
        (Write::new(table, "missing", Action::Delete(None)), StoreErrorKind::NotFound),
        (Write::new(table, "missing", Action::Delete(Some(version))), StoreErrorKind::NotFound),
        (Write::new(table, "", Action::Insert(json!(3))), StoreErrorKind::Invalid),
        (Write::new(table, "a", Action::Clear), StoreErrorKind::Invalid),
    ] {
        for place in 0..3 {
            let mut writes = vec![fine("a"), fine("b")];
            writes.insert(place, write.clone());
            let what = format!("a commit of three writes whose number {place} is {write:?}");
            assert_refused(store.commit(writes).await, kind, &what);
            let after = store.list(table, &KeyRange::all()).await.unwrap();
            assert_eq!(after, before, "{what} was refused, and writes nothing");
        }
    }
    let many = |count: usize| (0..count).map(|number| fine(&format!("{number:04}"))).collect::<Vec<_>>();
    assert_refused(store.commit(many(MAX_WRITES + 1)).await, StoreErrorKind::Invalid, "a commit of too many writes");
    assert_eq!(store.list(table, &KeyRange::all()).await.unwrap(), before, "a commit of too many writes nothing");
    store.commit(many(MAX_WRITES)).await.expect("a commit may have MAX_WRITES");
    assert_eq!(store.list(table, &KeyRange::all()).await.unwrap().len(), MAX_WRITES + 1, "all of them are made");
}

/// Of many that commit at once, whose first write only one of them can make, one leaves anything behind.
pub async fn of_many_commits_one_wins(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_commits").await;
    let commits = (0..50).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let writes = vec![
                Write::new(table, "contested", Action::Insert(json!(number))),
                Write::new(table, format!("note {number}"), Action::Insert(json!(number))),
            ];
            store.commit(writes).await.map_err(|error| error.kind())
        })
    });
    let outcomes: Vec<_> = join_all(commits).await.into_iter().map(|outcome| outcome.unwrap()).collect();
    let winner = outcomes.iter().position(Result::is_ok).expect("one commit wins");
    for (number, outcome) in outcomes.iter().enumerate().filter(|(number, _)| *number != winner) {
        assert_eq!(*outcome, Err(StoreErrorKind::AlreadyExists), "commit {number} came too late");
    }
    let there = store.list(table, &KeyRange::all()).await.unwrap();
    let there: Vec<_> = there.into_iter().map(|one| (one.key, one.body)).collect();
    let both = [("contested".to_owned(), json!(winner)), (format!("note {winner}"), json!(winner))];
    assert_eq!(there, both, "there is what one commit wrote, and nothing of the others");
}
