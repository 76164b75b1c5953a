//! Whether the store answers, as seen by those who ask it.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;

use super::{Document, Fence, KeyRange, Result, Store, StoreErrorKind, Table, Version, Write};

/// How a store answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreHealth {
    /// Since when it cannot be read, and how it failed last.
    pub unreadable: Option<Failing>,
    /// Since when it cannot be written to, and how it failed last.
    pub unwritable: Option<Failing>,
    /// When it last did what it was asked.
    pub last_ok: Option<Timestamp>,
}

impl StoreHealth {
    /// Whether it did what it was asked last, reading and writing.
    pub fn is_ok(&self) -> bool {
        self.unreadable.is_none() && self.unwritable.is_none()
    }
}

/// A store that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failing {
    /// When it failed first, after it did not.
    pub since: Timestamp,
    /// When it failed last.
    pub last: Timestamp,
    /// How it failed last: [`StoreErrorKind::Unavailable`], [`StoreErrorKind::Full`], or [`StoreErrorKind::Broken`] when
    /// it is read-only or damaged.
    pub kind: StoreErrorKind,
}

/// A store that knows how it answers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WatchedStore {
    store: Arc<dyn Store>,
    health: Arc<Mutex<StoreHealth>>,
}

impl WatchedStore {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, health: Arc::default() }
    }

    pub(crate) fn health(&self) -> StoreHealth {
        *self.health.lock()
    }

    fn read<T>(&self, outcome: Result<T>) -> Result<T> {
        self.note(&outcome, |health| &mut health.unreadable);
        outcome
    }

    fn written<T>(&self, outcome: Result<T>) -> Result<T> {
        self.note(&outcome, |health| &mut health.unwritable);
        outcome
    }

    fn note<T>(&self, outcome: &Result<T>, failing: impl Fn(&mut StoreHealth) -> &mut Option<Failing>) {
        let now = Timestamp::now();
        let mut health = self.health.lock();
        match outcome {
            Err(error) if error.is_of_the_backend() => {
                let failing = failing(&mut health);
                let since = failing.map_or(now, |failing| failing.since);
                *failing = Some(Failing { since, last: now, kind: error.kind() });
            }
            _ => {
                *failing(&mut health) = None;
                health.last_ok = Some(now);
            }
        }
    }
}

#[async_trait]
impl Store for WatchedStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        self.written(self.store.insert(table, key, body).await)
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        self.read(self.store.get(table, key).await)
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        self.written(self.store.replace(table, key, expected, body).await)
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        self.written(self.store.delete(table, key, expected).await)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        self.written(self.store.commit(writes).await)
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        self.read(self.store.list(table, range).await)
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        Arc::new(Self { store: self.store.fenced(fence), health: self.health.clone() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::MemoryStore;
    use crate::testing::store::FailingStore;

    const THINGS: Table = Table::new("things");

    #[tokio::test]
    async fn conforms() {
        crate::testing::store::conforms(Arc::new(WatchedStore::new(Arc::new(MemoryStore::new())))).await;
    }

    #[tokio::test]
    async fn it_knows_what_fails_and_when_that_is_over() {
        let failing = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
        let store = WatchedStore::new(failing.clone());
        assert_eq!(store.health(), StoreHealth::default());
        store.insert(THINGS, "a", json!(1)).await.unwrap();
        assert!(store.health().is_ok() && store.health().last_ok.is_some());
        // What is refused says nothing against the store.
        store.insert(THINGS, "a", json!(1)).await.unwrap_err();
        assert!(store.health().is_ok());
        failing.fail_after_writes(Some(0));
        store.insert(THINGS, "b", json!(1)).await.unwrap_err();
        let first = store.health().unwritable.unwrap();
        assert_eq!(first.kind, StoreErrorKind::Unavailable);
        store.get(THINGS, "a").await.unwrap();
        store.insert(THINGS, "b", json!(1)).await.unwrap_err();
        let health = store.health();
        assert_eq!(health.unwritable.unwrap().since, first.since, "reading it does not mean that it can be written to");
        assert_eq!(health.unreadable, None);
        failing.fail_after_writes(None);
        store.insert(THINGS, "b", json!(1)).await.unwrap();
        assert!(store.health().is_ok());
    }
}
