//! A store that only the server that leads may write to.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::Term;
use crate::store::{Document, Fence, KeyRange, Result, Store, Table, Version, Write};

/// Lets writes through as long as a term lasts. Reading is always allowed.
///
/// The store looks at the term in the last step before it writes; on the etcd of the election, etcd does. What was sent
/// before the term ended may still happen: the rest of the lease is the time it has for that.
#[derive(Debug)]
pub struct FencedStore {
    store: Arc<dyn Store>,
    term: Term,
}

impl FencedStore {
    /// `store`, to be written to while `term` lasts.
    pub fn new(store: Arc<dyn Store>, term: Term) -> Self {
        Self { store: store.fenced(term.fence()), term }
    }

    async fn write<T>(
        &self,
        (operation, table, key): (&'static str, Table, &str),
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        // So that nobody waits for an answer when the term is over.
        tokio::select! {
            biased;
            () = self.term.over() => Err(Fence::refusal(operation, table, key)),
            outcome = work => outcome,
        }
    }
}

#[async_trait]
impl Store for FencedStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        self.write(("insert", table, key), self.store.insert(table, key, body)).await
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        self.store.get(table, key).await
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        self.write(("replace", table, key), self.store.replace(table, key, expected, body)).await
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        self.write(("delete", table, key), self.store.delete(table, key, expected)).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        let first = writes.first().map(|write| (write.table, write.key.clone()));
        let (table, key) = first.unwrap_or((Table::new("store"), String::new()));
        self.write(("commit", table, &key), self.store.commit(writes)).await
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        self.store.list(table, range).await
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        Arc::new(Self { store: self.store.fenced(fence), term: self.term.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::leadership::Candidate;
    use crate::registry::EmbeddedRegistry;
    use crate::store::{Action, MemoryStore, StoreErrorKind};

    async fn fenced() -> (FencedStore, Term) {
        let candidate = Candidate::new(Arc::new(EmbeddedRegistry::new()), "one", Duration::from_secs(60));
        let term = candidate.lead().await;
        (FencedStore::new(Arc::new(MemoryStore::new()), term.clone()), term)
    }

    #[tokio::test]
    async fn conforms_while_the_term_lasts() {
        let (store, _term) = fenced().await;
        crate::testing::store::conforms(Arc::new(store)).await;
    }

    #[tokio::test]
    async fn after_the_term_nothing_is_written_and_everything_can_be_read() {
        const THINGS: Table = Table::new("things");
        let (store, term) = fenced().await;
        let version = store.insert(THINGS, "a", json!(1)).await.unwrap();
        term.resign();
        let refused = [
            store.insert(THINGS, "b", json!(1)).await.map(drop),
            store.replace(THINGS, "a", version, json!(2)).await.map(drop),
            store.delete(THINGS, "a", None).await,
            store.commit(vec![Write::new(THINGS, "a", Action::Clear)]).await.map(drop),
        ];
        for outcome in refused {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            assert!(error.to_string().contains("does not lead"), "{error}");
        }
        assert_eq!(store.list(THINGS, &KeyRange::all()).await.unwrap().len(), 1);
        assert_eq!(store.get(THINGS, "a").await.unwrap().unwrap().body, json!(1));
    }
}
