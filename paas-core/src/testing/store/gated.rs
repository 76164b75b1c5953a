//! A store that keeps those waiting who write to it, for tests of what happens in the moment in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;

use crate::store::{Document, Fence, KeyRange, Result, Store, Table, Version, Write};

/// Passes everything on, but a write waits at the gate while that is closed.
///
/// A write that is given up while it waits is never made, as with a backend that it did not reach.
#[derive(Clone, Debug)]
pub struct GatedStore {
    inner: Arc<dyn Store>,
    gate: watch::Sender<Gate>,
    /// The tables of the writes that came to a closed gate so far.
    stopped: watch::Sender<Vec<Table>>,
    /// Writes that went through.
    passed: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug)]
enum Gate {
    Open,
    Closed,
    ClosedFor(Table),
}

impl Gate {
    fn is_open_for(self, tables: &[Table]) -> bool {
        match self {
            Self::Open => true,
            Self::Closed => false,
            Self::ClosedFor(table) => !tables.contains(&table),
        }
    }
}

impl GatedStore {
    /// A store whose gate is open.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        let (gate, stopped) = (watch::Sender::new(Gate::Open), watch::Sender::default());
        Self { inner, gate, stopped, passed: Arc::default() }
    }

    /// Closes the gate: writes that come from now on wait.
    pub fn close(&self) {
        self.stopped.send_replace(Vec::new());
        self.gate.send_replace(Gate::Closed);
    }

    /// The same for writes to one table, and what is written with them.
    pub fn close_for(&self, table: Table) {
        self.stopped.send_replace(Vec::new());
        self.gate.send_replace(Gate::ClosedFor(table));
    }

    /// Opens the gate: those that wait go on.
    pub fn open(&self) {
        self.gate.send_replace(Gate::Open);
    }

    /// Waits until a write has come to the closed gate.
    pub async fn until_one_waits(&self) {
        // The sender is this store, so it is there.
        let _ = self.stopped.subscribe().wait_for(|stopped| !stopped.is_empty()).await;
    }

    /// The same for a write to a table: others may come first that nobody asked for.
    pub async fn until_one_waits_for(&self, table: Table) {
        let _ = self.stopped.subscribe().wait_for(|stopped| stopped.contains(&table)).await;
    }

    /// How many writes went through, a commit counting as one.
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }

    async fn pass(&self, tables: impl IntoIterator<Item = Table>) {
        let tables: Vec<Table> = tables.into_iter().collect();
        let is_open = self.gate.borrow().is_open_for(&tables);
        if !is_open {
            self.stopped.send_modify(|stopped| stopped.extend(&tables));
            let _ = self.gate.subscribe().wait_for(|gate| gate.is_open_for(&tables)).await;
        }
        self.passed.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Store for GatedStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        self.pass([table]).await;
        self.inner.insert(table, key, body).await
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        self.inner.get(table, key).await
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        self.pass([table]).await;
        self.inner.replace(table, key, expected, body).await
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        self.pass([table]).await;
        self.inner.delete(table, key, expected).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        self.pass(writes.iter().map(|write| write.table)).await;
        self.inner.commit(writes).await
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        self.inner.list(table, range).await
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        Arc::new(Self { inner: self.inner.fenced(fence), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    const THINGS: Table = Table::new("things");

    #[tokio::test]
    async fn conforms_while_it_is_open() {
        crate::testing::store::conforms(Arc::new(GatedStore::new(Arc::new(MemoryStore::new())))).await;
    }

    #[tokio::test]
    async fn who_writes_waits_at_the_gate_and_who_gives_up_writes_nothing() {
        let store = Arc::new(GatedStore::new(Arc::new(MemoryStore::new())));
        store.close();
        let insert = |key: &'static str| {
            let store = store.clone();
            tokio::spawn(async move { store.insert(THINGS, key, Value::Null).await })
        };
        let (given_up, waits) = (insert("a"), insert("b"));
        store.until_one_waits().await;
        given_up.abort();
        assert!(given_up.await.is_err() && store.passed() == 0);
        store.open();
        waits.await.unwrap().unwrap();
        assert!(store.get(THINGS, "a").await.unwrap().is_none());
        assert!(store.get(THINGS, "b").await.unwrap().is_some());
    }
}
