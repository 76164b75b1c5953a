//! Documents in memory: for tests, for trying things, and for programs that need no more.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    Action, Direction, Document, Fence, KeyRange, Result, Store, Table, Version, Write, check_key, check_writes,
};

/// Documents in memory. Gone with the process.
#[derive(Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    fence: Fence,
}

#[derive(Debug, Default)]
struct State {
    tables: HashMap<Table, BTreeMap<String, (Version, Value)>>,
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
    /// Makes every write, or none.
    fn write(&mut self, fence: &Fence, operation: &'static str, writes: Vec<Write>) -> Result<Version> {
        for write in &writes {
            fence.check(operation, write.table, &write.key)?;
            let found = self.tables.get(&write.table).and_then(|documents| documents.get(&write.key));
            if let Some(kind) = write.refusal(found.map(|(version, _)| *version)) {
                return Err(write.error(operation, kind));
            }
        }
        self.last_version += 1;
        let version = Version(self.last_version);
        for Write { table, key, action } in writes {
            let documents = self.tables.entry(table).or_default();
            match action {
                Action::Insert(body) | Action::Replace(_, body) => {
                    documents.insert(key, (version, body));
                }
                Action::Delete(_) | Action::Clear => {
                    documents.remove(&key);
                }
            }
        }
        Ok(version)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        check_key("insert", table, key)?;
        self.state.lock().write(&self.fence, "insert", vec![Write::new(table, key, Action::Insert(body))])
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        let state = self.state.lock();
        let found = state.tables.get(&table).and_then(|documents| documents.get(key));
        Ok(found.map(|(version, body)| Document { key: key.to_owned(), version: *version, body: body.clone() }))
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        self.state.lock().write(&self.fence, "replace", vec![Write::new(table, key, Action::Replace(expected, body))])
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        self.state.lock().write(&self.fence, "delete", vec![Write::new(table, key, Action::Delete(expected))]).map(drop)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        check_writes(&writes)?;
        self.state.lock().write(&self.fence, "commit", writes)
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        Arc::new(Self { state: self.state.clone(), fence: self.fence.clone().and(fence) })
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        crate::testing::store::conforms(Arc::new(MemoryStore::new())).await;
    }
}
