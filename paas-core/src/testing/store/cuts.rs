//! What a store must do whose connections break.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::table;
use crate::store::{Change, KeyRange, Store, StoreErrorKind, Table, Version};

/// How long everything may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How many documents are written.
const WRITES: usize = 200;
/// After how many of them the connections are cut.
const WRITES_PER_CUT: usize = 40;

/// What is written, and so what is heard: a key, and a number or nothing.
type Step = (String, Option<u64>);

/// Cuts the store off again and again while one writes and one watches. Every write takes effect once, and the watcher
/// hears each change once and in order, except for those where it is told that it missed some; who reads the table again
/// at that word knows in the end what is there.
///
/// `cut` breaks every connection that the store has at that moment. It may also leave the server away for a while.
///
/// # Panics
/// At the first thing that the store does not do as it must.
pub async fn watchers_hear_all_across_cuts(store: Arc<dyn Store>, mut cut: impl AsyncFnMut()) {
    let table = table(&store, "conformance_cuts").await;
    let (heard_end, mut ended) = watch::channel(false);
    let changes = store.watch(table).await.unwrap();
    let watching = tokio::spawn(watch_all(store.clone(), table, changes, heard_end));
    let mut steps: Vec<Step> = Vec::new();
    for number in 0..WRITES {
        if number % WRITES_PER_CUT == WRITES_PER_CUT / 2 {
            cut().await;
        }
        let key = format!("{number:04}");
        insert(&store, table, &key, number as u64).await;
        steps.push((key.clone(), Some(number as u64)));
        if number % 4 == 0 {
            delete(&store, table, &key).await;
            steps.push((key, None));
        }
    }
    // A change may be one of those that are missed, so there are more until one is heard.
    timeout(TIMEOUT, async {
        for number in 0_u64.. {
            let key = format!("end-{number:04}");
            insert(&store, table, &key, number).await;
            steps.push((key, Some(number)));
            if timeout(Duration::from_millis(500), ended.wait_for(|ended| *ended)).await.is_ok() {
                return;
            }
        }
    })
    .await
    .expect("the watcher hears again after the cuts");
    let (told, known) = watching.await.unwrap();
    compare(&steps, &told);
    // The watcher stopped at the first word of the end; what came after that it cannot know.
    let last = known.keys().next_back().cloned().unwrap_or_default();
    let there = versions(&store, table).await;
    assert_eq!(known, there.into_iter().filter(|(key, _)| *key <= last).collect());
}

/// Inserts, however often it takes. The document is there afterwards, once.
async fn insert(store: &Arc<dyn Store>, table: Table, key: &str, number: u64) {
    until_it_works(async || match store.insert(table, key, json!(number)).await {
        Ok(_) => Some(()),
        // An attempt that ended without an answer may have been this one.
        Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Some(()),
        Err(error) => {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
            None
        }
    })
    .await;
    let found = until_it_works(async || store.get(table, key).await.ok()).await;
    assert_eq!(found.map(|found| found.body), Some(json!(number)), "what was written is there");
}

async fn delete(store: &Arc<dyn Store>, table: Table, key: &str) {
    until_it_works(async || match store.delete(table, key, None).await {
        Ok(()) => Some(()),
        Err(error) if error.kind() == StoreErrorKind::NotFound => Some(()),
        Err(error) => {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
            None
        }
    })
    .await;
}

async fn until_it_works<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let works = async {
        loop {
            if let Some(done) = attempt().await {
                return done;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TIMEOUT, works).await.expect("the store works again")
}

/// Listens until the end was heard. Gives what was told, `None` where something was missed, and what is known of the
/// table from that and from reading it again.
async fn watch_all(
    store: Arc<dyn Store>,
    table: Table,
    mut changes: futures::stream::BoxStream<'static, Change>,
    heard_end: watch::Sender<bool>,
) -> (Vec<Option<Step>>, BTreeMap<String, Version>) {
    let (mut told, mut known) = (Vec::new(), BTreeMap::new());
    loop {
        let change = timeout(TIMEOUT, changes.next()).await.expect("the watcher hears something");
        match change.expect("the watch goes on as long as the store does") {
            Change::Put(document) => {
                let is_end = document.key.starts_with("end-");
                told.push(Some((document.key.clone(), document.body.as_u64())));
                known.insert(document.key, document.version);
                if is_end {
                    heard_end.send_replace(true);
                    return (told, known);
                }
            }
            Change::Deleted(key) => {
                known.remove(&key);
                told.push(Some((key, None)));
            }
            Change::Lagged => {
                told.push(None);
                known = timeout(TIMEOUT, versions(&store, table)).await.expect("the store works again");
            }
        }
    }
}

/// The versions of a table, as soon as they can be read.
async fn versions(store: &Arc<dyn Store>, table: Table) -> BTreeMap<String, Version> {
    loop {
        if let Ok(there) = store.list(table, &KeyRange::all()).await {
            return there.into_iter().map(|found| (found.key, found.version)).collect();
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What was told is what was done, in that order, without gaps except where something was missed.
fn compare(steps: &[Step], told: &[Option<Step>]) {
    let (mut next, mut missed) = (0, false);
    for change in told {
        let Some(change) = change else {
            missed = true;
            continue;
        };
        let found = steps[next..].iter().position(|step| step == change);
        let found = found.unwrap_or_else(|| panic!("{change:?} was told twice, or out of order, or never done"));
        assert!(found == 0 || missed, "{found} changes before {change:?} were not told, and not said to be missed");
        (next, missed) = (next + found + 1, false);
    }
    assert!(next > WRITES / WRITES_PER_CUT, "only {next} of {} changes were told", steps.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u64) -> Step {
        (number.to_string(), Some(number))
    }

    fn steps() -> Vec<Step> {
        (0..50).map(step).collect()
    }

    #[test]
    fn gaps_are_fine_where_something_was_missed() {
        let mut told: Vec<Option<Step>> = steps().into_iter().map(Some).collect();
        told.splice(10..20, [None]);
        compare(&steps(), &told);
    }

    #[test]
    #[should_panic(expected = "were not told")]
    fn a_gap_without_a_word_is_found() {
        let mut told: Vec<Option<Step>> = steps().into_iter().map(Some).collect();
        told.remove(10);
        compare(&steps(), &told);
    }

    #[test]
    #[should_panic(expected = "told twice")]
    fn a_change_that_is_told_twice_is_found() {
        let mut told: Vec<Option<Step>> = steps().into_iter().map(Some).collect();
        told.insert(10, Some(step(9)));
        compare(&steps(), &told);
    }

    /// A store that nothing cuts misses nothing.
    #[tokio::test]
    async fn holds_for_memory() {
        watchers_hear_all_across_cuts(Arc::new(crate::store::MemoryStore::new()), async || {}).await;
    }
}
