//! What every store must do. Run [`conforms`] on yours, and [`writes_take_effect_once_across_cuts`] if it talks to a server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod commits;
mod cuts;
mod failing;
mod gated;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::store::{Action, Direction, Fence, KeyRange, MAX_KEY, Result, Store, StoreErrorKind, Table, Version, Write};

pub use commits::{a_refused_commit_writes_nothing, of_many_commits_one_wins, writes_are_committed_together};
pub use cuts::writes_take_effect_once_across_cuts;
pub use failing::FailingStore;
pub use gated::GatedStore;

/// How many writes of the suite are under way at once, where it writes many.
const AT_ONCE: usize = 64;

/// Runs the whole suite, in tables of its own, which it empties before: every function of this module that takes a store
/// and nothing else.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
///
/// use paas_core::store::MemoryStore;
///
/// paas_core::testing::store::conforms(Arc::new(MemoryStore::new())).await;
/// # });
/// ```
///
/// # Panics
/// At the first thing that the store does not do as it must.
pub async fn conforms(store: Arc<dyn Store>) {
    one_of_many_inserts_wins(&store).await;
    only_the_present_version_is_replaced(&store).await;
    of_many_replacements_one_wins(&store).await;
    only_what_is_there_is_deleted(&store).await;
    versions_never_come_again(&store).await;
    ranges_are_read_both_ways(&store).await;
    long_ranges_are_read_whole(&store).await;
    keys_order_by_their_bytes(&store).await;
    keys_that_cannot_be_are_refused(&store).await;
    documents_come_back_as_they_were(&store).await;
    large_documents_are_listed_together(&store).await;
    tables_do_not_mind_each_other(&store).await;
    writes_are_committed_together(&store).await;
    a_refused_commit_writes_nothing(&store).await;
    of_many_commits_one_wins(&store).await;
    what_is_fenced_writes_nothing_when_the_fence_is_down(&store).await;
}

/// Fails, and says what was expected, unless a verb was refused with that kind of error.
#[track_caller]
fn assert_refused<T: Debug>(outcome: Result<T>, kind: StoreErrorKind, what: &str) {
    match outcome {
        Err(error) if error.kind() == kind => {}
        Err(error) => panic!("{what} must be refused as {kind:?}, and was as {:?}: {error}", error.kind()),
        Ok(answer) => panic!("{what} must be refused as {kind:?}, and was answered with {answer:?}"),
    }
}

/// A table of one property, empty.
async fn table(store: &Arc<dyn Store>, name: &'static str) -> Table {
    let table = Table::new(name);
    let old = store.list(table, &KeyRange::all()).await.unwrap();
    stream::iter(old)
        .for_each_concurrent(AT_ONCE, |old| async move { store.delete(table, &old.key, None).await.unwrap() })
        .await;
    table
}

/// Inserts many documents, several at once.
async fn insert_all(store: &Arc<dyn Store>, table: Table, documents: impl IntoIterator<Item = (String, Value)>) {
    let insert = |(key, body): (String, Value)| async move { store.insert(table, &key, body).await.map(drop).unwrap() };
    stream::iter(documents).for_each_concurrent(AT_ONCE, insert).await;
}

/// Of a hundred that insert one key at once, one wins, and its document is the one that is there.
pub async fn one_of_many_inserts_wins(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_insert").await;
    assert_eq!(store.get(table, "one").await.unwrap(), None, "a key without a document has none");
    let inserts = (0..100).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { (number, store.insert(table, "one", json!(number)).await) })
    });
    let mut winners = Vec::new();
    for outcome in join_all(inserts).await {
        match outcome.unwrap() {
            (number, Ok(version)) => winners.push((number, version)),
            (_, refused) => {
                assert_refused(refused, StoreErrorKind::AlreadyExists, "inserting a key that has a document");
            }
        }
    }
    assert_eq!(winners.len(), 1, "one insert wins");
    let found = store.get(table, "one").await.unwrap().unwrap();
    assert_eq!((found.body, found.version), (json!(winners[0].0), winners[0].1), "there is what the winner wrote");
}

