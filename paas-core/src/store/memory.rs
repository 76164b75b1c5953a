//! Documents in memory: for tests, for trying things, and for programs that need no more.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::broadcast;

use super::watch::{BACKLOG, changes};
use super::{
    Change, Direction, Document, KeyRange, Result, Store, StoreError, StoreErrorKind, Table, Version, check_key,
};

/// Documents in memory. Gone with the process.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tables: HashMap<Table, BTreeMap<String, (Version, Value)>>,
    watchers: HashMap<Table, broadcast::Sender<Change>>,
    last_version: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the documents: there are hashes of passwords among them.
        let tables: Vec<&str> = self.state.lock().tables.keys().map(|table| table.name()).collect();
        f.debug_struct("MemoryStore").field("tables", &tables).finish()
    }
}

impl State {
    fn put(&mut self, table: Table, key: &str, body: Value) -> Version {
        self.last_version += 1;
        let version = Version(self.last_version);
        self.tell(table, || Change::Put(Document { key: key.to_owned(), version, body: body.clone() }));
        self.tables.entry(table).or_default().insert(key.to_owned(), (version, body));
        version
    }

    fn version(&self, table: Table, key: &str) -> Option<Version> {
        self.tables.get(&table)?.get(key).map(|(version, _)| *version)
    }

    /// Checks that a document is there, of that version if one is given.
    fn expect(&self, operation: &'static str, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        let error = |kind| Err(StoreError::new(kind, operation, table, key));
        match (self.version(table, key), expected) {
            (None, _) => error(StoreErrorKind::NotFound),
            (Some(found), Some(expected)) if found != expected => error(StoreErrorKind::VersionMismatch),
            _ => Ok(()),
        }
    }

    fn tell(&self, table: Table, change: impl FnOnce() -> Change) {
        if let Some(watchers) = self.watchers.get(&table)
            && watchers.receiver_count() > 0
        {
            // Fails only when the last watcher has just gone.
            let _ = watchers.send(change());
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        check_key("insert", table, key)?;
        let mut state = self.state.lock();
        if state.version(table, key).is_some() {
            return Err(StoreError::new(StoreErrorKind::AlreadyExists, "insert", table, key));
        }
        Ok(state.put(table, key, body))
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        let state = self.state.lock();
        let found = state.tables.get(&table).and_then(|documents| documents.get(key));
        Ok(found.map(|(version, body)| Document { key: key.to_owned(), version: *version, body: body.clone() }))
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        let mut state = self.state.lock();
        state.expect("replace", table, key, Some(expected))?;
        Ok(state.put(table, key, body))
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        let mut state = self.state.lock();
        state.expect("delete", table, key, expected)?;
        if let Some(documents) = state.tables.get_mut(&table) {
            documents.remove(key);
        }
        state.tell(table, || Change::Deleted(key.to_owned()));
        Ok(())
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        let from = range.from.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state.lock();
        let Some(documents) = state.tables.get(&table) else { return Ok(Vec::new()) };
        if let (Some(from), Some(to)) = (&range.from, &range.to)
            && from >= to
        {
            return Ok(Vec::new());
        }
        let within = documents.range::<str, _>((from, to));
        let document = |(key, (version, body)): (&String, &(Version, Value))| Document {
            key: key.clone(),
            version: *version,
            body: body.clone(),
        };
        Ok(match range.direction {
            Direction::Forwards => within.take(range.limit).map(document).collect(),
            Direction::Backwards => within.rev().take(range.limit).map(document).collect(),
        })
    }

    async fn watch(&self, table: Table) -> Result<BoxStream<'static, Change>> {
        let mut state = self.state.lock();
        let sender = state.watchers.entry(table).or_insert_with(|| broadcast::Sender::new(BACKLOG));
        Ok(changes(sender.subscribe()).boxed())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn conforms() {
        crate::testing::store::conforms(Arc::new(MemoryStore::new())).await;
    }
}
