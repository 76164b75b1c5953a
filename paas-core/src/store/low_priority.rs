//! Writing much without being in the way of those who write little.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;

use super::{Document, Fence, KeyRange, Result, Store, Table, Version, Write};

/// A store that knows whether it is being asked for something, so that writes which nobody waits for can let others go first.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LowPriorityStore {
    store: Arc<dyn Store>,
    /// How much is under way.
    asked: watch::Sender<usize>,
}

/// Something that is under way until this is dropped.
pub(crate) struct UnderWay<'a>(&'a watch::Sender<usize>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|asked| *asked -= 1);
    }
}

impl LowPriorityStore {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, asked: watch::Sender::new(0) }
    }

    /// Commits when nothing else is under way, or after `deadline` all the same.
    pub(crate) async fn commit_when_quiet(&self, writes: Vec<Write>, deadline: Duration) -> Result<Version> {
        let quiet = async {
            let mut asked = self.asked.subscribe();
            while asked.wait_for(|&asked| asked == 0).await.is_ok() {
                // Who has read something is likely to write next.
                tokio::task::yield_now().await;
                if *asked.borrow() == 0 {
                    break;
                }
            }
        };
        // That it was not quiet for so long is no reason to wait on.
        let _ = tokio::time::timeout(deadline, quiet).await;
        self.store.commit(writes).await
    }

    /// Notes that something is asked of the store.
    pub(crate) fn under_way(&self) -> UnderWay<'_> {
        self.asked.send_modify(|asked| *asked += 1);
        UnderWay(&self.asked)
    }
}

#[async_trait]
impl Store for LowPriorityStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        let _under_way = self.under_way();
        self.store.insert(table, key, body).await
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        let _under_way = self.under_way();
        self.store.get(table, key).await
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        let _under_way = self.under_way();
        self.store.replace(table, key, expected, body).await
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        let _under_way = self.under_way();
        self.store.delete(table, key, expected).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        let _under_way = self.under_way();
        self.store.commit(writes).await
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        let _under_way = self.under_way();
        self.store.list(table, range).await
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        Arc::new(Self { store: self.store.fenced(fence), asked: self.asked.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::store::{Action, MemoryStore};

    const THINGS: Table = Table::new("things");
    const TIMEOUT: Duration = Duration::from_secs(1);

    fn writes() -> Vec<Write> {
        vec![Write::new(THINGS, "a", Action::Insert(json!(1)))]
    }

    #[tokio::test]
    async fn conforms() {
        crate::testing::store::conforms(Arc::new(LowPriorityStore::new(Arc::new(MemoryStore::new())))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_waits_for_everything_else() {
        let store = LowPriorityStore::new(Arc::new(MemoryStore::new()));
        let (first, second) = (store.under_way(), store.under_way());
        let mut waiting = pin!(store.commit_when_quiet(writes(), TIMEOUT));
        assert!(poll!(&mut waiting).is_pending());
        drop(first);
        assert!(poll!(&mut waiting).is_pending());
        drop(second);
        let begun = Instant::now();
        waiting.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(store.get(THINGS, "a").await.unwrap().is_some());
        assert_eq!(*store.asked.borrow(), 0, "what has ended is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_and_then_writes_is_not_overtaken_in_between() {
        let store = LowPriorityStore::new(Arc::new(MemoryStore::new()));
        let reading = store.under_way();
        let mut waiting = pin!(store.commit_when_quiet(writes(), TIMEOUT));
        assert!(poll!(&mut waiting).is_pending());
        drop(reading);
        assert!(poll!(&mut waiting).is_pending(), "the other may go on first");
        let writing = store.under_way();
        assert!(poll!(&mut waiting).is_pending());
        drop(writing);
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_wait_for_ever() {
        let store = LowPriorityStore::new(Arc::new(MemoryStore::new()));
        let _under_way = store.under_way();
        let begun = Instant::now();
        store.commit_when_quiet(writes(), TIMEOUT).await.unwrap();
        assert_eq!(begun.elapsed(), TIMEOUT);
    }
}