/// A document is replaced by who knows its version, and by nobody else.
pub async fn only_the_present_version_is_replaced(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_replace").await;
    let missing = store.replace(table, "one", Version(1), json!(0)).await;
    assert_refused(missing, StoreErrorKind::NotFound, "replacing a document that is not there");
    let first = store.insert(table, "one", json!("first")).await.unwrap();
    let second = store.replace(table, "one", first, json!("second")).await.unwrap();
    assert_ne!(first, second, "a replacement has a version of its own");
    let stale = store.replace(table, "one", first, json!("stale")).await;
    assert_refused(stale, StoreErrorKind::VersionMismatch, "replacing a version that was replaced before");
    let found = store.get(table, "one").await.unwrap().unwrap();
    assert_eq!((found.body, found.version), (json!("second"), second), "there is what was written last");
}

/// Of many that replace one version at once, one wins.
pub async fn of_many_replacements_one_wins(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_race").await;
    let version = store.insert(table, "one", json!(0)).await.unwrap();
    let replacements = (1..=50).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.replace(table, "one", version, json!(number)).await.is_ok() })
    });
    let winners = join_all(replacements).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
    assert_eq!(winners, 1, "one replacement wins");
}

/// Deleting needs a document, and its version when one is given.
pub async fn only_what_is_there_is_deleted(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_delete").await;
    let missing = store.delete(table, "one", None).await;
    assert_refused(missing, StoreErrorKind::NotFound, "deleting a document that is not there");
    let first = store.insert(table, "one", json!(1)).await.unwrap();
    let second = store.replace(table, "one", first, json!(2)).await.unwrap();
    let stale = store.delete(table, "one", Some(first)).await;
    assert_refused(stale, StoreErrorKind::VersionMismatch, "deleting a version that was replaced before");
    store.delete(table, "one", Some(second)).await.unwrap();
    assert_eq!(store.get(table, "one").await.unwrap(), None, "what was deleted is gone");
    store.insert(table, "one", json!(3)).await.unwrap();
    store.delete(table, "one", None).await.unwrap();
}

/// A version that was seen once does not come again, not even after the document was deleted and made again.
pub async fn versions_never_come_again(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_versions").await;
    let first = store.insert(table, "one", json!(1)).await.unwrap();
    store.delete(table, "one", None).await.unwrap();
    let second = store.insert(table, "one", json!(1)).await.unwrap();
    assert_ne!(first, second, "a document that is made again has a version that was never there");
    let stale = store.replace(table, "one", first, json!(2)).await;
    assert_refused(stale, StoreErrorKind::VersionMismatch, "replacing a version of a document that was deleted since");
}

async fn keys(store: &Arc<dyn Store>, table: Table, range: KeyRange) -> Vec<String> {
    store.list(table, &range).await.unwrap().into_iter().map(|document| document.key).collect()
}

/// Ranges have bounds, a direction and a limit; each works alone and with the others.
pub async fn ranges_are_read_both_ways(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_ranges").await;
    assert!(keys(store, table, KeyRange::all()).await.is_empty(), "an empty table has no keys");
    assert!(keys(store, table, KeyRange::last(5)).await.is_empty(), "an empty table has no last keys");
    let all: Vec<String> = (0..200).map(|number| format!("{number:03}")).collect();
    join_all(all.iter().map(|key| store.insert(table, key, json!(key)))).await;
    let mut backwards = all.clone();
    backwards.reverse();
    assert_eq!(keys(store, table, KeyRange::all()).await, all, "all, forwards");
    assert_eq!(keys(store, table, KeyRange::last(usize::MAX)).await, backwards, "all, backwards");
    assert_eq!(keys(store, table, KeyRange::last(3)).await, backwards[..3], "the last three");
    let bounded =
        |direction, limit| KeyRange { from: Some("050".to_owned()), to: Some("150".to_owned()), direction, limit };
    let between = keys(store, table, bounded(Direction::Forwards, usize::MAX)).await;
    assert_eq!(between, all[50..150], "with the lower bound, without the upper one");
    assert_eq!(keys(store, table, bounded(Direction::Forwards, 2)).await, all[50..52], "the first two of a range");
    assert_eq!(keys(store, table, bounded(Direction::Backwards, 2)).await, ["149", "148"], "the last two of a range");
    assert!(keys(store, table, bounded(Direction::Forwards, 0)).await.is_empty(), "a limit of 0 gives none");
    let nothing = KeyRange { from: Some("9".to_owned()), to: Some("1".to_owned()), ..KeyRange::all() };
    assert!(keys(store, table, nothing).await.is_empty(), "between bounds in the wrong order there is nothing");
    // Reading page by page, each from the end of the one before, gives everything once.
    let mut paged: Vec<String> = Vec::new();
    loop {
        let from = paged.last().map(|last| format!("{last}\u{1}"));
        let page = keys(store, table, KeyRange { from, limit: 30, ..KeyRange::all() }).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all, "page by page, forwards");
}

