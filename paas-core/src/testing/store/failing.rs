//! A store that stops taking part, for tests of what is built on stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;

use crate::store::{Document, Fence, KeyRange, Result, Store, StoreError, StoreErrorKind, Table, Version, Write};

/// Passes everything on, until it was given as many calls as it may take. From then on the backend "does not answer".
#[derive(Debug)]
pub struct FailingStore {
    inner: Arc<dyn Store>,
    /// Writes and reads that still work; `None` for all.
    writes: Arc<Mutex<Option<usize>>>,
    reads: Arc<Mutex<Option<usize>>>,
    is_full: Arc<AtomicBool>,
}

impl FailingStore {
    /// A store that fails at nothing yet.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, writes: Arc::default(), reads: Arc::default(), is_full: Arc::default() }
    }

    /// After so many more writes, every write fails; `None` for none.
    pub fn fail_after_writes(&self, writes: Option<usize>) {
        *self.writes.lock() = writes;
    }

    /// Whether its disk is full. Then every write fails with [`StoreErrorKind::Full`].
    pub fn fill(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }

    fn take_writes(&self, count: usize, operation: &'static str, table: Table, key: &str) -> Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Full, operation, table, key));
        }
        take(&self.writes, count, operation, table, key)
    }

    /// After so many more reads, every read fails; `None` for none.
    pub fn fail_after_reads(&self, reads: Option<usize>) {
        *self.reads.lock() = reads;
    }
}

/// So many calls, or none.
fn take(left: &Mutex<Option<usize>>, count: usize, operation: &'static str, table: Table, key: &str) -> Result<()> {
    match &mut *left.lock() {
        Some(left) if *left < count => Err(StoreError::new(StoreErrorKind::Unavailable, operation, table, key)),
        Some(left) => {
            *left -= count;
            Ok(())
        }
        None => Ok(()),
    }
}

#[async_trait]
impl Store for FailingStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        self.take_writes(1, "insert", table, key)?;
        self.inner.insert(table, key, body).await
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        take(&self.reads, 1, "get", table, key)?;
        self.inner.get(table, key).await
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        self.take_writes(1, "replace", table, key)?;
        self.inner.replace(table, key, expected, body).await
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        self.take_writes(1, "delete", table, key)?;
        self.inner.delete(table, key, expected).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        if let Some(first) = writes.first() {
            self.take_writes(writes.len(), "commit", first.table, &first.key)?;
        }
        self.inner.commit(writes).await
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        take(&self.reads, 1, "list", table, "")?;
        self.inner.list(table, range).await
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        let (writes, reads, is_full) = (self.writes.clone(), self.reads.clone(), self.is_full.clone());
        Arc::new(Self { inner: self.inner.fenced(fence), writes, reads, is_full })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    /// What wraps a store must still be one.
    #[tokio::test]
    async fn conforms_until_it_fails() {
        let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
        crate::testing::store::conforms(store.clone()).await;
        let things = Table::new("things");
        store.fail_after_writes(Some(1));
        store.insert(things, "a", Value::Null).await.unwrap();
        assert_eq!(store.insert(things, "b", Value::Null).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
        store.fail_after_reads(Some(0));
        assert_eq!(store.get(things, "a").await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    }
}
