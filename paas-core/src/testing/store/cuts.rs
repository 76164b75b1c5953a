//! What a store must do whose connections break.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::table;
use crate::store::{KeyRange, Store, StoreErrorKind, Table, Version};

/// How long everything may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How many documents are written.
const WRITES: usize = 200;
/// After how many of them the connections are cut.
const WRITES_PER_CUT: usize = 40;

/// Cuts the store off again and again while one writes. Every write takes effect once, and what is there in the end is
/// what was written.
///
/// `cut` breaks every connection that the store has at that moment. It may also leave the server away for a while.
///
/// # Panics
/// At the first thing that the store does not do as it must.
pub async fn writes_take_effect_once_across_cuts(store: Arc<dyn Store>, mut cut: impl AsyncFnMut()) {
    let table = table(&store, "conformance_cuts").await;
    let mut expected = BTreeMap::new();
    for number in 0..WRITES {
        if number % WRITES_PER_CUT == WRITES_PER_CUT / 2 {
            cut().await;
        }
        let key = format!("{number:04}");
        let version = insert(&store, table, &key, number as u64).await;
        expected.insert(key.clone(), version);
        if number % 4 == 0 {
            delete(&store, table, &key).await;
            expected.remove(&key);
        }
    }
    assert_eq!(versions(&store, table).await, expected, "nothing was written a second time");
}

/// Inserts, however often it takes. The document is there afterwards, once.
async fn insert(store: &Arc<dyn Store>, table: Table, key: &str, number: u64) -> Version {
    let written = until_it_works(async || match store.insert(table, key, json!(number)).await {
        Ok(version) => Some(Some(version)),
        // An attempt that ended without an answer may have been this one.
        Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Some(None),
        Err(error) => {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
            None
        }
    })
    .await;
    let found = until_it_works(async || store.get(table, key).await.ok()).await.expect("what was written is there");
    assert_eq!(found.body, json!(number));
    assert!(written.is_none_or(|version| version == found.version), "the version is the one that was answered");
    found.version
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

/// The versions of a table, as soon as they can be read.
async fn versions(store: &Arc<dyn Store>, table: Table) -> BTreeMap<String, Version> {
    let there = until_it_works(async || store.list(table, &KeyRange::all()).await.ok()).await;
    there.into_iter().map(|found| (found.key, found.version)).collect()
}

#[cfg(test)]
mod tests {
    /// A store that nothing cuts writes once.
    #[tokio::test]
    async fn holds_for_memory() {
        super::writes_take_effect_once_across_cuts(std::sync::Arc::new(crate::store::MemoryStore::new()), async || {})
            .await;
    }
}