/// A range that no backend sends in one piece comes whole, in order and once, also page by page.
pub async fn long_ranges_are_read_whole(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_long").await;
    let mut all: Vec<String> = (0..3000).map(|number| format!("{number:05}")).collect();
    insert_all(store, table, all.iter().map(|key| (key.clone(), json!({ "pad": "x".repeat(500), "key": key })))).await;
    let documents = store.list(table, &KeyRange::all()).await.unwrap();
    assert!(documents.iter().all(|document| document.body["key"] == document.key), "each key has its own document");
    let found: Vec<String> = documents.into_iter().map(|document| document.key).collect();
    assert_eq!(found, all, "a long range, forwards");
    let mut paged = Vec::new();
    loop {
        let to = paged.last().cloned();
        let range = KeyRange { to, ..KeyRange::last(700) };
        let page = keys(store, table, range).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    all.reverse();
    assert_eq!(paged, all, "page by page, backwards");
    assert_eq!(keys(store, table, KeyRange::last(2900)).await, all[..2900], "the last of a long range");
}

/// Keys may be any text, and order by their UTF-8 bytes.
pub async fn keys_order_by_their_bytes(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_unicode").await;
    let mut all =
        ["a", "B", "ä", "z", "Ω", "日本", "🦀", "a/b", "a b", "a%", "a_", "'; --", "%", "A"].map(str::to_owned);
    for key in &all {
        store.insert(table, key, json!(key)).await.unwrap();
    }
    all.sort();
    assert_eq!(keys(store, table, KeyRange::all()).await, all, "keys order by their UTF-8 bytes");
    assert_eq!(store.get(table, "日本").await.unwrap().unwrap().body, json!("日本"), "a key may be any text");
}

/// Keys that some backend could not hold are refused by all.
pub async fn keys_that_cannot_be_are_refused(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_keys").await;
    for bad in [String::new(), "x".repeat(MAX_KEY + 1), "ä".repeat(64), "a\0b".to_owned()] {
        let inserted = store.insert(table, &bad, json!(1)).await;
        assert_refused(
            inserted,
            StoreErrorKind::Invalid,
            &format!("inserting {bad:?}, which is no key (see check_key),"),
        );
        // Who asks for such a key learns that there is none: it may be what somebody typed.
        assert_eq!(store.get(table, &bad).await.unwrap(), None, "{bad:?} is no key");
        let replaced = store.replace(table, &bad, Version(1), json!(1)).await;
        assert_refused(replaced, StoreErrorKind::NotFound, &format!("replacing {bad:?}, which is no key,"));
        let deleted = store.delete(table, &bad, None).await;
        assert_refused(deleted, StoreErrorKind::NotFound, &format!("deleting {bad:?}, which is no key,"));
    }
    let longest = ["x".repeat(MAX_KEY), format!("{}y", "ä".repeat(63))];
    for key in &longest {
        store.insert(table, key, json!(1)).await.unwrap();
    }
    assert_eq!(keys(store, table, KeyRange::all()).await, longest, "the longest keys that there may be");
    // A bound may be what a key may not.
    for after in ["\0", "\u{1}", "\0x", "x"] {
        let bound = format!("{}{after}", longest[0]);
        let from = KeyRange { from: Some(bound.clone()), ..KeyRange::all() };
        assert_eq!(keys(store, table, from).await, longest[1..], "from {after:?} after the longest key");
        let to = KeyRange { to: Some(bound), ..KeyRange::all() };
        assert_eq!(keys(store, table, to).await, longest[..1], "to {after:?} after the longest key");
    }
}

/// JSON comes back exactly, however large or odd.
pub async fn documents_come_back_as_they_were(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_documents").await;
    let mut deep = json!(0);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let documents: [Value; 10] = [
        json!(null),
        json!({"nested": {"list": [1, 2.5, -3, true, null, "text"]}, "empty": {}, "": "empty key"}),
        json!([u64::MAX, i64::MIN, 0.1, 1e300, -0.0]),
        json!([1.0, 1, 0.1 + 0.2, 5e-324, f64::MIN_POSITIVE, f64::MAX, 9_007_199_254_740_993_u64, 3.0e16, 1.0 / 3.0]),
        json!({"$reql_type$": "TIME", "zero \0": "a\0b", "$type": {"_id": [[], [[]]]}}),
        json!((0..120_000).collect::<Vec<_>>()),
        deep,
        json!("quote \" backslash \\ newline \n zero-width \u{200b} crab 🦀 escape \u{1}"),
        json!("x".repeat(1_000_000)),
        json!((0..1000).map(|number| json!({"number": number})).collect::<Vec<_>>()),
    ];
    for (number, document) in documents.iter().enumerate() {
        store.insert(table, &number.to_string(), document.clone()).await.unwrap();
        let found = store.get(table, &number.to_string()).await.unwrap().unwrap().body;
        // Not printed: some are large.
        assert!(found == *document, "document {number} of the suite does not come back as it was");
    }
}

/// Large documents are read together as well as alone.
pub async fn large_documents_are_listed_together(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_large").await;
    let body = |number: usize| json!({ "number": number, "text": "ü".repeat(450_000) });
    insert_all(store, table, (0..8).map(|number| (number.to_string(), body(number)))).await;
    let documents = store.list(table, &KeyRange::all()).await.unwrap();
    assert_eq!(documents.len(), 8, "large documents are listed together");
    for (number, document) in documents.into_iter().enumerate() {
        assert!(document.body == body(number), "document {number} is not what it was");
    }
}

/// One key in two tables is two documents.
pub async fn tables_do_not_mind_each_other(store: &Arc<dyn Store>) {
    let (left, right) = (table(store, "conformance_left").await, table(store, "conformance_right").await);
    store.insert(left, "one", json!("left")).await.unwrap();
    store.insert(right, "one", json!("right")).await.unwrap();
    store.delete(left, "one", None).await.unwrap();
    let other = store.get(right, "one").await.unwrap().map(|found| found.body);
    assert_eq!(other, Some(json!("right")), "what is written to one table leaves the other as it is");
    assert!(keys(store, left, KeyRange::all()).await.is_empty(), "the document of the left table was deleted");
}

/// Once its fence does not hold, a fenced store writes nothing and reads everything; the store itself goes on.
pub async fn what_is_fenced_writes_nothing_when_the_fence_is_down(store: &Arc<dyn Store>) {
    let table = table(store, "conformance_fenced").await;
    let holds = Arc::new(AtomicBool::new(true));
    let fence = Fence::new({
        let holds = holds.clone();
        move || holds.load(Ordering::Relaxed)
    });
    let fenced = store.fenced(fence);
    let version = fenced.insert(table, "one", json!(1)).await.unwrap();
    // One more fence does not take the place of the first.
    let twice = fenced.fenced(Fence::default());
    let before = store.list(table, &KeyRange::all()).await.unwrap();
    holds.store(false, Ordering::Relaxed);
    for store in [&fenced, &twice] {
        let pair = ["two", "three"].map(|key| Write::new(table, key, Action::Insert(json!(1)))).to_vec();
        for (verb, outcome) in [
            ("insert", store.insert(table, "two", json!(1)).await.map(drop)),
            ("replace", store.replace(table, "one", version, json!(2)).await.map(drop)),
            ("delete", store.delete(table, "one", None).await),
            ("commit", store.commit(pair).await.map(drop)),
        ] {
            assert_refused(outcome, StoreErrorKind::Unavailable, &format!("{verb} while the fence does not hold"));
        }
        let after = store.list(table, &KeyRange::all()).await.unwrap();
        assert_eq!(after, before, "what a fence refused leaves everything as it was");
        assert_eq!(store.get(table, "one").await.unwrap().unwrap().version, version, "a fence lets everybody read");
    }
    store.replace(table, "one", version, json!(2)).await.unwrap();
    holds.store(true, Ordering::Relaxed);
    fenced.delete(table, "one", None).await.unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "inserting \"\" must be refused as Invalid, and was answered with Version(1)")]
    fn says_what_was_to_be_refused() {
        assert_refused(Ok(Version(1)), StoreErrorKind::Invalid, "inserting \"\"");
    }
}
