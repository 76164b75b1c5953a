//! The store of a simulated world: in memory, and as unreliable as any.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::fate::{Fate, Life, Weather};
use super::witness::Witness;
use crate::store::tables::{APPLICATIONS, REPLICAS, REVISIONS, VOLUMES};
use crate::store::{
    Action, Document, Fence, KeyRange, Result, Store, StoreError, StoreErrorKind, Table, Version, Write,
};

/// The store as one server reaches it.
#[derive(Clone, Debug)]
pub(super) struct ReachedStore {
    inner: Arc<dyn Store>,
    life: Life,
    weather: Weather,
    witness: Arc<Witness>,
}

impl ReachedStore {
    pub(super) fn new(inner: Arc<dyn Store>, life: Life, weather: Weather, witness: Arc<Witness>) -> Self {
        Self { inner, life, weather, witness }
    }

    async fn write(&self, operation: &'static str, writes: Vec<Write>) -> Result<Version> {
        let (table, key) =
            writes.first().map_or((Table::new("nothing"), String::new()), |first| (first.table, first.key.clone()));
        let fate = self.weather.next(table.name());
        let failed = |detail: &str| {
            Err(StoreError::new(StoreErrorKind::Unavailable, operation, table, key.clone()).with_detail(detail))
        };
        let work = async {
            tokio::time::sleep(fate.there).await;
            if fate.is_refused {
                return failed("the simulated store refused it");
            }
            let is_of_apps = writes.iter().any(is_of_apps);
            if is_of_apps && !self.life.goes_on() && !fate.arrives_anyway {
                return std::future::pending().await;
            }
            let version = self.inner.commit(writes).await?;
            if is_of_apps {
                self.witness.written();
                self.life.goes_on();
            }
            tokio::time::sleep(fate.back).await;
            if fate.is_lost { failed("the answer of the simulated store is lost") } else { Ok(version) }
        };
        self.life.wait_for(work).await
    }

    async fn read<T>(&self, table: Table, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let Fate { there, is_refused, kind, .. } = self.weather.next(table.name());
        // A server reads much when it begins, and gives up at the first read that fails.
        let is_refused = is_refused && kind == 0;
        let work = async {
            tokio::time::sleep(there).await;
            if is_refused {
                return Err(StoreError::new(StoreErrorKind::Unavailable, "read", table, ""));
            }
            answer.await
        };
        self.life.wait_for(work).await
    }
}

fn is_of_apps(write: &Write) -> bool {
    [APPLICATIONS, REPLICAS, REVISIONS, VOLUMES].contains(&write.table)
}

#[async_trait]
impl Store for ReachedStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        self.write("insert", vec![Write::new(table, key, Action::Insert(body))]).await
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        self.read(table, self.inner.get(table, key)).await
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        self.write("replace", vec![Write::new(table, key, Action::Replace(expected, body))]).await
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        self.write("delete", vec![Write::new(table, key, Action::Delete(expected))]).await.map(drop)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        self.write("commit", writes).await
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        self.read(table, self.inner.list(table, range)).await
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        Arc::new(Self { inner: self.inner.fenced(fence), ..self.clone() })
    }
}
