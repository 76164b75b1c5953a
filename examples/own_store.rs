//! A store of one's own: one ordered map behind a lock. It is held against the conformance suite first, and then keeps the
//! state of a platform that is ended and begun again.
//!
//! The suite comes with the feature `testing` of `paas-core`; in a program of your own it stands in a test.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use paas_core::controller::{Actor, Controller};
use paas_core::model::EngineSpec;
use paas_core::store::{
    Action, Direction, Document, Fence, KeyRange, Result, Store, Table, Version, Write, check_key, check_writes,
};
use serde_json::Value;

/// Every document of every table, in the order of their keys.
#[derive(Default)]
struct OneMap {
    state: Arc<Mutex<State>>,
    fence: Fence,
}

#[derive(Default)]
struct State {
    documents: BTreeMap<(Table, String), (Version, Value)>,
    last_version: u64,
}

impl OneMap {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every verb that writes is a commit. All of it is made, or none.
    fn write(&self, operation: &'static str, writes: Vec<Write>) -> Result<Version> {
        let mut state = self.state();
        // In the last step: a server that leads no more writes nothing.
        if let Some(first) = writes.first() {
            self.fence.check(operation, first.table, &first.key)?;
        }
        for write in &writes {
            let found = state.documents.get(&(write.table, write.key.clone()));
            if let Some(kind) = write.refusal(found.map(|(version, _)| *version)) {
                return Err(write.error(operation, kind));
            }
        }
        // Counted over all documents: one that is deleted and inserted again must not have a version that it had before.
        state.last_version += 1;
        let version = Version(state.last_version);
        for Write { table, key, action } in writes {
            match action {
                Action::Insert(body) | Action::Replace(_, body) => {
                    state.documents.insert((table, key), (version, body));
                }
                Action::Delete(_) | Action::Clear => {
                    state.documents.remove(&(table, key));
                }
            }
        }
        Ok(version)
    }
}

/// Without the documents: there are hashes of passwords among them.
impl fmt::Debug for OneMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneMap").finish_non_exhaustive()
    }
}

fn document(key: &str, (version, body): &(Version, Value)) -> Document {
    Document { key: key.to_owned(), version: *version, body: body.clone() }
}

#[async_trait]
impl Store for OneMap {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        check_key("insert", table, key)?;
        self.write("insert", vec![Write::new(table, key, Action::Insert(body))])
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        Ok(self.state().documents.get(&(table, key.to_owned())).map(|found| document(key, found)))
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        self.write("replace", vec![Write::new(table, key, Action::Replace(expected, body))])
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        self.write("delete", vec![Write::new(table, key, Action::Delete(expected))]).map(drop)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        check_writes(&writes)?;
        self.write("commit", writes)
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        Arc::new(Self { state: self.state.clone(), fence: self.fence.clone().and(fence) })
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        let state = self.state();
        let within = |(place, key): &&(Table, String)| *place == table && range.contains(key);
        let keys = state.documents.keys().filter(within);
        let found = |place: &(Table, String)| document(&place.1, &state.documents[place]);
        Ok(match range.direction {
            Direction::Forwards => keys.take(range.limit).map(found).collect(),
            Direction::Backwards => keys.rev().take(range.limit).map(found).collect(),
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    paas_core::testing::store::conforms(Arc::new(OneMap::default())).await;
    println!("does what a store must do");

    let store: Arc<dyn Store> = Arc::new(OneMap::default());
    let controller = Controller::builder().store(store.clone()).build().await?;
    controller.add_engine(&Actor::system(), EngineSpec::new("one".parse()?, "sim://own-store".parse()?)).await?;
    controller.shutdown().await;

    let controller = Controller::builder().store(store).build().await?;
    let engines: Vec<_> = controller.engines().iter().map(|engine| engine.id.to_string()).collect();
    println!("found again: {}", engines.join(", "));
    anyhow::ensure!(engines == ["one"], "the engine is lost");
    controller.shutdown().await;
    Ok(())
}
